/*
 * Intake with its own thread, between a store and a service that the test plays: what is stored and where a
 * stream goes on, when streams break, come late, or send what no service should.
 */
#include "intake_fixture.h"

#include "intake/source.h"

/* --- positions -------------------------------------------------------------------------------------- */

/* I1: cut inside a group, a stream goes on before the group; what comes again is dropped. */
static void a_group_cut_anywhere_is_whole_in_the_end(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    assert_int_equal(s->from, PUBSUB_EARLIEST);
    send_one(s, "a", 10);
    send_one(s, "b1", 20);
    wait_head(f, 2);
    wait_resume(f, 10);
    fake_org_end(s, PUBSUB_RECONNECT, "cut");
    assert_from_id(s = fake_org_stream(1), 10);
    send_one(s, "b1", 20);
    send_one(s, "b2", 20);
    wait_head(f, 3);
    wait_resume(f, 10);
    fake_org_end(s, PUBSUB_RECONNECT, "cut");
    assert_from_id(s = fake_org_stream(2), 10);
    send_one(s, "b1", 20);
    send_one(s, "b2", 20);
    send_one(s, "b3", 20);
    send_keepalive(s, 25);
    wait_resume(f, 25);
    restart(f);
    assert_from_id(s = fake_org_stream(0), 25);
    send_one(s, "c", 30);
    wait_head(f, 5);
    assert_journal(f, "a b1 b2 b3 c");
}

/* What comes on the way to the end of a stream is stored before the next one is opened. */
static void what_was_received_goes_in_before_the_next_stream(void **state)
{
    struct fixture *f = *state;
    fake.schema = NULL;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    send_one(s, "a", 10);
    send_one(s, "b", 20);
    send_one(s, "c", 30);
    struct fake_schema_call *call = fake_org_schema_call(0);
    fake_org_end(s, PUBSUB_RECONNECT, "cut");
    wait_state(f, 0, SOURCE_BACKING_OFF);
    assert_int_equal(fake_org_stream_count(), 1);
    fake_org_answer(call, NULL, schema);
    assert_from_id(fake_org_stream(1), 20);
    assert_journal(f, "a b c");
}

/* The hole of `latest`: a cut before the first response loses nothing, and brings nothing that is clearly
 * older. */
static void latest_has_no_hole(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].start = START_LATEST;
    fake.server_time_ms = noon;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    assert_int_equal(s->from, PUBSUB_LATEST);
    restart(f);
    s = fake_org_stream(0);
    assert_int_equal(s->from, PUBSUB_EARLIEST);
    const struct sent events[] = {
        {.event_id = "old", .replay_id = 1, .record_id = "1", .stamp = noon - 60000},
        {.event_id = "just", .replay_id = 2, .record_id = "2", .stamp = noon - 5000},
        {.event_id = "new", .replay_id = 3, .record_id = "3", .stamp = noon + 1000}};
    fake_org_send(s, response_of(events, 3, 0));
    fake_org_send(s, response_of(events, 3, 0));
    send_keepalive(s, 4);
    wait_resume(f, 4);
    assert_journal(f, "just new");
    struct subscription_record r = record_of(f, 1);
    assert_int_equal(r.before_start, 1);
    assert_int_equal(r.duplicates, 3);
}

/* Nor does a cut while what is older is being passed over. */
static void latest_stays_latest_after_a_cut(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].start = START_LATEST;
    fake.server_time_ms = noon;
    start(f);
    assert_int_equal(fake_org_stream(0)->from, PUBSUB_LATEST);
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "cut");
    struct pubsub_stream *s = fake_org_stream(1);
    assert_int_equal(s->from, PUBSUB_EARLIEST);
    const struct sent events[] = {
        {.event_id = "old", .replay_id = 1, .record_id = "1", .stamp = noon - 60000},
        {.event_id = "older", .replay_id = 2, .record_id = "2", .stamp = noon - 61000},
        {.event_id = "before", .replay_id = 3, .record_id = "3", .stamp = noon - 50000},
        {.event_id = "new", .replay_id = 4, .record_id = "4", .stamp = noon + 1000}};
    fake_org_send(s, response_of(events, 2, 0));
    wait_resume(f, 1);
    fake_org_end(s, PUBSUB_RECONNECT, "cut");
    assert_from_id(s = fake_org_stream(2), 1);
    fake_org_send(s, response_of(events + 1, 2, 0));
    wait_resume(f, 2);
    restart(f);
    assert_from_id(s = fake_org_stream(0), 2);
    fake_org_send(s, response_of(events + 2, 2, 0));
    send_keepalive(s, 5);
    wait_resume(f, 5);
    assert_journal(f, "new");
}

