#include "delivery/authority.h"

#include "base/digest.h"
#include "store/codec.h"

#include <inttypes.h>
#include <stdio.h>

enum { STATE_WITHOUT_MARK = 1, STATE_WITHOUT_EPOCH = 2, STATE_FORMAT = 3 };

uint64_t authority_mark(const struct event_data *ev)
{
    struct buf all = BUF_INIT;
    uint8_t digest[32];
    uint64_t mark;
    put_u32(&all, ev->subscription);
    put_span(&all, ev->event_id);
    put_span(&all, ev->replay_id);
    put_span(&all, ev->payload);
    digest_sha256(buf_span(&all), digest);
    buf_release(&all);
    memcpy(&mark, digest, sizeof mark);
    return mark ? mark : 1;
}

void authority_state(const struct sink_record *record, uint64_t mark, uint32_t epoch, struct buf *out)
{
    put_u8(out, STATE_FORMAT);
    put_u32(out, record->generation);
    put_u64(out, record->base);
    put_u64(out, record->delivered);
    put_u64(out, record->superseded);
    put_u64(out, record->filtered);
    put_u64(out, record->parked);
    put_u64(out, record->redelivered);
    put_u64(out, record->redeliver_to);
    put_i64(out, record->redeliver_from_ms);
    put_u64(out, mark);
    put_u32(out, epoch);
}

static bool read_state(struct span bytes, struct sink_record *out, uint64_t *mark, uint32_t *epoch)
{
    struct reader r = {bytes, false};
    const uint8_t format = get_u8(&r);
    *mark = 0;
    *epoch = 0;
    if (format < STATE_WITHOUT_MARK || format > STATE_FORMAT)
        return false;
    out->generation = get_u32(&r);
    out->base = get_u64(&r);
    out->delivered = get_u64(&r);
    out->superseded = get_u64(&r);
    out->filtered = get_u64(&r);
    out->parked = get_u64(&r);
    out->redelivered = get_u64(&r);
    out->redeliver_to = get_u64(&r);
    out->redeliver_from_ms = get_i64(&r);
    if (format >= STATE_WITHOUT_EPOCH)
        *mark = get_u64(&r);
    if (format >= STATE_FORMAT)
        *epoch = get_u32(&r);
    return reader_ok(&r);
}

/* Everything up to `counted` is in the totals: it is delivered again, beside them. */
static void go_back(struct sink_record *record, uint64_t cursor)
{
    const uint64_t counted = sink_counted(record);
    record->redeliver_to = counted > cursor ? counted : 0;
    record->redeliver_from_ms = 0;
    record->cursor = cursor;
    if (cursor > counted) /* never seen, and gone from the journal: not ours to count */
        record->base += cursor - counted;
}

static enum authority_verdict begin_anew(const struct journal_bounds *bounds, struct sink_record *record)
{
    go_back(record, bounds->oldest - 1);
    return AUTHORITY_INCIDENT;
}

/* Until the target is told, its cursor stands above events that it was never given: the generation says so. */
static enum authority_verdict rolled_back(const struct journal_bounds *bounds, uint32_t told,
                                          struct sink_record *record, struct authority_finding *finding)
{
    finding->kind = "store_rolled_back";
    if (record->generation <= told)
        record->generation = told + 1;
    return begin_anew(bounds, record);
}

/* The target is ahead: we died between its commit and ours. */
static enum authority_verdict go_forward(const struct mirror_authority *held,
                                         const struct sink_record *totals, struct sink_record *record,
                                         struct authority_finding *finding)
{
    snprintf(finding->text, sizeof finding->text,
             "the target holds seq %" PRIu64 ", the store knew of %" PRIu64
             ": what lies between is delivered",
             held->cursor, record->cursor);
    record->generation = totals->generation;
    record->delivered = totals->delivered;
    record->superseded = totals->superseded;
    record->filtered = totals->filtered;
    record->parked = totals->parked;
    record->redelivered = totals->redelivered;
    record->redeliver_to = totals->redeliver_to;
    record->redeliver_from_ms = totals->redeliver_from_ms;
    record->base = totals->base;
    record->cursor = held->cursor;
    return AUTHORITY_FOLLOWED;
}

