/* Two streams of one topic, in every interleaving a dice makes: they meet never too early, and never too late. */
#include "base/random.h"
#include "intake/meeting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { EVENTS = 60, MOST_IN_RESPONSE = 7, ROUNDS = 20000 };

/* Groups of events may share an id. */
static uint8_t ids[EVENTS][2];

static void draw_ids(struct rng *r)
{
    uint8_t id = 1;
    for (uint32_t i = 0; i < EVENTS; i++) {
        if (i > 0 && rng_below(r, 4))
            id++;
        ids[i][0] = 7;
        ids[i][1] = id;
    }
}

static struct pubsub_response response_of(struct pubsub_event *events, uint32_t from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        events[i] = (struct pubsub_event){.replay_id = span_of(ids[from + i], 2)};
    return (struct pubsub_response){.n_events = n, .events = events};
}

/* A stream begins behind a whole group, as the service does. */
static uint32_t draw_start(struct rng *r)
{
    uint32_t at = (uint32_t)rng_below(r, EVENTS / 2);
    while (at > 0 && ids[at][1] == ids[at - 1][1])
        at--;
    return at;
}

static void they_meet_when_nothing_is_missing(void **state)
{
    (void)state;
    struct rng r = {20261121};
    for (int round = 0; round < ROUNDS; round++) {
        struct meeting m = {0};
        struct pubsub_event events[MOST_IN_RESPONSE];
        draw_ids(&r);
        const uint32_t managed_start = draw_start(&r), beside_start = draw_start(&r);
        const uint64_t bias = 1 + rng_below(&r, 9); /* one may be much faster */
        uint32_t managed = managed_start, beside = beside_start;
        bool met = false;
        while (!met && (managed < EVENTS || beside < EVENTS)) {
            bool is_managed = beside == EVENTS || (managed < EVENTS && rng_below(&r, 10) < bias);
            uint32_t *at = is_managed ? &managed : &beside;
            uint32_t n = 1 + (uint32_t)rng_below(&r, MOST_IN_RESPONSE);
            if (n > EVENTS - *at)
                n = EVENTS - *at;
            struct pubsub_response response = response_of(events, *at, n);
            *at += n;
            met = is_managed ? meeting_managed(&m, &response) : meeting_beside(&m, &response);
        }
        assert_true(met); /* before both have brought everything: no keepalive was needed */
        /* From the plain stream's start on there is no hole up to where the managed one goes on. */
        assert_true(managed > managed_start && beside > beside_start);
        assert_true(managed_start <= beside_start || beside >= managed_start);
        assert_true(managed >= beside_start);
    }
}

static void nothing_more_is_nothing_missing(void **state)
{
    (void)state;
    struct meeting m = {0};
    struct pubsub_event events[1];
    struct rng r = {1};
    draw_ids(&r);
    struct pubsub_response keepalive = {.n_events = 0}, one = response_of(events, 3, 1);
    assert_false(meeting_managed(&m, &keepalive)); /* says nothing about what came before it began */
    assert_false(meeting_managed(&m, &one));
    assert_false(meeting_managed(&m, &keepalive));
    assert_true(meeting_beside(&m, &keepalive));
}

static void events_without_ids_do_not_meet(void **state)
{
    (void)state;
    struct meeting m = {0};
    struct pubsub_event event = {0};
    struct pubsub_response r = {.n_events = 1, .events = &event};
    assert_false(meeting_managed(&m, &r));
    assert_false(meeting_beside(&m, &r));
    assert_false(meeting_managed(&m, &r));
    assert_false(meeting_beside(&m, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_meet_when_nothing_is_missing),
        cmocka_unit_test(nothing_more_is_nothing_missing),
        cmocka_unit_test(events_without_ids_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
