#include "admin/commands.h"

#include "base/log.h"
#include "base/text.h"
#include "delivery/redrive.h"
#include "store/incidents.h"

#include <inttypes.h>
#include <stdio.h>

static int find_subscription(const struct config *c, const char *name, uint32_t *index, struct err *e)
{
    for (uint32_t i = 0; i < c->n_subscriptions; i++)
        if (strcmp(c->subscriptions[i].name, name) == 0) {
            *index = i;
            return 0;
        }
    return err_set(e, ERR_CONFIG, "admin", 0, "no subscription '%s' in the configuration", name);
}

int command_parse_redelivery(const char *from, struct redeliver_request *out, bool *was_int, struct err *e)
{
    struct replay_request r;
    if (replay_parse(from, &r, was_int, e) != 0)
        return -1;
    if (r.from == REPLAY_FROM_LATEST)
        return err_set(e, ERR_CONFIG, "replay", 0,
                       "--from latest delivers nothing again: earliest, a replay id or a time");
    *out = (struct redeliver_request){.id_len = r.id_len, .time_ms = r.time_ms};
    out->from = r.from == REPLAY_FROM_ID     ? REDELIVER_FROM_ID
                : r.from == REPLAY_FROM_TIME ? REDELIVER_FROM_TIME
                                             : REDELIVER_FROM_EARLIEST;
    memcpy(out->id, r.id, r.id_len);
    memcpy(out->text, r.text, sizeof out->text);
    return 0;
}

static int redeliver(const struct daemon_parts *parts, const struct command_request *request,
                     const char *name, struct buf *answer, struct err *e)
{
    struct redeliver_request order;
    bool was_int;
    uint32_t i = 0;
    while (i < parts->config->n_sinks && strcmp(parts->config->sinks[i].name, name) != 0)
        i++;
    if (i == parts->config->n_sinks)
        return err_set(e, ERR_CONFIG, "admin", 0, "no sink '%s' in the configuration", name);
    if (command_parse_redelivery(request->argument(request->ctx, "from"), &order, &was_int, e) != 0)
        return -1;
    order.dry_run = request->argument(request->ctx, "dry_run")[0] != '\0';
    snprintf(order.by, sizeof order.by, "%s", request->by);
    int result = delivery_redeliver(parts->deliveries[i], &order, answer, e);
    if (result == REDELIVER_ORDERED)
        buf_add_str(answer, "stored; the daemon delivers them again now\n");
    return result < 0 ? -1 : 0;
}

static int replay(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer,
                  struct err *e)
{
    struct replay_request order;
    uint32_t index = 0;
    bool was_int;
    const char *sink = request->argument(request->ctx, "sink");
    if (*sink)
        return redeliver(parts, request, sink, answer, e);
    if (find_subscription(parts->config, request->argument(request->ctx, "subscription"), &index, e) != 0 ||
        replay_parse(request->argument(request->ctx, "from"), &order, &was_int, e) != 0)
        return -1;
    order.dry_run = request->argument(request->ctx, "dry_run")[0] != '\0';
    snprintf(order.by, sizeof order.by, "%s", request->by);
    int result = intake_replay(parts->intake, index, &order, answer, e);
    if (result == REPLAY_ORDERED)
        buf_add_str(answer, "stored; the daemon reads again from there as soon as it has a stream\n");
    return result < 0 ? -1 : 0;
}

static int close_incident(const struct daemon_parts *parts, const struct command_request *request,
                          struct buf *answer, struct err *e)
{
    struct store_txn txn;
    int64_t number;
    const char *id = request->argument(request->ctx, "id");
    if (text_parse_int(id, 1, INT64_MAX, &number) != 0)
        return err_set(e, ERR_CONFIG, "admin", 0, "id is the number of an incident, not '%s'", id);
    if (store_begin(parts->store, true, &txn, e) != 0)
        return -1;
    if (incident_order_close(&txn, (uint64_t)number, request->by, request->argument(request->ctx, "note"),
                             answer, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    log_info("incidents", "incident %" PRId64 " closed by %s", number, request->by);
    return 0;
}

static int redrive(const struct daemon_parts *parts, const struct command_request *request,
                   enum redrive_action action, struct buf *answer, struct err *e)
{
    struct redrive_request order;
    const bool all = request->argument(request->ctx, "all")[0] != '\0';
    if (redrive_choose(action, request->argument(request->ctx, "sink"),
                       request->argument(request->ctx, "seq"), request->argument(request->ctx, "reason"), all,
                       &order, e) != 0)
        return -1;
    order.dry_run = request->argument(request->ctx, "dry_run")[0] != '\0';
    snprintf(order.by, sizeof order.by, "%s", request->by);
    if (redrive_order(parts->store, parts->config, &order, answer, e) != 0)
        return -1;
    for (uint32_t i = 0; action == REDRIVE_RETRY && !order.dry_run && i < parts->config->n_sinks; i++)
        if (!*order.sink || strcmp(order.sink, parts->config->sinks[i].name) == 0)
            delivery_redrive(parts->deliveries[i]);
    if (action == REDRIVE_RETRY && !order.dry_run)
        buf_add_str(answer, "stored; the daemon tries them now: 'tidemark dlq list' shows what is left\n");
    return 0;
}

static int retry_letters(const struct daemon_parts *parts, const struct command_request *request,
                         struct buf *answer, struct err *e)
{
    return redrive(parts, request, REDRIVE_RETRY, answer, e);
}

static int drop_letters(const struct daemon_parts *parts, const struct command_request *request,
                        struct buf *answer, struct err *e)
{
    return redrive(parts, request, REDRIVE_DROP, answer, e);
}

/* Answers with the number of logins that have ended before, so that whoever asks can tell this one's end. */
static int login(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer,
                 struct err *e)
{
    const char *name = request->argument(request->ctx, "org");
    struct org_view before;
    uint32_t i = 0;
    while (i < parts->config->n_orgs && strcmp(parts->config->orgs[i].name, name) != 0)
        i++;
    if (i == parts->config->n_orgs)
        return err_set(e, ERR_CONFIG, "admin", 0, "no org '%s' in the configuration", name);
    intake_describe_org(parts->intake, i, &before);
    log_info("auth", "org %s: a login now, ordered by %s", name, request->by);
    intake_login(parts->intake, i);
    buf_addf(answer, "%" PRIu64 "\n", before.auth.logins);
    return 0;
}

static const struct {
    const char *path;
    int (*run)(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer,
               struct err *e);
} commands[] = {{"/replay", replay},
                {"/login", login},
                {"/incidents/close", close_incident},
                {"/dlq/retry", retry_letters},
                {"/dlq/drop", drop_letters}};

bool command_exists(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].path, path) == 0)
            return true;
    return false;
}

int command_run(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer,
                struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].path, request->path) == 0)
            return commands[i].run(parts, request, answer, e);
    BUG("command %s", request->path);
}
