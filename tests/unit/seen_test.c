/*
 * The seen set against a plain reference.
 *
 * The property, for any schedule of additions, repeats, lookups, commits, aborts, maintenance, expiry, restarts
 * under other parameters, and handles dropped in the middle of a transaction: what was added and committed is found
 * as long as the window says, what was never added is never found, and in the end everything is gone.
 */
#include "base/alloc.h"
#include "base/random.h"
#include "store/seen.h"
#include "store/seen_state.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { UNIVERSE = 1500, MAP_BYTES = 256 << 20 };
static const int64_t never = INT64_MIN;

enum kind { UNIFORM, SAME_HIGH, CLUSTERED, SMALL_NUMBERS, KINDS };

struct world {
    struct rng rng;
    struct store_folder folder;
    struct store *st;
    struct seen_params params;
    struct seen *seen;
    struct store_txn txn;
    struct identity ids[UNIVERSE];
    int64_t added_ms[UNIVERSE], pending_ms[UNIVERSE]; /* newest source time, committed and in this transaction */
    int64_t now_ms, expired_ms;                       /* the latest expire_before_ms that was committed */
};

static void must(int rc, const struct err *e)
{
    if (rc != 0)
        fail_msg("%s", e->text);
}

static struct seen_params draw_params(struct rng *r)
{
    uint32_t fan_out = 2 + (uint32_t)rng_below(r, 6);
    return (struct seen_params){
        .seal_at = 1 + (uint32_t)rng_below(r, 60),
        .segment_ids = fan_out + (uint32_t)rng_below(r, 60),
        .chunk_ids = 1 + (uint32_t)rng_below(r, 20),
        .fan_out = fan_out,
        .levels = 1 + (uint32_t)rng_below(r, 4),
        .deletes_per_step = 2 + (uint32_t)rng_below(r, 6),
        .check_filters = true,
    };
}

/* Distinct by their place; the shape decides how badly they cluster. */
static void draw_universe(struct world *w, enum kind kind)
{
    for (uint32_t i = 0; i < UNIVERSE; i++) {
        struct identity id = {rng_next(&w->rng), rng_next(&w->rng) << 12 | i};
        if (kind == SAME_HIGH)
            id.high = 42;
        if (kind == CLUSTERED)
            id.high = 0xffff000000000000ULL | (id.high & 3);
        if (kind == SMALL_NUMBERS)
            id = (struct identity){i % 5, i / 5};
        w->ids[i] = id;
        w->added_ms[i] = w->pending_ms[i] = never;
    }
    w->ids[1] = (struct identity){UINT64_MAX, UINT64_MAX};
    if (kind != SMALL_NUMBERS)
        w->ids[0] = (struct identity){0, 0};
}

static void open_seen(struct world *w)
{
    struct err e = ERR_INIT;
    must(seen_open_with(w->st, &w->params, &w->seen, &e), &e);
}

static void open_world(struct world *w, uint64_t seed)
{
    struct err e = ERR_INIT;
    *w = (struct world){.rng = {seed}, .now_ms = 1000000, .expired_ms = never};
    store_folder_make(&w->folder);
    must(store_open(w->folder.path, STORE_DAEMON, MAP_BYTES, &w->st, &e), &e);
    draw_universe(w, (enum kind)(seed % KINDS));
    w->params = draw_params(&w->rng);
    open_seen(w);
}

static void close_world(struct world *w)
{
    seen_close(w->seen);
    store_close(w->st);
    store_folder_remove(&w->folder);
}

static void begin(struct world *w)
{
    struct err e = ERR_INIT;
    must(store_begin(w->st, true, &w->txn, &e), &e);
    must(seen_begin(w->seen, &w->txn, &e), &e);
}

static void commit(struct world *w)
{
    struct err e = ERR_INIT;
    must(store_commit(&w->txn, &e), &e);
    seen_committed(w->seen);
    memcpy(w->added_ms, w->pending_ms, sizeof w->added_ms);
}

static void undo(struct world *w)
{
    store_abort(&w->txn);
    seen_aborted(w->seen);
    memcpy(w->pending_ms, w->added_ms, sizeof w->added_ms);
}

/* The process dies in the middle of a transaction, then starts again, perhaps with other parameters. */
static void die(struct world *w)
{
    struct err e = ERR_INIT;
    store_abort(&w->txn);
    seen_close(w->seen);
    memcpy(w->pending_ms, w->added_ms, sizeof w->added_ms);
    if (rng_below(&w->rng, 2)) {
        store_close(w->st);
        must(store_open(w->folder.path, STORE_DAEMON, MAP_BYTES, &w->st, &e), &e);
    }
    if (rng_below(&w->rng, 2))
        w->params = draw_params(&w->rng);
    open_seen(w);
}

