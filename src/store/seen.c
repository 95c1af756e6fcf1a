#include "store/seen.h"

#include "base/alloc.h"
#include "store/codec.h"
#include "store/seen_state.h"

/*
 * The way of a lookup. A miss, the common case, asks the memory set and then one cache line of one filter per run.
 * Filters of 10 million identities are 20 MB: those lines are not in the cache. So a batch goes through the runs
 * together: while the answers of one run are read, the lines of the next are under way.
 */

/* The default sizes. A set sealed at 63,500 plus one transaction of 2,000 is one segment: 1 MiB of chunks and 128 KiB
 * of filter, and so is what a merge step writes. Runs of 64 k become runs of 0.5 M, 4 M, 32 M: with 10 million held
 * about 9 filters are asked, with 100 million about 14. Measured at 10 million, a filter more costs a lookup 10 ns,
 * a level more costs an addition 30: fan-outs of 4 to 8 are cheapest, 16 costs a quarter more. */
struct seen_params seen_default_params(void)
{
    return (struct seen_params){
        .seal_at = 63500, .segment_ids = 65504, .chunk_ids = 2047, .fan_out = 8, .levels = 3, .deletes_per_step = 64};
}

/* --- opening: the log becomes the set ---------------------------------------------------------------- */

enum { LOG_HEAD_BYTES = 16 };

static int read_log_record(struct seen *s, struct span key, struct span value, struct err *e)
{
    struct reader r = {value, false};
    int64_t source_ms = get_i64(&r);
    uint32_t n = get_u32(&r);
    (void)get_u32(&r);
    const uint8_t *ids = reader_take(&r, (size_t)n * ID_BYTES);
    if (key.n != 8 || !reader_ok(&r) || n > SEEN_SET_MAX - s->set.n)
        return err_set(e, ERR_STORE, "store", 0,
                       "store %s is damaged: a record of seen_log: restore a backup, or move the folder away and begin again",
                       store_folder(s->st));
    for (uint32_t i = 0; i < n; i++)
        seen_set_add(&s->set, id_at(ids, i));
    if (s->log.records == 0 || source_ms < s->log.min_ms)
        s->log.min_ms = source_ms;
    if (s->log.records == 0 || source_ms > s->log.max_ms)
        s->log.max_ms = source_ms;
    s->log.records++;
    s->log.next = key_get_u64(key.p) + (n ? n : 1);
    return 0;
}

static int load_log(struct seen *s, struct store_txn *txn, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(s->st, DB_SEEN_LOG), &cursor);
    if (rc != 0)
        return store_error(s->st, rc, "cannot read the log of seen", e);
    /* Twice: the first pass only asks for the pages. */
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        run_will_need(span_of(v.mv_data, v.mv_size));
    if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
        if (read_log_record(s, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), e) != 0)
            break;
    mdb_cursor_close(cursor);
    if (rc == 0)
        return -1;
    if (rc != MDB_NOTFOUND)
        return store_error(s->st, rc, "cannot read the log of seen", e);
    s->log.n = s->set.n;
    s->committed = s->log;
    return 0;
}

/* Have the filters read in the background. Lookups ask all of them at random; without this each page would be waited
 * for alone, thousands of times. */
static void warm_filters(const struct directory *d)
{
    for (size_t i = 0; i < d->n; i++)
        for (uint32_t k = 0; k < d->runs[i].n_segments && d->runs[i].state == RUN_LIVE; k++) {
            const struct segment *s = &d->runs[i].segments[k];
            run_will_need(span_of(s->filter, (size_t)s->blocks * FILTER_BLOCK_BYTES));
        }
}

int seen_open_with(struct store *st, const struct seen_params *params, struct seen **out, struct err *e)
{
    BUG_IF(params->fan_out < 2 || params->fan_out > SEEN_MAX_FAN_OUT || params->segment_ids < params->fan_out ||
           params->chunk_ids == 0 || params->seal_at == 0 || params->deletes_per_step < 2);
    struct seen *s = xcalloc(1, sizeof *s);
    struct store_txn txn;
    s->st = st;
    s->params = *params;
    seen_set_init(&s->set, params->seal_at + 2036);
    if (store_begin(st, false, &txn, e) != 0)
        goto fail;
    int rc = load_log(s, &txn, e);
    if (rc == 0)
        rc = directory_load(&s->runs, &txn, e);
    if (rc == 0)
        warm_filters(&s->runs);
    store_abort(&txn);
    if (rc != 0)
        goto fail;
    s->stale = true;
    *out = s;
    return 0;
fail:
    seen_close(s);
    return -1;
}

int seen_open(struct store *st, struct seen **out, struct err *e)
{
    struct seen_params params = seen_default_params();
    return seen_open_with(st, &params, out, e);
}

void seen_close(struct seen *s)
{
    if (!s)
        return;
    seen_set_release(&s->set);
    directory_release(&s->runs);
    free(s);
}

/* --- transactions ------------------------------------------------------------------------------------ */

int seen_begin(struct seen *s, struct store_txn *txn, struct err *e)
{
    BUG_IF(!txn->write);
    if (!s->stale) {
        int moved = directory_moved(&s->runs, txn, s->params.check_filters, e);
        if (moved < 0)
            return -1;
        BUG_IF(moved && s->params.check_filters);
        s->stale = moved;
    }
    if (s->stale && directory_load(&s->runs, txn, e) != 0)
        return -1;
    s->stale = false;
    s->unknown = false;
    return 0;
}

