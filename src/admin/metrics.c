/*
 * Metrics: one function per family or group of families. What is unknown has no sample: an absent series can
 * be alerted on, an invented zero cannot.
 */
#include "admin/metrics.h"

#include "admin/ready.h"

#include <inttypes.h>
#include <stdio.h>

enum { SOURCE_RETENTION_MS = 72 * 3600 * 1000 }; /* for how long the service keeps events */

struct metrics {
    const struct snapshot *s;
    struct buf *out;
    bool open; /* OpenMetrics: a counter's family is named without _total */
    bool labelled;
};

const char *metrics_content_type(enum metrics_format format)
{
    return format == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                         : "text/plain; version=0.0.4; charset=utf-8";
}

static void family(struct metrics *m, const char *name, const char *type, const char *help)
{
    static const char total[] = "_total";
    int n = (int)strlen(name), suffix = (int)strlen(total);
    if (m->open && n > suffix && strcmp(name + n - suffix, total) == 0)
        n -= suffix;
    buf_addf(m->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", n, name, help, n, name, type);
}

static void label(struct metrics *m, const char *key, const char *value)
{
    buf_addf(m->out, "%c%s=\"", m->labelled ? ',' : '{', key);
    m->labelled = true;
    for (; *value; value++)
        switch (*value) {
        case '\\':
            buf_add_str(m->out, "\\\\");
            break;
        case '"':
            buf_add_str(m->out, "\\\"");
            break;
        case '\n':
            buf_add_str(m->out, "\\n");
            break;
        default:
            buf_add_char(m->out, *value);
        }
    buf_add_char(m->out, '"');
}

static void begin(struct metrics *m, const char *name)
{
    buf_add_str(m->out, name);
    m->labelled = false;
}

static void value_uint(struct metrics *m, uint64_t v)
{
    buf_addf(m->out, "%s %" PRIu64 "\n", m->labelled ? "}" : "", v);
}

static void value_seconds(struct metrics *m, int64_t ms)
{
    buf_addf(m->out, "%s %" PRId64 ".%03d\n", m->labelled ? "}" : "", ms / 1000, (int)(ms % 1000));
}

/* In thousandths. */
static void value_ratio(struct metrics *m, int64_t part, int64_t whole)
{
    buf_addf(m->out, "%s %.3f\n", m->labelled ? "}" : "", (double)part / (double)whole);
}

/* --- subscriptions -------------------------------------------------------------------------------- */

static void subscription_total(struct metrics *m, const char *name, const char *help, size_t offset)
{
    family(m, name, "counter", help);
    for (size_t i = 0; i < m->s->n_subscriptions; i++) {
        uint64_t v;
        memcpy(&v, (const char *)&m->s->subscriptions[i].record + offset, sizeof v);
        begin(m, name);
        label(m, "subscription", m->s->subscriptions[i].config->name);
        value_uint(m, v);
    }
}

static void subscription_totals(struct metrics *m)
{
#define TOTAL(name, field, help)                                                                             \
    subscription_total(m, name, help, offsetof(struct subscription_record, field))
    TOTAL("tidemark_events_received_total", received, "Events received from the service.");
    TOTAL("tidemark_events_duplicates_total", duplicates, "Events received that the store held already.");
    TOTAL("tidemark_events_before_start_total", before_start,
          "Events received that were committed before the subscription's start.");
    TOTAL("tidemark_events_journaled_total", journaled, "Events appended to the journal.");
#undef TOTAL
}

static void subscription_up(struct metrics *m)
{
    family(m, "tidemark_subscription_up", "gauge", "1 while the stream is open (catching up or live).");
    for (size_t i = 0; i < m->s->n_subscriptions; i++) {
        enum source_state state = m->s->subscriptions[i].view.state;
        begin(m, "tidemark_subscription_up");
        label(m, "subscription", m->s->subscriptions[i].config->name);
        value_uint(m, state == SOURCE_CATCHING_UP || state == SOURCE_LIVE);
    }
}

static void subscription_response(struct metrics *m)
{
    static const char name[] = "tidemark_subscription_last_response_timestamp_seconds";
    family(m, name, "gauge", "When the last response came, Unix time.");
    for (size_t i = 0; i < m->s->n_subscriptions; i++) {
        int64_t ms = snapshot_last_response_ms(&m->s->subscriptions[i]);
        if (ms <= 0)
            continue;
        begin(m, name);
        label(m, "subscription", m->s->subscriptions[i].config->name);
        value_seconds(m, ms);
    }
}

static void position_age(struct metrics *m, const char *name, const char *help, bool expires)
{
    family(m, name, "gauge", help);
    for (size_t i = 0; i < m->s->n_subscriptions; i++) {
        int64_t age = snapshot_position_age_ms(m->s, &m->s->subscriptions[i]);
        if (age < 0)
            continue;
        begin(m, name);
        label(m, "subscription", m->s->subscriptions[i].config->name);
        value_seconds(m, !expires ? age : age < SOURCE_RETENTION_MS ? SOURCE_RETENTION_MS - age : 0);
    }
}

static void reconnects(struct metrics *m)
{
    static const char *const reasons[] = {
        [PUBSUB_RECONNECT] = "dropped",
        [PUBSUB_NEW_TOKEN] = "token",
        [PUBSUB_LOST_POSITION] = "lost_position",
        [PUBSUB_SLOW_DOWN] = "limit",
        [PUBSUB_FATAL] = "refused",
        [PUBSUB_CALM] = "pings",
    };
    family(m, "tidemark_reconnects_total", "counter", "Streams that ended since the daemon started.");
    for (size_t i = 0; i < m->s->n_subscriptions; i++)
        for (size_t k = 0; k < ARRAY_LEN(reasons); k++) {
            begin(m, "tidemark_reconnects_total");
            label(m, "subscription", m->s->subscriptions[i].config->name);
            label(m, "reason", reasons[k]);
            value_uint(m, m->s->subscriptions[i].view.reconnects_by[k]);
        }
}

static void managed_commits(struct metrics *m)
{
    static const char name[] = "tidemark_managed_commits_total";
    family(m, name, "counter", "Positions committed to the service since the daemon started, by its answer.");
    for (size_t i = 0; i < m->s->n_subscriptions; i++) {
        const struct snapshot_subscription *sub = &m->s->subscriptions[i];
        for (int refused = 0; sub->config->managed && refused < 2; refused++) {
            begin(m, name);
            label(m, "subscription", sub->config->name);
            label(m, "outcome", refused ? "refused" : "accepted");
            value_uint(m, refused ? sub->view.managed.refused : sub->view.managed.accepted);
        }
    }
}

/* Views are per subscription, tokens per org: the first subscription of each org speaks for it. */
static bool first_of_org(const struct snapshot *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(s->subscriptions[k].org, s->subscriptions[i].org) == 0)
            return false;
    return true;
}

