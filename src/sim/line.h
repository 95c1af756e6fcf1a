/*
 * line: one relayed connection. Internal to the relay.
 *
 * Two pipes, each from one socket to the other: what was read is judged frame by frame and queued; what is
 * queued is written as the socket takes it. A subscription is known by its first message; there it takes its
 * fault. HEADERS are passed on even for a stream that was reset here: both ends keep one compression table per
 * connection.
 *
 * Ownership: a line owns its sockets. Thread: the relay's. Errors: a socket that fails ends the line.
 */
#ifndef SIM_LINE_H
#define SIM_LINE_H

#include "sim/frames.h"
#include "sim/relay.h"

#include <poll.h>

struct line_stream {
    uint32_t id;
    enum { STREAM_NEW, STREAM_PLAIN, STREAM_EVENTS, STREAM_DEAD } kind;
    struct buf first; /* message of the client, until it is known what it asks for */
    struct message_scan up, down;
    int64_t responses;
    bool has_fault, garble;
    struct wire_fault fault;
};

struct pipe {
    struct buf in;  /* read, not judged: less than a frame */
    struct buf out; /* to be written from out_at on */
    size_t out_at;
};

struct line {
    struct line *next;
    struct relay *relay;
    int client, server; /* server -1: it has ended */
    struct pipe up, down;
    bool preface_passed, mute;
    bool over;            /* to be freed */
    bool close_when_sent; /* … once the client was sent what is queued */
    struct line_stream *streams;
    size_t n_streams;
    uint32_t last_stream;
    int64_t silent_until_ms; /* monotonic; 0: it speaks */
    int64_t drip_bytes, drip_every_ms, drip_at_ms;
};

/* relay.c: the oldest fault that waits; a subscription has begun. */
bool relay_take(struct relay *r, struct wire_fault *out);
void relay_struck(struct relay *r, const struct wire_fault *fault);

struct line *line_new(struct relay *relay, int client, int server);
/* Resets the client when `reset`. */
void line_free(struct line *l, bool reset);

/* What to poll for: fds[0] is the client, fds[1] the server. Returns ms until it is due by itself; -1: never.
 */
int64_t line_wants(struct line *l, struct pollfd fds[2], int64_t now_ms);
/* Read, judge, write, as far as the sockets allow. */
void line_turn(struct line *l, const struct pollfd fds[2], int64_t now_ms);
/* A fault that is to strike at once. */
void line_strike_now(struct line *l, const struct wire_fault *fault, int64_t now_ms);
/* Nothing holds or slows it any more. */
void line_calm(struct line *l);

#endif
