/* Reading for people, on a connection of its own that can write nothing; and what doctor asks. */
#include "sink/postgres/postgres.h"

#include <stdarg.h>
#include <stdlib.h>

static const char origin[] = "sink.postgres";

static int find_own_tables(struct mirror *m, struct err *e)
{
    PGresult *r;
    static const char sql[] =
        "SELECT to_regclass('_tidemark_sinks') IS NOT NULL AND to_regclass('_tidemark_fields')"
        " IS NOT NULL AND to_regclass('_tidemark_tombstones') IS NOT NULL";
    if (pg_ask(&m->pg, sql, NULL, false, &r, e) != 0)
        return -1;
    bool found = *PQgetvalue(r, 0, 0) == 't';
    PQclear(r);
    return found ? 0
                 : err_set(e, ERR_REJECTED, origin, 0,
                           "no tidemark has written to this database yet, or not into a schema of this "
                           "role's search_path");
}

int pg_look(struct mirror *m, struct err *e)
{
    int rc = pg_connect(&m->pg, m->dsn, "tidemark (looking)", PG_FOR_READING, NULL, e);
    if (rc == 0)
        rc = find_own_tables(m, e);
    if (rc != 0 && e->class == ERR_RETRY && m->pg.conn && m->pg.fault == PG_FAULT_RIGHT)
        e->class = ERR_REJECTED;
    err_clear(&m->look_error);
    if (rc != 0)
        m->look_error = *e;
    m->open = rc == 0;
    return rc;
}

int pg_row(struct mirror *m, const struct mirror_table *table, struct span id, struct arena *a,
           struct mirror_cell **out, size_t *n, struct err *e)
{
    PGresult *r;
    *n = 0;
    *out = NULL;
    if (pg_table_learn(m, table, NULL, e) != 0)
        return -1;
    if (!pg_table_of(m, table)->exists)
        return 0;
    buf_clear(&m->sql);
    buf_add_str(&m->sql, "SELECT * FROM ");
    mirror_add_identifier(&m->sql, table->name);
    buf_add_str(&m->sql, " WHERE ");
    mirror_add_identifier(&m->sql, table->key);
    buf_add_str(&m->sql, " = $1");
    pg_params_clear(&m->params);
    pg_param_text(&m->params, id);
    if (pg_ask(&m->pg, (const char *)m->sql.data, &m->params, false, &r, e) != 0)
        return err_prefix(e, "table \"%s\"", table->name);
    if (PQntuples(r) > 0) {
        *n = (size_t)PQnfields(r);
        *out = arena_alloc(a, *n * sizeof **out);
        for (int i = 0; i < PQnfields(r); i++)
            (*out)[i] = (struct mirror_cell){.column = arena_copy(a, span_of_str(PQfname(r, i))),
                                             .text = arena_copy(a, pg_cell(r, 0, i)),
                                             .is_null = PQgetisnull(r, 0, i)};
    }
    PQclear(r);
    return 0;
}

/* --- doctor --------------------------------------------------------------------------------------------- */

