#include "base/killpoint.h"
#include "sink/sqlite/sqlite.h"

#include <inttypes.h>

static const char origin[] = "sink.sqlite";

static int fenced(struct mirror *m, struct err *e)
{
    return err_set(
        e, ERR_REJECTED, origin, 0,
        "another daemon has taken over sink '%s' in %s: only one may write to it; stop one of the two, "
        "or give one another name or path",
        m->name, m->path);
}

/* The row of this sink in _tidemark_sinks, on `stmt` (to be reset); *found false when there is none. */
static int find_sink(struct mirror *m, sqlite3_stmt **stmt, bool *found, struct err *e)
{
    if (sqlite_own(m, OWN_AUTHORITY, stmt, e) != 0)
        return -1;
    sqlite_bind_span(*stmt, 1, span_of_str(m->name));
    int code = sqlite3_step(*stmt);
    *found = code == SQLITE_ROW;
    if (code == SQLITE_ROW || code == SQLITE_DONE)
        return 0;
    sqlite_error(m, code, "read who may write", e);
    sqlite3_reset(*stmt);
    return -1;
}

static int read_authority(struct mirror *m, struct mirror_authority *held, struct err *e)
{
    sqlite3_stmt *stmt;
    bool found;
    if (find_sink(m, &stmt, &found, e) != 0)
        return -1;
    *held = (struct mirror_authority){0};
    buf_clear(&m->held);
    if (found) {
        held->epoch = (uint64_t)sqlite3_column_int64(stmt, 0);
        struct span store_id = sqlite_column_span(stmt, 1);
        if (store_id.n == MIRROR_STORE_ID) {
            held->known = true;
            memcpy(held->store_id, store_id.p, MIRROR_STORE_ID);
            held->cursor = (uint64_t)sqlite3_column_int64(stmt, 2);
            buf_add_span(&m->held, sqlite_column_span(stmt, 3));
            held->state = buf_span(&m->held);
        }
    }
    sqlite3_reset(stmt);
    return 0;
}

static int rename_in(struct mirror *m, enum own_statement which, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, which, &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(m->name));
    sqlite_bind_span(stmt, 2, span_of_str(m->renamed_from));
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "take over the sink's old name", e);
    sqlite3_reset(stmt);
    return code == SQLITE_DONE ? 0 : -1;
}

/* Whoever runs under the old name finds its row gone, and is fenced. */
static int take_over_name(struct mirror *m, struct err *e)
{
    if (!m->renamed_from)
        return 0;
    return rename_in(m, OWN_RENAME, e) == 0 ? rename_in(m, OWN_RENAME_TOMBSTONES, e) : -1;
}

static int raise_epoch(struct mirror *m, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_FENCE, &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(m->name));
    sqlite3_bind_int(stmt, 2, SQLITE_LAYOUT);
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "take over the sink", e);
    sqlite3_reset(stmt);
    return code == SQLITE_DONE ? 0 : -1;
}

/* COMMIT: a failure of the disk in the middle of it leaves open whether it counts. The transaction is over. */
static int end_transaction(struct mirror *m, const char *doing, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_COMMIT, &stmt, e) != 0)
        goto failed;
    int code = sqlite3_step(stmt);
    if (code == SQLITE_DONE) {
        sqlite3_reset(stmt);
        m->began = false;
        return 0;
    }
    sqlite_error(m, code, doing, e);
    if ((code & 0xff) == SQLITE_IOERR && e)
        e->class = ERR_UNKNOWN;
    sqlite3_reset(stmt);
failed:
    sqlite_rollback(m);
    return -1;
}

static int start_transaction(struct mirror *m, const char *doing, struct err *e)
{
    BUG_IF(!m->db || m->began);
    if (atomic_load(&m->interrupted))
        return sqlite_error(m, SQLITE_INTERRUPT, doing, e);
    if (sqlite_was_moved(m))
        return err_set(e, ERR_RETRY, origin, 0, "%s was moved or removed: it is opened anew", m->path);
    if (sqlite_own_run(m, OWN_BEGIN, doing, e) != 0)
        return -1;
    m->began = true;
    return 0;
}

