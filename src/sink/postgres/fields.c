/* _tidemark_fields: what columns were made from. */
#include "sink/postgres/postgres.h"

#include "base/alloc.h"

#include <stdlib.h>

static const char origin[] = "sink.postgres";

/* Fields of one table, or (NULL) of all. */
static int read_fields(struct mirror *m, const char *table, struct arena *a, struct mirror_field **out,
                       size_t *n, struct err *e)
{
    static const char sql[] =
        "SELECT number, \"table\", \"column\", field, field_id, type FROM \"_tidemark_fields\""
        " WHERE \"table\" = $1 OR $1 IS NULL ORDER BY \"table\", number";
    PGresult *r;
    pg_params_clear(&m->params);
    if (table)
        pg_param_text(&m->params, span_of_str(table));
    else
        pg_param_null(&m->params, PG_TEXT);
    if (pg_ask(&m->pg, sql, &m->params, true, &r, e) != 0)
        return -1;
    int rc = 0;
    *n = (size_t)PQntuples(r);
    *out = arena_alloc(a, (*n + 1) * sizeof **out);
    for (int row = 0; row < PQntuples(r) && rc == 0; row++) {
        struct mirror_field *f = &(*out)[row];
        f->number = (uint32_t)pg_cell_int8(r, row, 0);
        f->table = arena_copy(a, pg_cell(r, row, 1));
        f->column = arena_copy(a, pg_cell(r, row, 2));
        f->field = arena_copy(a, pg_cell(r, row, 3));
        f->field_id = arena_copy(a, pg_cell(r, row, 4));
        if (!mirror_type_of_name(pg_cell(r, row, 5), &f->type))
            rc = err_set(
                e, ERR_REJECTED, origin, 0,
                "_tidemark_fields knows a type '%.*s': it was written by a newer version, or by hand",
                SPAN_ARG(pg_cell(r, row, 5)));
    }
    PQclear(r);
    return rc;
}

int pg_fields(struct mirror *m, struct arena *a, struct mirror_field **out, size_t *n, struct err *e)
{
    return read_fields(m, NULL, a, out, n, e);
}

enum source_news { SOURCE_KNOWN, SOURCE_NEW, SOURCE_HAS_ID };

/* Write down sources: new ones, and ids of fields whose schema tells them only now. */
static int store_sources(struct mirror *m, const struct mirror_table *table, const uint32_t *numbers,
                         const uint8_t *news, struct err *e)
{
    static const char sql[] =
        "INSERT INTO \"_tidemark_fields\" (\"table\", number, \"column\", field, field_id, type)"
        " SELECT $1, * FROM unnest($2, $3, $4, $5, $6)"
        " ON CONFLICT (\"table\", number) DO UPDATE SET field_id = excluded.field_id";
    struct pg_params *p = &m->params;
    pg_params_clear(p);
    pg_param_text(p, span_of_str(table->name));
    for (int part = 0; part < 5; part++) {
        pg_array_begin(p, part == 0 ? PG_INT8 : PG_TEXT);
        for (uint32_t i = 0; i < table->n_sources; i++) {
            const struct mirror_source *s = &table->sources[i];
            const struct mirror_column *c = &table->columns[s->column];
            const char *texts[] = {NULL, c->name, s->field, s->field_id, mirror_type_name(c->type)};
            if (news[i] == SOURCE_KNOWN)
                continue;
            if (part == 0)
                pg_array_int8(p, numbers[i]);
            else
                pg_array_text(p, span_of_str(texts[part]));
        }
        pg_array_end(p);
    }
    if (pg_send(&m->pg, sql, p, false, e) != 0)
        return -1;
    return pg_finish(&m->pg, NULL, NULL, e);
}

int pg_number_sources(struct mirror *m, const struct mirror_table *table, struct pg_table *t, struct err *e)
{
    struct arena a = ARENA_INIT;
    struct mirror_field *fields;
    size_t n;
    if (read_fields(m, table->name, &a, &fields, &n, e) != 0) {
        arena_release(&a);
        return -1;
    }
    int64_t last = n ? fields[n - 1].number : 0;
    uint8_t *news = xcalloc(table->n_sources + 1, sizeof *news);
    bool any = false;
    free(t->numbers);
    t->numbers = xcalloc(table->n_sources + 1, sizeof *t->numbers);
    t->n_numbers = table->n_sources;
    for (uint32_t i = 0; i < table->n_sources; i++) {
        const struct mirror_field *known = mirror_find_field(table, &table->sources[i], fields, n);
        t->numbers[i] = known ? known->number : (uint32_t)++last;
        if (!known)
            news[i] = SOURCE_NEW;
        else if (known->field_id.n == 0 && *table->sources[i].field_id)
            news[i] = SOURCE_HAS_ID;
        any = any || news[i] != SOURCE_KNOWN;
    }
    arena_release(&a);
    int rc = 0;
    if (last >= INT32_MAX)
        rc = err_set(e, ERR_CONFIG, origin, 0, "_tidemark_fields: no more numbers for table \"%s\"",
                     table->name);
    else if (any) {
        t->changed = true;
        rc = store_sources(m, table, t->numbers, news, e);
    }
    free(news);
    return rc;
}
