#include "base/alloc.h"
#include "sink/sqlite/sqlite.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

static const char origin[] = "sink.sqlite";

/* --- our own tables -------------------------------------------------------------------------------- */

static const char own_tables[] =
    "CREATE TABLE _tidemark_sinks(name TEXT PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, layout INTEGER NOT "
    "NULL,"
    " store_id BLOB, cursor INTEGER, state BLOB) WITHOUT ROWID;"
    "CREATE TABLE _tidemark_fields(table_name TEXT NOT NULL, number INTEGER NOT NULL, column_name TEXT NOT "
    "NULL,"
    " field TEXT NOT NULL, field_id TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY(table_name, number)) "
    "WITHOUT ROWID;"
    "CREATE TABLE _tidemark_tombstones(table_name TEXT NOT NULL, id TEXT NOT NULL, state BLOB NOT NULL, "
    "version TEXT,"
    " seq INTEGER, epoch INTEGER NOT NULL, commit_number INTEGER NOT NULL, sink TEXT NOT NULL DEFAULT '',"
    " PRIMARY KEY(table_name, id)) "
    "WITHOUT ROWID;"
    "CREATE INDEX _tidemark_tombstones_age ON _tidemark_tombstones(epoch, commit_number)";

/* One number that a query gives; -1 with err. */
static int one_number(struct mirror *m, const char *sql, int64_t *out, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite_prepare(m, sql, &stmt, e) != 0)
        return -1;
    int code = sqlite3_step(stmt);
    *out = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    if (code != SQLITE_ROW)
        sqlite_error(m, code, "look at the database", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_ROW ? 0 : -1;
}

static int check_layout(struct mirror *m, struct err *e)
{
    int64_t layout;
    if (one_number(m, "SELECT coalesce(max(layout),0) FROM _tidemark_sinks", &layout, e) != 0)
        return -1;
    if (layout <= SQLITE_LAYOUT)
        return 0;
    return err_set(e, ERR_REJECTED, origin, 0,
                   "%s was written by a newer version (layout %" PRId64
                   ", this one knows %d): use that version",
                   m->path, layout, SQLITE_LAYOUT);
}

static int have_own(struct mirror *m, bool *have, struct err *e)
{
    int64_t n;
    if (one_number(m,
                   "SELECT count(*) FROM sqlite_schema WHERE type='table' AND"
                   " name IN ('_tidemark_sinks','_tidemark_fields','_tidemark_tombstones')",
                   &n, e) != 0)
        return -1;
    *have = n == 3;
    return 0;
}

int sqlite_add_own(struct mirror *m, bool *made, struct err *e)
{
    bool have;
    *made = false;
    if (have_own(m, &have, e) != 0)
        return -1;
    if (have)
        return 0;
    *made = true;
    return sqlite_run(m, own_tables, "make our tables", e);
}

/* Tombstones of earlier versions do not say whose they are: nobody's, and everybody's to forget. */
static int name_tombstones(struct mirror *m, struct err *e)
{
    bool named;
    if (check_layout(m, e) != 0 || sqlite_has_column(m, "_tidemark_tombstones", "sink", &named, e) != 0)
        return -1;
    return named ? 0
                 : sqlite_run(m, "ALTER TABLE _tidemark_tombstones ADD COLUMN sink TEXT NOT NULL DEFAULT ''",
                              "add to our tables", e);
}

int sqlite_make_own(struct mirror *m, bool *made, struct err *e)
{
    bool have;
    *made = false;
    if (have_own(m, &have, e) != 0)
        return -1;
    if (have)
        return name_tombstones(m, e);
    if (sqlite_run(m, "BEGIN IMMEDIATE", "make our tables", e) != 0)
        return -1;
    /* Looks again: somebody may have made them while we waited for the lock. */
    if (sqlite_add_own(m, made, e) != 0 || sqlite_run(m, "COMMIT", "make our tables", e) != 0) {
        sqlite3_exec(m->db, "ROLLBACK", NULL, NULL, NULL); /* the error told is the first */
        return -1;
    }
    return check_layout(m, e);
}

/* --- tables ---------------------------------------------------------------------------------------- */

/* A column that a table must have. */
struct needed {
    const char *name, *declared;
    bool ours;   /* not of the mapping */
    bool stamps; /* the last_modified_column, which the target fills */
    enum mirror_type type;
};

