/*
 * tidemark schema: an Avro schema as the org gives it, by topic or by id.
 */
#include "cli/cli.h"

#include "cli/look.h"
#include "cli/org_client.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void print_schema(const struct buf *json)
{
    json_t *schema = look_is_terminal()
                         ? json_loadb((const char *)json->data, json->len, JSON_DECODE_ANY, NULL)
                         : NULL;
    char *pretty = schema ? json_dumps(schema, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;
    if (pretty)
        puts(pretty);
    else
        printf("%.*s\n", (int)json->len, (const char *)json->data);
    free(pretty);
    json_decref(schema);
}

/* `what` begins with '/' when it is a topic. */
static int fetch(struct org_client *c, const char *what, struct buf *json, struct err *e)
{
    struct pubsub_topic topic = {0};
    if (*what != '/')
        return org_client_schema(c, what, json, e);
    if (org_client_topic(c, what, &topic, e) != 0)
        return -1;
    int rc = *topic.schema_id
                 ? org_client_schema(c, topic.schema_id, json, e)
                 : err_set(e, ERR_REJECTED, "cli", 0,
                           "%s is a channel of several entities: it has no schema of its own, each event "
                           "names its own; ask for an entity's topic (/data/AccountChangeEvent)",
                           what);
    org_client_topic_release(&topic);
    return rc;
}

static int show_schema(const struct config *config, const char *org_name, const char *what)
{
    struct err e = ERR_INIT;
    struct org_client client = {0};
    struct buf json = BUF_INIT;
    uint32_t org;
    if (org_client_choose(config, org_name, *what == '/' ? what : NULL, &org, &e) != 0)
        return cli_fail(&e);
    org_client_setup();
    int code = EXIT_OK;
    if (org_client_open(&client, config, org, NULL, &e) != 0)
        code = cli_fail(&e);
    else if (fetch(&client, what, &json, &e) == 0)
        print_schema(&json);
    else {
        cli_fail(&e);
        code = EXIT_SOURCE;
    }
    org_client_close(&client);
    org_client_teardown();
    buf_release(&json);
    return cli_finish_output(code);
}

int cli_schema(const struct command *self, int argc, char **argv)
{
    enum { ORG = 1 };
    static const struct option own[] = {{"org", required_argument, NULL, ORG}, {0}};
    struct common_options common;
    const char *org = NULL;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", own) != -1)
        org = optarg;
    if (argc - optind != 1)
        cli_usage_error(self, argc == optind ? "which? a topic (/data/AccountChangeEvent) or a schema id"
                                             : "takes one topic or schema id");
    if (!*argv[optind])
        cli_usage_error(self, "an empty topic or schema id");
    struct config *config = cli_load_config(&common, CONFIG_NO_SINKS_NEEDED);
    if (!config)
        return EXIT_USAGE;
    int code = show_schema(config, org, argv[optind]);
    config_free(config);
    return code;
}
