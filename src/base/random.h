/*
 * random: unpredictable bytes from the kernel (ids, jitter), and a seeded generator for tests and the
 * simulator, whose sequence is the same everywhere.
 *
 * Thread: random_bytes any; struct rng one at a time.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t n);
/* Uniform in [0, n); n > 0. */
uint64_t random_below(uint64_t n);
/* Version 4 UUID as text: 36 characters and a NUL. */
void random_uuid(char out[37]);

/* SplitMix64: small, seeded, good enough for workloads and schedules; not for secrets. */
struct rng {
    uint64_t state;
};

uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

#endif
