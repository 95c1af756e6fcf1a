/*
 * span: a view of bytes that somebody else owns.
 *
 * Guarantees: none beyond "n bytes at p"; never NUL-terminated, p may be NULL when n is 0.
 * Ownership: a span borrows. Whoever hands one out says how long it is valid.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *p;
    size_t n;
};

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){(const uint8_t *)p, n};
}

static inline struct span span_of_str(const char *s)
{
    return span_of(s, s ? strlen(s) : 0);
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_equal_str(struct span a, const char *s)
{
    return span_equal(a, span_of_str(s));
}

/* Order of bytes, a beginning before what it begins: as memcmp says it. */
static inline int span_compare(struct span a, struct span b)
{
    const size_t n = a.n < b.n ? a.n : b.n;
    const int by = n ? memcmp(a.p, b.p, n) : 0;
    return by ? by : (a.n > b.n) - (a.n < b.n);
}

/* For printf: "%.*s", SPAN_ARG(s). */
#define SPAN_ARG(s) (int)(s).n, (const char *)(s).p

#endif
