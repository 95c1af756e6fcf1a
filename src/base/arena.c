#include "base/arena.h"

#include "base/alloc.h"
#include "base/err.h"

enum { FIRST_BLOCK = 16 * 1024, KEEP_AT_MOST = 64 * 1024 * 1024 };

struct arena_block {
    struct arena_block *older;
    size_t size;
    uint8_t bytes[] __attribute__((aligned(16)));
};

static void add_block(struct arena *a, size_t size)
{
    struct arena_block *b = xmalloc(sizeof *b + size);
    b->older = a->blocks;
    b->size = size;
    a->blocks = b;
    a->next = b->bytes;
    a->end = b->bytes + size;
    a->total += size;
}

void *arena_alloc_slow(struct arena *a, size_t n)
{
    BUG_IF(n > SIZE_MAX / 4);
    size_t size = a->total ? a->total : FIRST_BLOCK;
    if (size > KEEP_AT_MOST)
        size = KEEP_AT_MOST;
    add_block(a, size > n ? size : n);
    void *p = a->next;
    a->next += n;
    return p;
}

void arena_reserve(struct arena *a, size_t n)
{
    BUG_IF(n > SIZE_MAX / 4);
    if (!a->next || (size_t)(a->end - a->next) < n)
        add_block(a, n);
}

struct span arena_copy(struct arena *a, struct span s)
{
    uint8_t *p = arena_alloc(a, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return span_of(p, s.n);
}

char *arena_strndup(struct arena *a, const void *p, size_t n)
{
    char *copy = arena_alloc(a, n + 1);
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

void arena_reset(struct arena *a)
{
    size_t total = a->total;
    if (!a->blocks)
        return;
    if (a->blocks->older || total > KEEP_AT_MOST) {
        arena_release(a);
        add_block(a, total > KEEP_AT_MOST ? KEEP_AT_MOST : total);
    }
    a->next = a->blocks->bytes;
}

void arena_release(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *older = a->blocks->older;
        free(a->blocks);
        a->blocks = older;
    }
    *a = (struct arena)ARENA_INIT;
}
