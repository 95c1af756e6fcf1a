/*
 * authority: who is right about how far a mirror is (I7). Internal to delivery/.
 *
 * The target holds (store id, cursor, totals) in the transaction of its data. At every open, and after every
 * commit whose fate is unknown, what it holds is compared with the store's record:
 *   the same store, within the journal     the target is right: the record follows, forward with the target's
 *                                          totals, or back, to deliver again what the target lost;
 *   beyond the head, or at a seq where the journal has another event than it was given
 *                                          our store was rolled back;
 *   before what the journal holds          the target was rolled back, or is new though we delivered to it;
 *   another store                          never compared.
 * The last three are incidents: what the journal holds is delivered again, and the rest is owed.
 *
 * Guarantees: pure. Nothing is skipped in silence; what was counted once is not counted again (I9).
 * Ownership: values. Thread: any. Errors: none: totals that do not parse are as if there were none.
 */
#ifndef DELIVERY_AUTHORITY_H
#define DELIVERY_AUTHORITY_H

#include "sink/mirror.h"
#include "store/journal.h"
#include "store/sinks.h"

/* What tells an event from others that may stand under its seq in another history of the store. Never 0. */
uint64_t authority_mark(const struct event_data *ev);

/* What commit keeps beside the cursor. `mark`: of the event there; 0: not known. `epoch`: the newest written. */
void authority_state(const struct sink_record *record, uint64_t mark, uint32_t epoch, struct buf *out);

enum authority_verdict {
    AUTHORITY_AGREES,   /* the record stands */
    AUTHORITY_FOLLOWED, /* the record follows the target */
    AUTHORITY_INCIDENT, /* the record begins anew at the oldest event held */
};

struct authority_finding {
    const char *kind; /* of the incident */
    char text[300];   /* for people; "" when there is nothing to say */
    uint32_t epoch;   /* of what another store wrote: the newest; 0: not known */
};

/* `mark`: of the event that the journal holds where the target stands; 0: it holds none there. */
enum authority_verdict authority_judge(const struct mirror_authority *held, const uint8_t *store_id,
                                       const struct journal_bounds *bounds, uint64_t mark,
                                       struct sink_record *record, struct authority_finding *finding);

#endif
