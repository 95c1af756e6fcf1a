/*
 * Each way to sign in against a small server: what is sent, what is mended, and what must be on disk before a
 * token is used. rename() is wrapped, so that a disk can fail at a chosen moment.
 */
#include "auth/auth.h"
#include "auth/login.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "harness/fake_http.h"
#include "rsa_key.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVER_DATE_MS 1778077800000 /* fake_http's */

static const char good[] =
    "{\"access_token\":\"00Dxx0000001gER!AQ0AQP.x\",\"instance_url\":\"https://acme.my.salesforce.com\","
    "\"id\":\"https://login.salesforce.com/id/00Dxx0000001gEREAY/005xx000001Sv6AAAS\"}";
#define ROTATED(token)                                                                                       \
    "{\"access_token\":\"00Dxx!second\",\"instance_url\":\"https://"                                         \
    "acme.my.salesforce.com\",\"refresh_token\":\"" token                                                    \
    "\",\"id\":\"https://login.salesforce.com/id/00Dxx0000001gEREAY/005xx000001Sv6AAAS\"}"

static char folder[] = "/tmp/tidemark-auth-XXXXXX";
static EVP_PKEY *key;
static char *key_pem;

/* Renames that still work before one fails with this error; -1: all work. */
static atomic_int renames_left = -1;
static atomic_int rename_error = EIO;
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

