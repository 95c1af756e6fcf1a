/*
 * Events mode: append a log. Every event reaches the sink once, in journal order.
 */
#include "delivery/late.h"
#include "delivery/loop.h"
#include "delivery/redeliver.h"
#include "delivery/withdraw.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "store/dead_letters.h"
#include "store/incidents.h"

#include <inttypes.h>
#include <stdio.h>

struct events {
    const struct sink_ops *ops;
    struct sink *sink;
};

static void *events_new(struct delivery_loop *d)
{
    struct events *ev = xcalloc(1, sizeof *ev);
    ev->ops = sink_ops_of(d->options.sink->kind);
    ev->sink = ev->ops->new (d->options.sink);
    return ev;
}

static void events_close(struct delivery_loop *d)
{
    struct events *ev = d->target;
    ev->ops->close(ev->sink);
}

static void events_free(struct delivery_loop *d)
{
    struct events *ev = d->target;
    ev->ops->free(ev->sink);
    free(ev);
}

/* --- opening -------------------------------------------------------------------------------------- */

/* The target is open, but may not hold what it should: kept until a person has looked. */
static int record_doubt(struct delivery_loop *d, struct store_txn *txn, const struct err *doubt,
                        struct err *e)
{
    struct incident incident = {.state = INCIDENT_OPEN, .opened_ms = clock_wall_ms()};
    snprintf(incident.subject, sizeof incident.subject, "%s", d->options.sink->name);
    snprintf(incident.kind, sizeof incident.kind, "output_differs");
    snprintf(incident.policy, sizeof incident.policy, "went_on");
    snprintf(incident.text, sizeof incident.text, "%s", doubt->text);
    log_error(d->subject, "%s", doubt->text);
    return incident_open(txn, &incident, e);
}

/*
 * What the sink knows after opening is committed before it writes anything: else a crash after the first
 * write would leave lines in the target that nobody knows to be ours.
 */
static int commit_opened(struct delivery_loop *d, const struct err *doubt, struct err *e)
{
    struct events *ev = d->target;
    struct sink_record next = d->record;
    struct store_txn txn;
    next.state = (struct buf)BUF_INIT;
    ev->ops->state(ev->sink, &next.state);
    if (doubt->class == ERR_NONE && span_equal(buf_span(&next.state), buf_span(&d->record.state))) {
        sink_record_release(&next);
        return 0;
    }
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(&next);
        return -1;
    }
    if (doubt->class != ERR_NONE && record_doubt(d, &txn, doubt, e) != 0) {
        store_abort(&txn);
        sink_record_release(&next);
        return -1;
    }
    return loop_commit_record(d, &next, &txn, e);
}

static int events_open(struct delivery_loop *d, struct err *e)
{
    struct events *ev = d->target;
    struct err why = ERR_INIT;
    struct buf notice = BUF_INIT;
    struct sink_memory memory = {d->record.cursor, buf_span(&d->record.state)};
    if (ev->ops->open(ev->sink, &memory, &notice, &why) == 0) {
        d->open = true;
        loop_set_state(d, DELIVERY_RUNNING, "%s", "");
    }
    if (notice.len)
        log_warn(d->subject, "%s", (char *)notice.data);
    buf_release(&notice);
    if (d->open)
        return commit_opened(d, &why, e);
    loop_fail_target(d, &why);
    return 0;
}

static int events_reopen(struct delivery_loop *d, struct err *e)
{
    struct events *ev = d->target;
    struct err why = ERR_INIT;
    struct buf notice = BUF_INIT;
    int rc = ev->ops->reopen ? ev->ops->reopen(ev->sink, &notice, &why) : 0;
    if (notice.len)
        log_info(d->subject, "%s", (char *)notice.data);
    buf_release(&notice);
    if (rc == 0)
        return commit_opened(d, &why, e);
    loop_fail_target(d, &why);
    return 0;
}

/* --- one batch ------------------------------------------------------------------------------------ */

