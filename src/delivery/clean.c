/*
 * Tidying what people typed. What is not understood is refused, never guessed: a wrong phone number is worse than a
 * parked one.
 */
#include "delivery/map_parts.h"

#include <string.h>

/* The number of bytes of white space at the beginning: ASCII's, no-break spaces, and the spaces of U+2000 to U+200A. */
static size_t space_at(struct span s, size_t i)
{
    const uint8_t *p = s.p + i;
    size_t left = s.n - i;
    if (left && (p[0] == ' ' || (p[0] >= '\t' && p[0] <= '\r')))
        return 1;
    if (left >= 2 && p[0] == 0xc2 && p[1] == 0xa0)
        return 2;
    if (left >= 3 && p[0] == 0xe2 && p[1] == 0x80 && ((p[2] >= 0x80 && p[2] <= 0x8a) || p[2] == 0xaf))
        return 3;
    if (left >= 3 && p[0] == 0xe3 && p[1] == 0x80 && p[2] == 0x80)
        return 3;
    return 0;
}

struct span clean_trim(struct span text)
{
    size_t begin = 0, end = 0;
    for (size_t n; begin < text.n && (n = space_at(text, begin)) > 0;)
        begin += n;
    for (size_t i = begin; i < text.n;) {
        size_t n = space_at(text, i);
        i += n ? n : 1;
        if (!n)
            end = i;
    }
    return begin < end ? span_of(text.p + begin, end - begin) : span_of(text.p, 0);
}

struct span clean_cut(struct span text, int64_t most, bool *cut)
{
    int64_t n = 0;
    *cut = false;
    for (size_t i = 0; i < text.n; i++) {
        if ((text.p[i] & 0xc0) == 0x80)
            continue;
        if (n++ == most) {
            *cut = true;
            return span_of(text.p, i);
        }
    }
    return text;
}

static bool begins(struct span s, size_t at, const char *word)
{
    size_t n = strlen(word);
    return at + n <= s.n && strncasecmp((const char *)s.p + at, word, n) == 0;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* --- phone ------------------------------------------------------------------------------------------- */

/* How many bytes introduce an extension here; 0: none do. */
static size_t extension_at(struct span s, size_t i)
{
    static const char *const words[] = {";ext=", "extension", "ext.", "ext", "x", "#"};
    for (size_t k = 0; k < ARRAY_LEN(words); k++)
        if (begins(s, i, words[k]))
            return strlen(words[k]);
    return 0;
}

bool clean_phone(struct span text, struct arena *a, struct span *out)
{
    struct span s = clean_trim(text);
    uint8_t *to = arena_alloc(a, s.n + 1);
    size_t n = 0, n_digits = 0, i = 0;
    bool extension = false;
    if (s.n && s.p[0] == '+') {
        to[n++] = '+';
        i = 1;
    }
    while (i < s.n) {
        size_t skip = space_at(s, i);
        if (is_digit(s.p[i])) {
            to[n++] = s.p[i++];
            n_digits++;
        } else if (skip || strchr("().-/", s.p[i])) {
            if (!s.p[i])
                return false;
            /* "+49 (0)89": the zero is for callers within the country. */
            i += to[0] == '+' && n && !extension && begins(s, i, "(0)") ? 3 : skip ? skip : 1;
        } else if (n_digits && !extension && (skip = extension_at(s, i)) > 0) {
            extension = true;
            to[n++] = 'x';
            i += skip;
        } else {
            return false;
        }
    }
    *out = span_of(to, n);
    return n_digits > 0 && to[n - 1] != 'x';
}

/* --- currency ---------------------------------------------------------------------------------------- */

/* Digits with their separators: where the amount begins and ends. */
static bool is_amount_byte(struct span s, size_t i)
{
    return is_digit(s.p[i]) || s.p[i] == '.' || s.p[i] == ',' || s.p[i] == '\'';
}

/* Every group behind `separator` up to `end` has three digits, the first one to three. */
static bool is_grouped(struct span s, uint8_t separator, size_t end)
{
    size_t run = 0;
    bool first = true;
    for (size_t i = 0; i < end; i++) {
        if (is_digit(s.p[i])) {
            run++;
            continue;
        }
        if (s.p[i] != separator || (first ? run < 1 || run > 3 : run != 3))
            return false;
        first = false;
        run = 0;
    }
    return first || run == 3;
}

/*
 * Which byte of "1.234,5" is the decimal mark; s.n: none. A point alone is one; a comma alone is one unless exactly
 * three digits follow. With both, the last one is. false: the marks make no number.
 */
static bool decimal_mark(struct span s, size_t *mark)
{
    size_t points = 0, commas = 0, last_point = 0, last_comma = 0, others = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.') {
            points++;
            last_point = i;
        } else if (s.p[i] == ',') {
            commas++;
            last_comma = i;
        } else if (s.p[i] == '\'') {
            others++;
        }
    }
    *mark = s.n;
    if (points && commas)
        *mark = last_point > last_comma ? last_point : last_comma;
    else if (points == 1)
        *mark = last_point;
    else if (commas == 1 && s.n - last_comma != 4)
        *mark = last_comma;
    uint8_t separator = others                             ? '\''
                        : *mark < s.n && s.p[*mark] == ',' ? '.'
                        : *mark < s.n                      ? ','
                        : points > 1                       ? '.'
                                                           : ',';
    for (size_t i = *mark + 1; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return is_grouped(s, separator, *mark);
}

