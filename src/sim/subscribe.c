#include "sim/subscribe.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "sim/wire.h"

#include <proto/pubsub_api.pb-c.h>
#include <stdio.h>

/* --- where events come from: the bus, or a benchmark's ring --------------------------------------- */

static int feed_start(struct sim *s, struct call *c, const Eventbus__V1__FetchRequest *request)
{
    struct span id = span_of(request->replay_id.data, request->replay_id.len);
    switch (request->replay_preset) {
    case EVENTBUS__V1__REPLAY_PRESET__EARLIEST:
        c->at = s->bench ? bench_first(s->bench) : s->bus.first;
        return 0;
    case EVENTBUS__V1__REPLAY_PRESET__CUSTOM:
        return s->bench ? bench_locate(s->bench, id, &c->at) : bus_locate(&s->bus, id, &c->at);
    default:
        c->at = s->bench ? bench_head(s->bench) : s->bus.next;
        return 0;
    }
}

/* Append up to max events behind c->at; returns how many, and the replay id of the last. */
static int feed_take(struct sim *s, struct call *c, int max, struct buf *out, uint8_t *id,
                     struct span *latest)
{
    if (s->bench) {
        int n = bench_take(s->bench, &c->at, max, out);
        *latest = bench_replay_id(s->bench, c->at, id);
        return n;
    }
    int n = 0;
    const struct bus_event *ev;
    while (n < max && (ev = bus_seek(&s->bus, c->topic, &c->at))) {
        buf_add(out, ev->wire, ev->n);
        replay_id_write(ev->counter, s->bus.replay_id_bytes, id);
        *latest = span_of(id, s->bus.replay_id_bytes);
        c->at++;
        n++;
    }
    return n;
}

static bool feed_ready(struct sim *s, struct call *c)
{
    if (s->bench)
        return c->at < bench_end(s->bench);
    if (bus_seek(&s->bus, c->topic, &c->at))
        return true;
    if (s->options->rate > 0)
        return false;
    sim_publish_for(s, c->topic, c->at, (uint64_t)c->flow.pending);
    return bus_seek(&s->bus, c->topic, &c->at) != NULL;
}

static struct span feed_head(const struct sim *s, const struct call *c, uint8_t *id)
{
    return s->bench ? bench_replay_id(s->bench, c->at, id) : bus_head_replay_id(&s->bus, id);
}

/* --- what every stream does ---------------------------------------------------------------------- */

bool stream_begin(struct sim *s, struct call *c, int64_t now_ms)
{
    c->number = ++s->streams;
    c->flow.cap = (int32_t)s->options->cap;
    c->batches.state = s->options->workload.seed ^ c->number * 0x9e3779b97f4a7c15ull;
    if (call_allowed(c, &s->session, &c->failure))
        return true;
    c->fails = true;
    c->due_ms = now_ms + s->options->auth_delay_ms;
    return false;
}

void stream_end(struct call *c, const struct failure *f)
{
    log_info("stream", "%llu ends: %s", (unsigned long long)c->number, f->text);
    call_fail_after_write(c, f);
}

int stream_malformed(struct call *c, const char *code)
{
    struct failure f;
    failure_set(&f, GRPC_STATUS_INVALID_ARGUMENT, code, c, "The request is malformed.");
    stream_end(c, &f);
    return -1;
}

/* --- requests ---------------------------------------------------------------------------------- */

static const char *preset_name(Eventbus__V1__ReplayPreset preset)
{
    return preset == EVENTBUS__V1__REPLAY_PRESET__EARLIEST ? "EARLIEST"
           : preset == EVENTBUS__V1__REPLAY_PRESET__CUSTOM ? "CUSTOM"
                                                           : "LATEST";
}

static int find_topic(struct sim *s, struct call *c, const char *name, struct failure *f)
{
    struct span topic = span_of_str(name);
    if (!topic.n) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "topic.validation.empty", c,
                    "The topic name can't be blank.");
        return -1;
    }
    if (!topic_name_has_prefix(topic)) {
        failure_set(f, GRPC_STATUS_PERMISSION_DENIED, "topic.meta.permission", c,
                    "You don't have permission to access the topic %.100s.", name);
        return -1;
    }
    c->topic = topics_find(&s->topics, topic);
    if (!c->topic) {
        failure_set(f, GRPC_STATUS_NOT_FOUND, "topic.not.found", c,
                    "The topic information for org CORE/prod/%s and topic %.100s not found. Ensure the topic "
                    "name is correct "
                    "and that the topic exists.",
                    s->org.id, name);
        return -1;
    }
    if (c->topic->denied) {
        failure_set(f, GRPC_STATUS_PERMISSION_DENIED, "subscription.topic.cannot.subscribe", c,
                    "You don't have permission to subscribe to the topic %.100s.", name);
        return -1;
    }
    return 0;
}

