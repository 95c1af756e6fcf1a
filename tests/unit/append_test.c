/*
 * The commit path of intake against a plain model of the service: random batches, duplicates, shared replay
 * ids, keepalives, lost commits and restarts. Whatever happens, each published event is in the journal exactly
 * once, in order; the sums hold (I9); the resume point never claims more than the journal holds (I1).
 */
#include "base/random.h"
#include "intake/append.h"
#include "store/sinks.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PUBLISHED = 300 };

struct published {
    char event_id[24];
    uint8_t replay_id[10];
    char record_id[19];
    bool repeat; /* of an earlier event, under another replay id */
    uint32_t original;
};

struct fixture {
    struct store_folder folder;
    struct store *st;
    struct appender *a;
    struct subscription_record record;
    struct replay_group group;
    struct published events[PUBLISHED];
    uint32_t n_unique;
};

static void open_all(struct fixture *f)
{
    struct err e = ERR_INIT;
    if (store_open(f->folder.path, STORE_DAEMON, 64 << 20, &f->st, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(append_open(f->st, &f->a, &e), 0);
    struct store_txn txn;
    assert_int_equal(store_begin(f->st, true, &txn, &e), 0);
    int rc = subscription_find(&txn, "00Dxx0000001gEREAY", "/data/X", "x", &f->record, &e);
    if (rc == 1) {
        f->record = (struct subscription_record){.org_id = "00Dxx0000001gEREAY", .topic = "/data/X", .name = "x"};
        assert_int_equal(subscription_create(&txn, &f->record, &e), 0);
    }
    assert_int_equal(store_commit(&txn, &e), 0);
    f->group.len = 0;
}

static void close_all(struct fixture *f)
{
    append_close(f->a);
    store_close(f->st);
}

/* Events of one group share event id and replay id and differ in the record id; repeats keep all but the replay id. */
static void publish(struct fixture *f, struct rng *r)
{
    uint64_t bus = 1000;
    f->n_unique = 0;
    for (uint32_t i = 0; i < PUBLISHED; i++) {
        struct published *p = &f->events[i];
        uint64_t what = rng_below(r, 10);
        *p = (struct published){.original = i};
        if (i > 0 && what == 0) {
            *p = f->events[f->events[rng_below(r, i)].original];
            p->repeat = true;
        } else if (i > 0 && what < 4 && !f->events[i - 1].repeat) {
            *p = f->events[i - 1];
            p->original = i;
            snprintf(p->record_id, sizeof p->record_id, "001%015u", i);
            f->n_unique++;
            continue; /* the replay id of the group */
        } else {
            snprintf(p->event_id, sizeof p->event_id, "event-%u", i);
            snprintf(p->record_id, sizeof p->record_id, "001%015u", i);
            f->n_unique++;
        }
        bus += 1 + rng_below(r, 5);
        uint64_t be = __builtin_bswap64(bus);
        memset(p->replay_id, 0, sizeof p->replay_id);
        memcpy(p->replay_id, &be, 8);
    }
}

/* CUSTOM: what comes after the id. */
static uint32_t position_after(const struct fixture *f)
{
    uint32_t i = 0;
    if (f->record.resume_len)
        while (i < PUBLISHED && memcmp(f->events[i].replay_id, f->record.resume, 10) <= 0)
            i++;
    return i;
}

/* Everything up to the resume point is in the journal: the first unique events, in order. */
static void check_journal(struct fixture *f, bool complete)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    struct arena a = ARENA_INIT;
    struct event_data *events;
    size_t n;
    assert_int_equal(store_begin(f->st, false, &txn, &e), 0);
    if (journal_read(&txn, 1, 10000, SIZE_MAX, &a, &events, &n, &e) != 0)
        fail_msg("%s", e.text);
    uint32_t j = 0, resume_covers = 0;
    for (uint32_t i = 0; i < PUBLISHED; i++) {
        const struct published *p = &f->events[i];
        bool covered = f->record.resume_len && memcmp(p->replay_id, f->record.resume, 10) <= 0;
        if (covered)
            resume_covers = p->repeat ? resume_covers : j + 1;
        if (p->repeat)
            continue;
        if (j < n) {
            assert_int_equal(events[j].seq, j + 1);
            assert_true(span_equal_str(events[j].event_id, p->event_id));
            assert_true(span_equal_str(events[j].payload, p->record_id));
        }
        j++;
    }
    assert_true(resume_covers <= n);
    assert_true(n <= f->n_unique);
    if (complete)
        assert_int_equal(n, f->n_unique);
    assert_int_equal(f->record.journaled, n);
    assert_int_equal(f->record.received, f->record.duplicates + f->record.before_start + f->record.journaled);
    store_abort(&txn);
    arena_release(&a);
}

static void add_batch(struct fixture *f, uint32_t from, uint32_t n, bool keepalive, struct arena *arena)
{
    struct arrival *items = arena_alloc(arena, (n + 1) * sizeof *items);
    for (uint32_t i = 0; i < n; i++) {
        const struct published *p = &f->events[from + i];
        struct change_header *h = arena_alloc(arena, sizeof *h);
        struct span *id = arena_alloc(arena, sizeof *id);
        *id = span_of_str(p->record_id);
        *h = (struct change_header){.entity = span_of_str("X"), .n_record_ids = 1, .record_ids = id};
        items[i] = (struct arrival){.ev = {.event_id = span_of_str(p->event_id),
                                           .replay_id = span_of(p->replay_id, 10),
                                           .schema_id = span_of_str("schema"),
                                           .payload = span_of_str(p->record_id)},
                                    .header = h};
    }
    struct arrivals in = {.record = &f->record, .group = &f->group, .received_ms = 1700000000000, .items = items, .n = n};
    if (keepalive)
        in.keepalive_id = span_of(f->events[from - 1].replay_id, 10);
    append_add(f->a, &in);
}

static void one_schedule(uint64_t seed)
{
    struct rng r = {seed};
    struct fixture f = {0};
    struct err e = ERR_INIT;
    struct arena arena = ARENA_INIT;
    uint64_t head;
    store_folder_make(&f.folder);
    publish(&f, &r);
    open_all(&f);
    uint32_t at = 0;
    while (at < PUBLISHED) {
        for (uint64_t segments = 1 + rng_below(&r, 4); segments > 0 && at < PUBLISHED; segments--) {
            uint32_t n = 1 + (uint32_t)rng_below(&r, 30);
            n = n < PUBLISHED - at ? n : PUBLISHED - at;
            add_batch(&f, at, n, false, &arena);
            at += n;
            /* A keepalive comes only where the service has sent all up to it: never inside a group. */
            bool group_ends = at == PUBLISHED || memcmp(f.events[at].replay_id, f.events[at - 1].replay_id, 10) != 0;
            if (group_ends && rng_below(&r, 3) == 0)
                add_batch(&f, at, 0, true, &arena);
        }
        uint64_t what = rng_below(&r, 8);
        if (what > 0 && append_commit(f.a, 1700000000000, &head, &e) != 0)
            fail_msg("%s", e.text);
        arena_reset(&arena);
        check_journal(&f, false);
        if (what <= 1) { /* the process dies, before or after the commit */
            close_all(&f);
            open_all(&f);
            check_journal(&f, false);
        }
        if (what <= 3) { /* a new stream, from the resume point */
            f.group.len = 0;
            at = position_after(&f);
        }
    }
    check_journal(&f, true);
    close_all(&f);
    open_all(&f);
    check_journal(&f, true);
    close_all(&f);
    arena_release(&arena);
    store_folder_remove(&f.folder);
}

static void each_event_once_in_order_whatever_the_schedule(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++)
        one_schedule(seed);
}

