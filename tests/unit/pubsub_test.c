/* The client against a scripted service in the same process: what goes over the wire, and every end. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/http.h"
#include "base/log.h"
#include "base/random.h"
#include "harness/fake_service.h"
#include "harness/tcp_relay.h"
#include "harness/test_cert.h"
#include "pubsub/internal.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_MS = 60 * 1000 };

/* What arrived, in the listener's hands. */
struct got {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int events, responses, keepalives, ends, after_end;
    bool out_of_order;
    uint64_t number;
    struct pubsub_status status;
    uint8_t latest[8];
    bool keep;                    /* do not free: the listener holds them */
    struct pubsub_response *held; /* newest first */
};

static void got_init(struct got *g)
{
    memset(g, 0, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->cond, &attr);
    pthread_condattr_destroy(&attr);
}

static void on_response(void *ctx, struct pubsub_stream *s, struct pubsub_response *r)
{
    struct got *g = ctx;
    (void)s;
    pthread_mutex_lock(&g->lock);
    g->after_end += g->ends > 0;
    g->responses++;
    g->keepalives += r->n_events == 0;
    for (uint32_t i = 0; i < r->n_events; i++) {
        char id[40];
        snprintf(id, sizeof id, "event-%d", ++g->events);
        if (!span_equal_str(r->events[i].event_id, id) || r->events[i].replay_id.n != 8)
            g->out_of_order = true;
    }
    if (r->latest_replay_id.n == 8)
        memcpy(g->latest, r->latest_replay_id.p, 8);
    if (g->keep) {
        r->next = g->held;
        g->held = r;
    } else {
        pubsub_response_free(r);
    }
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

static void on_end(void *ctx, struct pubsub_stream *s, const struct pubsub_status *status)
{
    struct got *g = ctx;
    pthread_mutex_lock(&g->lock);
    g->number = pubsub_stream_number(s);
    g->ends++;
    g->status = *status;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

static const struct pubsub_listener listener = {on_response, on_end};

/* Waits until *what, a counter of g, is at least n. */
static bool wait_for(struct got *g, const int *what, int n)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += DEADLINE_MS / 1000;
    bool there = true;
    pthread_mutex_lock(&g->lock);
    while (*what < n && there)
        there = pthread_cond_timedwait(&g->cond, &g->lock, &until) == 0;
    pthread_mutex_unlock(&g->lock);
    return there;
}

/* One org that points at a port. */
struct client {
    char endpoint[64];
    struct org_config org;
    struct auth_token token;
    struct pubsub *pubsub;
    struct got got;
};

static void client_init(struct client *c, int port)
{
    memset(c, 0, sizeof *c);
    snprintf(c->endpoint, sizeof c->endpoint, "127.0.0.1:%d", port);
    c->org = (struct org_config){.name = (char *)(uintptr_t) "test",
                                 .pubsub_endpoint = c->endpoint,
                                 .plaintext = true,
                                 .keepalive_ms = 60000,
                                 .max_message = 16 << 20};
    c->token = (struct auth_token){.access_token = (char *)(uintptr_t) "00Dxx!token",
                                   .instance_url = (char *)(uintptr_t) "https://acme.my.salesforce.com",
                                   .tenant_id = "00Dxx0000001gEREAY",
                                   .serial = 1};
    got_init(&c->got);
}

static void client_open(struct client *c)
{
    struct err e = ERR_INIT;
    c->pubsub = pubsub_new(&c->org, &e);
    if (!c->pubsub)
        fail_msg("%s", e.text);
}

static struct pubsub_stream *subscribe(struct client *c)
{
    return pubsub_subscribe(c->pubsub, &c->token, "/data/AccountChangeEvent", PUBSUB_LATEST, span_of(NULL, 0),
                            7, &listener, &c->got);
}

static void client_close(struct client *c)
{
    pubsub_free(c->pubsub);
    while (c->got.held) {
        struct pubsub_response *next = c->got.held->next;
        pubsub_response_free(c->got.held);
        c->got.held = next;
    }
}

/* One stream to its end. */
static void run_to_end(struct client *c, const struct fake_script *script, struct fake_counts *counts)
{
    struct fake_service *f = fake_service_start(script);
    client_init(c, fake_service_port(f));
    client_open(c);
    subscribe(c); /* the end may have come by now: the pointer is nobody's */
    assert_true(wait_for(&c->got, &c->got.ends, 1));
    assert_int_equal(c->got.number, 7);
    client_close(c);
    if (counts)
        *counts = fake_service_read(f);
    fake_service_stop(f);
    assert_int_equal(c->got.ends, 1);
    assert_int_equal(c->got.after_end, 0);
    assert_false(c->got.out_of_order);
}

static void flow_control(void **state)
{
    (void)state;
    /* Batches of every size: never more than 100 outstanding, never dry, refilled in lumps. */
    static const int batches[] = {1, 3, 7, 20, 33, 49};
    for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
        struct client c;
        struct fake_counts n;
        int total = batches[i] * 300;
        run_to_end(&c, &(struct fake_script){.events = total, .batch = batches[i], .payload = 50}, &n);
        assert_int_equal(c.got.events, total);
        assert_true(n.most_outstanding <= 100);
        assert_true(n.smallest_request >= 50);
        assert_true(n.requests <= total / 50 + 2);
        assert_int_equal(n.later_topics, 0);
        assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_OK);
        assert_int_equal(c.got.status.reaction, PUBSUB_RECONNECT);
    }
}

