/*
 * payload: one event's Avro datum, from rows and a transaction.
 *
 * Change events: the header with its bitmaps, then every field of the object. CREATE and UNDELETE carry
 * all values, UPDATE those of the leaves marked changed, DELETE none. In an UPDATE of a compound only
 * the changed components are filled; the record is there even when all of them became null.
 *
 * Ownership: appends to the caller's buffer. Thread: any. Errors: none.
 */
#ifndef SIM_PAYLOAD_H
#define SIM_PAYLOAD_H

#include "sim/org.h"

/* By index in the schema's enum. */
enum sim_change_type {
    SIM_CREATE,
    SIM_UPDATE,
    SIM_DELETE,
    SIM_UNDELETE,
    SIM_GAP_CREATE,
    SIM_GAP_UPDATE,
    SIM_GAP_DELETE,
    SIM_GAP_UNDELETE,
    SIM_GAP_OVERFLOW
};
const char *sim_change_type_name(enum sim_change_type type);

struct transaction {
    char key[37];
    const char *origin;
    const char *user;
    int64_t commit_ms;
    int64_t commit_number;
    int32_t sequence; /* of the last event made */
};

/* Which leaves an UPDATE touched. */
struct leaf_marks {
    bool changed[ENTITY_MAX_LEAVES];
    bool nulled[ENTITY_MAX_LEAVES];
};

struct change_event {
    const struct entity *entity;
    enum sim_change_type type;
    const char (*record_ids)[19];
    size_t n_record_ids;
    const struct row *row;          /* values; NULL for DELETE and gaps */
    const struct leaf_marks *marks; /* UPDATE only */
    bool extended;                  /* by the schema with the fields that were added later */
    const char *diff;               /* sent in place of the value of leaf diff_leaf; NULL: no diff */
    unsigned diff_leaf;
};

void payload_change(struct buf *out, const struct change_event *event, const struct transaction *tx);
/* A platform event: leaves by field. */
void payload_platform(struct buf *out, const struct entity *entity, const struct field_val *leaves);

#endif
