/*
 * relay: the line between a client and the simulated service, and what a line does to a stream.
 *
 * With --relay the clients' port is this one; gRPC listens behind it, on a port of its own. Bytes are passed
 * on frame by frame, until a fault is due: a stream is reset, the connection told to go, cut, held or slowed.
 *
 * A fault waits for the next subscription (Subscribe, ManagedSubscribe), which takes the oldest one when it
 * begins and meets it after so many responses; or it strikes at once what is open now. `count` subscriptions
 * meet it. A refusal meets connections instead.
 *
 * Guarantees: without a fault bytes pass unchanged and in order, both ways.
 * Calling order: relay_open -> relay_order … -> relay_close (cuts what is open, joins the thread).
 * Thread: one of its own; relay_order from any. Errors: -1 with ERR_CONFIG.
 */
#ifndef SIM_RELAY_H
#define SIM_RELAY_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum wire_kind {
    WIRE_RESET,      /* TCP reset */
    WIRE_CLOSE,      /* the connection ends, without a word */
    WIRE_RST_STREAM, /* the stream ends with an HTTP/2 code */
    WIRE_GOAWAY,     /* … the connection; with NO_ERROR its streams go on, else it is closed behind that */
    WIRE_SILENCE,    /* nothing passes, either way; the connection stays open */
    WIRE_MUTE,       /* no stream is sent anything; pings are answered */
    WIRE_DRIP,       /* the client gets a few bytes at a time */
    WIRE_GARBLE,     /* the next response is not a message */
    WIRE_REFUSE,     /* new connections are reset at once */
    WIRE_KINDS
};

struct wire_fault {
    enum wire_kind kind;
    bool now;                /* strikes what is open; else the next subscription takes it */
    int64_t after;           /* responses */
    int64_t count;           /* subscriptions; WIRE_REFUSE: connections */
    uint32_t code;           /* HTTP/2: RST_STREAM, GOAWAY */
    char debug[64];          /* GOAWAY's text */
    int64_t hold_ms;         /* WIRE_SILENCE: then all that waits comes; 0: never */
    int64_t bytes, every_ms; /* WIRE_DRIP */
};

struct relay;

MUST_CHECK int relay_open(struct relay **out, const char *address, int target_port, int *port, struct err *e);
void relay_close(struct relay *r);

MUST_CHECK int relay_order(struct relay *r, const struct wire_fault *fault, struct err *e);
/* What waits is forgotten, and what holds or slows open connections ends. */
void relay_calm(struct relay *r);
/* How many faults have struck. */
uint64_t relay_strikes(struct relay *r);

#endif
