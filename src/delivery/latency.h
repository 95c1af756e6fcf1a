/*
 * latency: how long events take to be settled, per sink. Internal to delivery/.
 *
 *   since received    every event that is settled, whatever became of it
 *   since committed   every event delivered that says when Salesforce committed it: the header's stamp, a
 * platform event's CreatedDate
 *
 * Guarantees: one bucket per event, no lock, no allocation. Counts begin with the process.
 * Thread: the sink's counts, any may read. Errors: none.
 */
#ifndef DELIVERY_LATENCY_H
#define DELIVERY_LATENCY_H

#include "base/histogram.h"
#include "delivery/batch.h"

struct latency {
    struct histogram since_received, since_committed;
};

/* The first n events of the batch were settled now. */
void latency_count(struct latency *l, const struct batch *b, const struct sink_batch *sb, size_t n,
                   int64_t wall_ms);

#endif
