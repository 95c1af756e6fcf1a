/*
 * A step draws a kind from a table of weights and calls its function. A kind that cannot run now (no
 * rows yet, fewer events left than it needs) answers 0, and a create takes its place: so a young
 * company grows, and a count is met exactly.
 */
#include "sim/workload.h"

#include "base/clock.h"
#include "base/digest.h"

#include <stdio.h>

enum { MERGE_MAX = 4, ROWS_ENOUGH = 12, ROWS_MAX = 1500 };

static const char *const origins[] = {
    "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
    "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
    "com/salesforce/api/rest/66.0;client=sync",
    "com/salesforce/api/bulkapi/66.0",
    "com/salesforce/api/soap/66.0;client=devconsole",
    "",
};

static bool chance(struct workload *w, double p)
{
    return p > 0 && (double)(rng_next(&w->rng) >> 11) * 0x1p-53 < p;
}

/* --- publishing -------------------------------------------------------------------------------- */

static void remember_repeat(struct workload *w, const struct publication *p, uint64_t index)
{
    if (w->n_repeats == WORKLOAD_MAX_REPEATS || p->n_record_ids > ARRAY_LEN(w->repeats[0].record_ids))
        return;
    struct repeat *r = &w->repeats[w->n_repeats++];
    r->publication = *p;
    r->publication.shares_replay_id = false;
    r->publication.duplicate_of = index;
    buf_clear(&r->payload);
    buf_add_span(&r->payload, p->payload);
    memcpy(r->event_id, p->event_id.p, p->event_id.n);
    for (size_t i = 0; i < p->n_record_ids; i++)
        memcpy(r->record_ids[i], p->record_ids[i], sizeof r->record_ids[i]);
}

static void publish_repeat(struct workload *w, unsigned i)
{
    struct repeat *r = &w->repeats[i];
    r->publication.payload = buf_span(&r->payload);
    r->publication.event_id = span_of(r->event_id, r->publication.event_id.n);
    r->publication.record_ids = (const char(*)[19])r->record_ids;
    bus_publish(w->bus, &r->publication);
    struct repeat last = w->repeats[--w->n_repeats];
    w->repeats[w->n_repeats] = *r;
    w->repeats[i] = last;
}

static void publish(struct workload *w, const struct entity *entity, struct publication *p)
{
    if (!p->shares_replay_id)
        draw_uuid(&w->rng, w->event_id);
    p->topic = w->topic[entity - entities];
    p->entity = entity->name;
    p->event_id = span_of_str(w->event_id);
    p->payload = buf_span(&w->payload);
    p->schema_id = span_of_str(w->schema_id[entity - entities]);
    if (p->note && strcmp(p->note, "unknown schema") == 0) {
        snprintf(w->unknown_id, sizeof w->unknown_id, "unknown%015llu",
                 (unsigned long long)w->published % 1000000000000000ull);
        p->schema_id = span_of_str(w->unknown_id);
    }
    uint64_t index = bus_publish(w->bus, p);
    w->published++;
    w->left--;
    if (!p->note && chance(w, w->options.duplicates))
        remember_repeat(w, p, index);
}

static void publish_change(struct workload *w, const struct change_event *event, bool shares_replay_id,
                           const char *note)
{
    if (!shares_replay_id) /* a hole now and then: an object nobody subscribed to */
        w->tx.sequence += rng_below(&w->rng, 10) ? 1 : 2;
    buf_clear(&w->payload);
    payload_change(&w->payload, event, &w->tx);
    struct publication p = {
        .change_type = sim_change_type_name(event->type),
        .record_ids = event->record_ids,
        .n_record_ids = event->n_record_ids,
        .shares_replay_id = shares_replay_id,
        .note = note,
    };
    publish(w, event->entity, &p);
}

static void publish_row(struct workload *w, const struct table *t, enum sim_change_type type,
                        const struct row *row, const struct leaf_marks *marks)
{
    struct change_event event = {.entity = t->entity,
                                 .type = type,
                                 .record_ids = (const char(*)[19])row->id,
                                 .n_record_ids = 1,
                                 .row = type == SIM_DELETE ? NULL : row,
                                 .marks = marks};
    publish_change(w, &event, false, NULL);
}

