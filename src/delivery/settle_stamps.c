/*
 * The target's own last-modified column, where the target fills it: a default, a trigger, on our writes as on others'.
 *
 * What it says after a write of ours is not somebody's edit, however much later than the change it is. So it is read
 * back, in the transaction of the rows, and goes into the state as a bound: up to there, it was we. The state is
 * written behind the row, which the target may answer with a new stamp: hence the margin, and another look. Rejected:
 * comparing with the change's commit time alone (who lags behind the org would take every write of his own for an edit,
 * and lose what came next), and with our clock (it is not the target's).
 *
 * Whoever edits a row less than the margin after we wrote it is not told from us.
 */
#include "delivery/settle.h"

enum { MARGIN_MS = 1000, MOST_LOOKS = 5 };

bool settle_is_ours(const struct record *r, int64_t modified_ms)
{
    const struct record_state *held = &r->safe;
    if (held->bound_ms && modified_ms <= held->bound_ms)
        return true;
    /* A column that we fill tells exactly; another one only by being later than what we wrote. */
    return r->table->modified != NO_COLUMN ? modified_ms == held->stamp_ms : modified_ms <= held->stamp_ms;
}

static bool is_looked_at(const struct record *r, const struct table *t)
{
    return r->table == t && r->written && r->held.has_row && !r->held.deleted;
}

/* The rows of one table that the target has stamped anew, with states that know of it. */
static int stamp_table(struct settle *s, const struct table *t, int64_t margin_ms, size_t *n_stamped,
                       struct err *e)
{
    const struct pieces *p = s->pieces;
    struct record **records = arena_alloc(s->arena, (p->n_records + 1) * sizeof *records);
    struct span *ids = arena_alloc(s->arena, (p->n_records + 1) * sizeof *ids);
    size_t n = 0, n_rows = 0;
    *n_stamped = 0;
    for (size_t i = 0; i < p->n_records; i++)
        if (is_looked_at(p->records[i], t)) {
            records[n] = p->records[i];
            ids[n++] = p->records[i]->id;
        }
    if (n == 0)
        return 0;
    struct mirror_held *held = arena_alloc(s->arena, n * sizeof *held);
    struct mirror_row *rows = arena_alloc(s->arena, n * sizeof *rows);
    if (s->ops->load(s->mirror, t->mirror, ids, n, s->arena, held, e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct record *r = records[i];
        const bool same = r->had_modified && r->had_modified_ms == held[i].modified_ms;
        if (!held[i].has_modified || same || settle_is_ours(r, held[i].modified_ms))
            continue;
        r->state.bound_ms = held[i].modified_ms + margin_ms;
        r->pending = CONFLICT_ROW_STATE;
        settle_row(s, r, &rows[n_rows]);
        records[n_rows++] = r;
    }
    if (n_rows == 0)
        return 0;
    if (settle_write(s, rows, records, n_rows, false, e) != 0)
        return -1;
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].outcome == MIRROR_WRITTEN)
            settle_written(records[i], &rows[i]);
        else
            settle_revert(records[i]);
    *n_stamped = n_rows;
    return 0;
}

static int look_at_table(struct settle *s, const struct table *t, struct err *e)
{
    const struct pieces *p = s->pieces;
    int64_t margin_ms = MARGIN_MS;
    size_t stamped = 1;
    for (int look = 0; stamped && look < MOST_LOOKS; look++, margin_ms *= 4)
        if (stamp_table(s, t, margin_ms, &stamped, e) != 0)
            return -1;
    for (size_t i = 0; i < p->n_records; i++)
        if (p->records[i]->table == t)
            p->records[i]->written = false;
    return 0;
}

int settle_stamps(struct settle *s, struct err *e)
{
    const struct pieces *p = s->pieces;
    for (size_t i = 0; i < p->n_records; i++) {
        const struct record *r = p->records[i];
        if (r->written && r->table->mirror->last_modified && look_at_table(s, r->table, e) != 0)
            return -1;
    }
    return 0;
}
