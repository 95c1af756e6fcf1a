/*
 * flow: how one kind of credentials becomes a login request.
 *
 * One file per flow; flows.c holds the table. A flow fills in the form that is posted to
 * /services/oauth2/token; asking, reading the answer and pausing are the same for all (login.h, auth.c).
 *
 * Thread: the worker of the org. Ownership: the form is the caller's, who wipes it.
 */
#ifndef AUTH_FLOW_H
#define AUTH_FLOW_H

#include "config/config.h"

struct auth_flow {
    enum auth_kind kind;
    const char *name; /* as in the configuration */
    /* Append the form's fields. -1 with err when the credentials cannot be used as they are. NULL: no
     * login exists for this kind: the token comes from the configuration (static), or the kind is refused. */
    int (*fill)(const struct org_config *org, struct buf *form, struct err *e);
    bool token_from_config;
};

/* Never NULL. A kind that cannot be used has neither fill nor token_from_config. */
const struct auth_flow *auth_flow_find(enum auth_kind kind);

int client_credentials_fill(const struct org_config *org, struct buf *form, struct err *e);

#endif
