#include "delivery/latency.h"

void latency_count(struct latency *l, const struct batch *b, const struct sink_batch *sb, size_t n,
                   int64_t wall_ms)
{
    size_t di = 0;
    for (size_t i = 0; i < n; i++) {
        histogram_add(&l->since_received, wall_ms - b->events[i].received_ms);
        if (b->fates[i] != FATE_DELIVER)
            continue;
        const struct delivery *d = &sb->deliveries[di++];
        int64_t stamp = d->outcome == SINK_DELIVERED ? change_committed_ms(d->ch) : 0;
        if (stamp > 0)
            histogram_add(&l->since_committed, wall_ms - stamp);
    }
}
