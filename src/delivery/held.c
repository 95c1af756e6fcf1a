#include "delivery/held.h"

#include "base/alloc.h"
#include "config/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct looking {
    const struct mirror_ops *ops;
    struct mirror *mirror;
    const struct sink_config *sink;
    struct span id;
    struct arena *a;
    struct mirror_field *fields; /* by table */
    size_t n_fields;
    uint32_t n_tables; /* looked into: mirrors tell tables by their numbers */
};

void held_long_id(const char *record_id, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    memcpy(out, record_id, 15);
    for (int part = 0; part < 3; part++) {
        unsigned bits = 0;
        for (int i = 0; i < 5; i++)
            bits |= (unsigned)(out[part * 5 + i] >= 'A' && out[part * 5 + i] <= 'Z') << i;
        out[15 + part] = letters[bits];
    }
    out[18] = '\0';
}

/* What the configuration says of the entity that goes to a table; NULL: nothing of its own. */
static const struct entity_config *entity_of_table(const struct sink_config *sink, struct span table)
{
    for (uint32_t i = 0; i < sink->n_entities; i++) {
        const struct entity_config *c = &sink->entities[i];
        struct buf name = BUF_INIT;
        names_add_default(span_of_str(c->entity), NAMES_MAX_TABLE, &name);
        bool same = c->table ? span_equal_str(table, c->table) : span_equal(table, buf_span(&name));
        buf_release(&name);
        if (same && !c->skipped)
            return c;
    }
    return NULL;
}

/* The table as the mirror knows it, without what is of no use to a reader. */
static struct mirror_table table_of(struct looking *l, const struct mirror_field *fields, size_t n)
{
    const struct entity_config *c = entity_of_table(l->sink, fields[0].table);
    enum delete_policy policy = c ? c->on_delete : l->sink->on_delete;
    struct mirror_column *columns = arena_alloc(l->a, n * sizeof *columns);
    struct mirror_source *sources = arena_alloc(l->a, n * sizeof *sources);
    uint32_t n_columns = 0;
    for (size_t i = 0; i < n; i++) {
        const struct mirror_field *f = &fields[i];
        uint32_t at = 0;
        while (at < n_columns && !span_equal_str(f->column, columns[at].name))
            at++;
        if (at == n_columns)
            columns[n_columns++] = (struct mirror_column){
                .name = arena_strndup(l->a, f->column.p, f->column.n), .type = f->type};
        else
            columns[at].merged = true; /* several fields share it */
        sources[i] = (struct mirror_source){arena_strndup(l->a, f->field.p, f->field.n),
                                            arena_strndup(l->a, f->field_id.p, f->field_id.n), at};
    }
    return (struct mirror_table){.name = arena_strndup(l->a, fields[0].table.p, fields[0].table.n),
                                 .key = c && c->key ? c->key : "id",
                                 .on_delete = policy == DELETE_SOFT      ? MIRROR_SOFT
                                              : policy == DELETE_ARCHIVE ? MIRROR_ARCHIVE
                                                                         : MIRROR_HARD,
                                 .number = l->n_tables++,
                                 .n_columns = n_columns,
                                 .n_sources = (uint32_t)n,
                                 .columns = columns,
                                 .sources = sources};
}

static const struct mirror_cell *find_cell(const struct mirror_cell *cells, size_t n, struct span column)
{
    for (size_t i = 0; i < n; i++)
        if (span_equal(cells[i].column, column))
            return &cells[i];
    return NULL;
}

static void add_fields(struct looking *l, const struct mirror_field *fields, size_t n,
                       const struct mirror_cell *cells, size_t n_cells, struct held_record *out)
{
    out->n = n;
    out->fields = arena_alloc(l->a, (n + 1) * sizeof *out->fields);
    for (size_t i = 0; i < n; i++) {
        const struct mirror_cell *cell = find_cell(cells, n_cells, fields[i].column);
        const struct field_version *listed = record_state_find(&out->state, fields[i].number);
        out->fields[i] = (struct held_field){.field = fields[i].field,
                                             .column = fields[i].column,
                                             .text = cell ? cell->text : span_of(NULL, 0),
                                             .is_null = !cell || cell->is_null,
                                             .version = record_state_version(&out->state, fields[i].number),
                                             .listed = listed != NULL,
                                             .edited = listed ? listed->edited : out->state.base_edited};
    }
}