static int begin(struct sim *s, struct call *c, const Eventbus__V1__FetchRequest *request, struct failure *f)
{
    if (find_topic(s, c, request->topic_name, f) < 0)
        return -1;
    if (request->replay_preset == EVENTBUS__V1__REPLAY_PRESET__CUSTOM && !request->replay_id.len) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "subscription.fetch.replayid.validation.failed", c,
                    "The Replay ID validation failed. A CUSTOM replay preset needs a Replay ID.");
        return -1;
    }
    if (feed_start(s, c, request) < 0) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "subscription.fetch.replayid.corrupted", c,
                    "The Replay ID validation failed. Ensure that the Replay ID is valid.");
        return -1;
    }
    return 0;
}

static int check_later(struct call *c, const Eventbus__V1__FetchRequest *request, struct failure *f)
{
    if (*request->topic_name && strcmp(request->topic_name, c->topic->name) != 0) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "subscription.fetch.topic.mismatch", c,
                    "The topic name %.100s differs from the one of the first request.", request->topic_name);
        return -1;
    }
    return 0;
}

static int ask(struct call *c, const Eventbus__V1__FetchRequest *request, int64_t now_ms, struct failure *f)
{
    bool was_zero = c->flow.pending == 0;
    if (flow_request(&c->flow, request->num_requested) < 0) {
        failure_set(f, GRPC_STATUS_INVALID_ARGUMENT, "subscription.fetch.requested.events.invalid", c,
                    "The number of requested events must be positive; it is %d.", request->num_requested);
        return -1;
    }
    if (was_zero)
        c->last_response_ms = now_ms;
    return 0;
}

/* The first request of a stream: identity first, and a refusal of it comes late, as the service's does. */
static int first_request(struct sim *s, struct call *c, const Eventbus__V1__FetchRequest *request,
                         int64_t now_ms)
{
    struct failure f;
    if (!stream_begin(s, c, now_ms)) {
        log_info("stream", "%llu on %s: %s", (unsigned long long)c->number, request->topic_name,
                 c->failure.text);
        return 0;
    }
    if (begin(s, c, request, &f) < 0 || ask(c, request, now_ms, &f) < 0) {
        stream_end(c, &f);
        return -1;
    }
    char id[2 * WIRE_REPLAY_ID_MAX + 1] = "";
    if (request->replay_preset == EVENTBUS__V1__REPLAY_PRESET__CUSTOM)
        hex_encode(span_of(request->replay_id.data, request->replay_id.len), id);
    log_info("stream", "%llu opens on %s from %s %s", (unsigned long long)c->number, c->topic->name,
             preset_name(request->replay_preset), id);
    c->active = true;
    c->has_fault = faults_take(&s->faults, CALL_SUBSCRIBE, c->topic->name, &c->fault);
    s->subscribed = true;
    return 0;
}

static int handle(struct sim *s, struct call *c, const Eventbus__V1__FetchRequest *request, int64_t now_ms)
{
    struct failure f;
    if (!c->number)
        return first_request(s, c, request, now_ms);
    if (!c->active) /* a refusal is on its way */
        return 0;
    if (check_later(c, request, &f) < 0 || ask(c, request, now_ms, &f) < 0) {
        stream_end(c, &f);
        return -1;
    }
    log_debug("stream", "%llu asked %d, owed %d", (unsigned long long)c->number, request->num_requested,
              c->flow.pending);
    return 0;
}

/* --- responses --------------------------------------------------------------------------------- */

/* Any number up to what is owed: often all, often some, so that a batch ends anywhere. */
static int draw_batch(const struct sim *s, struct call *c)
{
    int most = c->flow.pending < s->options->batch ? c->flow.pending : (int)s->options->batch;
    if (c->has_fault && c->fault.after_events - c->sent < (uint64_t)most)
        most = (int)(c->fault.after_events - c->sent);
    if (s->bench || rng_below(&c->batches, 2))
        return most;
    return 1 + (int)rng_below(&c->batches, (uint64_t)most);
}

