/*
 * Sink records against the configuration, once at start, in one transaction.
 */
#include "delivery/delivery.h"

#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "store/dead_letters.h"
#include "store/incidents.h"
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

/* A sink that was away while the journal moved on: record what it missed, keep the sums true (I9). */
static int skip_gap(struct store_txn *txn, struct sink_record *r, const struct journal_bounds *bounds,
                    struct err *e)
{
    if (r->cursor + 1 >= bounds->oldest)
        return 0;
    uint64_t missed = bounds->oldest - 1 - r->cursor, counted = sink_counted(r);
    struct incident incident = {.state = INCIDENT_OPEN, .opened_ms = clock_wall_ms()};
    snprintf(incident.subject, sizeof incident.subject, "%s", r->name);
    snprintf(incident.kind, sizeof incident.kind, "sink_missed_events");
    snprintf(incident.policy, sizeof incident.policy, "went_on");
    snprintf(incident.text, sizeof incident.text,
             "sink %s was away while %" PRIu64 " events (seq %" PRIu64 " to %" PRIu64
             ") left the journal: it goes on at seq %" PRIu64,
             r->name, missed, r->cursor + 1, bounds->oldest - 1, bounds->oldest);
    log_error("delivery", "%s", incident.text);
    r->cursor += missed;
    if (r->cursor > counted)
        r->base += r->cursor - counted;
    return incident_open(txn, &incident, e);
}

/* From now on it holds the journal. Takes the record. */
static int enlist(struct store_txn *txn, struct sink_record *r, const struct journal_bounds *bounds,
                  struct err *e)
{
    r->retired = false; /* it may have been, under this name or the one before */
    int rc = skip_gap(txn, r, bounds, e);
    if (rc == 0)
        rc = sink_record_put(txn, r, e);
    sink_record_release(r);
    return rc;
}

/* A new sink: from the oldest event held, or from now on. */
static int create(struct store_txn *txn, const struct sink_config *sink, const struct journal_bounds *bounds,
                  struct err *e)
{
    struct sink_record r = {.state = BUF_INIT};
    if (sink->renamed_from) {
        int rc = sink_record_get(txn, sink->renamed_from, &r, e);
        if (rc < 0)
            return -1;
        if (rc == 1)
            return err_set(e, ERR_CONFIG, "delivery", 0,
                           "sink %s: renamed_from names '%s', which the store does not know", sink->name,
                           sink->renamed_from);
        log_info("delivery", "sink %s carries on for %s from seq %" PRIu64, sink->name, sink->renamed_from,
                 r.cursor);
        if (sink_record_delete(txn, sink->renamed_from, e) < 0) {
            sink_record_release(&r);
            return -1;
        }
        snprintf(r.name, sizeof r.name, "%s", sink->name);
        return enlist(txn, &r, bounds, e);
    }
    r.cursor = r.base = sink->start == SINK_START_NOW ? bounds->head : bounds->oldest - 1;
    snprintf(r.name, sizeof r.name, "%s", sink->name);
    return enlist(txn, &r, bounds, e);
}

/*
 * What is kept under the name before goes with the cursor. Asked at every start: stores of earlier versions have left it
 * behind. While the old name has a record, it is another's.
 */
static int take_along(struct store_txn *txn, const struct sink_config *sink, struct err *e)
{
    struct sink_record r;
    size_t letters;
    if (!sink->renamed_from)
        return 0;
    int rc = sink_record_get(txn, sink->renamed_from, &r, e);
    sink_record_release(&r);
    if (rc != 1)
        return rc;
    if (dead_letters_rename(txn, sink->renamed_from, sink->name, &letters, e) != 0 ||
        incidents_rename_sink(txn, sink->renamed_from, sink->name, e) != 0)
        return -1;
    if (letters)
        log_info("delivery", "sink %s takes over %zu dead letters of %s", sink->name, letters,
                 sink->renamed_from);
    return 0;
}

static int adopt(struct store_txn *txn, const struct sink_config *sink, const struct journal_bounds *bounds,
                 struct err *e)
{
    struct sink_record r;
    int rc = sink_record_get(txn, sink->name, &r, e);
    if (rc < 0)
        return -1;
    rc = rc == 1 ? create(txn, sink, bounds, e) : enlist(txn, &r, bounds, e);
    return rc == 0 ? take_along(txn, sink, e) : -1;
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

/* As many as one walk can name. Returns how many, or -1. */
static int retire_some(struct store_txn *txn, const struct config *config, struct err *e)
{
    struct retire walk = {.config = config};
    if (sink_record_each(txn, find_retired, &walk, e) != 0)
        return -1;
    for (size_t i = 0; i < walk.n; i++) {
        struct sink_record r;
        if (sink_record_get(txn, walk.names[i], &r, e) != 0)
            return -1;
        r.retired = true;
        log_warn("delivery", "sink %s left the configuration: its cursor is kept, it holds nothing back",
                 r.name);
        int rc = sink_record_put(txn, &r, e);
        sink_record_release(&r);
        if (rc != 0)
            return -1;
    }
    return (int)walk.n;
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
    while (rc == 0 && (rc = retire_some(&txn, config, e)) > 0)
        rc = 0;
    if (rc != 0) {
        store_abort(&txn);
        return -1;
    }
    KILLPOINT("delivery.before_register");
    rc = store_commit(&txn, e);
    KILLPOINT("delivery.after_register");
    return rc;
}
