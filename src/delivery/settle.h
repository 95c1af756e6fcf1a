/*
 * settle: the pieces of a batch, decided and written in one transaction of the mirror. Internal to delivery/.
 *
 * Pieces are decided in journal order in memory; a record's row is written once, with all that won. What the
 * target refuses is taken apart: with `best_effort` the pieces of a refused row are tried one by one, so that
 * only what is really refused is parked; with `atomic` a Salesforce transaction goes in whole, or is parked
 * whole. What the target cannot take without losing all the rest (poison.h) is refused before it is written.
 *
 * Guarantees
 *   Afterwards every piece has an outcome, and the target's transaction holds exactly what the outcomes say.
 *   A row that goes and comes back in one batch is written twice, so that batches can be cut anywhere.
 *
 * Calling order: begin of the mirror -> settle_load -> settle_pieces -> commit of the mirror.
 * Ownership: everything in the batch's arena. Thread: the sink's.
 * Errors: -1 with the mirror's err: the transaction is to be rolled back. SETTLE_AGAIN: it is to be rolled
 * back and settled anew; the row that undid it, or the group that could not go in whole, is remembered in `poison`.
 */
#ifndef DELIVERY_SETTLE_H
#define DELIVERY_SETTLE_H

#include "delivery/pieces.h"
#include "delivery/poison.h"

struct settle {
    const struct mirror_ops *ops;
    struct mirror *mirror;
    struct pieces *pieces;
    struct arena *arena;
    bool atomic;
    struct version horizon; /* VERSION_NONE: none is known */
    /* NULL, or what can be done while the target works on rows it was sent. */
    void (*meanwhile)(void *context);
    void *context;
    struct poison *poison;
    uint64_t group; /* atomic: the key of the one in hand */
    bool unwritten; /* within a group: a row was written that the group's refusal could not undo */
    bool wrote;     /* something went in, or nothing needs to: strikes are believed (poison.h) */
    bool again;     /* a call that failed is answered by SETTLE_AGAIN */
};

enum settle_result { SETTLE_DONE, SETTLE_AGAIN };

/* What the target holds of the records of all tables that take part. */
MUST_CHECK int settle_load(struct settle *s, struct err *e);
/* A settle_result, or -1. */
MUST_CHECK int settle_pieces(struct settle *s, struct err *e);

/* settle_apply.c: decide one piece on its record, in memory. May write the record's row first. 0 or -1. */
MUST_CHECK int settle_apply(struct settle *s, struct piece *piece, struct err *e);
/*
 * settle_texts.c: *out is the mapped event with what its differences give for this record; misses_text when
 * one can not be applied to what the record holds. *refused: NULL, or why what one gives does not fit its column.
 * 0 or -1.
 */
MUST_CHECK int settle_texts(struct settle *s, const struct piece *piece, struct mapped *out,
                            const char **refused, struct err *e);
/* settle_stamps.c: what the last-modified column of the record's row says is of our own writing. */
bool settle_is_ours(const struct record *r, int64_t modified_ms);
/* Targets that fill this column by themselves, at our writes too: remember what they wrote. 0 or -1. */
MUST_CHECK int settle_stamps(struct settle *s, struct err *e);
/* settle_rows.c: the row that brings the target to what was decided for the record. */
void settle_row(struct settle *s, struct record *r, struct mirror_row *row);
/* The row is in: what was decided is what the target holds. */
void settle_written(struct record *r, const struct mirror_row *row);
/* Forget what was decided since the target's row. */
void settle_revert(struct record *r);
/* As write of the mirror, without what is known to be poisonous. */
MUST_CHECK int settle_write(struct settle *s, struct mirror_row *rows, struct record *const *records,
                            size_t n, bool whole, struct err *e);
/* Write the record's row alone: 0 (see *refused, and row->why), or -1. */
MUST_CHECK int settle_write_one(struct settle *s, struct record *r, bool *refused, const char **why,
                                struct err *e);

#endif
