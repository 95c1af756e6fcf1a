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
#include "delivery/loop.h"

#include "delivery/authority.h"
#include "delivery/horizon.h"
#include "delivery/late.h"
#include "delivery/note.h"
#include "delivery/owed.h"
#include "delivery/redeliver.h"
#include "delivery/settle.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

enum { FENCED_WAIT_MS = 500, FORGET_MOST = 500 };

struct records {
    const struct mirror_ops *ops;
    struct mirror *mirror;
    struct map *map;
    struct tables tables;
    struct batch ahead; /* the next, if it was read already */
    struct pieces pieces;
    struct mirror_remarks remarks;
    struct poison poison, late_poison; /* of batches of the journal, of dead letters */
    bool fenced;                       /* another has taken over: only a person can tell whether it is gone */
    uint64_t head;                     /* of the journal when it last grew … */
    int64_t head_mono_ms;              /* … and when that was */
    struct noted noted, late_noted;
    uint64_t splits;
    struct horizon horizon; /* what it was made of … */
    struct version below;   /* … and the version; VERSION_NONE: none */
    bool forgetting;        /* tombstones below it may be left */
};

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

/* --- opening: fence, read, compare (I7) ------------------------------------------------------------ */

/* Write what the comparison found, with its incident, and take it over. */
static int store_finding(struct delivery_loop *d, struct sink_record *next, const struct authority_finding *f,
                         struct err *e)
{
    struct store_txn txn;
    uint64_t incident;
    bool opened = false;
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(next);
        return -1;
    }
    if (f->kind) {
        char text[400];
        snprintf(text, sizeof text,
                 "%s; what the journal holds is delivered again, the rest is to be re-read", f->text);
        if (owed_incident(&txn, &d->options, f->kind, "redeliver", text, &incident, &opened, e) != 0 ||
            (opened && owed_all(&txn, &d->options, incident, e) != 0)) {
            store_abort(&txn);
            sink_record_release(next);
            return -1;
        }
    }
    KILLPOINT("records.before_authority");
    return loop_commit_record(d, next, &txn, e);
}

static const uint64_t AT_HEAD = UINT64_MAX; /* in place of a seq */

