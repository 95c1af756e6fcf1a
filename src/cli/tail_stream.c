/*
 * tail from the org: one stream per topic, printed as it comes.
 *
 * The I/O threads queue responses under one lock and wake the main thread, which decodes and prints. While more
 * than enough waits to be printed, a stream asks for nothing.
 *
 * A stream that drops is opened again behind what was printed. Several events may share a replay id, and a
 * stream may drop within such a group; so the id to come back with is the one before the group, and what of the
 * group was printed already is skipped when it comes again.
 */
#include "cli/tail.h"

#include "avro/schema_cache.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/org_client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_MOST_EVENTS = 1000, LONGEST_WAIT_MS = 1000, SCHEMA_RETRY_MS = 1000, MOST_REFUSED_TOKENS = 3 };

struct position {
    uint8_t id[EVENT_MAX_REPLAY_ID];
    size_t len; /* 0: none */
};

struct run;

struct stream {
    struct run *run;
    struct org_client *client;
    const char *topic;
    struct line_source source;
    char org_id[19];

    struct position resume; /* complete: nothing up to here comes again */
    struct position group;  /* newest event's */
    size_t group_seen;      /* events of this id printed … */
    size_t group_skip;      /* … of which so many come again */
    bool open, in_trouble;
    int64_t retry_at_ms; /* monotonic */
    unsigned attempts, refused_tokens;
    char refused_schema[256];

    struct {                          /* under run->lock */
        struct pubsub_stream *stream; /* NULL: ended */
        struct pubsub_response *head, **tail;
        size_t events;
        bool paused, ended;
        struct pubsub_status status; /* of the end */
    } shared;
};

struct run {
    const struct config *config;
    const struct tail_options *options;
    struct tail_out out;
    struct schema_cache *schemas;
    struct org_client *clients; /* per org; opened when needed */
    struct stream *streams;
    size_t n_streams;
    uint64_t next_number;
    bool failed; /* for good, and said so */
    pthread_mutex_t lock;
};

/* --- I/O threads ---------------------------------------------------------------------------------- */

static void on_response(void *ctx, struct pubsub_stream *stream, struct pubsub_response *r)
{
    struct stream *s = ctx;
    pthread_mutex_lock(&s->run->lock);
    r->next = NULL;
    *s->shared.tail = r;
    s->shared.tail = &r->next;
    s->shared.events += r->n_events;
    if (!s->shared.paused && s->shared.events >= QUEUE_MOST_EVENTS) {
        s->shared.paused = true;
        pubsub_stream_pause(stream);
    }
    pthread_mutex_unlock(&s->run->lock);
    interrupt_wake();
}

static void on_end(void *ctx, struct pubsub_stream *stream, const struct pubsub_status *status)
{
    struct stream *s = ctx;
    (void)stream;
    pthread_mutex_lock(&s->run->lock);
    s->shared.stream = NULL;
    s->shared.ended = true;
    s->shared.status = *status;
    pthread_mutex_unlock(&s->run->lock);
    interrupt_wake();
}

static const struct pubsub_listener listener = {on_response, on_end};

/* --- schemas -------------------------------------------------------------------------------------- */

static int holds_none(void *ctx, struct span org_id, struct span schema_id, struct buf *json, struct err *e)
{
    (void)ctx, (void)org_id, (void)schema_id, (void)json, (void)e;
    return 1;
}

static void give_up(struct run *run, const struct stream *s, const char *why)
{
    fprintf(stderr, "tidemark: %s: %s\n", s->topic, why);
    run->failed = true;
}

