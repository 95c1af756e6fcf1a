/*
 * Tables: what the target has, and making it what delivery wants, never destructively.
 *
 * A table that is not there is made; a column that is not there is added. A column that is there under another type
 * than ours stays: values then travel as text, and the server casts them or refuses the row. Text into other kinds
 * of text is assigned and not cast: a cast to varchar(20) would cut in silence.
 */
#include "sink/postgres/postgres.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>

static const char origin[] = "sink.postgres";

enum { MAX_NAME = 63 }; /* PostgreSQL cuts longer names */

static const struct {
    const char *name;
    enum mirror_type type; /* MIRROR_TEXT stands for bytea in PG_OWN_STATE */
} owns[PG_OWNS] = {
    [PG_OWN_VERSION] = {"_version", MIRROR_TEXT},
    [PG_OWN_SEQ] = {"_seq", MIRROR_BIGINT},
    [PG_OWN_STATE] = {"_state", MIRROR_TEXT},
    [PG_OWN_INCOMPLETE] = {"_incomplete", MIRROR_BOOLEAN},
    [PG_OWN_HASH] = {MIRROR_HASH_COLUMN, MIRROR_TEXT},
    [PG_OWN_DELETED] = {"_deleted", MIRROR_BOOLEAN},
    [PG_OWN_DELETED_AT] = {"_deleted_at", MIRROR_DATETIME},
};

enum mirror_type pg_own_type(enum pg_own own)
{
    return owns[own].type;
}

bool pg_has_own(const struct mirror_table *table, enum pg_own own)
{
    switch (own) {
    case PG_OWN_SEQ:
        return true;
    case PG_OWN_HASH:
        return table->append_only;
    case PG_OWN_DELETED:
    case PG_OWN_DELETED_AT:
        return !table->append_only && table->on_delete == MIRROR_SOFT;
    default:
        return !table->append_only;
    }
}

const char *pg_cell_name(const struct mirror_table *table, uint32_t cell)
{
    return cell < table->n_columns ? table->columns[cell].name : owns[cell - table->n_columns].name;
}

static enum pg_oid expected_oid(const struct mirror_table *table, uint32_t cell)
{
    if (cell < table->n_columns)
        return pg_oid_of(table->columns[cell].type);
    return cell - table->n_columns == PG_OWN_STATE ? PG_BYTEA : pg_oid_of(owns[cell - table->n_columns].type);
}

static const char *expected_type(const struct mirror_table *table, uint32_t cell)
{
    if (cell < table->n_columns)
        return pg_type_name(table->columns[cell].type);
    return cell - table->n_columns == PG_OWN_STATE ? "bytea"
                                                   : pg_type_name(owns[cell - table->n_columns].type);
}

static bool is_wanted(const struct mirror_table *table, uint32_t cell)
{
    return cell < table->n_columns || pg_has_own(table, (enum pg_own)(cell - table->n_columns));
}

/* As PostgreSQL keeps a name: cut between characters. */
static size_t kept_length(const char *name)
{
    size_t n = strlen(name);
    if (n <= MAX_NAME)
        return n;
    n = MAX_NAME;
    while (n > 0 && ((uint8_t)name[n] & 0xc0) == 0x80)
        n--;
    return n;
}

/* --- the cache ------------------------------------------------------------------------------------- */

static void clear_columns(struct pg_table *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        free(t->columns[i].type);
    free(t->columns);
    free(t->attributes);
    free(t->name);
    free(t->numbers);
    *t = (struct pg_table){.known = false};
}

struct pg_table *pg_table_of(struct mirror *m, const struct mirror_table *table)
{
    if (table->number >= m->n_tables) {
        size_t n = (size_t)table->number + 8;
        m->tables = xrealloc(m->tables, n * sizeof *m->tables);
        memset(m->tables + m->n_tables, 0, (n - m->n_tables) * sizeof *m->tables);
        m->n_tables = n;
    }
    return &m->tables[table->number];
}

void pg_tables_forget(struct mirror *m, bool only_changed)
{
    for (size_t i = 0; i < m->n_tables; i++) {
        if (!only_changed || m->tables[i].changed)
            clear_columns(&m->tables[i]);
    }
}

void pg_tables_release(struct mirror *m)
{
    pg_tables_forget(m, false);
    free(m->tables);
    m->tables = NULL;
    m->n_tables = 0;
}

