#include "cli/change_line.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"

#include <inttypes.h>

enum { IDS_SHOWN = 3 };

/* --- values --------------------------------------------------------------------------------------- */

static void add_cell(struct buf *b, const struct cell *cell, enum field_kind kind);

/* "2026-05-06T14:30:00.123Z" without what is always zero. */
static void add_time(struct buf *b, int64_t ms, enum field_kind kind)
{
    char text[25];
    clock_format_ms(ms, text);
    if (kind == FIELD_DATE)
        buf_add(b, text, 10);
    else if (kind == FIELD_TIME)
        buf_add(b, text + 11, 12);
    else
        buf_add(b, text, 24);
}

static void add_record(struct buf *b, const struct cell *cell)
{
    buf_add_char(b, '{');
    for (uint32_t i = 0; i < cell->n; i++) {
        const struct field_value *value = &cell->as.record.fields[i];
        const struct schema_field *field = &cell->as.record.shape->fields[value->index];
        buf_addf(b, "%s%s=", i ? " " : "", field->name);
        add_cell(b, &value->cell, field->kind);
    }
    buf_add_char(b, '}');
}

static void add_items(struct buf *b, const struct cell *cell)
{
    buf_add_char(b, '[');
    for (uint32_t i = 0; i < cell->n; i++) {
        buf_add_str(b, i ? " " : "");
        add_cell(b, &cell->as.items[i], FIELD_PLAIN);
    }
    buf_add_char(b, ']');
}

static void add_entries(struct buf *b, const struct cell *cell)
{
    buf_add_char(b, '{');
    for (uint32_t i = 0; i < cell->n; i++) {
        buf_addf(b, "%s%.*s=", i ? " " : "", SPAN_ARG(cell->as.entries[i].key));
        add_cell(b, &cell->as.entries[i].cell, FIELD_PLAIN);
    }
    buf_add_char(b, '}');
}

static void add_cell(struct buf *b, const struct cell *cell, enum field_kind kind)
{
    switch (cell->type) {
    case CELL_NULL: buf_add_str(b, "null"); return;
    case CELL_BOOLEAN: buf_add_str(b, cell->as.boolean ? "true" : "false"); return;
    case CELL_INT:
        if (kind == FIELD_PLAIN)
            json_add_int(b, cell->as.integer);
        else
            add_time(b, cell->as.integer, kind);
        return;
    case CELL_DOUBLE: json_add_double(b, cell->as.number); return;
    case CELL_STRING: json_add_string(b, cell->as.bytes); return;
    case CELL_BYTES: base64url_add(b, cell->as.bytes); return;
    case CELL_RECORD: add_record(b, cell); return;
    case CELL_ARRAY: add_items(b, cell); return;
    case CELL_MAP: add_entries(b, cell); return;
    }
}

/* --- fields --------------------------------------------------------------------------------------- */

static const struct field_value *value_of(const struct field_value *values, uint32_t n, uint32_t index)
{
    for (uint32_t i = 0; i < n && values[i].index <= index; i++)
        if (values[i].index == index)
            return &values[i];
    return NULL;
}

static void add_field(struct buf *b, const char *parent, const struct schema_field *field, const struct field_value *value)
{
    buf_addf(b, "  %s%s%s=", parent, *parent ? "." : "", field->name);
    if (value)
        add_cell(b, &value->cell, field->kind);
    else
        buf_add_str(b, "null");
}

/* The names of an UPDATE: a nulled one is null, a changed one without a value says nothing and is left out. */
static void add_changed(struct buf *b, const struct change *ch)
{
    const struct record_shape *root = &ch->schema->root;
    for (uint32_t i = 0; i < root->n_fields; i++) {
        const struct schema_field *field = &root->fields[i];
        const struct field_value *value = value_of(ch->fields, ch->n_fields, i);
        if (field_set_has(&ch->nulled, i, -1))
            add_field(b, "", field, NULL);
        else if (value && field_set_has(&ch->changed, i, -1))
            add_field(b, "", field, value);
        if (!field->record)
            continue;
        for (uint32_t k = 0; k < field->record->n_fields; k++) {
            const struct field_value *child =
                value && value->cell.type == CELL_RECORD ? value_of(value->cell.as.record.fields, value->cell.n, k) : NULL;
            if (field_set_has(&ch->nulled, i, (int)k))
                add_field(b, field->name, &field->record->fields[k], NULL);
            else if (child && field_set_has(&ch->changed, i, (int)k))
                add_field(b, field->name, &field->record->fields[k], child);
        }
    }
}

