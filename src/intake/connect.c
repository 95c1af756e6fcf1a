/*
 * From a token to an open stream: the records of org and subscription, where the stream begins, and what the I/O
 * thread then hands over.
 */
#include "intake/source.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOPIC_TIMEOUT_MS = 30000 };

/* --- the I/O thread's side ------------------------------------------------------------------------ */

static void on_response(void *ctx, struct pubsub_stream *stream, struct pubsub_response *r)
{
    struct source *s = ctx;
    struct intake *in = s->org->intake;
    pthread_mutex_lock(&in->lock);
    uint64_t number = pubsub_stream_number(stream);
    if (number != s->shared.number &&
        number != s->shared.beside_number) { /* of a stream before the current one */
        pthread_mutex_unlock(&in->lock);
        pubsub_response_free(r);
        return;
    }
    r->next = NULL;
    r->stream = number;
    *s->shared.tail = r;
    s->shared.tail = &r->next;
    s->shared.events += r->n_events;
    s->shared.bytes += response_cost(r);
    if (!s->shared.paused && (s->shared.events >= QUEUE_MOST_EVENTS || s->shared.bytes >= QUEUE_MOST_BYTES)) {
        s->shared.paused = true;
        if (s->shared.stream)
            pubsub_stream_pause(s->shared.stream);
        if (s->shared.beside)
            pubsub_stream_pause(s->shared.beside);
    }
    bool asleep = !in->woken;
    in->woken = true;
    pthread_mutex_unlock(&in->lock);
    if (asleep)
        pthread_cond_signal(&in->wake);
}

static void on_end(void *ctx, struct pubsub_stream *stream, const struct pubsub_status *status)
{
    struct source *s = ctx;
    struct note *note = xcalloc(1, sizeof *note);
    note->kind = NOTE_END;
    note->source = s;
    note->number = pubsub_stream_number(stream);
    note->status = *status;
    pthread_mutex_lock(&s->org->intake->lock);
    if (note->number > s->shared.ended_number) /* one that was abandoned may end after its successor */
        s->shared.ended_number = note->number;
    if (s->shared.stream == stream)
        s->shared.stream = NULL;
    if (s->shared.beside == stream)
        s->shared.beside = NULL;
    pthread_mutex_unlock(&s->org->intake->lock);
    intake_post(s->org->intake, note);
}

static const struct pubsub_listener listener = {on_response, on_end};

struct topic_call {
    struct source *source;
    uint64_t number;
};

static void on_topic(void *ctx, const struct pubsub_status *failed, const struct pubsub_topic *topic)
{
    struct topic_call *call = ctx;
    struct note *note = xcalloc(1, sizeof *note);
    note->kind = NOTE_TOPIC;
    note->source = call->source;
    note->number = call->number;
    note->failed = failed != NULL;
    if (failed)
        note->status = *failed;
    else
        note->can_subscribe = topic->can_subscribe;
    intake_post(call->source->org->intake, note);
    free(call);
}

/* --- opening -------------------------------------------------------------------------------------- */

/* The store's record of this subscription, and of its org; made at the first login. */
static int load_record(struct intake *in, struct source *s, const struct auth_token *token, struct err *e)
{
    struct org_run *org = s->org;
    struct store_txn txn;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    struct org_record stored = {0};
    int rc = org_get(&txn, org->config->name, &stored, e);
    if (rc == 1) {
        snprintf(stored.org_id, sizeof stored.org_id, "%s", token->tenant_id);
        snprintf(stored.instance_url, sizeof stored.instance_url, "%s", token->instance_url);
        rc = org_put(&txn, org->config->name, &stored, e);
    }
    if (rc == 0) {
        org->record = stored;
        org->known = true;
        if (strcmp(stored.org_id, token->tenant_id) == 0) {
            rc = subscription_find(&txn, stored.org_id, s->config->topic, s->config->name, &s->record, e);
            if (rc == 1) {
                s->record = (struct subscription_record){0};
                memcpy(s->record.org_id, stored.org_id, sizeof s->record.org_id);
                snprintf(s->record.topic, sizeof s->record.topic, "%s", s->config->topic);
                snprintf(s->record.name, sizeof s->record.name, "%s", s->config->name);
                if (s->config->start == START_REPLAY_ID) {
                    memcpy(s->record.resume, s->config->start_replay_id, s->config->start_replay_id_len);
                    s->record.resume_len = s->config->start_replay_id_len;
                    s->record.resume_source_ms = intake_source_now(in);
                }
                s->record.epoch = stored.epoch;
                rc = subscription_create(&txn, &s->record, e);
            }
            s->have_record = rc == 0;
        }
    }
    if (rc != 0) {
        store_abort(&txn);
        return -1;
    }
    return store_commit(&txn, e);
}

