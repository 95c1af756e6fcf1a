#include "sink/sqlite/sqlite.h"

#include <stdio.h>

/* --- load ------------------------------------------------------------------------------------------ */

static int load_tombstone(struct mirror *m, const struct mirror_table *table, struct span id, struct arena *a,
                          struct mirror_held *held, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_TOMBSTONE_GET, &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(table->name));
    sqlite_bind_span(stmt, 2, id);
    int code = sqlite3_step(stmt);
    if (code == SQLITE_ROW)
        held->state = arena_copy(a, sqlite_column_span(stmt, 0));
    else if (code != SQLITE_DONE)
        sqlite_error(m, code, "read a tombstone", e);
    sqlite3_reset(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

int sqlite_load(struct mirror *m, const struct mirror_table *table, const struct span *ids, size_t n,
                struct arena *a, struct mirror_held *held, struct err *e)
{
    sqlite3_stmt *stmt;
    BUG_IF(table->append_only);
    bool has = true; /* prepare made it; who only looks may come before that */
    if (!m->began && sqlite_has_table(m, table->name, &has, e) != 0)
        return -1;
    for (size_t i = 0; !has && i < n; i++) {
        held[i] = (struct mirror_held){0};
        if (load_tombstone(m, table, ids[i], a, &held[i], e) != 0)
            return -1;
    }
    if (!has)
        return 0;
    if (sqlite_row_statement(m, table, ROW_LOAD, 0, NULL, &stmt, e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct mirror_held *h = &held[i];
        *h = (struct mirror_held){0};
        sqlite_bind_span(stmt, 1, ids[i]);
        int code = sqlite3_step(stmt);
        if (code == SQLITE_ROW) {
            h->has_row = true;
            h->state = arena_copy(a, sqlite_column_span(stmt, 0));
            h->deleted = sqlite3_column_int(stmt, 1) != 0;
            h->has_modified = sqlite3_column_type(stmt, 2) == SQLITE_TEXT &&
                              sqlite_parse_time(sqlite_column_span(stmt, 2), &h->modified_ms);
        } else if (code != SQLITE_DONE) {
            sqlite_error(m, code, "read a row", e);
            sqlite3_reset(stmt);
            return -1;
        }
        sqlite3_reset(stmt);
        if (!h->has_row && load_tombstone(m, table, ids[i], a, h, e) != 0)
            return -1;
    }
    return 0;
}

int sqlite_text(struct mirror *m, const struct mirror_table *table, struct span id, uint32_t column,
                struct arena *a, bool *found, struct mirror_value *out, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_row_statement(m, table, ROW_TEXT, 1, &column, &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, id);
    int code = sqlite3_step(stmt);
    *found = code == SQLITE_ROW;
    *out = (struct mirror_value){.is_null = true, .type = table->columns[column].type};
    if (*found)
        sqlite_read_value(stmt, 0, out->type, a, out);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        sqlite_error(m, code, "read a value", e);
    sqlite3_reset(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

/* --- write ----------------------------------------------------------------------------------------- */

enum step { STEP_FAILED = -1, STEP_DONE, STEP_REFUSED };

static enum step refuse(struct mirror_row *row, const char *why)
{
    row->outcome = MIRROR_REFUSED;
    snprintf(row->why, sizeof row->why, "%s", why);
    return STEP_REFUSED;
}

static enum step refuse_value(struct mirror_row *row, const struct mirror_column *column, const char *why)
{
    row->outcome = MIRROR_REFUSED;
    snprintf(row->why, sizeof row->why, "column \"%s\": the value is %s", column->name, why);
    return STEP_REFUSED;
}

/* Which results blame the row; all others blame the database. */
static bool is_refusal(int code)
{
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
        return true;
    default:
        return false;
    }
}

/* Run a bound statement that changes one row of the table (may_miss: or none). */
static enum step run(struct mirror *m, sqlite3_stmt *stmt, struct mirror_row *row, bool may_miss,
                     struct err *e)
{
    int code = sqlite3_step(stmt);
    enum step done = STEP_DONE;
    if (code != SQLITE_DONE) {
        if (is_refusal(code))
            done = refuse(row, sqlite3_errmsg(m->db));
        /* A trigger of the user may have ended the whole transaction: then nothing of it counts. */
        if (done != STEP_REFUSED || sqlite3_get_autocommit(m->db)) {
            row->outcome = done == STEP_REFUSED ? MIRROR_FATAL : row->outcome;
            sqlite_error(m, code, "write a row", e);
            done = STEP_FAILED;
        }
    }
    sqlite3_reset(stmt);
    if (done == STEP_DONE && !may_miss && sqlite3_changes(m->db) != 1)
        done = refuse(row, "the table ignored the row (a trigger?)");
    return done;
}

/* _version, _seq, _state, _incomplete, key: the end of every statement that writes a row. */
static void bind_stamps(struct mirror *m, sqlite3_stmt *stmt, int at, const struct mirror_row *row)
{
    buf_clear(&m->text);
    version_add_text(&m->text, &row->version);
    sqlite_bind_span(stmt, at, buf_span(&m->text));
    sqlite3_bind_int64(stmt, at + 1, (int64_t)row->seq);
    sqlite_bind_bytes(stmt, at + 2, row->state);
    sqlite3_bind_int(stmt, at + 3, row->incomplete);
    sqlite_bind_span(stmt, at + 4, row->id);
}

/* The mapped columns, from parameter 1 on; *at is the one behind them. */
static enum step bind_columns(sqlite3_stmt *stmt, struct mirror_row *row, bool insert, int *at)
{
    const char *why;
    *at = 1;
    for (uint32_t i = 0; i < row->n; i++) {
        const struct mirror_column *column = &row->table->columns[row->columns[i]];
        if (column->insert_only && !insert)
            continue;
        if (!sqlite_bind_value(stmt, (*at)++, &row->values[i], &why))
            return refuse_value(row, column, why);
    }
    return STEP_DONE;
}

static enum step put_tombstone(struct mirror *m, const struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_TOMBSTONE_PUT, &stmt, e) != 0)
        return STEP_FAILED;
    buf_clear(&m->text);
    version_add_text(&m->text, &row->version);
    sqlite_bind_span(stmt, 1, span_of_str(row->table->name));
    sqlite_bind_span(stmt, 2, row->id);
    sqlite_bind_bytes(stmt, 3, row->state);
    sqlite_bind_span(stmt, 4, buf_span(&m->text));
    sqlite3_bind_int64(stmt, 5, (int64_t)row->seq);
    sqlite3_bind_int64(stmt, 6, row->version.epoch);
    sqlite3_bind_int64(stmt, 7, row->version.commit);
    sqlite_bind_span(stmt, 8, span_of_str(m->name));
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "write a tombstone", e);
    sqlite3_reset(stmt);
    return code == SQLITE_DONE ? STEP_DONE : STEP_FAILED;
}

