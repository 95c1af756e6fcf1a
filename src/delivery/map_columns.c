#include "delivery/map_table.h"

#include "base/alloc.h"
#include "config/names.h"

#include <string.h>

uint32_t map_add_column(struct map_table *t, const struct mirror_column *column)
{
    if (t->pub.n_columns == t->cap_columns) {
        t->cap_columns = t->cap_columns ? 2 * t->cap_columns : 32;
        t->columns = xrealloc(t->columns, t->cap_columns * sizeof *t->columns);
        t->pub.columns = t->columns;
    }
    t->columns[t->pub.n_columns] = *column;
    return t->pub.n_columns++;
}

static uint32_t add_source(struct map_table *t, const struct mirror_source *source)
{
    if (t->pub.n_sources == t->cap_sources) {
        t->cap_sources = t->cap_sources ? 2 * t->cap_sources : 32;
        t->sources = xrealloc(t->sources, t->cap_sources * sizeof *t->sources);
        t->pub.sources = t->sources;
    }
    t->sources[t->pub.n_sources] = *source;
    return t->pub.n_sources++;
}

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

static int find_column(const struct map_table *t, const char *name)
{
    for (uint32_t i = 0; i < t->pub.n_columns; i++)
        if (names_equal(t->columns[i].name, name))
            return (int)i;
    return -1;
}

/* The source this leaf has in the table already; the newest that still fits. */
static int find_source(const struct map_table *t, const struct map_leaf *leaf)
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
static const struct map_known *find_known(const struct map_table *t, const struct map_leaf *leaf)
{
    for (size_t i = t->n_known; i-- > 0;) {
        const struct map_known *k = &t->known[i];
        if (strcmp(k->field, leaf->path) == 0 && same_field(k->field_id, leaf->field_id) &&
            can_hold(k->type, leaf->type) && is_variant(k->column, leaf->column))
            return k;
    }
    return NULL;
}

/* The field a column was made from: of this table's sources, else of what the target remembers. NULL: none. */
static const char *made_from(const struct map_table *t, const char *column, enum mirror_type *type)
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

static int collision(const struct map_table *t, const struct map_leaf *leaf, const char *other, struct err *e)
{
    return err_set(e, ERR_CONFIG, "map", 0,
                   "%s: %s and %s both need the column \"%s\": give one of them another with "
                   "entities.%s.fields.%s.column",
                   t->entity, leaf->path, other, leaf->column, t->entity, leaf->path);
}

/* "phone_2": the first that nothing has. */
static const char *next_name(const struct map_table *t, const char *name, struct arena *a)
{
    for (int i = 2;; i++) {
        struct buf b = BUF_INIT;
        enum mirror_type type;
        buf_addf(&b, "%s_%d", name, i);
        bool taken = find_column(t, (char *)b.data) >= 0 || made_from(t, (char *)b.data, &type);
        const char *out = taken ? NULL : arena_strndup(a, b.data, b.len);
        buf_release(&b);
        if (out)
            return out;
    }
}

/*
 * The name of a new column: the leaf's, unless that column is another field's that is gone, or this field's as it
 * was: then the next one, with a remark. -1: another field of this schema has it.
 */
static int name_column(const struct map_table *t, const struct event_schema *schema, struct map_leaf *leaf,
                       struct arena *a, struct buf *remarks, struct err *e)
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
    leaf->column = next_name(t, was, a);
    if (remarks && other)
        buf_addf(remarks, "%s.%s goes to column %s: %s was made from %s\n", t->entity, leaf->path,
                 leaf->column, was, from);
    else if (remarks && !can_hold(type, leaf->type))
        buf_addf(
            remarks,
            "%s.%s changed its type from %s to %s and goes to column %s from now on; %s stays as it is\n",
            t->entity, leaf->path, mirror_type_name(type), mirror_type_name(leaf->type), leaf->column, was);
    else if (remarks)
        buf_addf(
            remarks,
            "%s.%s was deleted and made anew (%s) and goes to column %s from now on; %s stays as it is\n",
            t->entity, leaf->path, leaf->field_id, leaf->column, was);
    return 0;
}

/* The column of a new source: that of the object it is a member of, the one it had, or a new one. */
static int column_of(struct map_table *t, const struct event_schema *schema, struct map_leaf *leaf,
                     struct arena *a, struct buf *remarks, struct err *e)
{
    const struct map_known *k = find_known(t, leaf);
    if (k) {
        leaf->column = arena_strndup(a, k->column, strlen(k->column));
        leaf->field_id = arena_strndup(a, k->field_id, strlen(k->field_id));
        leaf->type = k->type;
    }
    int at = find_column(t, leaf->column);
    if (at >= 0 && leaf->member && t->columns[at].merged)
        return at;
    if ((at >= 0 || !k) && name_column(t, schema, leaf, a, remarks, e) != 0)
        return -1;
    struct mirror_column column = {.name = leaf->column,
                                   .type = leaf->type,
                                   .insert_only = leaf->config->owner == OWNER_TARGET,
                                   .merged = leaf->member != NULL};
    return (int)map_add_column(t, &column);
}

int map_source_of(struct map_table *t, const struct event_schema *schema, struct map_leaf *leaf,
                  struct arena *a, struct buf *remarks, struct err *e)
{
    int at = find_source(t, leaf);
    if (at >= 0)
        return at;
    int column = column_of(t, schema, leaf, a, remarks, e);
    if (column < 0)
        return -1;
    return (int)add_source(t, &(struct mirror_source){leaf->path, leaf->field_id, (uint32_t)column});
}
