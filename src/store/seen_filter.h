/*
 * seen_filter: a blocked Bloom filter, asked with one cache line.
 *
 * A filter is an array of blocks of 64 bytes. An identity belongs to one block and sets four bits in each of
 * two of its eight words. At 16 bits per identity about one miss in 900 finds all eight set. The first word
 * alone turns nearly all misses away, so the branch on it is predictable; what is asked of the words depends
 * on the identity only, so many filters are asked for the price of computing it once.
 *
 * Guarantee: filter_has is true for everything that was added.
 * Ownership: borrows. Thread: any. Errors: none.
 */
#ifndef STORE_SEEN_FILTER_H
#define STORE_SEEN_FILTER_H

#include "store/seen.h"

enum { FILTER_BLOCK_BYTES = 64, FILTER_BLOCK_WORDS = 8, FILTER_BITS_PER_ID = 16 };

/* What an identity asks of any filter. hash also finds its place in the memory set. */
struct probe {
    uint32_t hash;
    uint8_t tag;
    uint8_t word[2];
    uint64_t mask[2];
};

static inline uint64_t probe_mask(uint64_t bits)
{
    return 1ULL << (bits & 63) | 1ULL << (bits >> 6 & 63) | 1ULL << (bits >> 12 & 63) | 1ULL << (bits >> 18 & 63);
}

static inline struct probe probe_of(struct identity id)
{
    /* Both words are hashes already; the mixing keeps a segment, which is a narrow range of high, and odd
     * inputs of tests evenly spread. */
    uint64_t a = (id.high ^ (id.low << 32 | id.low >> 32)) * 0x9e3779b97f4a7c15ULL;
    uint64_t b = (id.low + id.high) * 0xd6e8feb86659fd93ULL;
    b ^= b >> 32;
    struct probe p = {.hash = (uint32_t)(a >> 32), .tag = (uint8_t)(a >> 24)};
    p.word[0] = (uint8_t)(b & 7);
    p.word[1] = (uint8_t)((p.word[0] + 1 + ((b >> 3 & 7) * 7 >> 3)) & 7); /* never the same word */
    p.mask[0] = probe_mask(b >> 6);
    p.mask[1] = probe_mask(b >> 30);
    return p;
}

static inline size_t filter_block(const struct probe *p, uint32_t blocks)
{
    return (size_t)((uint64_t)p->hash * blocks >> 32);
}

static inline bool filter_block_has(const uint64_t *block, const struct probe *p)
{
    return UNLIKELY((block[p->word[0]] & p->mask[0]) == p->mask[0]) &&
           (block[p->word[1]] & p->mask[1]) == p->mask[1];
}

static inline void filter_add(uint64_t *filter, uint32_t blocks, const struct probe *p)
{
    uint64_t *block = filter + filter_block(p, blocks) * FILTER_BLOCK_WORDS;
    block[p->word[0]] |= p->mask[0];
    block[p->word[1]] |= p->mask[1];
}

#endif
