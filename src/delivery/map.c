/*
 * Tables, columns and slots.
 *
 * A schema is walked once: each leaf asks where it goes (map_place_leaf: configured, flattened, a member of a JSON
 * object, or nowhere), then for its source in the table (map_source_of): the one it had, here or in what the target
 * remembers, as long as the column can still hold it and the field is still the same field; else a new column. Old
 * schemas keep their slots: replayed events find the columns they always had.
 */
#include "delivery/map.h"

#include "base/alloc.h"
#include "config/names.h"
#include "delivery/map_parts.h"
#include "delivery/map_table.h"

#include <stdlib.h>
#include <string.h>

/* What became of one schema's entity. */
struct made {
    const struct event_schema *schema;
    struct span entity;
    bool filtered, failed;
    struct map_entity pub;
    struct err why;
    struct made *next;
};

enum { MADE_BUCKETS = 256 };

struct map {
    const struct sink_config *config;
    struct arena arena;       /* names, rules, slots: all of them stay */
    struct arena known_arena; /* of what the target remembers now */
    struct map_table **tables;
    uint32_t n_tables;
    struct map_known *known;
    size_t n_known;
    struct made *made[MADE_BUCKETS];
};

struct map *map_new(const struct sink_config *config)
{
    struct map *m = xcalloc(1, sizeof *m);
    m->config = config;
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; i < m->n_tables; i++) {
        free(m->tables[i]->columns);
        free(m->tables[i]->sources);
        free(m->tables[i]->constant_columns);
        free(m->tables[i]->constant_values);
        free(m->tables[i]);
    }
    free(m->tables);
    free(m->known);
    arena_release(&m->arena);
    arena_release(&m->known_arena);
    free(m);
}

static const char *keep(struct map *m, struct span s)
{
    return arena_strndup(&m->arena, s.p, s.n);
}

static int by_table(const void *left, const void *right)
{
    const struct map_known *a = left, *b = right;
    int order = strcmp(a->table, b->table);
    return order ? order : a->number < b->number ? -1 : a->number > b->number;
}

