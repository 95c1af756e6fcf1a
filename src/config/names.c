#include "config/names.h"

#include "base/compiler.h"
#include "base/digest.h"

#include <string.h>

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/*
 * Between a lower-case letter or digit and a capital, and before the last capital of a run: "HTTPServer" is
 * "http_server".
 */
static bool begins_word(struct span name, size_t i)
{
    const char *p = (const char *)name.p;
    if (i == 0 || !is_upper(p[i]))
        return false;
    if (is_lower_or_digit(p[i - 1]))
        return true;
    return is_upper(p[i - 1]) && i + 1 < name.n && p[i + 1] >= 'a' && p[i + 1] <= 'z';
}

void names_add_default(struct span name, size_t most, struct buf *out)
{
    enum { DIGEST = 4 }; /* bytes, twice as many characters */
    size_t begin = out->len;
    for (size_t i = 0; i < name.n; i++) {
        char c = (char)name.p[i];
        if (begins_word(name, i))
            buf_add_char(out, '_');
        buf_add_char(out, c == '.' ? '_' : is_upper(c) ? (char)(c - 'A' + 'a') : c);
    }
    if (out->len - begin <= most)
        return;
    uint8_t digest[32];
    digest_sha256(name, digest);
    out->len = begin + most - 2 * DIGEST - 1;
    buf_add_char(out, '_');
    hex_add(out, span_of(digest, DIGEST));
}

bool names_is_ours(const char *column)
{
    static const char *const ours[] = {"_version",     "_seq",          "_state",
                                       "_incomplete",  "_deleted",      "_deleted_at",
                                       "_archived_at", "_payload_hash", NAMES_JSON_COLUMN};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (names_equal(column, ours[i]))
            return true;
    return strncasecmp(column, "_tidemark_", 10) == 0;
}

bool names_is_system(const char *column)
{
    static const char *const system[] = {"ctid", "cmin", "cmax", "tableoid", "xmin", "xmax"};
    for (size_t i = 0; i < ARRAY_LEN(system); i++)
        if (names_equal(column, system[i]))
            return true;
    return false;
}

bool names_equal(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}
