#include "sink/sink.h"

#include "sink/kinds.h"

static const struct sink_ops *const kinds[] = {
    [SINK_KIND_FILE] = &sink_file_ops,
    [SINK_KIND_STDOUT] = &sink_stdout_ops,
    [SINK_KIND_NULL] = &sink_null_ops,
};

const struct sink_ops *sink_ops_of(enum sink_kind kind)
{
    BUG_IF((size_t)kind >= ARRAY_LEN(kinds) || !kinds[kind]);
    return kinds[kind];
}

void sink_report(struct sink_batch *batch, size_t index, enum sink_outcome outcome, const struct err *reason)
{
    BUG_IF(index >= batch->n);
    BUG_IF(outcome == SINK_UNREPORTED);
    /* A second report could turn "refused" into "delivered", or the other way round. */
    BUG_IF(batch->deliveries[index].outcome != SINK_UNREPORTED);
    BUG_IF(outcome != SINK_DELIVERED && !reason);
    batch->deliveries[index].outcome = outcome;
    if (outcome != SINK_DELIVERED)
        batch->reason = *reason;
}

void sink_report_rest(struct sink_batch *batch, enum sink_outcome outcome, const struct err *reason)
{
    for (size_t i = 0; i < batch->n; i++)
        if (batch->deliveries[i].outcome == SINK_UNREPORTED)
            sink_report(batch, i, outcome, reason);
}
