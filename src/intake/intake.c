#include "intake/source.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

enum { LONGEST_WAIT_MS = 1000, REPLY_WAIT_S = 10 };

/* --- the inbox ------------------------------------------------------------------------------------ */

static void wake(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    in->woken = true;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->lock);
}

void intake_wake(void *ctx)
{
    wake(ctx);
}

void intake_post(struct intake *in, struct note *note)
{
    pthread_mutex_lock(&in->lock);
    note->next = NULL;
    *in->notes_tail = note;
    in->notes_tail = &note->next;
    in->woken = true;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->lock);
}

static void release_call(struct intake *in, struct replay_call *call)
{
    pthread_mutex_lock(&in->lock);
    bool last = --call->users == 0;
    pthread_mutex_unlock(&in->lock);
    if (!last)
        return;
    buf_release(&call->answer);
    free(call);
}

static void free_note(struct intake *in, struct note *note)
{
    if (note->call)
        release_call(in, note->call);
    buf_release(&note->json);
    free(note);
}

/* Until something comes, at most so long: when stopping, too. False: nothing came. */
static bool rest(struct intake *in, int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_mutex_lock(&in->lock);
    if (!in->woken)
        pthread_cond_timedwait(&in->wake, &in->lock, &t);
    bool came = in->woken;
    in->woken = false;
    pthread_mutex_unlock(&in->lock);
    return came;
}

/* Wait until something came, or the monotonic time `until`. Returns the notes. */
static struct note *wait_for_notes(struct intake *in, int64_t until)
{
    int64_t wait_ms = until - clock_mono_ms();
    if (wait_ms > LONGEST_WAIT_MS)
        wait_ms = LONGEST_WAIT_MS;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (wait_ms > 0) {
        t.tv_sec += wait_ms / 1000;
        t.tv_nsec += (long)(wait_ms % 1000) * 1000000;
        if (t.tv_nsec >= 1000000000) {
            t.tv_sec++;
            t.tv_nsec -= 1000000000;
        }
    }
    pthread_mutex_lock(&in->lock);
    while (!in->woken && !in->stopping && wait_ms > 0)
        if (pthread_cond_timedwait(&in->wake, &in->lock, &t) != 0)
            break;
    in->woken = false;
    struct note *notes = in->notes;
    in->notes = NULL;
    in->notes_tail = &in->notes;
    pthread_mutex_unlock(&in->lock);
    return notes;
}

/* An order that is refused is the caller's trouble; a store that fails is ours, too. */
static int handle_replay(struct intake *in, struct note *note, struct err *e)
{
    struct replay_call *call = note->call;
    call->result = source_replay(in, note->source, &call->request, &call->answer, &call->e);
    bool failed = call->result < 0 && call->e.class == ERR_STORE;
    if (failed)
        *e = call->e;
    pthread_mutex_lock(&in->lock);
    call->done = true;
    pthread_cond_broadcast(&in->replied);
    pthread_mutex_unlock(&in->lock);
    return failed ? -1 : 0;
}

static void publish_views(struct intake *in);

static int handle_notes(struct intake *in, struct note *notes, struct err *e)
{
    int rc = 0;
    while (notes) {
        struct note *next = notes->next;
        if (notes->kind == NOTE_END || notes->kind == NOTE_TOPIC)
            notes->source->owed--;
        if (rc == 0)
            switch (notes->kind) {
            case NOTE_END:
                rc = source_on_end(in, notes->source, notes, e);
                break;
            case NOTE_TOPIC:
                source_on_topic(in, notes->source, notes);
                break;
            case NOTE_REPLAY:
                rc = handle_replay(in, notes, e);
                break;
            case NOTE_CHANGE:
                reload_take(in, notes->change);
                publish_views(in);
                break;
            case NOTE_SCHEMA:
                rc = schema_fetch_arrived(in, notes, clock_mono_ms(), e);
                break;
            }
        free_note(in, notes);
        notes = next;
    }
    reload_reap(in);
    return rc;
}

/* --- source time ---------------------------------------------------------------------------------- */

/* The greatest of: commit stamps received, and each login's Date carried on by the monotonic clock. */
int64_t intake_source_now(struct intake *in)
{
    int64_t greatest = in->newest_stamp_ms, mono = clock_mono_ms();
    for (uint32_t i = 0; i < in->n_orgs; i++) {
        struct org_run *org = in->orgs[i];
        int64_t date = auth_server_time_ms(org->auth);
        if (date != org->server_time_ms) {
            org->server_time_ms = date;
            org->server_time_mono_ms = mono;
        }
        int64_t now = date ? date + (mono - org->server_time_mono_ms) : 0;
        if (now > greatest)
            greatest = now;
    }
    return greatest;
}