/* A new generation journals the same events again, marked; a third one counts on from there. */
static void a_new_generation_repeats_marked_events(void **state)
{
    (void)state;
    struct rng r = {7};
    struct fixture f = {0};
    struct err e = ERR_INIT;
    struct arena arena = ARENA_INIT;
    uint64_t head;
    store_folder_make(&f.folder);
    publish(&f, &r);
    open_all(&f);
    add_batch(&f, 0, 100, false, &arena);
    assert_int_equal(append_commit(f.a, 0, &head, &e), 0);
    uint64_t first = head;
    f.record.generation = 1;
    f.group.len = 0;
    add_batch(&f, 50, 100, false, &arena);
    assert_int_equal(append_commit(f.a, 0, &head, &e), 0);
    struct store_txn txn;
    struct event_data *events;
    size_t n;
    assert_int_equal(store_begin(f.st, false, &txn, &e), 0);
    assert_int_equal(journal_read(&txn, first + 1, 10000, SIZE_MAX, &arena, &events, &n, &e), 0);
    assert_true(n > 50);
    for (size_t i = 0; i < n; i++) {
        bool held = false;
        for (uint32_t j = 0; j < 100 && !held; j++)
            held = span_equal_str(events[i].event_id, f.events[j].event_id) &&
                   span_equal_str(events[i].payload, f.events[j].record_id);
        assert_int_equal(events[i].generation, 1);
        assert_int_equal(!!(events[i].flags & EVENT_REPLAYED), held);
    }
    store_abort(&txn);
    close_all(&f);
    arena_release(&arena);
    store_folder_remove(&f.folder);
}

