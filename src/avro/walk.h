/*
 * walk: a place in a payload, and the few steps every decoder is made of. Inside avro/ only.
 *
 * The steps take the place as an argument of its own so that a loop can keep it in a register; `at` in
 * struct walk is only written when somebody else goes on from there.
 *
 * Guarantees: no byte beyond `end` is read, whatever the payload says.
 * Errors: -1, err filled with "byte N: …".
 */
#ifndef AVRO_WALK_H
#define AVRO_WALK_H

#include "avro/plan.h"
#include "base/text.h"

#include <endian.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct walk {
    const uint8_t *at;
    const uint8_t *start;
    const uint8_t *end;
    struct arena *arena;
    struct err *e;
    int depth;
    /* Fields of the records that are being walked, innermost last; copied out when a record is whole. */
    struct field_value *stack;
    uint32_t n;
    uint32_t cap;
    bool on_heap;
};

/* The fields named by one of the three header arrays, as they came. */
struct bitmap_text {
    const char *name;
    const struct span *elements;
    uint32_t n;
};

struct header_bitmaps {
    struct bitmap_text nulled, diff, changed;
};

int walk_fail(struct walk *w, const uint8_t *at, const char *fmt, ...) PRINTF_LIKE(3, 4)
    __attribute__((cold, noinline));
#ifdef __clang_analyzer__ /* as for err_set: it returns -1 */
#define walk_fail(...) (walk_fail(__VA_ARGS__), -1)
#endif
MUST_CHECK int walk_value(struct walk *w, const struct avro_node *type, struct cell *out);
/* The steps of a record from step `from` on: its non-null values, in the arena. */
MUST_CHECK int walk_fields(struct walk *w, const struct avro_node *type, uint32_t from,
                           const struct field_value **out, uint32_t *n);
MUST_CHECK int walk_strings(struct walk *w, const struct span **out, uint32_t *n);
MUST_CHECK int walk_header(struct walk *w, const struct avro_plan *plan, struct change_header *out,
                           struct header_bitmaps *bitmaps);
/* body: the event's values, which tell whether a field that can be text or compound is a compound here. */
MUST_CHECK int bitmap_read(struct walk *w, const struct avro_plan *plan, const struct bitmap_text *text,
                           const struct change *body, struct field_set *out);
MUST_CHECK int walk_long_slow(struct walk *w, const uint8_t **at, int64_t *out);
MUST_CHECK int walk_text_slow(struct walk *w, const uint8_t *p, size_t n);

static inline size_t walk_left(const struct walk *w, const uint8_t *at)
{
    return (size_t)(w->end - at);
}

/* Zigzag varint. One and two bytes are most of them: lengths, counts. */
static inline int walk_long(struct walk *w, const uint8_t **at, int64_t *out)
{
    const uint8_t *p = *at;
    if (LIKELY(p < w->end && !(p[0] & 0x80))) {
        *out = (p[0] >> 1) ^ -(int64_t)(p[0] & 1);
        *at = p + 1;
        return 0;
    }
    return walk_long_slow(w, at, out);
}

static inline int walk_int(struct walk *w, const uint8_t **at, int64_t *out)
{
    const uint8_t *from = *at;
    if (walk_long(w, at, out) != 0)
        return -1;
    if (UNLIKELY(*out < INT32_MIN || *out > INT32_MAX))
        return walk_fail(w, from, "int %lld does not fit 32 bits", (long long)*out);
    return 0;
}

/* The length and the bytes of a string or bytes value; the bytes stay where they are. */
static inline int walk_bytes(struct walk *w, const uint8_t **at, const char *what, struct span *out)
{
    const uint8_t *from = *at;
    int64_t n;
    if (walk_long(w, at, &n) != 0)
        return -1;
    if (UNLIKELY((uint64_t)n > walk_left(w, *at)))
        return walk_fail(w, from, "%s of %lld bytes, %zu are left", what, (long long)n, walk_left(w, *at));
    *out = span_of(*at, (size_t)n);
    *at += n;
    return 0;
}

/* True when all n bytes are ASCII; may look at, but not decide by, the payload's bytes after them. */
static inline bool walk_is_ascii(const struct walk *w, const uint8_t *p, size_t n)
{
#ifdef __SSE2__
    if (LIKELY(n < 16 && walk_left(w, p) >= 16)) {
        int high = _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)p));
        return !(high & ((1 << n) - 1));
    }
    if (n >= 16) {
        __m128i all = _mm_loadu_si128((const __m128i *)(const void *)(p + n - 16));
        for (size_t i = 0; i + 16 < n; i += 16)
            all = _mm_or_si128(all, _mm_loadu_si128((const __m128i *)(const void *)(p + i)));
        return !_mm_movemask_epi8(all);
    }
#endif
    (void)w;
    uint8_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= p[i];
    return !(all & 0x80);
}

static inline int walk_string(struct walk *w, const uint8_t **at, struct span *out)
{
    if (walk_bytes(w, at, "string", out) != 0)
        return -1;
    if (LIKELY(walk_is_ascii(w, out->p, out->n)))
        return 0;
    return walk_text_slow(w, out->p, out->n);
}

static inline int walk_boolean(struct walk *w, const uint8_t **at, bool *out)
{
    if (UNLIKELY(*at >= w->end))
        return walk_fail(w, *at, "the payload ends where a boolean should be");
    if (UNLIKELY(**at > 1))
        return walk_fail(w, *at, "boolean %u is neither 0 nor 1", **at);
    *out = *(*at)++;
    return 0;
}

static inline int walk_double(struct walk *w, const uint8_t **at, double *out)
{
    if (UNLIKELY(walk_left(w, *at) < sizeof *out))
        return walk_fail(w, *at, "the payload ends inside a double");
    uint64_t bits;
    memcpy(&bits, *at, sizeof bits);
    bits = le64toh(bits);
    memcpy(out, &bits, sizeof bits);
    *at += sizeof bits;
    return 0;
}

#endif