static void check(struct world *w, const uint32_t *which, size_t n)
{
    struct err e = ERR_INIT;
    struct identity ids[UNIVERSE] = {{0, 0}};
    bool held[UNIVERSE];
    for (size_t i = 0; i < n; i++)
        ids[i] = w->ids[which[i]];
    must(seen_find(w->seen, &w->txn, ids, n, held, &e), &e);
    for (size_t i = 0; i < n; i++) {
        int64_t ms = w->pending_ms[which[i]];
        if (ms == never)
            assert_false(held[i]);
        else if (ms >= w->expired_ms)
            assert_true(held[i]);
    }
}

static void check_some(struct world *w)
{
    uint32_t which[200];
    size_t n = rng_below(&w->rng, ARRAY_LEN(which) + 1);
    for (size_t i = 0; i < n; i++)
        which[i] = (uint32_t)rng_below(&w->rng, UNIVERSE);
    check(w, which, n);
}

static void check_all(struct world *w)
{
    uint32_t which[UNIVERSE];
    for (uint32_t i = 0; i < UNIVERSE; i++)
        which[i] = i;
    check(w, which, UNIVERSE);
}

/* Source times mostly grow, by steps of very different size, and sometimes fall back. */
static void add_some(struct world *w)
{
    struct err e = ERR_INIT;
    struct identity ids[40];
    size_t n = rng_below(&w->rng, ARRAY_LEN(ids) + 1);
    w->now_ms += (int64_t)rng_below(&w->rng, 100);
    int64_t source_ms = rng_below(&w->rng, 5) ? w->now_ms : w->now_ms - (int64_t)rng_below(&w->rng, 500);
    for (size_t i = 0; i < n; i++) {
        uint32_t k = (uint32_t)rng_below(&w->rng, UNIVERSE);
        ids[i] = w->ids[k];
        if (source_ms > w->pending_ms[k])
            w->pending_ms[k] = source_ms;
    }
    must(seen_add(w->seen, &w->txn, ids, n, source_ms, &e), &e);
}

static void maintain(struct world *w, int64_t expire_before_ms, unsigned aborts_in)
{
    struct err e = ERR_INIT;
    begin(w);
    must(seen_maintain(w->seen, &w->txn, expire_before_ms, &e), &e);
    if (aborts_in && rng_below(&w->rng, aborts_in) == 0) {
        if (rng_below(&w->rng, 2))
            undo(w);
        else
            die(w);
        return;
    }
    commit(w);
    if (expire_before_ms > w->expired_ms)
        w->expired_ms = expire_before_ms;
}

static void one_transaction(struct world *w)
{
    begin(w);
    check_some(w);
    for (uint64_t i = rng_below(&w->rng, 4); i > 0; i--) {
        add_some(w);
        if (rng_below(&w->rng, 3) == 0)
            check_some(w);
    }
    switch (rng_below(&w->rng, 12)) {
    case 0: undo(w); break;
    case 1: die(w); break;
    default: commit(w);
    }
}

static bool is_empty(struct world *w, enum store_db db)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    MDB_stat s;
    must(store_begin(w->st, false, &txn, &e), &e);
    assert_int_equal(mdb_stat(txn.mdb, store_dbi(w->st, db), &s), 0);
    store_abort(&txn);
    return s.ms_entries == 0;
}

static void settle(struct world *w, int64_t expire_before_ms)
{
    for (int steps = 0; seen_wants_maintenance(w->seen, expire_before_ms); steps++) {
        assert_in_range(steps, 0, 20000);
        maintain(w, expire_before_ms, 0);
    }
}

static void check_all_gone(struct world *w)
{
    struct seen_stats stats;
    settle(w, INT64_MAX);
    seen_stats(w->seen, &stats);
    assert_int_equal(stats.identities, 0);
    assert_int_equal(stats.runs, 0);
    assert_true(is_empty(w, DB_SEEN_LOG) && is_empty(w, DB_SEEN_RUNS) && is_empty(w, DB_SEEN_FILTERS));
}

static void a_random_schedule(struct world *w, uint64_t seed)
{
    open_world(w, seed);
    int64_t window_ms = (int64_t[]){100, 3000, 1000000}[seed / KINDS % 3];
    for (uint64_t i = 10 + rng_below(&w->rng, 60); i > 0; i--) {
        one_transaction(w);
        for (uint64_t k = rng_below(&w->rng, 8); k > 0 && seen_wants_maintenance(w->seen, w->now_ms - window_ms); k--)
            maintain(w, w->now_ms - window_ms, 10);
    }
    begin(w);
    check_all(w);
    undo(w);
    settle(w, w->now_ms - window_ms);
    begin(w);
    check_all(w);
    undo(w);
    check_all_gone(w);
    close_world(w);
}

