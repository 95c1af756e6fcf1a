#include "delivery/batch.h"
#include "delivery/latency.h"
#include "delivery/redeliver.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "store/dead_letters.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    IDLE_WAIT_MS = 500,
    BACK_OFF_FIRST_MS = 200,
    BACK_OFF_MOST_MS = 30 * 1000,
    REFUSED_RETRY_MS = 10 * 1000
};

/* An order, from delivery_redeliver to the loop. Lives on the caller's stack; the caller takes it back or
 * waits. */
struct redeliver_call {
    const struct redeliver_request *request;
    struct buf *answer;
    struct err *e;
    int result;
    bool done;
};

struct delivery_loop {
    struct delivery_options options;
    const struct sink_ops *ops;
    struct sink *sink;
    bool open;
    char subject[STORE_MAX_NAME + 8];
    struct sink_record record; /* what the store holds */
    struct batch batch;
    struct latency latency;
    unsigned failures;      /* in a row */
    int64_t last_submit_ms; /* monotonic */
    pthread_t thread;
    bool started;
    atomic_bool stopping, draining, ended, reopen;
    atomic_uint_fast64_t cursor;
    atomic_int_fast64_t beat_mono_ms; /* the last turn */
    pthread_mutex_t lock;             /* view, call */
    struct delivery_view view;
    struct redeliver_call *call; /* nobody has begun with it */
    atomic_bool called;
    pthread_cond_t answered;
};

const char *delivery_state_name(enum delivery_state s)
{
    static const char *const names[] = {[DELIVERY_OPENING] = "opening",
                                        [DELIVERY_RUNNING] = "running",
                                        [DELIVERY_BACKING_OFF] = "backing_off",
                                        [DELIVERY_REFUSED] = "refused",
                                        [DELIVERY_STOPPED] = "stopped"};
    return names[s];
}

static void set_state(struct delivery_loop *d, enum delivery_state state, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* State lives in one field and changes here, which logs old -> new. */
static void set_state(struct delivery_loop *d, enum delivery_state state, const char *fmt, ...)
{
    char reason[sizeof d->view.reason];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&d->lock);
    enum delivery_state old = d->view.state;
    bool same = old == state && strcmp(reason, d->view.reason) == 0;
    if (old != state)
        d->view.since_ms = clock_wall_ms();
    d->view.state = state;
    memcpy(d->view.reason, reason, sizeof reason);
    pthread_mutex_unlock(&d->lock);
    if (same)
        return;
    bool bad = state == DELIVERY_BACKING_OFF || state == DELIVERY_REFUSED;
    log_line(bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, d->subject, "%s -> %s%s%s", delivery_state_name(old),
             delivery_state_name(state), *reason ? ": " : "", reason);
}

static void note_progress(struct delivery_loop *d)
{
    d->cursor = d->record.cursor;
    pthread_mutex_lock(&d->lock);
    d->view.cursor = d->record.cursor;
    d->view.last_progress_mono_ms = clock_mono_ms();
    pthread_mutex_unlock(&d->lock);
}

/* --- the target ----------------------------------------------------------------------------------- */

/* Wait for more than `beyond`, a nudge, or the time; never so long that the loop seems to hang. */
static uint64_t wait_for_journal(struct delivery_loop *d, uint64_t beyond, int64_t ms)
{
    d->beat_mono_ms = clock_mono_ms();
    return journal_signal_wait(d->options.signal, beyond, (int)(ms < IDLE_WAIT_MS ? ms : IDLE_WAIT_MS));
}

static void pause_ms(struct delivery_loop *d, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    while (!d->stopping && !d->called && clock_mono_ms() < until) {
        int64_t left = until - clock_mono_ms();
        /* head can not pass UINT64_MAX: waits for a nudge or the time */
        wait_for_journal(d, UINT64_MAX, left);
    }
}

static void fail_target(struct delivery_loop *d, const struct err *why)
{
    d->ops->close(d->sink);
    d->open = false;
    if (why->class == ERR_REJECTED || why->class == ERR_CONFIG) {
        set_state(d, DELIVERY_REFUSED, "%s", why->text);
        pause_ms(d, REFUSED_RETRY_MS);
        return;
    }
    int64_t ceiling = BACK_OFF_FIRST_MS;
    for (unsigned i = 0; i < d->failures && ceiling < BACK_OFF_MOST_MS; i++)
        ceiling *= 2;
    d->failures++;
    set_state(d, DELIVERY_BACKING_OFF, "%s", why->text);
    pause_ms(d, ceiling / 2 + (int64_t)random_below((uint64_t)ceiling / 2 + 1));
}

/* Replace the record in the store, and then here. Takes next, also on failure. */
static int commit_record(struct delivery_loop *d, struct sink_record *next, struct store_txn *txn,
                         struct err *e)
{
    int rc = sink_record_put(txn, next, e);
    KILLPOINT("delivery.before_settle");
    if (rc != 0)
        store_abort(txn);
    else
        rc = store_commit(txn, e);
    if (rc != 0) {
        sink_record_release(next);
        return -1;
    }
    sink_record_release(&d->record);
    d->record = *next;
    note_progress(d);
    return 0;
}

