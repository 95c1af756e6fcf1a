/* A managed stream against a scripted service: what is asked and committed, and what comes back. */
#include "base/alloc.h"
#include "base/clock.h"
#include "harness/fake_service.h"
#include "pubsub/pubsub.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEADLINE_S = 60 };

/* What arrived, in the listener's hands. */
struct got {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int events, answers, answers_with_events, refused, ends;
    uint64_t newest_answered;
    uint8_t answered_id[64];
    size_t answered_len;
    char why[200];
    bool commit_all; /* answer each response with a commit of what it brought */
    uint64_t serial;
    struct pubsub_status status;
};

static void take_answer(struct got *g, const struct pubsub_response *r)
{
    if (!r->commit.is_there)
        return;
    g->answers++;
    g->answers_with_events += r->n_events > 0;
    g->refused += r->commit.refused;
    g->newest_answered = r->commit.serial;
    g->answered_len = r->commit.replay_id.n;
    memcpy(g->answered_id, r->commit.replay_id.p, g->answered_len);
    snprintf(g->why, sizeof g->why, "%.*s", (int)r->commit.why.n, (const char *)r->commit.why.p);
}

static void on_response(void *ctx, struct pubsub_stream *s, struct pubsub_response *r)
{
    struct got *g = ctx;
    pthread_mutex_lock(&g->lock);
    g->events += (int)r->n_events;
    take_answer(g, r);
    if (g->commit_all && r->n_events)
        pubsub_stream_commit(s, ++g->serial, r->latest_replay_id);
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
    pubsub_response_free(r);
}

static void on_end(void *ctx, struct pubsub_stream *s, const struct pubsub_status *status)
{
    struct got *g = ctx;
    (void)s;
    pthread_mutex_lock(&g->lock);
    g->ends++;
    g->status = *status;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

static const struct pubsub_listener listener = {on_response, on_end};

/* Waits until *what, a number of g, is at least n. */
static void wait_for(struct got *g, const int *what, int n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    pthread_mutex_lock(&g->lock);
    while (*what < n)
        assert_int_equal(pthread_cond_timedwait(&g->cond, &g->lock, &until), 0);
    pthread_mutex_unlock(&g->lock);
}

static void wait_answered(struct got *g, uint64_t serial)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    pthread_mutex_lock(&g->lock);
    while (g->newest_answered < serial)
        assert_int_equal(pthread_cond_timedwait(&g->cond, &g->lock, &until), 0);
    pthread_mutex_unlock(&g->lock);
}

struct client {
    struct fake_service *service;
    char endpoint[64];
    struct pubsub *pubsub;
    struct pubsub_stream *stream;
    struct got got;
};

static void open_client(struct client *c, const struct fake_script *script, bool commit_all)
{
    struct err e = ERR_INIT;
    memset(c, 0, sizeof *c);
    c->service = fake_service_start(script);
    snprintf(c->endpoint, sizeof c->endpoint, "127.0.0.1:%d", fake_service_port(c->service));
    struct org_config org = {.name = (char *)(uintptr_t) "test",
                             .pubsub_endpoint = c->endpoint,
                             .plaintext = true,
                             .keepalive_ms = 60000,
                             .max_message = 16 << 20};
    struct auth_token token = {.access_token = (char *)(uintptr_t) "00Dxx!token",
                               .instance_url = (char *)(uintptr_t) "https://acme.my.salesforce.com",
                               .tenant_id = "00Dxx0000001gEREAY",
                               .serial = 1};
    pthread_mutex_init(&c->got.lock, NULL);
    pthread_cond_init(&c->got.cond, NULL);
    c->got.commit_all = commit_all;
    c->pubsub = pubsub_new(&org, &e);
    if (!c->pubsub)
        fail_msg("%s", e.text);
    c->stream = pubsub_managed_subscribe(c->pubsub, &token, "Order_feed", 7, &listener, &c->got);
}

static void close_client(struct client *c, struct fake_counts *counts)
{
    pubsub_free(c->pubsub);
    *counts = fake_service_read(c->service);
    fake_service_stop(c->service);
    assert_int_equal(c->got.ends, 1);
    assert_string_equal(counts->developer_name, "Order_feed");
    assert_int_equal(counts->calls_without_metadata, 0);
    assert_int_equal(counts->commits_in_first, 0);
    assert_int_equal(counts->later_topics, 0);
}

