#include "delivery/note.h"

#include "delivery/owed.h"
#include "delivery/withdraw.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "store/dead_letters.h"

#include <inttypes.h>

enum { PARKS_LOGGED = 5 };

struct note {
    struct delivery_loop *d;
    const struct pieces *pieces;
    const enum outcome *outcomes;
    struct noted *noted;
    struct store_txn txn;
    bool begun;
    size_t parked;
};

static int begin_note(struct note *n, struct err *e)
{
    if (!n->begun && store_begin(n->d->options.store, true, &n->txn, e) != 0)
        return -1;
    n->begun = true;
    return 0;
}

/* What does not fit its column is quoted in the dead letter; a log is read by more people. */
static bool quotes_values(const char *reason)
{
    return strcmp(reason, "mapping") == 0 || strcmp(reason, "transaction refused") == 0;
}

static void log_parked(const struct note *n, const struct event_data *ev, struct span record_id,
                       const char *reason, const char *detail)
{
    struct buf hint = BUF_INIT;
    if (quotes_values(reason))
        buf_addf(&hint, "see 'tidemark dlq show %s %" PRIu64 "'", n->d->options.sink->name, ev->seq);
    log_warn(n->d->subject, "parked seq %" PRIu64 "%s%.*s, %s: %s", ev->seq, record_id.n ? ", record " : "",
             SPAN_ARG(record_id), reason, hint.len ? (char *)hint.data : detail);
    buf_release(&hint);
}

static int park(struct note *n, const struct event_data *ev, struct span record_id, const char *reason,
                const char *detail, struct err *e)
{
    struct dead_letter dead = {.sink = span_of_str(n->d->options.sink->name),
                               .record_id = record_id,
                               .status = DEAD_LETTER_FINAL,
                               .parked_ms = clock_wall_ms(),
                               .reason = span_of_str(reason),
                               .detail = span_of_str(detail),
                               .ev = *ev};
    if (begin_note(n, e) != 0 || dead_letter_put(&n->txn, &dead, e) != 0)
        return -1;
    if (n->parked < PARKS_LOGGED)
        log_parked(n, ev, record_id, reason, detail);
    else if (n->parked == PARKS_LOGGED)
        log_warn(n->d->subject, "more of this batch is parked: see 'tidemark dlq list'");
    n->parked++;
    return 0;
}

static int park_all(struct note *n, struct err *e)
{
    const struct pieces *p = n->pieces;
    bool *has_pieces = arena_alloc(&n->d->batch.arena, (p->n_mapped + 1) * sizeof *has_pieces);
    memset(has_pieces, 0, (p->n_mapped + 1) * sizeof *has_pieces);
    for (size_t i = 0; i < p->n; i++) {
        const struct piece *piece = &p->pieces[i];
        has_pieces[piece->of - p->mapped] = true;
        if (piece->outcome == OUTCOME_PARKED &&
            park(n, piece->of->d->ev, piece->record->id, piece->reason, piece->detail, e) != 0)
            return -1;
    }
    for (size_t i = 0; i < p->n_mapped; i++) {
        const struct mapped *m = &p->mapped[i];
        if (m->outcome == OUTCOME_PARKED && !has_pieces[i] &&
            park(n, m->d->ev, span_of(NULL, 0), m->reason, m->why, e) != 0)
            return -1;
    }
    return 0;
}

/* --- what an earlier try had parked ----------------------------------------------------------------- */