/* --- one turn of the loop ------------------------------------------------------------------------- */

static int commit_batch(struct intake *in, struct err *e)
{
    uint64_t head;
    in->newest_stamp_ms = in->batch_stamp_ms;
    in->bytes_since_space_check += in->batch_bytes;
    int rc = append_commit(in->appender, intake_source_now(in), &head, e);
    gather_free_done(in);
    if (rc == 0)
        journal_signal_raise(in->options.signal, head);
    return rc;
}

static bool is_open(const struct source *s)
{
    bool all = s->stream_open && (!s->config->managed || s->managed.whole || s->managed.open);
    return all && s->topic_ok && !s->waiting;
}

static int64_t quiet_since(const struct source *s)
{
    return s->last_event_ms > s->opened_ms ? s->last_event_ms : s->opened_ms;
}

static void fill_view(const struct source *s, struct source_view *v)
{
    bool queued = s->current || s->shared.head;
    v->state = s->state;
    v->since_ms = s->since_ms;
    snprintf(v->reason, sizeof v->reason, "%s", s->reason);
    snprintf(v->trouble, sizeof v->trouble, "%s", s->topic_ok || s->heard ? "" : s->trouble);
    v->number = s->have_record ? s->record.number : 0;
    memcpy(v->org_id, s->record.org_id, sizeof v->org_id);
    v->queued = queued;
    v->caught_up_possible = is_open(s) && !queued;
    v->quiet_since_mono_ms = quiet_since(s);
    v->last_response_ms = s->last_response_ms;
    if (!s->topic_ok &&
        !s->heard) /* of a stream before this one: says nothing about the service as it is now */
        v->last_contact_mono_ms = 0;
    else if (!s->waiting)
        v->last_contact_mono_ms = s->contact_mono_ms;
    v->reconnects = s->reconnects;
    memcpy(v->reconnects_by, s->reconnects_by, sizeof v->reconnects_by);
    v->managed = s->managed.view;
    v->managed.beside = s->managed.open;
    v->schema_id_mismatches = s->org->schema_id_mismatches;
    v->token_refreshes = auth_refresh_count(s->org->auth);
}

static void publish_views(struct intake *in)
{
    int64_t source_now = intake_source_now(in);
    pthread_mutex_lock(&in->lock);
    for (uint32_t i = 0; i < in->n_sources; i++) {
        fill_view(in->sources[i], &in->views[i]);
        in->sources[i]->shared.in_hand = in->sources[i]->current != NULL;
    }
    in->source_time_ms = source_now;
    pthread_mutex_unlock(&in->lock);
}

static bool any_work(struct intake *in)
{
    for (uint32_t i = 0; i < in->n_sources; i++)
        if (source_has_work(in, in->sources[i]))
            return true;
    return false;
}

/* What was stored a moment ago is told to the services that keep positions. */
static int64_t commit_managed(struct intake *in, int64_t next)
{
    for (uint32_t i = 0; i < in->n_sources; i++)
        if (in->sources[i]->config->managed) {
            int64_t again = managed_commit(in, in->sources[i], clock_mono_ms());
            next = again < next ? again : next;
        }
    return next;
}

static void probe_refused(struct intake *in, int64_t now)
{
    pthread_mutex_lock(&in->lock);
    bool probe = in->probe;
    in->probe = false;
    pthread_mutex_unlock(&in->lock);
    for (uint32_t i = 0; probe && i < in->n_sources; i++)
        if (in->sources[i]->state == SOURCE_REFUSED)
            in->sources[i]->retry_at_ms = now;
}

static int turn(struct intake *in, bool *more, struct err *e)
{
    int64_t now = clock_mono_ms(), next = INT64_MAX;
    in->beat_mono_ms = now;
    probe_refused(in, now);
    for (uint32_t i = 0; i < in->n_sources; i++)
        if (source_step(in, in->sources[i], now, &next, e) != 0)
            return -1;
    schema_fetch_step(in, now, &next);
    if (!in->full)
        gather_batch(in, now);
    if (in->done || append_pending(in->appender)) {
        if (commit_batch(in, e) != 0 && space_give_way(in, e) != 0)
            return -1;
        next = commit_managed(in, next);
    }
    if (space_upkeep(in, now, more, e) != 0)
        return -1;
    publish_views(in);
    *more = *more || (!in->full && any_work(in));
    struct note *notes = wait_for_notes(in, *more ? now : next);
    return handle_notes(in, notes, e);
}

static bool is_stopping(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    bool stopping = in->stopping;
    pthread_mutex_unlock(&in->lock);
    return stopping;
}

