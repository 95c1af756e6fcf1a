#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static atomic_bool held;
static _Atomic int64_t held_mono_ms, held_wall_ms;

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#ifdef TIDEMARK_KILLPOINTS
static int64_t scaled_us(clockid_t id)
{
    static _Atomic int64_t scale, mono_origin, wall_origin;
    if (!scale) {
        const char *s = getenv("TIDEMARK_TEST_CLOCK_SCALE");
        mono_origin = read_us(CLOCK_MONOTONIC);
        wall_origin = read_us(CLOCK_REALTIME);
        long n = s ? strtol(s, NULL, 10) : 1;
        scale = n > 0 ? n : 1;
    }
    int64_t origin = id == CLOCK_MONOTONIC ? mono_origin : wall_origin;
    return origin + (read_us(id) - origin) * scale;
}
#else
#define scaled_us read_us
#endif

int64_t clock_mono_us(void)
{
    return held ? held_mono_ms * 1000 : scaled_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_wall_ms(void)
{
    return held ? held_wall_ms : scaled_us(CLOCK_REALTIME) / 1000;
}

void clock_hold(int64_t mono_ms, int64_t wall_ms)
{
    held_mono_ms = mono_ms;
    held_wall_ms = wall_ms;
    held = true;
}

void clock_advance(int64_t ms)
{
    held_mono_ms += ms;
    held_wall_ms += ms;
}

void clock_release(void)
{
    held = false;
}

static char *two_digits(char *p, int v)
{
    p[0] = (char)('0' + v / 10 % 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

void clock_format_ms(int64_t wall_ms, char out[25])
{
    /* Days to a civil date without gmtime: called once per event (days-from-civil, inverted). */
    int64_t days = wall_ms / 86400000, rest = wall_ms % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int day = (int)(doy - (153 * mp + 2) / 5 + 1);
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    int64_t year = yoe + era * 400 + (month <= 2);
    if (year < 0 || year > 9999) {
        memcpy(out, "0000-00-00T00:00:00.000Z", 25);
        return;
    }
    int s = (int)(rest / 1000), ms = (int)(rest % 1000);
    char *p = two_digits(two_digits(out, (int)(year / 100)), (int)(year % 100));
    *p++ = '-';
    p = two_digits(p, month);
    *p++ = '-';
    p = two_digits(p, day);
    *p++ = 'T';
    p = two_digits(p, s / 3600);
    *p++ = ':';
    p = two_digits(p, s / 60 % 60);
    *p++ = ':';
    p = two_digits(p, s % 60);
    *p++ = '.';
    *p++ = (char)('0' + ms / 100);
    p = two_digits(p, ms % 100);
    *p++ = 'Z';
    *p = '\0';
}
