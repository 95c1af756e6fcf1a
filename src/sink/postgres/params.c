#include "sink/postgres/params.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

struct pg_param {
    unsigned type;
    size_t offset;
    size_t len;
    bool is_null;
};

static const struct {
    enum pg_oid oid, array;
} arrays[] = {
    {PG_BOOL, 1000},   {PG_BYTEA, 1001}, {PG_INT8, 1016}, {PG_TEXT, 1009},  {PG_TID, 1010},
    {PG_FLOAT8, 1022}, {PG_DATE, 1182},  {PG_TIME, 1183}, {PG_JSONB, 3807}, {PG_TIMESTAMPTZ, 1185},
};

static const struct {
    enum pg_oid oid;
    const char *name;
} types[] = {
    [MIRROR_TEXT] = {PG_TEXT, "text"},
    [MIRROR_BOOLEAN] = {PG_BOOL, "boolean"},
    [MIRROR_BIGINT] = {PG_INT8, "bigint"},
    [MIRROR_DOUBLE] = {PG_FLOAT8, "double precision"},
    [MIRROR_DATETIME] = {PG_TIMESTAMPTZ, "timestamp with time zone"},
    [MIRROR_DATE] = {PG_DATE, "date"},
    [MIRROR_TIME] = {PG_TIME, "time without time zone"},
    [MIRROR_JSON] = {PG_JSONB, "jsonb"},
};

enum pg_oid pg_oid_of(enum mirror_type type)
{
    BUG_IF((size_t)type >= ARRAY_LEN(types));
    return types[type].oid;
}

const char *pg_type_name(enum mirror_type type)
{
    BUG_IF((size_t)type >= ARRAY_LEN(types));
    return types[type].name;
}

/* PostgreSQL counts microseconds and days from 2000 on. */
#define YEAR_2000_MS   INT64_C(946684800000)
#define YEAR_2000_DAYS INT64_C(10957)

bool pg_value_fits(const struct mirror_value *value)
{
    static const int64_t day_ms = 86400000, first_ms = -62135596800000, end_ms = 253402300800000;
    int64_t n = value->as.integer;
    if (value->is_null)
        return true;
    switch (value->type) {
    case MIRROR_DATETIME:
        return n >= first_ms && n < end_ms;
    case MIRROR_DATE:
        return n >= first_ms / day_ms && n < end_ms / day_ms;
    case MIRROR_TIME:
        return n >= 0 && n < day_ms;
    default:
        return true;
    }
}

/* --- single values --------------------------------------------------------------------------------- */

static void put32(struct buf *b, uint32_t v)
{
    const uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_add(b, bytes, sizeof bytes);
}

static void put64(struct buf *b, uint64_t v)
{
    put32(b, (uint32_t)(v >> 32));
    put32(b, (uint32_t)v);
}

static void overwrite32(struct buf *b, size_t at, uint32_t v)
{
    for (size_t i = 0; i < 4; i++)
        b->data[at + i] = (uint8_t)(v >> (24 - 8 * i));
}

void pg_params_clear(struct pg_params *p)
{
    buf_clear(&p->bytes);
    p->n = 0;
}

void pg_params_release(struct pg_params *p)
{
    buf_release(&p->bytes);
    free(p->all);
    *p = (struct pg_params)PG_PARAMS_INIT;
}

static struct pg_param *add(struct pg_params *p, unsigned type)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 32;
        p->all = xrealloc(p->all, p->cap * sizeof *p->all);
    }
    struct pg_param *one = &p->all[p->n++];
    *one = (struct pg_param){.type = type, .offset = p->bytes.len};
    return one;
}

void pg_param_text(struct pg_params *p, struct span text)
{
    add(p, PG_TEXT)->len = text.n;
    buf_add_span(&p->bytes, text);
}

void pg_param_bytes(struct pg_params *p, struct span bytes)
{
    add(p, PG_BYTEA)->len = bytes.n;
    buf_add_span(&p->bytes, bytes);
}

void pg_param_int8(struct pg_params *p, int64_t number)
{
    add(p, PG_INT8)->len = 8;
    put64(&p->bytes, (uint64_t)number);
}

void pg_param_null(struct pg_params *p, enum pg_oid type)
{
    add(p, type)->is_null = true;
}

