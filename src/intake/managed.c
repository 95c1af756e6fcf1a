#include "intake/source.h"

#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"

#include <fnmatch.h>
#include <stdio.h>

enum {
    ANSWER_MS = 30 * 1000,        /* a commit without an answer for so long: the next one may go */
    COMMIT_AGAIN_MS = 600 * 1000, /* the service closes a stream without commits after 1,800 s */
    SLOT_PATIENCE_MS = 20 * 60 * 1000,
    NAME_PATIENCE_MS = 5 * 60 * 1000,
};

/* --- the slot ------------------------------------------------------------------------------------- */

int64_t managed_patience_ms(const struct pubsub_status *status)
{
    switch (pubsub_managed_trouble(status)) {
    case PUBSUB_SLOT_TAKEN:
        return SLOT_PATIENCE_MS;
    case PUBSUB_NAME_UNKNOWN:
        return NAME_PATIENCE_MS;
    default:
        return 0;
    }
}

bool managed_on_refusal(struct source *s, const struct pubsub_status *status, int64_t now)
{
    struct managed_run *m = &s->managed;
    const int64_t patience = managed_patience_ms(status);
    if (!patience)
        return false;
    if (!m->refused_since_ms)
        m->refused_since_ms = now;
    const bool slot = pubsub_managed_trouble(status) == PUBSUB_SLOT_TAKEN;
    const int64_t left = m->refused_since_ms + patience - now;
    if (left > 0) {
        s->retry_at_ms = now + org_back_off_ms(s->org->config, s->attempt,
                                               PUBSUB_RECONNECT); /* it may be free in a moment */
        source_set_state(
            s, SOURCE_BACKING_OFF,
            slot ? "another stream of the managed subscription %s is open, or was until a moment ago: "
                   "tried again for %lld s more, then a person has to look"
                 : "the service does not know the managed subscription %s; a new one takes some "
                   "minutes to be known: tried again for %lld s more",
            s->config->managed, (long long)(left + 999) / 1000);
        return true;
    }
    s->retry_at_ms = now + REFUSED_PROBE_MS / 2 + (int64_t)random_below(REFUSED_PROBE_MS);
    source_set_state(
        s, SOURCE_REFUSED,
        slot ? "another client holds the managed subscription %s, for %lld minutes now: stop it, or use "
               "a managed subscription of your own here"
             : "the service does not know the managed subscription %s, for %lld minutes now: look the "
               "developer name up with the Tooling API (ManagedEventSubscription)",
        s->config->managed, (long long)(now - m->refused_since_ms) / 60000);
    return true;
}

/* --- the stream beside ---------------------------------------------------------------------------- */

void managed_begin(struct source *s, bool whole)
{
    struct managed_run *m = &s->managed;
    *m = (struct managed_run){.whole = whole && !m->view.brings[0],
                              .view = m->view,
                              .answer_unsaved = m->answer_unsaved,
                              .refused_since_ms = m->refused_since_ms};
}

void managed_close_beside(struct intake *in, struct source *s)
{
    s->managed.open = false;
    pthread_mutex_lock(&in->lock);
    if (s->shared.beside)
        pubsub_stream_cancel(s->shared.beside);
    s->shared.beside_number = 0;
    pthread_mutex_unlock(&in->lock);
}

void managed_quieten(struct intake *in, struct source *s)
{
    managed_close_beside(in, s);
    pthread_mutex_lock(&in->lock);
    if (s->shared.stream)
        pubsub_stream_pause(s->shared.stream);
    s->shared.paused = true;
    pthread_mutex_unlock(&in->lock);
}

static int open_beside(struct intake *in, struct source *s, int64_t now, struct err *e)
{
    struct auth_token token = {0};
    struct err why = ERR_INIT;
    if (auth_get(s->org->auth, &token, &why) != AUTH_READY)
        return 0; /* it wakes us */
    enum pubsub_from from;
    struct span replay_id;
    int rc = source_choose_start(in, s, &from, &replay_id, e);
    if (rc == 0) {
        s->managed.open = true;
        s->managed.group = (struct replay_group){0};
        s->managed.last_response_mono_ms = s->last_event_ms = now;
        source_open_beside(in, s, &token, from, replay_id);
    }
    auth_token_release(&token);
    return rc;
}

/* "AccountChangeEvent" is what /data/AccountChangeEvent carries; what a channel carries only the org knows. */
static bool may_carry(const char *topic, const char *event)
{
    const char *name = strrchr(topic, '/');
    name = name ? name + 1 : topic;
    return fnmatch("*__chn", name, 0) == 0 || strcmp(name, "ChangeEvents") == 0 || strcmp(name, event) == 0;
}

void managed_compare(struct source *s, const struct avro_plan *plan)
{
    struct managed_run *m = &s->managed;
    const char *event = avro_plan_schema(plan)->root.name;
    if (plan == m->compared)
        return;
    m->compared = plan;
    if (may_carry(s->config->topic, event)) {
        m->view.brings[0] = '\0';
        return;
    }
    m->whole = false;
    if (strncmp(m->view.brings, event, sizeof m->view.brings - 1) == 0)
        return;
    snprintf(m->view.brings, sizeof m->view.brings, "%s", event);
    log_warn(s->subject,
             "the managed subscription %s brings %s, and topic is %s: make them the same; until then a plain "
             "stream "
             "brings what topic names",
             s->config->managed, m->view.brings, s->config->topic);
}

