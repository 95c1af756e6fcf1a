/*
 * tidemark replay: an order to the daemon over its socket; with the daemon down, to the store itself.
 */
#include "cli/cli.h"
#include "cli/order.h"
#include "cli/redeliver.h"

#include "base/text.h"
#include "intake/replay.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct replay_options {
    const char *subscription, *sink, *from;
    bool dry_run;
};

/* 0: the daemon answered, *code is the exit code; -1: there is no daemon. */
static int ask_daemon(const struct config *config, const struct replay_options *o, int *code)
{
    struct order order;
    order_begin(&order, "/replay");
    order_argument(&order, "subscription", o->subscription);
    order_argument(&order, "from", o->from);
    order_argument(&order, "dry_run", o->dry_run ? "1" : "");
    int rc = order_send(&order, config, code);
    order_release(&order);
    return rc;
}

static int change_record(struct store_txn *txn, const struct config *config, const struct subscription_config *sub,
                         const struct replay_request *request, struct buf *answer, struct err *e)
{
    struct subscription_record record;
    int64_t source_ms;
    if (replay_find(txn, config->orgs[sub->org].name, sub, &record, e) != 0 || source_time_get(txn, &source_ms, e) != 0)
        return -1;
    return replay_order(txn, request, &record, source_ms, answer, e);
}

static int change_store(const struct config *config, const struct subscription_config *sub,
                        const struct replay_request *request, struct err *e)
{
    struct store *st;
    struct store_txn txn;
    struct buf answer = BUF_INIT;
    if (store_open(config->store.path, STORE_MAINTAIN, config->store.max_size, &st, e) != 0)
        return -1;
    int rc = store_begin(st, true, &txn, e);
    if (rc == 0) {
        rc = change_record(&txn, config, sub, request, &answer, e);
        if (rc == REPLAY_ORDERED) {
            rc = store_commit(&txn, e);
            if (rc == 0)
                buf_add_str(&answer, "stored; the daemon is not running: it takes effect at the next start\n");
        } else {
            store_abort(&txn);
        }
    }
    if (rc >= 0)
        fwrite(answer.data, 1, answer.len, stdout);
    buf_release(&answer);
    store_close(st);
    return rc < 0 ? -1 : 0;
}

static const struct subscription_config *find_subscription(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_subscriptions; i++)
        if (strcmp(config->subscriptions[i].name, name) == 0)
            return &config->subscriptions[i];
    return NULL;
}

static int replay(const struct command *self, const struct config *config, const struct replay_options *o)
{
    struct replay_request request;
    struct err e = ERR_INIT;
    bool was_int;
    int code;
    const struct subscription_config *sub = find_subscription(config, o->subscription);
    if (!sub) {
        fprintf(stderr, "tidemark %s: no subscription '%s' in the configuration\n", self->name, o->subscription);
        return EXIT_USAGE;
    }
    if (replay_parse(o->from, &request, &was_int, &e) != 0)
        return cli_fail(&e);
    if (was_int)
        fprintf(stderr, "tidemark %s: int: is read as 8 bytes, big-endian; replay ids are opaque, prefer the hex form\n", self->name);
    if (ask_daemon(config, o, &code) == 0)
        return cli_finish_output(code);
    request.dry_run = o->dry_run;
    snprintf(request.by, sizeof request.by, "uid %ld, daemon down", (long)getuid());
    if (change_store(config, sub, &request, &e) != 0)
        return cli_fail(&e);
    return cli_finish_output(EXIT_OK);
}

int cli_replay(const struct command *self, int argc, char **argv)
{
    enum { SUBSCRIPTION = 1, SINK, FROM, DRY_RUN };
    static const struct option own[] = {{"subscription", required_argument, NULL, SUBSCRIPTION},
                                        {"sink", required_argument, NULL, SINK},
                                        {"from", required_argument, NULL, FROM},
                                        {"dry-run", no_argument, NULL, DRY_RUN},
                                        {0}};
    struct replay_options o = {0};
    struct common_options common;
    int c;
    cli_common_init(&common);
    while ((c = cli_next_option(self, &common, argc, argv, "", own)) != -1) {
        if (c == SUBSCRIPTION)
            o.subscription = optarg;
        else if (c == SINK)
            o.sink = optarg;
        else if (c == FROM)
            o.from = optarg;
        else
            o.dry_run = true;
    }
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    if (!o.subscription == !o.sink || !o.from)
        cli_usage_error(self, "needs --from POSITION, and one of --subscription NAME and --sink NAME");
    struct config *config = cli_load_config(&common, 0);
    if (!config)
        return EXIT_USAGE;
    int code = o.sink ? redeliver_to_sink(self, config, o.sink, o.from, o.dry_run) : replay(self, config, &o);
    config_free(config);
    return code;
}