static void begin_transaction(struct workload *w)
{
    struct transaction *tx = &w->tx;
    draw_transaction_key(&w->rng, tx->key);
    tx->origin = origins[rng_below(&w->rng, ARRAY_LEN(origins))];
    tx->user = w->org->users[1 + rng_below(&w->rng, ARRAY_LEN(w->org->users) - 1)];
    w->commit_number += 1 + (int64_t)rng_below(&w->rng, 5000);
    tx->commit_number = w->commit_number;
    uint64_t pause_s = rng_below(&w->rng, 3);
    if (w->options.start_ms)
        w->clock_ms += (int64_t)pause_s * 1000;
    else
        w->clock_ms = clock_wall_ms() + w->shift_ms;
    tx->commit_ms = w->clock_ms / 1000 * 1000;
    tx->sequence = 0;
}

/* --- rows -------------------------------------------------------------------------------------- */

static struct row *other_row(struct workload *w, enum entity_number n)
{
    return table_draw(&w->org->tables[n], &w->rng);
}

static void draw_plain(struct workload *w, struct field_val *leaf, const struct entity_field *field)
{
    const struct row *other;
    switch (field->value) {
    case VALUE_ACCOUNT:
    case VALUE_CONTACT:
        other = other_row(w, field->value == VALUE_ACCOUNT ? ENTITY_ACCOUNT : ENTITY_CONTACT);
        if (other && other->leaves != w->filling) /* nobody is his own parent */
            val_set_text(leaf, other->id);
        else
            val_clear(leaf);
        break;
    default:
        val_draw(leaf, &w->rng, field, w->tx.commit_ms);
    }
}

/* Fields the platform itself fills in. */
static bool fill_system(struct workload *w, struct field_val *leaf, const struct entity_field *field,
                        uint64_t number)
{
    char text[32];
    switch (field->value) {
    case VALUE_CREATED_DATE:
    case VALUE_MODIFIED_DATE:
        val_set_int(leaf, w->tx.commit_ms);
        return true;
    case VALUE_OWNER:
    case VALUE_CREATED_BY:
    case VALUE_MODIFIED_BY:
        val_set_text(leaf, w->tx.user);
        return true;
    case VALUE_AUTONUMBER:
        snprintf(text, sizeof text, "INV-%06llu", (unsigned long long)number);
        val_set_text(leaf, text);
        return true;
    case VALUE_NONE:
        return true;
    default:
        return false;
    }
}

static void fill_new(struct workload *w, const struct entity *entity, struct field_val *leaves, bool person,
                     uint64_t number)
{
    for (unsigned f = 0; f < entity->n_fields; leaves += type_leaves(entity->fields[f++].type)) {
        const struct entity_field *field = &entity->fields[f];
        unsigned n;
        if (fill_system(w, leaves, field, number))
            continue;
        if (!(field->flags & FIELD_REQUIRED) && rng_below(&w->rng, 100) >= 60)
            continue;
        if (type_components(field->type, &n))
            val_draw_compound(leaves, &w->rng, field->type, person);
        else
            draw_plain(w, leaves, field);
    }
}

static unsigned field_named(const struct entity *entity, const char *name)
{
    unsigned f = 0;
    while (f < entity->n_fields && strcmp(entity->fields[f].name, name) != 0)
        f++;
    return f;
}

/* LastModifiedDate changes with every update; LastModifiedById only when another user made it. */
static void mark_modified(struct workload *w, const struct entity *entity, struct row *row,
                          struct leaf_marks *marks)
{
    unsigned date = entity_first_leaf(entity, field_named(entity, "LastModifiedDate"));
    unsigned by = entity_first_leaf(entity, field_named(entity, "LastModifiedById"));
    val_set_int(&row->leaves[date], w->tx.commit_ms);
    marks->changed[date] = true;
    if (row->leaves[by].tag != TAG_STRING || strcmp(row->leaves[by].as.text, w->tx.user) != 0) {
        val_set_text(&row->leaves[by], w->tx.user);
        marks->changed[by] = true;
    }
}

static void mark(struct leaf_marks *marks, unsigned leaf, const struct field_val *before,
                 const struct field_val *after)
{
    if (val_equal(before, after))
        return;
    marks->changed[leaf] = true;
    marks->nulled[leaf] = after->tag == TAG_NULL;
}

