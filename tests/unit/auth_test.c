/* Logins against a small server: what is kept, what is refused, and when the next one comes. */
#include "auth/auth.h"
#include "auth/login.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "harness/fake_http.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char good[] =
    "{\"access_token\":\"00Dxx0000001gER!AQ0AQP.x\",\"instance_url\":\"https://acme.my.salesforce.com/\","
    "\"id\":\"https://login.salesforce.com/id/00Dxx0000001gEREAY/"
    "005xx000001Sv6AAAS\",\"token_type\":\"Bearer\"}";

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

struct fixture {
    struct fake_http *server;
    char url[64];
    struct org_config org;
    struct auth *auth;
};

static void fixture_init(struct fixture *l)
{
    memset(l, 0, sizeof *l);
    l->server = fake_http_start();
    snprintf(l->url, sizeof l->url, "http://127.0.0.1:%d", fake_http_port(l->server));
    l->org = (struct org_config){.name = text("test"),
                                 .login_url = l->url,
                                 .auth = {.kind = AUTH_CLIENT_CREDENTIALS,
                                          .client_id = text("my app"),
                                          .client_secret = text("s3cr&t")}};
}

static void fixture_release(struct fixture *l)
{
    auth_free(l->auth);
    fake_http_stop(l->server);
}

/* Asks until the status is no longer PENDING. */
static enum auth_status settle(struct auth *a, struct auth_token *token, struct err *why)
{
    int64_t deadline = clock_mono_us() / 1000 + 60000;
    enum auth_status status;
    while ((status = auth_get(a, token, why)) == AUTH_PENDING && clock_mono_us() / 1000 < deadline)
        auth_wait(a, 200);
    return status;
}

static enum auth_status settle_for(struct auth *a, enum auth_status wanted, struct auth_token *token,
                                   struct err *why)
{
    enum auth_status status = AUTH_PENDING;
    for (int i = 0; i < 300 && (status = auth_get(a, token, why)) != wanted; i++) {
        if (status == AUTH_READY)
            auth_token_release(token);
        auth_wait(a, 200);
    }
    return status;
}

