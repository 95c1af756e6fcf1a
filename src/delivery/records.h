/*
 * records: records mode in parts. Internal to delivery/.
 *
 *   records.c        life, and one batch: decide, write, note, commit
 *   records_open.c   the target is opened, fenced and compared with our store (I7); horizon and epochs
 *   records_read.c   which events a batch takes: whole Salesforce transactions; the next one read ahead
 *   records_late.c   dead letters that are tried again
 *
 * Ownership: d->target is the struct records of the loop; what belongs to a batch lives in the batch's arena.
 * Thread: the sink's. Errors: -1 with err, ERR_STORE, unless said otherwise.
 */
#ifndef DELIVERY_RECORDS_H
#define DELIVERY_RECORDS_H

#include "delivery/horizon.h"
#include "delivery/loop.h"
#include "delivery/note.h"
#include "delivery/settle.h"
#include "store/journal.h"

struct records {
    const struct mirror_ops *ops;
    struct mirror *mirror;
    struct map *map;
    struct tables tables;
    struct batch ahead; /* the next, if it was read already */
    struct pieces pieces;
    struct mirror_remarks remarks;
    struct poison poison, late_poison; /* of batches of the journal, of dead letters */
    bool fenced;                       /* another has taken over: only a person can tell whether it is gone */
    uint64_t head;                     /* of the journal when it last grew … */
    int64_t head_mono_ms;              /* … and when that was */
    struct noted noted, late_noted;
    uint64_t splits;
    struct horizon horizon; /* what it was made of … */
    struct version below;   /* … and the version; VERSION_NONE: none */
    bool forgetting;        /* tombstones below it may be left */
};

/* records_open.c */
MUST_CHECK int records_open(struct delivery_loop *d, struct err *e);
#define RECORDS_AT_HEAD UINT64_MAX /* in place of a seq */
/* The bounds of the journal, and the event it holds at this seq, in the batch's arena; NULL: none. */
MUST_CHECK int records_look_at_journal(struct delivery_loop *d, uint64_t seq, struct journal_bounds *bounds,
                                       struct event_data **event, struct err *e);
/* What a store that comes after ours must not stay below. */
uint32_t records_newest_epoch(const struct records *r);
/* After what the journal holds, or the horizon, has changed. */
MUST_CHECK int records_raise_horizon(struct delivery_loop *d, struct err *e);
/* Before a batch is decided. */
MUST_CHECK int records_raise_epochs(struct delivery_loop *d, struct err *e);

/* records_read.c */
/* From the cursor to the end of a transaction; n_events 0: not now. */
MUST_CHECK int records_read(struct delivery_loop *d, struct err *e);
/* For settle.meanwhile: the batch that follows the one in hand. */
void records_read_ahead(void *loop);

/* records.c */
/*
 * Decide about the batch in hand, write it in a transaction of the target that stays open, and commit to our store what is
 * parked and owed (I4). 1: to be committed now, with what became of each event; 0: not now, the target is rolled back.
 */
MUST_CHECK int records_settle(struct delivery_loop *d, const enum outcome **outcomes, struct err *e);
/* Nothing of the batch is settled. */
void records_give_up(struct delivery_loop *d, const struct err *why);

/* records_late.c */
MUST_CHECK int records_redrive(struct delivery_loop *d, struct err *e);

#endif
