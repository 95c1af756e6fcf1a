/*
 * The seen set under kill points.
 *
 * A child process runs a fixed history: transaction t adds its identities at source time t seconds and, in the same
 * transaction, its own number to the meta database; after each commit it does the maintenance that is wanted. It is
 * killed at the first, second, third … visit of a kill point, until a run ends untouched. After every death the set
 * holds what the committed transactions added, within the window, and nothing else; then the history is finished and
 * must hold again.
 *
 * A process reads its kill setting once, so the child is this program, executed anew.
 */
#include "base/exit_code.h"
#include "store/codec.h"
#include "store/seen.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { TRANSACTIONS = 90, PER_TRANSACTION = 10, WINDOW = 12, MAP_BYTES = 64 << 20 };

/* Small enough that the history has seals, merges on three levels, and expiry. */
static const struct seen_params small = {.seal_at = 25, .segment_ids = 24, .chunk_ids = 7, .fan_out = 2, .levels = 3,
                                         .deletes_per_step = 5, .check_filters = true};

static struct identity identity_of(uint32_t t, uint32_t i)
{
    uint64_t n = ((uint64_t)t << 8 | i) + 1;
    return (struct identity){n * 0x9e3779b97f4a7c15ULL, n * 0xc2b2ae3d27d4eb4fULL};
}

static int64_t source_ms(uint32_t t)
{
    return (int64_t)t * 1000;
}

/* --- the child ----------------------------------------------------------------------------------------- */

static void must(int rc, const struct err *e)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s\n", e->text);
    exit(1);
}

static uint32_t committed(struct store_txn *txn)
{
    struct err e = ERR_INIT;
    struct span v;
    int rc = store_get(txn, DB_META, span_of_str("test.transactions"), &v, &e);
    must(rc < 0 ? -1 : 0, &e);
    uint32_t n = 0;
    if (rc == 0)
        memcpy(&n, v.p, sizeof n);
    return n;
}

static uint32_t next_transaction(struct store *st)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    must(store_begin(st, false, &txn, &e), &e);
    uint32_t t = committed(&txn);
    store_abort(&txn);
    return t;
}

static void add(struct store *st, struct seen *seen, uint32_t t)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    struct identity ids[PER_TRANSACTION];
    for (uint32_t i = 0; i < PER_TRANSACTION; i++)
        ids[i] = identity_of(t, i);
    must(store_begin(st, true, &txn, &e), &e);
    must(seen_begin(seen, &txn, &e), &e);
    must(seen_add(seen, &txn, ids, PER_TRANSACTION, source_ms(t), &e), &e);
    t++;
    must(store_put(&txn, DB_META, span_of_str("test.transactions"), span_of(&t, sizeof t), &e), &e);
    must(store_commit(&txn, &e), &e);
    seen_committed(seen);
}

static void maintain(struct store *st, struct seen *seen, int64_t expire_before_ms)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    while (seen_wants_maintenance(seen, expire_before_ms)) {
        must(store_begin(st, true, &txn, &e), &e);
        must(seen_begin(seen, &txn, &e), &e);
        must(seen_maintain(seen, &txn, expire_before_ms, &e), &e);
        must(store_commit(&txn, &e), &e);
        seen_committed(seen);
    }
}

static int child(const char *folder)
{
    struct err e = ERR_INIT;
    struct store *st;
    struct seen *seen;
    must(store_open(folder, STORE_DAEMON, MAP_BYTES, &st, &e), &e);
    must(seen_open_with(st, &small, &seen, &e), &e);
    for (uint32_t t = next_transaction(st); t < TRANSACTIONS; t++) {
        add(st, seen, t);
        maintain(st, seen, source_ms(t) - source_ms(WINDOW));
    }
    seen_close(seen);
    store_close(st);
    return 0;
}

/* --- the parent ---------------------------------------------------------------------------------------- */

