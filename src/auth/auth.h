/*
 * auth: an access token for one org, kept fresh.
 *
 * One `struct auth` per org. A worker thread of its own does the HTTP, so nobody who streams waits for
 * a slow login. Single flight: however many ask, one login runs.
 *
 * Guarantees
 *   A failed or empty answer is never kept. A login is asked for only at start and when the service says
 *   that the token is bad; at most one runs at a time. After a failure the next waits: breaker.h says how
 *   long, so that an account is never locked by us. Secrets and tokens are never logged or put into err.
 *   A refresh token that the service has rotated is on disk before its access token is given out.
 *   The tenant id is the next-to-last path segment of the answer's `id`, completed to 18 characters.
 *   Logins that work, and whose tokens the service refuses, are kept 30 s and more apart but for the first; the
 *   pauses grow up to a quarter of an hour while no token works at all (auth_worked).
 *   A static token that was refused is failing (ERR_AUTH) and is offered again only a quarter of an hour
 * later.
 *
 *   A token that comes from a refresh says where the org is (instance_url, tenant_id): the owner of the
 *   positions compares; nothing here touches a position.
 *
 * Calling order: auth_new -> auth_remember -> auth_get / auth_refused / auth_wait … -> auth_free (joins the worker).
 * Ownership: auth_get copies out. Thread: any.
 * Errors: see auth_get.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "auth/memory.h"
#include "base/err.h"
#include "config/config.h"

struct auth;

struct auth_token {
    char *access_token; /* secret: auth_token_release wipes it */
    char *instance_url;
    char tenant_id[19];
    uint64_t serial; /* rises with every login: names the token in auth_refused */
};

enum auth_status {
    AUTH_PENDING, /* a login is running or waiting for its pause to end */
    AUTH_READY,   /* a token is held */
    AUTH_FAILING, /* the last login failed; another will come; *why says what happened */
};

struct auth *auth_new(const struct org_config *org);
void auth_free(struct auth *a);

/*
 * Before the first auth_get: what was kept of the logins before (NULL: nothing), and who keeps it from now on. keep is
 * called on the worker thread without a lock, before and after each login, and may block; *now is a copy.
 */
void auth_remember(struct auth *a, const struct auth_memory *before,
                   void (*keep)(void *ctx, const struct auth_memory *now), void *ctx);
/* A person says that it is mended: no pause, no count, and a login now, unless a token is held. */
void auth_try_now(struct auth *a);

/* AUTH_READY fills *out (a copy). Otherwise *why (when AUTH_FAILING) holds the last failure: ERR_AUTH when
 * the credentials were refused, ERR_RETRY when the host could not be reached or was busy, ERR_CONFIG when the
 * certificate or URL is wrong. Starts the first login when none ran yet. */
enum auth_status auth_get(struct auth *a, struct auth_token *out, struct err *why);
void auth_token_release(struct auth_token *t);

/* The service refused the token with this serial: get another. An older serial is ignored. */
void auth_refused(struct auth *a, uint64_t serial);
/* The service answered on a stream opened with it. Refused from now on, it was a good token whose session has ended. */
void auth_worked(struct auth *a, uint64_t serial);

/* What `status` and `doctor` show. No secret is in it. */
struct auth_view {
    enum auth_status status;
    const char *flow; /* as in the configuration: "jwt_bearer" */
    struct err why;   /* FAILING: of the last failure, with the time of the next login where that is far */
    int64_t next_login_ms; /* FAILING: wall clock; 0: none will come, or none is waited for */
    unsigned failures;     /* logins failed since the last that worked */
    uint64_t refreshes;
    uint64_t logins;    /* that have ended, however */
    char tenant_id[19]; /* of the token held; "" without one */
    char instance_url[1024];
};

void auth_describe(struct auth *a, struct auth_view *out);

/* Wait until something changed since the last auth_get, or timeout. For callers with nothing else to do. */
void auth_wait(struct auth *a, int timeout_ms);

/* Called on the worker thread after every state change (may be NULL): wakes an event loop. */
void auth_on_change(struct auth *a, void (*changed)(void *ctx), void *ctx);

/* The login server's Date of the last answer, ms since 1970; 0 before, and for static tokens. */
int64_t auth_server_time_ms(struct auth *a);
uint64_t auth_refresh_count(struct auth *a);

#endif
