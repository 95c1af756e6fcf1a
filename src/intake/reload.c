/*
 * Another configuration while intake runs.
 *
 * Made beforehand, where it may fail: the orgs that are new. Taken over by the intake thread between two turns,
 * where nothing can fail: memory alone, no store, no network. Ended afterwards by the thread that asked: connections
 * and logins of orgs that left, which may take a moment.
 *
 * Callbacks of a stream or a call that was cancelled come late, and name their source or org: what left is kept in
 * a list until the last of them was told (source.owed), and with it the configuration it came from.
 */
#include "intake/source.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

struct intake_change {
    const struct config *config;
    struct org_run **orgs;     /* per org of config; taken: NULL */
    struct source **sources;   /* per subscription of config; NULL: goes on */
    const uint32_t *from_orgs; /* the caller's */
    const uint32_t *from_sources;
    struct source_view *views;
    struct org_run **gone; /* of those that left: connection and logins are ended by intake_change_free */
    uint32_t n_gone;
    bool done;
};

/* --- one org, one subscription -------------------------------------------------------------------- */

static void end_org(struct org_run *org)
{
    usage_free(org->usage);
    pubsub_free(org->pubsub);
    auth_free(org->auth);
    org->usage = NULL;
    org->pubsub = NULL;
    org->auth = NULL;
}

void org_run_free(struct org_run *org)
{
    if (!org)
        return;
    end_org(org);
    free(org);
}

int org_run_new(struct intake *in, const struct org_config *config, struct org_run **out, struct err *e)
{
    struct org_run *org = xcalloc(1, sizeof *org);
    org->config = config;
    org->intake = in;
    org->store = in->options.store;
    org->auth = auth_new(config);
    auth_on_change(org->auth, intake_wake, in);
    org->pubsub = pubsub_new(config, e);
    if (!org->pubsub || logins_remember(org, e) != 0) {
        org_run_free(org);
        return -1;
    }
    org->usage = usage_new(config, org->auth);
    *out = org;
    return 0;
}

struct source *source_new(const struct subscription_config *config, struct org_run *org)
{
    struct source *s = xcalloc(1, sizeof *s);
    s->config = config;
    s->org = org;
    snprintf(s->subject, sizeof s->subject, "subscription %s", config->name);
    s->state = SOURCE_CONNECTING;
    s->since_ms = clock_wall_ms();
    s->shared.tail = &s->shared.head;
    return s;
}

void source_free(struct source *s)
{
    if (!s)
        return;
    pubsub_response_free(s->current);
    while (s->shared.head) {
        struct pubsub_response *next = s->shared.head->next;
        pubsub_response_free(s->shared.head);
        s->shared.head = next;
    }
    free(s);
}

/* --- before --------------------------------------------------------------------------------------- */

int intake_change_new(struct intake *in, const struct config *next, const uint32_t *orgs,
                      const uint32_t *subscriptions, struct intake_change **out, struct err *e)
{
    struct intake_change *c = xcalloc(1, sizeof *c);
    c->config = next;
    c->from_orgs = orgs;
    c->from_sources = subscriptions;
    c->orgs = xcalloc((size_t)next->n_orgs + 1, sizeof(struct org_run *));
    c->sources = xcalloc((size_t)next->n_subscriptions + 1, sizeof(struct source *));
    c->views = xcalloc((size_t)next->n_subscriptions + 1, sizeof *c->views);
    c->gone = xcalloc((size_t)in->n_orgs + 1, sizeof(struct org_run *));
    for (uint32_t i = 0; i < next->n_orgs; i++)
        if (orgs[i] == INTAKE_NEW && org_run_new(in, &next->orgs[i], &c->orgs[i], e) != 0) {
            intake_change_free(c);
            return -1;
        }
    *out = c;
    return 0;
}

/* --- the intake thread ---------------------------------------------------------------------------- */

static void leave_source(struct intake *in, struct source *s)
{
    source_abandon(in, s);
    source_set_state(s, SOURCE_STOPPED, "%s", "another configuration");
    pthread_mutex_lock(&in->lock);
    s->next_gone = in->gone_sources;
    in->gone_sources = s;
    pthread_mutex_unlock(&in->lock);
}

static void leave_org(struct intake *in, struct intake_change *c, struct org_run *org)
{
    org->gone = true;
    pthread_mutex_lock(&in->lock);
    org->next_gone = in->gone_orgs;
    in->gone_orgs = org;
    pthread_mutex_unlock(&in->lock);
    c->gone[c->n_gone++] = org;
}

/* Of those that are told of nothing any more. Lock held. */
static void reap_sources(struct intake *in)
{
    for (struct source **link = &in->gone_sources; *link;) {
        struct source *s = *link;
        if (s->owed) {
            link = &s->next_gone;
            continue;
        }
        *link = s->next_gone;
        source_free(s);
    }
}

static bool has_source(const struct intake *in, const struct org_run *org)
{
    const struct source *s = in->gone_sources;
    while (s && s->org != org)
        s = s->next_gone;
    return s;
}

