#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/random.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <stdio.h>

static void an_error_keeps_origin_code_and_text(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(err_set_errno(&e, ERR_STORE, "store", ENOSPC, "commit %d", 7), -1);
    assert_int_equal(e.class, ERR_STORE);
    assert_int_equal(e.code, ENOSPC);
    assert_string_equal(e.text, "commit 7: No space left on device");
    err_prefix(&e, "sink %s", "log");
    assert_string_equal(e.text, "sink log: commit 7: No space left on device");
}

static void json_strings_escape_what_json_requires(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    json_add_string(&b,
                    span_of_str("plain text longer than sixteen bytes \" \\ \n\r\t\x01 \xc3\xa9 end of it"));
    assert_string_equal(
        (char *)b.data,
        "\"plain text longer than sixteen bytes \\\" \\\\ \\n\\r\\t\\u0001 \xc3\xa9 end of it\"");
    buf_release(&b);
}

static void json_numbers_read_back_exactly(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } known[] = {{0, "0.0"},
                 {-0.0, "-0.0"},
                 {1, "1.0"},
                 {3233, "3233.0"},
                 {0.1, "0.1"},
                 {-12.5, "-12.5"},
                 {99.99, "99.99"},
                 {1e300, "1e+300"},
                 {NAN, "\"NaN\""},
                 {INFINITY, "\"Infinity\""},
                 {-INFINITY, "\"-Infinity\""},
                 {37.7749295, "37.7749295"}};
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        buf_clear(&b);
        json_add_double(&b, known[i].v);
        assert_string_equal((char *)b.data, known[i].text);
    }
    struct rng r = {1};
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = rng_next(&r);
        double v;
        if (i % 3 == 0)
            memcpy(&v, &bits, sizeof v);
        else
            v = (double)(int64_t)rng_below(&r, 10000000000) /
                (double[]){1, 10, 100, 1000, 10000, 1e6, 1e7}[bits % 7];
        if (!isfinite(v))
            continue;
        buf_clear(&b);
        json_add_double(&b, v);
        double back = strtod((char *)b.data, NULL);
        assert_memory_equal(&back, &v, sizeof v);
    }
    buf_clear(&b);
    json_add_int(&b, INT64_MIN);
    assert_string_equal((char *)b.data, "-9223372036854775808");
    buf_release(&b);
}

static void the_civil_date_agrees_with_gmtime(void **state)
{
    (void)state;
    struct rng r = {2};
    for (int i = 0; i < 50000; i++) {
        int64_t ms = (int64_t)rng_below(&r, 253402300799999);
        time_t s = ms / 1000;
        struct tm tm;
        gmtime_r(&s, &tm);
        char expected[40], got[25];
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(expected + 19, sizeof expected - 19, ".%03dZ", (int)(ms % 1000));
        clock_format_ms(ms, got);
        assert_string_equal(got, expected);
        int64_t back = 0;
        assert_int_equal(text_parse_time(got, &back), 0);
        assert_int_equal(back, ms);
    }
}

static void sizes_times_and_durations_are_read_whole_or_refused(void **state)
{
    (void)state;
    int64_t v = 0;
    assert_int_equal(text_parse_size("10GiB", &v), 0);
    assert_int_equal(v, 10737418240);
    assert_int_equal(text_parse_size("64KiB", &v), 0);
    assert_int_equal(v, 65536);
    static const char *const bad_sizes[] = {"",       "-5",     "10 GiB",         "10gib",
                                            "1.5GiB", "10GiBx", "99999999999TiB", "0x10"};
    for (size_t i = 0; i < sizeof bad_sizes / sizeof *bad_sizes; i++)
        assert_int_equal(text_parse_size(bad_sizes[i], &v), -1);
    assert_int_equal(text_parse_duration("96h", &v), 0);
    assert_int_equal(v, 96 * 3600000);
    assert_int_equal(text_parse_duration("500ms", &v), 0);
    assert_int_equal(v, 500);
    static const char *const bad_durations[] = {"", "5", "s", "-1s", "1 s", "5sec", "1.5s"};
    for (size_t i = 0; i < sizeof bad_durations / sizeof *bad_durations; i++)
        assert_int_equal(text_parse_duration(bad_durations[i], &v), -1);
    assert_int_equal(text_parse_time("2026-05-06T14:30:00+02:00", &v), 0);
    assert_int_equal(v, 1778070600000);
    static const char *const bad_times[] = {"", "2026-05-06", "2026-05-06T14:30:00", "2026-13-06T14:30:00Z",
                                            "2026-05-06T14:30:00Zx"};
    for (size_t i = 0; i < sizeof bad_times / sizeof *bad_times; i++)
        assert_int_equal(text_parse_time(bad_times[i], &v), -1);
}

