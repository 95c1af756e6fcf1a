#include "delivery/redeliver.h"

#include "base/clock.h"
#include "base/digest.h"
#include "delivery/batch.h"
#include "store/incidents.h"

#include <inttypes.h>
#include <stdio.h>

/* --- where it begins ------------------------------------------------------------------------------ */

struct search {
    const struct redeliver_request *request;
    uint32_t subscription; /* that of the id; 0: not found yet */
    uint64_t after;        /* the last event of the group that shares the id */
    bool done;
};

/* Several events share an id: the first group that does, which ends with another id of that subscription. */
static void search_events(struct search *s, const struct event_data *events, size_t n)
{
    const struct span id = span_of(s->request->id, s->request->id_len);
    for (size_t i = 0; i < n && !s->done; i++) {
        const struct event_data *ev = &events[i];
        if (s->subscription && ev->subscription != s->subscription)
            continue;
        if (span_equal(ev->replay_id, id)) {
            s->subscription = ev->subscription;
            s->after = ev->seq;
        } else {
            s->done = s->subscription != 0;
        }
    }
}

/* One step in a transaction of its own: a long reader would keep the store from reusing pages. */
static int search_step(struct store *st, struct search *s, uint64_t *seq, struct journal_bounds *bounds,
                       struct err *e)
{
    enum { EVENTS_AT_ONCE = 5000, BYTES_AT_ONCE = 8 << 20 };
    struct store_txn txn;
    struct arena arena = ARENA_INIT;
    struct event_data *events;
    size_t n = 0;
    if (store_begin(st, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, bounds, e);
    if (*seq < bounds->oldest)
        *seq = bounds->oldest;
    if (rc == 0 && *seq <= bounds->head)
        rc = journal_read(&txn, *seq, EVENTS_AT_ONCE, BYTES_AT_ONCE, &arena, &events, &n, e);
    store_abort(&txn);
    if (rc == 0 && n)
        search_events(s, events, n);
    arena_release(&arena);
    *seq += n;
    return rc;
}

int redeliver_plan(struct store *st, const struct redeliver_request *request, struct redeliver_plan *plan,
                   struct err *e)
{
    struct search s = {.request = request};
    struct journal_bounds bounds = {.head = UINT64_MAX};
    *plan = (struct redeliver_plan){
        .first = 1}; /* the oldest: known for certain only where the order is carried out */
    if (request->from != REDELIVER_FROM_ID)
        return 0;
    for (uint64_t seq = 1; !s.done && seq <= bounds.head;)
        if (search_step(st, &s, &seq, &bounds, e) != 0)
            return -1;
    if (!s.subscription)
        return err_set(e, ERR_CONFIG, "replay", 0,
                       "the journal does not hold replay id %s: it holds seq %" PRIu64 " to %" PRIu64
                       "; 'tidemark tail --journal' shows them",
                       request->text, bounds.oldest, bounds.head);
    plan->first = s.after + 1;
    return 0;
}

/* --- the order ------------------------------------------------------------------------------------ */

/* A person who presses the key twice means one: the same order while it runs, or shortly after. */
static bool is_repeat(const struct redeliver_request *request, const struct sink_record *record)
{
    enum { REPEAT_MS = 5 * 60 * 1000 };
    return strcmp(record->last_redelivery, request->text) == 0 &&
           (record->redeliver_to || clock_wall_ms() - record->last_redelivery_ms < REPEAT_MS);
}

static int record_use(struct store_txn *txn, const struct redeliver_request *request,
                      const struct sink_record *next, struct err *e)
{
    struct incident use = {
        .state = INCIDENT_CLOSED, .opened_ms = clock_wall_ms(), .since_ms = request->time_ms};
    snprintf(use.subject, sizeof use.subject, "%s", next->name);
    snprintf(use.kind, sizeof use.kind, "redelivery");
    snprintf(use.policy, sizeof use.policy, "ordered");
    snprintf(use.text, sizeof use.text,
             "re-delivery from %s, ordered by %s; seq %" PRIu64 " to %" PRIu64
             " from the journal; sink generation %u",
             request->text, request->by[0] ? request->by : "unknown", next->cursor + 1, next->redeliver_to,
             next->generation);
    return incident_open(txn, &use, e);
}

static void describe(const struct redeliver_request *request, const struct sink_record *record,
                     uint64_t first, struct buf *answer)
{
    buf_addf(answer, "sink %s: ", record->name);
    if (request->from == REDELIVER_FROM_TIME)
        buf_addf(answer,
                 "of seq %" PRIu64 " to %" PRIu64
                 ", held by the journal, every event committed at or after %s\n",
                 first, sink_counted(record), request->text);
    else
        buf_addf(answer, "%" PRIu64 " events, seq %" PRIu64 " to %" PRIu64 ", held by the journal\n",
                 sink_counted(record) - first + 1, first, sink_counted(record));
}

int redeliver_apply(struct store_txn *txn, const struct redeliver_request *request,
                    const struct redeliver_plan *plan, struct sink_record *record, struct buf *answer,
                    struct err *e)
{
    struct journal_bounds bounds;
    if (is_repeat(request, record)) {
        buf_addf(answer, "this re-delivery was ordered already and is %s, as generation %u of sink %s\n",
                 record->redeliver_to ? "under way" : "done", record->generation, record->name);
        return REDELIVER_ALREADY;
    }
    if (journal_bounds(txn, &bounds, e) != 0)
        return -1;
    uint64_t first = plan->first < bounds.oldest ? bounds.oldest : plan->first;
    if (first > sink_counted(record))
        return err_set(e, ERR_CONFIG, "replay", 0,
                       "sink %s: nothing to deliver again: it has come to seq %" PRIu64 ", and the journal "
                       "holds nothing between there and what was asked for",
                       record->name, sink_counted(record));
    describe(request, record, first, answer);
    if (request->dry_run)
        return REDELIVER_DRY_RUN;
    record->redeliver_to = sink_counted(record);
    record->redeliver_from_ms = request->from == REDELIVER_FROM_TIME ? request->time_ms : 0;
    record->cursor = first - 1;
    record->generation++;
    snprintf(record->last_redelivery, sizeof record->last_redelivery, "%s", request->text);
    record->last_redelivery_ms = clock_wall_ms();
    return record_use(txn, request, record, e) == 0 ? REDELIVER_ORDERED : -1;
}

/* --- carrying it out ------------------------------------------------------------------------------ */

void redeliver_mark(struct batch *b, const struct sink_record *record)
{
    size_t kept = 0, di = 0;
    for (size_t i = 0; i < b->n_events; i++) {
        struct event_data *ev = &b->events[i];
        if (b->fates[i] != FATE_DELIVER)
            continue;
        const struct delivery *d = &b->deliveries[di++];
        if (ev->seq <= record->redeliver_to) {
            int64_t committed = change_committed_ms(d->ch);
            if (committed > 0 && committed < record->redeliver_from_ms) {
                b->fates[i] = FATE_FILTERED;
                continue;
            }
            ev->flags |= EVENT_REPLAYED;
            ev->generation = record->generation;
        }
        b->deliveries[kept++] = *d;
    }
    b->n_deliveries = kept;
}

void redeliver_finish(struct sink_record *record)
{
    if (record->cursor < record->redeliver_to)
        return;
    record->redeliver_to = 0;
    record->redeliver_from_ms = 0;
}
