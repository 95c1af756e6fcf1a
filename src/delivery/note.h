/*
 * note: what a batch of records mode parks and owes, committed to our store before the target settles it (I4).
 * Internal to delivery/.
 *
 * Guarantees: a batch that comes again, and may be longer then, notes what is owed once; dead letters have keys that
 * make repeating harmless. Nothing to note costs no commit.
 * Ownership: borrows. Thread: the sink's. Errors: -1 with err, ERR_STORE.
 */
#ifndef DELIVERY_NOTE_H
#define DELIVERY_NOTE_H

#include "delivery/loop.h"
#include "delivery/pieces.h"

/* `remarks` are told and cleared; *through: what is owed up to this seq was noted before, and is afterwards. */
MUST_CHECK int note_batch(struct delivery_loop *d, const struct pieces *pieces, struct mirror_remarks *remarks,
                          uint64_t *through, struct err *e);

#endif
