/* What happens to rows: how new ones are filled, and what an update changes and marks. */
#include "sim/workload_parts.h"

#include <stdio.h>

static struct row *other_row(struct workload *w, enum entity_number n)
{
    return table_draw(&w->org->tables[n], &w->rng);
}

static void draw_plain(struct workload *w, struct field_val *leaf, const struct entity_field *field)
{
    const struct row *other;
    switch (field->value) {
    case VALUE_ACCOUNT:
    case VALUE_CONTACT:
        other = other_row(w, field->value == VALUE_ACCOUNT ? ENTITY_ACCOUNT : ENTITY_CONTACT);
        if (other && other->leaves != w->filling) /* nobody is his own parent */
            val_set_text(leaf, other->id);
        else
            val_clear(leaf);
        break;
    default:
        val_draw(leaf, &w->rng, field, w->tx.commit_ms);
    }
}

/* Fields the platform itself fills in. */
static bool fill_system(struct workload *w, struct field_val *leaf, const struct entity_field *field,
                        uint64_t number)
{
    char text[32];
    switch (field->value) {
    case VALUE_CREATED_DATE:
    case VALUE_MODIFIED_DATE:
        val_set_int(leaf, w->tx.commit_ms);
        return true;
    case VALUE_OWNER:
    case VALUE_CREATED_BY:
    case VALUE_MODIFIED_BY:
        val_set_text(leaf, w->tx.user);
        return true;
    case VALUE_AUTONUMBER:
        snprintf(text, sizeof text, "INV-%06llu", (unsigned long long)number);
        val_set_text(leaf, text);
        return true;
    case VALUE_NONE:
        return true;
    default:
        return false;
    }
}

void edit_fill_new(struct workload *w, const struct entity *entity, struct field_val *leaves, bool person,
                   uint64_t number)
{
    for (unsigned f = 0; f < entity->n_fields; leaves += type_leaves(entity->fields[f++].type)) {
        const struct entity_field *field = &entity->fields[f];
        unsigned n;
        if (!entity_has_field(entity, f, w->extended) || fill_system(w, leaves, field, number))
            continue;
        if (!(field->flags & FIELD_REQUIRED) && rng_below(&w->rng, 100) >= 60)
            continue;
        if (type_components(field->type, &n))
            val_draw_compound(leaves, &w->rng, field->type, person);
        else
            draw_plain(w, leaves, field);
    }
}

unsigned edit_leaf(const struct entity *entity, const char *name)
{
    unsigned f = 0;
    while (f < entity->n_fields && strcmp(entity->fields[f].name, name) != 0)
        f++;
    return entity_first_leaf(entity, f);
}

/* LastModifiedDate changes with every update; LastModifiedById only when another user made it. */
void edit_modified(struct workload *w, const struct entity *entity, struct row *row, struct leaf_marks *marks)
{
    unsigned date = edit_leaf(entity, "LastModifiedDate");
    unsigned by = edit_leaf(entity, "LastModifiedById");
    val_set_int(&row->leaves[date], w->tx.commit_ms);
    marks->changed[date] = true;
    if (row->leaves[by].tag != TAG_STRING || strcmp(row->leaves[by].as.text, w->tx.user) != 0) {
        val_set_text(&row->leaves[by], w->tx.user);
        marks->changed[by] = true;
    }
}

static void mark(struct leaf_marks *marks, unsigned leaf, const struct field_val *before,
                 const struct field_val *after)
{
    if (val_equal(before, after))
        return;
    marks->changed[leaf] = true;
    marks->nulled[leaf] = after->tag == TAG_NULL;
}

static void change_plain(struct workload *w, struct row *row, const struct entity_field *field, unsigned leaf,
                         struct leaf_marks *marks)
{
    struct field_val before = row->leaves[leaf];
    memset(&row->leaves[leaf], 0, sizeof row->leaves[leaf]);
    if ((field->flags & FIELD_REQUIRED) || before.tag == TAG_NULL || rng_below(&w->rng, 100) >= 15)
        draw_plain(w, &row->leaves[leaf], field);
    mark(marks, leaf, &before, &row->leaves[leaf]);
    val_clear(&before);
}

