/*
 * buf: a growing byte buffer.
 *
 * Guarantees: data[0..len) are the bytes; data[len] is a NUL after every append, so a text buffer can
 * be printed. Grows by doubling. Memory stays until buf_release, so a buffer reused per batch stops
 * allocating soon.
 *
 * Calling order: BUF_INIT -> buf_add*()... -> buf_clear() to reuse -> buf_release().
 * Ownership: the struct owns data; buf_detach gives it away. Thread: one at a time.
 * Errors: allocation failure ends the process (alloc.h). Input that comes from outside is checked
 * against a maximum by the caller before it is added.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/compiler.h"
#include "base/span.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

#define BUF_INIT {NULL, 0, 0}

/* Make room for `more` bytes and the NUL; returns where they go. Follow with buf_added. */
uint8_t *buf_reserve_slow(struct buf *b, size_t more);

static inline uint8_t *buf_reserve(struct buf *b, size_t more)
{
    if (LIKELY(b->cap - b->len > more))
        return b->data + b->len;
    return buf_reserve_slow(b, more);
}

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = buf_reserve(b, n);
    if (n)
        memcpy(to, p, n);
    to[n] = 0;
    b->len += n;
}

static inline void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

static inline void buf_add_span(struct buf *b, struct span s)
{
    buf_add(b, s.p, s.n);
}

static inline void buf_add_char(struct buf *b, char c)
{
    uint8_t *to = buf_reserve(b, 1);
    to[0] = (uint8_t)c;
    to[1] = 0;
    b->len++;
}

void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *b);
void buf_release(struct buf *b);
/* Gives data to the caller (free()); the buffer is empty afterwards. Never NULL. */
char *buf_detach(struct buf *b);

static inline struct span buf_span(const struct buf *b)
{
    return span_of(b->data, b->len);
}

#endif
