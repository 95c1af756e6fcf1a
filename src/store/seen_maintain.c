#include "store/seen.h"

#include "base/alloc.h"
#include "base/killpoint.h"
#include "store/seen_sort.h"
#include "store/seen_state.h"

/*
 * The steps that keep lookups cheap and the set bounded. Each is one transaction; what is to be done next follows
 * from the committed state alone, so a crash needs no recovery.
 *
 *   forget  the whole log is older than the window: empty it
 *   seal    the set is full: write it as a run of level 0, empty the log
 *   delete  some values of a run that is DYING
 *   expire  runs whose newest identity is older than the window become DYING
 *   merge   one segment of the output. The first step makes the output BUILDING, the last makes it LIVE and its
 *           inputs DYING. Lower levels go first: a long merge does not let small runs pile up.
 *
 * A run under merge is not expired: its output would bring the identities back. It lives a little longer.
 */

enum step_kind { STEP_NONE, STEP_FORGET, STEP_SEAL, STEP_DELETE, STEP_EXPIRE, STEP_MERGE };

struct step {
    enum step_kind kind;
    struct run *run; /* DELETE: which; MERGE: the output, NULL to begin one */
    uint32_t level;  /* MERGE: of the output */
};

/* --- what next ------------------------------------------------------------------------------------- */

static bool is_input(const struct directory *d, uint64_t number)
{
    for (size_t i = 0; i < d->n; i++)
        for (uint32_t k = 0; d->runs[i].state == RUN_BUILDING && k < d->runs[i].n_inputs; k++)
            if (d->runs[i].inputs[k] == number)
                return true;
    return false;
}

static bool is_expired(const struct directory *d, const struct run *run, int64_t expire_before_ms)
{
    return run->state == RUN_LIVE && run->max_ms < expire_before_ms && !is_input(d, run->number);
}

static struct step merge_step(const struct seen *s)
{
    const struct directory *d = &s->runs;
    for (uint32_t level = 1; level <= s->params.levels; level++) {
        uint32_t inputs = 0;
        for (size_t i = 0; i < d->n; i++) {
            if (d->runs[i].state == RUN_BUILDING && d->runs[i].level == level)
                return (struct step){STEP_MERGE, &d->runs[i], level};
            inputs += d->runs[i].state == RUN_LIVE && d->runs[i].level == level - 1;
        }
        if (inputs >= s->params.fan_out)
            return (struct step){STEP_MERGE, NULL, level};
    }
    /* Built under parameters with more levels. */
    for (size_t i = 0; i < d->n; i++)
        if (d->runs[i].state == RUN_BUILDING)
            return (struct step){STEP_MERGE, &d->runs[i], d->runs[i].level};
    return (struct step){STEP_NONE, NULL, 0};
}

static struct step next_step(const struct seen *s, int64_t expire_before_ms)
{
    const struct directory *d = &s->runs;
    if (s->log.records > 0 && s->log.max_ms < expire_before_ms)
        return (struct step){STEP_FORGET, NULL, 0};
    if (s->set.n >= s->params.seal_at || s->log.records >= s->params.seal_at)
        return (struct step){STEP_SEAL, NULL, 0};
    for (size_t i = 0; i < d->n; i++)
        if (d->runs[i].state == RUN_DYING)
            return (struct step){STEP_DELETE, &d->runs[i], 0};
    for (size_t i = 0; i < d->n; i++)
        if (is_expired(d, &d->runs[i], expire_before_ms))
            return (struct step){STEP_EXPIRE, NULL, 0};
    return merge_step(s);
}

bool seen_wants_maintenance(const struct seen *s, int64_t expire_before_ms)
{
    return s->unknown || next_step(s, expire_before_ms).kind != STEP_NONE;
}

/* --- forget, seal, delete, expire ------------------------------------------------------------------ */

static int drop_log(struct seen *s, struct store_txn *txn, struct err *e)
{
    int rc = mdb_drop(txn->mdb, store_dbi(s->st, DB_SEEN_LOG), 0);
    if (rc != 0)
        return store_error(s->st, rc, "cannot empty the log of seen", e);
    s->drops_log = true;
    return 0;
}