static void full_responses(void **state)
{
    (void)state;
    struct client c;
    struct fake_counts n;
    run_to_end(&c, &(struct fake_script){.events = 20000, .payload = 600}, &n);
    assert_int_equal(c.got.events, 20000);
    assert_int_equal(c.got.responses, 200);
    assert_int_equal(n.most_outstanding, 100);
}

static void count_that_differs(void **state)
{
    (void)state;
    /* A service that says more than we counted is believed: it gets fewer requests, never over 100. */
    struct client c;
    struct fake_counts n;
    run_to_end(&c, &(struct fake_script){.events = 3000, .batch = 10, .pending_offset = 5}, &n);
    assert_int_equal(c.got.events, 3000);
    assert_true(n.most_outstanding <= 100);
}

static void metadata_and_start(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(&(struct fake_script){.events = 1, .end_code = -1});
    struct client c;
    client_init(&c, fake_service_port(f));
    client_open(&c);
    static const uint8_t replay[10] = {0, 0, 0, 0, 0, 0x12, 0xd6, 0x87, 0, 0};
    static const enum pubsub_from froms[] = {PUBSUB_LATEST, PUBSUB_EARLIEST, PUBSUB_CUSTOM};
    for (size_t i = 0; i < ARRAY_LEN(froms); i++) {
        struct span id = froms[i] == PUBSUB_CUSTOM ? span_of(replay, sizeof replay) : span_of(NULL, 0);
        struct got g;
        got_init(&g);
        struct pubsub_stream *s = pubsub_subscribe(c.pubsub, &c.token, "/event/Order__e", froms[i], id, i,
                                                   &listener, &g);
        assert_true(wait_for(&g, &g.events, 1));
        struct fake_counts n = fake_service_read(f);
        assert_int_equal(n.first_preset, froms[i]);
        assert_int_equal(n.first_replay_id_len, id.n);
        assert_string_equal(n.first_topic, "/event/Order__e");
        if (id.n)
            assert_memory_equal(n.first_replay_id, replay, sizeof replay);
        pubsub_stream_cancel(s);
        assert_true(wait_for(&g, &g.ends, 1));
        assert_int_equal(g.status.grpc_code, GRPC_STATUS_CANCELLED);
    }
    struct pubsub_topic topic;
    struct pubsub_status status;
    struct buf json = BUF_INIT;
    assert_int_equal(pubsub_get_topic(c.pubsub, &c.token, "/data/AccountChangeEvent", 5000, &topic, &status),
                     0);
    assert_string_equal(topic.name, "/data/AccountChangeEvent");
    assert_string_equal(topic.schema_id, "schema-1");
    assert_true(topic.can_subscribe && !topic.can_publish);
    free(topic.name);
    free(topic.schema_id);
    assert_int_equal(pubsub_get_schema(c.pubsub, &c.token, "a01Vpgrs", 5000, &json, &status), 0);
    assert_string_equal((char *)json.data, "{\"type\":\"string\"}");
    buf_release(&json);

    struct fake_counts n = fake_service_read(f);
    assert_int_equal(n.streams + n.unary, 5);
    assert_int_equal(n.calls_without_metadata, 0);
    assert_int_equal(n.distinct_trace_ids, 5);
    assert_string_equal(n.accesstoken, "00Dxx!token");
    assert_string_equal(n.instanceurl, "https://acme.my.salesforce.com");
    assert_string_equal(n.tenantid, "00Dxx0000001gEREAY");
    assert_int_equal(strlen(n.trace_id), 36);
    client_close(&c);
    fake_service_stop(f);
}