static void logs_in(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t, again;
    struct err why;
    fixture_init(&l);
    fake_http_answer_json(l.server, 200, good);
    l.auth = auth_new(&l.org);
    assert_int_equal(fake_http_requests(l.server), 0); /* nobody asked yet */
    assert_int_equal(settle(l.auth, &t, &why), AUTH_READY);
    assert_string_equal(t.access_token, "00Dxx0000001gER!AQ0AQP.x");
    assert_string_equal(t.instance_url, "https://acme.my.salesforce.com");
    assert_string_equal(t.tenant_id, "00Dxx0000001gEREAY");
    assert_int_equal(auth_server_time_ms(l.auth), 1778077800000);
    assert_int_equal(auth_refresh_count(l.auth), 1);
    const char *request = fake_http_last(l.server);
    assert_non_null(strstr(request, "POST /services/oauth2/token HTTP/1.1\r\n"));
    assert_non_null(strstr(request, "Content-Type: application/x-www-form-urlencoded\r\n"));
    assert_non_null(
        strstr(request, "\r\n\r\ngrant_type=client_credentials&client_id=my%20app&client_secret=s3cr%26t"));
    assert_int_equal(auth_get(l.auth, &again, &why), AUTH_READY);
    assert_int_equal(again.serial, t.serial);
    assert_int_equal(fake_http_requests(l.server), 1);
    auth_token_release(&again);
    auth_token_release(&t);
    assert_null(t.access_token);
    fixture_release(&l);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum err_class class;
        const char *says;
    } cases[] = {
        {400, "{\"error\":\"invalid_client\",\"error_description\":\"invalid client credentials\"}", ERR_AUTH,
         "invalid_client, invalid client credentials"},
        {401, "{\"error\":\"invalid_client\"}", ERR_AUTH, "invalid_client: check client_id"},
        {400, "{\"error\":\"invalid_client_id\",\"error_description\":\"client identifier invalid\"}",
         ERR_AUTH, "check client_id"},
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"request not supported on this domain\"}",
         ERR_AUTH, "My Domain"},
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"no client credentials user enabled\"}",
         ERR_AUTH, "run-as user"},
        {400, "{\"error\":\"inactive_user\",\"error_description\":\"user is inactive\"}", ERR_AUTH,
         "activate"},
        {400, "{\"error\":\"unsupported_grant_type\"}", ERR_AUTH, "flow"},
        {400, "{\"error\":\"never_heard_of\"}", ERR_AUTH, "never_heard_of"},
        {400, "{\"error\":\"x\",\"error_description\":\"you sent s3cr&t to me\"}", ERR_AUTH, "withheld"},
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"login rate exceeded\"}", ERR_RETRY,
         "too many logins"},
        {400, "{\"error\":\"rate_limit_exceeded\"}", ERR_RETRY, "too many logins"},
        {400, "{\"error\":\"server_error\"}", ERR_RETRY, "fault of its own"},
        {400, "<html>Bad Request</html>", ERR_RETRY, "HTTP 400"},
        {400, "[]", ERR_RETRY, "HTTP 400"},
        {429, "{\"error\":\"slow\"}", ERR_RETRY, "busy"},
        {500, "<html>oops</html>", ERR_RETRY, "HTTP 500"},
        {503, "{\"error\":\"invalid_client\"}", ERR_RETRY, "HTTP 503"},
        {404, "<html>", ERR_CONFIG, "no token endpoint"},
        {302, "", ERR_CONFIG, "redirects"},
        {407, "", ERR_CONFIG, "proxy"},
        {200, "<html>maintenance</html>", ERR_RETRY, "not JSON"},
        {200, "", ERR_RETRY, "not JSON"},
        {200, "[1]", ERR_RETRY, "not JSON"},
        {200,
         "{\"access_token\":\"\",\"instance_url\":\"https://x\",\"id\":\"https://x/id/00Dxx0000001gEREAY/"
         "005\"}",
         ERR_RETRY, "no access_token"},
        {200,
         "{\"access_token\":7,\"instance_url\":\"https://x\",\"id\":\"https://x/id/00Dxx0000001gEREAY/005\"}",
         ERR_RETRY, "no access_token"},
        {200, "{\"access_token\":\"a\",\"id\":\"https://x/id/00Dxx0000001gEREAY/005\"}", ERR_RETRY,
         "no instance_url"},
        {200, "{\"access_token\":\"a\",\"instance_url\":\"https://x\"}", ERR_RETRY, "no id"},
        {200,
         "{\"access_token\":\"a\\nb\",\"instance_url\":\"https://x\",\"id\":\"https://x/id/"
         "00Dxx0000001gEREAY/005\"}",
         ERR_RETRY, "not usable"},
        {200,
         "{\"access_token\":\"a\",\"instance_url\":\"x\",\"id\":\"https://x/id/00Dxx0000001gEREAY/005\"}",
         ERR_RETRY, "instance_url is not a URL"},
        {200, "{\"access_token\":\"a\",\"instance_url\":\"https://x\",\"id\":\"https://x/id/00D/005\"}",
         ERR_RETRY, "ORG-ID"},
    };
    struct fixture l;
    struct login login;
    fixture_init(&l);
    login_open(&login, &l.org);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct login_result result;
        struct login_times times;
        struct err e = ERR_INIT;
        fake_http_answer_json(l.server, cases[i].status, cases[i].body);
        assert_int_equal(login_once(&login, NULL, &result, &times, &e), -1);
        if (e.class != cases[i].class || !strstr(e.text, cases[i].says))
            fail_msg("HTTP %d %s: class %s, %s", cases[i].status, cases[i].body, err_class_name(e.class),
                     e.text);
        assert_null(strstr(e.text, "s3cr&t"));
        assert_null(result.access_token);
    }
    login_close(&login);
    fixture_release(&l);
}

