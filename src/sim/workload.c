/*
 * A step draws a kind from a table of weights and calls its function. A kind that cannot run now (no
 * rows yet, fewer events left than it needs) answers 0, and a create takes its place: so a young
 * company grows, and a count is met exactly.
 */
#include "sim/workload_parts.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

enum { ROWS_ENOUGH = 12, ROWS_MAX = 1500 };

static const char *const origins[] = {
    "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
    "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
    "com/salesforce/api/rest/66.0;client=sync",
    "com/salesforce/api/bulkapi/66.0",
    "com/salesforce/api/soap/66.0;client=devconsole",
    "",
};

static void begin_transaction(struct workload *w)
{
    struct transaction *tx = &w->tx;
    draw_transaction_key(&w->rng, tx->key);
    tx->origin = origins[rng_below(&w->rng, ARRAY_LEN(origins))];
    tx->user = w->org->users[1 + rng_below(&w->rng, ARRAY_LEN(w->org->users) - 1)];
    w->commit_number += 1 + (int64_t)rng_below(&w->rng, 5000);
    tx->commit_number = w->commit_number;
    uint64_t pause_s = rng_below(&w->rng, 3);
    if (w->options.start_ms)
        w->clock_ms += (int64_t)pause_s * 1000;
    else
        w->clock_ms = clock_wall_ms() + w->shift_ms;
    tx->commit_ms = w->clock_ms / 1000 * 1000;
    tx->sequence = 0;
}

/* --- kinds of transactions: each returns whether it published anything ------------------------------- */

static struct row *create_in(struct workload *w, struct table *t)
{
    struct row *row = table_insert(t);
    row->is_person = t->entity == &entities[ENTITY_ACCOUNT] && rng_below(&w->rng, 6) == 0;
    w->filling = row->leaves;
    edit_fill_new(w, t->entity, row->leaves, row->is_person, t->next_number);
    w->filling = NULL;
    workload_publish_row(w, t, SIM_CREATE, row, NULL);
    return row;
}

static bool do_create(struct workload *w)
{
    create_in(w, workload_draw_table(w));
    return true;
}

static bool do_conversion(struct workload *w)
{
    static const enum entity_number made[] = {ENTITY_ACCOUNT, ENTITY_CONTACT, ENTITY_OPPORTUNITY};
    if (w->left < ARRAY_LEN(made) || w->org->tables[ENTITY_ACCOUNT].n_live > ROWS_MAX)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        create_in(w, &w->org->tables[made[i]]);
        if (rng_below(&w->rng, 10) == 0)
            w->tx.commit_ms += 1000; /* stamps may differ inside one transaction */
    }
    return true;
}

static bool do_update(struct workload *w)
{
    struct table *t = workload_draw_table(w);
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    edit_fields(w, t->entity, row, 1 + (unsigned)rng_below(&w->rng, 4), ANY_FIELD, &marks);
    edit_modified(w, t->entity, row, &marks);
    workload_publish_row(w, t, SIM_UPDATE, row, &marks);
    return true;
}

/* The same change to several records: one event with all their ids. */
static bool merged_update(struct workload *w, bool as_group)
{
    struct table *t = workload_draw_table(w);
    struct row *rows[MERGE_MAX];
    char ids[MERGE_MAX][19];
    unsigned n = rows_draw(w, t, rows, 2 + (unsigned)rng_below(&w->rng, MERGE_MAX - 1));
    if (n < 2 || (as_group && w->left < n))
        return false;
    struct leaf_marks marks = {{0}, {0}};
    unsigned leaves = entity_leaves(t->entity);
    rows_ids(rows, n, ids);
    edit_fields(w, t->entity, rows[0], 1 + (unsigned)rng_below(&w->rng, 2), PLAIN_FIELDS, &marks);
    edit_modified(w, t->entity, rows[0], &marks);
    for (unsigned i = 1; i < n; i++)
        for (unsigned leaf = 0; leaf < leaves; leaf++)
            if (marks.changed[leaf])
                val_copy(&rows[i]->leaves[leaf], &rows[0]->leaves[leaf]);
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])ids,
                                 .n_record_ids = n,
                                 .row = rows[0],
                                 .marks = &marks};
    if (!as_group) {
        workload_publish_change(w, &event, false, NULL);
        return true;
    }
    for (unsigned i = 0; i < n;
         i++) { /* one event, split up again: same id, same replay id, one record each */
        event.record_ids = (const char(*)[19])ids[i];
        event.n_record_ids = 1;
        workload_publish_change(w, &event, i > 0, NULL);
    }
    return true;
}