static void keepalive_response(void **state)
{
    (void)state;
    struct client c;
    run_to_end(&c, &(struct fake_script){.events = 5, .keepalives = true}, NULL);
    assert_int_equal(c.got.events, 5);
    assert_int_equal(c.got.keepalives, 1);
    assert_int_equal(c.got.latest[7] | c.got.latest[6] << 8, 1005);
}

static void trailer(void **state)
{
    (void)state;
    struct client c;
    run_to_end(&c,
               &(struct fake_script){
                   .end_code = GRPC_STATUS_INVALID_ARGUMENT,
                   .end_text = "The Replay ID validation failed.\r\nrpcId: 1",
                   .error_code = "sfdc.platform.eventbus.grpc.subscription.fetch.replayid.corrupted"},
               NULL);
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(c.got.status.reaction, PUBSUB_LOST_POSITION);
    assert_string_equal(c.got.status.error_code, "subscription.fetch.replayid.corrupted");
    assert_string_equal(c.got.status.rpc_id, "rpc-77");
    assert_non_null(
        strstr(c.got.status.text, "INVALID_ARGUMENT: The Replay ID validation failed.  rpcId: 1"));

    run_to_end(&c,
               &(struct fake_script){.events = 250,
                                     .batch = 30,
                                     .end_code = GRPC_STATUS_UNAUTHENTICATED,
                                     .error_code = "sfdc.platform.eventbus.grpc.service.auth.error"},
               NULL);
    assert_int_equal(c.got.events, 250); /* all that was sent comes before the end */
    assert_int_equal(c.got.status.reaction, PUBSUB_NEW_TOKEN);
}

static void unary_failures(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(&(struct fake_script){
        .unary_code = GRPC_STATUS_NOT_FOUND, .end_text = "no such topic", .error_code = "topic.not.found"});
    struct client c;
    struct pubsub_topic topic;
    struct pubsub_status status;
    client_init(&c, fake_service_port(f));
    client_open(&c);
    assert_int_equal(pubsub_get_topic(c.pubsub, &c.token, "/data/X", 5000, &topic, &status), -1);
    assert_int_equal(status.reaction, PUBSUB_FATAL);
    assert_string_equal(status.error_code, "topic.not.found");
    assert_null(topic.name);

    /* A token that cannot be a header never reaches the wire, and the call ends by itself. */
    c.token.access_token = (char *)(uintptr_t) "line\nbreak";
    assert_int_equal(pubsub_get_topic(c.pubsub, &c.token, "/data/X", 5000, &topic, &status), -1);
    assert_int_equal(status.grpc_code, GRPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(status.reaction, PUBSUB_NEW_TOKEN);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.reaction, PUBSUB_NEW_TOKEN);
    assert_int_equal(fake_service_read(f).streams, 0);
    client_close(&c);
    fake_service_stop(f);

    f = fake_service_start(&(struct fake_script){.unary_silent = true});
    client_init(&c, fake_service_port(f));
    client_open(&c);
    assert_int_equal(pubsub_get_topic(c.pubsub, &c.token, "/data/X", 200, &topic, &status), -1);
    assert_int_equal(status.grpc_code, GRPC_STATUS_DEADLINE_EXCEEDED);
    client_close(&c);
    fake_service_stop(f);
}