static void change_compound(struct workload *w, struct row *row, const struct entity_field *field,
                            unsigned leaf, struct leaf_marks *marks)
{
    unsigned n, first = leaf;
    type_components(field->type, &n);
    if (field->type == TYPE_SWITCHABLE_NAME) {
        if (!row->is_person) {
            change_plain(w, row, field, leaf, marks);
            return;
        }
        first++;
    }
    uint64_t chosen = 1 + rng_below(&w->rng, (1u << n) - 1);
    for (unsigned i = 0; i < n; i++) {
        /* Geocodes belong to the geocoder; a custom geolocation is always sent whole. */
        bool geocode = field->type == TYPE_ADDRESS && i >= 7;
        if (geocode || !(chosen >> i & 1 || field->type == TYPE_LOCATION))
            continue;
        struct field_val before = row->leaves[first + i];
        memset(&row->leaves[first + i], 0, sizeof before);
        bool keep = (field->flags & FIELD_REQUIRED) && i == n - 1; /* LastName */
        if (keep || field->type == TYPE_LOCATION || before.tag == TAG_NULL || rng_below(&w->rng, 100) >= 20)
            val_draw_component(&row->leaves[first + i], &w->rng, field->type, i);
        mark(marks, first + i, &before, &row->leaves[first + i]);
        val_clear(&before);
    }
}

void edit_fields(struct workload *w, const struct entity *entity, struct row *row, unsigned n,
                 enum changeable which, struct leaf_marks *marks)
{
    unsigned changeable[64], n_changeable = 0, components;
    for (unsigned f = 0; f < entity->n_fields; f++) {
        const struct entity_field *field = &entity->fields[f];
        if (field->value >= VALUE_FIRST_CHANGEABLE && entity_has_field(entity, f, w->extended) &&
            (which == ANY_FIELD ||
             (!type_components(field->type, &components) && strcmp(field->name, "Name") != 0)))
            changeable[n_changeable++] = f;
    }
    while (n--) {
        unsigned f = changeable[rng_below(&w->rng, n_changeable)];
        const struct entity_field *field = &entity->fields[f];
        unsigned leaf = entity_first_leaf(entity, f);
        if (marks->changed[leaf])
            continue;
        if (type_components(field->type, &components))
            change_compound(w, row, field, leaf, marks);
        else
            change_plain(w, row, field, leaf, marks);
    }
}

/* Different live rows of one table; returns how many. */
unsigned rows_draw(struct workload *w, const struct table *t, struct row **rows, unsigned wanted)
{
    unsigned n = 0;
    for (unsigned tries = 0; n < wanted && tries < 4 * wanted; tries++) {
        struct row *row = table_draw(t, &w->rng);
        bool known = !row;
        for (unsigned i = 0; i < n; i++)
            known |= rows[i] == row;
        if (!known)
            rows[n++] = row;
    }
    return n;
}

void rows_ids(struct row *const *rows, unsigned n, char ids[][19])
{
    for (unsigned i = 0; i < n; i++)
        memcpy(ids[i], rows[i]->id, sizeof ids[i]);
}

/* Objects with records, in the proportion a sales team touches them. */
struct table *workload_draw_table(struct workload *w)
{
    static const enum entity_number often[] = {ENTITY_ACCOUNT,     ENTITY_ACCOUNT, ENTITY_ACCOUNT,
                                               ENTITY_CONTACT,     ENTITY_CONTACT, ENTITY_OPPORTUNITY,
                                               ENTITY_OPPORTUNITY, ENTITY_INVOICE};
    return &w->org->tables[often[rng_below(&w->rng, ARRAY_LEN(often))]];
}
