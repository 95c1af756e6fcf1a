/* base/http against a small server: answers, limits, refusals. */
#include "base/http.h"
#include "harness/fake_http.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct http_request request_to(const char *url)
{
    return (struct http_request){
        .method = "GET", .url = url, .connect_timeout_ms = 5000, .timeout_ms = 10000, .max_answer = 1000};
}

static void loopback(void **state)
{
    (void)state;
    static const char *const yes[] = {"127.0.0.1", "127.0.0.1:7443", "127.8.8.8",
                                      "localhost", "localhost:80",   "::1",
                                      "[::1]",     "[::1]:7443",     "::ffff:127.0.0.1"};
    static const char *const no[] = {
        "192.0.2.1", "192.0.2.1:7443", "0.0.0.0", "[2001:db8::1]:1",      "2001:db8::1",     "",
        ":80",       "[::1",           "[::1]x",  "no-such-host.invalid", "::ffff:192.0.2.1"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (!http_host_is_loopback(yes[i]))
            fail_msg("%s is loopback", yes[i]);
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (http_host_is_loopback(no[i]))
            fail_msg("%s is not loopback", no[i]);
}

static void form(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    http_form_add(&b, "grant_type", "client_credentials");
    http_form_add(&b, "client_secret", "a b&c=d%/+\xc3\xa9~-._");
    assert_string_equal((char *)b.data,
                        "grant_type=client_credentials&client_secret=a%20b%26c%3Dd%25%2F%2B%C3%A9~-._");
    buf_release(&b);
}

static void answers(void **state)
{
    (void)state;
    struct fake_http *f = fake_http_start();
    struct http_answer a;
    struct err e;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/x?secret=1", fake_http_port(f));
    struct http_request r = request_to(url);

    fake_http_answer_json(f, 200, "{\"a\":1}");
    assert_int_equal(http_do(&r, &a, &e), 0);
    assert_int_equal(a.status, 200);
    assert_string_equal((char *)a.body.data, "{\"a\":1}");
    assert_string_equal(a.content_type, "application/json;charset=UTF-8");
    assert_int_equal(a.date_ms, 1778077800000);
    assert_int_equal(a.retry_after_s, -1);
    http_answer_release(&a);

    /* Errors are answers; odd headers are missing headers; redirects are not followed. */
    fake_http_answer(f, "HTTP/1.1 503 x\r\nRetry-After: 30\r\nDate: yesterday\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(http_do(&r, &a, &e), 0);
    assert_int_equal(a.status, 503);
    assert_int_equal(a.retry_after_s, 30);
    assert_int_equal(a.date_ms, 0);
    http_answer_release(&a);
    fake_http_answer(
        f, "HTTP/1.1 302 x\r\nLocation: http://192.0.2.1/\r\nRetry-After: Wed, 06 May 2026 14:30:00 GMT\r\n"
           "Content-Length: 0\r\n\r\n");
    assert_int_equal(http_do(&r, &a, &e), 0);
    assert_int_equal(a.status, 302);
    assert_int_equal(a.retry_after_s, -1);
    http_answer_release(&a);

    /* POST with headers. */
    fake_http_answer_json(f, 200, "{}");
    const char *const headers[] = {"X-One: 1", "X-Two: 2", NULL};
    r.method = "POST";
    r.headers = headers;
    r.body = span_of("k=v\0w", 5);
    assert_int_equal(http_do(&r, &a, &e), 0);
    http_answer_release(&a);
    const char *seen = fake_http_last(f);
    assert_non_null(strstr(seen, "POST /x?secret=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(seen, "X-One: 1\r\n"));
    assert_non_null(strstr(seen, "X-Two: 2\r\n"));
    assert_non_null(strstr(seen, "Content-Length: 5\r\n"));

    /* Over the limit. */
    r = request_to(url);
    r.max_answer = 5;
    fake_http_answer_json(f, 200, "{\"a\":1}");
    assert_int_equal(http_do(&r, &a, &e), -1);
    assert_non_null(strstr(e.text, "larger than 5 bytes"));
    assert_null(strstr(e.text, "secret"));
    fake_http_stop(f);
}

struct stopper {
    struct fake_http *server;
    int requests; /* seen before */
    atomic_bool stop;
};

/* Sets stop once the request is under way. */
static void *set_stop(void *arg)
{
    struct stopper *s = arg;
    while (fake_http_requests(s->server) == s->requests)
        sched_yield();
    atomic_store(&s->stop, true);
    return NULL;
}

static void failures(void **state)
{
    (void)state;
    struct http_answer a;
    struct err e;
    static const struct {
        const char *url;
        enum err_class class;
        const char *says;
    } cases[] = {
        {"http://192.0.2.1/", ERR_CONFIG, "loopback"},
        {"ftp://127.0.0.1/", ERR_CONFIG, "not supported"},
        {"127.0.0.1/x", ERR_CONFIG, "URL"},
        {"", ERR_CONFIG, "URL"},
        {"https://", ERR_CONFIG, "URL"},
        {"https://no-such-host.invalid/", ERR_RETRY, "no-such-host.invalid: the name does not resolve"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request r = request_to(cases[i].url);
        assert_int_equal(http_do(&r, &a, &e), -1);
        assert_int_equal(e.class, cases[i].class);
        if (!strstr(e.text, cases[i].says))
            fail_msg("%s: %s", cases[i].url, e.text);
    }

    struct fake_http *f = fake_http_start();
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", fake_http_port(f));
    struct http_request r = request_to(url);
    fake_http_answer(f, "HTTP/1.1 400 x\r\n\r\n");
    assert_int_equal(http_do(&r, &a, &e), -1); /* TLS to a server that speaks none */

    /* Silence: the time-out ends it; so does *stop, sooner. */
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", fake_http_port(f));
    fake_http_answer(f, "");
    r.timeout_ms = 300;
    assert_int_equal(http_do(&r, &a, &e), -1);
    assert_int_equal(e.class, ERR_RETRY);
    assert_non_null(strstr(e.text, "no answer in time"));
    struct stopper stopper = {f, fake_http_requests(f), false};
    pthread_t thread;
    r.timeout_ms = 30000;
    r.stop = &stopper.stop;
    pthread_create(&thread, NULL, set_stop, &stopper);
    assert_int_equal(http_do(&r, &a, &e), -1);
    pthread_join(thread, NULL);
    assert_non_null(strstr(e.text, "stopped")); /* and not "no answer in time" */

    int port = fake_http_port(f);
    fake_http_stop(f);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    r = request_to(url);
    assert_int_equal(http_do(&r, &a, &e), -1);
    assert_int_equal(e.class, ERR_RETRY);
    assert_non_null(strstr(e.text, "127.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback),
        cmocka_unit_test(form),
        cmocka_unit_test(answers),
        cmocka_unit_test(failures),
    };
    http_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
