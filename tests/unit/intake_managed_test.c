/*
 * Managed subscriptions in intake: what is committed to the service and when, what runs beside, whose slot it is.
 * The test plays the service; where minutes matter the clock is held and moved.
 */
#include "intake_fixture.h"

#include "intake/source.h"

static struct pubsub_stream *managed_stream(size_t n)
{
    struct pubsub_stream *s = fake_org_stream(n);
    assert_non_null(s);
    assert_true(fake_org_is(&s->managed));
    assert_string_equal(s->topic, "Feed");
    return s;
}

static struct pubsub_stream *beside_stream(size_t n, enum pubsub_from from)
{
    struct pubsub_stream *s = fake_org_stream(n);
    assert_non_null(s);
    assert_false(fake_org_is(&s->managed));
    assert_int_equal(s->from, from);
    return s;
}

static int set_up_managed(void **state)
{
    int rc = set_up(state);
    struct fixture *f = *state;
    static char name[] = "Feed";
    f->subscriptions[0].managed = name;
    f->subscriptions[0].start = START_LATEST;
    f->subscriptions[0].watchdog_ms = 24 * 3600 * 1000;
    return rc;
}

/* The service is gone: nobody waits for its answer to a last commit. */
static int tear_down_managed(void **state)
{
    for (size_t i = 0; i < fake_org_stream_count(); i++)
        fake_org_end(fake_org_stream(i), PUBSUB_FATAL, "the test is over");
    return tear_down(state);
}

static void answer(struct pubsub_stream *s, uint64_t serial, uint64_t id, const char *refusal)
{
    struct pubsub_response *r = response_of(NULL, 0, 999999); /* which is no keepalive */
    r->commit = (struct pubsub_commit_answer){.is_there = true,
                                              .serial = serial,
                                              .refused = refusal != NULL,
                                              .replay_id = replay_id_in(&r->arena, id)};
    if (refusal)
        r->commit.why = arena_copy(&r->arena, span_of_str(refusal));
    fake_org_send(s, r);
}