int __wrap_rename(const char *from, const char *to)
{
    if (renames_left == 0) {
        errno = rename_error;
        return -1;
    }
    if (renames_left > 0)
        renames_left--;
    return __real_rename(from, to);
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

struct fixture {
    struct fake_http *server;
    char url[64], file[128];
    struct org_config org;
    struct login login;
    struct login_result result;
    struct login_times times;
    struct err e;
};

static void begin(struct fixture *f, enum auth_kind kind)
{
    memset(f, 0, sizeof *f);
    f->server = fake_http_start();
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d", fake_http_port(f->server));
    snprintf(f->file, sizeof f->file, "%s/refresh", folder);
    f->org = (struct org_config){
        .name = text("test"), .login_url = f->url, .auth = {.kind = kind, .client_id = text("id&1")}};
    switch (kind) {
    case AUTH_JWT_BEARER:
        f->org.auth.username = text("u@x.example");
        f->org.auth.private_key = key_pem;
        break;
    case AUTH_REFRESH_TOKEN:
        f->org.auth.refresh_token_file = f->file;
        break;
    case AUTH_PASSWORD:
        f->org.auth.client_secret = text("s3cr&t");
        f->org.auth.username = text("u@x.example");
        f->org.auth.password = text("p&ss");
        f->org.auth.security_token = text("t0k=n");
        break;
    default:
        break;
    }
    login_open(&f->login, &f->org);
}

static void end(struct fixture *f)
{
    login_result_release(&f->result);
    login_close(&f->login);
    fake_http_stop(f->server);
}

static int once(struct fixture *f)
{
    login_result_release(&f->result);
    err_clear(&f->e);
    return login_once(&f->login, NULL, &f->result, &f->times, &f->e);
}

static void assert_fails(struct fixture *f, enum err_class class, const char *says)
{
    assert_int_equal(once(f), -1);
    if (f->e.class != class || !strstr(f->e.text, says))
        fail_msg("class %s: %s", err_class_name(f->e.class), f->e.text);
    assert_null(f->result.access_token);
}

/* --- jwt_bearer ----------------------------------------------------------------------------------- */

static bool verifies(const char *signed_part, size_t n, const struct buf *signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(ctx, signature->data, signature->len, (const unsigned char *)signed_part, n) ==
                  1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* The claims of the last request's assertion, after its form, header and signature were checked. gives */
static json_t *claims(struct fixture *f)
{
    static const char form[] =
        "\r\n\r\ngrant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    const char *request = fake_http_last(f->server), *assertion = strstr(request, form);
    struct buf header = BUF_INIT, body = BUF_INIT, signature = BUF_INIT;
    assert_non_null(assertion);
    assertion += strlen(form);
    assert_null(strchr(assertion, '&')); /* and no secret beside it */
    const char *dot = strchr(assertion, '.'), *second = strchr(dot + 1, '.');
    assert_int_equal(base64_decode(&header, assertion, (size_t)(dot - assertion)), 0);
    assert_string_equal((char *)header.data, "{\"alg\":\"RS256\"}");
    assert_int_equal(base64_decode(&body, dot + 1, (size_t)(second - dot - 1)), 0);
    assert_int_equal(base64_decode(&signature, second + 1, strlen(second + 1)), 0);
    assert_null(strchr(assertion, '='));
    assert_true(verifies(assertion, (size_t)(second - assertion), &signature));
    json_t *object = json_loadb((char *)body.data, body.len, 0, NULL);
    assert_non_null(object);
    buf_release(&header);
    buf_release(&body);
    buf_release(&signature);
    return object;
}

static void assert_claims(struct fixture *f, const char *audience, int64_t exp)
{
    json_t *object = claims(f);
    assert_int_equal(json_object_size(object), 4);
    assert_string_equal(json_string_value(json_object_get(object, "iss")), "id&1");
    assert_string_equal(json_string_value(json_object_get(object, "sub")), "u@x.example");
    assert_string_equal(json_string_value(json_object_get(object, "aud")), audience);
    assert_true(json_is_integer(json_object_get(object, "exp"))); /* a number, not a text */
    assert_int_equal(json_integer_value(json_object_get(object, "exp")), exp);
    json_decref(object);
}

static const char production[] = "https://login.salesforce.com", sandbox[] = "https://test.salesforce.com";

static void jwt_is_signed(void **state)
{
    (void)state;
    struct fixture f;
    clock_hold(1000, 1700000000500);
    begin(&f, AUTH_JWT_BEARER);
    fake_http_answer_json(f.server, 200, good);
    assert_int_equal(once(&f), 0);
    assert_string_equal(f.result.access_token, "00Dxx0000001gER!AQ0AQP.x");
    assert_claims(&f, production, 1700000180);
    f.org.auth.audience = text("https://site.example/x");
    assert_int_equal(once(&f), 0);
    assert_claims(&f, "https://site.example/x", 1700000180);
    end(&f);
    clock_release();
}

static void jwt_audience_by_login_url(void **state)
{
    (void)state;
    static const struct {
        const char *url, *audience;
    } cases[] = {
        {"https://login.salesforce.com", production},
        {"https://test.salesforce.com", sandbox},
        {"https://acme.my.salesforce.com", production},
        {"https://acme--box.sandbox.my.salesforce.com", sandbox},
        {"https://acme.develop.my.salesforce.com", production},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct buf form = BUF_INIT;
        begin(&f, AUTH_JWT_BEARER);
        f.org.login_url = text(cases[i].url);
        assert_int_equal(jwt_bearer_fill(&f.login, &form, &f.e), 0);
        const char *dot = strchr(f.login.sent, '.');
        struct buf body = BUF_INIT;
        assert_int_equal(base64_decode(&body, dot + 1, strcspn(dot + 1, ".")), 0);
        char *wanted = xasprintf("\"aud\":\"%s\"", cases[i].audience);
        assert_non_null(strstr((char *)body.data, wanted));
        free(wanted);
        buf_release(&body);
        buf_release(&form);
        end(&f);
    }
}

static void jwt_other_audience(void **state)
{
    (void)state;
    static const char refused[] =
        "{\"error\":\"invalid_grant\",\"error_description\":\"audience is invalid\"}";
    struct fixture f;
    clock_hold(1000, 1700000000000);
    begin(&f, AUTH_JWT_BEARER);
    fake_http_answer_json(f.server, 200, good);
    fake_http_answer_once_json(f.server, 400, refused);
    assert_int_equal(once(&f), 0);
    assert_int_equal(fake_http_requests(f.server), 2);
    assert_claims(&f, sandbox, 1700000180);
    assert_int_equal(once(&f), 0); /* what worked is kept */
    assert_int_equal(fake_http_requests(f.server), 3);
    assert_claims(&f, sandbox, 1700000180);
    end(&f);

    /* Neither: one try each, and the advice. */
    begin(&f, AUTH_JWT_BEARER);
    fake_http_answer_json(f.server, 400, refused);
    assert_fails(&f, ERR_AUTH, "set auth.jwt_bearer.audience");
    assert_int_equal(fake_http_requests(f.server), 2);
    assert_int_equal(f.times.cause, BREAKER_REFUSED);
    assert_fails(&f, ERR_AUTH, "audience");
    assert_int_equal(fake_http_requests(f.server), 4);
    /* Configured: taken at its word. */
    f.org.auth.audience = text("https://site.example");
    assert_fails(&f, ERR_AUTH, "audience");
    assert_int_equal(fake_http_requests(f.server), 5);
    end(&f);
    clock_release();
}

static void jwt_slow_clock(void **state)
{
    (void)state;
    static const char refused[] =
        "{\"error\":\"invalid_grant\",\"error_description\":\"expired authorization code\"}";
    struct fixture f;
    clock_hold(1000, SERVER_DATE_MS - 600000);
    begin(&f, AUTH_JWT_BEARER);
    fake_http_answer_json(f.server, 200, good);
    fake_http_answer_once_json(f.server, 400, refused);
    assert_int_equal(once(&f), 0);
    assert_int_equal(fake_http_requests(f.server), 2);
    assert_claims(&f, production, SERVER_DATE_MS / 1000 + 180);
    /* The difference is kept, and moves on with our own clock. */
    clock_advance(60000);
    assert_int_equal(once(&f), 0);
    assert_int_equal(fake_http_requests(f.server), 3);
    assert_claims(&f, production, SERVER_DATE_MS / 1000 + 60 + 180);
    /* Still expired: once more, not for ever. */
    fake_http_answer_json(f.server, 400, refused);
    assert_fails(&f, ERR_AUTH, "clock");
    assert_int_equal(fake_http_requests(f.server), 5);
    end(&f);
    clock_release();
}

static void jwt_both_wrong(void **state)
{
    (void)state;
    struct fixture f;
    clock_hold(1000, SERVER_DATE_MS - 600000);
    begin(&f, AUTH_JWT_BEARER);
    fake_http_answer_once_json(
        f.server, 400, "{\"error\":\"invalid_grant\",\"error_description\":\"expired authorization code\"}");
    fake_http_answer_once_json(
        f.server, 400, "{\"error\":\"invalid_grant\",\"error_description\":\"Audience validation failed\"}");
    fake_http_answer_json(f.server, 200, good);
    assert_int_equal(once(&f), 0);
    assert_int_equal(fake_http_requests(f.server), 3);
    assert_claims(&f, sandbox, SERVER_DATE_MS / 1000 + 180);
    end(&f);
    clock_release();
}

static void jwt_refusals(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_JWT_BEARER);
    fake_http_answer_json(
        f.server, 400,
        "{\"error\":\"invalid_grant\",\"error_description\":\"user hasn't approved this consumer\"}");
    assert_fails(&f, ERR_AUTH, "pre-authorize");
    assert_int_equal(fake_http_requests(f.server), 1);
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_app_access\",\"error_description\":\"user is not admin "
                          "approved to access this app\"}");
    assert_fails(&f, ERR_AUTH, "pre-authorize");
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_grant\",\"error_description\":\"invalid assertion\"}");
    assert_fails(&f, ERR_AUTH, "upload the certificate");
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_grant\",\"error_description\":\"authentication failure\"}");
    assert_fails(&f, ERR_AUTH, "authentication failure");
    assert_int_equal(f.times.cause, BREAKER_REFUSED); /* no password was sent: none is counted */
    f.org.auth.private_key = text("-----BEGIN PRIVATE KEY-----\nS3CRET\n-----END PRIVATE KEY-----\n");
    assert_fails(&f, ERR_CONFIG, "auth.jwt_bearer.private_key");
    assert_null(strstr(f.e.text, "S3CRET"));
    assert_int_equal(fake_http_requests(f.server), 4);
    end(&f);
}