/* --- what is there --------------------------------------------------------------------------------- */

static void regclass_param(struct mirror *m, const struct mirror_table *table)
{
    struct buf name = BUF_INIT;
    mirror_add_identifier(&name, table->name);
    pg_param_text(&m->params, buf_span(&name));
    buf_release(&name);
}

static const char relation_sql[] =
    "SELECT c.relkind::text, EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND"
    " a.attnum = i.indkey[0] WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate "
    "AND"
    " i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 1 AND a.attname = $2),"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND "
    "i.indimmediate"
    " AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 2 AND (SELECT count(*) FROM "
    "pg_attribute a"
    " WHERE a.attrelid = c.oid AND a.attnum IN (i.indkey[0], i.indkey[1]) AND"
    " a.attname IN ($2, '" MIRROR_HASH_COLUMN "')) = 2)"
    " FROM pg_class c WHERE c.oid = to_regclass($1)";
static const char columns_sql[] =
    "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.atttypid::bigint, t.typcategory::text,"
    " (a.attgenerated <> '' OR a.attidentity = 'a')::int::bigint, (t.typtype = 'd')::int::bigint, "
    "r.oid::bigint,"
    " r.typarray::bigint"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid"
    " JOIN pg_type r ON r.oid = c.reltype"
    " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/* One that rows can be written to by their key. t->exists false: nothing of this name is there. */
static int check_relation(struct mirror *m, const struct mirror_table *table, struct pg_table *t,
                          struct err *e)
{
    PGresult *r;
    pg_params_clear(&m->params);
    regclass_param(m, table);
    pg_param_text(&m->params, span_of(table->key, kept_length(table->key)));
    if (pg_ask(&m->pg, relation_sql, &m->params, false, &r, e) != 0)
        return -1;
    int rc = 0;
    t->exists = PQntuples(r) == 1;
    t->places = t->exists && *PQgetvalue(r, 0, 0) == 'r';
    t->key_alone = t->exists && table->append_only && *PQgetvalue(r, 0, 1) == 't';
    const bool usable = t->exists &&
                        (*PQgetvalue(r, 0, 1) == 't' || (table->append_only && *PQgetvalue(r, 0, 2) == 't'));
    if (t->exists && !strchr("rp", *PQgetvalue(r, 0, 0)))
        rc = err_set(e, ERR_CONFIG, origin, 0,
                     "\"%s\" is no table (a view, or a foreign table): mirror into another name",
                     table->name);
    else if (t->exists && !usable)
        rc = err_set(
            e, ERR_CONFIG, origin, 0,
            "table \"%s\" cannot be used: column \"%s\", which is to hold the record's id, is no primary key "
            "(nor unique); add one, or mirror into another table",
            table->name, table->key);
    PQclear(r);
    return rc;
}

/* The marks of soft deletions stay in a table that is configured otherwise by now. */
static bool may_be_there(const struct mirror_table *table, uint32_t cell)
{
    return is_wanted(table, cell) || (!table->append_only && (cell == table->n_columns + PG_OWN_DELETED ||
                                                              cell == table->n_columns + PG_OWN_DELETED_AT));
}

static bool cell_of_name(const struct mirror_table *table, struct span name, uint32_t *cell)
{
    for (uint32_t i = 0; i < table->n_columns + PG_OWNS; i++) {
        const char *wanted = pg_cell_name(table, i);
        if (may_be_there(table, i) && span_equal(name, span_of(wanted, kept_length(wanted)))) {
            *cell = i;
            return true;
        }
    }
    return false;
}

/* Two columns whose names differ only behind the 63rd byte would be one. */
static int check_names(const struct mirror_table *table, struct err *e)
{
    for (uint32_t i = 0; i < table->n_columns; i++) {
        uint32_t first = i;
        const char *name = table->columns[i].name;
        if (strlen(name) > MAX_NAME && cell_of_name(table, span_of(name, kept_length(name)), &first) &&
            first != i)
            return err_set(
                e, ERR_CONFIG, origin, 0,
                "columns \"%s\" and \"%s\" of \"%s\" are one for PostgreSQL, which keeps 63 bytes of a "
                "name: give one of them a shorter name (column:)",
                pg_cell_name(table, first), name, table->name);
    }
    return 0;
}

