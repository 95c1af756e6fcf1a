/*
 * call: one RPC on the server side, and the operations every kind of RPC needs.
 *
 * The pattern: when a call arrives, "tell me when it is over" (TAG_OVER) and "give me the first message"
 * (TAG_MESSAGE) are started. Each started batch has one tag; `outstanding` counts them, and when the
 * last has come back after the end, the call is freed. What is sent is handed to gRPC as slices; what
 * must live until a tag comes back (trailing metadata, details) is in the call.
 *
 * Thread: main, under the simulator's lock. Errors: a batch that cannot be started is a BUG.
 */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include "base/buf.h"
#include "sim/faults.h"
#include "sim/flow.h"
#include "sim/sim.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

enum tag_kind { TAG_NEW, TAG_OVER, TAG_MESSAGE, TAG_SENT, TAG_ENDED, TAG_KINDS, TAG_SHUTDOWN };

struct call;

struct tag {
    enum tag_kind kind;
    struct call *call;
};

/* A gRPC status with the service's own error code. */
struct failure {
    grpc_status_code status;
    const char *code; /* without the common prefix; NULL: the error has none */
    char text[400];
};

struct call {
    struct call *next, **link; /* the server's list of open calls */
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    enum call_kind kind;
    char rpc_id[37];
    unsigned outstanding;
    struct tag tags[TAG_KINDS];

    grpc_byte_buffer *received;
    grpc_byte_buffer *sending;
    bool headers_sent, over, ending;

    /* The answer that waits for its time: GetSchema's delay, the late refusal of a token. */
    int64_t due_ms; /* monotonic; 0: nothing waits */
    bool fails;
    struct failure failure;
    struct buf answer;
    grpc_metadata trailing[2];
    grpc_slice details_text;

    bool has_fault; /* scripted: what it meets instead of an answer */
    struct fault fault;
    int64_t fault_due_ms; /* streams: 0 until it has been sent what comes before */

    /* Subscribe */
    bool active, half_closed;
    struct topic *topic;
    struct flow flow;
    uint64_t at;     /* bus index, or number in a benchmark */
    uint64_t number; /* of the stream, for the log */
    struct rng batches;
    int64_t last_response_ms; /* or the request that made pending positive */
    uint64_t sent;

    /* ManagedSubscribe */
    struct managed *managed; /* NULL until the first request was accepted */
    struct {
        bool waits;              /* the newest request, to be answered at due_ms */
        int64_t due_ms, last_ms; /* last_ms: when one was accepted, or the stream began */
        char request_id[64];
        uint8_t id[64];
        size_t id_len;
    } commit;
};

struct call *call_new(void);
/* Post the first operations of a call that has arrived. */
void call_accept(struct call *c);
/* Drop everything; nothing may be outstanding. */
void call_free(struct call *c);

void call_read(struct call *c);
/* Takes the buffer's bytes. */
void call_write(struct call *c, struct buf *message);
/* The unary answer in c->answer, and OK. */
void call_answer(struct call *c);
void call_fail(struct call *c, const struct failure *failure);
/* The same, once the message on its way is out: one operation of a kind at a time. */
void call_fail_after_write(struct call *c, const struct failure *failure);
void call_finish_ok(struct call *c);
/* The failure that c->fault asks for. */
void call_fault_failure(const struct call *c, struct failure *f);

/* The value of a metadata key (lower case); p is NULL when it is missing. */
struct span call_metadata(const struct call *c, const char *key);
/* All bytes of the received message, which is taken from the call. */
void call_message(struct call *c, struct buf *out);
void failure_set(struct failure *f, grpc_status_code status, const char *code, const struct call *c,
                 const char *fmt, ...) PRINTF_LIKE(5, 6);

/* SESSION_OK, or the failure is filled in. */
bool call_allowed(const struct call *c, const struct session *session, struct failure *f);

#endif
