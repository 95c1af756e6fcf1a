/*
 * seen_set: the newest identities, in memory.
 *
 * Identities in the order they were added, and an open-addressing index of 4 bytes per slot: position + 1 in
 * the lower 24 bits, 8 bits of hash above, so that a miss does not touch the identities. The order makes
 * undoing a transaction a matter of cutting the tail.
 *
 * Calling order: seen_set_init -> seen_set_add / seen_set_has … -> seen_set_release.
 * Ownership: owns its arrays; they are kept by seen_set_clear. Thread: one at a time. Errors: none;
 * SEEN_SET_MAX is checked by the caller.
 */
#ifndef STORE_SEEN_SET_H
#define STORE_SEEN_SET_H

#include "store/seen_filter.h"
#include "store/seen_ids.h"

struct seen_set {
    struct identity *ids;
    uint32_t *index;
    uint32_t n, cap;
    unsigned index_bits;
};

enum { SEEN_SET_MAX = (1 << 24) - 2 };

/* Room for `expected` without growing. */
void seen_set_init(struct seen_set *set, uint32_t expected);
void seen_set_release(struct seen_set *set);
void seen_set_clear(struct seen_set *set);
/* Keep the first n. */
void seen_set_cut(struct seen_set *set, uint32_t n);
/* False when it was there. */
bool seen_set_add(struct seen_set *set, struct identity id);

static inline uint32_t seen_set_slot(const struct seen_set *set, const struct probe *p)
{
    return p->hash >> (32 - set->index_bits);
}

static inline void seen_set_prefetch(const struct seen_set *set, const struct probe *p)
{
    __builtin_prefetch(&set->index[seen_set_slot(set, p)]);
}

static inline bool seen_set_has(const struct seen_set *set, struct identity id, const struct probe *p)
{
    uint32_t wrap = (1U << set->index_bits) - 1;
    for (uint32_t at = seen_set_slot(set, p); set->index[at] != 0; at = (at + 1) & wrap)
        if (set->index[at] >> 24 == p->tag && id_equal(set->ids[(set->index[at] & 0xffffff) - 1], id))
            return true;
    return false;
}

#endif
