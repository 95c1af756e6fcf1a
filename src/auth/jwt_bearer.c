/*
 * The JWT bearer flow: an assertion, signed with the app's private key, says for whom a token is wanted.
 * No secret travels. There is no refresh token: a new assertion is the refresh.
 *
 * Two things may be wrong about an assertion that a new one can mend at once:
 *   the audience: production and sandboxes want different ones, and a login URL need not say which it is.
 *   The other one is tried, once in a login, unless the configuration names one; what worked is kept.
 *   the clock: an assertion is good for three minutes. If the service finds it expired, ours is slow: the
 *   service's own Date counts from then on, and the log says so.
 */
#include "auth/flow.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rs256.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GOOD_FOR_S = 180 };
enum { MENDED_AUDIENCE = 1, MENDED_CLOCK = 2 };

static const char production[] = "https://login.salesforce.com", sandbox[] = "https://test.salesforce.com";

/* https://test.salesforce.com, https://NAME--BOX.sandbox.my.salesforce.com */
static bool is_sandbox(const char *login_url)
{
    return strcasestr(login_url, "//test.salesforce.com") || strcasestr(login_url, ".sandbox.my.") ||
           strstr(login_url, "--");
}

static const char *audience(const struct login *l)
{
    if (l->org->auth.audience)
        return l->org->auth.audience;
    return is_sandbox(l->org->login_url) != l->other_audience ? sandbox : production;
}

static void add_claim(struct buf *json, const char *name, const char *value)
{
    buf_addf(json, "%c\"%s\":", json->len ? ',' : '{', name);
    json_add_string(json, span_of_str(value));
}

/* "header.claims.signature" into assertion; -1 with err when the key cannot sign. */
static int sign(const struct login *l, struct buf *assertion, struct err *e)
{
    const struct auth_config *auth = &l->org->auth;
    struct buf claims = BUF_INIT, signature = BUF_INIT;
    add_claim(&claims, "iss", auth->client_id);
    add_claim(&claims, "sub", auth->username);
    add_claim(&claims, "aud", audience(l));
    buf_addf(&claims, ",\"exp\":%" PRId64 "}", (clock_wall_ms() + l->clock_offset_ms) / 1000 + GOOD_FOR_S);
    base64url_add(assertion, span_of_str("{\"alg\":\"RS256\"}"));
    buf_add_char(assertion, '.');
    base64url_add(assertion, buf_span(&claims));
    int rc = rs256_sign(span_of_str(auth->private_key), buf_span(assertion), &signature, e);
    if (rc == 0) {
        buf_add_char(assertion, '.');
        base64url_add(assertion, buf_span(&signature));
    } else {
        err_prefix(e, "auth.jwt_bearer.private_key");
    }
    buf_release(&claims);
    buf_release(&signature);
    return rc;
}

int jwt_bearer_fill(struct login *l, struct buf *form, struct err *e)
{
    const struct auth_config *auth = &l->org->auth;
    struct buf assertion = BUF_INIT;
    if (!auth->client_id || !auth->username || !auth->private_key)
        return err_set(e, ERR_CONFIG, "auth", 0, "jwt_bearer needs client_id, username and private_key");
    if (sign(l, &assertion, e) != 0) {
        buf_release(&assertion);
        return -1;
    }
    http_form_add(form, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    http_form_add(form, "assertion", (char *)assertion.data);
    l->sent = buf_detach(&assertion); /* whoever has it can log in while it is good */
    return 0;
}

bool jwt_bearer_mend(struct login *l, const struct login_words *words)
{
    char subject[80];
    snprintf(subject, sizeof subject, "org %s", l->org->name);
    if (strcasestr(words->description, "audience")) {
        if (l->org->auth.audience)
            return false;
        l->other_audience = !l->other_audience; /* after a second refusal: back to the first one */
        bool first = !(l->mended & MENDED_AUDIENCE);
        l->mended |= MENDED_AUDIENCE;
        if (first)
            log_debug(subject, "login: trying audience %s", audience(l));
        return first;
    }
    if (strcasestr(words->description, "expired") && words->server_ms && !(l->mended & MENDED_CLOCK)) {
        l->mended |= MENDED_CLOCK;
        l->clock_offset_ms = words->server_ms - clock_wall_ms();
        log_warn(
            subject,
            "the login server says that the assertion has expired: this machine's clock differs from its "
            "clock by %.0f s; signing by its clock (is NTP running?)",
            (double)l->clock_offset_ms / 1000);
        return true;
    }
    return false;
}
