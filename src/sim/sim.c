#include "sim/sim.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "sim/load.h"

#include <math.h>
#include <stdio.h>

enum { MAX_SCHEMA = 4 << 20, PREFILL_FROM_MS = 2 * 3600000, PREFILL_UNTIL_MS = 3600000, PACE_BURST = 2000 };

static int load_schemas(struct sim *s, struct err *e)
{
    for (unsigned i = 0; i < s->options->schema_files.n; i++) {
        const char *path = s->options->schema_files.items[i];
        struct buf json = BUF_INIT;
        char id[23], topic[160];
        int rc = file_read(path, MAX_SCHEMA, &json, e);
        if (rc == 0 && (rc = schemas_add(&s->schemas, buf_span(&json), id, e)) == 0) {
            topic_of_record(schemas_find(&s->schemas, span_of_str(id))->record, topic);
            if (!topics_find(&s->topics, span_of_str(topic)) && !topics_add(&s->topics, topic, id))
                rc = err_set(e, ERR_CONFIG, "schema", 0, "more than %d topics", TOPICS_MAX);
        }
        buf_release(&json);
        if (rc < 0)
            return err_prefix(e, "%s", path);
    }
    return 0;
}

static int apply_lists(struct sim *s, struct err *e)
{
    const struct sim_options *o = s->options;
    if (topics_add_channel(&s->topics, "/data/ChangeEvents", e) < 0)
        return -1;
    for (unsigned i = 0; i < o->channels.n; i++)
        if (topics_add_channel(&s->topics, o->channels.items[i], e) < 0)
            return -1;
    for (unsigned i = 0; i < o->managed.n; i++)
        if (managed_add(&s->managed, &s->topics, o->managed.items[i], e) < 0)
            return -1;
    for (unsigned i = 0; i < o->denied.n; i++) {
        struct topic *topic = topics_find(&s->topics, span_of_str(o->denied.items[i]));
        if (!topic)
            return err_set(e, ERR_CONFIG, "options", 0,
                           "--deny-topic %s: there is no such topic (see --list)", o->denied.items[i]);
        topic->denied = true;
    }
    for (unsigned i = 0; i < o->refused_schemas.n; i++) {
        const char *name = o->refused_schemas.items[i];
        struct schema *schema = schemas_find(&s->schemas, span_of_str(name));
        if (!schema)
            schema = schemas_find_record(&s->schemas, name);
        if (!schema)
            return err_set(e, ERR_CONFIG, "options", 0,
                           "--refuse-schema %s: there is no such schema (see --list)", name);
        schema->refused = true;
    }
    return 0;
}

static void flush(struct sim *s)
{
    struct err e = ERR_INIT;
    if (bus_flush_ledger(&s->bus, &e) < 0 && s->failure.class == ERR_NONE)
        s->failure = e;
}

/* One transaction; the last of a count also brings the repeats that still wait. */
static uint64_t publish_some(struct sim *s)
{
    uint64_t n = workload_step(&s->workload, s->to_publish);
    if (s->to_publish != UINT64_MAX && (s->to_publish -= n) == 0)
        workload_finish(&s->workload);
    return n;
}

static void prefill(struct sim *s)
{
    uint64_t wanted = (uint64_t)s->options->prefill;
    s->to_publish = wanted;
    while (s->to_publish) {
        /* Committed well before anybody subscribes, evenly over an hour. */
        double share = (double)(wanted - s->to_publish) / (double)wanted;
        s->workload.shift_ms = -PREFILL_FROM_MS + (int64_t)(share * (PREFILL_FROM_MS - PREFILL_UNTIL_MS));
        publish_some(s);
    }
    s->workload.shift_ms = 0;
    flush(s);
}

/* A count without a rate: everything is there when the ports open, as far as the bus can hold it. */
static void publish_at_once(struct sim *s)
{
    const struct sim_options *o = s->options;
    if (o->count < 0 || o->rate > 0 || o->hold || o->count + o->prefill > o->retain)
        return;
    while (s->to_publish)
        publish_some(s);
    flush(s);
}