static void tenant_ids(void **state)
{
    (void)state;
    static const struct {
        const char *url, *tenant;
    } cases[] = {
        {"https://login.salesforce.com/id/00Dxx0000001gEREAY/005xx000001Sv6AAAS", "00Dxx0000001gEREAY"},
        {"https://login.salesforce.com/id/00Dxx0000001gEREAY/005xx000001Sv6AAAS/", "00Dxx0000001gEREAY"},
        {"http://127.0.0.1:8080/id/00D000000000001/005", "00D000000000001EAA"},
        {"https://acme.my.salesforce.com/id/00Dxx0000001gER/005xx", "00Dxx0000001gEREAY"},
        {"https://x/00Dxx0000001gEREAY/u", "00Dxx0000001gEREAY"},
        {"https://x/id/00Dxx0000001gEREAY", NULL},
        {"https://x/id/00Dxx0000001gEREAY//", NULL},
        {"https://x/id/005xx000001Sv6AAAS/00Dxx0000001gEREAY", NULL},
        {"https://x/id/00Dxx0000001gER!AY/005", NULL},
        {"https://x/id//005", NULL},
        {"https://00Dxx0000001gEREAY/005", NULL},
        {"00Dxx0000001gEREAY/005", NULL},
        {"https://", NULL},
        {"https:///", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char tenant[19] = "";
        bool found = login_tenant_of(cases[i].url, tenant);
        if (found != (cases[i].tenant != NULL) || (found && strcmp(tenant, cases[i].tenant) != 0))
            fail_msg("%s: %s", cases[i].url, found ? tenant : "none");
    }
}

/* A held clock: pauses end when the test says so. The worker looks at it several times a second. */
static void pauses(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t;
    struct err why;
    clock_hold(1000000, 1000000);
    fixture_init(&l);
    fake_http_answer_json(l.server, 400, "{\"error\":\"invalid_client\"}");
    l.auth = auth_new(&l.org);
    assert_int_equal(settle(l.auth, &t, &why), AUTH_FAILING);
    assert_int_equal(why.class, ERR_AUTH);
    assert_int_equal(fake_http_requests(l.server), 1);
    /* Refused credentials: 30 s at least, then twice that, whoever asks in between. */
    int asked = 1;
    for (int64_t pause = 30000; pause <= 240000; pause *= 2) {
        clock_advance(pause - 1000);
        for (int i = 0; i < 3; i++) {
            auth_wait(l.auth, 100);
            assert_int_equal(auth_get(l.auth, &t, &why), AUTH_FAILING);
        }
        assert_int_equal(fake_http_requests(l.server), asked);
        clock_advance(1000 + pause / 8);
        asked++;
        for (int i = 0; i < 100 && fake_http_requests(l.server) < asked; i++)
            auth_wait(l.auth, 100);
        assert_int_equal(fake_http_requests(l.server), asked);
        auth_wait(l.auth, 200);
    }
    /* Mended in the app's settings: the next try works. */
    fake_http_answer_json(l.server, 200, good);
    auth_get(l.auth, &t, &why);
    clock_advance(900000 * 2);
    assert_int_equal(settle_for(l.auth, AUTH_READY, &t, &why), AUTH_READY);
    auth_token_release(&t);
    fixture_release(&l);
    clock_release();
}

static void refused_tokens(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t, t2;
    struct err why;
    clock_hold(5000000, 5000000);
    fixture_init(&l);
    fake_http_answer_json(l.server, 200, good);
    l.auth = auth_new(&l.org);
    assert_int_equal(settle(l.auth, &t, &why), AUTH_READY);

    /* A refused token is replaced at once, and once, however many streams complain. */
    auth_refused(l.auth, t.serial);
    auth_refused(l.auth, t.serial);
    auth_refused(l.auth, t.serial - 1);
    assert_int_equal(settle(l.auth, &t2, &why), AUTH_READY);
    auth_token_release(&t2);
    clock_advance(2 * 3600 * 1000);
    auth_refused(l.auth, t.serial + 1);
    assert_int_equal(settle(l.auth, &t2, &why), AUTH_READY);
    assert_true(t2.serial > t.serial);
    auth_refused(l.auth, t.serial); /* a late complaint about the old one */
    auth_token_release(&t);
    assert_int_equal(auth_get(l.auth, &t, &why), AUTH_READY);
    assert_int_equal(t.serial, t2.serial);
    assert_int_equal(fake_http_requests(l.server), 3);

    /* The new one refused soon: the login is not what is wrong. Said so, and logins stay 30 s apart. */
    clock_advance(10000);
    auth_refused(l.auth, t.serial);
    assert_int_equal(auth_get(l.auth, &t, &why), AUTH_FAILING);
    assert_int_equal(why.class, ERR_AUTH);
    auth_wait(l.auth, 300);
    assert_int_equal(fake_http_requests(l.server), 3);
    clock_advance(20001);
    auth_token_release(&t2);
    assert_int_equal(settle_for(l.auth, AUTH_READY, &t2, &why), AUTH_READY);
    assert_int_equal(fake_http_requests(l.server), 4);
    /* Again: a minute. */
    clock_advance(10000);
    auth_refused(l.auth, t2.serial);
    clock_advance(30000);
    auth_wait(l.auth, 300);
    assert_int_equal(fake_http_requests(l.server), 4);
    clock_advance(20001);
    auth_token_release(&t2);
    assert_int_equal(settle_for(l.auth, AUTH_READY, &t2, &why), AUTH_READY);
    assert_int_equal(auth_refresh_count(l.auth), 5);
    auth_token_release(&t2);
    auth_token_release(&t);
    fixture_release(&l);
    clock_release();
}

/* A token that the service took is none of a misfit, however soon it dies: the next login comes 30 s after the one
 * before it, at the latest, and pauses do not grow. */
static void tokens_that_worked(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t;
    struct err why;
    clock_hold(5000000, 5000000);
    fixture_init(&l);
    fake_http_answer_json(l.server, 200, good);
    l.auth = auth_new(&l.org);
    int logins = 1;
    /* Sessions that last 37 s each: nobody waits. */
    for (; logins < 8; logins++) {
        assert_int_equal(settle(l.auth, &t, &why), AUTH_READY);
        assert_int_equal(fake_http_requests(l.server), logins);
        auth_worked(l.auth, t.serial);
        clock_advance(37000);
        auth_refused(l.auth, t.serial);
        auth_token_release(&t);
    }
    /* 5 s each: no login sooner than 30 s after the one before, which says what is wrong, and none much later. */
    for (; logins < 14; logins++) {
        assert_int_equal(settle_for(l.auth, AUTH_READY, &t, &why), AUTH_READY);
        assert_int_equal(fake_http_requests(l.server), logins);
        auth_worked(l.auth, t.serial);
        auth_worked(l.auth, t.serial - 1);
        clock_advance(5000);
        auth_refused(l.auth, t.serial);
        auth_token_release(&t);
        assert_int_equal(auth_get(l.auth, &t, &why), AUTH_FAILING);
        assert_int_equal(why.class, ERR_RETRY);
        assert_non_null(strstr(why.text, "ended its session"));
        clock_advance(24000);
        auth_wait(l.auth, 300);
        assert_int_equal(fake_http_requests(l.server), logins);
        clock_advance(1001);
    }
    /* One that never worked, and the next: these pauses grow. A late word about an older token changes nothing. */
    for (int pause = 60; pause <= 120; pause *= 2, logins++) {
        assert_int_equal(settle_for(l.auth, AUTH_READY, &t, &why), AUTH_READY);
        auth_worked(l.auth, t.serial - 1);
        clock_advance(10000);
        auth_refused(l.auth, t.serial);
        auth_token_release(&t);
        assert_int_equal(auth_get(l.auth, &t, &why), AUTH_FAILING);
        assert_int_equal(why.class, ERR_AUTH);
        clock_advance((pause - 11) * 1000);
        auth_wait(l.auth, 300);
        assert_int_equal(fake_http_requests(l.server), logins);
        clock_advance(1001);
    }
    assert_int_equal(settle_for(l.auth, AUTH_READY, &t, &why), AUTH_READY);
    auth_token_release(&t);
    fixture_release(&l);
    clock_release();
}

static void unreachable(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t;
    struct err why;
    fixture_init(&l);
    fake_http_stop(l.server);
    l.auth = auth_new(&l.org);
    assert_int_equal(settle(l.auth, &t, &why), AUTH_FAILING);
    assert_int_equal(why.class, ERR_RETRY);
    assert_non_null(strstr(why.text, "127.0.0.1"));
    auth_free(l.auth);
}

static void slow_server(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t;
    struct err why;
    fixture_init(&l); /* its first answer is silence */
    l.auth = auth_new(&l.org);
    assert_int_equal(auth_get(l.auth, &t, &why), AUTH_PENDING);
    for (int i = 0; i < 100 && fake_http_requests(l.server) == 0; i++)
        auth_wait(l.auth, 50);
    assert_int_equal(auth_get(l.auth, &t, &why), AUTH_PENDING);
    int64_t before = clock_mono_ms();
    auth_free(l.auth);
    assert_true(clock_mono_ms() - before < 25000); /* the login itself would wait 30 s */
    l.auth = NULL;
    fixture_release(&l);
}

static void count_change(void *ctx)
{
    atomic_int *n = ctx;
    atomic_fetch_add(n, 1);
}

static void tells_changes(void **state)
{
    (void)state;
    struct fixture l;
    struct auth_token t;
    struct err why;
    atomic_int changes = 0;
    fixture_init(&l);
    fake_http_answer_json(l.server, 200, good);
    l.auth = auth_new(&l.org);
    auth_on_change(l.auth, count_change, &changes);
    assert_int_equal(settle(l.auth, &t, &why), AUTH_READY);
    for (int i = 0; i < 100 && atomic_load(&changes) == 0; i++)
        auth_wait(l.auth, 50);
    assert_int_equal(atomic_load(&changes), 1);
    auth_token_release(&t);
    fixture_release(&l);
}

static void static_token(void **state)
{
    (void)state;
    struct org_config org = {.name = text("test"),
                             .login_url = text(""),
                             .auth = {.kind = AUTH_STATIC,
                                      .access_token = text("tok"),
                                      .instance_url = text("https://x.my.salesforce.com"),
                                      .tenant_id = text("00Dxx0000001gEREAY")}};
    struct auth_token t;
    struct err why;
    clock_hold(9000000, 9000000);
    struct auth *a = auth_new(&org);
    assert_int_equal(auth_get(a, &t, &why), AUTH_READY);
    assert_string_equal(t.access_token, "tok");
    assert_string_equal(t.tenant_id, "00Dxx0000001gEREAY");
    uint64_t serial = t.serial;
    auth_token_release(&t);
    auth_refused(a, serial + 1);
    assert_int_equal(auth_get(a, &t, &why), AUTH_READY);
    auth_token_release(&t);
    auth_refused(a, serial);
    assert_int_equal(auth_get(a, &t, &why), AUTH_FAILING);
    assert_int_equal(why.class, ERR_AUTH);
    clock_advance(14 * 60 * 1000);
    auth_wait(a, 300);
    assert_int_equal(auth_get(a, &t, &why), AUTH_FAILING);
    clock_advance(3 * 60 * 1000);
    assert_int_equal(settle_for(a, AUTH_READY, &t, &why), AUTH_READY);
    assert_int_equal(auth_refresh_count(a), 0);
    auth_token_release(&t);
    auth_free(a);
    clock_release();
}

/* Sixteen that all want a token, and all complain about it: one login for each that was really due. */
enum { ASKERS = 16, ROUNDS = 5 };

struct asker {
    struct auth *auth;
    pthread_barrier_t *round;
    uint64_t serials[ROUNDS];
};

static void *ask_and_complain(void *arg)
{
    struct asker *me = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct auth_token t;
        struct err why;
        pthread_barrier_wait(me->round);
        if (settle(me->auth, &t, &why) == AUTH_READY) {
            me->serials[i] = t.serial;
            auth_token_release(&t);
        }
        pthread_barrier_wait(me->round);
        pthread_barrier_wait(me->round);
        auth_refused(me->auth, me->serials[i]);
    }
    return NULL;
}

