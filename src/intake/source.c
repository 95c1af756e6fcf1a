#include "intake/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "intake/replay.h"
#include "store/incidents.h"
#include "store/repairs.h"

#include <grpc/status.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *source_state_name(enum source_state s)
{
    static const char *const names[] = {
        [SOURCE_CONNECTING] = "connecting",
        [SOURCE_CATCHING_UP] = "catching_up",
        [SOURCE_LIVE] = "live",
        [SOURCE_BACKING_OFF] = "backing_off",
        [SOURCE_LOST_POSITION] = "lost_position",
        [SOURCE_PAUSED_FULL] = "paused_full",
        [SOURCE_REFUSED] = "refused",
        [SOURCE_STOPPED] = "stopped",
    };
    return names[s];
}

void source_set_state(struct source *s, enum source_state state, const char *fmt, ...)
{
    char reason[sizeof s->reason];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    bool same = s->state == state && strcmp(reason, s->reason) == 0;
    if (same)
        return;
    bool bad = state == SOURCE_BACKING_OFF || state == SOURCE_REFUSED || state == SOURCE_LOST_POSITION ||
               state == SOURCE_PAUSED_FULL;
    log_line(bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, s->subject, "%s -> %s%s%s", source_state_name(s->state),
             source_state_name(state), *reason ? ": " : "", reason);
    if (s->state != state)
        s->since_ms = clock_wall_ms();
    s->state = state;
    memcpy(s->reason, reason, sizeof s->reason);
    if (state == SOURCE_BACKING_OFF || state == SOURCE_REFUSED)
        memcpy(s->trouble, reason, sizeof s->trouble);
}

/* --- what happens to an open stream --------------------------------------------------------------- */

void source_abandon(struct intake *in, struct source *s)
{
    source_close_stream(in, s);
    pthread_mutex_lock(&in->lock);
    s->shared.number = ++in->next_stream_number;
    s->shared.beside_number = 0;
    struct pubsub_response *queued = s->shared.head;
    s->shared.head = NULL;
    s->shared.tail = &s->shared.head;
    s->shared.events = s->shared.bytes = 0;
    pthread_mutex_unlock(&in->lock);
    while (queued) {
        struct pubsub_response *next = queued->next;
        pubsub_response_free(queued);
        queued = next;
    }
    pubsub_response_free(s->current);
    s->current = NULL;
    s->waiting = NULL;
    s->stream_open = s->topic_ok = false;
}

void source_distrust(struct intake *in, struct source *s, const char *why, int64_t now)
{
    source_abandon(in, s); /* what is queued behind must not move the position past this */
    source_set_state(s, SOURCE_REFUSED, "the service sent %s: what it sends cannot be kept", why);
    s->retry_at_ms = now + REFUSED_PROBE_MS / 2 + (int64_t)random_below(REFUSED_PROBE_MS);
}