/* One loss is one incident: whatever is cut, and whoever dies, before there is a position again. */
static void a_lost_position_is_said_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_keepalive(fake_org_stream(0), 10);
    wait_resume(f, 10);
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "cut");
    assert_from_id(fake_org_stream(1), 10);
    fake_org_end(fake_org_stream(1), PUBSUB_LOST_POSITION, "that id is too old");
    assert_int_equal(fake_org_stream(2)->from, PUBSUB_EARLIEST);
    send_one(fake_org_stream(2), "a", 100); /* one group is no position */
    wait_head(f, 1);
    fake_org_end(fake_org_stream(2), PUBSUB_RECONNECT, "cut");
    assert_int_equal(fake_org_stream(3)->from, PUBSUB_EARLIEST);
    assert_int_equal(open_incidents(f), 1);
    restart(f);
    assert_int_equal(fake_org_stream(0)->from, PUBSUB_EARLIEST);
    assert_int_equal(open_incidents(f), 1);
    send_one(fake_org_stream(0), "a", 100);
    send_keepalive(fake_org_stream(0), 110);
    wait_resume(f, 110);
    assert_journal(f, "a");
}

/* `latest` after a loss begins anew, with the hole of every `latest` closed. */
static void latest_after_a_loss_has_no_hole(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].on_lost_position = LOST_LATEST;
    fake.server_time_ms = noon;
    start(f);
    send_keepalive(fake_org_stream(0), 10);
    wait_resume(f, 10);
    fake_org_end(fake_org_stream(0), PUBSUB_LOST_POSITION, "that id is too old");
    assert_int_equal(fake_org_stream(1)->from, PUBSUB_LATEST);
    struct sent event = {.event_id = "a", .replay_id = 100, .record_id = "1", .stamp = noon + 1000};
    fake_org_send(fake_org_stream(1), response_of(&event, 1, 0)); /* one group is no position */
    wait_head(f, 1);
    fake_org_end(fake_org_stream(1), PUBSUB_RECONNECT, "cut");
    assert_int_equal(fake_org_stream(2)->from, PUBSUB_EARLIEST);
    const struct sent events[] = {
        {.event_id = "old", .replay_id = 90, .record_id = "1", .stamp = noon - 60000},
        event,
        {.event_id = "b", .replay_id = 110, .record_id = "1", .stamp = noon + 2000}};
    fake_org_send(fake_org_stream(2), response_of(events, 3, 0));
    wait_resume(f, 100);
    assert_journal(f, "a b");
    assert_int_equal(open_incidents(f), 1);
}

static void log_in_to(const char *tenant, const char *instance)
{
    pthread_mutex_lock(&fake.lock);
    snprintf(fake.tenant, sizeof fake.tenant, "%s", tenant);
    snprintf(fake.instance, sizeof fake.instance, "%s", instance);
    pthread_mutex_unlock(&fake.lock);
}

/* A login to another org changes nothing of what is known of the right one. */
static void a_login_to_another_org_is_no_new_instance(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_keepalive(fake_org_stream(0), 10);
    wait_resume(f, 10);
    log_in_to("00Dxx0000009zzzEAA", "https://two.example");
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "cut");
    wait_state(f, 0, SOURCE_REFUSED);
    log_in_to("00Dxx0000001gEREAY", "https://one.example");
    restart(f);
    assert_from_id(fake_org_stream(0), 10);
    assert_int_equal(open_incidents(f), 0);
}

/* A new instance costs the position of the old one, once; what was found on the new one is good. */
static void a_new_instance_costs_one_position(void **state)
{
    struct fixture *f = *state;
    f->config.n_subscriptions = 2; /* the second has no position yet */
    start(f);
    assert_non_null(fake_org_stream(1));
    struct pubsub_stream *x = fake_org_stream(0), *y = fake_org_stream(1);
    send_keepalive(x, 10);
    wait_resume(f, 10);
    log_in_to("00Dxx0000001gEREAY", "https://two.example");
    fake_org_end(x, PUBSUB_RECONNECT, "cut");
    x = fake_org_stream(2);
    assert_int_equal(x->from, PUBSUB_EARLIEST);
    assert_int_equal(open_incidents(f), 1);
    fake_org_end(y, PUBSUB_RECONNECT, "cut");
    y = fake_org_stream(3);
    assert_int_equal(y->from, PUBSUB_EARLIEST);
    send_keepalive(y, 3);
    send_keepalive(x, 5);
    wait_resume(f, 5);
    for (int64_t until = clock_mono_ms() + DEADLINE_MS;
         record_of(f, 2).resume_len == 0 && clock_mono_ms() < until;)
        wait_a_round(f);
    fake_org_end(y, PUBSUB_RECONNECT, "cut");
    assert_from_id(fake_org_stream(4), 3);
    fake_org_end(x, PUBSUB_RECONNECT, "cut");
    assert_from_id(fake_org_stream(5), 5);
    assert_int_equal(open_incidents(f), 1);
}

/* I3: an id a stream names that is not the current one any more is nobody's position. */
static void an_old_stream_moves_nothing(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *old = fake_org_stream(0);
    send_keepalive(old, 10);
    wait_resume(f, 10);
    struct replay_request request;
    struct buf answer = BUF_INIT;
    bool was_int;
    assert_int_equal(replay_parse("earliest", &request, &was_int, &f->e), 0);
    assert_int_equal(intake_replay(f->in, 0, &request, &answer, &f->e), REPLAY_ORDERED);
    buf_release(&answer);
    struct pubsub_stream *s = fake_org_stream(1);
    struct sent late = {.event_id = "late", .replay_id = 40, .record_id = "1"};
    old->listener.on_response(old->ctx, old, response_of(&late, 1, 0));
    old->listener.on_response(old->ctx, old, response_of(NULL, 0, 50));
    send_one(s, "a", 5);
    send_keepalive(s, 6);
    wait_resume(f, 6);
    fake_org_end(old, PUBSUB_RECONNECT, "cancelled");
    send_one(s, "b", 7);
    wait_head(f, 2);
    assert_journal(f, "a b");
    assert_int_equal(fake_org_stream_count(), 2);
}

