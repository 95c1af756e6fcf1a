/*
 * transaction: where a batch may end without cutting a Salesforce transaction. Internal to delivery/.
 *
 * The events of one subscription to several entities that follow each other under one transactionKey belong
 * together: they go to the target in one transaction. A group closes at the subscription's next key, or after
 * TRANSACTION_SILENCE_MS in which it brought nothing, as the arrival of others' events shows, or `silent`.
 * One that outgrows TRANSACTION_MOST_EVENTS or TRANSACTION_MOST_BYTES is split, and counted by the caller.
 *
 * Guarantees: pure; what is not a change event, or was not decoded, is a group of its own.
 * Ownership: borrows; numbers go into the batch's arena. Thread: the sink's. Errors: none.
 */
#ifndef DELIVERY_TRANSACTION_H
#define DELIVERY_TRANSACTION_H

#include "delivery/batch.h"

enum {
    TRANSACTION_SILENCE_MS = 200,
    TRANSACTION_MOST_EVENTS = 10000,
    TRANSACTION_MOST_BYTES = 16 << 20,
};

/*
 * The most events, from the first on, that cut no group. `silent`: nothing follows the batch for a while.
 * `all`: subscriptions of one entity are looked at, too (transactions: atomic); else only those of several
 * entities, so that others need not wait for silence.
 */
size_t transaction_boundary(struct batch *b, bool silent, bool all);

/* Per event the number of its group, ascending with the first event of each. */
const uint32_t *transaction_groups(struct batch *b);

#endif
