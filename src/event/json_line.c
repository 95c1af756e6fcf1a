/*
 * One event as one line (INTERFACE "One event as JSON").
 *
 * `fields` says what the event says. A full image (CREATE, UNDELETE, snapshot, platform event) lists its
 * non-null values in schema order. An UPDATE lists what its bitmaps name: plain fields ascending, then
 * compounds ascending with their named components; a name in nulledFields is null whatever the body
 * holds, a changed name without a value is left out. What the body holds beyond the names goes to
 * `enriched`; so do the values of a DELETE or gap, which name none.
 *
 * bytes and fixed, which the service does not send, are base64url without padding.
 */
#include "event/json_line.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/text.h"
#include "event/line_writer.h"

static void write_cell(struct writer *w, const struct cell *cell);

static inline void write_key(struct writer *w, const struct schema_field *field, bool *first)
{
    write_room(w, field->quoted_len + 1u);
    *w->at = ',';
    w->at += !*first;
    memcpy(w->at, field->quoted, field->quoted_len);
    w->at += field->quoted_len;
    *first = false;
}

static void write_record(struct writer *w, const struct cell *cell)
{
    bool first = true;
    write_char(w, '{');
    for (uint32_t i = 0; i < cell->n; i++) {
        const struct field_value *value = &cell->as.record.fields[i];
        write_key(w, &cell->as.record.shape->fields[value->index], &first);
        write_cell(w, &value->cell);
    }
    write_char(w, '}');
}

static void write_array(struct writer *w, const struct cell *cell)
{
    write_char(w, '[');
    for (uint32_t i = 0; i < cell->n; i++) {
        if (i)
            write_char(w, ',');
        write_cell(w, &cell->as.items[i]);
    }
    write_char(w, ']');
}

static void write_map(struct writer *w, const struct cell *cell)
{
    write_char(w, '{');
    for (uint32_t i = 0; i < cell->n; i++) {
        if (i)
            write_char(w, ',');
        write_string(w, cell->as.entries[i].key);
        write_char(w, ':');
        write_cell(w, &cell->as.entries[i].cell);
    }
    write_char(w, '}');
}

static void write_bytes(struct writer *w, struct span bytes)
{
    write_char(w, '"');
    writer_end(w);
    base64url_add(w->out, bytes);
    writer_begin(w, w->out);
    write_char(w, '"');
}

static void write_cell(struct writer *w, const struct cell *cell)
{
    switch (cell->type) {
    case CELL_NULL:
        write_literal(w, "null");
        return;
    case CELL_BOOLEAN:
        if (cell->as.boolean)
            write_literal(w, "true");
        else
            write_literal(w, "false");
        return;
    case CELL_INT:
        write_int(w, cell->as.integer);
        return;
    case CELL_DOUBLE:
        write_double(w, cell->as.number);
        return;
    case CELL_STRING:
        write_string(w, cell->as.bytes);
        return;
    case CELL_BYTES:
        write_bytes(w, cell->as.bytes);
        return;
    case CELL_RECORD:
        write_record(w, cell);
        return;
    case CELL_ARRAY:
        write_array(w, cell);
        return;
    case CELL_MAP:
        write_map(w, cell);
        return;
    }
}

/* Ids from outside the payload: nobody has checked them, and the line must be UTF-8. */
static void write_foreign(struct writer *w, struct span s)
{
    if (LIKELY(text_is_utf8(s))) {
        write_string(w, s);
        return;
    }
    write_char(w, '"');
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x20 && s.p[i] < 0x7f && s.p[i] != '"' && s.p[i] != '\\')
            write_char(w, (char)s.p[i]);
        else
            write_literal(w, "\xef\xbf\xbd");
    write_char(w, '"');
}

static uint64_t word_of(const struct field_bits *bits, uint32_t word)
{
    return word < bits->n_words ? bits->words[word] : 0;
}

static uint32_t more_words(const struct field_bits *a, const struct field_bits *b)
{
    return a->n_words > b->n_words ? a->n_words : b->n_words;
}

/* ["Phone","BillingAddress.City"] */
static void write_names(struct writer *w, const struct record_shape *root, const struct field_set *set)
{
    bool first = true;
    write_char(w, '[');
    for (uint32_t word = 0; word < set->top.n_words; word++)
        for (uint64_t bits = set->top.words[word]; bits; bits &= bits - 1) {
            const struct schema_field *field = &root->fields[word * 64 + (uint32_t)__builtin_ctzll(bits)];
            write_key(w, field, &first);
            w->at--; /* the colon */
        }
    for (uint32_t i = 0; i < set->n_nested; i++) {
        const struct schema_field *parent = &root->fields[set->nested[i].parent];
        for (uint32_t word = 0; word < set->nested[i].bits.n_words; word++)
            for (uint64_t bits = set->nested[i].bits.words[word]; bits; bits &= bits - 1) {
                const struct schema_field *child =
                    &parent->record->fields[word * 64 + (uint32_t)__builtin_ctzll(bits)];
                write_key(w, parent, &first);
                w->at[-2] = '.'; /* over the closing quote, then the child over the colon */
                w->at--;
                write_raw(w, child->quoted + 1, child->quoted_len - 2u);
            }
    }
    write_char(w, ']');
}

