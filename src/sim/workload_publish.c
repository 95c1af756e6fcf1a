#include "sim/workload_parts.h"

#include <stdio.h>

bool workload_chance(struct workload *w, double p)
{
    return p > 0 && (double)(rng_next(&w->rng) >> 11) * 0x1p-53 < p;
}

static void remember_repeat(struct workload *w, const struct publication *p, uint64_t index)
{
    if (w->n_repeats == WORKLOAD_MAX_REPEATS || p->n_record_ids > ARRAY_LEN(w->repeats[0].record_ids))
        return;
    struct repeat *r = &w->repeats[w->n_repeats++];
    r->publication = *p;
    r->publication.shares_replay_id = false;
    r->publication.duplicate_of = index;
    buf_clear(&r->payload);
    buf_add_span(&r->payload, p->payload);
    memcpy(r->event_id, p->event_id.p, p->event_id.n);
    for (size_t i = 0; i < p->n_record_ids; i++)
        memcpy(r->record_ids[i], p->record_ids[i], sizeof r->record_ids[i]);
}

void workload_publish_repeat(struct workload *w, unsigned i)
{
    struct repeat *r = &w->repeats[i];
    r->publication.payload = buf_span(&r->payload);
    r->publication.event_id = span_of(r->event_id, r->publication.event_id.n);
    r->publication.record_ids = (const char(*)[19])r->record_ids;
    bus_publish(w->bus, &r->publication);
    struct repeat last = w->repeats[--w->n_repeats];
    w->repeats[w->n_repeats] = *r;
    w->repeats[i] = last;
}

void workload_publish(struct workload *w, const struct entity *entity, struct publication *p)
{
    if (!p->shares_replay_id)
        draw_uuid(&w->rng, w->event_id);
    p->topic = w->topic[entity - entities];
    p->entity = entity->name;
    p->event_id = span_of_str(w->event_id);
    p->payload = buf_span(&w->payload);
    p->schema_id = span_of_str(w->schema_id[w->extended][entity - entities]);
    if (p->note && strcmp(p->note, "unknown schema") == 0) {
        snprintf(w->unknown_id, sizeof w->unknown_id, "unknown%015llu",
                 (unsigned long long)w->published % 1000000000000000ull);
        p->schema_id = span_of_str(w->unknown_id);
    }
    uint64_t index = bus_publish(w->bus, p);
    w->published++;
    w->left--;
    if (!p->note && workload_chance(w, w->options.duplicates))
        remember_repeat(w, p, index);
}

void workload_publish_change(struct workload *w, const struct change_event *event, bool shares_replay_id,
                             const char *note)
{
    if (!shares_replay_id) /* a hole now and then: an object nobody subscribed to */
        w->tx.sequence += rng_below(&w->rng, 10) ? 1 : 2;
    struct change_event now = *event;
    now.extended = w->extended;
    buf_clear(&w->payload);
    payload_change(&w->payload, &now, &w->tx);
    struct publication p = {
        .change_type = sim_change_type_name(event->type),
        .record_ids = event->record_ids,
        .n_record_ids = event->n_record_ids,
        .shares_replay_id = shares_replay_id,
        .note = note,
    };
    workload_publish(w, event->entity, &p);
}

void workload_publish_row(struct workload *w, const struct table *t, enum sim_change_type type,
                          const struct row *row, const struct leaf_marks *marks)
{
    struct change_event event = {.entity = t->entity,
                                 .type = type,
                                 .record_ids = (const char(*)[19])row->id,
                                 .n_record_ids = 1,
                                 .row = type == SIM_DELETE ? NULL : row,
                                 .marks = marks};
    workload_publish_change(w, &event, false, NULL);
}
