/*
 * What the doctor finds at the other end: the way there, login, clocks, the org's identity, topics.
 */
#include "cli/doctor.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/proxy.h"
#include "cli/look.h"
#include "cli/org_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_MAY_DIFFER_MS = 10 * 1000 };

/* --- the way there -------------------------------------------------------------------------------- */

static void check_way(struct doctor *d, const struct org_config *org, const char *what, const char *host)
{
    struct proxy proxy = PROXY_INIT;
    struct err e = ERR_INIT;
    if (proxy_choose(host, &proxy, &e) != 0)
        doctor_bad(d, EXIT_USAGE, "proxy", org->name,
                   "correct HTTPS_PROXY or NO_PROXY in the environment of the daemon", "%s: %s", what,
                   e.text);
    else if (proxy.url)
        doctor_good(d, "proxy", org->name, "%s goes through %s", what, proxy.url);
    else
        doctor_good(d, "proxy", org->name, "%s goes directly to %s", what, host);
    proxy_release(&proxy);
}

static void check_ways(struct doctor *d, const struct org_config *org)
{
    const char *scheme_end = strstr(org->login_url, "://");
    if (scheme_end) {
        char *host = xstrdup(scheme_end + 3);
        host[strcspn(host, "/")] = '\0';
        check_way(d, org, "login", host);
        free(host);
    }
    check_way(d, org, "Pub/Sub", org->pubsub_endpoint);
}

/* --- login ---------------------------------------------------------------------------------------- */

static const char *advice_for_login(enum err_class class)
{
    switch (class) {
    case ERR_AUTH:
        return "check the credentials, and in Setup the connected app: its flow, its policies, the user it "
               "runs as";
    case ERR_CONFIG:
        return "check login_url, the certificate (tls.ca_file) and the files that auth names";
    default:
        return "check login_url, name resolution, firewall and HTTPS_PROXY; the login server may be down";
    }
}

static void check_clock(struct doctor *d, struct org_client *c)
{
    const int64_t server_ms = auth_server_time_ms(c->auth), off_ms = clock_wall_ms() - server_ms;
    if (server_ms == 0)
        return; /* a static token: nobody was asked */
    if (off_ms > CLOCK_MAY_DIFFER_MS || off_ms < -CLOCK_MAY_DIFFER_MS)
        doctor_warn(d, "clock", c->config->name,
                    "let a time service set this machine's clock: stamps in logs and lines, and jwt_bearer, "
                    "rely on it",
                    "ours is %" PRId64 " s %s the login server's", (off_ms < 0 ? -off_ms : off_ms) / 1000,
                    off_ms < 0 ? "behind" : "ahead of");
    else
        doctor_good(d, "clock", c->config->name, "agrees with the login server's");
}

/* The org that the store knows under this name. 0 found, 1 none, -1 the store cannot be read: doctor_store says why. */
static int known_org(const struct config *config, const char *name, struct org_record *known)
{
    struct err e = ERR_INIT;
    struct store *st;
    struct store_txn txn;
    if (look_open(config, &st, &e) != 0 || !st)
        return 1;
    int rc = store_begin(st, false, &txn, &e);
    if (rc == 0) {
        rc = org_get(&txn, name, known, &e);
        store_abort(&txn);
    }
    store_close(st);
    return rc;
}

static void check_identity(struct doctor *d, const struct org_client *c)
{
    struct org_record known;
    if (known_org(d->config, c->config->name, &known) == 0 && strcmp(known.org_id, c->token.tenant_id) != 0)
        doctor_bad(
            d, EXIT_SOURCE, "login", c->config->name, "give another org another name, or a store of its own",
            "logged in to org %s, but the store knows this name as %s", c->token.tenant_id, known.org_id);
    else
        doctor_good(d, "login", c->config->name, "org %s at %s", c->token.tenant_id, c->token.instance_url);
}

/* --- topics --------------------------------------------------------------------------------------- */

static void check_topic(struct doctor *d, struct org_client *c, const struct subscription_config *sub)
{
    struct pubsub_topic topic = {0};
    struct err e = ERR_INIT;
    if (org_client_topic(c, sub->topic, &topic, &e) != 0)
        doctor_bad(d, EXIT_SOURCE, "topic", sub->topic,
                   e.class == ERR_RETRY
                       ? "check pubsub_endpoint, firewall and HTTPS_PROXY; the service may be busy"
                       : "check the topic's name; in Setup select the entity for Change Data Capture, and "
                         "give the user access to it",
                   "%s", e.text);
    else if (!topic.can_subscribe)
        doctor_bad(
            d, EXIT_SOURCE, "topic", sub->topic,
            "give the user read access to the object or event, or View All Data for /data/ChangeEvents",
            "the user may not subscribe");
    else
        doctor_good(d, "topic", sub->topic, "may be subscribed (%s)", sub->name);
    org_client_topic_release(&topic);
}

static void check_org(struct doctor *d, uint32_t org)
{
    const struct org_config *config = &d->config->orgs[org];
    struct org_client client = {0};
    struct err e = ERR_INIT;
    check_ways(d, config);
    if (org_client_open(&client, d->config, org, NULL, &e) != 0) {
        doctor_bad(d, EXIT_USAGE, "login", config->name, "check tls.ca_file and pubsub_endpoint", "%s",
                   e.text);
    } else if (org_client_login(&client, &e) != 0) {
        doctor_bad(d, EXIT_SOURCE, "login", config->name, advice_for_login(e.class), "%s", e.text);
    } else {
        check_clock(d, &client);
        check_identity(d, &client);
        for (uint32_t i = 0; i < d->config->n_subscriptions; i++)
            if (d->config->subscriptions[i].org == org)
                check_topic(d, &client, &d->config->subscriptions[i]);
    }
    org_client_close(&client);
}

void doctor_orgs(struct doctor *d)
{
    org_client_setup();
    for (uint32_t org = 0; org < d->config->n_orgs; org++)
        check_org(d, org);
    org_client_teardown();
}
