/*
 * Which events a batch of records mode takes: whole Salesforce transactions, and the next batch ahead of its turn.
 */
#include "delivery/records.h"

#include "delivery/transaction.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>

static bool is_silent(struct records *r, uint64_t head, int64_t *left_ms)
{
    const int64_t now = clock_mono_ms();
    if (head != r->head || r->head_mono_ms == 0) {
        r->head = head;
        r->head_mono_ms = now;
    }
    *left_ms = r->head_mono_ms + TRANSACTION_SILENCE_MS - now;
    return *left_ms <= 0;
}

enum { FIRST_BYTES = 4 << 20 };

/*
 * The batch that follows the one in hand, while the target is at work on that. Only where the journal holds all of it
 * already: what is read now is what would be read then.
 */
void records_read_ahead(void *context)
{
    struct delivery_loop *d = context;
    struct records *r = d->target;
    const uint64_t last = d->batch.events[d->batch.n_events - 1].seq;
    const size_t few = (size_t)d->options.sink->batch_events;
    r->ahead.n_events = 0;
    if (loop_wait(d, 0, 0) < last + few)
        return;
    r->ahead.most_events = few;
    r->ahead.most_bytes = FIRST_BYTES;
    batch_read_ahead(&r->ahead, last + 1);
}

/* Whether it is what comes now; the other way round, its memory is that of the next. */
static bool take_ahead(struct delivery_loop *d)
{
    struct records *r = d->target;
    if (r->ahead.n_events == 0 || r->ahead.events[0].seq != d->record.cursor + 1)
        return false;
    const struct batch done = d->batch;
    d->batch = r->ahead;
    d->batch.parked_through = done.parked_through;
    r->ahead = done;
    r->ahead.n_events = 0;
    return true;
}

static int read_once(struct delivery_loop *d, size_t most_events, size_t most_bytes, struct err *e)
{
    d->batch.most_events = most_events;
    d->batch.most_bytes = most_bytes;
    return batch_read(&d->batch, d->record.cursor + 1, e);
}

/* From the cursor to the end of a transaction; n_events 0: not now. */
int records_read(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct batch *b = &d->batch;
    const bool all = d->options.sink->transactions == TRANSACTIONS_ATOMIC;
    const size_t few = (size_t)d->options.sink->batch_events;
    for (int more = 0; more < 2; more++) {
        int64_t left;
        const uint64_t head = loop_wait(d, 0, 0);
        const bool silent = is_silent(r, head, &left);
        const size_t most = more && few < TRANSACTION_MOST_EVENTS ? TRANSACTION_MOST_EVENTS : few;
        if (!(more == 0 && take_ahead(d)) &&
            read_once(d, most, more ? TRANSACTION_MOST_BYTES : FIRST_BYTES, e) != 0)
            return -1;
        if (b->n_events == 0)
            return 0;
        const bool at_head = b->events[b->n_events - 1].seq >= head;
        const size_t n = transaction_boundary(b, at_head && silent && b->events[b->n_events - 1].seq == head,
                                              all);
        if (n > 0) {
            batch_cut(b, n);
            return 0;
        }
        if (at_head && b->n_events < most) {
            loop_wait(d, head, left > 0 ? left : 1);
            batch_cut(b, 0);
            return 0;
        }
    }
    r->splits++;
    log_warn(d->subject,
             "a transaction of more than %zu events from seq %" PRIu64 " on is written in parts (%" PRIu64
             " so far)",
             b->n_events, b->events[0].seq, r->splits);
    return 0;
}
