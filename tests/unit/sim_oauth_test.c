/* The simulator's token endpoint: an org that accepts everything would prove nothing. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "rsa_key.h"
#include "sim/jwt.h"
#include "sim/oauth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static EVP_PKEY *key, *other;

/* gives */
static char *assertion(EVP_PKEY *with, const char *header, const char *claims)
{
    struct buf b = BUF_INIT;
    uint8_t signature[512];
    size_t n = sizeof signature;
    base64url_add(&b, span_of_str(header));
    buf_add_char(&b, '.');
    base64url_add(&b, span_of_str(claims));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, with), 1);
    assert_int_equal(EVP_DigestSign(ctx, signature, &n, b.data, b.len), 1);
    EVP_MD_CTX_free(ctx);
    buf_add_char(&b, '.');
    base64url_add(&b, span_of(signature, n));
    return buf_detach(&b);
}

#define HEADER           "{\"alg\":\"RS256\"}"
#define CLAIMS(aud, exp) "{\"iss\":\"demo\",\"sub\":\"u\",\"aud\":\"" aud "\",\"exp\":" exp "}"
#define LOGIN            "https://login.salesforce.com"

static void assertions(void **state)
{
    (void)state;
    static const struct {
        const char *header, *claims, *description; /* NULL: accepted */
    } cases[] = {
        {HEADER, CLAIMS(LOGIN, "1180"), NULL},
        {HEADER, CLAIMS(LOGIN, "\"1180\""), NULL}, /* clients send both */
        {HEADER, CLAIMS("https://test.salesforce.com", "1001"), NULL},
        {HEADER, CLAIMS("http://own", "1001"), NULL},
        {"{\"typ\":\"JWT\",\"alg\":\"RS256\"}", CLAIMS(LOGIN, "1180"), NULL},
        {HEADER, "{\"iss\":\"demo\",\"sub\":\"x\",\"prn\":\"u\",\"aud\":\"" LOGIN "\",\"exp\":1001}", NULL},
        {HEADER, CLAIMS("https://elsewhere.example", "1180"), "audience is invalid"},
        {HEADER, CLAIMS(LOGIN, "1000"), "expired authorization code"},
        {HEADER, CLAIMS(LOGIN, "\"999\""), "expired authorization code"},
        {HEADER, CLAIMS(LOGIN, "\"soon\""), "expired authorization code"},
        {HEADER, CLAIMS(LOGIN, "null"), "expired authorization code"},
        {HEADER, "{\"iss\":\"other\",\"sub\":\"u\",\"aud\":\"" LOGIN "\",\"exp\":1180}",
         "client identifier invalid"},
        {HEADER, "{\"iss\":\"demo\",\"sub\":\"x\",\"aud\":\"" LOGIN "\",\"exp\":1180}",
         "user hasn't approved this consumer"},
        {"{\"alg\":\"none\"}", CLAIMS(LOGIN, "1180"), "invalid assertion"},
        {"{\"alg\":\"HS256\"}", CLAIMS(LOGIN, "1180"), "invalid assertion"},
        {"[]", CLAIMS(LOGIN, "1180"), "invalid assertion"},
        {HEADER, "[]", "invalid assertion"},
        {HEADER, "not json", "invalid assertion"},
    };
    struct jwt_rules rules = {
        .key = key, .issuer = "demo", .subject = "u", .own_url = "http://own", .now_s = 1000};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = assertion(key, cases[i].header, cases[i].claims);
        const struct jwt_refusal *refusal = jwt_check(&rules, span_of_str(text));
        const char *got = refusal ? refusal->description : "accepted";
        if (strcmp(got, cases[i].description ? cases[i].description : "accepted") != 0)
            fail_msg("%s %s: %s", cases[i].header, cases[i].claims, got);
        free(text);
    }
}

static void signatures(void **state)
{
    (void)state;
    struct jwt_rules rules = {
        .key = key, .issuer = "demo", .subject = "u", .own_url = "http://own", .now_s = 1000};
    char *good = assertion(key, HEADER, CLAIMS(LOGIN, "1180"));
    assert_null(jwt_check(&rules, span_of_str(good)));
    /* No bit of it may change: the letters of base64 carry six each, the last one perhaps fewer. */
    size_t n = strlen(good);
    for (size_t i = 0; i + 1 < n; i += 7) {
        char was = good[i];
        if (was == '.')
            continue;
        good[i] = was == 'A' ? 'B' : 'A';
        assert_non_null(jwt_check(&rules, span_of_str(good)));
        good[i] = was;
    }
    for (size_t cut = 0; cut < n; cut += 11)
        assert_non_null(jwt_check(&rules, span_of(good, cut)));
    free(good);
    char *theirs = assertion(other, HEADER, CLAIMS(LOGIN, "1180"));
    assert_string_equal(jwt_check(&rules, span_of_str(theirs))->description, "invalid assertion");
    rules.key = NULL;
    assert_null(jwt_check(&rules, span_of_str(theirs)));
    free(theirs);
}

struct endpoint {
    struct sim_options options;
    struct oauth oauth;
    struct session session;
};

static void open_endpoint(struct endpoint *p)
{
    struct err e = ERR_INIT;
    memset(p, 0, sizeof *p);
    p->options.client_id = "demo";
    p->options.username = "u";
    p->options.password = "p&w";
    p->options.refresh_token = "first";
    snprintf(p->session.client_id, sizeof p->session.client_id, "demo");
    snprintf(p->session.client_secret, sizeof p->session.client_secret, "s=1");
    snprintf(p->session.org_id, sizeof p->session.org_id, "00DSM0000000001EAA");
    snprintf(p->session.instance_url, sizeof p->session.instance_url, "http://own");
    assert_int_equal(oauth_open(&p->oauth, &p->options, &e), 0);
}

