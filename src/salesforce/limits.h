/*
 * limits: what an org allows, and what is left of it (REST, /services/data/vNN.N/limits).
 *
 * Thread: any; blocks up to half a minute, a set *stop ends it within a second. Errors: -1 with err: ERR_AUTH the
 * token is not accepted; ERR_CONFIG the address is wrong; ERR_RETRY everything else, said with host and reason. No
 * token gets into an err.
 */
#ifndef SALESFORCE_LIMITS_H
#define SALESFORCE_LIMITS_H

#include "auth/auth.h"

#include <stdatomic.h>

/* Calls of REST, SOAP and Bulk by everybody, in any 24 hours. */
struct limits {
    int64_t used, max;
};

MUST_CHECK int limits_read(const struct org_config *org, const struct auth_token *token,
                           const atomic_bool *stop, struct limits *out, struct err *e);
/* Reading the answer's body, on its own for the tests. */
MUST_CHECK int limits_parse(struct span body, struct limits *out, struct err *e);

#endif