static void finding(struct buf *findings, bool fine, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void finding(struct buf *findings, bool fine, const char *fmt, ...)
{
    char text[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_addf(findings, "%s: %s\n", fine ? "ok" : "bad", text);
}

/* Which server, as whom, and whether tables may be made there. */
static int inspect_server(struct mirror *m, struct buf *findings, bool *may_create, struct err *e)
{
    static const char sql[] =
        "SELECT current_setting('server_version'), current_database(), current_user, "
        "coalesce(current_schema(), ''),"
        " pg_is_in_recovery(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),"
        " to_regclass('_tidemark_sinks') IS NOT NULL";
    PGresult *r;
    if (pg_ask(&m->pg, sql, NULL, false, &r, e) != 0)
        return -1;
    const char *schema = PQgetvalue(r, 0, 3), *role = PQgetvalue(r, 0, 2);
    bool standby = *PQgetvalue(r, 0, 4) == 't', ours = *PQgetvalue(r, 0, 6) == 't';
    *may_create = *PQgetvalue(r, 0, 5) == 't';
    finding(findings, true, "reached PostgreSQL %s, database \"%s\", as \"%s\"%s", PQgetvalue(r, 0, 0),
            PQgetvalue(r, 0, 1), role, PQsslInUse(m->pg.conn) ? ", encrypted" : "");
    if (standby)
        finding(findings, false,
                "the server is a standby and takes no writes: connect to the primary "
                "(target_session_attrs=read-write)");
    if (!*schema)
        finding(findings, false,
                "no schema of the role's search_path exists: CREATE SCHEMA, or set the role's search_path");
    else if (*may_create)
        finding(findings, true, "tables can be made in schema \"%s\"", schema);
    else if (ours)
        finding(findings, true,
                "tables cannot be made in schema \"%s\": those that exist are used, new entities wait "
                "for a GRANT CREATE ON SCHEMA",
                schema);
    else
        finding(findings, false,
                "tables cannot be made in schema \"%s\": GRANT CREATE ON SCHEMA \"%s\" TO \"%s\"", schema,
                schema, role);
    PQclear(r);
    return 0;
}

/* Rights on one table; what is missing is named. */
static int inspect_rights(struct mirror *m, const char *name, struct buf *findings, bool *exists,
                          struct err *e)
{
    static const char sql[] = "SELECT to_regclass($1) IS NOT NULL, current_user, string_agg(needed, ', ') "
                              "FILTER (WHERE to_regclass($1) IS NOT"
                              " NULL AND NOT has_table_privilege(to_regclass($1), needed))"
                              " FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed";
    struct buf quoted = BUF_INIT;
    PGresult *r;
    mirror_add_identifier(&quoted, name);
    pg_params_clear(&m->params);
    pg_param_text(&m->params, buf_span(&quoted));
    buf_release(&quoted);
    if (pg_ask(&m->pg, sql, &m->params, false, &r, e) != 0)
        return -1;
    *exists = *PQgetvalue(r, 0, 0) == 't';
    if (*exists && !PQgetisnull(r, 0, 2))
        finding(findings, false, "table \"%s\" cannot be mirrored into: GRANT %s ON \"%s\" TO \"%s\"", name,
                PQgetvalue(r, 0, 2), name, PQgetvalue(r, 0, 1));
    PQclear(r);
    return 0;
}

static int inspect_table(struct mirror *m, const struct mirror_table *table, bool may_create,
                         struct buf *findings, struct err *e)
{
    struct mirror_remarks remarks = {BUF_INIT, BUF_INIT};
    bool exists;
    if (inspect_rights(m, table->name, findings, &exists, e) != 0)
        return -1;
    int rc = pg_table_learn(m, table, &remarks, e);
    if (rc != 0 && e->class == ERR_CONFIG) {
        finding(findings, false, "%s", e->text);
        rc = 0;
    } else if (rc == 0 && exists) {
        const struct pg_table *t = pg_table_of(m, table);
        uint32_t missing = 0;
        for (uint32_t i = 0; i < table->n_columns; i++)
            missing += !t->columns[i].there;
        mirror_add_findings(findings, "ok", &remarks.odd);
        finding(findings, true, "table \"%s\": %u columns are there, %u will be added", table->name,
                (unsigned)(table->n_columns - missing), (unsigned)missing);
    } else if (rc == 0) {
        finding(findings, may_create, "table \"%s\" is not there yet%s", table->name,
                may_create ? ": it will be made" : ", and cannot be made");
    }
    buf_release(&remarks.notice);
    buf_release(&remarks.odd);
    return rc;
}

int pg_inspect(struct mirror *m, const struct mirror_table *tables, size_t n, struct buf *findings,
               struct err *e)
{
    static const char *const ours[] = {"_tidemark_sinks", "_tidemark_fields", "_tidemark_tombstones"};
    bool may_create, exists;
    if (!m->pg.conn) {
        finding(findings, false, "%s",
                m->look_error.class != ERR_NONE ? m->look_error.text : "PostgreSQL was not looked at");
        return 0;
    }
    if (inspect_server(m, findings, &may_create, e) != 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (inspect_rights(m, ours[i], findings, &exists, e) != 0)
            return -1;
    for (size_t i = 0; i < n; i++)
        if (inspect_table(m, &tables[i], may_create, findings, e) != 0)
            return -1;
    return 0;
}
