#include "sim/managed_stream.h"

#include "base/digest.h"
#include "sim/subscribe.h"
#include "sim/wire.h"

#include <proto/pubsub_api.pb-c.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the first request ---------------------------------------------------------------------------- */

static struct managed *find(struct sim *s, struct call *c, const Eventbus__V1__ManagedFetchRequest *request,
                            struct failure *f)
{
    const char *id = request->subscription_id, *name = request->developer_name;
    if (!*id == !*name) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "managed.subscription.id.or.developer.name.empty", c,
                    "Exactly one of subscription_id and developer_name is required.");
        return NULL;
    }
    if (*id && strlen(id) != 15 && strlen(id) != 18) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "managed.subscription.subscription.id.invalid", c,
                    "The subscription ID has 15 or 18 characters.");
        return NULL;
    }
    struct managed *m = *id ? managed_find_id(&s->managed, id) : managed_find(&s->managed, name);
    if (!m)
        failure_set(f, GRPC_STATUS_NOT_FOUND,
                    *id ? "managed.subscription.subscription.id.not.found"
                        : "managed.subscription.developer.name.not.found",
                    c, "The managed subscription %.80s doesn't exist, or isn't known to the service yet.",
                    *id ? id : name);
    return m;
}

static int check_usable(const struct managed *m, struct call *c, int64_t now_ms, struct failure *f)
{
    if (m->stopped)
        failure_set(f, GRPC_STATUS_FAILED_PRECONDITION, "managed.subscription.config.stopped", c,
                    "The managed subscription %.80s is in the state STOP.", m->name);
    else if (m->taken || m->holder || now_ms < m->free_at_ms)
        failure_set(
            f, GRPC_STATUS_ALREADY_EXISTS, "managed.subscription.already.active", c,
            "An active managed subscription with the same ID already exists. If a previous subscription "
            "with the same ID was stopped, there can be a delay before it expires. Try subscribing "
            "again later.");
    else if (m->topic->denied)
        failure_set(f, GRPC_STATUS_PERMISSION_DENIED, "subscription.topic.cannot.subscribe", c,
                    "You don't have permission to subscribe to the topic %.100s.", m->topic->name);
    else
        return 0;
    return -1;
}

/* After what is committed; else where the configuration says. */
static const char *set_start(struct sim *s, struct call *c, const struct managed *m)
{
    uint8_t id[WIRE_REPLAY_ID_MAX];
    bool earliest = m->starts_earliest;
    if (m->has_position) {
        replay_id_write(m->committed, s->bus.replay_id_bytes, id);
        if (bus_locate(&s->bus, span_of(id, s->bus.replay_id_bytes), &c->at) == 0)
            return "what is committed";
        earliest = m->recovers_earliest;
    }
    c->at = earliest ? s->bus.first : s->bus.next;
    return earliest ? "EARLIEST" : "LATEST";
}

static int ask(struct call *c, int32_t n, bool has_commit, int64_t now_ms, struct failure *f)
{
    if (n < 0) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "managed.subscription.fetch.request.events.invalid", c,
                    "The number of requested events must not be negative; it is %d.", n);
        return -1;
    }
    if (n == 0 && !has_commit) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "managed.subscription.fetch.request.invalid", c,
                    "The request asks for nothing.");
        return -1;
    }
    if (n == 0)
        return 0;
    if (c->flow.pending == 0)
        c->last_response_ms = now_ms;
    return flow_request(&c->flow, n);
}

static int first_request(struct sim *s, struct call *c, const Eventbus__V1__ManagedFetchRequest *request,
                         int64_t now_ms)
{
    struct failure f;
    if (!stream_begin(s, c, now_ms))
        return 0;
    struct managed *m = find(s, c, request, &f);
    if (!m || check_usable(m, c, now_ms, &f) < 0) {
        stream_end(c, &f);
        return -1;
    }
    if (request->commit_replay_id_request) {
        failure_set(&f, GRPC_STATUS_INVALID_ARGUMENT,
                    "managed.subscription.fetch.request.commit.request.restricted", c,
                    "The first request can't contain a commit.");
        stream_end(c, &f);
        return -1;
    }
    if (ask(c, request->num_requested, false, now_ms, &f) < 0) {
        stream_end(c, &f);
        return -1;
    }
    c->topic = m->topic;
    c->managed = m;
    m->holder = c;
    m->streams++;
    const char *from = set_start(s, c, m);
    log_info("stream", "%llu opens on %s, managed as %s, from %s", (unsigned long long)c->number,
             c->topic->name, m->name, from);
    c->active = true;
    c->commit.last_ms = now_ms;
    c->has_fault = faults_take(&s->faults, CALL_MANAGED, c->topic->name, &c->fault);
    s->subscribed = true;
    return 0;
}

/* --- commits -------------------------------------------------------------------------------------- */

static void take_commit(struct sim *s, struct call *c, const Eventbus__V1__CommitReplayRequest *commit,
                        int64_t now_ms)
{
    snprintf(c->commit.request_id, sizeof c->commit.request_id, "%s", commit->commit_request_id);
    c->commit.id_len = commit->replay_id.len <= sizeof c->commit.id ? commit->replay_id.len : 0;
    if (c->commit.id_len)
        memcpy(c->commit.id, commit->replay_id.data, c->commit.id_len);
    if (!c->commit.waits)
        c->commit.due_ms = now_ms + s->options->managed_commit_delay_ms;
    c->commit.waits = true;
}