/* --- password ------------------------------------------------------------------------------------- */

static void password_is_sent(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_PASSWORD);
    fake_http_answer_json(f.server, 200, good);
    assert_int_equal(once(&f), 0);
    assert_non_null(strstr(fake_http_last(f.server),
                           "\r\n\r\ngrant_type=password&client_id=id%261&client_secret=s3cr%26t&"
                           "username=u%40x.example&password=p%26sst0k%3Dn"));
    f.org.auth.security_token = NULL;
    assert_int_equal(once(&f), 0);
    assert_non_null(strstr(fake_http_last(f.server), "&password=p%26ss"));
    assert_null(strstr(fake_http_last(f.server), "t0k"));
    end(&f);
}

static void password_refused(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_PASSWORD);
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_grant\",\"error_description\":\"authentication failure\"}");
    assert_fails(&f, ERR_AUTH, "check user name, password and security token");
    assert_int_equal(f.times.cause, BREAKER_COUNTED);
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_grant\",\"error_description\":\"no p&ss here\"}");
    assert_fails(&f, ERR_AUTH, "withheld");
    assert_null(strstr(f.e.text, "p&ss"));
    fake_http_answer_json(f.server, 400, "{\"error\":\"t0k=n\"}");
    assert_fails(&f, ERR_AUTH, "refused the login: error");
    assert_null(strstr(f.e.text, "t0k=n"));
    fake_http_answer_json(f.server, 429, "{\"error\":\"t0k=n\"}");
    assert_fails(&f, ERR_RETRY, "busy");
    assert_null(strstr(f.e.text, "t0k=n"));
    fake_http_answer_json(f.server, 429, "{\"error\":\"rate_limit_exceeded\"}");
    assert_fails(&f, ERR_RETRY, "too many logins");
    assert_int_equal(f.times.cause, BREAKER_RATE);
    end(&f);
}