static uint64_t commits_of(struct pubsub_stream *s)
{
    pthread_mutex_lock(&fake.lock);
    uint64_t n = s->commits;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

/* Its commit number `serial` is there and says `id`; the store held it before. */
static void wait_commit(struct fixture *f, struct pubsub_stream *s, uint64_t serial, uint64_t id)
{
    uint8_t want[10];
    put_replay_id(want, id);
    pthread_mutex_lock(&fake.lock);
    while (s->commits < serial && fake_org_wait())
        ;
    uint64_t is = s->commits;
    bool same = s->committed_len == 10 && memcmp(s->committed, want, 10) == 0;
    pthread_mutex_unlock(&fake.lock);
    assert_int_equal(is, serial);
    assert_true(same);
    (void)f;
}

/* For what must not happen: the loop looks at everything some times. */
static void some_rounds(struct fixture *f)
{
    for (int i = 0; i < 10; i++) {
        intake_wake(f->in);
        wait_a_round(f);
    }
}

/* Time passes, and intake looks at the clock. */
static void pass(struct fixture *f, int64_t ms)
{
    clock_advance(ms);
    intake_wake(f->in);
}

static void only_what_is_stored_is_committed(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = managed_stream(0);
    send_one(s, "a", 10);
    wait_head(f, 1);
    send_one(s, "b", 20); /* 10 is passed, 20 may have more */
    wait_commit(f, s, 1, 10);
    wait_resume(f, 10);
    answer(s, 1, 10, NULL);
    send_one(s, "b2", 20);
    wait_head(f, 3);
    assert_int_equal(commits_of(s), 1);
    send_keepalive(s, 25);
    wait_commit(f, s, 2, 25);
    wait_resume(f, 25);
    assert_int_equal(fake_org_stream_count(), 1); /* start: latest: nothing to read beside */
    assert_journal(f, "a b b2");
}

static void one_commit_is_under_way(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = managed_stream(0);
    send_keepalive(s, 10);
    wait_commit(f, s, 1, 10);
    send_keepalive(s, 20);
    send_keepalive(s, 30);
    wait_resume(f, 30);
    assert_int_equal(commits_of(s), 1);
    answer(s, 1, 10, NULL);
    wait_commit(f, s, 2, 30); /* the newest alone */
    answer(s, 7, 30, NULL);   /* a number we never gave */
    answer(s, 1, 10, NULL);   /* and one that is through */
    send_keepalive(s, 40);
    wait_resume(f, 40);
    assert_int_equal(commits_of(s), 2);
    answer(s, 2, 30, NULL);
    wait_commit(f, s, 3, 40);
    answer(s, 3, 40, NULL);
    send_keepalive(s, 50);
    wait_commit(f, s, 4, 50);
    struct subscription_record r = record_of(f, 1); /* what was acknowledged is stored with the next batch */
    uint8_t want[10];
    put_replay_id(want, 40);
    assert_int_equal(r.acknowledged_len, 10);
    assert_memory_equal(r.acknowledged, want, 10);
}

static void an_answer_is_no_keepalive(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = managed_stream(0);
    send_one(s, "a", 10);
    wait_head(f, 1);
    send_keepalive(s, 20);
    wait_commit(f, s, 1, 20);
    answer(s, 1, 20, NULL);
    send_one(s, "b", 30);
    wait_head(f, 2);
    struct subscription_record r = record_of(f, 1);
    assert_true(resumes_at(&r, 20));
    assert_int_equal(commits_of(s), 1);
}

/* The views follow at the end of a turn. */
static struct managed_view wait_answers(struct fixture *f, uint64_t accepted, uint64_t refused)
{
    struct source_view v = {0};
    for (int i = 0; i < MOST_ROUNDS; i++, wait_a_round(f)) {
        intake_describe(f->in, 0, &v);
        if (v.managed.accepted == accepted && v.managed.refused == refused)
            return v.managed;
    }
    fail_msg("%d accepted, %d refused", (int)v.managed.accepted, (int)v.managed.refused);
    return v.managed;
}

static void refused_commits_are_counted_and_the_next_goes(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = managed_stream(0);
    send_keepalive(s, 10);
    wait_commit(f, s, 1, 10);
    answer(s, 1, 10, "out of retention");
    send_keepalive(s, 20);
    wait_commit(f, s, 2, 20);
    assert_string_equal(wait_answers(f, 0, 1).trouble, "out of retention");
    answer(s, 2, 20, NULL);
    send_keepalive(s, 30);
    wait_commit(f, s, 3, 30);
    assert_string_equal(wait_answers(f, 1, 1).trouble, "");
    assert_int_equal(fake_org_stream_count(), 1);
}

static void what_time_brings(void **state)
{
    struct fixture *f = *state;
    clock_hold(1000000, noon);
    start(f);
    struct pubsub_stream *s = managed_stream(0);
    send_keepalive(s, 10);
    wait_commit(f, s, 1, 10);
    send_keepalive(s, 20);
    wait_resume(f, 20);
    pass(f, 29 * 1000);
    some_rounds(f);
    assert_int_equal(commits_of(s), 1);
    pass(f, 2 * 1000); /* no answer for half a minute */
    wait_commit(f, s, 2, 20);
    answer(s, 2, 20, NULL);
    wait_answers(f, 1, 0); /* before time passes on */
    pass(f, 599 * 1000);
    some_rounds(f);
    assert_int_equal(commits_of(s), 2);
    pass(f, 2 * 1000); /* the service closes a stream without commits */
    wait_commit(f, s, 3, 20);
    answer(s, 3, 20, NULL);
}

/* The service is ahead of the store: what lies between comes on the plain stream. */
static void what_the_store_lacks_is_read_beside(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].start = START_EARLIEST;
    start(f);
    struct pubsub_stream *m = managed_stream(0), *b = beside_stream(1, PUBSUB_EARLIEST);
    send_one(m, "d", 40);
    wait_head(f, 1);
    send_one(m, "e", 50);
    wait_commit(f, m, 1, 40);
    send_keepalive(m, 60); /* moves no resume point: what is before 40 is not here */
    wait_head(f, 2);
    struct subscription_record r = record_of(f, 1);
    assert_int_equal(r.resume_len, 0);
    send_one(b, "a", 10);
    send_one(b, "b", 20);
    wait_resume(f, 10);
    send_one(b, "c", 30);
    wait_resume(f, 20);
    assert_false(fake_org_is(&b->cancelled));
    send_one(b, "d", 40);
    assert_true(fake_org_cancelled(b));
    send_one(m, "f", 70);
    send_one(m, "g", 80);
    wait_resume(f, 70);
    assert_journal(f, "d e a b c f g");
    assert_int_equal(fake_org_stream_count(), 2);
}

