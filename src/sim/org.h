/*
 * org: the rows the company holds right now.
 *
 * The simulator's own truth, which a mirror can be compared with (GET /sim/state). Live rows per object,
 * and a recycle bin that undelete takes from.
 *
 * Ownership: rows belong to the org; a pointer stays valid until the row is dropped from the bin.
 * Thread: under the simulator's lock. Errors: none.
 */
#ifndef SIM_ORG_H
#define SIM_ORG_H

#include "sim/values.h"

struct row {
    char id[19];
    bool is_person; /* Account: a person account, whose Name is a record */
    struct field_val *leaves;
};

struct table {
    const struct entity *entity;
    struct row **live;
    size_t n_live, cap_live;
    struct row **bin; /* oldest first */
    size_t n_bin;
    uint64_t next_number; /* of the next record id */
};

struct org {
    char id[19];
    char users[6][19]; /* [0] is the geocoding service */
    struct table tables[ENTITY_COUNT];
};

enum { ORG_BIN_MAX = 200 };

void org_init(struct org *o, const char *org_id);
void org_release(struct org *o);

/* A new live row with all fields null. */
struct row *table_insert(struct table *t);
/* NULL when the table is empty. */
struct row *table_draw(const struct table *t, struct rng *rng);
/* Move a live row to the bin. */
void table_delete(struct table *t, struct row *row);
/* Take a row back from the bin; NULL when it is empty. */
struct row *table_undelete(struct table *t, struct rng *rng);

/* Append {"org_id":…,"entities":{"Account":{"001…":{field:value}}}}: fields that are not null. */
void org_state_json(struct buf *out, const struct org *o);

#endif