int sqlite_fence(struct mirror *m, struct mirror_authority *held, struct err *e)
{
    if (start_transaction(m, "take over the sink", e) != 0)
        return -1;
    if (take_over_name(m, e) != 0 || raise_epoch(m, e) != 0 || read_authority(m, held, e) != 0) {
        sqlite_rollback(m);
        return -1;
    }
    KILLPOINT("mirror.before_fence");
    if (end_transaction(m, "take over the sink", e) != 0)
        return -1;
    m->epoch = held->epoch;
    return 0;
}

int sqlite_begin(struct mirror *m, struct err *e)
{
    BUG_IF(m->epoch == 0);
    if (start_transaction(m, "begin a transaction", e) != 0)
        return -1;
    sqlite3_stmt *stmt;
    bool found;
    if (find_sink(m, &stmt, &found, e) != 0) {
        sqlite_rollback(m);
        return -1;
    }
    bool ours = found && (uint64_t)sqlite3_column_int64(stmt, 0) == m->epoch;
    sqlite3_reset(stmt);
    if (ours)
        return 0;
    sqlite_rollback(m);
    return fenced(m, e);
}

static int set_cursor(struct mirror *m, const uint8_t store_id[MIRROR_STORE_ID], uint64_t cursor,
                      struct span state, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_CURSOR, &stmt, e) != 0)
        return -1;
    sqlite_bind_bytes(stmt, 1, span_of(store_id, MIRROR_STORE_ID));
    sqlite3_bind_int64(stmt, 2, (int64_t)cursor);
    sqlite_bind_bytes(stmt, 3, state);
    sqlite_bind_span(stmt, 4, span_of_str(m->name));
    sqlite3_bind_int64(stmt, 5, (int64_t)m->epoch);
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "set the cursor", e);
    sqlite3_reset(stmt);
    if (code != SQLITE_DONE)
        return -1;
    return sqlite3_changes(m->db) == 1 ? 0 : fenced(m, e);
}

int sqlite_commit(struct mirror *m, const uint8_t store_id[MIRROR_STORE_ID], uint64_t cursor,
                  struct span state, struct err *e)
{
    BUG_IF(!m->began);
    if (set_cursor(m, store_id, cursor, state, e) != 0) {
        sqlite_rollback(m);
        return -1;
    }
    KILLPOINT("mirror.before_commit");
    if (end_transaction(m, "commit", e) != 0)
        return -1;
    sqlite_settle_tables(m, true);
    KILLPOINT("mirror.after_commit");
    /* Removed under our hands: what was committed is in a file that nobody finds again. */
    if (sqlite_was_moved(m))
        return err_set(e, ERR_UNKNOWN, origin, 0, "%s was moved or removed: it is opened anew", m->path);
    return 0;
}

void sqlite_rollback(struct mirror *m)
{
    if (!m->began)
        return;
    m->began = false;
    sqlite_settle_tables(m, false);
    struct err ignored = ERR_INIT; /* an error may have ended it already; closing ends it in any case */
    if (!sqlite3_get_autocommit(m->db) && sqlite_own_run(m, OWN_ROLLBACK, "roll back", &ignored) != 0)
        sqlite_drop_all_statements(m);
}

int sqlite_forget(struct mirror *m, uint32_t epoch, int64_t commit, size_t most, size_t *n, struct err *e)
{
    sqlite3_stmt *stmt;
    BUG_IF(!m->began);
    if (sqlite_own(m, OWN_FORGET, &stmt, e) != 0)
        return -1;
    sqlite3_bind_int64(stmt, 1, epoch);
    sqlite3_bind_int64(stmt, 2, commit);
    sqlite3_bind_int64(stmt, 3, (int64_t)most);
    sqlite_bind_span(stmt, 4, span_of_str(m->name));
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "forget old tombstones", e);
    sqlite3_reset(stmt);
    *n = code == SQLITE_DONE ? (size_t)sqlite3_changes(m->db) : 0;
    return code == SQLITE_DONE ? 0 : -1;
}
