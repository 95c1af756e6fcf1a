#include "sink/postgres/statement.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MASK_BITS = 62 }; /* of a bigint, away from its sign */

/* What a cell that not every row sets has instead of a place in the masks. */
enum { EVERY_ROW_SETS = -1, NULL_IS_UNSET = -2 };

/* The cells of a group: which any row sets, and which every row does. */
struct cells {
    uint32_t *all;    /* ascending */
    int32_t *bit;     /* of a cell that not every row sets: its place in the masks, or NULL_IS_UNSET */
    uint32_t n, bits; /* cells, and places in masks */
    bool partial;     /* some rows leave some cells alone */
};

/* Bits of the cells that some row sets to null. */
static void add_nulls(const struct pg_group *g, const struct pg_item *item, uint64_t *nulls)
{
    const struct mirror_row *row = item->row;
    for (uint32_t i = 0; i < row->n; i++)
        nulls[row->columns[i] / 64] |= (uint64_t)row->values[i].is_null << (row->columns[i] % 64);
    if (row->action != MIRROR_DELETE)
        nulls[(g->table->n_columns + PG_OWN_DELETED_AT) / 64] |=
            UINT64_C(1) << ((g->table->n_columns + PG_OWN_DELETED_AT) % 64);
}

/*
 * A null can say that the column is to be left alone where no row sets it to null: the server is through with that
 * sooner than with masks. Not where the null would have to pass a cast, or mean something to a merge.
 */
static bool can_null_be_unset(const struct pg_group *g, const uint64_t *nulls, uint32_t cell)
{
    const bool own = cell >= g->table->n_columns;
    return !pg_set_has(nulls, cell) &&
           (own || (g->t->columns[cell].how == PG_TYPED && !g->table->columns[cell].merged));
}

static void gather_cells(const struct pg_group *g, struct cells *out)
{
    uint32_t words = (g->t->n + 63) / 64;
    uint64_t *any = xcalloc(words + 1, sizeof *any), *every = xcalloc(words + 1, sizeof *every);
    uint64_t *nulls = xcalloc(words + 1, sizeof *nulls);
    *out = (struct cells){.all = xcalloc(g->t->n + 1, sizeof *out->all),
                          .bit = xcalloc(g->t->n + 1, sizeof *out->bit)};
    memcpy(every, g->items[0].set, words * sizeof *every);
    for (size_t i = 0; i < g->n; i++) {
        for (uint32_t w = 0; w < words; w++) {
            any[w] |= g->items[i].set[w];
            every[w] &= g->items[i].set[w];
        }
        add_nulls(g, &g->items[i], nulls);
        g->items[i].next = 0;
    }
    for (uint32_t cell = 0; cell < g->t->n; cell++) {
        if (!pg_set_has(any, cell))
            continue;
        const bool partial = !pg_set_has(every, cell);
        out->bit[out->n] = !partial                            ? EVERY_ROW_SETS
                           : can_null_be_unset(g, nulls, cell) ? NULL_IS_UNSET
                                                               : (int32_t)out->bits++;
        out->all[out->n++] = cell;
        out->partial |= partial;
    }
    free(nulls);
    free(any);
    free(every);
}

static void release_cells(struct cells *c)
{
    free(c->all);
    free(c->bit);
}

/* --- parameters -------------------------------------------------------------------------------------- */

static enum pg_oid element_of(const struct pg_group *g, uint32_t cell)
{
    if (cell >= g->table->n_columns) {
        enum pg_own own = (enum pg_own)(cell - g->table->n_columns);
        return own == PG_OWN_STATE ? PG_BYTEA : pg_oid_of(pg_own_type(own));
    }
    return g->t->columns[cell].how == PG_TYPED ? pg_oid_of(g->table->columns[cell].type) : PG_TEXT;
}

static void add_version(struct pg_params *p, const struct version *v)
{
    version_add_text(pg_array_text_begin(p), v);
    pg_array_text_end(p);
}

