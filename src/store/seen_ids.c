#include "store/seen_ids.h"

static bool comes_before(const uint8_t *ids, size_t at, struct identity id, bool after_equal)
{
    struct identity here = id_at(ids, at);
    return id_less(here, id) || (after_equal && id_equal(here, id));
}

/* From the guess, step outwards by doubling until the bound is enclosed, then halve. After a good guess one page is
 * touched, two at most; a bad one costs twice what halving costs. */
static size_t bound(const uint8_t *ids, size_t n, struct identity id, size_t at, bool after_equal)
{
    if (n == 0)
        return 0;
    size_t low = 0, high = n; /* all before low come before the bound, none from high on does */
    if (comes_before(ids, at, id, after_equal)) {
        low = at + 1;
        for (size_t step = 16; at + step < n; step *= 2) {
            if (!comes_before(ids, at + step, id, after_equal)) {
                high = at + step;
                break;
            }
            low = at + step + 1;
        }
    } else {
        high = at;
        for (size_t step = 16; step <= at; step *= 2) {
            if (comes_before(ids, at - step, id, after_equal)) {
                low = at - step + 1;
                break;
            }
            high = at - step;
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (comes_before(ids, middle, id, after_equal))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t ids_lower_bound(const uint8_t *ids, size_t n, struct identity id, size_t guess)
{
    return bound(ids, n, id, guess, false);
}

size_t ids_upper_bound(const uint8_t *ids, size_t n, struct identity id, size_t guess)
{
    return bound(ids, n, id, guess, true);
}
