/*
 * pubsub: the Pub/Sub API of one org, over gRPC C core.
 *
 * One `struct pubsub` per org: a channel, a completion queue, and one I/O thread that owns both. Streams of
 * one org share the connection. What arrives is handed to the listener on the I/O thread, which must only
 * take it away (queue it) and return.
 *
 * Guarantees
 *   Flow control: never more than 100 events outstanding per stream; refilled in lumps, at the latest when
 *   half is used, from the I/O thread; while the listener's budget is used up nothing more is asked for.
 *   (Pending may then reach zero: the service closes the stream after 60 s, which is reported as an end.)
 *   The three metadata keys go on every call, with a trace id. HTTP/2 keepalive as configured, timeout 20 s;
 *   doubled for a channel that is told ENHANCE_YOUR_CALM, which is no outage. Messages up to max_message.
 *   PEM files are checked before gRPC sees them. TLS always verified; plain text only where the
 *   configuration allowed it.
 *   A stream ends exactly once, by on_end; what the service sent before comes before it, nothing after it. A
 *   response that does not parse, or unpacks to many times its size, ends the stream.
 *   The owner's backoff is the only one: a connection that failed or broke is dropped, and the next call
 * makes another at once. HTTPS_PROXY and NO_PROXY are honoured (TLS only).
 *
 * What this part does not do: decide when to reconnect, or from where. The owner of the subscription
 * does (intake), with pubsub_classify's advice.
 *
 * Calling order: pubsub_setup() once -> pubsub_new -> pubsub_subscribe / pubsub_get_* … -> pubsub_free
 * (cancels everything, drains the queue, joins the thread) -> pubsub_teardown() once.
 * Ownership: a message given to the listener is the listener's: pubsub_response_free, on any thread, also
 * after pubsub_free but before pubsub_teardown. Some freed ones are kept and used again (at most 6 MiB).
 * Thread: functions any; the listener is called on the I/O thread, without locks held.
 */
#ifndef PUBSUB_PUBSUB_H
#define PUBSUB_PUBSUB_H

#include "auth/auth.h"
#include "base/arena.h"
#include "config/config.h"

struct pubsub;
struct pubsub_stream;

enum { PUBSUB_MAX_REPLAY_ID = 64 }; /* bytes that can be committed; the service's own have 10 */

struct pubsub_event {
    struct span event_id, schema_id, payload, replay_id;
};

/* ManagedSubscribe: what became of a commit, or of several: then of the newest. */
struct pubsub_commit_answer {
    bool is_there;
    bool refused;          /* the stream goes on */
    uint64_t serial;       /* as given to pubsub_stream_commit; 0: none of ours */
    struct span replay_id; /* what the service says is committed */
    struct span why;       /* refused: in its words */
};

/* One FetchResponse, or ManagedFetchResponse. All spans live in the response. Unknown protobuf fields are
 * ignored. */
struct pubsub_response {
    uint32_t n_events;
    struct pubsub_event *events;
    struct span latest_replay_id;
    struct pubsub_commit_answer commit;
    size_t bytes;        /* on the wire: what it holds of the listener's budget */
    int64_t received_ms; /* wall clock */
    struct arena arena;
    struct pubsub_response *next; /* for the listener's queue */
    uint64_t stream;              /* for the listener, too: which stream brought it */
};

void pubsub_response_free(struct pubsub_response *r);

enum pubsub_reaction {
    PUBSUB_RECONNECT,     /* back off and go on from the resume point */
    PUBSUB_NEW_TOKEN,     /* the token is bad: get another, then reconnect */
    PUBSUB_LOST_POSITION, /* the replay id is refused */
    PUBSUB_SLOW_DOWN,     /* a limit: stay away longer */
    PUBSUB_FATAL,         /* no such topic, no permission: only a person can help; probe slowly */
    PUBSUB_CALM,          /* told to ping less: reconnect at once, the period is doubled; no outage */
};

struct pubsub_status {
    int grpc_code; /* grpc_status_code */
    enum pubsub_reaction reaction;
    char error_code[128]; /* trailer, without the common prefix; "" when missing */
    char rpc_id[64];
    char text[400]; /* for people: what, and what to do */
};

struct pubsub_listener {
    /* A response (owned by the listener from now on) of this stream. */
    void (*on_response)(void *ctx, struct pubsub_stream *s, struct pubsub_response *r);
    /* The stream is over; *s is freed after this returns. */
    void (*on_end)(void *ctx, struct pubsub_stream *s, const struct pubsub_status *status);
};

void pubsub_setup(void);
void pubsub_teardown(void);

/* What pubsub_new would refuse of the CA file, found before anything of the daemon opens: ERR_CONFIG. */
MUST_CHECK int pubsub_check(const struct org_config *org, struct err *e);

