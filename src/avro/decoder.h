/*
 * decoder: Avro schema JSON -> a compiled plan -> payload bytes -> a change.
 *
 * A plan is compiled once per schema from our own parse of the JSON (avro-c drops `doc`, where the
 * date kinds live); avro-c validates the schema first. Decoding walks the payload in place: no
 * allocation per field but the arena's, values point into the payload.
 *
 * Guarantees
 *   Hostile bytes give an error that names the offset, never a crash and never a silent field: lengths, counts
 *   and indexes are checked against what is left; arrays hold at most 100,000 items and never more than the
 *   remaining bytes can; zero-size items, blocks that are not as long as they say, trailing bytes, booleans
 *   other than 0 and 1, varints over 10 bytes (int: out of 32 bits), invalid UTF-8, branches or symbols out of
 *   range, nesting over 64 are errors. Work and memory are linear in the payload.
 *   Bitmaps are read with the event's own schema (pubsub-api 9.5); bits beyond it, bits of the header, components
 *   of a field that has none and odd numbers of digits are errors; order, repeats and letter case are not.
 *   Schemas: at most 4 MiB, 4,096 fields in all records together, depth 64; unknown members are ignored; an empty
 *   namespace is accepted; a member that refers to an undefined name, and a record that takes no bytes, are
 *   errors. A change event's header is read by the names of its fields, wherever they stand.
 *
 * Calling order: avro_compile -> avro_decode*()... ; plans are immutable and live as long as the process
 * (or until avro_plan_free, in tests).
 * Ownership: the caller owns the plan; a change lives in the arena and the payload.
 * Thread: compile one at a time (avro-c's error text is global: the function takes a lock); decode any.
 * Errors: -1, ERR_REJECTED; text names what and the byte offset, the caller adds event and schema id.
 */
#ifndef AVRO_DECODER_H
#define AVRO_DECODER_H

#include "base/arena.h"
#include "base/err.h"
#include "event/change.h"

struct avro_plan;

enum { AVRO_MAX_SCHEMA_BYTES = 4 << 20, AVRO_MAX_FIELDS = 4096, AVRO_MAX_DEPTH = 64, AVRO_MAX_ITEMS = 100000 };

MUST_CHECK int avro_compile(struct span schema_json, const char *schema_id, struct avro_plan **out, struct err *e);
void avro_plan_free(struct avro_plan *plan);
const struct event_schema *avro_plan_schema(const struct avro_plan *plan);
/* As avro_schema_id says; another than the service's own name for it is worth a log line and a count. */
const char *avro_plan_computed_id(const struct avro_plan *plan);

/* The whole event. */
MUST_CHECK int avro_decode(const struct avro_plan *plan, struct span payload, struct arena *a, struct change *out,
                           struct err *e);

/*
 * Only ChangeEventHeader, which comes first in the payload: all intake needs (identity, version).
 * A platform event's header is all zero. The rest of the payload is not looked at.
 */
MUST_CHECK int avro_decode_header(const struct avro_plan *plan, struct span payload, struct arena *a,
                                  struct change_header *out, struct err *e);

/*
 * What the service would call this schema: base64url, no padding, of the MD5 of its Avro Parsing
 * Canonical Form. 22 characters and a NUL.
 */
MUST_CHECK int avro_schema_id(struct span schema_json, char out[23], struct err *e);

#endif
