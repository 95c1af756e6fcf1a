/*
 * workload_parts: what the files of the workload share; nobody else includes it.
 *
 *   workload.c           transactions, and which comes next
 *   workload_edit.c      what happens to rows
 *   workload_publish.c   from a change to the bus, and what is published twice
 *   workload_special.c   events that are bad, or that tell less than happened
 *
 * Thread: under the simulator's lock.
 */
#ifndef SIM_WORKLOAD_PARTS_H
#define SIM_WORKLOAD_PARTS_H

#include "sim/workload.h"

enum { MERGE_MAX = 4 };

bool workload_chance(struct workload *w, double p);

/* --- rows --- */

/* First leaf of the field of this name. */
unsigned edit_leaf(const struct entity *entity, const char *name);
void edit_fill_new(struct workload *w, const struct entity *entity, struct field_val *leaves, bool person,
                   uint64_t number);

enum changeable {
    ANY_FIELD,
    PLAIN_FIELDS /* what several records can be given at once: no names, no addresses */
};

/* Change about n fields of a row and mark the leaves. */
void edit_fields(struct workload *w, const struct entity *entity, struct row *row, unsigned n,
                 enum changeable which, struct leaf_marks *marks);
/* LastModifiedDate changes with every update; LastModifiedById only when another user made it. */
void edit_modified(struct workload *w, const struct entity *entity, struct row *row,
                   struct leaf_marks *marks);
/* Different live rows of one table; returns how many. */
unsigned rows_draw(struct workload *w, const struct table *t, struct row **rows, unsigned wanted);
void rows_ids(struct row *const *rows, unsigned n, char ids[][19]);
/* Objects with records, in the proportion a sales team touches them. */
struct table *workload_draw_table(struct workload *w);

/* --- publishing --- */

/* topic, entity, id, schema and payload are filled in here. */
void workload_publish(struct workload *w, const struct entity *entity, struct publication *p);
void workload_publish_change(struct workload *w, const struct change_event *event, bool shares_replay_id,
                             const char *note);
void workload_publish_row(struct workload *w, const struct table *t, enum sim_change_type type,
                          const struct row *row, const struct leaf_marks *marks);
void workload_publish_repeat(struct workload *w, unsigned i);

/* --- special events: each returns whether it published one --- */

/* note NULL: the payload is damaged. The row does not change. */
bool special_undecodable(struct workload *w, const char *note);
bool special_oversize(struct workload *w);
/* A gap, an overflow or a wildcard: rows change, and the event does not say to what. */
bool special_gap(struct workload *w);
/* A long Description changes by one line, and only the difference is sent. */
bool special_diff(struct workload *w);

#endif