/* The new stream ends before its opening is through, and only then the old one. */
static void both_end(struct pubsub_stream *s)
{
    fake.on_subscribe = NULL;
    fake_org_end(s, PUBSUB_RECONNECT, "cut");
    fake_org_end(fake.streams[0], PUBSUB_RECONNECT, "cancelled");
}

static void a_stream_that_has_ended_is_not_touched(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_keepalive(fake_org_stream(0), 10);
    wait_resume(f, 10);
    fake.on_subscribe = both_end;
    struct replay_request request;
    struct buf answer = BUF_INIT;
    bool was_int;
    assert_int_equal(replay_parse("earliest", &request, &was_int, &f->e), 0);
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 600000;
    assert_int_equal(intake_replay(f->in, 0, &request, &answer, &f->e), REPLAY_ORDERED);
    buf_release(&answer);
    assert_non_null(fake_org_stream(1));
    wait_state(f, 0, SOURCE_BACKING_OFF);
    stop(f); /* closes what it believes to be open */
}

static void order_replay(struct fixture *f, const char *from)
{
    struct replay_request request;
    struct buf answer = BUF_INIT;
    bool was_int;
    assert_int_equal(replay_parse(from, &request, &was_int, &f->e), 0);
    if (intake_replay(f->in, 0, &request, &answer, &f->e) != REPLAY_ORDERED)
        fail_msg("%s", f->e.text);
    buf_release(&answer);
}

/* What came before the replay says nothing about how far the replay is. */
static void a_replay_is_under_way_until_it_has_caught_up(void **state)
{
    struct fixture *f = *state;
    clock_hold(1000000, noon); /* nothing is quiet for long */
    fake.server_time_ms = noon;
    start(f);
    struct sent event = {.event_id = "a", .replay_id = 10, .record_id = "1", .stamp = noon};
    fake_org_send(fake_org_stream(0), response_of(&event, 1, 0));
    wait_state(f, 0, SOURCE_LIVE);
    order_replay(f, "earliest");
    for (uint64_t i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "old%d", (int)i);
        event = (struct sent){.event_id = id, .replay_id = 3 + i, .record_id = id, .stamp = noon - 3600000};
        fake_org_send(fake_org_stream(1), response_of(&event, 1, 0));
        wait_head(f, 2 + i);
        assert_string_equal(record_of(f, 1).replaying, "earliest");
    }
    event = (struct sent){.event_id = "a", .replay_id = 10, .record_id = "1", .stamp = noon};
    fake_org_send(fake_org_stream(1), response_of(&event, 1, 0));
    wait_head(f, 5);
    wait_state(f, 0, SOURCE_LIVE);
    send_keepalive(fake_org_stream(1), 11);
    wait_resume(f, 11);
    assert_string_equal(record_of(f, 1).replaying, "");
}

/* A replay that brought nothing yet is not through, however long it is quiet: it has no position to go on
 * from. */
static void a_replay_without_a_position_is_not_through(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].start = START_LATEST;
    clock_hold(1000000, noon);
    fake.server_time_ms = noon;
    start(f);
    send_keepalive(fake_org_stream(0), 10);
    wait_resume(f, 10);
    order_replay(f, "earliest");
    assert_non_null(fake_org_stream(1));
    wait_state(f, 0, SOURCE_CATCHING_UP);
    clock_advance(60 * 1000);
    intake_wake(f->in);
    wait_state(f, 0, SOURCE_LIVE);
    fake_org_end(fake_org_stream(1), PUBSUB_RECONNECT, "cut");
    assert_int_equal(fake_org_stream(2)->from, PUBSUB_EARLIEST);
    struct sent event = {.event_id = "a", .replay_id = 5, .record_id = "1", .stamp = noon - 3600000};
    fake_org_send(fake_org_stream(2),
                  response_of(&event, 1, 0)); /* older than the subscription, as ordered */
    send_keepalive(fake_org_stream(2), 12);
    wait_resume(f, 12);
    assert_journal(f, "a");
}

/* An ordered `latest` has the hole of every `latest`, and it is closed in the same way. */
static void an_ordered_latest_has_no_hole(void **state)
{
    struct fixture *f = *state;
    fake.server_time_ms = noon;
    start(f);
    send_keepalive(fake_org_stream(0), 10);
    wait_resume(f, 10);
    order_replay(f, "latest");
    assert_int_equal(fake_org_stream(1)->from, PUBSUB_LATEST);
    fake_org_end(fake_org_stream(1), PUBSUB_RECONNECT, "cut");
    assert_int_equal(fake_org_stream(2)->from, PUBSUB_EARLIEST);
    const struct sent events[] = {
        {.event_id = "old", .replay_id = 20, .record_id = "1", .stamp = noon - 60000},
        {.event_id = "between", .replay_id = 30, .record_id = "2", .stamp = noon + 1000}};
    fake_org_send(fake_org_stream(2), response_of(events, 2, 0));
    send_keepalive(fake_org_stream(2), 40);
    wait_resume(f, 40);
    assert_journal(f, "between");
    order_replay(f, "earliest"); /* which brings all */
    fake_org_send(fake_org_stream(3), response_of(events, 2, 0));
    send_keepalive(fake_org_stream(3), 40);
    wait_resume(f, 40);
    assert_journal(f, "between old between");
}

