#include "delivery/loop.h"
#include "delivery/late.h"
#include "delivery/redeliver.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "base/random.h"

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

const char *delivery_state_name(enum delivery_state s)
{
    static const char *const names[] = {[DELIVERY_OPENING] = "opening",
                                        [DELIVERY_RUNNING] = "running",
                                        [DELIVERY_BACKING_OFF] = "backing_off",
                                        [DELIVERY_REFUSED] = "refused",
                                        [DELIVERY_STOPPED] = "stopped"};
    return names[s];
}

void loop_set_state(struct delivery_loop *d, enum delivery_state state, const char *fmt, ...)
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

/* Never so long that the loop seems to hang. */
uint64_t loop_wait(struct delivery_loop *d, uint64_t beyond, int64_t ms)
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
        loop_wait(d, UINT64_MAX, left);
    }
}

void loop_fail_target(struct delivery_loop *d, const struct err *why)
{
    d->mode->close(d);
    d->open = false;
    if (why->class == ERR_REJECTED || why->class == ERR_CONFIG) {
        loop_set_state(d, DELIVERY_REFUSED, "%s", why->text);
        pause_ms(d, REFUSED_RETRY_MS);
        return;
    }
    int64_t ceiling = BACK_OFF_FIRST_MS;
    for (unsigned i = 0; i < d->failures && ceiling < BACK_OFF_MOST_MS; i++)
        ceiling *= 2;
    d->failures++;
    loop_set_state(d, DELIVERY_BACKING_OFF, "%s", why->text);
    pause_ms(d, ceiling / 2 + (int64_t)random_below((uint64_t)ceiling / 2 + 1));
}

int loop_commit_record(struct delivery_loop *d, struct sink_record *next, struct store_txn *txn,
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
    if (next->cursor < d->record.cursor)
        d->batch.parked_through = 0; /* what comes again, and was dropped meanwhile, is parked again */
    if (d->record.redeliver_to && !next->redeliver_to)
        d->letters = true; /* those that a re-delivery left waiting behind its cursor */
    sink_record_release(&d->record);
    d->record = *next;
    note_progress(d);
    return 0;
}

/*
 * Wait for work. Under load a batch may fill for `batch.wait` since the last one; after a pause the first
 * event goes at once, so that an idle system is fast and a busy one is kind to its disk.
 */
static bool wait_for_batch(struct delivery_loop *d)
{
    uint64_t cursor = d->record.cursor, full = cursor + (uint64_t)d->options.sink->batch_events;
    uint64_t head = loop_wait(d, cursor, IDLE_WAIT_MS);
    if (head <= cursor) {
        note_progress(d);
        return false;
    }
    while (head < full && !d->stopping && !d->draining) {
        int64_t left = d->last_submit_ms + d->options.sink->batch_wait_ms - clock_mono_ms();
        if (left <= 0)
            break;
        head = loop_wait(d, full - 1, left);
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
        return loop_commit_record(d, &next, &txn, e);
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

/* What is late and what is new, in turn. */
static int deliver_some(struct delivery_loop *d, bool *late, struct err *e)
{
    if (d->letters && !(*late && d->record.cursor < current_head(d))) {
        *late = true;
        return d->mode->redrive(d, e);
    }
    *late = false;
    return wait_for_batch(d) ? d->mode->deliver(d, e) : 0;
}

static void *loop_main(void *arg)
{
    struct delivery_loop *d = arg;
    bool late = false;
    struct err e = ERR_INIT;
    char name[16];
    snprintf(name, sizeof name, "sink-%s", d->options.sink->name);
    pthread_setname_np(pthread_self(), name);
    while (!d->stopping && !(d->draining && d->record.cursor >= current_head(d))) {
        int rc = 0;
        if (d->called)
            rc = take_order(d, &e);
        else if (!d->open)
            rc = d->mode->open(d, &e);
        else if (atomic_exchange(&d->reopen, false))
            rc = d->mode->reopen(d, &e);
        else
            rc = deliver_some(d, &late, &e);
        if (rc != 0) {
            d->options.on_fatal(d->options.ctx, &e);
            break;
        }
    }
    if (d->open)
        d->mode->close(d);
    d->open = false;
    loop_set_state(d, DELIVERY_STOPPED, "%s", "");
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
    bool letters = false;
    if (rc == 0)
        rc = late_any(&d->options, &letters, e);
    d->letters = letters;
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
    d->mode = sink_kind_is_mirror(options->sink->kind) ? &delivery_records_mode : &delivery_events_mode;
    d->target = d->mode->new (d);
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

const struct config *delivery_config(const struct delivery_loop *d)
{
    return d->options.config;
}

void delivery_drain(struct delivery_loop *d)
{
    d->draining = true;
    journal_signal_nudge(d->options.signal);
}

bool delivery_settled(struct delivery_loop *d)
{
    return d->ended || (d->cursor >= current_head(d) && !d->letters);
}

void delivery_end(struct delivery_loop *d)
{
    d->stopping = true;
    journal_signal_nudge(d->options.signal);
    if (d->started && d->mode->interrupt)
        d->mode->interrupt(d);
    if (d->started)
        pthread_join(d->thread, NULL);
    d->started = false;
}

void delivery_stop(struct delivery_loop *d)
{
    if (!d)
        return;
    delivery_end(d);
    if (d->target)
        d->mode->free(d);
    batch_release(&d->batch);
    sink_record_release(&d->record);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->answered);
    free(d);
}

void delivery_redrive(struct delivery_loop *d)
{
    pthread_mutex_lock(&d->lock);
    d->letter_orders++;
    d->letters = true;
    pthread_mutex_unlock(&d->lock);
    journal_signal_nudge(d->options.signal);
}

void loop_no_letters(struct delivery_loop *d, unsigned orders)
{
    pthread_mutex_lock(&d->lock);
    if (d->letter_orders == orders)
        d->letters = false;
    pthread_mutex_unlock(&d->lock);
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