/* Trims remove whole blocks, never past what the slowest sink has settled, and numbers go on. */
static void trims_stop_at_the_slowest_sink(void **state)
{
    (void)state;
    struct rng r = {9};
    struct fixture f = {0};
    struct err e = ERR_INIT;
    struct arena arena = ARENA_INIT;
    struct journal_bounds b;
    struct store_txn txn;
    uint64_t head;
    bool more;
    store_folder_make(&f.folder);
    publish(&f, &r);
    open_all(&f);
    for (uint32_t at = 0; at < PUBLISHED; at += 10) {
        add_batch(&f, at, 10, false, &arena);
        assert_int_equal(append_commit(f.a, 1700000000000, &head, &e), 0);
    }
    struct sink_record sink = {.name = "slow", .cursor = 55, .state = BUF_INIT};
    assert_int_equal(store_begin(f.st, true, &txn, &e), 0);
    assert_int_equal(sink_record_put(&txn, &sink, &e), 0);
    assert_int_equal(store_commit(&txn, &e), 0);
    assert_int_equal(append_trim(f.a, 1700000000001, false, &more, &e), 0);
    assert_false(more);
    assert_int_equal(store_begin(f.st, false, &txn, &e), 0);
    assert_int_equal(journal_bounds(&txn, &b, &e), 0);
    assert_true(b.oldest > 40 && b.oldest <= 56);
    assert_int_equal(b.head, head);
    store_abort(&txn);
    sink.cursor = head;
    assert_int_equal(store_begin(f.st, true, &txn, &e), 0);
    assert_int_equal(sink_record_put(&txn, &sink, &e), 0);
    assert_int_equal(store_commit(&txn, &e), 0);
    /* Nothing is that old: kept, unless space is needed. */
    assert_int_equal(append_trim(f.a, 1600000000000, false, &more, &e), 0);
    do
        assert_int_equal(append_trim(f.a, 1600000000000, true, &more, &e), 0);
    while (more);
    close_all(&f);
    open_all(&f);
    assert_int_equal(store_begin(f.st, false, &txn, &e), 0);
    assert_int_equal(journal_bounds(&txn, &b, &e), 0);
    assert_int_equal(b.oldest, head + 1);
    assert_int_equal(b.head, head);
    store_abort(&txn);
    close_all(&f);
    arena_release(&arena);
    store_folder_remove(&f.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_once_in_order_whatever_the_schedule),
        cmocka_unit_test(a_new_generation_repeats_marked_events),
        cmocka_unit_test(trims_stop_at_the_slowest_sink),
    };
    return cmocka_run_group_tests_name("append", tests, NULL, NULL);
}
