#include "sim/encode.h"

void enc_long(struct buf *b, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    uint8_t bytes[10];
    size_t n = 0;
    for (; z > 0x7f; z >>= 7)
        bytes[n++] = (uint8_t)(z | 0x80);
    bytes[n++] = (uint8_t)z;
    buf_add(b, bytes, n);
}

void enc_double(struct buf *b, double v)
{
    uint64_t bits;
    uint8_t bytes[8];
    memcpy(&bits, &v, 8);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(bits >> (8 * i));
    buf_add(b, bytes, 8);
}

void enc_boolean(struct buf *b, bool v)
{
    buf_add_char(b, v ? 1 : 0);
}

void enc_string(struct buf *b, struct span s)
{
    enc_long(b, (int64_t)s.n);
    buf_add_span(b, s);
}

void enc_string_array(struct buf *b, const struct span *items, size_t n)
{
    if (n) {
        enc_long(b, (int64_t)n);
        for (size_t i = 0; i < n; i++)
            enc_string(b, items[i]);
    }
    buf_add_char(b, 0);
}

bool mask_empty(const struct field_mask *m)
{
    for (size_t i = 0; i < BITS_MAX_FIELDS / 64; i++)
        if (m->words[i])
            return false;
    return true;
}

bool bitmap_text(struct buf *out, const struct field_mask *m)
{
    if (mask_empty(m))
        return false;
    int top = BITS_MAX_FIELDS / 8 - 1;
    while (!(m->words[top / 8] >> (8 * (top % 8)) & 0xff))
        top--;
    buf_add_str(out, "0x");
    for (int i = top; i >= 0; i--)
        buf_addf(out, "%02X", (unsigned)(m->words[i / 8] >> (8 * (i % 8)) & 0xff));
    return true;
}

bool bitmap_nested_text(struct buf *out, unsigned parent, const struct field_mask *m)
{
    if (mask_empty(m))
        return false;
    buf_addf(out, "%u-", parent);
    return bitmap_text(out, m);
}