/* The service is behind the store, as after a kill -9: the managed stream comes to where the plain one began. */
static void what_the_service_lacks_is_a_duplicate(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_one(managed_stream(0), "a", 10);
    send_one(managed_stream(0), "b", 20);
    send_keepalive(managed_stream(0), 25);
    wait_resume(f, 25);
    restart(f);
    struct pubsub_stream *m = managed_stream(0), *b = fake_org_stream(1);
    assert_from_id(b, 25);
    send_one(m, "a", 10);
    send_one(m, "b", 20);
    send_one(b, "c", 30);
    wait_head(f, 3);
    assert_false(fake_org_is(&b->cancelled));
    send_one(m, "c", 30);
    assert_true(fake_org_cancelled(b));
    send_one(m, "d", 40);
    wait_head(f, 4);
    assert_journal(f, "a b c d");
    struct subscription_record r = record_of(f, 1);
    assert_int_equal(r.duplicates, 3);
}

static void a_keepalive_beside_is_enough(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_keepalive(managed_stream(0), 10);
    wait_resume(f, 10);
    fake_org_end(managed_stream(0), PUBSUB_RECONNECT, "cut");
    struct pubsub_stream *m = managed_stream(1),
                         *b = fake_org_stream(2); /* each time: it may have been reset there */
    assert_from_id(b, 10);
    send_keepalive(b, 15);
    assert_true(fake_org_cancelled(b));
    wait_resume(f, 15);
    send_keepalive(m, 20);
    wait_resume(f, 20);
    wait_commit(f, m, 1, 20);
}

/* The metadata service is away: the streams are not. */
static void what_is_missing_comes_without_get_topic(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].start = START_EARLIEST;
    fake.topic_status = (struct pubsub_status){.grpc_code = 14, .reaction = PUBSUB_RECONNECT};
    start(f);
    send_one(managed_stream(0), "b", 20);
    struct pubsub_stream *b = beside_stream(1, PUBSUB_EARLIEST);
    send_one(b, "a", 10);
    send_one(b, "b", 20);
    assert_true(fake_org_cancelled(b));
    wait_head(f, 2);
    assert_journal(f, "b a");
}

static void one_stream_does_not_go_on_without_the_other(void **state)
{
    struct fixture *f = *state;
    f->subscriptions[0].start = START_EARLIEST;
    start(f);
    struct pubsub_stream *m = managed_stream(0), *b = beside_stream(1, PUBSUB_EARLIEST);
    send_one(b, "a", 10);
    send_one(b, "b", 20);
    wait_resume(f, 10);
    fake_org_end(b, PUBSUB_RECONNECT, "cut");
    assert_true(fake_org_cancelled(m));
    fake_org_end(m, PUBSUB_RECONNECT, "cancelled");
    m = managed_stream(2);
    b = fake_org_stream(3);
    assert_from_id(b, 10);
    some_rounds(f);
    struct source_view v;
    intake_describe(f->in, 0, &v);
    assert_int_equal(v.reconnects, 1);
    fake_org_end(m, PUBSUB_RECONNECT, "cut");
    assert_true(fake_org_cancelled(b));
    managed_stream(4);
    assert_from_id(fake_org_stream(5), 10);
}

static void a_position_lost_beside_is_an_incident(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_keepalive(managed_stream(0), 10);
    wait_commit(f, managed_stream(0), 1, 10);
    answer(managed_stream(0), 1, 10, NULL);
    wait_answers(f, 1, 0);
    fake_org_end(managed_stream(0), PUBSUB_RECONNECT, "cut");
    struct pubsub_stream *m = managed_stream(1), *b = fake_org_stream(2);
    assert_from_id(b, 10);
    fake_org_end(b, PUBSUB_LOST_POSITION, "that id is too old");
    assert_true(fake_org_cancelled(m));
    fake_org_end(m, PUBSUB_RECONNECT, "cancelled");
    managed_stream(3);
    b = beside_stream(4, PUBSUB_EARLIEST);
    assert_int_equal(open_incidents(f), 1);
    assert_int_equal(record_of(f, 1).acknowledged_len,
                     0); /* nothing that counts here may be committed again */
    send_one(b, "a", 100);
    send_keepalive(b, 110);
    assert_true(fake_org_cancelled(b));
    wait_resume(f, 110);
    assert_int_equal(open_incidents(f), 1);
}

