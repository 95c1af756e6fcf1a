#include "sim/payload.h"

#include "base/err.h"
#include "sim/encode.h"

static const char *const type_names[] = {"CREATE",     "UPDATE",       "DELETE",
                                         "UNDELETE",   "GAP_CREATE",   "GAP_UPDATE",
                                         "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW"};

const char *sim_change_type_name(enum sim_change_type type)
{
    return type_names[type];
}

/* The bits of one header array: which field each marked leaf belongs to decides where its bit goes. */
static void add_bitmaps(struct buf *out, const struct change_event *event, const bool *marked)
{
    const struct entity *entity = event->entity;
    struct buf texts[32];
    struct span items[32];
    size_t n = 0;
    struct field_mask top = {{0}};
    memset(texts, 0, sizeof texts);
    unsigned leaf = 0;
    for (unsigned f = 0; f < entity->n_fields; leaf += type_leaves(entity->fields[f++].type)) {
        enum field_type type = entity->fields[f].type;
        unsigned n_components, first = leaf;
        if (!type_components(type, &n_components) || type == TYPE_SWITCHABLE_NAME) {
            if (marked[leaf])
                mask_set(&top, entity_schema_index(entity, f, event->extended));
            first++;
        }
        struct field_mask nested = {{0}};
        for (unsigned i = 0; i < n_components; i++)
            if (marked[first + i])
                mask_set(&nested, i);
        BUG_IF(n + 2 > ARRAY_LEN(texts));
        /* texts[0] is kept for the top level, which comes first. */
        if (bitmap_nested_text(&texts[n + 1], entity_schema_index(entity, f, event->extended), &nested))
            n++;
    }
    bool has_top = bitmap_text(&texts[0], &top);
    for (size_t i = 0; i < n + has_top; i++)
        items[i] = buf_span(&texts[i + !has_top]);
    enc_string_array(out, items, n + has_top);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        buf_release(&texts[i]);
}

static void add_header(struct buf *out, const struct change_event *event, const struct transaction *tx)
{
    bool diffed[ENTITY_MAX_LEAVES] = {false};
    if (event->diff)
        diffed[event->diff_leaf] = true;
    enc_string(out, span_of_str(event->entity->name));
    enc_long(out, (int64_t)event->n_record_ids);
    for (size_t i = 0; i < event->n_record_ids; i++)
        enc_string(out, span_of_str(event->record_ids[i]));
    enc_long(out, 0);
    enc_long(out, event->type);
    enc_string(out, span_of_str(tx->origin));
    enc_string(out, span_of_str(tx->key));
    enc_long(out, tx->sequence);
    enc_long(out, tx->commit_ms);
    enc_long(out, tx->commit_number);
    enc_string(out, span_of_str(tx->user));
    if (event->marks) {
        add_bitmaps(out, event, event->marks->nulled);
        add_bitmaps(out, event, diffed);
        add_bitmaps(out, event, event->marks->changed);
    } else {
        enc_long(out, 0);
        enc_long(out, 0);
        enc_long(out, 0);
    }
}

static void add_value(struct buf *out, const struct field_val *v)
{
    switch (v->tag) {
    case TAG_STRING:
        enc_string(out, span_of_str(v->as.text));
        break;
    case TAG_DOUBLE:
        enc_double(out, v->as.number);
        break;
    case TAG_INT:
        enc_long(out, v->as.integer);
        break;
    case TAG_BOOLEAN:
        enc_boolean(out, v->as.boolean);
        break;
    default:
        break;
    }
}

/* A leaf is sent when there is a value, and, in an UPDATE, when it changed. */
static bool is_sent(const struct change_event *event, unsigned leaf)
{
    return event->row && event->row->leaves[leaf].tag != TAG_NULL &&
           (!event->marks || event->marks->changed[leaf]);
}

static void add_nullable(struct buf *out, const struct change_event *event, unsigned leaf)
{
    bool sent = is_sent(event, leaf);
    enc_long(out, sent ? 1 : 0);
    if (sent && event->diff && leaf == event->diff_leaf)
        enc_string(out, span_of_str(event->diff));
    else if (sent)
        add_value(out, &event->row->leaves[leaf]);
}

static void add_compound(struct buf *out, const struct change_event *event, unsigned leaf, unsigned n,
                         int branch)
{
    bool present = false;
    for (unsigned i = 0; i < n; i++)
        present |= event->marks ? event->marks->changed[leaf + i] : is_sent(event, leaf + i);
    enc_long(out, present ? branch : 0);
    if (present)
        for (unsigned i = 0; i < n; i++)
            add_nullable(out, event, leaf + i);
}

static void add_field(struct buf *out, const struct change_event *event, enum field_type type, unsigned leaf)
{
    unsigned n;
    type_components(type, &n);
    if (type == TYPE_SWITCHABLE_NAME && event->row && event->row->is_person)
        add_compound(out, event, leaf + 1, n, 2);
    else if (n && type != TYPE_SWITCHABLE_NAME)
        add_compound(out, event, leaf, n, 1);
    else
        add_nullable(out, event, leaf);
}

void payload_change(struct buf *out, const struct change_event *event, const struct transaction *tx)
{
    add_header(out, event, tx);
    unsigned leaf = 0;
    for (unsigned f = 0; f < event->entity->n_fields; leaf += type_leaves(event->entity->fields[f++].type))
        if (entity_has_field(event->entity, f, event->extended))
            add_field(out, event, event->entity->fields[f].type, leaf);
}

void payload_platform(struct buf *out, const struct entity *entity, const struct field_val *leaves)
{
    for (unsigned f = 0; f < entity->n_fields; f++) {
        if (!(entity->fields[f].flags & FIELD_NOT_NULL))
            enc_long(out, leaves[f].tag == TAG_NULL ? 0 : 1);
        add_value(out, &leaves[f]);
    }
}
