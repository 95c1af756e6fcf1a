#include "delivery/settle.h"

#include <stdio.h>

/* --- columns -------------------------------------------------------------------------------------- */

static void set_column(struct record *r, uint32_t column, const struct mirror_value *v)
{
    r->set[column / 64] |= (uint64_t)1 << (column % 64);
    r->values[column] = *v;
}

/* The members of every column that several fields share, as one object each. */
static void set_patches(struct settle *s, struct record *r)
{
    const struct patch *order[2] = {NULL, NULL};
    for (const struct patch *p = r->patches; p; p = p->earlier) {
        if (r->set[p->column / 64] >> (p->column % 64) & 1)
            continue; /* done with an earlier member */
        struct buf text = BUF_INIT;
        for (const struct patch *q = p; q; q = q->earlier) {
            bool newest = q->column == p->column;
            for (order[0] = p; newest && order[0] != q; order[0] = order[0]->earlier)
                newest = order[0]->column != q->column || strcmp(order[0]->member, q->member) != 0;
            if (newest)
                map_patch_add(&text, q->member, q->value);
        }
        set_column(
            r, p->column,
            &(struct mirror_value){.type = MIRROR_JSON, .as.text = arena_copy(s->arena, buf_span(&text))});
        buf_release(&text);
    }
}

static void set_constants(struct record *r)
{
    const struct map_entity *entity = r->last->of->entity;
    for (uint32_t i = 0; i < entity->n_constants; i++) {
        const uint32_t column = entity->constant_columns[i];
        if (!(r->set[column / 64] >> (column % 64) & 1))
            set_column(r, column, &entity->constant_values[i]);
    }
}

static void gather_columns(struct settle *s, struct record *r, struct mirror_row *row)
{
    const uint32_t n = r->table->mirror->n_columns;
    uint32_t *columns = arena_alloc(s->arena, (n + 1) * sizeof *columns);
    if (!r->set)
        return;
    for (uint32_t word = 0; word <= n / 64; word++)
        for (uint64_t bits = r->set[word]; bits; bits &= bits - 1) {
            const uint32_t column = word * 64 + (uint32_t)__builtin_ctzll(bits);
            r->values[row->n] = r->values[column];
            columns[row->n++] = column;
        }
    row->columns = columns;
    row->values = r->values;
}

/* --- rows ----------------------------------------------------------------------------------------- */

static struct span encode_state(struct settle *s, const struct record_state *state)
{
    struct buf bytes = BUF_INIT;
    record_state_encode(state, &bytes);
    struct span out = arena_copy(s->arena, buf_span(&bytes));
    buf_release(&bytes);
    return out;
}

void settle_row(struct settle *s, struct record *r, struct mirror_row *row)
{
    *row = (struct mirror_row){.table = r->table->mirror,
                               .id = r->id,
                               .hash = r->hash,
                               .held = r->held,
                               .seq = r->seq,
                               .deleted_ms = r->deleted_ms,
                               .outcome = MIRROR_UNWRITTEN};
    if (r->pending == CONFLICT_ROW_UPSERT) {
        set_patches(s, r);
        if (r->set)
            set_constants(r);
        gather_columns(s, r, row);
        row->deleted = r->table->mirror->on_delete == MIRROR_SOFT && r->state.existence == RECORD_DELETED;
        if (row->deleted)
            row->deleted_ms = r->state.deleted_ms ? r->state.deleted_ms : r->deleted_ms;
    }
    if (r->table->mirror->append_only) {
        row->action = MIRROR_APPEND;
        return;
    }
    row->action = r->pending == CONFLICT_ROW_UPSERT   ? MIRROR_UPSERT
                  : r->pending == CONFLICT_ROW_DELETE ? MIRROR_DELETE
                                                      : MIRROR_STATE_ONLY;
    if (!version_is_none(&s->horizon))
        record_state_fold(&r->state, &s->horizon, s->arena);
    row->state = encode_state(s, &r->state);
    row->version = record_state_newest(&r->state);
    row->incomplete = record_state_incomplete(&r->state);
}

static void clear_pending(struct record *r)
{
    r->pending = CONFLICT_ROW_NONE;
    r->patches = NULL;
    r->first_pending = NULL;
    r->set = NULL; /* its values belong to a row now, or to nobody */
}

