/*
 * histogram: how long things took, counted in fixed buckets.
 *
 * Guarantees: counting is one increment and one addition, without a lock. A reader sees every bucket as it
 * was at some moment; the number of observations is the sum of the buckets read, so that it always agrees
 * with them.
 *
 * Thread: one thread counts, any may read. Errors: none.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* Upper bounds in ms, each inclusive: from what a fast target needs to what an outage over a weekend costs.
 */
static const int64_t histogram_bounds_ms[] = {5,     10,     25,      50,      100,      250,
                                              500,   1000,   2500,    5000,    10000,    30000,
                                              60000, 300000, 1800000, 7200000, 21600000, 86400000};

enum { HISTOGRAM_BOUNDS = sizeof histogram_bounds_ms / sizeof *histogram_bounds_ms };

/* All zero: nothing was counted yet. */
struct histogram {
    atomic_uint_fast64_t buckets[HISTOGRAM_BOUNDS + 1]; /* the last: above every bound */
    atomic_int_fast64_t sum_ms;
};

struct histogram_view {
    uint64_t buckets[HISTOGRAM_BOUNDS + 1]; /* not cumulated */
    int64_t sum_ms;
};

/* A time that seems negative (two clocks, a clock set back) counts as none. */
static inline void histogram_add(struct histogram *h, int64_t ms)
{
    unsigned i = 0;
    if (ms < 0)
        ms = 0;
    while (i < HISTOGRAM_BOUNDS && ms > histogram_bounds_ms[i])
        i++;
    /* a single writer: no read-modify-write is needed */
    atomic_store_explicit(&h->buckets[i], atomic_load_explicit(&h->buckets[i], memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&h->sum_ms, atomic_load_explicit(&h->sum_ms, memory_order_relaxed) + ms,
                          memory_order_relaxed);
}

static inline void histogram_read(const struct histogram *h, struct histogram_view *out)
{
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
        out->buckets[i] = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    out->sum_ms = atomic_load_explicit(&h->sum_ms, memory_order_relaxed);
}

#endif