/* A right was granted in the org: whoever knows need not wait for the slow probe. */
static void what_was_refused_is_tried_when_told(void **state)
{
    struct fixture *f = *state;
    start(f);
    fake_org_end(fake_org_stream(0), PUBSUB_FATAL, "no permission");
    wait_state(f, 0, SOURCE_REFUSED);
    for (int i = 0; i < 10; i++) {
        intake_wake(f->in);
        wait_a_round(f);
    }
    assert_int_equal(fake_org_stream_count(), 1);
    intake_probe(f->in);
    send_one(fake_org_stream(1), "a", 10);
    wait_head(f, 1);
}

/* --- another configuration -------------------------------------------------------------------------- */

/* Change to `next`, of which nothing goes on. */
static void change_all(struct fixture *f, const struct config *next)
{
    const uint32_t none[] = {INTAKE_NEW, INTAKE_NEW};
    struct intake_change *change;
    if (intake_change_new(f->in, next, none, none, &change, &f->e) != 0 ||
        intake_change(f->in, change, &f->e) != 0)
        fail_msg("%s", f->e.text);
    assert_true(intake_uses(f->in, next));
    intake_change_free(change);
}

/* Streams, questions and schemas that were asked for may still be told of; then the configuration is nobody's. */
static void what_left_is_pointed_to_until_all_is_told(void **state)
{
    struct fixture *f = *state;
    struct org_config org = f->org;
    struct subscription_config subscription = f->subscriptions[0];
    struct config next = f->config;
    next.orgs = &org;
    next.subscriptions = &subscription;
    fake.schema = NULL; /* the event waits for its schema */
    start(f);
    send_one(fake_org_stream(0), "a", 10);
    struct fake_schema_call *call = fake_org_schema_call(0);
    const uint32_t same[] = {0}, none[] = {INTAKE_NEW};
    struct intake_change *change;
    assert_int_equal(intake_change_new(f->in, &next, same, none, &change, &f->e), 0);
    assert_int_equal(intake_change(f->in, change, &f->e), 0);
    intake_change_free(change);
    assert_true(fake_org_cancelled(fake_org_stream(0)));
    fake_org_stream(0)->listener.on_response(fake_org_stream(0)->ctx, fake_org_stream(0),
                                             response_of(NULL, 0, 20)); /* late */
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "cancelled");
    assert_true(intake_uses(f->in, &f->config)); /* the org goes on */
    fake_org_answer(call, NULL, schema);
    send_one(fake_org_stream(1), "a", 10);
    wait_head(f, 1);
    change_all(f, &f->config);
    change_all(f, &next);
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; intake_uses(f->in, &f->config); wait_a_round(f))
        if (clock_mono_ms() > until)
            fail_msg("the configuration is still pointed to");
    memset(&f->org, 0xee, sizeof f->org); /* as if it were freed */
    memset(f->subscriptions, 0xee, sizeof f->subscriptions);
    assert_true(intake_uses(f->in, &next));
    assert_journal(f, "a");
    stop(f);
}

/* --- space ------------------------------------------------------------------------------------------ */

static void put_sink(struct fixture *f, uint64_t cursor)
{
    struct sink_record r = {.name = "slow", .cursor = cursor, .state = BUF_INIT};
    struct store_txn txn;
    assert_int_equal(store_begin(f->st, true, &txn, &f->e), 0);
    assert_int_equal(sink_record_put(&txn, &r, &f->e), 0);
    assert_int_equal(store_commit(&txn, &f->e), 0);
}

static uint64_t head_of(struct fixture *f)
{
    return journal_signal_wait(&f->signal, 0, 0);
}

/* Always the same event under one number: with this payload, or (growing) with as many times 6 kB of it. */
static struct pubsub_response *large_event(uint64_t number, struct span payload, bool growing)
{
    enum { STEP = 6000 };
    if (growing && payload.n > number * STEP)
        payload.n = number * STEP;
    char id[16];
    snprintf(id, sizeof id, "e%d", (int)number);
    struct sent event = {.event_id = id, .replay_id = number, .payload = payload};
    return response_of(&event, 1, 0);
}

/*
 * The service's side until the journal holds `last` events, or stop_at says so: each stream is sent what
 * follows where it begins, as long as it asks for more. The payload does not decode, which costs nothing and
 * is kept all the same.
 */
