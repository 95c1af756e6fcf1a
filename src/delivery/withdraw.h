/*
 * withdraw: dead letters that stopped being true. Internal to delivery/.
 *
 * What a batch parks is stored before the batch is settled (I4). When the batch comes again (a crash, a commit that was
 * lost, a re-delivery), the cause may be gone: then what that earlier try had parked goes in, and its dead letter goes.
 *
 * Calling order: withdraw_find, in any transaction -> withdraw_remove in a write transaction that comes before, or is,
 * the one that settles the try. So every letter of an event up to the cursor says what became of it.
 * Ownership: the list lives in the batch's arena. Thread: the sink's. Errors: -1 with err, ERR_STORE.
 */
#ifndef DELIVERY_WITHDRAW_H
#define DELIVERY_WITHDRAW_H

#include "delivery/loop.h"

struct withdrawn {
    struct withdrawn_letter {
        uint64_t seq;
        struct span record_id;
        const struct withdrawn_letter *earlier;
    } * last;
    size_t n;
};

/*
 * Letters of the first n events of the batch that are not `true` any more. `is_true`: this try parked the delivery, or
 * did not touch it; the event is given by its index in the batch.
 */
MUST_CHECK int withdraw_find(struct delivery_loop *d, struct store_txn *txn, size_t n,
                             bool (*is_true)(const void *ctx, size_t event, struct span record_id),
                             const void *ctx, struct withdrawn *out, struct err *e);
MUST_CHECK int withdraw_remove(struct delivery_loop *d, struct store_txn *txn,
                               const struct withdrawn *letters, struct err *e);

#endif
