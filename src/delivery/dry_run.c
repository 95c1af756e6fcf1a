#include "delivery/dry_run.h"

#include "base/alloc.h"
#include "delivery/horizon.h"
#include "delivery/settle.h"
#include "store/journal.h"

#include <inttypes.h>

/*
 * A mirror that looks at a real one and shows what it would be told. `held` is false when there is nothing to look
 * at: then every table is new and every record unknown.
 */
struct mirror {
    const struct mirror_ops *ops;
    struct mirror *real;
    bool held;
    struct arena arena;
    struct mirror_field *fields;
    size_t n_fields;
    struct buf *out;
};

static bool is_field_of(const struct mirror_field *f, const struct mirror_table *t)
{
    return span_equal_str(f->table, t->name);
}

static bool has_table(const struct mirror *m, const struct mirror_table *t)
{
    for (size_t i = 0; i < m->n_fields; i++)
        if (is_field_of(&m->fields[i], t))
            return true;
    return false;
}

static bool has_column(const struct mirror *m, const struct mirror_table *t, const char *column)
{
    for (size_t i = 0; i < m->n_fields; i++)
        if (is_field_of(&m->fields[i], t) && span_equal_str(m->fields[i].column, column))
            return true;
    return false;
}

/* The columns of a table that is there already. */
static void show_new_columns(struct mirror *m, const struct mirror_table *t)
{
    for (uint32_t i = 0; i < t->n_columns; i++) {
        bool from_field = false;
        for (uint32_t k = 0; k < t->n_sources; k++)
            from_field |= t->sources[k].column == i;
        if (!from_field || has_column(m, t, t->columns[i].name))
            continue;
        buf_add_str(m->out, "-- ALTER TABLE ");
        mirror_add_identifier(m->out, t->name);
        buf_add_str(m->out, " ADD COLUMN ");
        mirror_add_identifier(m->out, t->columns[i].name);
        buf_addf(m->out, ": %s\n", mirror_type_name(t->columns[i].type));
    }
}

/* As the mirror would number them: what it knows keeps its number. */
static uint32_t number_of(const struct mirror *m, const struct mirror_table *t, uint32_t source,
                          uint32_t *most)
{
    const struct mirror_source *s = &t->sources[source];
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct mirror_field *f = &m->fields[i];
        if (is_field_of(f, t) && span_equal_str(f->field, s->field) &&
            span_equal_str(f->field_id, s->field_id) && span_equal_str(f->column, t->columns[s->column].name))
            return f->number;
    }
    return ++*most;
}

static int show_prepare(struct mirror *m, const struct mirror_table *t, uint32_t *numbers,
                        struct mirror_remarks *remarks, struct err *e)
{
    uint32_t most = 0;
    (void)remarks;
    (void)e;
    if (has_table(m, t))
        show_new_columns(m, t);
    else
        m->ops->show_table(t, m->out);
    for (size_t i = 0; i < m->n_fields; i++)
        if (is_field_of(&m->fields[i], t) && m->fields[i].number > most)
            most = m->fields[i].number;
    for (uint32_t i = 0; i < t->n_sources; i++)
        numbers[i] = number_of(m, t, i, &most);
    return 0;
}

static int look_load(struct mirror *m, const struct mirror_table *t, const struct span *ids, size_t n,
                     struct arena *a, struct mirror_held *held, struct err *e)
{
    if (m->held && has_table(m, t))
        return m->ops->load(m->real, t, ids, n, a, held, e);
    for (size_t i = 0; i < n; i++)
        held[i] = (struct mirror_held){.has_row = false};
    return 0;
}

static int look_text(struct mirror *m, const struct mirror_table *t, struct span id, uint32_t column,
                     struct arena *a, bool *found, struct mirror_value *out, struct err *e)
{
    *found = false;
    if (!m->held || !has_column(m, t, t->columns[column].name))
        return 0;
    return m->ops->text(m->real, t, id, column, a, found, out, e);
}

static int show_write(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, struct err *e)
{
    (void)whole;
    (void)e;
    for (size_t i = 0; i < n; i++) {
        m->ops->show_row(&rows[i], m->out);
        rows[i].outcome = MIRROR_WRITTEN;
    }
    return 0;
}

