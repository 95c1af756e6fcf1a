/*
 * Tables, columns and slots.
 *
 * A schema is walked once: each leaf asks where it goes (leaf_of: configured, flattened, a member of a JSON object, or
 * nowhere), then for its source in the table (source_of): the one it had, here or in what the target remembers, as
 * long as the column can still hold it and the field is still the same field; else a new column. Old schemas keep
 * their slots: replayed events find the columns they always had.
 */
#include "delivery/map.h"

#include "base/alloc.h"
#include "base/json.h"
#include "config/names.h"
#include "delivery/map_parts.h"

#include <stdlib.h>
#include <string.h>

/* What the target remembers of a column. */
struct known {
    const char *table, *column, *field, *field_id;
    uint32_t number;
    enum mirror_type type;
};

struct table {
    struct mirror_table pub;
    const char *entity;
    const struct entity_config *config; /* NULL: the default mapping */
    struct mirror_column *columns;
    struct mirror_source *sources;
    uint32_t cap_columns, cap_sources;
    const struct known *known; /* of this table, by number */
    size_t n_known;
    uint32_t n_constants;
    uint32_t *constant_columns;
    struct mirror_value *constant_values;
};

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
    struct table **tables;
    uint32_t n_tables;
    struct known *known;
    size_t n_known;
    struct made *made[MADE_BUCKETS];
};

static const struct field_config plain_field = {.field = NULL};

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
    const struct known *a = left, *b = right;
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

static void find_known_of(const struct map *m, struct table *t)
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
        m->known[i] = (struct known){keep_known(m, f->table), keep_known(m, f->column), keep_known(m, f->field),
                                     keep_known(m, f->field_id), f->number, f->type};
    }
    qsort(m->known, n, sizeof *m->known, by_table);
    for (uint32_t i = 0; i < m->n_tables; i++)
        find_known_of(m, m->tables[i]);
}

/* --- tables -------------------------------------------------------------------------------------------- */

static uint32_t add_column(struct table *t, const struct mirror_column *column)
{
    if (t->pub.n_columns == t->cap_columns) {
        t->cap_columns = t->cap_columns ? 2 * t->cap_columns : 32;
        t->columns = xrealloc(t->columns, t->cap_columns * sizeof *t->columns);
        t->pub.columns = t->columns;
    }
    t->columns[t->pub.n_columns] = *column;
    return t->pub.n_columns++;
}

static uint32_t add_source(struct table *t, const struct mirror_source *source)
{
    if (t->pub.n_sources == t->cap_sources) {
        t->cap_sources = t->cap_sources ? 2 * t->cap_sources : 32;
        t->sources = xrealloc(t->sources, t->cap_sources * sizeof *t->sources);
        t->pub.sources = t->sources;
    }
    t->sources[t->pub.n_sources] = *source;
    return t->pub.n_sources++;
}

static void add_constants(struct table *t)
{
    uint32_t n = t->config ? t->config->n_constants : 0;
    t->n_constants = n;
    t->constant_columns = xcalloc((size_t)n + 1, sizeof *t->constant_columns);
    t->constant_values = xcalloc((size_t)n + 1, sizeof *t->constant_values);
    for (uint32_t i = 0; i < n; i++) {
        const struct constant_config *c = &t->config->constants[i];
        struct mirror_column column = {.name = c->column, .type = MIRROR_TEXT, .insert_only = true};
        t->constant_columns[i] = add_column(t, &column);
        t->constant_values[i] = (struct mirror_value){.type = MIRROR_TEXT, .as.text = span_of_str(c->value)};
    }
}

static enum mirror_on_delete on_delete_of(enum delete_policy policy)
{
    return policy == DELETE_SOFT ? MIRROR_SOFT : policy == DELETE_ARCHIVE ? MIRROR_ARCHIVE : MIRROR_HARD;
}

static const char *default_name(struct map *m, struct span name, size_t most)
{
    struct buf b = BUF_INIT;
    names_add_default(name, most, &b);
    const char *out = keep(m, buf_span(&b));
    buf_release(&b);
    return out;
}

/* Two tables of one name, or a table that is another's history. */
static bool tables_collide(const struct table *a, const char *b, bool b_archives)
{
    size_t n = strlen(a->pub.name), nb = strlen(b);
    bool a_archives = a->pub.on_delete == MIRROR_ARCHIVE && !a->pub.append_only;
    return names_equal(a->pub.name, b) ||
           (a_archives && nb == n + 8 && strncasecmp(b, a->pub.name, n) == 0 && names_equal(b + n, "_history")) ||
           (b_archives && n == nb + 8 && strncasecmp(b, a->pub.name, nb) == 0 &&
            names_equal(a->pub.name + nb, "_history"));
}

