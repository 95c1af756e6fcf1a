#include "auth/login.h"

#include "base/alloc.h"

#include <stdio.h>
#include <strings.h>

enum {
    CONNECT_TIMEOUT_MS = 10 * 1000,
    LOGIN_TIMEOUT_MS = 30 * 1000,
    LARGEST_ANSWER = 64 * 1024,
    LARGEST_FORM = 64 * 1024,
    MOST_MENDED = 2,
    LONGEST_PAUSE_ASKED_S = 60 * 60,
};

static void release_secret(char **text)
{
    if (*text)
        wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void login_result_release(struct login_result *result)
{
    release_secret(&result->access_token);
    release_secret(&result->refresh_token);
    free(result->instance_url);
    *result = (struct login_result){0};
}

void login_open(struct login *l, const struct org_config *org)
{
    *l = (struct login){.org = org, .flow = auth_flow_find(org->auth.kind), .file = TOKEN_FILE_INIT};
}

static void leave(struct login *l)
{
    release_secret(&l->sent);
    if (l->flow->leave)
        l->flow->leave(l);
}

void login_close(struct login *l)
{
    login_result_release(&l->unsettled);
    leave(l);
}

/*
 * What the service's own words mean, and what to do. Matched by "contains" in either word, first row that
 * fits; "" fits all, so that the last row is the rule for refusals nobody listed. COUNTED holds where the
 * flow sends a password.
 */
static const struct refusal {
    const char *error, *description;
    enum breaker_cause cause;
    const char *advice;
} refusals[] = {
    {"rate_limit_exceeded", "", BREAKER_RATE, "too many logins: waiting before the next"},
    {"", "login rate exceeded", BREAKER_RATE, "too many logins: waiting before the next"},
    {"server_error", "", BREAKER_BUSY, "the login server has a fault of its own"},
    {"temporarily_unavailable", "", BREAKER_BUSY, "the login server is busy"},
    {"invalid_grant", "not supported on this domain", BREAKER_REFUSED,
     "set login_url to the org's My Domain (https://NAME.my.salesforce.com); login. and test. do not serve "
     "this flow"},
    {"invalid_grant", "no client credentials user", BREAKER_REFUSED,
     "name a run-as user in the app's client credentials policy"},
    {"invalid_grant", "approved this consumer", BREAKER_REFUSED,
     "let an administrator pre-authorize the user for the app"},
    {"", "not admin approved", BREAKER_REFUSED, "let an administrator pre-authorize the user for the app"},
    {"invalid_grant", "invalid assertion", BREAKER_REFUSED,
     "upload the certificate that belongs to auth.jwt_bearer.private_key to the app"},
    {"invalid_grant", "audience", BREAKER_REFUSED,
     "set auth.jwt_bearer.audience to what the org expects (https://login.salesforce.com or "
     "https://test.salesforce.com)"},
    {"invalid_grant", "expired authorization code", BREAKER_REFUSED, "set this machine's clock (NTP)"},
    {"invalid_grant", "expired access/refresh token", BREAKER_REFUSED,
     "the grant is over: grant access again, and put the new refresh token into refresh_token_file"},
    {"invalid_grant", "authentication failure", BREAKER_COUNTED,
     "check user name, password and security token, and whether the user may log in from here"},
    {"invalid_client_id", "", BREAKER_REFUSED,
     "check client_id; a new app needs some ten minutes until it is known"},
    {"invalid_client", "", BREAKER_REFUSED,
     "check client_id and client_secret; a new app needs some ten minutes until it is known"},
    {"unsupported_grant_type", "", BREAKER_REFUSED, "switch this flow on in the app's settings"},
    {"inactive_user", "", BREAKER_REFUSED, "an administrator must activate the user"},
    {"inactive_org", "", BREAKER_REFUSED, "the org is locked or suspended"},
    {"", "", BREAKER_REFUSED, "check the credentials and the app's policies"},
};

static const struct refusal *find_refusal(const struct login_words *words)
{
    const struct refusal *r = refusals;
    while (!strcasestr(words->error, r->error) || !strcasestr(words->description, r->description))
        r++;
    return r;
}

/* A service that quotes the request back must not make us print a secret. */
static bool repeats_a_secret(const struct login *l, const struct login_words *words)
{
    const struct auth_config *auth = &l->org->auth;
    const char *secrets[] = {auth->client_secret, auth->password, auth->security_token, l->sent};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (secrets[i] && *secrets[i] &&
            (strstr(words->description, secrets[i]) || strstr(words->error, secrets[i])))
            return true;
    /* Descriptions are cut at their end: of a long secret, the beginning is enough. */
    return l->sent && strlen(l->sent) > 20 &&
           memmem(words->description, strlen(words->description), l->sent, 20);
}

static int refused(const struct login *l, int status, const struct login_words *words,
                   struct login_times *times, struct err *e)
{
    const struct refusal *r = find_refusal(words);
    bool withheld = repeats_a_secret(l, words);
    times->cause = r->cause == BREAKER_COUNTED && !l->flow->counts_attempts ? BREAKER_REFUSED : r->cause;
    bool may_pass = r->cause == BREAKER_RATE || r->cause == BREAKER_BUSY;
    return err_set(e, may_pass ? ERR_RETRY : ERR_AUTH, "auth", status, "%s refused the login: %s%s%s: %s",
                   l->org->login_url, withheld ? "error" : words->error, *words->description ? ", " : "",
                   withheld ? "withheld, it repeats a secret" : words->description, r->advice);
}

/* The service's own words, where the answer is a refusal in them. */
static bool is_refusal(const struct http_answer *answer, struct login_words *words)
{
    bool is = answer->status >= 400 && answer->status < 500 &&
              login_read_refusal(buf_span(&answer->body), words);
    words->server_ms = answer->date_ms;
    return is;
}

static int read_failure(const struct login *l, const struct http_answer *answer, struct login_times *times,
                        struct err *e)
{
    struct login_words words;
    const char *url = l->org->login_url;
    int status = answer->status;
    if (status == 429 || status == 503) {
        int64_t s = answer->retry_after_s < LONGEST_PAUSE_ASKED_S ? answer->retry_after_s
                                                                  : LONGEST_PAUSE_ASKED_S;
        times->wait_at_least_ms = s > 0 ? s * 1000 : 0;
    }
    if (is_refusal(answer, &words)) {
        if (status == 429 && find_refusal(&words)->cause != BREAKER_RATE)
            return err_set(e, ERR_RETRY, "auth", status, "%s is busy: %s (HTTP 429)", url,
                           repeats_a_secret(l, &words) ? "error" : words.error);
        return refused(l, status, &words, times, e);
    }
    if (status >= 300 && status < 400)
        return err_set(
            e, ERR_CONFIG, "auth", status,
            "%s redirects the login (HTTP %d), which is not followed: set login_url to the org's My Domain",
            url, status);
    if (status == 404 || status == 405 || status == 410)
        return err_set(e, ERR_CONFIG, "auth", status, "%s has no token endpoint (HTTP %d): check login_url",
                       url, status);
    if (status == 407)
        return err_set(e, ERR_CONFIG, "auth", status,
                       "the proxy wants credentials (HTTP 407): check HTTPS_PROXY");
    return err_set(e, ERR_RETRY, "auth", status, "%s answered HTTP %d%s%s", url, status,
                   answer->content_type[0] ? ", " : "", answer->content_type);
}

static int ask(struct login *l, const atomic_bool *stop, struct http_answer *answer, struct err *e)
{
    struct buf form = BUF_INIT;
    char *url = xasprintf("%s/services/oauth2/token", l->org->login_url);
    const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded",
                                   "Accept: application/json", NULL};

    release_secret(&l->sent);
    (void)buf_reserve(&form, LARGEST_FORM); /* growing would leave copies of the secret behind */
    int rc = l->flow->fill(l, &form, e);
    const struct http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = buf_span(&form),
        .ca_file = l->org->ca_file,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .timeout_ms = LOGIN_TIMEOUT_MS,
        .max_answer = LARGEST_ANSWER,
        .stop = stop,
    };
    if (rc == 0 && (rc = http_do(&request, answer, e)) != 0)
        err_prefix(e, "login");
    wipe(form.data, form.len);
    buf_release(&form);
    free(url);
    return rc;
}

