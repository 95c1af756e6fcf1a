/*
 * Authority (I7): who may write, and how far it is.
 *
 * One row per sink in _tidemark_sinks. fence raises its epoch; every commit updates it on the condition that the
 * epoch is still ours, in the transaction of the rows. Whoever was fenced in between finds no row to update and
 * rolls back; whoever is just committing makes the fence wait for that commit, and then it reads the new cursor.
 */
#include "sink/postgres/postgres.h"

#include "base/alloc.h"
#include "base/killpoint.h"

static const char origin[] = "sink.postgres";

enum { LAYOUT = 1 };

static const struct {
    const char *name, *sql;
} own_tables[] = {
    {"_tidemark_sinks",
     "CREATE TABLE \"_tidemark_sinks\" (sink text PRIMARY KEY, layout bigint NOT NULL,"
     " epoch bigint NOT NULL, store_id bytea, cursor bigint NOT NULL, state bytea NOT NULL,"
     " written_at timestamp with time zone) WITH (fillfactor = 50)"},
    {"_tidemark_fields",
     "CREATE TABLE \"_tidemark_fields\" (\"table\" text NOT NULL, number bigint NOT NULL,"
     " \"column\" text NOT NULL, field text NOT NULL, field_id text NOT NULL, type text NOT NULL,"
     " PRIMARY KEY (\"table\", number))"},
    {"_tidemark_tombstones",
     "CREATE TABLE \"_tidemark_tombstones\" (\"table\" text NOT NULL, id text NOT NULL, sink text NOT NULL "
     "DEFAULT '',"
     " epoch bigint NOT NULL, commit_number bigint NOT NULL, version text NOT NULL, seq bigint NOT NULL,"
     " state bytea NOT NULL, PRIMARY KEY (\"table\", id)) WITH (fillfactor = 75)"},
};
static const char horizon_index[] =
    "CREATE INDEX \"_tidemark_tombstones_horizon\" ON \"_tidemark_tombstones\" (sink, epoch, commit_number)";

static int exists(struct mirror *m, const char *name, bool *found, struct err *e)
{
    PGresult *r;
    pg_params_clear(&m->params);
    pg_param_text(&m->params, span_of_str(name));
    if (pg_ask(&m->pg, "SELECT to_regclass($1) IS NOT NULL", &m->params, false, &r, e) != 0)
        return -1;
    *found = *PQgetvalue(r, 0, 0) == 't';
    PQclear(r);
    return 0;
}

static int make_own_tables(struct mirror *m, struct buf *notice, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(own_tables); i++) {
        bool found;
        if (exists(m, own_tables[i].name, &found, e) != 0)
            return -1;
        if (found)
            continue;
        if (pg_do(&m->pg, own_tables[i].sql, e) != 0)
            return -1;
        if (i + 1 == ARRAY_LEN(own_tables) && pg_do(&m->pg, horizon_index, e) != 0)
            return -1;
        buf_addf(notice, "table \"%s\" made\n", own_tables[i].name);
    }
    return 0;
}

static int check_layout(struct mirror *m, struct err *e)
{
    PGresult *r;
    if (pg_ask(&m->pg, "SELECT coalesce(max(layout), 0)::bigint FROM \"_tidemark_sinks\"", NULL, true, &r,
               e) != 0)
        return -1;
    int64_t layout = pg_cell_int8(r, 0, 0);
    PQclear(r);
    return layout <= LAYOUT
               ? 0
               : err_set(e, ERR_REJECTED, origin, 0,
                         "the tables of this database were written by a newer version (layout %d, this one "
                         "knows %d)",
                         (int)layout, LAYOUT);
}

int pg_own_tables(struct mirror *m, struct buf *notice, struct err *e)
{
    /* Two daemons may start at once: the second finds what the first has made. The key is the letters "tide". */
    static const char lock[] = "SELECT pg_advisory_xact_lock(1953064037)";
    if (pg_do(&m->pg, "BEGIN", e) != 0)
        return -1;
    if (pg_do(&m->pg, lock, e) == 0 && make_own_tables(m, notice, e) == 0 && check_layout(m, e) == 0 &&
        pg_do(&m->pg, "COMMIT", e) == 0)
        return 0;
    if (m->pg.fault == PG_FAULT_RIGHT) {
        err_prefix(e, "tidemark's own tables (_tidemark_...) cannot be made or read: grant the role CREATE "
                      "on the schema, "
                      "or give it SELECT, INSERT, UPDATE and DELETE on them");
        e->class = ERR_REJECTED;
    }
    return -1; /* open closes the connection, which ends the transaction */
}

/* --- the fence --------------------------------------------------------------------------------------- */

