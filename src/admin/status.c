#include "admin/status.h"

#include "admin/snapshot.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/text.h"

#include <unistd.h>

/* Texts from outside, cut to a size, may end within a character: JSON takes UTF-8 alone. */
static json_t *text_or_null(const char *text)
{
    if (!text)
        return json_null();
    if (text_is_utf8(span_of_str(text)))
        return json_string(text);
    char *ascii = xstrdup(text);
    for (char *p = ascii; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    json_t *value = json_string(ascii);
    free(ascii);
    return value;
}

static json_t *time_or_null(int64_t ms)
{
    char text[25];
    if (ms <= 0)
        return json_null();
    clock_format_ms(ms, text);
    return json_string(text);
}

static json_t *hex_or_null(const uint8_t *p, uint32_t n)
{
    char hex[2 * EVENT_MAX_REPLAY_ID + 1];
    if (n == 0)
        return json_null();
    hex_encode(span_of(p, n), hex);
    return json_string(hex);
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *seconds_or_null(int64_t ms)
{
    return ms < 0 ? json_null() : json_integer(ms / 1000);
}

static json_t *managed_json(const struct snapshot_subscription *sub)
{
    const struct managed_view *m = &sub->view.managed;
    if (!sub->config->managed)
        return json_null();
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(sub->config->managed));
    json_object_set_new(o, "acknowledged_replay_id",
                        hex_or_null(sub->record.acknowledged, sub->record.acknowledged_len));
    json_object_set_new(o, "acknowledged_at", time_or_null(sub->record.acknowledged_ms));
    json_object_set_new(o, "commits_accepted", number(m->accepted));
    json_object_set_new(o, "commits_refused", number(m->refused));
    json_object_set_new(o, "commit_error", text_or_null(m->trouble[0] ? m->trouble : NULL));
    json_object_set_new(o, "reading_beside", json_boolean(m->beside));
    json_object_set_new(o, "brings", text_or_null(m->brings[0] ? m->brings : NULL));
    return o;
}

static json_t *subscription_json(const struct snapshot *s, const struct snapshot_subscription *sub)
{
    const struct subscription_record *r = &sub->record;
    const struct source_view *v = &sub->view;
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(sub->config->name));
    json_object_set_new(o, "org", json_string(sub->org));
    json_object_set_new(o, "topic", text_or_null(sub->config->topic));
    json_object_set_new(o, "state", json_string(source_state_name(v->state)));
    json_object_set_new(o, "reason", text_or_null(v->reason));
    json_object_set_new(o, "generation", number(r->generation));
    json_object_set_new(o, "replay_id", hex_or_null(r->resume, r->resume_len));
    json_object_set_new(o, "position_age_s", seconds_or_null(snapshot_position_age_ms(s, sub)));
    json_object_set_new(o, "last_response_at", time_or_null(snapshot_last_response_ms(sub)));
    json_object_set_new(o, "received", number(r->received));
    json_object_set_new(o, "duplicates", number(r->duplicates));
    json_object_set_new(o, "before_start", number(r->before_start));
    json_object_set_new(o, "journaled", number(r->journaled));
    json_object_set_new(o, "since", time_or_null(v->since_ms));
    json_object_set_new(o, "org_id", text_or_null(r->org_id[0] ? r->org_id : NULL));
    json_object_set_new(o, "reconnects", number(v->reconnects));
    json_object_set_new(o, "managed", managed_json(sub));
    json_object_set_new(o, "schema_id_mismatches", number(v->schema_id_mismatches));
    return o;
}

static json_t *org_json(const struct snapshot *s, const struct snapshot_org *org)
{
    static const char *const states[] = {
        [AUTH_PENDING] = "pending", [AUTH_READY] = "ready", [AUTH_FAILING] = "failing"};
    const struct auth_view *v = &org->view.auth;
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(org->name));
    json_object_set_new(o, "state", json_string(s->running ? states[v->status] : "stopped"));
    json_object_set_new(o, "reason", text_or_null(s->running ? v->why.text : ""));
    json_object_set_new(o, "logins", number(v->logins));
    json_object_set_new(o, "next_login_at",
                        org->next_login_ms == INT64_MAX ? json_string("never")
                        : s->running                    ? time_or_null(v->next_login_ms)
                                                        : time_or_null(org->next_login_ms));
    const struct usage_view *u = &org->view.usage;
    json_object_set_new(o, "api_used", u->known ? json_integer(u->used) : json_null());
    json_object_set_new(o, "api_max", u->known ? json_integer(u->max) : json_null());
    json_object_set_new(o, "api_usage_at", time_or_null(u->at_ms));
    json_object_set_new(o, "api_usage_reason", text_or_null(u->reason));
    return o;
}