/*
 * What the sink knows after opening is committed before it writes anything: else a crash after the first
 * write would leave lines in the target that nobody knows to be ours.
 */
static int commit_opened(struct delivery_loop *d, struct err *e)
{
    struct sink_record next = d->record;
    struct store_txn txn;
    next.state = (struct buf)BUF_INIT;
    d->ops->state(d->sink, &next.state);
    if (span_equal(buf_span(&next.state), buf_span(&d->record.state))) {
        sink_record_release(&next);
        return 0;
    }
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(&next);
        return -1;
    }
    return commit_record(d, &next, &txn, e);
}

static int open_target(struct delivery_loop *d, struct err *e)
{
    struct err why = ERR_INIT;
    struct buf notice = BUF_INIT;
    struct sink_memory memory = {d->record.cursor, buf_span(&d->record.state)};
    if (d->ops->open(d->sink, &memory, &notice, &why) == 0) {
        d->open = true;
        set_state(d, DELIVERY_RUNNING, "%s", "");
    }
    if (notice.len)
        log_warn(d->subject, "%s", (char *)notice.data);
    buf_release(&notice);
    if (d->open)
        return commit_opened(d, e);
    fail_target(d, &why);
    return 0;
}

static int reopen_target(struct delivery_loop *d, struct err *e)
{
    struct err why = ERR_INIT;
    struct buf notice = BUF_INIT;
    int rc = d->ops->reopen ? d->ops->reopen(d->sink, &notice, &why) : 0;
    if (notice.len)
        log_info(d->subject, "%s", (char *)notice.data);
    buf_release(&notice);
    if (rc == 0)
        return commit_opened(d, e);
    fail_target(d, &why);
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
    struct sink_record next = d->record;
    next.state = (struct buf)BUF_INIT;
    size_t n_deliveries = count_events(&next, &d->batch, sb, n_events);
    if (d->open)
        d->ops->state(d->sink, &next.state);
    else
        buf_add_span(&next.state, buf_span(&d->record.state));
    struct store_txn txn;
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(&next);
        return -1;
    }
    if (park_rejected(d, &txn, sb, n_deliveries, e) != 0) {
        store_abort(&txn);
        sink_record_release(&next);
        return -1;
    }
    return commit_record(d, &next, &txn, e);
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

static int deliver(struct delivery_loop *d, struct err *e)
{
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
        d->ops->submit(d->sink, &sb);
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
        fail_target(d, &sb.reason);
    return 0;
}

/*
 * Wait for work. Under load a batch may fill for `batch.wait` since the last one; after a pause the first
 * event goes at once, so that an idle system is fast and a busy one is kind to its disk.
 */
static bool wait_for_batch(struct delivery_loop *d)
{
    uint64_t cursor = d->record.cursor, full = cursor + (uint64_t)d->options.sink->batch_events;
    uint64_t head = wait_for_journal(d, cursor, IDLE_WAIT_MS);
    if (head <= cursor) {
        note_progress(d);
        return false;
    }
    while (head < full && !d->stopping && !d->draining) {
        int64_t left = d->last_submit_ms + d->options.sink->batch_wait_ms - clock_mono_ms();
        if (left <= 0)
            break;
        head = wait_for_journal(d, full - 1, left);
    }
    return true;
}

/* --- orders --------------------------------------------------------------------------------------- */

/* 0, or -1 with e: the store failed, the loop must end. */
static int carry_out(struct delivery_loop *d, struct redeliver_call *call, struct err *e)
{
    struct redeliver_plan plan;
    struct store_txn txn;
    struct sink_record next = d->record;
    call->result = redeliver_plan(d->options.store, call->request, &plan, call->e);
    if (call->result < 0)
        return 0;
    if (store_begin(d->options.store, true, &txn, e) != 0)
        return -1;
    next.state = (struct buf)BUF_INIT;
    buf_add_span(&next.state, buf_span(&d->record.state));
    call->result = redeliver_apply(&txn, call->request, &plan, &next, call->answer, call->e);
    if (call->result == REDELIVER_ORDERED)
        return commit_record(d, &next, &txn, e);
    store_abort(&txn);
    sink_record_release(&next);
    return 0;
}

static int take_order(struct delivery_loop *d, struct err *e)
{
    pthread_mutex_lock(&d->lock);
    struct redeliver_call *call = d->call;
    d->call = NULL;
    d->called = false;
    pthread_mutex_unlock(&d->lock);
    if (!call)
        return 0;
    int rc = carry_out(d, call, e);
    pthread_mutex_lock(&d->lock);
    if (rc != 0) {
        call->result = -1;
        *call->e = *e;
    }
    call->done = true;
    pthread_cond_broadcast(&d->answered);
    pthread_mutex_unlock(&d->lock);
    return rc;
}

