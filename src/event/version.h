/*
 * version: the stamp that decides which of two writes to a field is newer.
 *
 * (epoch, commitNumber, sequenceNumber), compared in that order and no other way: a total order. Commit
 * timestamps do not order transactions (pubsub-api 9.2); they are for people and for target-side checks.
 * `rank` is 0 for what the stream brought and 1 for a re-read row, which stands just above the version it was
 * read after.
 *
 * Guarantees: total, transitive, antisymmetric; equal versions are the same change.
 * Ownership: a value. Thread: any. Errors: none.
 */
#ifndef EVENT_VERSION_H
#define EVENT_VERSION_H

#include "base/buf.h"

#include <stdint.h>

struct version {
    uint32_t epoch;   /* of the org: rises when its database instance changes */
    uint32_t rank;    /* 0 stream, 1 re-read row */
    int64_t commit;   /* commitNumber */
    int32_t sequence; /* sequenceNumber within the transaction */
};

#define VERSION_NONE                                                                                         \
    ((struct version){0, 0, 0, 0}) /* older than every real one: commit numbers are positive */

/* < 0: a is older; 0: the same change; > 0: a is newer. */
static inline int version_compare(const struct version *a, const struct version *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->commit != b->commit)
        return a->commit < b->commit ? -1 : 1;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return a->rank == b->rank ? 0 : a->rank < b->rank ? -1 : 1;
}

static inline bool version_is_none(const struct version *v)
{
    return v->epoch == 0 && v->commit == 0 && v->sequence == 0 && v->rank == 0;
}

/* "EPOCH.COMMIT.SEQUENCE", with "+" behind it for a re-read row: what `_version` and explanations show. */
void version_add_text(struct buf *out, const struct version *v);

#endif