static bool adds_up(const struct sink_record *t, uint64_t cursor)
{
    const uint64_t counted = t->redeliver_to > cursor ? t->redeliver_to : cursor;
    return counted - t->base == t->delivered + t->superseded + t->filtered + t->parked;
}

static enum authority_verdict same_store(const struct mirror_authority *held,
                                         const struct journal_bounds *bounds, uint64_t mark,
                                         struct sink_record *record, struct authority_finding *finding)
{
    struct sink_record totals = {.state = BUF_INIT};
    uint64_t told;
    uint32_t epoch;
    const bool known = read_state(held->state, &totals, &told, &epoch) && adds_up(&totals, held->cursor);
    if (held->cursor > bounds->head) {
        snprintf(finding->text, sizeof finding->text,
                 "the target holds seq %" PRIu64 ", beyond the journal's newest, %" PRIu64
                 ": this store was rolled back",
                 held->cursor, bounds->head);
        return rolled_back(bounds, known ? totals.generation : 0, record, finding);
    }
    /* A re-delivery was ordered, or begun, since the target last heard of us: the store knows better. */
    if (known && totals.generation < record->generation && record->cursor <= held->cursor)
        return AUTHORITY_AGREES;
    if (known && told && mark && told != mark) {
        snprintf(finding->text, sizeof finding->text,
                 "the target was given another event as seq %" PRIu64
                 " than the journal holds there: this store was "
                 "rolled back, and has gone on since",
                 held->cursor);
        return rolled_back(bounds, totals.generation, record, finding);
    }
    if (held->cursor == record->cursor)
        return AUTHORITY_AGREES;
    if (held->cursor + 1 < bounds->oldest) {
        finding->kind = "target_rolled_back";
        snprintf(finding->text, sizeof finding->text,
                 "the target holds seq %" PRIu64 ", the store's record says %" PRIu64
                 " and the journal begins at %" PRIu64
                 ": the target was rolled back, or the sink was away for too long",
                 held->cursor, record->cursor, bounds->oldest);
        return begin_anew(bounds, record);
    }
    if (held->cursor > record->cursor && known)
        return go_forward(held, &totals, record, finding);
    snprintf(finding->text, sizeof finding->text,
             "the target holds seq %" PRIu64 ", the store's record says %" PRIu64
             ": the target is right, what it lacks is delivered again",
             held->cursor, record->cursor);
    if (held->cursor < record->cursor)
        go_back(record, held->cursor);
    /* else: ahead, with totals nobody can read: what lies between is decided again, which changes nothing */
    return AUTHORITY_FOLLOWED;
}

enum authority_verdict authority_judge(const struct mirror_authority *held, const uint8_t *store_id,
                                       const struct journal_bounds *bounds, uint64_t mark,
                                       struct sink_record *record, struct authority_finding *finding)
{
    *finding = (struct authority_finding){.kind = NULL};
    if (!held->known) {
        if (sink_counted(record) == record->base)
            return AUTHORITY_AGREES;
        finding->kind = "target_rolled_back";
        snprintf(finding->text, sizeof finding->text,
                 "the target knows nothing of this sink, though seq %" PRIu64
                 " was delivered: it was made anew, or "
                 "is another",
                 record->cursor);
        return begin_anew(bounds, record);
    }
    if (memcmp(held->store_id, store_id, MIRROR_STORE_ID) == 0)
        return same_store(held, bounds, mark, record, finding);
    struct sink_record theirs = {.state = BUF_INIT};
    uint64_t ignored;
    if (!read_state(held->state, &theirs, &ignored, &finding->epoch) || finding->epoch > INT32_MAX)
        finding->epoch = 0; /* not known */
    finding->kind = "other_store";
    snprintf(finding->text, sizeof finding->text,
             "the target was written from another store, up to its seq %" PRIu64
             ": that store was lost, or restored, or is in use elsewhere",
             held->cursor);
    return begin_anew(bounds, record);
}
