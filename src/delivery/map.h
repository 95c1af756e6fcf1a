/*
 * map: from the fields of an entity to the columns of a table (INTERFACE, configuration and default mapping).
 *
 * A map belongs to one sink. It says which table an entity goes to, which column each field fills, how values are
 * converted and cleaned, and what happens to values that cannot be. Tables grow as schemas grow: a field seen for
 * the first time appends a source and, unless it goes to a JSON column, a column; nothing is ever removed.
 *
 * Guarantees
 *   A value is either converted as the configuration says, or refused with field, value's kind and rule: never
 *   silently changed. Names collide loudly. The same schema gives the same slots.
 *
 * Calling order: map_new -> map_known (what the target remembers, once per open) -> (map_entity -> map_value)* ->
 * map_free.
 * Ownership: entities, tables and slots belong to the map and stay until map_free; values are made in the arena given.
 * Thread: the sink's.
 * Errors: ERR_CONFIG from map_entity: this entity cannot be mirrored as configured (names collide): the event is
 * parked; map_value: 1 with why when the delivery is to be parked.
 */
#ifndef DELIVERY_MAP_H
#define DELIVERY_MAP_H

#include "base/arena.h"
#include "base/err.h"
#include "config/config.h"
#include "event/change.h"
#include "sink/mirror.h"

struct map;

/* Where one leaf field of a schema goes. A leaf is a plain field (child < 0) or one child of a compound. */
struct map_slot {
    uint32_t index; /* in the schema's root */
    int child;      /* in the compound's shape, or -1 */
    uint32_t source; /* in the table's sources: stands for the field in versions */
    uint32_t column; /* in the table's columns */
    bool json;       /* the column is a JSON object that holds several fields: the value is a patch at `member` */
    const char *member; /* the key within that object */
    const struct map_rule *rule; /* how values are converted; private to map */
};

/* One entity as one schema describes it. */
struct map_entity {
    const struct mirror_table *table; /* shape rises when a schema brings new fields */
    const struct entity_config *config; /* NULL: the default mapping */
    enum conflict_policy conflict;
    enum delete_policy on_delete; /* DELETE_IGNORE besides those of the mirror */
    const struct event_schema *schema;
    uint32_t n_slots;
    const struct map_slot *slots; /* ascending (index, child) */
    /* Values every row gets when it is inserted: constants. */
    uint32_t n_constants;
    const uint32_t *constant_columns;
    const struct mirror_value *constant_values;
};

struct map *map_new(const struct sink_config *config);
void map_free(struct map *m);

/*
 * What _tidemark_fields holds: columns keep what they were made from, across restarts. A field whose type changed
 * to one its column cannot hold, or that was made anew under its old name (another field id), gets a new column
 * NAME_2, NAME_3 …; the old one stays as it is. `remarks` says so, one line each.
 */
void map_known(struct map *m, const struct mirror_field *fields, size_t n);

/*
 * The entity of a change event, or the table of a platform event, as this schema describes it. *out NULL: the
 * configuration does not mirror it (filtered). remarks: what changed (new columns, a type that changed), for the log.
 */
MUST_CHECK int map_entity(struct map *m, const struct event_schema *schema, struct span entity,
                          const struct map_entity **out, struct buf *remarks, struct err *e);

/*
 * One value for its column; cell NULL is null. 0: *out is the value; 1: to be parked, why says field, rule and what
 * was found (never the whole value of a long text). flagged: the value was cut or emptied by a configured fallback
 * (on_too_long: flag, on_error: null): counted and logged by the caller.
 */
int map_value(const struct map_entity *entity, const struct map_slot *slot, const struct cell *cell, struct arena *a,
              struct mirror_value *out, bool *flagged, struct err *why);

/* Names of the default mapping: "LastModifiedDate" -> "last_modified_date" (INTERFACE). */
void map_default_name(struct span field, struct buf *out);

#endif
