/*
 * Differences of large texts (src/delivery/text_diff.h): what the service sends, and what it never should.
 */
#include "delivery/text_diff.h"

#include "base/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A difference with the hash of `now` in its head. */
static void make_diff(struct buf *out, struct span now, const char *hunks)
{
    uint8_t hash[32];
    char hex[65];
    digest_sha256(now, hash);
    hex_encode(span_of(hash, 32), hex);
    buf_clear(out);
    buf_addf(out, "--- \n+++ %s%s%s", hex, *hunks ? "\n" : "", hunks);
}

static void assert_becomes(const char *old, const char *hunks, const char *now)
{
    struct buf diff = BUF_INIT, out = BUF_INIT;
    const char *why;
    make_diff(&diff, span_of_str(now), hunks);
    buf_add_str(&out, "before|");
    if (!text_diff_apply(span_of_str(old), buf_span(&diff), &out, &why))
        fail_msg("%s: %s", hunks, why);
    assert_memory_equal(out.data, "before|", 7);
    assert_true(span_equal_str(span_of(out.data + 7, out.len - 7), now));
    buf_release(&diff);
    buf_release(&out);
}

static void assert_refused(const char *old, const char *diff, const char *reason)
{
    struct buf out = BUF_INIT;
    const char *why = "";
    buf_add_str(&out, "before");
    assert_false(text_diff_apply(span_of_str(old), span_of_str(diff), &out, &why));
    assert_non_null(strstr(why, reason));
    assert_true(span_equal_str(buf_span(&out), "before"));
    buf_release(&out);
}

static void a_line_is_replaced_and_line_ends_stay(void **state)
{
    (void)state;
    assert_becomes("one\r\ntwo\r\nthree", "@@ -2,1 +2,1 @@\n-two\n+zwei", "one\r\nzwei\r\nthree");
    assert_becomes("one\ntwo\nthree", "@@ -2,1 +2,1 @@\n-two\n+zwei", "one\nzwei\nthree");
    assert_becomes("one", "@@ -1,1 +1,1 @@\n-one\n+\xc3\xa9in", "\xc3\xa9in");
    /* The target holds LF, the org CR LF, and the other way round. */
    assert_becomes("one\ntwo", "@@ -2,1 +2,1 @@\n-two\n+zwei", "one\r\nzwei");
    assert_becomes("one\r\ntwo", "@@ -2,1 +2,1 @@\n-two\n+zwei", "one\nzwei");
}

static void lines_come_and_go_anywhere(void **state)
{
    (void)state;
    assert_becomes("a\nb\nc", "@@ -1,2 +1,1 @@\n-a\n-b\n+x", "x\nc");
    assert_becomes("a\nb\nc", "@@ -3,1 +3,3 @@\n-c\n+x\n+\n+z", "a\nb\nx\n\nz");
    /* Several hunks; '-' and '+' within the text are text. */
    assert_becomes("-a\nb\n+c\nd\n@@ -1,1 +1,1 @@", "@@ -1,1 +1,1 @@\n--a\n++a\n@@ -3,1 +3,2 @@\n-+c\n+-c\n+c\n"
                                                     "@@ -5,1 +6,1 @@\n-@@ -1,1 +1,1 @@\n+end",
                   "+a\nb\n-c\nc\nd\nend");
    /* Pure insertions and deletions, whichever line the empty side names. */
    assert_becomes("a\nb", "@@ -1,0 +2,1 @@\n+x", "a\nx\nb");
    assert_becomes("a\nb", "@@ -2,0 +2,1 @@\n+x", "a\nx\nb");
    assert_becomes("a\nb", "@@ -0,0 +1,1 @@\n+x", "x\na\nb");
    assert_becomes("a\nb", "@@ -2,0 +3,1 @@\n+x", "a\nb\nx");
    assert_becomes("a\nb\nc", "@@ -2,1 +1,0 @@\n-b", "a\nc");
    assert_becomes("a\nb\nc", "@@ -2,1 +2,0 @@\n-b", "a\nc");
    /* Ends of lines at the end are lines. */
    assert_becomes("a\n", "@@ -1,1 +1,1 @@\n-a\n+b", "b\n");
    assert_becomes("a\n", "@@ -2,1 +2,1 @@\n-\n+b", "a\nb");
    assert_becomes("", "@@ -1,1 +1,1 @@\n-\n+b", "b");
    assert_becomes("b", "@@ -1,1 +1,1 @@\n-b\n+", "");
    assert_becomes("same", "", "same");
}

static void only_the_right_old_value_gives_a_result(void **state)
{
    (void)state;
    struct buf diff = BUF_INIT;
    make_diff(&diff, span_of_str("one\nzwei\nthree"), "@@ -2,1 +2,1 @@\n-two\n+zwei");
    const char *text = (const char *)diff.data;
    assert_refused("one\nTWO\nthree", text, "not the one it starts from");
    assert_refused("one\ntwo\nthree!", text, "hash");
    assert_refused("one\ntwo\r\nthree\rfour", text, "hash");
    assert_refused("one", text, "not the one it starts from");
    assert_refused("", text, "not the one it starts from");
    /* Mixed line ends cannot be rebuilt. */
    make_diff(&diff, span_of_str("one\r\nzwei\nthree"), "@@ -2,1 +2,1 @@\n-two\n+zwei");
    assert_refused("one\r\ntwo\nthree", (const char *)diff.data, "hash");
    buf_release(&diff);
}