static struct table *table_of(struct map *m, struct span entity, const struct entity_config *config,
                              const struct event_schema *schema, struct err *e)
{
    for (uint32_t i = 0; i < m->n_tables; i++)
        if (span_equal_str(entity, m->tables[i]->entity))
            return m->tables[i];
    const char *name = config && config->table ? config->table : default_name(m, entity, NAMES_MAX_TABLE);
    enum mirror_on_delete on_delete = on_delete_of(config ? config->on_delete : m->config->on_delete);
    for (uint32_t i = 0; i < m->n_tables; i++)
        if (tables_collide(m->tables[i], name, on_delete == MIRROR_ARCHIVE)) {
            err_set(e, ERR_CONFIG, "map", 0,
                    "%.*s and %s both need the table \"%s\": give one of them another with "
                    "entities.%.*s.table",
                    SPAN_ARG(entity), m->tables[i]->entity, name, SPAN_ARG(entity));
            return NULL;
        }
    struct table *t = xcalloc(1, sizeof *t);
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

/* --- leaves: what the schema and the configuration say of one field -------------------------------------- */

struct leaf {
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

static const struct field_config *field_config(const struct entity_config *c, const char *path)
{
    for (uint32_t i = 0; c && i < c->n_fields; i++)
        if (strcmp(c->fields[i].field, path) == 0)
            return &c->fields[i];
    return NULL;
}

/* The n-th part of "Data:DateTime:00N…", from 0; empty when there is none. */
static struct span doc_part(const char *doc, int n)
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
        [CELL_NULL] = MIRROR_TEXT,   [CELL_BOOLEAN] = MIRROR_BOOLEAN, [CELL_INT] = MIRROR_BIGINT,
        [CELL_DOUBLE] = MIRROR_DOUBLE, [CELL_STRING] = MIRROR_TEXT,   [CELL_BYTES] = MIRROR_TEXT,
        [CELL_RECORD] = MIRROR_JSON, [CELL_ARRAY] = MIRROR_JSON,      [CELL_MAP] = MIRROR_JSON};
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

static void as_column(struct map *m, struct leaf *leaf, const struct field_config *c)
{
    leaf->config = c;
    leaf->chosen = c->column != NULL;
    leaf->column = c->column ? c->column : default_name(m, span_of_str(leaf->path), NAMES_MAX_COLUMN);
    leaf->type = type_of_config(c, leaf->field);
}

static void as_member(struct leaf *leaf, const struct field_config *c, const char *column, const char *member)
{
    leaf->config = c;
    leaf->column = column;
    leaf->chosen = c->column != NULL;
    leaf->member = member;
    leaf->type = MIRROR_JSON;
}

/*
 * Where a leaf goes; false: nowhere. What is said of the leaf itself comes first, then what is said of its
 * compound.
 */
static bool leaf_of(struct map *m, const struct table *t, const struct schema_field *parent, struct leaf *leaf)
{
    enum new_fields new_fields = t->config ? t->config->new_fields : m->config->new_fields;
    enum compound_form compounds = t->config ? t->config->compounds : m->config->compounds;
    const struct field_config *own = field_config(t->config, leaf->path);
    const struct field_config *whole = parent ? field_config(t->config, parent->name) : NULL;
    bool pure = parent && parent->type == CELL_RECORD; /* a compound and nothing else: it can be one JSON object */
    if (own && own->skipped)
        return false;
    if (own) {
        as_column(m, leaf, own);
        return true;
    }
    if (whole && whole->skipped)
        return false;
    const char *compound_column = NULL;
    if (pure && whole && whole->column)
        compound_column = whole->column;
    else if (pure && (whole || compounds == COMPOUNDS_JSON))
        compound_column = default_name(m, span_of_str(parent->name), NAMES_MAX_COLUMN);
    if (pure && whole)
        as_member(leaf, whole, compound_column, leaf->field->name);
    else if (new_fields == NEW_FIELDS_IGNORE)
        return false;
    else if (new_fields == NEW_FIELDS_JSON)
        as_member(leaf, &plain_field, NAMES_JSON_COLUMN, leaf->path);
    else if (compound_column)
        as_member(leaf, &plain_field, compound_column, leaf->field->name);
    else
        as_column(m, leaf, &plain_field);
    return true;
}

/* --- sources: the column that a leaf has, had, or gets ---------------------------------------------------- */

static bool same_field(const char *id, const char *other)
{
    return !*id || !*other || strcmp(id, other) == 0;
}

static bool can_hold(enum mirror_type column, enum mirror_type value)
{
    return column == value || (column == MIRROR_DOUBLE && value == MIRROR_BIGINT);
}

/* "phone_2" of "phone", or "phone" itself. */
static bool is_variant(const char *column, const char *of)
{
    size_t n = strlen(of);
    if (strncasecmp(column, of, n) != 0)
        return false;
    const char *rest = column + n;
    return !*rest || (rest[0] == '_' && rest[1] && strspn(rest + 1, "0123456789") == strlen(rest + 1));
}

static int find_column(const struct table *t, const char *name)
{
    for (uint32_t i = 0; i < t->pub.n_columns; i++)
        if (names_equal(t->columns[i].name, name))
            return (int)i;
    return -1;
}

/* The source this leaf has in the table already; the newest that still fits. */
static int find_source(const struct table *t, const struct leaf *leaf)
{
    for (uint32_t i = t->pub.n_sources; i-- > 0;) {
        const struct mirror_source *s = &t->sources[i];
        if (strcmp(s->field, leaf->path) == 0 && same_field(s->field_id, leaf->field_id) &&
            can_hold(t->columns[s->column].type, leaf->type))
            return (int)i;
    }
    return -1;
}

/* What the target remembers of this leaf, the newest that still fits; NULL: nothing. */
static const struct known *find_known(const struct table *t, const struct leaf *leaf)
{
    for (size_t i = t->n_known; i-- > 0;) {
        const struct known *k = &t->known[i];
        if (strcmp(k->field, leaf->path) == 0 && same_field(k->field_id, leaf->field_id) &&
            can_hold(k->type, leaf->type) && is_variant(k->column, leaf->column))
            return k;
    }
    return NULL;
}

/* The field a column was made from: of this table's sources, else of what the target remembers. NULL: none. */
static const char *made_from(const struct table *t, const char *column, enum mirror_type *type)
{
    for (uint32_t i = t->pub.n_sources; i-- > 0;)
        if (names_equal(t->columns[t->sources[i].column].name, column)) {
            *type = t->columns[t->sources[i].column].type;
            return t->sources[i].field;
        }
    for (size_t i = t->n_known; i-- > 0;)
        if (names_equal(t->known[i].column, column)) {
            *type = t->known[i].type;
            return t->known[i].field;
        }
    return NULL;
}

static bool schema_has(const struct event_schema *schema, const char *path)
{
    size_t n = strcspn(path, ".");
    for (uint32_t i = 0; i < schema->root.n_fields; i++)
        if (schema->root.fields[i].name_len == n && memcmp(schema->root.fields[i].name, path, n) == 0)
            return true;
    return false;
}

static int collision(const struct table *t, const struct leaf *leaf, const char *other, struct err *e)
{
    return err_set(e, ERR_CONFIG, "map", 0,
                   "%s: %s and %s both need the column \"%s\": give one of them another with "
                   "entities.%s.fields.%s.column",
                   t->entity, leaf->path, other, leaf->column, t->entity, leaf->path);
}

/* "phone_2": the first that nothing has. */
static const char *next_name(struct map *m, const struct table *t, const char *name)
{
    for (int i = 2;; i++) {
        struct buf b = BUF_INIT;
        enum mirror_type type;
        buf_addf(&b, "%s_%d", name, i);
        bool taken = find_column(t, (char *)b.data) >= 0 || made_from(t, (char *)b.data, &type);
        const char *out = taken ? NULL : keep(m, buf_span(&b));
        buf_release(&b);
        if (out)
            return out;
    }
}

/*
 * The name of a new column: the leaf's, unless that column is another field's that is gone, or this field's as it
 * was: then the next one, with a remark. -1: another field of this schema has it.
 */
static int name_column(struct map *m, const struct table *t, const struct event_schema *schema, struct leaf *leaf,
                       struct buf *remarks, struct err *e)
{
    enum mirror_type type = leaf->type;
    if (names_equal(leaf->column, t->pub.key))
        return collision(t, leaf, "the key", e);
    const char *from = made_from(t, leaf->column, &type);
    if (!from && find_column(t, leaf->column) >= 0)
        return collision(t, leaf, "a constant", e);
    if (!from && !leaf->member && names_is_ours(leaf->column))
        return collision(t, leaf, "tidemark", e);
    if (!from || (leaf->member && type == MIRROR_JSON && find_column(t, leaf->column) < 0))
        return 0;
    bool other = strcmp(from, leaf->path) != 0, in_use = find_column(t, leaf->column) >= 0;
    if (other && (in_use || !leaf->chosen) && schema_has(schema, from))
        return collision(t, leaf, from, e);
    if (other && leaf->chosen && !in_use && can_hold(type, leaf->type))
        return 0; /* the user gave it a column that was another's once */
    const char *was = leaf->column;
    leaf->column = next_name(m, t, was);
    if (remarks && other)
        buf_addf(remarks, "%s.%s goes to column %s: %s was made from %s\n", t->entity, leaf->path, leaf->column, was,
                 from);
    else if (remarks && !can_hold(type, leaf->type))
        buf_addf(remarks,
                 "%s.%s changed its type from %s to %s and goes to column %s from now on; %s stays as it is\n",
                 t->entity, leaf->path, mirror_type_name(type), mirror_type_name(leaf->type), leaf->column, was);
    else if (remarks)
        buf_addf(remarks,
                 "%s.%s was deleted and made anew (%s) and goes to column %s from now on; %s stays as it is\n",
                 t->entity, leaf->path, leaf->field_id, leaf->column, was);
    return 0;
}

/* The column of a new source: that of the object it is a member of, the one it had, or a new one. */
static int column_of(struct map *m, struct table *t, const struct event_schema *schema, struct leaf *leaf,
                     struct buf *remarks, struct err *e)
{
    const struct known *k = find_known(t, leaf);
    if (k) {
        leaf->column = keep(m, span_of_str(k->column));
        leaf->field_id = keep(m, span_of_str(k->field_id));
        leaf->type = k->type;
    }
    int at = find_column(t, leaf->column);
    if (at >= 0 && leaf->member && t->columns[at].merged)
        return at;
    if ((at >= 0 || !k) && name_column(m, t, schema, leaf, remarks, e) != 0)
        return -1;
    struct mirror_column column = {.name = leaf->column,
                                   .type = leaf->type,
                                   .insert_only = leaf->config->owner == OWNER_TARGET,
                                   .merged = leaf->member != NULL};
    return (int)add_column(t, &column);
}

static int source_of(struct map *m, struct table *t, const struct event_schema *schema, struct leaf *leaf,
                     struct buf *remarks, struct err *e)
{
    int at = find_source(t, leaf);
    if (at >= 0)
        return at;
    int column = column_of(m, t, schema, leaf, remarks, e);
    if (column < 0)
        return -1;
    return (int)add_source(t, &(struct mirror_source){leaf->path, leaf->field_id, (uint32_t)column});
}

/* --- slots ------------------------------------------------------------------------------------------------ */

struct maker {
    struct map *m;
    struct table *t;
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
    struct leaf leaf = {.index = index, .child = child, .field = field};
    if (child < 0) {
        leaf.path = field->name;
    } else {
        char *path = arena_alloc(&m->arena, parent->name_len + field->name_len + 2u);
        memcpy(path, parent->name, parent->name_len);
        path[parent->name_len] = '.';
        memcpy(path + parent->name_len + 1, field->name, field->name_len + 1u);
        leaf.path = path;
    }
    struct span id = doc_part(field->doc, 2);
    if (!id.n && parent)
        id = doc_part(parent->doc, 2);
    leaf.field_id = keep(m, id);
    if (!leaf_of(m, k->t, parent, &leaf))
        return 0;
    int source = source_of(m, k->t, k->schema, &leaf, k->remarks, k->e);
    if (source < 0)
        return -1;
    uint32_t column = k->t->sources[source].column;
    struct map_rule *rule = arena_alloc(&m->arena, sizeof *rule);
    *rule = (struct map_rule){.entity = k->t->entity,
                              .field = leaf.path,
                              .type = k->t->columns[column].type,
                              .member = leaf.member != NULL,
                              .multi = span_equal_str(doc_part(field->doc, 1), "MultiEnum"),
                              .kind = field->kind,
                              .config = leaf.config};
    if (k->n == k->cap)
        k->slots = xrealloc(k->slots, (k->cap = k->cap ? 2 * k->cap : 64) * sizeof *k->slots);
    k->slots[k->n++] =
        (struct map_slot){index, child, (uint32_t)source, column, leaf.member != NULL, leaf.member, rule};
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

static int make_slots(struct map *m, struct table *t, struct made *made, struct buf *remarks, struct err *e)
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
    struct table *t = table_of(m, made->entity, config, made->schema, e);
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

int map_entity(struct map *m, const struct event_schema *schema, struct span entity, const struct map_entity **out,
               struct buf *remarks, struct err *e)
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

enum map_result map_value(const struct map_entity *entity, const struct map_slot *slot, const struct cell *cell,
                          struct arena *a, struct mirror_value *out, bool *flagged, struct err *why)
{
    (void)entity;
    return coerce(slot->rule, cell, a, out, flagged, why);
}

void map_patch_add(struct buf *patch, const char *member, const struct mirror_value *value)
{
    if (patch->len)
        patch->data[patch->len - 1] = ','; /* in place of the '}' */
    else
        buf_add_char(patch, '{');
    json_add_string(patch, span_of_str(member));
    buf_add_char(patch, ':');
    if (value->is_null)
        buf_add_str(patch, "null");
    else
        buf_add_span(patch, value->as.text);
    buf_add_char(patch, '}');
}
