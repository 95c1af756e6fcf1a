/* What is held of records: the state in their rows, else in tombstones; and single columns. */
#include "sink/postgres/postgres.h"

#include <stdlib.h>

/* A record that is asked for, and its place among those of the caller. */
struct asked {
    struct span id;
    size_t at;
};

struct loading {
    struct mirror_held *held;
    const struct asked *asked;
    size_t n;
    struct arena *a;
};

/* The numbers come from the array that was sent; a server that invents others is none. */
static struct mirror_held *held_of(const struct loading *l, const PGresult *r, int row)
{
    int64_t n = pg_cell_int8(r, row, 0);
    return n >= 1 && (uint64_t)n <= l->n ? &l->held[l->asked[n - 1].at] : NULL;
}

enum { NUMBER, HAS_ROW, STATE, DELETED, MODIFIED, PLACE };

static void take_held(void *context, size_t i, const PGresult *r)
{
    const struct loading *l = context;
    (void)i;
    for (int row = 0; row < PQntuples(r); row++) {
        struct mirror_held *h = held_of(l, r, row);
        if (!h)
            continue;
        h->has_row = *PQgetvalue(r, row, HAS_ROW);
        if (!PQgetisnull(r, row, STATE))
            h->state = arena_copy(l->a, pg_cell(r, row, STATE));
        h->deleted = h->has_row && !PQgetisnull(r, row, DELETED) && *PQgetvalue(r, row, DELETED);
        h->has_modified = h->has_row && !PQgetisnull(r, row, MODIFIED);
        h->modified_ms = h->has_modified ? pg_cell_int8(r, row, MODIFIED) : 0;
        h->place = h->has_row && !PQgetisnull(r, row, PLACE) ? pg_place_of(pg_cell(r, row, PLACE)) : 0;
    }
}

/* "infinity" is no time to compare with. */
static void add_modified(const struct mirror_table *table, bool readable, struct buf *sql)
{
    if (!readable) {
        buf_add_str(sql, ", NULL::bigint");
        return;
    }
    buf_add_str(sql, ", CASE WHEN isfinite(t.");
    mirror_add_identifier(sql, table->last_modified);
    buf_add_str(sql, ") THEN floor(extract(epoch FROM t.");
    mirror_add_identifier(sql, table->last_modified);
    buf_add_str(
        sql,
        ")::numeric * 1000)::bigint END"); /* before PostgreSQL 14 it is binary, and a millisecond short */
}

static void add_flag(const struct mirror_table *table, const struct pg_table *t, enum pg_own own,
                     const char *otherwise, struct buf *sql)
{
    uint32_t cell = table->n_columns + (uint32_t)own;
    if (!t->columns[cell].there) {
        buf_add_str(sql, otherwise);
        return;
    }
    buf_add_str(sql, "t.");
    mirror_add_identifier(sql, pg_cell_name(table, cell));
}

/* Tombstones are asked for only where there is no row. */
static const char tombstone[] =
    "(SELECT b.state FROM \"_tidemark_tombstones\" b WHERE b.\"table\" = $2 AND b.id = k.id)";

static void load_sql(const struct mirror_table *table, const struct pg_table *t, struct buf *sql)
{
    buf_clear(sql);
    if (!t->exists) {
        buf_addf(sql,
                 "SELECT k.n, false, %s, false, NULL::bigint, NULL::tid FROM unnest($1) WITH ORDINALITY AS k "
                 "(id, n)",
                 tombstone);
        return;
    }
    struct buf key = BUF_INIT;
    buf_add_str(&key, "t.");
    mirror_add_identifier(&key, table->key);
    buf_addf(sql, "SELECT k.n, %s IS NOT NULL, CASE WHEN %s IS NOT NULL THEN ", (const char *)key.data,
             (const char *)key.data);
    add_flag(table, t, PG_OWN_STATE, "NULL::bytea", sql);
    buf_addf(sql, " ELSE %s END, ", tombstone);
    add_flag(table, t, PG_OWN_DELETED, "false", sql);
    add_modified(table, t->modified_is_time, sql);
    buf_add_str(sql, t->places ? ", t.ctid" : ", NULL::tid");
    buf_add_str(sql, " FROM unnest($1) WITH ORDINALITY AS k (id, n) LEFT JOIN ");
    mirror_add_identifier(sql, table->name);
    buf_addf(sql, " t ON %s = k.id", (const char *)key.data);
    buf_release(&key);
}

static int compare_asked(const void *one, const void *other)
{
    const struct asked *a = one, *b = other;
    return span_compare(a->id, b->id);
}