static void add_own(struct pg_params *p, const struct mirror_row *row, enum pg_own own)
{
    const struct mirror_value deleted_at = {
        .type = MIRROR_DATETIME, .is_null = !pg_is_deleted(row), .as.integer = row->deleted_ms};
    switch (own) {
    case PG_OWN_VERSION:
        add_version(p, &row->version);
        return;
    case PG_OWN_SEQ:
        pg_array_int8(p, (int64_t)row->seq);
        return;
    case PG_OWN_STATE:
        pg_array_bytes(p, row->state);
        return;
    case PG_OWN_INCOMPLETE:
        pg_array_bool(p, row->incomplete);
        return;
    case PG_OWN_HASH:
        pg_array_text(p, row->hash);
        return;
    case PG_OWN_DELETED:
        pg_array_bool(p, pg_is_deleted(row));
        return;
    case PG_OWN_DELETED_AT:
        pg_array_value(p, &deleted_at, false);
        return;
    case PG_OWNS:
        break;
    }
    BUG("no such column of ours: %d", (int)own);
}

static void add_cell(struct pg_params *p, const struct pg_group *g, struct pg_item *item, uint32_t cell)
{
    const struct mirror_row *row = item->row;
    if (!pg_set_has(item->set, cell)) {
        pg_array_null(p);
        return;
    }
    if (cell >= g->table->n_columns) {
        add_own(p, row, (enum pg_own)(cell - g->table->n_columns));
        return;
    }
    /* Mostly the next one; a row type may have its columns in another order. */
    if (row->columns[item->next] > cell)
        item->next = 0;
    while (row->columns[item->next] < cell)
        item->next++;
    const struct mirror_value *value = &row->values[item->next];
    BUG_IF(!value->is_null && value->type != g->table->columns[cell].type);
    pg_array_value(p, value, g->t->columns[cell].how != PG_TYPED);
}

static void add_ids(struct pg_params *p, const struct pg_group *g)
{
    pg_array_begin(p, PG_TEXT);
    for (size_t i = 0; i < g->n; i++)
        pg_array_text(p, g->items[i].row->id);
    pg_array_end(p);
}

static void add_places(struct pg_params *p, const struct pg_group *g)
{
    pg_array_begin(p, PG_TID);
    for (size_t i = 0; i < g->n; i++)
        pg_array_place(p, g->items[i].row->held.place);
    pg_array_end(p);
}

static void add_masks(struct pg_params *p, const struct pg_group *g, const struct cells *c)
{
    for (uint32_t first = 0; first < c->bits; first += MASK_BITS) {
        pg_array_begin(p, PG_INT8);
        for (size_t i = 0; i < g->n; i++) {
            uint64_t mask = 0;
            for (uint32_t k = 0; k < c->n; k++)
                if (c->bit[k] >= (int32_t)first && c->bit[k] < (int32_t)(first + MASK_BITS) &&
                    pg_set_has(g->items[i].set, c->all[k]))
                    mask |= 1ULL << ((uint32_t)c->bit[k] - first);
            pg_array_int8(p, (int64_t)mask);
        }
        pg_array_end(p);
    }
}

/* Within a row, rather than in an array of its own. */
static bool is_in_row(const struct pg_group *g, uint32_t cell)
{
    return g->t->row_type && (cell >= g->table->n_columns || g->t->columns[cell].how == PG_TYPED);
}

/* Its key is within the row, too: a key of another type has an array of its own. */
static bool has_key_in_row(const struct pg_group *g)
{
    for (uint32_t i = 0; g->t->row_type && i < g->t->n_attributes; i++)
        if (g->t->attributes[i].cell == PG_ATTRIBUTE_KEY)
            return true;
    return false;
}

/* A cell that a row sets, and the attribute of the row type that takes it. */
struct filled {
    uint32_t attribute, cell;
};

enum { KEY_CELL = UINT32_MAX };

/* Attributes by cell, behind the last cell that of the key; those that do not travel in rows are NO_ATTRIBUTE. */
#define NO_ATTRIBUTE UINT32_MAX

