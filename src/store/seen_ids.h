/*
 * seen_ids: identities in order, as they lie in the map.
 *
 * A sorted sequence of identities in the map is 16 bytes each, high then low, little-endian, at any
 * alignment (small values lie inside a B-tree page). The order is by high, then low.
 *
 * Ownership: borrows. Thread: any. Errors: none.
 */
#ifndef STORE_SEEN_IDS_H
#define STORE_SEEN_IDS_H

#include "store/seen.h"

enum { ID_BYTES = 16 };
_Static_assert(sizeof(struct identity) == ID_BYTES, "identities are copied to the map as they are");

static inline struct identity id_at(const uint8_t *ids, size_t i)
{
    struct identity id;
    memcpy(&id, ids + i * ID_BYTES, sizeof id);
    return id;
}

static inline bool id_equal(struct identity a, struct identity b)
{
    return a.high == b.high && a.low == b.low;
}

static inline bool id_less(struct identity a, struct identity b)
{
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

/* Where id lies between first and last, as a share of n; a guess, always below n (n > 0). Hashes are uniform,
 * so it is nearly right. */
static inline size_t id_guess(struct identity id, struct identity first, struct identity last, size_t n)
{
    if (id.high <= first.high || last.high <= first.high)
        return 0;
    if (id.high >= last.high)
        return n - 1;
    double share = (double)(id.high - first.high) / (double)(last.high - first.high);
    size_t at = (size_t)(share * (double)n);
    return at < n ? at : n - 1;
}

/* The first position of a sorted sequence whose identity is not less than id; n when all are less. The search goes
 * out from guess, which is below n unless n is 0. */
size_t ids_lower_bound(const uint8_t *ids, size_t n, struct identity id, size_t guess);
/* The first position whose identity is greater than id. */
size_t ids_upper_bound(const uint8_t *ids, size_t n, struct identity id, size_t guess);

#endif