static enum auth_status wait_while(struct auth *a, enum auth_status status, struct err *why)
{
    struct auth_token token;
    enum auth_status now = status;
    for (int i = 0; i < 300 && (now = auth_get(a, &token, why)) == status; i++)
        auth_wait(a, 100);
    if (now == AUTH_READY)
        auth_token_release(&token);
    return now;
}

/* The strictest orgs lock an account at the third wrong password. */
static void password_never_locks(void **state)
{
    (void)state;
    struct fixture f;
    struct err why;
    struct auth_view view;
    clock_hold(1000000, SERVER_DATE_MS);
    begin(&f, AUTH_PASSWORD);
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_grant\",\"error_description\":\"authentication failure\"}");
    struct auth *a = auth_new(&f.org);
    assert_int_equal(wait_while(a, AUTH_PENDING, &why), AUTH_FAILING);
    assert_non_null(strstr(why.text, "; next login at 2026-05-06T14:4"));
    auth_describe(a, &view);
    assert_int_equal(view.failures, 1);
    assert_in_range(view.next_login_ms, SERVER_DATE_MS + 15 * 60000, SERVER_DATE_MS + 17 * 60000);
    clock_advance(20 * 60000);
    for (int i = 0; i < 100 && fake_http_requests(f.server) < 2; i++)
        auth_wait(a, 100);
    for (int i = 0; i < 100 && view.failures < 2; i++) {
        auth_wait(a, 100);
        auth_describe(a, &view);
    }
    assert_int_equal(auth_get(a, NULL, &why), AUTH_FAILING);
    assert_non_null(strstr(why.text, "no further login, or the account would be locked"));
    assert_int_equal(view.next_login_ms, 0);
    clock_advance((int64_t)30 * 24 * 3600 * 1000);
    auth_wait(a, 300);
    auth_wait(a, 300);
    assert_int_equal(fake_http_requests(f.server), 2);
    auth_free(a);
    end(&f);
    clock_release();
}

/* --- refresh_token -------------------------------------------------------------------------------- */

static void put_token(const struct fixture *f, const char *token)
{
    struct err e = ERR_INIT;
    assert_int_equal(file_replace(f->file, token, strlen(token), 0600, &e), 0);
}

static void assert_token_file(const struct fixture *f, const char *expected)
{
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    assert_int_equal(file_read(f->file, 10000, &b, &e), 0);
    assert_string_equal((char *)b.data, expected);
    buf_release(&b);
}

static void assert_sent(struct fixture *f, const char *token)
{
    char *form = xasprintf("grant_type=refresh_token&client_id=id%%261&refresh_token=%s", token);
    const char *request = fake_http_last(f->server), *body = strstr(request, "\r\n\r\n");
    assert_string_equal(body + 4, form);
    free(form);
}

static void refresh_without_rotation(void **state)
{
    (void)state;
    struct fixture f;
    struct stat before, after;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "5Aep.first\n");
    stat(f.file, &before);
    fake_http_answer_json(f.server, 200, good);
    assert_int_equal(once(&f), 0);
    assert_sent(&f, "5Aep.first");
    stat(f.file, &after);
    assert_int_equal(before.st_ino, after.st_ino); /* not touched */
    /* Read at each login: a new grant needs no restart. A secret goes along where there is one. */
    put_token(&f, "5Aep.second\r\n");
    f.org.auth.client_secret = text("s3cret");
    assert_int_equal(once(&f), 0);
    assert_non_null(strstr(fake_http_last(f.server), "&client_secret=s3cret&refresh_token=5Aep.second"));
    end(&f);
}