static void publish_large(struct fixture *f, uint64_t last, struct span payload, bool growing,
                          bool (*stop_at)(struct fixture *))
{
    struct pubsub_stream *s = NULL;
    uint64_t next = 0;
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; head_of(f) < last && !(stop_at && stop_at(f));) {
        size_t n = fake_org_stream_count();
        if (!s || s != fake_org_stream(n - 1)) {
            s = fake_org_stream(n - 1);
            next = 1;
            for (size_t i = 0; i < 8 && s->replay_id_len; i++)
                next = i == 0 ? s->replay_id[0] : next << 8 | s->replay_id[i];
            next += s->replay_id_len != 0;
        }
        if (fake_org_is(&s->cancelled))
            fake_org_end(s, PUBSUB_RECONNECT, "cancelled");
        if (next <= last && !fake_org_is(&s->paused) && !fake_org_is(&s->ended))
            fake_org_send(s, large_event(next++, payload, growing));
        else
            wait_a_round(f);
        if (clock_mono_ms() > until)
            fail_msg("stuck at %llu", (unsigned long long)head_of(f));
    }
}

static bool is_paused(struct fixture *f)
{
    struct source_view v;
    intake_describe(f->in, 0, &v);
    return v.state == SOURCE_PAUSED_FULL;
}

/* I5: what nobody has settled stays, and stops intake; once it is settled, everything arrives. */
static void unsettled_events_stop_intake_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = calloc(1, 300000);
    memset(bytes, 0xff, 300000);
    f->config.store.max_size = 6 << 20;
    start(f);
    put_sink(f, 0);
    assert_non_null(fake_org_stream(0));
    publish_large(f, 60, span_of(bytes, 300000), false, is_paused);
    wait_state(f, 0, SOURCE_PAUSED_FULL);
    uint64_t held = head_of(f);
    assert_true(held >= 10 && held < 30);
    struct source_view v;
    intake_describe(f->in, 0, &v);
    assert_non_null(strstr(v.reason, "a sink does not keep up"));
    put_sink(f, 60); /* it keeps up from now on */
    fake_org_end(fake_org_stream(fake_org_stream_count() - 1), PUBSUB_RECONNECT, "cancelled");
    publish_large(f, 60, span_of(bytes, 300000), false, NULL);
    assert_int_equal(head_of(f), 60);
    assert_int_equal(record_of(f, 1).journaled, 60);
    free(bytes);
}

/* A map without enough neighbouring pages for a large event is no end: room is made, and the stream goes on.
 */
static void a_large_event_finds_room(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = calloc(1, 2000000);
    memset(bytes, 0xff, 2000000);
    f->config.store.max_size = 6 << 20;
    start(f);
    assert_non_null(fake_org_stream(0));
    publish_large(f, 150, span_of(bytes, 2000000), true, NULL);
    assert_int_equal(record_of(f, 1).journaled, 150);
    free(bytes);
}

/* What all have settled goes early where space is short, but no earlier than that. */
static void no_more_is_trimmed_than_space_asks_for(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = calloc(1, 30000);
    memset(bytes, 0xff, 30000);
    f->config.store.max_size = 16 << 20;
    start(f);
    assert_non_null(fake_org_stream(0));
    publish_large(f, 2000, span_of(bytes, 30000), false, NULL); /* 60 MB */
    struct store_space space;
    for (int i = 0; i < 100; i++) /* what is still to be trimmed is trimmed */
        wait_a_round(f);
    assert_int_equal(store_space(f->st, &space, &f->e), 0);
    assert_true(space.live_bytes < space.max_bytes);
    assert_true(space.live_bytes > space.max_bytes / 10 * 6);
    free(bytes);
}

/* --- pauses ----------------------------------------------------------------------------------------- */

static void assert_no_stream_follows(struct fixture *f, size_t n)
{
    assert_non_null(fake_org_stream(n - 1)); /* the last of those that do come */
    for (int i = 0; i < 60; i++) {
        wait_a_round(f);
        assert_int_equal(fake_org_stream_count(), n);
    }
}

/* GetTopic that meets a limit pauses the subscription as the stream itself would. */
static void a_limit_told_by_get_topic_is_heeded(void **state)
{
    struct fixture *f = *state;
    f->org.backoff_initial_ms = 1;
    f->org.backoff_max_ms = 3600 * 1000;
    fake.topic_status = (struct pubsub_status){
        .grpc_code = 8, .reaction = PUBSUB_SLOW_DOWN, .text = "too many requests"};
    start(f);
    assert_true(fake_org_cancelled(fake_org_stream(0)));
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "cancelled");
    wait_state(f, 0, SOURCE_BACKING_OFF);
    assert_no_stream_follows(f, 1);
    struct source_view v;
    intake_describe(f->in, 0, &v);
    assert_int_equal(v.state, SOURCE_BACKING_OFF);
    assert_string_equal(v.reason, "too many requests");
    /* Counted as what it is: that we have closed the stream says nothing about the line. */
    assert_int_equal(v.reconnects, 1);
    assert_int_equal(v.reconnects_by[PUBSUB_SLOW_DOWN], 1);
}

