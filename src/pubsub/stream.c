/*
 * Subscribe and ManagedSubscribe: one bidirectional call.
 *
 * Four operations may be under way, each with a tag of its own: start (our metadata and the first
 * request), then send (refills, commits); initial (the server's metadata); receive, re-armed after each message
 * until gRPC says there is no more; status. The stream is over when none is under way: then, and once,
 * the listener is told. Status may overtake the last messages; they are still delivered before the end.
 *
 * Flow control
 *   owed = what we asked for - what came. Never above 100 (the service treats more as 100), refilled to 100
 *   as soon as it is 50 or less, from the I/O thread, before the listener sees the message that lowered it.
 *   pending_num_requested of a response does not know of a request still under way, so our own count leads;
 *   the service's number corrects it when it is higher, or when our last request is seconds old and
 *   therefore known there. Without that, a difference would stay and could one day stop the stream.
 */
#include "pubsub/stream.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <grpc/byte_buffer.h>
#include <stdio.h>

enum {
    OWED_LOW = 50,
    REQUEST_SETTLED_MS = 5000,
};

/* Lock held. */
static void start_op(struct pubsub_stream *s, const grpc_op *ops, size_t n, struct tag *tag)
{
    s->under_way++;
    call_start(&s->call, ops, n, tag);
}

/* Lock held. */
static void receive_next(struct pubsub_stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->incoming;
    start_op(s, &op, 1, &s->received_tag);
}

void stream_say(struct pubsub_stream *s)
{
    if (s->sending || s->over)
        return;
    int n = s->paused || s->owed > OWED_LOW ? 0 : STREAM_OWED_MAX - s->owed;
    if (n == 0 && !(s->kind->has_news && s->kind->has_news(s)))
        return;
    s->outgoing = s->kind->later(s, n);
    if (n) {
        s->owed = STREAM_OWED_MAX;
        s->asked_ms = clock_mono_ms();
    }
    s->sending = true;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = s->outgoing;
    start_op(s, &op, 1, &s->sent_tag);
}

/* Lock held: n events came, and the service says what it owes. */
static void count_events(struct pubsub_stream *s, uint32_t n, int pending)
{
    s->owed = n < (uint32_t)s->owed ? s->owed - (int)n : 0;
    bool settled = !s->sending && clock_mono_ms() - s->asked_ms > REQUEST_SETTLED_MS;
    if (pending > s->owed || (settled && pending >= 0))
        s->owed = pending < STREAM_OWED_MAX ? pending : STREAM_OWED_MAX;
}

