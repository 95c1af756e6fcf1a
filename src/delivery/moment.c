#include "delivery/map_parts.h"

static bool digits(struct span s, size_t at, size_t n, int64_t *out)
{
    if (at + n > s.n)
        return false;
    *out = 0;
    for (size_t i = at; i < at + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *out = *out * 10 + (s.p[i] - '0');
    }
    return true;
}

static bool is_at(struct span s, size_t at, char c)
{
    return at < s.n && s.p[at] == (uint8_t)c;
}

/* Days since 1970 of a date of the Gregorian calendar, for years 1 to 9999. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t days_in(int64_t year, int64_t month)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* "YYYY-MM-DD" at the beginning. */
static bool parse_date(struct span s, int64_t *day)
{
    int64_t y, m, d;
    if (!digits(s, 0, 4, &y) || !is_at(s, 4, '-') || !digits(s, 5, 2, &m) || !is_at(s, 7, '-') ||
        !digits(s, 8, 2, &d))
        return false;
    if (y < 1 || m < 1 || m > 12 || d < 1 || d > days_in(y, m))
        return false;
    *day = days_of(y, m, d);
    return true;
}

/* "HH:MM[:SS[.fff]]" from *at on; digits behind the third of a second must be zeros: nothing is dropped. */
static bool parse_clock(struct span s, size_t *at, int64_t *ms)
{
    int64_t h, m, sec = 0;
    if (!digits(s, *at, 2, &h) || !is_at(s, *at + 2, ':') || !digits(s, *at + 3, 2, &m))
        return false;
    *at += 5;
    *ms = 0;
    if (is_at(s, *at, ':')) {
        if (!digits(s, *at + 1, 2, &sec))
            return false;
        *at += 3;
        if (is_at(s, *at, '.')) {
            int64_t digit, scale = 100;
            size_t begin = ++*at;
            for (; digits(s, *at, 1, &digit); ++*at, scale /= 10) {
                if (scale == 0 && digit != 0)
                    return false;
                *ms += digit * scale;
            }
            if (*at == begin)
                return false;
        }
    }
    if (h > 23 || m > 59 || sec > 59)
        return false;
    *ms += ((h * 60 + m) * 60 + sec) * 1000;
    return true;
}

/* "Z", "+HH:MM", "+HHMM", "+HH", or nothing, up to the end. */
static bool parse_offset(struct span s, size_t at, int64_t *ms)
{
    int64_t h, m = 0;
    *ms = 0;
    if (at == s.n)
        return true;
    if (is_at(s, at, 'Z') || is_at(s, at, 'z'))
        return at + 1 == s.n;
    if (!is_at(s, at, '+') && !is_at(s, at, '-'))
        return false;
    if (!digits(s, at + 1, 2, &h))
        return false;
    size_t rest = at + 3;
    if (rest < s.n) {
        rest += is_at(s, rest, ':');
        if (!digits(s, rest, 2, &m) || rest + 2 != s.n)
            return false;
    }
    if (h > 15 || m > 59)
        return false;
    *ms = (h * 60 + m) * 60000 * (s.p[at] == '-' ? -1 : 1);
    return true;
}

bool moment_in_range(int64_t ms)
{
    return ms >= -62135596800000 && ms <= 253402300799999;
}

bool moment_parse(struct span text, int64_t *ms, bool *has_time)
{
    int64_t day, clock = 0, offset = 0;
    if (!parse_date(text, &day))
        return false;
    *has_time = text.n > 10;
    if (*has_time) {
        size_t at = 11;
        if (!is_at(text, 10, 'T') && !is_at(text, 10, 't') && !is_at(text, 10, ' '))
            return false;
        if (!parse_clock(text, &at, &clock) || !parse_offset(text, at, &offset))
            return false;
    }
    *ms = day * MOMENT_DAY_MS + clock - offset;
    return moment_in_range(*ms);
}

bool moment_parse_time(struct span text, int64_t *ms)
{
    size_t at = 0;
    if (!parse_clock(text, &at, ms))
        return false;
    return at == text.n || (at + 1 == text.n && is_at(text, at, 'Z'));
}

int64_t moment_day(int64_t ms)
{
    return ms / MOMENT_DAY_MS - (ms % MOMENT_DAY_MS < 0);
}

int64_t moment_of_day(int64_t ms)
{
    int64_t rest = ms % MOMENT_DAY_MS;
    return rest < 0 ? rest + MOMENT_DAY_MS : rest;
}
