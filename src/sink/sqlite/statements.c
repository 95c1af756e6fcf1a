#include "base/alloc.h"
#include "sink/sqlite/sqlite.h"

/*
 * A column that several fields share takes an object of those that change (a merge patch, RFC 7396). What stands there
 * and is no JSON was written by somebody else; it is replaced.
 */
static void add_parameter(const struct mirror_column *column, bool update, struct buf *out)
{
    if (!column->merged) {
        buf_add_char(out, '?');
        return;
    }
    if (!update) {
        buf_add_str(out, "json_patch('{}',?)");
        return;
    }
    buf_add_str(out, "json_patch(CASE WHEN json_valid(");
    mirror_add_identifier(out, column->name);
    buf_add_str(out, ") THEN ");
    mirror_add_identifier(out, column->name);
    buf_add_str(out, " ELSE '{}' END,?)");
}

/* "a"=?,"b"=? ... for updates: columns owned by the target are skipped, here and in rows.c. */
static void add_assignments(const struct mirror_table *table, uint32_t n, const uint32_t *columns,
                            struct buf *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct mirror_column *column = &table->columns[columns[i]];
        if (column->insert_only)
            continue;
        mirror_add_identifier(out, column->name);
        buf_add_char(out, '=');
        add_parameter(column, true, out);
        buf_add_char(out, ',');
    }
}

static void add_names(const struct mirror_table *table, uint32_t n, const uint32_t *columns, struct buf *out)
{
    for (uint32_t i = 0; i < n; i++) {
        mirror_add_identifier(out, table->columns[columns[i]].name);
        buf_add_char(out, ',');
    }
}

static void add_where(const struct mirror_table *table, struct buf *out)
{
    buf_add_str(out, " WHERE ");
    mirror_add_identifier(out, table->key);
    buf_add_str(out, "=?");
}

static void add_insert(const struct mirror_table *table, bool deleted, uint32_t n, const uint32_t *columns,
                       struct buf *out)
{
    /* OR ABORT: whatever a table of the user says about conflicts, one refused row is one refused row. */
    buf_add_str(out, "INSERT OR ABORT INTO ");
    mirror_add_identifier(out, table->name);
    buf_add_char(out, '(');
    add_names(table, n, columns, out);
    buf_add_str(out, "\"_version\",\"_seq\",\"_state\",\"_incomplete\",");
    mirror_add_identifier(out, table->key);
    buf_add_str(out, deleted ? ",\"_deleted_at\",\"_deleted\") VALUES (" : ") VALUES (");
    for (uint32_t i = 0; i < n; i++) {
        add_parameter(&table->columns[columns[i]], false, out);
        buf_add_char(out, ',');
    }
    buf_add_str(out, deleted ? "?,?,?,?,?,?,1)" : "?,?,?,?,?)");
}

/* Which events of one id have rows: mirror.h. */
static void add_append(const struct mirror_table *table, enum row_statement kind, uint32_t n,
                       const uint32_t *columns, struct buf *out)
{
    static const char hash[] = "\"" MIRROR_HASH_COLUMN "\"";
    buf_add_str(out, "INSERT OR ABORT INTO ");
    mirror_add_identifier(out, table->name);
    buf_add_char(out, '(');
    add_names(table, n, columns, out);
    buf_addf(out, "\"_seq\",%s,", hash);
    mirror_add_identifier(out, table->key);
    buf_add_str(out, ") VALUES (");
    for (uint32_t i = 0; i < n; i++) {
        add_parameter(&table->columns[columns[i]], false, out);
        buf_add_char(out, ',');
    }
    buf_add_str(out, "?,?,?) ON CONFLICT");
    if (kind != ROW_APPEND_SHOWN) {
        buf_add_char(out, '(');
        mirror_add_identifier(out, table->key);
        buf_addf(out, "%s%s)", kind == ROW_APPEND ? "," : "", kind == ROW_APPEND ? hash : "");
    }
    if (kind == ROW_APPEND_ALONE)
        buf_addf(out, " DO UPDATE SET %s=excluded.%s WHERE %s IS NULL OR %s=excluded.%s", hash, hash, hash,
                 hash, hash);
    else
        buf_add_str(out, " DO NOTHING");
}

/* marks: it has a column that says which rows are deleted softly, now or as it was configured before. */
static void add_load(const struct mirror_table *table, bool marks, struct buf *out)
{
    buf_add_str(out, "SELECT \"_state\",");
    buf_add_str(out, marks ? "\"_deleted\"," : "0,");
    if (table->last_modified)
        mirror_add_identifier(out, table->last_modified);
    else
        buf_add_str(out, "NULL");
    buf_add_str(out, " FROM ");
    mirror_add_identifier(out, table->name);
    add_where(table, out);
}

static void add_archive(const struct mirror_table *table, struct buf *out)
{
    struct buf history = BUF_INIT, names = BUF_INIT;
    buf_addf(&history, "%s_history", table->name);
    mirror_add_identifier(&names, table->key);
    for (uint32_t i = 0; i < table->n_columns; i++) {
        buf_add_char(&names, ',');
        mirror_add_identifier(&names, table->columns[i].name);
    }
    buf_add_str(&names, ",\"_version\",\"_seq\"");
    buf_add_str(out, "INSERT OR ABORT INTO ");
    mirror_add_identifier(out, (const char *)history.data);
    buf_addf(out, "(%s,\"_archived_at\") SELECT %s,? FROM ", (const char *)names.data,
             (const char *)names.data);
    mirror_add_identifier(out, table->name);
    buf_release(&history);
    buf_release(&names);
}

