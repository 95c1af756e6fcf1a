/*
 * Sink records against the configuration, once at start, in one transaction.
 */
#include "delivery/delivery.h"

#include "base/log.h"
#include "store/journal.h"
#include "store/sinks.h"

#include <inttypes.h>
#include <stdio.h>

static const struct sink_config *configured(const struct config *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_sinks; i++)
        if (strcmp(c->sinks[i].name, name) == 0)
            return &c->sinks[i];
    return NULL;
}

/* A new sink: from the oldest event held, or from now on. */
static int create(struct store_txn *txn, const struct sink_config *sink, const struct journal_bounds *bounds, struct err *e)
{
    struct sink_record r = {.state = BUF_INIT};
    if (sink->renamed_from) {
        int rc = sink_record_get(txn, sink->renamed_from, &r, e);
        if (rc < 0)
            return -1;
        if (rc == 1)
            return err_set(e, ERR_CONFIG, "delivery", 0, "sink %s: renamed_from names '%s', which the store does not know",
                           sink->name, sink->renamed_from);
        log_info("delivery", "sink %s carries on for %s from seq %" PRIu64, sink->name, sink->renamed_from, r.cursor);
        if (sink_record_delete(txn, sink->renamed_from, e) < 0) {
            sink_record_release(&r);
            return -1;
        }
    } else {
        r.cursor = r.base = sink->start == SINK_START_NOW ? bounds->head : bounds->oldest - 1;
    }
    snprintf(r.name, sizeof r.name, "%s", sink->name);
    int rc = sink_record_put(txn, &r, e);
    sink_record_release(&r);
    return rc;
}

/* A sink that was away while the journal moved on: say what it missed, keep the sums true (I9). */
static void skip_gap(struct sink_record *r, const struct journal_bounds *bounds)
{
    if (r->cursor + 1 >= bounds->oldest)
        return;
    uint64_t missed = bounds->oldest - 1 - r->cursor, counted = sink_counted(r);
    log_error("delivery", "sink %s was away while %" PRIu64 " events (seq %" PRIu64 " to %" PRIu64
              ") left the journal: it goes on at seq %" PRIu64, r->name, missed, r->cursor + 1, bounds->oldest - 1, bounds->oldest);
    r->cursor += missed;
    if (r->cursor > counted)
        r->base += r->cursor - counted;
}

static int adopt(struct store_txn *txn, const struct sink_config *sink, const struct journal_bounds *bounds, struct err *e)
{
    struct sink_record r;
    int rc = sink_record_get(txn, sink->name, &r, e);
    if (rc == 1)
        return create(txn, sink, bounds, e);
    if (rc < 0)
        return -1;
    r.retired = false;
    skip_gap(&r, bounds);
    rc = sink_record_put(txn, &r, e);
    sink_record_release(&r);
    return rc;
}

struct retire {
    const struct config *config;
    char names[64][STORE_MAX_NAME + 1];
    size_t n;
};

static int find_retired(void *ctx, const struct sink_record *r)
{
    struct retire *walk = ctx;
    if (!r->retired && !configured(walk->config, r->name) && walk->n < ARRAY_LEN(walk->names))
        snprintf(walk->names[walk->n++], sizeof walk->names[0], "%s", r->name);
    return 0;
}

static int retire_missing(struct store_txn *txn, const struct config *config, struct err *e)
{
    struct retire walk = {.config = config};
    if (sink_record_each(txn, find_retired, &walk, e) != 0)
        return -1;
    for (size_t i = 0; i < walk.n; i++) {
        struct sink_record r;
        if (sink_record_get(txn, walk.names[i], &r, e) != 0)
            return -1;
        r.retired = true;
        log_warn("delivery", "sink %s left the configuration: its cursor is kept, it holds nothing back", r.name);
        int rc = sink_record_put(txn, &r, e);
        sink_record_release(&r);
        if (rc != 0)
            return -1;
    }
    return 0;
}

int delivery_register(struct store *st, const struct config *config, struct err *e)
{
    struct store_txn txn;
    struct journal_bounds bounds;
    if (store_begin(st, true, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, &bounds, e);
    for (uint32_t i = 0; rc == 0 && i < config->n_sinks; i++)
        rc = adopt(&txn, &config->sinks[i], &bounds, e);
    if (rc == 0)
        rc = retire_missing(&txn, config, e);
    if (rc != 0) {
        store_abort(&txn);
        return -1;
    }
    return store_commit(&txn, e);
}
