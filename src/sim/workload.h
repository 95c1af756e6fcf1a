/*
 * workload: a small company at work, without end.
 *
 * Each step is one transaction, published as one or several events: creates, partial updates (compound
 * components and nulls among them), one change to several records as one event, one update as several
 * events, the geocoder's follow-up, deletes, undeletes, a lead conversion, an order. The org's rows
 * change with it. A seed gives the same transactions everywhere; stamps follow the clock unless a start
 * time is given.
 *
 * On request some events are bad, or repeated: see struct workload_options.
 *
 * Ownership: borrows org, bus and schemas. Thread: under the simulator's lock.
 * Errors: none; the ledger's errors come from bus_flush_ledger.
 */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "sim/bus.h"
#include "sim/org.h"
#include "sim/payload.h"
#include "sim/schemas.h"

struct workload_options {
    uint64_t seed;
    int64_t start_ms;     /* 0: stamps follow the wall clock */
    double duplicates;    /* share of events repeated: same event id, new replay id */
    double shared_replay; /* share of transactions published as a group under one replay id */
    double gaps;          /* share of transactions that tell less than happened: GAP_*, overflow, wildcards */
    double diffs;         /* share of transactions that send a long text as a difference */
    uint64_t schema_change_at;     /* Account has one more field from this event on; 0: never */
    double undecodable;            /* share of transactions that are a damaged payload */
    uint64_t unknown_schema_every; /* every Nth event names a schema nobody knows; 0: none */
    int64_t oversize;              /* bytes of one big event; 0: none */
    uint64_t oversize_at;          /* it is this event */
};

enum { WORKLOAD_MAX_REPEATS = 8 };

struct repeat {
    struct buf payload;
    struct publication publication;
    char event_id[37];
    char record_ids[4][19];
};

struct workload {
    struct workload_options options;
    struct org *org;
    struct bus *bus;
    struct rng rng;
    struct topic *topic[ENTITY_COUNT];
    bool extended; /* the fields that come later are there */
    char schema_id[2][ENTITY_COUNT]
                  [23]; /* before and after; a loaded schema may have given the topic another */
    struct transaction tx;
    int64_t clock_ms; /* of the last commit */
    int64_t commit_number;
    int64_t shift_ms;                /* added to the wall clock: prefilled events lie in the past */
    uint64_t published;              /* events, repeats not counted */
    uint64_t left;                   /* events this step may still publish */
    const struct field_val *filling; /* the row being made */
    struct buf payload;
    char event_id[37];
    char unknown_id[23]; /* of a schema nobody knows */
    struct repeat repeats[WORKLOAD_MAX_REPEATS];
    unsigned n_repeats;
};

/* Adds the built-in schemas and topics. */
MUST_CHECK int workload_init(struct workload *w, const struct workload_options *options, struct org *org,
                             struct bus *bus, struct topics *topics, struct schemas *schemas, struct err *e);
void workload_release(struct workload *w);

/* One transaction of at least one and at most `max` events. Returns how many were published, repeats not
 * counted. */
uint64_t workload_step(struct workload *w, uint64_t max);
/* Publish the repeats that still wait. */
void workload_finish(struct workload *w);

#endif
