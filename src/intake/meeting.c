#include "intake/meeting.h"

void mark_set(struct mark *m, struct span id)
{
    m->len = (uint32_t)id.n;
    if (id.n)
        memcpy(m->id, id.p, id.n);
}

struct span mark_span(const struct mark *m)
{
    return span_of(m->id, m->len);
}

static bool brings(const struct pubsub_response *r, const struct mark *wanted)
{
    for (uint32_t i = 0; wanted->len && i < r->n_events; i++)
        if (span_equal(r->events[i].replay_id, mark_span(wanted)))
            return true;
    return false;
}

bool meeting_managed(struct meeting *m, const struct pubsub_response *r)
{
    if (r->n_events == 0)
        return false;
    if (!m->managed_first.len) {
        mark_set(&m->managed_first, r->events[0].replay_id);
        m->beside_then = m->beside_newest;
    }
    mark_set(&m->managed_newest, r->events[r->n_events - 1].replay_id);
    return brings(r, &m->beside_then);
}

bool meeting_beside(struct meeting *m, const struct pubsub_response *r)
{
    if (r->n_events == 0)
        return true;
    if (!m->beside_newest.len && m->managed_newest.len) {
        m->managed_then = m->managed_newest;
        mark_set(&m->beside_then, r->events[0].replay_id);
    }
    mark_set(&m->beside_newest, r->events[r->n_events - 1].replay_id);
    return brings(r, &m->managed_first) || brings(r, &m->managed_then);
}
