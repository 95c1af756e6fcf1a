/*
 * Schemas that are not here yet: one GetSchema per (org, id), whoever waits for it. Stored before the first
 * event that needs it (I6). Finally refused after INVALID_ARGUMENT or NOT_FOUND three times over at least
 * 30 s; every other failure waits, and shows in status.
 *
 * A fetch pauses as a stream of its org does (orgs[].backoff): while one waits no stream is opened, so that
 * nothing else would notice that the service is back.
 */
#include "intake/source.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/schemas.h"

#include <grpc/status.h>
#include <stdio.h>

enum {
    REFUSALS_NEEDED = 3,
    REFUSED_FOR_MS = 30 * 1000,
    REFUSAL_PAUSE_MS = 15 * 1000,
};

struct fetch_call {
    struct intake *in;
    struct schema_fetch *fetch;
};

static void on_schema(void *ctx, const struct pubsub_status *failed, struct span json)
{
    struct fetch_call *call = ctx;
    struct note *note = xcalloc(1, sizeof *note);
    note->kind = NOTE_SCHEMA;
    note->fetch = call->fetch;
    note->failed = failed != NULL;
    if (failed)
        note->status = *failed;
    else
        buf_add_span(&note->json, json);
    intake_post(call->in, note);
    free(call);
}

static void start_fetch(struct intake *in, struct schema_fetch *f, int64_t now)
{
    struct auth_token token = {0};
    if (auth_get(f->org->auth, &token, NULL) != AUTH_READY) {
        f->retry_at_ms = now; /* auth keeps the pauses, and wakes us */
        return;
    }
    struct fetch_call *call = xmalloc(sizeof *call);
    *call = (struct fetch_call){in, f};
    f->in_flight = true;
    f->token_serial = token.serial;
    log_debug("schema", "fetching %s", f->id);
    pubsub_get_schema_async(f->org->pubsub, &token, f->id, 30000, on_schema, call);
    auth_token_release(&token);
}

static struct schema_fetch *find_fetch(struct intake *in, struct org_run *org, struct span id)
{
    struct schema_fetch *f = in->fetches;
    while (f && !(f->org == org && span_equal_str(id, f->id)))
        f = f->next;
    return f;
}

const struct avro_plan *schema_for(struct intake *in, struct source *s, struct span schema_id, int64_t now,
                                   struct schema_fetch **fetch)
{
    if (s->plan && span_equal_str(schema_id, s->plan_id)) /* plans live as long as the process */
        return s->plan;
    struct schema_fetch *f = find_fetch(in, s->org, schema_id);
    if (!f) {
        struct err e = ERR_INIT;
        const struct avro_plan *plan = schema_cache_get(in->options.schemas, span_of_str(s->record.org_id),
                                                        schema_id, &e);
        if (plan) {
            s->plan = plan;
            snprintf(s->plan_id, sizeof s->plan_id, "%.*s", SPAN_ARG(schema_id));
            return plan;
        }
        f = xcalloc(1, sizeof *f);
        f->org = s->org;
        snprintf(f->id, sizeof f->id, "%.*s", SPAN_ARG(schema_id));
        f->next = in->fetches;
        in->fetches = f;
        if (e.class == ERR_REJECTED) { /* held, but it does not compile: asking again gives the same */
            f->unusable = true;
            snprintf(f->reason, sizeof f->reason, "%s", e.text);
            log_error(s->subject, "schema %s cannot be used, its events are parked: %s", f->id, e.text);
        } else {
            start_fetch(in, f, now);
        }
    }
    *fetch = f;
    return NULL;
}

static void give_up(struct schema_fetch *f, const char *why)
{
    f->unusable = true;
    snprintf(f->reason, sizeof f->reason, "%s", why);
    log_error("schema", "%s: %s; its events are journaled as undecodable and parked", f->id, why);
}

static void fetch_failed(struct schema_fetch *f, const struct pubsub_status *status, int64_t now)
{
    bool refusal = status->grpc_code == GRPC_STATUS_INVALID_ARGUMENT ||
                   status->grpc_code == GRPC_STATUS_NOT_FOUND;
    snprintf(f->reason, sizeof f->reason, "%s", status->text);
    if (f->failures++ == 0)
        log_warn("schema", "cannot fetch %s, its subscription waits: %s", f->id, status->text);
    if (status->reaction == PUBSUB_NEW_TOKEN)
        auth_refused(f->org->auth, f->token_serial); /* which may be an older one than the present */
    if (!refusal) {
        f->refusals = 0;
        f->retry_at_ms = now;
        if (status->reaction != PUBSUB_NEW_TOKEN) /* else as soon as there is one */
            f->retry_at_ms += org_back_off_ms(f->org->config, f->failures, status->reaction);
        return;
    }
    if (f->refusals++ == 0)
        f->first_refusal_ms = now;
    f->retry_at_ms = now + REFUSAL_PAUSE_MS;
    if (f->refusals >= REFUSALS_NEEDED && now - f->first_refusal_ms >= REFUSED_FOR_MS)
        give_up(f, status->text);
}

