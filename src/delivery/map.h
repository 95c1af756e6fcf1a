/*
 * map: from the fields of an entity to the columns of a table (docs/mirror.md).
 *
 * A map belongs to one sink. It says which table an entity goes to, which column each field fills, how values are
 * converted and cleaned, and what happens to values that cannot be. Tables grow as schemas grow: a field seen for
 * the first time appends a source and, unless it shares a JSON column, a column; nothing is ever removed.
 *
 * Guarantees
 *   A value is either converted as the configuration says, or refused with field, value and rule: never silently
 *   changed. Names collide loudly. The same schema gives the same slots.
 *
 * Calling order: map_new -> map_known (what the target remembers, once per open) -> (map_entity -> map_value)* ->
 * map_free.
 * Ownership: entities, tables and slots belong to the map and stay until map_free; values are made in the arena
 * given, or point into the event.
 * Thread: the sink's.
 * Errors: ERR_CONFIG from map_entity: this entity cannot be mirrored as configured (names collide): the event is
 * parked. map_value: MAP_PARK with why.
 */
#ifndef DELIVERY_MAP_H
#define DELIVERY_MAP_H

#include "base/arena.h"
#include "base/err.h"
#include "config/config.h"
#include "event/change.h"
#include "sink/mirror.h"

struct map;
struct map_rule; /* how values are converted; private to map */

/* Where one leaf field of a schema goes. A leaf is a plain field (child < 0) or one child of a compound. */
struct map_slot {
    uint32_t index;  /* in the schema's root */
    int child;       /* in the compound's shape, or -1 */
    uint32_t source; /* in the table's sources: stands for the field in versions */
    uint32_t column; /* in the table's columns */
    /* The column is `merged`, a JSON object that several fields share: values are JSON text, for map_patch_add. */
    bool json;
    const char *member; /* the key within that object; NULL when not json */
    const struct map_rule *rule;
};

/* One entity as one schema describes it. */
struct map_entity {
    const struct mirror_table *table;   /* shape rises when a schema brings new fields */
    const struct entity_config *config; /* NULL: the default mapping */
    enum conflict_policy conflict;
    enum delete_policy on_delete; /* DELETE_IGNORE besides those of the mirror */
    const struct event_schema *schema;
    uint32_t n_slots;
    const struct map_slot *slots; /* ascending (index, child) */
    /* Constants: set whenever a row may be inserted; their columns are insert_only. */
    uint32_t n_constants;
    const uint32_t *constant_columns; /* ascending */
    const struct mirror_value *constant_values;
};

struct map *map_new(const struct sink_config *config);
void map_free(struct map *m);

/*
 * What _tidemark_fields holds: columns keep what they were made from, across restarts. A field whose type changed
 * to one its column cannot hold, or that was made anew under its old name (another field id), gets a new column
 * NAME_2, NAME_3 …; the old one stays as it is. The remarks of map_entity say so, one line each.
 */
void map_known(struct map *m, const struct mirror_field *fields, size_t n);

/*
 * The entity of a change event, or the table of a platform event (`entity` is not looked at), as this schema
 * describes it. *out NULL: the configuration does not mirror it (filtered). remarks (may be NULL): what changed, for
 * the log and for incidents, one line each; said once.
 */
MUST_CHECK int map_entity(struct map *m, const struct event_schema *schema, struct span entity,
                          const struct map_entity **out, struct buf *remarks, struct err *e);

enum map_result {
    MAP_VALUE, /* *out goes to the column */
    MAP_PARK,  /* refused: why says field, value and rule, and never more than the beginning of a long text */
    MAP_LEAVE, /* null, and the configuration leaves the column as it is (nulls: keep) */
};

/*
 * One value for its column; cell NULL is null. *flagged: NULL, or the rule (static text) by which a configured
 * fallback cut or emptied the value (on_too_long: flag, on_error: null), and why says as much: counted and logged by the
 * caller.
 */
MUST_CHECK enum map_result map_value(const struct map_entity *entity, const struct map_slot *slot,
                                     const struct cell *cell, struct arena *a, struct mirror_value *out,
                                     const char **flagged, struct err *why);

/*
 * The patch of a merged column, member by member: an empty buf becomes "{…}". A null value is the member `null`, which
 * removes it.
 */
void map_patch_add(struct buf *patch, const char *member, const struct mirror_value *value);
/* A member of such an object, as the text that stands there. False: it has none of this name, or is no object. */
bool map_patch_find(struct span object, const char *member, struct span *value);
/* The text that such a value is; false: it is none. */
bool map_patch_text(struct span value, struct arena *a, struct span *text);

#endif
