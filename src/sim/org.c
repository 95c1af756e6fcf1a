#include "sim/org.h"

#include "base/alloc.h"
#include "base/json.h"

#include <stdio.h>

void org_init(struct org *o, const char *org_id)
{
    memset(o, 0, sizeof *o);
    snprintf(o->id, sizeof o->id, "%s", org_id);
    for (unsigned i = 0; i < ARRAY_LEN(o->users); i++)
        record_id_make("005", 1000 + i, o->users[i]);
    for (unsigned i = 0; i < ENTITY_COUNT; i++) {
        o->tables[i].entity = &entities[i];
        o->tables[i].next_number = 1;
    }
}

static void row_free(struct row *row, const struct entity *entity)
{
    unsigned n = entity_leaves(entity);
    for (unsigned i = 0; i < n; i++)
        val_clear(&row->leaves[i]);
    free(row->leaves);
    free(row);
}

void org_release(struct org *o)
{
    for (unsigned i = 0; i < ENTITY_COUNT; i++) {
        struct table *t = &o->tables[i];
        for (size_t k = 0; k < t->n_live; k++)
            row_free(t->live[k], t->entity);
        for (size_t k = 0; k < t->n_bin; k++)
            row_free(t->bin[k], t->entity);
        free(t->live);
        free(t->bin);
    }
}

static void add_live(struct table *t, struct row *row)
{
    if (t->n_live == t->cap_live) {
        t->cap_live = t->cap_live ? t->cap_live * 2 : 64;
        t->live = xrealloc(t->live, t->cap_live * sizeof *t->live);
    }
    t->live[t->n_live++] = row;
}

struct row *table_insert(struct table *t)
{
    struct row *row = xcalloc(1, sizeof *row);
    row->leaves = xcalloc(entity_leaves(t->entity), sizeof *row->leaves);
    record_id_make(t->entity->key_prefix, t->next_number++, row->id);
    add_live(t, row);
    return row;
}

struct row *table_draw(const struct table *t, struct rng *rng)
{
    return t->n_live ? t->live[rng_below(rng, t->n_live)] : NULL;
}

void table_delete(struct table *t, struct row *row)
{
    size_t i = 0;
    while (t->live[i] != row)
        i++;
    t->live[i] = t->live[--t->n_live];
    if (!t->bin)
        t->bin = xcalloc(ORG_BIN_MAX, sizeof *t->bin);
    if (t->n_bin == ORG_BIN_MAX) {
        row_free(t->bin[0], t->entity);
        memmove(t->bin, t->bin + 1, --t->n_bin * sizeof *t->bin);
    }
    t->bin[t->n_bin++] = row;
}

struct row *table_undelete(struct table *t, struct rng *rng)
{
    if (!t->n_bin)
        return NULL;
    size_t i = rng_below(rng, t->n_bin);
    struct row *row = t->bin[i];
    t->bin[i] = t->bin[--t->n_bin];
    add_live(t, row);
    return row;
}

/* --- JSON -------------------------------------------------------------------------------------- */

static bool compound_empty(const struct field_val *leaves, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (leaves[i].tag != TAG_NULL)
            return false;
    return true;
}

static void add_compound(struct buf *out, const struct field_val *leaves, const struct component *components,
                         unsigned n)
{
    const char *separator = "";
    buf_add_char(out, '{');
    for (unsigned i = 0; i < n; i++) {
        if (leaves[i].tag == TAG_NULL)
            continue;
        buf_addf(out, "%s\"%s\":", separator, components[i].name);
        val_json(out, &leaves[i]);
        separator = ",";
    }
    buf_add_char(out, '}');
}

static void add_row(struct buf *out, const struct entity *entity, const struct row *row)
{
    const char *separator = "";
    const struct field_val *leaves = row->leaves;
    buf_addf(out, "\"%s\":{", row->id);
    for (unsigned f = 0; f < entity->n_fields; leaves += type_leaves(entity->fields[f++].type)) {
        const struct entity_field *field = &entity->fields[f];
        unsigned n;
        const struct component *components = type_components(field->type, &n);
        const struct field_val *first = leaves;
        if (field->type == TYPE_SWITCHABLE_NAME) {
            if (row->is_person)
                first++;
            else
                components = NULL;
        }
        if (components ? compound_empty(first, n) : first->tag == TAG_NULL)
            continue;
        buf_addf(out, "%s\"%s\":", separator, field->name);
        if (components)
            add_compound(out, first, components, n);
        else
            val_json(out, first);
        separator = ",";
    }
    buf_add_char(out, '}');
}

void org_state_json(struct buf *out, const struct org *o)
{
    buf_addf(out, "{\"org_id\":\"%s\",\"entities\":{", o->id);
    const char *separator = "";
    for (unsigned i = 0; i < ENTITY_COUNT; i++) {
        const struct table *t = &o->tables[i];
        if (!t->entity->key_prefix)
            continue;
        buf_addf(out, "%s\"%s\":{", separator, t->entity->name);
        separator = ",";
        for (size_t k = 0; k < t->n_live; k++) {
            if (k)
                buf_add_char(out, ',');
            add_row(out, t->entity, t->live[k]);
        }
        buf_add_char(out, '}');
    }
    buf_add_str(out, "}}");
}
