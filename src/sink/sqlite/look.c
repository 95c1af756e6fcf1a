#include "base/alloc.h"
#include "sink/sqlite/sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char origin[] = "sink.sqlite";

/* --- rows for people ------------------------------------------------------------------------------- */

static int connect_to_look(struct mirror *m, struct err *e)
{
    struct stat st;
    if (stat(m->path, &st) != 0)
        return err_set_errno(e, errno == ENOENT || errno == ENOTDIR ? ERR_RETRY : ERR_REJECTED, origin, errno,
                             "cannot open %s", m->path);
    /* Readers of a write-ahead log write to its shared memory; who may not is left to SQLite. */
    int flags = access(m->path, W_OK) == 0 ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    if (sqlite_connect(m, flags, e) != 0 || sqlite_run(m, "PRAGMA query_only=1", "look", e) != 0)
        return -1;
    sqlite3_stmt *stmt;
    if (sqlite_own(m, OWN_AUTHORITY, &stmt, e) == 0)
        return 0;
    if (e && (e->code & 0xff) == SQLITE_ERROR) /* no such table */
        err_set(e, ERR_REJECTED, origin, 0, "%s holds nothing of ours yet", m->path);
    return -1;
}

int sqlite_look(struct mirror *m, struct err *e)
{
    BUG_IF(m->db);
    m->opening = true;
    int rc = connect_to_look(m, e);
    m->opening = false;
    if (rc != 0)
        sqlite_close(m);
    return rc;
}

