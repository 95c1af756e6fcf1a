#include "sim/oauth.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/random.h"
#include "sim/jwt.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <strings.h>

/* --- form fields and Basic credentials ------------------------------------------------------------ */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void add_unescaped(struct buf *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%' && n - i > 2 && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            buf_add_char(out, (char)(hex_digit(p[i + 1]) * 16 + hex_digit(p[i + 2])));
            i += 2;
        } else {
            buf_add_char(out, p[i] == '+' ? ' ' : p[i]);
        }
    }
}

/* The fields a token request may have, unescaped; empty where missing. */
struct fields {
    struct buf grant_type, client_id, client_secret, username, password, refresh_token, assertion;
};

static void form_field(struct span form, const char *name, struct buf *out)
{
    const char *p = (const char *)form.p, *end = p + form.n;
    size_t name_len = strlen(name);
    while (p < end) {
        const char *next = memchr(p, '&', (size_t)(end - p));
        size_t n = (size_t)((next ? next : end) - p);
        if (n > name_len && memcmp(p, name, name_len) == 0 && p[name_len] == '=') {
            add_unescaped(out, p + name_len + 1, n - name_len - 1);
            return;
        }
        p += n + 1;
    }
}

static bool basic_credentials(const char *header, struct buf *id, struct buf *secret)
{
    struct buf plain = BUF_INIT;
    bool found = false;
    if (header && strncasecmp(header, "Basic ", 6) == 0 &&
        base64_decode(&plain, header + 6, strlen(header + 6)) == 0 && plain.len) {
        const uint8_t *colon = memchr(plain.data, ':', plain.len);
        if (colon) {
            buf_add(id, plain.data, (size_t)(colon - plain.data));
            buf_add(secret, colon + 1, plain.len - (size_t)(colon + 1 - plain.data));
            found = true;
        }
    }
    buf_release(&plain);
    return found;
}

static void read_fields(struct fields *f, struct span form, const char *authorization)
{
    form_field(form, "grant_type", &f->grant_type);
    if (!basic_credentials(authorization, &f->client_id, &f->client_secret)) {
        form_field(form, "client_id", &f->client_id);
        form_field(form, "client_secret", &f->client_secret);
    }
    form_field(form, "username", &f->username);
    form_field(form, "password", &f->password);
    form_field(form, "refresh_token", &f->refresh_token);
    form_field(form, "assertion", &f->assertion);
}

static void release_fields(struct fields *f)
{
    struct buf *all[] = {&f->grant_type, &f->client_id,     &f->client_secret, &f->username,
                         &f->password,   &f->refresh_token, &f->assertion};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        wipe(all[i]->data, all[i]->len);
        buf_release(all[i]);
    }
}

static bool is(const struct buf *field, const char *text)
{
    return span_equal_str(buf_span(field), text);
}

/* --- faults --------------------------------------------------------------------------------------- */

static const char maintenance[] = "<html><head><title>Maintenance</title></head><body>We are down for "
                                  "maintenance.</body></html>\n";

static const struct oauth_fault {
    const char *kind;
    unsigned status;                 /* 0: the true answer, late */
    const char *error, *description; /* JSON, unless there is a page */
    const char *page, *location;
    int retry_after_s;
} faults[] = {
    {.kind = "500", .status = 500, .page = maintenance},
    {.kind = "503", .status = 503, .page = maintenance, .retry_after_s = 2},
    {.kind = "html", .status = 200, .page = maintenance},
    {.kind = "empty", .status = 200, .page = ""},
    {.kind = "slow"},
    {.kind = "redirect", .status = 302, .page = "", .location = "https://login.invalid/"},
    {.kind = "not_found", .status = 404, .page = maintenance},
    {.kind = "server_error", .status = 400, .error = "server_error", .description = "internal error"},
    {.kind = "rate_limit",
     .status = 400,
     .error = "rate_limit_exceeded",
     .description = "login rate exceeded"},
    {.kind = "login_rate", .status = 400, .error = "invalid_grant", .description = "login rate exceeded"},
    {.kind = "too_many",
     .status = 429,
     .error = "too_many_requests",
     .description = "try later",
     .retry_after_s = 2},
    {.kind = "invalid_grant",
     .status = 400,
     .error = "invalid_grant",
     .description = "authentication failure"},
    {.kind = "expired",
     .status = 400,
     .error = "invalid_grant",
     .description = "expired access/refresh token"},
    {.kind = "expired_assertion",
     .status = 400,
     .error = "invalid_grant",
     .description = "expired authorization code"},
    {.kind = "audience", .status = 400, .error = "invalid_grant", .description = "audience is invalid"},
    {.kind = "not_approved",
     .status = 400,
     .error = "invalid_grant",
     .description = "user hasn't approved this consumer"},
    {.kind = "domain",
     .status = 400,
     .error = "invalid_grant",
     .description = "request not supported on this domain"},
    {.kind = "invalid_client",
     .status = 400,
     .error = "invalid_client",
     .description = "invalid client credentials"},
    {.kind = "invalid_client_id",
     .status = 400,
     .error = "invalid_client_id",
     .description = "client identifier invalid"},
    {.kind = "inactive_user", .status = 400, .error = "inactive_user", .description = "user is inactive"},
    {.kind = "inactive_org",
     .status = 400,
     .error = "inactive_org",
     .description = "organization is inactive"},
    {.kind = "empty_token",
     .status = 200,
     .page = "{\"access_token\":\"\",\"instance_url\":\"\",\"id\":\"\"}"},
};