/* What may stand around an amount: letters and symbols of a currency, spaces. Digits may not. */
static bool is_decoration(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_digit(s.p[i]) || !s.p[i])
            return false;
    return s.n <= 16;
}

/* Take the signs out of what stands around: "-", "(", ")", the minus sign U+2212. false: too many of them. */
static bool take_sign(struct span before, struct span after, bool *negative)
{
    size_t minus = 0, open = 0, closed = 0;
    for (size_t i = 0; i < before.n; i++) {
        minus += before.p[i] == '-' || begins(before, i, "\xe2\x88\x92");
        open += before.p[i] == '(';
    }
    for (size_t i = 0; i < after.n; i++) {
        minus += after.p[i] == '-' || begins(after, i, "\xe2\x88\x92");
        closed += after.p[i] == ')';
    }
    *negative = minus || open;
    return open == closed && minus + open <= 1;
}

/* A digit, or the point of ".50"; not the one of "Rs.500". */
static bool begins_amount(struct span s, size_t i)
{
    if (is_digit(s.p[i]))
        return true;
    uint8_t before = i ? s.p[i - 1] : ' ';
    bool letter = (before >= 'a' && before <= 'z') || (before >= 'A' && before <= 'Z');
    return s.p[i] == '.' && !letter && i + 1 < s.n && is_digit(s.p[i + 1]);
}

bool clean_currency(struct span text, struct arena *a, struct span *out)
{
    struct span s = clean_trim(text);
    size_t begin = 0, end;
    while (begin < s.n && !begins_amount(s, begin))
        begin++;
    uint8_t *amount = arena_alloc(a, s.n + 1), *to = arena_alloc(a, s.n + 3);
    size_t n_amount = 0, n = 0, mark;
    for (end = begin; end < s.n;) { /* a space between two digits groups them, as a comma does */
        size_t skip = space_at(s, end);
        if (is_amount_byte(s, end)) {
            amount[n_amount++] = s.p[end++];
        } else if (skip && end + skip < s.n && is_digit(s.p[end + skip])) {
            amount[n_amount++] = '\'';
            end += skip;
        } else {
            break;
        }
    }
    struct span before = span_of(s.p, begin), after = span_of(s.p + end, s.n - end),
                digits = span_of(amount, n_amount);
    bool negative;
    if (n_amount == 0 || !is_decoration(before) || !is_decoration(after) ||
        !take_sign(before, after, &negative) || !decimal_mark(digits, &mark))
        return false;
    if (negative)
        to[n++] = '-';
    if (mark == 0)
        to[n++] = '0';
    for (size_t i = 0; i < n_amount; i++) {
        if (is_digit(amount[i]))
            to[n++] = amount[i];
        else if (i == mark && i + 1 < n_amount)
            to[n++] = '.';
    }
    *out = span_of(to, n);
    return true;
}
