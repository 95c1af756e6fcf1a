#include "cli/redeliver.h"

#include "admin/commands.h"
#include "cli/order.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int change_record(struct store_txn *txn, const char *name, const struct redeliver_request *request,
                         const struct redeliver_plan *plan, struct buf *answer, struct err *e)
{
    struct sink_record record;
    int rc = sink_record_get(txn, name, &record, e);
    if (rc == 1)
        rc = err_set(e, ERR_CONFIG, "replay", 0, "sink %s has never run: there is nothing to deliver again", name);
    if (rc == 0)
        rc = redeliver_apply(txn, request, plan, &record, answer, e);
    if (rc == REDELIVER_ORDERED && sink_record_put(txn, &record, e) != 0)
        rc = -1;
    sink_record_release(&record);
    return rc;
}

static int change_store(const struct config *config, const char *name, const struct redeliver_request *request,
                        struct buf *answer, struct err *e)
{
    struct store *st;
    struct store_txn txn;
    struct redeliver_plan plan;
    if (store_open(config->store.path, STORE_MAINTAIN, config->store.max_size, &st, e) != 0)
        return -1;
    int rc = redeliver_plan(st, request, &plan, e);
    if (rc == 0)
        rc = store_begin(st, true, &txn, e);
    if (rc == 0) {
        rc = change_record(&txn, name, request, &plan, answer, e);
        if (rc != REDELIVER_ORDERED)
            store_abort(&txn);
        else if (store_commit(&txn, e) != 0)
            rc = -1;
        else
            buf_add_str(answer, "stored; the daemon is not running: it takes effect at the next start\n");
    }
    store_close(st);
    return rc < 0 ? -1 : 0;
}

static bool is_configured(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_sinks; i++)
        if (strcmp(config->sinks[i].name, name) == 0)
            return true;
    return false;
}

static int ask_daemon(const struct config *config, const char *sink, const char *from, bool dry_run, int *code)
{
    struct order order;
    order_begin(&order, "/replay");
    order_argument(&order, "sink", sink);
    order_argument(&order, "from", from);
    order_argument(&order, "dry_run", dry_run ? "1" : "");
    int rc = order_send(&order, config, code);
    order_release(&order);
    return rc;
}

int redeliver_to_sink(const struct command *self, const struct config *config, const char *sink, const char *from, bool dry_run)
{
    struct redeliver_request request;
    struct buf answer = BUF_INIT;
    struct err e = ERR_INIT;
    bool was_int;
    int code;
    if (!is_configured(config, sink)) {
        fprintf(stderr, "tidemark %s: no sink '%s' in the configuration\n", self->name, sink);
        return EXIT_USAGE;
    }
    if (command_parse_redelivery(from, &request, &was_int, &e) != 0)
        return cli_fail(&e);
    if (was_int)
        fprintf(stderr, "tidemark %s: int: is read as 8 bytes, big-endian; replay ids are opaque, prefer the hex form\n", self->name);
    if (ask_daemon(config, sink, from, dry_run, &code) == 0)
        return cli_finish_output(code);
    request.dry_run = dry_run;
    snprintf(request.by, sizeof request.by, "uid %ld, daemon down", (long)getuid());
    code = change_store(config, sink, &request, &answer, &e) == 0 ? EXIT_OK : cli_fail(&e);
    if (code == EXIT_OK)
        fwrite(answer.data, 1, answer.len, stdout);
    buf_release(&answer);
    return code == EXIT_OK ? cli_finish_output(EXIT_OK) : code;
}