static void send_response(struct sim *s, struct call *c, int max, int64_t now_ms)
{
    struct buf out = BUF_INIT;
    uint8_t id[WIRE_REPLAY_ID_MAX];
    struct span latest = span_of(NULL, 0);
    int n = 0;
    if (max)
        n = feed_take(s, c, max, &out, id, &latest);
    if (!n)
        latest = feed_head(s, c, id);
    flow_delivered(&c->flow, n);
    wire_add_response_tail(&out, latest, span_of_str(c->rpc_id), c->flow.pending);
    log_debug("stream", "%llu is sent %d events, %zu bytes, owed %d", (unsigned long long)c->number, n,
              out.len, c->flow.pending);
    call_write(c, &out);
    c->last_response_ms = now_ms;
    c->sent += (uint64_t)n;
    s->responses++;
    s->events_sent += (uint64_t)n;
}

/* Nothing is owed: the client has to ask again in time. */
static int64_t watch_pending_zero(struct sim *s, struct call *c, int64_t now_ms)
{
    int64_t left = c->last_response_ms + s->options->pending_zero_ms - now_ms;
    if (s->options->pending_zero == PENDING_ZERO_STALL)
        return -1;
    if (left > 0)
        return left;
    log_info("stream", "%llu: nothing was asked for %.1f s, closing", (unsigned long long)c->number,
             (double)s->options->pending_zero_ms / 1000);
    if (s->options->pending_zero == PENDING_ZERO_OK) {
        call_finish_ok(c);
        return -1;
    }
    struct failure f = {.status = GRPC_STATUS_UNAVAILABLE, .code = NULL};
    snprintf(f.text, sizeof f.text, "RST_STREAM closed stream. HTTP/2 error code: NO_ERROR");
    call_fail(c, &f);
    return -1;
}

/* The stream was sent what comes before its scripted end. */
static int64_t meet_fault(struct call *c, int64_t now_ms)
{
    struct failure f;
    if (c->fault.stall)
        return -1;
    if (!c->fault_due_ms)
        c->fault_due_ms = now_ms + c->fault.delay_ms;
    if (c->fault_due_ms > now_ms)
        return c->fault_due_ms - now_ms;
    if (c->fault.status == GRPC_STATUS_OK) {
        call_finish_ok(c);
        return -1;
    }
    call_fault_failure(c, &f);
    stream_end(c, &f);
    return -1;
}

int64_t subscribe_advance(struct sim *s, struct call *c, int64_t now_ms)
{
    if (!c->active || c->ending || c->sending || c->fails)
        return -1;
    if (c->half_closed) {
        call_finish_ok(c);
        return -1;
    }
    if (c->has_fault && c->sent >= c->fault.after_events)
        return meet_fault(c, now_ms);
    if (!c->flow.pending)
        return watch_pending_zero(s, c, now_ms);
    if (feed_ready(s, c)) {
        send_response(s, c, draw_batch(s, c), now_ms);
        return -1;
    }
    int64_t left = c->last_response_ms + s->options->keepalive_ms - now_ms;
    if (left > 0)
        return left;
    send_response(s, c, 0, now_ms);
    return -1;
}

/* --- a request --------------------------------------------------------------------------------- */

void subscribe_request(struct sim *s, struct call *c, int64_t now_ms)
{
    if (!c->received) {
        c->half_closed = true;
        if (c->active && !c->ending && !c->fails && !c->sending)
            call_finish_ok(c);
        return;
    }
    struct buf bytes = BUF_INIT;
    call_message(c, &bytes);
    Eventbus__V1__FetchRequest *request = eventbus__v1__fetch_request__unpack(NULL, bytes.len, bytes.data);
    buf_release(&bytes);
    int rc = -1;
    if (!c->ending && !c->fails)
        rc = request ? handle(s, c, request, now_ms)
                     : stream_malformed(c, "subscription.fetch.request.invalid");
    if (request)
        eventbus__v1__fetch_request__free_unpacked(request, NULL);
    if (rc < 0)
        return;
    /* The response first: asking for the next message makes gRPC send a small frame of its own, which would
     * wake the client for nothing. */
    subscribe_advance(s, c, now_ms);
    if (!c->ending)
        call_read(c);
}