int sqlite_has_table(struct mirror *m, const char *name, bool *has, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite_prepare(m, "SELECT 1 FROM sqlite_schema WHERE name=?1 COLLATE NOCASE", &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(name));
    int code = sqlite3_step(stmt);
    *has = code == SQLITE_ROW;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        sqlite_error(m, code, "look at a table", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

int sqlite_has_column(struct mirror *m, const char *table, const char *column, bool *has, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite_prepare(m, "SELECT 1 FROM pragma_table_xinfo(?1) WHERE name=?2 COLLATE NOCASE", &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(table));
    sqlite_bind_span(stmt, 2, span_of_str(column));
    int code = sqlite3_step(stmt);
    *has = code == SQLITE_ROW;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        sqlite_error(m, code, "look at the columns of a table", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

static struct span cell_text(sqlite3_stmt *stmt, int at, struct arena *a)
{
    struct span value = sqlite_column_span(stmt, at);
    if (sqlite3_column_type(stmt, at) != SQLITE_BLOB)
        return arena_copy(a, span_of(sqlite3_column_text(stmt, at), (size_t)sqlite3_column_bytes(stmt, at)));
    char *hex = arena_alloc(a, 2 * value.n + 1);
    for (size_t i = 0; i < value.n; i++)
        snprintf(hex + 2 * i, 3, "%02x", value.p[i]);
    return span_of(hex, 2 * value.n);
}

int sqlite_row(struct mirror *m, const struct mirror_table *table, struct span id, struct arena *a,
               struct mirror_cell **out, size_t *n, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    bool has;
    *n = 0;
    *out = NULL;
    if (sqlite_has_table(m, table->name, &has, e) != 0)
        return -1;
    if (!has)
        return 0;
    buf_clear(&m->text);
    buf_add_str(&m->text, "SELECT * FROM ");
    mirror_add_identifier(&m->text, table->name);
    buf_add_str(&m->text, " WHERE ");
    mirror_add_identifier(&m->text, table->key);
    buf_add_str(&m->text, "=?1");
    if (sqlite_prepare(m, (const char *)m->text.data, &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, id);
    int code = sqlite3_step(stmt);
    if (code == SQLITE_ROW) {
        int columns = sqlite3_column_count(stmt);
        *out = arena_alloc(a, (size_t)columns * sizeof **out);
        for (int i = 0; i < columns; i++) {
            struct mirror_cell *cell = &(*out)[(*n)++];
            const char *name = sqlite3_column_name(stmt, i);
            *cell = (struct mirror_cell){.column = arena_copy(a, span_of_str(name)),
                                         .is_null = sqlite3_column_type(stmt, i) == SQLITE_NULL};
            if (!cell->is_null)
                cell->text = cell_text(stmt, i, a);
        }
    } else if (code != SQLITE_DONE) {
        sqlite_error(m, code, "read a row", e);
    }
    sqlite3_finalize(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

/* --- findings for doctor --------------------------------------------------------------------------- */

/* What prepare would find, in a transaction that is rolled back. */
static void inspect_tables(struct mirror *m, const struct mirror_table *tables, size_t n,
                           struct buf *findings)
{
    struct err e = ERR_INIT;
    bool made;
    m->began = sqlite_own_run(m, OWN_BEGIN, "begin a transaction", &e) == 0;
    if (!m->began || sqlite_add_own(m, &made, &e) != 0) {
        buf_addf(findings, "bad: %s\n", e.text);
        return; /* closing rolls back */
    }
    buf_addf(findings, "ok: %s can be written\n", m->path);
    for (size_t i = 0; i < n; i++) {
        struct mirror_remarks remarks = {BUF_INIT, BUF_INIT};
        uint32_t *numbers = xcalloc(tables[i].n_sources + 1, sizeof *numbers);
        if (sqlite_prepare_table(m, &tables[i], numbers, &remarks, &e) != 0)
            buf_addf(findings, "bad: %s\n", e.text);
        else if (remarks.notice.len == 0)
            buf_addf(findings, "ok: table \"%s\" has its columns\n", tables[i].name);
        mirror_add_findings(findings, "ok: will do", &remarks.notice);
        mirror_add_findings(findings, "bad", &remarks.odd);
        free(numbers);
        buf_release(&remarks.notice);
        buf_release(&remarks.odd);
    }
    sqlite_rollback(m);
}

/* There is no file yet: would one be made? */
static void inspect_folder(struct mirror *m, struct buf *findings)
{
    const char *slash = strrchr(m->path, '/');
    char *folder = slash == m->path ? xstrdup("/") : xmemdupz(m->path, (size_t)(slash - m->path));
    if (access(folder, F_OK) != 0)
        buf_addf(findings, "bad: the folder of %s does not exist: make it, or mount it\n", m->path);
    else if (access(folder, W_OK | X_OK) != 0)
        buf_addf(findings, "bad: user %u may not make files in %s: change its owner or mode\n",
                 (unsigned)geteuid(), folder);
    else
        buf_addf(findings, "ok: %s will be made\n", m->path);
    free(folder);
}

int sqlite_inspect(struct mirror *m, const struct mirror_table *tables, size_t n, struct buf *findings,
                   struct err *e)
{
    struct err why = ERR_INIT;
    (void)e;
    sqlite_close(m); /* of look: it reads only */
    if (access(m->path, F_OK) != 0) {
        inspect_folder(m, findings);
        return 0;
    }
    m->opening = true;
    if (sqlite_connect(m, SQLITE_OPEN_READWRITE, &why) != 0)
        buf_addf(findings, "bad: %s\n", why.text);
    else if (sqlite3_db_readonly(m->db, "main") == 1)
        buf_addf(findings,
                 "bad: %s, or its folder, cannot be written by user %u: check owner, mode and mount\n",
                 m->path, (unsigned)geteuid());
    else
        inspect_tables(m, tables, n, findings);
    m->opening = false;
    sqlite_close(m);
    return 0;
}

/* --- dry runs -------------------------------------------------------------------------------------- */

void sqlite_show_table(const struct mirror_table *table, struct buf *out)
{
    sqlite_add_create(table, false, out);
    buf_add_str(out, ";\n");
    if (table->on_delete == MIRROR_ARCHIVE && !table->append_only) {
        sqlite_add_create(table, true, out);
        buf_add_str(out, ";\n");
    }
}

/* Put literals where the parameters of a statement stand; question marks within "names" are none. */
static void fill_in(const struct buf *sql, const struct buf *literals, size_t n, struct buf *out)
{
    const char *next = (const char *)literals->data;
    bool quoted = false;
    size_t used = 0;
    for (size_t i = 0; i < sql->len; i++) {
        char c = (char)sql->data[i];
        if (c == '"')
            quoted = !quoted;
        if (c != '?' || quoted || used == n) {
            buf_add_char(out, c);
            continue;
        }
        buf_add_str(out, next);
        next += strlen(next) + 1;
        used++;
    }
    buf_add_str(out, ";\n");
}

/* Literals stand one behind the other, each with its NUL. */
static void add_literal(struct buf *literals, size_t *n, const struct mirror_value *value)
{
    sqlite_add_value(value, literals);
    buf_add_char(literals, '\0');
    (*n)++;
}

static void add_text(struct buf *literals, size_t *n, struct span text)
{
    const struct mirror_value value = {.type = MIRROR_TEXT, .as.text = text};
    add_literal(literals, n, &value);
}

static void add_number(struct buf *literals, size_t *n, enum mirror_type type, int64_t number)
{
    const struct mirror_value value = {.type = type, .as.integer = number};
    add_literal(literals, n, &value);
}

static enum row_statement kind_of(const struct mirror_row *row)
{
    switch (row->action) {
    case MIRROR_UPSERT:
        return sqlite_upsert_kind(row);
    case MIRROR_APPEND:
        return ROW_APPEND_SHOWN;
    case MIRROR_DELETE:
        return row->table->on_delete == MIRROR_SOFT ? ROW_SOFT_DELETE
                                                    : ROW_DELETE; /* archive: after the copy */
    default:
        return ROW_STATE;
    }
}

static void add_stamps(const struct mirror_row *row, struct buf *literals, size_t *n)
{
    struct buf version = BUF_INIT;
    version_add_text(&version, &row->version);
    add_text(literals, n, buf_span(&version));
    add_number(literals, n, MIRROR_BIGINT, (int64_t)row->seq);
    buf_add_str(literals, "x'");
    for (size_t i = 0; i < row->state.n; i++)
        buf_addf(literals, "%02x", row->state.p[i]);
    buf_add_str(literals, "'");
    buf_add_char(literals, '\0');
    (*n)++;
    add_number(literals, n, MIRROR_BOOLEAN, row->incomplete);
    buf_release(&version);
}

void sqlite_show_row(const struct mirror_row *row, struct buf *out)
{
    enum row_statement kind = kind_of(row);
    struct buf sql = BUF_INIT, literals = BUF_INIT;
    size_t n = 0;
    bool no_row = !row->held.has_row && (kind == ROW_STATE || kind == ROW_DELETE || kind == ROW_SOFT_DELETE);
    if (no_row) {
        buf_addf(out, "-- %s ", row->table->name);
        buf_add_span(out, row->id);
        buf_add_str(out, ": has no row; a tombstone keeps its versions\n");
        return;
    }
    if (kind == ROW_DELETE && row->table->on_delete == MIRROR_ARCHIVE) {
        add_number(&literals, &n, MIRROR_DATETIME, row->deleted_ms);
        add_text(&literals, &n, row->id);
        sqlite_add_row_sql(row->table, ROW_ARCHIVE, 0, NULL, &sql);
        fill_in(&sql, &literals, n, out);
        buf_clear(&sql);
        buf_clear(&literals);
        n = 0;
    }
    if (kind == ROW_SOFT_DELETE)
        add_number(&literals, &n, MIRROR_DATETIME, row->deleted_ms);
    if (kind >= N_FIXED)
        for (uint32_t i = 0; i < row->n; i++)
            if (kind == ROW_INSERT || kind == ROW_INSERT_DELETED || kind == ROW_APPEND_SHOWN ||
                !row->table->columns[row->columns[i]].insert_only)
                add_literal(&literals, &n, &row->values[i]);
    if (kind == ROW_APPEND_SHOWN) {
        add_number(&literals, &n, MIRROR_BIGINT, (int64_t)row->seq);
        add_text(&literals, &n, row->hash);
    } else if (kind != ROW_DELETE) {
        add_stamps(row, &literals, &n);
    }
    add_text(&literals, &n, row->id);
    if (kind == ROW_INSERT_DELETED)
        add_number(&literals, &n, MIRROR_DATETIME, row->deleted_ms);
    sqlite_add_row_sql(row->table, kind, row->n, row->columns, &sql);
    fill_in(&sql, &literals, n, out);
    buf_release(&sql);
    buf_release(&literals);
}