static void change_plain(struct workload *w, struct row *row, const struct entity_field *field, unsigned leaf,
                         struct leaf_marks *marks)
{
    struct field_val before = row->leaves[leaf];
    memset(&row->leaves[leaf], 0, sizeof row->leaves[leaf]);
    if ((field->flags & FIELD_REQUIRED) || before.tag == TAG_NULL || rng_below(&w->rng, 100) >= 15)
        draw_plain(w, &row->leaves[leaf], field);
    mark(marks, leaf, &before, &row->leaves[leaf]);
    val_clear(&before);
}

static void change_compound(struct workload *w, struct row *row, const struct entity_field *field,
                            unsigned leaf, struct leaf_marks *marks)
{
    unsigned n, first = leaf;
    type_components(field->type, &n);
    if (field->type == TYPE_SWITCHABLE_NAME) {
        if (!row->is_person) {
            change_plain(w, row, field, leaf, marks);
            return;
        }
        first++;
    }
    uint64_t chosen = 1 + rng_below(&w->rng, (1u << n) - 1);
    for (unsigned i = 0; i < n; i++) {
        /* Geocodes belong to the geocoder; a custom geolocation is always sent whole. */
        bool geocode = field->type == TYPE_ADDRESS && i >= 7;
        if (geocode || !(chosen >> i & 1 || field->type == TYPE_LOCATION))
            continue;
        struct field_val before = row->leaves[first + i];
        memset(&row->leaves[first + i], 0, sizeof before);
        bool keep = (field->flags & FIELD_REQUIRED) && i == n - 1; /* LastName */
        if (keep || field->type == TYPE_LOCATION || before.tag == TAG_NULL || rng_below(&w->rng, 100) >= 20)
            val_draw_component(&row->leaves[first + i], &w->rng, field->type, i);
        mark(marks, first + i, &before, &row->leaves[first + i]);
        val_clear(&before);
    }
}

enum changeable {
    ANY_FIELD,
    PLAIN_FIELDS /* what several records can be given at once: no names, no addresses */
};

static void change_fields(struct workload *w, const struct entity *entity, struct row *row, unsigned n,
                          enum changeable which, struct leaf_marks *marks)
{
    unsigned changeable[64], n_changeable = 0, components;
    for (unsigned f = 0; f < entity->n_fields; f++) {
        const struct entity_field *field = &entity->fields[f];
        if (field->value >= VALUE_FIRST_CHANGEABLE &&
            (which == ANY_FIELD ||
             (!type_components(field->type, &components) && strcmp(field->name, "Name") != 0)))
            changeable[n_changeable++] = f;
    }
    while (n--) {
        unsigned f = changeable[rng_below(&w->rng, n_changeable)];
        const struct entity_field *field = &entity->fields[f];
        unsigned leaf = entity_first_leaf(entity, f);
        if (marks->changed[leaf])
            continue;
        if (type_components(field->type, &components))
            change_compound(w, row, field, leaf, marks);
        else
            change_plain(w, row, field, leaf, marks);
    }
}

/* Different live rows of one table; returns how many. */
static unsigned draw_rows(struct workload *w, const struct table *t, struct row **rows, unsigned wanted)
{
    unsigned n = 0;
    for (unsigned tries = 0; n < wanted && tries < 4 * wanted; tries++) {
        struct row *row = table_draw(t, &w->rng);
        bool known = !row;
        for (unsigned i = 0; i < n; i++)
            known |= rows[i] == row;
        if (!known)
            rows[n++] = row;
    }
    return n;
}

static void ids_of(struct row *const *rows, unsigned n, char ids[][19])
{
    for (unsigned i = 0; i < n; i++)
        memcpy(ids[i], rows[i]->id, sizeof ids[i]);
}

/* Objects with records, in the proportion a sales team touches them. */
static struct table *draw_table(struct workload *w)
{
    static const enum entity_number often[] = {ENTITY_ACCOUNT,     ENTITY_ACCOUNT, ENTITY_ACCOUNT,
                                               ENTITY_CONTACT,     ENTITY_CONTACT, ENTITY_OPPORTUNITY,
                                               ENTITY_OPPORTUNITY, ENTITY_INVOICE};
    return &w->org->tables[often[rng_below(&w->rng, ARRAY_LEN(often))]];
}

