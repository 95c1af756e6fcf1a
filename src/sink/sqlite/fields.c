/* _tidemark_fields: what columns were made from. */
#include "sink/sqlite/sqlite.h"

static const char origin[] = "sink.sqlite";

static const char fields_sql[] =
    "SELECT table_name,number,column_name,field,field_id,type FROM _tidemark_fields"
    " WHERE table_name=?1 OR ?1 IS NULL ORDER BY table_name,number";

/* Fields of one table, or (NULL) of all. */
static int read_fields(struct mirror *m, const char *table, struct arena *a, struct mirror_field **out,
                       size_t *n, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    size_t cap = 0;
    int code;
    *out = NULL;
    *n = 0;
    if (sqlite_prepare(m, fields_sql, &stmt, e) != 0)
        return -1;
    if (table)
        sqlite_bind_span(stmt, 1, span_of_str(table));
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (*n == cap) {
            size_t more = cap ? 2 * cap : 64;
            struct mirror_field *grown = arena_alloc(a, more * sizeof *grown);
            if (*n)
                memcpy(grown, *out, *n * sizeof *grown);
            *out = grown;
            cap = more;
        }
        struct mirror_field *f = &(*out)[(*n)++];
        *f = (struct mirror_field){.table = sqlite_column_copy(stmt, 0, a),
                                   .number = (uint32_t)sqlite3_column_int64(stmt, 1),
                                   .column = sqlite_column_copy(stmt, 2, a),
                                   .field = sqlite_column_copy(stmt, 3, a),
                                   .field_id = sqlite_column_copy(stmt, 4, a)};
        if (!mirror_type_of_name(sqlite_column_span(stmt, 5), &f->type)) {
            err_set(e, ERR_REJECTED, origin, 0, "%s: _tidemark_fields names a type that is none: '%.*s'",
                    m->path, SPAN_ARG(sqlite_column_span(stmt, 5)));
            break;
        }
    }
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        sqlite_error(m, code, "read _tidemark_fields", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? 0 : -1;
}

int sqlite_fields(struct mirror *m, struct arena *a, struct mirror_field **out, size_t *n, struct err *e)
{
    return read_fields(m, NULL, a, out, n, e);
}

static int put_field(struct mirror *m, const struct mirror_table *table, const struct mirror_source *source,
                     uint32_t number, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    const struct mirror_column *column = &table->columns[source->column];
    if (sqlite_prepare(m,
                       "INSERT INTO _tidemark_fields(table_name,number,column_name,field,field_id,type)"
                       " VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(table_name,number) DO UPDATE SET field_id=?5",
                       &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(table->name));
    sqlite3_bind_int64(stmt, 2, number);
    sqlite_bind_span(stmt, 3, span_of_str(column->name));
    sqlite_bind_span(stmt, 4, span_of_str(source->field));
    sqlite_bind_span(stmt, 5, span_of_str(source->field_id));
    sqlite_bind_span(stmt, 6, span_of_str(mirror_type_name(column->type)));
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "write _tidemark_fields", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? 0 : -1;
}

int sqlite_number_sources(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
                          struct err *e)
{
    struct arena a = ARENA_INIT;
    struct mirror_field *fields;
    size_t n;
    int rc = read_fields(m, table->name, &a, &fields, &n, e);
    uint32_t last = rc == 0 && n ? fields[n - 1].number : 0;
    for (uint32_t i = 0; rc == 0 && i < table->n_sources; i++) {
        const struct mirror_source *source = &table->sources[i];
        const struct mirror_field *known = mirror_find_field(table, source, fields, n);
        numbers[i] = known ? known->number : ++last;
        if (!known || (known->field_id.n == 0 && *source->field_id))
            rc = put_field(m, table, source, numbers[i], e);
    }
    arena_release(&a);
    return rc;
}