/* --- arrays ---------------------------------------------------------------------------------------- */

enum { ARRAY_HEAD = 20, NO_LENGTH = -1 };

void pg_array_begin(struct pg_params *p, enum pg_oid element)
{
    size_t i = 0;
    while (i < ARRAY_LEN(arrays) && arrays[i].oid != element)
        i++;
    BUG_IF(i == ARRAY_LEN(arrays));
    pg_array_begin_rows(p, arrays[i].array, element);
}

void pg_array_begin_rows(struct pg_params *p, unsigned array_type, unsigned element)
{
    add(p, array_type);
    p->array = p->bytes.len;
    p->n_elements = 0;
    put32(&p->bytes, 1); /* dimensions */
    put32(&p->bytes, 1); /* nulls are possible */
    put32(&p->bytes, element);
    put32(&p->bytes, 0); /* elements: known at the end */
    put32(&p->bytes, 1); /* the first one's index */
}

void pg_array_end(struct pg_params *p)
{
    struct pg_param *one = &p->all[p->n - 1];
    if (p->n_elements == 0) {
        /* An empty array has no dimension, and then nothing that describes one. */
        overwrite32(&p->bytes, p->array, 0);
        p->bytes.len = p->array + ARRAY_HEAD - 8;
    } else {
        overwrite32(&p->bytes, p->array + 12, p->n_elements);
    }
    one->len = p->bytes.len - one->offset;
}

static void element(struct pg_params *p, size_t n)
{
    p->n_elements++;
    put32(&p->bytes, (uint32_t)n);
}

/* As a record goes over the wire: the number of its fields, then of each its type, its length, its bytes. */
enum { RECORD_HEAD = 4, FIELD_TYPE = 4, FIELD_HEAD = 8 };

void pg_outline_begin(struct buf *outline, uint32_t n_fields)
{
    buf_clear(outline);
    put32(outline, n_fields);
}

void pg_outline_field(struct buf *outline, unsigned type)
{
    put32(outline, type);
    put32(outline, (uint32_t)NO_LENGTH);
}

void pg_record_begin(struct pg_params *p)
{
    element(p, 0); /* its length is known at the end */
    p->elements_before = p->n_elements;
    p->record = p->bytes.len;
    p->outlined = 0;
}

/* Up to the field's length: a value brings its own. */
void pg_record_field(struct pg_params *p, const struct buf *outline, uint32_t field)
{
    const size_t end = RECORD_HEAD + (size_t)field * FIELD_HEAD + FIELD_TYPE;
    BUG_IF(end > outline->len || p->outlined > end);
    buf_add(&p->bytes, outline->data + p->outlined, end - p->outlined);
    p->outlined = end - FIELD_TYPE + FIELD_HEAD;
}

void pg_record_end(struct pg_params *p, const struct buf *outline)
{
    buf_add(&p->bytes, outline->data + p->outlined, outline->len - p->outlined);
    overwrite32(&p->bytes, p->record - 4, (uint32_t)(p->bytes.len - p->record));
    p->n_elements = p->elements_before;
}

void pg_array_null(struct pg_params *p)
{
    p->n_elements++;
    put32(&p->bytes, (uint32_t)NO_LENGTH);
}

void pg_array_text(struct pg_params *p, struct span text)
{
    element(p, text.n);
    buf_add_span(&p->bytes, text);
}

struct buf *pg_array_text_begin(struct pg_params *p)
{
    element(p, 0); /* its length is known at the end */
    p->text = p->bytes.len;
    return &p->bytes;
}

void pg_array_text_end(struct pg_params *p)
{
    overwrite32(&p->bytes, p->text - 4, (uint32_t)(p->bytes.len - p->text));
}

void pg_array_bytes(struct pg_params *p, struct span bytes)
{
    pg_array_text(p, bytes);
}

void pg_array_int8(struct pg_params *p, int64_t number)
{
    element(p, 8);
    put64(&p->bytes, (uint64_t)number);
}

uint64_t pg_place_of(struct span ctid)
{
    uint64_t place = 0;
    BUG_IF(ctid.n != 6);
    for (size_t i = 0; i < ctid.n; i++)
        place = place << 8 | ctid.p[i];
    return place;
}