static int run_child(const char *folder, const char *point, int visit)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char n[16];
        snprintf(n, sizeof n, "%d", visit);
        setenv("TIDEMARK_KILL_AT", n, 1);
        setenv("TIDEMARK_KILL_AT_POINT", point, 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        execl("/proc/self/exe", "seen_crash_test", "child", folder, (char *)NULL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void check(const char *folder, uint32_t *transactions)
{
    struct err e = ERR_INIT;
    struct store *st;
    struct seen *seen;
    struct store_txn txn;
    must(store_open(folder, STORE_DAEMON, MAP_BYTES, &st, &e), &e);
    must(seen_open_with(st, &small, &seen, &e), &e);
    must(store_begin(st, true, &txn, &e), &e);
    must(seen_begin(seen, &txn, &e), &e);
    uint32_t n = *transactions = committed(&txn);
    for (uint32_t t = 0; t < TRANSACTIONS; t++) {
        struct identity ids[PER_TRANSACTION];
        bool held[PER_TRANSACTION];
        for (uint32_t i = 0; i < PER_TRANSACTION; i++)
            ids[i] = identity_of(t, i);
        must(seen_find(seen, &txn, ids, PER_TRANSACTION, held, &e), &e);
        for (uint32_t i = 0; i < PER_TRANSACTION; i++) {
            if (t >= n)
                assert_false(held[i]);
            else if (t + 1 + WINDOW >= n)
                assert_true(held[i]);
        }
    }
    store_abort(&txn);
    seen_aborted(seen);
    seen_close(seen);
    store_close(st);
}

static void check_that_all_can_expire(const char *folder)
{
    struct err e = ERR_INIT;
    struct store *st;
    struct seen *seen;
    struct seen_stats stats;
    struct store_txn txn;
    must(store_open(folder, STORE_DAEMON, MAP_BYTES, &st, &e), &e);
    must(seen_open_with(st, &small, &seen, &e), &e);
    maintain(st, seen, INT64_MAX);
    seen_stats(seen, &stats);
    assert_int_equal(stats.identities, 0);
    must(store_begin(st, false, &txn, &e), &e);
    for (int db = DB_SEEN_LOG; db <= DB_SEEN_FILTERS; db++) {
        MDB_stat s;
        assert_int_equal(mdb_stat(txn.mdb, store_dbi(st, (enum store_db)db), &s), 0);
        assert_int_equal(s.ms_entries, 0);
    }
    store_abort(&txn);
    seen_close(seen);
    store_close(st);
}

/* How often the point can be reached in the history. */
static int die_at_every(const char *point, int stride)
{
    int deaths = 0;
    for (int visit = 1;; visit += stride) {
        struct store_folder folder;
        uint32_t transactions;
        store_folder_make(&folder);
        int status = run_child(folder.path, point, visit);
        assert_true(status == 0 || status == EXIT_KILLPOINT);
        check(folder.path, &transactions);
        if (status == 0) {
            assert_int_equal(transactions, TRANSACTIONS);
            store_folder_remove(&folder);
            return deaths;
        }
        deaths++;
        assert_int_equal(run_child(folder.path, "none", 0), 0);
        check(folder.path, &transactions);
        assert_int_equal(transactions, TRANSACTIONS);
        check_that_all_can_expire(folder.path);
        store_folder_remove(&folder);
    }
}

static void death_at(const char *point, int stride)
{
    int deaths = die_at_every(point, stride);
    print_message("%s: %d deaths\n", point, deaths);
#ifdef TIDEMARK_KILLPOINTS
    assert_true(deaths > 1);
#else
    assert_int_equal(deaths, 0);
#endif
}

static void death_while_sealing(void **state)
{
    (void)state;
    death_at("seen.seal", 1);
}

static void death_in_a_merge_step(void **state)
{
    (void)state;
    death_at("seen.merge_step", 3);
}

static void death_at_the_end_of_a_merge(void **state)
{
    (void)state;
    death_at("seen.merge_done", 1);
}

static void death_while_expiring(void **state)
{
    (void)state;
    death_at("seen.expire", 1);
}

static void death_while_deleting(void **state)
{
    (void)state;
    death_at("seen.delete", 5);
}

static void death_before_a_commit(void **state)
{
    (void)state;
    death_at("store.before_commit", 19);
}

static void death_after_a_commit(void **state)
{
    (void)state;
    death_at("store.after_commit", 19);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "child") == 0)
        return child(argv[2]);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(death_while_sealing),      cmocka_unit_test(death_in_a_merge_step),
        cmocka_unit_test(death_at_the_end_of_a_merge), cmocka_unit_test(death_while_expiring),
        cmocka_unit_test(death_while_deleting),     cmocka_unit_test(death_before_a_commit),
        cmocka_unit_test(death_after_a_commit),
    };
    return cmocka_run_group_tests_name("seen crash", tests, NULL, NULL);
}
