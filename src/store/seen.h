/*
 * seen: which events the journal was ever given, for at least the dedupe window (I2).
 *
 * A set of 128-bit identities. Misses are the common case and are cheap with 10 million held: nothing is
 * loaded at start but the newest few, and no random page is written.
 *
 * How: new identities go, in the transaction that appends their events, to an append-ordered log and to a
 * small set in memory. When that set is full it is sealed: sorted into a run with a blocked Bloom filter,
 * both values in the map; runs of one size are merged, in bounded steps, into larger ones, so that few
 * filters are asked. A filter that says "maybe" is checked against the run itself: a false positive costs
 * time, never an event. A run whose newest identity is older than the window is dropped whole.
 *
 * Guarantees
 *   seen_add takes effect if and only if its transaction commits: call seen_committed or seen_aborted after.
 *   An identity added at source time T is found while now < T + window.
 *   After a crash at any point the set is what the committed transactions said.
 *   A maintenance step writes at most about 20 ms.
 *
 * Calling order: seen_open -> ( store_begin -> seen_begin -> seen_find / seen_add … -> store_commit ->
 * seen_committed | seen_aborted -> perhaps seen_maintain in a transaction of its own )* -> seen_close.
 * Thread: the intake thread alone. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_SEEN_H
#define STORE_SEEN_H

#include "store/store.h"

struct seen;

/* 128 bits of a keyed hash over the event's identity; made by intake. */
struct identity {
    uint64_t high, low;
};

/* Sizes, in identities unless said otherwise. Runs keep the sizes they were written with: others may be chosen at
 * any open. */
struct seen_params {
    uint32_t seal_at;          /* the memory set is sealed at this many */
    uint32_t segment_ids;      /* most that one merge step writes */
    uint32_t chunk_ids;        /* per value of DB_SEEN_RUNS; 2,047 fill eight pages exactly */
    uint32_t fan_out;          /* runs of one level that are merged into one of the next; 2 to SEEN_MAX_FAN_OUT */
    uint32_t levels;           /* runs of this level are not merged any more */
    uint32_t deletes_per_step; /* values that one step deletes */
    bool check_filters;        /* tests: prove in each seen_begin that no filter has moved */
};

enum { SEEN_MAX_FAN_OUT = 32 };

struct seen_params seen_default_params(void);

MUST_CHECK int seen_open(struct store *st, struct seen **out, struct err *e);
MUST_CHECK int seen_open_with(struct store *st, const struct seen_params *params, struct seen **out, struct err *e);
void seen_close(struct seen *s);

/* Once per write transaction, before the others: finds the filters in this snapshot of the map. */
MUST_CHECK int seen_begin(struct seen *s, struct store_txn *txn, struct err *e);
/* held[i] = whether ids[i] is in the set (additions of this transaction included). Asks for a whole batch, so
 * that memory latencies overlap. */
MUST_CHECK int seen_find(struct seen *s, struct store_txn *txn, const struct identity *ids, size_t n, bool *held,
                         struct err *e);
/* Add to log and memory. source_ms: the source time of this batch. Adding what is held is harmless. */
MUST_CHECK int seen_add(struct seen *s, struct store_txn *txn, const struct identity *ids, size_t n, int64_t source_ms,
                        struct err *e);
void seen_committed(struct seen *s);
void seen_aborted(struct seen *s);

/* True when seal, merge or expiry wants a step. Cheap. */
bool seen_wants_maintenance(const struct seen *s, int64_t expire_before_ms);
/* One bounded step in this write transaction (nothing else in it). Make one between transactions rather than all that
 * are wanted: the merge of eight runs of 4 million takes 512, and only sealing, which comes first, is urgent; then store_commit and seen_committed, or
 * store_abort and seen_aborted. */
MUST_CHECK int seen_maintain(struct seen *s, struct store_txn *txn, int64_t expire_before_ms, struct err *e);

struct seen_stats {
    uint64_t identities; /* held, duplicates between runs counted twice */
    uint32_t runs, unsealed;
};
void seen_stats(const struct seen *s, struct seen_stats *out);

#endif