static uint32_t *attributes_by_cell(const struct pg_group *g)
{
    uint32_t *all = xcalloc((size_t)g->t->n + 1, sizeof *all);
    for (uint32_t cell = 0; cell <= g->t->n; cell++)
        all[cell] = NO_ATTRIBUTE;
    for (uint32_t a = 0; a < g->t->n_attributes; a++) {
        const int32_t cell = g->t->attributes[a].cell;
        if (cell == PG_ATTRIBUTE_KEY)
            all[g->t->n] = a;
        else if (cell >= 0 && is_in_row(g, (uint32_t)cell))
            all[cell] = a;
    }
    return all;
}

/* In the order of the attributes, which mostly is that of the cells. */
static uint32_t fill(struct filled *all, uint32_t n, uint32_t attribute, uint32_t cell)
{
    uint32_t at = n;
    if (attribute == NO_ATTRIBUTE)
        return n;
    for (; at > 0 && all[at - 1].attribute > attribute; at--)
        all[at] = all[at - 1];
    all[at] = (struct filled){attribute, cell};
    return n + 1;
}

static uint32_t fill_row(const struct pg_group *g, const struct pg_item *item, const uint32_t *attributes,
                         struct filled *all)
{
    uint32_t n = fill(all, 0, attributes[g->t->n], KEY_CELL);
    for (uint32_t word = 0; word < (g->t->n + 63) / 64; word++)
        for (uint64_t bits = item->set[word]; bits; bits &= bits - 1) {
            const uint32_t cell = word * 64 + (uint32_t)__builtin_ctzll(bits);
            n = fill(all, n, attributes[cell], cell);
        }
    return n;
}

static void add_rows(struct pg_params *p, const struct pg_group *g)
{
    struct buf outline = BUF_INIT;
    uint32_t *attributes = attributes_by_cell(g);
    struct filled *all = xcalloc((size_t)g->t->n + 1, sizeof *all);
    pg_outline_begin(&outline, g->t->n_attributes);
    for (uint32_t a = 0; a < g->t->n_attributes; a++)
        pg_outline_field(&outline, g->t->attributes[a].type);
    pg_array_begin_rows(p, g->t->row_array, g->t->row_type);
    for (size_t i = 0; i < g->n; i++) {
        struct pg_item *item = &g->items[i];
        const uint32_t n = fill_row(g, item, attributes, all);
        pg_record_begin(p);
        for (uint32_t k = 0; k < n; k++) {
            pg_record_field(p, &outline, all[k].attribute);
            if (all[k].cell == KEY_CELL)
                pg_array_text(p, item->row->id);
            else
                add_cell(p, g, item, all[k].cell);
        }
        pg_record_end(p, &outline);
    }
    pg_array_end(p);
    free(all);
    free(attributes);
    buf_release(&outline);
}

static void add_arrays(struct pg_params *p, const struct pg_group *g, const struct cells *c)
{
    pg_params_clear(p);
    if (g->t->row_type)
        add_rows(p, g);
    if (!has_key_in_row(g))
        add_ids(p, g);
    for (uint32_t k = 0; k < c->n; k++) {
        if (is_in_row(g, c->all[k]))
            continue;
        for (size_t i = 0; i < g->n; i++)
            g->items[i].next = 0;
        pg_array_begin(p, element_of(g, c->all[k]));
        for (size_t i = 0; i < g->n; i++)
            add_cell(p, g, &g->items[i], c->all[k]);
        pg_array_end(p);
    }
}

/* --- text -------------------------------------------------------------------------------------------- */

/* The place of a cell in the group, by name: c0, c1, …; of any other column of the row: xN. */
static void add_row_names(const struct pg_group *g, const struct cells *c, struct buf *sql)
{
    for (uint32_t a = 0; a < g->t->n_attributes; a++) {
        const struct pg_attribute *attribute = &g->t->attributes[a];
        uint32_t k = 0;
        while (k < c->n && (attribute->cell < 0 || c->all[k] != (uint32_t)attribute->cell))
            k++;
        buf_add_str(sql, a ? ", " : "");
        if (attribute->cell == PG_ATTRIBUTE_KEY)
            buf_add_char(sql, 'k');
        else if (k < c->n && is_in_row(g, c->all[k]))
            buf_addf(sql, "c%" PRIu32, k);
        else
            buf_addf(sql, "x%" PRIu32, a);
    }
}