static void orgs(struct metrics *m)
{
    static const char refreshes[] = "tidemark_token_refreshes_total",
                      mismatches[] = "tidemark_schema_id_mismatches_total",
                      usage[] = "tidemark_api_usage_ratio";
    family(m, refreshes, "counter", "Logins that gave a token since the daemon started.");
    for (size_t i = 0; i < m->s->n_subscriptions; i++)
        if (first_of_org(m->s, i)) {
            begin(m, refreshes);
            label(m, "org", m->s->subscriptions[i].org);
            value_uint(m, m->s->subscriptions[i].view.token_refreshes);
        }
    family(m, mismatches, "counter",
           "Schemas since the daemon started that came under another id than was asked for.");
    for (size_t i = 0; i < m->s->n_subscriptions; i++)
        if (first_of_org(m->s, i)) {
            begin(m, mismatches);
            label(m, "org", m->s->subscriptions[i].org);
            value_uint(m, m->s->subscriptions[i].view.schema_id_mismatches);
        }
    family(m, usage, "gauge", "Share of the API calls of 24 hours that the org has used, by everybody.");
    for (size_t i = 0; i < m->s->n_orgs; i++)
        if (m->s->orgs[i].view.usage.known) {
            begin(m, usage);
            label(m, "org", m->s->orgs[i].name);
            value_ratio(m, m->s->orgs[i].view.usage.used, m->s->orgs[i].view.usage.max);
        }
}