/* 1: it is there; 0: it is not. */
static int look_into(struct looking *l, const struct mirror_field *fields, size_t n, struct held_record *out,
                     struct err *e)
{
    struct mirror_table table = table_of(l, fields, n);
    struct mirror_held held;
    struct mirror_cell *cells = NULL;
    size_t n_cells = 0;
    if (l->ops->load(l->mirror, &table, &l->id, 1, l->a, &held, e) != 0)
        return -1;
    if (!held.state.n && !held.has_row)
        return 0;
    if (held.has_row && l->ops->row(l->mirror, &table, l->id, l->a, &cells, &n_cells, e) != 0)
        return -1;
    *out = (struct held_record){.table = fields[0].table, .has_row = held.has_row, .deleted = held.deleted};
    if (record_state_decode(held.state, l->a, &out->state, e) != 0)
        return -1;
    out->incomplete = record_state_incomplete(&out->state);
    add_fields(l, fields, n, cells, n_cells, out);
    return 1;
}

static bool is_event_table(const struct looking *l, struct span table)
{
    const struct entity_config *c = entity_of_table(l->sink, table);
    const char *name = c ? c->entity : (const char *)table.p;
    size_t n = c ? strlen(c->entity) : table.n;
    return n > 3 && memcmp(name + n - 3, "__e", 3) == 0;
}

static int look_everywhere(struct looking *l, struct held_record **out, size_t *n, struct err *e)
{
    size_t end;
    *out = arena_alloc(l->a, (l->n_fields + 1) * sizeof **out);
    for (size_t begin = 0; begin < l->n_fields; begin = end) {
        struct span table = l->fields[begin].table;
        for (end = begin + 1; end < l->n_fields && span_equal(l->fields[end].table, table);)
            end++;
        if (is_event_table(l, table)) /* rows of events, not of records */
            continue;
        int rc = look_into(l, &l->fields[begin], end - begin, &(*out)[*n], e);
        if (rc < 0)
            return err_prefix(e, "table %.*s", SPAN_ARG(table));
        *n += (size_t)rc;
    }
    return 0;
}

int held_inspect(const struct sink_config *sink, struct buf *findings, struct err *e)
{
    struct arena a = ARENA_INIT;
    struct err nothing = ERR_INIT; /* a target that cannot be looked at is what inspect tells of */
    const struct mirror_ops *ops = mirror_ops_of(sink->kind);
    struct looking l = {.ops = ops, .mirror = ops->new (sink), .sink = sink, .a = &a};
    size_t n = 0, end;
    if (ops->look(l.mirror, &nothing) != 0 ||
        ops->fields(l.mirror, &a, &l.fields, &l.n_fields, &nothing) != 0)
        l.n_fields = 0;
    struct mirror_table *tables = arena_alloc(&a, (l.n_fields + 1) * sizeof *tables);
    for (size_t begin = 0; begin < l.n_fields; begin = end) {
        struct span table = l.fields[begin].table;
        for (end = begin + 1; end < l.n_fields && span_equal(l.fields[end].table, table);)
            end++;
        tables[n] = table_of(&l, &l.fields[begin], end - begin);
        tables[n].append_only = is_event_table(&l, table);
        if (tables[n].append_only && strcmp(tables[n].key, "id") == 0)
            tables[n].key = "event_id";
        const struct entity_config *c = entity_of_table(sink, table);
        if (c && !tables[n].append_only)
            tables[n].last_modified = c->last_modified_column;
        n++;
    }
    int rc = ops->inspect(l.mirror, tables, n, findings, e);
    ops->close(l.mirror);
    ops->free(l.mirror);
    arena_release(&a);
    return rc;
}

int held_look(const struct sink_config *sink, const char *record_id, struct arena *a,
              struct held_record **out, size_t *n, struct err *e)
{
    char id[19];
    const struct mirror_ops *ops = mirror_ops_of(sink->kind);
    struct looking l = {.ops = ops, .mirror = ops->new (sink), .sink = sink, .a = a};
    held_long_id(record_id, id);
    l.id = arena_copy(a, span_of_str(id));
    *n = 0;
    *out = NULL;
    int rc = ops->look(l.mirror, e);
    if (rc == 0)
        rc = ops->fields(l.mirror, a, &l.fields, &l.n_fields, e);
    if (rc == 0)
        rc = look_everywhere(&l, out, n, e);
    ops->close(l.mirror);
    ops->free(l.mirror);
    return rc;
}
