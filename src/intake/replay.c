#include "intake/replay.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/text.h"
#include "store/incidents.h"
#include "store/journal.h"

#include <inttypes.h>
#include <stdio.h>

int replay_parse(const char *from, struct replay_request *out, bool *was_int, struct err *e)
{
    int64_t ago_ms;
    *out = (struct replay_request){.from = REPLAY_FROM_ID};
    *was_int = false;
    if (strcmp(from, "earliest") == 0 || strcmp(from, "latest") == 0) {
        out->from = from[0] == 'e' ? REPLAY_FROM_EARLIEST : REPLAY_FROM_LATEST;
        snprintf(out->text, sizeof out->text, "%s", from);
        return 0;
    }
    if (from[0] == '-' && text_parse_duration(from + 1, &ago_ms) == 0) {
        out->from = REPLAY_FROM_TIME;
        out->is_age = true;
        out->time_ms = clock_wall_ms() - ago_ms;
    } else if (text_parse_time(from, &out->time_ms) == 0) {
        out->from = REPLAY_FROM_TIME;
    }
    if (out->from == REPLAY_FROM_TIME && out->time_ms > clock_wall_ms())
        return err_set(e, ERR_CONFIG, "replay", 0,
                       "--from %s lies in the future: what comes until then would be skipped; 'latest' skips "
                       "what was not received yet",
                       from);
    if (out->from == REPLAY_FROM_TIME) {
        clock_format_ms(out->time_ms, out->text);
        return 0;
    }
    int n = config_parse_replay_id(from, out->id, was_int, e);
    if (n < 0)
        return err_prefix(e,
                          "--from takes earliest, latest, a replay id, a time (2026-05-06T14:30:00Z) or -2h");
    out->id_len = (uint32_t)n;
    hex_encode(span_of(out->id, out->id_len), out->text);
    return 0;
}

/* The order is given in a write transaction, on which all sinks wait. */
enum { LOOK_MOST_MS = 100 };

/* What the journal says about an order: how much of it is held here, for the person who ordered it. */
struct journal_view {
    bool whole; /* all of it was looked at */
    uint64_t
        after_id; /* events of this subscription after the one with the id; UINT64_MAX: the id is not held */
};

static int look_at_journal(struct store_txn *txn, const struct subscription_record *r,
                           const struct replay_request *request, struct journal_view *view, struct err *e)
{
    enum { EVENTS_AT_ONCE = 1000, BYTES_AT_ONCE = 4 << 20 };
    struct journal_bounds bounds;
    struct arena arena = ARENA_INIT;
    *view = (struct journal_view){true, UINT64_MAX};
    if (journal_bounds(txn, &bounds, e) != 0)
        return -1;
    int64_t until = clock_mono_ms() + LOOK_MOST_MS;
    int rc = 0;
    for (uint64_t seq = bounds.oldest;
         rc == 0 && seq <= bounds.head && (view->whole = clock_mono_ms() < until);) {
        struct event_data *events;
        size_t n;
        arena_reset(&arena);
        rc = journal_read(txn, seq, EVENTS_AT_ONCE, BYTES_AT_ONCE, &arena, &events, &n, e);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            if (events[i].subscription != r->number)
                continue;
            if (view->after_id != UINT64_MAX)
                view->after_id++;
            if (request->id_len && span_equal(events[i].replay_id, span_of(request->id, request->id_len)))
                view->after_id = 0;
        }
        seq += n;
    }
    arena_release(&arena);
    return rc;
}

static int describe(struct store_txn *txn, const struct replay_request *request,
                    const struct subscription_record *r, struct buf *answer, struct err *e)
{
    struct journal_view view = {true, UINT64_MAX};
    if (request->from == REPLAY_FROM_ID && look_at_journal(txn, r, request, &view, e) != 0)
        return -1;
    buf_addf(answer, "subscription %s (%s): ", r->name, r->topic);
    switch (request->from) {
    case REPLAY_FROM_EARLIEST:
        buf_add_str(answer, "everything the service still keeps (72 hours)");
        break;
    case REPLAY_FROM_LATEST:
        buf_add_str(answer,
                    "nothing: only what is published from now on; what was not received yet is skipped");
        break;
    case REPLAY_FROM_TIME:
        buf_addf(answer, "every event committed at or after %s that the service still keeps", request->text);
        if (!r->resume_len || request->time_ms > r->resume_source_ms)
            buf_add_str(answer, "; what is older, and was not received yet, is skipped");
        break;
    case REPLAY_FROM_ID:
        buf_addf(answer, "every event after replay id %s", request->text);
        break;
    }
    if (request->from == REPLAY_FROM_ID && !view.whole)
        buf_add_str(answer, "; how many of them the journal holds would take long to count");
    else if (request->from == REPLAY_FROM_ID && view.after_id != UINT64_MAX)
        buf_addf(answer, "; the journal holds %" PRIu64 " of them", view.after_id);
    else if (request->from == REPLAY_FROM_ID)
        buf_add_str(answer,
                    "; the journal does not hold that id: if the service refuses it, an incident says so");
    buf_addf(answer, "\n");
    return 0;
}

