/*
 * sinks: what the store remembers of each sink: cursor, totals, and the sink's own memory.
 *
 * Guarantees: cursor, totals and state change in one transaction (I4, I9):
 *   head - base = delivered + superseded + filtered + parked + lag, where lag = head - sink_counted.
 * Several deliveries of one event count once, by their worst outcome.
 *
 * Ownership: a record is a value; state is a buf that belongs to it: sink_record_release.
 * Thread: as the transaction. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_SINKS_H
#define STORE_SINKS_H

#include "store/store.h"
#include "store/subscriptions.h"

struct sink_record {
    char name[STORE_MAX_NAME + 1];
    uint64_t cursor;     /* last seq settled */
    uint64_t base;       /* head when counting began: the seq before the first one this sink was given */
    uint32_t generation; /* raised by a re-delivery from the journal */
    uint64_t delivered, superseded, filtered, parked;
    uint64_t retries, redelivered; /* counters of their own, outside I9's sum */
    bool retired;                  /* left the configuration: holds nothing back */
    struct buf state;
    /* A re-delivery from the journal moved the cursor back: what lies between it and here is in the totals
     * already, and counts as redelivered alone. 0: none is under way. */
    uint64_t redeliver_to;
    int64_t redeliver_from_ms;               /* of it, only events committed then or later; 0: all */
    char last_redelivery[STORE_MAX_REQUEST]; /* the newest order, under way or done … */
    int64_t last_redelivery_ms;              /* … and when it was given (wall clock) */
    uint64_t redriven; /* dead letters that went in after all, or were superseded; outside I9's sum, too */
};

/* The last seq that the totals account for: lag is what lies between it and head. */
static inline uint64_t sink_counted(const struct sink_record *record)
{
    return record->redeliver_to > record->cursor ? record->redeliver_to : record->cursor;
}

void sink_record_release(struct sink_record *record);
/* 0 found, 1 not found, -1 err. *out is initialised in any case. */
MUST_CHECK int sink_record_get(struct store_txn *txn, const char *name, struct sink_record *out,
                               struct err *e);
MUST_CHECK int sink_record_put(struct store_txn *txn, const struct sink_record *record, struct err *e);
MUST_CHECK int sink_record_delete(struct store_txn *txn, const char *name, struct err *e);
int sink_record_each(struct store_txn *txn, int (*fn)(void *ctx, const struct sink_record *record), void *ctx,
                     struct err *e);
/* The smallest cursor (also where one was moved back) of all sinks that are not retired; UINT64_MAX when
 * there is none. */
MUST_CHECK int sinks_settled(struct store_txn *txn, uint64_t *seq, struct err *e);

#endif
