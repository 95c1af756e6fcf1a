/*
 * tidemark topics: what is subscribed, and what the org says about it.
 */
#include "cli/cli.h"

#include "base/json.h"
#include "base/table.h"
#include "cli/look.h"
#include "cli/org_client.h"

#include <stdio.h>

struct listing {
    bool json;
    struct table table;
    struct buf out;
    size_t failed;
};

static void add_string(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, ",\"%s\":", key);
    if (value)
        json_add_string(b, span_of_str(value));
    else
        buf_add_str(b, "null");
}

static void add_json(struct listing *l, const struct subscription_config *sub, const char *org,
                     const struct pubsub_topic *topic, const char *error)
{
    static const char *const words[] = {"false", "true"};
    struct buf *b = &l->out;
    buf_add_str(b, "{\"subscription\":");
    json_add_string(b, span_of_str(sub->name));
    add_string(b, "org", org);
    add_string(b, "topic", sub->topic);
    buf_addf(b, ",\"can_subscribe\":%s,\"can_publish\":%s", topic ? words[topic->can_subscribe] : "null",
             topic ? words[topic->can_publish] : "null");
    add_string(b, "schema_id", topic && *topic->schema_id ? topic->schema_id : NULL);
    add_string(b, "error", error);
    buf_add_str(b, "}\n");
}

static void add_row(struct listing *l, const struct subscription_config *sub, const char *org,
                    const struct pubsub_topic *topic, const char *error)
{
    static const char *const words[] = {"no", "yes"};
    table_cell(&l->table, "%s", sub->name);
    table_cell(&l->table, "%s", org);
    table_cell(&l->table, "%s", sub->topic);
    table_cell(&l->table, "%s", topic ? words[topic->can_subscribe] : "-");
    table_cell(&l->table, "%s", !topic ? "-" : *topic->schema_id ? topic->schema_id : "(each event's own)");
    if (error)
        table_note(&l->table, error);
}

static void add_subscription(struct listing *l, const struct subscription_config *sub, struct org_client *c)
{
    struct pubsub_topic topic = {0};
    struct err e = ERR_INIT;
    int rc = org_client_topic(c, sub->topic, &topic, &e);
    if (rc == 0 && !topic.can_subscribe)
        err_set(&e, ERR_REJECTED, "cli", 0, "the user may not subscribe to %s: grant read access to it",
                sub->topic);
    const char *error = e.class ? e.text : NULL;
    l->failed += error != NULL;
    (l->json ? add_json : add_row)(l, sub, c->config->name, rc == 0 ? &topic : NULL, error);
    org_client_topic_release(&topic);
}

static void heading(struct listing *l)
{
    static const char *const words[] = {"subscription", "org", "topic", "may subscribe", "schema id"};
    table_init(&l->table, "lllll");
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        table_cell(&l->table, "%s", words[i]);
}

static int list_topics(const struct config *config, bool json)
{
    struct listing l = {.json = json, .out = BUF_INIT};
    struct err e = ERR_INIT;
    int code = EXIT_OK;
    org_client_setup();
    heading(&l);
    for (uint32_t org = 0; org < config->n_orgs && code == EXIT_OK; org++) {
        struct org_client client = {0};
        if (org_client_open(&client, config, org, NULL, &e) != 0)
            code = cli_fail(&e);
        for (uint32_t i = 0; code == EXIT_OK && i < config->n_subscriptions; i++)
            if (config->subscriptions[i].org == org)
                add_subscription(&l, &config->subscriptions[i], &client);
        org_client_close(&client);
    }
    org_client_teardown();
    if (!json && config->n_subscriptions)
        table_print(&l.table, "", look_has_colour(), &l.out);
    if (config->n_subscriptions == 0)
        fprintf(stderr, "tidemark: %s has no subscriptions\n", config->file);
    if (l.out.len)
        fwrite(l.out.data, 1, l.out.len, stdout);
    buf_release(&l.out);
    table_release(&l.table);
    return cli_finish_output(code != EXIT_OK ? code : l.failed ? EXIT_SOURCE : EXIT_OK);
}

int cli_topics(const struct command *self, int argc, char **argv)
{
    enum { JSON = 1 };
    static const struct option own[] = {{"json", no_argument, NULL, JSON}, {0}};
    struct common_options common;
    bool json = false;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", own) != -1)
        json = true;
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    struct config *config = cli_load_config(&common, CONFIG_NO_SINKS_NEEDED);
    if (!config)
        return EXIT_USAGE;
    int code = list_topics(config, json);
    config_free(config);
    return code;
}
