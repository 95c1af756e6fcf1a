#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Length of the prefix that needs no escape. */
static size_t plain_prefix(const uint8_t *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), limit = _mm_set1_epi8(0x1f);
    for (; i + 16 <= n; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(_mm_min_epu8(v, limit), v)); /* unsigned v <= 0x1f */
        unsigned mask = (unsigned)_mm_movemask_epi8(bad);
        if (mask)
            return i + (size_t)__builtin_ctz(mask);
    }
#endif
    while (i < n && p[i] > 0x1f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static void add_escape(struct buf *b, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"': buf_add(b, "\\\"", 2); return;
    case '\\': buf_add(b, "\\\\", 2); return;
    case '\n': buf_add(b, "\\n", 2); return;
    case '\r': buf_add(b, "\\r", 2); return;
    case '\t': buf_add(b, "\\t", 2); return;
    default: {
        char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        buf_add(b, u, sizeof u);
    }
    }
}

void json_add_string(struct buf *b, struct span s)
{
    uint8_t *to = buf_reserve(b, s.n + 2);
    *to++ = '"';
    size_t plain = plain_prefix(s.p, s.n);
    if (plain)
        memcpy(to, s.p, plain);
    b->len += plain + 1;
    while (plain < s.n) {
        add_escape(b, s.p[plain++]);
        size_t more = plain_prefix(s.p + plain, s.n - plain);
        buf_add(b, s.p + plain, more);
        plain += more;
    }
    buf_add_char(b, '"');
}

void json_add_uint(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    buf_add(b, digits + n, sizeof digits - n);
}

void json_add_int(struct buf *b, int64_t v)
{
    if (v < 0) {
        buf_add_char(b, '-');
        json_add_uint(b, 0 - (uint64_t)v);
    } else {
        json_add_uint(b, (uint64_t)v);
    }
}

/*
 * Salesforce numbers are decimal with few places: try v = k / 10^d with |k| < 2^53 and d <= 6, where
 * the division is exact to the last bit, before the costly search with printf.
 */
static bool add_short_decimal(struct buf *b, double v)
{
    static const double power[] = {1, 10, 100, 1000, 1e4, 1e5, 1e6};
    double a = fabs(v);
    if (!(a < 9e9))
        return false;
    for (int d = 0; d < 7; d++) {
        double scaled = a * power[d];
        if (scaled >= 9007199254740992.0)
            return false;
        uint64_t k = (uint64_t)(scaled + 0.5);
        if ((double)k / power[d] != a)
            continue;
        if (signbit(v))
            buf_add_char(b, '-');
        uint64_t unit = (uint64_t)power[d];
        json_add_uint(b, k / unit);
        if (d == 0) {
            buf_add(b, ".0", 2);
            return true;
        }
        char fraction[8];
        uint64_t rest = k % unit;
        for (int i = d; i > 0; i--) {
            fraction[i] = (char)('0' + rest % 10);
            rest /= 10;
        }
        fraction[0] = '.';
        buf_add(b, fraction, (size_t)d + 1);
        return true;
    }
    return false;
}

void json_add_double(struct buf *b, double v)
{
    if (isnan(v)) {
        buf_add_str(b, "\"NaN\"");
        return;
    }
    if (isinf(v)) {
        buf_add_str(b, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    if (add_short_decimal(b, v))
        return;
    char text[32];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    /* Keep it a JSON number that reads as a double: 1e+20 is fine, 12345678901 gets ".0". */
    buf_add_str(b, text);
    if (!strpbrk(text, ".eE"))
        buf_add(b, ".0", 2);
}