static json_t *sink_json(const struct snapshot_sink *sink)
{
    const struct sink_record *r = &sink->record;
    json_t *o = json_object();
    json_object_set_new(o, "name", text_or_null(sink->config ? sink->config->name : r->name));
    json_object_set_new(o, "kind", text_or_null(snapshot_sink_kind(sink)));
    json_object_set_new(o, "state", json_string(snapshot_sink_state(sink)));
    json_object_set_new(o, "cursor", number(r->cursor));
    json_object_set_new(o, "lag", number(sink->lag));
    json_object_set_new(o, "delivered", number(r->delivered));
    json_object_set_new(o, "superseded", number(r->superseded));
    json_object_set_new(o, "filtered", number(r->filtered));
    json_object_set_new(o, "parked", number(r->parked));
    json_object_set_new(o, "retries", number(r->retries));
    json_object_set_new(o, "redelivered", number(r->redelivered));
    json_object_set_new(o, "redriven", number(r->redriven));
    json_object_set_new(o, "redelivering", number(sink_counted(r) - r->cursor));
    json_object_set_new(o, "reason", text_or_null(sink->view.reason));
    json_object_set_new(o, "since", time_or_null(sink->view.since_ms));
    json_object_set_new(o, "base", number(r->base)); /* where its counting began: see I9 */
    json_object_set_new(o, "lag_s", seconds_or_null(sink->lag_ms));
    return o;
}

static json_t *journal_json(const struct snapshot *s)
{
    const struct journal_bounds *b = &s->bounds;
    json_t *o = json_object();
    json_object_set_new(o, "head", number(b->head));
    json_object_set_new(o, "oldest", number(b->oldest));
    json_object_set_new(o, "events", number(s->has_store ? b->head + 1 - b->oldest : 0));
    json_object_set_new(o, "bytes", json_integer(s->space.live_bytes));
    json_object_set_new(o, "commits", json_integer((json_int_t)s->space.commits));
    json_object_set_new(o, "max_bytes", json_integer(s->space.max_bytes));
    json_object_set_new(o, "store", text_or_null(s->store_path));
    json_object_set_new(o, "exists", json_boolean(s->has_store));
    json_object_set_new(o, "file_bytes", json_integer(s->space.file_bytes));
    json_object_set_new(o, "free_bytes", json_integer(s->space.free_bytes));
    return o;
}

static json_t *dead_letters_json(const struct snapshot *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_dead_letters; i++) {
        const struct snapshot_dead_letters *group = &s->dead_letters[i];
        json_t *o = json_object();
        json_object_set_new(o, "sink", text_or_null(group->sink));
        json_object_set_new(o, "status", json_string(dead_letter_status_name(group->status)));
        json_object_set_new(o, "reason", text_or_null(group->reason));
        json_object_set_new(o, "count", number(group->count));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *incidents_json(const struct snapshot *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_incidents; i++) {
        const struct incident *incident = &s->incidents[i];
        json_t *o = json_object();
        json_object_set_new(o, "id", number(incident->number));
        json_object_set_new(o, "subscription", text_or_null(incident->subject));
        json_object_set_new(o, "kind", text_or_null(incident->kind));
        json_object_set_new(o, "old_replay_id",
                            hex_or_null(incident->old_replay_id, incident->old_replay_id_len));
        json_object_set_new(o, "since", time_or_null(incident->since_ms));
        json_object_set_new(o, "until", time_or_null(incident->until_ms));
        json_object_set_new(o, "policy", text_or_null(incident->policy));
        json_object_set_new(o, "state", json_string(incident_state_name(incident->state)));
        json_object_set_new(o, "opened_at", time_or_null(incident->opened_ms));
        json_object_set_new(o, "text", text_or_null(incident->text));
        json_array_append_new(list, o);
    }
    return list;
}

json_t *status_from_snapshot(const struct snapshot *s)
{
    json_t *status = json_object(), *daemon = json_object();
    json_t *orgs = json_array(), *subscriptions = json_array(), *sinks = json_array();
    json_object_set_new(status, "version", json_string(TIDEMARK_VERSION));
    json_object_set_new(daemon, "running", json_boolean(s->running));
    json_object_set_new(daemon, "pid", s->running ? json_integer(getpid()) : json_null());
    if (s->running) {
        json_object_set_new(daemon, "reload_success", json_boolean(!s->reload.failed));
        json_object_set_new(daemon, "reloaded_at", time_or_null(s->reload.at_ms));
        json_object_set_new(daemon, "reload_reason", text_or_null(s->reload.why));
    }
    json_object_set_new(status, "daemon", daemon);
    for (size_t i = 0; s->has_store && i < s->n_orgs; i++)
        json_array_append_new(orgs, org_json(s, &s->orgs[i]));
    for (size_t i = 0; s->has_store && i < s->n_subscriptions; i++)
        json_array_append_new(subscriptions, subscription_json(s, &s->subscriptions[i]));
    json_object_set_new(status, "subscriptions", subscriptions);
    json_object_set_new(status, "journal", journal_json(s));
    for (size_t i = 0; s->has_store && i < s->n_sinks; i++)
        json_array_append_new(sinks, sink_json(&s->sinks[i]));
    json_object_set_new(status, "sinks", sinks);
    json_object_set_new(status, "dead_letters", dead_letters_json(s));
    json_object_set_new(status, "incidents", incidents_json(s));
    json_object_set_new(status, "orgs", orgs);
    return status;
}

json_t *status_json(const struct daemon_parts *parts, struct err *e)
{
    struct snapshot s;
    json_t *status = snapshot_take(parts, &s, e) == 0 ? status_from_snapshot(&s) : NULL;
    snapshot_release(&s);
    return status;
}