/* Ask until the answer is final. NULL: none; why is filled unless the command is over. */
static const struct avro_plan *fetch_schema(struct stream *s, struct span schema_id, struct err *why)
{
    const struct avro_plan *plan = NULL;
    struct buf json = BUF_INIT;
    char id[sizeof s->refused_schema];
    bool said = false;
    snprintf(id, sizeof id, "%.*s", SPAN_ARG(schema_id));
    while (!tail_is_over(&s->run->out)) {
        struct err e = ERR_INIT;
        buf_clear(&json);
        if (org_client_schema(s->client, id, &json, &e) == 0) {
            plan = schema_cache_put(s->run->schemas, s->source.org_id, schema_id, buf_span(&json), why);
            break;
        }
        if (e.class == ERR_REJECTED) {
            memcpy(s->refused_schema, id, sizeof id);
            *why = e;
            break;
        }
        if (e.class != ERR_RETRY) {
            give_up(s->run, s, e.text);
            break;
        }
        if (!said)
            fprintf(stderr, "tidemark: %s; trying again\n", e.text);
        said = true;
        interrupt_wait(SCHEMA_RETRY_MS);
    }
    buf_release(&json);
    return plan;
}

static const struct avro_plan *plan_for(struct stream *s, struct span schema_id, struct err *why)
{
    const struct avro_plan *plan = schema_cache_get(s->run->schemas, s->source.org_id, schema_id, why);
    if (plan || why->class != ERR_RETRY)
        return plan;
    err_clear(why);
    if (schema_id.n && span_equal_str(schema_id, s->refused_schema)) {
        err_set(why, ERR_REJECTED, "cli", 0, "the service refused its schema");
        return NULL;
    }
    return fetch_schema(s, schema_id, why);
}

/* --- what arrived --------------------------------------------------------------------------------- */

static void set_position(struct position *p, struct span id)
{
    p->len = id.n <= sizeof p->id ? id.n : 0;
    if (p->len)
        memcpy(p->id, id.p, p->len);
}

/* False when the event was printed before the stream dropped. */
static bool note_position(struct stream *s, struct span id)
{
    bool same = s->group.len && span_equal(id, span_of(s->group.id, s->group.len));
    if (same && s->group_skip) {
        s->group_skip--;
        return false;
    }
    s->group_skip = 0;
    if (!same) {
        if (s->group.len)
            s->resume = s->group;
        set_position(&s->group, id);
        s->group_seen = 0;
    }
    s->group_seen++;
    return true;
}

static void print_event(struct stream *s, const struct pubsub_event *in, int64_t received_ms)
{
    struct err why = ERR_INIT;
    const struct event_data ev = {.received_ms = received_ms,
                                  .event_id = in->event_id,
                                  .replay_id = in->replay_id,
                                  .schema_id = in->schema_id,
                                  .payload = in->payload};
    const struct avro_plan *plan = plan_for(s, in->schema_id, &why);
    if (plan)
        tail_print(&s->run->out, &ev, plan, &s->source);
    else if (why.class)
        tail_complain(&ev, &s->source, why.text);
}

static void print_response(struct stream *s, const struct pubsub_response *r)
{
    struct run *run = s->run;
    s->attempts = s->refused_tokens = 0;
    if (s->in_trouble)
        fprintf(stderr, "tidemark: %s: receiving again\n", s->topic);
    s->in_trouble = false;
    for (uint32_t i = 0; i < r->n_events && !run->failed && !tail_is_over(&run->out); i++)
        if (note_position(s, r->events[i].replay_id))
            print_event(s, &r->events[i], r->received_ms);
    if (r->n_events == 0 && r->latest_replay_id.n) {
        set_position(&s->resume, r->latest_replay_id);
        s->group.len = s->group_seen = s->group_skip = 0;
    }
}

static struct pubsub_response *take_response(struct stream *s)
{
    pthread_mutex_lock(&s->run->lock);
    struct pubsub_response *r = s->shared.head;
    if (r) {
        s->shared.head = r->next;
        if (!r->next)
            s->shared.tail = &s->shared.head;
        s->shared.events -= r->n_events;
        if (s->shared.paused && s->shared.events < QUEUE_MOST_EVENTS / 2) {
            s->shared.paused = false;
            if (s->shared.stream)
                pubsub_stream_resume(s->shared.stream);
        }
    }
    pthread_mutex_unlock(&s->run->lock);
    return r;
}

/* --- opening, ending, opening again --------------------------------------------------------------- */

