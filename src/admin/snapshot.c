#include "admin/snapshot.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "store/logins.h"

#include <stdio.h>

/* --- how the loops stand -------------------------------------------------------------------------- */

static void describe_loops(const struct daemon_parts *parts, struct snapshot *s)
{
    const struct config *c = parts->config;
    s->n_subscriptions = c->n_subscriptions;
    s->subscriptions = xcalloc(s->n_subscriptions + 1, sizeof *s->subscriptions);
    for (uint32_t i = 0; i < c->n_subscriptions; i++) {
        struct snapshot_subscription *sub = &s->subscriptions[i];
        sub->config = &c->subscriptions[i];
        sub->org = c->orgs[sub->config->org].name;
        sub->view.state = SOURCE_STOPPED;
        if (parts->intake)
            intake_describe(parts->intake, i, &sub->view);
    }
    s->n_orgs = c->n_orgs;
    s->orgs = xcalloc(s->n_orgs + 1, sizeof *s->orgs);
    for (uint32_t i = 0; i < c->n_orgs; i++) {
        s->orgs[i].name = c->orgs[i].name;
        if (parts->intake)
            intake_describe_org(parts->intake, i, &s->orgs[i].view);
    }
    s->n_sinks = c->n_sinks;
    s->sinks = xcalloc(s->n_sinks + 1, sizeof *s->sinks);
    for (uint32_t i = 0; i < c->n_sinks; i++) {
        s->sinks[i].config = &c->sinks[i];
        s->sinks[i].view.state = DELIVERY_STOPPED;
        if (parts->deliveries)
            delivery_describe(parts->deliveries[i], &s->sinks[i].view);
    }
    s->source_ms = parts->intake ? intake_source_time_ms(parts->intake) : 0;
}

/* --- the store ------------------------------------------------------------------------------------ */

