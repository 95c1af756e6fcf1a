#include "base/digest.h"

#include "base/err.h"

#define XXH_INLINE_ALL
#include <openssl/evp.h>
#include <xxhash.h>

static void digest_with(const EVP_MD *md, struct span s, uint8_t *out)
{
    unsigned n = 0;
    if (EVP_Digest(s.n ? (const void *)s.p : "", s.n, out, &n, md, NULL) != 1)
        BUG("the TLS library cannot hash");
}

void digest_md5(struct span s, uint8_t out[16])
{
    digest_with(EVP_md5(), s, out);
}

void digest_sha256(struct span s, uint8_t out[32])
{
    digest_with(EVP_sha256(), s, out);
}

uint64_t digest_fast(struct span s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.n ? (const void *)s.p : "", s.n, seed);
}

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(struct span s, char *out)
{
    for (size_t i = 0; i < s.n; i++) {
        *out++ = hex_digits[s.p[i] >> 4];
        *out++ = hex_digits[s.p[i] & 15];
    }
    *out = '\0';
}

void hex_add(struct buf *b, struct span s)
{
    hex_encode(s, (char *)buf_reserve(b, s.n * 2));
    b->len += s.n * 2;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_decode(const char *text, size_t n, uint8_t *out, size_t max)
{
    if (n % 2 || n / 2 > max)
        return -1;
    for (size_t i = 0; i < n; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);
        if (high < 0 || low < 0)
            return -1;
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (int)(n / 2);
}

static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_add(struct buf *b, struct span s)
{
    size_t i = 0;
    for (; i + 3 <= s.n; i += 3) {
        uint32_t v = (uint32_t)s.p[i] << 16 | (uint32_t)s.p[i + 1] << 8 | s.p[i + 2];
        char four[4] = {base64url_digits[v >> 18], base64url_digits[v >> 12 & 63], base64url_digits[v >> 6 & 63],
                        base64url_digits[v & 63]};
        buf_add(b, four, 4);
    }
    if (s.n - i == 1) {
        char two[2] = {base64url_digits[s.p[i] >> 2], base64url_digits[(s.p[i] & 3) << 4]};
        buf_add(b, two, 2);
    } else if (s.n - i == 2) {
        uint32_t v = (uint32_t)s.p[i] << 8 | s.p[i + 1];
        char three[3] = {base64url_digits[v >> 10], base64url_digits[v >> 4 & 63], base64url_digits[(v & 15) << 2]};
        buf_add(b, three, 3);
    }
}

void base64_add(struct buf *b, struct span s)
{
    size_t start = b->len;
    base64url_add(b, s);
    for (size_t i = start; i < b->len; i++)
        b->data[i] = b->data[i] == '-' ? '+' : b->data[i] == '_' ? '/' : b->data[i];
    while ((b->len - start) % 4)
        buf_add_char(b, '=');
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-' || c == '+')
        return 62;
    if (c == '_' || c == '/')
        return 63;
    return -1;
}

int base64_decode(struct buf *b, const char *text, size_t n)
{
    while (n && text[n - 1] == '=')
        n--;
    if (n % 4 == 1)
        return -1;
    size_t start = b->len;
    uint32_t acc = 0;
    int bits = 0;
    for (size_t i = 0; i < n; i++) {
        int v = base64_value(text[i]);
        if (v < 0) {
            b->len = start;
            return -1;
        }
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_add_char(b, (char)(acc >> bits & 0xff));
        }
    }
    return 0;
}