/* Thread: I/O. The last tag came: tell, free. */
static void finish(struct pubsub_stream *s)
{
    struct pubsub_status status;
    if (atomic_load(&s->cancelled))
        call_end_locally(&s->call, GRPC_STATUS_CANCELLED, "cancelled");
    call_finish(&s->call, &status);
    s->listener.on_end(s->ctx, s, &status);
    call_close(&s->call);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Every tag ends here, with the lock held; it is given back. */
static void op_done(struct pubsub_stream *s)
{
    s->over = --s->under_way == 0;
    bool over = s->over;
    pthread_mutex_unlock(&s->lock);
    if (over)
        finish(s);
}

/* Thread: I/O, as all of these. */
static void on_sent(void *owner, bool ok)
{
    struct pubsub_stream *s = owner;
    pthread_mutex_lock(&s->lock);
    grpc_byte_buffer_destroy(s->outgoing);
    s->outgoing = NULL;
    s->sending = !ok; /* a write that failed means that the call is dead: never send again */
    stream_say(s);
    op_done(s);
}

static void on_initial(void *owner, bool ok)
{
    struct pubsub_stream *s = owner;
    (void)ok;
    pthread_mutex_lock(&s->lock);
    op_done(s);
}

static void on_status(void *owner, bool ok)
{
    struct pubsub_stream *s = owner;
    (void)ok;
    pthread_mutex_lock(&s->lock);
    s->sending = true; /* the call is over */
    op_done(s);
}

static struct pubsub_response *take_incoming(struct pubsub_stream *s, int *pending)
{
    struct pubsub *p = s->call.pubsub;
    grpc_slice hold;
    struct span wire = message_bytes(s->incoming, &p->scratch, &hold);
    struct pubsub_response *r = s->kind->read(wire, pending);
    grpc_slice_unref(hold);
    grpc_byte_buffer_destroy(s->incoming);
    s->incoming = NULL;
    s->call.had_answer = true;
    return r;
}

static void on_received(void *owner, bool ok)
{
    struct pubsub_stream *s = owner;
    struct pubsub_response *r = NULL;
    int pending = 0;
    bool more = ok && s->incoming;

    if (more && !(r = take_incoming(s, &pending)))
        call_end_locally(&s->call, GRPC_STATUS_INTERNAL, "a response of the service does not parse");
    pthread_mutex_lock(&s->lock);
    if (r) {
        count_events(s, r->n_events, pending);
        stream_say(s);
    }
    if (more)
        receive_next(s);
    pthread_mutex_unlock(&s->lock);

    /* This tag still counts as under way, so the end cannot overtake the message. */
    if (r && (atomic_load(&s->cancelled) || s->call.local_text[0]))
        pubsub_response_free(r);
    else if (r)
        s->listener.on_response(s->ctx, s, r);
    pthread_mutex_lock(&s->lock);
    op_done(s);
}

/* Lock held. */
static void start_call(struct pubsub_stream *s, grpc_byte_buffer *first)
{
    grpc_op ops[2] = {0};
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &s->call.trailing;
    ops[0].data.recv_status_on_client.status = &s->call.status;
    ops[0].data.recv_status_on_client.status_details = &s->call.details;
    start_op(s, ops, 1, &s->status_tag);
    if (s->call.local_text[0]) { /* ended before it began: the status alone */
        grpc_byte_buffer_destroy(first);
        return;
    }
    s->outgoing = first;
    s->owed = STREAM_OWED_MAX;
    s->asked_ms = clock_mono_ms();
    s->sending = true;
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = ARRAY_LEN(s->call.metadata);
    ops[0].data.send_initial_metadata.metadata = s->call.metadata;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = s->outgoing;
    start_op(s, ops, 2, &s->sent_tag);

    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[0].data.recv_initial_metadata.recv_initial_metadata = &s->call.initial;
    start_op(s, ops, 1, &s->initial_tag);
    receive_next(s);
}

struct pubsub_stream *stream_open(struct pubsub *p, const struct auth_token *token,
                                  const struct stream_kind *kind, grpc_byte_buffer *first, uint64_t number,
                                  const struct pubsub_listener *listener, void *ctx)
{
    struct pubsub_stream *s = xcalloc(1, sizeof *s);
    s->kind = kind;
    s->number = number;
    s->listener = *listener;
    s->ctx = ctx;
    pthread_mutex_init(&s->lock, NULL);
    s->sent_tag = (struct tag){on_sent, s};
    s->initial_tag = (struct tag){on_initial, s};
    s->received_tag = (struct tag){on_received, s};
    s->status_tag = (struct tag){on_status, s};
    call_open(&s->call, p, token, kind->method, gpr_inf_future(GPR_CLOCK_MONOTONIC));
    pthread_mutex_lock(&s->lock);
    start_call(s, first);
    pthread_mutex_unlock(&s->lock);
    return s;
}

static grpc_byte_buffer *more(struct pubsub_stream *s, int n)
{
    (void)s;
    return message_more(n);
}

struct pubsub_stream *pubsub_subscribe(struct pubsub *p, const struct auth_token *token, const char *topic,
                                       enum pubsub_from from, struct span replay_id, uint64_t number,
                                       const struct pubsub_listener *listener, void *ctx)
{
    static const struct stream_kind kind = {"Subscribe", more, NULL, response_read};
    return stream_open(p, token, &kind, message_first_fetch(topic, from, replay_id, STREAM_OWED_MAX), number,
                       listener, ctx);
}

uint64_t pubsub_stream_number(const struct pubsub_stream *s)
{
    return s->number;
}

void pubsub_stream_pause(struct pubsub_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->paused = true;
    pthread_mutex_unlock(&s->lock);
}

void pubsub_stream_resume(struct pubsub_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->paused = false;
    stream_say(s);
    pthread_mutex_unlock(&s->lock);
}

void pubsub_stream_cancel(struct pubsub_stream *s)
{
    if (!atomic_exchange(&s->cancelled, true))
        grpc_call_cancel(s->call.grpc, NULL);
}

void pubsub_stream_give_up(struct pubsub_stream *s)
{
    struct pubsub *p = s->call.pubsub;
    pthread_mutex_lock(&p->lock);
    channel_replace(p, s->call.channel);
    pthread_mutex_unlock(&p->lock);
    pubsub_stream_cancel(s);
}