/* The token in hand, or one that was issued earlier, may be used only after this. */
static int settle(struct login *l, struct login_result *result, struct err *e)
{
    if (l->flow->settle && l->flow->settle(l, result, e) != 0) {
        l->unsettled = *result;
        *result = (struct login_result){0};
        return -1;
    }
    return 0;
}

static int read_answer(struct login *l, const struct http_answer *answer, struct login_result *result,
                       struct login_times *times, struct err *e)
{
    times->server_ms = answer->date_ms;
    if (answer->status != 200)
        return read_failure(l, answer, times, e);
    if (login_read_token(buf_span(&answer->body), result, e) != 0)
        return err_prefix(e, "%s", l->org->login_url);
    return settle(l, result, e);
}

int login_once(struct login *l, const atomic_bool *stop, struct login_result *result,
               struct login_times *times, struct err *e)
{
    struct http_answer answer = {.body = BUF_INIT};
    struct login_words words;
    int rc = -1;

    *times = (struct login_times){.cause = BREAKER_BUSY};
    *result = l->unsettled;
    l->unsettled = (struct login_result){0};
    if (result->access_token) {
        rc = settle(l, result, e);
        goto out;
    }
    l->mended = 0;
    for (int i = 0;; i++) {
        bool heard = ask(l, stop, &answer, e) == 0;
        times->sent |= answer.sent;
        if (!heard && answer.sent && l->flow->counts_attempts)
            times->cause = BREAKER_UNHEARD;
        if (!heard)
            goto out;
        if (i == MOST_MENDED || !l->flow->mend || !is_refusal(&answer, &words) || !l->flow->mend(l, &words))
            break;
        http_answer_release(&answer);
    }
    rc = read_answer(l, &answer, result, times, e);
out:
    http_answer_release(&answer);
    if (!l->unsettled.access_token)
        leave(l);
    return rc;
}
