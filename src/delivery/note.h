/*
 * note: what a batch of records mode parks, parks no more, and owes, committed to our store before the target settles it
 * (I4).
 * Internal to delivery/.
 *
 * Guarantees: a batch that comes again, and may be longer then, notes what is owed once; dead letters have keys that
 * make repeating harmless, and what an earlier try had parked and this one did not is withdrawn. Nothing to note costs
 * no commit.
 * Ownership: borrows. Thread: the sink's. Errors: -1 with err, ERR_STORE.
 */
#ifndef DELIVERY_NOTE_H
#define DELIVERY_NOTE_H

#include "delivery/loop.h"
#include "delivery/pieces.h"

/* What of the batch in hand was noted as owed already: to be emptied (noted_clear) once the target has settled it. */
struct noted {
    struct noted_task {
        uint64_t seq, record; /* a digest of its id */
    } * all;
    size_t n, cap;
    size_t before, next; /* of those noted before this batch came again: how many; where it is at */
};
void noted_clear(struct noted *n);
void noted_release(struct noted *n);

/* `outcomes`: per event of the batch. `remarks` are told and cleared. */
MUST_CHECK int note_batch(struct delivery_loop *d, const struct pieces *pieces, const enum outcome *outcomes,
                          struct mirror_remarks *remarks, struct noted *noted, struct err *e);

#endif