static void add_image(struct buf *b, const struct change *ch)
{
    for (uint32_t i = 0; i < ch->n_fields; i++)
        add_field(b, "", &ch->schema->root.fields[ch->fields[i].index], &ch->fields[i]);
}

/* --- the line ------------------------------------------------------------------------------------- */

static int64_t time_of(const struct event_data *ev, const struct change *ch)
{
    if (ch->header.commit_timestamp)
        return ch->header.commit_timestamp;
    for (uint32_t i = 0; i < ch->n_fields; i++)
        if (strcmp(ch->schema->root.fields[ch->fields[i].index].name, "CreatedDate") == 0 && ch->fields[i].cell.type == CELL_INT)
            return ch->fields[i].cell.as.integer;
    return ev->received_ms;
}

static void add_ids(struct buf *b, const struct change_header *h)
{
    for (uint32_t i = 0; i < h->n_record_ids && i < IDS_SHOWN; i++)
        buf_addf(b, "%s%.*s", i ? "," : "  ", SPAN_ARG(h->record_ids[i]));
    if (h->n_record_ids > IDS_SHOWN)
        buf_addf(b, " and %u more", h->n_record_ids - IDS_SHOWN);
}

/* Blanks what a terminal would obey: C0, DEL, and C1 in UTF-8 (c2 80 … c2 9f). */
static void blank_controls(struct buf *b, size_t from)
{
    for (size_t i = from; i < b->len; i++) {
        uint8_t c = b->data[i];
        if (c < 0x20 || c == 0x7f) {
            b->data[i] = ' ';
        } else if (c == 0xc2 && i + 1 < b->len && b->data[i + 1] < 0xa0) {
            b->data[i] = b->data[i + 1] = ' ';
        }
    }
}

/* At most width characters from `from` on, the last of them "…" when something was cut. */
static void shorten(struct buf *b, size_t from, size_t width)
{
    size_t characters = 0, cut = b->len;
    for (size_t i = from; i < b->len; i++) {
        if ((b->data[i] & 0xc0) == 0x80)
            continue;
        if (++characters == width)
            cut = i;
    }
    if (characters <= width)
        return;
    b->len = cut;
    buf_add_str(b, "…");
}

static const char *colour_of(enum change_type type)
{
    switch (type) {
    case CHANGE_CREATE:
    case CHANGE_UNDELETE: return "\033[32m";
    case CHANGE_DELETE: return "\033[31m";
    case CHANGE_UPDATE: return "\033[33m";
    default: return "\033[35m";
    }
}

void change_line_add(struct buf *out, const struct event_data *ev, const struct change *ch, size_t width, bool colour)
{
    bool is_change = ch->kind != CHANGE_PLATFORM_EVENT;
    size_t start = out->len;
    char stamp[25];
    clock_format_ms(time_of(ev, ch), stamp);
    stamp[10] = ' ';
    if (ev->seq)
        buf_addf(out, "%8" PRIu64 "  ", ev->seq);
    buf_addf(out, "%.19s  ", stamp);
    size_t type_at = out->len;
    if (is_change)
        buf_addf(out, "%-8.*s", SPAN_ARG(ch->header.type_name));
    else
        buf_addf(out, "%-8s", "EVENT");
    size_t type_end = out->len;
    if (is_change)
        buf_addf(out, "  %.*s", SPAN_ARG(ch->header.entity));
    else
        buf_addf(out, "  %s", ch->schema->root.name);
    add_ids(out, &ch->header);
    if (is_change && ch->header.type == CHANGE_UPDATE)
        add_changed(out, ch);
    else
        add_image(out, ch);
    blank_controls(out, start);
    shorten(out, start, width);
    if (colour && out->len > type_end) {
        struct buf rest = BUF_INIT;
        buf_add(&rest, out->data + type_at, out->len - type_at);
        out->len = type_at;
        buf_add_str(out, is_change ? colour_of(ch->header.type) : "\033[36m");
        buf_add(out, rest.data, type_end - type_at);
        buf_add_str(out, "\033[0m");
        buf_add(out, rest.data + (type_end - type_at), rest.len - (type_end - type_at));
        buf_release(&rest);
    }
    buf_add_char(out, '\n');
}