/* Another instance is another database: commit numbers and replay ids begin anew. The epoch tells them apart.
 */
static int note_instance(struct intake *in, struct org_run *org, const char *instance_url, struct err *e)
{
    struct org_record next = org->record;
    struct store_txn txn;
    snprintf(next.instance_url, sizeof next.instance_url, "%s", instance_url);
    if (strcmp(next.instance_url, org->record.instance_url) == 0) /* as far as it is kept */
        return 0;
    next.epoch++;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    if (org_put(&txn, org->config->name, &next, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    log_warn("intake", "org %s: the instance changed from %s to %s (epoch %u)", org->config->name,
             org->record.instance_url, next.instance_url, next.epoch);
    org->record = next;
    return 0;
}

/* Before the first Subscribe from LATEST: the time from which on nothing may be missed. */
static int note_start(struct intake *in, struct source *s, struct err *e)
{
    struct store_txn txn;
    (void)intake_source_now(in); /* learns the Date of a login that was just made */
    int64_t login_ms = s->org->server_time_ms, since_ms = clock_mono_ms() - s->org->server_time_mono_ms;
    /* Without the server's time (a static token) nothing counts as clearly earlier. */
    s->record.started_source_ms = login_ms > START_MARGIN_MS ? login_ms + since_ms : 1;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    if (subscription_put(&txn, &s->record, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    return store_commit(&txn, e);
}

/* A replay counts until it has caught up, a loss until there is a position again; else the configuration. */
static bool begins_at_latest(const struct source *s)
{
    const struct subscription_record *r = &s->record;
    if (r->lost_position)
        return s->config->on_lost_position == LOST_LATEST;
    if (r->replaying[0])
        return strcmp(r->replaying, "latest") == 0;
    return s->config->start == START_LATEST || (r->resume_len && s->config->on_lost_position == LOST_LATEST);
}

/* With a position: what was older than `latest` was being passed over, and may not be through yet. A replay that has
 * caught up is behind all that. */
static bool passes_over(const struct source *s)
{
    const struct subscription_record *r = &s->record;
    return begins_at_latest(s) && r->before_start && (r->replaying[0] || r->generation == 0);
}

int source_choose_start(struct intake *in, struct source *s, enum pubsub_from *from, struct span *replay_id,
                        struct err *e)
{
    const struct subscription_record *r = &s->record;
    const bool latest = begins_at_latest(s), replay = !r->lost_position && r->replaying[0];
    bool over = false;
    *replay_id = span_of(NULL, 0);
    s->drop_before_ms = 0;
    if (!r->lost_position && r->resume_len) {
        *from = PUBSUB_CUSTOM;
        *replay_id = span_of(r->resume, r->resume_len);
        over = passes_over(s);
    } else if (latest && r->started_source_ms == 0) {
        *from = PUBSUB_LATEST;
        return note_start(in, s, e);
    } else {
        *from = PUBSUB_EARLIEST;
        over = latest || (s->config->start == START_LATEST && !replay);
    }
    s->drops_for_latest = over;
    s->drop_before_ms = over ? r->started_source_ms - START_MARGIN_MS : replay ? r->replay_from_ms : 0;
    return 0;
}

/* What the answer says belongs to this stream alone. */
static void ask_topic(struct source *s, const struct auth_token *token, uint64_t number)
{
    struct topic_call *call = xmalloc(sizeof *call);
    *call = (struct topic_call){s, number};
    s->owed++;
    s->topic_ask_at_ms = 0;
    pubsub_get_topic_async(s->org->pubsub, token, s->config->topic, TOPIC_TIMEOUT_MS, on_topic, call);
}

void source_ask_topic(struct source *s, int64_t now)
{
    struct auth_token token = {0};
    struct err why = ERR_INIT;
    if (auth_get(s->org->auth, &token, &why) == AUTH_READY) {
        ask_topic(s, &token, s->shared.number);
        auth_token_release(&token);
    } else {
        s->topic_ask_at_ms = now + org_back_off_ms(s->org->config, ++s->topic_failures, PUBSUB_RECONNECT);
    }
}

static const char *const from_names[] = {
    [PUBSUB_LATEST] = "latest", [PUBSUB_EARLIEST] = "earliest", [PUBSUB_CUSTOM] = "replay id"};

static void open_stream(struct intake *in, struct source *s, const struct auth_token *token,
                        enum pubsub_from from, struct span replay_id, int64_t now)
{
    char hex[2 * EVENT_MAX_REPLAY_ID + 1];
    hex_encode(replay_id, hex);
    uint64_t number = ++in->next_stream_number;
    s->group = (struct replay_group){0};
    s->token_serial = token->serial;
    s->stream_epoch = s->org->record.epoch;
    s->stream_open = true;
    s->topic_ok = s->topic_ends = false;
    s->heard = false;
    s->newest_stamp_ms = 0; /* how near the clock this stream is, nothing before it can tell */
    s->opened_ms = s->last_event_ms = s->last_response_mono_ms = now;
    pthread_mutex_lock(&in->lock);
    s->shared.number = number;
    s->shared.paused = false;
    pthread_mutex_unlock(&in->lock);
    s->owed++;
    if (s->config->managed)
        managed_begin(s, from == PUBSUB_LATEST);
    struct pubsub_stream *stream = s->config->managed
                                       ? pubsub_managed_subscribe(s->org->pubsub, token, s->config->managed,
                                                                  number, &listener, s)
                                       : pubsub_subscribe(s->org->pubsub, token, s->config->topic, from,
                                                          replay_id, number, &listener, s);
    pthread_mutex_lock(&in->lock);
    if (s->shared.ended_number != number)
        s->shared.stream = stream;
    pthread_mutex_unlock(&in->lock);
    s->topic_failures = 0;
    ask_topic(s, token, number);
    source_set_state(s, SOURCE_CATCHING_UP, "%s%s%sfrom %s%s%s", s->config->managed ? "managed as " : "",
                     s->config->managed ? s->config->managed : "", s->config->managed ? " " : "",
                     from_names[from], *hex ? " " : "", hex);
    s->reason[0] = '\0'; /* said in the log; in status it is no trouble */
}

void source_open_beside(struct intake *in, struct source *s, const struct auth_token *token,
                        enum pubsub_from from, struct span replay_id)
{
    char hex[2 * EVENT_MAX_REPLAY_ID + 1];
    hex_encode(replay_id, hex);
    uint64_t number = ++in->next_stream_number;
    pthread_mutex_lock(&in->lock);
    s->shared.beside_number = number;
    pthread_mutex_unlock(&in->lock);
    s->owed++;
    log_info(s->subject, "beside the managed stream, a plain one from %s%s%s, until they meet",
             from_names[from], *hex ? " " : "", hex);
    struct pubsub_stream *stream = pubsub_subscribe(s->org->pubsub, token, s->config->topic, from, replay_id,
                                                    number, &listener, s);
    pthread_mutex_lock(&in->lock);
    if (s->shared.ended_number != number) {
        s->shared.beside = stream;
        if (s->shared.paused)
            pubsub_stream_pause(stream);
    }
    pthread_mutex_unlock(&in->lock);
}

int source_connect(struct intake *in, struct source *s, int64_t now, struct err *e)
{
    struct auth_token token = {0};
    struct err why = ERR_INIT;
    switch (auth_get(s->org->auth, &token, &why)) {
    case AUTH_PENDING: /* auth wakes us; what was wrong before stays the reason */
        if (s->state == SOURCE_CONNECTING && !s->reason[0])
            snprintf(s->reason, sizeof s->reason, "logging in at %s", s->org->config->login_url);
        return 0;
    case AUTH_FAILING:
        if (why.class == ERR_AUTH || why.class == ERR_CONFIG)
            source_set_state(s, SOURCE_REFUSED, "%s", why.text);
        else
            source_set_state(s, SOURCE_BACKING_OFF, "%s", why.text);
        s->retry_at_ms = now; /* auth keeps the pauses: ask it again whenever it has changed */
        return 0;
    case AUTH_READY:
        break;
    }
    enum pubsub_from from;
    struct span replay_id;
    int rc = s->have_record ? 0 : load_record(in, s, &token, e);
    bool same_org = rc == 0 && strcmp(s->org->record.org_id, token.tenant_id) == 0;
    if (same_org)
        rc = note_instance(in, s->org, token.instance_url, e);
    if (rc == 0 && !same_org) {
        source_set_state(
            s, SOURCE_REFUSED,
            "org '%s' now logs in to %s, but the store belongs to %s: use another org name, or another store",
            s->org->config->name, token.tenant_id, s->org->record.org_id);
        s->retry_at_ms = now + REFUSED_PROBE_MS;
    } else if (rc == 0 && s->record.epoch != s->org->record.epoch && s->record.resume_len &&
               !s->record.lost_position) {
        rc = source_lose_position(in, s, "the org's instance has changed: its replay ids count anew", e);
    } else if (rc == 0 && s->record.lost_position && s->config->on_lost_position == LOST_STOP) {
        source_set_state(
            s, SOURCE_LOST_POSITION,
            "stopped by on_lost_position: see 'tidemark incidents list', then order a 'tidemark replay'");
    } else if (rc == 0 && (rc = source_choose_start(in, s, &from, &replay_id, e)) == 0) {
        open_stream(in, s, &token, from, replay_id, now);
    }
    auth_token_release(&token);
    return rc;
}