/* The definition in the org is of another topic than ours. What ours brings comes on the plain stream, for good. */
static void another_topic_than_ours_is_said(void **state)
{
    struct fixture *f = *state;
    struct source_view v;
    f->subscriptions[0].topic = f->subscriptions[1].topic; /* /data/YChangeEvent */
    f->subscriptions[0].start = START_EARLIEST;
    start(f);
    struct pubsub_stream *m = managed_stream(0), *b = beside_stream(1, PUBSUB_EARLIEST);
    send_one(m, "a", 10);
    wait_head(f, 1);
    send_keepalive(b, 15);
    wait_resume(f, 15);
    send_keepalive(m, 20);
    send_one(m, "b", 30);
    send_keepalive(m, 40);
    wait_head(f, 2);
    some_rounds(f);
    struct subscription_record r = record_of(f, 1);
    assert_true(resumes_at(&r, 15));
    assert_false(fake_org_is(&b->cancelled));
    intake_describe(f->in, 0, &v);
    assert_string_equal(v.managed.brings, "XChangeEvent");
    fake_org_end(m, PUBSUB_RECONNECT, "cut"); /* and is not forgotten */
    assert_true(fake_org_cancelled(b));
    b = fake_org_stream(3);
    assert_from_id(b, 15);
    send_keepalive(b, 50);
    wait_resume(f, 50);
    some_rounds(f);
    assert_false(fake_org_is(&b->cancelled));
}

/* Nothing is committed, and the service begins at its latest each time: what a cut would lose comes beside. */
static void latest_has_no_hole_here_either(void **state)
{
    struct fixture *f = *state;
    fake.server_time_ms = noon;
    start(f);
    assert_non_null(managed_stream(0));
    fake_org_end(managed_stream(0), PUBSUB_RECONNECT, "cut");
    managed_stream(1);
    struct pubsub_stream *b = beside_stream(2, PUBSUB_EARLIEST);
    const struct sent events[] = {
        {.event_id = "old", .replay_id = 1, .record_id = "1", .stamp = noon - 60000},
        {.event_id = "between", .replay_id = 2, .record_id = "2", .stamp = noon + 1000}};
    fake_org_send(b, response_of(events, 2, 0));
    send_keepalive(b, 3);
    assert_true(fake_org_cancelled(b));
    wait_resume(f, 3);
    assert_journal(f, "between");
    assert_int_equal(record_of(f, 1).before_start, 1);
}

/* What the service has kept for us is ours, however old; the plain stream does not take it away. */
static void what_the_service_keeps_comes_however_old(void **state)
{
    struct fixture *f = *state;
    fake.server_time_ms = noon;
    start(f);
    assert_non_null(managed_stream(0));
    fake_org_end(managed_stream(0), PUBSUB_RECONNECT, "cut");
    struct pubsub_stream *m = managed_stream(1), *b = beside_stream(2, PUBSUB_EARLIEST);
    const struct sent events[] = {
        {.event_id = "older", .replay_id = 1, .record_id = "1", .stamp = noon - 70000},
        {.event_id = "kept", .replay_id = 2, .record_id = "2", .stamp = noon - 60000},
        {.event_id = "kept2", .replay_id = 3, .record_id = "3", .stamp = noon - 50000},
        {.event_id = "new", .replay_id = 4, .record_id = "4", .stamp = noon + 1000}};
    fake_org_send(b, response_of(events, 3, 0));
    wait_resume(f, 2);
    fake_org_send(m, response_of(events + 1, 1, 0));
    wait_head(f, 1);
    restart(f); /* in the middle of it */
    m = managed_stream(0);
    b = fake_org_stream(1);
    assert_from_id(b, 2);
    fake_org_send(b, response_of(events + 2, 2, 0));
    wait_head(f, 2);
    fake_org_send(m, response_of(events + 1, 3, 0));
    wait_head(f, 3);
    assert_true(fake_org_cancelled(b));
    assert_journal(f, "kept new kept2");
}

static struct pubsub_status slot_is_taken(void)
{
    return (struct pubsub_status){
        .grpc_code = 6, .reaction = PUBSUB_SLOW_DOWN, .error_code = "managed.subscription.already.active"};
}

static struct pubsub_status name_is_unknown(void)
{
    return (struct pubsub_status){.grpc_code = 5,
                                  .reaction = PUBSUB_SLOW_DOWN,
                                  .error_code = "managed.subscription.developer.name.not.found"};
}

