#include "delivery/batch.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "store/dead_letters.h"
#include "store/journal.h"

#include <inttypes.h>
#include <stdio.h>

enum { BATCH_MOST_BYTES = 4 << 20, PARKS_LOGGED = 5 };

void batch_init(struct batch *b, const struct delivery_options *options)
{
    *b = (struct batch){.options = options,
                        .arena = ARENA_INIT,
                        .most_events = (size_t)options->sink->batch_events,
                        .most_bytes = BATCH_MOST_BYTES};
    snprintf(b->subject, sizeof b->subject, "sink %s", options->sink->name);
}

void batch_release(struct batch *b)
{
    for (size_t i = 0; i < b->n_subscriptions; i++)
        free(b->subscriptions[i]);
    free(b->subscriptions);
    arena_release(&b->arena);
}

/* A sink that names all subscriptions wants events of those that left the configuration, too. */
static bool wants(const struct delivery_options *o, const struct subscription_record *r)
{
    if (o->sink->n_subscriptions == o->config->n_subscriptions)
        return true;
    for (uint32_t i = 0; i < o->sink->n_subscriptions; i++)
        if (strcmp(o->config->subscriptions[o->sink->subscriptions[i]].name, r->name) == 0)
            return true;
    return false;
}

static int subscription_of(struct batch *b, struct store_txn *txn, uint32_t number,
                           struct subscription_info **out, struct err *e)
{
    for (size_t i = 0; i < b->n_subscriptions; i++)
        if (b->subscriptions[i]->number == number) {
            *out = b->subscriptions[i];
            return 0;
        }
    struct subscription_info *info = xcalloc(1, sizeof *info);
    int rc = subscription_get(txn, number, &info->record, e);
    if (rc != 0) {
        free(info);
        return rc < 0 ? -1
                      : err_set(e, ERR_STORE, "delivery", 0,
                                "store %s is damaged: the journal names subscription %u, which has no record",
                                store_folder(txn->st), number);
    }
    info->number = number;
    info->source = (struct line_source){span_of_str(info->record.org_id), span_of_str(info->record.topic)};
    info->wanted = wants(b->options, &info->record);
    b->subscriptions = xrealloc(b->subscriptions, (b->n_subscriptions + 1) * sizeof *b->subscriptions);
    b->subscriptions[b->n_subscriptions++] = info;
    *out = info;
    return 0;
}

int batch_subscriptions(struct batch *b, struct store_txn *txn, struct subscription_info ***infos,
                        struct err *e)
{
    int rc = 0;
    *infos = arena_alloc(&b->arena, (b->n_events + 1) * sizeof **infos);
    for (size_t i = 0; rc == 0 && i < b->n_events; i++)
        if (i && b->events[i].subscription == b->events[i - 1].subscription)
            (*infos)[i] = (*infos)[i - 1];
        else
            rc = subscription_of(b, txn, b->events[i].subscription, &(*infos)[i], e);
    return rc;
}

static int read_events(struct batch *b, uint64_t from, struct subscription_info ***infos, struct err *e)
{
    struct store_txn txn;
    if (store_begin(b->options->store, false, &txn, e) != 0)
        return -1;
    int rc = journal_read(&txn, from, b->most_events, b->most_bytes, &b->arena, &b->events, &b->n_events, e);
    if (rc == 0)
        rc = batch_subscriptions(b, &txn, infos, e);
    store_abort(&txn);
    return rc;
}

static const struct avro_plan *plan_of(struct batch *b, struct subscription_info *info, struct span schema_id,
                                       struct err *e)
{
    if (info->plan && span_equal_str(schema_id, info->plan_id))
        return info->plan;
    const struct avro_plan *plan = schema_cache_get(b->options->schemas, info->source.org_id, schema_id, e);
    if (plan) {
        info->plan = plan;
        snprintf(info->plan_id, sizeof info->plan_id, "%.*s", SPAN_ARG(schema_id));
    }
    return plan;
}

/* 0: *ch is filled; 1: to be parked for this reason, why says more; -1: the store failed. */
static int decode(struct batch *b, struct subscription_info *info, const struct event_data *ev,
                  struct change *ch, const char **reason, struct err *why)
{
    *reason = "undecodable";
    const struct avro_plan *plan = plan_of(b, info, ev->schema_id, why);
    if (!plan && why->class == ERR_STORE)
        return -1;
    if (!plan) {
        if (why->class != ERR_REJECTED) { /* not held: intake gave up asking for it */
            *reason = "schema refused";
            err_set(why, ERR_REJECTED, "avro", 0, "the service refused its schema for good");
        }
        return 1;
    }
    return avro_decode(plan, ev->payload, &b->arena, ch, why) == 0 ? 0 : 1;
}

static void add_detail(const struct subscription_info *info, const struct event_data *ev,
                       const struct err *why, struct buf *detail)
{
    buf_addf(detail, "event %.*s of %s, schema %.*s: %s", SPAN_ARG(ev->event_id), info->record.topic,
             SPAN_ARG(ev->schema_id), why->text);
}

