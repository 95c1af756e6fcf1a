/*
 * oauth: the org's token endpoint, POST /services/oauth2/token.
 *
 * client_credentials, jwt_bearer (signatures are verified when a key is given), refresh_token (rotating or
 * not) and password; the errors are worded as the service words them. Faults can be scripted: the next N
 * requests get another answer, whatever they ask.
 *
 * Rotation: each refresh brings a new refresh token. One that was used already kills the grant and all access
 * tokens, as the service does it.
 *
 * Ownership: the answer's body is the caller's. Secrets and tokens never come to the log.
 * Thread: under the simulator's lock; a delay is waited for by the caller, without it.
 */
#ifndef SIM_OAUTH_H
#define SIM_OAUTH_H

#include "base/buf.h"
#include "base/err.h"
#include "sim/options.h"
#include "sim/session.h"

struct oauth_fault;

struct oauth {
    const struct sim_options *options;
    struct evp_pkey_st *jwt_key;     /* NULL: signatures are not looked at */
    char refresh[160], used[160];    /* the refresh token that is good, and the one before it */
    bool grant_is_over;              /* a used refresh token came again */
    const struct oauth_fault *fault; /* NULL: none */
    int64_t fault_left;              /* requests it still hits; INT64_MAX: all */
    int64_t fault_delay_ms;
    uint64_t requests, refused, faults; /* for /sim/stats */
};

struct oauth_answer {
    unsigned status;
    struct buf body;
    const char *content_type; /* NULL: JSON */
    const char *location;
    int retry_after_s; /* 0: none */
    int64_t delay_ms;
};

MUST_CHECK int oauth_open(struct oauth *o, const struct sim_options *options, struct err *e);
void oauth_close(struct oauth *o);

/* `authorization` is that header's value or NULL; `user_id` stands in the answer's id. */
void oauth_token(struct oauth *o, struct session *session, const char *user_id, struct span form,
                 const char *authorization, struct oauth_answer *a);

/*
 * POST /sim/token-fault?kind=KIND&count=N&seconds=S: the next N token requests (0: all from now on). Kinds
 * are in oauth.c's table; "none" ends it. false: there is no such kind.
 */
bool oauth_set_fault(struct oauth *o, const char *kind, int64_t count, int64_t delay_ms);
/* "500, 503, html, …" */
void oauth_fault_names(struct buf *out);
/* The token endpoint's clock. */
int64_t oauth_now_ms(const struct oauth *o);

#endif