bool oauth_set_fault(struct oauth *o, const char *kind, int64_t count, int64_t delay_ms)
{
    const struct oauth_fault *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (strcmp(faults[i].kind, kind) == 0)
            found = &faults[i];
    if (!found && strcmp(kind, "none") != 0)
        return false;
    o->fault = found;
    o->fault_left = count > 0 ? count : INT64_MAX;
    o->fault_delay_ms = delay_ms;
    return true;
}

void oauth_fault_names(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        buf_addf(out, "%s, ", faults[i].kind);
    buf_add_str(out, "none");
}

static void token_error(struct oauth_answer *a, const char *error, const char *description)
{
    a->status = 400;
    buf_addf(&a->body, "{\"error\":\"%s\",\"error_description\":\"%s\"}", error, description);
}

/* true: the answer is made. */
static bool fault_hits(struct oauth *o, struct oauth_answer *a)
{
    const struct oauth_fault *fault = o->fault;
    if (!fault)
        return false;
    o->faults++;
    a->delay_ms = o->fault_delay_ms;
    if (o->fault_left != INT64_MAX && --o->fault_left == 0)
        o->fault = NULL;
    if (!fault->status)
        return false;
    a->status = fault->status;
    a->location = fault->location;
    a->retry_after_s = fault->retry_after_s;
    if (fault->page) {
        a->content_type = fault->page == maintenance ? "text/html" : NULL;
        buf_add_str(&a->body, fault->page);
    } else {
        token_error(a, fault->error, fault->description);
        a->status = fault->status;
    }
    return true;
}

/* --- issuing -------------------------------------------------------------------------------------- */

static void add_signature(struct buf *out, const char *secret, const char *id, const char *issued_at)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct buf data = BUF_INIT;
    buf_addf(&data, "%s%s", id, issued_at);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), data.data, data.len, mac, &n);
    base64_add(out, span_of(mac, n));
    buf_release(&data);
}

/* new_refresh: NULL: the answer brings none. */
static void issue(struct session *session, const char *user_id, const char *new_refresh,
                  struct oauth_answer *a)
{
    char id[400], issued_at[24];
    snprintf(id, sizeof id, "%s/id/%s/%s", session->instance_url, session->org_id, user_id);
    snprintf(issued_at, sizeof issued_at, "%" PRId64, clock_wall_ms());
    a->status = 200;
    buf_addf(&a->body, "{\"access_token\":\"%s\",\"signature\":\"", session_issue(session));
    add_signature(&a->body, session->client_secret, id, issued_at);
    if (new_refresh)
        buf_addf(&a->body, "\",\"refresh_token\":\"%s", new_refresh);
    buf_addf(&a->body,
             "\",\"scope\":\"api id\",\"instance_url\":\"%s\",\"id\":\"%s\",\"token_type\":\"Bearer\","
             "\"issued_at\":\"%s\"}",
             session->instance_url, id, issued_at);
}