static enum step drop_tombstone(struct mirror *m, const struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_TOMBSTONE_DROP, &stmt, e) != 0)
        return STEP_FAILED;
    sqlite_bind_span(stmt, 1, span_of_str(row->table->name));
    sqlite_bind_span(stmt, 2, row->id);
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "drop a tombstone", e);
    sqlite3_reset(stmt);
    return code == SQLITE_DONE ? STEP_DONE : STEP_FAILED;
}

static enum step refuse_deletion_time(struct mirror_row *row)
{
    return refuse(row, "the time of the deletion is outside the years 1 to 9999");
}

static bool deletion_time(const struct mirror_row *row, char out[MIRROR_TIME_ROOM])
{
    const struct mirror_value when = {.type = MIRROR_DATETIME, .as.integer = row->deleted_ms};
    return mirror_time_text(&when, out);
}

static enum step upsert(struct mirror *m, struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    const enum row_statement kind = sqlite_upsert_kind(row);
    const bool insert = !row->held.has_row;
    char when[MIRROR_TIME_ROOM];
    int at;
    if (sqlite_row_statement(m, row->table, kind, row->n, row->columns, &stmt, e) != 0)
        return STEP_FAILED;
    enum step done = bind_columns(stmt, row, insert, &at);
    if (done != STEP_DONE)
        return done;
    bind_stamps(m, stmt, at, row);
    if (kind == ROW_INSERT_DELETED) {
        if (!deletion_time(row, when))
            return refuse_deletion_time(row);
        sqlite_bind_span(stmt, at + 5, span_of_str(when));
    }
    done = run(m, stmt, row, false, e);
    if (done == STEP_DONE && insert && row->held.state.n)
        done = drop_tombstone(m, row, e);
    return done;
}

static enum step append(struct mirror *m, struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    int at;
    const bool alone = sqlite_table_of(m, row->table)->key_alone;
    if (sqlite_row_statement(m, row->table, alone ? ROW_APPEND_ALONE : ROW_APPEND, row->n, row->columns,
                             &stmt, e) != 0)
        return STEP_FAILED;
    enum step done = bind_columns(stmt, row, true, &at);
    if (done != STEP_DONE)
        return done;
    sqlite3_bind_int64(stmt, at, (int64_t)row->seq);
    sqlite_bind_span(stmt, at + 1, row->hash);
    sqlite_bind_span(stmt, at + 2, row->id);
    done = run(m, stmt, row, true, e);
    if (done == STEP_DONE && alone && sqlite3_changes(m->db) == 0) {
        row->outcome = MIRROR_REFUSED;
        mirror_say_twin(row->table, row->why, sizeof row->why);
        done = STEP_REFUSED;
    }
    return done;
}

