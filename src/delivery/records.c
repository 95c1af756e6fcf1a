/*
 * Records mode: mirror the state. Every change goes through the conflict check, record by record.
 *
 * One batch, in this order, so that dying anywhere loses nothing and counts nothing twice (I4, I7, I9):
 *   1. decide in memory and write rows, in a transaction of the target;
 *   2. commit to our store what is parked, or is no more, and what is owed;
 *   3. commit the target: rows, states, cursor and totals;
 *   4. commit cursor and totals to our store.
 * Between 3 and 4 the target is ahead: at the next open the store's record follows it (authority.h).
 */
#include "delivery/records.h"

#include "delivery/authority.h"
#include "delivery/redeliver.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"

enum { FORGET_MOST = 500 };

/* --- life ----------------------------------------------------------------------------------------- */

static void *records_new(struct delivery_loop *d)
{
    struct records *r = xcalloc(1, sizeof *r);
    r->ops = mirror_ops_of(d->options.sink->kind);
    r->mirror = r->ops->new (d->options.sink);
    r->map = map_new(d->options.sink);
    batch_init(&r->ahead, &d->options);
    return r;
}

static void records_interrupt(struct delivery_loop *d)
{
    struct records *r = d->target;
    r->ops->interrupt(r->mirror);
}

static void records_close(struct delivery_loop *d)
{
    struct records *r = d->target;
    r->ops->close(r->mirror);
    tables_forget(&r->tables);
}

static void records_free(struct delivery_loop *d)
{
    struct records *r = d->target;
    r->ops->free(r->mirror);
    map_free(r->map);
    batch_release(&r->ahead);
    tables_release(&r->tables);
    noted_release(&r->noted);
    noted_release(&r->late_noted);
    poison_release(&r->poison);
    poison_release(&r->late_poison);
    buf_release(&r->remarks.notice);
    buf_release(&r->remarks.odd);
    free(r);
}

/* SIGHUP: nothing of a database is rotated. */
static int records_reopen(struct delivery_loop *d, struct err *e)
{
    (void)d;
    (void)e;
    return 0;
}

/* --- deciding and writing -------------------------------------------------------------------------- */

static int prepare_tables(struct records *r, struct err *why)
{
    for (size_t i = 0; i < r->tables.n; i++) {
        if (!r->tables.tables[i] || !r->tables.tables[i]->used ||
            table_prepare(r->tables.tables[i], r->ops, r->mirror, &r->remarks, why) == 0)
            continue;
        if (why->class == ERR_REJECTED) /* a right is missing; here it does not mean that another took over */
            why->class = ERR_CONFIG;
        return -1;
    }
    return 0;
}

/* Versions of several orgs can not be compared, so there is no horizon for them. */
static bool has_horizon(const struct records *r)
{
    for (size_t i = 0; i < r->pieces.n_mapped; i++)
        if (r->pieces.mapped[i].what == MAPPED_CHANGE &&
            !horizon_is_of(&r->horizon, r->pieces.mapped[i].d->source->org_id))
            return false;
    return !version_is_none(&r->below);
}

/* Fields and rules, never a value: a log is read by more people than the target. */
static void say_tally(struct delivery_loop *d, const struct tally *t, const char *what)
{
    struct buf text = BUF_INIT;
    tally_text(t, &text);
    if (t->n)
        log_warn(d->subject, "%zu %s: %s", t->n, what, (char *)text.data);
    buf_release(&text);
}

static void say_tallies(struct delivery_loop *d)
{
    struct records *r = d->target;
    say_tally(d, &r->pieces.cut, "values were cut or emptied, as configured (on_too_long, on_error)");
    say_tally(d, &r->pieces.missed,
              "long texts came as differences that could not be applied, and are to be re-read");
}

