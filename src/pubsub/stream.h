/*
 * stream: what Subscribe and ManagedSubscribe have in common: one bidirectional call, its operations, its flow
 * control and its end. What differs is in a stream_kind: the messages, and how a response is read.
 *
 * Calling order: stream_open, then as pubsub.h says. stream_say whenever the kind has something to say.
 * Ownership: the stream frees itself after on_end; `first` is taken. Thread: as in pubsub.h.
 */
#ifndef PUBSUB_STREAM_H
#define PUBSUB_STREAM_H

#include "pubsub/internal.h"

#include <stdatomic.h>

struct stream_kind {
    const char *method;
    /* The next message: ask for n events (0: for none). Lock held. */
    grpc_byte_buffer *(*later)(struct pubsub_stream *s, int n);
    /* Something waits that is worth a message of its own. Lock held. NULL: never. */
    bool (*has_news)(const struct pubsub_stream *s);
    struct pubsub_response *(*read)(struct span wire, int *pending);
};

struct pubsub_stream {
    struct call call;
    const struct stream_kind *kind;
    uint64_t number;
    struct pubsub_listener listener;
    void *ctx;
    atomic_bool cancelled; /* by the owner: what still comes is dropped */

    pthread_mutex_t lock;
    struct tag sent_tag, initial_tag, received_tag, status_tag;
    unsigned under_way; /* tags that will come */
    bool sending, paused, over;
    int owed;
    int64_t asked_ms; /* monotonic: when we asked last */

    grpc_byte_buffer *outgoing; /* until its tag came */
    grpc_byte_buffer *incoming;

    struct { /* ManagedSubscribe: the commit that waits to be sent */
        bool waits;
        uint64_t serial;
        uint8_t replay_id[PUBSUB_MAX_REPLAY_ID];
        size_t len;
    } commit;
};

enum { STREAM_OWED_MAX = 100 };

struct pubsub_stream *stream_open(struct pubsub *p, const struct auth_token *token,
                                  const struct stream_kind *kind, grpc_byte_buffer *first, uint64_t number,
                                  const struct pubsub_listener *listener, void *ctx);
/* Send what is due, unless something is on its way already. Lock held. */
void stream_say(struct pubsub_stream *s);

#endif
