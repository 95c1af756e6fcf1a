#include "delivery/pieces.h"

#include "base/digest.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

/* --- entities ------------------------------------------------------------------------------------- */

/* What the map said about the schemas of this batch. */
struct known_entity {
    const struct event_schema *schema;
    const struct map_entity *entity;
    bool refused;
    struct err why;
};

struct finder {
    struct pieces *p;
    struct batch *b;
    struct map *map;
    struct tables *tables;
    const char *subject;
    uint32_t raise;
    struct known_entity known[8];
    size_t n_known, next_known;
};

static void say_remarks(struct finder *f, struct buf *remarks)
{
    for (char *line = remarks->len ? (char *)remarks->data : NULL; line && *line;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        log_info(f->subject, "%s", line);
        line = end ? end + 1 : NULL;
    }
    buf_release(remarks);
}

static const struct known_entity *entity_of(struct finder *f, const struct change *ch)
{
    for (size_t i = 0; i < f->n_known; i++)
        if (f->known[i].schema == ch->schema)
            return &f->known[i];
    struct known_entity *k = &f->known[f->next_known];
    struct buf remarks = BUF_INIT;
    *k = (struct known_entity){.schema = ch->schema, .why = ERR_INIT};
    struct span name = ch->schema->is_change ? ch->header.entity : span_of_str(ch->schema->root.name);
    k->refused = map_entity(f->map, ch->schema, name, &k->entity, &remarks, &k->why) != 0;
    say_remarks(f, &remarks);
    f->next_known = (f->next_known + 1) % ARRAY_LEN(f->known);
    f->n_known += f->n_known < ARRAY_LEN(f->known);
    return k;
}

/* --- records -------------------------------------------------------------------------------------- */

static struct record *record_of(struct finder *f, struct table *t, struct span id, struct span hash)
{
    struct pieces *p = f->p;
    size_t at = digest_fast(hash, digest_fast(id, t->mirror->number)) & p->mask;
    for (; p->slots[at]; at = (at + 1) & p->mask)
        if (p->slots[at]->table == t && span_equal(p->slots[at]->id, id) &&
            span_equal(p->slots[at]->hash, hash))
            return p->slots[at];
    struct record *r = arena_alloc(&f->b->arena, sizeof *r);
    *r = (struct record){.table = t, .id = id, .hash = hash};
    p->slots[at] = r;
    p->records[p->n_records++] = r;
    return r;
}

static void add_piece(struct finder *f, const struct mapped *m, struct span id, struct span hash)
{
    struct piece *piece = &f->p->pieces[f->p->n++];
    struct record *r = record_of(f, m->table, id, hash);
    *piece = (struct piece){.of = m, .record = r};
    if (r->last)
        r->last->next = piece;
    else
        r->first = piece;
    r->last = piece;
}

/* "001*" and the empty id stand for records nobody names (pubsub-api 9.8, 11.1). */
static bool is_record_id(struct span id)
{
    bool empty = true;
    if (id.n != 15 && id.n != 18)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        const uint8_t c = id.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
            return false;
        empty &= i >= 15 || c == '0';
    }
    return !empty;
}

/* --- one event ------------------------------------------------------------------------------------ */

static void park_whole(struct arena *a, struct mapped *m, const char *reason, const struct err *why)
{
    m->what = MAPPED_NOTHING;
    m->outcome = OUTCOME_PARKED;
    m->reason = reason;
    m->why = arena_strndup(a, why->text, strlen(why->text));
}

