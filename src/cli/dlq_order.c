#include "cli/dlq_order.h"

#include "cli/cli.h"
#include "cli/order.h"

#include <stdio.h>
#include <unistd.h>

static int ask_daemon(const struct config *config, const struct redrive_request *r, const char *seqs,
                      bool all, int *code)
{
    struct order order;
    order_begin(&order, r->action == REDRIVE_RETRY ? "/dlq/retry" : "/dlq/drop");
    order_argument(&order, "sink", r->sink);
    order_argument(&order, "seq", seqs);
    order_argument(&order, "reason", r->reason);
    order_argument(&order, "all", all ? "1" : "");
    order_argument(&order, "dry_run", r->dry_run ? "1" : "");
    int rc = order_send(&order, config, code);
    order_release(&order);
    return rc;
}

static int change_store(const struct config *config, const struct redrive_request *r, struct buf *answer,
                        struct err *e)
{
    struct store *st;
    if (store_open(config->store.path, STORE_MAINTAIN, config->store.max_size, &st, e) != 0)
        return -1;
    int rc = redrive_order(st, config, r, answer, e);
    store_close(st);
    if (rc == 0 && r->action == REDRIVE_RETRY && !r->dry_run)
        buf_add_str(answer, "stored; the daemon is not running: they are tried at the next start\n");
    return rc;
}

int dlq_order(const struct config *config, enum redrive_action action, const char *sink, const char *seqs,
              const char *reason, bool all, bool dry_run)
{
    struct redrive_request request;
    struct buf answer = BUF_INIT;
    struct err e = ERR_INIT;
    int code;
    if (redrive_choose(action, sink, seqs, reason, all, &request, &e) != 0)
        return cli_fail(&e);
    request.dry_run = dry_run;
    if (ask_daemon(config, &request, seqs, all, &code) == 0)
        return cli_finish_output(code);
    snprintf(request.by, sizeof request.by, "uid %ld, daemon down", (long)getuid());
    code = change_store(config, &request, &answer, &e) == 0 ? EXIT_OK : cli_fail(&e);
    if (code == EXIT_OK)
        fwrite(answer.data, 1, answer.len, stdout);
    buf_release(&answer);
    return code == EXIT_OK ? cli_finish_output(EXIT_OK) : code;
}
