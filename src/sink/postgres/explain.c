/*
 * Statements as text, for a dry run: what prepare and write would do, one statement a line, with literals where the
 * real ones have parameters. Nothing here is ever sent.
 */
#include "sink/postgres/postgres.h"

#include <inttypes.h>

void pg_show_table(const struct mirror_table *table, struct buf *out)
{
    pg_create_table(table, false, out);
    buf_add_str(out, ";\n");
    if (table->append_only || table->on_delete != MIRROR_ARCHIVE)
        return;
    pg_create_table(table, true, out);
    buf_add_str(out, ";\n");
}

static void add_value(const struct mirror_value *value, struct buf *out)
{
    struct buf text = BUF_INIT;
    if (value->is_null) {
        buf_add_str(out, "NULL");
        return;
    }
    if (value->type == MIRROR_BOOLEAN)
        buf_add_str(&text, value->as.integer ? "true" : "false");
    else
        pg_value_text(value, &text);
    if (value->type == MIRROR_BOOLEAN || value->type == MIRROR_BIGINT)
        buf_add_span(out, buf_span(&text));
    else
        mirror_add_literal(out, buf_span(&text));
    buf_release(&text);
}

/* A column that several fields share: what changes goes into what is held, and members that are null go. */
static void add_column_value(const struct mirror_column *column, const struct mirror_value *value,
                             bool update, struct buf *out)
{
    if (!column->merged || value->is_null) {
        add_value(value, out);
        return;
    }
    buf_add_str(out, "jsonb_strip_nulls(");
    if (update) {
        buf_add_str(out, "coalesce(");
        mirror_add_identifier(out, column->name);
        buf_add_str(out, ", '{}') || ");
    }
    add_value(value, out);
    buf_add_str(out, "::jsonb)");
}

static void add_bytes(struct span bytes, struct buf *out)
{
    buf_add_str(out, "'\\x");
    for (size_t i = 0; i < bytes.n; i++)
        buf_addf(out, "%02x", bytes.p[i]);
    buf_add_char(out, '\'');
}

static void add_version(const struct mirror_row *row, struct buf *out)
{
    struct buf text = BUF_INIT;
    version_add_text(&text, &row->version);
    mirror_add_literal(out, buf_span(&text));
    buf_release(&text);
}

static void add_own(const struct mirror_row *row, enum pg_own own, struct buf *out)
{
    const struct mirror_value at = {
        .type = MIRROR_DATETIME, .is_null = !pg_is_deleted(row), .as.integer = row->deleted_ms};
    switch (own) {
    case PG_OWN_VERSION:
        add_version(row, out);
        return;
    case PG_OWN_SEQ:
        buf_addf(out, "%" PRIu64, row->seq);
        return;
    case PG_OWN_STATE:
        add_bytes(row->state, out);
        return;
    case PG_OWN_INCOMPLETE:
        buf_add_str(out, row->incomplete ? "true" : "false");
        return;
    case PG_OWN_HASH:
        mirror_add_literal(out, row->hash);
        return;
    case PG_OWN_DELETED:
        buf_add_str(out, pg_is_deleted(row) ? "true" : "false");
        return;
    case PG_OWN_DELETED_AT:
        add_value(&at, out);
        return;
    case PG_OWNS:
        break;
    }
    BUG("no such column of ours: %d", (int)own);
}

static void add_where_key(const struct mirror_row *row, struct buf *out)
{
    buf_add_str(out, " WHERE ");
    mirror_add_identifier(out, row->table->key);
    buf_add_str(out, " = ");
    mirror_add_literal(out, row->id);
}

static void show_insert(const struct mirror_row *row, struct buf *out)
{
    const struct mirror_table *table = row->table;
    buf_add_str(out, "INSERT INTO ");
    mirror_add_identifier(out, table->name);
    buf_add_str(out, " (");
    mirror_add_identifier(out, table->key);
    for (uint32_t i = 0; i < row->n; i++) {
        buf_add_str(out, ", ");
        mirror_add_identifier(out, table->columns[row->columns[i]].name);
    }
    for (uint32_t own = 0; own < PG_OWNS; own++) {
        if (!pg_has_own(table, (enum pg_own)own))
            continue;
        buf_add_str(out, ", ");
        mirror_add_identifier(out, pg_cell_name(table, table->n_columns + own));
    }
    buf_add_str(out, ") VALUES (");
    mirror_add_literal(out, row->id);
    for (uint32_t i = 0; i < row->n; i++) {
        buf_add_str(out, ", ");
        add_column_value(&table->columns[row->columns[i]], &row->values[i], false, out);
    }
    for (uint32_t own = 0; own < PG_OWNS; own++) {
        if (!pg_has_own(table, (enum pg_own)own))
            continue;
        buf_add_str(out, ", ");
        add_own(row, (enum pg_own)own, out);
    }
    buf_add_str(out, row->action == MIRROR_APPEND ? ") ON CONFLICT DO NOTHING;\n" : ");\n");
}