/* A settle_result, or -1 with why: the target failed. */
static int write_target(struct delivery_loop *d, struct err *why)
{
    struct records *r = d->target;
    struct batch *b = &d->batch;
    struct poison *poison = b->late ? &r->late_poison : &r->poison;
    struct settle s = {.ops = r->ops,
                       .mirror = r->mirror,
                       .pieces = &r->pieces,
                       .arena = &b->arena,
                       .poison = poison,
                       .meanwhile = b->late ? NULL : records_read_ahead,
                       .context = d,
                       /* letters are parked already: to leave them so takes no proof */
                       .wrote = b->late != NULL,
                       .atomic = d->options.sink->transactions == TRANSACTIONS_ATOMIC};
    pieces_find(&r->pieces, b, r->horizon.raise, r->map, &r->tables, d->subject);
    const bool horizon = has_horizon(r);
    if (horizon)
        s.horizon = r->below;
    poison_of_batch(poison, b->late ? b->events[0].seq : d->record.cursor);
    if (r->ops->begin(r->mirror, why) != 0 || prepare_tables(r, why) != 0) {
        poison_forget(poison);
        return -1;
    }
    pieces_map(&r->pieces, b);
    if (settle_load(&s, why) != 0) {
        poison_forget(poison);
        return -1;
    }
    int rc = settle_pieces(&s, why);
    if (rc < 0) {
        poison_failed(poison);
        if (poison_is_near(poison))
            d->failures = 0;
    }
    if (rc == SETTLE_DONE && r->forgetting && horizon) {
        size_t n;
        if (r->ops->forget(r->mirror, r->below.epoch, r->below.commit, FORGET_MOST, &n, why) != 0)
            return -1;
        r->forgetting = n == FORGET_MOST;
    }
    if (rc == SETTLE_DONE)
        say_tallies(d);
    return rc;
}

/* --- what became of it ------------------------------------------------------------------------------ */

/* Per event its worst outcome. */
static enum outcome *judge_events(struct delivery_loop *d)
{
    struct records *r = d->target;
    struct batch *b = &d->batch;
    enum outcome *outcomes = arena_alloc(&b->arena, (b->n_events + 1) * sizeof *outcomes);
    for (size_t i = 0; i < b->n_events; i++)
        outcomes[i] = b->fates[i] == FATE_FILTERED ? OUTCOME_FILTERED
                      : b->fates[i] == FATE_PARKED ? OUTCOME_PARKED
                                                   : OUTCOME_DELIVERED;
    for (size_t i = 0; i < r->pieces.n_mapped; i++)
        if (r->pieces.mapped[i].outcome > outcomes[r->pieces.mapped[i].event])
            outcomes[r->pieces.mapped[i].event] = r->pieces.mapped[i].outcome;
    for (size_t i = 0; i < r->pieces.n; i++)
        if (r->pieces.pieces[i].outcome > outcomes[r->pieces.pieces[i].of->event])
            outcomes[r->pieces.pieces[i].of->event] = r->pieces.pieces[i].outcome;
    return outcomes;
}

static void count_events(struct sink_record *r, const struct batch *b, const enum outcome *outcomes)
{
    for (size_t i = 0; i < b->n_events; i++) {
        if (b->events[i].seq <= r->redeliver_to) /* in the totals already */
            r->redelivered += outcomes[i] == OUTCOME_DELIVERED;
        else if (outcomes[i] == OUTCOME_DELIVERED)
            r->delivered++;
        else if (outcomes[i] == OUTCOME_SUPERSEDED)
            r->superseded++;
        else if (outcomes[i] == OUTCOME_FILTERED)
            r->filtered++;
        else
            r->parked++;
    }
    r->cursor += b->n_events;
    redeliver_finish(r);
}

static void count_latency(struct delivery_loop *d, const enum outcome *outcomes)
{
    const int64_t now = clock_wall_ms();
    size_t di = 0;
    for (size_t i = 0; i < d->batch.n_events; i++) {
        histogram_add(&d->latency.since_received, now - d->batch.events[i].received_ms);
        if (d->batch.fates[i] != FATE_DELIVER)
            continue;
        const int64_t stamp = change_committed_ms(d->batch.deliveries[di++].ch);
        if (outcomes[i] == OUTCOME_DELIVERED && stamp > 0)
            histogram_add(&d->latency.since_committed, now - stamp);
    }
}

/* --- one batch -------------------------------------------------------------------------------------- */