/* --- journal -------------------------------------------------------------------------------------- */

static void gauge(struct metrics *m, const char *name, const char *help, uint64_t v)
{
    family(m, name, "gauge", help);
    begin(m, name);
    value_uint(m, v);
}

static void journal(struct metrics *m)
{
    gauge(m, "tidemark_journal_head_seq", "Sequence number of the newest event journaled.",
          m->s->bounds.head);
    gauge(m, "tidemark_journal_oldest_seq", "Sequence number of the oldest event held.", m->s->bounds.oldest);
    gauge(m, "tidemark_journal_bytes", "Bytes of the store in use.", (uint64_t)m->s->space.live_bytes);
    gauge(m, "tidemark_journal_max_bytes", "store.max_size.", (uint64_t)m->s->space.max_bytes);
}

/* --- sinks ---------------------------------------------------------------------------------------- */

static void begin_sink(struct metrics *m, const char *name, const struct snapshot_sink *sink)
{
    begin(m, name);
    label(m, "sink", sink->config->name);
}

/* A retired sink holds nothing back and is nobody's alarm. */
#define EACH_SINK(m, sink)                                                                                   \
    for (const struct snapshot_sink *sink = (m)->s->sinks; sink < (m)->s->sinks + (m)->s->n_sinks; sink++)   \
        if (sink->config)

static void sink_events(struct metrics *m)
{
    static const char name[] = "tidemark_sink_events_total";
    family(m, name, "counter", "Events settled, each by its worst outcome.");
    EACH_SINK(m, sink)
    {
        const struct sink_record *r = &sink->record;
        const struct {
            const char *outcome;
            uint64_t n;
        } outcomes[] = {{"delivered", r->delivered},
                        {"superseded", r->superseded},
                        {"filtered", r->filtered},
                        {"parked", r->parked}};
        for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
            begin_sink(m, name, sink);
            label(m, "outcome", outcomes[i].outcome);
            value_uint(m, outcomes[i].n);
        }
    }
}

static void sink_totals(struct metrics *m)
{
    family(m, "tidemark_sink_retries_total", "counter", "Events that had to be tried again.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_retries_total", sink);
        value_uint(m, sink->record.retries);
    }
    family(m, "tidemark_sink_redelivered_total", "counter", "Events delivered again on request.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_redelivered_total", sink);
        value_uint(m, sink->record.redelivered);
    }
    family(m, "tidemark_sink_redriven_total", "counter", "Dead letters that were settled when tried again.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_redriven_total", sink);
        value_uint(m, sink->record.redriven);
    }
}

static void sink_position(struct metrics *m)
{
    family(m, "tidemark_sink_cursor_seq", "gauge", "The last sequence number settled.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_cursor_seq", sink);
        value_uint(m, sink->record.cursor);
    }
    family(m, "tidemark_sink_lag_events", "gauge", "Events journaled and not settled yet.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_lag_events", sink);
        value_uint(m, sink->lag);
    }
    family(m, "tidemark_sink_lag_seconds", "gauge",
           "For how long the oldest unsettled event has been waiting.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_lag_seconds", sink);
        value_seconds(m, sink->lag_ms);
    }
    family(m, "tidemark_sink_breaker_state", "gauge",
           "0: the target is written to, 1: it fails and is waited for.");
    EACH_SINK(m, sink)
    {
        begin_sink(m, "tidemark_sink_breaker_state", sink);
        value_uint(m, sink->view.state == DELIVERY_BACKING_OFF || sink->view.state == DELIVERY_REFUSED);
    }
}

