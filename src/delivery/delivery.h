/*
 * delivery: loop 2, one thread per sink. From the journal to a target.
 *
 * From its cursor: read a batch, decode, filter; first commit to the store what is parked (I4); then the sink
 * writes; then cursor, totals and the sink's own memory are committed together (I9). A target that fails is
 * closed, waited for with backoff and opened again; its cursor stands still meanwhile and nothing is parked
 * for being unlucky.
 *
 * Guarantees
 *   The cursor passes an event only when it was delivered, filtered by configuration, or stored as a dead
 *   letter (I4). Events reach a sink in journal order.
 *   Dying anywhere repeats at most what was not settled; the sink's memory says how much of it arrived.
 *
 * Calling order: delivery_register (all sinks, before anything else touches the journal) -> delivery_start
 * (each)
 * -> delivery_describe / delivery_reopen … -> delivery_drain -> delivery_stop.
 * Thread: start, drain, stop from one thread; describe, beat and reopen from any.
 * Errors: ERR_STORE is told once to on_fatal, and the loop ends: the process must stop.
 */
#ifndef DELIVERY_DELIVERY_H
#define DELIVERY_DELIVERY_H

#include "avro/schema_cache.h"
#include "base/histogram.h"
#include "config/config.h"
#include "sink/sink.h"
#include "store/journal_signal.h"
#include "store/store.h"

struct delivery_loop;

struct delivery_options {
    const struct config *config;
    const struct sink_config *sink;
    struct store *store;
    struct schema_cache *schemas;
    struct journal_signal *signal;
    void (*on_fatal)(void *ctx, const struct err *e);
    void *ctx;
};

/*
 * Make the store's sink records agree with the configuration: new sinks begin where `start` says, renamed
 * ones carry their cursor over, and their dead letters and incidents with it, those that left are retired and hold nothing
 * back (I5). ERR_CONFIG: renamed_from names nobody.
 */
MUST_CHECK int delivery_register(struct store *st, const struct config *config, struct err *e);

MUST_CHECK int delivery_start(const struct delivery_options *options, struct delivery_loop **out,
                              struct err *e);
/* Let it finish what is journaled, then end. */
void delivery_drain(struct delivery_loop *d);
/* True when the loop has ended, or everything journaled is settled and no dead letter waits to be tried again. */
bool delivery_settled(struct delivery_loop *d);
/* End after the batch in hand, and join: it can still be described. */
void delivery_end(struct delivery_loop *d);
/* The same, and free. */
void delivery_stop(struct delivery_loop *d);
/* Dead letters were marked to be tried again (redrive.h): look for them between two batches. Thread: any. */
void delivery_redrive(struct delivery_loop *d);
/* The configuration it was started with, which it points into. */
const struct config *delivery_config(const struct delivery_loop *d);
/* SIGHUP: open outputs anew at the next batch boundary. */
void delivery_reopen(struct delivery_loop *d);

struct redeliver_request;
/*
 * Deliver from the journal again (delivery/redeliver.h), at the next batch boundary. A redeliver_result with
 * `answer` for people, or -1; ERR_RETRY: the loop is busy with its target; nothing was ordered. Thread: any
 * but the loop's.
 */
MUST_CHECK int delivery_redeliver(struct delivery_loop *d, const struct redeliver_request *request,
                                  struct buf *answer, struct err *e);

enum delivery_state {
    DELIVERY_OPENING,
    DELIVERY_RUNNING,
    DELIVERY_BACKING_OFF, /* the target fails; it is tried again */
    DELIVERY_REFUSED,     /* only a person can help; tried again slowly */
    DELIVERY_STOPPED,
};
const char *delivery_state_name(enum delivery_state s);

struct delivery_view {
    enum delivery_state state;
    int64_t since_ms; /* wall clock of the last change of state */
    char reason[400]; /* "" when all is well */
    uint64_t cursor;
    int64_t last_progress_mono_ms; /* when it last settled something, or had nothing to do */
    /* Of this process: received -> settled, and Salesforce commit -> delivered. */
    struct histogram_view since_received, since_committed;
};
void delivery_describe(struct delivery_loop *d, struct delivery_view *out);
/* When the loop last turned; it does about twice a second, unless its target holds it up; INT64_MAX once it
 * has ended. */
int64_t delivery_beat_mono_ms(const struct delivery_loop *d);

#endif