void pg_array_place(struct pg_params *p, uint64_t place)
{
    element(p, 6);
    put32(&p->bytes, (uint32_t)(place >> 16));
    buf_add_char(&p->bytes, (char)(place >> 8));
    buf_add_char(&p->bytes, (char)place);
}

void pg_array_bool(struct pg_params *p, bool yes)
{
    element(p, 1);
    buf_add_char(&p->bytes, yes);
}

static void array_double(struct pg_params *p, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    element(p, 8);
    put64(&p->bytes, bits);
}

void pg_array_value(struct pg_params *p, const struct mirror_value *value, bool as_text)
{
    if (value->is_null) {
        pg_array_null(p);
        return;
    }
    if (as_text) {
        pg_value_text(value, pg_array_text_begin(p));
        pg_array_text_end(p);
        return;
    }
    switch (value->type) {
    case MIRROR_TEXT:
        pg_array_text(p, value->as.text);
        return;
    case MIRROR_JSON:
        element(p, value->as.text.n + 1);
        buf_add_char(&p->bytes, 1); /* the version of jsonb's binary form */
        buf_add_span(&p->bytes, value->as.text);
        return;
    case MIRROR_BOOLEAN:
        pg_array_bool(p, value->as.integer != 0);
        return;
    case MIRROR_BIGINT:
        pg_array_int8(p, value->as.integer);
        return;
    case MIRROR_DOUBLE:
        array_double(p, value->as.number);
        return;
    case MIRROR_DATETIME:
        pg_array_int8(p, (value->as.integer - YEAR_2000_MS) * 1000);
        return;
    case MIRROR_TIME:
        pg_array_int8(p, value->as.integer * 1000);
        return;
    case MIRROR_DATE:
        element(p, 4);
        put32(&p->bytes, (uint32_t)(value->as.integer - YEAR_2000_DAYS));
        return;
    }
    BUG("a value of type %d", (int)value->type);
}

void pg_value_text(const struct mirror_value *value, struct buf *out)
{
    char text[MIRROR_TIME_ROOM];
    double number = value->as.number;
    switch (value->type) {
    case MIRROR_TEXT:
    case MIRROR_JSON:
        buf_add_span(out, value->as.text);
        return;
    case MIRROR_BOOLEAN: /* "1" is read by boolean, text and every number */
        buf_add_str(out, value->as.integer ? "1" : "0");
        return;
    case MIRROR_BIGINT:
        buf_addf(out, "%" PRId64, value->as.integer);
        return;
    case MIRROR_DOUBLE:
        if (isnan(number))
            buf_add_str(out, "NaN");
        else if (isinf(number))
            buf_add_str(out, number < 0 ? "-Infinity" : "Infinity");
        else if (number == floor(number) && fabs(number) < 1e15)
            buf_addf(out, "%.0f", number); /* so that an integer column can take it */
        else
            buf_addf(out, "%.17g", number);
        return;
    case MIRROR_DATETIME:
    case MIRROR_DATE:
    case MIRROR_TIME:
        buf_add_str(out, mirror_time_text(value, text) ? text : "out of range");
        return;
    }
    BUG("a value of type %d", (int)value->type);
}

/* --- for libpq ------------------------------------------------------------------------------------- */

void pg_params_wire(const struct pg_params *p, struct pg_wire *out)
{
    static const size_t each = sizeof(char *) + sizeof(unsigned) + 2 * sizeof(int);
    char *memory = xmalloc(p->n * each + 1);
    out->values = (const char **)(void *)memory;
    out->types = (unsigned *)(void *)(memory + p->n * sizeof(char *));
    out->lengths = (int *)(out->types + p->n);
    out->formats = out->lengths + p->n;
    for (size_t i = 0; i < p->n; i++) {
        const struct pg_param *one = &p->all[i];
        BUG_IF(one->len > INT32_MAX);
        out->types[i] = one->type;
        out->values[i] = one->is_null ? NULL : (const char *)p->bytes.data + one->offset;
        out->lengths[i] = (int)one->len;
        out->formats[i] = 1;
    }
}

void pg_wire_release(struct pg_wire *w)
{
    free(w->values);
}