void seen_committed(struct seen *s)
{
    if (s->drops_log) {
        seen_set_clear(&s->set);
        s->log = (struct seen_log){.next = s->log.next};
        s->drops_log = false;
    }
    s->committed = s->log;
}

void seen_aborted(struct seen *s)
{
    seen_set_cut(&s->set, s->committed.n);
    s->log = s->committed;
    s->drops_log = false;
    s->unknown = s->stale;
}

/* --- find -------------------------------------------------------------------------------------------- */

/* Ids that go through the runs together: enough to keep the memory busy, few enough that the lines asked for
 * are still in the first-level cache when they are read. */
enum { GROUP = 64 };

struct group {
    const struct identity *ids;
    bool *held;
    size_t n, open; /* ids; those not found yet */
    struct probe probe[GROUP];
    const uint64_t *block[2][GROUP];
};

static void aim(struct group *g, const struct run *run, unsigned side)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct segment *s = run_segment(run, g->ids[i]);
        g->block[side][i] = s->filter + filter_block(&g->probe[i], s->blocks) * FILTER_BLOCK_WORDS;
        __builtin_prefetch(g->block[side][i]);
    }
}

static int ask(struct group *g, struct store_txn *txn, const struct run *run, unsigned side, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        if (LIKELY(!filter_block_has(g->block[side][i], &g->probe[i])) || g->held[i])
            continue;
        if (run_contains(txn, run, g->ids[i], &g->held[i], e) != 0)
            return -1;
        g->open -= g->held[i];
    }
    return 0;
}

static const struct run *next_live(const struct seen *s, size_t *at)
{
    while (*at > 0) {
        const struct run *run = &s->runs.runs[--*at];
        if (run->state == RUN_LIVE && run->n_segments > 0)
            return run;
    }
    return NULL;
}

/* Newest first: what is held was mostly held lately. */
static int find_in_runs(struct seen *s, struct store_txn *txn, struct group *g, struct err *e)
{
    size_t at = s->runs.n;
    unsigned side = 0;
    const struct run *run = next_live(s, &at), *next;
    if (run)
        aim(g, run, side);
    for (; run && g->open > 0; run = next, side ^= 1) {
        next = next_live(s, &at);
        if (next)
            aim(g, next, side ^ 1);
        if (ask(g, txn, run, side, e) != 0)
            return -1;
    }
    return 0;
}

static void find_in_set(const struct seen *s, struct group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        g->probe[i] = probe_of(g->ids[i]);
        seen_set_prefetch(&s->set, &g->probe[i]);
    }
    for (size_t i = 0; i < g->n; i++) {
        g->held[i] = seen_set_has(&s->set, g->ids[i], &g->probe[i]);
        g->open -= g->held[i];
    }
}

int seen_find(struct seen *s, struct store_txn *txn, const struct identity *ids, size_t n, bool *held, struct err *e)
{
    BUG_IF(s->stale);
    for (size_t from = 0; from < n; from += GROUP) {
        struct group g;
        g.ids = ids + from;
        g.held = held + from;
        g.open = g.n = n - from < GROUP ? n - from : GROUP;
        find_in_set(s, &g);
        if (find_in_runs(s, txn, &g, e) != 0)
            return -1;
    }
    return 0;
}

/* --- add --------------------------------------------------------------------------------------------- */

static int append_log(struct seen *s, struct store_txn *txn, const struct identity *ids, uint32_t n, int64_t source_ms,
                      struct err *e)
{
    uint8_t key[8], *room;
    uint32_t head[2] = {n, 0};
    key_u64(key, s->log.next);
    if (store_append(txn, DB_SEEN_LOG, span_of(key, sizeof key), LOG_HEAD_BYTES + (size_t)n * ID_BYTES, &room, e) != 0)
        return -1;
    memcpy(room, &source_ms, sizeof source_ms);
    memcpy(room + sizeof source_ms, head, sizeof head);
    if (n)
        memcpy(room + LOG_HEAD_BYTES, ids, (size_t)n * ID_BYTES);
    return 0;
}

int seen_add(struct seen *s, struct store_txn *txn, const struct identity *ids, size_t n, int64_t source_ms, struct err *e)
{
    BUG_IF(s->stale || s->drops_log);
    if (n > SEEN_SET_MAX - s->set.n)
        return err_set(e, ERR_FATAL, "store", 0, "seen: more than %d identities wait to be sealed", SEEN_SET_MAX);
    uint32_t before = s->set.n;
    for (size_t i = 0; i < n; i++)
        seen_set_add(&s->set, ids[i]);
    uint32_t added = s->set.n - before;
    /* A repeat under a later source time keeps the whole set for longer: that must survive a restart too. */
    if (n == 0 || (added == 0 && s->log.records > 0 && source_ms <= s->log.max_ms))
        return 0;
    if (append_log(s, txn, s->set.ids + before, added, source_ms, e) != 0)
        return -1;
    s->log.next += added ? added : 1;
    s->log.n = s->set.n;
    if (s->log.records == 0 || source_ms < s->log.min_ms)
        s->log.min_ms = source_ms;
    if (s->log.records == 0 || source_ms > s->log.max_ms)
        s->log.max_ms = source_ms;
    s->log.records++;
    return 0;
}

/* --- about it ---------------------------------------------------------------------------------------- */

void seen_stats(const struct seen *s, struct seen_stats *out)
{
    *out = (struct seen_stats){.identities = s->set.n, .unsealed = s->set.n};
    for (size_t i = 0; i < s->runs.n; i++)
        if (s->runs.runs[i].state == RUN_LIVE) {
            out->identities += s->runs.runs[i].count;
            out->runs++;
        }
}