/* One segment, unless the caller let the set grow far beyond what it should hold. */
static int write_sealed(struct seen *s, struct store_txn *txn, struct run *run, const struct identity *ids, uint32_t n,
                        struct err *e)
{
    uint32_t parts = n / (2 * s->params.segment_ids) + 1;
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t from = (uint32_t)((uint64_t)n * i / parts), to = (uint32_t)((uint64_t)n * (i + 1) / parts);
        if (to > from && run_add_segment(txn, run, ids + from, to - from, e) != 0)
            return -1;
    }
    return run_put_record(txn, run, e);
}

static int seal(struct seen *s, struct store_txn *txn, struct err *e)
{
    struct run run = {.number = s->runs.next_number, .state = RUN_LIVE, .chunk_ids = s->params.chunk_ids,
                      .min_ms = s->log.min_ms, .max_ms = s->log.max_ms};
    struct identity *sorted = xmalloc((s->set.n + 1) * sizeof *sorted);
    struct id_piece piece = {(const uint8_t *)s->set.ids, s->set.n};
    uint32_t n = (uint32_t)ids_sort(&piece, 1, PIECES_UNSORTED, sorted);
    int rc = n > 0 ? write_sealed(s, txn, &run, sorted, n, e) : 0;
    KILLPOINT("seen.seal");
    if (rc == 0)
        rc = drop_log(s, txn, e);
    free(sorted);
    free(run.segments);
    return rc;
}

static int delete_some(struct seen *s, struct store_txn *txn, const struct run *run, struct err *e)
{
    uint32_t budget = s->params.deletes_per_step;
    int rc = run_delete_some(txn, run->number, &budget, e);
    KILLPOINT("seen.delete");
    return rc;
}

static int bury(struct store_txn *txn, struct run *run, struct err *e)
{
    run->state = RUN_DYING;
    return run_put_record(txn, run, e);
}

static int expire(struct seen *s, struct store_txn *txn, int64_t expire_before_ms, struct err *e)
{
    for (size_t i = 0; i < s->runs.n; i++)
        if (is_expired(&s->runs, &s->runs.runs[i], expire_before_ms) && bury(txn, &s->runs.runs[i], e) != 0)
            return -1;
    KILLPOINT("seen.expire");
    return 0;
}

/* --- merge ----------------------------------------------------------------------------------------- */

/*
 * A step takes from each input the identities up to a common limit, chosen so that none gives more than its share:
 * each input is read for its share, and the limit is the smallest identity at which one of these readings ended.
 * That input gives its whole share, so every step makes progress.
 */
struct merge {
    struct run *inputs[SEEN_MAX_FAN_OUT];
    struct run_place places[SEEN_MAX_FAN_OUT];
    uint32_t n, unfinished;
    struct id_piece *pieces;
    size_t n_pieces, cap_pieces;
    struct identity limit;
    bool limited; /* else this is the last step */
    size_t total;
};

static void add_piece(struct merge *m, struct span ids, size_t n)
{
    if (m->n_pieces == m->cap_pieces) {
        m->cap_pieces = m->cap_pieces ? 2 * m->cap_pieces : 64;
        m->pieces = xrealloc(m->pieces, m->cap_pieces * sizeof *m->pieces);
    }
    m->pieces[m->n_pieces++] = (struct id_piece){ids.p, n};
}

static int find_places(struct merge *m, struct store_txn *txn, const struct directory *d, const struct run *out,
                       struct err *e)
{
    m->n = out->n_inputs;
    for (uint32_t i = 0; i < m->n; i++) {
        m->inputs[i] = directory_find(d, out->inputs[i]);
        if (out->n_segments > 0 && run_after(txn, m->inputs[i], out->last, &m->places[i], e) != 0)
            return -1;
        struct run_place place = m->places[i];
        struct span ids;
        if (run_read(txn, m->inputs[i], &place, &ids, e) != 0)
            return -1;
        m->unfinished += ids.n > 0;
    }
    return 0;
}

/* The next `share` identities of one input, at least one; lowers the limit if there may be more. */
static int read_share(struct merge *m, struct store_txn *txn, uint32_t input, size_t share, struct err *e)
{
    for (;;) {
        struct span ids;
        if (run_read(txn, m->inputs[input], &m->places[input], &ids, e) != 0)
            return -1;
        size_t n = ids.n / ID_BYTES;
        if (n == 0)
            return 0;
        if (n >= share) {
            struct identity end = id_at(ids.p, share - 1);
            if (!m->limited || id_less(end, m->limit))
                m->limit = end;
            m->limited = true;
            add_piece(m, ids, share);
            return 0;
        }
        add_piece(m, ids, n);
        share -= n;
    }
}