static void damaged_differences_are_refused(void **state)
{
    (void)state;
    static const char head[] = "--- \n+++ 0000000000000000000000000000000000000000000000000000000000000000";
    static const struct {
        const char *hunks, *reason;
    } cases[] = {
        {"\n@@ -2,1 +2,1 @@\n-b", "ends within"},
        {"\n@@ -2,1 +2,1 @@\n-b\n", "ends within"},
        {"\n@@ -2,1 +2,1 @@\n-b\n+x\n+y", "none of"},
        {"\n@@ -2,1 +2,1 @@\n+x\n+y", "counts do not allow"},
        {"\n@@ -2,1 +2,1 @@\n-b\n x", "counts do not allow"},
        {"\n@@ -2 +2 @@\n-b\n+x", "none of"},
        {"\n@@ -2,1 +2,1 @@ more\n-b\n+x", "none of"},
        {"\n@@ -9999999999,1 +9999999999,1 @@\n-b\n+x", "beyond"},
        {"\n@@ -99999999999999999999,1 +1,1 @@\n-b\n+x", "none of"},
        {"\n@@ -2,9999999999 +2,9999999999 @@\n-b\n+x", "ends within"},
        {"\n@@ -0,1 +0,1 @@\n-a\n+x", "beyond"},
        {"\n@@ -2,1 +3,1 @@\n-b\n+x", "beyond"},
        {"\n@@ -2,1 +2,1 @@\n-b\n+x\n@@ -1,1 +1,1 @@\n-a\n+y", "beyond"},
        {"\n\n", "none of"},
        {"\n@@ -2,1 +2,1 @@\n-b\n+x", "hash"},
        {"", "hash"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf diff = BUF_INIT;
        buf_addf(&diff, "%s%s", head, cases[i].hunks);
        assert_refused("a\nb\nc", (const char *)diff.data, cases[i].reason);
        buf_release(&diff);
    }
    static const char *const heads[] = {
        "", "---", "--- \n", "--- \n+++ ", "a new value, sent whole", "--- \n+++ 00\n@@ -1,1 +1,1 @@\n-a\n+b",
        "--- \n+++ g000000000000000000000000000000000000000000000000000000000000000\n@@ -1,1 +1,1 @@\n-a\n+b"};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        assert_refused("a", heads[i], "does not begin");
}

/* Random edits, written as a difference: line by line, with an edit script that needs no cleverness. */
static void random_edits_are_rebuilt(void **state)
{
    (void)state;
    uint64_t seed = 4711;
    for (int round = 0; round < 2000; round++) {
        struct buf old = BUF_INIT, now = BUF_INIT, hunks = BUF_INIT, diff = BUF_INIT, out = BUF_INIT;
        const char *end = round % 2 ? "\r\n" : "\n", *why = NULL;
        int lines = 1 + (int)((seed = seed * 6364136223846793005u + 1) >> 33) % 12;
        unsigned new_line = 0;
        for (int i = 0; i < lines; i++) {
            unsigned draw = (unsigned)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 40);
            buf_addf(&old, "%sline %u", i ? end : "", draw % 5);
            if (draw % 3 == 0) { /* replaced by 1 .. 3 lines */
                unsigned n = 1 + draw / 16 % 3;
                buf_addf(&hunks, "%s@@ -%d,1 +%u,%u @@\n-line %u", hunks.len ? "\n" : "", i + 1, new_line + 1, n,
                         draw % 5);
                for (unsigned k = 0; k < n; k++) {
                    buf_addf(&hunks, "\n+new %u", k);
                    buf_addf(&now, "%snew %u", new_line++ ? end : "", k);
                }
            } else {
                buf_addf(&now, "%sline %u", new_line++ ? end : "", draw % 5);
            }
        }
        make_diff(&diff, buf_span(&now), hunks.len ? (const char *)hunks.data : "");
        if (!text_diff_apply(buf_span(&old), buf_span(&diff), &out, &why))
            fail_msg("round %d: %s", round, why);
        assert_true(span_equal(buf_span(&out), buf_span(&now)));
        /* Any byte that is damaged gives the same value or none. */
        for (size_t i = 0; i < diff.len; i += 1 + diff.len / 16) {
            diff.data[i] ^= 1;
            buf_clear(&out);
            if (text_diff_apply(buf_span(&old), buf_span(&diff), &out, &why))
                assert_true(span_equal(buf_span(&out), buf_span(&now)));
            diff.data[i] ^= 1;
        }
        buf_release(&old);
        buf_release(&now);
        buf_release(&hunks);
        buf_release(&diff);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_replaced_and_line_ends_stay),
        cmocka_unit_test(lines_come_and_go_anywhere),
        cmocka_unit_test(only_the_right_old_value_gives_a_result),
        cmocka_unit_test(damaged_differences_are_refused),
        cmocka_unit_test(random_edits_are_rebuilt),
    };
    return cmocka_run_group_tests_name("text_diff", tests, NULL, NULL);
}