/* What GetTopic has said is of that stream alone: the next one ends for reasons of its own. */
static void ends_are_counted_by_their_reason(void **state)
{
    struct fixture *f = *state;
    struct source_view v;
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 1;
    fake.topic_status = (struct pubsub_status){
        .grpc_code = 16, .reaction = PUBSUB_NEW_TOKEN, .text = "the token is bad"};
    start(f);
    assert_true(fake_org_cancelled(fake_org_stream(0)));
    pthread_mutex_lock(&fake.lock);
    fake.topic_status = (struct pubsub_status){0};
    pthread_mutex_unlock(&fake.lock);
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "cancelled");
    fake_org_end(fake_org_stream(1), PUBSUB_SLOW_DOWN, "too many streams");
    fake_org_end(fake_org_stream(2), PUBSUB_RECONNECT, "cut");
    assert_non_null(fake_org_stream(3));
    wait_a_round(f);
    intake_describe(f->in, 0, &v);
    assert_int_equal(v.reconnects, 3);
    assert_int_equal(v.reconnects_by[PUBSUB_NEW_TOKEN], 1);
    assert_int_equal(v.reconnects_by[PUBSUB_SLOW_DOWN], 1);
    assert_int_equal(v.reconnects_by[PUBSUB_RECONNECT], 1);
}

/* A GetTopic that fails for a while is asked again; the stream beside it stays. */
static void a_topic_that_cannot_be_described_holds_no_events_back(void **state)
{
    struct fixture *f = *state;
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 1;
    fake.topic_status = (struct pubsub_status){
        .grpc_code = 14, .reaction = PUBSUB_RECONNECT, .text = "metadata is away"};
    start(f);
    assert_true(fake_org_topics_asked(5)); /* a turn between two of them has shown what the first brought */
    assert_int_equal(fake_org_stream_count(), 1);
    assert_false(fake_org_is(&fake_org_stream(0)->cancelled));
    struct source_view v;
    intake_describe(f->in, 0, &v);
    assert_int_equal(v.state, SOURCE_CATCHING_UP);
    assert_string_equal(v.trouble, "GetTopic: metadata is away");
    pthread_mutex_lock(&fake.lock);
    fake.topic_status = (struct pubsub_status){0};
    pthread_mutex_unlock(&fake.lock);
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; !v.caught_up_possible && clock_mono_ms() < until;) {
        wait_a_round(f);
        intake_describe(f->in, 0, &v);
    }
    assert_true(v.caught_up_possible);
    assert_string_equal(v.trouble, "");
    assert_int_equal(fake_org_stream_count(), 1);
}

/* Where neither was answered in half a minute, the line is dead, and both begin anew. */
static void a_line_that_answers_nothing_is_left(void **state)
{
    struct fixture *f = *state;
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 1000000000;
    fake.topic_status = (struct pubsub_status){
        .grpc_code = 4, .reaction = PUBSUB_RECONNECT, .text = "Deadline Exceeded"};
    start(f);
    assert_no_stream_follows(f, 1);
    assert_true(fake_org_cancelled(fake_org_stream(0)));
}

/* Told to ping less, it reconnects at once; told again before it heard anything, it backs off. */
static void being_told_to_be_calm_is_no_loop(void **state)
{
    struct fixture *f = *state;
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 1000000000;
    start(f);
    fake_org_end(fake_org_stream(0), PUBSUB_CALM, "too many pings");
    fake_org_end(fake_org_stream(1), PUBSUB_CALM, "too many pings");
    assert_no_stream_follows(f, 2);
}

/* While it tries again, it still says what went wrong; once the service has answered, no more. */
static void a_try_tells_what_went_wrong_before(void **state)
{
    struct fixture *f = *state;
    struct source_view v;
    fake.topic_silent = true;
    start(f);
    fake_org_end(fake_org_stream(0), PUBSUB_RECONNECT, "no route to host");
    struct pubsub_stream *s = fake_org_stream(1);
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; clock_mono_ms() < until; wait_a_round(f)) {
        intake_describe(f->in, 0, &v);
        if (v.state == SOURCE_CATCHING_UP && v.reconnects == 1)
            break;
    }
    assert_string_equal(v.trouble, "no route to host");
    assert_string_equal(v.reason, "");
    send_keepalive(s, 1);
    wait_state(f, 0, SOURCE_LIVE);
    intake_describe(f->in, 0, &v);
    assert_string_equal(v.trouble, "");
}

/* An event that intake has in hand is not quiet, even if nobody said so yet. */
static void what_is_in_hand_is_not_caught_up(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    send_keepalive(s, 1);
    wait_state(f, 0, SOURCE_LIVE);
    for (uint64_t round = 0; round < 5; round++) {
        struct source_view before, v;
        char id[8];
        for (int64_t quiet_until = clock_mono_ms() + 100; clock_mono_ms() < quiet_until;)
            wait_a_round(f);
        intake_describe(f->in, 0, &before);
        snprintf(id, sizeof id, "%d", (int)round);
        send_one(s, id, 10 + round);
        intake_describe(f->in, 0, &v);
        if (v.caught_up_possible)
            assert_true(v.quiet_since_mono_ms > before.quiet_since_mono_ms); /* the event counts */
        wait_head(f, 1 + round);
    }
}

/* --- what no service should send -------------------------------------------------------------------- */

/* A response that cannot be kept is not passed over: nothing behind it is stored, the position stays before
 * it. */
