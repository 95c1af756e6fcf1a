/*
 * Dead letters that are tried again in records mode: a batch of them between two of the journal.
 *
 * The cursor stays. Rows and states are committed in the target first, then letters and counts in our store (I4): dying
 * in between delivers them again, which their versions tell.
 */
#include "delivery/records.h"

#include "delivery/authority.h"
#include "delivery/late.h"

#include "base/killpoint.h"

/* Why the event of a letter is refused again: of its first piece that is, or of the event. */
static void why_refused(const struct records *r, const struct batch *b, size_t event, const char **reason,
                        const char **detail)
{
    *reason = b->late[event].reason;
    *detail = b->late[event].detail;
    for (size_t i = 0; i < r->pieces.n_mapped && !*reason; i++)
        if (r->pieces.mapped[i].event == event && r->pieces.mapped[i].outcome == OUTCOME_PARKED) {
            *reason = r->pieces.mapped[i].reason;
            *detail = r->pieces.mapped[i].why;
        }
    for (size_t i = 0; i < r->pieces.n && !*reason; i++)
        if (r->pieces.pieces[i].of->event == event && r->pieces.pieces[i].outcome == OUTCOME_PARKED) {
            *reason = r->pieces.pieces[i].reason;
            *detail = r->pieces.pieces[i].detail;
        }
}

static int settle_late(struct delivery_loop *d, const enum outcome *outcomes, struct err *e)
{
    struct records *r = d->target;
    struct batch *b = &d->batch;
    struct sink_record next = d->record;
    struct store_txn txn;
    int rc = 0;
    if (store_begin(d->options.store, true, &txn, e) != 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < b->n_events; i++) {
        const char *reason = NULL, *detail = NULL;
        if (outcomes[i] == OUTCOME_PARKED)
            why_refused(r, b, i, &reason, &detail);
        int settled = late_settle(b, &txn, i, reason, detail, e);
        next.redriven += settled == 1;
        rc = settled < 0 ? -1 : 0;
    }
    if (rc != 0) {
        store_abort(&txn);
        return -1;
    }
    next.state = (struct buf)BUF_INIT;
    buf_add_span(&next.state, buf_span(&d->record.state));
    return loop_commit_record(d, &next, &txn, e);
}

/* The target stands where it stood; its rows have what the letters bring. */
static int commit_late(struct delivery_loop *d, const enum outcome *outcomes, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    struct buf state = BUF_INIT;
    struct journal_bounds bounds;
    struct event_data *last;
    if (records_look_at_journal(d, d->record.cursor, &bounds, &last, e) != 0) {
        r->ops->rollback(r->mirror);
        return -1;
    }
    authority_state(&d->record, last ? authority_mark(last) : 0, records_newest_epoch(r), &state);
    KILLPOINT("redrive.before_commit");
    int rc = r->ops->commit(r->mirror, store_id(d->options.store), d->record.cursor, buf_span(&state), &why);
    KILLPOINT("redrive.after_commit");
    poison_forget(&r->late_poison);
    buf_release(&state);
    if (rc != 0) {
        records_give_up(d, &why);
        return 0;
    }
    d->failures = 0;
    noted_clear(&r->late_noted);
    return settle_late(d, outcomes, e);
}

int records_redrive(struct delivery_loop *d, struct err *e)
{
    const enum outcome *outcomes;
    const unsigned orders = d->letter_orders;
    if (late_read(&d->batch, d->record.cursor, e) != 0)
        return -1;
    if (d->batch.n_events == 0) {
        loop_no_letters(d, orders);
        return 0;
    }
    int rc = records_settle(d, &outcomes, e);
    return rc == 1 ? commit_late(d, outcomes, e) : rc;
}
