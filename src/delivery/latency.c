#include "delivery/latency.h"

#include <string.h>

/* When it was committed, ms since 1970; 0: it does not say. */
static int64_t committed_ms(const struct change *ch)
{
    if (ch->header.commit_timestamp > 0 || ch->kind != CHANGE_PLATFORM_EVENT)
        return ch->header.commit_timestamp;
    for (uint32_t i = 0; i < ch->n_fields; i++) {
        const struct field_value *f = &ch->fields[i];
        if (f->cell.type == CELL_INT && strcmp(ch->schema->root.fields[f->index].name, "CreatedDate") == 0)
            return f->cell.as.integer;
    }
    return 0;
}

void latency_count(struct latency *l, const struct batch *b, const struct sink_batch *sb, size_t n, int64_t wall_ms)
{
    size_t di = 0;
    for (size_t i = 0; i < n; i++) {
        histogram_add(&l->since_received, wall_ms - b->events[i].received_ms);
        if (b->fates[i] != FATE_DELIVER)
            continue;
        const struct delivery *d = &sb->deliveries[di++];
        int64_t stamp = d->outcome == SINK_DELIVERED ? committed_ms(d->ch) : 0;
        if (stamp > 0)
            histogram_add(&l->since_committed, wall_ms - stamp);
    }
}