/* 0, or 1 when nothing of it goes through the conflict check. */
static int kind_of(struct finder *f, struct mapped *m)
{
    struct err why = ERR_INIT;
    const struct change *ch = m->d->ch;
    switch (ch->header.type) {
    case CHANGE_CREATE:
    case CHANGE_UNDELETE:
    case CHANGE_TYPE_SNAPSHOT:
        m->change.kind = CONFLICT_IMAGE;
        return 0;
    case CHANGE_UPDATE:
        m->change.kind = CONFLICT_UPDATE;
        return 0;
    case CHANGE_DELETE:
        m->change.kind = CONFLICT_DELETE;
        if (m->entity->on_delete != DELETE_IGNORE)
            return 0;
        m->outcome = OUTCOME_FILTERED;
        return 1;
    case CHANGE_GAP_CREATE:
    case CHANGE_GAP_UPDATE:
    case CHANGE_GAP_DELETE:
    case CHANGE_GAP_UNDELETE:
        m->change.kind = CONFLICT_GAP;
        return 0;
    case CHANGE_GAP_OVERFLOW:
        m->owes_entity = true;
        return 1;
    case CHANGE_TYPE_UNKNOWN:
        break;
    }
    err_set(&why, ERR_REJECTED, "delivery", 0, "a change of type %.*s, which this version does not know",
            SPAN_ARG(ch->header.type_name));
    park_whole(&f->b->arena, m, "unknown change type", &why);
    return 1;
}

static void find_change(struct finder *f, struct mapped *m)
{
    const struct change_header *h = &m->d->ch->header;
    m->change.version = (struct version){.epoch = m->d->ev->epoch + f->raise,
                                         .rank = m->d->ch->kind == CHANGE_SNAPSHOT,
                                         .commit = h->commit_number,
                                         .sequence = h->sequence_number};
    m->change.soft = m->table->mirror->on_delete == MIRROR_SOFT;
    if (kind_of(f, m) != 0)
        return;
    m->what = MAPPED_CHANGE;
    for (uint32_t i = 0; i < h->n_record_ids; i++)
        if (m->d->only.n && !span_equal(m->d->only, h->record_ids[i]))
            continue;
        else if (is_record_id(h->record_ids[i]))
            add_piece(f, m, h->record_ids[i], span_of(NULL, 0));
        else
            m->owes_entity = true;
    if (h->n_record_ids == 0)
        m->owes_entity = true;
}

/* What tells it from others: its own id, else where it stood in the stream. */
static struct span append_key(struct arena *a, const struct event_data *ev)
{
    if (ev->event_id.n)
        return ev->event_id;
    struct buf text = BUF_INIT;
    buf_addf(&text, "%" PRIu32 "-", ev->subscription);
    for (size_t i = 0; i < ev->replay_id.n; i++)
        buf_addf(&text, "%02x", ev->replay_id.p[i]);
    struct span key = arena_copy(a, buf_span(&text));
    buf_release(&text);
    return key;
}

/* Publishers set ids as they like: what makes an event another is its payload (I2). */
static struct span payload_hash(struct arena *a, const struct event_data *ev)
{
    enum { BYTES = 8 };
    uint8_t digest[32];
    char *hex = arena_alloc(a, 2 * BYTES + 1);
    digest_sha256(ev->payload, digest);
    hex_encode(span_of(digest, BYTES), hex);
    return span_of(hex, 2 * BYTES);
}

static void find_one(struct finder *f, struct mapped *m)
{
    const struct known_entity *k = entity_of(f, m->d->ch);
    m->what = MAPPED_NOTHING;
    m->entity = k->entity;
    if (k->refused) {
        park_whole(&f->b->arena, m, "mapping", &k->why);
        return;
    }
    if (!k->entity) {
        m->outcome = OUTCOME_FILTERED;
        return;
    }
    m->table = tables_of(f->tables, k->entity->table);
    if (m->d->ch->kind == CHANGE_PLATFORM_EVENT) {
        m->what = MAPPED_APPEND;
        m->table->used = true;
        add_piece(f, m, append_key(&f->b->arena, m->d->ev), payload_hash(&f->b->arena, m->d->ev));
        return;
    }
    find_change(f, m);
    m->table->used |= m->what == MAPPED_CHANGE;
}

static size_t most_pieces(const struct batch *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_deliveries; i++)
        n += b->deliveries[i].ch->header.n_record_ids + 1;
    return n;
}

