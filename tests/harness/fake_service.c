#include "harness/fake_service.h"

#include "base/alloc.h"
#include "base/err.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <proto/pubsub_api.pb-c.h>
#include <pthread.h>
#include <stdio.h>

enum { MAX_TRACE_IDS = 64 };

struct served {
    struct fake_service *f;
    grpc_call *call;
    bool stream, managed, sending, ended, silent, asked_before;
    int unanswered; /* commits */
    char commit_request[24];
    uint8_t commit_id[64];
    size_t commit_len;
    int under_way;
    int outstanding, left, sent;
    bool kept_alive;
    grpc_byte_buffer *incoming, *outgoing;
    grpc_metadata trailers[2];
    grpc_slice status_text;
    int cancelled;
    struct step {
        void (*done)(struct served *s, bool ok);
        struct served *s;
    } start, receive, send, finish, closed;
};

struct fake_service {
    struct fake_script script;
    grpc_server *server;
    grpc_completion_queue *cq;
    pthread_t thread;
    int port;
    pthread_mutex_t lock;
    struct fake_counts counts;
    char trace_ids[MAX_TRACE_IDS][64];
    grpc_call *next_call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

static void start_op(struct served *s, const grpc_op *ops, size_t n, struct step *step)
{
    step->s = s;
    s->under_way++;
    BUG_IF(grpc_call_start_batch(s->call, ops, n, step, NULL) != GRPC_CALL_OK);
}

static void receive(struct served *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->incoming;
    start_op(s, &op, 1, &s->receive);
}

static void send_bytes(struct served *s, const ProtobufCMessage *m)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(m));
    protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(slice));
    s->outgoing = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    s->sending = true;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = s->outgoing;
    start_op(s, &op, 1, &s->send);
}

static void send_garbage(struct served *s)
{
    static const uint8_t bytes[] = {0x0a, 0xff, 0xff, 0xff, 0x7f, 0x01}; /* a field longer than the message */
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, sizeof bytes);
    s->outgoing = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    s->sending = true;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = s->outgoing;
    start_op(s, &op, 1, &s->send);
}

static bool answer_is_due(const struct served *s)
{
    int most = s->f->script.commits_per_answer;
    return s->unanswered && s->unanswered >= (most ? most : 1);
}

/* Fill in what answers the commits so far; the strings live in s. */
static void answer_commits(struct served *s, Eventbus__V1__CommitReplayResponse *answer,
                           Eventbus__V1__Error *error)
{
    s->unanswered = 0;
    eventbus__v1__commit_replay_response__init(answer);
    answer->commit_request_id = s->commit_request;
    answer->replay_id = (ProtobufCBinaryData){s->commit_len, s->commit_id};
    if (!s->f->script.commit_refusal)
        return;
    eventbus__v1__error__init(error);
    error->code = EVENTBUS__V1__ERROR_CODE__COMMIT;
    error->msg = (char *)(uintptr_t)s->f->script.commit_refusal;
    answer->error = error;
}

static void send_answer(struct served *s)
{
    Eventbus__V1__ManagedFetchResponse response = EVENTBUS__V1__MANAGED_FETCH_RESPONSE__INIT;
    Eventbus__V1__CommitReplayResponse answer;
    Eventbus__V1__Error error;
    answer_commits(s, &answer, &error);
    response.commit_response = &answer;
    response.pending_num_requested = s->outstanding;
    send_bytes(s, &response.base);
}

/* A FetchResponse has the same fields, but for the answer to a commit. */
static void send_events(struct served *s, int n)
{
    Eventbus__V1__ManagedFetchResponse response = EVENTBUS__V1__MANAGED_FETCH_RESPONSE__INIT;
    Eventbus__V1__CommitReplayResponse answer;
    Eventbus__V1__Error error;
    Eventbus__V1__ConsumerEvent *events = xcalloc((size_t)n + 1, sizeof *events);
    Eventbus__V1__ProducerEvent *producers = xcalloc((size_t)n + 1, sizeof *producers);
    Eventbus__V1__ConsumerEvent **list = xcalloc((size_t)n + 1, sizeof *list);
    uint8_t *payload = xcalloc(1, s->f->script.payload + 1), replay[8] = {0};
    uint8_t(*replays)[8] = xcalloc((size_t)n + 1, sizeof *replays);
    char(*ids)[40] = xcalloc((size_t)n + 1, sizeof *ids);
    static char schema_id[] = "a01VpgrsZNJdn-7KStJcxQ", rpc_id[] = "rpc-1";
    memset(payload, 'x', s->f->script.payload);
    for (int i = 0; i < n; i++) {
        int number = s->sent + i + 1;
        snprintf(ids[i], sizeof ids[i], "event-%d", number);
        for (int b = 0; b < 8; b++)
            replays[i][b] = (uint8_t)((uint64_t)number >> (56 - 8 * b));
        eventbus__v1__consumer_event__init(&events[i]);
        eventbus__v1__producer_event__init(&producers[i]);
        producers[i].id = ids[i];
        producers[i].schema_id = schema_id;
        producers[i].payload = (ProtobufCBinaryData){s->f->script.payload, payload};
        events[i].event = &producers[i];
        events[i].replay_id = (ProtobufCBinaryData){8, replays[i]};
        list[i] = &events[i];
    }
    s->outstanding -= n;
    s->left -= n;
    s->sent += n;
    for (int b = 0; b < 8; b++)
        replay[b] = (uint8_t)((uint64_t)(s->sent + (n ? 0 : 1000)) >> (56 - 8 * b));
    response.n_events = (size_t)n;
    response.events = list;
    response.latest_replay_id = (ProtobufCBinaryData){8, replay};
    response.rpc_id = rpc_id;
    response.pending_num_requested = s->outstanding + s->f->script.pending_offset;
    if (answer_is_due(s) && s->f->script.answer_with_events) {
        answer_commits(s, &answer, &error);
        response.commit_response = &answer;
    }
    send_bytes(s, &response.base);
    free(events);
    free(producers);
    free(list);
    free(payload);
    free(replays);
    free(ids);
}

