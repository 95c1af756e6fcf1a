/*
 * The journal at its corners: blocks of every size, reads that begin and end anywhere, trims that leave
 * nothing, a life much longer than its space, and bytes that are no journal.
 */
#include "base/random.h"
#include "store/codec.h"
#include "store/journal.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

struct fixture {
    struct store_folder folder;
    struct store *st;
    struct store_txn txn;
    struct err e;
    struct arena arena;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    store_folder_make(&f->folder);
    if (store_open(f->folder.path, STORE_DAEMON, 64 * MIB, &f->st, &f->e) != 0)
        fail_msg("%s", f->e.text);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(f->st);
    store_folder_remove(&f->folder);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static void begin(struct fixture *f, bool write)
{
    if (store_begin(f->st, write, &f->txn, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static void commit(struct fixture *f)
{
    if (store_commit(&f->txn, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static struct journal_bounds bounds_of(struct fixture *f)
{
    struct journal_bounds b;
    begin(f, false);
    assert_int_equal(journal_bounds(&f->txn, &b, &f->e), 0);
    store_abort(&f->txn);
    return b;
}

/* Event number `seq` is always the same: its payload says so, as often as its size says. */
static size_t payload_size(uint64_t seq)
{
    return (size_t)(seq * 7919 % 97);
}

static void fill(struct fixture *f, uint64_t first, struct event_data *events, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t seq = first + i;
        uint8_t *p = arena_alloc(&f->arena, 8 + payload_size(seq));
        memset(p, (int)(seq & 0xff), 8 + payload_size(seq));
        memcpy(p, &seq, sizeof seq);
        events[i] = (struct event_data){.event_id = span_of(p, seq % 9),
                                        .schema_id = span_of(p, seq % 5),
                                        .replay_id = span_of(p, seq % 3),
                                        .payload = span_of(p, seq % 11 ? payload_size(seq) : 0),
                                        .flags = seq % 2 ? EVENT_REPLAYED : 0};
    }
}

static uint64_t append(struct fixture *f, size_t n)
{
    struct journal_block block = {
        .subscription = 3, .generation = 2, .epoch = 1, .received_ms = 1000, .source_ms = 2000};
    struct event_data *events = arena_alloc(&f->arena, (n + 1) * sizeof *events);
    uint64_t first;
    fill(f, bounds_of(f).head + 1, events, n);
    begin(f, true);
    if (journal_append(&f->txn, &block, events, n, &first, &f->e) != 0)
        fail_msg("%s", f->e.text);
    commit(f);
    return first;
}

static void check_events(struct fixture *f, uint64_t from, const struct event_data *events, size_t n)
{
    struct event_data *want = arena_alloc(&f->arena, (n + 1) * sizeof *want);
    fill(f, from, want, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(events[i].seq, from + i);
        assert_int_equal(events[i].subscription, 3);
        assert_int_equal(events[i].generation, 2);
        assert_int_equal(events[i].epoch, 1);
        assert_int_equal(events[i].flags, want[i].flags);
        assert_true(span_equal(events[i].event_id, want[i].event_id));
        assert_true(span_equal(events[i].schema_id, want[i].schema_id));
        assert_true(span_equal(events[i].replay_id, want[i].replay_id));
        assert_true(span_equal(events[i].payload, want[i].payload));
    }
}

static size_t read_some(struct fixture *f, uint64_t from, size_t max_events, size_t max_bytes)
{
    struct event_data *events = NULL;
    size_t n = 999;
    begin(f, false);
    if (journal_read(&f->txn, from, max_events, max_bytes, &f->arena, &events, &n, &f->e) != 0)
        fail_msg("%s", f->e.text);
    store_abort(&f->txn);
    check_events(f, from, events, n);
    return n;
}

static void trim(struct fixture *f, uint64_t settled, int64_t before_ms, bool for_space, size_t *removed)
{
    begin(f, true);
    if (journal_trim(&f->txn, settled, before_ms, for_space, 1000, removed, &f->e) != 0)
        fail_msg("%s", f->e.text);
    commit(f);
}

static void an_empty_journal_has_nothing_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct journal_bounds b = bounds_of(f);
    size_t removed = 9;
    assert_int_equal(b.head, 0);
    assert_int_equal(b.oldest, 1);
    assert_int_equal(read_some(f, 1, 10, 10), 0);
    trim(f, UINT64_MAX, INT64_MAX, true, &removed);
    assert_int_equal(removed, 0);
}

static void reads_begin_and_end_anywhere(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1, 1, 2, 100, JOURNAL_MAX_BLOCK_EVENTS, 3, 50};
    uint64_t next = 1;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(append(f, sizes[i]), next);
        next += sizes[i];
    }
    uint64_t head = next - 1;
    assert_int_equal(bounds_of(f).head, head);
    for (uint64_t from = 1; from <= head; from += from < 110 || from > head - 60 ? 1 : 97) {
        assert_int_equal(read_some(f, from, 1, SIZE_MAX), 1);
        size_t n = read_some(f, from, 120, SIZE_MAX);
        assert_int_equal(n, head - from + 1 < 120 ? head - from + 1 : 120);
        arena_reset(&f->arena);
    }
    assert_int_equal(read_some(f, 1, SIZE_MAX, SIZE_MAX), head);
    assert_int_equal(read_some(f, head + 1, 10, 10), 0);
    /* No further once the bytes are reached, but at least one. */
    assert_int_equal(read_some(f, 1, 100, 0), 1);
    size_t n = read_some(f, 1, 100, 200), bytes = 0;
    for (uint64_t seq = 1; seq < n; seq++)
        bytes += seq % 11 ? payload_size(seq) : 0;
    assert_true(bytes < 200 && n > 1 && n < 100);
}

static void numbers_go_on_after_a_trim_that_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    size_t removed;
    append(f, 10);
    append(f, 10);
    trim(f, 9, 5000, true, &removed); /* a block goes as a whole or not at all */
    assert_int_equal(removed, 0);
    trim(f, 10, 2000, false, &removed); /* its source time is 2000: not older than that */
    assert_int_equal(removed, 0);
    trim(f, 10, 2001, false, &removed);
    assert_int_equal(removed, 1);
    assert_int_equal(bounds_of(f).oldest, 11);
    trim(f, 20, 0, true, &removed);
    assert_int_equal(removed, 1);
    assert_int_equal(bounds_of(f).oldest, 21);
    store_close(f->st);
    assert_int_equal(store_open(f->folder.path, STORE_DAEMON, 64 * MIB, &f->st, &f->e), 0);
    assert_int_equal(bounds_of(f).oldest, 21);
    assert_int_equal(bounds_of(f).head, 20);
    assert_int_equal(append(f, 5), 21);
    assert_int_equal(read_some(f, 21, 10, SIZE_MAX), 5);
}

static void what_was_trimmed_is_not_read_as_something_else(void **state)
{
    struct fixture *f = *state;
    struct event_data *events;
    size_t n, removed;
    append(f, 10);
    append(f, 10);
    trim(f, 10, 0, true, &removed);
    begin(f, false);
    assert_int_equal(journal_read(&f->txn, 5, 10, SIZE_MAX, &f->arena, &events, &n, &f->e), -1);
    assert_int_equal(f->e.class, ERR_STORE);
    store_abort(&f->txn);
    trim(f, 20, 0, true, &removed);
    begin(f, false);
    assert_int_equal(journal_read(&f->txn, 5, 10, SIZE_MAX, &f->arena, &events, &n, &f->e), -1);
    assert_int_equal(f->e.class, ERR_STORE);
    store_abort(&f->txn);
}

/* --- bytes that are no journal ---------------------------------------------------------------------- */

static void copy_block(struct fixture *f, uint64_t seq, struct buf *block)
{
    uint8_t key[8];
    struct span v;
    key_u64(key, seq);
    buf_clear(block);
    begin(f, false);
    assert_int_equal(store_get(&f->txn, DB_JOURNAL, span_of(key, 8), &v, &f->e), 0);
    buf_add_span(block, v);
    store_abort(&f->txn);
}

static void put_block(struct fixture *f, struct span key, struct span block)
{
    begin(f, true);
    assert_int_equal(store_put(&f->txn, DB_JOURNAL, key, block, &f->e), 0);
    commit(f);
}

static int read_all(struct fixture *f)
{
    struct event_data *events;
    struct journal_bounds b;
    size_t n;
    err_clear(&f->e);
    begin(f, false);
    int rc = journal_bounds(&f->txn, &b, &f->e);
    if (rc == 0)
        rc = journal_read(&f->txn, b.oldest, SIZE_MAX, SIZE_MAX, &f->arena, &events, &n, &f->e);
    store_abort(&f->txn);
    arena_reset(&f->arena);
    return rc;
}

/* Whatever is cut off or changed, a read ends with an answer: events, or "damaged". Never beyond the block.
 */
static void a_damaged_block_is_damage_and_nothing_worse(void **state)
{
    struct fixture *f = *state;
    struct buf block = BUF_INIT, bad = BUF_INIT;
    struct rng r = {11};
    uint8_t key[8];
    size_t refused = 0;
    append(f, 20);
    key_u64(key, 1);
    copy_block(f, 1, &block);
    for (size_t cut = 0; cut < block.len; cut++) {
        put_block(f, span_of(key, 8), span_of(block.data, cut));
        assert_int_equal(read_all(f), -1);
        assert_int_equal(f->e.class, ERR_STORE);
    }
    for (int i = 0; i < 3000; i++) {
        buf_clear(&bad);
        buf_add_span(&bad, buf_span(&block));
        for (uint64_t changes = 1 + rng_below(&r, 3); changes > 0; changes--)
            bad.data[rng_below(&r, i % 2 ? 60 : bad.len)] = (uint8_t)rng_below(&r, 256);
        put_block(f, span_of(key, 8), buf_span(&bad));
        refused += read_all(f) != 0;
    }
    assert_true(refused > 100);
    buf_release(&block);
    buf_release(&bad);
}

static void a_key_that_is_no_number_is_damage(void **state)
{
    struct fixture *f = *state;
    struct buf block = BUF_INIT;
    size_t removed;
    append(f, 3);
    copy_block(f, 1, &block);
    put_block(f, span_of("\0\0", 2), buf_span(&block)); /* sorts before all others */
    assert_int_equal(read_all(f), -1);
    assert_int_equal(f->e.class, ERR_STORE);
    begin(f, true);
    assert_int_equal(journal_trim(&f->txn, 3, 0, true, 10, &removed, &f->e), -1);
    assert_int_equal(f->e.class, ERR_STORE);
    store_abort(&f->txn);
    buf_release(&block);
}

static void a_hole_and_an_overlap_are_damage(void **state)
{
    struct fixture *f = *state;
    struct buf block = BUF_INIT;
    uint8_t key[8];
    append(f, 3);
    append(f, 3);
    append(f, 3);
    key_u64(key, 4);
    begin(f, true);
    assert_int_equal(store_delete(&f->txn, DB_JOURNAL, span_of(key, 8), &f->e), 0);
    commit(f);
    assert_int_equal(read_all(f), -1);
    copy_block(f, 1, &block);
    key_u64(key, 3);
    put_block(f, span_of(key, 8), buf_span(&block));
    assert_int_equal(read_all(f), -1);
    buf_release(&block);
}

static void a_head_that_is_no_number_is_damage(void **state)
{
    struct fixture *f = *state;
    struct journal_bounds b;
    begin(f, true);
    assert_int_equal(store_put(&f->txn, DB_META, span_of_str("journal_head"), span_of_str("abc"), &f->e), 0);
    assert_int_equal(journal_bounds(&f->txn, &b, &f->e), -1);
    assert_int_equal(f->e.class, ERR_STORE);
    store_abort(&f->txn);
}

/* --- space ------------------------------------------------------------------------------------------ */

/*
 * Blocks are stored in neighbouring pages. A journal that is trimmed when 80 % are in use and stopped when
 * all are must find room for them for ever, whatever sizes have lived there before. (Events of a megabyte are
 * another matter: what intake does when there is no room for one is in intake_test.c.)
 */
static void a_long_life_in_a_small_space(void **state)
{
    struct fixture *f = *state;
    struct rng r = {5};
    struct event_data events[100];
    struct journal_block block = {.subscription = 1};
    struct store_space space;
    uint8_t *bytes = calloc(1, MIB);
    uint64_t written = 0, first;
    while (written < 1000ull * MIB) {
        size_t n = 1 + rng_below(&r, 100),
               each = rng_below(&r, 40) ? 1 + rng_below(&r, 1200) : 1 + rng_below(&r, 40000);
        for (size_t i = 0; i < n; i++)
            events[i] = (struct event_data){.payload = span_of(bytes, each)};
        begin(f, true);
        if (journal_append(&f->txn, &block, events, n, &first, &f->e) != 0)
            fail_msg("after %llu MiB: %s", (unsigned long long)written / MIB, f->e.text);
        commit(f);
        written += n * each;
        assert_int_equal(store_space(f->st, &space, &f->e), 0);
        while (space.live_bytes > space.max_bytes / 10 * 8) {
            size_t removed;
            begin(f, true);
            assert_int_equal(journal_trim(&f->txn, UINT64_MAX, 0, true, 1, &removed, &f->e), 0);
            assert_int_equal(removed, 1);
            commit(f);
            assert_int_equal(store_space(f->st, &space, &f->e), 0);
        }
    }
    assert_true(space.file_bytes <= space.max_bytes + space.max_bytes / 4);
    free(bytes);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(an_empty_journal_has_nothing_and_says_so),
        CASE(reads_begin_and_end_anywhere),
        CASE(numbers_go_on_after_a_trim_that_leaves_nothing),
        CASE(what_was_trimmed_is_not_read_as_something_else),
        CASE(a_damaged_block_is_damage_and_nothing_worse),
        CASE(a_key_that_is_no_number_is_damage),
        CASE(a_hole_and_an_overlap_are_damage),
        CASE(a_head_that_is_no_number_is_damage),
        CASE(a_long_life_in_a_small_space),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
