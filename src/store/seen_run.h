/*
 * seen_run: sealed runs, as they lie in the map, and the directory of them.
 *
 * A run is a sorted sequence of identities, cut into segments; a segment is what one step wrote: a filter of its
 * own, and its identities in chunks. A lookup asks, per run, one filter: that of the segment whose range holds
 * the identity.
 *
 *   DB_SEEN_RUNS     u64 run, u32 chunk     -> sorted identities
 *   DB_SEEN_FILTERS  u64 run                -> run record: state, level, source times, inputs, segments
 *                    u64 run, u32 segment   -> filter
 *
 * States: BUILDING (a merge writes it; nobody looks into it), LIVE, DYING (not looked into; being deleted in
 * steps). The change from inputs LIVE to output LIVE and inputs DYING is one transaction. A merge keeps nothing
 * in memory between steps, so one that was cut off goes on after the restart.
 *
 * Filters are read in place. A filter always has pages of its own (its size is a whole number of pages), is
 * written once, and goes with its run; LMDB never moves such pages. directory_moved looks at one filter to
 * notice that the whole map was placed elsewhere.
 *
 * Ownership: the directory owns its runs; filter pointers borrow from the map and are valid inside write
 * transactions until a step changes runs. Thread: the intake thread. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_SEEN_RUN_H
#define STORE_SEEN_RUN_H

#include "store/seen_filter.h"
#include "store/seen_ids.h"

enum run_state { RUN_BUILDING = 1, RUN_LIVE = 2, RUN_DYING = 3 };

struct segment {
    struct identity first;
    const uint64_t *filter; /* NULL unless the run is LIVE */
    uint32_t blocks;
    uint32_t first_chunk;
    uint32_t count; /* identities */
};

struct run {
    uint64_t number;
    enum run_state state;
    uint32_t level;
    uint32_t chunk_ids; /* identities per chunk; the last one of a segment may hold fewer */
    uint64_t count;
    int64_t min_ms, max_ms; /* source times */
    struct identity last;
    uint64_t inputs[SEEN_MAX_FAN_OUT]; /* BUILDING: the runs being merged */
    uint32_t n_inputs;
    struct segment *segments;
    uint32_t n_segments;
};

struct directory {
    struct run *runs; /* by number */
    size_t n, cap;
    uint64_t next_number;
};

void directory_release(struct directory *d);
/* Read everything anew from this transaction. */
MUST_CHECK int directory_load(struct directory *d, struct store_txn *txn, struct err *e);
/* 1 when filters lie elsewhere than the directory says, 0 when not. all: look at each of them, else at one. */
MUST_CHECK int directory_moved(const struct directory *d, struct store_txn *txn, bool all, struct err *e);
struct run *directory_find(const struct directory *d, uint64_t number);

/* The segment that holds id if any does. The run has segments. */
static inline const struct segment *run_segment(const struct run *run, struct identity id)
{
    const struct segment *s = run->segments;
    uint32_t n = run->n_segments;
    while (n > 1) { /* no branch on the comparison: it is as good as random */
        uint32_t half = n / 2;
        s += half & -(uint32_t)(s[half].first.high <= id.high);
        n -= half;
    }
    while (UNLIKELY(s > run->segments && id_less(id, s->first))) /* segments that begin with the same high */
        s--;
    return s;
}

MUST_CHECK int run_contains(struct store_txn *txn, const struct run *run, struct identity id, bool *found, struct err *e);

/* Ask for a value's pages before they are read one by one: the map is opened without read-ahead. */
void run_will_need(struct span value);

/* A position between identities of a run. */
struct run_place {
    uint32_t chunk, at;
};
/* The place after everything that is not greater than id. */
MUST_CHECK int run_after(struct store_txn *txn, const struct run *run, struct identity id, struct run_place *out,
                         struct err *e);
/* The identities from place to the end of its chunk; place goes to the next chunk. Empty at the end of the run. */
MUST_CHECK int run_read(struct store_txn *txn, const struct run *run, struct run_place *place, struct span *ids,
                        struct err *e);

/* Write n sorted identities (n > 0), greater than all of the run, as its next segment: chunks and filter. The run
 * record is not written. */
MUST_CHECK int run_add_segment(struct store_txn *txn, struct run *run, const struct identity *ids, uint32_t n,
                               struct err *e);
MUST_CHECK int run_put_record(struct store_txn *txn, const struct run *run, struct err *e);
/* Delete up to *budget values of the run, lowering it; the record goes last. */
MUST_CHECK int run_delete_some(struct store_txn *txn, uint64_t number, uint32_t *budget, struct err *e);

#endif
