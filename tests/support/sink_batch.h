/*
 * sink_batch: made-up events for the tests of sinks.
 *
 * Event number `seq` is always the same event, whatever batch it comes in, so a test can say what a file
 * must hold byte for byte.
 *
 * Ownership: everything lives in the batch; a new filling replaces it. Thread: one at a time.
 */
#ifndef TESTS_SINK_BATCH_H
#define TESTS_SINK_BATCH_H

#include "base/alloc.h"
#include "sink/sink.h"

#include <stdio.h>

struct made_event {
    struct event_data ev;
    struct change ch;
    struct field_value name;
    char id[40];
    uint8_t replay_id[10];
};

struct made_batch {
    struct sink_batch batch;
    struct made_event *events;
    char *text; /* the value of every event's field */
};

#define MADE_BATCH_INIT {{NULL, 0, ERR_INIT}, NULL, NULL}

static const struct schema_field made_fields[] = {
    {.name = "Name", .name_len = 4, .quoted = "\"Name\":", .quoted_len = 7},
};
static const struct event_schema made_schema = {
    .id = "a01VpgrsZNJdn-7KStJcxQ",
    .root = {.name = "Order__e", .n_fields = 1, .fields = made_fields},
};

static inline struct line_source made_source(void)
{
    return (struct line_source){span_of_str("00Dxx0000001gEREAY"), span_of_str("/event/Order__e")};
}

static inline void made_event_set(struct made_event *m, uint64_t seq, struct span text)
{
    *m = (struct made_event){.ev = {.seq = seq, .subscription = 1, .received_ms = 1778077800123}};
    snprintf(m->id, sizeof m->id, "9b77cea1-0000-4000-8000-%012llx", (unsigned long long)seq);
    m->replay_id[9] = (uint8_t)seq;
    m->replay_id[8] = (uint8_t)(seq >> 8);
    m->ev.event_id = span_of_str(m->id);
    m->ev.replay_id = span_of(m->replay_id, sizeof m->replay_id);
    m->ev.schema_id = span_of_str(made_schema.id);
    m->name = (struct field_value){.cell = {.type = CELL_STRING, .as.bytes = text}};
    m->ch = (struct change){.schema = &made_schema, .kind = CHANGE_PLATFORM_EVENT, .n_fields = 1, .fields = &m->name};
}

static inline void made_batch_release(struct made_batch *m)
{
    free(m->batch.deliveries);
    free(m->events);
    free(m->text);
    *m = (struct made_batch)MADE_BATCH_INIT;
}

/* Events first, first + 1, …, each with a text of `size` bytes. */
static inline struct sink_batch *made_batch_fill(struct made_batch *m, uint64_t first, size_t n, size_t size)
{
    static struct line_source source;
    source = made_source();
    made_batch_release(m);
    m->events = xcalloc(n + 1, sizeof *m->events);
    m->batch.deliveries = xcalloc(n + 1, sizeof *m->batch.deliveries);
    m->batch.n = n;
    m->text = xmalloc(size + 1);
    memset(m->text, 'x', size);
    for (size_t i = 0; i < n; i++) {
        made_event_set(&m->events[i], first + i, span_of(m->text, size));
        m->batch.deliveries[i] =
            (struct delivery){.ev = &m->events[i].ev, .ch = &m->events[i].ch, .source = &source};
    }
    return &m->batch;
}

/* What a file holds after this batch: appended to out. */
static inline void made_batch_lines(const struct made_batch *m, struct buf *out)
{
    for (size_t i = 0; i < m->batch.n; i++) {
        const struct delivery *d = &m->batch.deliveries[i];
        json_line_add(out, d->ev, d->ch, d->source, d->line_flags);
        buf_add_char(out, '\n');
    }
}

/* How many deliveries have this outcome. */
static inline size_t made_batch_count(const struct made_batch *m, enum sink_outcome outcome)
{
    size_t count = 0;
    for (size_t i = 0; i < m->batch.n; i++)
        count += m->batch.deliveries[i].outcome == outcome;
    return count;
}

#endif
