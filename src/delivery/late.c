#include "delivery/late.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/dead_letters.h"

#include <inttypes.h>

struct gathering {
    struct batch *b;
    size_t bytes, cap;
};

static int is_waiting(void *ctx, const struct dead_letter *d)
{
    (void)ctx;
    return d->status == DEAD_LETTER_RETRYING;
}

int late_any(const struct delivery_options *o, bool *any, struct err *e)
{
    struct store_txn txn;
    if (store_begin(o->store, false, &txn, e) != 0)
        return -1;
    int rc = dead_letter_each(&txn, o->sink->name, is_waiting, NULL, e);
    store_abort(&txn);
    *any = rc == 1;
    return rc < 0 ? -1 : 0;
}

static int gather(void *ctx, const struct dead_letter *d)
{
    struct gathering *g = ctx;
    struct batch *b = g->b;
    if (d->status != DEAD_LETTER_RETRYING)
        return 0;
    struct event_data *ev = &b->events[b->n_events];
    *ev = d->ev;
    ev->event_id = arena_copy(&b->arena, d->ev.event_id);
    ev->replay_id = arena_copy(&b->arena, d->ev.replay_id);
    ev->schema_id = arena_copy(&b->arena, d->ev.schema_id);
    ev->payload = arena_copy(&b->arena, d->ev.payload);
    b->late[b->n_events++] = (struct late_letter){.record_id = arena_copy(&b->arena, d->record_id)};
    g->bytes += d->ev.payload.n;
    return b->n_events == g->cap || g->bytes >= b->most_bytes;
}

int late_read(struct batch *b, uint64_t cursor, struct err *e)
{
    struct subscription_info **infos;
    struct store_txn txn;
    struct gathering g = {.b = b, .cap = (size_t)b->options->sink->batch_events};
    batch_clear(b);
    b->events = arena_alloc(&b->arena, g.cap * sizeof *b->events);
    b->late = arena_alloc(&b->arena, g.cap * sizeof *b->late);
    if (store_begin(b->options->store, false, &txn, e) != 0)
        return -1;
    int rc = dead_letter_between(&txn, b->options->sink->name, 0, cursor, gather, &g, e) < 0 ? -1 : 0;
    if (rc == 0)
        rc = batch_subscriptions(b, &txn, &infos, e);
    store_abort(&txn);
    return rc == 0 ? batch_decode_late(b, infos, e) : -1;
}

int late_settle(struct batch *b, struct store_txn *txn, size_t i, const char *reason, const char *detail,
                struct err *e)
{
    const struct event_data *ev = &b->events[i];
    const struct span sink = span_of_str(b->options->sink->name);
    int rc = dead_letter_delete(txn, sink, ev->seq, b->late[i].record_id, e);
    if (rc != 0)
        return rc < 0 ? -1 : 0; /* dropped meanwhile */
    if (!reason)
        return 1;
    struct dead_letter dead = {.sink = sink,
                               .record_id = b->late[i].record_id,
                               .status = DEAD_LETTER_FINAL,
                               .parked_ms = clock_wall_ms(),
                               .reason = span_of_str(reason),
                               .detail = span_of_str(detail),
                               .ev = *ev};
    log_warn(b->subject, "seq %" PRIu64 " is refused again, %s: see 'tidemark dlq show %s %" PRIu64 "'",
             ev->seq, reason, b->options->sink->name, ev->seq);
    return dead_letter_put(txn, &dead, e);
}
