/*
 * identity: what makes two events the same event (I2).
 *
 * 128 bits of a hash keyed by the store's id, over (org id, subscription number, generation) and
 *   a change:          event id + record ids (split events share event id and replay id),
 *   a platform event:  event id + a hash of the payload (publishers may set their ids),
 *   no event id:       entity, transaction key, sequence number, record ids; or the replay id + a hash of the
 * payload, undecodable:       event id + replay id + a hash of the payload. The key keeps anybody who chooses
 * event ids from making two of them collide.
 *
 * Thread: any. Errors: none.
 */
#ifndef INTAKE_IDENTITY_H
#define INTAKE_IDENTITY_H

#include "event/change.h"
#include "event/event.h"
#include "store/seen.h"

struct identity_scope {
    uint64_t key; /* from the store id */
    struct span org_id;
    uint32_t subscription;
};

/* header NULL: undecodable; header->entity empty: a platform event. */
struct identity identity_of(const struct identity_scope *scope, uint32_t generation,
                            const struct event_data *ev, const struct change_header *header);

#endif
