/*
 * record_state: what delivery remembers of one record in a target: the versions of its fields, as few bytes.
 *
 * A field that is not listed has the version `base`: that of the newest full image (or deletion that is not soft,
 * which is one of nothing), or of what was folded below the horizon. Listed fields are newer. Existence is a field of its
 * own; UPDATEs do not touch it. As bytes: flags, the versions once each as differences to the first, the
 * fields of a version as a list of small differences; 12 to 40 bytes for most records. Where edits in the target won, a
 * bit per field behind it; no decision looks at them.
 *
 * Fields are named by their numbers in _tidemark_fields, which are never reused.
 *
 * Guarantees
 *   decode(encode(s)) is s; the same state gives the same bytes.
 *   Hostile bytes are an error, never a crash, and cost no more memory than a small multiple of their length.
 *
 * Ownership: what decode and fold give lives in the arena; values and texts of a decoded state borrow the
 * bytes.
 * Thread: any. Errors: record_state_decode: -1 with ERR_REJECTED: the bytes are not ours.
 */
#ifndef DELIVERY_RECORD_STATE_H
#define DELIVERY_RECORD_STATE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "event/version.h"
#include "sink/mirror.h"

enum record_existence {
    RECORD_UNSEEN,  /* no full image and no deletion came: whatever is held is a part of it */
    RECORD_EXISTS,  /* the newest of them was a full image */
    RECORD_DELETED, /* … a deletion */
};

struct field_version {
    uint32_t field;
    struct version version; /* newer than base */
    /* Of a deleted record: the value an UPDATE newer than the deletion brought, for the image that brings the row
     * back. NULL: there is none, or nobody knows it. */
    const struct mirror_value *kept;
    uint64_t hash; /* of the value last written, for entities that skip what is unchanged; 0: none */
    bool edited;   /* its change did not reach the row: an edit in the target won. For people alone */
};

struct record_state {
    enum record_existence existence;
    struct version existed; /* when that came; VERSION_NONE while RECORD_UNSEEN */
    struct version base;
    bool base_edited;     /* the image that base is of did not reach the row: an edit in the target won */
    struct version dirty; /* the newest gap that no full image has covered; VERSION_NONE: none */
    int64_t deleted_ms;   /* when it was, if softly: for a row that is made afterwards; 0: not */
    int64_t stamp_ms;     /* what we last wrote into the target's last-modified column; 0: nothing */
    int64_t bound_ms;     /* what the target itself fills in there when we write is not later; 0: nothing */
    int64_t edit_ms;      /* of somebody else's edit that our last write left standing; 0: there is none */
    uint32_t n;
    const struct field_version *fields; /* ascending field */
};

enum { RECORD_STATE_MOST_FIELDS = 20000, RECORD_STATE_MOST_NUMBER = 1 << 24 };

/* Nothing is known of it. */
#define RECORD_STATE_NONE ((struct record_state){.existence = RECORD_UNSEEN})

/* Append the bytes. Never more than RECORD_STATE_MOST_FIELDS fields: BUG. */
void record_state_encode(const struct record_state *s, struct buf *out);
/* Empty bytes are RECORD_STATE_NONE. */
MUST_CHECK int record_state_decode(struct span bytes, struct arena *a, struct record_state *out,
                                   struct err *e);

/* NULL: not listed, its version is base. */
const struct field_version *record_state_find(const struct record_state *s, uint32_t field);
struct version record_state_version(const struct record_state *s, uint32_t field);
/* The newest version of all. */
struct version record_state_newest(const struct record_state *s);
/* Its row lacks what a full image would have brought. */
bool record_state_incomplete(const struct record_state *s);

/* Keep (or, with NULL, forget) the value of listed field i; the list must be the caller's own. */
void record_state_keep(struct record_state *s, uint32_t i, const struct mirror_value *value);

/* The values last written of these fields (ascending; hash 0: unknown), by a change of this version. */
void record_state_hash(struct record_state *s, const struct version *v, uint32_t n, const uint32_t *fields,
                       const uint64_t *hashes, struct arena *a);

/* What change `v` said of these fields, or as a full image of all, did not reach the row. The list must be the caller's. */
void record_state_edited(struct record_state *s, const struct version *v);

/* What is not newer than `horizon` can not be contested any more: it goes into the base. */
void record_state_fold(struct record_state *s, const struct version *horizon, struct arena *a);

#endif
