/*
 * map_table: what the files of map share about one table: its columns and sources, what the target remembers of it,
 * and one leaf of a schema on its way to its column.
 *
 * map.c finds tables, entities and slots; map_leaf.c says what the schema and the configuration make of one field;
 * map_columns.c gives it its column.
 *
 * Calling order, per leaf: map_place_leaf -> map_source_of. Ownership: texts are made in the arena given, or belong to
 * the configuration or the schema. Thread: the sink's. Errors: ERR_CONFIG: names collide.
 */
#ifndef DELIVERY_MAP_TABLE_H
#define DELIVERY_MAP_TABLE_H

#include "delivery/map.h"

/* What the target remembers of a column. */
struct map_known {
    const char *table, *column, *field, *field_id;
    uint32_t number;
    enum mirror_type type;
};

struct map_table {
    struct mirror_table pub;
    const char *entity;
    const struct entity_config *config; /* NULL: the default mapping */
    struct mirror_column *columns;
    struct mirror_source *sources;
    uint32_t cap_columns, cap_sources;
    const struct map_known *known; /* of this table, by number */
    size_t n_known;
    uint32_t n_constants;
    uint32_t *constant_columns;
    struct mirror_value *constant_values;
};

struct map_leaf {
    const char *path;     /* "BillingAddress.City" */
    const char *field_id; /* "" when the schema does not say */
    uint32_t index;
    int child;
    const struct schema_field *field;
    const struct field_config *config; /* its own, that of its compound, or plain_field */
    const char *column;                /* as configured, or the default */
    bool chosen;                       /* the column's name is the user's */
    const char *member;                /* of a JSON column, else NULL */
    enum mirror_type type;
};

/* The column or table that an API name becomes. */
const char *map_default_name(struct arena *a, struct span name, size_t most);
/* The n-th part of "Data:DateTime:00N…", from 0; empty when there is none. */
struct span map_doc_part(const char *doc, int n);

/*
 * Where a leaf goes: fills in config, column, chosen, member and type. false: nowhere. What is said of the leaf itself
 * comes first, then what is said of its compound (parent; NULL: a plain field).
 */
bool map_place_leaf(const struct sink_config *config, const struct map_table *t,
                    const struct schema_field *parent, struct map_leaf *leaf, struct arena *a);

uint32_t map_add_column(struct map_table *t, const struct mirror_column *column);
/* The source of a leaf that has a place: the one it had, or a new one, if need be with a new column. -1: err. */
MUST_CHECK int map_source_of(struct map_table *t, const struct event_schema *schema, struct map_leaf *leaf,
                             struct arena *a, struct buf *remarks, struct err *e);

#endif