/* Nobody waits for us any more. */
static void *end(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    in->ended = true;
    pthread_cond_broadcast(&in->replied);
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

/* Journal what was received. */
static int take_rest(struct intake *in, struct err *e)
{
    while (any_work(in) && !in->full) {
        gather_batch(in, clock_mono_ms());
        if (!append_pending(in->appender) && !in->done)
            return 0; /* the rest waits for schemas; or answers to commits alone were there */
        if (commit_batch(in, e) != 0 && space_give_way(in, e) != 0)
            return -1;
    }
    return 0;
}

/* Tell the services what is stored, and wait a moment for their answers: else they begin with what we have. */
static int last_commits(struct intake *in, struct err *e)
{
    enum { LOOK_MS = 50, MOST_LOOKS = 100, MOST_TURNS = 2000 };
    int looks = 0, turns = 0;
    for (bool waits = true; waits && looks < MOST_LOOKS && turns < MOST_TURNS; turns++) {
        (void)commit_managed(in, INT64_MAX);
        waits = false;
        for (uint32_t i = 0; i < in->n_sources; i++)
            waits = waits || managed_awaits_answer(in, in->sources[i]);
        if (waits && !rest(in, LOOK_MS))
            looks++;
        if (take_rest(in, e) != 0)
            return -1;
    }
    for (uint32_t i = 0; i < in->n_sources; i++) {
        if (managed_save_answer(in, in->sources[i], e) != 0)
            return -1;
        source_close_stream(in, in->sources[i]);
    }
    return 0;
}

/* A replay that was quiet for a moment is through, though nothing came behind it with which that could be stored:
 * else the same order would be taken for one that is under way, and turned down, for good. */
static int store_replays(struct intake *in, struct err *e)
{
    enum { QUIET_MS = 1000 };
    struct store_txn txn;
    for (uint32_t i = 0; i < in->n_sources; i++) {
        struct source *s = in->sources[i];
        if (is_open(s) && clock_mono_ms() - quiet_since(s) >= QUIET_MS)
            source_finish_replay(s);
        if (!s->replay_through)
            continue;
        if (store_begin(in->options.store, true, &txn, e) != 0)
            return -1;
        if (subscription_put(&txn, &s->record, e) != 0) {
            store_abort(&txn);
            return -1;
        }
        if (store_commit(&txn, e) != 0)
            return -1;
    }
    return 0;
}

static void *intake_main(void *arg)
{
    struct intake *in = arg;
    struct err e = ERR_INIT;
    bool more = true;
    pthread_setname_np(pthread_self(), "intake");
    while (!is_stopping(in))
        if (turn(in, &more, &e) != 0)
            goto fatal;
    if (store_replays(in, &e) != 0)
        goto fatal;
    /* What was received is journaled; more is not asked for. */
    for (uint32_t i = 0; i < in->n_sources; i++) {
        source_set_state(in->sources[i], SOURCE_STOPPED, "%s", "shutting down");
        if (in->sources[i]->config->managed)
            managed_quieten(in, in->sources[i]); /* a last commit goes out on it */
        else
            source_close_stream(in, in->sources[i]);
    }
    if (take_rest(in, &e) != 0 || last_commits(in, &e) != 0)
        goto fatal;
    return end(in);
fatal:
    in->options.on_fatal(in->options.ctx, &e);
    return end(in);
}

/* --- life ----------------------------------------------------------------------------------------- */

static int start_orgs(struct intake *in, struct err *e)
{
    const struct config *c = in->options.config;
    in->orgs = xcalloc(c->n_orgs, sizeof *in->orgs);
    for (; in->n_orgs < c->n_orgs; in->n_orgs++)
        if (org_run_new(in, &c->orgs[in->n_orgs], &in->orgs[in->n_orgs], e) != 0)
            return -1;
    return 0;
}

static void start_sources(struct intake *in)
{
    const struct config *c = in->options.config;
    in->n_sources = c->n_subscriptions;
    in->sources = xcalloc(in->n_sources, sizeof(struct source *));
    in->views = xcalloc(in->n_sources, sizeof *in->views);
    for (uint32_t i = 0; i < in->n_sources; i++) {
        const struct subscription_config *sub = &c->subscriptions[i];
        in->sources[i] = source_new(sub, in->orgs[sub->org]);
        in->views[i].since_ms = in->sources[i]->since_ms;
    }
}

static int read_source_time(struct intake *in, struct err *e)
{
    struct store_txn txn;
    if (store_begin(in->options.store, false, &txn, e) != 0)
        return -1;
    int rc = source_time_get(&txn, &in->newest_stamp_ms, e);
    store_abort(&txn);
    return rc;
}

int intake_start(const struct intake_options *options, struct intake **out, struct err *e)
{
    struct intake *in = xcalloc(1, sizeof *in);
    in->options = *options;
    in->beat_mono_ms = clock_mono_ms();
    in->notes_tail = &in->notes;
    pthread_mutex_init(&in->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&in->wake, &attr);
    pthread_cond_init(&in->replied, &attr);
    pthread_condattr_destroy(&attr);
    if (append_open(options->store, &in->appender, e) != 0 || read_source_time(in, e) != 0 ||
        start_orgs(in, e) != 0)
        goto fail;
    start_sources(in);
    if (pthread_create(&in->thread, NULL, intake_main, in) != 0) {
        err_set(e, ERR_FATAL, "intake", 0, "cannot start a thread");
        goto fail;
    }
    in->started = true;
    *out = in;
    return 0;
fail:
    intake_stop(in);
    return -1;
}

void intake_stop(struct intake *in)
{
    if (!in)
        return;
    if (in->started) {
        pthread_mutex_lock(&in->lock);
        in->stopping = true;
        pthread_cond_signal(&in->wake);
        pthread_mutex_unlock(&in->lock);
        pthread_join(in->thread, NULL);
    }
    for (uint32_t i = 0; i < in->n_orgs; i++)
        org_run_free(in->orgs[i]); /* its callbacks still post notes: freed below */
    for (uint32_t i = 0; i < in->n_sources; i++)
        source_free(in->sources[i]);
    while (in->gone_sources) {
        struct source *next = in->gone_sources->next_gone;
        source_free(in->gone_sources);
        in->gone_sources = next;
    }
    while (in->gone_orgs) {
        struct org_run *next = in->gone_orgs->next_gone;
        org_run_free(in->gone_orgs);
        in->gone_orgs = next;
    }
    gather_free_done(in);
    while (in->notes) {
        struct note *next = in->notes->next;
        free_note(in, in->notes);
        in->notes = next;
    }
    while (in->fetches) {
        struct schema_fetch *next = in->fetches->next;
        free(in->fetches);
        in->fetches = next;
    }
    append_close(in->appender);
    arena_release(&in->arena);
    pthread_cond_destroy(&in->wake);
    pthread_cond_destroy(&in->replied);
    pthread_mutex_destroy(&in->lock);
    free(in->orgs);
    free(in->sources);
    free(in->views);
    free(in);
}

int intake_replay(struct intake *in, uint32_t subscription, const struct replay_request *request,
                  struct buf *answer, struct err *e)
{
    struct replay_call *call = xcalloc(1, sizeof *call);
    struct note *note = xcalloc(1, sizeof *note);
    struct timespec until;
    *call = (struct replay_call){.request = *request, .users = 2, .result = -1};
    *note = (struct note){.kind = NOTE_REPLAY, .source = in->sources[subscription], .call = call};
    intake_post(in, note);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += REPLY_WAIT_S;
    pthread_mutex_lock(&in->lock);
    while (!call->done && pthread_cond_timedwait(&in->replied, &in->lock, &until) == 0)
        ;
    int result = call->done ? call->result : -1;
    if (!call->done) /* it may still be done: the order is repeatable */
        err_set(e, ERR_RETRY, "replay", 0, "the daemon is busy or stopping: try again");
    else if (result < 0)
        *e = call->e;
    else
        buf_add_span(answer, buf_span(&call->answer));
    pthread_mutex_unlock(&in->lock);
    release_call(in, call);
    return result;
}

void intake_probe(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    in->probe = true;
    pthread_mutex_unlock(&in->lock);
    wake(in);
}

int64_t intake_beat_mono_ms(const struct intake *in)
{
    return in->beat_mono_ms;
}

void intake_describe(struct intake *in, uint32_t subscription, struct source_view *out)
{
    pthread_mutex_lock(&in->lock);
    *out = in->views[subscription];
    if (in->sources[subscription]->shared.head || in->sources[subscription]->shared.in_hand) {
        out->caught_up_possible = false; /* it came after the view was made */
        out->queued = true;
    }
    pthread_mutex_unlock(&in->lock);
}

void intake_describe_org(struct intake *in, uint32_t org, struct org_view *out)
{
    auth_describe(in->orgs[org]->auth, &out->auth);
    usage_describe(in->orgs[org]->usage, &out->usage);
}

void intake_login(struct intake *in, uint32_t org)
{
    auth_try_now(in->orgs[org]->auth);
}

int64_t intake_source_time_ms(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    int64_t ms = in->source_time_ms;
    pthread_mutex_unlock(&in->lock);
    return ms;
}