static void refresh_rotates(void **state)
{
    (void)state;
    struct fixture f;
    struct stat st;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "first\n");
    fake_http_answer_json(f.server, 200, ROTATED("next"));
    assert_int_equal(once(&f), 0);
    assert_string_equal(f.result.access_token, "00Dxx!second");
    assert_token_file(&f, "next\n");
    assert_int_equal(stat(f.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fake_http_answer_json(f.server, 200, ROTATED("third"));
    assert_int_equal(once(&f), 0);
    assert_sent(&f, "next");
    assert_token_file(&f, "third\n");
    /* The same one again is no rotation. */
    stat(f.file, &st);
    ino_t inode = st.st_ino;
    assert_int_equal(once(&f), 0);
    stat(f.file, &st);
    assert_int_equal(st.st_ino, inode);
    /* Through a link: what it points to is replaced, the link stays. */
    char *link_path = xasprintf("%s/link", folder);
    assert_int_equal(symlink("refresh", link_path), 0);
    f.org.auth.refresh_token_file = link_path;
    fake_http_answer_json(f.server, 200, ROTATED("fourth"));
    assert_int_equal(once(&f), 0);
    assert_token_file(&f, "fourth\n");
    assert_int_equal(lstat(link_path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(link_path);
    free(link_path);
    end(&f);
}

/* The disk fails when the new token is to be kept: the access token is not used, the new token not lost. */
static void refresh_with_a_failing_disk(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "first\n");
    fake_http_answer_json(f.server, 200, ROTATED("S3CRET-next"));
    renames_left = 1; /* the probe's */
    assert_fails(&f, ERR_RETRY,
                 "the new refresh token is not on disk yet, so the new access token is not used");
    assert_null(strstr(f.e.text, "S3CRET"));
    assert_token_file(&f, "first\n");
    assert_int_equal(fake_http_requests(f.server), 1);
    /* As long as it fails, nobody is asked again: the old token would revoke the grant. Nor may anybody else.
     */
    assert_fails(&f, ERR_RETRY, "not on disk yet");
    assert_int_equal(fake_http_requests(f.server), 1);
    struct token_file other = TOKEN_FILE_INIT;
    char *token = NULL;
    struct err e = ERR_INIT;
    assert_int_equal(token_file_take(&other, f.file, &token, &e), -1);
    assert_non_null(strstr(e.text, "another process"));
    /* Mended: the same token, kept and used. */
    renames_left = -1;
    assert_int_equal(once(&f), 0);
    assert_string_equal(f.result.access_token, "00Dxx!second");
    assert_token_file(&f, "S3CRET-next\n");
    assert_int_equal(fake_http_requests(f.server), 1);
    assert_int_equal(token_file_take(&other, f.file, &token, &e), 0);
    assert_string_equal(token, "S3CRET-next");
    free(token);
    token_file_leave(&other);
    end(&f);
}

static void refresh_probes_the_disk_first(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "first\n");
    fake_http_answer_json(f.server, 200, good);
    rename_error = ENOSPC;
    renames_left = 0;
    assert_fails(&f, ERR_RETRY, "a new refresh token could not be kept");
    assert_int_equal(fake_http_requests(f.server), 0); /* nothing was put at risk */
    /* A folder nobody may write to is no reason as long as tokens do not rotate … */
    rename_error = EROFS;
    assert_int_equal(once(&f), 0);
    /* … and is one from the first rotation on. */
    renames_left = -1;
    fake_http_answer_json(f.server, 200, ROTATED("next"));
    assert_int_equal(once(&f), 0);
    renames_left = 0;
    assert_fails(&f, ERR_RETRY, "a new refresh token could not be kept");
    assert_int_equal(fake_http_requests(f.server), 2);
    renames_left = -1;
    rename_error = EIO;
    end(&f);
}

/* Whoever has the file locked is about to use the token. */
static void refresh_by_two_processes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "first\n");
    fake_http_answer_json(f.server, 200, good);
    int fd = open(f.file, O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_fails(&f, ERR_RETRY, "another process is logging in");
    assert_int_equal(f.times.cause, BREAKER_BUSY);
    assert_int_equal(fake_http_requests(f.server), 0);
    put_token(&f, "second\n"); /* it has rotated the token, and lets go of the old file */
    close(fd);
    assert_int_equal(once(&f), 0);
    assert_sent(&f, "second");
    end(&f);
}

