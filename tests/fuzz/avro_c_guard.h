/*
 * avro_c_guard: avro-c made fit to be an oracle. It allocates what a length says before it looks whether the
 * bytes are there, and leaks what it allocated when a read fails.
 *
 * guard_begin -> avro-c -> guard_end, which frees what was left. Allocations over 64 MiB fail.
 */
#ifndef TESTS_AVRO_C_GUARD_H
#define TESTS_AVRO_C_GUARD_H

#include <avro.h>
#include <stdlib.h>
#include <string.h>

struct guard_block {
    struct guard_block *next, *previous;
};

static struct guard_block guard_blocks = {&guard_blocks, &guard_blocks};

static inline void guard_unlink(struct guard_block *b)
{
    b->next->previous = b->previous;
    b->previous->next = b->next;
}

static inline void *guard_allocate(void *ctx, void *p, size_t old_size, size_t size)
{
    (void)ctx;
    struct guard_block *old = p ? (struct guard_block *)p - 1 : NULL, *b = NULL;
    if (size > 64 << 20)
        return NULL;
    if (size > 0) {
        b = malloc(sizeof *b + size);
        memset(b + 1, 0, size); /* avro-c leaves what it did not read as it was */
        if (old)
            memcpy(b + 1, old + 1, old_size < size ? old_size : size);
        b->next = guard_blocks.next;
        b->previous = &guard_blocks;
        b->next->previous = b;
        guard_blocks.next = b;
    }
    if (old) {
        guard_unlink(old);
        free(old);
    }
    return b ? b + 1 : NULL;
}

static inline void guard_begin(void)
{
    avro_set_allocator(guard_allocate, NULL);
}

static inline void guard_end(void)
{
    while (guard_blocks.next != &guard_blocks) {
        struct guard_block *b = guard_blocks.next;
        guard_unlink(b);
        free(b);
    }
}

#endif