/* --- kinds of transactions: each returns whether it published anything ------------------------------- */

static struct row *create_in(struct workload *w, struct table *t)
{
    struct row *row = table_insert(t);
    row->is_person = t->entity == &entities[ENTITY_ACCOUNT] && rng_below(&w->rng, 6) == 0;
    w->filling = row->leaves;
    fill_new(w, t->entity, row->leaves, row->is_person, t->next_number);
    w->filling = NULL;
    publish_row(w, t, SIM_CREATE, row, NULL);
    return row;
}

static bool do_create(struct workload *w)
{
    create_in(w, draw_table(w));
    return true;
}

static bool do_conversion(struct workload *w)
{
    static const enum entity_number made[] = {ENTITY_ACCOUNT, ENTITY_CONTACT, ENTITY_OPPORTUNITY};
    if (w->left < ARRAY_LEN(made) || w->org->tables[ENTITY_ACCOUNT].n_live > ROWS_MAX)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        create_in(w, &w->org->tables[made[i]]);
        if (rng_below(&w->rng, 10) == 0)
            w->tx.commit_ms += 1000; /* stamps may differ inside one transaction */
    }
    return true;
}

static bool do_update(struct workload *w)
{
    struct table *t = draw_table(w);
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    change_fields(w, t->entity, row, 1 + (unsigned)rng_below(&w->rng, 4), ANY_FIELD, &marks);
    mark_modified(w, t->entity, row, &marks);
    publish_row(w, t, SIM_UPDATE, row, &marks);
    return true;
}

/* The same change to several records: one event with all their ids. */
static bool merged_update(struct workload *w, bool as_group)
{
    struct table *t = draw_table(w);
    struct row *rows[MERGE_MAX];
    char ids[MERGE_MAX][19];
    unsigned n = draw_rows(w, t, rows, 2 + (unsigned)rng_below(&w->rng, MERGE_MAX - 1));
    if (n < 2 || (as_group && w->left < n))
        return false;
    struct leaf_marks marks = {{0}, {0}};
    unsigned leaves = entity_leaves(t->entity);
    ids_of(rows, n, ids);
    change_fields(w, t->entity, rows[0], 1 + (unsigned)rng_below(&w->rng, 2), PLAIN_FIELDS, &marks);
    mark_modified(w, t->entity, rows[0], &marks);
    for (unsigned i = 1; i < n; i++)
        for (unsigned leaf = 0; leaf < leaves; leaf++)
            if (marks.changed[leaf])
                val_copy(&rows[i]->leaves[leaf], &rows[0]->leaves[leaf]);
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])ids,
                                 .n_record_ids = n,
                                 .row = rows[0],
                                 .marks = &marks};
    if (!as_group) {
        publish_change(w, &event, false, NULL);
        return true;
    }
    for (unsigned i = 0; i < n;
         i++) { /* one event, split up again: same id, same replay id, one record each */
        event.record_ids = (const char(*)[19])ids[i];
        event.n_record_ids = 1;
        publish_change(w, &event, i > 0, NULL);
    }
    return true;
}

static bool do_merged_update(struct workload *w)
{
    return merged_update(w, false);
}

static bool do_shared_replay(struct workload *w)
{
    return merged_update(w, true);
}

/* One update of two records arrives as three events: what they share, then what each has alone. */
static bool do_split_update(struct workload *w)
{
    struct table *t = draw_table(w);
    struct row *rows[2];
    char ids[2][19];
    if (w->left < 3 || draw_rows(w, t, rows, 2) < 2)
        return false;
    struct leaf_marks shared = {{0}, {0}}, own[2] = {{{0}, {0}}, {{0}, {0}}}, second = {{0}, {0}};
    ids_of(rows, 2, ids);
    for (int i = 0; i < 2; i++)
        change_fields(w, t->entity, rows[i], 1 + (unsigned)rng_below(&w->rng, 3), ANY_FIELD, &own[i]);
    mark_modified(w, t->entity, rows[0], &shared);
    mark_modified(w, t->entity, rows[1], &second);
    for (unsigned leaf = 0; leaf < ENTITY_MAX_LEAVES; leaf++)
        shared.changed[leaf] |= second.changed[leaf];
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])ids,
                                 .n_record_ids = 2,
                                 .row = rows[0],
                                 .marks = &shared};
    publish_change(w, &event, false, NULL);
    for (int i = 0; i < 2; i++)
        publish_row(w, t, SIM_UPDATE, rows[i], &own[i]);
    return true;
}

