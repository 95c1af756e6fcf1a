/*
 * redeliver: deliver from the journal to one sink again, on a person's order, without asking Salesforce.
 *
 * An order moves the sink's cursor back and raises the sink's generation. Until the cursor is where it was,
 * events are marked "replay": generation, and count as redelivered alone: the totals account for them already
 * (I9).
 *
 * Guarantees
 *   The order is one change of the stored record: it survives a crash, and is carried out once.
 *   The same order twice, while the first is under way or within five minutes, is one.
 *   What the order covers is not trimmed before it is delivered (I5: the cursor holds it).
 *   Every use is recorded as a closed incident of kind "redelivery": when, from, to, by whom.
 *
 * Calling order: redeliver_plan, which only reads -> redeliver_apply in a write transaction ->
 * sink_record_put. Ownership: values. Thread: with a running daemon the sink's own (delivery_redeliver); else
 * any. Errors: ERR_CONFIG: there is nothing to deliver again, or the id is not held; ERR_STORE.
 */
#ifndef DELIVERY_REDELIVER_H
#define DELIVERY_REDELIVER_H

#include "store/journal.h"
#include "store/sinks.h"

enum redeliver_from { REDELIVER_FROM_ID, REDELIVER_FROM_EARLIEST, REDELIVER_FROM_TIME };

struct redeliver_request {
    enum redeliver_from from;
    uint8_t id[EVENT_MAX_REPLAY_ID]; /* what the journal holds after it, of whatever subscription */
    uint32_t id_len;
    int64_t time_ms;              /* REDELIVER_FROM_TIME: by commit time, inclusive */
    char text[STORE_MAX_REQUEST]; /* normalised: what is compared and recorded */
    char by[64];                  /* who asked */
    bool dry_run;
};

struct redeliver_plan {
    uint64_t first; /* seq */
};

/* Find where the order begins, in short read transactions. */
MUST_CHECK int redeliver_plan(struct store *st, const struct redeliver_request *request,
                              struct redeliver_plan *plan, struct err *e);

enum redeliver_result { REDELIVER_ORDERED, REDELIVER_ALREADY, REDELIVER_DRY_RUN };

/* Change *record (only with REDELIVER_ORDERED), and say to people in `answer` what is delivered again. */
MUST_CHECK int redeliver_apply(struct store_txn *txn, const struct redeliver_request *request,
                               const struct redeliver_plan *plan, struct sink_record *record,
                               struct buf *answer, struct err *e);

struct batch;
/* Mark the events of the batch that are delivered again; those committed before what was asked for are left
 * out. */
void redeliver_mark(struct batch *b, const struct sink_record *record);
/* The cursor was moved: the re-delivery ends where it was before the order. */
void redeliver_finish(struct sink_record *record);

#endif
