/*
 * From queued responses to arrivals: decode each change header, as far as intake needs it, and queue the
 * result for the next commit. A response whose next event needs a schema that is not here yet stays, half
 * taken, at the head of its subscription.
 */
#include "intake/source.h"

#include "base/clock.h"

#include <string.h>

/* No commit stamp is further ahead of source time and of our clock than this. */
enum { STAMP_AHEAD_MS = 24 * 3600 * 1000 };

/* Longer ids than anybody has seen would not fit keys and records: the stream is broken, not the event. */
static const char *insane(const struct pubsub_response *r)
{
    for (uint32_t i = 0; i < r->n_events; i++) {
        const struct pubsub_event *ev = &r->events[i];
        if (ev->replay_id.n > EVENT_MAX_REPLAY_ID)
            return "a replay id of more than 64 bytes";
        if (ev->event_id.n > 1024)
            return "an event id of more than 1024 bytes";
        if (ev->schema_id.n > 255)
            return "a schema id of more than 255 bytes";
        if (ev->schema_id.n && memchr(ev->schema_id.p, '\0', ev->schema_id.n))
            return "a schema id with a zero byte";
    }
    return r->latest_replay_id.n > EVENT_MAX_REPLAY_ID ? "a latest replay id of more than 64 bytes" : NULL;
}

static struct pubsub_response *take_response(struct intake *in, struct source *s)
{
    pthread_mutex_lock(&in->lock);
    struct pubsub_response *r = s->shared.head;
    if (r) {
        s->shared.head = r->next;
        if (!s->shared.head)
            s->shared.tail = &s->shared.head;
        s->shared.events -= r->n_events;
        s->shared.bytes -= response_cost(r);
        s->shared.in_hand = true;
        if (s->shared.paused && s->state != SOURCE_STOPPED && s->shared.events < QUEUE_MOST_EVENTS / 2 &&
            s->shared.bytes < QUEUE_MOST_BYTES / 2) {
            s->shared.paused = false;
            if (s->shared.stream)
                pubsub_stream_resume(s->shared.stream);
            if (s->shared.beside)
                pubsub_stream_resume(s->shared.beside);
        }
    }
    pthread_mutex_unlock(&in->lock);
    return r;
}

static void finish_response(struct intake *in, struct source *s)
{
    if (s->config->managed)
        managed_journaled(in, s, s->current);
    s->current->next = in->done;
    in->done = s->current;
    s->current = NULL;
    s->next_event = 0;
}

/*
 * When was it committed: the header's stamp; a platform event says it in CreatedDate. 0: does not say. Only
 * the hole of `start: latest` asks for the latter, so its cost does not matter.
 */
static int64_t commit_stamp(struct intake *in, const struct avro_plan *plan, const struct arrival *a)
{
    if (!a->header || a->header->entity.n)
        return a->header ? a->header->commit_timestamp : 0;
    struct change ch;
    if (avro_decode(plan, a->ev.payload, &in->arena, &ch, NULL) != 0)
        return 0;
    for (uint32_t i = 0; i < ch.n_fields; i++) {
        const struct field_value *f = &ch.fields[i];
        if (f->cell.type == CELL_INT && strcmp(ch.schema->root.fields[f->index].name, "CreatedDate") == 0)
            return f->cell.as.integer;
    }
    return 0;
}

/* While one schema is waited for, the others this response needs are fetched as well. */
static void fetch_others(struct intake *in, struct source *s, int64_t now)
{
    struct schema_fetch *unused;
    for (uint32_t i = s->next_event; i < s->current->n_events; i++)
        schema_for(in, s, s->current->events[i].schema_id, now, &unused);
}

/* Source time only grows, and is kept: one stamp of the far future would make everything old, for good. */
static void note_stamp(struct intake *in, struct source *s, int64_t stamp)
{
    if (stamp > in->latest_stamp_ms)
        return;
    if (stamp > in->batch_stamp_ms)
        in->batch_stamp_ms = stamp;
    if (stamp > s->newest_stamp_ms)
        s->newest_stamp_ms = stamp;
}

/* The newest of a response. A platform event says in its payload when it was made, as its publisher has it: enough to
 * see that a stream has caught up which is never quiet, not enough for source time. */
static void note_creation(struct intake *in, struct source *s, const struct arrival *a)
{
    int64_t stamp = s->plan && a->header ? commit_stamp(in, s->plan, a) : 0;
    if (stamp <= in->latest_stamp_ms && stamp > s->newest_stamp_ms)
        s->newest_stamp_ms = stamp;
}