static void asks_and_commits(void **state)
{
    (void)state;
    static const int batches[] = {1, 20, 49, 100};
    for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
        struct client c;
        struct fake_counts n;
        const int total = batches[i] * 40;
        open_client(&c, &(struct fake_script){.events = total, .batch = batches[i], .end_code = -1}, true);
        wait_for(&c.got, &c.got.events, total);
        wait_answered(&c.got, c.got.serial); /* one commit per response, all of which are here */
        close_client(&c, &n);
        assert_int_equal(c.got.refused, 0);
        assert_true(n.most_outstanding <= 100);
        assert_int_equal(n.last_commit_len, 8);
        assert_int_equal(n.last_commit[6] << 8 | n.last_commit[7], total);
        assert_int_equal(strtoull(n.last_commit_request, NULL, 10), c.got.serial);
        assert_int_equal(c.got.answered_len, 8);
        assert_memory_equal(c.got.answered_id, n.last_commit, 8);
    }
}

static void one_answer_for_several(void **state)
{
    (void)state;
    struct client c;
    struct fake_counts n;
    static const uint8_t ids[][2] = {{0, 1}, {0, 2}, {0, 3}, {0, 4}};
    open_client(&c, &(struct fake_script){.events = 1, .commits_per_answer = 2, .end_code = -1}, false);
    wait_for(&c.got, &c.got.events, 1);
    for (int i = 0; i < 4; i++) {
        int seen = i + 1;
        pubsub_stream_commit(c.stream, (uint64_t)seen, span_of(ids[i], 2));
        for (int64_t until = clock_mono_ms() + DEADLINE_S * 1000;
             fake_service_read(c.service).commits < seen && clock_mono_ms() < until;)
            sched_yield(); /* one after another: each is sent */
    }
    wait_answered(&c.got, 4);
    assert_int_equal(c.got.answers, 2);
    assert_memory_equal(c.got.answered_id, ids[3], 2);
    close_client(&c, &n);
    assert_int_equal(n.commits, 4);
    assert_int_equal(n.commits_alone, 4);
}

static void newest_wins(void **state)
{
    (void)state;
    /* Given before the first message went out: not in it, and only the newest of those that wait. */
    struct client c;
    struct fake_counts n;
    uint8_t id[4] = {0};
    open_client(&c, &(struct fake_script){.events = 1, .end_code = -1}, false);
    for (uint64_t serial = 1; serial <= 200; serial++) {
        id[3] = (uint8_t)serial;
        pubsub_stream_commit(c.stream, serial, span_of(id, sizeof id));
    }
    wait_answered(&c.got, 200);
    close_client(&c, &n);
    assert_true(n.commits < 200);
    assert_int_equal(n.last_commit[3], 200);
}

static void refused(void **state)
{
    (void)state;
    struct client c;
    struct fake_counts n;
    open_client(
        &c,
        &(struct fake_script){
            .events = 300, .batch = 30, .commit_refusal = "older than the committed one", .end_code = -1},
        true);
    wait_for(&c.got, &c.got.events, 300); /* the stream goes on */
    wait_answered(&c.got, c.got.serial);
    assert_int_equal(c.got.refused, c.got.answers);
    assert_string_equal(c.got.why, "older than the committed one");
    assert_int_equal(c.got.ends, 0);
    close_client(&c, &n);
}

static void answers_with_events(void **state)
{
    (void)state;
    struct client c;
    struct fake_counts n;
    open_client(
        &c, &(struct fake_script){.events = 1000, .batch = 10, .answer_with_events = true, .end_code = -1},
        true);
    wait_for(&c.got, &c.got.events, 1000);
    wait_answered(&c.got, c.got.serial);
    assert_true(c.got.answers_with_events > 0);
    close_client(&c, &n);
    assert_int_equal(n.last_commit[6] << 8 | n.last_commit[7], 1000);
}

static void slot_is_taken(void **state)
{
    (void)state;
    struct client c;
    struct fake_counts n;
    open_client(&c,
                &(struct fake_script){
                    .end_code = GRPC_STATUS_ALREADY_EXISTS,
                    .end_text = "An active managed subscription with the same ID already exists.",
                    .error_code = "sfdc.platform.eventbus.grpc.managed.subscription.already.active"},
                false);
    wait_for(&c.got, &c.got.ends, 1);
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_ALREADY_EXISTS);
    assert_string_equal(c.got.status.error_code, "managed.subscription.already.active");
    close_client(&c, &n);
}

static int setup(void **state)
{
    (void)state;
    pubsub_setup();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pubsub_teardown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_and_commits),    cmocka_unit_test(one_answer_for_several),
        cmocka_unit_test(newest_wins),         cmocka_unit_test(refused),
        cmocka_unit_test(answers_with_events), cmocka_unit_test(slot_is_taken),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
