/*
 * login: one request to the token endpoint, and what its answer means.
 *
 * Guarantees: a result is complete or there is none: access token, instance URL and tenant id are there,
 * not empty, and fit to be sent as call metadata. No secret and no token gets into an err.
 * Ownership: the result's strings are the caller's: login_result_release wipes the token.
 * Thread: the worker of the org; blocks up to half a minute, a set *stop ends it within a second.
 * Errors: ERR_AUTH the service refuses the credentials; ERR_CONFIG URL, certificate or flow is wrong;
 * ERR_RETRY everything that may pass (network, 5xx, 429, an answer that makes no sense).
 */
#ifndef AUTH_LOGIN_H
#define AUTH_LOGIN_H

#include "auth/flow.h"
#include "base/http.h"

struct login_result {
    char *access_token; /* secret */
    char *instance_url; /* without trailing slash */
    char tenant_id[19];
};

struct login_times {
    int64_t server_ms;        /* the answer's Date, 0 when none came */
    int64_t wait_at_least_ms; /* the service asks for a pause (429, login rate), 0 when not */
};

MUST_CHECK int login_once(const struct org_config *org, const struct auth_flow *flow, const atomic_bool *stop,
                          struct login_result *result, struct login_times *times, struct err *e);
void login_result_release(struct login_result *result);

/* Reading the answer's body, on its own for the tests: status 200 only. */
MUST_CHECK int login_read_token(struct span body, struct login_result *result, struct err *e);
/* The error and error_description of a refusal; false when the body is not such JSON. */
bool login_read_refusal(struct span body, char error[80], char description[300]);
/* The org id out of "https://HOST/id/ORG/USER": 15 characters are completed to 18. false when there is none.
 */
bool login_tenant_of(const char *id_url, char tenant[19]);

#endif
