/*
 * event: one ConsumerEvent as it was received, with what we know about its arrival.
 *
 * This is what the journal keeps and what a sink is given beside the decoded change.
 *
 * Ownership: all spans borrow; whoever fills an event in says how long they live. Thread: any.
 */
#ifndef EVENT_EVENT_H
#define EVENT_EVENT_H

#include "base/span.h"

#include <stdint.h>

enum event_flags {
    EVENT_UNDECODABLE = 1 << 0, /* the service refused the schema, or the header does not decode */
    EVENT_REPLAYED = 1 << 1,    /* an earlier generation held it: the JSON says "replay": generation */
};

enum { EVENT_MAX_REPLAY_ID = 64 }; /* bytes; 10 in all captures, opaque */

struct event_data {
    uint64_t seq; /* our number, from 1; 0 before the journal gave one */
    uint32_t subscription; /* the store's number of the subscription, from 1 */
    uint32_t generation;
    uint32_t epoch; /* of the org: rises when its database instance changes */
    uint32_t flags;
    int64_t received_ms; /* wall clock */
    struct span event_id; /* UUID text in all captures; may be empty */
    struct span replay_id;
    struct span schema_id;
    struct span payload; /* bare Avro datum */
};

#endif