/* The service names schemas by their content (pubsub-api 8.1). A mismatch is said and counted, not refused.
 */
static void compare_id(struct schema_fetch *f, struct span json)
{
    char computed[23];
    struct err e = ERR_INIT;
    if (avro_schema_id(json, computed, &e) != 0 || strcmp(computed, f->id) == 0)
        return;
    f->org->schema_id_mismatches++;
    log_warn("schema", "%s: its content has the id %s; used as it is", f->id, computed);
}

static int save(struct intake *in, const struct schema_fetch *f, struct span json, struct err *e)
{
    struct store_txn txn;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    if (schema_save(&txn, span_of_str(f->org->record.org_id), span_of_str(f->id), json, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    return store_commit(&txn, e);
}

/* Else the reason is that of its state, and stays. */
static bool is_streaming(const struct source *s)
{
    return s->state == SOURCE_CATCHING_UP || s->state == SOURCE_LIVE;
}

static void tell_waiting(struct source *s)
{
    const struct schema_fetch *f = s->waiting;
    if (is_streaming(s))
        snprintf(s->reason, sizeof s->reason, "waiting for schema %s%s%s", f->id, f->reason[0] ? ": " : "",
                 f->reason);
}

void schema_wait_for(struct source *s, struct schema_fetch *fetch)
{
    s->waiting = fetch;
    tell_waiting(s);
}

static void release_waiting(struct intake *in, const struct schema_fetch *f)
{
    for (uint32_t i = 0; i < in->n_sources; i++) {
        struct source *s = in->sources[i];
        if (s->waiting != f)
            continue;
        s->waiting = NULL;
        if (is_streaming(s))
            s->reason[0] = '\0';
    }
}

static void remove_fetch(struct intake *in, struct schema_fetch *f)
{
    struct schema_fetch **link = &in->fetches;
    while (*link != f)
        link = &(*link)->next;
    *link = f->next;
    free(f);
}

bool schema_fetch_forget(struct intake *in, const struct org_run *org)
{
    bool in_flight = false;
    for (struct schema_fetch *f = in->fetches, *next; f; f = next) {
        next = f->next;
        if (f->org != org)
            continue;
        if (f->in_flight)
            in_flight = true;
        else
            remove_fetch(in, f);
    }
    return !in_flight;
}

int schema_fetch_arrived(struct intake *in, struct note *note, int64_t now, struct err *e)
{
    struct schema_fetch *f = note->fetch;
    struct err why = ERR_INIT;
    f->in_flight = false;
    if (f->org->gone) { /* with it those who waited */
        remove_fetch(in, f);
        return 0;
    }
    if (note->failed) {
        fetch_failed(f, &note->status, now);
        for (uint32_t i = 0; i < in->n_sources; i++)
            if (in->sources[i]->waiting == f)
                tell_waiting(in->sources[i]);
        if (f->unusable)
            release_waiting(in, f);
        return 0;
    }
    compare_id(f, buf_span(&note->json));
    if (note->json.len <= AVRO_MAX_SCHEMA_BYTES && save(in, f, buf_span(&note->json), e) != 0)
        return -1;
    release_waiting(in, f);
    if (schema_cache_put(in->options.schemas, span_of_str(f->org->record.org_id), span_of_str(f->id),
                         buf_span(&note->json), &why))
        remove_fetch(in, f);
    else
        give_up(f, why.text);
    return 0;
}

void schema_fetch_step(struct intake *in, int64_t now, int64_t *next)
{
    for (struct schema_fetch *f = in->fetches; f; f = f->next) {
        if (f->in_flight || f->unusable || f->org->gone)
            continue;
        if (now >= f->retry_at_ms)
            start_fetch(in, f, now);
        if (!f->in_flight && f->retry_at_ms > now && f->retry_at_ms < *next)
            *next = f->retry_at_ms;
    }
}