static void single_flight(void **state)
{
    (void)state;
    struct fixture l;
    struct asker askers[ASKERS] = {0};
    pthread_t threads[ASKERS];
    pthread_barrier_t round;
    clock_hold(1000000, 1000000);
    fixture_init(&l);
    fake_http_answer_json(l.server, 200, good);
    l.auth = auth_new(&l.org);
    pthread_barrier_init(&round, NULL, ASKERS + 1);
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.auth = l.auth, .round = &round};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_and_complain, &askers[i]), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&round);
        pthread_barrier_wait(&round);
        for (int k = 0; k < ASKERS; k++)
            assert_int_equal(askers[k].serials[i], (uint64_t)i + 1);
        clock_advance(3600 * 1000); /* the token is not a young one any more when it is refused */
        pthread_barrier_wait(&round);
    }
    for (int i = 0; i < ASKERS; i++)
        pthread_join(threads[i], NULL);
    struct auth_token t;
    struct err why;
    assert_int_equal(settle(l.auth, &t, &why), AUTH_READY);
    auth_token_release(&t);
    assert_int_equal(fake_http_requests(l.server), ROUNDS + 1);
    pthread_barrier_destroy(&round);
    fixture_release(&l);
    clock_release();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_in),        cmocka_unit_test(refusals),
        cmocka_unit_test(tenant_ids),     cmocka_unit_test(pauses),
        cmocka_unit_test(refused_tokens), cmocka_unit_test(tokens_that_worked),
        cmocka_unit_test(unreachable),    cmocka_unit_test(slow_server),
        cmocka_unit_test(tells_changes),  cmocka_unit_test(static_token),
        cmocka_unit_test(single_flight),
    };
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    http_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
