#include "intake/append.h"

#include "base/alloc.h"
#include "base/killpoint.h"
#include "store/sinks.h"

enum { TRIM_BLOCKS_PER_STEP = 200, TRIM_BLOCKS_FOR_SPACE = 20 };

/* What one queued segment turns its record and group into, if the transaction commits. */
struct outcome {
    struct subscription_record record;
    struct replay_group group;
};

struct appender {
    struct store *st;
    struct seen *seen;
    uint64_t key;

    struct arrivals *queue;
    struct outcome *outcomes; /* parallel to queue */
    size_t n_queue, cap_queue, n_events;

    /* Work space of one segment, reused. */
    struct identity *ids;
    bool *held;
    uint32_t *fresh; /* indexes of items to journal */
    struct identity *fresh_ids;
    struct event_data *fresh_events;
    uint32_t *slots; /* open addressing over fresh, for repeats within one segment */
    size_t cap_work;
};

int append_open(struct store *st, struct appender **out, struct err *e)
{
    struct appender *a = xcalloc(1, sizeof *a);
    a->st = st;
    memcpy(&a->key, store_identity_key(st), sizeof a->key);
    if (seen_open(st, &a->seen, e) != 0) {
        free(a);
        return -1;
    }
    *out = a;
    return 0;
}

void append_close(struct appender *a)
{
    if (!a)
        return;
    seen_close(a->seen);
    free(a->queue);
    free(a->outcomes);
    free(a->ids);
    free(a->held);
    free(a->fresh);
    free(a->fresh_ids);
    free(a->fresh_events);
    free(a->slots);
    free(a);
}

void append_add(struct appender *a, const struct arrivals *arrivals)
{
    BUG_IF(arrivals->n > JOURNAL_MAX_BLOCK_EVENTS);
    if (a->n_queue == a->cap_queue) {
        a->cap_queue = a->cap_queue ? a->cap_queue * 2 : 64;
        a->queue = xrealloc(a->queue, a->cap_queue * sizeof *a->queue);
        a->outcomes = xrealloc(a->outcomes, a->cap_queue * sizeof *a->outcomes);
    }
    a->queue[a->n_queue++] = *arrivals;
    a->n_events += arrivals->n;
}

size_t append_pending(const struct appender *a)
{
    return a->n_events;
}

static size_t slot_count(size_t n)
{
    size_t slots = 16;
    while (slots < n * 2)
        slots *= 2;
    return slots;
}

static void make_room(struct appender *a, size_t n)
{
    if (n <= a->cap_work)
        return;
    a->cap_work = n;
    a->ids = xrealloc(a->ids, n * sizeof *a->ids);
    a->held = xrealloc(a->held, n * sizeof *a->held);
    a->fresh = xrealloc(a->fresh, n * sizeof *a->fresh);
    a->fresh_ids = xrealloc(a->fresh_ids, n * sizeof *a->fresh_ids);
    a->fresh_events = xrealloc(a->fresh_events, n * sizeof *a->fresh_events);
    a->slots = xrealloc(a->slots, slot_count(n) * sizeof *a->slots);
}

/* --- one segment ---------------------------------------------------------------------------------- */

/* False when the segment itself brought this identity before. */
static bool first_in_segment(struct appender *a, size_t n_slots, size_t n_fresh, struct identity id)
{
    size_t slot = id.low & (n_slots - 1);
    for (; a->slots[slot] != UINT32_MAX; slot = (slot + 1) & (n_slots - 1)) {
        struct identity other = a->fresh_ids[a->slots[slot]];
        if (other.high == id.high && other.low == id.low)
            return false;
    }
    a->slots[slot] = (uint32_t)n_fresh;
    return true;
}

/* What ages are counted from: source time, or our clock where that is later or source time is unknown, so
 * that nothing is forgotten too early. */
static int64_t kept_at_ms(const struct arrivals *in, int64_t source_ms)
{
    return source_ms > in->received_ms ? source_ms : in->received_ms;
}