static enum step write_state(struct mirror *m, struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    if (!row->held.has_row)
        return put_tombstone(m, row, e);
    if (sqlite_row_statement(m, row->table, ROW_STATE, 0, NULL, &stmt, e) != 0)
        return STEP_FAILED;
    bind_stamps(m, stmt, 1, row);
    return run(m, stmt, row, false, e);
}

static enum step soft_delete(struct mirror *m, struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    char when[MIRROR_TIME_ROOM];
    if (!row->held.has_row)
        return put_tombstone(m, row, e);
    if (sqlite_row_statement(m, row->table, ROW_SOFT_DELETE, 0, NULL, &stmt, e) != 0)
        return STEP_FAILED;
    if (!deletion_time(row, when))
        return refuse_deletion_time(row);
    sqlite_bind_span(stmt, 1, span_of_str(when));
    bind_stamps(m, stmt, 2, row);
    return run(m, stmt, row, false, e);
}

static enum step move_to_history(struct mirror *m, struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    char when[MIRROR_TIME_ROOM];
    if (sqlite_row_statement(m, row->table, ROW_ARCHIVE, 0, NULL, &stmt, e) != 0)
        return STEP_FAILED;
    if (!deletion_time(row, when))
        return refuse_deletion_time(row);
    sqlite_bind_span(stmt, 1, span_of_str(when));
    sqlite_bind_span(stmt, 2, row->id);
    return run(m, stmt, row, false, e);
}

static enum step remove_row(struct mirror *m, struct mirror_row *row, struct err *e)
{
    sqlite3_stmt *stmt;
    enum step done = row->table->on_delete == MIRROR_ARCHIVE ? move_to_history(m, row, e) : STEP_DONE;
    if (done != STEP_DONE)
        return done;
    if (sqlite_row_statement(m, row->table, ROW_DELETE, 0, NULL, &stmt, e) != 0)
        return STEP_FAILED;
    sqlite_bind_span(stmt, 1, row->id);
    return run(m, stmt, row, false, e);
}

/* Back to the savepoint, which ends with it. */
static int undo(struct mirror *m, struct err *e)
{
    if (sqlite_own_run(m, OWN_ROLLBACK_TO, "undo rows", e) != 0)
        return -1;
    return sqlite_own_run(m, OWN_RELEASE, "undo rows", e);
}

static enum step delete_row(struct mirror *m, struct mirror_row *row, bool in_savepoint, struct err *e)
{
    if (row->table->on_delete == MIRROR_SOFT)
        return soft_delete(m, row, e);
    if (!row->held.has_row)
        return put_tombstone(m, row, e);
    /* Two statements on tables that may refuse: both or none. */
    bool guard = row->table->on_delete == MIRROR_ARCHIVE && !in_savepoint;
    if (guard && sqlite_own_run(m, OWN_SAVEPOINT, "delete a row", e) != 0)
        return STEP_FAILED;
    enum step done = remove_row(m, row, e);
    if (guard && done == STEP_REFUSED && undo(m, e) != 0)
        return STEP_FAILED;
    if (guard && done == STEP_DONE && sqlite_own_run(m, OWN_RELEASE, "delete a row", e) != 0)
        return STEP_FAILED;
    return done == STEP_DONE ? put_tombstone(m, row, e) : done;
}

static enum step write_row(struct mirror *m, struct mirror_row *row, bool in_savepoint, struct err *e)
{
    switch (row->action) {
    case MIRROR_UPSERT:
        return upsert(m, row, e);
    case MIRROR_DELETE:
        return delete_row(m, row, in_savepoint, e);
    case MIRROR_STATE_ONLY:
        return write_state(m, row, e);
    case MIRROR_APPEND:
        return append(m, row, e);
    }
    BUG("no action %d", (int)row->action);
}

int sqlite_write(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, struct err *e)
{
    BUG_IF(!m->began);
    if (whole && sqlite_own_run(m, OWN_SAVEPOINT, "write rows", e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        rows[i].outcome = MIRROR_UNWRITTEN;
        enum step done = write_row(m, &rows[i], whole, e);
        if (done == STEP_FAILED)
            return -1;
        if (done == STEP_DONE)
            rows[i].outcome = MIRROR_WRITTEN;
        if (done == STEP_REFUSED && whole) {
            for (size_t k = 0; k < n; k++)
                if (k != i)
                    rows[k].outcome = MIRROR_UNWRITTEN;
            return undo(m, e);
        }
    }
    return whole ? sqlite_own_run(m, OWN_RELEASE, "write rows", e) : 0;
}
