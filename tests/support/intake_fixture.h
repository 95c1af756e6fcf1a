/*
 * intake_fixture: intake with its own thread, between a store and a service that the test plays (fake_org.h).
 *
 * set_up and tear_down are for cmocka; start begins a life, restart the next one on the same store. send_… is what
 * the service sends, wait_… and assert_… what came of it.
 *
 * Needs the linker's --wrap for what fake_org.h stands in for. Thread: the test's. Errors fail the test.
 */
#ifndef SUPPORT_INTAKE_FIXTURE_H
#define SUPPORT_INTAKE_FIXTURE_H

#include "intake/intake.h"

#include "avro_bytes.h"
#include "base/clock.h"
#include "fake_org.h"
#include "store/incidents.h"
#include "store/journal.h"
#include "store/schemas.h"
#include "store/sinks.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEADLINE_MS = 60 * 1000, ROUND_MS = 2, MOST_ROUNDS = DEADLINE_MS / ROUND_MS };

static const char schema[] = "{\"type\":\"record\",\"name\":\"XChangeEvent\",\"fields\":[" HEADER_FIELD "]}";
static const int64_t noon = 1778068800000; /* 2026-05-06T12:00:00Z */

struct fixture {
    struct store_folder folder;
    struct org_config org;
    struct subscription_config subscriptions[2];
    struct config config;
    struct store *st;
    struct schema_cache *schemas;
    struct journal_signal signal;
    struct intake *in;
    struct err e, fatal;
};

static inline void on_fatal(void *ctx, const struct err *e)
{
    struct fixture *f = ctx;
    f->fatal = *e;
}

static inline void start(struct fixture *f)
{
    if (store_open(f->folder.path, STORE_DAEMON, f->config.store.max_size, &f->st, &f->e) != 0)
        fail_msg("%s", f->e.text);
    struct store_txn txn;
    struct journal_bounds b;
    assert_int_equal(store_begin(f->st, false, &txn, &f->e), 0);
    assert_int_equal(journal_bounds(&txn, &b, &f->e), 0);
    store_abort(&txn);
    journal_signal_init(&f->signal, b.head);
    f->schemas = schema_cache_new(schema_load_from, f->st);
    struct intake_options o = {&f->config, f->st, f->schemas, &f->signal, on_fatal, f};
    if (intake_start(&o, &f->in, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static inline void stop(struct fixture *f)
{
    intake_stop(f->in);
    schema_cache_free(f->schemas);
    store_close(f->st);
    journal_signal_release(&f->signal);
    f->in = NULL;
    f->st = NULL;
}

/* As a process that starts again: the streams of the one before are forgotten. */
static inline void restart(struct fixture *f)
{
    stop(f);
    int64_t server_time_ms = fake.server_time_ms;
    fake_org_reset();
    fake.schema = schema;
    fake.server_time_ms = server_time_ms;
    start(f);
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    static char names[][24] = {"main", "x", "y", "/data/XChangeEvent", "/data/YChangeEvent"};
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    store_folder_make(&f->folder);
    f->org = (struct org_config){.name = names[0], .backoff_max_ms = 1};
    for (size_t i = 0; i < ARRAY_LEN(f->subscriptions); i++)
        f->subscriptions[i] = (struct subscription_config){.start = START_EARLIEST, .watchdog_ms = 300000};
    f->subscriptions[0].name = names[1];
    f->subscriptions[0].topic = names[3];
    f->subscriptions[1].name = names[2];
    f->subscriptions[1].topic = names[4];
    f->config = (struct config){
        .n_orgs = 1, .orgs = &f->org, .n_subscriptions = 1, .subscriptions = f->subscriptions};
    f->config.store.max_size = 64 << 20;
    f->config.store.retention_ms = f->config.store.dedupe_window_ms = 96 * 3600 * 1000;
    fake_org_reset();
    fake.schema = schema;
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->in)
        stop(f);
    assert_int_equal(f->fatal.class, ERR_NONE);
    store_folder_remove(&f->folder);
    fake_org_reset();
    clock_release();
    free(f);
    return 0;
}

/* --- what is sent ----------------------------------------------------------------------------------- */

struct sent {
    const char *event_id;
    uint64_t replay_id; /* 0: none */
    const char *record_id;
    int64_t stamp; /* commit timestamp */
    const char *schema_id;
    struct span payload; /* instead of one that is made of the above */
};

static inline void put_replay_id(uint8_t out[10], uint64_t id)
{
    uint64_t be = __builtin_bswap64(id);
    memset(out, 0, 10);
    memcpy(out, &be, 8);
}

static inline struct span replay_id_in(struct arena *a, uint64_t id)
{
    uint8_t *p = arena_alloc(a, 10);
    put_replay_id(p, id);
    return id ? span_of(p, 10) : span_of(NULL, 0);
}

static inline struct pubsub_response *response_of(const struct sent *events, size_t n, uint64_t latest)
{
    struct pubsub_response *r = calloc(1, sizeof *r);
    r->n_events = (uint32_t)n;
    r->events = arena_alloc(&r->arena, (n + 1) * sizeof *r->events);
    r->latest_replay_id = replay_id_in(&r->arena, latest);
    r->received_ms = clock_wall_ms();
    for (size_t i = 0; i < n; i++) {
        struct buf payload = BUF_INIT;
        const char *const ids[] = {events[i].record_id, NULL};
        struct header_values h = {
            .entity = "X", .record_ids = ids, .commit_timestamp = events[i].stamp ? events[i].stamp : noon};
        put_header(&payload, &h);
        struct span bytes = events[i].payload.p ? events[i].payload : buf_span(&payload);
        r->events[i] = (struct pubsub_event){
            .event_id = arena_copy(&r->arena, span_of_str(events[i].event_id)),
            .schema_id = arena_copy(&r->arena,
                                    span_of_str(events[i].schema_id ? events[i].schema_id : "schema-one")),
            .replay_id = replay_id_in(&r->arena, events[i].replay_id),
            .payload = arena_copy(&r->arena, bytes)};
        r->bytes += bytes.n + 100;
        buf_release(&payload);
    }
    return r;
}

static inline void send_one(struct pubsub_stream *s, const char *event_id, uint64_t replay_id)
{
    struct sent event = {.event_id = event_id, .replay_id = replay_id, .record_id = event_id};
    fake_org_send(s, response_of(&event, 1, 0));
}

static inline void send_keepalive(struct pubsub_stream *s, uint64_t latest)
{
    fake_org_send(s, response_of(NULL, 0, latest));
}

/* --- what came of it -------------------------------------------------------------------------------- */

static inline void wait_a_round(struct fixture *f)
{
    journal_signal_wait(&f->signal, UINT64_MAX, ROUND_MS);
}

static inline void wait_head(struct fixture *f, uint64_t head)
{
    for (int64_t until = clock_mono_ms() + DEADLINE_MS;
         journal_signal_wait(&f->signal, head - 1, 100) < head;)
        if (clock_mono_ms() > until)
            fail_msg("the journal does not reach %llu", (unsigned long long)head);
}

static inline struct subscription_record record_of(struct fixture *f, uint32_t number)
{
    struct subscription_record r = {0};
    struct store_txn txn;
    assert_int_equal(store_begin(f->st, false, &txn, &f->e), 0);
    if (subscription_get(&txn, number, &r, &f->e) < 0)
        fail_msg("%s", f->e.text);
    store_abort(&txn);
    assert_int_equal(r.received, r.duplicates + r.before_start + r.journaled); /* I9 */
    return r;
}

static inline bool resumes_at(const struct subscription_record *r, uint64_t id)
{
    uint8_t want[10];
    put_replay_id(want, id);
    return id ? r->resume_len == 10 && memcmp(r->resume, want, 10) == 0 : r->resume_len == 0;
}

static inline void wait_resume(struct fixture *f, uint64_t id)
{
    for (int64_t until = clock_mono_ms() + DEADLINE_MS;; wait_a_round(f)) {
        struct subscription_record r = record_of(f, 1);
        if (r.number && resumes_at(&r, id))
            return;
        if (clock_mono_ms() > until)
            fail_msg("the position does not become %llu", (unsigned long long)id);
    }
}

static inline void wait_state(struct fixture *f, uint32_t i, enum source_state state)
{
    struct source_view v = {0};
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; clock_mono_ms() < until; wait_a_round(f)) {
        intake_describe(f->in, i, &v);
        if (v.state == state)
            return;
    }
    fail_msg("still %s (%s), not %s", source_state_name(v.state), v.reason, source_state_name(state));
}

/* Its reason comes to contain this; "": to be empty. */
static inline void wait_reason(struct fixture *f, uint32_t i, const char *part)
{
    struct source_view v = {0};
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; clock_mono_ms() < until; wait_a_round(f)) {
        intake_describe(f->in, i, &v);
        if (*part ? strstr(v.reason, part) != NULL : !*v.reason)
            return;
    }
    fail_msg("the reason is '%s', without '%s'", v.reason, part);
}

