/*
 * conflict: newest wins, per field. Pure decisions: a record's state and a change in, a state and what to
 * write out.
 *
 * Rules (DESIGN's "Conflict check", stated so that the order of arrival can not matter)
 *   A field takes a value whose version is not older than the field's own; equal is the same change, applied
 *   again. A full image (CREATE, UNDELETE, re-read row) speaks about every field, a deletion too; an UPDATE
 *   about those it names. The newest full image or deletion says whether the record exists; an UPDATE does
 *   not bring a row back: it keeps its versions, and its values, for a full image that is newer than the
 *   deletion. Without any full image a row is held as far as it is known, and is incomplete; a gap makes it
 *   so, too, until a full image not older than the gap.
 *   A soft deletion marks the row and says nothing about fields: they go on by their own versions, so that what was
 *   done before the deletion and comes after it is in the marked row as well.
 *
 * Guarantees: the same changes in any order, repeated or not, give the same state and the same winners.
 * Ownership: what comes out lives in the arena, or borrows what went in. Thread: any. Errors: none.
 */
#ifndef DELIVERY_CONFLICT_H
#define DELIVERY_CONFLICT_H

#include "delivery/record_state.h"

enum conflict_kind { CONFLICT_IMAGE, CONFLICT_UPDATE, CONFLICT_DELETE, CONFLICT_GAP };

struct conflict_change {
    enum conflict_kind kind;
    struct version version;
    bool soft; /* deletions in this table are */
    /* UPDATE: the fields it names, ascending. IMAGE: every field the table has, ascending. */
    uint32_t n;
    const uint32_t *fields;
};

enum conflict_row {
    CONFLICT_ROW_NONE,  /* nothing changes, not even the state */
    CONFLICT_ROW_STATE, /* the state changes, the row (if any) does not */
    CONFLICT_ROW_UPSERT, /* the fields that won go to the row, which is there afterwards (soft: perhaps marked) */
    CONFLICT_ROW_DELETE, /* the row goes */
};

struct conflict_decision {
    enum conflict_row row;
    bool superseded; /* nothing of it was news */
    bool returns;    /* UPSERT: the record was deleted: values kept in `next` go to the row as well */
    bool owes;       /* the record has become incomplete: it must be re-read */
    uint32_t n_won;
    bool *won;                /* per field of the change: it takes the change's value */
    struct record_state next; /* kept values of an UPDATE to a deleted record are the caller's to fill in */
};

void conflict_decide(const struct record_state *held, const struct conflict_change *change, struct arena *a,
                     struct conflict_decision *out);

#endif
