/*
 * GetTopic and GetSchema: one batch, one tag. The blocking forms wait for the other ones, so that the I/O
 * thread alone polls.
 */
#include "base/alloc.h"
#include "pubsub/internal.h"

#include <grpc/byte_buffer.h>
#include <proto/pubsub_api.pb-c.h>
#include <stdio.h>

struct unary {
    struct call call;
    struct tag tag;
    grpc_byte_buffer *request, *answer;
    pubsub_topic_fn topic_done; /* exactly one of the two */
    pubsub_schema_fn schema_done;
    void *ctx;
};

static void give_topic(struct unary *u, const struct pubsub_status *failed, struct span wire)
{
    struct pubsub_status broken = {.grpc_code = GRPC_STATUS_INTERNAL,
                                   .reaction = PUBSUB_RECONNECT,
                                   .text = "the answer to GetTopic does not parse"};
    Eventbus__V1__TopicInfo *info = failed ? NULL : eventbus__v1__topic_info__unpack(NULL, wire.n, wire.p);
    if (!info) {
        u->topic_done(u->ctx, failed ? failed : &broken, NULL);
        return;
    }
    const struct pubsub_topic topic = {.name = info->topic_name,
                                       .can_subscribe = info->can_subscribe,
                                       .can_publish = info->can_publish,
                                       .schema_id = info->schema_id};
    u->topic_done(u->ctx, NULL, &topic);
    eventbus__v1__topic_info__free_unpacked(info, NULL);
}

static void give_schema(struct unary *u, const struct pubsub_status *failed, struct span wire)
{
    struct pubsub_status broken = {.grpc_code = GRPC_STATUS_INTERNAL,
                                   .reaction = PUBSUB_RECONNECT,
                                   .text = "the answer to GetSchema does not parse"};
    Eventbus__V1__SchemaInfo *info = failed ? NULL : eventbus__v1__schema_info__unpack(NULL, wire.n, wire.p);
    if (!info) {
        u->schema_done(u->ctx, failed ? failed : &broken, span_of(NULL, 0));
        return;
    }
    u->schema_done(u->ctx, NULL, span_of_str(info->schema_json));
    eventbus__v1__schema_info__free_unpacked(info, NULL);
}

/* Thread: I/O. */
static void on_answer(void *owner, bool ok)
{
    struct unary *u = owner;
    struct pubsub *p = u->call.pubsub;
    struct pubsub_status status;
    struct span wire = span_of(NULL, 0);
    grpc_slice hold = grpc_empty_slice();

    (void)ok; /* the status says it */
    u->call.had_answer = u->answer != NULL;
    call_finish(&u->call, &status);
    if (u->answer)
        wire = message_bytes(u->answer, &p->scratch, &hold);
    const struct pubsub_status *failed = status.grpc_code != GRPC_STATUS_OK ? &status : NULL;
    if (u->topic_done)
        give_topic(u, failed, wire);
    else
        give_schema(u, failed, wire);
    grpc_slice_unref(hold);
    grpc_byte_buffer_destroy(u->request);
    grpc_byte_buffer_destroy(u->answer);
    call_close(&u->call);
    free(u);
}

static void start(struct unary *u, struct pubsub *p, const struct auth_token *token, const char *method,
                  int timeout_ms)
{
    gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                         gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    u->tag = (struct tag){on_answer, u};
    call_open(&u->call, p, token, method, deadline);
    bool sends = !u->call.local_text[0]; /* else: already ended; ask for the status alone */
    grpc_op ops[6] = {0};
    size_t n = 0;
    if (sends) {
        ops[n].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[n].data.send_initial_metadata.count = ARRAY_LEN(u->call.metadata);
        ops[n++].data.send_initial_metadata.metadata = u->call.metadata;
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = u->request;
        ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        ops[n].op = GRPC_OP_RECV_INITIAL_METADATA;
        ops[n++].data.recv_initial_metadata.recv_initial_metadata = &u->call.initial;
        ops[n].op = GRPC_OP_RECV_MESSAGE;
        ops[n++].data.recv_message.recv_message = &u->answer;
    }
    ops[n].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[n].data.recv_status_on_client.trailing_metadata = &u->call.trailing;
    ops[n].data.recv_status_on_client.status = &u->call.status;
    ops[n++].data.recv_status_on_client.status_details = &u->call.details;
    call_start(&u->call, ops, n, &u->tag);
}

void pubsub_get_topic_async(struct pubsub *p, const struct auth_token *token, const char *topic,
                            int timeout_ms, pubsub_topic_fn done, void *ctx)
{
    struct unary *u = xcalloc(1, sizeof *u);
    u->topic_done = done;
    u->ctx = ctx;
    u->request = message_topic(topic);
    start(u, p, token, "GetTopic", timeout_ms);
}

void pubsub_get_schema_async(struct pubsub *p, const struct auth_token *token, const char *schema_id,
                             int timeout_ms, pubsub_schema_fn done, void *ctx)
{
    struct unary *u = xcalloc(1, sizeof *u);
    u->schema_done = done;
    u->ctx = ctx;
    u->request = message_schema(schema_id);
    start(u, p, token, "GetSchema", timeout_ms);
}

/* The I/O thread fills in one of these for a thread that waits. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int rc;
    struct pubsub_status *status;
    struct pubsub_topic *topic;
    struct buf *json;
};

static void waiter_wake(struct waiter *w, const struct pubsub_status *failed)
{
    pthread_mutex_lock(&w->lock);
    if (failed)
        *w->status = *failed;
    w->rc = failed ? -1 : 0;
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static void topic_arrived(void *ctx, const struct pubsub_status *failed, const struct pubsub_topic *topic)
{
    struct waiter *w = ctx;
    if (topic)
        *w->topic = (struct pubsub_topic){xstrdup(topic->name), topic->can_subscribe, topic->can_publish,
                                          xstrdup(topic->schema_id)};
    waiter_wake(w, failed);
}

static void schema_arrived(void *ctx, const struct pubsub_status *failed, struct span json)
{
    struct waiter *w = ctx;
    if (!failed)
        buf_add_span(w->json, json);
    waiter_wake(w, failed);
}

static int waiter_wait(struct waiter *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->cond);
    return w->rc;
}

int pubsub_get_topic(struct pubsub *p, const struct auth_token *token, const char *topic, int timeout_ms,
                     struct pubsub_topic *out, struct pubsub_status *status)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, -1, status, out, NULL};
    BUG_IF(pthread_equal(pthread_self(), p->thread)); /* it would wait for itself */
    memset(out, 0, sizeof *out);
    pubsub_get_topic_async(p, token, topic, timeout_ms, topic_arrived, &w);
    return waiter_wait(&w);
}

int pubsub_get_schema(struct pubsub *p, const struct auth_token *token, const char *schema_id, int timeout_ms,
                      struct buf *json, struct pubsub_status *status)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, -1, status, NULL, json};
    BUG_IF(pthread_equal(pthread_self(), p->thread));
    pubsub_get_schema_async(p, token, schema_id, timeout_ms, schema_arrived, &w);
    return waiter_wait(&w);
}
