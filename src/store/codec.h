/*
 * codec: records of the store as bytes, little-endian, length-checked.
 *
 * Writing appends to a buf. Reading goes through a cursor that remembers whether anything was missing: read
 * all fields, then ask reader_ok once. A record may grow at its end: older readers ignore the rest, newer
 * readers give the default for what is missing (reader_more).
 *
 * Thread: any. Errors: reader_ok() false means damaged.
 */
#ifndef STORE_CODEC_H
#define STORE_CODEC_H

#include "base/buf.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the store is little-endian, and read in place");

static inline void put_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, 1);
}

static inline void put_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof v);
}

static inline void put_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof v);
}

static inline void put_i64(struct buf *b, int64_t v)
{
    buf_add(b, &v, sizeof v);
}

static inline void put_span(struct buf *b, struct span s)
{
    put_u32(b, (uint32_t)s.n);
    buf_add_span(b, s);
}

struct reader {
    struct span rest;
    bool bad;
};

static inline const uint8_t *reader_take(struct reader *r, size_t n)
{
    if (r->bad || r->rest.n < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->rest.p;
    r->rest.p += n;
    r->rest.n -= n;
    return p;
}

static inline uint8_t get_u8(struct reader *r)
{
    const uint8_t *p = reader_take(r, 1);
    return p ? *p : 0;
}

static inline uint32_t get_u32(struct reader *r)
{
    uint32_t v = 0;
    const uint8_t *p = reader_take(r, sizeof v);
    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t get_u64(struct reader *r)
{
    uint64_t v = 0;
    const uint8_t *p = reader_take(r, sizeof v);
    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static inline int64_t get_i64(struct reader *r)
{
    return (int64_t)get_u64(r);
}

static inline struct span get_span(struct reader *r)
{
    uint32_t n = get_u32(r);
    const uint8_t *p = reader_take(r, n);
    return span_of(p, p ? n : 0);
}

/* A text into a fixed array, NUL-terminated; what does not fit is damage, not something to cut. */
static inline void get_text(struct reader *r, char *to, size_t size)
{
    struct span s = get_span(r);
    if (s.n >= size) {
        r->bad = true;
        s.n = 0;
    }
    if (s.n)
        memcpy(to, s.p, s.n);
    to[s.n] = '\0';
}

static inline bool reader_more(const struct reader *r)
{
    return !r->bad && r->rest.n > 0;
}

static inline bool reader_ok(const struct reader *r)
{
    return !r->bad;
}

/* Keys sort by memcmp: numbers in keys are big-endian. */
static inline void key_u64(uint8_t out[8], uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(out, &v, sizeof v);
}

static inline void key_u32(uint8_t out[4], uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(out, &v, sizeof v);
}

static inline uint64_t key_get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

static inline uint32_t key_get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

#endif