/* Both or none: what is sent up to pg_finish is one transaction. Whoever runs under the old name is fenced by it. */
static int take_over_name(struct mirror *m, struct err *e)
{
    static const char sinks[] = "UPDATE \"_tidemark_sinks\" SET sink = $1 WHERE sink = $2"
                                " AND NOT EXISTS (SELECT FROM \"_tidemark_sinks\" WHERE sink = $1)";
    static const char tombstones[] = "UPDATE \"_tidemark_tombstones\" SET sink = $1 WHERE sink = $2"
                                     " AND NOT EXISTS (SELECT FROM \"_tidemark_sinks\" WHERE sink = $2)";
    if (!m->renamed_from)
        return 0;
    pg_params_clear(&m->params);
    pg_param_text(&m->params, span_of_str(m->name));
    pg_param_text(&m->params, span_of_str(m->renamed_from));
    if (pg_send(&m->pg, sinks, &m->params, false, e) != 0 ||
        pg_send(&m->pg, tombstones, &m->params, false, e) != 0)
        return -1;
    return pg_finish(&m->pg, NULL, NULL, e);
}

int pg_fence(struct mirror *m, struct mirror_authority *held, struct err *e)
{
    static const char sql[] =
        "INSERT INTO \"_tidemark_sinks\" AS s (sink, layout, epoch, cursor, state)"
        " VALUES ($1, $2, 1, 0, '') ON CONFLICT (sink) DO UPDATE SET epoch = s.epoch + 1"
        " RETURNING epoch, cursor, store_id, state";
    PGresult *r;
    if (!m->open)
        return err_set(e, ERR_RETRY, origin, 0, "not connected to PostgreSQL");
    BUG_IF(m->in_transaction);
    if (take_over_name(m, e) != 0)
        return err_prefix(e, "taking over sink \"%s\", which is \"%s\" now", m->renamed_from, m->name);
    pg_params_clear(&m->params);
    pg_param_text(&m->params, span_of_str(m->name));
    pg_param_int8(&m->params, LAYOUT);
    if (pg_ask(&m->pg, sql, &m->params, true, &r, e) != 0)
        return err_prefix(e, "taking over sink \"%s\"", m->name);
    KILLPOINT("postgres.after_fence");
    *held = (struct mirror_authority){.epoch = (uint64_t)pg_cell_int8(r, 0, 0)};
    m->epoch = held->epoch;
    buf_clear(&m->state);
    buf_add_span(&m->state, pg_cell(r, 0, 3));
    held->state = buf_span(&m->state);
    held->cursor = (uint64_t)pg_cell_int8(r, 0, 1);
    struct span id = pg_cell(r, 0, 2);
    held->known = !PQgetisnull(r, 0, 2) && id.n == MIRROR_STORE_ID;
    if (held->known)
        memcpy(held->store_id, id.p, MIRROR_STORE_ID);
    PQclear(r);
    return 0;
}

static int fenced(const struct mirror *m, struct err *e)
{
    return err_set(e, ERR_REJECTED, origin, 0,
                   "another daemon has taken over sink \"%s\" in this database: only one may write", m->name);
}

/* --- the transaction --------------------------------------------------------------------------------- */

struct epoch_answer {
    bool found;
    int64_t epoch;
};

static void take_epoch(void *context, size_t i, const PGresult *r)
{
    struct epoch_answer *answer = context;
    (void)i;
    if (PQntuples(r) != 1)
        return;
    answer->found = true;
    answer->epoch = pg_cell_int8(r, 0, 0);
}

/*
 * Kept plans are made for the size that tables had, and they may grow fast: they are made anew each time as many
 * batches have been written as before, and every so many in the long run, for what others do to the tables.
 */
static bool plans_are_old(uint64_t begun)
{
    enum { ALWAYS = 64 };
    return (begun & (begun - 1)) == 0 || begun % ALWAYS == 0;
}

