/*
 * sim: the simulator's state, as server, token endpoint and main share it.
 *
 * Two threads: main runs the gRPC completion queue, libmicrohttpd has one of its own. Both take `lock`
 * around everything they do here; main releases it only while it waits.
 *
 * Ownership: main owns all of it, from sim_open to sim_close. Errors: -1 with err.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "sim/bench.h"
#include "sim/bus.h"
#include "sim/faults.h"
#include "sim/limits.h"
#include "sim/managed.h"
#include "sim/oauth.h"
#include "sim/options.h"
#include "sim/org.h"
#include "sim/schemas.h"
#include "sim/session.h"
#include "sim/topics.h"
#include "sim/workload.h"

#include <pthread.h>
#include <stdatomic.h>

struct sim {
    const struct sim_options *options;
    pthread_mutex_t lock;
    struct topics topics;
    struct schemas schemas;
    struct bus bus;
    struct org org;
    struct workload workload;
    struct session session;
    struct oauth oauth;
    struct bench *bench; /* NULL outside benchmarks */
    uint64_t to_publish; /* events the workload may still publish; UINT64_MAX: without end */
    bool subscribed;     /* a Subscribe was accepted once (--hold) */
    int64_t began_us;    /* monotonic; when publishing at a rate began, 0: not yet */
    uint64_t paced;      /* events published since then */
    uint64_t streams, responses, events_sent; /* for /sim/stats and the closing line */
    struct managed_list managed;
    struct limits_page limits;
    struct faults faults; /* what the next calls meet: POST /sim/call-fault */
    bool drop_streams;    /* POST /sim/drop: the server ends every stream */
    struct relay *relay;  /* before the gRPC port; NULL without --relay */
    struct err failure;   /* the ledger failed: stop */
};

MUST_CHECK int sim_open(struct sim *s, const struct sim_options *options, struct err *e);
void sim_close(struct sim *s);

/* Publish what is due at the rate. Returns ms until the next event is due; -1: nothing is to come. */
int64_t sim_pace(struct sim *s);
/* Rate 0: publish until `wanted` events of the topic are there at or after index, or nothing is left. */
void sim_publish_for(struct sim *s, const struct topic *topic, uint64_t index, uint64_t wanted);

/* Publish n events of the workload now, whatever --count and --rate say. */
void sim_publish(struct sim *s, uint64_t n);
/* Another instance: its URL, no token of the old one, a bus that counts anew. -1: the URL is too long. */
MUST_CHECK int sim_migrate(struct sim *s, const char *url);

#endif
