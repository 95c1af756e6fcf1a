/*
 * null sink: says DELIVERED and does nothing, for measuring everything before a sink.
 */
#include "base/alloc.h"
#include "sink/kinds.h"

struct sink {
    bool is_open;
};

static struct sink *null_new(const struct sink_config *config)
{
    (void)config;
    return xcalloc(1, sizeof(struct sink));
}

static int null_open(struct sink *s, const struct sink_memory *memory, struct buf *notice, struct err *e)
{
    (void)memory;
    (void)notice;
    (void)e;
    s->is_open = true;
    return 0;
}

static void null_submit(struct sink *s, struct sink_batch *batch)
{
    static const struct err closed = {ERR_RETRY, "sink.null", 0, "the sink is not open"};
    sink_report_rest(batch, s->is_open ? SINK_DELIVERED : SINK_RETRY, &closed);
}

static void null_state(const struct sink *s, struct buf *out)
{
    (void)s;
    (void)out;
}

static void null_close(struct sink *s)
{
    s->is_open = false;
}

static void null_free(struct sink *s)
{
    free(s);
}

const struct sink_ops sink_null_ops = {
    .kind = "null",
    .new = null_new,
    .open = null_open,
    .submit = null_submit,
    .state = null_state,
    .close = null_close,
    .free = null_free,
};
