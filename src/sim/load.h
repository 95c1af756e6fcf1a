/*
 * load: events from files, so that captures of a real org can be served.
 *
 * A file is one JSON object:
 *   {"topic": "/data/AccountChangeEvent",      optional, for events that do not say
 *    "schema_file": "Account.avsc",            optional, likewise; relative to the file or the folder above
 * it "schema_id": "…",                         optional, likewise "schema_files": ["Contact.avsc", …],
 * optional, more schemas to serve "events": [{"payload_b64": "…",           required: the bare Avro datum
 *                "event_id": "…",              else a new UUID
 *                "replay_id_hex": "…",         8 or 10 bytes; else the next one
 *                "schema_file", "schema_id", "topic": as above}]}
 * Other members are ignored. The topic follows from the schema's record name, or from the entity in the
 * change header, when nothing names it. All files together are put on the bus in the order of their
 * replay ids; events without one come last, in file order.
 *
 * Thread: main, before the ports open. Errors: -1 with ERR_CONFIG naming file and event.
 */
#ifndef SIM_LOAD_H
#define SIM_LOAD_H

#include "sim/sim.h"

MUST_CHECK int load_files(struct sim *s, struct err *e);

/* What the header of a change event says, read from the start of its payload. */
struct header_peek {
    char entity[80];
    char (*record_ids)[19]; /* owned */
    size_t n_record_ids;
    int change_type; /* index of the symbol */
};

/* -1: the bytes do not begin with a change header. */
int header_peek(struct span payload, struct header_peek *out);
void header_peek_release(struct header_peek *peek);

#endif
