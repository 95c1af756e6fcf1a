#include "delivery/withdraw.h"

#include "base/log.h"
#include "store/dead_letters.h"

#include <inttypes.h>

enum { WITHDRAWALS_LOGGED = 5 };

struct search {
    struct batch *b;
    bool (*is_true)(const void *ctx, size_t event, struct span record_id);
    const void *ctx;
    struct withdrawn *out;
};

static int see(void *ctx, const struct dead_letter *dead)
{
    struct search *s = ctx;
    if (s->is_true(s->ctx, (size_t)(dead->ev.seq - s->b->events[0].seq), dead->record_id))
        return 0;
    struct withdrawn_letter *letter = arena_alloc(&s->b->arena, sizeof *letter);
    *letter = (struct withdrawn_letter){dead->ev.seq, arena_copy(&s->b->arena, dead->record_id),
                                        s->out->last};
    s->out->last = letter;
    s->out->n++;
    return 0;
}

int withdraw_find(struct delivery_loop *d, struct store_txn *txn, size_t n,
                  bool (*is_true)(const void *ctx, size_t event, struct span record_id), const void *ctx,
                  struct withdrawn *out, struct err *e)
{
    struct search s = {&d->batch, is_true, ctx, out};
    *out = (struct withdrawn){.n = 0};
    if (n == 0)
        return 0;
    const uint64_t first = d->batch.events[0].seq;
    return dead_letter_between(txn, d->options.sink->name, first, first + n - 1, see, &s, e);
}

int withdraw_remove(struct delivery_loop *d, struct store_txn *txn, const struct withdrawn *letters,
                    struct err *e)
{
    const struct span sink = span_of_str(d->options.sink->name);
    size_t logged = 0;
    for (const struct withdrawn_letter *l = letters->last; l; l = l->earlier) {
        if (dead_letter_delete(txn, sink, l->seq, l->record_id, e) < 0)
            return -1;
        if (logged++ < WITHDRAWALS_LOGGED)
            log_info(d->subject,
                     "seq %" PRIu64
                     "%s%.*s was parked by an earlier try, and is not now: its dead letter goes",
                     l->seq, l->record_id.n ? ", record " : "", SPAN_ARG(l->record_id));
    }
    if (letters->n > WITHDRAWALS_LOGGED)
        log_info(d->subject, "%zu dead letters of earlier tries are withdrawn with this batch", letters->n);
    return 0;
}