static int park_rejected(struct delivery_loop *d, struct store_txn *txn, const struct sink_batch *sb,
                         size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (sb->deliveries[i].outcome != SINK_REJECTED)
            continue;
        struct dead_letter dead = {.sink = span_of_str(d->options.sink->name),
                                   .status = DEAD_LETTER_FINAL,
                                   .parked_ms = clock_wall_ms(),
                                   .reason = span_of_str("rejected"),
                                   .detail = span_of_str(sb->reason.text),
                                   .ev = *sb->deliveries[i].ev};
        if (dead_letter_put(txn, &dead, e) != 0)
            return -1;
        log_warn(d->subject, "parked seq %" PRIu64 ": %s", dead.ev.seq, sb->reason.text);
    }
    return 0;
}

struct settled {
    const struct delivery_loop *d;
    const enum sink_outcome *outcomes; /* per event of the batch; SINK_UNREPORTED: not submitted */
};

static bool is_parked_now(const void *ctx, size_t event, struct span record_id)
{
    const struct settled *s = ctx;
    const struct batch *b = &s->d->batch;
    if (b->fates[event] == FATE_FILTERED) /* a re-delivery leaves it as it is */
        return b->events[event].seq <= s->d->record.redeliver_to;
    return record_id.n == 0 && (b->fates[event] == FATE_PARKED || s->outcomes[event] == SINK_REJECTED);
}

/* What an earlier try had parked, and this one settles otherwise. */
static int withdraw_stale(struct delivery_loop *d, struct store_txn *txn, const struct sink_batch *sb,
                          size_t n, struct err *e)
{
    struct batch *b = &d->batch;
    struct withdrawn stale;
    enum sink_outcome *outcomes = arena_alloc(&b->arena, n * sizeof *outcomes);
    for (size_t i = 0, di = 0; i < n; i++)
        outcomes[i] = b->fates[i] == FATE_DELIVER ? sb->deliveries[di++].outcome : SINK_UNREPORTED;
    const struct settled settled = {d, outcomes};
    if (withdraw_find(d, txn, n, is_parked_now, &settled, &stale, e) != 0)
        return -1;
    return withdraw_remove(d, txn, &stale, e);
}

/* Add the first n events of the batch to the record. `di` counts their deliveries. */
static size_t count_events(struct sink_record *r, const struct batch *b, const struct sink_batch *sb,
                           size_t n)
{
    size_t di = 0;
    for (size_t i = 0; i < n; i++) {
        if (b->events[i].seq <= r->redeliver_to) /* in the totals already */
            r->redelivered += b->fates[i] == FATE_DELIVER && sb->deliveries[di].outcome == SINK_DELIVERED;
        else if (b->fates[i] == FATE_FILTERED)
            r->filtered++;
        else if (b->fates[i] == FATE_PARKED || sb->deliveries[di].outcome == SINK_REJECTED)
            r->parked++;
        else
            r->delivered++;
        di += b->fates[i] == FATE_DELIVER;
    }
    r->cursor += n;
    redeliver_finish(r);
    return di;
}

/* Cursor, totals and the sink's memory in ONE commit (I4, I9). */
static int settle(struct delivery_loop *d, const struct sink_batch *sb, size_t n_events, struct err *e)
{
    struct events *ev = d->target;
    struct sink_record next = d->record;
    next.state = (struct buf)BUF_INIT;
    size_t n_deliveries = count_events(&next, &d->batch, sb, n_events);
    if (d->open)
        ev->ops->state(ev->sink, &next.state);
    else
        buf_add_span(&next.state, buf_span(&d->record.state));
    struct store_txn txn;
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(&next);
        return -1;
    }
    if (withdraw_stale(d, &txn, sb, n_events, e) != 0 || park_rejected(d, &txn, sb, n_deliveries, e) != 0) {
        store_abort(&txn);
        sink_record_release(&next);
        return -1;
    }
    return loop_commit_record(d, &next, &txn, e);
}

