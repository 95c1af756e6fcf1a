/*
 * sink: the contract between delivery and a target.
 *
 * A sink is a `const struct sink_ops` and a private struct. Delivery decides what is written and what
 * happens on failure; a sink only writes and tells the truth about it.
 *
 * For each delivery of a batch a sink reports exactly one outcome (sink_report):
 *   DELIVERED  the other side said it is durable: not "queued", not "sent";
 *   RETRY      certainly not applied; try later;
 *   UNKNOWN    may have been applied (timeout after send, link lost): try later with the same key;
 *   REJECTED   this delivery will never be accepted; it is parked with the reason.
 *
 * What a sink does not do: choose backoff, touch the store, log payloads or secrets, read environment or
 * configuration by name, keep a pointer to a delivery after submit returned, exit the process.
 *
 * Calling order: new -> open -> state -> (submit -> state)* -> close -> free. open may be called again
 * after close, and after a failed open. What a sink may rely on:
 *   after open and after reopen, delivery commits what state gives before the first submit: a file
 *   that nobody remembers cannot be told from somebody else's after a crash;
 *   after every submit, it commits state in the transaction of the cursor;
 *   after a batch with RETRY or UNKNOWN, it closes and opens again, with what the store holds, before it
 *   tries again: the sink may have lost its output, and open finds out what became of the batch.
 * A submit on a sink that is not open reports RETRY. Every delivery of a batch comes with the outcome
 * SINK_UNREPORTED; reporting twice is a BUG.
 *
 * Thread: the sink's own delivery thread, all calls; submit may block in the target's client library.
 * Errors: open: ERR_RETRY (try again later), ERR_REJECTED (needs a person: foreign tail, locked by
 * another process), ERR_STORE never.
 */
#ifndef SINK_SINK_H
#define SINK_SINK_H

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "event/change.h"
#include "event/event.h"
#include "event/json_line.h"

enum sink_outcome { SINK_UNREPORTED, SINK_DELIVERED, SINK_RETRY, SINK_UNKNOWN, SINK_REJECTED };

/* One event (events mode) or one event for one record (records mode). Borrowed until submit returns. */
struct delivery {
    const struct event_data *ev;
    const struct change *ch;
    const struct line_source *source;
    unsigned line_flags; /* LINE_LATE */
    struct span only;    /* of the event's records this one alone, by delivery to mirrors; empty: all */
    enum sink_outcome outcome;
};

struct sink_batch {
    struct delivery *deliveries;
    size_t n;
    struct err reason; /* why deliveries of this batch are not DELIVERED: the last one reported */
};

/* What delivery remembers for a sink in the store, and gives back at open. */
struct sink_memory {
    uint64_t cursor;   /* last seq settled */
    struct span state; /* what ops->state wrote with that cursor; empty for a new sink */
};

struct sink;

struct sink_ops {
    const char *kind; /* "file" */
    bool records_mode;
    struct sink *(*new)(const struct sink_config *config);
    /*
     * notice: what people should know about how it was opened ("rotated", "cut back"), appended. 0 with e filled in
     * (ERR_UNKNOWN): it is open, but something may be missing from the target, or come twice; delivery opens an incident
     * with this text. reopen may do the same.
     */
    MUST_CHECK int (*open)(struct sink *s, const struct sink_memory *memory, struct buf *notice,
                           struct err *e);
    /* Write the whole batch, make it durable, report every delivery. */
    void (*submit)(struct sink *s, struct sink_batch *batch);
    /* Append what must be committed with the cursor: valid after submit and after open. */
    void (*state)(const struct sink *s, struct buf *out);
    /* SIGHUP, at a batch boundary: open outputs anew (log rotation). May be NULL. */
    MUST_CHECK int (*reopen)(struct sink *s, struct buf *notice, struct err *e);
    void (*close)(struct sink *s); /* safe after a half-failed open */
    void (*free)(struct sink *s);
};

/* The list of sinks: one visible table. */
const struct sink_ops *sink_ops_of(enum sink_kind kind);

void sink_report(struct sink_batch *batch, size_t index, enum sink_outcome outcome, const struct err *reason);
/* Report every delivery that has no outcome yet. */
void sink_report_rest(struct sink_batch *batch, enum sink_outcome outcome, const struct err *reason);

#endif
