/*
 * flow: how one kind of credentials becomes a login request.
 *
 * One file per flow; flows.c holds the table. A flow fills in the form that is posted to
 * /services/oauth2/token. Asking, reading the answer and pausing are the same for all (login.h, breaker.h,
 * auth.c); where a flow has more to say, it has a function for it: something to change after a refusal,
 * something to keep before a token may be used.
 *
 * Calling order, within one login: fill -> (the request) -> mend, fill, … or settle -> leave.
 * Thread: the worker of the org. Ownership: forms are the caller's, who wipes them.
 */
#ifndef AUTH_FLOW_H
#define AUTH_FLOW_H

#include "auth/token_file.h"
#include "config/config.h"

/* What a complete answer of the token endpoint holds. */
struct login_result {
    char *access_token;  /* secret */
    char *instance_url;  /* without trailing slash */
    char *refresh_token; /* secret: a new one, NULL when none came */
    char tenant_id[19];
};

void login_result_release(struct login_result *result);

/* The logins of one org: what one of them remembers for the next. */
struct login {
    const struct org_config *org;
    const struct auth_flow *flow;
    char *sent;                    /* secret of this login that the configuration does not know; NULL: none */
    unsigned mended;               /* this login: what was changed already, bits of the flow's own */
    struct login_result unsettled; /* refresh_token: issued, but what comes with it is not on disk yet */
    bool other_audience;           /* jwt_bearer: the other one of the two is right */
    int64_t clock_offset_ms;       /* jwt_bearer: the login server's clock minus ours, where that mattered */
    struct token_file file;        /* refresh_token */
};

/* The service's own words. */
struct login_words {
    char error[80];
    char description[300];
    int64_t server_ms; /* the answer's Date; 0: none */
};

struct auth_flow {
    enum auth_kind kind;
    const char *name;       /* as in the configuration */
    bool token_from_config; /* static: no login exists; fill is NULL */
    bool counts_attempts;   /* the service counts wrong passwords, and locks the user's account */
    /* Append the form's fields. -1 with err when the credentials cannot be used as they are. */
    int (*fill)(struct login *l, struct buf *form, struct err *e);
    /* The service refused. true: something was changed, and the same login is worth one more request at once.
     */
    bool (*mend)(struct login *l, const struct login_words *words);
    /* A token was issued: do what must be done before it may be used. -1: not done; *result stays as it is.
     */
    int (*settle)(struct login *l, struct login_result *result, struct err *e);
    /* The login is over, however it went. */
    void (*leave)(struct login *l);
};

/* Never NULL. */
const struct auth_flow *auth_flow_find(enum auth_kind kind);

int client_credentials_fill(struct login *l, struct buf *form, struct err *e);

int jwt_bearer_fill(struct login *l, struct buf *form, struct err *e);
bool jwt_bearer_mend(struct login *l, const struct login_words *words);

int refresh_token_fill(struct login *l, struct buf *form, struct err *e);
int refresh_token_settle(struct login *l, struct login_result *result, struct err *e);
void refresh_token_leave(struct login *l);

int password_fill(struct login *l, struct buf *form, struct err *e);

#endif