/* This stream is refused; what came of it. */
static struct source_view refuse(struct fixture *f, size_t n, const struct pubsub_status *status)
{
    struct source_view before, v = {0};
    intake_describe(f->in, 0, &before);
    fake_org_end_with(managed_stream(n), status);
    for (int i = 0; i < MOST_ROUNDS; i++, wait_a_round(f)) {
        intake_describe(f->in, 0, &v);
        if (v.reconnects == before.reconnects + 1)
            return v;
    }
    fail_msg("the end of stream %d is not noticed", (int)n);
    return v;
}

/* One try a minute for so many minutes; the n-th stream is the next. Returns the next one after. */
static size_t refuse_for(struct fixture *f, const struct pubsub_status *status, int minutes, size_t n)
{
    for (int i = 0; i < minutes; i++) {
        assert_int_not_equal(refuse(f, n++, status).state,
                             SOURCE_REFUSED); /* a pause of no time may be over */
        pass(f, 60 * 1000);
    }
    return n;
}

static void a_slot_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct source_view v;
    const struct pubsub_status taken = slot_is_taken();
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 60 * 1000;
    fake.topic_silent = true; /* a stream that is refused at once has none beside */
    clock_hold(1000000, noon);
    start(f);
    size_t n = refuse_for(f, &taken, 20, 0);
    v = refuse(f, n++, &taken);
    assert_int_equal(v.state, SOURCE_REFUSED);
    assert_non_null(strstr(v.reason, "another client holds the managed subscription Feed, for 20 minutes"));
    pass(f, 10 * 60 * 1000); /* still tried, slowly */
    send_keepalive(managed_stream(n), 10);
    send_keepalive(beside_stream(n + 1, PUBSUB_EARLIEST), 10);
    wait_resume(f, 10);
    const struct pubsub_status cut = {.grpc_code = 14, .reaction = PUBSUB_RECONNECT};
    assert_int_equal(refuse(f, n, &cut).state, SOURCE_BACKING_OFF);
    pass(f, 60 * 1000);
    v = refuse(f, n + 2, &taken); /* from the beginning */
    assert_int_equal(v.state, SOURCE_BACKING_OFF);
    assert_non_null(strstr(v.reason, "another stream of the managed subscription Feed is open"));
}

static void a_new_name_takes_minutes_to_be_known(void **state)
{
    struct fixture *f = *state;
    struct source_view v;
    const struct pubsub_status unknown = name_is_unknown();
    f->org.backoff_initial_ms = f->org.backoff_max_ms = 60 * 1000;
    fake.topic_silent = true; /* a stream that is refused at once has none beside */
    clock_hold(1000000, noon);
    start(f);
    size_t n = refuse_for(f, &unknown, 5, 0);
    v = refuse(f, n, &unknown);
    assert_int_equal(v.state, SOURCE_REFUSED);
    assert_non_null(strstr(v.reason, "does not know the managed subscription Feed"));
}

static int order(struct fixture *f, const char *from)
{
    struct replay_request request;
    struct buf text = BUF_INIT;
    bool was_int;
    assert_int_equal(replay_parse(from, &request, &was_int, &f->e), 0);
    int result = intake_replay(f->in, 0, &request, &text, &f->e);
    buf_release(&text);
    return result;
}

/* A replay is read beside; only that stream can say that its position is good. */
static void a_replay_is_read_beside(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *m = managed_stream(0);
    send_one(m, "a", 10);
    send_one(m, "b", 20);
    wait_commit(f, m, 1, 10);
    send_keepalive(m, 25);
    wait_resume(f, 25);
    assert_int_equal(order(f, "000000000000000a0000"), REPLAY_ORDERED); /* after 10 */
    m = managed_stream(1);
    struct pubsub_stream *b = fake_org_stream(2);
    assert_from_id(b, 10);
    send_keepalive(m, 30);
    send_one(m, "c", 40);
    some_rounds(f);
    struct subscription_record r = record_of(f, 1);
    assert_true(r.prior_generation < r.generation); /* not confirmed */
    send_one(b, "b", 20);
    wait_head(f, 3);
    send_one(m, "d", 50);
    wait_head(f, 4);
    r = record_of(f, 1);
    assert_int_equal(r.generation, 1);
    assert_int_equal(r.prior_generation, 1);
    send_one(b, "c", 40);
    wait_head(f, 5);
    assert_false(fake_org_is(&b->cancelled)); /* between b and d only this stream has brought all */
    send_keepalive(m, 55);
    some_rounds(f);
    assert_int_equal(commits_of(m), 0); /* the service would be ahead of the store: c was not taken from m */
    send_one(b, "d", 50);
    assert_true(fake_org_cancelled(b));
    send_one(m, "e", 60);
    wait_commit(f, m, 1, 55);
    wait_head(f, 6);
    assert_journal(f, "a b b d c e");
}