static const struct mirror_ops show_ops = {
    .kind = "dry run", .prepare = show_prepare, .load = look_load, .text = look_text, .write = show_write};

/* --- looking at the target ---------------------------------------------------------------------------------- */

static void comment(struct buf *out, const char *text)
{
    buf_addf(out, "-- %s\n", text);
}

static void look_at_target(struct mirror *m)
{
    struct err why = ERR_INIT;
    if (m->ops->look(m->real, &why) == 0 &&
        m->ops->fields(m->real, &m->arena, &m->fields, &m->n_fields, &why) == 0) {
        m->held = true;
        return;
    }
    m->n_fields = 0;
    buf_addf(m->out, "-- %s; taken as empty\n", why.text);
}

/* --- the batch ------------------------------------------------------------------------------------------------ */

static const char *outcome_of(enum outcome outcome)
{
    static const char *const names[] = {[OUTCOME_DELIVERED] = "delivered",
                                        [OUTCOME_SUPERSEDED] = "superseded",
                                        [OUTCOME_FILTERED] = "filtered",
                                        [OUTCOME_PARKED] = "would be parked"};
    return names[outcome];
}

static void say_outcome(struct buf *out, const struct mapped *m, struct span id, enum outcome outcome,
                        const char *reason, const char *detail)
{
    const struct event_data *ev = m->d->ev;
    if (outcome == OUTCOME_DELIVERED)
        return;
    buf_addf(out, "-- seq %" PRIu64 " ", ev->seq);
    buf_add_span(out, m->d->ch->header.entity);
    if (id.n) {
        buf_add_char(out, ' ');
        buf_add_span(out, id);
    }
    buf_addf(out, ": %s", outcome_of(outcome));
    if (outcome == OUTCOME_SUPERSEDED)
        buf_add_str(out, ", what the target holds is newer");
    if (reason && outcome == OUTCOME_PARKED)
        buf_addf(out, ": %s%s%s", reason, detail && *detail ? ": " : "", detail ? detail : "");
    buf_add_char(out, '\n');
}

static void say_outcomes(struct buf *out, const struct pieces *p)
{
    for (size_t i = 0; i < p->n; i++)
        say_outcome(out, p->pieces[i].of, p->pieces[i].record->id, p->pieces[i].outcome, p->pieces[i].reason,
                    p->pieces[i].detail);
    for (size_t i = 0; i < p->n_mapped; i++) {
        bool has_pieces = false;
        for (size_t k = 0; k < p->n && !has_pieces; k++)
            has_pieces = p->pieces[k].of == &p->mapped[i];
        if (!has_pieces)
            say_outcome(out, &p->mapped[i], span_of(NULL, 0), p->mapped[i].outcome, p->mapped[i].reason,
                        p->mapped[i].why);
    }
}

static int show_batch(struct mirror *m, struct batch *b, uint32_t raise, struct map *map, struct err *e)
{
    struct pieces pieces = {.n = 0};
    struct tables tables = {NULL, 0};
    struct mirror_remarks remarks = {BUF_INIT, BUF_INIT};
    struct poison none = {.n = 0};
    poison_of_batch(&none, 0);
    struct settle s = {.ops = &show_ops, .mirror = m, .pieces = &pieces, .arena = &b->arena, .poison = &none};
    int rc = 0;
    pieces_find(&pieces, b, raise, map, &tables, b->subject);
    for (size_t i = 0; rc == 0 && i < tables.n; i++)
        if (tables.tables[i] && tables.tables[i]->used)
            rc = table_prepare(tables.tables[i], &show_ops, m, &remarks, e);
    pieces_map(&pieces, b);
    if (rc == 0)
        rc = settle_load(&s, e);
    if (rc == 0)
        rc = settle_pieces(&s, e);
    if (rc == SETTLE_DONE)
        say_outcomes(m->out, &pieces);
    if (pieces.cut.n) {
        buf_addf(m->out,
                 "-- %zu values are cut or emptied, as configured (on_too_long, on_error): ", pieces.cut.n);
        tally_text(&pieces.cut, m->out);
        buf_add_char(m->out, '\n');
    }
    tables_release(&tables);
    buf_release(&remarks.notice);
    buf_release(&remarks.odd);
    return rc < 0 ? -1 : 0;
}

/* --- where the batch begins ------------------------------------------------------------------------------------- */