static void show_update(const struct mirror_row *row, struct buf *out)
{
    const struct mirror_table *table = row->table;
    bool first = true;
    buf_add_str(out, "UPDATE ");
    mirror_add_identifier(out, table->name);
    buf_add_str(out, " SET ");
    for (uint32_t i = 0; i < row->n && row->action != MIRROR_STATE_ONLY; i++) {
        const struct mirror_column *c = &table->columns[row->columns[i]];
        if (c->insert_only)
            continue;
        buf_add_str(out, first ? "" : ", ");
        first = false;
        mirror_add_identifier(out, c->name);
        buf_add_str(out, " = ");
        add_column_value(c, &row->values[i], true, out);
    }
    for (uint32_t own = 0; own < PG_OWNS; own++) {
        bool meant = pg_has_own(table, (enum pg_own)own) && (own < PG_OWN_DELETED || pg_sets_deleted(row));
        if (!meant)
            continue;
        buf_add_str(out, first ? "" : ", ");
        first = false;
        mirror_add_identifier(out, pg_cell_name(table, table->n_columns + own));
        buf_add_str(out, " = ");
        add_own(row, (enum pg_own)own, out);
    }
    add_where_key(row, out);
    buf_add_str(out, ";\n");
}

static void show_removal(const struct mirror_row *row, struct buf *out)
{
    const struct mirror_table *table = row->table;
    const struct mirror_value at = {.type = MIRROR_DATETIME, .as.integer = row->deleted_ms};
    bool archive = table->on_delete == MIRROR_ARCHIVE;
    buf_add_str(out, archive ? "WITH gone AS (DELETE FROM " : "DELETE FROM ");
    mirror_add_identifier(out, table->name);
    add_where_key(row, out);
    if (archive) {
        buf_add_str(out, " RETURNING *) INSERT INTO ");
        pg_add_history_name(table, out);
        buf_add_str(out, " (");
        pg_add_history_columns(table, "", out);
        buf_add_str(out, ", \"_archived_at\") SELECT ");
        pg_add_history_columns(table, "", out);
        buf_add_str(out, ", ");
        add_value(&at, out);
        buf_add_str(out, " FROM gone");
    }
    buf_add_str(out, ";\n");
}

static void show_tombstone(const struct mirror_row *row, struct buf *out)
{
    buf_add_str(
        out, "INSERT INTO \"_tidemark_tombstones\" (\"table\", id, epoch, commit_number, version, seq, state)"
             " VALUES (");
    mirror_add_literal(out, span_of_str(row->table->name));
    buf_add_str(out, ", ");
    mirror_add_literal(out, row->id);
    buf_addf(out, ", %" PRIu32 ", %" PRId64 ", ", row->version.epoch, row->version.commit);
    add_version(row, out);
    buf_addf(out, ", %" PRIu64 ", ", row->seq);
    add_bytes(row->state, out);
    buf_add_str(out,
                ") ON CONFLICT (\"table\", id) DO UPDATE SET epoch = excluded.epoch,"
                " commit_number = excluded.commit_number, version = excluded.version, seq = excluded.seq,"
                " state = excluded.state;\n");
}

void pg_show_row(const struct mirror_row *row, struct buf *out)
{
    bool soft = row->table->on_delete == MIRROR_SOFT;
    if (row->action == MIRROR_APPEND || (row->action == MIRROR_UPSERT && !row->held.has_row)) {
        show_insert(row, out);
    } else if (row->held.has_row && (row->action != MIRROR_DELETE || soft)) {
        show_update(row, out);
    } else {
        if (row->held.has_row)
            show_removal(row, out);
        show_tombstone(row, out);
    }
}