void managed_journaled(struct intake *in, struct source *s, const struct pubsub_response *r)
{
    struct meeting *m = &s->managed.meeting;
    if (s->managed.whole || s->managed.view.brings[0])
        return;
    if (source_is_beside(s, r) ? meeting_beside(m, r) : meeting_managed(m, r)) {
        s->managed.whole = true;
        log_info(s->subject, "the managed stream and the store's position have met");
        managed_close_beside(in, s);
    }
}

/* --- commits -------------------------------------------------------------------------------------- */

static void ask_commit(struct intake *in, struct source *s, struct span id, int64_t now)
{
    struct managed_run *m = &s->managed;
    mark_set(&m->sent, id);
    m->asked_mono_ms = now;
    m->asked++;
    KILLPOINT("intake.before_managed_commit");
    pthread_mutex_lock(&in->lock);
    if (s->shared.stream)
        pubsub_stream_commit(s->shared.stream, m->asked, mark_span(&m->sent));
    pthread_mutex_unlock(&in->lock);
    KILLPOINT("intake.after_managed_commit");
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t managed_commit(struct intake *in, struct source *s, int64_t now)
{
    struct managed_run *m = &s->managed;
    const struct replay_group *g = &s->group; /* as stored: append_commit alone changes it */
    struct span passed = span_of(g->passed, g->passed_len);
    if (!s->stream_open)
        return INT64_MAX;
    bool waits = m->asked > m->answered && now - m->asked_mono_ms < ANSWER_MS;
    bool news = passed.n && (m->whole || !m->dropped) && !span_equal(passed, mark_span(&m->sent));
    if (news && !waits) {
        ask_commit(in, s, passed, now);
        return now + COMMIT_AGAIN_MS;
    }
    /* Nothing new: say the same again. Before the first event of this stream: what the service said it has. */
    struct span same = m->sent.len ? mark_span(&m->sent)
                                   : span_of(s->record.acknowledged, s->record.acknowledged_len);
    int64_t again_at = (m->asked_mono_ms ? m->asked_mono_ms : s->opened_ms) + COMMIT_AGAIN_MS;
    if (same.n && now >= again_at) {
        struct mark copy; /* the mark itself is about to be set */
        mark_set(&copy, same);
        ask_commit(in, s, mark_span(&copy), now);
        again_at = now + COMMIT_AGAIN_MS;
    }
    return news ? earlier(again_at, m->asked_mono_ms + ANSWER_MS) : again_at;
}

static void note_refusal(struct source *s, const struct pubsub_commit_answer *answer)
{
    struct managed_view *v = &s->managed.view;
    char why[sizeof v->trouble];
    bool readable = text_is_utf8(answer->why);
    snprintf(why, sizeof why, "%.*s", readable ? (int)answer->why.n : 0, (const char *)answer->why.p);
    v->refused++;
    bool told = strcmp(why, v->trouble) == 0 && *why;
    snprintf(v->trouble, sizeof v->trouble, "%s", *why ? why : "the service gave no reason");
    if (!told)
        log_warn(s->subject, "the service refused a commit, its position stays behind the store's: %s",
                 v->trouble);
}

void managed_take_answer(struct source *s, const struct pubsub_response *r)
{
    const struct pubsub_commit_answer *answer = &r->commit;
    struct managed_run *m = &s->managed;
    if (!answer->is_there || answer->serial <= m->answered || answer->serial > m->asked)
        return;
    m->answered = answer->serial;
    if (answer->refused)
        return note_refusal(s, answer);
    m->view.accepted++;
    if (m->view.trouble[0])
        log_info(s->subject, "commits are accepted again");
    m->view.trouble[0] = '\0';
    struct span id = answer->replay_id;
    if (id.n == 0 || id.n > sizeof s->record.acknowledged)
        id = mark_span(&m->sent);
    memcpy(s->record.acknowledged, id.p, id.n);
    s->record.acknowledged_len = (uint32_t)id.n;
    s->record.acknowledged_ms = r->received_ms;
    m->answer_unsaved = true; /* stored with the next batch, or at the end */
}

bool managed_awaits_answer(struct intake *in, const struct source *s)
{
    pthread_mutex_lock(&in->lock);
    bool open = s->shared.stream != NULL;
    pthread_mutex_unlock(&in->lock);
    return open && s->stream_open && s->managed.asked > s->managed.answered;
}

int managed_save_answer(struct intake *in, struct source *s, struct err *e)
{
    struct store_txn txn;
    if (!s->managed.answer_unsaved || !s->have_record)
        return 0;
    if (store_begin(in->options.store, true, &txn, e) != 0)
        return -1;
    if (subscription_put(&txn, &s->record, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    if (store_commit(&txn, e) != 0)
        return -1;
    s->managed.answer_unsaved = false;
    return 0;
}

/* --- a turn --------------------------------------------------------------------------------------- */

int managed_step(struct intake *in, struct source *s, int64_t now, int64_t *next, struct err *e)
{
    *next = earlier(*next, managed_commit(in, s, now));
    /* By now a managed stream that is refused at once would be over. */
    bool is_due = s->topic_ok || s->heard || s->topic_failures;
    if (s->managed.whole || s->managed.open || !is_due)
        return 0;
    return open_beside(in, s, now, e);
}
