#include "auth/breaker.h"

#include "base/random.h"

enum {
    BUSY_FIRST_MS = 1000,
    BUSY_LONGEST_MS = 60 * 1000,
    BUSY_SHORTEST_MS = 100, /* full jitter may draw next to nothing */
    REFUSED_FIRST_MS = 30 * 1000,
    REFUSED_LONGEST_MS = 15 * 60 * 1000,
    COUNTED_MS = 15 * 60 * 1000,
    RATE_FIRST_MS = 15 * 60 * 1000,
    RATE_LONGEST_MS = 60 * 60 * 1000,
    HOUR_MS = 60 * 60 * 1000,
};

static int64_t doubled(int64_t first, unsigned times, int64_t longest)
{
    int64_t pause = first;
    while (times-- > 0 && pause < longest)
        pause *= 2;
    return pause < longest ? pause : longest;
}

/* Never less than the pause itself, and a little more, so that many clients do not come at once. */
static int64_t a_little_more(int64_t pause)
{
    return pause + (int64_t)random_below((uint64_t)pause / 8);
}

static int64_t soon(unsigned before)
{
    int64_t pause = (int64_t)random_below((uint64_t)doubled(BUSY_FIRST_MS, before, BUSY_LONGEST_MS));
    return pause > BUSY_SHORTEST_MS ? pause : BUSY_SHORTEST_MS;
}

/* When the ring is full, the next refusal may come an hour after the oldest one in it. */
static int64_t hour_is_over(const struct breaker *b, int64_t now_ms)
{
    if (b->n_refused < BREAKER_PER_HOUR)
        return 0;
    return b->refused_ms[b->n_refused % BREAKER_PER_HOUR] + HOUR_MS - now_ms;
}

int64_t breaker_failed(struct breaker *b, enum breaker_cause cause, int64_t now_ms, int64_t at_least_ms)
{
    unsigned before = b->cause == cause ? b->failures : 0;
    int64_t pause = 0;
    b->cause = cause;
    b->failures = before + 1;
    b->total++;
    b->unheard = cause == BREAKER_UNHEARD ? b->unheard + 1 : 0;
    switch (cause) {
    case BREAKER_BUSY:
        pause = soon(before);
        break;
    case BREAKER_UNHEARD:
        pause = b->unheard <= BREAKER_UNHEARD_MOST ? soon(before) : a_little_more(COUNTED_MS);
        break;
    case BREAKER_RATE:
        pause = a_little_more(doubled(RATE_FIRST_MS, before, RATE_LONGEST_MS));
        break;
    case BREAKER_COUNTED:
        if (++b->counted >= BREAKER_COUNTED_MOST)
            return BREAKER_NEVER;
        pause = a_little_more(COUNTED_MS);
        break;
    case BREAKER_REFUSED:
        pause = a_little_more(doubled(REFUSED_FIRST_MS, before, REFUSED_LONGEST_MS));
        break;
    }
    if (cause == BREAKER_REFUSED || cause == BREAKER_COUNTED || cause == BREAKER_UNHEARD)
        b->refused_ms[b->n_refused++ % BREAKER_PER_HOUR] = now_ms;
    /* For every cause: a login that was refused six times in this hour is not repeated for another reason
     * either. */
    int64_t hour = hour_is_over(b, now_ms);
    pause = pause > hour ? pause : hour;
    return pause > at_least_ms ? pause : at_least_ms;
}

int64_t breaker_resumed(const struct breaker *b)
{
    if (b->unheard <= BREAKER_UNHEARD_MOST)
        return 0;
    return a_little_more(
        doubled(REFUSED_FIRST_MS, b->unheard - BREAKER_UNHEARD_MOST - 1, REFUSED_LONGEST_MS));
}

void breaker_worked(struct breaker *b)
{
    *b = (struct breaker)BREAKER_INIT;
}
