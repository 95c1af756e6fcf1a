/*
 * A backup holds what one moment of the store held; a restored store is another one, which knows what it knew.
 * Incidents, which a restore opens: closing them. And what an older version wrote, as an old backup holds it: records
 * of incidents and sinks that end before the newest fields.
 */
#include "base/alloc.h"
#include "store/backup.h"
#include "store/codec.h"
#include "store/incidents.h"
#include "store/sinks.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MAP_BYTES = 64 << 20, BLOCKS = 200, EVENTS_PER_BLOCK = 50, PAYLOAD = 400 };

struct world {
    struct store_folder folder, copy;
    struct store *st;
    char *dir, *target;
};

static void must(int rc, const struct err *e)
{
    if (rc != 0)
        fail_msg("%s", e->text);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct err e = ERR_INIT;
    store_folder_make(&w->folder);
    store_folder_make(&w->copy);
    w->dir = xasprintf("%s/backup", w->copy.path);
    w->target = xasprintf("%s/target", w->copy.path);
    must(store_open(w->folder.path, STORE_DAEMON, MAP_BYTES, &w->st, &e), &e);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct store_folder inner;
    store_close(w->st);
    store_folder_remove(&w->folder);
    snprintf(inner.path, sizeof inner.path, "%s", w->dir);
    store_folder_remove(&inner);
    snprintf(inner.path, sizeof inner.path, "%s", w->target);
    store_folder_remove(&inner);
    store_folder_remove(&w->copy);
    free(w->dir);
    free(w->target);
    free(w);
    return 0;
}

static void append(struct store *st)
{
    uint8_t payload[PAYLOAD] = "x";
    struct event_data events[EVENTS_PER_BLOCK];
    const struct journal_block block = {.subscription = 1, .received_ms = 1700000000000, .source_ms = 1700000000000};
    struct store_txn txn;
    struct err e = ERR_INIT;
    uint64_t first;
    for (size_t i = 0; i < EVENTS_PER_BLOCK; i++)
        events[i] = (struct event_data){.payload = span_of(payload, sizeof payload), .replay_id = span_of_str("1234567890")};
    must(store_begin(st, true, &txn, &e), &e);
    must(journal_append(&txn, &block, events, EVENTS_PER_BLOCK, &first, &e), &e);
    must(store_commit(&txn, &e), &e);
}

static void count_calls(void *ctx, int64_t done_bytes, int64_t most_bytes)
{
    unsigned *calls = ctx;
    assert_true(done_bytes >= 0 && most_bytes > 0);
    ++*calls;
}

static const struct backup_progress quiet = {NULL, NULL};

static void restore_to(const char *from, const char *folder, bool replace, struct backup_facts *facts)
{
    struct err e = ERR_INIT;
    const struct restore_order order = {from, folder, MAP_BYTES, replace, "a test"};
    must(backup_restore(&order, &quiet, facts, &e), &e);
}

static void is_one_moment(void **state)
{
    struct world *w = *state;
    struct backup_facts facts;
    struct store_space space;
    struct err e = ERR_INIT;
    unsigned calls = 0;
    const struct backup_progress progress = {count_calls, &calls};
    for (int i = 0; i < BLOCKS; i++)
        append(w->st);
    must(backup_make(w->st, w->dir, &progress, &facts, &e), &e);
    assert_true(calls > 0);
    append(w->st);
    assert_int_equal(facts.journal.head, BLOCKS * EVENTS_PER_BLOCK);
    assert_int_equal(facts.journal.oldest, 1);
    assert_int_equal(facts.newest_ms, 1700000000000);
    must(store_space(w->st, &space, &e), &e);
    assert_true(facts.bytes > BLOCKS * EVENTS_PER_BLOCK * PAYLOAD && facts.bytes <= space.file_bytes);
    restore_to(w->dir, w->target, false, &facts);
    assert_int_equal(facts.journal.head, BLOCKS * EVENTS_PER_BLOCK);
}

static int find_restored(void *ctx, const struct incident *i)
{
    unsigned *open = ctx;
    *open += strcmp(i->kind, "restored") == 0 && i->state == INCIDENT_OPEN;
    return 0;
}

static void another_store_with_the_same_identities(void **state)
{
    struct world *w = *state;
    struct backup_facts facts;
    struct err e = ERR_INIT;
    struct store *st;
    struct store_txn txn;
    uint8_t id[16], key[16], second[16];
    unsigned restored = 0;
    append(w->st);
    memcpy(id, store_id(w->st), sizeof id);
    memcpy(key, store_identity_key(w->st), sizeof key);
    must(backup_make(w->st, w->dir, &quiet, &facts, &e), &e);
    restore_to(w->dir, w->target, false, &facts);
    must(store_open(w->target, STORE_DAEMON, MAP_BYTES, &st, &e), &e);
    assert_memory_not_equal(store_id(st), id, sizeof id);
    assert_memory_equal(store_identity_key(st), key, sizeof key);
    memcpy(second, store_id(st), sizeof second);
    must(store_begin(st, false, &txn, &e), &e);
    must(incident_each(&txn, find_restored, &restored, &e), &e);
    store_abort(&txn);
    assert_int_equal(restored, 1);

    /* A restored store, backed up and restored in turn, over the store of the test. */
    struct store_folder inner;
    snprintf(inner.path, sizeof inner.path, "%s", w->dir);
    store_folder_remove(&inner);
    must(backup_make(st, w->dir, &quiet, &facts, &e), &e);
    store_close(st);
    store_folder_remove(&w->folder);
    store_close(w->st);
    w->st = NULL;
    restore_to(w->dir, w->folder.path, false, &facts);
    must(store_open(w->folder.path, STORE_DAEMON, MAP_BYTES, &w->st, &e), &e);
    assert_memory_not_equal(store_id(w->st), second, sizeof second);
    assert_memory_equal(store_identity_key(w->st), key, sizeof key);
}