static int gather(struct merge *m, struct store_txn *txn, uint32_t segment_ids, struct err *e)
{
    size_t share = segment_ids / m->unfinished; /* none, if the merge began under a greater fan-out */
    for (uint32_t i = 0; i < m->n; i++)
        if (read_share(m, txn, i, share > 0 ? share : 1, e) != 0)
            return -1;
    for (size_t i = 0; i < m->n_pieces; i++) {
        struct id_piece *p = &m->pieces[i];
        if (m->limited && p->n > 0)
            p->n = ids_upper_bound(p->ids, p->n, m->limit, p->n - 1); /* most of it, or all */
        m->total += p->n;
    }
    return 0;
}

static void begin_output(const struct seen *s, struct run *out, uint32_t level)
{
    *out = (struct run){.number = s->runs.next_number, .state = RUN_BUILDING, .level = level,
                        .chunk_ids = s->params.chunk_ids, .min_ms = INT64_MAX, .max_ms = INT64_MIN};
    for (size_t i = 0; i < s->runs.n && out->n_inputs < s->params.fan_out; i++) {
        const struct run *run = &s->runs.runs[i];
        if (run->state != RUN_LIVE || run->level != level - 1)
            continue;
        out->inputs[out->n_inputs++] = run->number;
        out->min_ms = run->min_ms < out->min_ms ? run->min_ms : out->min_ms;
        out->max_ms = run->max_ms > out->max_ms ? run->max_ms : out->max_ms;
    }
}

static int end_merge(struct merge *m, struct store_txn *txn, struct run *out, struct err *e)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (bury(txn, m->inputs[i], e) != 0)
            return -1;
    out->state = RUN_LIVE;
    out->n_inputs = 0;
    KILLPOINT("seen.merge_done");
    return 0;
}

static int merge_some(struct seen *s, struct store_txn *txn, struct run *out, struct err *e)
{
    struct merge m = {0};
    struct identity *sorted = NULL;
    int rc = find_places(&m, txn, &s->runs, out, e);
    if (rc == 0 && m.unfinished > 0)
        rc = gather(&m, txn, s->params.segment_ids, e);
    if (rc != 0)
        goto out;
    sorted = xmalloc((m.total + 1) * sizeof *sorted);
    uint32_t n = (uint32_t)ids_sort(m.pieces, m.n_pieces, PIECES_SORTED, sorted);
    rc = n > 0 ? run_add_segment(txn, out, sorted, n, e) : 0;
    KILLPOINT("seen.merge_step");
    if (rc == 0 && !m.limited)
        rc = end_merge(&m, txn, out, e);
    if (rc == 0)
        rc = run_put_record(txn, out, e);
out:
    free(sorted);
    free(m.pieces);
    return rc;
}

static int merge(struct seen *s, struct store_txn *txn, const struct step *step, struct err *e)
{
    if (step->run)
        return merge_some(s, txn, step->run, e);
    struct run out;
    begin_output(s, &out, step->level);
    int rc = merge_some(s, txn, &out, e);
    free(out.segments);
    return rc;
}

/* --- one step -------------------------------------------------------------------------------------- */

static int do_step(struct seen *s, struct store_txn *txn, int64_t expire_before_ms, struct err *e)
{
    struct step step = next_step(s, expire_before_ms);
    switch (step.kind) {
    case STEP_NONE: return 0;
    case STEP_FORGET: return drop_log(s, txn, e);
    case STEP_SEAL: return seal(s, txn, e);
    case STEP_DELETE: return delete_some(s, txn, step.run, e);
    case STEP_EXPIRE: return expire(s, txn, expire_before_ms, e);
    case STEP_MERGE: return merge(s, txn, &step, e);
    }
    BUG("step %d", (int)step.kind);
}

int seen_maintain(struct seen *s, struct store_txn *txn, int64_t expire_before_ms, struct err *e)
{
    BUG_IF(s->stale || s->log.next != s->committed.next);
    s->stale = true;
    if (do_step(s, txn, expire_before_ms, e) != 0)
        return -1;
    return directory_load(&s->runs, txn, e);
}