/* And by how much it raises epochs. Of a sink the store does not know yet: where delivery_register would let it begin. */
static int read_cursor(const struct delivery_options *o, uint64_t *cursor, uint32_t *raise, struct err *e)
{
    struct store_txn txn;
    struct sink_record record;
    struct horizon horizon = {.raise = 0};
    struct journal_bounds bounds;
    if (store_begin(o->store, false, &txn, e) != 0)
        return -1;
    int rc = sink_record_get(&txn, o->sink->name, &record, e);
    if (rc >= 0 && journal_bounds(&txn, &bounds, e) != 0)
        rc = -1;
    store_abort(&txn);
    if (rc == 0)
        horizon_read(&horizon, buf_span(&record.state));
    *raise = horizon.raise;
    if (rc == 0)
        *cursor = record.cursor + 1 < bounds.oldest ? bounds.oldest - 1 : record.cursor;
    else if (rc == 1)
        *cursor = o->sink->start == SINK_START_NOW || bounds.oldest == 0 ? bounds.head : bounds.oldest - 1;
    sink_record_release(&record);
    return rc < 0 ? -1 : 0;
}

/* "AccountChangeEvent" -> "Account", "Employee__ChangeEvent" -> "Employee__c": what headers will say. */
static struct span entity_of_schema(const struct event_schema *schema, struct buf *room)
{
    static const char suffix[] = "ChangeEvent";
    struct span name = span_of_str(schema->root.name);
    const size_t n = sizeof suffix - 1;
    if (!schema->is_change || name.n <= n || memcmp(name.p + name.n - n, suffix, n) != 0)
        return name;
    name.n -= n;
    buf_add_span(room, name);
    if (name.n > 2 && memcmp(name.p + name.n - 2, "__", 2) == 0)
        buf_add_char(room, 'c');
    return buf_span(room);
}

static void show_schemas(struct mirror *m, struct map *map, const struct dry_run_schema *extra, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf name = BUF_INIT;
        struct err why = ERR_INIT;
        const struct map_entity *entity;
        struct span of = entity_of_schema(extra[i].schema, &name);
        if (map_entity(map, extra[i].schema, of, &entity, m->out, &why) != 0) {
            comment(m->out, why.text);
        } else if (!entity) {
            buf_addf(m->out, "-- %s: filtered, the configuration does not mirror it\n", extra[i].topic);
        } else {
            uint32_t *numbers = xcalloc(entity->table->n_sources + 1u, sizeof *numbers);
            BUG_IF(show_prepare(m, entity->table, numbers, NULL, NULL) != 0);
            free(numbers);
        }
        buf_release(&name);
    }
}

int dry_run(const struct delivery_options *o, const struct dry_run_schema *extra, size_t n_extra,
            struct buf *out, size_t *n_events, struct err *e)
{
    const struct mirror_ops *ops = mirror_ops_of(o->sink->kind);
    struct mirror m = {.ops = ops, .real = ops->new (o->sink), .out = out};
    struct map *map = map_new(o->sink);
    struct batch batch;
    uint64_t cursor = 0;
    uint32_t raise = 0;
    int rc = 0;
    *n_events = 0;
    batch_init(&batch, o);
    batch.parked_through = UINT64_MAX; /* nothing is parked for good */
    buf_addf(out, "-- sink %s (%s)\n", o->sink->name, ops->kind);
    look_at_target(&m);
    map_known(map, m.fields, m.n_fields);
    if (o->store) {
        rc = read_cursor(o, &cursor, &raise, e);
        if (rc == 0)
            rc = batch_read(&batch, cursor + 1, e);
    }
    if (rc == 0 && batch.n_events) {
        *n_events = batch.n_events;
        buf_addf(out, "-- %zu events, from seq %" PRIu64 " to %" PRIu64 "\n", batch.n_events,
                 batch.events[0].seq, batch.events[batch.n_events - 1].seq);
        rc = show_batch(&m, &batch, raise, map, e);
    } else if (rc == 0) {
        buf_addf(out, "-- nothing waits in the journal beyond seq %" PRIu64 "\n", cursor);
        show_schemas(&m, map, extra, n_extra);
    }
    batch_release(&batch);
    map_free(map);
    ops->close(m.real);
    ops->free(m.real);
    arena_release(&m.arena);
    return rc;
}
