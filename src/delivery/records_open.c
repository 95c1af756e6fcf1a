/*
 * Opening the target of records mode: fence, read, compare (I7); then what horizon and epochs follow from it.
 */
#include "delivery/records.h"

#include "delivery/authority.h"
#include "delivery/owed.h"

#include "base/killpoint.h"
#include "base/log.h"

#include <stdio.h>

enum { FENCED_WAIT_MS = 500 };

/* Write what the comparison found, with its incident, and take it over. */
static int store_finding(struct delivery_loop *d, struct sink_record *next, const struct authority_finding *f,
                         struct err *e)
{
    struct store_txn txn;
    uint64_t incident;
    bool opened = false;
    if (store_begin(d->options.store, true, &txn, e) != 0) {
        sink_record_release(next);
        return -1;
    }
    if (f->kind) {
        char text[400];
        snprintf(text, sizeof text,
                 "%s; what the journal holds is delivered again, the rest is to be re-read", f->text);
        if (owed_incident(&txn, &d->options, f->kind, "redeliver", text, &incident, &opened, e) != 0 ||
            (opened && owed_all(&txn, &d->options, incident, e) != 0)) {
            store_abort(&txn);
            sink_record_release(next);
            return -1;
        }
    }
    KILLPOINT("records.before_authority");
    return loop_commit_record(d, next, &txn, e);
}

int records_look_at_journal(struct delivery_loop *d, uint64_t seq, struct journal_bounds *bounds,
                            struct event_data **event, struct err *e)
{
    struct store_txn txn;
    size_t n = 0;
    *event = NULL;
    if (store_begin(d->options.store, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, bounds, e);
    if (rc == 0 && seq == RECORDS_AT_HEAD)
        seq = bounds->head;
    if (rc == 0 && seq >= bounds->oldest && seq <= bounds->head)
        rc = journal_read(&txn, seq, 1, 1, &d->batch.arena, event, &n, e);
    store_abort(&txn);
    if (n == 0)
        *event = NULL;
    return rc;
}

uint32_t records_newest_epoch(const struct records *r)
{
    return r->horizon.floor > r->horizon.newest.epoch ? r->horizon.floor : r->horizon.newest.epoch;
}

/* The target is ours from now on, and stands where the record stands. 0, or -1 with why: the target failed. */
static int claim(struct delivery_loop *d, struct err *why)
{
    struct records *r = d->target;
    struct buf state = BUF_INIT;
    authority_state(&d->record, 0, records_newest_epoch(r), &state);
    int rc = r->ops->begin(r->mirror, why);
    if (rc == 0)
        rc = r->ops->commit(r->mirror, store_id(d->options.store), d->record.cursor, buf_span(&state), why);
    buf_release(&state);
    return rc;
}

/* 0: as the store says or as the target says, it is known where to go on; 1: the target failed; -1: the store. */
static int compare(struct delivery_loop *d, const struct mirror_authority *held, struct err *why,
                   struct err *e)
{
    struct journal_bounds bounds;
    struct authority_finding finding;
    struct sink_record next = d->record;
    struct event_data *last; /* what the target says it had last, as our journal holds it */
    if (records_look_at_journal(d, held->known ? held->cursor : 0, &bounds, &last, e) != 0)
        return -1;
    const uint64_t mark = last ? authority_mark(last) : 0;
    next.state = (struct buf)BUF_INIT;
    buf_add_span(&next.state, buf_span(&d->record.state));
    enum authority_verdict verdict = authority_judge(held, store_id(d->options.store), &bounds, mark, &next,
                                                     &finding);
    if (finding.text[0])
        log_warn(d->subject, "%s", finding.text);
    if (verdict == AUTHORITY_AGREES) {
        sink_record_release(&next);
        return 0;
    }
    if (finding.epoch) {
        struct records *r = d->target;
        r->horizon.floor = finding.epoch;
        buf_clear(&next.state);
        horizon_write(&r->horizon, &next.state);
    }
    if (store_finding(d, &next, &finding, e) != 0)
        return -1;
    return verdict == AUTHORITY_INCIDENT && claim(d, why) != 0 ? 1 : 0;
}

static int know_fields(struct records *r, struct err *why)
{
    struct arena a = ARENA_INIT;
    struct mirror_field *fields;
    size_t n;
    int rc = r->ops->fields(r->mirror, &a, &fields, &n, why);
    if (rc == 0)
        map_known(r->map, fields, n);
    arena_release(&a);
    return rc;
}

int records_raise_horizon(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct journal_bounds bounds;
    struct event_data *none;
    if (records_look_at_journal(d, 0, &bounds, &none, e) != 0)
        return -1;
    const struct version below = horizon_at(&r->horizon, bounds.oldest);
    r->forgetting |= version_compare(&below, &r->below) != 0;
    r->below = below;
    return 0;
}

int records_open(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct err why = ERR_INIT;
    struct buf notice = BUF_INIT;
    struct mirror_authority held = {.known = false};
    if (r->fenced && !atomic_exchange(&d->reopen, false)) {
        loop_wait(d, UINT64_MAX, FENCED_WAIT_MS);
        return 0;
    }
    r->fenced = false;
    horizon_read(&r->horizon, buf_span(&d->record.state));
    int rc = r->ops->open(r->mirror, &notice, &why);
    if (notice.len)
        log_info(d->subject, "%s", (char *)notice.data);
    buf_release(&notice);
    if (rc == 0)
        rc = r->ops->fence(r->mirror, &held, &why);
    if (rc == 0)
        rc = know_fields(r, &why);
    KILLPOINT("records.after_fence");
    if (rc == 0) {
        const uint64_t cursor = d->record.cursor;
        int compared = compare(d, &held, &why, e);
        if (compared < 0)
            return -1;
        rc = compared;
        if (d->record.cursor > cursor) /* what was lost was the answer */
            d->failures = 0;
    }
    if (rc != 0) {
        loop_fail_target(d, &why);
        return 0;
    }
    d->open = true;
    loop_set_state(d, DELIVERY_RUNNING, "%s", "");
    return records_raise_horizon(d, e);
}

/*
 * Another store had written versions of an epoch that ours has not come to: those of ours would lose for ever. The
 * newest event held tells where it stands.
 */
int records_raise_epochs(struct delivery_loop *d, struct err *e)
{
    struct records *r = d->target;
    struct journal_bounds bounds;
    struct event_data *newest;
    if (r->horizon.floor == 0)
        return 0;
    if (records_look_at_journal(d, RECORDS_AT_HEAD, &bounds, &newest, e) != 0)
        return -1;
    if (newest)
        horizon_raise(&r->horizon, newest->epoch);
    return 0;
}
