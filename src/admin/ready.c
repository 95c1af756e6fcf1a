#include "admin/ready.h"

#include "admin/status.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

static const char unanswered[] = "the service has not answered since the stream was opened";

static void explain(struct buf *why, const char *what, const char *name, const char *state, int64_t since_ms,
                    const char *reason)
{
    if (!why)
        return;
    buf_addf(why, "%s %s: %s", what, name, state);
    if (since_ms) {
        char since[25];
        clock_format_ms(since_ms, since);
        buf_addf(why, " since %s", since);
    }
    buf_addf(why, "%s%s\n", *reason ? ": " : "", reason);
}

bool ready_subscription(const struct snapshot *s, const struct snapshot_subscription *sub, struct buf *why)
{
    const struct source_view *v = &sub->view;
    bool open = v->state == SOURCE_CATCHING_UP || v->state == SOURCE_LIVE;
    const char *reason = v->reason;
    char text[sizeof unanswered + sizeof v->trouble + 20];
    if (open && v->last_contact_mono_ms && s->mono_ms - v->last_contact_mono_ms <= sub->config->watchdog_ms)
        return true;
    if (open && *reason) {
        /* It is heard, but waits for what its events need, a schema: that is the cause. */
    } else if (open && v->last_contact_mono_ms) {
        reason = "no sign of life from the service within the watchdog time";
    } else if (open) { /* a retry is under way: the cause is what ended the stream before */
        snprintf(text, sizeof text, "%s%s%s", unanswered, v->trouble[0] ? "; before that: " : "", v->trouble);
        reason = text;
    }
    explain(why, "subscription", sub->config->name, source_state_name(v->state), v->since_ms, reason);
    return false;
}

bool ready_sink(const struct snapshot *s, const struct snapshot_sink *sink, struct buf *why)
{
    const struct delivery_view *v = &sink->view;
    if (!sink->config)
        return true; /* retired: holds nothing back */
    bool moving = sink->lag == 0 || s->mono_ms - v->last_progress_mono_ms <= READY_SINK_PROGRESS_MS;
    if (v->state == DELIVERY_RUNNING && moving)
        return true;
    struct buf reason = BUF_INIT;
    buf_add_str(&reason, v->reason);
    if (v->state == DELIVERY_RUNNING)
        buf_addf(&reason, "%" PRIu64 " events wait, and nothing was settled for %" PRId64 " s", sink->lag,
                 (s->mono_ms - v->last_progress_mono_ms) / 1000);
    explain(why, "sink", sink->config->name, delivery_state_name(v->state), v->since_ms,
            reason.len ? (const char *)reason.data : "");
    buf_release(&reason);
    return false;
}

bool ready_all(const struct snapshot *s, struct buf *why)
{
    bool ready = true;
    for (size_t i = 0; i < s->n_subscriptions; i++)
        ready &= ready_subscription(s, &s->subscriptions[i], why);
    for (size_t i = 0; i < s->n_sinks; i++)
        ready &= ready_sink(s, &s->sinks[i], why);
    return ready;
}

bool status_ready(const struct daemon_parts *parts, struct buf *why)
{
    struct snapshot s;
    struct err e = ERR_INIT;
    bool ready = false;
    if (snapshot_take(parts, &s, &e) == 0)
        ready = ready_all(&s, why);
    else
        buf_addf(why, "%s\n", e.text);
    snapshot_release(&s);
    return ready;
}
