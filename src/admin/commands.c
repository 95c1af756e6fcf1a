#include "admin/commands.h"

#include "base/log.h"
#include "base/text.h"
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

static int replay(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer, struct err *e)
{
    struct replay_request order;
    uint32_t index = 0;
    bool was_int;
    if (find_subscription(parts->config, request->argument(request->ctx, "subscription"), &index, e) != 0 ||
        replay_parse(request->argument(request->ctx, "from"), &order, &was_int, e) != 0)
        return -1;
    order.dry_run = request->argument(request->ctx, "dry_run")[0] != '\0';
    snprintf(order.by, sizeof order.by, "%s", request->by);
    int result = intake_replay(parts->intake, index, &order, answer, e);
    if (result == REPLAY_ORDERED)
        buf_add_str(answer, "stored; the daemon reads again from there now\n");
    return result < 0 ? -1 : 0;
}

static int close_incident(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer,
                          struct err *e)
{
    struct store_txn txn;
    int64_t number;
    const char *id = request->argument(request->ctx, "id");
    if (text_parse_int(id, 1, INT64_MAX, &number) != 0)
        return err_set(e, ERR_CONFIG, "admin", 0, "id is the number of an incident, not '%s'", id);
    if (store_begin(parts->store, true, &txn, e) != 0)
        return -1;
    if (incident_order_close(&txn, (uint64_t)number, request->by, request->argument(request->ctx, "note"), answer, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    log_info("incidents", "incident %" PRId64 " closed by %s", number, request->by);
    return 0;
}

static const struct {
    const char *path;
    int (*run)(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer, struct err *e);
} commands[] = {{"/replay", replay}, {"/incidents/close", close_incident}};

bool command_exists(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].path, path) == 0)
            return true;
    return false;
}

int command_run(const struct daemon_parts *parts, const struct command_request *request, struct buf *answer, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].path, request->path) == 0)
            return commands[i].run(parts, request, answer, e);
    BUG("command %s", request->path);
}
