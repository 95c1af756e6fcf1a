/*
 * loop: what the thread of a sink and its two modes share. Internal to delivery/.
 *
 * The loop (loop.c) owns the thread, its state, orders and waiting. A mode opens the target and delivers one
 * batch:
 *   events   (events.c)   append a log: every event once, in journal order;
 *   records  (records.c)  mirror the state: every change through the conflict check.
 *
 * A mode's calls return 0, or -1 with ERR_STORE: the process must stop. A target that fails is no such error:
 * the mode says so with loop_fail_target, which closes it and waits.
 *
 * Thread: the sink's, except for what `lock` and the atomics say.
 */
#ifndef DELIVERY_LOOP_H
#define DELIVERY_LOOP_H

#include "delivery/batch.h"
#include "delivery/latency.h"

#include <pthread.h>
#include <stdatomic.h>

struct redeliver_call;
struct delivery_loop;

struct delivery_mode {
    void *(*new)(struct delivery_loop *d);
    /* Sets d->open, or has called loop_fail_target. */
    MUST_CHECK int (*open)(struct delivery_loop *d, struct err *e);
    /* SIGHUP, at a batch boundary. */
    MUST_CHECK int (*reopen)(struct delivery_loop *d, struct err *e);
    /* One batch from the cursor on; may settle a part of it, or nothing. */
    MUST_CHECK int (*deliver)(struct delivery_loop *d, struct err *e);
    /* Some dead letters that are to be tried again (late.h); loop_no_letters when there is none. */
    MUST_CHECK int (*redrive)(struct delivery_loop *d, struct err *e);
    /* Any thread: a call that blocks in the target's library is to end soon. May be NULL. */
    void (*interrupt)(struct delivery_loop *d);
    void (*close)(struct delivery_loop *d); /* safe after a half-failed open */
    void (*free)(struct delivery_loop *d);
};

extern const struct delivery_mode delivery_events_mode, delivery_records_mode;

struct delivery_loop {
    struct delivery_options options;
    const struct delivery_mode *mode;
    void *target; /* the mode's own */
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
    atomic_bool letters;       /* dead letters wait to be tried again, or may … */
    atomic_uint letter_orders; /* … since so many orders */
    atomic_uint_fast64_t cursor;
    atomic_int_fast64_t beat_mono_ms; /* the last turn */
    pthread_mutex_t lock;             /* view, call */
    struct delivery_view view;
    struct redeliver_call *call; /* nobody has begun with it */
    atomic_bool called;
    pthread_cond_t answered;
};

/* State lives in one field and changes here, which logs old -> new. */
void loop_set_state(struct delivery_loop *d, enum delivery_state state, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* There was no dead letter to be tried again, when there had been so many orders. */
void loop_no_letters(struct delivery_loop *d, unsigned orders);
/* Wait for an event beyond this seq, a nudge, or the time; returns the head. */
uint64_t loop_wait(struct delivery_loop *d, uint64_t beyond, int64_t ms);
/* Close the target, say why, and wait as the class of the error asks. */
void loop_fail_target(struct delivery_loop *d, const struct err *why);
/* Write the record in txn, commit, and take it over. Takes next and txn, also on failure. */
MUST_CHECK int loop_commit_record(struct delivery_loop *d, struct sink_record *next, struct store_txn *txn,
                                  struct err *e);

#endif