static int read_subscriptions(struct store_txn *txn, struct snapshot *s, struct err *e)
{
    for (size_t i = 0; i < s->n_subscriptions; i++) {
        struct snapshot_subscription *sub = &s->subscriptions[i];
        struct org_record org;
        int rc = org_get(txn, sub->org, &org, e);
        if (rc == 0)
            rc = subscription_find(txn, org.org_id, sub->config->topic, sub->config->name, &sub->record, e);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int read_orgs(struct store_txn *txn, struct snapshot *s, struct err *e)
{
    for (size_t i = 0; i < s->n_orgs; i++) {
        struct login_record r;
        int rc = login_record_get(txn, s->orgs[i].name, &r, e);
        if (rc < 0)
            return -1;
        s->orgs[i].next_login_ms = rc == 0 ? r.next_login_ms : 0;
    }
    return 0;
}

static struct snapshot_sink *sink_of(struct snapshot *s, const char *name)
{
    for (size_t i = 0; i < s->n_sinks; i++)
        if (s->sinks[i].config && strcmp(s->sinks[i].config->name, name) == 0)
            return &s->sinks[i];
    s->sinks = xrealloc(s->sinks, (s->n_sinks + 1) * sizeof *s->sinks);
    struct snapshot_sink *sink = &s->sinks[s->n_sinks++];
    *sink = (struct snapshot_sink){.view = {.state = DELIVERY_STOPPED}};
    return sink;
}

static int add_sink(void *ctx, const struct sink_record *record)
{
    struct snapshot_sink *sink = sink_of(ctx, record->name);
    sink->record = *record;
    sink->record.state = (struct buf)BUF_INIT; /* the sink's own business */
    return 0;
}

/* For how long the oldest event that this sink has not settled has been waiting. */
static int read_lag(struct store_txn *txn, struct snapshot *s, struct snapshot_sink *sink, struct err *e)
{
    if (!sink->record.name[0]) /* not begun: what it will be given */
        sink->record.cursor = sink->record.base = sink->config->start == SINK_START_NOW
                                                      ? s->bounds.head
                                                      : s->bounds.oldest - 1;
    const uint64_t cursor = sink_counted(&sink->record);
    sink->lag = s->bounds.head > cursor ? s->bounds.head - cursor : 0;
    if (sink->lag == 0 || cursor + 1 < s->bounds.oldest)
        return 0;
    struct arena a = ARENA_INIT;
    struct event_data *events;
    size_t n;
    int rc = journal_read(txn, cursor + 1, 1, 1, &a, &events, &n, e);
    if (rc == 0 && n && s->wall_ms > events[0].received_ms)
        sink->lag_ms = s->wall_ms - events[0].received_ms;
    arena_release(&a);
    return rc;
}

static int read_sinks(struct store_txn *txn, struct snapshot *s, struct err *e)
{
    if (sink_record_each(txn, add_sink, s, e) != 0)
        return -1;
    for (size_t i = 0; i < s->n_sinks; i++)
        if (read_lag(txn, s, &s->sinks[i], e) != 0)
            return -1;
    return 0;
}

static bool same_group(const struct snapshot_dead_letters *group, const struct dead_letter *d)
{
    size_t n = d->reason.n < sizeof group->reason ? d->reason.n : sizeof group->reason - 1;
    return group->status == d->status && span_equal_str(d->sink, group->sink) &&
           span_equal_str(span_of(d->reason.p, n), group->reason);
}

static int count_dead_letter(void *ctx, const struct dead_letter *d)
{
    struct snapshot *s = ctx;
    for (size_t i = s->n_dead_letters; i-- > 0;)
        if (same_group(&s->dead_letters[i], d)) {
            s->dead_letters[i].count++;
            return 0;
        }
    s->dead_letters = xrealloc(s->dead_letters, (s->n_dead_letters + 1) * sizeof *s->dead_letters);
    struct snapshot_dead_letters *group = &s->dead_letters[s->n_dead_letters++];
    *group = (struct snapshot_dead_letters){.status = d->status, .count = 1};
    snprintf(group->sink, sizeof group->sink, "%.*s", SPAN_ARG(d->sink));
    snprintf(group->reason, sizeof group->reason, "%.*s", SPAN_ARG(d->reason));
    return 0;
}

static int add_incident(void *ctx, const struct incident *incident)
{
    struct snapshot *s = ctx;
    s->incidents = xrealloc(s->incidents, (s->n_incidents + 1) * sizeof *s->incidents);
    s->incidents[s->n_incidents++] = *incident;
    return 0;
}

static int read_store(struct store *st, struct snapshot *s, struct err *e)
{
    struct store_txn txn;
    if (store_space(st, &s->space, e) != 0 || store_begin(st, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, &s->bounds, e);
    if (rc == 0)
        rc = read_orgs(&txn, s, e);
    if (rc == 0)
        rc = read_subscriptions(&txn, s, e);
    if (rc == 0)
        rc = read_sinks(&txn, s, e);
    if (rc == 0)
        rc = dead_letter_each(&txn, NULL, count_dead_letter, s, e);
    if (rc == 0)
        rc = incident_each(&txn, add_incident, s, e);
    store_abort(&txn);
    return rc == 0 ? 0 : -1;
}

int snapshot_take(const struct daemon_parts *parts, struct snapshot *out, struct err *e)
{
    *out = (struct snapshot){.store_path = parts->config->store.path,
                             .running = parts->intake != NULL,
                             .has_store = parts->store != NULL,
                             .reload = parts->reload,
                             .wall_ms = clock_wall_ms(),
                             .mono_ms = clock_mono_ms(),
                             .space = {.max_bytes = parts->config->store.max_size}};
    describe_loops(parts, out);
    return parts->store ? read_store(parts->store, out, e) : 0;
}

void snapshot_release(struct snapshot *s)
{
    free(s->orgs);
    free(s->subscriptions);
    free(s->sinks);
    free(s->dead_letters);
    free(s->incidents);
    *s = (struct snapshot){0};
}

/* --- what follows from it ------------------------------------------------------------------------- */

int64_t snapshot_position_age_ms(const struct snapshot *s, const struct snapshot_subscription *sub)
{
    if (!s->source_ms || !sub->record.resume_len || !sub->record.resume_source_ms)
        return -1;
    int64_t age = s->source_ms - sub->record.resume_source_ms;
    return age > 0 ? age : 0;
}

int64_t snapshot_last_response_ms(const struct snapshot_subscription *sub)
{
    return sub->view.last_response_ms > sub->record.last_response_ms ? sub->view.last_response_ms
                                                                     : sub->record.last_response_ms;
}

uint64_t snapshot_open_incidents(const struct snapshot *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->n_incidents; i++)
        n += s->incidents[i].state == INCIDENT_OPEN;
    return n;
}

const char *snapshot_sink_kind(const struct snapshot_sink *sink)
{
    return sink->config ? sink_kind_name(sink->config->kind) : NULL;
}

const char *snapshot_sink_state(const struct snapshot_sink *sink)
{
    return sink->config ? delivery_state_name(sink->view.state) : "retired";
}
