/*
 * bus: the org-wide log of events.
 *
 * One counter over all topics, with gaps; an event keeps its replay id on every topic and channel that
 * carries it. Events stay for 72 hours, or until more than `retain` are held. Everything published is
 * written to the ledger file before any stream can be sent it.
 *
 * Positions: a stream reads by index, the number of the next event it looks at (from 1, never reused).
 *
 * Guarantees
 *   replay ids never fall, but for bus_restart; several events may share one (bus_publish with shares_replay_id).
 *   bus_flush_ledger() returns only after the lines of all published events were written.
 *
 * Ownership: bus_publish copies. struct bus_event pointers live until the next bus_publish.
 * Thread: under the simulator's lock.
 * Errors: only the ledger can fail (ERR_STORE).
 */
#ifndef SIM_BUS_H
#define SIM_BUS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/random.h"
#include "sim/topics.h"

struct bus_event {
    uint64_t counter; /* the replay id's number */
    int64_t at_ms;    /* wall clock */
    uint32_t topic;   /* index */
    uint32_t n;       /* bytes in wire */
    uint8_t wire[];   /* one `events` entry of a FetchResponse (wire.h) */
};

struct bus {
    struct topics *topics;
    size_t replay_id_bytes; /* 8 or 10 */
    uint64_t retain;        /* events */
    uint64_t first, next;   /* indexes: [first, next) are held */
    uint64_t counter;       /* of the newest event */
    uint64_t base;          /* ids below this are older than retention */
    uint64_t origin;        /* the counter before the first event */
    struct bus_event **ring;
    size_t ring_size; /* a power of two */
    struct rng gaps;
    int ledger_fd; /* -1: none */
    struct buf ledger;
};

struct publication {
    const struct topic *topic;
    struct span event_id, schema_id, payload;
    const char *entity;
    const char *change_type; /* NULL on platform events */
    const char (*record_ids)[19];
    size_t n_record_ids;
    bool shares_replay_id; /* with the event before it */
    uint64_t counter;      /* wanted replay id; 0: the next one */
    uint64_t duplicate_of; /* index of the event this one repeats; 0: none */
    const char *note;      /* for the ledger: why a client cannot decode it; NULL: it can */
};

void bus_init(struct bus *b, struct topics *topics, uint64_t seed, size_t replay_id_bytes, uint64_t retain);
void bus_release(struct bus *b);
MUST_CHECK int bus_open_ledger(struct bus *b, const char *path, struct err *e);
MUST_CHECK int bus_flush_ledger(struct bus *b, struct err *e);

/* Before the first event: replay ids begin behind this counter. */
void bus_start_at(struct bus *b, uint64_t counter);
/* Everything held falls out of retention, and every id given out so far with it. */
void bus_expire(struct bus *b);
/* The counter begins anew, as in another database: ids that were given out will be given again. */
void bus_restart(struct bus *b);
/* Returns the event's index. */
uint64_t bus_publish(struct bus *b, const struct publication *p);

static inline const struct bus_event *bus_at(const struct bus *b, uint64_t index)
{
    return b->ring[index & (b->ring_size - 1)];
}

/* Where a stream begins that asks for what comes after this id. -1: not an id of this bus. */
MUST_CHECK int bus_locate(const struct bus *b, struct span replay_id, uint64_t *index);
/* The next event of the topic at or after *index; moves *index to it, or to the head (then NULL). */
const struct bus_event *bus_seek(const struct bus *b, const struct topic *topic, uint64_t *index);
/* Replay id of the newest event; out holds WIRE_REPLAY_ID_MAX bytes. */
struct span bus_head_replay_id(const struct bus *b, uint8_t *out);

#endif