static void rotate(struct oauth *o)
{
    uint8_t random[48];
    struct buf text = BUF_INIT;
    random_bytes(random, sizeof random);
    buf_add_str(&text, "5Aep861");
    base64url_add(&text, span_of(random, sizeof random));
    memcpy(o->used, o->refresh, sizeof o->used);
    snprintf(o->refresh, sizeof o->refresh, "%s", (const char *)text.data);
    buf_release(&text);
}

static void refresh(struct oauth *o, struct session *session, const char *user_id, const struct fields *f,
                    struct oauth_answer *a)
{
    bool reused = o->used[0] && is(&f->refresh_token, o->used);
    if (reused && !o->grant_is_over) {
        log_warn("oauth",
                 "a refresh token that was used came again: the grant and its access tokens are over");
        o->grant_is_over = true;
        session_revoke_all(session);
    }
    if (o->grant_is_over || !o->refresh[0] || !is(&f->refresh_token, o->refresh)) {
        token_error(a, "invalid_grant", "expired access/refresh token");
    } else if (o->options->rotate_refresh) {
        rotate(o);
        issue(session, user_id, o->refresh, a);
    } else {
        issue(session, user_id, NULL, a);
    }
}

static void jwt_bearer(struct oauth *o, struct session *session, const char *user_id, const struct fields *f,
                       struct oauth_answer *a)
{
    const struct sim_options *options = o->options;
    const struct jwt_rules rules = {.key = o->jwt_key,
                                    .issuer = options->client_id,
                                    .subject = options->username,
                                    .audience = options->jwt_audience,
                                    .own_url = session->instance_url,
                                    .now_s = oauth_now_ms(o) / 1000};
    const struct jwt_refusal *refusal = jwt_check(&rules, buf_span(&f->assertion));
    if (refusal)
        token_error(a, refusal->error, refusal->description);
    else
        issue(session, user_id, NULL, a);
}

static void grant(struct oauth *o, struct session *session, const char *user_id, const struct fields *f,
                  struct oauth_answer *a)
{
    bool is_jwt = is(&f->grant_type, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    bool is_refresh = is(&f->grant_type, "refresh_token"), is_password = is(&f->grant_type, "password");
    if (!is_jwt && !is_refresh && !is_password && !is(&f->grant_type, "client_credentials"))
        token_error(a, "unsupported_grant_type", "grant type not supported");
    else if (is_jwt)
        jwt_bearer(o, session, user_id, f, a);
    else if (!is(&f->client_id, session->client_id))
        token_error(a, "invalid_client_id", "client identifier invalid");
    else if (!(is_refresh && !f->client_secret.len) &&
             !session_client_ok(session, buf_span(&f->client_id), buf_span(&f->client_secret)))
        token_error(a, "invalid_client", "invalid client credentials");
    else if (is_refresh)
        refresh(o, session, user_id, f, a);
    else if (is_password &&
             (!is(&f->username, o->options->username) || !is(&f->password, o->options->password)))
        token_error(a, "invalid_grant", "authentication failure");
    else
        issue(session, user_id, NULL, a);
}

void oauth_token(struct oauth *o, struct session *session, const char *user_id, struct span form,
                 const char *authorization, struct oauth_answer *a)
{
    struct fields f = {0};
    read_fields(&f, form, authorization);
    o->requests++;
    bool faulty = fault_hits(o, a);
    if (!faulty)
        grant(o, session, user_id, &f, a);
    o->refused += a->status != 200;
    log_info("oauth", "%.80s: %s%s", f.grant_type.len ? (const char *)f.grant_type.data : "no grant type",
             faulty ? "scripted fault: " : "",
             a->status == 200 && !faulty  ? "token issued"
             : (const char *)a->body.data ? (const char *)a->body.data
                                          : "");
    release_fields(&f);
}

int64_t oauth_now_ms(const struct oauth *o)
{
    return clock_wall_ms() + o->options->clock_ahead_ms;
}

int oauth_open(struct oauth *o, const struct sim_options *options, struct err *e)
{
    *o = (struct oauth){.options = options};
    snprintf(o->refresh, sizeof o->refresh, "%s", options->refresh_token ? options->refresh_token : "");
    return options->jwt_key ? jwt_read_key(options->jwt_key, &o->jwt_key, e) : 0;
}

void oauth_close(struct oauth *o)
{
    EVP_PKEY_free(o->jwt_key);
}