static void end(struct served *s, int code, const char *text)
{
    size_t n = 0;
    if (s->ended)
        return;
    s->ended = true;
    if (s->f->script.error_code && code != GRPC_STATUS_OK) {
        s->trailers[n].key = grpc_slice_from_static_string("error-code");
        s->trailers[n++].value = grpc_slice_from_static_string(s->f->script.error_code);
        s->trailers[n].key = grpc_slice_from_static_string("rpc-id");
        s->trailers[n++].value = grpc_slice_from_static_string("rpc-77");
    }
    s->status_text = grpc_slice_from_copied_string(text ? text : "");
    grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    op.data.send_status_from_server.status = (grpc_status_code)code;
    op.data.send_status_from_server.status_details = &s->status_text;
    op.data.send_status_from_server.trailing_metadata = s->trailers;
    op.data.send_status_from_server.trailing_metadata_count = n;
    start_op(s, &op, 1, &s->finish);
}

static void pump(struct served *s)
{
    const struct fake_script *script = &s->f->script;
    if (s->sending || s->ended || !s->stream)
        return;
    if (script->garbage && s->sent == 0 && s->outstanding > 0) {
        s->sent = 1;
        send_garbage(s);
        return;
    }
    if (answer_is_due(s) && !(script->answer_with_events && s->left && s->outstanding)) {
        send_answer(s);
        return;
    }
    int n = s->left < s->outstanding ? s->left : s->outstanding;
    if (script->batch && n > script->batch)
        n = script->batch;
    if (n > 0) {
        send_events(s, n);
    } else if (s->left == 0) {
        if (script->keepalives && !s->kept_alive && s->outstanding > 0) {
            s->kept_alive = true;
            send_events(s, 0);
        } else if (script->end_code >= 0) {
            end(s, script->end_code, script->end_text);
        }
    } else {
        pthread_mutex_lock(&s->f->lock);
        s->f->counts.times_dry++;
        pthread_mutex_unlock(&s->f->lock);
    }
}

/* Lock held. */
static void count_asked(struct served *s, int n)
{
    struct fake_counts *c = &s->f->counts;
    c->requests++;
    c->asked += n;
    s->outstanding += n;
    if (s->outstanding > c->most_outstanding)
        c->most_outstanding = s->outstanding;
    if (n && (c->smallest_request == 0 || n < c->smallest_request))
        c->smallest_request = n;
}

static void count_managed(struct served *s, const Eventbus__V1__ManagedFetchRequest *m, bool first)
{
    struct fake_counts *c = &s->f->counts;
    const Eventbus__V1__CommitReplayRequest *commit = m->commit_replay_id_request;
    pthread_mutex_lock(&s->f->lock);
    count_asked(s, m->num_requested);
    if (first)
        snprintf(c->developer_name, sizeof c->developer_name, "%s", m->developer_name);
    else if (*m->developer_name)
        c->later_topics++;
    if (commit) {
        s->unanswered++;
        snprintf(s->commit_request, sizeof s->commit_request, "%s", commit->commit_request_id);
        s->commit_len = commit->replay_id.len < 64 ? commit->replay_id.len : 64;
        memcpy(s->commit_id, commit->replay_id.data, s->commit_len);
        c->commits++;
        c->commits_in_first += first;
        c->commits_alone += m->num_requested == 0;
        memcpy(c->last_commit_request, s->commit_request, sizeof c->last_commit_request);
        memcpy(c->last_commit, s->commit_id, s->commit_len);
        c->last_commit_len = s->commit_len;
    }
    pthread_mutex_unlock(&s->f->lock);
}

