/*
 * redrive: what a person decides about dead letters: try them again, or give them up for good.
 *
 *   retry   they are marked `retrying` in the store; the sink's loop delivers them between two batches (late.h), now or,
 *           with the daemon down, when it runs again
 *   drop    they are removed; nobody delivers them any more
 *
 * Guarantees
 *   A letter is touched only once its sink has settled the event (I4): what still stands before the cursor comes by itself.
 *   Every use is recorded as a closed incident of kind "dead_letters": when, which, how many, by whom, in the first
 *   transaction of the order. Large orders take several; an order that dies between two is given again.
 *   The same order twice is one: what waits already, or is gone, is not chosen.
 *
 * Ownership: borrows. Thread: any. Errors: ERR_CONFIG: there is nothing to do, or nobody would do it; ERR_STORE.
 */
#ifndef DELIVERY_REDRIVE_H
#define DELIVERY_REDRIVE_H

#include "config/config.h"
#include "store/store.h"

enum redrive_action { REDRIVE_RETRY, REDRIVE_DROP };
enum { REDRIVE_MOST_SEQS = 100 };

struct redrive_request {
    enum redrive_action action;
    const char *sink;   /* "": all */
    const char *reason; /* "": any; a class as `dlq list` shows it */
    uint64_t seqs[REDRIVE_MOST_SEQS];
    size_t n_seqs; /* 0: any */
    bool dry_run;
    char by[64]; /* who asks */
};

/*
 * What is chosen: of one sink or all ("") the letters of these events ("12,15,18", for one sink alone), of this class, or
 * `all`; at least one of the three is said. `by` and `dry_run` are the caller's. ERR_CONFIG.
 */
MUST_CHECK int redrive_choose(enum redrive_action action, const char *sink, const char *seqs,
                              const char *reason, bool all, struct redrive_request *out, struct err *e);
/* 0 with `answer` for people: done, or with dry_run what would be. */
MUST_CHECK int redrive_order(struct store *st, const struct config *config,
                             const struct redrive_request *request, struct buf *answer, struct err *e);

#endif
