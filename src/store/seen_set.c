#include "store/seen_set.h"

#include "base/alloc.h"

static void index_put(struct seen_set *set, uint32_t at)
{
    struct probe p = probe_of(set->ids[at]);
    uint32_t wrap = (1U << set->index_bits) - 1, slot = seen_set_slot(set, &p);
    while (set->index[slot] != 0)
        slot = (slot + 1) & wrap;
    set->index[slot] = (uint32_t)p.tag << 24 | (at + 1);
}

static void index_rebuild(struct seen_set *set)
{
    memset(set->index, 0, sizeof *set->index << set->index_bits);
    for (uint32_t i = 0; i < set->n; i++)
        index_put(set, i);
}

void seen_set_init(struct seen_set *set, uint32_t expected)
{
    *set = (struct seen_set){.index_bits = 6, .cap = expected > 16 ? expected : 16};
    while (1U << set->index_bits < 2 * (uint64_t)expected)
        set->index_bits++;
    set->ids = xmalloc(set->cap * sizeof *set->ids);
    set->index = xmalloc(sizeof *set->index << set->index_bits);
    /* Written, so that it is the process's from the start: else it would look like a leak for the first minutes. */
    memset(set->ids, 0xff, set->cap * sizeof *set->ids);
    memset(set->index, 0, sizeof *set->index << set->index_bits);
}

void seen_set_release(struct seen_set *set)
{
    free(set->ids);
    free(set->index);
    *set = (struct seen_set){0};
}

void seen_set_clear(struct seen_set *set)
{
    set->n = 0;
    memset(set->index, 0, sizeof *set->index << set->index_bits);
}

void seen_set_cut(struct seen_set *set, uint32_t n)
{
    if (n == set->n)
        return;
    set->n = n;
    index_rebuild(set);
}

static void grow(struct seen_set *set)
{
    if (set->n == set->cap) {
        set->cap += set->cap / 2;
        set->ids = xrealloc(set->ids, set->cap * sizeof *set->ids);
    }
    /* At most five slots in eight taken: a miss ends after two or three. */
    if ((uint64_t)set->n * 8 >= 5ULL << set->index_bits) {
        set->index_bits++;
        free(set->index);
        set->index = xmalloc(sizeof *set->index << set->index_bits);
        index_rebuild(set);
    }
}

bool seen_set_add(struct seen_set *set, struct identity id)
{
    struct probe p = probe_of(id);
    if (seen_set_has(set, id, &p))
        return false;
    grow(set);
    set->ids[set->n] = id;
    index_put(set, set->n);
    set->n++;
    return true;
}
