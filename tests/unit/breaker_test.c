/* When the next login may come: the promise that no account is locked by us, over random histories. */
#include "auth/breaker.h"
#include "auth/memory.h"
#include "base/compiler.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MINUTE (60 * (int64_t)1000)

static void busy_is_asked_again_soon(void **state)
{
    (void)state;
    struct breaker b = BREAKER_INIT;
    int64_t most = 1000, now = 0;
    for (int i = 0; i < 200; i++) {
        int64_t pause = breaker_failed(&b, BREAKER_BUSY, now, 0);
        assert_in_range(pause, 100, most);
        now += pause;
        most = most * 2 < MINUTE ? most * 2 : MINUTE;
    }
    assert_int_equal(breaker_failed(&b, BREAKER_BUSY, now, 7 * MINUTE),
                     7 * MINUTE); /* what the service asks for */
    breaker_worked(&b);
    assert_in_range(breaker_failed(&b, BREAKER_BUSY, now, 0), 100, 1000);
}

static void refused_waits_longer_each_time(void **state)
{
    (void)state;
    struct breaker b = BREAKER_INIT;
    static const int64_t pauses[] = {30000, 60000, 120000, 240000, 480000};
    int64_t now = 5;
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        int64_t pause = breaker_failed(&b, BREAKER_REFUSED, now, 0);
        assert_in_range(pause, pauses[i], pauses[i] + pauses[i] / 8);
        now += pause;
    }
    /* The sixth: the hour that began with the first must be over. */
    int64_t pause = breaker_failed(&b, BREAKER_REFUSED, now, 0);
    assert_int_equal(now + pause, 5 + 60 * MINUTE);
}

static void too_many_logins_stay_away(void **state)
{
    (void)state;
    struct breaker b = BREAKER_INIT;
    static const int64_t pauses[] = {15, 30, 60, 60, 60};
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++)
        assert_in_range(breaker_failed(&b, BREAKER_RATE, 0, 0), pauses[i] * MINUTE,
                        pauses[i] * MINUTE * 9 / 8);
}

static void wrong_passwords_are_tried_twice(void **state)
{
    (void)state;
    struct breaker b = BREAKER_INIT;
    assert_in_range(breaker_failed(&b, BREAKER_COUNTED, 0, 0), 15 * MINUTE, 17 * MINUTE);
    breaker_failed(&b, BREAKER_BUSY, 1, 0); /* what comes in between makes no difference */
    assert_int_equal(breaker_failed(&b, BREAKER_COUNTED, 20 * MINUTE, 0), BREAKER_NEVER);
    assert_int_equal(breaker_failed(&b, BREAKER_COUNTED, 20 * MINUTE, 0), BREAKER_NEVER);
}

/* Three are tried soon, as a network that fails; then each may be one more wrong password. */
static void passwords_without_answer_get_careful(void **state)
{
    (void)state;
    struct breaker b = BREAKER_INIT;
    int64_t now = 0;
    for (int i = 0; i < BREAKER_UNHEARD_MOST; i++) {
        int64_t pause = breaker_failed(&b, BREAKER_UNHEARD, now, 0);
        assert_in_range(pause, 100, 4000);
        now += pause;
    }
    for (int i = BREAKER_UNHEARD_MOST; i < BREAKER_PER_HOUR - 1; i++) {
        int64_t pause = breaker_failed(&b, BREAKER_UNHEARD, now, 0);
        assert_in_range(pause, 15 * MINUTE, 17 * MINUTE);
        now += pause;
    }
    assert_true(now + breaker_failed(&b, BREAKER_UNHEARD, now, 0) >= 60 * MINUTE); /* the cap */
    assert_int_equal(b.counted, 0);                                                /* none was heard */
    breaker_failed(&b, BREAKER_BUSY, now, 0);
    assert_int_equal(b.unheard, 0);
}

static void deaths_before_the_answer_count_when_there_are_many(void **state)
{
    (void)state;
    static const int64_t seconds[] = {0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900};
    struct breaker b = BREAKER_INIT;
    for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
        b.unheard = (unsigned)i;
        assert_in_range(breaker_resumed(&b), seconds[i] * 1000, seconds[i] * 1000 + seconds[i] * 125);
    }
    b.unheard = UINT32_MAX;
    assert_in_range(breaker_resumed(&b), 15 * MINUTE, 17 * MINUTE);
}

static void times_move_from_clock_to_clock(void **state)
{
    (void)state;
    struct breaker b = BREAKER_INIT;
    for (int i = 0; i < BREAKER_PER_HOUR; i++)
        breaker_failed(&b, BREAKER_REFUSED, i * MINUTE, 0);
    auth_memory_move(&b, 1000 * MINUTE, 1005 * MINUTE);
    auth_memory_move(&b, -2000 * MINUTE,
                     -996 * MINUTE); /* another process, and its clock was set back by a minute */
    int64_t pause = breaker_failed(&b, BREAKER_BUSY, -996 * MINUTE, 0);
    assert_int_equal(pause, 56 * MINUTE); /* an hour after the first */
    assert_int_equal(b.refused_ms[5], -996 * MINUTE);
    assert_int_equal(b.refused_ms[3], -997 * MINUTE);
}

/* Any mixture of failures, in a row: at most six refusals in any hour, and never more than two that count. */
static void no_history_breaks_the_cap(void **state)
{
    (void)state;
    enum { STEPS = 3000 };
    static int64_t refused_at[STEPS];
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng r = {seed};
        struct breaker b = BREAKER_INIT;
        int64_t now = 0;
        size_t n = 0;
        for (int i = 0; i < STEPS; i++) {
            enum breaker_cause cause = (enum breaker_cause[]){BREAKER_BUSY, BREAKER_REFUSED,
                                                              BREAKER_RATE}[rng_below(&r, 3)];
            if (cause == BREAKER_REFUSED)
                refused_at[n++] = now;
            int64_t pause = breaker_failed(&b, cause, now, (int64_t)rng_below(&r, 3) * 1000);
            assert_true(pause >= 100 && pause <= 70 * MINUTE);
            now += pause;
        }
        for (size_t i = BREAKER_PER_HOUR; i < n; i++)
            assert_true(refused_at[i] - refused_at[i - BREAKER_PER_HOUR] >= 60 * MINUTE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_is_asked_again_soon),
        cmocka_unit_test(refused_waits_longer_each_time),
        cmocka_unit_test(too_many_logins_stay_away),
        cmocka_unit_test(wrong_passwords_are_tried_twice),
        cmocka_unit_test(no_history_breaks_the_cap),
        cmocka_unit_test(passwords_without_answer_get_careful),
        cmocka_unit_test(deaths_before_the_answer_count_when_there_are_many),
        cmocka_unit_test(times_move_from_clock_to_clock),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