static void nothing_goes_in_behind_a_broken_response(void **state)
{
    struct fixture *f = *state;
    static const char nul_id[] = "a\0b", long_id[300] = {1};
    const struct span bad_ids[] = {span_of(nul_id, 3), span_of(long_id, sizeof long_id)};
    start(f);
    for (size_t i = 0; i < ARRAY_LEN(bad_ids); i++) {
        struct sent event = {
            .event_id = "a", .replay_id = 10, .record_id = "1", .schema_id = i ? "two" : "one"};
        struct pubsub_stream *s = fake_org_stream(0);
        fake.schema = NULL; /* what is sent waits in the queue, behind the first event */
        fake_org_send(s, response_of(&event, 1, 0));
        struct fake_schema_call *call = fake_org_schema_call(0);
        send_keepalive(s, 11 + i);
        event.event_id = "broken";
        struct pubsub_response *r = response_of(&event, 1, 0);
        r->events[0].schema_id = bad_ids[i];
        fake_org_send(s, r);
        event.event_id = "behind";
        fake_org_send(s, response_of(&event, 1, 0));
        send_keepalive(s, 30);
        fake_org_answer(call, NULL, schema);
        assert_true(fake_org_cancelled(s));
        wait_state(f, 0, SOURCE_REFUSED);
        fake_org_end(s, PUBSUB_RECONNECT, "cancelled");
        struct subscription_record record = record_of(f, 1);
        assert_true(resumes_at(&record, 11 + i));
        assert_journal(f, "a");
        assert_int_equal(fake_org_stream_count(), 1); /* slowly, not at once */
        restart(f);
        assert_from_id(fake_org_stream(0), 11 + i);
    }
}

/* Two events nobody can decode are two events, though a split event's parts share both ids. */
static void undecodable_parts_of_one_event_are_all_kept(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    const struct sent events[] = {{.event_id = "e", .replay_id = 10, .payload = span_of_str("\xff\xff\xff")},
                                  {.event_id = "e", .replay_id = 10, .payload = span_of_str("\xff\xff\xfe")},
                                  {.event_id = "e", .replay_id = 10, .payload = span_of_str("\xff\xff\xff")}};
    fake_org_send(s, response_of(events, 3, 0));
    send_keepalive(s, 11);
    wait_resume(f, 11);
    assert_journal(f, "e? e?");
    assert_int_equal(record_of(f, 1).duplicates, 1);
}

/* A commit stamp of the far future does not age what is stored: source time would never come back. */
static void a_stamp_of_the_far_future_ages_nothing(void **state)
{
    struct fixture *f = *state;
    fake.server_time_ms = noon;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    send_one(s, "a", 10);
    wait_head(f, 1);
    struct sent event = {.event_id = "b", .replay_id = 20, .record_id = "1", .stamp = INT64_MAX - 5};
    fake_org_send(s, response_of(&event, 1, 0));
    wait_head(f, 2);
    send_one(s, "a", 10);
    send_keepalive(s, 30);
    wait_resume(f, 30);
    assert_journal(f, "a b");
    restart(f);
    s = fake_org_stream(0);
    send_one(s, "a", 10);
    send_keepalive(s, 40);
    wait_resume(f, 40);
    assert_journal(f, "a b");
    assert_true(intake_source_time_ms(f->in) < clock_wall_ms() + 7 * 86400000ll);
}

/* Odd, but no reason to lose anything: no ids at all, an old id, the id of another group, events and a latest
 * id. */
static void odd_ids_lose_nothing(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    const struct sent events[] = {{.event_id = "", .replay_id = 0, .record_id = "1"},
                                  {.event_id = "", .replay_id = 0, .record_id = "2"},
                                  {.event_id = "b", .replay_id = 9, .record_id = "3"},
                                  {.event_id = "c", .replay_id = 3, .record_id = "4"},
                                  {.event_id = "d", .replay_id = 9, .record_id = "5"}};
    fake_org_send(s, response_of(events, 5, 99)); /* the latest id of a response with events is not read */
    wait_head(f, 5);
    wait_resume(f, 3);
    send_keepalive(s, 0); /* an empty response without an id says nothing about positions */
    send_one(s, "e", 9);
    wait_head(f, 6);
    wait_resume(f, 3);
    assert_journal(f, "  b c d e");
}

/* --- schemas ---------------------------------------------------------------------------------------- */

/* A GetSchema that was refused for its old token does not cost the new one. */
static void a_late_refusal_does_not_cost_a_new_token(void **state)
{
    struct fixture *f = *state;
    fake.schema = NULL;
    start(f);
    send_one(fake_org_stream(0), "a", 10);
    struct fake_schema_call *call = fake_org_schema_call(0);
    pthread_mutex_lock(&fake.lock);
    fake.token_serial = 2;
    pthread_mutex_unlock(&fake.lock);
    struct pubsub_status refused = {
        .grpc_code = 16, .reaction = PUBSUB_NEW_TOKEN, .text = "the token is bad"};
    fake_org_answer(call, &refused, NULL);
    fake_org_answer(fake_org_schema_call(1), NULL, schema); /* asked again with the new one */
    wait_head(f, 1);
    assert_int_equal(fake.refused_serial, 1);
}

static uint64_t worked_serial(void)
{
    pthread_mutex_lock(&fake.lock);
    uint64_t serial = fake.worked_serial;
    pthread_mutex_unlock(&fake.lock);
    return serial;
}