static void oversized(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(&(struct fake_script){.events = 1, .payload = 5 << 20});
    struct client c;
    client_init(&c, fake_service_port(f));
    c.org.max_message = 1 << 20;
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.reaction, PUBSUB_FATAL);
    assert_non_null(strstr(c.got.status.text, "max_message"));
    assert_non_null(strstr(c.got.status.text, "1048576"));
    client_close(&c);

    /* With room for it the same message is fine: gRPC's own limit of 4 MiB does not apply. */
    client_init(&c, fake_service_port(f));
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.events, 1));
    client_close(&c);
    fake_service_stop(f);
}

static void garbage(void **state)
{
    (void)state;
    struct client c;
    run_to_end(&c, &(struct fake_script){.events = 10, .garbage = true}, NULL);
    assert_int_equal(c.got.events, 0);
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_INTERNAL);
    assert_int_equal(c.got.status.reaction, PUBSUB_RECONNECT);
    assert_non_null(strstr(c.got.status.text, "does not parse"));
}

/* Responses that no service sends: refused without taking much memory, whatever the bytes. */
static void hostile_responses(void **state)
{
    (void)state;
    int pending;
    size_t n = 1 << 20;
    uint8_t *wire = xcalloc(1, n);
    for (size_t i = 0; i < n; i += 2)
        wire[i] = 0x0a; /* an empty event */
    assert_null(response_read(span_of(wire, n), &pending));
    for (size_t i = 0; i < n; i += 2)
        wire[i] = 0x7a; /* a field nobody knows */
    struct pubsub_response *r = response_read(span_of(wire, 200), &pending);
    assert_non_null(r); /* some of them are ignored */
    assert_int_equal(r->n_events, 0);
    pubsub_response_free(r);
    assert_null(response_read(span_of(wire, n), &pending)); /* half a million are not */

    struct rng rng = {7};
    for (int i = 0; i < 20000; i++) {
        size_t len = rng_below(&rng, 200);
        for (size_t k = 0; k < len; k++)
            wire[k] = (uint8_t)(rng_below(&rng, 3) ? rng_next(&rng) % 40 : rng_next(&rng));
        r = response_read(span_of(wire, len), &pending);
        for (uint32_t k = 0; r && k < r->n_events; k++)
            assert_true(r->events[k].payload.n <= len && r->events[k].event_id.n <= len);
        pubsub_response_free(r);
    }
    /* The empty message: nothing is set. */
    r = response_read(span_of(NULL, 0), &pending);
    assert_non_null(r);
    assert_int_equal(r->n_events + r->latest_replay_id.n, 0);
    pubsub_response_free(r);
    free(wire);
}

/* The memory of responses is kept for the next, and no longer than somebody wants it. */
static void what_a_burst_took_is_given_back(void **state)
{
    (void)state;
    enum { BURST = 40 };
    struct pubsub_response *all[BURST];
    int pending;
    response_pool_empty();
    for (int i = 0; i < BURST; i++)
        assert_non_null(all[i] = response_read(span_of(NULL, 0), &pending));
    for (int i = 0; i < BURST; i++)
        pubsub_response_free(all[i]);
    const size_t full = response_pool_bytes();
    assert_true(full > 0);
    for (int i = 0; i < 5000; i++) { /* a load that wants two, and now and then three */
        const int n = i % 10 ? 2 : 3;
        for (int k = 0; k < n; k++)
            assert_non_null(all[k] = response_read(span_of(NULL, 0), &pending));
        for (int k = 0; k < n; k++)
            pubsub_response_free(all[k]);
    }
    assert_int_equal(response_pool_bytes() * BURST, 3 * full);
    for (int turn = 0; turn < 100; turn++) { /* one that wants all of them, in turns, keeps them */
        for (int i = 0; i < BURST; i++)
            assert_non_null(all[i] = response_read(span_of(NULL, 0), &pending));
        for (int i = 0; i < BURST; i++)
            pubsub_response_free(all[i]);
    }
    assert_int_equal(response_pool_bytes(), full);
    response_pool_empty();
    assert_int_equal(response_pool_bytes(), 0);
}