/* How many events, from the first on, are settled: up to the first delivery that must be tried again. */
static size_t settled_prefix(const struct batch *b, const struct sink_batch *sb)
{
    size_t di = 0;
    for (size_t i = 0; i < b->n_events; i++) {
        if (b->fates[i] != FATE_DELIVER)
            continue;
        enum sink_outcome outcome = sb->deliveries[di++].outcome;
        if (outcome == SINK_UNREPORTED)
            BUG("sink %s reported no outcome", b->options->sink->name);
        if (outcome != SINK_DELIVERED && outcome != SINK_REJECTED)
            return i;
    }
    return b->n_events;
}

static int events_deliver(struct delivery_loop *d, struct err *e)
{
    struct events *ev = d->target;
    struct batch *b = &d->batch;
    if (batch_read(b, d->record.cursor + 1, e) != 0)
        return -1;
    if (b->n_events == 0)
        return 0;
    const bool again = d->record.redeliver_to != 0;
    if (again)
        redeliver_mark(b, &d->record);
    struct sink_batch sb = {.deliveries = b->deliveries, .n = b->n_deliveries, .reason = ERR_INIT};
    d->last_submit_ms = clock_mono_ms();
    KILLPOINT("delivery.before_submit");
    if (sb.n)
        ev->ops->submit(ev->sink, &sb);
    KILLPOINT("delivery.after_submit");
    size_t n = settled_prefix(b, &sb);
    if (n < b->n_events)
        d->record.retries += b->n_events - n;
    if (n > 0) {
        d->failures = 0;
        if (settle(d, &sb, n, e) != 0)
            return -1;
        if (!again) /* how long ago it first came says nothing */
            latency_count(&d->latency, b, &sb, n, clock_wall_ms());
    }
    if (n < b->n_events)
        loop_fail_target(d, &sb.reason);
    return 0;
}

/* --- dead letters that are tried again ---------------------------------------------------------------- */

static int settle_late(struct delivery_loop *d, const struct sink_batch *sb, size_t n, struct err *e)
{
    struct events *ev = d->target;
    struct batch *b = &d->batch;
    struct sink_record next = d->record;
    struct store_txn txn;
    int rc = 0;
    next.state = (struct buf)BUF_INIT;
    if (store_begin(d->options.store, true, &txn, e) != 0)
        return -1;
    for (size_t i = 0, di = 0; rc == 0 && i < n; i++) {
        const char *reason = b->late[i].reason, *detail = b->late[i].detail;
        if (b->fates[i] == FATE_DELIVER && sb->deliveries[di++].outcome == SINK_REJECTED) {
            reason = "rejected";
            detail = sb->reason.text;
        }
        int settled = late_settle(b, &txn, i, reason, detail, e);
        next.redriven += settled == 1;
        rc = settled < 0 ? -1 : 0;
    }
    if (rc != 0) {
        store_abort(&txn);
        return -1;
    }
    ev->ops->state(ev->sink, &next.state);
    return loop_commit_record(d, &next, &txn, e);
}

static int events_redrive(struct delivery_loop *d, struct err *e)
{
    struct events *ev = d->target;
    struct batch *b = &d->batch;
    const unsigned orders = d->letter_orders;
    if (late_read(b, d->record.cursor, e) != 0)
        return -1;
    if (b->n_events == 0) {
        loop_no_letters(d, orders);
        return 0;
    }
    struct sink_batch sb = {.deliveries = b->deliveries, .n = b->n_deliveries, .reason = ERR_INIT};
    KILLPOINT("redrive.before_submit");
    if (sb.n)
        ev->ops->submit(ev->sink, &sb);
    KILLPOINT("redrive.after_submit");
    const size_t n = settled_prefix(b, &sb);
    if (n > 0) {
        d->failures = 0;
        if (settle_late(d, &sb, n, e) != 0)
            return -1;
    }
    if (n < b->n_events) {
        d->record.retries += b->n_events - n;
        loop_fail_target(d, &sb.reason);
    }
    return 0;
}

const struct delivery_mode delivery_events_mode = {
    .new = events_new,
    .open = events_open,
    .reopen = events_reopen,
    .deliver = events_deliver,
    .redrive = events_redrive,
    .close = events_close,
    .free = events_free,
};
