/*
 * org_client: one org, asked directly: login and unary calls for schema, topics and tail.
 *
 * Guarantees: a token that the service refuses is replaced once; everything that fails says which org it was. A pause
 * that the daemon's failed logins have earned is kept: no login of ours, and an error that says how long.
 *
 * Calling order: org_client_setup once -> org_client_open -> org_client_topic / org_client_schema … ->
 * org_client_close -> org_client_teardown.
 * Ownership: the client owns its connection. Thread: main; calls block up to 30 s.
 * Errors: -1 with err; commands exit with 4 whatever the class is, for the source failed. ERR_RETRY: may work
 * later; any other: will not.
 */
#ifndef CLI_ORG_CLIENT_H
#define CLI_ORG_CLIENT_H

#include "pubsub/pubsub.h"
#include "store/store.h"

struct org_client {
    const struct org_config *config;
    struct auth *auth;
    struct pubsub *pubsub;
    struct auth_token token;
    bool has_token;
};

void org_client_setup(void);
void org_client_teardown(void);

/* Does not connect yet. st: the store, where the caller has it open (twice in one process is once too much); NULL: it
 * is looked for. ERR_CONFIG: CA file, endpoint. */
MUST_CHECK int org_client_open(struct org_client *c, const struct config *config, uint32_t org,
                               struct store *st, struct err *e);
void org_client_close(struct org_client *c);

/* Have a token in c->token; waits for the login. Cheap while one is held. */
MUST_CHECK int org_client_login(struct org_client *c, struct err *e);
/* The service refused the token in hand. */
void org_client_refused(struct org_client *c);

MUST_CHECK int org_client_topic(struct org_client *c, const char *topic, struct pubsub_topic *out,
                                struct err *e);
void org_client_topic_release(struct pubsub_topic *topic);
MUST_CHECK int org_client_schema(struct org_client *c, const char *schema_id, struct buf *json,
                                 struct err *e);

/* The org to ask: `name`, or the only one, or the one whose subscription has this topic (may be NULL).
 * ERR_CONFIG when that leaves a choice. */
MUST_CHECK int org_client_choose(const struct config *config, const char *name, const char *topic,
                                 uint32_t *org, struct err *e);

#endif
