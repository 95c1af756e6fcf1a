/*
 * ChangeEventHeader, by the names of its fields: Salesforce may add some, or move them.
 */
#include "avro/walk.h"

static int walk_change_type(struct walk *w, const struct avro_plan *plan, const struct avro_node *type,
                            struct change_header *out)
{
    const uint8_t *from = w->at;
    int64_t symbol;
    if (walk_long(w, &w->at, &symbol) != 0)
        return -1;
    if (symbol < 0 || symbol >= type->n)
        return walk_fail(w, from, "symbol %lld of an enum of %u (changeType)", (long long)symbol, type->n);
    out->type = plan->change_types[symbol];
    out->type_name = type->as.symbols[symbol];
    return 0;
}

static int walk_role(struct walk *w, const struct avro_plan *plan, enum header_role role,
                     const struct avro_node *type, struct change_header *out, struct header_bitmaps *bitmaps)
{
    int64_t number;
    struct cell ignored;
    switch (role) {
    case HEADER_ENTITY:
        return walk_string(w, &w->at, &out->entity);
    case HEADER_RECORD_IDS:
        return walk_strings(w, &out->record_ids, &out->n_record_ids);
    case HEADER_TYPE:
        return walk_change_type(w, plan, type, out);
    case HEADER_ORIGIN:
        return walk_string(w, &w->at, &out->origin);
    case HEADER_TRANSACTION:
        return walk_string(w, &w->at, &out->transaction_key);
    case HEADER_SEQUENCE:
        if (walk_int(w, &w->at, &number) != 0)
            return -1;
        out->sequence_number = (int32_t)number;
        return 0;
    case HEADER_TIMESTAMP:
        return type->kind == NODE_INT ? walk_int(w, &w->at, &out->commit_timestamp)
                                      : walk_long(w, &w->at, &out->commit_timestamp);
    case HEADER_NUMBER:
        return type->kind == NODE_INT ? walk_int(w, &w->at, &out->commit_number)
                                      : walk_long(w, &w->at, &out->commit_number);
    case HEADER_USER:
        return walk_string(w, &w->at, &out->commit_user);
    case HEADER_NULLED:
        return walk_strings(w, &bitmaps->nulled.elements, &bitmaps->nulled.n);
    case HEADER_DIFF:
        return walk_strings(w, &bitmaps->diff.elements, &bitmaps->diff.n);
    case HEADER_CHANGED:
        return walk_strings(w, &bitmaps->changed.elements, &bitmaps->changed.n);
    case HEADER_OTHER:
    case HEADER_ROLES:
        break;
    }
    return walk_value(w, type, &ignored);
}

int walk_header(struct walk *w, const struct avro_plan *plan, struct change_header *out,
                struct header_bitmaps *bitmaps)
{
    const struct avro_node *header = plan->header;
    *out = (struct change_header){.type = CHANGE_TYPE_UNKNOWN};
    *bitmaps = (struct header_bitmaps){
        {"nulledFields", NULL, 0}, {"diffFields", NULL, 0}, {"changedFields", NULL, 0}};
    w->depth = 1;
    for (uint32_t i = 0; i < header->n; i++) {
        const struct field_step *step = &header->as.record.steps[i];
        if (walk_role(w, plan, plan->roles[i], step->node, out, bitmaps) != 0)
            return err_prefix(w->e, "ChangeEventHeader.%.80s",
                              header->as.record.shape.fields[step->index].name);
    }
    w->depth = 0;
    return 0;
}
