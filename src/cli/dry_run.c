#include "cli/dry_run.h"

#include "avro/schema_cache.h"
#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/look.h"
#include "cli/org_client.h"
#include "delivery/dry_run.h"
#include "store/schemas.h"

#include <stdio.h>
#include <stdlib.h>

/* --- schemas from the org ------------------------------------------------------------------------------- */

struct asked {
    struct avro_plan **plans;
    struct dry_run_schema *schemas;
    size_t n;
};

static int ask_topic(struct org_client *c, const char *topic, struct asked *asked, struct err *e)
{
    struct pubsub_topic described = {0};
    struct buf json = BUF_INIT;
    struct avro_plan *plan;
    if (org_client_topic(c, topic, &described, e) != 0)
        return -1;
    /* A channel of several entities has none: each event names its own. */
    int rc = *described.schema_id ? org_client_schema(c, described.schema_id, &json, e) : 0;
    if (rc == 0 && json.len) {
        rc = avro_compile(buf_span(&json), described.schema_id, &plan, e);
        if (rc == 0) {
            asked->plans[asked->n] = plan;
            asked->schemas[asked->n++] = (struct dry_run_schema){avro_plan_schema(plan), topic};
        }
    }
    org_client_topic_release(&described);
    buf_release(&json);
    return rc;
}

static int ask_org(const struct delivery_options *o, uint32_t org, struct asked *asked, struct err *e)
{
    const struct config *config = o->config;
    const struct sink_config *sink = o->sink;
    struct org_client client = {0};
    bool opened = false;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < sink->n_subscriptions; i++) {
        const struct subscription_config *sub = &config->subscriptions[sink->subscriptions[i]];
        if (sub->org != org)
            continue;
        if (!opened)
            rc = org_client_open(&client, config, org, o->store, e);
        opened = true;
        if (rc == 0)
            rc = ask_topic(&client, sub->topic, asked, e);
    }
    if (opened)
        org_client_close(&client);
    return rc;
}

static int ask_orgs(const struct delivery_options *o, struct asked *asked, struct err *e)
{
    int rc = 0;
    asked->plans = xcalloc((size_t)o->sink->n_subscriptions + 1, sizeof(struct avro_plan *));
    asked->schemas = xcalloc((size_t)o->sink->n_subscriptions + 1, sizeof *asked->schemas);
    org_client_setup();
    for (uint32_t i = 0; rc == 0 && i < o->config->n_orgs; i++)
        rc = ask_org(o, i, asked, e);
    org_client_teardown();
    return rc;
}

static void forget(struct asked *asked)
{
    for (size_t i = 0; i < asked->n; i++)
        avro_plan_free(asked->plans[i]);
    free(asked->plans);
    free(asked->schemas);
}

/* --- sinks ------------------------------------------------------------------------------------------------ */

/* An exit code. */
static int show_sink(const struct delivery_options *o)
{
    struct buf out = BUF_INIT;
    struct asked asked = {NULL, NULL, 0};
    struct err e = ERR_INIT;
    size_t n;
    int code = EXIT_OK;
    int rc = dry_run(o, NULL, 0, &out, &n, &e);
    if (rc == 0 && n == 0) {
        if (ask_orgs(o, &asked, &e) != 0) {
            cli_fail(&e);
            code = EXIT_SOURCE;
        }
        buf_clear(&out);
        rc = dry_run(o, asked.schemas, asked.n, &out, &n, &e);
    }
    if (rc != 0)
        code = cli_fail(&e);
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
    forget(&asked);
    return code;
}

int run_dry(const struct config *config)
{
    struct store *store;
    struct err e = ERR_INIT;
    int code = EXIT_OK, n = 0;
    for (uint32_t i = 0; i < config->n_sinks; i++)
        n += sink_kind_is_mirror(config->sinks[i].kind);
    if (n == 0) {
        (void)err_set(&e, ERR_CONFIG, "cli", 0,
                      "--dry-run shows statements, and no sink mirrors records (sqlite, postgres)");
        return cli_fail(&e);
    }
    if (look_open(config, &store, &e) != 0)
        return cli_fail(&e);
    struct schema_cache *schemas = schema_cache_new(schema_load_from, store);
    for (uint32_t i = 0; code == EXIT_OK && i < config->n_sinks; i++)
        if (sink_kind_is_mirror(config->sinks[i].kind))
            code = show_sink(&(struct delivery_options){
                .config = config, .sink = &config->sinks[i], .store = store, .schemas = schemas});
    schema_cache_free(schemas);
    store_close(store);
    return cli_finish_output(code);
}