static bool is_modified_column(const struct mirror_table *table, struct span name)
{
    return table->last_modified && span_equal_str(name, table->last_modified);
}

/* One column as the target has it. */
static int learn_column(struct pg_table *t, const struct mirror_table *table, const PGresult *r, int row,
                        struct mirror_remarks *remarks, struct err *e)
{
    struct span name = pg_cell(r, row, 0);
    const char *type = PQgetvalue(r, row, 1);
    int64_t oid = pg_cell_int8(r, row, 2);
    char category = *PQgetvalue(r, row, 3);
    bool generated = pg_cell_int8(r, row, 4) != 0;
    uint32_t cell;
    struct pg_attribute *attribute = &t->attributes[t->n_attributes++];
    *attribute = (struct pg_attribute){PG_ATTRIBUTE_FOREIGN, (unsigned)oid};
    if (pg_cell_int8(r, row, 5))
        t->row_type = 0;
    if (is_modified_column(table, name))
        t->modified_is_time = category == 'D' && oid != PG_TIME;
    bool is_key = span_equal(name, span_of(table->key, kept_length(table->key)));
    if (is_key)
        attribute->cell = oid == PG_TEXT ? PG_ATTRIBUTE_KEY : PG_ATTRIBUTE_FOREIGN;
    if (is_key && category != 'S')
        return err_set(
            e, ERR_CONFIG, origin, 0,
            "table \"%s\" cannot be used: its key \"%s\" is %s and cannot hold a record's id (text)",
            table->name, table->key, type);
    if (!cell_of_name(table, name, &cell))
        return 0;
    bool expected = oid == (int64_t)expected_oid(table, cell);
    if ((!expected || generated) && !is_wanted(table, cell))
        return 0; /* somebody else's */
    struct pg_column *c = &t->columns[cell];
    c->there = true;
    c->type = xstrdup(type);
    attribute->cell = (int32_t)cell;
    c->how = generated ? PG_LEFT : expected ? PG_TYPED : category == 'S' ? PG_ASSIGN : PG_CAST;
    if (c->how == PG_TYPED)
        return 0;
    if (cell >= table->n_columns)
        return err_set(e, ERR_CONFIG, origin, 0,
                       "table \"%s\" cannot be used: its column \"%s\" is %s, not %s, and that name is ours",
                       table->name, pg_cell_name(table, cell), type, expected_type(table, cell));
    if (remarks && generated)
        buf_addf(&remarks->odd,
                 "column \"%s\" of table \"%s\" is generated by the database: it is left alone\n",
                 pg_cell_name(table, cell), table->name);
    else if (remarks)
        buf_addf(&remarks->odd,
                 "column \"%s\" of table \"%s\" is %s, not %s: it stays as it is, and rows that do not fit "
                 "are refused\n",
                 pg_cell_name(table, cell), table->name, type, expected_type(table, cell));
    return 0;
}

static int learn_columns(struct mirror *m, const struct mirror_table *table, struct pg_table *t,
                         struct mirror_remarks *remarks, struct err *e)
{
    PGresult *r;
    pg_params_clear(&m->params);
    regclass_param(m, table);
    if (pg_ask(&m->pg, columns_sql, &m->params, true, &r, e) != 0)
        return -1;
    int rc = 0, n = PQntuples(r);
    t->attributes = xcalloc((size_t)n + 1, sizeof *t->attributes);
    t->row_type = n ? (unsigned)pg_cell_int8(r, 0, 6) : 0;
    t->row_array = n ? (unsigned)pg_cell_int8(r, 0, 7) : 0;
    for (int row = 0; row < n && rc == 0; row++)
        rc = learn_column(t, table, r, row, remarks, e);
    PQclear(r);
    return rc;
}

/* What last_modified_column names must tell a time, or nobody's edit is ever seen. */
static void look_at_modified(const struct mirror_table *table, const struct pg_table *t, struct buf *odd)
{
    const struct mirror_column *mapped = NULL;
    for (uint32_t i = 0; table->last_modified && i < table->n_columns; i++)
        if (strcmp(table->columns[i].name, table->last_modified) == 0)
            mapped = &table->columns[i];
    const bool will_be = mapped && !t->columns[mapped - table->columns].there;
    const bool told = will_be ? mapped->type == MIRROR_DATETIME || mapped->type == MIRROR_DATE
                              : t->modified_is_time;
    if (table->last_modified && !told)
        buf_addf(
            odd,
            "column \"%s\" of table \"%s\", the last_modified_column, is not there, or is no date and time: "
            "edits in the target are not noticed\n",
            table->last_modified, table->name);
}

