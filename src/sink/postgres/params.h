/*
 * params: parameters of one statement, in PostgreSQL's binary form, arrays included.
 *
 * A bulk statement takes one array per column and lets unnest make rows of them: one round trip for a batch, and
 * no text that is parsed again. Times are those of the years 1 to 9999 (pg_value_fits): the caller refuses others.
 *
 * Calling order: PG_PARAMS_INIT -> (pg_param_* | pg_array_begin, pg_array_*, pg_array_end)* -> pg_send ->
 * pg_params_clear to reuse -> pg_params_release.
 * Ownership: everything is copied. Thread: one at a time. Errors: none (alloc.h).
 */
#ifndef SINK_POSTGRES_PARAMS_H
#define SINK_POSTGRES_PARAMS_H

#include "base/buf.h"
#include "sink/mirror.h"

/* Object ids of the types we send: the same in every PostgreSQL (pg_type.dat). */
enum pg_oid {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_INT8 = 20,
    PG_TEXT = 25,
    PG_TID = 27,
    PG_FLOAT8 = 701,
    PG_DATE = 1082,
    PG_TIME = 1083,
    PG_TIMESTAMPTZ = 1184,
    PG_JSONB = 3802,
};

struct pg_params {
    struct buf bytes;
    struct pg_param *all;
    size_t n, cap;
    size_t array, record; /* where the one begins that is being made */
    size_t outlined;      /* how much of the outline is in the record */
    size_t text;          /* where the text begins that is being made */
    uint32_t n_elements, elements_before;
};

#define PG_PARAMS_INIT                                                                                       \
    {                                                                                                        \
        BUF_INIT, NULL, 0, 0, 0, 0, 0, 0, 0, 0                                                               \
    }

void pg_params_clear(struct pg_params *p);
void pg_params_release(struct pg_params *p);

void pg_param_text(struct pg_params *p, struct span text);
void pg_param_int8(struct pg_params *p, int64_t number);
void pg_param_bytes(struct pg_params *p, struct span bytes);
void pg_param_null(struct pg_params *p, enum pg_oid type);

void pg_array_begin(struct pg_params *p, enum pg_oid element);
void pg_array_null(struct pg_params *p);
void pg_array_text(struct pg_params *p, struct span text);
/* A text that is made where it goes to: append it. */
struct buf *pg_array_text_begin(struct pg_params *p);
void pg_array_text_end(struct pg_params *p);
void pg_array_bytes(struct pg_params *p, struct span bytes);
void pg_array_int8(struct pg_params *p, int64_t number);
/* Where a row stands: its block and its number there, as pg_place_of gave them. */
void pg_array_place(struct pg_params *p, uint64_t place);
void pg_array_bool(struct pg_params *p, bool yes);
/* A value in its type's binary form, or, for a column of another type, as text. */
void pg_array_value(struct pg_params *p, const struct mirror_value *value, bool as_text);
void pg_array_end(struct pg_params *p);
/*
 * An array of a table's row type: one array brings all columns, which unnest gives back at a fraction of what an
 * array per column costs. The outline is a row of nothing but nulls, made once: pg_outline_begin -> pg_outline_field
 * per column. Per element: pg_record_begin -> (pg_record_field -> one pg_array_* value)* -> pg_record_end; fields
 * ascend, and those that are not named are null.
 */
void pg_array_begin_rows(struct pg_params *p, unsigned array_type, unsigned row_type);
void pg_outline_begin(struct buf *outline, uint32_t n_fields);
void pg_outline_field(struct buf *outline, unsigned type);
void pg_record_begin(struct pg_params *p);
void pg_record_field(struct pg_params *p, const struct buf *outline, uint32_t field);
void pg_record_end(struct pg_params *p, const struct buf *outline);

/* A time within the years 1 to 9999, a time of day within a day; every value of another type. */
bool pg_value_fits(const struct mirror_value *value);
/* A ctid that came in binary form; never 0. */
uint64_t pg_place_of(struct span ctid);
/* What a value of this type travels as. */
enum pg_oid pg_oid_of(enum mirror_type type);
/* The type of columns we make: "timestamp with time zone", as format_type writes it. */
const char *pg_type_name(enum mirror_type type);
/* A value as PostgreSQL reads it from text. */
void pg_value_text(const struct mirror_value *value, struct buf *out);

/* For pg_send: the arrays libpq takes, n of each; they live in one piece of memory, to be freed by the caller. */
struct pg_wire {
    unsigned *types;
    const char **values;
    int *lengths, *formats;
};
void pg_params_wire(const struct pg_params *p, struct pg_wire *out);
void pg_wire_release(struct pg_wire *w);

#endif