static void pause_and_resume(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(
        &(struct fake_script){.events = 100000, .batch = 10, .end_code = -1});
    struct client c;
    client_init(&c, fake_service_port(f));
    client_open(&c);
    struct pubsub_stream *s = subscribe(&c);
    pubsub_stream_pause(s);
    /* All that was asked for comes, and then nothing: a stream that refilled would never come to that. (Some
     * refills may have been quicker than the pause.) */
    struct fake_counts n;
    assert_true(wait_for(&c.got, &c.got.events, 100));
    do {
        n = fake_service_read(f);
        assert_true(wait_for(&c.got, &c.got.events, n.asked));
    } while (fake_service_read(f).asked != n.asked);
    assert_in_range(n.asked, 100, 99000);
    pubsub_stream_resume(s);
    assert_true(wait_for(&c.got, &c.got.events, n.asked + 500));
    assert_true(fake_service_read(f).most_outstanding <= 100);
    client_close(&c); /* with the stream open: it ends, once */
    assert_int_equal(c.got.ends, 1);
    fake_service_stop(f);
}

/* Pauses and resumes from another thread while events come. */
static void *toggle(void *arg)
{
    struct pubsub_stream *s = arg;
    for (int i = 0; i < 2000; i++) {
        pubsub_stream_pause(s);
        pubsub_stream_resume(s);
    }
    return NULL;
}

static void pause_races(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(
        &(struct fake_script){.events = 20000, .batch = 9, .end_code = -1});
    struct client c;
    pthread_t thread;
    client_init(&c, fake_service_port(f));
    client_open(&c);
    struct pubsub_stream *s = subscribe(&c);
    assert_int_equal(pthread_create(&thread, NULL, toggle, s), 0);
    assert_true(wait_for(&c.got, &c.got.events, 20000));
    pthread_join(thread, NULL);
    assert_true(fake_service_read(f).most_outstanding <= 100);
    client_close(&c);
    assert_int_equal(c.got.ends, 1);
    fake_service_stop(f);
}

static void many_streams(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(
        &(struct fake_script){.events = 500, .batch = 40, .payload = 30});
    struct client c;
    enum { STREAMS = 12 };
    struct got got[STREAMS];
    client_init(&c, fake_service_port(f));
    client_open(&c);
    for (int i = 0; i < STREAMS; i++) {
        got_init(&got[i]);
        pubsub_subscribe(c.pubsub, &c.token, "/event/A__e", PUBSUB_EARLIEST, span_of(NULL, 0), 1, &listener,
                         &got[i]);
    }
    for (int i = 0; i < STREAMS; i++) {
        assert_true(wait_for(&got[i], &got[i].ends, 1));
        assert_int_equal(got[i].events, 500);
        assert_false(got[i].out_of_order);
    }
    client_close(&c);
    fake_service_stop(f);
}

static void held_responses(void **state)
{
    (void)state;
    /* The listener may hold responses longer than the pubsub lives. */
    struct client c;
    struct fake_service *f = fake_service_start(
        &(struct fake_script){.events = 2000, .batch = 40, .payload = 700});
    client_init(&c, fake_service_port(f));
    c.got.keep = true;
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    pubsub_free(c.pubsub);
    c.pubsub = NULL;
    int events = 0;
    for (struct pubsub_response *r = c.got.held; r; r = r->next)
        for (uint32_t i = 0; i < r->n_events; i++, events++)
            assert_int_equal(r->events[i].payload.n, 700);
    assert_int_equal(events, 2000);
    client_close(&c);
    fake_service_stop(f);
}

static void cancel_before_connected(void **state)
{
    (void)state;
    struct tcp_relay *r = tcp_relay_start(0); /* accepts, says nothing */
    struct client c;
    client_init(&c, tcp_relay_port(r));
    client_open(&c);
    struct pubsub_stream *s = subscribe(&c);
    pubsub_stream_cancel(s);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_CANCELLED);
    int64_t before = clock_mono_ms();
    subscribe(&c);
    client_close(&c);
    assert_int_equal(c.got.ends, 2);
    assert_true(clock_mono_ms() - before < 15000); /* to connect may take 20 s */
    tcp_relay_stop(r);
}

