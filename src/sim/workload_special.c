#include "sim/workload_parts.h"

static const char *damage(struct workload *w, struct buf *payload)
{
    switch (rng_below(&w->rng, 4)) {
    case 0:
        payload->len -= 1 + rng_below(&w->rng, 40);
        return "cut short";
    case 1:
        buf_add(payload, "\x01\x02\x03", 3);
        return "bytes behind the end";
    case 2: /* entityName would be 2^62 bytes long */
        memcpy(payload->data, "\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", 9);
        return "impossible length";
    default:
        payload->len = 0;
        return "empty";
    }
}

bool special_undecodable(struct workload *w, const char *note)
{
    struct table *t = workload_draw_table(w);
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    marks.changed[edit_leaf(t->entity, "LastModifiedDate")] = true;
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])row->id,
                                 .n_record_ids = 1,
                                 .row = row,
                                 .marks = &marks};
    w->tx.sequence = 1;
    buf_clear(&w->payload);
    payload_change(&w->payload, &event, &w->tx);
    if (!note)
        note = damage(w, &w->payload);
    struct publication p = {
        .change_type = "UPDATE", .record_ids = (const char(*)[19])row->id, .n_record_ids = 1, .note = note};
    workload_publish(w, t->entity, &p);
    return true;
}

bool special_oversize(struct workload *w)
{
    struct table *t = &w->org->tables[ENTITY_ACCOUNT];
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    struct buf text = BUF_INIT;
    memset(buf_reserve(&text, (size_t)w->options.oversize), 'x', (size_t)w->options.oversize);
    text.len = (size_t)w->options.oversize;
    text.data[text.len] = 0;
    unsigned leaf = edit_leaf(t->entity, "Description");
    val_clear(&row->leaves[leaf]);
    row->leaves[leaf].tag = TAG_STRING;
    row->leaves[leaf].as.text = buf_detach(&text);
    marks.changed[leaf] = true;
    edit_modified(w, t->entity, row, &marks);
    workload_publish_row(w, t, SIM_UPDATE, row, &marks);
    return true;
}
