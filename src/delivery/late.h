/*
 * late: dead letters on their way again (status `retrying`), beside the journal. Internal to delivery/.
 *
 * Between two batches a loop reads some of them into its batch, as events with "late": true, and delivers them like any
 * other: records mode through the conflict check, so that a late one never brings an old value back. What goes in loses
 * its letter, and counts as redriven; what is refused again is final again, with the new reason. Cursor and totals stay.
 *
 * Guarantees
 *   Letters and the count change in one commit of the store, after the target has the delivery: dying in between delivers
 *   again, which the target tells (I7, versions, the file's mark). A letter that was dropped meanwhile stays dropped.
 *
 * Calling order: late_read -> deliver -> late_settle per event -> commit. Ownership: the batch's arena.
 * Thread: the sink's. Errors: -1 with err, ERR_STORE.
 */
#ifndef DELIVERY_LATE_H
#define DELIVERY_LATE_H

#include "delivery/batch.h"

/* Does the sink have any? Reads all of its letters: for the start. */
MUST_CHECK int late_any(const struct delivery_options *o, bool *any, struct err *e);
/* Some of those up to the cursor; n_events 0: there is none. An event stands there once per letter. */
MUST_CHECK int late_read(struct batch *b, uint64_t cursor, struct err *e);
/* Letter `i` of the batch. reason NULL: it went in, or was superseded. 1: it did, and a letter was there. */
MUST_CHECK int late_settle(struct batch *b, struct store_txn *txn, size_t i, const char *reason,
                           const char *detail, struct err *e);

#endif