/* False: wait for the schema first. */
static bool prepare(struct intake *in, struct source *s, const struct pubsub_event *event, int64_t now,
                    struct arrival *a)
{
    *a = (struct arrival){.ev = {.event_id = event->event_id,
                                 .replay_id = event->replay_id,
                                 .schema_id = event->schema_id,
                                 .payload = event->payload}};
    struct schema_fetch *fetch = NULL;
    const struct avro_plan *plan = schema_for(in, s, event->schema_id, now, &fetch);
    if (!plan && !fetch->unusable) {
        schema_wait_for(s, fetch);
        fetch_others(in, s, now);
        return false;
    }
    if (plan && s->config->managed && !source_is_beside(s, s->current))
        managed_compare(s, plan);
    struct change_header *header = arena_alloc(&in->arena, sizeof *header);
    if (plan && avro_decode_header(plan, event->payload, &in->arena, header, NULL) == 0)
        a->header = header;
    else
        a->ev.flags |= EVENT_UNDECODABLE;
    if (a->header)
        note_stamp(in, s, a->header->commit_timestamp);
    /* What the service has kept for us on a managed stream is ours, however old. */
    const bool ours = s->config->managed && s->drops_for_latest && !source_is_beside(s, s->current);
    if (s->drop_before_ms > 0 && plan && !ours) {
        int64_t stamp = commit_stamp(in, plan, a);
        a->before_start = stamp > 0 && stamp < s->drop_before_ms;
    }
    return true;
}

static void add_arrivals(struct intake *in, struct source *s, struct arrival *items, size_t n,
                         struct span keepalive_id)
{
    const struct pubsub_response *r = s->current;
    struct replay_group *group = source_is_beside(s, r) ? &s->managed.group : &s->group;
    struct arrivals arrivals = {&s->record, group,        s->stream_epoch,       r->received_ms,        items,
                                n,          keepalive_id, source_is_aside(s, r), source_is_beside(s, r)};
    append_add(in->appender, &arrivals);
}

static bool batch_is_full(const struct intake *in)
{
    return append_pending(in->appender) >= BATCH_MOST_EVENTS || in->batch_bytes >= in->batch_most_bytes;
}

/* Journal what can be of the response in hand. False: the subscription waits, or the batch is full. */
static bool gather_response(struct intake *in, struct source *s, int64_t now)
{
    const struct pubsub_response *r = s->current;
    if (r->n_events == 0) {
        add_arrivals(in, s, NULL, 0, r->latest_replay_id);
        finish_response(in, s);
        return true;
    }
    size_t room = BATCH_MOST_EVENTS - append_pending(in->appender);
    size_t left = r->n_events - s->next_event;
    size_t most = left < room ? left : room;
    struct arrival *items = arena_alloc(&in->arena, most * sizeof *items);
    size_t n = 0;
    while (n < most && !batch_is_full(in) && prepare(in, s, &r->events[s->next_event + n], now, &items[n])) {
        in->batch_bytes += r->events[s->next_event + n].payload.n + 128;
        n++;
    }
    if (n)
        add_arrivals(in, s, items, n, span_of(NULL, 0));
    s->next_event += (uint32_t)n;
    if (s->next_event < r->n_events)
        return false;
    if (s->state == SOURCE_CATCHING_UP)
        note_creation(in, s, &items[n - 1]);
    finish_response(in, s);
    return true;
}

/* Of a managed subscription: take the answer to a commit out. False: nothing is left to be journaled. */
static bool managed_has_events(struct source *s, const struct pubsub_response *r)
{
    managed_take_answer(s, r);
    if (source_is_beside(s, r) && s->managed.whole)
        return false; /* the managed stream brings it, too */
    /* Of a generation that may yet be undone nothing is journaled. The plain stream brings it, whichever it is. */
    if (source_is_aside(s, r) && replay_unconfirmed(&s->record)) {
        s->managed.dropped = true;
        return false;
    }
    return r->n_events || !r->commit.is_there; /* an answer alone is no keepalive */
}

static void gather_source(struct intake *in, struct source *s, int64_t now)
{
    while (!s->waiting && !batch_is_full(in)) {
        if (!s->current) {
            s->current = take_response(in, s);
            s->next_event = 0;
            if (!s->current)
                return;
            const char *why = insane(s->current);
            if (why)
                return source_distrust(in, s, why, now);
            source_heard(s, s->current, now);
            if (s->config->managed && !managed_has_events(s, s->current)) {
                pubsub_response_free(s->current);
                s->current = NULL;
                continue;
            }
        }
        if (!gather_response(in, s, now))
            return;
    }
}

void gather_batch(struct intake *in, int64_t now)
{
    int64_t wall = clock_wall_ms(), source_now = intake_source_now(in);
    in->latest_stamp_ms = (wall > source_now ? wall : source_now) + STAMP_AHEAD_MS;
    in->batch_stamp_ms = in->newest_stamp_ms;
    in->batch_bytes = 0;
    in->batch_most_bytes = in->options.config->store.max_size / 32; /* a small store takes small steps */
    if (in->batch_most_bytes > BATCH_MOST_BYTES)
        in->batch_most_bytes = BATCH_MOST_BYTES;
    for (uint32_t i = 0; i < in->n_sources; i++)
        gather_source(in, in->sources[(i + (uint32_t)now) % in->n_sources], now);
}

void gather_free_done(struct intake *in)
{
    while (in->done) {
        struct pubsub_response *next = in->done->next;
        pubsub_response_free(in->done);
        in->done = next;
    }
    arena_reset(&in->arena);
}