/* The first that is of this event, or of a later one. */
static size_t first_piece(const struct pieces *p, size_t event)
{
    size_t low = 0, high = p->n;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (p->pieces[mid].of->event < event)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_parked_now(const void *ctx, size_t event, struct span record_id)
{
    const struct note *n = ctx;
    const struct batch *b = &n->d->batch;
    const struct pieces *p = n->pieces;
    if (n->outcomes[event] == OUTCOME_FILTERED) /* a re-delivery leaves it as it is */
        return b->events[event].seq <= n->d->record.redeliver_to;
    if (n->outcomes[event] != OUTCOME_PARKED)
        return false;
    const size_t first = first_piece(p, event);
    if (first == p->n || p->pieces[first].of->event != event) /* as a whole */
        return record_id.n == 0;
    for (size_t i = first; i < p->n && p->pieces[i].of->event == event; i++)
        if (p->pieces[i].outcome == OUTCOME_PARKED && span_equal(p->pieces[i].record->id, record_id))
            return true;
    return false;
}

/* Looked for in a transaction that only reads: mostly there is none. */
static int withdraw_stale(struct note *n, struct err *e)
{
    struct withdrawn stale;
    struct store_txn txn;
    if (store_begin(n->d->options.store, false, &txn, e) != 0)
        return -1;
    int rc = withdraw_find(n->d, &txn, n->d->batch.n_events, is_parked_now, n, &stale, e);
    store_abort(&txn);
    if (rc != 0 || stale.n == 0)
        return rc;
    return begin_note(n, e) == 0 ? withdraw_remove(n->d, &n->txn, &stale, e) : -1;
}

/* --- what is owed ----------------------------------------------------------------------------------- */

static struct owed owed_of(const struct mapped *m, const char *kind, struct span record_id)
{
    return (struct owed){.kind = kind,
                         .entity = m->d->ch->header.entity,
                         .record_id = record_id,
                         .subscription = m->d->ev->subscription,
                         .since_ms = m->d->ch->header.commit_timestamp};
}

static const char *kind_of(const struct piece *piece)
{
    if (piece->late)
        return "late_change";
    if (piece->of->change.kind == CONFLICT_GAP)
        return "gap";
    return piece->of->n_texts ? "text_difference" : "incomplete_rows";
}

void noted_clear(struct noted *n)
{
    n->n = n->before = n->next = 0;
}

void noted_release(struct noted *n)
{
    free(n->all);
    *n = (struct noted){.n = 0};
}

/* Enter it; false: it was there. A batch that comes again asks in the same order, mostly. */
static bool is_new(struct noted *n, uint64_t seq, struct span record_id)
{
    const struct noted_task task = {seq, digest_fast(record_id, 0)};
    for (size_t i = 0; i < n->before; i++) {
        const size_t at = (n->next + i) % n->before;
        if (n->all[at].seq != task.seq || n->all[at].record != task.record)
            continue;
        n->next = at + 1;
        return false;
    }
    if (n->n == n->cap) {
        n->cap = n->cap ? 2 * n->cap : 64;
        n->all = xrealloc(n->all, n->cap * sizeof *n->all);
    }
    n->all[n->n++] = task;
    return true;
}

static int note_owed(struct note *n, struct err *e)
{
    const struct pieces *p = n->pieces;
    struct arena *a = &n->d->batch.arena;
    struct owed *owed = arena_alloc(a, (p->n + p->n_mapped + 1) * sizeof *owed);
    size_t count = 0;
    for (size_t i = 0; i < p->n_mapped; i++)
        if (p->mapped[i].owes_entity && p->mapped[i].outcome == OUTCOME_DELIVERED &&
            is_new(n->noted, p->mapped[i].d->ev->seq, span_of(NULL, 0)))
            owed[count++] = owed_of(&p->mapped[i], "entity_reread", span_of(NULL, 0));
    for (size_t i = 0; i < p->n; i++) {
        const struct piece *piece = &p->pieces[i];
        if (piece->owes && piece->outcome != OUTCOME_PARKED &&
            is_new(n->noted, piece->of->d->ev->seq, piece->record->id))
            owed[count++] = owed_of(piece->of, kind_of(piece), piece->record->id);
    }
    if (count == 0)
        return 0;
    return begin_note(n, e) == 0 ? owed_add(&n->txn, &n->d->options, owed, count, e) : -1;
}

static int note_remarks(struct note *n, struct mirror_remarks *remarks, struct err *e)
{
    if (remarks->notice.len)
        log_info(n->d->subject, "%s", (char *)remarks->notice.data);
    buf_clear(&remarks->notice);
    if (remarks->odd.len == 0)
        return 0;
    log_warn(n->d->subject, "%s", (char *)remarks->odd.data);
    if (begin_note(n, e) != 0)
        return -1;
    int rc = 0;
    for (char *line = (char *)remarks->odd.data, *next; rc == 0 && *line; line = next) {
        const size_t length = strcspn(line, "\n");
        next = line + length + (line[length] == '\n');
        line[length] = '\0';
        if (length)
            rc = owed_look(&n->txn, &n->d->options, "column_type", line, e);
    }
    buf_clear(&remarks->odd);
    return rc;
}

int note_batch(struct delivery_loop *d, const struct pieces *pieces, const enum outcome *outcomes,
               struct mirror_remarks *remarks, struct noted *noted, struct err *e)
{
    struct note n = {.d = d, .pieces = pieces, .outcomes = outcomes, .noted = noted};
    noted->before = noted->n;
    const bool late = d->batch.late != NULL; /* these have letters, which change once the target has them */
    if ((!late && withdraw_stale(&n, e) != 0) || note_remarks(&n, remarks, e) != 0 ||
        (!late && park_all(&n, e) != 0) || note_owed(&n, e) != 0) {
        if (n.begun)
            store_abort(&n.txn);
        return -1;
    }
    if (!n.begun)
        return 0;
    KILLPOINT("records.before_park");
    if (store_commit(&n.txn, e) != 0)
        return -1;
    KILLPOINT("records.after_park");
    return 0;
}