int delivery_redeliver(struct delivery_loop *d, const struct redeliver_request *request, struct buf *answer,
                       struct err *e)
{
    enum { WAIT_S = 10 };
    struct redeliver_call call = {request, answer, e, -1, false};
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&d->lock);
    bool is_free = !d->call;
    if (is_free) {
        d->call = &call;
        d->called = true;
        journal_signal_nudge(d->options.signal);
        while (d->call == &call && pthread_cond_timedwait(&d->answered, &d->lock, &until) == 0)
            ;
    }
    bool taken = is_free && d->call != &call;
    if (is_free && !taken) {
        d->call = NULL; /* taken back */
        d->called = false;
    }
    while (taken && !call.done)
        pthread_cond_wait(&d->answered, &d->lock);
    pthread_mutex_unlock(&d->lock);
    if (!taken)
        return err_set(e, ERR_RETRY, "replay", 0, "sink %s is busy with its target or stopping: try again",
                       d->options.sink->name);
    return call.result;
}

/* --- the loop ------------------------------------------------------------------------------------- */

static uint64_t current_head(struct delivery_loop *d)
{
    return journal_signal_wait(d->options.signal, 0, 0);
}

static void *loop_main(void *arg)
{
    struct delivery_loop *d = arg;
    struct err e = ERR_INIT;
    char name[16];
    snprintf(name, sizeof name, "sink-%s", d->options.sink->name);
    pthread_setname_np(pthread_self(), name);
    while (!d->stopping && !(d->draining && d->record.cursor >= current_head(d))) {
        int rc = 0;
        if (d->called)
            rc = take_order(d, &e);
        else if (!d->open)
            rc = open_target(d, &e);
        else if (atomic_exchange(&d->reopen, false))
            rc = reopen_target(d, &e);
        else if (wait_for_batch(d))
            rc = deliver(d, &e);
        if (rc != 0) {
            d->options.on_fatal(d->options.ctx, &e);
            break;
        }
    }
    if (d->open)
        d->ops->close(d->sink);
    d->open = false;
    set_state(d, DELIVERY_STOPPED, "%s", "");
    d->ended = true;
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------------- */

static int load_record(struct delivery_loop *d, struct err *e)
{
    struct store_txn txn;
    if (store_begin(d->options.store, false, &txn, e) != 0)
        return -1;
    int rc = sink_record_get(&txn, d->options.sink->name, &d->record, e);
    store_abort(&txn);
    BUG_IF(rc == 1); /* delivery_register made it */
    return rc;
}

int delivery_start(const struct delivery_options *options, struct delivery_loop **out, struct err *e)
{
    struct delivery_loop *d = xcalloc(1, sizeof *d);
    d->options = *options;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    snprintf(d->subject, sizeof d->subject, "sink %s", options->sink->name);
    batch_init(&d->batch, &d->options);
    d->ops = sink_ops_of(options->sink->kind);
    d->sink = d->ops->new (options->sink);
    d->view.since_ms = clock_wall_ms();
    d->beat_mono_ms = clock_mono_ms();
    if (load_record(d, e) != 0)
        goto fail;
    note_progress(d);
    if (pthread_create(&d->thread, NULL, loop_main, d) != 0) {
        err_set(e, ERR_FATAL, "delivery", 0, "cannot start a thread");
        goto fail;
    }
    d->started = true;
    *out = d;
    return 0;
fail:
    delivery_stop(d);
    return -1;
}

void delivery_drain(struct delivery_loop *d)
{
    d->draining = true;
    journal_signal_nudge(d->options.signal);
}

bool delivery_settled(struct delivery_loop *d)
{
    return d->ended || d->cursor >= current_head(d);
}

void delivery_end(struct delivery_loop *d)
{
    d->stopping = true;
    journal_signal_nudge(d->options.signal);
    if (d->started)
        pthread_join(d->thread, NULL);
    d->started = false;
}

void delivery_stop(struct delivery_loop *d)
{
    if (!d)
        return;
    delivery_end(d);
    if (d->sink)
        d->ops->free(d->sink);
    batch_release(&d->batch);
    sink_record_release(&d->record);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->answered);
    free(d);
}

void delivery_reopen(struct delivery_loop *d)
{
    d->reopen = true;
    journal_signal_nudge(d->options.signal);
}

int64_t delivery_beat_mono_ms(const struct delivery_loop *d)
{
    return d->ended ? INT64_MAX : d->beat_mono_ms;
}

void delivery_describe(struct delivery_loop *d, struct delivery_view *out)
{
    pthread_mutex_lock(&d->lock);
    *out = d->view;
    pthread_mutex_unlock(&d->lock);
    histogram_read(&d->latency.since_received, &out->since_received);
    histogram_read(&d->latency.since_committed, &out->since_committed);
}
