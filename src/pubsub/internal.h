/*
 * pubsub, from the inside: what its files share.
 *
 *   io.c       the I/O thread and its completion queue; pubsub_new, pubsub_free
 *   channel.c  credentials, arguments, one connection and when it is replaced
 *   call.c     what every RPC needs: metadata, deadline, status
 *   stream.c   Subscribe: flow control and the order of ends;  managed.c  ManagedSubscribe: commits
 *   unary.c    GetTopic, GetSchema
 *   response.c FetchResponse -> pubsub_response, and the pool of them
 *   message.c  the small messages
 *   classify.c the table from error to reaction;  describe.c the same for people
 *
 * Locks: pubsub.lock (channel, list of calls), stream.lock (flow control). Neither is held while the
 * listener is called, and never both. gRPC may be called under them: with a queue that is polled (not a
 * callback queue) it runs none of our code.
 */
#ifndef PUBSUB_INTERNAL_H
#define PUBSUB_INTERNAL_H

#include "base/compiler.h"
#include "base/proxy.h"
#include "pubsub/pubsub.h"

#include <grpc/grpc.h>
#include <pthread.h>

/* What a completion means: gRPC gives the pointer back. */
struct tag {
    void (*done)(void *owner, bool ok);
    void *owner;
};

/*
 * ThreadSanitizer cannot see that what was written before an operation was started is visible when its tag
 * comes back: gRPC is not instrumented. These say so; elsewhere they are nothing.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PUBSUB_TSAN 1
#endif
#endif
#ifdef PUBSUB_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define HANDED_OVER(tag) __tsan_release(tag)
#define TAKEN_OVER(tag)  __tsan_acquire(tag)
#else
#define HANDED_OVER(tag) ((void)(tag))
#define TAKEN_OVER(tag)  ((void)(tag))
#endif

/* One connection's settings. Held by `current` and by each call on it; destroyed with the last. */
struct channel {
    grpc_channel *grpc;
    int refs;
    uint64_t calm_before; /* pubsub_calls_for_calm() when it was made */
};

struct pubsub {
    char *subject; /* for the log: "org NAME" */
    char *endpoint;
    char *where; /* for people: the endpoint, and the proxy on the way */
    struct proxy proxy;
    char *ca_file;  /* NULL: the system's roots */
    char *root_pem; /* what it held when it was last good */
    bool roots_bad; /* it was not, when the newest connection was made */
    bool plaintext;
    int64_t max_message;

    grpc_completion_queue *cq;
    pthread_t thread;
    struct buf scratch; /* I/O thread: a message that came in several slices */

    pthread_mutex_t lock;
    pthread_cond_t idle; /* calls has become empty */
    struct call *calls;
    bool closing;
    struct channel *current; /* NULL: the next call makes one */
    int64_t keepalive_ms;    /* as configured, doubled whenever the service asks for calm */
};

/* The part of an RPC that is the same for all. Embedded in streams and unary calls. */
struct call {
    struct pubsub *pubsub;
    struct call *next, **prev; /* pubsub.calls */
    struct channel *channel;
    grpc_call *grpc;
    const char *method;
    char trace_id[37]; /* to quote to support, for failures without an rpc-id */
    bool had_answer;   /* a message came: the endpoint is the right one */

    grpc_metadata metadata[4];
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;

    /* When we ended it ourselves: this is what happened. "" = nothing. */
    int local_code;
    char local_text[200];
};

/*
 * io.c: how many connections were told to ping less by a GOAWAY. A stream that ends with its connection does
 * not hear of it: gRPC says "Socket closed", and the reason only to its log. Whose connection it was is not
 * known; a channel that pings less for nothing does no harm.
 */
uint64_t pubsub_calls_for_calm(void);

/* channel.c */
MUST_CHECK int channel_read_roots(const char *ca_file, char **pem, struct err *e);
struct channel *channel_take(struct pubsub *p);            /* lock held; released by channel_release */
void channel_release(struct pubsub *p, struct channel *c); /* lock held */
void channel_replace(struct pubsub *p, struct channel *c); /* lock held: the next call makes another */

/* call.c. call_open never fails: what is wrong with the token ends the call with a local status. */
void call_open(struct call *c, struct pubsub *p, const struct auth_token *token, const char *method,
               gpr_timespec deadline);
void call_start(struct call *c, const grpc_op *ops, size_t n, struct tag *tag);
void call_end_locally(struct call *c, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Reads the status and acts on what it says about the connection. */
void call_finish(struct call *c, struct pubsub_status *status);
/* After this the call is gone and the pubsub may be, too. */
void call_close(struct call *c);

/* message.c: the caller destroys the buffer once sent. */
grpc_byte_buffer *message_first_fetch(const char *topic, enum pubsub_from from, struct span replay_id,
                                      int requested);
grpc_byte_buffer *message_more(int requested);
grpc_byte_buffer *message_managed_first(const char *developer_name, int requested);
/* requested 0: commit alone; an empty replay id: no commit. */
grpc_byte_buffer *message_managed_more(int requested, uint64_t serial, struct span replay_id);
grpc_byte_buffer *message_topic(const char *topic);
grpc_byte_buffer *message_schema(const char *schema_id);
/* The bytes in one piece: the buffer's own slice, or copied into scratch. Valid while both are. */
struct span message_bytes(grpc_byte_buffer *bb, struct buf *scratch, grpc_slice *hold);

/* response.c: NULL when it does not parse. *pending is what the service says it still owes. */
struct pubsub_response *response_read(struct span wire, int *pending);
struct pubsub_response *response_read_managed(struct span wire, int *pending);
void response_pool_empty(void);
/* What waits there, in bytes. */
size_t response_pool_bytes(void);

/* describe.c: fills in status->text */
void describe_status(struct pubsub_status *status, const char *details, const char *endpoint, bool plaintext,
                     int64_t max_message, bool had_answer);

#endif