/* The bounds of the journal, and the event it holds at this seq, in the arena; NULL: none. */
static int look_at_journal(struct delivery_loop *d, uint64_t seq, struct arena *a,
                           struct journal_bounds *bounds, struct event_data **event, struct err *e)
{
    struct store_txn txn;
    size_t n = 0;
    *event = NULL;
    if (store_begin(d->options.store, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, bounds, e);
    if (rc == 0 && seq == AT_HEAD)
        seq = bounds->head;
    if (rc == 0 && seq >= bounds->oldest && seq <= bounds->head)
        rc = journal_read(&txn, seq, 1, 1, a, event, &n, e);
    store_abort(&txn);
    if (n == 0)
        *event = NULL;
    return rc;
}

static uint32_t newest_epoch(const struct records *r)
{
    return r->horizon.floor > r->horizon.newest.epoch ? r->horizon.floor : r->horizon.newest.epoch;
}

/* The target is ours from now on, and stands where the record stands. 0, or -1 with why: the target failed. */
static int claim(struct delivery_loop *d, struct err *why)
{
    struct records *r = d->target;
    struct buf state = BUF_INIT;
    authority_state(&d->record, 0, newest_epoch(r), &state);
    int rc = r->ops->begin(r->mirror, why);
    if (rc == 0)
        rc = r->ops->commit(r->mirror, store_id(d->options.store), d->record.cursor, buf_span(&state), why);
    buf_release(&state);
    return rc;
}

/* 0: as the store says or as the target says, it is known where to go on; 1: the target failed; -1: the store. */
static int compare(struct delivery_loop *d, const struct mirror_authority *held, struct err *why,
                   struct err *e)
{
    struct journal_bounds bounds;
    struct authority_finding finding;
    struct sink_record next = d->record;
    struct event_data *last; /* what the target says it had last, as our journal holds it */
    if (look_at_journal(d, held->known ? held->cursor : 0, &d->batch.arena, &bounds, &last, e) != 0)
        return -1;
    const uint64_t mark = last ? authority_mark(last) : 0;
    next.state = (struct buf)BUF_INIT;
    buf_add_span(&next.state, buf_span(&d->record.state));
    enum authority_verdict verdict = authority_judge(held, store_id(d->options.store), &bounds, mark, &next,
                                                     &finding);
    if (finding.text[0])
        log_warn(d->subject, "%s", finding.text);
    if (verdict == AUTHORITY_AGREES) {
        sink_record_release(&next);
        return 0;
    }
    if (finding.epoch) {
        struct records *r = d->target;
        r->horizon.floor = finding.epoch;
        buf_clear(&next.state);
        horizon_write(&r->horizon, &next.state);
    }
    if (store_finding(d, &next, &finding, e) != 0)
        return -1;
    return verdict == AUTHORITY_INCIDENT && claim(d, why) != 0 ? 1 : 0;
}

static int know_fields(struct records *r, struct err *why)
{
    struct arena a = ARENA_INIT;
    struct mirror_field *fields;
    size_t n;
    int rc = r->ops->fields(r->mirror, &a, &fields, &n, why);
    if (rc == 0)
        map_known(r->map, fields, n);
    arena_release(&a);
    return rc;
}

static int raise_horizon(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct journal_bounds bounds;
    struct event_data *none;
    if (look_at_journal(d, 0, &d->batch.arena, &bounds, &none, e) != 0)
        return -1;
    const struct version below = horizon_at(&r->horizon, bounds.oldest);
    r->forgetting |= version_compare(&below, &r->below) != 0;
    r->below = below;
    return 0;
}

static int records_open(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    struct buf notice = BUF_INIT;
    struct mirror_authority held = {.known = false};
    if (r->fenced && !atomic_exchange(&d->reopen, false)) {
        loop_wait(d, UINT64_MAX, FENCED_WAIT_MS);
        return 0;
    }
    r->fenced = false;
    horizon_read(&r->horizon, buf_span(&d->record.state));
    int rc = r->ops->open(r->mirror, &notice, &why);
    if (notice.len)
        log_info(d->subject, "%s", (char *)notice.data);
    buf_release(&notice);
    if (rc == 0)
        rc = r->ops->fence(r->mirror, &held, &why);
    if (rc == 0)
        rc = know_fields(r, &why);
    KILLPOINT("records.after_fence");
    if (rc == 0) {
        const uint64_t cursor = d->record.cursor;
        int compared = compare(d, &held, &why, e);
        if (compared < 0)
            return -1;
        rc = compared;
        if (d->record.cursor > cursor) /* what was lost was the answer */
            d->failures = 0;
    }
    if (rc != 0) {
        loop_fail_target(d, &why);
        return 0;
    }
    d->open = true;
    loop_set_state(d, DELIVERY_RUNNING, "%s", "");
    return raise_horizon(d, e);
}

/* SIGHUP: nothing of a database is rotated. */
static int records_reopen(struct delivery_loop *d, struct err *e)
{
    (void)d;
    (void)e;
    return 0;
}

/* --- reading: whole Salesforce transactions -------------------------------------------------------- */

static bool is_silent(struct records *r, uint64_t head, int64_t *left_ms)
{
    const int64_t now = clock_mono_ms();
    if (head != r->head || r->head_mono_ms == 0) {
        r->head = head;
        r->head_mono_ms = now;
    }
    *left_ms = r->head_mono_ms + TRANSACTION_SILENCE_MS - now;
    return *left_ms <= 0;
}

enum { FIRST_BYTES = 4 << 20 };

/*
 * The batch that follows the one in hand, while the target is at work on that. Only where the journal holds all of it
 * already: what is read now is what would be read then.
 */
static void read_ahead(void *context)
{
    struct delivery_loop *d = context;
    struct records *r = d->target;
    const uint64_t last = d->batch.events[d->batch.n_events - 1].seq;
    const size_t few = (size_t)d->options.sink->batch_events;
    r->ahead.n_events = 0;
    if (loop_wait(d, 0, 0) < last + few)
        return;
    r->ahead.most_events = few;
    r->ahead.most_bytes = FIRST_BYTES;
    batch_read_ahead(&r->ahead, last + 1);
}

/* Whether it is what comes now; the other way round, its memory is that of the next. */
static bool take_ahead(struct delivery_loop *d)
{
    struct records *r = d->target;
    if (r->ahead.n_events == 0 || r->ahead.events[0].seq != d->record.cursor + 1)
        return false;
    const struct batch done = d->batch;
    d->batch = r->ahead;
    d->batch.parked_through = done.parked_through;
    r->ahead = done;
    r->ahead.n_events = 0;
    return true;
}

static int read_once(struct delivery_loop *d, size_t most_events, size_t most_bytes, struct err *e)
{
    d->batch.most_events = most_events;
    d->batch.most_bytes = most_bytes;
    return batch_read(&d->batch, d->record.cursor + 1, e);
}

/* From the cursor to the end of a transaction; n_events 0: not now. */
static int read_batch(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct batch *b = &d->batch;
    const bool all = d->options.sink->transactions == TRANSACTIONS_ATOMIC;
    const size_t few = (size_t)d->options.sink->batch_events;
    for (int more = 0; more < 2; more++) {
        int64_t left;
        const uint64_t head = loop_wait(d, 0, 0);
        const bool silent = is_silent(r, head, &left);
        const size_t most = more && few < TRANSACTION_MOST_EVENTS ? TRANSACTION_MOST_EVENTS : few;
        if (!(more == 0 && take_ahead(d)) &&
            read_once(d, most, more ? TRANSACTION_MOST_BYTES : FIRST_BYTES, e) != 0)
            return -1;
        if (b->n_events == 0)
            return 0;
        const bool at_head = b->events[b->n_events - 1].seq >= head;
        const size_t n = transaction_boundary(b, at_head && silent && b->events[b->n_events - 1].seq == head,
                                              all);
        if (n > 0) {
            batch_cut(b, n);
            return 0;
        }
        if (at_head && b->n_events < most) {
            loop_wait(d, head, left > 0 ? left : 1);
            batch_cut(b, 0);
            return 0;
        }
    }
    r->splits++;
    log_warn(d->subject,
             "a transaction of more than %zu events from seq %" PRIu64 " on is written in parts (%" PRIu64
             " so far)",
             b->n_events, b->events[0].seq, r->splits);
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
                       .meanwhile = b->late ? NULL : read_ahead,
                       .context = d,
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
static void give_up(struct delivery_loop *d, const struct err *why)
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
    authority_state(&next, authority_mark(&d->batch.events[d->batch.n_events - 1]), newest_epoch(r), &state);
    KILLPOINT("records.before_commit");
    int rc = r->ops->commit(r->mirror, store_id(d->options.store), next.cursor, buf_span(&state), &why);
    KILLPOINT("records.after_commit");
    poison_forget(&r->poison);
    buf_release(&state);
    if (rc != 0) {
        sink_record_release(&next);
        give_up(d, &why);
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
    return noted ? raise_horizon(d, e) : 0;
}

/*
 * Another store had written versions of an epoch that ours has not come to: those of ours would lose for ever. The
 * newest event held tells where it stands.
 */
static int raise_epochs(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct journal_bounds bounds;
    struct event_data *newest;
    if (r->horizon.floor == 0)
        return 0;
    if (look_at_journal(d, AT_HEAD, &d->batch.arena, &bounds, &newest, e) != 0)
        return -1;
    if (newest)
        horizon_raise(&r->horizon, newest->epoch);
    return 0;
}

static int records_deliver(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    if (read_batch(d, e) != 0)
        return -1;
    if (d->batch.n_events == 0)
        return 0;
    if (raise_epochs(d, e) != 0)
        return -1;
    if (d->record.redeliver_to)
        redeliver_mark(&d->batch, &d->record);
    d->last_submit_ms = clock_mono_ms();
    int rc = write_target(d, &why);
    if (rc < 0) {
        give_up(d, &why);
        return 0;
    }
    if (rc == SETTLE_AGAIN) {
        r->ops->rollback(r->mirror);
        tables_forget(&r->tables);
        return 0;
    }
    const enum outcome *outcomes = judge_events(d);
    if (note_batch(d, &r->pieces, outcomes, &r->remarks, &r->noted, e) != 0) {
        r->ops->rollback(r->mirror);
        return -1;
    }
    return commit_both(d, outcomes, e);
}

/* --- dead letters that are tried again ------------------------------------------------------------------ */

/* Why the event of a letter is refused again: of its first piece that is, or of the event. */
static void why_refused(const struct records *r, const struct batch *b, size_t event, const char **reason,
                        const char **detail)
{
    *reason = b->late[event].reason;
    *detail = b->late[event].detail;
    for (size_t i = 0; i < r->pieces.n_mapped && !*reason; i++)
        if (r->pieces.mapped[i].event == event && r->pieces.mapped[i].outcome == OUTCOME_PARKED) {
            *reason = r->pieces.mapped[i].reason;
            *detail = r->pieces.mapped[i].why;
        }
    for (size_t i = 0; i < r->pieces.n && !*reason; i++)
        if (r->pieces.pieces[i].of->event == event && r->pieces.pieces[i].outcome == OUTCOME_PARKED) {
            *reason = r->pieces.pieces[i].reason;
            *detail = r->pieces.pieces[i].detail;
        }
}

static int settle_late(struct delivery_loop *d, const enum outcome *outcomes, struct err *e)
{
    struct records *r = d->target;
    struct batch *b = &d->batch;
    struct sink_record next = d->record;
    struct store_txn txn;
    int rc = 0;
    if (store_begin(d->options.store, true, &txn, e) != 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < b->n_events; i++) {
        const char *reason = NULL, *detail = NULL;
        if (outcomes[i] == OUTCOME_PARKED)
            why_refused(r, b, i, &reason, &detail);
        int settled = late_settle(b, &txn, i, reason, detail, e);
        next.redriven += settled == 1;
        rc = settled < 0 ? -1 : 0;
    }
    if (rc != 0) {
        store_abort(&txn);
        return -1;
    }
    next.state = (struct buf)BUF_INIT;
    buf_add_span(&next.state, buf_span(&d->record.state));
    return loop_commit_record(d, &next, &txn, e);
}

/* The target stands where it stood; its rows have what the letters bring. */
static int commit_late(struct delivery_loop *d, const enum outcome *outcomes, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    struct buf state = BUF_INIT;
    struct journal_bounds bounds;
    struct event_data *last;
    if (look_at_journal(d, d->record.cursor, &d->batch.arena, &bounds, &last, e) != 0) {
        r->ops->rollback(r->mirror);
        return -1;
    }
    authority_state(&d->record, last ? authority_mark(last) : 0, newest_epoch(r), &state);
    KILLPOINT("redrive.before_commit");
    int rc = r->ops->commit(r->mirror, store_id(d->options.store), d->record.cursor, buf_span(&state), &why);
    KILLPOINT("redrive.after_commit");
    poison_forget(&r->late_poison);
    buf_release(&state);
    if (rc != 0) {
        give_up(d, &why);
        return 0;
    }
    d->failures = 0;
    noted_clear(&r->late_noted);
    return settle_late(d, outcomes, e);
}

static int records_redrive(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    const unsigned orders = d->letter_orders;
    if (late_read(&d->batch, d->record.cursor, e) != 0)
        return -1;
    if (d->batch.n_events == 0) {
        loop_no_letters(d, orders);
        return 0;
    }
    if (raise_epochs(d, e) != 0)
        return -1;
    int rc = write_target(d, &why);
    if (rc < 0) {
        give_up(d, &why);
        return 0;
    }
    if (rc == SETTLE_AGAIN) {
        r->ops->rollback(r->mirror);
        tables_forget(&r->tables);
        return 0;
    }
    const enum outcome *outcomes = judge_events(d);
    if (note_batch(d, &r->pieces, outcomes, &r->remarks, &r->late_noted, e) != 0) {
        r->ops->rollback(r->mirror);
        return -1;
    }
    return commit_late(d, outcomes, e);
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