/* As the format writes it: 0.01, 1.0. Queries compare it as text. */
static void format_bound(int64_t ms, char *out, size_t size)
{
    int n = snprintf(out, size, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
    while (out[n - 1] == '0' && out[n - 2] != '.')
        out[--n] = '\0';
}

/* Cumulated, as the format wants it. The count is the last bucket's, so that the two cannot differ. */
static void histogram(struct metrics *m, const char *name, const char *sink, const struct histogram_view *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        char bound[32] = "+Inf";
        if (i < HISTOGRAM_BOUNDS)
            format_bound(histogram_bounds_ms[i], bound, sizeof bound);
        n += h->buckets[i];
        buf_addf(m->out, "%s_bucket", name);
        begin(m, "");
        label(m, "sink", sink);
        label(m, "le", bound);
        value_uint(m, n);
    }
    buf_addf(m->out, "%s_sum", name);
    begin(m, "");
    label(m, "sink", sink);
    value_seconds(m, h->sum_ms);
    buf_addf(m->out, "%s_count", name);
    begin(m, "");
    label(m, "sink", sink);
    value_uint(m, n);
}

static void latencies(struct metrics *m)
{
    static const char delivery[] = "tidemark_delivery_seconds", commit[] = "tidemark_commit_delay_seconds";
    family(m, delivery, "histogram", "From the event's receipt to its settlement.");
    EACH_SINK(m, sink)
    histogram(m, delivery, sink->config->name, &sink->view.since_received);
    family(m, commit, "histogram", "From the commit in Salesforce to the event's delivery.");
    EACH_SINK(m, sink)
    histogram(m, commit, sink->config->name, &sink->view.since_committed);
}

static void dead_letters(struct metrics *m)
{
    static const enum dead_letter_status statuses[] = {DEAD_LETTER_RETRYING, DEAD_LETTER_FINAL};
    family(m, "tidemark_dead_letters", "gauge", "Dead letters held.");
    EACH_SINK(m, sink)
    for (size_t k = 0; k < ARRAY_LEN(statuses); k++) {
        uint64_t n = 0;
        for (size_t i = 0; i < m->s->n_dead_letters; i++)
            if (m->s->dead_letters[i].status == statuses[k] &&
                strcmp(m->s->dead_letters[i].sink, sink->config->name) == 0)
                n += m->s->dead_letters[i].count;
        begin_sink(m, "tidemark_dead_letters", sink);
        label(m, "status", dead_letter_status_name(statuses[k]));
        value_uint(m, n);
    }
}

void metrics_add(const struct snapshot *s, enum metrics_format format, struct buf *out)
{
    struct metrics m = {s, out, format == METRICS_OPENMETRICS, false};
    subscription_totals(&m);
    subscription_up(&m);
    subscription_response(&m);
    position_age(&m, "tidemark_position_age_seconds", "Age of the stored position, in source time.", false);
    position_age(&m, "tidemark_position_expires_seconds",
                 "Until the stored position falls out of the service's retention.", true);
    reconnects(&m);
    managed_commits(&m);
    orgs(&m);
    journal(&m);
    sink_events(&m);
    sink_totals(&m);
    sink_position(&m);
    latencies(&m);
    dead_letters(&m);
    gauge(&m, "tidemark_incidents_open", "Incidents that nobody has closed.", snapshot_open_incidents(s));
    gauge(&m, "tidemark_ready", "1 while /readyz says so.", ready_all(s, NULL));
    if (s->running)
        gauge(&m, "tidemark_config_reload_success", "0 while the last reload was refused.",
              !s->reload.failed);
    family(&m, "tidemark_build_info", "gauge", "Constant 1; the label says which program this is.");
    begin(&m, "tidemark_build_info");
    label(&m, "version", TIDEMARK_VERSION);
    value_uint(&m, 1);
    if (m.open)
        buf_add_str(out, "# EOF\n");
}
