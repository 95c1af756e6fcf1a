/*
 * line_writer: JSON text straight into a buffer's memory, for json_line only.
 *
 * base/json appends piece by piece, with a check and a NUL each; a line of sixty fields is some three
 * hundred pieces. Here room is made once per field and the pieces are plain stores.
 *
 * Calling order: writer_begin -> write_*()... -> writer_end. Between the two the buffer's len is stale.
 * Thread: one at a time. Errors: none.
 */
#ifndef EVENT_LINE_WRITER_H
#define EVENT_LINE_WRITER_H

#include "base/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct writer {
    uint8_t *at;
    uint8_t *end; /* the NUL still fits here */
    struct buf *out;
};

static inline void writer_begin(struct writer *w, struct buf *out)
{
    w->out = out;
    w->at = buf_reserve(out, 1024);
    w->end = out->data + out->cap - 1;
}

/* Hand the buffer back: what base/ appends after this goes behind what was written. */
static inline void writer_end(struct writer *w)
{
    *w->at = 0;
    w->out->len = (size_t)(w->at - w->out->data);
}

static inline void write_room(struct writer *w, size_t n)
{
    if (LIKELY((size_t)(w->end - w->at) >= n))
        return;
    w->out->len = (size_t)(w->at - w->out->data);
    w->at = buf_reserve(w->out, n > 1024 ? n : 1024);
    w->end = w->out->data + w->out->cap - 1;
}

static inline void write_raw(struct writer *w, const void *p, size_t n)
{
    write_room(w, n);
    memcpy(w->at, p, n);
    w->at += n;
}

#define write_literal(w, text) write_raw((w), "" text, sizeof(text) - 1)

static inline void write_char(struct writer *w, char c)
{
    write_room(w, 1);
    *w->at++ = (uint8_t)c;
}

/* Some byte of x is '"', '\' or below 0x20: it needs an escape. */
static inline bool eight_need_escape(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = x ^ ones * '"', backslash = x ^ ones * '\\';
    return (((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & high;
}

/* Copies n < 16 bytes, some of them twice; false when one needs an escape. */
static inline bool copy_short(uint8_t *to, const uint8_t *p, size_t n)
{
    uint64_t first, last;
    if (n >= 8) {
        memcpy(&first, p, 8);
        memcpy(&last, p + n - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + n - 8, &last, 8);
        return !eight_need_escape(first) && !eight_need_escape(last);
    }
    uint8_t few[8] = "        ";
    if (n >= 4) {
        memcpy(few, p, 4);
        memcpy(few + 4, p + n - 4, 4);
        memcpy(to, few, 4);
        memcpy(to + n - 4, few + 4, 4);
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = few[i] = p[i];
    }
    memcpy(&first, few, 8);
    return !eight_need_escape(first);
}

/* Copies n bytes; false, with anything at `to`, when one needs an escape. */
static inline bool copy_plain(uint8_t *to, const uint8_t *p, size_t n)
{
#ifdef __SSE2__
    if (n >= 16) {
        const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'),
                      limit = _mm_set1_epi8(0x1f);
        __m128i bad = _mm_setzero_si128();
        for (size_t i = 0;;) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
            _mm_storeu_si128((__m128i *)(void *)(to + i), v);
            bad = _mm_or_si128(bad, _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
            bad = _mm_or_si128(bad, _mm_cmpeq_epi8(_mm_min_epu8(v, limit), v));
            if (i == n - 16)
                break;
            i = i + 32 <= n ? i + 16 : n - 16;
        }
        return !_mm_movemask_epi8(bad);
    }
#else
    for (; n >= 16; p += 8, to += 8, n -= 8) {
        uint64_t eight;
        memcpy(&eight, p, 8);
        memcpy(to, &eight, 8);
        if (eight_need_escape(eight))
            return false;
    }
#endif
    return copy_short(to, p, n);
}

/* Valid UTF-8 as a JSON string. */
static inline void write_string(struct writer *w, struct span s)
{
    write_room(w, s.n + 2);
    w->at[0] = '"';
    if (LIKELY(copy_plain(w->at + 1, s.p, s.n))) {
        w->at[s.n + 1] = '"';
        w->at += s.n + 2;
        return;
    }
    writer_end(w);
    json_add_string(w->out, s);
    writer_begin(w, w->out);
}

static inline void write_uint(struct writer *w, uint64_t v)
{
    static const char pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243"
        "4445464748495051525354555657585960616263646566676869707172737475767778798081828384858687"
        "888990919293949596979899";
    char digits[20];
    size_t n = sizeof digits;
    for (; v >= 100; v /= 100)
        memcpy(digits + (n -= 2), pairs + v % 100 * 2, 2);
    if (v >= 10)
        memcpy(digits + (n -= 2), pairs + v * 2, 2);
    else
        digits[--n] = (char)('0' + v);
    write_raw(w, digits + n, sizeof digits - n);
}

static inline void write_int(struct writer *w, int64_t v)
{
    if (v < 0)
        write_char(w, '-');
    write_uint(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

static inline void write_double(struct writer *w, double v)
{
    writer_end(w);
    json_add_double(w->out, v);
    writer_begin(w, w->out);
}

#endif