void sqlite_add_row_sql(const struct mirror_table *table, enum row_statement kind, uint32_t n,
                        const uint32_t *columns, struct buf *out)
{
    static const char stamps[] = "\"_version\"=?,\"_seq\"=?,\"_state\"=?,\"_incomplete\"=?";
    switch (kind) {
    case ROW_TEXT:
        buf_add_str(out, "SELECT ");
        mirror_add_identifier(out, table->columns[columns[0]].name);
        buf_add_str(out, " FROM ");
        mirror_add_identifier(out, table->name);
        break;
    case ROW_DELETE:
        buf_add_str(out, "DELETE FROM ");
        mirror_add_identifier(out, table->name);
        break;
    case ROW_ARCHIVE:
        add_archive(table, out);
        break;
    case ROW_INSERT:
    case ROW_INSERT_DELETED:
        add_insert(table, kind == ROW_INSERT_DELETED, n, columns, out);
        return;
    case ROW_APPEND:
    case ROW_APPEND_ALONE:
    case ROW_APPEND_SHOWN:
        add_append(table, kind, n, columns, out);
        return;
    case ROW_SOFT_DELETE:
    case ROW_STATE:
    case ROW_UPDATE:
    case ROW_REVIVE:
        buf_add_str(out, "UPDATE OR ABORT ");
        mirror_add_identifier(out, table->name);
        buf_add_str(out, " SET ");
        if (kind == ROW_SOFT_DELETE)
            buf_add_str(out, "\"_deleted\"=1,\"_deleted_at\"=?,");
        if (kind == ROW_REVIVE)
            buf_add_str(out, "\"_deleted\"=0,\"_deleted_at\"=NULL,");
        if (kind == ROW_UPDATE || kind == ROW_REVIVE)
            add_assignments(table, n, columns, out);
        buf_add_str(out, stamps);
        break;
    default:
        BUG("no statement %d", (int)kind);
    }
    add_where(table, out);
}

enum row_statement sqlite_upsert_kind(const struct mirror_row *row)
{
    if (!row->held.has_row)
        return row->deleted ? ROW_INSERT_DELETED : ROW_INSERT;
    return row->held.deleted && !row->deleted ? ROW_REVIVE : ROW_UPDATE;
}

static uint32_t slot_of(enum row_statement kind, uint32_t table, uint32_t n, const uint32_t *columns)
{
    uint64_t h = (uint64_t)kind * 0x9e3779b97f4a7c15u ^ table;
    for (uint32_t i = 0; i < n; i++)
        h = (h ^ columns[i]) * 0x100000001b3u;
    h ^= h >> 29;
    return (uint32_t)((h * 0x9e3779b97f4a7c15u) >> 54); /* the upper 10 bits: 0 .. STATEMENTS - 1 */
}

static void drop(struct column_statement *s)
{
    sqlite3_finalize(s->stmt);
    free(s->columns);
    *s = (struct column_statement){0};
}

static int make(struct mirror *m, const struct mirror_table *table, enum row_statement kind, uint32_t n,
                const uint32_t *columns, sqlite3_stmt **out, struct err *e)
{
    bool marks = false, times = false;
    if (kind == ROW_LOAD && (sqlite_has_column(m, table->name, "_deleted", &marks, e) != 0 ||
                             sqlite_has_column(m, table->name, "_deleted_at", &times, e) != 0))
        return -1;
    buf_clear(&m->text);
    if (kind == ROW_LOAD)
        add_load(table, marks && times, &m->text);
    else
        sqlite_add_row_sql(table, kind, n, columns, &m->text);
    return sqlite_prepare(m, (const char *)m->text.data, out, e);
}

int sqlite_row_statement(struct mirror *m, const struct mirror_table *table, enum row_statement kind,
                         uint32_t n, const uint32_t *columns, sqlite3_stmt **out, struct err *e)
{
    struct sqlite_table *t = sqlite_table_of(
        m, table); /* statements of another table under this number are gone now */
    if (kind < N_FIXED) {
        sqlite3_stmt **fixed = &t->fixed[kind];
        if (!*fixed && make(m, table, kind, 0, NULL, fixed, e) != 0)
            return -1;
        *out = *fixed;
        return 0;
    }
    struct column_statement *s = &m->statements[slot_of(kind, table->number, n, columns)];
    if (!s->stmt || s->kind != kind || s->table != table->number || s->n != n ||
        (n && memcmp(s->columns, columns, n * sizeof *columns) != 0)) {
        drop(s); /* two sets that meet in one slot take turns */
        sqlite3_stmt *stmt = NULL;
        if (make(m, table, kind, n, columns, &stmt, e) != 0)
            return -1;
        *s = (struct column_statement){stmt, kind, table->number, n, xmalloc(n * sizeof *columns + 1)};
        if (n)
            memcpy(s->columns, columns, n * sizeof *columns);
    }
    *out = s->stmt;
    return 0;
}

void sqlite_drop_statements(struct mirror *m, uint32_t table)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        if (m->statements[i].stmt && m->statements[i].table == table)
            drop(&m->statements[i]);
    if (table >= m->n_tables)
        return;
    for (size_t i = 0; i < N_FIXED; i++) {
        sqlite3_finalize(m->tables[table].fixed[i]);
        m->tables[table].fixed[i] = NULL;
    }
}

void sqlite_drop_all_statements(struct mirror *m)
{
    for (size_t i = 0; i < N_OWN; i++) {
        sqlite3_finalize(m->own[i]);
        m->own[i] = NULL;
    }
    for (size_t i = 0; i < STATEMENTS; i++)
        if (m->statements[i].stmt)
            drop(&m->statements[i]);
    for (uint32_t i = 0; i < m->n_tables; i++)
        sqlite_drop_statements(m, i);
}