/* The answer's status; the body holds `says`. */
static unsigned ask(struct endpoint *p, const char *form, const char *authorization, const char *says)
{
    struct oauth_answer a = {.body = BUF_INIT};
    oauth_token(&p->oauth, &p->session, "005x", span_of_str(form), authorization, &a);
    if (!strstr(a.body.data ? (char *)a.body.data : "", says))
        fail_msg("%s: %s", form, (char *)a.body.data);
    buf_release(&a.body);
    return a.status;
}

static void grants(void **state)
{
    (void)state;
    struct endpoint p;
    open_endpoint(&p);
#define CLIENT "&client_id=demo&client_secret=s%3D1"
    assert_int_equal(
        ask(&p, "grant_type=client_credentials" CLIENT, NULL, "\"access_token\":\"00DSM0000000001!"), 200);
    assert_int_equal(ask(&p, "grant_type=client_credentials", "Basic ZGVtbzpzPTE=", "access_token"), 200);
    assert_int_equal(ask(&p, "grant_type=client_credentials", "Basic ZGVtbzp4", "invalid_client"), 400);
    assert_int_equal(ask(&p, "grant_type=client_credentials&client_id=x", NULL, "invalid_client_id"), 400);
    assert_int_equal(ask(&p, "grant_type=client_credentials&client_id=demo", NULL, "invalid_client"), 400);
    assert_int_equal(ask(&p, "grant_type=device" CLIENT, NULL, "unsupported_grant_type"), 400);
    assert_int_equal(ask(&p, "", NULL, "unsupported_grant_type"), 400);
    assert_int_equal(ask(&p, "grant_type=password" CLIENT "&username=u&password=p%26w", NULL, "access_token"),
                     200);
    assert_int_equal(
        ask(&p, "grant_type=password" CLIENT "&username=u&password=p", NULL, "authentication failure"), 400);
    assert_int_equal(
        ask(&p, "grant_type=password" CLIENT "&username=x&password=p%26w", NULL, "authentication failure"),
        400);
    assert_int_equal(
        ask(&p, "grant_type=refresh_token&client_id=demo&refresh_token=first", NULL, "access_token"), 200);
    assert_int_equal(ask(&p, "grant_type=refresh_token" CLIENT "&refresh_token=first", NULL, "access_token"),
                     200);
    assert_int_equal(ask(&p, "grant_type=refresh_token&client_id=demo&refresh_token=", NULL, "expired"), 400);
    assert_int_equal(ask(&p, "grant_type=refresh_token&client_id=demo&client_secret=x&refresh_token=first",
                         NULL, "invalid_client"),
                     400);
    assert_int_equal(ask(&p, "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a.b.c", NULL,
                         "invalid assertion"),
                     400);
    oauth_close(&p.oauth);
}

static void rotation(void **state)
{
    (void)state;
    struct endpoint p;
    open_endpoint(&p);
    p.options.rotate_refresh = true;
    assert_int_equal(ask(&p, "grant_type=refresh_token&client_id=demo&refresh_token=first", NULL,
                         "\"refresh_token\":\"5Aep"),
                     200);
    char *form = xasprintf("grant_type=refresh_token&client_id=demo&refresh_token=%s", p.oauth.refresh);
    assert_int_equal(p.session.n_revoked, 0);
    assert_int_equal(ask(&p, form, NULL, "5Aep"), 200);
    /* The one before comes again: everything is over, the good one included. */
    assert_int_equal(ask(&p, form, NULL, "expired access/refresh token"), 400);
    assert_int_equal(p.session.n_revoked, p.session.n_issued);
    free(form);
    form = xasprintf("grant_type=refresh_token&client_id=demo&refresh_token=%s", p.oauth.refresh);
    assert_int_equal(ask(&p, form, NULL, "expired access/refresh token"), 400);
    free(form);
    oauth_close(&p.oauth);
}

static void scripted_faults(void **state)
{
    (void)state;
    static const char good[] = "grant_type=client_credentials" CLIENT;
    struct endpoint p;
    open_endpoint(&p);
    assert_false(oauth_set_fault(&p.oauth, "nonsense", 1, 0));
    assert_true(oauth_set_fault(&p.oauth, "rate_limit", 2, 0));
    assert_int_equal(ask(&p, good, NULL, "rate_limit_exceeded"), 400);
    assert_int_equal(ask(&p, good, NULL, "rate_limit_exceeded"), 400);
    assert_int_equal(ask(&p, good, NULL, "access_token"), 200);
    assert_true(oauth_set_fault(&p.oauth, "html", 0, 0));
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&p, good, NULL, "<html>"), 200);
    assert_true(oauth_set_fault(&p.oauth, "none", 0, 0));
    assert_int_equal(ask(&p, good, NULL, "access_token"), 200);
    assert_true(oauth_set_fault(&p.oauth, "slow", 1, 7000));
    struct oauth_answer a = {.body = BUF_INIT};
    oauth_token(&p.oauth, &p.session, "005x", span_of_str(good), NULL, &a);
    assert_int_equal(a.delay_ms, 7000);
    assert_int_equal(a.status, 200);
    buf_release(&a.body);
    oauth_close(&p.oauth);
}

static int make_keys(void **state)
{
    (void)state;
    key = EVP_RSA_gen(2048);
    other = EVP_RSA_gen(2048);
    return key && other ? 0 : -1;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assertions), cmocka_unit_test(signatures),      cmocka_unit_test(grants),
        cmocka_unit_test(rotation),   cmocka_unit_test(scripted_faults),
    };
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("sim_oauth", tests, make_keys, free_keys);
}