static bool do_merged_update(struct workload *w)
{
    return merged_update(w, false);
}

static bool do_shared_replay(struct workload *w)
{
    return merged_update(w, true);
}

/* One update of two records arrives as three events: what they share, then what each has alone. */
static bool do_split_update(struct workload *w)
{
    struct table *t = workload_draw_table(w);
    struct row *rows[2];
    char ids[2][19];
    if (w->left < 3 || rows_draw(w, t, rows, 2) < 2)
        return false;
    struct leaf_marks shared = {{0}, {0}}, own[2] = {{{0}, {0}}, {{0}, {0}}}, second = {{0}, {0}};
    rows_ids(rows, 2, ids);
    for (int i = 0; i < 2; i++)
        edit_fields(w, t->entity, rows[i], 1 + (unsigned)rng_below(&w->rng, 3), ANY_FIELD, &own[i]);
    edit_modified(w, t->entity, rows[0], &shared);
    edit_modified(w, t->entity, rows[1], &second);
    for (unsigned leaf = 0; leaf < ENTITY_MAX_LEAVES; leaf++)
        shared.changed[leaf] |= second.changed[leaf];
    struct change_event event = {.entity = t->entity,
                                 .type = SIM_UPDATE,
                                 .record_ids = (const char(*)[19])ids,
                                 .n_record_ids = 2,
                                 .row = rows[0],
                                 .marks = &shared};
    workload_publish_change(w, &event, false, NULL);
    for (int i = 0; i < 2; i++)
        workload_publish_row(w, t, SIM_UPDATE, rows[i], &own[i]);
    return true;
}