/* Somebody puts a new grant there while its predecessor's answer waits to be kept: theirs counts. */
static void refresh_token_changed_meanwhile(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "first\n");
    fake_http_answer_json(f.server, 200, ROTATED("next"));
    renames_left = 1;
    assert_fails(&f, ERR_RETRY, "not on disk yet");
    renames_left = -1;
    put_token(&f, "granted-anew\n");
    assert_fails(&f, ERR_RETRY, "was changed during the login");
    assert_token_file(&f, "granted-anew\n");
    assert_int_equal(once(&f), 0);
    assert_sent(&f, "granted-anew");
    assert_token_file(&f, "next\n");
    end(&f);
}

static void refresh_refusals(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "a-s3cret-token\n");
    fake_http_answer_json(
        f.server, 400,
        "{\"error\":\"invalid_grant\",\"error_description\":\"expired access/refresh token\"}");
    assert_fails(&f, ERR_AUTH, "grant access again");
    fake_http_answer_json(f.server, 400,
                          "{\"error\":\"invalid_grant\",\"error_description\":\"a-s3cret-token is bad\"}");
    assert_fails(&f, ERR_AUTH, "withheld");
    assert_null(strstr(f.e.text, "a-s3cret-token"));
    fake_http_answer_json(f.server, 200, ROTATED("with space"));
    assert_fails(&f, ERR_RETRY, "refresh_token is not usable");
    assert_token_file(&f, "a-s3cret-token\n");
    put_token(&f, " \n");
    assert_fails(&f, ERR_CONFIG, "is empty");
    put_token(&f, "two words\n");
    assert_fails(&f, ERR_CONFIG, "alone, on one line");
    assert_null(strstr(f.e.text, "words"));
    unlink(f.file);
    assert_fails(&f, ERR_CONFIG, "No such file");
    assert_int_equal(fake_http_requests(f.server), 3);
    end(&f);
}

/* The daemon's view: failing and said so while the disk fails; ready when it is mended, with one login in
 * all. */
static void refresh_recovers_by_itself(void **state)
{
    (void)state;
    struct fixture f;
    struct err why;
    begin(&f, AUTH_REFRESH_TOKEN);
    put_token(&f, "first\n");
    fake_http_answer_json(f.server, 200, ROTATED("next"));
    renames_left = 1;
    struct auth *a = auth_new(&f.org);
    assert_int_equal(wait_while(a, AUTH_PENDING, &why), AUTH_FAILING);
    assert_int_equal(why.class, ERR_RETRY);
    assert_non_null(strstr(why.text, "not on disk yet"));
    renames_left = -1;
    assert_int_equal(wait_while(a, AUTH_FAILING, &why), AUTH_READY);
    assert_int_equal(fake_http_requests(f.server), 1);
    assert_token_file(&f, "next\n");
    auth_free(a);
    end(&f);
}

static int make_folder(void **state)
{
    (void)state;
    key = EVP_RSA_gen(2048);
    key_pem = private_pem(key, NULL);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char *path = xasprintf("%s/refresh", folder);
    unlink(path);
    free(path);
    free(key_pem);
    EVP_PKEY_free(key);
    return rmdir(folder); /* nothing else was left in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jwt_is_signed),
        cmocka_unit_test(jwt_audience_by_login_url),
        cmocka_unit_test(jwt_other_audience),
        cmocka_unit_test(jwt_slow_clock),
        cmocka_unit_test(jwt_both_wrong),
        cmocka_unit_test(jwt_refusals),
        cmocka_unit_test(password_is_sent),
        cmocka_unit_test(password_refused),
        cmocka_unit_test(password_never_locks),
        cmocka_unit_test(refresh_without_rotation),
        cmocka_unit_test(refresh_rotates),
        cmocka_unit_test(refresh_with_a_failing_disk),
        cmocka_unit_test(refresh_probes_the_disk_first),
        cmocka_unit_test(refresh_by_two_processes),
        cmocka_unit_test(refresh_token_changed_meanwhile),
        cmocka_unit_test(refresh_refusals),
        cmocka_unit_test(refresh_recovers_by_itself),
    };
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    http_setup();
    return cmocka_run_group_tests_name("auth_flows", tests, make_folder, remove_folder);
}