int pg_begin(struct mirror *m, struct err *e)
{
    struct epoch_answer answer = {.found = false};
    if (!m->open)
        return err_set(e, ERR_RETRY, origin, 0, "not connected to PostgreSQL");
    BUG_IF(m->in_transaction);
    pg_params_clear(&m->params);
    pg_param_text(&m->params, span_of_str(m->name));
    if (plans_are_old(++m->begun) && pg_send(&m->pg, "DISCARD PLANS", NULL, true, e) != 0)
        return -1;
    if (pg_send(&m->pg, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", NULL, true, e) != 0)
        return -1;
    if (pg_send(&m->pg, "SELECT epoch FROM \"_tidemark_sinks\" WHERE sink = $1", &m->params, true, e) != 0)
        return -1;
    m->in_transaction = true;
    m->by_key -= m->by_key > 0;
    int rc = pg_finish(&m->pg, take_epoch, &answer, e);
    if (rc == 0 && !(answer.found && (uint64_t)answer.epoch == m->epoch))
        rc = fenced(m, e);
    if (rc != 0)
        pg_rollback(m);
    return rc;
}

void pg_rollback(struct mirror *m)
{
    struct err e = ERR_INIT;
    if (!m->in_transaction)
        return;
    m->in_transaction = false;
    pg_drop_sent(m);
    pg_tables_forget(m, true);
    /* A connection that cannot even roll back is of no more use; the server ends the transaction with it. */
    if (!m->pg.broken && pg_do(&m->pg, "ROLLBACK", &e) != 0)
        m->pg.broken = true;
}

static void take_count(void *context, size_t i, const PGresult *r)
{
    bool *one = context;
    (void)i;
    *one = strcmp(PQcmdTuples((PGresult *)(uintptr_t)r), "1") == 0;
}

static void take_tag(void *context, size_t i, const PGresult *r)
{
    bool *committed = context;
    (void)i;
    *committed = strcmp(PQcmdStatus((PGresult *)(uintptr_t)r), "COMMIT") == 0;
}

/* Cursor and state, while the epoch is ours. The row stays locked until the end: no fence can come between. */
static int claim(struct mirror *m, const uint8_t *store_id, uint64_t cursor, struct span state, struct err *e)
{
    static const char sql[] =
        "UPDATE \"_tidemark_sinks\" SET store_id = $3, cursor = $4, state = $5, layout = $6,"
        " written_at = now() WHERE sink = $1 AND epoch = $2";
    bool ours = false;
    pg_params_clear(&m->params);
    pg_param_text(&m->params, span_of_str(m->name));
    pg_param_int8(&m->params, (int64_t)m->epoch);
    pg_param_bytes(&m->params, span_of(store_id, MIRROR_STORE_ID));
    pg_param_int8(&m->params, (int64_t)cursor);
    pg_param_bytes(&m->params, state);
    pg_param_int8(&m->params, LAYOUT);
    if (pg_send(&m->pg, sql, &m->params, false, e) != 0)
        return -1;
    if (pg_finish(&m->pg, take_count, &ours, e) != 0)
        return -1;
    return ours ? 0 : fenced(m, e);
}

int pg_commit(struct mirror *m, const uint8_t store_id[MIRROR_STORE_ID], uint64_t cursor, struct span state,
              struct err *e)
{
    bool committed = false;
    BUG_IF(!m->in_transaction || m->sent.in_flight);
    pg_drop_sent(m);
    if (claim(m, store_id, cursor, state, e) != 0) {
        pg_rollback(m);
        return -1;
    }
    KILLPOINT("postgres.before_commit");
    if (pg_send(&m->pg, "COMMIT", NULL, false, e) != 0 || pg_finish(&m->pg, take_tag, &committed, e) != 0) {
        /* Only an answer that leaves the connection standing says that it was not done. */
        if (m->pg.broken)
            e->class = ERR_UNKNOWN;
        pg_rollback(m);
        return -1;
    }
    KILLPOINT("postgres.after_commit");
    m->in_transaction = false;
    if (!committed) {
        pg_tables_forget(m, true);
        return err_set(e, ERR_RETRY, origin, 0, "PostgreSQL rolled the transaction back");
    }
    for (size_t i = 0; i < m->n_tables; i++)
        m->tables[i].changed = false;
    return 0;
}

int pg_forget(struct mirror *m, uint32_t epoch, int64_t commit, size_t most, size_t *n, struct err *e)
{
    static const char sql[] =
        "WITH old AS (SELECT \"table\", id FROM \"_tidemark_tombstones\" WHERE sink = $1 AND"
        " (epoch, commit_number) < ($2, $3) LIMIT $4),"
        " gone AS (DELETE FROM \"_tidemark_tombstones\" t USING old WHERE t.\"table\" = old.\"table\" AND "
        "t.id = old.id"
        " RETURNING 1) SELECT count(*) FROM gone";
    PGresult *r;
    pg_params_clear(&m->params);
    pg_param_text(&m->params, span_of_str(m->name));
    pg_param_int8(&m->params, epoch);
    pg_param_int8(&m->params, commit);
    pg_param_int8(&m->params, (int64_t)most);
    if (pg_ask(&m->pg, sql, &m->params, true, &r, e) != 0)
        return -1;
    *n = (size_t)pg_cell_int8(r, 0, 0);
    PQclear(r);
    return 0;
}
