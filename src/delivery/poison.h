/*
 * poison: what a target cannot take without losing all that goes with it: a row at which a trigger rolls the whole
 * transaction back, or ends the connection, or the server dies. Internal to delivery/.
 *
 * A row that says so itself (MIRROR_FATAL) is known at once. One at which the connection ends (MIRROR_LOST) looks like a
 * target that went away. So a batch that failed twice while it was written is written row by row, and a record at whose
 * row the connection ends three times in a row is believed to be the reason, if, without it, others go in: where
 * nothing goes in it is the target that is ill, and nothing is parked for being unlucky. (A dead letter that is tried again
 * is parked already, and needs no such proof to stay so.)
 * With transactions: atomic the same is done with groups instead of records.
 *
 * What is known concerns one batch, the one behind a cursor, until that is committed.
 *
 * Calling order: poison_of_batch -> (poison_why, poison_convict, poison_strike)* -> poison_failed | poison_forget.
 * Ownership: poison_release frees; reasons are valid until the next conviction, which copies its own. Thread: the sink's. Errors: none.
 */
#ifndef DELIVERY_POISON_H
#define DELIVERY_POISON_H

#include "sink/mirror.h"

struct poison {
    uint64_t cursor;
    unsigned failures; /* of the batch while it was written */
    unsigned patience; /* so many are taken for bad luck */
    uint64_t suspect;  /* the connection ended at it last … */
    unsigned strikes;  /* … so many times in a row */
    bool doubtful;     /* something is convicted by strikes alone */
    struct convicted {
        uint64_t key;
        char why[200];
    } * all;
    size_t n, cap;
};

/* What is known of another batch is forgotten. */
void poison_of_batch(struct poison *p, uint64_t cursor);
/* The batch failed while it was written. */
void poison_failed(struct poison *p);
/* It is settled, or failed in another way: then it is not a row that is to blame. */
void poison_forget(struct poison *p);
/* Nothing goes in, whatever is left out: it is the target, and it is left in peace for a while. */
void poison_acquit(struct poison *p);
void poison_release(struct poison *p);

/* Write row by row, to see at which one it happens. */
bool poison_is_sought(const struct poison *p);
/* Nobody is sought or known: rows may be written together, and sent before that. */
bool poison_is_absent(const struct poison *p);
/* There is a trace: pauses stay short. */
bool poison_is_near(const struct poison *p);
/* NULL: not known to be poisonous. */
const char *poison_why(const struct poison *p, uint64_t key);
void poison_convict(struct poison *p, uint64_t key, const char *why);
/* The connection ended at it. True: it is convicted now. */
bool poison_strike(struct poison *p, uint64_t key);

/* A row with these values, a record, a group of events: different keys. */
uint64_t poison_row_key(const struct mirror_row *row);
uint64_t poison_record_key(const struct mirror_row *row);
uint64_t poison_group_key(uint64_t seq); /* of its first event */

#endif