static int open_bench(struct sim *s, struct err *e)
{
    const struct sim_options *o = s->options;
    struct buf json = BUF_INIT;
    char id[23];
    bench_schema_json(&json);
    int rc = schemas_add(&s->schemas, buf_span(&json), id, e);
    buf_release(&json);
    if (rc < 0)
        return -1;
    if (!topics_add(&s->topics, "/data/AccountChangeEvent", id))
        return err_set(e, ERR_CONFIG, "bench", 0, "no room for the topic");
    struct bench_profile profile = {.first = (uint64_t)o->bench_first,
                                    .count = (uint64_t)o->count,
                                    .replay_id_bytes = (size_t)o->replay_id_bytes,
                                    .full = o->bench == BENCH_FULL,
                                    .records = (uint64_t)o->bench_records,
                                    .seed = o->workload.seed};
    s->bench = bench_new(&profile, id);
    s->to_publish = 0;
    return 0;
}

static void set_session(struct sim *s)
{
    const struct sim_options *o = s->options;
    snprintf(s->session.org_id, sizeof s->session.org_id, "%s", s->org.id);
    snprintf(s->session.client_id, sizeof s->session.client_id, "%s", o->client_id);
    snprintf(s->session.client_secret, sizeof s->session.client_secret, "%s", o->client_secret);
    snprintf(s->session.static_token, sizeof s->session.static_token, "%s",
             o->static_token ? o->static_token : "");
}

int sim_open(struct sim *s, const struct sim_options *options, struct err *e)
{
    char org_id[19];
    memset(s, 0, sizeof *s);
    s->options = options;
    pthread_mutex_init(&s->lock, NULL);
    record_id_checksum(options->org_id, org_id);
    org_init(&s->org, org_id);
    set_session(s);
    if (oauth_open(&s->oauth, options, e) < 0)
        return -1;
    bus_init(&s->bus, &s->topics, options->workload.seed, (size_t)options->replay_id_bytes,
             (uint64_t)options->retain);
    if (options->ledger && bus_open_ledger(&s->bus, options->ledger, e) < 0)
        return -1;
    if (options->bench)
        return open_bench(s, e);
    if (workload_init(&s->workload, &options->workload, &s->org, &s->bus, &s->topics, &s->schemas, e) < 0 ||
        load_schemas(s, e) < 0 || load_files(s, e) < 0 || apply_lists(s, e) < 0)
        return -1;
    flush(s);
    if (options->publishes) {
        prefill(s);
        s->to_publish = options->count < 0 ? UINT64_MAX : (uint64_t)options->count;
        publish_at_once(s);
    }
    if (s->failure.class != ERR_NONE) {
        *e = s->failure;
        return -1;
    }
    return 0;
}

void sim_close(struct sim *s)
{
    workload_release(&s->workload);
    bus_release(&s->bus);
    org_release(&s->org);
    schemas_release(&s->schemas);
    bench_free(s->bench);
    oauth_close(&s->oauth);
    pthread_mutex_destroy(&s->lock);
}

static bool may_publish(const struct sim *s)
{
    return s->to_publish && (s->subscribed || !s->options->hold);
}

int64_t sim_pace(struct sim *s)
{
    double rate = s->options->rate;
    if (rate <= 0 || !may_publish(s))
        return -1;
    int64_t now_us = clock_mono_us();
    if (!s->began_us)
        s->began_us = now_us;
    uint64_t due = (uint64_t)((double)(now_us - s->began_us) * rate / 1e6);
    for (unsigned i = 0; i < PACE_BURST && s->paced < due && s->to_publish; i++)
        s->paced += publish_some(s);
    flush(s);
    if (!s->to_publish)
        return -1;
    double next_us = ((double)s->paced + 1) * 1e6 / rate - (double)(clock_mono_us() - s->began_us);
    return next_us <= 0 ? 0 : (int64_t)ceil(next_us / 1000);
}

void sim_publish_for(struct sim *s, const struct topic *topic, uint64_t index, uint64_t wanted)
{
    if (!topic->has_workload || !may_publish(s))
        return;
    uint64_t ready = 0;
    for (unsigned tries = 0; ready < wanted && s->to_publish && tries < PACE_BURST; tries++) {
        publish_some(s);
        for (; bus_seek(&s->bus, topic, &index); index++)
            ready++;
    }
    flush(s);
}

void sim_publish(struct sim *s, uint64_t n)
{
    uint64_t left = n;
    while (left)
        left -= workload_step(&s->workload, left);
    workload_finish(&s->workload);
    flush(s);
}

int sim_migrate(struct sim *s, const char *url)
{
    if (strlen(url) >= sizeof s->session.instance_url)
        return -1;
    snprintf(s->session.instance_url, sizeof s->session.instance_url, "%s", url);
    session_revoke_all(&s->session);
    bus_restart(&s->bus);
    s->drop_streams = true;
    return 0;
}
