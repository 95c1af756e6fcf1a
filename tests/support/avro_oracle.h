/*
 * avro_oracle: avro-c's value beside ours. avro-c decodes what the plan decodes in another way, so that the
 * two are right together or found out.
 *
 * oracle_equal says whether a cell holds what avro-c read. Safe only on values avro-c read within its own
 * bounds: an enum's index is checked here, because avro-c does not.
 */
#ifndef TESTS_AVRO_ORACLE_H
#define TESTS_AVRO_ORACLE_H

#include "event/change.h"

#include <avro.h>
#include <stdio.h>

static bool oracle_equal(avro_value_t *want, const struct cell *got);

/* A record's fields; NULL values have no cell. */
static inline bool oracle_fields_equal(avro_value_t *want, uint32_t from, const struct field_value *fields,
                                       uint32_t n)
{
    static const struct cell none = {.type = CELL_NULL};
    size_t size = 0, k = 0;
    avro_value_get_size(want, &size);
    for (size_t i = from; i < size; i++) {
        avro_value_t field = {NULL, NULL};
        const char *name;
        avro_value_get_by_index(want, i, &field, &name);
        const struct cell *cell = k < n && fields[k].index == i ? &fields[k++].cell : &none;
        if (!oracle_equal(&field, cell))
            return false;
    }
    return k == n;
}

static inline bool oracle_bytes_equal(const void *p, size_t size, const struct cell *got, enum cell_type type)
{
    return got->type == type && span_equal(span_of(p, size), got->as.bytes);
}

static inline bool oracle_enum_equal(avro_value_t *want, const struct cell *got)
{
    avro_schema_t schema = avro_value_get_schema(want);
    int symbol = -1;
    avro_value_get_enum(want, &symbol);
    if (symbol < 0 || symbol >= avro_schema_enum_number_of_symbols(schema))
        return false;
    return got->type == CELL_STRING && span_equal_str(got->as.bytes, avro_schema_enum_get(schema, symbol));
}

static inline bool oracle_items_equal(avro_value_t *want, const struct cell *got)
{
    size_t size = 0;
    avro_value_get_size(want, &size);
    if (got->type != CELL_ARRAY || got->n != size)
        return false;
    for (size_t i = 0; i < size; i++) {
        avro_value_t item = {NULL, NULL};
        if (avro_value_get_by_index(want, i, &item, NULL) != 0 || !oracle_equal(&item, &got->as.items[i]))
            return false;
    }
    return true;
}

static inline bool oracle_has_nul(struct span key)
{
    return key.n && memchr(key.p, 0, key.n);
}

/*
 * avro-c keeps one value per key, the last; ours keeps all entries. It cuts a key at its first NUL, so that
 * keys fall together: such a map is not compared.
 */
static inline bool oracle_map_equal(avro_value_t *want, const struct cell *got)
{
    if (got->type != CELL_MAP)
        return false;
    for (uint32_t i = 0; i < got->n; i++)
        if (oracle_has_nul(got->as.entries[i].key))
            return true;
    for (uint32_t i = 0; i < got->n; i++) {
        struct span key = got->as.entries[i].key;
        char text[256];
        bool last = true;
        for (uint32_t k = i + 1; k < got->n && last; k++)
            last = !span_equal(got->as.entries[k].key, key);
        if (!last || key.n >= sizeof text)
            continue;
        snprintf(text, sizeof text, "%.*s", SPAN_ARG(key));
        avro_value_t value = {NULL, NULL};
        if (avro_value_get_by_name(want, text, &value, NULL) != 0 ||
            !oracle_equal(&value, &got->as.entries[i].cell))
            return false;
    }
    return true;
}

static inline bool oracle_number_equal(double want, const struct cell *got)
{
    return got->type == CELL_DOUBLE && (memcmp(&want, &got->as.number, sizeof want) == 0 ||
                                        (want != want && got->as.number != got->as.number));
}

static bool oracle_equal(avro_value_t *want, const struct cell *got)
{
    const void *bytes = NULL;
    const char *text = NULL;
    size_t size = 0;
    int truth = 0;
    int32_t i32 = 0;
    int64_t i64 = 0;
    float f = 0;
    double d = 0;
    avro_value_t branch = {NULL, NULL};
    switch (avro_value_get_type(want)) {
    case AVRO_NULL:
        return got->type == CELL_NULL;
    case AVRO_BOOLEAN:
        avro_value_get_boolean(want, &truth);
        return got->type == CELL_BOOLEAN && got->as.boolean == (truth != 0);
    case AVRO_INT32:
        avro_value_get_int(want, &i32);
        return got->type == CELL_INT && got->as.integer == i32;
    case AVRO_INT64:
        avro_value_get_long(want, &i64);
        return got->type == CELL_INT && got->as.integer == i64;
    case AVRO_FLOAT:
        avro_value_get_float(want, &f);
        return oracle_number_equal((double)f, got);
    case AVRO_DOUBLE:
        avro_value_get_double(want, &d);
        return oracle_number_equal(d, got);
    case AVRO_STRING:
        avro_value_get_string(want, &text, &size);
        return size > 0 && oracle_bytes_equal(text, size - 1, got, CELL_STRING);
    case AVRO_BYTES:
        avro_value_get_bytes(want, &bytes, &size);
        return oracle_bytes_equal(bytes, size, got, CELL_BYTES);
    case AVRO_FIXED:
        avro_value_get_fixed(want, &bytes, &size);
        return oracle_bytes_equal(bytes, size, got, CELL_BYTES);
    case AVRO_ENUM:
        return oracle_enum_equal(want, got);
    case AVRO_ARRAY:
        return oracle_items_equal(want, got);
    case AVRO_MAP:
        return oracle_map_equal(want, got);
    case AVRO_RECORD:
        return got->type == CELL_RECORD && oracle_fields_equal(want, 0, got->as.record.fields, got->n);
    case AVRO_UNION:
        avro_value_get_current_branch(want, &branch);
        return oracle_equal(&branch, got);
    default:
        return false;
    }
}

#endif