void settle_written(struct record *r, const struct mirror_row *row)
{
    const bool soft = r->table->mirror->on_delete == MIRROR_SOFT;
    if (row->action == MIRROR_UPSERT) {
        r->held.has_row = true;
        r->held.deleted = row->deleted;
        r->held.has_modified = false; /* it is our own write */
    } else if (row->action == MIRROR_DELETE) {
        r->held.deleted = soft && r->held.has_row;
        r->held.has_row = r->held.deleted;
    }
    r->held.place = 0; /* a row may move when it is written */
    r->held.state = row->state;
    r->written = true;
    r->safe = r->state;
    clear_pending(r);
}

/* --- writing -------------------------------------------------------------------------------------- */

/* Of several pieces: which of them it is, is found out one by one. */
static bool is_merged(const struct record *r, const struct mirror_row *row)
{
    return r->first_pending && r->first_pending->of->d->ev->seq != row->seq;
}

static const char *poison_of(const struct settle *s, const struct record *r, const struct mirror_row *row)
{
    const char *why = poison_why(s->poison, poison_row_key(row));
    return why || !is_merged(r, row) ? why : poison_why(s->poison, poison_record_key(row));
}

static void convict(struct settle *s, const struct mirror_row *row, const char *why)
{
    if (s->atomic) {
        poison_convict(s->poison, s->group, why);
        return;
    }
    poison_convict(s->poison, poison_record_key(row), why);
    poison_convict(s->poison, poison_row_key(row), why);
}

/* The connection ended while this row alone, or this group, was written. */
static void strike(struct settle *s, const struct mirror_row *row)
{
    const uint64_t key = s->atomic ? s->group : poison_record_key(row);
    if (poison_why(s->poison, key) || poison_strike(s->poison, key))
        convict(s, row, poison_why(s->poison, key));
}

/* -1: the write failed; which of its rows is to blame? */
static int blame(struct settle *s, const struct mirror_row *rows, size_t n)
{
    char why[sizeof rows->why + 50];
    const bool sought = poison_is_sought(s->poison) && (n == 1 || s->atomic);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].outcome == MIRROR_FATAL) {
            snprintf(why, sizeof why, "it rolls the whole transaction back: %s", rows[i].why);
            convict(s, &rows[i], why);
            s->again = true;
            return -1;
        }
        if (sought && rows[i].outcome == MIRROR_LOST) {
            strike(s, &rows[i]);
            return -1;
        }
    }
    return -1;
}

static int write_some(struct settle *s, struct mirror_row *rows, size_t n, bool whole, struct err *e)
{
    if (s->ops->write(s->mirror, rows, n, whole, e) != 0)
        return blame(s, rows, n);
    for (size_t i = 0; i < n && !s->wrote; i++)
        s->wrote = rows[i].outcome == MIRROR_WRITTEN;
    return 0;
}

int settle_write(struct settle *s, struct mirror_row *rows, struct record *const *records, size_t n,
                 bool whole, struct err *e)
{
    const bool sought = poison_is_sought(s->poison);
    if (s->atomic || poison_is_absent(s->poison))
        return write_some(s, rows, n, whole, e);
    for (size_t i = 0, end; i < n; i = end) {
        const char *why = poison_of(s, records[i], &rows[i]);
        end = i + 1;
        if (why) {
            rows[i].outcome = MIRROR_REFUSED;
            snprintf(rows[i].why, sizeof rows[i].why, "%s", why);
            continue;
        }
        while (end < n && !sought && !poison_of(s, records[end], &rows[end]))
            end++;
        if (write_some(s, &rows[i], end - i, whole, e) != 0)
            return -1;
    }
    return 0;
}

void settle_revert(struct record *r)
{
    r->state = r->safe;
    clear_pending(r);
}

int settle_write_one(struct settle *s, struct record *r, bool *refused, const char **why, struct err *e)
{
    struct mirror_row *row = arena_alloc(s->arena, sizeof *row);
    *refused = false;
    if (r->pending == CONFLICT_ROW_NONE)
        return 0;
    settle_row(s, r, row);
    if (settle_write(s, row, &r, 1, false, e) != 0)
        return -1;
    *refused = row->outcome != MIRROR_WRITTEN;
    *why = row->why;
    if (!*refused)
        settle_written(r, row);
    return 0;
}