/* NULL: committed. */
static const char *commit(struct sim *s, struct call *c)
{
    struct managed *m = c->managed;
    struct span id = span_of(c->commit.id, c->commit.id_len);
    uint64_t counter, at = c->at, behind;
    if (m->refuse_next) {
        m->refuse_next--;
        return "The commit failed for an internal reason.";
    }
    if (replay_id_read(id, &counter) < 0 || bus_locate(&s->bus, id, &behind) < 0)
        return "The Replay ID isn't valid, or is out of retention.";
    if (m->has_position && counter < m->committed)
        return "The Replay ID is older than the committed one.";
    const struct bus_event *undelivered = bus_seek(&s->bus, c->topic, &at);
    if (undelivered && undelivered->counter <= counter)
        return "An event up to this Replay ID wasn't delivered yet.";
    m->has_position = true;
    m->committed = counter;
    return NULL;
}

static void answer_commits(struct sim *s, struct call *c, int64_t now_ms)
{
    Eventbus__V1__ManagedFetchResponse response = EVENTBUS__V1__MANAGED_FETCH_RESPONSE__INIT;
    Eventbus__V1__CommitReplayResponse answer = EVENTBUS__V1__COMMIT_REPLAY_RESPONSE__INIT;
    Eventbus__V1__Error error = EVENTBUS__V1__ERROR__INIT;
    const char *why = commit(s, c);
    struct buf out = BUF_INIT;
    char text[120];
    answer.commit_request_id = c->commit.request_id;
    answer.replay_id = (ProtobufCBinaryData){c->commit.id_len, c->commit.id};
    answer.process_time = now_ms;
    if (why) {
        snprintf(text, sizeof text, "%s", why);
        error.code = EVENTBUS__V1__ERROR_CODE__COMMIT;
        error.msg = text;
        answer.error = &error;
        c->managed->refused++;
        log_info("stream", "%llu: commit refused: %s", (unsigned long long)c->number, why);
    } else {
        c->managed->commits++;
        c->commit.last_ms = now_ms;
    }
    response.commit_response = &answer;
    response.rpc_id = c->rpc_id;
    response.pending_num_requested = c->flow.pending;
    size_t n = eventbus__v1__managed_fetch_response__get_packed_size(&response);
    eventbus__v1__managed_fetch_response__pack(&response, (uint8_t *)buf_reserve(&out, n));
    out.len = n;
    c->commit.waits = false;
    call_write(c, &out);
}

/* --- turns ---------------------------------------------------------------------------------------- */

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

int64_t managed_advance(struct sim *s, struct call *c, int64_t now_ms)
{
    struct failure f;
    if (!c->active || c->ending || c->sending || c->fails)
        return -1;
    if (c->managed->stopped) {
        check_usable(c->managed, c, now_ms, &f);
        stream_end(c, &f);
        return -1;
    }
    if (c->commit.waits && c->commit.due_ms <= now_ms) {
        answer_commits(s, c, now_ms);
        return -1;
    }
    int64_t deadline_ms = c->commit.last_ms + s->options->managed_deadline_ms - now_ms;
    if (deadline_ms <= 0) {
        f = (struct failure){.status = GRPC_STATUS_DEADLINE_EXCEEDED, .code = NULL};
        snprintf(
            f.text, sizeof f.text,
            "No CommitReplayRequests sent in the last %lld seconds. Closing managed subscription. rpcId: %s",
            (long long)(s->options->managed_deadline_ms / 1000), c->rpc_id);
        stream_end(c, &f);
        return -1;
    }
    int64_t left = subscribe_advance(s, c, now_ms);
    if (c->ending || c->sending)
        return -1;
    left = sooner(left, deadline_ms);
    return c->commit.waits ? sooner(left, c->commit.due_ms - now_ms) : left;
}

void managed_over(struct sim *s, struct call *c, int64_t now_ms)
{
    if (!c->managed || c->managed->holder != c)
        return;
    c->managed->holder = NULL;
    c->managed->free_at_ms = now_ms + s->options->managed_release_ms;
}

/* --- a request ------------------------------------------------------------------------------------ */

static int handle(struct sim *s, struct call *c, const Eventbus__V1__ManagedFetchRequest *request,
                  int64_t now_ms)
{
    struct failure f;
    const Eventbus__V1__CommitReplayRequest *wanted = request->commit_replay_id_request;
    if (!c->number)
        return first_request(s, c, request, now_ms);
    if (!c->active) /* a refusal is on its way */
        return 0;
    if (ask(c, request->num_requested, wanted != NULL, now_ms, &f) < 0) {
        stream_end(c, &f);
        return -1;
    }
    if (wanted)
        take_commit(s, c, wanted, now_ms);
    return 0;
}

void managed_request(struct sim *s, struct call *c, int64_t now_ms)
{
    if (!c->received) {
        c->half_closed = true;
        managed_advance(s, c, now_ms);
        return;
    }
    struct buf bytes = BUF_INIT;
    call_message(c, &bytes);
    Eventbus__V1__ManagedFetchRequest *request = eventbus__v1__managed_fetch_request__unpack(NULL, bytes.len,
                                                                                             bytes.data);
    buf_release(&bytes);
    int rc = -1;
    if (!c->ending && !c->fails)
        rc = request ? handle(s, c, request, now_ms)
                     : stream_malformed(c, "managed.subscription.fetch.request.invalid");
    if (request)
        eventbus__v1__managed_fetch_request__free_unpacked(request, NULL);
    if (rc < 0)
        return;
    managed_advance(s, c, now_ms);
    if (!c->ending)
        call_read(c);
}
