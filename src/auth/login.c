#include "auth/login.h"

#include "base/alloc.h"

#include <stdio.h>
#include <strings.h>

enum {
    CONNECT_TIMEOUT_MS = 10 * 1000,
    LOGIN_TIMEOUT_MS = 30 * 1000,
    LARGEST_ANSWER = 64 * 1024,
    LARGEST_FORM = 16 * 1024,
    LOGIN_RATE_PAUSE_MS = 15 * 60 * 1000, /* 3,600 logins an hour per user; more are blocked for a while */
    LONGEST_PAUSE_ASKED_S = 60 * 60,
};

void login_result_release(struct login_result *result)
{
    if (result->access_token)
        wipe(result->access_token, strlen(result->access_token));
    free(result->access_token);
    free(result->instance_url);
    *result = (struct login_result){0};
}

/*
 * What the service's own words mean, and what to do. Matched by "contains" in either word, first row that
 * fits; "" fits all, so that the last row is the rule for refusals nobody listed.
 */
static const struct refusal {
    const char *error, *description;
    enum err_class class;
    int64_t pause_ms;
    const char *advice;
} refusals[] = {
    {"rate_limit_exceeded", "", ERR_RETRY, LOGIN_RATE_PAUSE_MS, "too many logins: waiting before the next"},
    {"", "login rate exceeded", ERR_RETRY, LOGIN_RATE_PAUSE_MS, "too many logins: waiting before the next"},
    {"server_error", "", ERR_RETRY, 0, "the login server has a fault of its own"},
    {"temporarily_unavailable", "", ERR_RETRY, 0, "the login server is busy"},
    {"invalid_grant", "not supported on this domain", ERR_AUTH, 0,
     "set login_url to the org's My Domain (https://NAME.my.salesforce.com); login. and test. do not serve "
     "this flow"},
    {"invalid_grant", "no client credentials user", ERR_AUTH, 0,
     "name a run-as user in the app's client credentials policy"},
    {"invalid_grant", "approved this consumer", ERR_AUTH, 0,
     "let an administrator pre-authorize the user for the app"},
    {"invalid_client_id", "", ERR_AUTH, 0,
     "check client_id; a new app needs some ten minutes until it is known"},
    {"invalid_client", "", ERR_AUTH, 0,
     "check client_id and client_secret; a new app needs some ten minutes until it is known"},
    {"unsupported_grant_type", "", ERR_AUTH, 0, "switch this flow on in the app's settings"},
    {"inactive_user", "", ERR_AUTH, 0, "an administrator must activate the user"},
    {"inactive_org", "", ERR_AUTH, 0, "the org is locked or suspended"},
    {"", "", ERR_AUTH, 0, "check the credentials and the app's policies"},
};

static int refused(const struct org_config *org, int status, const char *error, const char *description,
                   struct login_times *times, struct err *e)
{
    /* A service that quotes the request back must not make us print the secret. */
    const char *secrets[] = {org->auth.client_secret, org->auth.password, org->auth.security_token};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (secrets[i] && *secrets[i] && (strstr(description, secrets[i]) || strstr(error, secrets[i]))) {
            description = "withheld, it repeats a secret";
            error = "error";
        }
    for (const struct refusal *r = refusals;; r++) {
        if (!strcasestr(error, r->error) || !strcasestr(description, r->description))
            continue;
        if (r->pause_ms > times->wait_at_least_ms)
            times->wait_at_least_ms = r->pause_ms;
        return err_set(e, r->class, "auth", status, "%s refused the login: %s%s%s: %s", org->login_url, error,
                       *description ? ", " : "", description, r->advice);
    }
}

static int read_failure(const struct org_config *org, const struct http_answer *answer,
                        struct login_times *times, struct err *e)
{
    char error[80], description[300];
    int status = answer->status;
    if (status == 429 || status == 503) {
        int64_t s = answer->retry_after_s < LONGEST_PAUSE_ASKED_S ? answer->retry_after_s
                                                                  : LONGEST_PAUSE_ASKED_S;
        times->wait_at_least_ms = s > 0 ? s * 1000 : 0;
    }
    if (status >= 400 && status < 500 && login_read_refusal(buf_span(&answer->body), error, description)) {
        if (status == 429)
            return err_set(e, ERR_RETRY, "auth", status, "%s is busy: %s (HTTP 429)", org->login_url, error);
        return refused(org, status, error, description, times, e);
    }
    if (status >= 300 && status < 400)
        return err_set(
            e, ERR_CONFIG, "auth", status,
            "%s redirects the login (HTTP %d), which is not followed: set login_url to the org's My Domain",
            org->login_url, status);
    if (status == 404 || status == 405 || status == 410)
        return err_set(e, ERR_CONFIG, "auth", status, "%s has no token endpoint (HTTP %d): check login_url",
                       org->login_url, status);
    if (status == 407)
        return err_set(e, ERR_CONFIG, "auth", status,
                       "the proxy wants credentials (HTTP 407): check HTTPS_PROXY");
    return err_set(e, ERR_RETRY, "auth", status, "%s answered HTTP %d%s%s", org->login_url, status,
                   answer->content_type[0] ? ", " : "", answer->content_type);
}

int login_once(const struct org_config *org, const struct auth_flow *flow, const atomic_bool *stop,
               struct login_result *result, struct login_times *times, struct err *e)
{
    struct buf form = BUF_INIT;
    struct http_answer answer = {.body = BUF_INIT};
    char *url = xasprintf("%s/services/oauth2/token", org->login_url);
    const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded",
                                   "Accept: application/json", NULL};
    int rc = -1;

    *result = (struct login_result){0};
    *times = (struct login_times){0};
    (void)buf_reserve(&form, LARGEST_FORM); /* growing would leave copies of the secret behind */
    if (flow->fill(org, &form, e))
        goto out;
    const struct http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = buf_span(&form),
        .ca_file = org->ca_file,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .timeout_ms = LOGIN_TIMEOUT_MS,
        .max_answer = LARGEST_ANSWER,
        .stop = stop,
    };
    if (http_do(&request, &answer, e)) {
        err_prefix(e, "login");
        goto out;
    }
    times->server_ms = answer.date_ms;
    rc = answer.status == 200 ? login_read_token(buf_span(&answer.body), result, e)
                              : read_failure(org, &answer, times, e);
    if (rc && answer.status == 200)
        err_prefix(e, "%s", org->login_url);
out:
    http_answer_release(&answer);
    wipe(form.data, form.len);
    buf_release(&form);
    free(url);
    return rc;
}