void pieces_find(struct pieces *p, struct batch *b, uint32_t raise, struct map *map, struct tables *tables,
                 const char *subject)
{
    struct finder f = {.p = p, .b = b, .raise = raise, .map = map, .tables = tables, .subject = subject};
    const size_t most = most_pieces(b);
    *p = (struct pieces){.mask = 15};
    while (p->mask < 2 * most)
        p->mask = 2 * p->mask + 1;
    p->mapped = arena_alloc(&b->arena, (b->n_deliveries + 1) * sizeof *p->mapped);
    p->pieces = arena_alloc(&b->arena, (most + 1) * sizeof *p->pieces);
    p->records = arena_alloc(&b->arena, (most + 1) * sizeof *p->records);
    p->slots = arena_alloc(&b->arena, (p->mask + 1) * sizeof *p->slots);
    memset(p->slots, 0, (p->mask + 1) * sizeof *p->slots);
    for (size_t i = 0; i < tables->n; i++)
        if (tables->tables[i])
            tables->tables[i]->used = false;
    const uint32_t *groups = transaction_groups(b);
    for (size_t i = 0, di = 0; i < b->n_events; i++) {
        if (b->fates[i] != FATE_DELIVER)
            continue;
        struct mapped *m = &p->mapped[p->n_mapped++];
        *m = (struct mapped){.d = &b->deliveries[di++], .event = i, .group = groups[i]};
        find_one(&f, m);
    }
}

/* --- values --------------------------------------------------------------------------------------- */

struct valuer {
    struct batch *b;
    struct mapped *m;
    struct err *why; /* room for one */
    uint32_t n;
    uint32_t *fields, *sources;
    struct mirror_value *values;
    bool *leaves;
    uint32_t at; /* in the event's fields, which ascend as slots do */
    struct tally *cut;
};

static const struct cell *cell_of(struct valuer *v, const struct map_slot *slot)
{
    const struct change *ch = v->m->d->ch;
    while (v->at < ch->n_fields && ch->fields[v->at].index < slot->index)
        v->at++;
    if (v->at == ch->n_fields || ch->fields[v->at].index != slot->index)
        return NULL;
    const struct cell *cell = &ch->fields[v->at].cell;
    if (slot->child < 0)
        return cell;
    if (cell->type != CELL_RECORD)
        return NULL;
    for (uint32_t i = 0; i < cell->n; i++)
        if (cell->as.record.fields[i].index == (uint32_t)slot->child)
            return &cell->as.record.fields[i].cell;
    return NULL;
}

/* 0, or 1: the event is parked. */
static int put_value(struct valuer *v, const struct map_slot *slot, const struct cell *cell, uint32_t at)
{
    const char *flagged = NULL;
    /* a field that may be text or a compound: the form it does not have is null */
    if (cell && slot->child < 0 && cell->type == CELL_RECORD &&
        v->m->d->ch->schema->root.fields[slot->index].record)
        cell = NULL;
    v->leaves[at] = false;
    switch (map_value(v->m->entity, slot, cell, &v->b->arena, &v->values[at], &flagged, v->why)) {
    case MAP_VALUE:
        break;
    case MAP_PARK:
        park_whole(&v->b->arena, v->m, "mapping", v->why);
        return 1;
    case MAP_LEAVE:
        v->leaves[at] = true;
        break;
    }
    if (flagged)
        tally_add(v->cut, &v->b->arena, slot, flagged);
    return 0;
}

static int map_image(struct valuer *v)
{
    const struct table *t = v->m->table;
    v->n = t->n;
    v->fields = t->fields;
    v->sources = t->sources;
    v->values = arena_alloc(&v->b->arena, (t->n + 1) * sizeof *v->values);
    v->leaves = arena_alloc(&v->b->arena, t->n + 1);
    memset(v->leaves, 0, t->n);
    for (uint32_t i = 0; i < t->n; i++)
        v->values[i] = (struct mirror_value){
            .is_null = true, .type = t->mirror->columns[t->mirror->sources[t->sources[i]].column].type};
    for (uint32_t i = 0; i < v->m->entity->n_slots; i++) {
        const struct map_slot *slot = &v->m->entity->slots[i];
        if (put_value(v, slot, cell_of(v, slot), t->places[slot->source]) != 0)
            return 1;
    }
    return 0;
}