static void back_off(struct stream *s, const char *why)
{
    const struct org_config *org = s->client->config;
    int64_t ceiling = org->backoff_initial_ms;
    for (unsigned i = 0; i < s->attempts && ceiling < org->backoff_max_ms; i++)
        ceiling *= 2;
    if (ceiling > org->backoff_max_ms)
        ceiling = org->backoff_max_ms;
    s->attempts++;
    s->retry_at_ms = clock_mono_ms() + (int64_t)random_below((uint64_t)ceiling + 1);
    if (!s->in_trouble)
        fprintf(stderr, "tidemark: %s: %s; reconnecting\n", s->topic, why);
    s->in_trouble = true;
}

static void open_stream(struct stream *s)
{
    struct run *run = s->run;
    struct err e = ERR_INIT;
    enum pubsub_from from = run->options->from;
    const struct position *p = s->resume.len ? &s->resume : NULL;
    if (org_client_login(s->client, &e) != 0) {
        if (e.class == ERR_RETRY)
            back_off(s, e.text);
        else if (!interrupt_signal())
            give_up(run, s, e.text);
        return;
    }
    s->group_skip = s->group_seen;
    if (!p && from == PUBSUB_LATEST && s->group.len) {
        p = &s->group; /* nothing before it is known */
        s->group_skip = 0;
    }
    snprintf(s->org_id, sizeof s->org_id, "%s", s->client->token.tenant_id);
    s->source = (struct line_source){span_of_str(s->org_id), span_of_str(s->topic)};
    pthread_mutex_lock(&run->lock);
    s->shared.paused = s->shared.ended = false;
    pthread_mutex_unlock(&run->lock);
    struct pubsub_stream *opened = pubsub_subscribe(
        s->client->pubsub, &s->client->token, s->topic, p ? PUBSUB_CUSTOM : from,
        p ? span_of(p->id, p->len) : span_of(NULL, 0), ++run->next_number, &listener, s);
    pthread_mutex_lock(&run->lock);
    if (!s->shared.ended)
        s->shared.stream = opened;
    pthread_mutex_unlock(&run->lock);
    s->open = true;
}

static void end_stream(struct stream *s, const struct pubsub_status *status)
{
    s->open = false;
    s->retry_at_ms = 0;
    switch (status->reaction) {
    case PUBSUB_FATAL:
    case PUBSUB_LOST_POSITION:
        give_up(s->run, s, status->text);
        return;
    case PUBSUB_NEW_TOKEN:
        org_client_refused(s->client);
        if (++s->refused_tokens >= MOST_REFUSED_TOKENS)
            give_up(s->run, s, status->text);
        return;
    case PUBSUB_CALM:
        return;
    case PUBSUB_SLOW_DOWN:
        s->attempts += 4;
        break;
    case PUBSUB_RECONNECT:
        break;
    }
    back_off(s, status->text);
}

/* True when there was something to do. */
static bool step(struct stream *s)
{
    struct pubsub_response *r = take_response(s);
    if (r) {
        print_response(s, r);
        pubsub_response_free(r);
        return true;
    }
    if (!s->open) {
        if (clock_mono_ms() < s->retry_at_ms)
            return false;
        open_stream(s);
        return s->open;
    }
    pthread_mutex_lock(&s->run->lock);
    bool ended = s->shared.ended && !s->shared.head;
    struct pubsub_status status = s->shared.status;
    pthread_mutex_unlock(&s->run->lock);
    if (ended)
        end_stream(s, &status);
    return ended;
}

static int wait_ms(const struct run *run)
{
    int64_t now = clock_mono_ms(), wait = LONGEST_WAIT_MS;
    for (size_t i = 0; i < run->n_streams; i++) {
        int64_t left = run->streams[i].retry_at_ms - now;
        if (!run->streams[i].open && left < wait)
            wait = left;
    }
    return wait > 0 ? (int)wait : 0;
}

static void follow(struct run *run)
{
    while (!run->failed && !tail_is_over(&run->out)) {
        bool busy = false;
        for (size_t i = 0; i < run->n_streams && !run->failed && !tail_is_over(&run->out); i++)
            busy |= step(&run->streams[i]);
        if (busy)
            continue;
        tail_idle(&run->out);
        interrupt_wait(wait_ms(run));
    }
}