/* "FROM ROWS FROM (unnest($1), unnest($2), …) AS s (k, c0, c1, …, m0, …, place)", as add_arrays, add_masks and
 * add_places made them */
static void add_source(const struct pg_group *g, const struct cells *c, bool masks, struct buf *sql)
{
    uint32_t n_masks = masks ? (c->bits + MASK_BITS - 1) / MASK_BITS : 0, n = 1;
    struct buf names = BUF_INIT;
    buf_add_str(sql, " FROM ROWS FROM (unnest($1)");
    if (g->t->row_type)
        add_row_names(g, c, &names);
    else
        buf_add_char(&names, 'k');
    if (g->t->row_type && !has_key_in_row(g)) {
        buf_addf(sql, ", unnest($%" PRIu32 ")", ++n);
        buf_add_str(&names, ", k");
    }
    for (uint32_t k = 0; k < c->n; k++) {
        if (is_in_row(g, c->all[k]))
            continue;
        buf_addf(sql, ", unnest($%" PRIu32 ")", ++n);
        buf_addf(&names, ", c%" PRIu32, k);
    }
    for (uint32_t i = 0; i < n_masks; i++) {
        buf_addf(sql, ", unnest($%" PRIu32 ")", ++n);
        buf_addf(&names, ", m%" PRIu32, i);
    }
    if (g->placed) {
        buf_addf(sql, ", unnest($%" PRIu32 ")", ++n);
        buf_add_str(&names, ", place");
    }
    buf_addf(sql, ") AS s (%s)", (const char *)names.data);
    buf_release(&names);
}

/* The members of s.cK that are null, which a merge removes. */
static void add_removed(uint32_t k, struct buf *sql)
{
    buf_addf(sql,
             " - ARRAY(SELECT j.key FROM jsonb_each(CAST(s.c%" PRIu32 " AS jsonb)) j WHERE j.value = 'null')",
             k);
}

/* What the row holds of a shared JSON object: anything else than an object is replaced. */
static void add_held_object(const char *name, struct buf *sql)
{
    struct buf column = BUF_INIT;
    buf_add_str(&column, "CAST(t.");
    mirror_add_identifier(&column, name);
    buf_add_str(&column, " AS text)::jsonb");
    buf_addf(sql, "CASE jsonb_typeof(%s) WHEN 'object' THEN %s ELSE '{}' END", (const char *)column.data,
             (const char *)column.data);
    buf_release(&column);
}

/* A cell's value as its column takes it. updated: the row is there, as t. */
static void add_value(const struct pg_group *g, const struct cells *c, uint32_t k, bool updated,
                      struct buf *sql)
{
    uint32_t cell = c->all[k];
    bool mapped = cell < g->table->n_columns;
    bool cast = mapped && g->t->columns[cell].how == PG_CAST;
    if (cast)
        buf_add_str(sql, "CAST(CAST(");
    if (mapped && g->table->columns[cell].merged) {
        buf_add_char(sql, '(');
        if (updated) {
            add_held_object(g->table->columns[cell].name, sql);
            buf_add_str(sql, " || ");
        }
        buf_addf(sql, "CAST(s.c%" PRIu32 " AS jsonb))", k);
        add_removed(k, sql);
        if (g->t->columns[cell].how == PG_ASSIGN)
            buf_add_str(sql, " #>> '{}'");
    } else {
        buf_addf(sql, "s.c%" PRIu32, k);
    }
    if (cast)
        buf_addf(sql, " AS text) AS %s)", g->t->columns[cell].type);
}