static void random_schedules_agree_with_the_reference(void **state)
{
    (void)state;
    const char *asked = getenv("TIDEMARK_TEST_SCHEDULES");
    uint64_t schedules = asked ? strtoull(asked, NULL, 10) : 1000;
    struct world *w = xmalloc(sizeof *w);
    for (uint64_t seed = 1; seed <= schedules; seed++)
        a_random_schedule(w, seed);
    free(w);
}

/* --- the rules one by one ---------------------------------------------------------------------------- */

static void add_ids(struct world *w, uint32_t from, uint32_t n, int64_t source_ms)
{
    struct err e = ERR_INIT;
    begin(w);
    must(seen_add(w->seen, &w->txn, w->ids + from, n, source_ms, &e), &e);
    for (uint32_t i = from; i < from + n; i++)
        w->pending_ms[i] = source_ms;
    commit(w);
}

static bool holds(struct world *w, uint32_t i)
{
    struct err e = ERR_INIT;
    bool held;
    begin(w);
    must(seen_find(w->seen, &w->txn, &w->ids[i], 1, &held, &e), &e);
    undo(w);
    return held;
}

static void open_plain_world(struct world *w, uint32_t seal_at)
{
    open_world(w, KINDS);
    seen_close(w->seen);
    w->params = (struct seen_params){.seal_at = seal_at, .segment_ids = 16, .chunk_ids = 4, .fan_out = 2, .levels = 2,
                                     .deletes_per_step = 8, .check_filters = true};
    open_seen(w);
}

static void an_identity_lives_exactly_as_long_as_its_window(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        struct world w;
        open_plain_world(&w, sealed ? 10 : 100);
        add_ids(&w, 0, 10, 5000);
        settle(&w, 5000); /* the window ends at 5000: still in it */
        assert_true(holds(&w, 3));
        assert_false(seen_wants_maintenance(w.seen, 5000));
        assert_true(seen_wants_maintenance(w.seen, 5001));
        settle(&w, 5001);
        assert_false(holds(&w, 3));
        close_world(&w);
    }
}

static void a_repeat_under_a_later_time_counts_from_then_on(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct world w;
    open_plain_world(&w, 100);
    add_ids(&w, 0, 10, 5000);
    add_ids(&w, 2, 1, 9000); /* held in the log already */
    seen_close(w.seen);
    must(seen_open_with(w.st, &w.params, &w.seen, &e), &e);
    settle(&w, 9000);
    assert_true(holds(&w, 2));
    settle(&w, 9001);
    assert_false(holds(&w, 2));
    close_world(&w);
}

static void a_run_under_merge_is_not_lost_to_expiry(void **state)
{
    (void)state;
    struct world w;
    open_plain_world(&w, 40);
    add_ids(&w, 0, 40, 1000);
    settle(&w, 0);
    add_ids(&w, 40, 40, 2000);
    maintain(&w, 0, 0); /* seal */
    maintain(&w, 0, 0); /* the merge begins: its first segment */
    assert_int_equal(w.seen->runs.runs[w.seen->runs.n - 1].state, RUN_BUILDING);
    settle(&w, 1500); /* one input is out of the window, the output is not */
    for (uint32_t i = 40; i < 80; i++)
        assert_true(holds(&w, i));
    check_all_gone(&w);
    close_world(&w);
}

static void merging_holds_each_identity_once_in_few_runs(void **state)
{
    (void)state;
    struct seen_stats stats;
    struct world w;
    open_plain_world(&w, 20);
    for (uint32_t i = 0; i < 60; i++) {
        add_ids(&w, i * 20, 20, 1000);
        settle(&w, 0);
        seen_stats(w.seen, &stats);
        assert_int_equal(stats.identities, (i + 1) * 20);
        assert_int_equal(stats.unsealed, 0);
        /* Fan-out 2, levels 2: at most one run each of the levels 0 and 1. */
        assert_in_range(stats.runs, 1, 2 + (i + 1) / 4);
    }
    begin(&w);
    check_all(&w);
    undo(&w);
    close_world(&w);
}

static void a_merge_goes_on_under_parameters_smaller_than_its_inputs(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct world w;
    open_plain_world(&w, 20);
    seen_close(w.seen);
    w.params.fan_out = 16;
    open_seen(&w);
    for (uint32_t i = 0; i < 16; i++) {
        add_ids(&w, i * 20, 20, 1000);
        maintain(&w, 0, 0);
    }
    maintain(&w, 0, 0);
    assert_int_equal(w.seen->runs.runs[w.seen->runs.n - 1].state, RUN_BUILDING);
    seen_close(w.seen);
    w.params.fan_out = 2;
    w.params.segment_ids = 3; /* less than one for each of the sixteen */
    must(seen_open_with(w.st, &w.params, &w.seen, &e), &e);
    settle(&w, 0);
    begin(&w);
    check_all(&w);
    undo(&w);
    check_all_gone(&w);
    close_world(&w);
}

