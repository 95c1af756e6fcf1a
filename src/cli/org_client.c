#include "cli/org_client.h"

#include "base/http.h"
#include "cli/interrupt.h"
#include "cli/look.h"
#include "intake/logins.h"

#include <stdio.h>
#include <stdlib.h>

enum { CALL_TIMEOUT_MS = 30 * 1000, LOGIN_POLL_MS = 100 };

void org_client_setup(void)
{
    interrupt_setup();
    http_setup();
    pubsub_setup();
}

void org_client_teardown(void)
{
    pubsub_teardown();
}

/* A store that cannot be looked at says nothing about logins: others say what is wrong with it. */
static void keep_pause(struct org_client *c, struct store *st)
{
    struct store_txn txn;
    struct auth_memory before;
    struct err unused = ERR_INIT;
    if (!st || store_begin(st, false, &txn, &unused) != 0)
        return;
    int rc = logins_recall(&txn, c->config->name, &before, &unused);
    store_abort(&txn);
    if (rc == 0)
        auth_remember(c->auth, &before, NULL, NULL);
}

int org_client_open(struct org_client *c, const struct config *config, uint32_t org, struct store *st,
                    struct err *e)
{
    const struct org_config *its = &config->orgs[org];
    struct store *looked = NULL;
    struct err unused = ERR_INIT;
    *c = (struct org_client){.config = its, .auth = auth_new(its)};
    if (!st && look_open(config, &looked, &unused) == 0)
        st = looked;
    keep_pause(c, st);
    store_close(looked);
    c->pubsub = pubsub_new(its, e);
    return c->pubsub ? 0 : err_prefix(e, "org '%s'", its->name);
}

void org_client_refused(struct org_client *c)
{
    if (!c->has_token)
        return;
    auth_refused(c->auth, c->token.serial);
    auth_token_release(&c->token);
    c->has_token = false;
}

void org_client_close(struct org_client *c)
{
    if (c->pubsub)
        pubsub_free(c->pubsub);
    if (c->has_token)
        auth_token_release(&c->token);
    if (c->auth)
        auth_free(c->auth);
    *c = (struct org_client){0};
}

int org_client_login(struct org_client *c, struct err *e)
{
    while (!c->has_token) {
        switch (auth_get(c->auth, &c->token, e)) {
        case AUTH_READY:
            c->has_token = true;
            return 0;
        case AUTH_FAILING:
            return err_prefix(e, "org '%s'", c->config->name);
        case AUTH_PENDING:
            break;
        }
        if (interrupt_signal())
            return err_set(e, ERR_FATAL, "cli", 0, "interrupted");
        auth_wait(c->auth, LOGIN_POLL_MS);
    }
    return 0;
}

static int fail(const struct org_client *c, const char *what, const struct pubsub_status *status,
                struct err *e)
{
    enum err_class class = status->reaction == PUBSUB_FATAL       ? ERR_REJECTED
                           : status->reaction == PUBSUB_NEW_TOKEN ? ERR_AUTH
                                                                  : ERR_RETRY;
    return err_set(e, class, "pubsub", status->grpc_code, "org '%s': %s: %s", c->config->name, what,
                   status->text);
}

int org_client_topic(struct org_client *c, const char *topic, struct pubsub_topic *out, struct err *e)
{
    struct pubsub_status status = {0};
    for (int attempt = 0; attempt < 2; attempt++) {
        if (org_client_login(c, e) != 0)
            return -1;
        if (pubsub_get_topic(c->pubsub, &c->token, topic, CALL_TIMEOUT_MS, out, &status) == 0)
            return 0;
        if (status.reaction != PUBSUB_NEW_TOKEN)
            break;
        org_client_refused(c);
    }
    return fail(c, topic, &status, e);
}

void org_client_topic_release(struct pubsub_topic *topic)
{
    free(topic->name);
    free(topic->schema_id);
    *topic = (struct pubsub_topic){0};
}

int org_client_schema(struct org_client *c, const char *schema_id, struct buf *json, struct err *e)
{
    struct pubsub_status status = {0};
    for (int attempt = 0; attempt < 2; attempt++) {
        if (org_client_login(c, e) != 0)
            return -1;
        if (pubsub_get_schema(c->pubsub, &c->token, schema_id, CALL_TIMEOUT_MS, json, &status) == 0)
            return 0;
        if (status.reaction != PUBSUB_NEW_TOKEN)
            break;
        org_client_refused(c);
    }
    return fail(c, schema_id, &status, e);
}

int org_client_choose(const struct config *config, const char *name, const char *topic, uint32_t *org,
                      struct err *e)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; name && i < config->n_orgs; i++)
        if (strcmp(config->orgs[i].name, name) == 0)
            found = i;
    if (name && found == UINT32_MAX)
        return err_set(e, ERR_CONFIG, "cli", 0, "%s has no org '%s'", config->file, name);
    if (!name && config->n_orgs == 1)
        found = 0;
    for (uint32_t i = 0; !name && topic && config->n_orgs > 1 && i < config->n_subscriptions; i++) {
        if (strcmp(config->subscriptions[i].topic, topic) != 0)
            continue;
        if (found != UINT32_MAX && found != config->subscriptions[i].org)
            return err_set(e, ERR_CONFIG, "cli", 0, "several orgs have %s: name one with --org", topic);
        found = config->subscriptions[i].org;
    }
    if (found == UINT32_MAX)
        return err_set(e, ERR_CONFIG, "cli", 0, "%s has %u orgs: name one with --org", config->file,
                       config->n_orgs);
    *org = found;
    return 0;
}