/* Sort the items into duplicates, too early, and fresh. Returns the number of fresh ones, or -1. */
static int choose_fresh(struct appender *a, struct store_txn *txn, const struct arrivals *in,
                        struct subscription_record *r, int64_t source_ms, struct err *e)
{
    struct identity_scope scope = {a->key, span_of_str(r->org_id), r->number};
    for (size_t i = 0; i < in->n; i++)
        a->ids[i] = identity_of(&scope, r->generation, &in->items[i].ev, in->items[i].header);
    if (seen_find(a->seen, txn, a->ids, in->n, a->held, e) != 0)
        return -1;
    size_t n_slots = slot_count(in->n), n_fresh = 0;
    memset(a->slots, 0xff, n_slots * sizeof *a->slots);
    for (size_t i = 0; i < in->n; i++) {
        r->received++;
        if (a->held[i] || !first_in_segment(a, n_slots, n_fresh, a->ids[i])) {
            r->duplicates++;
            continue;
        }
        a->fresh_ids[n_fresh] = a->ids[i];
        a->fresh[n_fresh++] = (uint32_t)i;
    }
    /* Too early: known from now on like the others, so that a repeat counts as what it is. */
    size_t kept = 0, known = 0;
    for (size_t i = 0; i < n_fresh; i++) {
        const struct arrival *item = &in->items[a->fresh[i]];
        if (item->before_start)
            r->before_start++;
        else
            a->fresh_events[kept++] = item->ev;
        if (!item->before_start || !in->beside)
            a->fresh_ids[known++] = a->fresh_ids[i];
    }
    if (known && seen_add(a->seen, txn, a->fresh_ids, known, kept_at_ms(in, source_ms), e) != 0)
        return -1;
    return (int)kept;
}

/* In a later generation: what an earlier one held is journaled again, marked. */
static int mark_replayed(struct appender *a, struct store_txn *txn, const struct arrivals *in,
                         const struct subscription_record *r, size_t n_fresh, struct err *e)
{
    struct identity_scope scope = {a->key, span_of_str(r->org_id), r->number};
    for (uint32_t older = r->generation; older-- > 0;) {
        size_t n = 0;
        for (size_t i = 0; i < n_fresh; i++, n++)
            a->ids[i] = identity_of(&scope, older, &in->items[a->fresh[i]].ev, in->items[a->fresh[i]].header);
        if (seen_find(a->seen, txn, a->ids, n, a->held, e) != 0)
            return -1;
        for (size_t i = 0, kept = 0; i < n_fresh; i++) {
            if (in->items[a->fresh[i]].before_start)
                continue;
            if (a->held[i])
                a->fresh_events[kept].flags |= EVENT_REPLAYED;
            kept++;
        }
    }
    return 0;
}

static void set_resume(struct subscription_record *r, const struct arrivals *in, struct span id,
                       int64_t source_ms)
{
    memcpy(r->resume, id.p, id.n);
    r->resume_len = (uint32_t)id.n;
    r->epoch = in->epoch; /* where the id counts */
    r->resume_source_ms = source_ms;
    r->lost_position = false; /* not before: a cut would go back to the id that was refused */
}

static void pass(const struct arrivals *in, struct subscription_record *r, struct replay_group *g,
                 struct span id, int64_t source_ms)
{
    memcpy(g->passed, id.p, id.n);
    g->passed_len = (uint32_t)id.n;
    if (!in->aside)
        set_resume(r, in, id, source_ms);
}

/* I1: an id becomes the resume point once a different id, or a keepalive, has followed it. */
static void advance_position(const struct arrivals *in, struct subscription_record *r, struct replay_group *g,
                             int64_t source_ms)
{
    for (size_t i = 0; i < in->n; i++) {
        struct span id = in->items[i].ev.replay_id;
        if (id.n == 0 || span_equal(id, span_of(g->id, g->len)))
            continue;
        if (g->len)
            pass(in, r, g, span_of(g->id, g->len), source_ms);
        memcpy(g->id, id.p, id.n);
        g->len = (uint32_t)id.n;
    }
    if (in->n == 0 && in->keepalive_id.n) { /* I3 */
        pass(in, r, g, in->keepalive_id, source_ms);
        g->len = 0;
    }
}

static int append_segment(struct appender *a, struct store_txn *txn, const struct arrivals *in,
                          struct outcome *out, int64_t source_ms, struct err *e)
{
    struct subscription_record *r = &out->record;
    make_room(a, in->n);
    if (in->n) {
        uint64_t before_fresh = r->before_start;
        int kept = choose_fresh(a, txn, in, r, source_ms, e);
        if (kept < 0)
            return -1;
        size_t n_fresh = (size_t)kept + (size_t)(r->before_start - before_fresh);
        if (r->generation && mark_replayed(a, txn, in, r, n_fresh, e) != 0)
            return -1;
        struct journal_block block = {r->number, r->generation, in->epoch, in->received_ms,
                                      kept_at_ms(in, source_ms)};
        uint64_t first;
        if (kept && journal_append(txn, &block, a->fresh_events, (size_t)kept, &first, e) != 0)
            return -1;
        r->journaled += (uint64_t)kept;
    }
    KILLPOINT("intake.after_append");
    advance_position(in, r, &out->group, source_ms);
    r->last_response_ms = in->received_ms;
    BUG_IF(r->received != r->duplicates + r->before_start + r->journaled); /* I9 */
    return 0;
}