/* --- incidents ------------------------------------------------------------------------------------ */

static uint64_t open_one(struct store_txn *txn)
{
    struct incident i = {.state = INCIDENT_OPEN, .opened_ms = 1, .kind = "lost_position", .subject = "accounts", .text = "what"};
    struct err e = ERR_INIT;
    must(incident_open(txn, &i, &e), &e);
    return i.number;
}

static void closing(void **state)
{
    struct world *w = *state;
    struct store_txn txn;
    struct incident i;
    struct err e = ERR_INIT;
    char long_note[401];
    must(store_begin(w->st, true, &txn, &e), &e);
    uint64_t number = open_one(&txn);
    memset(long_note, 'x', sizeof long_note - 1);
    long_note[sizeof long_note - 1] = '\0';
    static const char *const bad[] = {"two\nlines", "\xff", "\x7f"};
    for (size_t b = 0; b < ARRAY_LEN(bad); b++)
        assert_int_equal(incident_close(&txn, number, "me", bad[b], &i, &e), -1);
    assert_int_equal(incident_close(&txn, number, "me", long_note, &i, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_int_equal(incident_close(&txn, number + 1, "me", "", &i, &e), 2);
    assert_int_equal(incident_close(&txn, number, "me", long_note + 1, &i, &e), 0);
    assert_int_equal(incident_close(&txn, number, "you", "other", &i, &e), 1);
    assert_string_equal(i.closed_by, "me");
    assert_string_equal(i.note, long_note + 1);
    assert_string_equal(i.text, "what");
    assert_int_equal(i.opened_ms, 1);
    must(store_commit(&txn, &e), &e);
}

/* As versions before wrote it: without when, who and note. */
static void older_record(void **state)
{
    struct world *w = *state;
    struct store_txn txn;
    struct incident i;
    struct err e = ERR_INIT;
    struct span v;
    uint8_t key[8];
    struct buf old = BUF_INIT;
    must(store_begin(w->st, true, &txn, &e), &e);
    uint64_t number = open_one(&txn);
    key_u64(key, number);
    must(store_get(&txn, DB_INCIDENTS, span_of(key, sizeof key), &v, &e), &e);
    buf_add(&old, v.p, v.n - 8 - 4 - 4);
    must(store_put(&txn, DB_INCIDENTS, span_of(key, sizeof key), buf_span(&old), &e), &e);
    assert_int_equal(incident_close(&txn, number, "me", "done", &i, &e), 0);
    assert_string_equal(i.subject, "accounts");
    assert_string_equal(i.note, "done");
    store_abort(&txn);
    buf_release(&old);
}

/* What earlier versions had written of a sink: the record without what came to be behind it. */
static void older_sink_record(void **state)
{
    struct world *w = *state;
    enum { REDRIVEN = 8, REDELIVERY = 8 + 8 + 4 + 8 };
    const size_t missing[] = {REDRIVEN, REDRIVEN + REDELIVERY};
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        struct store_txn txn;
        struct sink_record r = {
            .name = "log", .cursor = 7, .delivered = 7, .redriven = 3, .redeliver_to = 9, .state = BUF_INIT};
        struct err e = ERR_INIT;
        struct span v;
        struct buf old = BUF_INIT;
        must(store_begin(w->st, true, &txn, &e), &e);
        must(sink_record_put(&txn, &r, &e), &e);
        must(store_get(&txn, DB_SINKS, span_of_str("log"), &v, &e), &e);
        buf_add(&old, v.p, v.n - missing[i]);
        must(sink_record_get(&txn, "log", &r, &e), &e);
        assert_int_equal(sink_counted(&r), 9);
        assert_int_equal(r.redriven, 3);
        sink_record_release(&r);
        must(store_put(&txn, DB_SINKS, span_of_str("log"), buf_span(&old), &e), &e);
        must(sink_record_get(&txn, "log", &r, &e), &e);
        assert_int_equal(r.cursor, 7);
        assert_int_equal(r.redriven, 0);
        assert_int_equal(sink_counted(&r), missing[i] == REDRIVEN ? 9 : 7);
        assert_string_equal(r.last_redelivery, "");
        sink_record_release(&r);
        store_abort(&txn);
        buf_release(&old);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_one_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(another_store_with_the_same_identities, setup, teardown),
        cmocka_unit_test_setup_teardown(closing, setup, teardown),
        cmocka_unit_test_setup_teardown(older_record, setup, teardown),
        cmocka_unit_test_setup_teardown(older_sink_record, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
