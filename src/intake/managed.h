/*
 * managed: a subscription whose position the service keeps as well. Internal to intake/.
 *
 * The managed stream begins after what was committed to the service. Only what our journal holds, synced, is
 * committed, and only an id behind which something else has followed on that stream (I1): so the service is never
 * ahead of this store. It can be ahead of what the store is now: one that was restored from a backup, lost, or told
 * to replay; or its position was reset there. Neither side can tell. So beside each managed stream a plain one runs
 * from the store's own position until the two meet (meeting.h), or the plain one has nothing more
 * to bring. Then nothing is missing between, and the plain one is closed. Until then it alone moves the resume
 * point; what both bring is a duplicate.
 *
 * Commits: one under way at a time, the newest; the same again after ten minutes of quiet, for a stream without
 * commits is closed after thirty. One that is refused is counted and shown; the stream goes on.
 *
 * The slot: one stream of a managed subscription at a time. After a broken line the service keeps it taken for up
 * to 18 minutes: ALREADY_EXISTS is waited out for 20, an unknown name for 5 (definitions take that long to become
 * known); then only a person can help.
 *
 * Thread: intake's.
 */
#ifndef INTAKE_MANAGED_H
#define INTAKE_MANAGED_H

#include "intake/append.h"
#include "intake/intake.h"
#include "intake/meeting.h"
#include "pubsub/pubsub.h"

struct source;

struct managed_run {
    /* The plain stream beside. */
    bool whole; /* nothing is missing before what the managed stream brings */
    bool open;
    bool ends; /* the plain one has ended, and the managed one is closed with it: one reconnect, not two */
    bool
        dropped; /* what came on the managed stream, and is not here before the two have met: no commit passes it */
    struct replay_group group;
    int64_t last_response_mono_ms;
    struct meeting meeting;

    /* Commits on this stream. */
    uint64_t asked, answered; /* serials */
    int64_t asked_mono_ms;    /* 0: none on this stream */
    struct mark sent;

    /* Since the start. */
    struct managed_view view;
    bool answer_unsaved;              /* the record knows more than the store */
    const struct avro_plan *compared; /* of the newest event: is it one of the topic? */

    int64_t refused_since_ms; /* monotonic: the slot taken, or the name unknown, without a break; 0: not */
};

/* How long the service's refusal of a managed stream is waited out: 0 for refusals that no time mends. */
int64_t managed_patience_ms(const struct pubsub_status *status);

/* The managed stream is being opened. whole: it is the first, and `latest` was asked for: none beside. */
void managed_begin(struct source *s, bool whole);
/* The stream beside, commits. *next as in source_step. */
MUST_CHECK int managed_step(struct intake *in, struct source *s, int64_t now, int64_t *next, struct err *e);
void managed_close_beside(struct intake *in, struct source *s);
/* At the end: nothing more is asked for; commits may still be. */
void managed_quieten(struct intake *in, struct source *s);
/* The managed stream was refused. True: state and pause are set. */
bool managed_on_refusal(struct source *s, const struct pubsub_status *status, int64_t now);
/* The answer to a commit, if there is one in the response. */
void managed_take_answer(struct source *s, const struct pubsub_response *r);
/*
 * The managed stream brings an event of this schema. Nothing compares the org's definition with our topic: one of
 * another topic would bring that instead, and what topic names would be missing once the plain stream is closed. So
 * it is said, and the plain stream stays.
 */
void managed_compare(struct source *s, const struct avro_plan *plan);
/* All of this response is in the batch. */
void managed_journaled(struct intake *in, struct source *s, const struct pubsub_response *r);
/* What the store holds now may be committed. Returns when to ask again, monotonic. */
int64_t managed_commit(struct intake *in, struct source *s, int64_t now);
/* The commit that was asked for last has no answer yet, and may still get one. */
bool managed_awaits_answer(struct intake *in, const struct source *s);
/* Store the answers that came since the record was stored. */
MUST_CHECK int managed_save_answer(struct intake *in, struct source *s, struct err *e);

#endif