/* Who only looks may number all tables alike. */
static bool is_known(const struct pg_table *t, const struct mirror_table *table)
{
    return t->known && t->shape == table->shape && strcmp(t->name, table->name) == 0;
}

int pg_table_learn(struct mirror *m, const struct mirror_table *table, struct mirror_remarks *remarks,
                   struct err *e)
{
    struct pg_table *t = pg_table_of(m, table);
    if (is_known(t, table))
        return 0;
    bool changed = t->changed;
    clear_columns(t);
    t->changed = changed;
    t->name = xstrdup(table->name);
    t->n = table->n_columns + PG_OWNS;
    t->columns = xcalloc(t->n, sizeof *t->columns);
    if (check_names(table, e) != 0 || check_relation(m, table, t, e) != 0 ||
        (t->exists && learn_columns(m, table, t, remarks, e) != 0))
        return -1;
    if (remarks)
        look_at_modified(table, t, &remarks->odd);
    t->shape = table->shape;
    t->known = true;
    return 0;
}

/* --- making it --------------------------------------------------------------------------------------- */

static void add_column_type(const struct mirror_table *table, uint32_t cell, struct buf *sql)
{
    mirror_add_identifier(sql, pg_cell_name(table, cell));
    buf_addf(sql, " %s", expected_type(table, cell));
    if (cell == table->n_columns + PG_OWN_DELETED || cell == table->n_columns + PG_OWN_INCOMPLETE)
        buf_add_str(sql, " NOT NULL DEFAULT false");
}

void pg_add_history_name(const struct mirror_table *table, struct buf *sql)
{
    struct buf name = BUF_INIT;
    buf_addf(&name, "%s_history", table->name);
    mirror_add_identifier(sql, (const char *)name.data);
    buf_release(&name);
}

static bool in_history(const struct mirror_table *table, uint32_t cell)
{
    return cell < table->n_columns || cell == table->n_columns + PG_OWN_VERSION ||
           cell == table->n_columns + PG_OWN_SEQ;
}

void pg_add_history_columns(const struct mirror_table *table, const char *prefix, struct buf *sql)
{
    buf_add_str(sql, prefix);
    mirror_add_identifier(sql, table->key);
    for (uint32_t i = 0; i < table->n_columns + PG_OWNS; i++) {
        if (!in_history(table, i))
            continue;
        buf_addf(sql, ", %s", prefix);
        mirror_add_identifier(sql, pg_cell_name(table, i));
    }
}

/*
 * Rows are updated again and again: room on their page keeps an update away from the index. Keys are compared as bytes:
 * that is what record ids are, and the rules of a language take several times as long.
 */
void pg_create_table(const struct mirror_table *table, bool history, struct buf *sql)
{
    buf_add_str(sql, "CREATE TABLE ");
    if (history)
        pg_add_history_name(table, sql);
    else
        mirror_add_identifier(sql, table->name);
    buf_add_str(sql, " (");
    mirror_add_identifier(sql, table->key);
    buf_add_str(sql, history              ? " text"
                     : table->append_only ? " text COLLATE \"C\""
                                          : " text COLLATE \"C\" PRIMARY KEY");
    for (uint32_t i = 0; i < table->n_columns + PG_OWNS; i++) {
        if (history ? !in_history(table, i) : !is_wanted(table, i))
            continue;
        buf_add_str(sql, ", ");
        add_column_type(table, i, sql);
    }
    if (history) {
        buf_add_str(sql, ", \"_archived_at\" timestamp with time zone)");
    } else if (table->append_only) {
        buf_add_str(sql, ", PRIMARY KEY (");
        mirror_add_identifier(sql, table->key);
        buf_add_str(sql, ", \"" MIRROR_HASH_COLUMN "\"))");
    } else {
        buf_add_str(sql, ") WITH (fillfactor = 75)");
    }
}

/* ERR_RETRY: once the right is granted the work goes on by itself. */
static int no_right(struct mirror *m, const struct mirror_table *table, struct err *e)
{
    if (m->pg.fault == PG_FAULT_RIGHT)
        return err_prefix(
            e,
            "table \"%s\" cannot be made or altered: let the role own it and grant it CREATE on the schema",
            table->name);
    return err_prefix(e, "table \"%s\"", table->name);
}