int source_replay(struct intake *in, struct source *s, const struct replay_request *request,
                  struct buf *answer, struct err *e)
{
    struct store_txn txn;
    struct subscription_record record = s->record;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    int result = s->have_record ? 0 : replay_find(&txn, s->org->config->name, s->config, &record, e);
    if (result == 0)
        result = replay_order(&txn, request, &record, intake_source_now(in), answer, e);
    if (result != REPLAY_ORDERED) {
        store_abort(&txn);
        return result;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    if (s->have_record) /* else it is read with the first token of this life */
        s->record = record;
    source_abandon(in, s);
    s->attempt = 0;
    source_set_state(s, SOURCE_CONNECTING, "replay from %s, generation %u", request->text, record.generation);
    s->reason[0] = '\0';
    return result;
}

void source_close_stream(struct intake *in, struct source *s)
{
    pthread_mutex_lock(&in->lock);
    if (s->shared.stream)
        pubsub_stream_cancel(s->shared.stream);
    pthread_mutex_unlock(&in->lock);
    managed_close_beside(in, s);
}

bool source_has_work(struct intake *in, struct source *s)
{
    if (s->waiting)
        return false;
    if (s->current)
        return true;
    pthread_mutex_lock(&in->lock);
    bool queued = s->shared.head != NULL;
    pthread_mutex_unlock(&in->lock);
    return queued;
}

static bool has_queue(struct intake *in, const struct source *s)
{
    pthread_mutex_lock(&in->lock);
    bool queued = s->current || s->shared.head;
    pthread_mutex_unlock(&in->lock);
    return queued;
}

/* Full jitter: anything from nothing to the ceiling, which doubles with every failure in a row. */
int64_t org_back_off_ms(const struct org_config *org, unsigned attempt, enum pubsub_reaction reaction)
{
    int64_t ceiling = org->backoff_initial_ms;
    if (reaction == PUBSUB_SLOW_DOWN)
        return org->backoff_max_ms;
    for (unsigned i = 1; i < attempt && ceiling < org->backoff_max_ms; i++)
        ceiling *= 2;
    if (ceiling > org->backoff_max_ms)
        ceiling = org->backoff_max_ms;
    return (int64_t)random_below((uint64_t)ceiling + 1);
}

/* When to try again, after this failure. */
static void plan_retry(struct source *s, const struct pubsub_status *status, int64_t now)
{
    s->attempt++;
    s->retry_at_ms = now + org_back_off_ms(s->org->config, s->attempt, status->reaction);
    if (status->reaction == PUBSUB_CALM && s->attempt == 1)
        s->retry_at_ms = now; /* no outage; told again and again, it is one */
    if (status->reaction == PUBSUB_NEW_TOKEN)
        auth_refused(s->org->auth, s->token_serial);
}

/* The replay id a person gave is refused: the position stays what it was before. */
static int refuse_replay(struct intake *in, struct source *s, const struct pubsub_status *status,
                         struct err *e)
{
    struct incident incident = {.state = INCIDENT_OPEN, .opened_ms = clock_wall_ms()};
    snprintf(incident.subject, sizeof incident.subject, "%s", s->config->name);
    snprintf(incident.kind, sizeof incident.kind, "replay_refused");
    snprintf(incident.policy, sizeof incident.policy, "kept");
    snprintf(incident.text, sizeof incident.text, "replay from %s: %s", s->record.replaying, status->text);
    memcpy(incident.old_replay_id, s->record.resume, s->record.resume_len);
    incident.old_replay_id_len = s->record.resume_len;
    struct subscription_record next = s->record;
    replay_undo(&next);
    struct store_txn txn;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    if (incident_open(&txn, &incident, e) != 0 || subscription_put(&txn, &next, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    s->record = next;
    source_set_state(s, SOURCE_BACKING_OFF,
                     "the replay id was refused, the position stays; incident %llu: %s",
                     (unsigned long long)incident.number, status->text);
    return 0;
}

/*
 * The position means nothing any more: an incident that names the interval, a repair task for it where the
 * policy says so, and the next stream begins where the policy says. The old id is kept in the incident.
 */
int source_lose_position(struct intake *in, struct source *s, const char *why, struct err *e)
{
    static const char *const policies[] = {[LOST_REPAIR] = "repair",
                                           [LOST_EARLIEST] = "earliest",
                                           [LOST_LATEST] = "latest",
                                           [LOST_STOP] = "stop"};
    enum {
        LOOK_BACK_MS = 15 * 60 * 1000
    }; /* what was committed just before the last response may be missing, too */
    struct subscription_record next = s->record;
    struct incident incident = {
        .state = INCIDENT_OPEN, .opened_ms = clock_wall_ms(), .until_ms = intake_source_now(in)};
    if (s->record.resume_source_ms)
        incident.since_ms = s->record.resume_source_ms - LOOK_BACK_MS;
    snprintf(incident.subject, sizeof incident.subject, "%s", s->config->name);
    snprintf(incident.kind, sizeof incident.kind, "lost_position");
    snprintf(incident.policy, sizeof incident.policy, "%s", policies[s->config->on_lost_position]);
    snprintf(incident.text, sizeof incident.text, "%s", why);
    memcpy(incident.old_replay_id, s->record.resume, s->record.resume_len);
    incident.old_replay_id_len = s->record.resume_len;
    next.lost_position = true;
    next.acknowledged_len =
        0; /* it may count no more than the position does, and must not be committed again */
    if (s->config->on_lost_position == LOST_LATEST)
        next.started_source_ms = 0; /* it begins anew, and its hole with it */
    next.epoch = s->org->record.epoch;
    struct store_txn txn;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    int rc = incident_open(&txn, &incident, e);
    if (rc == 0 && s->config->on_lost_position == LOST_REPAIR) {
        struct repair task = {.incident = incident.number,
                              .subscription = s->record.number,
                              .since_ms = incident.since_ms,
                              .until_ms = incident.until_ms};
        rc = repair_add(&txn, &task, e);
    }
    if (rc != 0 || subscription_put(&txn, &next, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    s->record = next;
    source_set_state(s, SOURCE_LOST_POSITION, "incident %llu, policy %s: %s",
                     (unsigned long long)incident.number, incident.policy, why);
    return 0;
}

int source_on_end(struct intake *in, struct source *s, const struct note *note, struct err *e)
{
    const bool beside = s->managed.open && note->number == s->shared.beside_number;
    if (!s->stream_open || (note->number != s->shared.number && !beside))
        return 0;
    if (beside) {
        source_close_stream(in, s); /* one does not go on without the other */
    } else {
        managed_close_beside(in, s);
        s->stream_open = false;
    }
    s->topic_ok = false;
    if (!s->managed.ends) {
        s->reconnects++;
        s->reconnects_by[s->topic_ends ? s->ends_for : note->status.reaction]++;
    }
    s->managed.ends = beside;
    int64_t now = clock_mono_ms();
    if (s->state != SOURCE_CONNECTING && s->state != SOURCE_CATCHING_UP && s->state != SOURCE_LIVE)
        return 0; /* closed by us */
    plan_retry(s, &note->status, now);
    if (s->config->managed && !beside && managed_on_refusal(s, &note->status, now))
        return 0;
    switch (note->status.reaction) {
    case PUBSUB_CALM:
    case PUBSUB_SLOW_DOWN:
    case PUBSUB_NEW_TOKEN:
    case PUBSUB_RECONNECT:
        break;
    case PUBSUB_LOST_POSITION:
        if (s->config->managed && !beside)
            break; /* the service keeps that position, and mends it */
        if (replay_unconfirmed(&s->record))
            return refuse_replay(in, s, &note->status, e);
        if (s->record.resume_len && !s->record.lost_position)
            return source_lose_position(in, s, note->status.text, e);
        break;
    case PUBSUB_FATAL:
        source_set_state(s, SOURCE_REFUSED, "%s", note->status.text);
        s->retry_at_ms = now + REFUSED_PROBE_MS / 2 + (int64_t)random_below(REFUSED_PROBE_MS);
        return 0;
    }
    source_set_state(s, SOURCE_BACKING_OFF, "%s", note->status.text);
    return 0;
}

static void end_for(struct intake *in, struct source *s, enum pubsub_reaction reaction)
{
    s->topic_ends = true;
    s->ends_for = reaction;
    source_close_stream(in, s);
}

/* Neither GetTopic nor the stream was answered on this connection. */
static bool is_dead_line(const struct source *s, const struct pubsub_status *status)
{
    return !s->heard && status->grpc_code == GRPC_STATUS_DEADLINE_EXCEEDED;
}

void source_on_topic(struct intake *in, struct source *s, const struct note *note)
{
    if (note->number != s->shared.number || !s->stream_open)
        return;
    if (!note->failed && note->can_subscribe) {
        s->topic_ok = true;
        s->trouble[0] = '\0';
        if (!s->silent)
            s->contact_mono_ms = clock_mono_ms();
        return;
    }
    /* That topics cannot be described for a while is no reason to hold back events. */
    if (note->failed && note->status.reaction == PUBSUB_RECONNECT && !is_dead_line(s, &note->status)) {
        s->topic_ask_at_ms = clock_mono_ms() +
                             org_back_off_ms(s->org->config, ++s->topic_failures, PUBSUB_RECONNECT);
        snprintf(s->trouble, sizeof s->trouble, "GetTopic: %.380s", note->status.text);
        if (s->topic_failures == 1)
            log_warn(s->subject, "GetTopic is asked again, beside the stream: %s", note->status.text);
        return;
    }
    /* The stream itself fails for the same reasons, if slower. What only a person can mend is said now. */
    if (note->failed && note->status.reaction != PUBSUB_FATAL) {
        plan_retry(s, &note->status,
                   clock_mono_ms()); /* a bad token: the stream would say so ten seconds later */
        source_set_state(s, SOURCE_BACKING_OFF, "%s", note->status.text);
        return end_for(in, s, note->status.reaction);
    }
    if (note->failed)
        source_set_state(s, SOURCE_REFUSED, "%s", note->status.text);
    else
        source_set_state(s, SOURCE_REFUSED, "the user may not subscribe to %s: grant read access to it",
                         s->config->topic);
    s->retry_at_ms = clock_mono_ms() + REFUSED_PROBE_MS / 2 + (int64_t)random_below(REFUSED_PROBE_MS);
    end_for(in, s, PUBSUB_FATAL);
}

static void become_live(struct source *s)
{
    source_set_state(s, SOURCE_LIVE, "%s", "");
}

void source_heard(struct source *s, const struct pubsub_response *r, int64_t now)
{
    const bool aside = source_is_aside(s, r);
    if (!s->heard)
        auth_worked(s->org->auth, s->token_serial);
    s->heard = true;
    s->silent = false;
    s->trouble[0] = '\0';
    s->contact_mono_ms = now;
    if (replay_unconfirmed(&s->record) && !aside)
        replay_confirm(&s->record); /* stored with the commit of this response */
    if (source_is_beside(s, r)) {   /* says nothing about the managed stream, which may be refused yet */
        s->managed.last_response_mono_ms = now;
    } else {
        s->managed.refused_since_ms = 0;
        s->attempt = 0;
        s->last_response_mono_ms = now;
    }
    s->last_response_ms = r->received_ms;
    if (r->n_events)
        s->last_event_ms = now;
    if (r->n_events == 0 && !r->commit.is_there && !aside && s->state == SOURCE_CATCHING_UP)
        become_live(s);
}

/* A stream that brings what was committed a moment ago has caught up, however busy it is. */
static bool near_the_clock(struct intake *in, const struct source *s)
{
    enum { NEAR_MS = 10 * 1000 };
    return s->org->server_time_ms && s->newest_stamp_ms &&
           intake_source_now(in) - s->newest_stamp_ms <= NEAR_MS;
}

/* Silent: not only the stream is given up but the connection with it. */
static void give_up_stream(struct intake *in, struct source *s)
{
    pthread_mutex_lock(&in->lock);
    if (s->shared.stream)
        pubsub_stream_give_up(s->shared.stream);
    pthread_mutex_unlock(&in->lock);
    managed_close_beside(in, s);
}

/* A replay is through once it has a position to go on from. Stored with the next commit, or at the end; after a kill
 * before that it is catching up again, at worst. */
void source_finish_replay(struct source *s)
{
    if (!s->record.replaying[0] || replay_unconfirmed(&s->record) || !s->record.resume_len)
        return;
    replay_finish(&s->record);
    s->replay_through = true;
}

static void step_open(struct intake *in, struct source *s, int64_t now, int64_t *next)
{
    enum { QUIET_MS = 2000 };
    int64_t heard_ms = s->last_response_mono_ms;
    if (s->managed.open && s->managed.last_response_mono_ms < heard_ms)
        heard_ms = s->managed.last_response_mono_ms;
    int64_t silent_at = heard_ms + s->config->watchdog_ms;
    if (now >= silent_at && has_queue(in, s)) {
        s->last_response_mono_ms = s->managed.last_response_mono_ms =
            now; /* not silent: what it sent waits for a schema */
    } else if (now >= silent_at) {
        s->silent = true;
        s->attempt++;
        s->retry_at_ms = now + org_back_off_ms(s->org->config, s->attempt, PUBSUB_RECONNECT);
        source_set_state(s, SOURCE_BACKING_OFF, "no response for %lld s: the connection is given up",
                         (long long)(s->config->watchdog_ms / 1000));
        give_up_stream(in, s);
        return;
    } else if (silent_at < *next) {
        *next = silent_at;
    }
    if (s->topic_ask_at_ms && now >= s->topic_ask_at_ms)
        source_ask_topic(s, now);
    if (s->topic_ask_at_ms && s->topic_ask_at_ms < *next)
        *next = s->topic_ask_at_ms;
    const bool whole = !s->config->managed || s->managed.whole;
    if (s->state == SOURCE_CATCHING_UP && s->topic_ok && s->heard && whole && !s->waiting &&
        near_the_clock(in, s)) {
        become_live(s);
    } else if (s->state == SOURCE_CATCHING_UP && s->topic_ok && (whole || s->managed.open) &&
               !has_queue(in, s)) {
        if (now - s->last_event_ms >= QUIET_MS)
            become_live(s);
        else if (s->last_event_ms + QUIET_MS < *next)
            *next = s->last_event_ms + QUIET_MS;
    }
    if (s->state == SOURCE_LIVE && whole)
        source_finish_replay(s);
}

/* What was received goes in first, in order. All may go in during this very turn: then nothing wakes us. */
static bool must_drain(struct intake *in, const struct source *s, int64_t now, int64_t *next)
{
    bool queued = has_queue(in, s);
    if (queued && !s->stream_open && !s->waiting)
        *next = now;
    return queued || s->stream_open;
}

int source_step(struct intake *in, struct source *s, int64_t now, int64_t *next, struct err *e)
{
    if (in->full) {
        if (s->state != SOURCE_PAUSED_FULL) {
            source_set_state(s, SOURCE_PAUSED_FULL, "%s", in->full_why);
            source_close_stream(in, s);
        }
        return 0;
    }
    switch (s->state) {
    case SOURCE_PAUSED_FULL:
    case SOURCE_LOST_POSITION:
        if (s->state == SOURCE_LOST_POSITION && s->config->on_lost_position == LOST_STOP)
            return 0;
        if (must_drain(in, s, now, next))
            return 0;
        source_set_state(s, SOURCE_CONNECTING, "%s", "");
        return source_connect(in, s, now, e);
    case SOURCE_BACKING_OFF:
    case SOURCE_REFUSED:
        if (must_drain(in, s, now, next))
            return 0;
        if (now < s->retry_at_ms) {
            if (s->retry_at_ms < *next)
                *next = s->retry_at_ms;
            return 0;
        }
        return source_connect(in, s, now, e);
    case SOURCE_CONNECTING:
        return source_connect(in, s, now, e);
    case SOURCE_CATCHING_UP:
    case SOURCE_LIVE:
        step_open(in, s, now, next);
        if (s->config->managed && (s->state == SOURCE_CATCHING_UP || s->state == SOURCE_LIVE))
            return managed_step(in, s, now, next, e);
        return 0;
    case SOURCE_STOPPED:
        return 0;
    }
    return 0;
}