/* In the order of the key: neighbours in the index, and mostly in the table, one after the other. */
static const struct asked *in_order(const struct span *ids, size_t n, struct arena *a)
{
    struct asked *all = arena_alloc(a, (n + 1) * sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct asked){ids[i], i};
    qsort(all, n, sizeof *all, compare_asked);
    return all;
}

int pg_load(struct mirror *m, const struct mirror_table *table, const struct span *ids, size_t n,
            struct arena *a, struct mirror_held *held, struct err *e)
{
    struct loading l = {.held = held, .asked = in_order(ids, n, a), .n = n, .a = a};
    memset(held, 0, n * sizeof *held);
    if (pg_settle_sent(m, e) != 0 || pg_table_learn(m, table, NULL, e) != 0)
        return -1;
    const struct pg_table *t = pg_table_of(m, table);
    if (n == 0)
        return 0;
    struct pg_params *p = &m->params;
    pg_params_clear(p);
    pg_array_begin(p, PG_TEXT);
    for (size_t i = 0; i < n; i++)
        pg_array_text(p, l.asked[i].id);
    pg_array_end(p);
    pg_param_text(p, span_of_str(table->name));
    load_sql(table, t, &m->sql);
    if (pg_send(&m->pg, (const char *)m->sql.data, p, true, e) != 0)
        return -1;
    if (pg_finish(&m->pg, take_held, &l, e) != 0)
        return err_prefix(e, "table \"%s\"", table->name);
    return 0;
}

/* --- one column -------------------------------------------------------------------------------------- */

static const char *const as_wire[] = {
    /* Whole milliseconds, as values carry them. */
    [MIRROR_TEXT] = "%s::text",
    [MIRROR_JSON] = "%s::text",
    [MIRROR_BOOLEAN] = "(%s::text IN ('true', 't', '1'))::int::bigint",
    [MIRROR_BIGINT] = "%s::bigint",
    [MIRROR_DOUBLE] = "%s::double precision",
    [MIRROR_DATETIME] = "floor(extract(epoch FROM %s::timestamptz) * 1000)::bigint",
    [MIRROR_DATE] = "(%s::date - date '1970-01-01')::bigint",
    [MIRROR_TIME] = "floor(extract(epoch FROM %s::time) * 1000)::bigint",
};

static void add_as_wire(enum mirror_type type, const char *column, struct buf *sql)
{
    const char *form = as_wire[type];
    struct buf name = BUF_INIT;
    buf_add_str(&name, "t.");
    mirror_add_identifier(&name, column);
    const char *at = strstr(form, "%s");
    buf_add(sql, form, (size_t)(at - form));
    buf_add_span(sql, buf_span(&name));
    buf_add_str(sql, at + 2);
    buf_release(&name);
}

static void value_of_cell(const PGresult *r, enum mirror_type type, struct arena *a, struct mirror_value *out)
{
    *out = (struct mirror_value){.type = type, .is_null = PQgetisnull(r, 0, 0)};
    if (out->is_null)
        return;
    if (type == MIRROR_TEXT || type == MIRROR_JSON) {
        out->as.text = arena_copy(a, pg_cell(r, 0, 0));
        return;
    }
    int64_t bits = pg_cell_int8(r, 0, 0);
    if (type == MIRROR_DOUBLE)
        memcpy(&out->as.number, &bits, sizeof bits);
    else
        out->as.integer = bits;
}

int pg_text(struct mirror *m, const struct mirror_table *table, struct span id, uint32_t column,
            struct arena *a, bool *found, struct mirror_value *out, struct err *e)
{
    PGresult *r;
    BUG_IF(column >= table->n_columns);
    enum mirror_type type = table->columns[column].type;
    *found = false;
    *out = (struct mirror_value){.type = type, .is_null = true};
    if (pg_settle_sent(m, e) != 0 || pg_table_learn(m, table, NULL, e) != 0)
        return -1;
    const struct pg_table *t = pg_table_of(m, table);
    if (!t->exists || !t->columns[column].there)
        return 0;
    buf_clear(&m->sql);
    buf_add_str(&m->sql, "SELECT ");
    add_as_wire(type, table->columns[column].name, &m->sql);
    buf_add_str(&m->sql, " FROM ");
    mirror_add_identifier(&m->sql, table->name);
    buf_add_str(&m->sql, " t WHERE t.");
    mirror_add_identifier(&m->sql, table->key);
    buf_add_str(&m->sql, " = $1");
    pg_params_clear(&m->params);
    pg_param_text(&m->params, id);
    if (pg_ask(&m->pg, (const char *)m->sql.data, &m->params, true, &r, e) != 0)
        return err_prefix(e, "table \"%s\"", table->name);
    *found = PQntuples(r) > 0;
    if (*found)
        value_of_cell(r, type, a, out);
    PQclear(r);
    return 0;
}