/* The first that is not before the table. */
static size_t known_from(const struct map *m, const char *table)
{
    size_t low = 0, high = m->n_known;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (strcmp(m->known[mid].table, table) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void find_known_of(const struct map *m, struct map_table *t)
{
    size_t begin = known_from(m, t->pub.name), end = begin;
    while (end < m->n_known && strcmp(m->known[end].table, t->pub.name) == 0)
        end++;
    t->known = end > begin ? &m->known[begin] : NULL;
    t->n_known = end - begin;
}

static const char *keep_known(struct map *m, struct span s)
{
    return arena_strndup(&m->known_arena, s.p, s.n);
}

void map_known(struct map *m, const struct mirror_field *fields, size_t n)
{
    free(m->known);
    arena_reset(&m->known_arena);
    m->known = xcalloc(n + 1, sizeof *m->known);
    m->n_known = n;
    for (size_t i = 0; i < n; i++) {
        const struct mirror_field *f = &fields[i];
        m->known[i] = (struct map_known){keep_known(m, f->table),
                                         keep_known(m, f->column),
                                         keep_known(m, f->field),
                                         keep_known(m, f->field_id),
                                         f->number,
                                         f->type};
    }
    qsort(m->known, n, sizeof *m->known, by_table);
    for (uint32_t i = 0; i < m->n_tables; i++)
        find_known_of(m, m->tables[i]);
}

/* --- tables -------------------------------------------------------------------------------------------- */

static void add_constants(struct map_table *t)
{
    uint32_t n = t->config ? t->config->n_constants : 0;
    t->n_constants = n;
    t->constant_columns = xcalloc((size_t)n + 1, sizeof *t->constant_columns);
    t->constant_values = xcalloc((size_t)n + 1, sizeof *t->constant_values);
    for (uint32_t i = 0; i < n; i++) {
        const struct constant_config *c = &t->config->constants[i];
        struct mirror_column column = {.name = c->column, .type = MIRROR_TEXT, .insert_only = true};
        t->constant_columns[i] = map_add_column(t, &column);
        t->constant_values[i] = (struct mirror_value){.type = MIRROR_TEXT, .as.text = span_of_str(c->value)};
    }
}

static enum mirror_on_delete on_delete_of(enum delete_policy policy)
{
    return policy == DELETE_SOFT ? MIRROR_SOFT : policy == DELETE_ARCHIVE ? MIRROR_ARCHIVE : MIRROR_HARD;
}

/* Two tables of one name, or a table that is another's history. */
static bool tables_collide(const struct map_table *a, const char *b, bool b_archives)
{
    size_t n = strlen(a->pub.name), nb = strlen(b);
    bool a_archives = a->pub.on_delete == MIRROR_ARCHIVE && !a->pub.append_only;
    return names_equal(a->pub.name, b) ||
           (a_archives && nb == n + 8 && strncasecmp(b, a->pub.name, n) == 0 &&
            names_equal(b + n, "_history")) ||
           (b_archives && n == nb + 8 && strncasecmp(b, a->pub.name, nb) == 0 &&
            names_equal(a->pub.name + nb, "_history"));
}

static struct map_table *table_of(struct map *m, struct span entity, const struct entity_config *config,
                                  const struct event_schema *schema, struct err *e)
{
    for (uint32_t i = 0; i < m->n_tables; i++)
        if (span_equal_str(entity, m->tables[i]->entity))
            return m->tables[i];
    const char *name = config && config->table ? config->table
                                               : map_default_name(&m->arena, entity, NAMES_MAX_TABLE);
    enum mirror_on_delete on_delete = on_delete_of(config ? config->on_delete : m->config->on_delete);
    for (uint32_t i = 0; i < m->n_tables; i++)
        if (tables_collide(m->tables[i], name, on_delete == MIRROR_ARCHIVE)) {
            err_set(e, ERR_CONFIG, "map", 0,
                    "%.*s and %s both need the table \"%s\": give one of them another with "
                    "entities.%.*s.table",
                    SPAN_ARG(entity), m->tables[i]->entity, name, SPAN_ARG(entity));
            return NULL;
        }
    struct map_table *t = xcalloc(1, sizeof *t);
    t->entity = keep(m, entity);
    t->config = config;
    t->pub.name = name;
    t->pub.key = config && config->key ? config->key : schema->is_change ? "id" : "event_id";
    t->pub.append_only = !schema->is_change;
    t->pub.on_delete = on_delete;
    t->pub.last_modified = config && schema->is_change ? config->last_modified_column : NULL;
    t->pub.number = m->n_tables;
    add_constants(t);
    find_known_of(m, t);
    m->tables = xrealloc(m->tables, (m->n_tables + 1) * sizeof *m->tables);
    return m->tables[m->n_tables++] = t;
}

/* --- slots ------------------------------------------------------------------------------------------------ */

struct maker {
    struct map *m;
    struct map_table *t;
    const struct event_schema *schema;
    struct map_slot *slots;
    uint32_t n, cap;
    struct buf *remarks;
    struct err *e;
};

static int add_leaf(struct maker *k, const struct schema_field *parent, const struct schema_field *field,
                    uint32_t index, int child)
{
    struct map *m = k->m;
    struct map_leaf leaf = {.index = index, .child = child, .field = field};
    if (child < 0) {
        leaf.path = field->name;
    } else {
        char *path = arena_alloc(&m->arena, parent->name_len + field->name_len + 2u);
        memcpy(path, parent->name, parent->name_len);
        path[parent->name_len] = '.';
        memcpy(path + parent->name_len + 1, field->name, field->name_len + 1u);
        leaf.path = path;
    }
    struct span id = map_doc_part(field->doc, 2);
    if (!id.n && parent)
        id = map_doc_part(parent->doc, 2);
    leaf.field_id = keep(m, id);
    if (!map_place_leaf(m->config, k->t, parent, &leaf, &m->arena))
        return 0;
    int source = map_source_of(k->t, k->schema, &leaf, &m->arena, k->remarks, k->e);
    if (source < 0)
        return -1;
    uint32_t column = k->t->sources[source].column;
    struct map_rule *rule = arena_alloc(&m->arena, sizeof *rule);
    *rule = (struct map_rule){.entity = k->t->entity,
                              .field = leaf.path,
                              .type = k->t->columns[column].type,
                              .member = leaf.member != NULL,
                              .multi = span_equal_str(map_doc_part(field->doc, 1), "MultiEnum"),
                              .kind = field->kind,
                              .config = leaf.config};
    if (k->n == k->cap)
        k->slots = xrealloc(k->slots, (k->cap = k->cap ? 2 * k->cap : 64) * sizeof *k->slots);
    k->slots[k->n++] = (struct map_slot){index,       child, (uint32_t)source, column, leaf.member != NULL,
                                         leaf.member, rule};
    return 0;
}

static int add_field(struct maker *k, uint32_t index)
{
    const struct schema_field *field = &k->schema->root.fields[index];
    bool scalar = field->type != CELL_RECORD && field->type != CELL_NULL;
    if (scalar && add_leaf(k, NULL, field, index, -1) != 0)
        return -1;
    for (uint32_t i = 0; field->record && i < field->record->n_fields; i++) {
        const struct schema_field *part = &field->record->fields[i];
        if (part->type != CELL_NULL && add_leaf(k, field, part, index, (int)i) != 0)
            return -1;
    }
    return 0;
}

static int make_slots(struct map *m, struct map_table *t, struct made *made, struct buf *remarks,
                      struct err *e)
{
    struct maker k = {.m = m, .t = t, .schema = made->schema, .remarks = remarks, .e = e};
    uint32_t columns = t->pub.n_columns, sources = t->pub.n_sources;
    int rc = 0;
    for (uint32_t i = made->schema->is_change; rc == 0 && i < made->schema->root.n_fields; i++)
        rc = add_field(&k, i);
    if (t->pub.n_columns != columns || t->pub.n_sources != sources)
        t->pub.shape++;
    if (rc == 0 && k.n) {
        struct span slots = arena_copy(&m->arena, span_of(k.slots, k.n * sizeof *k.slots));
        made->pub.n_slots = k.n;
        made->pub.slots = (const struct map_slot *)(const void *)slots.p;
    }
    free(k.slots);
    return rc;
}

/* --- entities --------------------------------------------------------------------------------------------- */

static struct made **bucket_of(struct map *m, const struct event_schema *schema)
{
    return &m->made[((uintptr_t)schema / sizeof *schema) % MADE_BUCKETS];
}

static struct made *find_made(struct map *m, const struct event_schema *schema, struct span entity)
{
    for (struct made *made = *bucket_of(m, schema); made; made = made->next)
        if (made->schema == schema && span_equal(made->entity, entity))
            return made;
    return NULL;
}

static const struct entity_config *entity_config(const struct map *m, struct span entity)
{
    for (uint32_t i = 0; i < m->config->n_entities; i++)
        if (span_equal_str(entity, m->config->entities[i].entity))
            return &m->config->entities[i];
    return NULL;
}

static int make(struct map *m, struct made *made, struct buf *remarks, struct err *e)
{
    const struct entity_config *config = entity_config(m, made->entity);
    if (config ? config->skipped : m->config->only_listed) {
        made->filtered = true;
        return 0;
    }
    struct map_table *t = table_of(m, made->entity, config, made->schema, e);
    if (!t || make_slots(m, t, made, remarks, e) != 0)
        return -1;
    made->pub.table = &t->pub;
    made->pub.config = config;
    made->pub.conflict = config ? config->conflict : m->config->conflict;
    made->pub.on_delete = config ? config->on_delete : m->config->on_delete;
    made->pub.schema = made->schema;
    made->pub.n_constants = t->n_constants;
    made->pub.constant_columns = t->constant_columns;
    made->pub.constant_values = t->constant_values;
    return 0;
}

int map_entity(struct map *m, const struct event_schema *schema, struct span entity,
               const struct map_entity **out, struct buf *remarks, struct err *e)
{
    if (!schema->is_change)
        entity = span_of_str(schema->root.name);
    struct made *made = find_made(m, schema, entity);
    if (!made) {
        made = arena_alloc(&m->arena, sizeof *made);
        *made = (struct made){.schema = schema, .entity = arena_copy(&m->arena, entity), .why = ERR_INIT};
        struct made **bucket = bucket_of(m, schema);
        made->next = *bucket;
        *bucket = made;
        made->failed = make(m, made, remarks, &made->why) != 0;
    }
    *out = NULL;
    if (made->failed) {
        *e = made->why;
        return -1;
    }
    if (!made->filtered)
        *out = &made->pub;
    return 0;
}

enum map_result map_value(const struct map_entity *entity, const struct map_slot *slot,
                          const struct cell *cell, struct arena *a, struct mirror_value *out,
                          const char **flagged, struct err *why)
{
    (void)entity;
    return coerce(slot->rule, cell, a, out, flagged, why);
}
