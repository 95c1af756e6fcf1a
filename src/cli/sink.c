/*
 * tidemark sink: what a person decides about a sink, with the daemon stopped.
 *
 *   reset NAME    forget what the store remembers of the sink's output (of a file: which one, how long, its last
 *                 line). Cursor and totals stay, so the next start takes the output as it finds it and goes on
 *                 with the next event: nothing is skipped, nothing is written again.
 *   forget NAME   drop the whole record of a sink that left the configuration.
 */
#include "cli/cli.h"
#include "store/sinks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct sink_command {
    const char *name;
    bool forget;
};

static const struct sink_config *configured(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_sinks; i++)
        if (strcmp(config->sinks[i].name, name) == 0)
            return &config->sinks[i];
    return NULL;
}

/* In a transaction of the caller's. 0 done, 1 no such record, -1 err. */
static int change_record(struct store_txn *txn, const struct sink_command *o, uint64_t *cursor, struct err *e)
{
    struct sink_record record;
    int rc = sink_record_get(txn, o->name, &record, e);
    *cursor = record.cursor;
    if (rc == 0 && o->forget) {
        rc = sink_record_delete(txn, o->name, e);
    } else if (rc == 0) {
        buf_clear(&record.state);
        rc = sink_record_put(txn, &record, e);
    }
    sink_record_release(&record);
    return rc;
}

static int change_store(const struct config *config, const struct sink_command *o, uint64_t *cursor,
                        struct err *e)
{
    struct store *st;
    struct store_txn txn;
    if (store_open(config->store.path, STORE_MAINTAIN, config->store.max_size, &st, e) != 0)
        return e->code == EWOULDBLOCK ? err_prefix(e, "'tidemark sink' works with the daemon stopped") : -1;
    int rc = store_begin(st, true, &txn, e);
    if (rc == 0) {
        rc = change_record(&txn, o, cursor, e);
        if (rc == 0)
            rc = store_commit(&txn, e);
        else
            store_abort(&txn);
    }
    store_close(st);
    return rc;
}

static int change_sink(const struct config *config, const struct sink_command *o)
{
    const struct sink_config *sink = configured(config, o->name);
    struct err e = ERR_INIT;
    uint64_t cursor = 0;
    if (o->forget && sink) {
        fprintf(stderr, "tidemark: sink '%s' is in the configuration; take it out first, then forget it\n",
                o->name);
        return EXIT_USAGE;
    }
    if (!o->forget && sink && sink_kind_is_mirror(sink->kind)) {
        fprintf(stderr,
                "tidemark: sink '%s' is a mirror: its target says itself how far it is, at every start; "
                "there is nothing "
                "to reset\n",
                o->name);
        return EXIT_USAGE;
    }
    int rc = change_store(config, o, &cursor, &e);
    if (rc < 0)
        return cli_fail(&e);
    if (rc == 1) {
        fprintf(stderr, "tidemark: the store knows no sink '%s'\n", o->name);
        return EXIT_USAGE;
    }
    if (o->forget)
        printf("sink %s: forgotten, with its cursor at seq %" PRIu64 "\n", o->name, cursor);
    else if (sink && sink->path)
        printf("sink %s: takes %s as it is, and goes on at its end with seq %" PRIu64 "\n", o->name,
               sink->path, cursor + 1);
    else
        printf("sink %s: takes its output as it is, and goes on with seq %" PRIu64 "\n", o->name, cursor + 1);
    return cli_finish_output(EXIT_OK);
}

int cli_sink(const struct command *self, int argc, char **argv)
{
    struct common_options common;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", NULL) != -1)
        ;
    if (argc - optind != 2)
        cli_usage_error(self, "takes reset NAME or forget NAME");
    const struct sink_command o = {.name = argv[optind + 1], .forget = strcmp(argv[optind], "forget") == 0};
    if (!o.forget && strcmp(argv[optind], "reset") != 0)
        cli_usage_error(self, "'%s' is not reset or forget", argv[optind]);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    int code = change_sink(config, &o);
    config_free(config);
    return code;
}
