/*
 * journal: the durable, ordered log of accepted events.
 *
 * Intake appends blocks of events, each event under a sequence number that only grows: 1, 2, 3 …; every sink
 * reads at its own pace; trim removes the tail. One record per block: first seq -> header and events. An
 * append makes one block, or several when it is large.
 *
 * Guarantees
 *   What is appended commits with the position and the identities of the same transaction (I1, I2).
 *   Sequence numbers have no holes and are never given twice, also after the journal was trimmed empty.
 *   Trim never passes the settled seq it is given (I5).
 *
 * Ownership: append copies the events once, into the map itself; read copies them out into the arena.
 * Thread: appends and trims in a write transaction; reads in any.
 * Errors: -1 with err, ERR_STORE; a block that does not parse is a damaged store. Misuse is a BUG().
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "base/arena.h"
#include "event/event.h"
#include "store/store.h"

/* What the events of a block have in common. */
struct journal_block {
    uint32_t subscription;
    uint32_t generation;
    uint32_t epoch;
    int64_t received_ms; /* wall clock */
    int64_t source_ms;   /* source time at append: what retention compares */
};

enum { JOURNAL_MAX_BLOCK_EVENTS = 4096 };

/* Append n events (1 … JOURNAL_MAX_BLOCK_EVENTS); of each, flags and the four spans are kept. */
MUST_CHECK int journal_append(struct store_txn *txn, const struct journal_block *block,
                              const struct event_data *events, size_t n, uint64_t *first_seq, struct err *e);

struct journal_bounds {
    uint64_t head;   /* seq of the newest event ever appended; 0 when there was none */
    uint64_t oldest; /* seq of the oldest event held; head + 1 when none is */
};
MUST_CHECK int journal_bounds(struct store_txn *txn, struct journal_bounds *out, struct err *e);

/*
 * Copy events from `from` on into the arena: at most max_events, and no further once max_bytes of payload
 * are reached (at least one event). *n is 0 when `from` is beyond head; reading below oldest is ERR_STORE.
 */
MUST_CHECK int journal_read(struct store_txn *txn, uint64_t from, size_t max_events, size_t max_bytes,
                            struct arena *a, struct event_data **events, size_t *n, struct err *e);

/*
 * Remove whole blocks from the oldest on, while their last seq <= settled, and either source_ms < before_ms
 * or `for_space`; at most max_blocks. *removed counts blocks: the caller repeats in further transactions.
 */
MUST_CHECK int journal_trim(struct store_txn *txn, uint64_t settled, int64_t before_ms, bool for_space,
                            size_t max_blocks, size_t *removed, struct err *e);

#endif
