/* Every row of the service's list of errors, and the texts that come without a code. */
#include "pubsub/pubsub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* gRPC's numbers, written out: the wire fixes them. */
enum {
    OK,
    CANCELLED,
    UNKNOWN,
    INVALID_ARGUMENT,
    DEADLINE_EXCEEDED,
    NOT_FOUND,
    ALREADY_EXISTS,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    FAILED_PRECONDITION,
    ABORTED,
    OUT_OF_RANGE,
    UNIMPLEMENTED,
    INTERNAL,
    UNAVAILABLE,
    DATA_LOSS,
    UNAUTHENTICATED
};

static const struct {
    const char *code;
    int status;
    enum pubsub_reaction reaction;
} coded[] = {
    {"service.unavailable", UNAVAILABLE, PUBSUB_RECONNECT},
    {"service.unavailable", INTERNAL, PUBSUB_RECONNECT},
    {"service.auth.error", UNAUTHENTICATED, PUBSUB_NEW_TOKEN},
    {"service.auth.headers.invalid", UNAUTHENTICATED, PUBSUB_FATAL},
    {"service.auth.refresh.invalid", UNAUTHENTICATED, PUBSUB_FATAL},
    {"service.protection.stream.limit.triggered", RESOURCE_EXHAUSTED, PUBSUB_SLOW_DOWN},
    {"service.protection.triggered", RESOURCE_EXHAUSTED, PUBSUB_SLOW_DOWN},
    {"service.tenant.license", PERMISSION_DENIED, PUBSUB_FATAL},
    {"concurrent.client.limit.exceeded", RESOURCE_EXHAUSTED, PUBSUB_SLOW_DOWN},
    {"topic.not.found", NOT_FOUND, PUBSUB_FATAL},
    {"topic.meta.permission", PERMISSION_DENIED, PUBSUB_FATAL},
    {"topic.api.unavailable", UNAVAILABLE, PUBSUB_RECONNECT},
    {"topic.validation.empty", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"schema.meta.permission", PERMISSION_DENIED, PUBSUB_FATAL},
    {"schema.api.unavailable", UNAVAILABLE, PUBSUB_RECONNECT},
    {"schema.validation.failed", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"subscription.fetch.replayid.corrupted", INVALID_ARGUMENT, PUBSUB_LOST_POSITION},
    {"subscription.fetch.replayid.validation.failed", INVALID_ARGUMENT, PUBSUB_LOST_POSITION},
    {"subscription.fetch.replay.repeated", INTERNAL, PUBSUB_RECONNECT},
    {"subscription.fetch.requested.events.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"subscription.fetch.topic.mismatch", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"subscription.fetch.request.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"subscription.fetch.overflow", RESOURCE_EXHAUSTED, PUBSUB_RECONNECT},
    {"subscription.limit.exceeded", RESOURCE_EXHAUSTED, PUBSUB_SLOW_DOWN},
    {"subscription.topic.cannot.subscribe", PERMISSION_DENIED, PUBSUB_FATAL},
    {"subscription.internal.error", INTERNAL, PUBSUB_RECONNECT},
    {"publish.stream.sweeper.timeout", UNKNOWN, PUBSUB_RECONNECT},
    {"publish.auth.refresh.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"publish.event.count.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"publish.topic.mismatch", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"publish.topic.validation.empty", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"managed.subscription.already.active", ALREADY_EXISTS, PUBSUB_SLOW_DOWN},
    {"managed.subscription.config.stopped", FAILED_PRECONDITION, PUBSUB_FATAL},
    {"managed.subscription.config.deleted", NOT_FOUND, PUBSUB_FATAL},
    {"managed.subscription.developer.name.not.found", NOT_FOUND, PUBSUB_SLOW_DOWN},
    {"managed.subscription.subscription.id.not.found", NOT_FOUND, PUBSUB_SLOW_DOWN},
    {"managed.subscription.subscription.id.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"managed.subscription.id.or.developer.name.empty", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"managed.subscription.fetch.request.events.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"managed.subscription.fetch.request.invalid", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"managed.subscription.fetch.request.commit.request.restricted", INVALID_ARGUMENT, PUBSUB_FATAL},
    {"managed.subscription.fetch.request.auth.request.restricted", INVALID_ARGUMENT, PUBSUB_FATAL},
};