struct needs {
    struct needed *all;
    size_t n;
};

static void need(struct needs *s, const char *name, const char *declared, bool ours, enum mirror_type type)
{
    s->all[s->n++] = (struct needed){name, declared, ours, false, type};
}

static bool is_mapped(const struct mirror_table *table, const char *column)
{
    for (uint32_t i = 0; i < table->n_columns; i++)
        if (strcasecmp(table->columns[i].name, column) == 0)
            return true;
    return false;
}

static void needs_of(const struct mirror_table *table, bool history, struct needs *s)
{
    s->all = xcalloc(table->n_columns + 9, sizeof *s->all);
    s->n = 0;
    need(s, table->key,
         history              ? "TEXT"
         : table->append_only ? "TEXT NOT NULL"
                              : "TEXT PRIMARY KEY NOT NULL",
         true, MIRROR_TEXT);
    for (uint32_t i = 0; i < table->n_columns; i++)
        need(s, table->columns[i].name, sqlite_type_name(table->columns[i].type), false,
             table->columns[i].type);
    if (!table->append_only)
        need(s, "_version", "TEXT", true, MIRROR_TEXT);
    need(s, "_seq", "INTEGER", true, MIRROR_BIGINT);
    if (history) {
        need(s, "_archived_at", "TEXT", true, MIRROR_DATETIME);
        return;
    }
    if (table->append_only) {
        need(s, MIRROR_HASH_COLUMN, "TEXT", true, MIRROR_TEXT);
        return;
    }
    /* The target's own; made where it is missing, like any other. */
    if (table->last_modified && !is_mapped(table, table->last_modified))
        s->all[s->n++] = (struct needed){table->last_modified, "TEXT", true, true, MIRROR_DATETIME};
    need(s, "_state", "BLOB", true, MIRROR_TEXT);
    need(s, "_incomplete", "INTEGER NOT NULL DEFAULT 0", true, MIRROR_BOOLEAN);
    if (table->on_delete == MIRROR_SOFT) {
        need(s, "_deleted", "INTEGER NOT NULL DEFAULT 0", true, MIRROR_BOOLEAN);
        need(s, "_deleted_at", "TEXT", true, MIRROR_DATETIME);
    }
}

static void add_column(const struct needed *column, struct buf *out)
{
    mirror_add_identifier(out, column->name);
    buf_addf(out, " %s", column->declared);
}

static void add_table_name(const struct mirror_table *table, bool history, struct buf *out)
{
    struct buf name = BUF_INIT;
    buf_addf(&name, "%s%s", table->name, history ? "_history" : "");
    mirror_add_identifier(out, (const char *)name.data);
    buf_release(&name);
}

static void add_create(const struct mirror_table *table, bool history, const struct needs *s, struct buf *out)
{
    buf_add_str(out, "CREATE TABLE ");
    add_table_name(table, history, out);
    for (size_t i = 0; i < s->n; i++) {
        buf_add_str(out, i ? ", " : " (");
        add_column(&s->all[i], out);
    }
    if (table->append_only) {
        buf_add_str(out, ", PRIMARY KEY(");
        mirror_add_identifier(out, table->key);
        buf_add_str(out, ",\"" MIRROR_HASH_COLUMN "\")");
    }
    buf_add_str(out, history ? ")" : ") WITHOUT ROWID");
}

void sqlite_add_create(const struct mirror_table *table, bool history, struct buf *out)
{
    struct needs s;
    needs_of(table, history, &s);
    add_create(table, history, &s, out);
    free(s.all);
}

/* SQLite does not tell "Name" from "name". */
static int refuse_twins(const struct mirror_table *table, const struct needs *s, struct err *e)
{
    for (size_t i = 1; i < s->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(s->all[i].name, s->all[k].name) == 0)
                return err_set(
                    e, ERR_CONFIG, origin, 0,
                    "table \"%s\": columns \"%s\" and \"%s\" are the same to SQLite: give one another name",
                    table->name, s->all[k].name, s->all[i].name);
    return 0;
}

