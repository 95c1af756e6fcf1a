#include "delivery/map_table.h"

#include "config/names.h"

#include <string.h>

static const struct field_config plain_field = {.field = NULL};

const char *map_default_name(struct arena *a, struct span name, size_t most)
{
    struct buf b = BUF_INIT;
    names_add_default(name, most, &b);
    const char *out = arena_strndup(a, (const char *)b.data, b.len);
    buf_release(&b);
    return out;
}

static const struct field_config *field_config(const struct entity_config *c, const char *path)
{
    for (uint32_t i = 0; c && i < c->n_fields; i++)
        if (strcmp(c->fields[i].field, path) == 0)
            return &c->fields[i];
    return NULL;
}

struct span map_doc_part(const char *doc, int n)
{
    for (; doc && n > 0; n--) {
        doc = strchr(doc, ':');
        doc = doc ? doc + 1 : NULL;
    }
    return doc ? span_of(doc, strcspn(doc, ":")) : span_of_str("");
}

static enum mirror_type type_of_schema(const struct schema_field *field)
{
    static const enum mirror_type types[] = {
        [CELL_NULL] = MIRROR_TEXT,     [CELL_BOOLEAN] = MIRROR_BOOLEAN, [CELL_INT] = MIRROR_BIGINT,
        [CELL_DOUBLE] = MIRROR_DOUBLE, [CELL_STRING] = MIRROR_TEXT,     [CELL_BYTES] = MIRROR_TEXT,
        [CELL_RECORD] = MIRROR_JSON,   [CELL_ARRAY] = MIRROR_JSON,      [CELL_MAP] = MIRROR_JSON};
    static const enum mirror_type moments[] = {
        [FIELD_DATETIME] = MIRROR_DATETIME, [FIELD_DATE] = MIRROR_DATE, [FIELD_TIME] = MIRROR_TIME};
    return field->type == CELL_INT && field->kind != FIELD_PLAIN ? moments[field->kind] : types[field->type];
}

static enum mirror_type type_of_config(const struct field_config *c, const struct schema_field *field)
{
    switch (c->type) {
    case FIELD_TYPE_OF_SCHEMA:
        return c->n_map ? MIRROR_TEXT : type_of_schema(field); /* what a map gives is text */
    case FIELD_TYPE_TEXT:
        return MIRROR_TEXT;
    case FIELD_TYPE_BOOLEAN:
        return MIRROR_BOOLEAN;
    case FIELD_TYPE_INTEGER:
        return MIRROR_BIGINT;
    case FIELD_TYPE_NUMBER:
        return MIRROR_DOUBLE;
    case FIELD_TYPE_DATE:
        return MIRROR_DATE;
    case FIELD_TYPE_DATETIME:
        return MIRROR_DATETIME;
    case FIELD_TYPE_TIME:
        return MIRROR_TIME;
    case FIELD_TYPE_JSON:
        return MIRROR_JSON;
    }
    BUG("there is no field type %d", (int)c->type);
}

static void as_column(struct map_leaf *leaf, const struct field_config *c, struct arena *a)
{
    leaf->config = c;
    leaf->chosen = c->column != NULL;
    leaf->column = c->column ? c->column : map_default_name(a, span_of_str(leaf->path), NAMES_MAX_COLUMN);
    leaf->type = type_of_config(c, leaf->field);
}

static void as_member(struct map_leaf *leaf, const struct field_config *c, const char *column,
                      const char *member)
{
    leaf->config = c;
    leaf->column = column;
    leaf->chosen = c->column != NULL;
    leaf->member = member;
    leaf->type = MIRROR_JSON;
}

bool map_place_leaf(const struct sink_config *config, const struct map_table *t,
                    const struct schema_field *parent, struct map_leaf *leaf, struct arena *a)
{
    enum new_fields new_fields = t->config ? t->config->new_fields : config->new_fields;
    enum compound_form compounds = t->config ? t->config->compounds : config->compounds;
    const struct field_config *own = field_config(t->config, leaf->path);
    const struct field_config *whole = parent ? field_config(t->config, parent->name) : NULL;
    bool pure = parent &&
                parent->type == CELL_RECORD; /* a compound and nothing else: it can be one JSON object */
    if (own && own->skipped)
        return false;
    if (own) {
        as_column(leaf, own, a);
        return true;
    }
    if (whole && whole->skipped)
        return false;
    const char *compound_column = NULL;
    if (pure && whole && whole->column)
        compound_column = whole->column;
    else if (pure && (whole || compounds == COMPOUNDS_JSON))
        compound_column = map_default_name(a, span_of_str(parent->name), NAMES_MAX_COLUMN);
    if (pure && whole)
        as_member(leaf, whole, compound_column, leaf->field->name);
    else if (new_fields == NEW_FIELDS_IGNORE)
        return false;
    else if (new_fields == NEW_FIELDS_JSON)
        as_member(leaf, &plain_field, NAMES_JSON_COLUMN, leaf->path);
    else if (compound_column)
        as_member(leaf, &plain_field, compound_column, leaf->field->name);
    else
        as_column(leaf, &plain_field, a);
    return true;
}