static void with_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(coded); i++) {
        char full[160];
        snprintf(full, sizeof full, "sfdc.platform.eventbus.grpc.%s", coded[i].code);
        /* With the prefix or without it, and whatever the status: most statuses of the list are guesses. */
        assert_int_equal(pubsub_classify(coded[i].status, coded[i].code, ""), coded[i].reaction);
        for (int status = CANCELLED; status <= UNAUTHENTICATED; status++)
            assert_int_equal(pubsub_classify(status, full, "some text"), coded[i].reaction);
    }
}

static void without_code(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *text;
        enum pubsub_reaction reaction;
    } cases[] = {
        {OK, "", PUBSUB_RECONNECT},
        {UNAVAILABLE, "RST_STREAM closed stream. HTTP/2 error code: NO_ERROR", PUBSUB_RECONNECT},
        {INTERNAL, "Received RST_STREAM with code 0 (Call ended without gRPC status)", PUBSUB_RECONNECT},
        {INTERNAL, "Received RST_STREAM with error code 2", PUBSUB_RECONNECT},
        {UNAVAILABLE, "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
         PUBSUB_RECONNECT},
        {UNAVAILABLE, "Http2StreamException: The HTTP/2 server reset the stream", PUBSUB_RECONNECT},
        {UNAVAILABLE, "This application is down for maintenance", PUBSUB_RECONNECT},
        {CANCELLED, "Failed to read message", PUBSUB_RECONNECT},
        {UNKNOWN, "Stream removed", PUBSUB_RECONNECT},
        {UNAVAILABLE, "Socket closed", PUBSUB_RECONNECT},
        {UNAVAILABLE, "keepalive watchdog timeout", PUBSUB_RECONNECT},
        {DEADLINE_EXCEEDED, "Deadline Exceeded", PUBSUB_RECONNECT},
        {DATA_LOSS, "", PUBSUB_RECONNECT},
        {ABORTED, "", PUBSUB_RECONNECT},
        {UNAVAILABLE, "Too many pings", PUBSUB_CALM},
        {UNAVAILABLE, "GOAWAY received; Error code: 11; Debug Text: too_many_pings", PUBSUB_CALM},
        {RESOURCE_EXHAUSTED, "Received RST_STREAM with error code 11", PUBSUB_CALM},
        {RESOURCE_EXHAUSTED, "Received message larger than max (8388608 vs. 4194304)", PUBSUB_FATAL},
        {RESOURCE_EXHAUSTED, "", PUBSUB_SLOW_DOWN},
        {UNAVAILABLE, "Ssl handshake failed: … certificate verify failed", PUBSUB_FATAL},
        {UNAVAILABLE, "Peer name wrong.example is not in peer certificate", PUBSUB_FATAL},
        {UNAVAILABLE, "DNS resolution failed for x: C-ares status is not ARES_SUCCESS", PUBSUB_RECONNECT},
        {INVALID_ARGUMENT, "The Replay ID validation failed. Ensure that the Replay ID is valid",
         PUBSUB_LOST_POSITION},
        {INVALID_ARGUMENT, "something else", PUBSUB_FATAL},
        {NOT_FOUND, "", PUBSUB_FATAL},
        {PERMISSION_DENIED, "", PUBSUB_FATAL},
        {FAILED_PRECONDITION, "", PUBSUB_FATAL},
        {UNIMPLEMENTED, "", PUBSUB_FATAL},
        {ALREADY_EXISTS, "", PUBSUB_SLOW_DOWN},
        {UNAUTHENTICATED, "", PUBSUB_NEW_TOKEN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(pubsub_classify(cases[i].status, "", cases[i].text), cases[i].reaction);
        assert_int_equal(pubsub_classify(cases[i].status, NULL, cases[i].text), cases[i].reaction);
        /* A code nobody listed changes nothing. */
        assert_int_equal(pubsub_classify(cases[i].status, "made.up.tomorrow", cases[i].text),
                         cases[i].reaction);
    }
    assert_int_equal(pubsub_classify(99, "", NULL), PUBSUB_RECONNECT);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(pubsub_status_name(UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_string_equal(pubsub_status_name(OK), "OK");
    assert_string_equal(pubsub_status_name(-1), "status out of range");
    assert_string_equal(pubsub_status_name(17), "status out of range");
    assert_string_equal(pubsub_reaction_name(PUBSUB_CALM), "calm");
    assert_string_equal(pubsub_reaction_name(PUBSUB_LOST_POSITION), "lost position");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_code),
        cmocka_unit_test(without_code),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