/* A stream that is open proves nothing about its token; its first response does. */
static void a_response_shows_that_the_token_works(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = fake_org_stream(0);
    wait_state(f, 0, SOURCE_CATCHING_UP);
    assert_int_equal(worked_serial(), 0);
    send_keepalive(s, 10);
    wait_resume(f, 10);
    assert_int_equal(worked_serial(), 1);
    pthread_mutex_lock(&fake.lock);
    fake.token_serial = 2;
    pthread_mutex_unlock(&fake.lock);
    fake_org_end(s, PUBSUB_NEW_TOKEN, "the token is bad");
    s = fake_org_stream(1);
    assert_int_equal(worked_serial(), 1);
    send_keepalive(s, 20);
    wait_resume(f, 20);
    assert_int_equal(worked_serial(), 2);
}

/* From the first moment, not only after a failure: a call that is not answered tells nothing for long. */
static void who_waits_for_a_schema_says_so(void **state)
{
    struct fixture *f = *state;
    fake.schema = NULL;
    start(f);
    send_one(fake_org_stream(0), "a", 10);
    struct fake_schema_call *call = fake_org_schema_call(0);
    wait_reason(f, 0, "waiting for schema ");
    struct pubsub_status away = {.grpc_code = 14, .reaction = PUBSUB_RECONNECT, .text = "metadata is away"};
    fake_org_answer(call, &away, NULL);
    wait_reason(f, 0, ": metadata is away");
    fake_org_answer(fake_org_schema_call(1), NULL, schema);
    wait_head(f, 1);
    wait_reason(f, 0, "");
}

/* However often a fetch has failed: the org's backoff.max is the longest pause, as for its streams. */
static void a_fetch_pauses_no_longer_than_a_stream(void **state)
{
    enum { FAILURES = 12 }; /* pauses that doubled from a second would be an hour by then */
    struct fixture *f = *state;
    fake.schema = NULL;
    start(f);
    send_one(fake_org_stream(0), "a", 10);
    for (size_t i = 0; i < FAILURES; i++) {
        struct pubsub_status away = {
            .grpc_code = 14, .reaction = PUBSUB_RECONNECT, .text = "connection refused"};
        struct fake_schema_call *call = fake_org_schema_call(i);
        if (!call)
            fail_msg("not asked again after %zu failures", i);
        fake_org_answer(call, &away, NULL);
    }
    fake_org_answer(fake_org_schema_call(FAILURES), NULL, schema);
    wait_head(f, 1);
}

/* While one subscription waits for a schema, the other goes on. */
static void who_waits_for_a_schema_holds_up_nobody(void **state)
{
    struct fixture *f = *state;
    f->config.n_subscriptions = 2;
    fake.schema = NULL;
    start(f);
    struct pubsub_stream *x = fake_org_stream(0), *y = fake_org_stream(1);
    struct sent event = {.event_id = "y1", .replay_id = 10, .record_id = "1", .schema_id = "two"};
    send_one(x, "x1", 10);
    struct fake_schema_call *one = fake_org_schema_call(0);
    fake_org_send(y, response_of(&event, 1, 0));
    struct fake_schema_call *two = fake_org_schema_call(1);
    fake_org_answer(two, NULL, schema);
    wait_head(f, 1);
    assert_journal(f, "y1");
    fake_org_answer(one, NULL, schema);
    wait_head(f, 2);
    assert_journal(f, "y1 x1");
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_group_cut_anywhere_is_whole_in_the_end),
        CASE(what_was_received_goes_in_before_the_next_stream),
        CASE(latest_has_no_hole),
        CASE(latest_stays_latest_after_a_cut),
        CASE(a_lost_position_is_said_once),
        CASE(latest_after_a_loss_has_no_hole),
        CASE(a_login_to_another_org_is_no_new_instance),
        CASE(a_new_instance_costs_one_position),
        CASE(an_old_stream_moves_nothing),
        CASE(a_stream_that_has_ended_is_not_touched),
        CASE(a_replay_is_under_way_until_it_has_caught_up),
        CASE(a_replay_without_a_position_is_not_through),
        CASE(an_ordered_latest_has_no_hole),
        CASE(what_was_refused_is_tried_when_told),
        CASE(what_left_is_pointed_to_until_all_is_told),
        CASE(unsettled_events_stop_intake_and_nothing_else),
        CASE(a_large_event_finds_room),
        CASE(no_more_is_trimmed_than_space_asks_for),
        CASE(a_limit_told_by_get_topic_is_heeded),
        CASE(ends_are_counted_by_their_reason),
        CASE(a_topic_that_cannot_be_described_holds_no_events_back),
        CASE(a_line_that_answers_nothing_is_left),
        CASE(being_told_to_be_calm_is_no_loop),
        CASE(a_try_tells_what_went_wrong_before),
        CASE(what_is_in_hand_is_not_caught_up),
        CASE(nothing_goes_in_behind_a_broken_response),
        CASE(undecodable_parts_of_one_event_are_all_kept),
        CASE(a_stamp_of_the_far_future_ages_nothing),
        CASE(odd_ids_lose_nothing),
        CASE(a_late_refusal_does_not_cost_a_new_token),
        CASE(a_response_shows_that_the_token_works),
        CASE(who_waits_for_a_schema_says_so),
        CASE(a_fetch_pauses_no_longer_than_a_stream),
        CASE(who_waits_for_a_schema_holds_up_nobody),
    };
    return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
