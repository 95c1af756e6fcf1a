/*
 * frames: as much of HTTP/2 and gRPC as a relay between two ends has to understand.
 *
 * Where a frame ends, which stream it belongs to, where a gRPC message ends in the data of a stream, and
 * whether the first message of a call asks for events (a subscription) or for an answer. Headers are
 * compressed and stay closed: nothing here needs them.
 *
 * Ownership: everything borrows. Thread: any, one at a time. Errors: none; bytes that are no frames make
 * frame_peek wait for more, up to FRAME_MOST.
 */
#ifndef SIM_FRAMES_H
#define SIM_FRAMES_H

#include "base/buf.h"

enum { FRAME_HEADER = 9, FRAME_PREFACE = 24, FRAME_MOST = 1 << 24 };
enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_RST_STREAM = 3, FRAME_GOAWAY = 7, FRAME_WINDOW_UPDATE = 8 };
enum { FRAME_END_STREAM = 1, FRAME_PADDED = 8 };

struct frame {
    uint8_t type, flags;
    uint32_t stream;
    size_t n;               /* of the whole frame */
    size_t data_at, data_n; /* the payload without padding, from the start of the frame */
};

/* True: a whole frame stands at the beginning. */
bool frame_peek(struct span bytes, struct frame *out);
void frame_add_rst(struct buf *out, uint32_t stream, uint32_t code);
void frame_add_goaway(struct buf *out, uint32_t last_stream, uint32_t code, const char *debug);
void frame_add_window(struct buf *out, uint32_t stream, uint32_t bytes);

/* "NO_ERROR", "ENHANCE_YOUR_CALM", …; -1: not a code of HTTP/2. */
MUST_CHECK int frame_code(const char *name, uint32_t *code);

/* Follows the gRPC messages in one direction of a stream. */
struct message_scan {
    uint8_t prefix[5];
    unsigned prefix_n;
    uint32_t left; /* of the message in hand */
};

/*
 * Takes bytes up to the end of one part: of a prefix or of a message. Returns how many; *in_message: they are
 * the message's own, *complete: a message ends with them.
 */
size_t message_scan(struct message_scan *scan, struct span bytes, bool *in_message, bool *complete);

/* A first message of Subscribe or ManagedSubscribe, which alone have a number of events to ask for. */
bool message_asks_for_events(struct span message);

#endif