static uint32_t count_bits(const struct field_bits *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_words; i++)
        n += (uint32_t)__builtin_popcountll(b->words[i]);
    return n;
}

static uint32_t most_changed(const struct field_set *set)
{
    uint32_t n = count_bits(&set->top);
    for (uint32_t i = 0; i < set->n_nested; i++)
        n += count_bits(&set->nested[i].bits);
    return n;
}

/* Versions are decided in the order of the fields' numbers, which schemas that grew do not have. */
static void sort_fields(struct valuer *v)
{
    for (uint32_t i = 1; i < v->n; i++)
        for (uint32_t k = i; k > 0 && v->fields[k - 1] > v->fields[k]; k--) {
            const uint32_t field = v->fields[k], source = v->sources[k];
            const struct mirror_value value = v->values[k];
            const bool leave = v->leaves[k];
            v->fields[k] = v->fields[k - 1];
            v->sources[k] = v->sources[k - 1];
            v->values[k] = v->values[k - 1];
            v->leaves[k] = v->leaves[k - 1];
            v->fields[k - 1] = field;
            v->sources[k - 1] = source;
            v->values[k - 1] = value;
            v->leaves[k - 1] = leave;
        }
}

static void add_text(struct valuer *v, const struct map_slot *slot, const struct cell *cell, uint32_t most)
{
    struct mapped *m = v->m;
    if (!cell || cell->type != CELL_STRING) {
        m->misses_text = true;
        return;
    }
    struct text_change *texts = (struct text_change *)m->texts;
    if (!texts)
        m->texts = texts = arena_alloc(&v->b->arena, most * sizeof *texts);
    texts[m->n_texts++] = (struct text_change){slot, m->table->numbers[slot->source], cell->as.bytes};
}

static int map_update(struct valuer *v)
{
    const struct table *t = v->m->table;
    const struct change *ch = v->m->d->ch;
    const uint32_t most = most_changed(&ch->changed) + 1;
    v->fields = arena_alloc(&v->b->arena, most * sizeof *v->fields);
    v->sources = arena_alloc(&v->b->arena, most * sizeof *v->sources);
    v->values = arena_alloc(&v->b->arena, most * sizeof *v->values);
    v->leaves = arena_alloc(&v->b->arena, most);
    for (uint32_t i = 0; i < v->m->entity->n_slots && v->n + v->m->n_texts + 1 < most; i++) {
        const struct map_slot *slot = &v->m->entity->slots[i];
        if (!field_set_has(&ch->changed, slot->index, slot->child))
            continue;
        const struct cell *cell = cell_of(v, slot);
        if (!cell && !field_set_has(&ch->nulled, slot->index, slot->child))
            continue; /* it does not say: never touched */
        if (field_set_has(&ch->diff, slot->index, slot->child)) {
            add_text(v, slot, cell, most);
            continue;
        }
        if (put_value(v, slot, cell, v->n) != 0)
            return 1;
        v->fields[v->n] = t->numbers[slot->source];
        v->sources[v->n++] = slot->source;
    }
    sort_fields(v);
    return 0;
}

void pieces_map(struct pieces *p, struct batch *b)
{
    struct err why = ERR_INIT;
    for (size_t i = 0; i < p->n_mapped; i++) {
        struct mapped *m = &p->mapped[i];
        struct valuer v = {.b = b, .m = m, .why = &why, .cut = &p->cut};
        if (m->what == MAPPED_NOTHING)
            continue;
        const bool image = m->what == MAPPED_APPEND || m->change.kind == CONFLICT_IMAGE;
        if (!image && m->change.kind != CONFLICT_UPDATE)
            continue;
        if ((image ? map_image(&v) : map_update(&v)) != 0)
            continue;
        m->change.n = v.n;
        m->change.fields = v.fields;
        m->sources = v.sources;
        m->values = v.values;
        m->leaves = v.leaves;
    }
}
