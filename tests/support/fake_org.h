/*
 * fake_org: a service without a network, for tests of intake.
 *
 * It stands where auth and pubsub stand (the linker's --wrap), so that a test says what comes when, to the
 * letter: ids no service would send, responses behind a broken one, an end while another call is under way.
 * The test's thread plays the I/O thread. Tokens are given at once; GetTopic and GetSchema answer at once,
 * from the test's own thread of intake, as the script says.
 *
 * Calling order: fake_org_reset -> intake_start -> fake_org_stream -> fake_org_send … -> fake_org_end ->
 * intake_stop. Ownership: streams are the fake's until fake_org_reset. Thread: any.
 */
#ifndef SUPPORT_FAKE_ORG_H
#define SUPPORT_FAKE_ORG_H

#include "base/alloc.h"
#include "pubsub/pubsub.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { FAKE_STREAMS = 64, FAKE_WAIT_S = 60 };

struct pubsub_stream {
    uint64_t number;
    struct pubsub_listener listener;
    void *ctx;
    enum pubsub_from from;
    uint8_t replay_id[64];
    size_t replay_id_len;
    char topic[80];
    bool managed; /* then topic is the developer name */
    bool cancelled, ended, paused;
    uint64_t commits; /* the newest serial that was asked for; 0: none */
    uint8_t committed[64];
    size_t committed_len;
};

struct fake_schema_call {
    char id[300];
    pubsub_schema_fn done;
    void *ctx;
};