/* Values in ascending order of their fields, looked up in ascending order. */
struct cursor {
    const struct field_value *at;
    const struct field_value *end;
};

static const struct cell *find_value(struct cursor *c, uint32_t index)
{
    while (c->at < c->end && c->at->index < index)
        c->at++;
    return c->at < c->end && c->at->index == index ? &c->at->cell : NULL;
}

/* The named fields of one level. */
static void write_named(struct writer *w, const struct record_shape *shape, const struct field_bits *changed,
                        const struct field_bits *nulled, struct cursor values, bool *first)
{
    uint32_t n_words = more_words(changed, nulled);
    for (uint32_t word = 0; word < n_words; word++) {
        uint64_t null_bits = word_of(nulled, word);
        for (uint64_t bits = word_of(changed, word) | null_bits; bits; bits &= bits - 1) {
            uint64_t bit = bits & -bits;
            uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
            const struct cell *cell = null_bits & bit ? NULL : find_value(&values, index);
            if (!cell && !(null_bits & bit))
                continue;
            write_key(w, &shape->fields[index], first);
            if (cell)
                write_cell(w, cell);
            else
                write_literal(w, "null");
        }
    }
}

static const struct field_bits no_bits = {0, NULL};

static const struct field_bits *nested_of(const struct field_set *set, uint32_t parent)
{
    for (uint32_t i = 0; i < set->n_nested; i++)
        if (set->nested[i].parent == parent)
            return &set->nested[i].bits;
    return &no_bits;
}

/*
 * A compound's components are listed by their own bits; a value that is not of the field's record (text in
 * a field that may be either) is listed whole.
 */
static bool by_components(const struct schema_field *field, const struct cell *cell)
{
    return field->record && cell->type == CELL_RECORD && cell->as.record.shape == field->record;
}

static void write_named_compound(struct writer *w, const struct change *ch, uint32_t parent,
                                 struct cursor *values, bool *first)
{
    const struct schema_field *field = &ch->schema->root.fields[parent];
    const struct cell *cell = find_value(values, parent);
    struct cursor children = {NULL, NULL};
    if (cell && !by_components(field, cell)) {
        write_key(w, field, first);
        write_cell(w, cell);
        return;
    }
    if (cell)
        children = (struct cursor){cell->as.record.fields, cell->as.record.fields + cell->n};
    size_t mark = (size_t)(w->at - w->out->data);
    bool was_first = *first, none = true;
    write_key(w, field, first);
    write_char(w, '{');
    write_named(w, field->record, nested_of(&ch->changed, parent), nested_of(&ch->nulled, parent), children,
                &none);
    write_char(w, '}');
    if (none) { /* named, but without values: absent, like a plain field */
        w->at = w->out->data + mark;
        *first = was_first;
    }
}

static void write_update(struct writer *w, const struct change *ch)
{
    struct cursor values = {ch->fields, ch->fields + ch->n_fields};
    bool first = true;
    write_char(w, '{');
    write_named(w, &ch->schema->root, &ch->changed.top, &ch->nulled.top, values, &first);
    for (uint32_t c = 0, n = 0; c < ch->changed.n_nested || n < ch->nulled.n_nested;) {
        uint32_t parent = UINT32_MAX;
        if (c < ch->changed.n_nested)
            parent = ch->changed.nested[c].parent;
        if (n < ch->nulled.n_nested && ch->nulled.nested[n].parent < parent)
            parent = ch->nulled.nested[n].parent;
        write_named_compound(w, ch, parent, &values, &first);
        c += c < ch->changed.n_nested && ch->changed.nested[c].parent == parent;
        n += n < ch->nulled.n_nested && ch->nulled.nested[n].parent == parent;
    }
    write_char(w, '}');
}

static void write_values(struct writer *w, const struct change *ch)
{
    bool first = true;
    write_char(w, '{');
    for (uint32_t i = 0; i < ch->n_fields; i++) {
        write_key(w, &ch->schema->root.fields[ch->fields[i].index], &first);
        write_cell(w, &ch->fields[i].cell);
    }
    write_char(w, '}');
}

static void open_enriched(struct writer *w, bool *any)
{
    if (!*any)
        write_literal(w, ",\"enriched\":{");
    *any = true;
}

/* The components of one compound that no bitmap names. */
static void write_enriched_compound(struct writer *w, const struct change *ch,
                                    const struct field_value *value, bool *any, bool *first)
{
    const struct schema_field *field = &ch->schema->root.fields[value->index];
    const struct field_bits *changed = nested_of(&ch->changed, value->index);
    const struct field_bits *nulled = nested_of(&ch->nulled, value->index);
    bool first_child = true;
    for (uint32_t i = 0; i < value->cell.n; i++) {
        const struct field_value *child = &value->cell.as.record.fields[i];
        if (field_bits_has(changed, child->index) || field_bits_has(nulled, child->index))
            continue;
        if (first_child) {
            open_enriched(w, any);
            write_key(w, field, first);
            write_char(w, '{');
        }
        write_key(w, &field->record->fields[child->index], &first_child);
        write_cell(w, &child->cell);
    }
    if (!first_child)
        write_char(w, '}');
}

