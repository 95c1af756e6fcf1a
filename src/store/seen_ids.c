#include "store/seen_ids.h"

/* Narrow by guessing while that pays (each guess divides the range by the square root of its length), then
 * halve: cold pages are touched once or twice, and a sequence that is not uniform costs no more than halving. */
static size_t bound(const uint8_t *ids, size_t n, struct identity id, bool after_equal)
{
    size_t low = 0, high = n; /* everything before low is before the bound, nothing from high on is */
    for (int guess = 0; guess < 2 && high - low > 8; guess++) {
        size_t at = low + id_guess(id, id_at(ids, low), id_at(ids, high - 1), high - low);
        size_t margin = guess == 0 ? 64 : 8;
        struct identity here = id_at(ids, at);
        bool before = id_less(here, id) || (after_equal && id_equal(here, id));
        if (before) {
            low = at + 1;
            size_t probe = at + margin;
            if (probe < high) {
                here = id_at(ids, probe);
                if (id_less(id, here))
                    high = probe;
                else
                    low = probe;
            }
        } else {
            high = at;
            if (at >= low + margin) {
                here = id_at(ids, at - margin);
                if (id_less(here, id))
                    low = at - margin;
                else
                    high = at - margin + 1;
            }
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct identity here = id_at(ids, middle);
        if (id_less(here, id) || (after_equal && id_equal(here, id)))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t ids_lower_bound(const uint8_t *ids, size_t n, struct identity id)
{
    return bound(ids, n, id, false);
}

size_t ids_upper_bound(const uint8_t *ids, size_t n, struct identity id)
{
    return bound(ids, n, id, true);
}