static int park(struct batch *b, struct store_txn *txn, const struct subscription_info *info,
                const struct event_data *ev, const char *reason, const struct err *why, struct err *e)
{
    struct buf detail = BUF_INIT;
    add_detail(info, ev, why, &detail);
    struct dead_letter d = {.sink = span_of_str(b->options->sink->name),
                            .status = DEAD_LETTER_FINAL,
                            .parked_ms = clock_wall_ms(),
                            .reason = span_of_str(reason),
                            .detail = buf_span(&detail),
                            .ev = *ev};
    int rc = dead_letter_put(txn, &d, e);
    if (rc == 0 && b->n_parked < PARKS_LOGGED)
        log_warn(b->subject, "parked seq %" PRIu64 ", %s: %s", ev->seq, reason, (char *)detail.data);
    else if (rc == 0 && b->n_parked == PARKS_LOGGED)
        log_warn(b->subject, "more of this batch is parked: see 'tidemark dlq list'");
    buf_release(&detail);
    return rc;
}

/* Decode the batch; what does not decode goes through `txn`, begun at the first of them. txn NULL: 1, there is some. */
static int decode_all(struct batch *b, struct subscription_info **infos, struct store_txn *txn, bool *parking,
                      struct err *e)
{
    b->fates = arena_alloc(&b->arena, b->n_events * sizeof *b->fates);
    b->deliveries = arena_alloc(&b->arena, b->n_events * sizeof *b->deliveries);
    struct change *changes = arena_alloc(&b->arena, b->n_events * sizeof *changes);
    for (size_t i = 0; i < b->n_events; i++) {
        const struct event_data *ev = &b->events[i];
        struct err why = ERR_INIT;
        const char *reason;
        if (!infos[i]->wanted) {
            b->fates[i] = FATE_FILTERED;
            b->n_filtered++;
            continue;
        }
        int rc = decode(b, infos[i], ev, &changes[i], &reason, &why);
        if (rc < 0) {
            *e = why;
            return -1;
        }
        if (rc == 0) {
            b->fates[i] = FATE_DELIVER;
            b->deliveries[b->n_deliveries++] = (struct delivery){
                .ev = ev, .ch = &changes[i], .source = &infos[i]->source, .outcome = SINK_UNREPORTED};
            continue;
        }
        if (!txn)
            return 1;
        b->fates[i] = FATE_PARKED;
        if (ev->seq <= b->parked_through)
            continue;
        if (!*parking && store_begin(b->options->store, true, txn, e) != 0)
            return -1;
        *parking = true;
        if (park(b, txn, infos[i], ev, reason, &why, e) != 0)
            return -1;
        b->n_parked++;
    }
    return 0;
}

void batch_clear(struct batch *b)
{
    arena_reset(&b->arena);
    b->n_events = b->n_deliveries = b->n_parked = b->n_filtered = 0;
    b->late = NULL;
}

int batch_decode_late(struct batch *b, struct subscription_info **infos, struct err *e)
{
    b->fates = arena_alloc(&b->arena, (b->n_events + 1) * sizeof *b->fates);
    b->deliveries = arena_alloc(&b->arena, (b->n_events + 1) * sizeof *b->deliveries);
    struct change *changes = arena_alloc(&b->arena, (b->n_events + 1) * sizeof *changes);
    for (size_t i = 0; i < b->n_events; i++) {
        const struct event_data *ev = &b->events[i];
        struct err why = ERR_INIT;
        const char *reason = "not subscribed";
        int rc = 1;
        if (infos[i]->wanted)
            rc = decode(b, infos[i], ev, &changes[i], &reason, &why);
        else
            err_set(&why, ERR_REJECTED, "delivery", 0, "the sink does not take the subscription any more");
        if (rc < 0) {
            *e = why;
            return -1;
        }
        b->fates[i] = rc == 0 ? FATE_DELIVER : FATE_PARKED;
        if (rc == 0) {
            b->deliveries[b->n_deliveries++] = (struct delivery){.ev = ev,
                                                                 .ch = &changes[i],
                                                                 .source = &infos[i]->source,
                                                                 .line_flags = LINE_LATE,
                                                                 .only = b->late[i].record_id,
                                                                 .outcome = SINK_UNREPORTED};
            continue;
        }
        struct buf detail = BUF_INIT;
        add_detail(infos[i], ev, &why, &detail);
        b->late[i].reason = reason;
        b->late[i].detail = arena_strndup(&b->arena, detail.data, detail.len);
        buf_release(&detail);
    }
    return 0;
}

int batch_read(struct batch *b, uint64_t from, struct err *e)
{
    struct subscription_info **infos;
    struct store_txn txn;
    bool parking = false;
    batch_clear(b);
    if (read_events(b, from, &infos, e) != 0)
        return -1;
    int rc = decode_all(b, infos, &txn, &parking, e);
    if (!parking)
        return rc;
    if (rc != 0) {
        store_abort(&txn);
        return rc;
    }
    KILLPOINT("delivery.before_park");
    if (store_commit(&txn, e) != 0)
        return -1;
    b->parked_through = b->events[b->n_events - 1].seq;
    return 0;
}

void batch_read_ahead(struct batch *b, uint64_t from)
{
    struct subscription_info **infos;
    struct err e = ERR_INIT;
    batch_clear(b);
    if (read_events(b, from, &infos, &e) != 0 || decode_all(b, infos, NULL, NULL, &e) != 0)
        b->n_events = 0;
}

void batch_cut(struct batch *b, size_t n)
{
    for (; b->n_events > n; b->n_events--) {
        const enum event_fate fate = b->fates[b->n_events - 1];
        b->n_deliveries -= fate == FATE_DELIVER;
        b->n_filtered -= fate == FATE_FILTERED;
    }
}