/* Each call brings its own token. NULL with err (ERR_CONFIG): the CA file is missing or not PEM, the endpoint
 * cannot be used. */
struct pubsub *pubsub_new(const struct org_config *org, struct err *e);
/* Ends every call, which is told as always; holding a lock that the listener takes would be a deadlock. */
void pubsub_free(struct pubsub *p);

enum pubsub_from { PUBSUB_LATEST, PUBSUB_EARLIEST, PUBSUB_CUSTOM };

/*
 * Open a stream with this token (the caller got it from auth). Never blocks and never fails: what goes wrong
 * arrives as on_end. That may be before this function returns: an owner who keeps the pointer holds a lock of
 * its own across the call, which on_end takes too to forget the pointer. `number` is given back by
 * pubsub_stream_number: responses of a stream older than the current one are discarded by their owner.
 */
struct pubsub_stream *pubsub_subscribe(struct pubsub *p, const struct auth_token *token, const char *topic,
                                       enum pubsub_from from, struct span replay_id, uint64_t number,
                                       const struct pubsub_listener *listener, void *ctx);

/*
 * The same for a managed subscription, whose position the service keeps: it begins after what was committed.
 * Only one stream of it may be open anywhere: the service ends a second one with ALREADY_EXISTS.
 */
struct pubsub_stream *pubsub_managed_subscribe(struct pubsub *p, const struct auth_token *token,
                                               const char *developer_name, uint64_t number,
                                               const struct pubsub_listener *listener, void *ctx);
/* What time mends, of the ends of a managed stream: the one before it is still open, or the name is not known yet. */
enum pubsub_managed_trouble { PUBSUB_NO_TROUBLE, PUBSUB_SLOT_TAKEN, PUBSUB_NAME_UNKNOWN };
enum pubsub_managed_trouble pubsub_managed_trouble(const struct pubsub_status *status);
/*
 * Tell the service that everything up to this id is ours (managed streams only). Never blocks; a commit that
 * was not sent yet gives way to the newer one. The answer comes in a response, by its serial (from 1 on,
 * ascending), for this commit or a later one; or never, when the stream ends first.
 */
void pubsub_stream_commit(struct pubsub_stream *s, uint64_t serial, struct span replay_id);
uint64_t pubsub_stream_number(const struct pubsub_stream *s);

/* True when the stream's refills are paused because the owner asked for it. */
void pubsub_stream_pause(struct pubsub_stream *s);  /* ask for nothing more until resumed */
void pubsub_stream_resume(struct pubsub_stream *s); /* refill now if pending is low */
/* End it; on_end still comes (status CANCELLED). Safe to call any time before on_end has returned. */
void pubsub_stream_cancel(struct pubsub_stream *s);
/* The same for a stream that has gone silent: its connection may be dead for all streams though pings are
 * answered, so the next call makes another. */
void pubsub_stream_give_up(struct pubsub_stream *s);

struct pubsub_topic {
    char *name;
    bool can_subscribe, can_publish;
    char *schema_id; /* "" for multi-entity channels */
};

/*
 * Unary calls, blocking the calling thread (never the I/O thread) up to timeout_ms. 0, or -1 with *status
 * filled in. The strings of *out are the caller's to free().
 */
MUST_CHECK int pubsub_get_topic(struct pubsub *p, const struct auth_token *token, const char *topic,
                                int timeout_ms, struct pubsub_topic *out, struct pubsub_status *status);
MUST_CHECK int pubsub_get_schema(struct pubsub *p, const struct auth_token *token, const char *schema_id,
                                 int timeout_ms, struct buf *json, struct pubsub_status *status);

/* As above without blocking: done is called on the I/O thread, exactly once; json is valid until it returns.
 */
typedef void (*pubsub_schema_fn)(void *ctx, const struct pubsub_status *failed, struct span json);
void pubsub_get_schema_async(struct pubsub *p, const struct auth_token *token, const char *schema_id,
                             int timeout_ms, pubsub_schema_fn done, void *ctx);
typedef void (*pubsub_topic_fn)(void *ctx, const struct pubsub_status *failed,
                                const struct pubsub_topic *topic);
void pubsub_get_topic_async(struct pubsub *p, const struct auth_token *token, const char *topic,
                            int timeout_ms, pubsub_topic_fn done, void *ctx);

/* The one visible table from (status, error-code, text) to a reaction: pubsub-api 6. Matched by "contains".
 */
enum pubsub_reaction pubsub_classify(int grpc_code, const char *error_code, const char *text);
const char *pubsub_reaction_name(enum pubsub_reaction r);
const char *pubsub_status_name(int grpc_code);

#endif
