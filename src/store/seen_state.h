/*
 * seen_state: what a struct seen is made of; shared by seen.c (find, add) and seen_maintain.c (seal, merge,
 * expire). For nobody else.
 *
 * Two things live in memory: the set, which is the log in another form, and the directory, which is what the map
 * says about runs. A transaction changes them ahead of its commit; `committed` says where the log stood, and a
 * directory that a step changed is `stale`: the next seen_begin reads it anew, whatever became of the step.
 */
#ifndef STORE_SEEN_STATE_H
#define STORE_SEEN_STATE_H

#include "store/seen_run.h"
#include "store/seen_set.h"

/* The log: DB_SEEN_LOG. */
struct seen_log {
    uint64_t next;    /* number of the next identity */
    uint32_t n;       /* identities in the set */
    uint32_t records; /* a repeat under a later time makes a record without identities */
    int64_t min_ms, max_ms;
};

struct seen {
    struct store *st;
    struct seen_params params;
    struct seen_set set;
    struct seen_log log, committed;
    bool drops_log; /* this transaction empties the log */
    struct directory runs;
    bool stale;   /* the directory must be read anew before it is used */
    bool unknown; /* a step was undone: the directory says what did not happen */
};

#endif
