/*
 * json_line: one event as one line of JSON, INTERFACE "One event as JSON".
 *
 * Key order, names and values are a contract with users' scripts; tests compare whole lines.
 *
 * Ownership: borrows everything, appends to out. Thread: any. Errors: none, a decoded change can always
 * be written.
 */
#ifndef EVENT_JSON_LINE_H
#define EVENT_JSON_LINE_H

#include "base/buf.h"
#include "event/change.h"
#include "event/event.h"

/* What the line says besides the change: constant per subscription. */
struct line_source {
    struct span org_id; /* 18 characters */
    struct span topic;
};

enum { LINE_LATE = 1 << 0 /* a re-driven dead letter: "late":true */ };

/*
 * Append the object without a line end. ev->seq 0 leaves "seq" out; ev->received_ms 0 leaves
 * "received_at" out; EVENT_REPLAYED adds "replay":generation.
 */
void json_line_add(struct buf *out, const struct event_data *ev, const struct change *ch,
                   const struct line_source *source, unsigned flags);

#endif
