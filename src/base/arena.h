/*
 * arena: many small pieces of memory that die together.
 *
 * One arena per batch of deliveries (or per response), reset after the batch's commit. Pieces are
 * aligned to 8 bytes and not cleared.
 *
 * Calling order: ARENA_INIT -> arena_alloc()... -> arena_reset() to reuse -> arena_release().
 * arena_reset keeps the memory of one batch, merged into one block when it took several, so that a
 * steady load allocates nothing.
 * Ownership: pieces belong to the arena. Thread: one at a time. Errors: none (alloc.h).
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/span.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    uint8_t *next;              /* free part of the newest block */
    uint8_t *end;
    size_t total; /* bytes in all blocks */
};

#define ARENA_INIT                                                                                           \
    {                                                                                                        \
        NULL, NULL, NULL, 0                                                                                  \
    }

void *arena_alloc_slow(struct arena *a, size_t n);

static inline void *arena_alloc(struct arena *a, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if ((size_t)(a->end - a->next) >= n && a->next) {
        void *p = a->next;
        a->next += n;
        return p;
    }
    return arena_alloc_slow(a, n);
}

/* The newest piece was given n bytes and needs only `used` of them: the next one begins there. */
static inline void arena_shrink(struct arena *a, const void *newest, size_t n, size_t used)
{
    const size_t held = (n + 7) & ~(size_t)7, kept = (used + 7) & ~(size_t)7;
    if (kept < held && (const uint8_t *)newest + held == a->next)
        a->next -= held - kept;
}

/* The next n bytes come from one block, so that a batch of known size allocates once. */
void arena_reserve(struct arena *a, size_t n);

/* Copy bytes in; the result is valid until reset. */
struct span arena_copy(struct arena *a, struct span s);
/* As arena_copy, NUL-terminated. */
char *arena_strndup(struct arena *a, const void *p, size_t n);

void arena_reset(struct arena *a);
void arena_release(struct arena *a);

#endif
