/*
 * login: one request to the token endpoint, and what its answer means.
 *
 * Guarantees: a result is complete or there is none: access token, instance URL and tenant id are there,
 * not empty, and fit to be sent as call metadata. What must be kept before the token may be used (a rotated
 * refresh token) is on disk. No secret and no token gets into an err.
 * Calling order: login_open -> login_once, again and again, one at a time -> login_close.
 * Ownership: the result's strings are the caller's: login_result_release wipes the tokens.
 * Thread: the worker of the org; blocks up to half a minute a request, a set *stop ends it within a second.
 * Errors: ERR_AUTH the service refuses the credentials; ERR_CONFIG URL, certificate, file or flow is wrong;
 * ERR_RETRY everything that may pass (network, 5xx, 429, an answer that makes no sense, a full disk).
 */
#ifndef AUTH_LOGIN_H
#define AUTH_LOGIN_H

#include "auth/breaker.h"
#include "auth/flow.h"
#include "base/http.h"

struct login_times {
    int64_t server_ms;        /* the answer's Date, 0 when none came */
    int64_t wait_at_least_ms; /* the service asks for a pause (Retry-After), 0 when not */
    enum breaker_cause cause; /* of a failure */
    bool sent;                /* the request went out */
};

void login_open(struct login *l, const struct org_config *org);
void login_close(struct login *l);
MUST_CHECK int login_once(struct login *l, const atomic_bool *stop, struct login_result *result,
                          struct login_times *times, struct err *e);

/* Reading the answer's body, on its own for the tests: status 200 only. */
MUST_CHECK int login_read_token(struct span body, struct login_result *result, struct err *e);
/* The error and error_description of a refusal; false when the body is not such JSON. */
bool login_read_refusal(struct span body, struct login_words *words);
/* The org id out of "https://HOST/id/ORG/USER": 15 characters are completed to 18. false when there is none.
 */
bool login_tenant_of(const char *id_url, char tenant[19]);

#endif