static void nobody_there(void **state)
{
    (void)state;
    struct tcp_relay *r = tcp_relay_start(0);
    struct client c;
    client_init(&c, tcp_relay_port(r));
    tcp_relay_stop(r); /* now the port is free, and nobody listens */
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_UNAVAILABLE);
    assert_int_equal(c.got.status.reaction, PUBSUB_RECONNECT);
    assert_non_null(strstr(c.got.status.text, "connection refused"));
    assert_non_null(strstr(c.got.status.text, c.endpoint));
    client_close(&c);

    client_init(&c, 1);
    c.org.plaintext = false;
    snprintf(c.endpoint, sizeof c.endpoint, "no-such-host.invalid:7443");
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_UNAVAILABLE);
    assert_non_null(strstr(c.got.status.text, "does not resolve"));
    client_close(&c);
}

static void comes_back_at_once(void **state)
{
    (void)state;
    /* After a refused connection the next call connects at once: no pause of gRPC's own stands in between. */
    struct fake_service *f = fake_service_start(&(struct fake_script){.events = 1, .end_code = -1});
    struct tcp_relay *r = tcp_relay_start(fake_service_port(f));
    struct client c;
    client_init(&c, tcp_relay_port(r));
    client_open(&c);
    for (int i = 1; i <= 5; i++) {
        subscribe(&c);
        assert_true(wait_for(&c.got, &c.got.responses, i));
        tcp_relay_cut(r);
        assert_true(wait_for(&c.got, &c.got.ends, i));
        assert_int_equal(c.got.status.reaction, PUBSUB_RECONNECT);
    }
    client_close(&c);
    tcp_relay_stop(r);
    fake_service_stop(f);
}

static void falls_silent(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(&(struct fake_script){.events = 1, .end_code = -1});
    struct tcp_relay *r = tcp_relay_start(fake_service_port(f));
    struct client c;
    client_init(&c, tcp_relay_port(r));
    c.org.keepalive_ms = 300;
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.events, 1));
    tcp_relay_silence(r);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_UNAVAILABLE);
    assert_non_null(strstr(c.got.status.text, "keepalive"));
    client_close(&c);
    tcp_relay_stop(r);
    fake_service_stop(f);
}

static bool topic_answers(struct client *c, int timeout_ms)
{
    struct pubsub_topic topic;
    struct pubsub_status status;
    if (pubsub_get_topic(c->pubsub, &c->token, "/data/AccountChangeEvent", timeout_ms, &topic, &status) != 0)
        return false;
    free(topic.name);
    free(topic.schema_id);
    return true;
}

/* Nothing is answered on the connection there is, and its keepalive is far off: another one is made. */
static void leaves_a_dead_connection(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(&(struct fake_script){.events = 1, .end_code = -1});
    struct tcp_relay *r = tcp_relay_start(fake_service_port(f));
    struct client c;
    client_init(&c, tcp_relay_port(r));
    client_open(&c);
    subscribe(&c);
    assert_true(wait_for(&c.got, &c.got.events, 1));
    tcp_relay_hush(r);
    bool answered = true; /* the relay may take a moment to fall silent */
    for (int i = 0; i < 100 && answered; i++)
        answered = topic_answers(&c, 500);
    assert_false(answered);
    assert_true(topic_answers(&c, DEADLINE_MS));
    assert_int_equal(c.got.ends, 0);

    struct pubsub_stream *s = subscribe(&c); /* on the new one */
    assert_true(wait_for(&c.got, &c.got.responses, 2));
    tcp_relay_hush(r);
    pubsub_stream_give_up(s);
    assert_true(wait_for(&c.got, &c.got.ends, 1));
    assert_int_equal(c.got.status.grpc_code, GRPC_STATUS_CANCELLED);
    assert_true(topic_answers(&c, DEADLINE_MS));
    client_close(&c);
    tcp_relay_stop(r);
    fake_service_stop(f);
}

static void told_to_be_calm(void **state)
{
    (void)state;
    struct fake_service *f = fake_service_start(
        &(struct fake_script){.events = 1, .end_code = -1, .strict_pings = true});
    struct client c;
    client_init(&c, fake_service_port(f));
    c.org.keepalive_ms = 1000; /* gRPC pings no faster */
    client_open(&c);
    int64_t lived = 0;
    for (int i = 0; i < 2; i++) {
        int64_t before = clock_mono_ms();
        subscribe(&c);
        assert_true(wait_for(&c.got, &c.got.ends, i + 1));
        lived = clock_mono_ms() - before;
        assert_int_equal(c.got.status.reaction, PUBSUB_CALM);
    }
    assert_in_range(lived, 3900, INT64_MAX); /* the second ping was too much: one every two seconds now */
    client_close(&c);
    fake_service_stop(f);
}

