#include "sim/bus.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "sim/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { RETENTION_HOURS = 72 };

void bus_init(struct bus *b, struct topics *topics, uint64_t seed, size_t replay_id_bytes, uint64_t retain)
{
    memset(b, 0, sizeof *b);
    b->topics = topics;
    b->replay_id_bytes = replay_id_bytes;
    b->retain = retain;
    b->first = b->next = 1;
    b->gaps.state = seed ^ 0x6275735f67617073ull; /* a stream of its own, whatever else is drawn */
    b->origin = b->base = b->counter = 1200000 + rng_below(&b->gaps, 1000000);
    b->ring_size = 1024;
    b->ring = xcalloc(b->ring_size, sizeof *b->ring);
    b->ledger_fd = -1;
}

void bus_release(struct bus *b)
{
    for (uint64_t i = b->first; i < b->next; i++)
        free(b->ring[i & (b->ring_size - 1)]);
    free(b->ring);
    buf_release(&b->ledger);
    if (b->ledger_fd >= 0)
        close(b->ledger_fd);
}

int bus_open_ledger(struct bus *b, const char *path, struct err *e)
{
    b->ledger_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (b->ledger_fd < 0)
        return err_set_errno(e, ERR_CONFIG, "ledger", errno, "%s", path);
    return 0;
}

int bus_flush_ledger(struct bus *b, struct err *e)
{
    if (!b->ledger.len)
        return 0;
    int rc = file_write_all(b->ledger_fd, b->ledger.data, b->ledger.len, e);
    buf_clear(&b->ledger);
    return rc < 0 ? err_prefix(e, "ledger") : 0;
}

void bus_start_at(struct bus *b, uint64_t counter)
{
    BUG_IF(b->next != 1);
    b->origin = b->base = b->counter = counter;
}

static void grow(struct bus *b)
{
    size_t size = b->ring_size * 2;
    struct bus_event **ring = xcalloc(size, sizeof *ring);
    for (uint64_t i = b->first; i < b->next; i++)
        ring[i & (size - 1)] = b->ring[i & (b->ring_size - 1)];
    free(b->ring);
    b->ring = ring;
    b->ring_size = size;
}

static void drop_oldest(struct bus *b)
{
    struct bus_event **slot = &b->ring[b->first & (b->ring_size - 1)];
    b->base = (*slot)->counter;
    free(*slot);
    *slot = NULL;
    b->first++;
}

static void make_room(struct bus *b, int64_t now_ms)
{
    while (b->first < b->next && (b->next - b->first >= b->retain ||
                                  now_ms - bus_at(b, b->first)->at_ms > RETENTION_HOURS * 3600000ll))
        drop_oldest(b);
    if (b->next - b->first == b->ring_size)
        grow(b);
}

static void drop_all(struct bus *b)
{
    while (b->first < b->next)
        drop_oldest(b);
}

void bus_expire(struct bus *b)
{
    drop_all(b);
    b->counter += 1000; /* of events that nobody here was sent */
    b->base = b->counter;
}

void bus_restart(struct bus *b)
{
    drop_all(b);
    b->base = b->counter = b->origin;
}

static uint64_t next_counter(struct bus *b, const struct publication *p)
{
    if (p->shares_replay_id && b->next > 1)
        return b->counter;
    if (p->counter && p->counter >= b->counter)
        return p->counter;
    /* Other kinds of events, which nobody here subscribes to, take numbers too. */
    return b->counter + 1 + (rng_below(&b->gaps, 4) ? 0 : 1 + rng_below(&b->gaps, 5));
}

static int64_t wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void add_ledger_line(struct bus *b, const struct publication *p, struct span replay_id)
{
    struct buf *out = &b->ledger;
    buf_addf(out, "{\"seq\":%llu,\"topic\":\"%s\",\"event_id\":", (unsigned long long)b->next,
             p->topic->name);
    json_add_string(out, p->event_id);
    buf_add_str(out, ",\"replay_id\":\"");
    hex_add(out, replay_id);
    buf_add_str(out, "\",\"entity\":");
    json_add_string(out, span_of_str(p->entity));
    if (p->change_type)
        buf_addf(out, ",\"change_type\":\"%s\"", p->change_type);
    else
        buf_add_str(out, ",\"change_type\":null");
    buf_add_str(out, ",\"record_ids\":[");
    for (size_t i = 0; i < p->n_record_ids; i++)
        buf_addf(out, "%s\"%s\"", i ? "," : "", p->record_ids[i]);
    buf_add_str(out, "],\"schema_id\":");
    json_add_string(out, p->schema_id);
    if (p->duplicate_of)
        buf_addf(out, ",\"duplicate_of\":%llu", (unsigned long long)p->duplicate_of);
    if (p->note) {
        buf_add_str(out, ",\"undecodable\":");
        json_add_string(out, span_of_str(p->note));
    }
    buf_addf(out, ",\"published_at_us\":%lld}\n", (long long)wall_us());
}

uint64_t bus_publish(struct bus *b, const struct publication *p)
{
    uint8_t id_bytes[WIRE_REPLAY_ID_MAX];
    int64_t now_ms = clock_wall_ms();
    make_room(b, now_ms);
    uint64_t counter = next_counter(b, p);
    replay_id_write(counter, b->replay_id_bytes, id_bytes);
    struct span replay_id = span_of(id_bytes, b->replay_id_bytes);

    struct buf wire = BUF_INIT;
    wire_add_event(&wire, p->event_id, p->schema_id, p->payload, replay_id);
    struct bus_event *ev = xmalloc(sizeof *ev + wire.len);
    ev->counter = counter;
    ev->at_ms = now_ms;
    ev->topic = topics_index(b->topics, p->topic);
    ev->n = (uint32_t)wire.len;
    memcpy(ev->wire, wire.data, wire.len);
    buf_release(&wire);

    if (b->ledger_fd >= 0)
        add_ledger_line(b, p, replay_id);
    b->ring[b->next & (b->ring_size - 1)] = ev;
    b->counter = counter;
    b->topics->list[ev->topic].published++;
    return b->next++;
}

int bus_locate(const struct bus *b, struct span replay_id, uint64_t *index)
{
    uint64_t counter;
    if (replay_id_read(replay_id, &counter) < 0 || counter < b->base || counter > b->counter)
        return -1;
    /* The first event behind it: counters never fall. */
    uint64_t low = b->first, high = b->next;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (bus_at(b, middle)->counter <= counter)
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return 0;
}

const struct bus_event *bus_seek(const struct bus *b, const struct topic *topic, uint64_t *index)
{
    if (*index < b->first) /* retention overtook a stream that does not read */
        *index = b->first;
    for (; *index < b->next; ++*index) {
        const struct bus_event *ev = bus_at(b, *index);
        if (topic->members >> ev->topic & 1)
            return ev;
    }
    return NULL;
}

struct span bus_head_replay_id(const struct bus *b, uint8_t *out)
{
    replay_id_write(b->counter, b->replay_id_bytes, out);
    return span_of(out, b->replay_id_bytes);
}
