/* The parts of the seen set: order, sort, search, filter, memory set, each against a plain one. */
#include "base/alloc.h"
#include "base/random.h"
#include "store/seen_filter.h"
#include "store/seen_ids.h"
#include "store/seen_set.h"
#include "store/seen_sort.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Hashes as they should be, and inputs that are anything but uniform. */
enum kind { UNIFORM, SAME_HIGH, CLUSTERED, SMALL_NUMBERS, KINDS };

static struct identity draw(struct rng *r, enum kind kind)
{
    struct identity id = {rng_next(r), rng_next(r)};
    switch (kind) {
    case SAME_HIGH: id.high = 0x123456789abcdef0ULL; break;
    case CLUSTERED: id.high = 0xfedcba9800000000ULL | (id.high & 0xff); break;
    case SMALL_NUMBERS: id = (struct identity){id.high & 7, id.low & 1023}; break;
    default: break;
    }
    return id;
}

static int compare(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    if (x->high != y->high)
        return x->high < y->high ? -1 : 1;
    return x->low < y->low ? -1 : x->low > y->low;
}

static size_t plain_sort(struct identity *ids, size_t n)
{
    size_t kept = 0;
    qsort(ids, n, sizeof *ids, compare);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || compare(&ids[i], &ids[kept - 1]) != 0)
            ids[kept++] = ids[i];
    return kept;
}

static void pieces_are_sorted_into_one_sequence_without_repeats(void **state)
{
    (void)state;
    struct rng r = {1};
    for (int round = 0; round < 300; round++) {
        enum kind kind = (enum kind)(round % KINDS);
        size_t n = rng_below(&r, round % 10 == 0 ? 20000 : 300);
        struct identity *ids = xmalloc((n + 1) * sizeof *ids), *out = xmalloc((n + 1) * sizeof *out);
        for (size_t i = 0; i < n; i++)
            ids[i] = i > 0 && rng_below(&r, 8) == 0 ? ids[rng_below(&r, i)] : draw(&r, kind);
        struct id_piece pieces[5];
        enum piece_order order = round % 3 ? PIECES_UNSORTED : PIECES_SORTED;
        size_t at = 0;
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) { /* some of them empty */
            size_t len = i + 1 < ARRAY_LEN(pieces) ? rng_below(&r, n - at + 1) : n - at;
            pieces[i] = (struct id_piece){(const uint8_t *)(ids + at), len};
            if (order == PIECES_SORTED)
                qsort(ids + at, len, sizeof *ids, compare);
            at += len;
        }
        size_t got = ids_sort(pieces, ARRAY_LEN(pieces), order, out), want = plain_sort(ids, n);
        assert_int_equal(got, want);
        assert_memory_equal(out, ids, want * sizeof *ids);
        free(ids);
        free(out);
    }
}

static void bounds_agree_with_a_linear_search(void **state)
{
    (void)state;
    struct rng r = {2};
    for (int round = 0; round < 400; round++) {
        enum kind kind = (enum kind)(round % KINDS);
        size_t n = rng_below(&r, 400);
        struct identity ids[400];
        for (size_t i = 0; i < n; i++)
            ids[i] = draw(&r, kind);
        n = plain_sort(ids, n);
        for (int k = 0; k < 50; k++) {
            struct identity id = n > 0 && k % 2 ? ids[rng_below(&r, n)] : draw(&r, (enum kind)rng_below(&r, KINDS));
            if (k == 0)
                id = (struct identity){0, 0};
            if (k == 2)
                id = (struct identity){UINT64_MAX, UINT64_MAX};
            size_t lower = 0, upper = 0;
            while (lower < n && compare(&ids[lower], &id) < 0)
                lower++;
            upper = lower < n && compare(&ids[lower], &id) == 0 ? lower + 1 : lower;
            size_t guess = n == 0 ? 0 : k % 3 ? rng_below(&r, n) : id_guess(id, ids[0], ids[n - 1], n);
            assert_int_equal(ids_lower_bound((const uint8_t *)ids, n, id, guess), lower);
            assert_int_equal(ids_upper_bound((const uint8_t *)ids, n, id, guess), upper);
        }
    }
}

static void a_filter_finds_all_it_was_given_and_little_else(void **state)
{
    (void)state;
    enum { N = 60000, BLOCKS = N * FILTER_BITS_PER_ID / 512 };
    struct rng r = {3};
    uint64_t *filter = xcalloc((size_t)BLOCKS * FILTER_BLOCK_WORDS, sizeof *filter);
    for (int i = 0; i < N; i++) {
        struct probe p = probe_of(draw(&r, UNIFORM));
        filter_add(filter, BLOCKS, &p);
    }
    r.state = 3;
    for (int i = 0; i < N; i++) {
        struct probe p = probe_of(draw(&r, UNIFORM));
        assert_true(filter_block_has(filter + filter_block(&p, BLOCKS) * FILTER_BLOCK_WORDS, &p));
    }
    int false_hits = 0;
    for (int i = 0; i < 10 * N; i++) {
        struct probe p = probe_of(draw(&r, UNIFORM));
        false_hits += filter_block_has(filter + filter_block(&p, BLOCKS) * FILTER_BLOCK_WORDS, &p);
    }
    print_message("false hits: %.3f %%\n", 100.0 * false_hits / (10 * N));
    assert_in_range(false_hits, 1, 10 * N * 3 / 1000); /* at most 0.3 % */
    free(filter);
}

static void the_memory_set_knows_what_was_added_and_not_cut(void **state)
{
    (void)state;
    enum { UNIVERSE = 3000 };
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct rng r = {seed};
        struct seen_set set;
        struct identity universe[UNIVERSE];
        uint32_t order[UNIVERSE];
        bool in[UNIVERSE] = {false};
        seen_set_init(&set, 100); /* grows on the way */
        for (uint32_t i = 0; i < UNIVERSE; i++) {
            universe[i] = draw(&r, (enum kind)(seed % KINDS));
            universe[i].low = universe[i].low << 12 | i; /* distinct */
        }
        for (int step = 0; step < 4000; step++) {
            uint32_t i = (uint32_t)rng_below(&r, UNIVERSE);
            assert_int_equal(seen_set_add(&set, universe[i]), !in[i]);
            if (!in[i])
                order[set.n - 1] = i;
            in[i] = true;
            if (rng_below(&r, 500) == 0) {
                uint32_t keep = (uint32_t)rng_below(&r, set.n + 1);
                for (uint32_t k = keep; k < set.n; k++)
                    in[order[k]] = false;
                seen_set_cut(&set, keep);
            }
            uint32_t q = (uint32_t)rng_below(&r, UNIVERSE);
            struct probe p = probe_of(universe[q]);
            assert_int_equal(seen_set_has(&set, universe[q], &p), in[q]);
        }
        seen_set_clear(&set);
        struct probe p = probe_of(universe[0]);
        assert_false(seen_set_has(&set, universe[0], &p));
        seen_set_release(&set);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_sorted_into_one_sequence_without_repeats),
        cmocka_unit_test(bounds_agree_with_a_linear_search),
        cmocka_unit_test(a_filter_finds_all_it_was_given_and_little_else),
        cmocka_unit_test(the_memory_set_knows_what_was_added_and_not_cut),
    };
    return cmocka_run_group_tests_name("seen parts", tests, NULL, NULL);
}