static int alter(struct mirror *m, const struct mirror_table *table, struct pg_table *t,
                 struct mirror_remarks *remarks, struct err *e)
{
    size_t added = 0;
    buf_clear(&m->sql);
    buf_add_str(&m->sql, "ALTER TABLE ");
    mirror_add_identifier(&m->sql, table->name);
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->columns[i].there || !is_wanted(table, i))
            continue;
        buf_add_str(&m->sql, added++ ? ", ADD COLUMN " : " ADD COLUMN ");
        add_column_type(table, i, &m->sql);
        if (remarks && i < table->n_columns)
            buf_addf(&remarks->notice, "column \"%s\" added to table \"%s\"\n", pg_cell_name(table, i),
                     table->name);
    }
    if (added == 0)
        return 0;
    t->changed = true;
    t->known = false;
    return pg_do(&m->pg, (const char *)m->sql.data, e);
}

static int create(struct mirror *m, const struct mirror_table *table, struct pg_table *t,
                  struct mirror_remarks *remarks, struct err *e)
{
    buf_clear(&m->sql);
    pg_create_table(table, false, &m->sql);
    if (remarks)
        buf_addf(&remarks->notice, "table \"%s\" made\n", table->name);
    t->changed = true;
    t->known = false;
    return pg_do(&m->pg, (const char *)m->sql.data, e);
}

/* The history table follows the table: what it lacks is added, in the types the table has. */
static int prepare_history(struct mirror *m, const struct mirror_table *table, const struct pg_table *t,
                           struct err *e)
{
    static const char names_sql[] =
        "SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND"
        " a.attnum > 0 AND NOT a.attisdropped";
    struct buf name = BUF_INIT, names = BUF_INIT;
    PGresult *r;
    size_t added = 0;
    pg_add_history_name(table, &name);
    pg_params_clear(&m->params);
    pg_param_text(&m->params, buf_span(&name));
    int rc = pg_ask(&m->pg, names_sql, &m->params, false, &r, e);
    if (rc != 0)
        goto out;
    buf_clear(&m->sql);
    if (PQntuples(r) == 0) {
        pg_create_table(table, true, &m->sql);
        added++;
    } else {
        bool *there = xcalloc(t->n, sizeof *there);
        uint32_t cell;
        for (int row = 0; row < PQntuples(r); row++)
            if (cell_of_name(table, pg_cell(r, row, 0), &cell))
                there[cell] = true;
        buf_addf(&m->sql, "ALTER TABLE %s", (const char *)name.data);
        for (uint32_t i = 0; i < t->n; i++) {
            if (there[i] || !in_history(table, i))
                continue;
            buf_add_str(&m->sql, added++ ? ", ADD COLUMN " : " ADD COLUMN ");
            mirror_add_identifier(&m->sql, pg_cell_name(table, i));
            buf_addf(&m->sql, " %s", t->columns[i].type);
        }
        free(there);
    }
    PQclear(r);
    if (added)
        rc = pg_do(&m->pg, (const char *)m->sql.data, e);
out:
    buf_release(&name);
    buf_release(&names);
    return rc;
}

/* --- prepare ---------------------------------------------------------------------------------------- */

int pg_prepare(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
               struct mirror_remarks *remarks, struct err *e)
{
    struct pg_table *t = pg_table_of(m, table);
    if (!is_known(t, table) || t->n_numbers != table->n_sources) {
        if (pg_table_learn(m, table, remarks, e) != 0)
            return -1;
        if ((t->exists ? alter(m, table, t, remarks, e) : create(m, table, t, remarks, e)) != 0)
            return no_right(m, table, e);
        /* What was just made is of our types: there is nothing to remark on it. */
        if (pg_table_learn(m, table, NULL, e) != 0)
            return -1;
        if (!table->append_only && table->on_delete == MIRROR_ARCHIVE && prepare_history(m, table, t, e) != 0)
            return no_right(m, table, e);
        if (pg_number_sources(m, table, t, e) != 0)
            return -1;
    }
    if (numbers && table->n_sources)
        memcpy(numbers, t->numbers, table->n_sources * sizeof *numbers);
    return 0;
}