static void update_sql(const struct pg_group *g, const struct cells *c, struct buf *sql)
{
    buf_add_str(sql, "UPDATE ");
    mirror_add_identifier(sql, g->table->name);
    buf_add_str(sql, " t SET ");
    for (uint32_t k = 0; k < c->n; k++) {
        const char *name = pg_cell_name(g->table, c->all[k]);
        if (k)
            buf_add_str(sql, ", ");
        mirror_add_identifier(sql, name);
        if (c->bit[k] == EVERY_ROW_SETS) {
            buf_add_str(sql, " = ");
            add_value(g, c, k, true, sql);
            continue;
        }
        if (c->bit[k] == NULL_IS_UNSET) {
            buf_add_str(sql, " = coalesce(");
            add_value(g, c, k, true, sql);
            buf_add_str(sql, ", t.");
            mirror_add_identifier(sql, name);
            buf_add_char(sql, ')');
            continue;
        }
        buf_addf(sql, " = CASE WHEN s.m%d & %" PRIu64 " <> 0 THEN ", c->bit[k] / MASK_BITS,
                 UINT64_C(1) << (c->bit[k] % MASK_BITS));
        add_value(g, c, k, true, sql);
        buf_add_str(sql, " ELSE t.");
        mirror_add_identifier(sql, name);
        buf_add_str(sql, " END");
    }
    add_source(g, c, true, sql);
    buf_add_str(sql, g->placed ? " WHERE t.ctid = s.place AND t." : " WHERE t.");
    mirror_add_identifier(sql, g->table->key);
    buf_add_str(sql, " = s.k");
}

static void insert_sql(const struct pg_group *g, const struct cells *c, struct buf *sql)
{
    static const char append_alone[] = ") DO UPDATE SET \"" MIRROR_HASH_COLUMN
                                       "\" = excluded.\"" MIRROR_HASH_COLUMN
                                       "\" WHERE t.\"" MIRROR_HASH_COLUMN
                                       "\" IS NULL OR t.\"" MIRROR_HASH_COLUMN
                                       "\" = excluded.\"" MIRROR_HASH_COLUMN "\"";
    buf_add_str(sql, "INSERT INTO ");
    mirror_add_identifier(sql, g->table->name);
    buf_add_str(sql, " AS t (");
    mirror_add_identifier(sql, g->table->key);
    for (uint32_t k = 0; k < c->n; k++) {
        buf_add_str(sql, ", ");
        mirror_add_identifier(sql, pg_cell_name(g->table, c->all[k]));
    }
    buf_add_str(sql, ") SELECT s.k");
    for (uint32_t k = 0; k < c->n; k++) {
        buf_add_str(sql, ", ");
        add_value(g, c, k, false, sql);
    }
    add_source(g, c, false, sql);
    const bool exact = !c->partial;
    if (g->verb == PG_INSERT && !exact)
        return;
    buf_add_str(sql, " ON CONFLICT (");
    mirror_add_identifier(sql, g->table->key);
    if (g->verb == PG_APPEND) {
        buf_add_str(sql, g->t->key_alone ? append_alone : ", \"" MIRROR_HASH_COLUMN "\") DO NOTHING");
        return;
    }
    buf_add_str(sql, ") DO UPDATE SET ");
    bool first = true;
    for (uint32_t k = 0; k < c->n; k++) {
        if (c->all[k] < g->table->n_columns && g->table->columns[c->all[k]].insert_only)
            continue;
        if (!first)
            buf_add_str(sql, ", ");
        first = false;
        mirror_add_identifier(sql, pg_cell_name(g->table, c->all[k]));
        buf_add_str(sql, " = excluded.");
        mirror_add_identifier(sql, pg_cell_name(g->table, c->all[k]));
    }
}

static void remove_sql(const struct pg_group *g, struct buf *sql)
{
    buf_add_str(sql, "DELETE FROM ");
    mirror_add_identifier(sql, g->table->name);
    buf_add_str(sql, " WHERE ");
    mirror_add_identifier(sql, g->table->key);
    buf_add_str(sql, " = ANY ($1)");
}

static void archive_sql(const struct pg_group *g, struct buf *sql)
{
    buf_add_str(sql, "WITH gone AS (DELETE FROM ");
    mirror_add_identifier(sql, g->table->name);
    buf_add_str(sql, " t USING unnest($1, $2) AS s (k, at) WHERE t.");
    mirror_add_identifier(sql, g->table->key);
    buf_add_str(sql, " = s.k RETURNING t.*, s.at AS \"_tidemark_at\") INSERT INTO ");
    pg_add_history_name(g->table, sql);
    buf_add_str(sql, " (");
    pg_add_history_columns(g->table, "", sql);
    buf_add_str(sql, ", \"_archived_at\") SELECT ");
    pg_add_history_columns(g->table, "gone.", sql);
    buf_add_str(sql, ", gone.\"_tidemark_at\" FROM gone");
}

