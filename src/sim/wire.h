/*
 * wire: writing the two protobuf messages that carry events, by hand.
 *
 * A published event is encoded once, as one `events` entry of a FetchResponse, and then only copied:
 * every stream that is sent the event sends the same bytes. Requests and unary answers go through
 * protobuf-c; only what is sent by the million is written here. The fields are those of
 * eventbus.v1 (proto/pubsub_api.proto).
 *
 * Ownership: everything appends to a buffer of the caller. Thread: any. Errors: none.
 */
#ifndef SIM_WIRE_H
#define SIM_WIRE_H

#include "base/buf.h"

enum { WIRE_REPLAY_ID_MAX = 10 };

/* A replay id as the service hands it out: 8 bytes big-endian, then zeros up to `width` (8 or 10). */
void replay_id_write(uint64_t counter, size_t width, uint8_t *out);
/* Reads the 8-byte and the 10-byte form; -1 for everything else. */
MUST_CHECK int replay_id_read(struct span id, uint64_t *counter);

void wire_add_varint(struct buf *b, uint64_t v);

/* One `events` entry: ConsumerEvent { ProducerEvent { id, schema_id, payload }, replay_id }. */
void wire_add_event(struct buf *b, struct span event_id, struct span schema_id, struct span payload,
                    struct span replay_id);
/* What follows the events in a FetchResponse: latest_replay_id, rpc_id, pending_num_requested. */
void wire_add_response_tail(struct buf *b, struct span latest_replay_id, struct span rpc_id, int32_t pending);

#endif