static struct fake_org {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct pubsub_stream *streams[FAKE_STREAMS];
    size_t n_streams;
    /* the script */
    char tenant[19], instance[64];
    uint64_t token_serial;
    int64_t server_time_ms;
    struct pubsub_status topic_status;             /* grpc_code 0: GetTopic succeeds */
    bool topic_silent;                             /* it is not answered */
    void (*on_subscribe)(struct pubsub_stream *s); /* on intake's thread, before pubsub_subscribe returns */
    void (*on_free)(void); /* as the I/O thread ends: the test's own threads must, too */
    const char *schema;    /* what GetSchema gives; NULL: the calls wait for fake_org_answer */
    /* what was seen */
    uint64_t refused_serial; /* the greatest that auth_refused was given */
    uint64_t worked_serial;  /* the last that auth_worked was given */
    size_t topics_asked;     /* calls of GetTopic */
    struct fake_schema_call calls[16];
    size_t n_calls;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static inline void fake_org_reset(void)
{
    for (size_t i = 0; i < fake.n_streams; i++)
        free(fake.streams[i]);
    fake.n_streams = 0;
    snprintf(fake.tenant, sizeof fake.tenant, "00Dxx0000001gEREAY");
    snprintf(fake.instance, sizeof fake.instance, "https://one.example");
    fake.token_serial = 1;
    fake.server_time_ms = 0;
    fake.topic_status = (struct pubsub_status){0};
    fake.topic_silent = false;
    fake.on_subscribe = NULL;
    fake.on_free = NULL;
    fake.schema = NULL;
    fake.refused_serial = fake.worked_serial = 0;
    fake.topics_asked = 0;
    fake.n_calls = 0;
}

/* Wait, lock held, for a change; false when it takes too long. */
static inline bool fake_org_wait(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FAKE_WAIT_S;
    return pthread_cond_timedwait(&fake.changed, &fake.lock, &until) != ETIMEDOUT;
}

/* The n-th stream that was opened, from 0. NULL: none came. */
static inline struct pubsub_stream *fake_org_stream(size_t n)
{
    pthread_mutex_lock(&fake.lock);
    while (fake.n_streams <= n && fake_org_wait())
        ;
    struct pubsub_stream *s = fake.n_streams > n ? fake.streams[n] : NULL;
    pthread_mutex_unlock(&fake.lock);
    return s;
}

static inline size_t fake_org_stream_count(void)
{
    pthread_mutex_lock(&fake.lock);
    size_t n = fake.n_streams;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

/* One of the stream's flags. */
static inline bool fake_org_is(const bool *flag)
{
    pthread_mutex_lock(&fake.lock);
    bool is = *flag;
    pthread_mutex_unlock(&fake.lock);
    return is;
}

/* Wait until the owner has cancelled it. */
static inline bool fake_org_cancelled(struct pubsub_stream *s)
{
    pthread_mutex_lock(&fake.lock);
    while (!s->cancelled && fake_org_wait())
        ;
    bool cancelled = s->cancelled;
    pthread_mutex_unlock(&fake.lock);
    return cancelled;
}

/* Wait for the n-th GetTopic, from 1. False: it was not asked so often. */
static inline bool fake_org_topics_asked(size_t n)
{
    pthread_mutex_lock(&fake.lock);
    while (fake.topics_asked < n && fake_org_wait())
        ;
    bool asked = fake.topics_asked >= n;
    pthread_mutex_unlock(&fake.lock);
    return asked;
}

static inline void fake_org_end_with(struct pubsub_stream *s, const struct pubsub_status *status)
{
    pthread_mutex_lock(&fake.lock);
    bool ended = s->ended;
    pthread_mutex_unlock(&fake.lock);
    if (ended)
        return;
    s->listener.on_end(s->ctx, s, status);
    pthread_mutex_lock(&fake.lock);
    s->ended = true; /* from here on it would be freed memory */
    pthread_mutex_unlock(&fake.lock);
}

static inline void fake_org_end(struct pubsub_stream *s, enum pubsub_reaction reaction, const char *text)
{
    struct pubsub_status status = {.grpc_code = 14, .reaction = reaction};
    snprintf(status.text, sizeof status.text, "%s", text);
    fake_org_end_with(s, &status);
}

/* As pubsub does: what comes after the owner's cancel is dropped. */
static inline void fake_org_send(struct pubsub_stream *s, struct pubsub_response *r)
{
    pthread_mutex_lock(&fake.lock);
    bool dropped = s->cancelled || s->ended;
    pthread_mutex_unlock(&fake.lock);
    if (dropped)
        pubsub_response_free(r);
    else
        s->listener.on_response(s->ctx, s, r);
}

/* The n-th GetSchema that waits, from 0. */
static inline struct fake_schema_call *fake_org_schema_call(size_t n)
{
    pthread_mutex_lock(&fake.lock);
    while (fake.n_calls <= n && fake_org_wait())
        ;
    struct fake_schema_call *call = fake.n_calls > n ? &fake.calls[n] : NULL;
    pthread_mutex_unlock(&fake.lock);
    return call;
}

/* --- what stands in for auth and pubsub ------------------------------------------------------------- */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* the linker calls them */

struct auth *__wrap_auth_new(const struct org_config *org)
{
    (void)org;
    return (struct auth *)&fake;
}

void __wrap_auth_free(struct auth *a)
{
    (void)a;
}

void __wrap_auth_on_change(struct auth *a, void (*changed)(void *ctx), void *ctx)
{
    (void)a, (void)changed, (void)ctx;
}

struct usage *__wrap_usage_new(const struct org_config *org, struct auth *auth)
{
    (void)org, (void)auth;
    return NULL; /* nobody looks */
}

void __wrap_auth_remember(struct auth *a, const struct auth_memory *before,
                          void (*keep)(void *ctx, const struct auth_memory *now), void *ctx)
{
    (void)a, (void)before, (void)keep, (void)ctx;
}

enum auth_status __wrap_auth_get(struct auth *a, struct auth_token *out, struct err *why)
{
    (void)a, (void)why;
    pthread_mutex_lock(&fake.lock);
    *out = (struct auth_token){.access_token = xstrdup("token"), .instance_url = xstrdup(fake.instance)};
    snprintf(out->tenant_id, sizeof out->tenant_id, "%s", fake.tenant);
    out->serial = fake.token_serial;
    pthread_mutex_unlock(&fake.lock);
    return AUTH_READY;
}

void __wrap_auth_refused(struct auth *a, uint64_t serial)
{
    (void)a;
    pthread_mutex_lock(&fake.lock);
    if (serial > fake.refused_serial)
        fake.refused_serial = serial;
    pthread_mutex_unlock(&fake.lock);
}

void __wrap_auth_worked(struct auth *a, uint64_t serial)
{
    (void)a;
    pthread_mutex_lock(&fake.lock);
    fake.worked_serial = serial;
    pthread_mutex_unlock(&fake.lock);
}

int64_t __wrap_auth_server_time_ms(struct auth *a)
{
    (void)a;
    pthread_mutex_lock(&fake.lock);
    int64_t ms = fake.server_time_ms;
    pthread_mutex_unlock(&fake.lock);
    return ms;
}

uint64_t __wrap_auth_refresh_count(struct auth *a)
{
    (void)a;
    return 0;
}

struct pubsub *__wrap_pubsub_new(const struct org_config *org, struct err *e)
{
    (void)org, (void)e;
    return (struct pubsub *)&fake;
}

void __wrap_pubsub_free(struct pubsub *p)
{
    (void)p;
    if (fake.on_free)
        fake.on_free();
    for (size_t i = 0; i < fake.n_streams; i++)
        fake_org_end(fake.streams[i], PUBSUB_RECONNECT, "the channel is gone");
    for (size_t i = 0; i < fake.n_calls; i++)
        if (fake.calls[i].done) {
            struct pubsub_status status = {.grpc_code = 1};
            fake.calls[i].done(fake.calls[i].ctx, &status, span_of(NULL, 0));
        }
}

static inline struct pubsub_stream *fake_org_open(struct pubsub_stream stream, const char *topic)
{
    struct pubsub_stream *s = xcalloc(1, sizeof *s);
    *s = stream;
    snprintf(s->topic, sizeof s->topic, "%s", topic);
    pthread_mutex_lock(&fake.lock);
    BUG_IF(fake.n_streams == FAKE_STREAMS);
    fake.streams[fake.n_streams++] = s;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
    if (fake.on_subscribe)
        fake.on_subscribe(s);
    return s;
}

struct pubsub_stream *__wrap_pubsub_subscribe(struct pubsub *p, const struct auth_token *token,
                                              const char *topic, enum pubsub_from from, struct span replay_id,
                                              uint64_t number, const struct pubsub_listener *listener,
                                              void *ctx)
{
    (void)p, (void)token;
    struct pubsub_stream s = {
        .number = number, .listener = *listener, .ctx = ctx, .from = from, .replay_id_len = replay_id.n};
    if (replay_id.n)
        memcpy(s.replay_id, replay_id.p, replay_id.n);
    return fake_org_open(s, topic);
}

struct pubsub_stream *__wrap_pubsub_managed_subscribe(struct pubsub *p, const struct auth_token *token,
                                                      const char *developer_name, uint64_t number,
                                                      const struct pubsub_listener *listener, void *ctx)
{
    (void)p, (void)token;
    struct pubsub_stream s = {.number = number, .listener = *listener, .ctx = ctx, .managed = true};
    return fake_org_open(s, developer_name);
}

void __wrap_pubsub_stream_commit(struct pubsub_stream *s, uint64_t serial, struct span replay_id)
{
    pthread_mutex_lock(&fake.lock);
    BUG_IF(!s->managed || serial <= s->commits || replay_id.n > sizeof s->committed);
    s->commits = serial;
    s->committed_len = replay_id.n;
    memcpy(s->committed, replay_id.p, replay_id.n);
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

uint64_t __wrap_pubsub_stream_number(const struct pubsub_stream *s)
{
    return s->number;
}

void __wrap_pubsub_stream_pause(struct pubsub_stream *s)
{
    pthread_mutex_lock(&fake.lock);
    s->paused = true;
    pthread_mutex_unlock(&fake.lock);
}

void __wrap_pubsub_stream_resume(struct pubsub_stream *s)
{
    pthread_mutex_lock(&fake.lock);
    s->paused = false;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

void __wrap_pubsub_stream_cancel(struct pubsub_stream *s)
{
    pthread_mutex_lock(&fake.lock);
    BUG_IF(s->ended);
    s->cancelled = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

void __wrap_pubsub_get_topic_async(struct pubsub *p, const struct auth_token *token, const char *topic,
                                   int timeout_ms, pubsub_topic_fn done, void *ctx)
{
    (void)p, (void)token, (void)timeout_ms;
    struct pubsub_topic answer = {.name = (char *)(uintptr_t)topic, .can_subscribe = true};
    pthread_mutex_lock(&fake.lock);
    struct pubsub_status failed = fake.topic_status;
    bool silent = fake.topic_silent;
    fake.topics_asked++;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
    if (silent) {
        free(ctx); /* what intake allocates for one call */
        return;
    }
    done(ctx, failed.grpc_code ? &failed : NULL, failed.grpc_code ? NULL : &answer);
}

void __wrap_pubsub_get_schema_async(struct pubsub *p, const struct auth_token *token, const char *schema_id,
                                    int timeout_ms, pubsub_schema_fn done, void *ctx)
{
    (void)p, (void)token, (void)timeout_ms;
    if (fake.schema) {
        done(ctx, NULL, span_of_str(fake.schema));
        return;
    }
    pthread_mutex_lock(&fake.lock);
    BUG_IF(fake.n_calls == ARRAY_LEN(fake.calls));
    struct fake_schema_call *call = &fake.calls[fake.n_calls++];
    snprintf(call->id, sizeof call->id, "%s", schema_id);
    call->done = done;
    call->ctx = ctx;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

#pragma GCC diagnostic pop

static inline void fake_org_answer(struct fake_schema_call *call, const struct pubsub_status *failed,
                                   const char *json)
{
    pubsub_schema_fn done = call->done;
    call->done = NULL;
    done(call->ctx, failed, failed ? span_of(NULL, 0) : span_of_str(json));
}

#endif
