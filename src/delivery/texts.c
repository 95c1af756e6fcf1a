#include "delivery/map_parts.h"

#include "base/digest.h"
#include "base/json.h"

#include <math.h>
#include <string.h>

bool texts_add_moment(struct buf *b, enum field_kind kind, int64_t v)
{
    char text[MIRROR_TIME_ROOM];
    struct mirror_value value = {.type = kind == FIELD_DATETIME ? MIRROR_DATETIME
                                         : kind == FIELD_DATE   ? MIRROR_DATE
                                                                : MIRROR_TIME,
                                 .as.integer = v};
    if (kind == FIELD_DATE) {
        if (v % MOMENT_DAY_MS != 0)
            return false;
        value.as.integer = moment_day(v);
    }
    if (!mirror_time_text(&value, text))
        return false;
    buf_add_str(b, text);
    return true;
}

bool texts_has_nul(struct span s)
{
    return s.n && memchr(s.p, 0, s.n);
}

static bool add_json_record(struct buf *b, const struct cell *cell)
{
    buf_add_char(b, '{');
    for (uint32_t i = 0; i < cell->n; i++) {
        const struct field_value *value = &cell->as.record.fields[i];
        const struct schema_field *field = &cell->as.record.shape->fields[value->index];
        buf_addf(b, "%s%.*s", i ? "," : "", (int)field->quoted_len, field->quoted);
        if (!texts_add_json(b, &value->cell, field->kind))
            return false;
    }
    buf_add_char(b, '}');
    return true;
}

static bool add_json_list(struct buf *b, const struct cell *cell, enum field_kind kind)
{
    buf_add_char(b, '[');
    for (uint32_t i = 0; i < cell->n; i++) {
        if (i)
            buf_add_char(b, ',');
        if (!texts_add_json(b, &cell->as.items[i], kind))
            return false;
    }
    buf_add_char(b, ']');
    return true;
}

static bool add_json_map(struct buf *b, const struct cell *cell, enum field_kind kind)
{
    buf_add_char(b, '{');
    for (uint32_t i = 0; i < cell->n; i++) {
        if (i)
            buf_add_char(b, ',');
        if (texts_has_nul(cell->as.entries[i].key))
            return false;
        json_add_string(b, cell->as.entries[i].key);
        buf_add_char(b, ':');
        if (!texts_add_json(b, &cell->as.entries[i].cell, kind))
            return false;
    }
    buf_add_char(b, '}');
    return true;
}

bool texts_add_json(struct buf *b, const struct cell *cell, enum field_kind kind)
{
    bool ok = true;
    switch (cell->type) {
    case CELL_NULL:
        buf_add_str(b, "null");
        break;
    case CELL_BOOLEAN:
        buf_add_str(b, cell->as.boolean ? "true" : "false");
        break;
    case CELL_INT:
        if (kind == FIELD_PLAIN) {
            json_add_int(b, cell->as.integer);
            break;
        }
        buf_add_char(b, '"');
        ok = texts_add_moment(b, kind, cell->as.integer);
        buf_add_char(b, '"');
        break;
    case CELL_DOUBLE:
        ok = isfinite(cell->as.number);
        json_add_double(b, cell->as.number);
        break;
    case CELL_STRING:
        ok = !texts_has_nul(cell->as.bytes);
        json_add_string(b, cell->as.bytes);
        break;
    case CELL_BYTES:
        buf_add_char(b, '"');
        base64_add(b, cell->as.bytes);
        buf_add_char(b, '"');
        break;
    case CELL_RECORD:
        ok = add_json_record(b, cell);
        break;
    case CELL_ARRAY:
        ok = add_json_list(b, cell, kind);
        break;
    case CELL_MAP:
        ok = add_json_map(b, cell, kind);
        break;
    }
    return ok;
}

bool texts_add_joined(struct buf *b, const struct cell *cell)
{
    for (uint32_t i = 0; i < cell->n; i++) {
        const struct cell *item = &cell->as.items[i];
        if (item->type != CELL_STRING ||
            (item->as.bytes.n && memchr(item->as.bytes.p, ';', item->as.bytes.n)))
            return false;
        if (i)
            buf_add_char(b, ';');
        buf_add_span(b, item->as.bytes);
    }
    return true;
}
