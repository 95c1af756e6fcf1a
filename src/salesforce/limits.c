#include "salesforce/limits.h"

#include "base/alloc.h"
#include "base/http.h"

#include <jansson.h>
#include <stdlib.h>

enum { CONNECT_TIMEOUT_MS = 10 * 1000, TIMEOUT_MS = 30 * 1000, LARGEST_ANSWER = 256 * 1024 };

static const char origin[] = "salesforce";

int limits_parse(struct span body, struct limits *out, struct err *e)
{
    json_t *all = body.n ? json_loadb((const char *)body.p, body.n, 0, NULL) : NULL;
    const json_t *calls = json_object_get(all, "DailyApiRequests");
    const json_t *max = json_object_get(calls, "Max"), *left = json_object_get(calls, "Remaining");
    int rc = -1;
    if (!all)
        err_set(e, ERR_RETRY, origin, 200, "the answer about limits is not JSON");
    else if (!json_is_integer(max) || !json_is_integer(left) || json_integer_value(max) <= 0)
        err_set(e, ERR_RETRY, origin, 200,
                "the answer about limits has no DailyApiRequests with Max and Remaining");
    else
        rc = 0;
    if (rc == 0) {
        out->max = json_integer_value(max);
        int64_t remaining = json_integer_value(left);
        out->used = remaining > out->max ? 0 : remaining < 0 ? out->max : out->max - remaining;
    }
    json_decref(all);
    return rc;
}

/* "INVALID_SESSION_ID" of [{"errorCode":…}]; "" when the body says nothing of the kind. */
static void read_code(struct span body, char code[64])
{
    json_t *all = body.n ? json_loadb((const char *)body.p, body.n, 0, NULL) : NULL;
    const char *text = json_string_value(
        json_object_get(json_is_array(all) ? json_array_get(all, 0) : all, "errorCode"));
    size_t n = text ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") : 0;
    n = n < 63 ? n : 63;
    if (n)
        memcpy(code, text, n);
    code[n] = '\0';
    json_decref(all);
}

static int read_answer(const struct http_answer *answer, const char *url, struct limits *out, struct err *e)
{
    char code[64];
    if (answer->status == 200)
        return limits_parse(buf_span(&answer->body), out, e);
    read_code(buf_span(&answer->body), code);
    return err_set(e, answer->status == 401 ? ERR_AUTH : ERR_RETRY, origin, answer->status,
                   "%s answered HTTP %d%s%s", url, answer->status, *code ? ", " : "", code);
}

int limits_read(const struct org_config *org, const struct auth_token *token, const atomic_bool *stop,
                struct limits *out, struct err *e)
{
    struct http_answer answer = {.body = BUF_INIT};
    char *url = xasprintf("%s/services/data/v%s/limits", token->instance_url, org->api_version);
    char *bearer = xasprintf("Authorization: Bearer %s", token->access_token);
    char *client = xasprintf("Sforce-Call-Options: client=%s", org->client_name);
    const char *const headers[] = {bearer, client, "Accept: application/json", NULL};
    const struct http_request request = {.method = "GET",
                                         .url = url,
                                         .headers = headers,
                                         .ca_file = org->ca_file,
                                         .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                         .timeout_ms = TIMEOUT_MS,
                                         .max_answer = LARGEST_ANSWER,
                                         .stop = stop};
    int rc = http_do(&request, &answer, e);
    if (rc == 0)
        rc = read_answer(&answer, token->instance_url, out, e);
    else
        err_prefix(e, "limits");
    http_answer_release(&answer);
    wipe(bearer, strlen(bearer));
    free(bearer);
    free(client);
    free(url);
    return rc;
}