/* Values the bitmaps do not name. */
static void write_enriched(struct writer *w, const struct change *ch)
{
    bool any = false, first = true;
    for (uint32_t i = 0; i < ch->n_fields; i++) {
        const struct field_value *value = &ch->fields[i];
        const struct schema_field *field = &ch->schema->root.fields[value->index];
        if (by_components(field, &value->cell)) {
            write_enriched_compound(w, ch, value, &any, &first);
            continue;
        }
        if (field_bits_has(&ch->changed.top, value->index) || field_bits_has(&ch->nulled.top, value->index) ||
            nested_of(&ch->changed, value->index) != &no_bits ||
            nested_of(&ch->nulled, value->index) != &no_bits)
            continue;
        open_enriched(w, &any);
        write_key(w, field, &first);
        write_cell(w, &value->cell);
    }
    if (any)
        write_char(w, '}');
}

static void write_envelope(struct writer *w, const struct event_data *ev, const struct line_source *source,
                           unsigned flags)
{
    write_literal(w, "{\"id\":");
    write_foreign(w, ev->event_id);
    write_literal(w, ",\"org\":");
    write_string(w, source->org_id);
    write_literal(w, ",\"topic\":");
    write_string(w, source->topic);
    write_literal(w, ",\"replay_id\":\"");
    write_room(w, ev->replay_id.n * 2 + 1);
    hex_encode(ev->replay_id, (char *)w->at);
    w->at += ev->replay_id.n * 2;
    write_literal(w, "\",\"schema_id\":");
    write_foreign(w, ev->schema_id);
    if (ev->seq) {
        write_literal(w, ",\"seq\":");
        write_uint(w, ev->seq);
    }
    if (ev->received_ms) {
        char at[25];
        clock_format_ms(ev->received_ms, at);
        write_literal(w, ",\"received_at\":\"");
        write_raw(w, at, 24);
        write_char(w, '"');
    }
    if (ev->flags & EVENT_REPLAYED) {
        write_literal(w, ",\"replay\":");
        write_uint(w, ev->generation);
    }
    if (flags & LINE_LATE)
        write_literal(w, ",\"late\":true");
}

static void write_header(struct writer *w, const struct change *ch)
{
    const struct change_header *h = &ch->header;
    write_literal(w, ",\"entity\":");
    write_string(w, h->entity);
    write_literal(w, ",\"change_type\":");
    write_string(w, h->type_name);
    write_literal(w, ",\"record_ids\":[");
    for (uint32_t i = 0; i < h->n_record_ids; i++) {
        if (i)
            write_char(w, ',');
        write_string(w, h->record_ids[i]);
    }
    write_literal(w, "],\"commit_timestamp\":");
    write_int(w, h->commit_timestamp);
    write_literal(w, ",\"commit_number\":");
    write_int(w, h->commit_number);
    write_literal(w, ",\"transaction_key\":");
    write_string(w, h->transaction_key);
    write_literal(w, ",\"sequence_number\":");
    write_int(w, h->sequence_number);
    write_literal(w, ",\"change_origin\":");
    write_string(w, h->origin);
    write_literal(w, ",\"commit_user\":");
    write_string(w, h->commit_user);
    write_literal(w, ",\"changed_fields\":");
    write_names(w, &ch->schema->root, &ch->changed);
    write_literal(w, ",\"nulled_fields\":");
    write_names(w, &ch->schema->root, &ch->nulled);
    write_literal(w, ",\"diff_fields\":");
    write_names(w, &ch->schema->root, &ch->diff);
}

static bool names_nothing(const struct change *ch)
{
    return !ch->changed.top.n_words && !ch->changed.n_nested && !ch->nulled.top.n_words &&
           !ch->nulled.n_nested;
}

/* A change type that did not exist when this was written is read as it presents itself. */
static bool is_full_image(const struct change *ch)
{
    switch (ch->header.type) {
    case CHANGE_CREATE:
    case CHANGE_UNDELETE:
    case CHANGE_TYPE_SNAPSHOT:
        return true;
    case CHANGE_TYPE_UNKNOWN:
        return ch->kind == CHANGE_RECORD && names_nothing(ch);
    default:
        return false;
    }
}

void json_line_add(struct buf *out, const struct event_data *ev, const struct change *ch,
                   const struct line_source *source, unsigned flags)
{
    struct writer writer, *w = &writer;
    writer_begin(w, out);
    write_envelope(w, ev, source, flags);
    write_literal(w, ",\"kind\":\"");
    const char *kind = change_kind_name(ch->kind);
    write_raw(w, kind, strlen(kind));
    write_char(w, '"');
    if (ch->kind != CHANGE_PLATFORM_EVENT)
        write_header(w, ch);
    write_literal(w, ",\"fields\":");
    if (ch->kind == CHANGE_PLATFORM_EVENT || is_full_image(ch)) {
        write_values(w, ch);
    } else {
        write_update(w, ch);
        write_enriched(w, ch);
    }
    write_char(w, '}');
    writer_end(w);
}
