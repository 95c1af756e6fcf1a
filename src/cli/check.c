/*
 * check: the configuration, without opening anything.
 *
 * Problems go to stderr, one line each, all of them (exit 2). A good file is one line on stdout, or with
 * --print the configuration that is in effect. Nothing is asked of the network: a host name is looked
 * up by `run` only. A store that is there is looked at for incidents that nobody has closed: a warning.
 */
#include "cli/cli.h"

#include "cli/look.h"
#include "store/incidents.h"

#include <inttypes.h>

#include <stdio.h>

enum { OPTION_PRINT = 0x100, OPTION_SCHEMA };

static const struct option options[] = {
    {"print", no_argument, NULL, OPTION_PRINT}, {"schema", no_argument, NULL, OPTION_SCHEMA}, {0}};

static void print_count(uint32_t n, const char *one, const char *end)
{
    printf("%u %s%s%s", n, one, n == 1 ? "" : "s", end);
}

static void print_summary(const struct config *config)
{
    printf("%s: ok (", config->file);
    print_count(config->n_orgs, "org", ", ");
    print_count(config->n_subscriptions, "subscription", ", ");
    print_count(config->n_sinks, "sink", ")\n");
}

static int print_buffer(struct buf *text)
{
    if (text->len)
        fwrite(text->data, 1, text->len, stdout);
    buf_release(text);
    return cli_finish_output(EXIT_OK);
}

static int count_open(void *ctx, const struct incident *incident)
{
    uint64_t *n = ctx;
    *n += incident->state == INCIDENT_OPEN;
    return 0;
}

/* A store that cannot be read is the business of others: `doctor`, and whoever opens it. */
static void warn_of_incidents(const struct config *config)
{
    struct store *st;
    struct store_txn txn;
    struct err e = ERR_INIT;
    uint64_t n = 0;
    if (look_open(config, &st, &e) != 0 || !st)
        return;
    if (store_begin(st, false, &txn, &e) == 0) {
        if (incident_each(&txn, count_open, &n, &e) == 0 && n)
            fprintf(stderr, "%s: warning: %" PRIu64 " open incident%s: see 'tidemark incidents list'\n",
                    config->store.path, n, n == 1 ? "" : "s");
        store_abort(&txn);
    }
    store_close(st);
}

int cli_check(const struct command *self, int argc, char **argv)
{
    struct common_options common;
    struct buf text = BUF_INIT;
    bool print = false, schema = false;
    cli_common_init(&common);
    for (int c; (c = cli_next_option(self, &common, argc, argv, "", options)) != -1;) {
        print |= c == OPTION_PRINT;
        schema |= c == OPTION_SCHEMA;
    }
    if (optind < argc)
        cli_usage_error(self, "takes no arguments; the file is named with -c");
    if (print && schema)
        cli_usage_error(self, "--print and --schema exclude each other");
    if (schema) {
        config_json_schema(&text);
        return print_buffer(&text);
    }
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    warn_of_incidents(config);
    if (print)
        config_print(config, &text);
    else
        print_summary(config);
    config_free(config);
    return print_buffer(&text);
}