/* DDL: what SQLite refuses, the configuration must change; what the disk refuses passes. */
static int run_ddl(struct mirror *m, const struct buf *sql, const char *table, struct err *e)
{
    int code = sqlite3_exec(m->db, (const char *)sql->data, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return 0;
    if ((code & 0xff) == SQLITE_ERROR || (code & 0xff) == SQLITE_CONSTRAINT || (code & 0xff) == SQLITE_TOOBIG)
        return err_set(e, ERR_CONFIG, origin, code, "cannot make or alter table \"%s\" in %s: %s", table,
                       m->path, sqlite3_errmsg(m->db));
    return sqlite_error(m, code, "make or alter a table", e);
}

static int check_width(struct mirror *m, const char *table, size_t columns, struct err *e)
{
    const int most = sqlite3_limit(m->db, SQLITE_LIMIT_COLUMN, -1);
    if (columns <= (size_t)most)
        return 0;
    return err_set(
        e, ERR_CONFIG, origin, 0,
        "table \"%s\" in %s would have %zu columns where SQLite allows %d: leave fields out (FIELD: false), "
        "or put them into one column (new_fields: json)",
        table, m->path, columns, most);
}

/* --- tables that exist ----------------------------------------------------------------------------- */

enum affinity { AFFINITY_BLOB, AFFINITY_TEXT, AFFINITY_NUMERIC, AFFINITY_INTEGER, AFFINITY_REAL };

/* How SQLite reads a declared type (its documentation, "Determination Of Column Affinity"). */
static enum affinity affinity_of(const char *declared)
{
    if (strcasestr(declared, "INT"))
        return AFFINITY_INTEGER;
    if (strcasestr(declared, "CHAR") || strcasestr(declared, "CLOB") || strcasestr(declared, "TEXT"))
        return AFFINITY_TEXT;
    if (!*declared || strcasestr(declared, "BLOB"))
        return AFFINITY_BLOB;
    if (strcasestr(declared, "REAL") || strcasestr(declared, "FLOA") || strcasestr(declared, "DOUB"))
        return AFFINITY_REAL;
    return AFFINITY_NUMERIC;
}

/* Whether a column declared so keeps values of the type as they are. */
static bool keeps(enum affinity affinity, enum mirror_type type)
{
    if (affinity == AFFINITY_BLOB)
        return true;
    switch (type) {
    case MIRROR_BOOLEAN:
    case MIRROR_BIGINT:
        return affinity == AFFINITY_INTEGER || affinity == AFFINITY_NUMERIC;
    case MIRROR_DOUBLE:
        return affinity == AFFINITY_REAL || affinity == AFFINITY_NUMERIC;
    case MIRROR_DATETIME:
    case MIRROR_DATE:
        return affinity == AFFINITY_TEXT ||
               affinity == AFFINITY_NUMERIC; /* DATE and DATETIME are "numeric" */
    default:
        return affinity == AFFINITY_TEXT;
    }
}

struct existing {
    struct span name, declared;
};

struct found_table {
    struct arena a;
    struct existing *columns;
    size_t n;
    bool is_there, is_view;
    bool has_key;      /* the key is unique by itself */
    bool has_hash_key; /* the key and the hash are, together */
};

static int find_kind(struct mirror *m, const char *name, struct found_table *t, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite_prepare(
            m, "SELECT type FROM sqlite_schema WHERE name=?1 COLLATE NOCASE AND type IN ('table','view')",
            &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(name));
    int code = sqlite3_step(stmt);
    t->is_there = code == SQLITE_ROW;
    t->is_view = t->is_there && span_equal_str(sqlite_column_span(stmt, 0), "view");
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        sqlite_error(m, code, "look at a table", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

static int find_columns(struct mirror *m, const char *name, struct found_table *t, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int code;
    if (sqlite_prepare(m, "SELECT name,type FROM pragma_table_xinfo(?1)", &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(name));
    enum { MOST = 32767 }; /* SQLite's own limit of columns */
    t->columns = arena_alloc(&t->a, MOST * sizeof *t->columns);
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW && t->n < MOST)
        t->columns[t->n++] = (struct existing){sqlite_column_copy(stmt, 0, &t->a),
                                               sqlite_column_copy(stmt, 1, &t->a)};
    if (code != SQLITE_DONE)
        sqlite_error(m, code, "look at the columns of a table", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? 0 : -1;
}

static int find_key(struct mirror *m, const char *name, const char *key, struct found_table *t, struct err *e)
{
    static const char sql[] =
        "SELECT EXISTS(SELECT 1 FROM pragma_table_xinfo(?1) WHERE name=?2 COLLATE NOCASE AND pk=1 AND"
        "  (SELECT count(*) FROM pragma_table_xinfo(?1) WHERE pk>0)=1)"
        " OR EXISTS(SELECT 1 FROM pragma_index_list(?1) l WHERE l.\"unique\" AND NOT l.partial AND"
        "  (SELECT count(*) FROM pragma_index_info(l.name))=1 AND"
        "  (SELECT name FROM pragma_index_info(l.name))=?2 COLLATE NOCASE),"
        " EXISTS(SELECT 1 FROM pragma_index_list(?1) l WHERE l.\"unique\" AND NOT l.partial AND"
        "  (SELECT count(*) FROM pragma_index_info(l.name))=2 AND"
        "  (SELECT count(*) FROM pragma_index_info(l.name) WHERE name=?2 COLLATE NOCASE OR"
        "   name='" MIRROR_HASH_COLUMN "' COLLATE NOCASE)=2)";
    sqlite3_stmt *stmt = NULL;
    if (sqlite_prepare(m, sql, &stmt, e) != 0)
        return -1;
    sqlite_bind_span(stmt, 1, span_of_str(name));
    sqlite_bind_span(stmt, 2, span_of_str(key));
    int code = sqlite3_step(stmt);
    t->has_key = code == SQLITE_ROW && sqlite3_column_int(stmt, 0);
    t->has_hash_key = code == SQLITE_ROW && sqlite3_column_int(stmt, 1);
    if (code != SQLITE_ROW)
        sqlite_error(m, code, "look at the key of a table", e);
    sqlite3_finalize(stmt);
    return code == SQLITE_ROW ? 0 : -1;
}

static const struct existing *existing_of(const struct found_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->columns[i].name.n == strlen(name) &&
            strncasecmp((const char *)t->columns[i].name.p, name, t->columns[i].name.n) == 0)
            return &t->columns[i];
    return NULL;
}

static void remark(struct buf *out)
{
    if (out->len && out->data[out->len - 1] != '\n')
        buf_add_char(out, '\n');
}

/* Add what is missing; tell what is there and reads values otherwise. */
static int add_missing(struct mirror *m, const char *name, const struct needs *s, const struct found_table *t,
                       struct mirror_remarks *remarks, struct err *e)
{
    size_t added = 0, missing = 0;
    for (size_t i = 0; i < s->n; i++)
        missing += existing_of(t, s->all[i].name) == NULL;
    if (missing && check_width(m, name, t->n + missing, e) != 0)
        return -1;
    for (size_t i = 0; i < s->n; i++) {
        const struct needed *column = &s->all[i];
        const struct existing *is = existing_of(t, column->name);
        if (is) {
            char declared[64];
            snprintf(declared, sizeof declared, "%.*s", SPAN_ARG(is->declared));
            if ((column->ours && !column->stamps) || keeps(affinity_of(declared), column->type))
                continue;
            remark(&remarks->odd);
            if (column->stamps)
                buf_addf(&remarks->odd,
                         "table \"%s\": column \"%s\", the last_modified_column, is %s and no text of a "
                         "time: edits in the target are not noticed",
                         name, column->name, declared);
            else
                buf_addf(&remarks->odd,
                         "table \"%s\": column \"%s\" is %s where %s is expected: SQLite may store values in "
                         "another form",
                         name, column->name, *declared ? declared : "untyped",
                         sqlite_type_name(column->type));
            continue;
        }
        struct buf sql = BUF_INIT;
        buf_add_str(&sql, "ALTER TABLE ");
        mirror_add_identifier(&sql, name);
        buf_add_str(&sql, " ADD COLUMN ");
        add_column(column, &sql);
        int rc = run_ddl(m, &sql, name, e);
        buf_release(&sql);
        if (rc != 0)
            return -1;
        if (added++ == 0) {
            remark(&remarks->notice);
            buf_addf(&remarks->notice, "table \"%s\": added", name);
        }
        buf_addf(&remarks->notice, "%s \"%s\"", added > 1 ? "," : "", column->name);
    }
    return 0;
}

static int alter(struct mirror *m, const struct mirror_table *table, bool history, const char *name,
                 const struct needs *s, struct found_table *t, struct mirror_remarks *remarks, struct err *e)
{
    if (t->is_view)
        return err_set(e, ERR_CONFIG, origin, 0, "\"%s\" in %s is a view: give the entity another table",
                       name, m->path);
    if (find_columns(m, name, t, e) != 0 || find_key(m, name, table->key, t, e) != 0)
        return -1;
    if (!history && !t->has_key && !(table->append_only && t->has_hash_key))
        return err_set(
            e, ERR_CONFIG, origin, 0,
            "table \"%s\" in %s has no unique column \"%s\": make it the primary key, or name another key",
            name, m->path, table->key);
    return add_missing(m, name, s, t, remarks, e);
}

static int make_table(struct mirror *m, const struct mirror_table *table, bool history,
                      struct mirror_remarks *remarks, struct err *e)
{
    struct needs s;
    struct found_table t = {.a = ARENA_INIT};
    struct buf sql = BUF_INIT;
    char *name = xasprintf("%s%s", table->name, history ? "_history" : "");
    needs_of(table, history, &s);
    int rc = refuse_twins(table, &s, e);
    if (rc == 0)
        rc = find_kind(m, name, &t, e);
    if (rc == 0 && t.is_there) {
        rc = alter(m, table, history, name, &s, &t, remarks, e);
        sqlite_table_of(m, table)->key_alone = table->append_only && t.has_key;
    } else if (rc == 0) {
        add_create(table, history, &s, &sql);
        sqlite_table_of(m, table)->key_alone = false;
        rc = check_width(m, name, s.n, e);
        if (rc == 0)
            rc = run_ddl(m, &sql, name, e);
        remark(&remarks->notice);
        buf_addf(&remarks->notice, "table \"%s\": made, %zu columns", name, s.n);
    }
    arena_release(&t.a);
    buf_release(&sql);
    free(s.all);
    free(name);
    return rc;
}

/* --- prepare --------------------------------------------------------------------------------------- */

struct sqlite_table *sqlite_table_of(struct mirror *m, const struct mirror_table *table)
{
    if (table->number >= m->n_tables) {
        uint32_t n = table->number + 8;
        m->tables = xrealloc(m->tables, n * sizeof *m->tables);
        memset(m->tables + m->n_tables, 0, (n - m->n_tables) * sizeof *m->tables);
        m->n_tables = n;
    }
    struct sqlite_table *t = &m->tables[table->number];
    if (t->name && strcmp(t->name, table->name) != 0) {
        sqlite_drop_statements(m, table->number);
        free(t->numbers);
        free(t->name);
        *t = (struct sqlite_table){.fresh = t->fresh};
    }
    if (!t->name)
        t->name = xstrdup(table->name);
    return t;
}

void sqlite_settle_tables(struct mirror *m, bool kept)
{
    for (uint32_t i = 0; i < m->n_tables; i++) {
        if (!m->tables[i].fresh)
            continue;
        m->tables[i].fresh = false;
        if (!kept) {
            m->tables[i].known = false;
            sqlite_drop_statements(m, i);
        }
    }
}

int sqlite_prepare_table(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
                         struct mirror_remarks *remarks, struct err *e)
{
    BUG_IF(!m->began);
    struct sqlite_table *t = sqlite_table_of(m, table);
    if (!t->known || t->shape != table->shape || t->n_sources != table->n_sources) {
        sqlite_drop_statements(m, table->number);
        if (make_table(m, table, false, remarks, e) != 0 ||
            (table->on_delete == MIRROR_ARCHIVE && !table->append_only &&
             make_table(m, table, true, remarks, e) != 0))
            return -1;
        t->numbers = xrealloc(t->numbers, (table->n_sources + 1) * sizeof *t->numbers);
        if (sqlite_number_sources(m, table, t->numbers, e) != 0)
            return -1;
        t->known = t->fresh = true;
        t->shape = table->shape;
        t->n_sources = table->n_sources;
    }
    if (t->n_sources)
        memcpy(numbers, t->numbers, t->n_sources * sizeof *numbers);
    return 0;
}