static void write_text(const char *path, const char *text)
{
    struct err e;
    if (file_replace(path, text, strlen(text), 0600, &e))
        fail_msg("%s", e.text);
}

/* The same certificates as libcurl judges them, for login and REST: the handshake is all that is needed. */
static void https_refuses(int port, const char *ca_file, const char *says)
{
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", port);
    const struct http_request request = {.method = "GET",
                                         .url = url,
                                         .ca_file = ca_file,
                                         .connect_timeout_ms = 5000,
                                         .timeout_ms = 5000,
                                         .max_answer = 1000};
    struct http_answer answer;
    struct err e = ERR_INIT;
    assert_int_equal(http_do(&request, &answer, &e), -1);
    if (e.class != ERR_CONFIG || !strstr(e.text, says))
        fail_msg("%s: %s", err_class_name(e.class), e.text);
}

static void tls(void **state)
{
    (void)state;
    char *cert, *key, *other_cert, *other_key, folder[] = "/tmp/pubsub_test.XXXXXX", ca[64], other_ca[64];
    assert_non_null(mkdtemp(folder));
    snprintf(ca, sizeof ca, "%s/ca.pem", folder);
    snprintf(other_ca, sizeof other_ca, "%s/other.pem", folder);
    test_cert_make("DNS:localhost,IP:127.0.0.1", &cert, &key);
    test_cert_make("DNS:another.example", &other_cert, &other_key);
    write_text(ca, cert);
    write_text(other_ca, other_cert);

    const struct {
        const char *server_cert, *server_key, *ca_file;
        bool plaintext;
        int code;
        const char *says;
        enum pubsub_reaction reaction;
    } cases[] = {
        {cert, key, ca, false, GRPC_STATUS_OK, "", PUBSUB_RECONNECT},
        {cert, key, other_ca, false, GRPC_STATUS_UNAVAILABLE, "not trusted", PUBSUB_FATAL},
        {cert, key, NULL, false, GRPC_STATUS_UNAVAILABLE, "not trusted", PUBSUB_FATAL},
        {other_cert, other_key, other_ca, false, GRPC_STATUS_UNAVAILABLE, "for another host", PUBSUB_FATAL},
        {cert, key, NULL, true, GRPC_STATUS_UNAVAILABLE, "may expect TLS", PUBSUB_RECONNECT},
        {NULL, NULL, ca, false, GRPC_STATUS_UNAVAILABLE, "does not speak TLS", PUBSUB_RECONNECT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_service *f = fake_service_start(&(struct fake_script){
            .events = 300, .certificate = cases[i].server_cert, .key = cases[i].server_key});
        struct client c;
        client_init(&c, fake_service_port(f));
        c.org.plaintext = cases[i].plaintext;
        c.org.ca_file = (char *)(uintptr_t)cases[i].ca_file;
        client_open(&c);
        subscribe(&c);
        assert_true(wait_for(&c.got, &c.got.ends, 1));
        print_message("# %s\n", c.got.status.text);
        assert_int_equal(c.got.status.grpc_code, cases[i].code);
        assert_non_null(strstr(c.got.status.text, cases[i].says));
        assert_int_equal(c.got.status.reaction, cases[i].reaction);
        assert_int_equal(c.got.events, cases[i].code == GRPC_STATUS_OK ? 300 : 0);
        client_close(&c);
        if (cases[i].reaction == PUBSUB_FATAL)
            https_refuses(fake_service_port(f), cases[i].ca_file, "certificate is refused");
        if (cases[i].server_cert)
            https_refuses(fake_service_port(f), "/nonexistent/ca.pem", "/nonexistent/ca.pem");
        fake_service_stop(f);
    }

    /* PEM files are judged before gRPC sees them. */
    struct client c;
    struct err e;
    client_init(&c, 1);
    c.org.plaintext = false;
    c.org.ca_file = other_ca;
    char *damaged = xasprintf("%s%s", cert, cert);
    memset(damaged + strlen(cert) + 60, '!', 40);
    const char *const bad[] = {"", "garbage\n", key, damaged,
                               "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_text(other_ca, bad[i]);
        assert_null(pubsub_new(&c.org, &e));
        assert_int_equal(e.class, ERR_CONFIG);
        assert_non_null(strstr(e.text, other_ca));
    }
    c.org.ca_file = (char *)(uintptr_t) "/nonexistent/ca.pem";
    assert_null(pubsub_new(&c.org, &e));
    assert_int_equal(e.class, ERR_CONFIG);
    /* Plain text leaves the machine in no case. */
    c.org.plaintext = true;
    snprintf(c.endpoint, sizeof c.endpoint, "192.0.2.1:7443");
    assert_null(pubsub_new(&c.org, &e));
    assert_int_equal(e.class, ERR_CONFIG);

    unlink(ca);
    unlink(other_ca);
    rmdir(folder);
    free(damaged);
    free(cert);
    free(key);
    free(other_cert);
    free(other_key);
}

/* Certificates are replaced in their file while the daemon runs: each connection is made with what it holds then,
 * or held when it was last good. */
static void a_ca_file_is_read_for_each_connection(void **state)
{
    (void)state;
    char *cert, *key, *other_cert, *other_key, folder[] = "/tmp/pubsub_test.XXXXXX", ca[64];
    assert_non_null(mkdtemp(folder));
    snprintf(ca, sizeof ca, "%s/ca.pem", folder);
    test_cert_make("DNS:localhost,IP:127.0.0.1", &cert, &key);
    test_cert_make("DNS:another.example", &other_cert, &other_key);
    const struct fake_script script = {
        .events = 10, .certificate = cert, .key = key, .end_code = GRPC_STATUS_UNAVAILABLE};
    const struct {
        const char *file;
        int code;
        const char *says;
    } steps[] = {
        {other_cert, GRPC_STATUS_UNAVAILABLE, "not trusted"},
        {cert, GRPC_STATUS_UNAVAILABLE, "UNAVAILABLE"}, /* the script's; the next is another connection */
        {"half of a certif", GRPC_STATUS_UNAVAILABLE, "UNAVAILABLE"},
        {other_cert, GRPC_STATUS_UNAVAILABLE, "not trusted"},
    };
    struct fake_service *f = fake_service_start(&script);
    struct client c;
    client_init(&c, fake_service_port(f));
    c.org.plaintext = false;
    c.org.ca_file = ca;
    write_text(ca, steps[0].file);
    client_open(&c);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        write_text(ca, steps[i].file);
        subscribe(&c);
        assert_true(wait_for(&c.got, &c.got.ends, (int)i + 1));
        print_message("# %s\n", c.got.status.text);
        assert_int_equal(c.got.status.grpc_code, steps[i].code);
        assert_non_null(strstr(c.got.status.text, steps[i].says));
    }
    assert_int_equal(c.got.events, 20);
    client_close(&c);
    fake_service_stop(f);
    unlink(ca);
    rmdir(folder);
    free(cert);
    free(key);
    free(other_cert);
    free(other_key);
}

static int setup(void **state)
{
    (void)state;
    log_setup(getenv("PUBSUB_TEST_VERBOSE") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    http_setup();
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
        cmocka_unit_test(flow_control),
        cmocka_unit_test(full_responses),
        cmocka_unit_test(count_that_differs),
        cmocka_unit_test(metadata_and_start),
        cmocka_unit_test(keepalive_response),
        cmocka_unit_test(trailer),
        cmocka_unit_test(unary_failures),
        cmocka_unit_test(oversized),
        cmocka_unit_test(garbage),
        cmocka_unit_test(hostile_responses),
        cmocka_unit_test(what_a_burst_took_is_given_back),
        cmocka_unit_test(pause_and_resume),
        cmocka_unit_test(pause_races),
        cmocka_unit_test(many_streams),
        cmocka_unit_test(held_responses),
        cmocka_unit_test(cancel_before_connected),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(comes_back_at_once),
        cmocka_unit_test(falls_silent),
        cmocka_unit_test(leaves_a_dead_connection),
        cmocka_unit_test(told_to_be_calm),
        cmocka_unit_test(tls),
        cmocka_unit_test(a_ca_file_is_read_for_each_connection),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