/* --- the transaction ------------------------------------------------------------------------------ */

/* Where segment `i` begins: at what those before it have made of its record, and of its stream. */
static void begin_outcome(struct appender *a, size_t i)
{
    const struct arrivals *in = &a->queue[i];
    struct outcome *out = &a->outcomes[i];
    bool record = false, group = false;
    for (size_t j = i; j-- > 0 && !(record && group);) {
        if (!record && a->queue[j].record == in->record) {
            out->record = a->outcomes[j].record;
            record = true;
        }
        if (!group && a->queue[j].group == in->group) {
            out->group = a->outcomes[j].group;
            group = true;
        }
    }
    if (!record)
        out->record = *in->record;
    if (!group)
        out->group = *in->group;
}

static bool last_of_its_record(const struct appender *a, size_t i)
{
    for (size_t j = i + 1; j < a->n_queue; j++)
        if (a->queue[j].record == a->queue[i].record)
            return false;
    return true;
}

static int append_all(struct appender *a, struct store_txn *txn, int64_t source_ms, uint64_t *head,
                      struct err *e)
{
    if (seen_begin(a->seen, txn, e) != 0)
        return -1;
    for (size_t i = 0; i < a->n_queue; i++) {
        const struct arrivals *in = &a->queue[i];
        begin_outcome(a, i);
        if (append_segment(a, txn, in, &a->outcomes[i], source_ms, e) != 0)
            return -1;
    }
    for (size_t i = 0; i < a->n_queue; i++)
        if (last_of_its_record(a, i) && subscription_put(txn, &a->outcomes[i].record, e) != 0)
            return -1;
    int64_t known;
    if (source_time_get(txn, &known, e) != 0)
        return -1;
    if (source_ms > known && source_time_put(txn, source_ms, e) != 0)
        return -1;
    struct journal_bounds bounds;
    if (journal_bounds(txn, &bounds, e) != 0)
        return -1;
    *head = bounds.head;
    return 0;
}

int append_commit(struct appender *a, int64_t source_ms, uint64_t *head, struct err *e)
{
    struct store_txn txn;
    int rc = store_begin(a->st, true, &txn, e);
    if (rc == 0 && (rc = append_all(a, &txn, source_ms, head, e)) != 0)
        store_abort(&txn);
    else if (rc == 0)
        rc = store_commit(&txn, e);
    if (rc == 0) {
        seen_committed(a->seen);
        for (size_t i = 0; i < a->n_queue; i++) {
            *a->queue[i].record = a->outcomes[i].record;
            *a->queue[i].group = a->outcomes[i].group;
        }
    } else {
        seen_aborted(a->seen);
    }
    a->n_queue = 0;
    a->n_events = 0;
    return rc;
}

/* --- upkeep --------------------------------------------------------------------------------------- */

bool append_identities_want_upkeep(const struct appender *a, int64_t expire_before_ms)
{
    return seen_wants_maintenance(a->seen, expire_before_ms);
}

int append_keep_identities(struct appender *a, int64_t expire_before_ms, struct err *e)
{
    struct store_txn txn;
    if (store_begin(a->st, true, &txn, e) != 0)
        return -1;
    int rc = seen_begin(a->seen, &txn, e);
    if (rc == 0)
        rc = seen_maintain(a->seen, &txn, expire_before_ms, e);
    if (rc != 0)
        store_abort(&txn);
    else
        rc = store_commit(&txn, e);
    if (rc == 0)
        seen_committed(a->seen);
    else
        seen_aborted(a->seen);
    return rc;
}

int append_trim(struct appender *a, int64_t before_ms, bool for_space, bool *more, struct err *e)
{
    struct store_txn txn;
    uint64_t settled;
    size_t removed, most = for_space ? TRIM_BLOCKS_FOR_SPACE : TRIM_BLOCKS_PER_STEP;
    if (store_begin(a->st, true, &txn, e) != 0)
        return -1;
    if (sinks_settled(&txn, &settled, e) != 0 ||
        journal_trim(&txn, settled, before_ms, for_space, most, &removed, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    *more = removed == most;
    if (removed)
        return store_commit(&txn, e);
    store_abort(&txn); /* nothing to remove: nothing to sync */
    return 0;
}
