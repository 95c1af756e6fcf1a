/*
 * encode: Avro binary and change bitmaps, the writing side.
 *
 * Deliberately shares nothing with the daemon's decoder: a simulator that did would prove that the
 * decoder agrees with itself.
 *
 * Arrays are written as the service writes them: one block of positive count, then zero; an empty array
 * is one zero byte. Bitmaps as in all captures: upper-case hex of whole bytes, big-endian, shortest
 * form; a compound's own top-level bit stays clear (pubsub-api 9.5).
 *
 * Ownership: appends to the caller's buffer. Thread: any. Errors: none.
 */
#ifndef SIM_ENCODE_H
#define SIM_ENCODE_H

#include "base/buf.h"

void enc_long(struct buf *b, int64_t v); /* int, long, enum symbol, union branch, counts */
void enc_double(struct buf *b, double v);
void enc_boolean(struct buf *b, bool v);
void enc_string(struct buf *b, struct span s);
void enc_string_array(struct buf *b, const struct span *items, size_t n);

/* Bits of one record: bit i stands for field i. */
enum { BITS_MAX_FIELDS = 256 };
struct field_mask {
    uint64_t words[BITS_MAX_FIELDS / 64];
};

static inline void mask_set(struct field_mask *m, unsigned i)
{
    m->words[i / 64] |= 1ull << (i % 64);
}

static inline bool mask_has(const struct field_mask *m, unsigned i)
{
    return m->words[i / 64] >> (i % 64) & 1;
}

bool mask_empty(const struct field_mask *m);

/* Append "0x…", nothing when no bit is set. Returns whether something was appended. */
bool bitmap_text(struct buf *out, const struct field_mask *m);
/* Append "<parent>-0x…", nothing when no bit is set. */
bool bitmap_nested_text(struct buf *out, unsigned parent, const struct field_mask *m);

#endif