/* --- beginning and end ---------------------------------------------------------------------------- */

static int add_stream(struct run *run, uint32_t org, const char *topic, struct err *e)
{
    struct org_client *client = &run->clients[org];
    for (size_t i = 0; i < run->n_streams; i++)
        if (run->streams[i].client == client && strcmp(run->streams[i].topic, topic) == 0)
            return 0; /* several subscriptions may have one topic */
    if (!client->config && org_client_open(client, run->config, org, NULL, e) != 0)
        return -1;
    struct stream *s = &run->streams[run->n_streams++];
    s->run = run;
    s->client = client;
    s->topic = topic;
    s->shared.tail = &s->shared.head;
    if (run->options->from == PUBSUB_CUSTOM)
        set_position(&s->resume, span_of(run->options->replay_id, run->options->replay_id_len));
    return 0;
}

static int choose_streams(struct run *run, struct err *e)
{
    const struct config *c = run->config;
    const struct tail_options *o = run->options;
    uint32_t org = 0;
    run->clients = xcalloc(c->n_orgs, sizeof *run->clients);
    run->streams = xcalloc(o->n_topics + c->n_subscriptions + 1, sizeof *run->streams);
    for (size_t i = 0; i < o->n_topics; i++)
        if (org_client_choose(c, o->org, o->topics[i], &org, e) != 0 ||
            add_stream(run, org, o->topics[i], e) != 0)
            return -1;
    if (o->n_topics == 0 && o->org && org_client_choose(c, o->org, NULL, &org, e) != 0)
        return -1;
    for (uint32_t i = 0; o->n_topics == 0 && i < c->n_subscriptions; i++)
        if ((!o->org || c->subscriptions[i].org == org) &&
            add_stream(run, c->subscriptions[i].org, c->subscriptions[i].topic, e) != 0)
            return -1;
    if (run->n_streams == 0)
        return err_set(e, ERR_CONFIG, "cli", 0, "%s has no subscriptions: name a topic", c->file);
    return 0;
}

/* Wrong credentials, topics and permissions end the command before anything streams. */
static bool check_topics(struct run *run)
{
    for (size_t i = 0; i < run->n_streams; i++) {
        struct stream *s = &run->streams[i];
        struct pubsub_topic topic = {0};
        struct err e = ERR_INIT;
        if (org_client_topic(s->client, s->topic, &topic, &e) != 0) {
            fprintf(stderr, "tidemark: %s\n", e.text);
            return false;
        }
        bool allowed = topic.can_subscribe;
        org_client_topic_release(&topic);
        if (!allowed) {
            fprintf(stderr, "tidemark: the user may not subscribe to %s: grant read access to it\n",
                    s->topic);
            return false;
        }
    }
    return true;
}

static void release(struct run *run)
{
    for (uint32_t i = 0; run->clients && i < run->config->n_orgs; i++)
        org_client_close(&run->clients[i]); /* ends its streams: no callback comes after this */
    for (size_t i = 0; i < run->n_streams; i++)
        for (struct pubsub_response *r; (r = take_response(&run->streams[i])) != NULL;)
            pubsub_response_free(r);
    free(run->clients);
    free(run->streams);
    schema_cache_free(run->schemas);
    tail_out_release(&run->out);
    pthread_mutex_destroy(&run->lock);
}

int tail_stream(const struct config *config, const struct tail_options *options)
{
    struct run run = {.config = config, .options = options};
    struct err e = ERR_INIT;
    int code;
    pthread_mutex_init(&run.lock, NULL);
    org_client_setup();
    tail_out_init(&run.out, options);
    run.schemas = schema_cache_new(holds_none, NULL);
    if (choose_streams(&run, &e) != 0) {
        code = cli_fail(&e);
    } else if (!check_topics(&run)) {
        code = EXIT_SOURCE;
    } else {
        interrupt_hold();
        follow(&run);
        code = tail_finish(&run.out);
        if (run.failed)
            code = EXIT_SOURCE;
    }
    release(&run);
    org_client_teardown();
    return code;
}
