/* Reading what the org says about its limits: hostile and odd answers included. */
#include "salesforce/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void used_is_what_is_not_left(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int64_t used, max;
    } cases[] = {
        {"{\"DailyApiRequests\":{\"Max\":15000,\"Remaining\":14000}}", 1000, 15000},
        {"{\"A\":1,\"DailyApiRequests\":{\"Remaining\":0,\"X\":{},\"Max\":5}}", 5, 5},
        {"{\"DailyApiRequests\":{\"Max\":100,\"Remaining\":-7}}", 100, 100}, /* overrun */
        {"{\"DailyApiRequests\":{\"Max\":100,\"Remaining\":120}}", 0, 100},  /* just raised */
        {"{\"DailyApiRequests\":{\"Max\":9000000000,\"Remaining\":1}}", 8999999999, 9000000000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct limits l = {0};
        struct err e = ERR_INIT;
        assert_int_equal(limits_parse(span_of_str(cases[i].body), &l, &e), 0);
        assert_int_equal(l.used, cases[i].used);
        assert_int_equal(l.max, cases[i].max);
    }
}

static void nonsense_is_not_known(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "<html>",
        "[]",
        "null",
        "{}",
        "{\"DailyApiRequests\":7}",
        "{\"DailyApiRequests\":{\"Max\":0,\"Remaining\":0}}",
        "{\"DailyApiRequests\":{\"Max\":-5,\"Remaining\":0}}",
        "{\"DailyApiRequests\":{\"Max\":\"5\",\"Remaining\":1}}",
        "{\"DailyApiRequests\":{\"Max\":5}}",
        "{\"DailyApiRequests\":{\"Max\":99999999999999999999,\"Remaining\":1}}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct limits l = {0};
        struct err e = ERR_INIT;
        assert_int_equal(limits_parse(span_of_str(bodies[i]), &l, &e), -1);
        assert_int_equal(e.class, ERR_RETRY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(used_is_what_is_not_left),
                                       cmocka_unit_test(nonsense_is_not_known)};
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