static void a_replay_that_is_refused_leaves_the_position(void **state)
{
    struct fixture *f = *state;
    start(f);
    send_keepalive(managed_stream(0), 25);
    wait_resume(f, 25);
    assert_int_equal(order(f, "000000000000000a0000"), REPLAY_ORDERED);
    struct pubsub_stream *m = managed_stream(1), *b = fake_org_stream(2);
    assert_from_id(b, 10);
    send_one(m, "c", 40); /* belongs to no generation yet */
    some_rounds(f);
    fake_org_end(b, PUBSUB_LOST_POSITION, "that id is too old");
    assert_true(fake_org_cancelled(m));
    fake_org_end(m, PUBSUB_RECONNECT, "cancelled");
    managed_stream(3);
    b = fake_org_stream(4);
    assert_from_id(b, 25);
    assert_int_equal(open_incidents(f), 1);
    send_one(b, "c", 40);
    send_one(b, "d", 50);
    wait_resume(f, 40);
    assert_journal(f, "c d");
    /* The generation that was undone is another now, and holds nothing. */
    assert_int_equal(order(f, "000000000000000f0000"), REPLAY_ORDERED); /* after 15 */
    b = fake_org_stream(6);
    assert_from_id(b, 15);
    send_one(b, "c", 40);
    send_one(b, "d", 50);
    wait_head(f, 4);
    assert_journal(f, "c d c d");
}

static pthread_t answering;

static void join_answering(void)
{
    pthread_join(answering, NULL);
}

static void *answer_the_last(void *arg)
{
    struct pubsub_stream *s = arg;
    pthread_mutex_lock(&fake.lock);
    while (s->commits < 2 && fake_org_wait())
        ;
    pthread_mutex_unlock(&fake.lock);
    answer(s, 2, 30, NULL);
    return NULL;
}

/* At the end a last commit goes out, and its answer is stored. */
static void the_last_commit_is_waited_for(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct pubsub_stream *s = managed_stream(0);
    send_keepalive(s, 10);
    wait_commit(f, s, 1, 10);
    send_keepalive(s, 30);
    wait_resume(f, 30);
    assert_int_equal(pthread_create(&answering, NULL, answer_the_last, s), 0);
    fake.on_free = join_answering;
    answer(s, 1, 10, NULL);
    stop(f);
    fake.on_free = NULL;
    start(f);
    struct subscription_record r = record_of(f, 1);
    uint8_t want[10];
    put_replay_id(want, 30);
    assert_int_equal(r.acknowledged_len, 10);
    assert_memory_equal(r.acknowledged, want, 10);
}

int main(void)
{
#define MANAGED_TEST(f) cmocka_unit_test_setup_teardown(f, set_up_managed, tear_down_managed)
    const struct CMUnitTest tests[] = {
        MANAGED_TEST(only_what_is_stored_is_committed),
        MANAGED_TEST(one_commit_is_under_way),
        MANAGED_TEST(an_answer_is_no_keepalive),
        MANAGED_TEST(refused_commits_are_counted_and_the_next_goes),
        MANAGED_TEST(what_time_brings),
        MANAGED_TEST(what_the_store_lacks_is_read_beside),
        MANAGED_TEST(what_the_service_lacks_is_a_duplicate),
        MANAGED_TEST(a_keepalive_beside_is_enough),
        MANAGED_TEST(what_is_missing_comes_without_get_topic),
        MANAGED_TEST(one_stream_does_not_go_on_without_the_other),
        MANAGED_TEST(a_position_lost_beside_is_an_incident),
        MANAGED_TEST(another_topic_than_ours_is_said),
        MANAGED_TEST(latest_has_no_hole_here_either),
        MANAGED_TEST(what_the_service_keeps_comes_however_old),
        MANAGED_TEST(a_slot_is_waited_for),
        MANAGED_TEST(a_new_name_takes_minutes_to_be_known),
        MANAGED_TEST(a_replay_is_read_beside),
        MANAGED_TEST(a_replay_that_is_refused_leaves_the_position),
        MANAGED_TEST(the_last_commit_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