/* The geocoder answers an address change: another user, nested bits only, no LastModifiedDate. */
static bool do_geocode(struct workload *w)
{
    struct table *t = &w->org->tables[ENTITY_ACCOUNT];
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    unsigned leaf = entity_first_leaf(
        t->entity, field_named(t->entity, rng_below(&w->rng, 2) ? "BillingAddress" : "ShippingAddress"));
    if (row->leaves[leaf + 1].tag == TAG_NULL)
        return false;
    w->tx.user = w->org->users[0];
    w->tx.origin = "";
    for (unsigned i = 7; i < 10; i++) {
        if (i == 9 && row->leaves[leaf + i].tag != TAG_NULL)
            continue;
        val_draw_component(&row->leaves[leaf + i], &w->rng, TYPE_ADDRESS, i);
        marks.changed[leaf + i] = true;
    }
    publish_row(w, t, SIM_UPDATE, row, &marks);
    return true;
}

static bool do_delete(struct workload *w)
{
    struct table *t = draw_table(w);
    struct row *rows[MERGE_MAX];
    char ids[MERGE_MAX][19];
    if (t->n_live < ROWS_ENOUGH)
        return false;
    unsigned wanted = rng_below(&w->rng, 5) ? 1 : 2 + (unsigned)rng_below(&w->rng, MERGE_MAX - 1);
    unsigned n = draw_rows(w, t, rows, wanted);
    ids_of(rows, n, ids);
    struct change_event event = {
        .entity = t->entity, .type = SIM_DELETE, .record_ids = (const char(*)[19])ids, .n_record_ids = n};
    publish_change(w, &event, false, NULL);
    for (unsigned i = 0; i < n; i++)
        table_delete(t, rows[i]);
    return true;
}

static bool do_undelete(struct workload *w)
{
    struct table *t = draw_table(w);
    struct row *row = table_undelete(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    mark_modified(w, t->entity, row, &marks);
    publish_row(w, t, SIM_UNDELETE, row, NULL);
    return true;
}

static bool do_order(struct workload *w)
{
    const struct entity *entity = &entities[ENTITY_ORDER];
    struct field_val leaves[16];
    memset(leaves, 0, sizeof leaves);
    fill_new(w, entity, leaves, false, 0);
    leaves[0].as.integer += (int64_t)rng_below(&w->rng, 1000); /* platform events have milliseconds */
    buf_clear(&w->payload);
    payload_platform(&w->payload, entity, leaves);
    struct publication p = {.change_type = NULL};
    publish(w, entity, &p);
    for (unsigned f = 0; f < entity->n_fields; f++)
        val_clear(&leaves[f]);
    return true;
}

/* --- events no client can decode; the rows do not change ------------------------------------------- */

static const char *damage(struct workload *w, struct buf *payload)
{
    switch (rng_below(&w->rng, 4)) {
    case 0:
        payload->len -= 1 + rng_below(&w->rng, 40);
        return "cut short";
    case 1:
        buf_add(payload, "\x01\x02\x03", 3);
        return "bytes behind the end";
    case 2: /* entityName would be 2^62 bytes long */
        memcpy(payload->data, "\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", 9);
        return "impossible length";
    default:
        payload->len = 0;
        return "empty";
    }
}

static bool do_undecodable(struct workload *w, const char *note)
{
    struct table *t = draw_table(w);
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    marks.changed[entity_first_leaf(t->entity, field_named(t->entity, "LastModifiedDate"))] = true;
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])row->id,
                                 .n_record_ids = 1,
                                 .row = row,
                                 .marks = &marks};
    w->tx.sequence = 1;
    buf_clear(&w->payload);
    payload_change(&w->payload, &event, &w->tx);
    if (!note)
        note = damage(w, &w->payload);
    struct publication p = {
        .change_type = "UPDATE", .record_ids = (const char(*)[19])row->id, .n_record_ids = 1, .note = note};
    publish(w, t->entity, &p);
    return true;
}