static void utf8_is_checked_by_rfc_3629(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "ascii only, long enough for the fast path",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x8c\x8a",
                                       "abcdefgh\xc3\xa9xyz"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc3",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "abcdefgh\xff",
                                      "\xe2\x82"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(text_is_utf8(span_of_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(text_is_utf8(span_of_str(bad[i])));
}

static void bytes_and_text_forms_round_trip(void **state)
{
    (void)state;
    struct rng r = {3};
    struct buf b = BUF_INIT, back = BUF_INIT;
    for (size_t n = 0; n < 200; n++) {
        uint8_t bytes[200], decoded[200];
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)rng_next(&r);
        buf_clear(&b);
        hex_add(&b, span_of(bytes, n));
        assert_int_equal(hex_decode((char *)b.data, b.len, decoded, sizeof decoded), (int)n);
        assert_memory_equal(decoded, bytes, n);
        buf_clear(&b);
        buf_clear(&back);
        base64url_add(&b, span_of(bytes, n));
        assert_int_equal(base64_decode(&back, (char *)b.data, b.len), 0);
        assert_int_equal(back.len, n);
        assert_memory_equal(back.data, bytes, n);
    }
    assert_int_equal(hex_decode("abc", 3, (uint8_t[4]){0}, 4), -1);
    assert_int_equal(hex_decode("zz", 2, (uint8_t[4]){0}, 4), -1);
    assert_int_equal(base64_decode(&back, "a*b=", 4), -1);
    buf_release(&b);
    buf_release(&back);
}

static void the_nearest_word_is_a_typing_mistake_away(void **state)
{
    (void)state;
    static const char *const keys[] = {"topic", "org", "start", "watchdog"};
    assert_string_equal(text_nearest("topics", keys, 4), "topic");
    assert_string_equal(text_nearest("watch_dog", keys, 4), "watchdog");
    assert_null(text_nearest("something_else", keys, 4));
}

static void an_arena_keeps_its_memory_for_the_next_batch(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            uint8_t *p = arena_alloc(&a, 100);
            assert_int_equal((uintptr_t)p % 8, 0);
            memset(p, i, 100);
        }
        arena_reset(&a);
    }
    size_t total = a.total;
    for (int i = 0; i < 1000; i++)
        arena_alloc(&a, 100);
    assert_int_equal(a.total, total);
    arena_release(&a);
}

static void the_rest_of_a_shrunk_piece_is_the_next_one(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    uint8_t *first = arena_alloc(&a, 1000);
    arena_shrink(&a, first, 1000, 41);
    uint8_t *second = arena_alloc(&a, 8);
    assert_ptr_equal(second, first + 48);
    arena_shrink(&a, first, 1000, 0); /* not the newest any more: stays */
    assert_ptr_equal(arena_alloc(&a, 8), second + 8);
    arena_shrink(&a, second, 8, 8); /* neither the newest, nor smaller */
    assert_ptr_equal(arena_alloc(&a, 8), second + 16);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_keeps_origin_code_and_text),
        cmocka_unit_test(json_strings_escape_what_json_requires),
        cmocka_unit_test(json_numbers_read_back_exactly),
        cmocka_unit_test(the_civil_date_agrees_with_gmtime),
        cmocka_unit_test(sizes_times_and_durations_are_read_whole_or_refused),
        cmocka_unit_test(utf8_is_checked_by_rfc_3629),
        cmocka_unit_test(bytes_and_text_forms_round_trip),
        cmocka_unit_test(the_nearest_word_is_a_typing_mistake_away),
        cmocka_unit_test(the_rest_of_a_shrunk_piece_is_the_next_one),
        cmocka_unit_test(an_arena_keeps_its_memory_for_the_next_batch),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