static void a_set_that_nobody_sealed_in_time_is_sealed_in_parts(void **state)
{
    (void)state;
    struct world w;
    open_plain_world(&w, 10);
    add_ids(&w, 0, UNIVERSE, 1000);
    maintain(&w, 0, 0);
    assert_int_equal(w.seen->set.n, 0);
    assert_true(w.seen->runs.runs[0].n_segments > 10);
    begin(&w);
    check_all(&w);
    undo(&w);
    close_world(&w);
}

/* --- damage -------------------------------------------------------------------------------------------- */

/* Change one value of a database in place, then open and look everything up: an error, or an answer; no crash. */
static void damage(struct world *w, enum store_db db, uint64_t seed)
{
    struct err e = ERR_INIT;
    struct rng r = {seed};
    struct store_txn txn;
    MDB_cursor *cursor;
    MDB_val k, v;
    must(store_begin(w->st, true, &txn, &e), &e);
    assert_int_equal(mdb_cursor_open(txn.mdb, store_dbi(w->st, db), &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &k, &v, MDB_FIRST), 0);
    for (uint64_t skip = rng_below(&r, 12); skip > 0; skip--)
        if (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) != 0)
            assert_int_equal(mdb_cursor_get(cursor, &k, &v, MDB_LAST), 0);
    uint8_t key[32], *value = xcalloc(v.mv_size + 64, 1);
    size_t key_n = k.mv_size, n = v.mv_size;
    memcpy(key, k.mv_data, key_n);
    memcpy(value, v.mv_data, n);
    mdb_cursor_close(cursor);
    switch (rng_below(&r, 5)) {
    case 0: n = rng_below(&r, n); break;
    case 1: n += 1 + rng_below(&r, 60); break;
    case 2: must(store_delete(&txn, db, span_of(key, key_n), &e), &e); break;
    default: value[rng_below(&r, n < 120 ? n : 120)] ^= (uint8_t)(1 << rng_below(&r, 8));
    }
    if (n == 0)
        n = 1;
    must(store_put(&txn, db, span_of(key, key_n), span_of(value, n), &e), &e);
    must(store_commit(&txn, &e), &e);
    free(value);
}

static void use_damaged(struct world *w)
{
    struct err e = ERR_INIT;
    bool held[UNIVERSE];
    w->params.check_filters = false;
    if (seen_open_with(w->st, &w->params, &w->seen, &e) != 0) {
        assert_int_equal(e.class, ERR_STORE);
        w->seen = NULL;
        return;
    }
    int rc = 0;
    for (int step = 0; rc == 0 && step < 200; step++) {
        must(store_begin(w->st, true, &w->txn, &e), &e);
        rc = seen_begin(w->seen, &w->txn, &e);
        if (rc == 0)
            rc = step == 0 ? seen_find(w->seen, &w->txn, w->ids, UNIVERSE, held, &e)
                           : seen_maintain(w->seen, &w->txn, 0, &e);
        if (rc == 0)
            rc = store_commit(&w->txn, &e);
        else
            store_abort(&w->txn);
        if (rc == 0)
            seen_committed(w->seen);
        else
            seen_aborted(w->seen);
    }
    if (rc != 0)
        assert_int_equal(e.class, ERR_STORE);
}

static void damage_gives_errors_not_crashes(void **state)
{
    (void)state;
    static const enum store_db dbs[] = {DB_SEEN_LOG, DB_SEEN_RUNS, DB_SEEN_FILTERS};
    for (uint64_t seed = 0; seed < 900; seed++) {
        struct world w;
        open_plain_world(&w, 60);
        w.params.fan_out = 4;
        seen_close(w.seen);
        open_seen(&w);
        for (uint32_t i = 0; i < 7; i++) { /* enough for a merge that has begun, and a log */
            add_ids(&w, i * 50, 50, 1000);
            if (seen_wants_maintenance(w.seen, 0))
                maintain(&w, 0, 0);
        }
        seen_close(w.seen);
        damage(&w, dbs[seed % ARRAY_LEN(dbs)], seed);
        use_damaged(&w);
        close_world(&w);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identity_lives_exactly_as_long_as_its_window),
        cmocka_unit_test(a_repeat_under_a_later_time_counts_from_then_on),
        cmocka_unit_test(a_run_under_merge_is_not_lost_to_expiry),
        cmocka_unit_test(merging_holds_each_identity_once_in_few_runs),
        cmocka_unit_test(a_merge_goes_on_under_parameters_smaller_than_its_inputs),
        cmocka_unit_test(a_set_that_nobody_sealed_in_time_is_sealed_in_parts),
        cmocka_unit_test(random_schedules_agree_with_the_reference),
        cmocka_unit_test(damage_gives_errors_not_crashes),
    };
    return cmocka_run_group_tests_name("seen", tests, NULL, NULL);
}