/* --- sending ------------------------------------------------------------------------------------------ */

static int send_cells(struct mirror *m, const struct pg_group *g, struct err *e)
{
    struct cells c;
    gather_cells(g, &c);
    add_arrays(&m->params, g, &c);
    if (g->verb == PG_UPDATE) {
        add_masks(&m->params, g, &c);
        if (g->placed)
            add_places(&m->params, g);
        update_sql(g, &c, &m->sql);
    } else {
        insert_sql(g, &c, &m->sql);
    }
    release_cells(&c);
    return pg_send(&m->pg, (const char *)m->sql.data, &m->params, false, e);
}

static int send_archive(struct mirror *m, const struct pg_group *g, struct err *e)
{
    struct pg_params *p = &m->params;
    pg_params_clear(p);
    add_ids(p, g);
    pg_array_begin(p, PG_TIMESTAMPTZ);
    for (size_t i = 0; i < g->n; i++) {
        const struct mirror_value at = {.type = MIRROR_DATETIME, .as.integer = g->items[i].row->deleted_ms};
        pg_array_value(p, &at, false);
    }
    pg_array_end(p);
    archive_sql(g, &m->sql);
    return pg_send(&m->pg, (const char *)m->sql.data, p, false, e);
}

static int send_bury(struct mirror *m, const struct pg_group *g, struct err *e)
{
    static const char sql[] =
        "INSERT INTO \"_tidemark_tombstones\" AS t (\"table\", sink, id, epoch, commit_number, version, seq, "
        "state)"
        " SELECT $1, $2, * FROM unnest($3, $4, $5, $6, $7, $8) ON CONFLICT (\"table\", id) DO UPDATE SET"
        " sink = excluded.sink, epoch = excluded.epoch, commit_number = excluded.commit_number,"
        " version = excluded.version, seq = excluded.seq, state = excluded.state";
    struct pg_params *p = &m->params;
    pg_params_clear(p);
    pg_param_text(p, span_of_str(g->table->name));
    pg_param_text(p, span_of_str(m->name));
    add_ids(p, g);
    for (int part = 0; part < 5; part++) {
        static const enum pg_oid types[] = {PG_INT8, PG_INT8, PG_TEXT, PG_INT8, PG_BYTEA};
        pg_array_begin(p, types[part]);
        for (size_t i = 0; i < g->n; i++) {
            const struct mirror_row *row = g->items[i].row;
            if (part == 2)
                add_version(p, &row->version);
            else if (part == 4)
                pg_array_bytes(p, row->state);
            else
                pg_array_int8(p, part == 0   ? row->version.epoch
                                 : part == 1 ? row->version.commit
                                             : (int64_t)row->seq);
        }
        pg_array_end(p);
    }
    return pg_send(&m->pg, sql, p, false, e);
}

int pg_send_group(struct mirror *m, const struct pg_group *g, bool *counts, struct err *e)
{
    static const char unbury[] =
        "DELETE FROM \"_tidemark_tombstones\" WHERE id = ANY ($1) AND \"table\" = $2";
    BUG_IF(g->n == 0);
    buf_clear(&m->sql);
    *counts = g->verb == PG_UPDATE || g->verb == PG_INSERT || g->verb == PG_BURY ||
              (g->verb == PG_APPEND && g->t->key_alone);
    switch (g->verb) {
    case PG_UPDATE:
    case PG_INSERT:
    case PG_APPEND:
        return send_cells(m, g, e);
    case PG_ARCHIVE:
        return send_archive(m, g, e);
    case PG_BURY:
        return send_bury(m, g, e);
    case PG_REMOVE:
    case PG_UNBURY:
        pg_params_clear(&m->params);
        add_ids(&m->params, g);
        if (g->verb == PG_REMOVE)
            remove_sql(g, &m->sql);
        else
            pg_param_text(&m->params, span_of_str(g->table->name));
        return pg_send(&m->pg, g->verb == PG_UNBURY ? unbury : (const char *)m->sql.data, &m->params, false,
                       e);
    }
    BUG("verb %d", (int)g->verb);
}