/* Nothing of the batch is settled. */
void records_give_up(struct delivery_loop *d, const struct err *why)
{
    struct records *r = d->target;
    r->ops->rollback(r->mirror);
    d->record.retries += d->batch.n_events;
    r->fenced = why->class == ERR_REJECTED;
    if (!r->fenced) {
        loop_fail_target(d, why);
        return;
    }
    records_close(d);
    d->open = false;
    loop_set_state(d, DELIVERY_REFUSED, "%s; once the other is gone: SIGHUP, or start again", why->text);
}

/* True: it is to be raised, or given up. */
static bool see_horizon(struct delivery_loop *d, uint64_t cursor)
{
    struct records *r = d->target;
    const bool several = r->horizon.several;
    for (size_t i = 0; i < r->pieces.n_mapped; i++)
        if (r->pieces.mapped[i].what == MAPPED_CHANGE)
            horizon_see(&r->horizon, r->pieces.mapped[i].d->source->org_id,
                        &r->pieces.mapped[i].change.version,
                        r->pieces.mapped[i].d->ch->header.commit_timestamp);
    return horizon_note(&r->horizon, cursor) || r->horizon.several != several;
}

/* Rows, states, cursor and totals in one commit of the target, then cursor and totals in one of ours. */
static int commit_both(struct delivery_loop *d, const enum outcome *outcomes, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    struct buf state = BUF_INIT;
    struct store_txn txn;
    struct sink_record next = d->record;
    next.state = (struct buf)BUF_INIT;
    count_events(&next, &d->batch, outcomes);
    const bool noted = see_horizon(d, next.cursor);
    horizon_write(&r->horizon, &next.state);
    authority_state(&next, authority_mark(&d->batch.events[d->batch.n_events - 1]), records_newest_epoch(r),
                    &state);
    KILLPOINT("records.before_commit");
    int rc = r->ops->commit(r->mirror, store_id(d->options.store), next.cursor, buf_span(&state), &why);
    KILLPOINT("records.after_commit");
    poison_forget(&r->poison);
    buf_release(&state);
    if (rc != 0) {
        sink_record_release(&next);
        records_give_up(d, &why);
        return 0;
    }
    d->failures = 0;
    noted_clear(&r->noted);
    const bool again = d->record.redeliver_to != 0;
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(&next);
        return -1;
    }
    if (loop_commit_record(d, &next, &txn, e) != 0)
        return -1;
    if (!again) /* how long ago it first came says nothing */
        count_latency(d, outcomes);
    return noted ? records_raise_horizon(d, e) : 0;
}

int records_settle(struct delivery_loop *d, const enum outcome **outcomes, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    if (records_raise_epochs(d, e) != 0)
        return -1;
    int rc = write_target(d, &why);
    if (rc < 0) {
        records_give_up(d, &why);
        return 0;
    }
    if (rc == SETTLE_AGAIN) {
        r->ops->rollback(r->mirror);
        tables_forget(&r->tables);
        return 0;
    }
    *outcomes = judge_events(d);
    struct noted *noted = d->batch.late ? &r->late_noted : &r->noted;
    if (note_batch(d, &r->pieces, *outcomes, &r->remarks, noted, e) != 0) {
        r->ops->rollback(r->mirror);
        return -1;
    }
    return 1;
}

static int records_deliver(struct delivery_loop *d, struct err *e)
{
    const enum outcome *outcomes;
    if (records_read(d, e) != 0)
        return -1;
    if (d->batch.n_events == 0)
        return 0;
    if (d->record.redeliver_to)
        redeliver_mark(&d->batch, &d->record);
    d->last_submit_ms = clock_mono_ms();
    int rc = records_settle(d, &outcomes, e);
    return rc == 1 ? commit_both(d, outcomes, e) : rc;
}

const struct delivery_mode delivery_records_mode = {
    .new = records_new,
    .open = records_open,
    .reopen = records_reopen,
    .deliver = records_deliver,
    .redrive = records_redrive,
    .interrupt = records_interrupt,
    .close = records_close,
    .free = records_free,
};