/* Lock held. */
static void reap_orgs(struct intake *in)
{
    for (struct org_run **link = &in->gone_orgs; *link;) {
        struct org_run *org = *link;
        if (!org->ended || has_source(in, org) || !schema_fetch_forget(in, org)) {
            link = &org->next_gone;
            continue;
        }
        *link = org->next_gone;
        free(org); /* it holds nothing since it ended */
    }
}

void reload_reap(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    reap_sources(in);
    reap_orgs(in);
    pthread_mutex_unlock(&in->lock);
}

/* --- who points where ----------------------------------------------------------------------------- */

static bool org_is_of(const struct config *c, const struct org_run *org)
{
    return org->config >= c->orgs && org->config < c->orgs + c->n_orgs;
}

static bool source_is_of(const struct config *c, const struct source *s)
{
    return s->config >= c->subscriptions && s->config < c->subscriptions + c->n_subscriptions;
}

bool intake_uses(struct intake *in, const struct config *c)
{
    pthread_mutex_lock(&in->lock);
    bool uses = in->options.config == c;
    for (uint32_t i = 0; i < in->n_orgs; i++)
        uses = uses || org_is_of(c, in->orgs[i]);
    for (uint32_t i = 0; i < in->n_sources; i++)
        uses = uses || source_is_of(c, in->sources[i]);
    for (const struct org_run *org = in->gone_orgs; org; org = org->next_gone)
        uses = uses || org_is_of(c, org);
    for (const struct source *s = in->gone_sources; s; s = s->next_gone)
        uses = uses || source_is_of(c, s);
    pthread_mutex_unlock(&in->lock);
    return uses;
}

/* --- taking over ---------------------------------------------------------------------------------- */

static bool names(const uint32_t *from, uint32_t n, uint32_t i)
{
    for (uint32_t k = 0; k < n; k++)
        if (from[k] == i)
            return true;
    return false;
}

void reload_take(struct intake *in, struct intake_change *c)
{
    const struct config *next = c->config;
    for (uint32_t i = 0; i < in->n_sources; i++)
        if (!names(c->from_sources, next->n_subscriptions, i))
            leave_source(in, in->sources[i]);
    for (uint32_t i = 0; i < in->n_orgs; i++)
        if (!names(c->from_orgs, next->n_orgs, i))
            leave_org(in, c, in->orgs[i]);
    for (uint32_t i = 0; i < next->n_orgs; i++)
        if (c->from_orgs[i] != INTAKE_NEW)
            c->orgs[i] = in->orgs[c->from_orgs[i]];
    for (uint32_t i = 0; i < next->n_subscriptions; i++) {
        const struct subscription_config *sub = &next->subscriptions[i];
        if (c->from_sources[i] != INTAKE_NEW) {
            c->sources[i] = in->sources[c->from_sources[i]];
            BUG_IF(c->sources[i]->org != c->orgs[sub->org]);
        } else {
            c->sources[i] = source_new(sub, c->orgs[sub->org]);
        }
    }
    pthread_mutex_lock(&in->lock);
    struct org_run **old_orgs = in->orgs;
    struct source **old_sources = in->sources;
    struct source_view *old_views = in->views;
    in->orgs = c->orgs;
    in->sources = c->sources;
    in->views = c->views;
    in->n_orgs = next->n_orgs;
    in->n_sources = next->n_subscriptions;
    in->options.config = next;
    c->orgs = NULL;
    c->sources = NULL;
    c->views = NULL;
    c->done = true;
    pthread_cond_broadcast(&in->replied);
    pthread_mutex_unlock(&in->lock);
    free(old_orgs);
    free(old_sources);
    free(old_views);
}

/* --- the thread that asks ------------------------------------------------------------------------- */

int intake_change(struct intake *in, struct intake_change *c, struct err *e)
{
    struct note *note = xcalloc(1, sizeof *note);
    note->kind = NOTE_CHANGE;
    note->change = c;
    intake_post(in, note);
    pthread_mutex_lock(&in->lock);
    while (!c->done && !in->ended)
        pthread_cond_wait(&in->replied, &in->lock);
    bool done = c->done;
    pthread_mutex_unlock(&in->lock);
    return done ? 0 : err_set(e, ERR_RETRY, "intake", 0, "intake has ended");
}

void intake_change_free(struct intake_change *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; c->orgs && i < c->config->n_orgs; i++)
        org_run_free(c->orgs[i]); /* not taken over */
    for (uint32_t i = 0; i < c->n_gone; i++) {
        struct org_run *org = c->gone[i];
        struct intake *in = org->intake;
        end_org(org);
        pthread_mutex_lock(&in->lock);
        org->ended = true; /* from here on it may be freed */
        pthread_mutex_unlock(&in->lock);
    }
    free(c->gone);
    free(c->orgs);
    free(c->sources);
    free(c->views);
    free(c);
}