static bool do_oversize(struct workload *w)
{
    struct table *t = &w->org->tables[ENTITY_ACCOUNT];
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    struct buf text = BUF_INIT;
    memset(buf_reserve(&text, (size_t)w->options.oversize), 'x', (size_t)w->options.oversize);
    text.len = (size_t)w->options.oversize;
    text.data[text.len] = 0;
    unsigned leaf = entity_first_leaf(t->entity, field_named(t->entity, "Description"));
    val_clear(&row->leaves[leaf]);
    row->leaves[leaf].tag = TAG_STRING;
    row->leaves[leaf].as.text = buf_detach(&text);
    marks.changed[leaf] = true;
    mark_modified(w, t->entity, row, &marks);
    publish_row(w, t, SIM_UPDATE, row, &marks);
    return true;
}

/* --- steps ------------------------------------------------------------------------------------- */

static const struct {
    unsigned weight;
    bool (*run)(struct workload *w);
} kinds[] = {
    {22, do_create}, {42, do_update},  {4, do_merged_update}, {6, do_split_update}, {4, do_geocode},
    {5, do_delete},  {3, do_undelete}, {2, do_conversion},    {12, do_order},
};

static bool run_ordinary(struct workload *w)
{
    unsigned total = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        total += kinds[i].weight;
    uint64_t at = rng_below(&w->rng, total);
    size_t i = 0;
    for (; at >= kinds[i].weight; i++)
        at -= kinds[i].weight;
    if (kinds[i].run == do_create && w->org->tables[ENTITY_ACCOUNT].n_live > ROWS_MAX)
        return do_delete(w);
    return kinds[i].run(w);
}

static bool run_special(struct workload *w)
{
    const struct workload_options *o = &w->options;
    if (o->oversize && w->published + 1 >= o->oversize_at && do_oversize(w)) {
        w->options.oversize = 0;
        return true;
    }
    if (o->unknown_schema_every && (w->published + 1) % o->unknown_schema_every == 0)
        return do_undecodable(w, "unknown schema");
    if (chance(w, o->undecodable))
        return do_undecodable(w, NULL);
    return chance(w, o->shared_replay) && do_shared_replay(w);
}

uint64_t workload_step(struct workload *w, uint64_t max)
{
    uint64_t before = w->published;
    w->left = max;
    begin_transaction(w);
    if (!run_special(w) && !run_ordinary(w))
        do_create(w);
    /* A repeat comes a while after its event, not always at once. */
    for (unsigned i = 0; i < w->n_repeats;)
        if (rng_below(&w->rng, 2))
            publish_repeat(w, i);
        else
            i++;
    return w->published - before;
}

void workload_finish(struct workload *w)
{
    while (w->n_repeats)
        publish_repeat(w, 0);
}

int workload_init(struct workload *w, const struct workload_options *options, struct org *org,
                  struct bus *bus, struct topics *topics, struct schemas *schemas, struct err *e)
{
    memset(w, 0, sizeof *w);
    w->options = *options;
    w->org = org;
    w->bus = bus;
    w->rng.state = options->seed;
    w->clock_ms = options->start_ms;
    /* Over 2^53: a client that reads it as a double shows it wrong. */
    w->commit_number = 9007199254740993 + (int64_t)rng_below(&w->rng, 1000000000);
    for (unsigned i = 0; i < ENTITY_COUNT; i++) {
        struct buf json = BUF_INIT;
        char *id = w->schema_id[i];
        entity_schema_json(&json, &entities[i]);
        int rc = schemas_add(schemas, buf_span(&json), id, e);
        buf_release(&json);
        if (rc < 0)
            return err_prefix(e, "%s", entities[i].name);
        struct topic *topic = topics_add(topics, entities[i].topic, id);
        if (!topic)
            return err_set(e, ERR_CONFIG, "workload", 0, "more than %d topics", TOPICS_MAX);
        topic->has_workload = true;
        w->topic[i] = topic;
    }
    return 0;
}

void workload_release(struct workload *w)
{
    buf_release(&w->payload);
    for (unsigned i = 0; i < WORKLOAD_MAX_REPEATS; i++)
        buf_release(&w->repeats[i].payload);
}
