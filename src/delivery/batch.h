/*
 * batch: a piece of the journal, decoded for one sink. Internal to delivery/.
 *
 * Ownership: everything lives in the batch's arena until batch_read is called again. Thread: the sink's.
 */
#ifndef DELIVERY_BATCH_H
#define DELIVERY_BATCH_H

#include "delivery/delivery.h"
#include "store/sinks.h"
#include "store/subscriptions.h"

/* What an event is to this sink. */
enum event_fate { FATE_DELIVER, FATE_FILTERED, FATE_PARKED };

/* What lines need to know of a subscription, by the store's number. */
struct subscription_info {
    uint32_t number;
    struct subscription_record record;
    struct line_source source;
    bool wanted;                  /* the sink's configuration names it */
    const struct avro_plan *plan; /* of its newest event */
    char plan_id[256];
};

/* A dead letter on its way again (late.h). */
struct late_letter {
    struct span record_id;       /* of the event's records this one alone; empty: the event */
    const char *reason, *detail; /* FATE_PARKED */
};

struct batch {
    const struct delivery_options *options;
    char subject[STORE_MAX_NAME + 8]; /* "sink log" */
    size_t most_events, most_bytes;   /* one read gives no more; batch_init takes the sink's */
    struct arena arena;
    struct event_data *events;
    size_t n_events;
    enum event_fate *fates;      /* per event */
    struct late_letter *late;    /* per event, when these are dead letters; NULL: they are the journal's */
    struct delivery *deliveries; /* one per event with FATE_DELIVER, in order */
    size_t n_deliveries, n_parked, n_filtered;
    uint64_t parked_through; /* what was to be parked up to this seq is stored: a batch that comes again parks
                                nothing */
    struct subscription_info **subscriptions; /* learned as they occur */
    size_t n_subscriptions;
};

void batch_init(struct batch *b, const struct delivery_options *options);
void batch_release(struct batch *b);
/* Read and decode from `from` on. What does not decode is written to the dead letters, in a transaction of
 * its own, before this returns (I4). n_events 0: nothing there. */
MUST_CHECK int batch_read(struct batch *b, uint64_t from, struct err *e);
/* As batch_read, before its turn has come: nothing is written. n_events is 0 also when a part of it cannot be read or
 * decoded now: that is for the turn. */
void batch_read_ahead(struct batch *b, uint64_t from);
/* For late_read: nothing is in it; then the subscriptions of its events; then what they decode to. */
void batch_clear(struct batch *b);
MUST_CHECK int batch_subscriptions(struct batch *b, struct store_txn *txn, struct subscription_info ***infos,
                                   struct err *e);
MUST_CHECK int batch_decode_late(struct batch *b, struct subscription_info **infos, struct err *e);
/* Only the first n events are meant. */
void batch_cut(struct batch *b, size_t n);

#endif
