/*
 * bench: a stream that costs the server next to nothing.
 *
 * A ring of FetchResponses, encoded once at start, holds 100 Account-like events each (59 fields). To
 * send some, the bytes are copied and the event ids and replay ids, which have fixed widths, are
 * written over the copies. So every event of a run has an identity of its own, derived from its number.
 *
 * With `records`, events are about that many records: the first of them create one each, in full, the others update
 * them, scattered; commit numbers rise with the event's. Without, each template keeps the record it was made with.
 *
 * Events exist as numbers first … first + count - 1; number n has replay id counter BENCH_BASE + n.
 *
 * Ownership: bench_take appends to the caller's buffer. Thread: under the simulator's lock.
 */
#ifndef SIM_BENCH_H
#define SIM_BENCH_H

#include "base/buf.h"
#include "sim/entities.h"

enum { BENCH_BASE = 1000000, BENCH_PER_RESPONSE = 100 };

struct bench;

struct bench_profile {
    uint64_t first, count;
    size_t replay_id_bytes;
    bool full;        /* 55 % of the fields set; else a partial update with 6 % */
    uint64_t records; /* 0: one per template */
    uint64_t seed;
};

struct bench *bench_new(const struct bench_profile *profile, const char *schema_id);
void bench_free(struct bench *b);
void bench_schema_json(struct buf *out);

/* Average Avro bytes per event. */
size_t bench_payload_bytes(const struct bench *b);
/* Replay positions: *next is the number of the next event. -1: not an id of this run. */
int bench_locate(const struct bench *b, struct span replay_id, uint64_t *next);
uint64_t bench_first(const struct bench *b);
uint64_t bench_end(const struct bench *b); /* one past the last number */
/* The first number nobody was sent yet: what LATEST means here. */
uint64_t bench_head(const struct bench *b);
/* Append up to `max` (<= 100) events from *next on; returns how many. */
int bench_take(struct bench *b, uint64_t *next, int max, struct buf *out);
/* Replay id of the last event before `next`. */
struct span bench_replay_id(const struct bench *b, uint64_t next, uint8_t *out);

#endif
