#include "sim/workload_parts.h"

#include "base/digest.h"

#include <stdio.h>

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
    event.extended = w->extended;
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

/* --- events that tell less than happened ------------------------------------------------------------ */

static void publish_bodyless(struct workload *w, const struct table *t, enum sim_change_type type,
                             const char (*ids)[19], unsigned n)
{
    struct change_event event = {.entity = t->entity, .type = type, .record_ids = ids, .n_record_ids = n};
    workload_publish_change(w, &event, false, NULL);
}

/* Some rows change, and nobody is told how. */
static unsigned change_silently(struct workload *w, struct table *t, struct row **rows, unsigned wanted)
{
    unsigned n = rows_draw(w, t, rows, wanted);
    for (unsigned i = 0; i < n; i++) {
        struct leaf_marks marks = {{0}, {0}};
        edit_fields(w, t->entity, rows[i], 2, ANY_FIELD, &marks);
        edit_modified(w, t->entity, rows[i], &marks);
    }
    return n;
}

static void gap_create(struct workload *w, struct table *t)
{
    struct row *row = table_insert(t);
    edit_fill_new(w, t->entity, row->leaves, false, t->next_number);
    publish_bodyless(w, t, SIM_GAP_CREATE, (const char(*)[19])row->id, 1);
}

static bool gap_undelete(struct workload *w, struct table *t)
{
    struct row *row = table_undelete(t, &w->rng);
    if (row)
        publish_bodyless(w, t, SIM_GAP_UNDELETE, (const char(*)[19])row->id, 1);
    return row;
}

/* A field's type was converted: it is null in all rows of the object. */
static void wildcard(struct workload *w, struct table *t)
{
    char ids[1][19];
    unsigned leaf = edit_leaf(t->entity, "Description");
    if (leaf == entity_leaves(t->entity))
        leaf = edit_leaf(t->entity, "Notes__c");
    for (size_t i = 0; i < t->n_live; i++)
        val_clear(&t->live[i]->leaves[leaf]);
    snprintf(ids[0], sizeof ids[0], "%s*", t->entity->key_prefix);
    publish_bodyless(w, t, SIM_UPDATE, (const char(*)[19])ids, 1);
}

bool special_gap(struct workload *w)
{
    struct table *t = workload_draw_table(w);
    struct row *rows[16];
    char ids[MERGE_MAX][19];
    unsigned n;
    if (t->n_live < 2)
        return false;
    switch (rng_below(&w->rng, 8)) {
    case 0:
        gap_create(w, t);
        return true;
    case 1:
        rows[0] = table_draw(t, &w->rng);
        rows_ids(rows, 1, ids);
        table_delete(t, rows[0]);
        publish_bodyless(w, t, SIM_GAP_DELETE, (const char(*)[19])ids, 1);
        return true;
    case 2:
        return gap_undelete(w, t);
    case 3:
        change_silently(w, t, rows, ARRAY_LEN(rows));
        snprintf(ids[0], sizeof ids[0], "000000000000000AAA");
        publish_bodyless(w, t, SIM_GAP_OVERFLOW, (const char(*)[19])ids, 1);
        return true;
    case 4:
        wildcard(w, t);
        return true;
    default:
        n = change_silently(w, t, rows, 1 + (unsigned)rng_below(&w->rng, MERGE_MAX));
        rows_ids(rows, n, ids);
        publish_bodyless(w, t, SIM_GAP_UPDATE, (const char(*)[19])ids, n);
        return true;
    }
}

/* --- large text ------------------------------------------------------------------------------------ */

enum { DIFF_LINES = 24 }; /* over 1,000 characters: the service sends differences from there on */

static void add_line(struct buf *out, struct workload *w, unsigned number)
{
    buf_addf(out, "%02u: minutes of the meeting, as agreed with the customer – part %012llx", number,
             (unsigned long long)rng_next(&w->rng) & 0xffffffffffffull);
}

/* The value as a browser stores it: lines end in CRLF. */
static void set_long_text(struct workload *w, struct field_val *leaf)
{
    struct buf text = BUF_INIT;
    for (unsigned i = 1; i <= DIFF_LINES; i++) {
        if (i > 1)
            buf_add_str(&text, "\r\n");
        add_line(&text, w, i);
    }
    val_clear(leaf);
    leaf->tag = TAG_STRING;
    leaf->as.text = buf_detach(&text);
}

static bool is_long_text(const struct field_val *leaf)
{
    return leaf->tag == TAG_STRING && strlen(leaf->as.text) > 1000 && strncmp(leaf->as.text, "01: ", 4) == 0;
}

/* Change one line; append the difference (pubsub-api 9.7): LF between lines, the hash over the new value. */
static void change_line(struct workload *w, struct field_val *leaf, struct buf *diff)
{
    unsigned number = 1 + (unsigned)rng_below(&w->rng, DIFF_LINES);
    const char *line = leaf->as.text;
    struct buf text = BUF_INIT, changed = BUF_INIT, hash = BUF_INIT;
    uint8_t digest[32];
    for (unsigned i = 1; i < number; i++)
        line = strstr(line, "\r\n") + 2;
    size_t before = (size_t)(line - leaf->as.text), n = strcspn(line, "\r");
    add_line(&changed, w, number);
    buf_add(&text, leaf->as.text, before);
    buf_add_span(&text, buf_span(&changed));
    buf_add_str(&text, line + n);
    digest_sha256(buf_span(&text), digest);
    hex_add(&hash, span_of(digest, sizeof digest));
    buf_addf(diff, "--- \n+++ %s\n@@ -%u,1 +%u,1 @@\n-%.*s\n+%s", (const char *)hash.data, number, number,
             (int)n, line, (const char *)changed.data);
    val_clear(leaf);
    leaf->tag = TAG_STRING;
    leaf->as.text = buf_detach(&text);
    buf_release(&changed);
    buf_release(&hash);
}

bool special_diff(struct workload *w)
{
    struct table *t = &w->org->tables[ENTITY_ACCOUNT];
    struct row *row = NULL;
    struct leaf_marks marks = {{0}, {0}};
    struct buf diff = BUF_INIT;
    unsigned leaf = edit_leaf(t->entity, "Description");
    for (size_t i = 0; i < t->n_live && !row; i++)
        if (is_long_text(&t->live[i]->leaves[leaf]))
            row = t->live[i];
    bool known = row && rng_below(&w->rng, 4); /* now and then another row gets a long text first */
    if (!known && !(row = table_draw(t, &w->rng)))
        return false;
    if (known)
        change_line(w, &row->leaves[leaf], &diff);
    else
        set_long_text(w, &row->leaves[leaf]);
    marks.changed[leaf] = true;
    edit_modified(w, t->entity, row, &marks);
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])row->id,
                                 .n_record_ids = 1,
                                 .row = row,
                                 .marks = &marks,
                                 .diff = known ? (const char *)diff.data : NULL,
                                 .diff_leaf = leaf};
    workload_publish_change(w, &event, false, NULL);
    buf_release(&diff);
    return true;
}
