#include "delivery/horizon.h"

#include "store/codec.h"

#include <stdio.h>

enum { FORMAT = 3 }; /* those before did not say whose the notes are: they are made anew */

void horizon_read(struct horizon *h, struct span state)
{
    struct reader r = {state, false};
    *h = (struct horizon){.n = 0};
    if (state.n == 0 || get_u8(&r) != FORMAT)
        return;
    get_text(&r, h->org_id, sizeof h->org_id);
    h->several = get_u8(&r) != 0;
    h->newest_ms = get_i64(&r);
    h->newest.epoch = get_u32(&r);
    h->newest.commit = get_i64(&r);
    h->floor = get_u32(&r);
    h->raise = get_u32(&r);
    h->n = get_u8(&r);
    for (uint32_t i = 0; i < h->n && i < HORIZON_NOTES; i++) {
        struct horizon_note *note = &h->notes[i];
        note->source_ms = get_i64(&r);
        note->seq = get_u64(&r);
        note->epoch = get_u32(&r);
        note->commit = get_i64(&r);
    }
    if (!reader_ok(&r) || h->n > HORIZON_NOTES)
        *h = (struct horizon){.n = 0};
}

void horizon_write(const struct horizon *h, struct buf *out)
{
    put_u8(out, FORMAT);
    put_span(out, span_of_str(h->org_id));
    put_u8(out, h->several);
    put_i64(out, h->newest_ms);
    put_u32(out, h->newest.epoch);
    put_i64(out, h->newest.commit);
    put_u32(out, h->floor);
    put_u32(out, h->raise);
    put_u8(out, (uint8_t)h->n);
    for (uint32_t i = 0; i < h->n; i++) {
        put_i64(out, h->notes[i].source_ms);
        put_u64(out, h->notes[i].seq);
        put_u32(out, h->notes[i].epoch);
        put_i64(out, h->notes[i].commit);
    }
}

void horizon_raise(struct horizon *h, uint32_t epoch)
{
    if (h->floor)
        h->raise = h->floor > epoch ? h->floor - epoch : 0;
    h->floor = 0;
}

bool horizon_is_of(const struct horizon *h, struct span org_id)
{
    return !h->several && (!*h->org_id || span_equal_str(org_id, h->org_id));
}

void horizon_see(struct horizon *h, struct span org_id, const struct version *v, int64_t committed_ms)
{
    const struct version whole = {.epoch = v->epoch, .commit = v->commit};
    if (!horizon_is_of(h, org_id)) {
        h->several = true;
        h->n = 0;
    }
    if (!*h->org_id)
        snprintf(h->org_id, sizeof h->org_id, "%.*s", SPAN_ARG(org_id));
    if (committed_ms > h->newest_ms)
        h->newest_ms = committed_ms;
    if (version_compare(&whole, &h->newest) > 0)
        h->newest = whole;
}

static void drop(struct horizon *h, uint32_t n)
{
    h->n -= n;
    memmove(h->notes, h->notes + n, h->n * sizeof *h->notes);
}

bool horizon_note(struct horizon *h, uint64_t seq)
{
    if (h->several || version_is_none(&h->newest) ||
        (h->n && h->newest_ms - h->notes[h->n - 1].source_ms < HORIZON_STEP_MS))
        return false;
    if (h->n == HORIZON_NOTES) /* a journal that keeps more than that: the steps become longer */
        for (uint32_t i = 0; i < HORIZON_NOTES / 2; i++) {
            h->notes[i] = h->notes[2 * i];
            h->n = i + 1;
        }
    h->notes[h->n++] = (struct horizon_note){h->newest_ms, seq, h->newest.epoch, h->newest.commit};
    return true;
}

struct version horizon_at(struct horizon *h, uint64_t oldest)
{
    uint32_t settled = 0;
    while (settled < h->n && h->notes[settled].seq < oldest &&
           h->notes[settled].source_ms + HORIZON_AGE_MS <= h->newest_ms)
        settled++;
    if (settled == 0)
        return VERSION_NONE;
    drop(h, settled - 1);
    /* every change of that transaction */
    return (struct version){h->notes[0].epoch, 1, h->notes[0].commit, INT32_MAX};
}
