/*
 * schemas: what GetSchema answers.
 *
 * Schema JSON by true id (canonical.h). The built-in ones are made from the entities; others are loaded
 * from files. avro-c checks every one of them, so that no broken schema is served by accident.
 *
 * Ownership: schemas_add copies. Thread: under the simulator's lock.
 * Errors: -1 with ERR_CONFIG when a schema is not valid.
 */
#ifndef SIM_SCHEMAS_H
#define SIM_SCHEMAS_H

#include "base/buf.h"
#include "base/err.h"

struct schema {
    char id[23];
    char record[128]; /* "AccountChangeEvent" */
    bool refused;     /* --refuse-schema */
    struct buf json;
};

struct schemas {
    struct schema **list;
    size_t n;
};

/* id_out may be NULL. */
MUST_CHECK int schemas_add(struct schemas *s, struct span json, char id_out[23], struct err *e);
struct schema *schemas_find(const struct schemas *s, struct span id);
struct schema *schemas_find_record(const struct schemas *s, const char *record);
void schemas_release(struct schemas *s);

/* "/data/AccountChangeEvent" or "/event/Order__e", by the record's name. out holds 160. */
void topic_of_record(const char *record, char out[160]);

#endif