/* The geocoder answers an address change: another user, nested bits only, no LastModifiedDate. */
static bool do_geocode(struct workload *w)
{
    struct table *t = &w->org->tables[ENTITY_ACCOUNT];
    struct row *row = table_draw(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    unsigned leaf = edit_leaf(t->entity, rng_below(&w->rng, 2) ? "BillingAddress" : "ShippingAddress");
    if (row->leaves[leaf + 1].tag == TAG_NULL)
        return false;
    w->tx.user = w->org->users[0];
    w->tx.origin = "";
    for (unsigned i = 7; i < 10; i++) {
        if (i == 9 && row->leaves[leaf + i].tag != TAG_NULL)
            continue;
        val_draw_component(&row->leaves[leaf + i], &w->rng, TYPE_ADDRESS, i);
        marks.changed[leaf + i] = true;
    }
    workload_publish_row(w, t, SIM_UPDATE, row, &marks);
    return true;
}

static bool do_delete(struct workload *w)
{
    struct table *t = workload_draw_table(w);
    struct row *rows[MERGE_MAX];
    char ids[MERGE_MAX][19];
    if (t->n_live < ROWS_ENOUGH)
        return false;
    unsigned wanted = rng_below(&w->rng, 5) ? 1 : 2 + (unsigned)rng_below(&w->rng, MERGE_MAX - 1);
    unsigned n = rows_draw(w, t, rows, wanted);
    rows_ids(rows, n, ids);
    struct change_event event = {
        .entity = t->entity, .type = SIM_DELETE, .record_ids = (const char(*)[19])ids, .n_record_ids = n};
    workload_publish_change(w, &event, false, NULL);
    for (unsigned i = 0; i < n; i++)
        table_delete(t, rows[i]);
    return true;
}

static bool do_undelete(struct workload *w)
{
    struct table *t = workload_draw_table(w);
    struct row *row = table_undelete(t, &w->rng);
    struct leaf_marks marks = {{0}, {0}};
    if (!row)
        return false;
    edit_modified(w, t->entity, row, &marks);
    workload_publish_row(w, t, SIM_UNDELETE, row, NULL);
    return true;
}

static bool do_order(struct workload *w)
{
    const struct entity *entity = &entities[ENTITY_ORDER];
    struct field_val leaves[16];
    memset(leaves, 0, sizeof leaves);
    edit_fill_new(w, entity, leaves, false, 0);
    leaves[0].as.integer += (int64_t)rng_below(&w->rng, 1000); /* platform events have milliseconds */
    buf_clear(&w->payload);
    payload_platform(&w->payload, entity, leaves);
    struct publication p = {.change_type = NULL};
    workload_publish(w, entity, &p);
    for (unsigned f = 0; f < entity->n_fields; f++)
        val_clear(&leaves[f]);
    return true;
}

/* --- steps ------------------------------------------------------------------------------------- */

static const struct {
    unsigned weight;
    bool (*run)(struct workload *w);
} kinds[] = {
    {22, do_create}, {42, do_update},  {4, do_merged_update}, {6, do_split_update}, {4, do_geocode},
    {5, do_delete},  {3, do_undelete}, {2, do_conversion},    {12, do_order},
};

static bool run_ordinary(struct workload *w)
{
    unsigned total = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        total += kinds[i].weight;
    uint64_t at = rng_below(&w->rng, total);
    size_t i = 0;
    for (; at >= kinds[i].weight; i++)
        at -= kinds[i].weight;
    if (kinds[i].run == do_create && w->org->tables[ENTITY_ACCOUNT].n_live > ROWS_MAX)
        return do_delete(w);
    return kinds[i].run(w);
}

static bool run_special(struct workload *w)
{
    const struct workload_options *o = &w->options;
    if (o->oversize && w->published + 1 >= o->oversize_at && special_oversize(w)) {
        w->options.oversize = 0;
        return true;
    }
    if (o->unknown_schema_every && (w->published + 1) % o->unknown_schema_every == 0)
        return special_undecodable(w, "unknown schema");
    if (workload_chance(w, o->undecodable))
        return special_undecodable(w, NULL);
    if (workload_chance(w, o->gaps))
        return special_gap(w);
    if (workload_chance(w, o->diffs))
        return special_diff(w);
    return workload_chance(w, o->shared_replay) && do_shared_replay(w);
}

/* An administrator adds a field: the next event of the object names another schema. */
static void change_schema(struct workload *w)
{
    w->extended = true;
    for (unsigned i = 0; i < ENTITY_COUNT; i++)
        if (strcmp(w->schema_id[false][i], w->schema_id[true][i]) != 0) {
            snprintf(w->topic[i]->schema_id, sizeof w->topic[i]->schema_id, "%s", w->schema_id[true][i]);
            log_info("sim", "%s has one more field: schema %s instead of %s", entities[i].name,
                     w->schema_id[true][i], w->schema_id[false][i]);
        }
}

uint64_t workload_step(struct workload *w, uint64_t max)
{
    uint64_t before = w->published;
    w->left = max;
    if (!w->extended && w->options.schema_change_at && w->published + 1 >= w->options.schema_change_at)
        change_schema(w);
    begin_transaction(w);
    if (!run_special(w) && !run_ordinary(w))
        do_create(w);
    /* A repeat comes a while after its event, not always at once. */
    for (unsigned i = 0; i < w->n_repeats;)
        if (rng_below(&w->rng, 2))
            workload_publish_repeat(w, i);
        else
            i++;
    return w->published - before;
}

void workload_finish(struct workload *w)
{
    while (w->n_repeats)
        workload_publish_repeat(w, 0);
}

static int add_schema(struct workload *w, struct schemas *schemas, unsigned i, bool extended, struct err *e)
{
    struct buf json = BUF_INIT;
    entity_schema_json(&json, &entities[i], extended);
    int rc = schemas_add(schemas, buf_span(&json), w->schema_id[extended][i], e);
    buf_release(&json);
    return rc;
}

int workload_init(struct workload *w, const struct workload_options *options, struct org *org,
                  struct bus *bus, struct topics *topics, struct schemas *schemas, struct err *e)
{
    memset(w, 0, sizeof *w);
    w->options = *options;
    w->org = org;
    w->bus = bus;
    w->rng.state = options->seed;
    w->clock_ms = options->start_ms;
    /* Over 2^53: a client that reads it as a double shows it wrong. */
    w->commit_number = 9007199254740993 + (int64_t)rng_below(&w->rng, 1000000000);
    for (unsigned i = 0; i < ENTITY_COUNT; i++) {
        if (add_schema(w, schemas, i, false, e) < 0 || add_schema(w, schemas, i, true, e) < 0)
            return err_prefix(e, "%s", entities[i].name);
        w->topic[i] = topics_add(topics, entities[i].topic, w->schema_id[false][i]);
        if (!w->topic[i])
            return err_set(e, ERR_CONFIG, "workload", 0, "more than %d topics", TOPICS_MAX);
        w->topic[i]->has_workload = true;
    }
    return 0;
}

void workload_release(struct workload *w)
{
    buf_release(&w->payload);
    for (unsigned i = 0; i < WORKLOAD_MAX_REPEATS; i++)
        buf_release(&w->repeats[i].payload);
}
