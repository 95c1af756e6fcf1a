/* Which connections take a proxy, and what HTTPS_PROXY may hold. */
#include "base/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void no_proxy_forms(void **state)
{
    (void)state;
    static const struct {
        const char *list, *host;
        bool excluded;
    } cases[] = {
        {NULL, "a.example", false},
        {"", "a.example", false},
        {"*", "a.example", true},
        {"a.example", "a.example", true},
        {"a.example", "A.Example", true},
        {"a.example", "a.example:7443", true},
        {"a.example", "a.example.", true},
        {"a.example.", "a.example", true},
        {"a.example", "b.a.example", true},
        {".a.example", "b.a.example", true},
        {".a.example", "a.example", true},
        {"*.a.example", "b.a.example", true},
        {"b.a.example", "a.example", false},
        {"force.com", "api.pubsub.salesforce.com:7443", false}, /* an ending, but another name */
        {"salesforce.com", "api.pubsub.salesforce.com:7443", true},
        {"x, y ,salesforce.com", "api.pubsub.salesforce.com", true},
        {"x y\tz.example", "z.example", true},
        {",,", "a.example", false},
        {"com", "a.example.com", true},
        {".", "a.example", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.1:443", true},
        {"10.0.0.1", "10.0.0.10", false},
        {"0.0.1", "10.0.0.1", false},
        {"10.0.0.0/8", "10.200.3.4", true},
        {"10.0.0.0/8", "11.0.0.1", false},
        {"10.0.0.0/0", "11.0.0.1", true},
        {"10.0.0.128/25", "10.0.0.129", true},
        {"10.0.0.128/25", "10.0.0.127", false},
        {"10.0.0.0/33", "10.0.0.0", false},
        {"10.0.0.0/x", "10.0.0.0", false},
        {"10.0.0.0/8", "ten.example", false},
        {"fd00::/8", "[fd12:3456::1]:443", true},
        {"fd00::/8", "fd12:3456::1", true},
        {"fd00::/8", "fe80::1", false},
        {"[fd00::1]", "fd00::1", true},
        {"fd00::/8", "10.0.0.1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (proxy_is_excluded(cases[i].list, cases[i].host) != cases[i].excluded)
            fail_msg("NO_PROXY=%s for %s", cases[i].list, cases[i].host);
}

static void values(void **state)
{
    (void)state;
    static const struct {
        const char *value, *url, *user;
    } cases[] = {
        {"http://proxy.example:3128", "http://proxy.example:3128", NULL},
        {"HTTP://proxy.example:3128/", "http://proxy.example:3128", NULL},
        {"proxy.example:3128", "http://proxy.example:3128", NULL},
        {"proxy.example", "http://proxy.example:1080", NULL},
        {"http://10.0.0.1:8080/path", "http://10.0.0.1:8080", NULL},
        {"http://[fd00::1]:8080", "http://[fd00::1]:8080", NULL},
        {"http://[fd00::1]", "http://[fd00::1]:1080", NULL},
        {"http://me:p%40ss%3A%20w@proxy.example:1", "http://proxy.example:1", "me:p@ss: w"},
        {"me:p@ss@proxy.example:1", "http://proxy.example:1", "me:p@ss"},
        {"http://me@proxy.example:1", "http://proxy.example:1", "me"},
        {"http://me:50%@proxy.example:1", "http://proxy.example:1", "me:50%"},
        {"https://S3CRET@proxy.example:3128", NULL, NULL},
        {"socks5://S3CRET@proxy.example:3128", NULL, NULL},
        {"http://", NULL, NULL},
        {"http://S3CRET@", NULL, NULL},
        {"http://S3CRET@:3128", NULL, NULL},
        {"http://S3CRET@proxy.example:0", NULL, NULL},
        {"http://S3CRET@proxy.example:x", NULL, NULL},
        {"http://S3CRET@proxy example:1", NULL, NULL},
        {"http://S3CRET@[fd00::1:1", NULL, NULL},
        {"http://S3CRET@proxy.example\r\nX: y", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct proxy p;
        struct err e = ERR_INIT;
        int rc = proxy_parse(cases[i].value, &p, &e);
        if ((rc == 0) != (cases[i].url != NULL))
            fail_msg("%s: %s", cases[i].value, rc ? e.text : "taken");
        if (rc) {
            assert_int_equal(e.class, ERR_CONFIG);
            assert_null(strstr(e.text, "S3CRET"));
            assert_null(p.url);
            continue;
        }
        assert_string_equal(p.url, cases[i].url);
        if (cases[i].user)
            assert_string_equal(p.user, cases[i].user);
        else
            assert_null(p.user);
        proxy_release(&p);
        assert_null(p.user);
    }
}

static bool takes_proxy(const char *host)
{
    struct proxy p;
    struct err e = ERR_INIT;
    assert_int_equal(proxy_choose(host, &p, &e), 0);
    bool takes = p.url != NULL;
    proxy_release(&p);
    return takes;
}

static void choice(void **state)
{
    (void)state;
    static const char *const names[] = {"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    assert_false(takes_proxy("a.example:443"));
    setenv("HTTPS_PROXY", "http://proxy.example:3128", 1);
    assert_true(takes_proxy("a.example:443"));
    /* Never: loopback. */
    assert_false(takes_proxy("localhost:7443"));
    assert_false(takes_proxy("box.localhost"));
    assert_false(takes_proxy("127.0.0.1:7443"));
    assert_false(takes_proxy("127.9.9.9"));
    assert_false(takes_proxy("[::1]:7443"));
    assert_true(takes_proxy("localhost.example"));
    setenv("NO_PROXY", "a.example", 1);
    assert_false(takes_proxy("a.example:443"));
    assert_true(takes_proxy("c.example:443"));
    setenv("no_proxy", "c.example", 1); /* lower case wins */
    assert_true(takes_proxy("a.example:443"));
    assert_false(takes_proxy("c.example:443"));
    setenv("https_proxy", "", 1); /* empty: none, whatever the other says */
    assert_false(takes_proxy("a.example:443"));
    setenv("https_proxy", "socks5://proxy.example", 1);
    struct proxy p;
    struct err e = ERR_INIT;
    assert_int_equal(proxy_choose("a.example", &p, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_false(takes_proxy("c.example")); /* not needed, not looked at */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_proxy_forms),
        cmocka_unit_test(values),
        cmocka_unit_test(choice),
    };
    return cmocka_run_group_tests_name("proxy", tests, NULL, NULL);
}
