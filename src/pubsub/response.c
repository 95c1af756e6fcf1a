/*
 * A FetchResponse becomes a pubsub_response: protobuf-c unpacks it with an allocator that hands out
 * pieces of the response's own arena, so a response of a hundred events costs one allocation, and that one
 * is mostly saved too: freed responses wait in a small pool and keep their memory. Under load the same few
 * go round between the I/O thread and the listener, and the process does not grow. Those that nobody wanted for
 * a while are what a burst has left: they go, and their memory goes back to the system.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "pubsub/internal.h"

#include <proto/pubsub_api.pb-c.h>

enum {
    POOL_RESPONSES =
        48, /* more than an owner's queue holds, so that a full one that drains gives nothing back */
    POOL_BYTES = 6 << 20,
    POOL_PERIOD = 256, /* responses that come back: some fillings of a queue */
    MUCH_BYTES = 256 << 10,
    OVERHEAD_PER_RESPONSE = 8 * 1024,
    /* A short event (100 bytes) takes three times its size in memory. What exceeds this is no event stream
     * but an attack on memory (a million empty events of two bytes each). */
    LARGEST_GROWTH = 16,
};

static struct {
    pthread_mutex_t lock;
    struct pubsub_response *first;
    unsigned n;
    unsigned spare;    /* so many at least were there all the time of this period … */
    unsigned returned; /* … in which so many came back */
    size_t bytes;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct pubsub_response *pool_take(void)
{
    pthread_mutex_lock(&pool.lock);
    struct pubsub_response *r = pool.first;
    if (r) {
        pool.first = r->next;
        pool.n--;
        pool.bytes -= r->arena.total;
    }
    if (pool.n < pool.spare)
        pool.spare = pool.n;
    pthread_mutex_unlock(&pool.lock);
    return r ? r : xcalloc(1, sizeof *r);
}

static void destroy(struct pubsub_response *r)
{
    arena_release(&r->arena);
    free(r);
}

/* At the end of a period: those that were spare in all of it, which stand at the end. */
static struct pubsub_response *pool_spare(size_t *bytes)
{
    struct pubsub_response **last = &pool.first;
    *bytes = 0;
    if (++pool.returned < POOL_PERIOD)
        return NULL;
    for (unsigned kept = pool.spare; kept < pool.n; kept++)
        last = &(*last)->next;
    struct pubsub_response *spare = *last;
    *last = NULL;
    for (const struct pubsub_response *r = spare; r; r = r->next)
        *bytes += r->arena.total;
    pool.n -= pool.spare;
    pool.bytes -= *bytes;
    pool.spare = pool.n;
    pool.returned = 0;
    return spare;
}

static void destroy_all(struct pubsub_response *r)
{
    for (struct pubsub_response *next; r; r = next) {
        next = r->next;
        destroy(r);
    }
}

void pubsub_response_free(struct pubsub_response *r)
{
    size_t spare_bytes;
    if (!r)
        return;
    arena_reset(&r->arena);
    pthread_mutex_lock(&pool.lock);
    bool keep = pool.n < POOL_RESPONSES && pool.bytes + r->arena.total <= POOL_BYTES;
    if (keep) {
        r->next = pool.first;
        pool.first = r;
        pool.n++;
        pool.bytes += r->arena.total;
    }
    struct pubsub_response *spare = pool_spare(&spare_bytes);
    pthread_mutex_unlock(&pool.lock);
    if (!keep)
        destroy(r);
    destroy_all(spare);
    if (spare_bytes >= MUCH_BYTES)
        alloc_give_back();
}

void response_pool_empty(void)
{
    pthread_mutex_lock(&pool.lock);
    destroy_all(pool.first);
    pool.first = NULL;
    pool.n = pool.spare = pool.returned = 0;
    pool.bytes = 0;
    pthread_mutex_unlock(&pool.lock);
}

size_t response_pool_bytes(void)
{
    pthread_mutex_lock(&pool.lock);
    const size_t bytes = pool.bytes;
    pthread_mutex_unlock(&pool.lock);
    return bytes;
}

/* protobuf-c's allocator: pieces of the arena, up to a limit; freed with it. */
struct bump {
    struct arena *arena;
    size_t left;
};

static void *bump_alloc(void *ctx, size_t n)
{
    struct bump *b = ctx;
    if (n > b->left)
        return NULL;
    b->left -= n;
    return arena_alloc(b->arena, n);
}

static void bump_free(void *ctx, void *p)
{
    (void)ctx, (void)p;
}

static struct span span_of_bytes(ProtobufCBinaryData bytes)
{
    return span_of(bytes.data, bytes.len);
}

static void take_event(const Eventbus__V1__ConsumerEvent *from, struct pubsub_event *to)
{
    *to = (struct pubsub_event){.replay_id = span_of_bytes(from->replay_id)};
    if (from->event) {
        to->event_id = span_of_str(from->event->id);
        to->schema_id = span_of_str(from->event->schema_id);
        to->payload = span_of_bytes(from->event->payload);
    }
}

/* The parts that a FetchResponse and a ManagedFetchResponse have in common. */
struct fetched {
    Eventbus__V1__ConsumerEvent **events;
    size_t n_events;
    ProtobufCBinaryData latest_replay_id;
};

static struct pubsub_response *begin(struct span wire, struct bump *bump)
{
    struct pubsub_response *r = pool_take();
    arena_reserve(&r->arena, wire.n + wire.n / 2 + OVERHEAD_PER_RESPONSE);
    *bump = (struct bump){&r->arena, wire.n * LARGEST_GROWTH + OVERHEAD_PER_RESPONSE};
    return r;
}

/* Takes the response; NULL when its events have no room. */
static struct pubsub_response *fill(struct pubsub_response *r, struct bump *bump, struct span wire,
                                    const struct fetched *m)
{
    struct pubsub_event *events = bump_alloc(bump, m->n_events * sizeof *events);
    if (!events) {
        pubsub_response_free(r);
        return NULL;
    }
    for (size_t i = 0; i < m->n_events; i++)
        take_event(m->events[i], &events[i]);
    r->n_events = (uint32_t)m->n_events;
    r->events = events;
    r->latest_replay_id = span_of_bytes(m->latest_replay_id);
    r->commit = (struct pubsub_commit_answer){0};
    r->bytes = wire.n;
    r->received_ms = clock_wall_ms();
    r->next = NULL;
    return r;
}

struct pubsub_response *response_read(struct span wire, int *pending)
{
    struct bump bump;
    struct pubsub_response *r = begin(wire, &bump);
    ProtobufCAllocator allocator = {bump_alloc, bump_free, &bump};
    Eventbus__V1__FetchResponse *m = eventbus__v1__fetch_response__unpack(&allocator, wire.n, wire.p);
    if (!m) {
        pubsub_response_free(r);
        return NULL;
    }
    *pending = m->pending_num_requested;
    return fill(r, &bump, wire, &(struct fetched){m->events, m->n_events, m->latest_replay_id});
}

/* What stands for one commit, or for several: it names the newest. A number we did not give answers nothing. */
static void take_commit(const Eventbus__V1__CommitReplayResponse *from, struct pubsub_commit_answer *to)
{
    int64_t serial;
    bool ours = text_parse_int(from->commit_request_id, 1, INT64_MAX, &serial) == 0;
    *to = (struct pubsub_commit_answer){.is_there = true,
                                        .serial = ours ? (uint64_t)serial : 0,
                                        .refused = from->error != NULL,
                                        .replay_id = span_of_bytes(from->replay_id)};
    if (from->error)
        to->why = span_of_str(from->error->msg);
}

struct pubsub_response *response_read_managed(struct span wire, int *pending)
{
    struct bump bump;
    struct pubsub_response *r = begin(wire, &bump);
    ProtobufCAllocator allocator = {bump_alloc, bump_free, &bump};
    Eventbus__V1__ManagedFetchResponse *m = eventbus__v1__managed_fetch_response__unpack(&allocator, wire.n,
                                                                                         wire.p);
    if (!m) {
        pubsub_response_free(r);
        return NULL;
    }
    *pending = m->pending_num_requested;
    r = fill(r, &bump, wire, &(struct fetched){m->events, m->n_events, m->latest_replay_id});
    if (r && m->commit_response)
        take_commit(m->commit_response, &r->commit);
    return r;
}
