/*
 * dead_letters: deliveries a sink finally refused, and events nobody can decode, kept whole with the reason.
 *
 * Guarantees: the key is (sink, seq, record id), so that parking the same delivery twice is harmless (I4); a
 * dead letter is committed before the batch that parks it is settled, and what such a batch did not park when
 * it came again is withdrawn before that try is settled: every letter up to a sink's cursor is true.
 *
 * Ownership: spans of a dead_letter borrow; those handed out live as long as the transaction.
 * Thread: as the transaction. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_DEAD_LETTERS_H
#define STORE_DEAD_LETTERS_H

#include "event/event.h"
#include "store/store.h"

enum dead_letter_status { DEAD_LETTER_RETRYING = 1, DEAD_LETTER_FINAL = 2 };

struct dead_letter {
    struct span sink;
    struct span record_id; /* empty in events mode */
    enum dead_letter_status status;
    int64_t parked_ms;    /* wall clock */
    struct span reason;   /* a class people can group by: "undecodable", "schema refused", "rejected" */
    struct span detail;   /* the whole message */
    struct event_data ev; /* whole, payload included */
};

MUST_CHECK int dead_letter_put(struct store_txn *txn, const struct dead_letter *d, struct err *e);
/* Walk all, or those of one sink (NULL: all), in key order. fn returning non-zero ends the walk, and is
 * returned. */
int dead_letter_each(struct store_txn *txn, const char *sink,
                     int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e);
/* The same, those of one sink with a seq from `first` to `last`. */
int dead_letter_between(struct store_txn *txn, const char *sink, uint64_t first, uint64_t last,
                        int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e);
/* 0 deleted, 1 was not there, -1 err. Not while a walk is under way. */
MUST_CHECK int dead_letter_delete(struct store_txn *txn, struct span sink, uint64_t seq,
                                  struct span record_id, struct err *e);
/* All that stand behind this one, which need not be there. */
int dead_letter_after(struct store_txn *txn, struct span sink, uint64_t seq, struct span record_id,
                      int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e);
/* Give it another status. 0; 1 it is not there; -1 err. Not while a walk is under way. */
MUST_CHECK int dead_letter_mark(struct store_txn *txn, struct span sink, uint64_t seq, struct span record_id,
                                enum dead_letter_status status, struct err *e);
/* What was parked for `from` is `to`'s from now on; of the same delivery, the letter of `from` stays. */
MUST_CHECK int dead_letters_rename(struct store_txn *txn, const char *from, const char *to, size_t *n,
                                   struct err *e);
const char *dead_letter_status_name(enum dead_letter_status status);

#endif
