/*
 * append: the commit path of loop 1. From received events to journal, identities, position and totals, in ONE
 * transaction.
 *
 * Guarantees, each kept here and nowhere else:
 *   I1  a resume point is written only in the transaction that appends, or recognises as held, every event up
 *       to it; an id becomes the resume point only once a different id or a keepalive has followed it on that
 *       stream;
 *   I2  an identity is added in the transaction that appends its event;
 *   I3  a keepalive's id is taken only in the order of the stream, after all events before it;
 *   I9  received = duplicates + before_start + journaled.
 * After append_commit returned -1 nothing of the batch took effect, in memory or on disk.
 *
 * Calling order: append_open -> ( append_add* -> append_commit )* -> append_close.
 * Ownership: events given to append_add are borrowed until append_commit returns.
 * Thread: the intake thread. Errors: -1 with err, ERR_STORE.
 */
#ifndef INTAKE_APPEND_H
#define INTAKE_APPEND_H

#include "intake/identity.h"
#include "store/journal.h"
#include "store/subscriptions.h"

/* What one stream has brought so far, as far as it is stored (I1). Zero when the stream is opened. */
struct replay_group {
    uint8_t id[EVENT_MAX_REPLAY_ID]; /* of the group of events seen last, more of which may come */
    uint32_t len;                    /* 0: nothing was seen on this stream yet */
    uint8_t passed
        [EVENT_MAX_REPLAY_ID]; /* the newest id behind which something else has followed: its resume point */
    uint32_t passed_len;
};

/* One received event, prepared: its header was decoded as far as it decodes. */
struct arrival {
    struct event_data ev;               /* flags, ids and payload; seq is given by the journal */
    const struct change_header *header; /* NULL: undecodable */
    bool before_start; /* committed clearly before a `start: latest` subscription began: counted, not kept */
};

/* What one response (or a part of one, in order) brings to one subscription. */
struct arrivals {
    struct subscription_record *record; /* changed by append_commit, on success only */
    struct replay_group *group;         /* likewise */
    uint32_t epoch;
    int64_t received_ms;
    struct arrival *items;
    size_t n;                 /* 0: a keepalive */
    struct span keepalive_id; /* latest_replay_id of an empty response; else empty */
    bool aside; /* of a stream that is not the one to say how far the subscription is: its group moves, the
                   record's resume point does not */
    bool beside; /* of a stream beside another: what is before_start here may come there, and count */
};

struct appender;

MUST_CHECK int append_open(struct store *st, struct appender **out, struct err *e);
void append_close(struct appender *a);

/* Queue for the next commit. */
void append_add(struct appender *a, const struct arrivals *arrivals);
size_t append_pending(const struct appender *a); /* events queued */

/*
 * Commit all that is queued. source_ms: source time now (0: unknown), kept as the greatest ever.
 * *head is the journal's head afterwards.
 */
MUST_CHECK int append_commit(struct appender *a, int64_t source_ms, uint64_t *head, struct err *e);

/*
 * Upkeep, one bounded step each, in a transaction of its own.
 *
 * Identities: seal, merge, or expire those whose source time is before expire_before_ms. Trim: remove the
 * oldest blocks that all sinks have settled, if older than before_ms or for_space; *more: there is more to
 * remove. A time of 0 means that nothing is old yet.
 */
bool append_identities_want_upkeep(const struct appender *a, int64_t expire_before_ms); /* cheap */
MUST_CHECK int append_keep_identities(struct appender *a, int64_t expire_before_ms, struct err *e);
MUST_CHECK int append_trim(struct appender *a, int64_t before_ms, bool for_space, bool *more, struct err *e);

#endif
