/*
 * meeting: have two streams of one topic met?
 *
 * Both bring the topic's events in the order of the bus, each without a hole from where it began; where that is,
 * nobody can tell, because replay ids are compared for equality alone. Once one of them brings an event that the
 * other has brought, nothing is missing between: what both have brought is whole, and stays so if the plain one
 * ends and the managed one goes on.
 *
 * Four ids are remembered, not all. When the first event of one stream comes, it is the mark for the other; and the
 * newest of the other is the mark for this one. Whichever of the two is ahead then, the one behind gets to it.
 *
 * Calling order: zero it when both begin; then one call per response, in the order in which they are stored; true:
 * they have met. Ownership: values. Thread: one. Errors: none.
 */
#ifndef INTAKE_MEETING_H
#define INTAKE_MEETING_H

#include "event/event.h"
#include "pubsub/pubsub.h"

/* A replay id to recognise. */
struct mark {
    uint8_t id[EVENT_MAX_REPLAY_ID];
    uint32_t len; /* 0: none yet */
};

void mark_set(struct mark *m, struct span id);
struct span mark_span(const struct mark *m);

struct meeting {
    struct mark managed_first, managed_newest, beside_newest;
    struct mark managed_then; /* the managed stream's newest when the first of the plain one came */
    struct mark beside_then; /* the plain one's newest when the first of the managed one came; or its first */
};

bool meeting_managed(struct meeting *m, const struct pubsub_response *r);
/* A response without events says that nothing more is there: so there is nothing missing. */
bool meeting_beside(struct meeting *m, const struct pubsub_response *r);

#endif