static int record_use(struct store_txn *txn, const struct replay_request *request,
                      const struct subscription_record *before, uint32_t generation, int64_t source_ms,
                      struct err *e)
{
    char at[2 * EVENT_MAX_REPLAY_ID + 1];
    struct incident use = {.state = INCIDENT_CLOSED,
                           .opened_ms = clock_wall_ms(),
                           .since_ms = request->time_ms,
                           .until_ms = source_ms};
    hex_encode(span_of(before->resume, before->resume_len), at);
    snprintf(use.subject, sizeof use.subject, "%s", before->name);
    snprintf(use.kind, sizeof use.kind, "replay");
    snprintf(use.policy, sizeof use.policy, "ordered");
    snprintf(use.text, sizeof use.text, "replay from %s, ordered by %s; generation %u; the position was %s",
             request->text, request->by[0] ? request->by : "unknown", generation, *at ? at : "not set");
    memcpy(use.old_replay_id, before->resume, before->resume_len);
    use.old_replay_id_len = before->resume_len;
    return incident_open(txn, &use, e);
}

/* "-2h" now and "-2h" then are other times. */
static bool is_same_order(const struct replay_request *request, const struct subscription_record *record,
                          int64_t since_ms)
{
    enum { NEAR_MS = 2000 }; /* from reading the words to storing the order */
    int64_t last_ms;
    if (request->is_age && text_parse_time(record->last_replay, &last_ms) == 0) {
        int64_t apart = request->time_ms - last_ms - since_ms;
        return apart > -NEAR_MS && apart < NEAR_MS;
    }
    return strcmp(record->last_replay, request->text) == 0;
}

/* A person who presses the key twice means one replay: the same order while it runs, or shortly after. */
static bool is_repeat(const struct replay_request *request, const struct subscription_record *record)
{
    enum { REPEAT_MS = 5 * 60 * 1000 };
    int64_t since_ms = clock_wall_ms() - record->last_replay_ms;
    bool recent = since_ms >= 0 && since_ms < REPEAT_MS; /* or the clock was set back: not known */
    return is_same_order(request, record, since_ms) && (record->replaying[0] || recent);
}

bool replay_unconfirmed(const struct subscription_record *record)
{
    return record->replaying[0] && record->prior_generation < record->generation;
}

void replay_confirm(struct subscription_record *record)
{
    record->prior_generation = record->generation;
    record->prior_resume_len = 0;
}

void replay_undo(struct subscription_record *record)
{
    record->generation = record->prior_generation;
    record->resume_len = record->prior_resume_len;
    memcpy(record->resume, record->prior_resume, record->prior_resume_len);
    replay_finish(record);
    record->last_replay[0] = '\0'; /* it may be ordered again at once */
}

void replay_finish(struct subscription_record *record)
{
    replay_confirm(record);
    record->replaying[0] = '\0';
    record->replay_from_ms = 0;
}

int replay_find(struct store_txn *txn, const char *org_name, const struct subscription_config *subscription,
                struct subscription_record *out, struct err *e)
{
    struct org_record org;
    int rc = org_get(txn, org_name, &org, e);
    if (rc == 0)
        rc = subscription_find(txn, org.org_id, subscription->topic, subscription->name, out, e);
    if (rc == 1)
        return err_set(
            e, ERR_CONFIG, "replay", 0,
            "subscription %s has never reached its org: run the daemon until it has (see 'tidemark "
            "status'), or set 'start' in the configuration",
            subscription->name);
    return rc;
}

int replay_order(struct store_txn *txn, const struct replay_request *request,
                 struct subscription_record *record, int64_t source_ms, struct buf *answer, struct err *e)
{
    struct subscription_record next = *record;
    if (describe(txn, request, record, answer, e) != 0)
        return -1;
    if (is_repeat(request, record)) {
        buf_addf(answer, "this replay was ordered already and is %s, as generation %u\n",
                 record->replaying[0] ? "under way" : "done", record->generation);
        return REPLAY_ALREADY_UNDER_WAY;
    }
    if (request->dry_run)
        return REPLAY_DRY_RUN;
    if (!record->replaying[0] || !replay_unconfirmed(record)) {
        next.prior_generation = record->generation;
        next.prior_resume_len = record->resume_len;
        memcpy(next.prior_resume, record->resume, record->resume_len);
    }
    next.generation++;
    next.resume_len = request->id_len;
    memcpy(next.resume, request->id, request->id_len);
    next.resume_source_ms = source_ms;
    next.lost_position = false;
    next.replay_from_ms = request->from == REPLAY_FROM_TIME ? request->time_ms : 0;
    if (request->from == REPLAY_FROM_LATEST)
        next.started_source_ms = 0; /* it begins anew, and its hole with it */
    snprintf(next.replaying, sizeof next.replaying, "%s", request->text);
    snprintf(next.last_replay, sizeof next.last_replay, "%s", request->text);
    next.last_replay_ms = clock_wall_ms();
    if (record_use(txn, request, record, next.generation, source_ms, e) != 0 ||
        subscription_put(txn, &next, e) != 0)
        return -1;
    *record = next;
    return REPLAY_ORDERED;
}