static inline int count_incident(void *ctx, const struct incident *i)
{
    int *n = ctx;
    *n += i->state == INCIDENT_OPEN;
    return 0;
}

static inline int open_incidents(struct fixture *f)
{
    struct store_txn txn;
    int n = 0;
    assert_int_equal(store_begin(f->st, false, &txn, &f->e), 0);
    assert_int_equal(incident_each(&txn, count_incident, &n, &f->e), 0);
    store_abort(&txn);
    return n;
}

static inline void assert_from_id(struct pubsub_stream *s, uint64_t id)
{
    uint8_t want[10];
    put_replay_id(want, id);
    assert_non_null(s);
    assert_int_equal(s->from, PUBSUB_CUSTOM);
    assert_int_equal(s->replay_id_len, 10);
    assert_memory_equal(s->replay_id, want, 10);
}

/* The journal's event ids, from the first on, with a space between. */
static inline void assert_journal(struct fixture *f, const char *want)
{
    struct store_txn txn;
    struct arena a = ARENA_INIT;
    struct buf got = BUF_INIT;
    struct event_data *events;
    struct journal_bounds b;
    size_t n;
    assert_int_equal(store_begin(f->st, false, &txn, &f->e), 0);
    assert_int_equal(journal_bounds(&txn, &b, &f->e), 0);
    assert_int_equal(journal_read(&txn, b.oldest, 10000, SIZE_MAX, &a, &events, &n, &f->e), 0);
    for (size_t i = 0; i < n; i++)
        buf_addf(&got, "%s%.*s%s", i ? " " : "", SPAN_ARG(events[i].event_id),
                 events[i].flags & EVENT_UNDECODABLE ? "?" : "");
    store_abort(&txn);
    buf_add_char(&got, '\0');
    assert_string_equal((char *)got.data, want);
    buf_release(&got);
    arena_release(&a);
}

#endif