static void count_request(struct served *s, const Eventbus__V1__FetchRequest *m, bool first)
{
    struct fake_counts *c = &s->f->counts;
    pthread_mutex_lock(&s->f->lock);
    count_asked(s, m->num_requested);
    if (first) {
        c->first_preset = (int)m->replay_preset;
        snprintf(c->first_topic, sizeof c->first_topic, "%s", m->topic_name);
        c->first_replay_id_len = m->replay_id.len;
        if (m->replay_id.len)
            memcpy(c->first_replay_id, m->replay_id.data, m->replay_id.len < 64 ? m->replay_id.len : 64);
    } else if (*m->topic_name) {
        c->later_topics++;
    }
    pthread_mutex_unlock(&s->f->lock);
}

static void on_received(struct served *s, bool ok)
{
    if (!ok || !s->incoming)
        return;
    grpc_byte_buffer_reader reader;
    grpc_byte_buffer_reader_init(&reader, s->incoming);
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(s->incoming);
    s->incoming = NULL; /* before it is armed again */
    if (s->managed) {
        Eventbus__V1__ManagedFetchRequest *m = eventbus__v1__managed_fetch_request__unpack(
            NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
        BUG_IF(!m);
        count_managed(s, m, !s->asked_before);
        s->asked_before = true;
        eventbus__v1__managed_fetch_request__free_unpacked(m, NULL);
        receive(s);
        pump(s);
    } else if (s->stream) {
        Eventbus__V1__FetchRequest *m = eventbus__v1__fetch_request__unpack(NULL, GRPC_SLICE_LENGTH(all),
                                                                            GRPC_SLICE_START_PTR(all));
        BUG_IF(!m);
        count_request(s, m, !s->asked_before);
        s->asked_before = true;
        eventbus__v1__fetch_request__free_unpacked(m, NULL);
        receive(s);
        pump(s);
    } else if (!s->silent) {
        char json[] = "{\"type\":\"string\"}", topic[] = "/data/AccountChangeEvent", id[] = "schema-1";
        Eventbus__V1__TopicInfo info =
            EVENTBUS__V1__TOPIC_INFO__INIT; /* a SchemaInfo has the same fields 1 and 6 */
        Eventbus__V1__SchemaInfo schema = EVENTBUS__V1__SCHEMA_INFO__INIT;
        info.topic_name = topic;
        info.schema_id = id;
        info.can_subscribe = true;
        schema.schema_json = json;
        bool is_topic = GRPC_SLICE_LENGTH(all) > 2 && memcmp(GRPC_SLICE_START_PTR(all) + 2, "/", 1) == 0;
        if (s->f->script.unary_code == GRPC_STATUS_OK)
            send_bytes(s, is_topic ? &info.base : &schema.base);
        end(s, s->f->script.unary_code, s->f->script.end_text);
    }
    grpc_slice_unref(all);
}

static void on_sent(struct served *s, bool ok)
{
    grpc_byte_buffer_destroy(s->outgoing);
    s->outgoing = NULL;
    s->sending = !ok;
    pump(s);
}

static void on_done(struct served *s, bool ok)
{
    (void)s, (void)ok;
}

static void on_closed(struct served *s, bool ok)
{
    (void)ok;
    s->ended = true; /* the client is gone, or has our status */
}

static void copy_slice(grpc_slice from, char *to, size_t size)
{
    size_t n = GRPC_SLICE_LENGTH(from) < size ? GRPC_SLICE_LENGTH(from) : size - 1;
    memcpy(to, GRPC_SLICE_START_PTR(from), n);
    to[n] = '\0';
}

static void note_metadata(struct fake_service *f, bool stream)
{
    struct fake_counts *c = &f->counts;
    const struct {
        const char *key;
        char *to;
        size_t size;
    } wanted[] = {{"accesstoken", c->accesstoken, sizeof c->accesstoken},
                  {"instanceurl", c->instanceurl, sizeof c->instanceurl},
                  {"tenantid", c->tenantid, sizeof c->tenantid},
                  {"x-client-trace-id", c->trace_id, sizeof c->trace_id}};
    size_t found = 0;
    pthread_mutex_lock(&f->lock);
    stream ? c->streams++ : c->unary++;
    for (size_t i = 0; i < f->metadata.count; i++)
        for (size_t w = 0; w < ARRAY_LEN(wanted); w++)
            if (grpc_slice_str_cmp(f->metadata.metadata[i].key, wanted[w].key) == 0) {
                copy_slice(f->metadata.metadata[i].value, wanted[w].to, wanted[w].size);
                found++;
            }
    if (found != ARRAY_LEN(wanted))
        c->calls_without_metadata++;
    int known = 0;
    while (known < c->distinct_trace_ids && strcmp(f->trace_ids[known], c->trace_id) != 0)
        known++;
    if (known == c->distinct_trace_ids && known < MAX_TRACE_IDS)
        memcpy(f->trace_ids[c->distinct_trace_ids++], c->trace_id, sizeof c->trace_id);
    pthread_mutex_unlock(&f->lock);
}

static void ask_for_call(struct fake_service *f)
{
    grpc_call_details_init(&f->details);
    grpc_metadata_array_init(&f->metadata);
    f->next_call = NULL;
    BUG_IF(grpc_server_request_call(f->server, &f->next_call, &f->details, &f->metadata, f->cq, f->cq, f) !=
           GRPC_CALL_OK);
}

static void accept_call(struct fake_service *f)
{
    struct served *s = xcalloc(1, sizeof *s);
    s->f = f;
    s->call = f->next_call;
    s->left = f->script.events;
    s->managed = grpc_slice_str_cmp(f->details.method, "/eventbus.v1.PubSub/ManagedSubscribe") == 0;
    s->stream = s->managed || grpc_slice_str_cmp(f->details.method, "/eventbus.v1.PubSub/Subscribe") == 0;
    s->silent = !s->stream && f->script.unary_silent;
    s->status_text = grpc_empty_slice();
    s->start.done = on_done;
    s->receive.done = on_received;
    s->send.done = on_sent;
    s->finish.done = on_done;
    s->closed.done = on_closed;
    note_metadata(f, s->stream);
    grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    start_op(s, &op, 1, &s->start);
    op = (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &s->cancelled;
    start_op(s, &op, 1, &s->closed);
    receive(s);
}

static void *serve(void *arg)
{
    struct fake_service *f = arg;
    bool stopping = false;
    for (;;) {
        grpc_event ev = grpc_completion_queue_next(f->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (ev.tag == &f->port) { /* the server's shutdown is complete */
            grpc_completion_queue_shutdown(f->cq);
        } else if (ev.tag == f) {
            if (ev.success)
                accept_call(f);
            stopping = stopping || !ev.success;
            grpc_call_details_destroy(&f->details);
            grpc_metadata_array_destroy(&f->metadata);
            if (!stopping)
                ask_for_call(f);
        } else {
            struct step *step = ev.tag;
            struct served *s = step->s;
            step->done(s, ev.success != 0);
            if (--s->under_way == 0) {
                grpc_slice_unref(s->status_text);
                grpc_call_unref(s->call);
                free(s);
            }
        }
    }
}

static grpc_arg int_arg(const char *key, int value)
{
    grpc_arg a = {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key};
    a.value.integer = value;
    return a;
}

struct fake_service *fake_service_start(const struct fake_script *script)
{
    struct fake_service *f = xcalloc(1, sizeof *f);
    f->script = *script;
    pthread_mutex_init(&f->lock, NULL);
    grpc_init();
    grpc_arg args[] = {
        int_arg("grpc.max_send_message_length", -1), int_arg("grpc.http2.max_ping_strikes", 1),
        int_arg("grpc.http2.min_ping_interval_without_data_ms", script->strict_pings ? 300000 : 10)};
    grpc_channel_args all = {ARRAY_LEN(args), args};
    f->cq = grpc_completion_queue_create_for_next(NULL);
    f->server = grpc_server_create(&all, NULL);
    grpc_server_register_completion_queue(f->server, f->cq, NULL);
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    if (script->certificate) {
        grpc_server_credentials_release(creds);
        grpc_ssl_pem_key_cert_pair pair = {script->key, script->certificate};
        creds = grpc_ssl_server_credentials_create_ex(NULL, &pair, 1,
                                                      GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, NULL);
    }
    f->port = grpc_server_add_http2_port(f->server, "127.0.0.1:0", creds);
    grpc_server_credentials_release(creds);
    BUG_IF(f->port == 0);
    grpc_server_start(f->server);
    ask_for_call(f);
    BUG_IF(pthread_create(&f->thread, NULL, serve, f) != 0);
    return f;
}

int fake_service_port(const struct fake_service *f)
{
    return f->port;
}

struct fake_counts fake_service_read(struct fake_service *f)
{
    pthread_mutex_lock(&f->lock);
    struct fake_counts copy = f->counts;
    pthread_mutex_unlock(&f->lock);
    return copy;
}

void fake_service_stop(struct fake_service *f)
{
    grpc_server_shutdown_and_notify(f->server, f->cq, &f->port);
    grpc_server_cancel_all_calls(f->server);
    pthread_join(f->thread, NULL);
    grpc_server_destroy(f->server);
    grpc_completion_queue_destroy(f->cq);
    pthread_mutex_destroy(&f->lock);
    free(f);
    grpc_shutdown();
}
