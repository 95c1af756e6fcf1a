/*
 * From what the service said to what to do. The code decides before the status, because one status goes
 * with several codes; where there is no code, text known from transports and proxies; then the status.
 */
#include "pubsub/pubsub.h"

#include <grpc/status.h>
#include <strings.h>

/* Matched by "contains", first row that fits: a longer code stands before one it contains. */
static const struct code_row {
    const char *contains;
    enum pubsub_reaction reaction;
} code_rows[] = {
    {"service.unavailable", PUBSUB_RECONNECT},
    {"service.auth.error", PUBSUB_NEW_TOKEN},
    {"service.auth.headers.invalid", PUBSUB_FATAL},
    {"service.auth.refresh.invalid", PUBSUB_FATAL},
    {"service.protection.stream.limit.triggered", PUBSUB_SLOW_DOWN},
    {"service.protection.triggered", PUBSUB_SLOW_DOWN},
    {"service.tenant.license", PUBSUB_FATAL},
    {"concurrent.client.limit.exceeded", PUBSUB_SLOW_DOWN},
    {"topic.not.found", PUBSUB_FATAL},
    {"topic.meta.permission", PUBSUB_FATAL},
    {"topic.api.unavailable", PUBSUB_RECONNECT},
    {"topic.validation.empty", PUBSUB_FATAL},
    {"schema.meta.permission", PUBSUB_FATAL},
    {"schema.api.unavailable", PUBSUB_RECONNECT},
    {"schema.validation.failed", PUBSUB_FATAL},
    {"subscription.fetch.replayid.corrupted", PUBSUB_LOST_POSITION},
    {"subscription.fetch.replayid.validation.failed", PUBSUB_LOST_POSITION},
    {"subscription.fetch.replay.repeated", PUBSUB_RECONNECT},
    {"subscription.fetch.requested.events.invalid", PUBSUB_FATAL},
    {"subscription.fetch.topic.mismatch", PUBSUB_FATAL},
    {"subscription.fetch.request.invalid", PUBSUB_FATAL},
    {"subscription.fetch.overflow", PUBSUB_RECONNECT},
    {"subscription.limit.exceeded", PUBSUB_SLOW_DOWN},
    {"subscription.topic.cannot.subscribe", PUBSUB_FATAL},
    {"subscription.internal.error", PUBSUB_RECONNECT},
    {"publish.stream.sweeper.timeout", PUBSUB_RECONNECT},
    {"publish.auth.refresh.invalid", PUBSUB_FATAL},
    {"publish.event.count.invalid", PUBSUB_FATAL},
    {"publish.topic.mismatch", PUBSUB_FATAL},
    {"publish.topic.validation.empty", PUBSUB_FATAL},
    {"managed.subscription.already.active", PUBSUB_SLOW_DOWN},
    {"managed.subscription.config.stopped", PUBSUB_FATAL},
    {"managed.subscription.config.deleted", PUBSUB_FATAL},
    /* Configurations take some minutes to become known: tried again, slowly. */
    {"managed.subscription.developer.name.not.found", PUBSUB_SLOW_DOWN},
    {"managed.subscription.subscription.id.not.found", PUBSUB_SLOW_DOWN},
    {"managed.subscription.subscription.id.invalid", PUBSUB_FATAL},
    {"managed.subscription.id.or.developer.name.empty", PUBSUB_FATAL},
    {"managed.subscription.fetch.request.events.invalid", PUBSUB_FATAL},
    {"managed.subscription.fetch.request.commit.request.restricted", PUBSUB_FATAL},
    {"managed.subscription.fetch.request.auth.request.restricted", PUBSUB_FATAL},
    {"managed.subscription.fetch.request.invalid", PUBSUB_FATAL},
};

enum { ANY_STATUS = -1 };

/* Errors without a code: made by gRPC itself, or by what stands before the service. */
static const struct text_row {
    int grpc_code;
    const char *contains;
    enum pubsub_reaction reaction;
} text_rows[] = {
    {ANY_STATUS, "too_many_pings", PUBSUB_CALM},
    {ANY_STATUS, "Too many pings", PUBSUB_CALM},
    {ANY_STATUS, "ENHANCE_YOUR_CALM", PUBSUB_CALM},
    {GRPC_STATUS_RESOURCE_EXHAUSTED, "RST_STREAM with error code 11", PUBSUB_CALM},
    {GRPC_STATUS_RESOURCE_EXHAUSTED, "message larger than max", PUBSUB_FATAL},
    {GRPC_STATUS_UNAVAILABLE, "certificate verify failed", PUBSUB_FATAL},
    {GRPC_STATUS_UNAVAILABLE, "is not in peer certificate", PUBSUB_FATAL},
    {GRPC_STATUS_INVALID_ARGUMENT, "Replay ID validation failed", PUBSUB_LOST_POSITION},
};

static enum pubsub_reaction by_status(int grpc_code)
{
    switch (grpc_code) {
    case GRPC_STATUS_UNAUTHENTICATED:
        return PUBSUB_NEW_TOKEN;
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
    case GRPC_STATUS_ALREADY_EXISTS:
        return PUBSUB_SLOW_DOWN;
    case GRPC_STATUS_INVALID_ARGUMENT:
    case GRPC_STATUS_NOT_FOUND:
    case GRPC_STATUS_PERMISSION_DENIED:
    case GRPC_STATUS_FAILED_PRECONDITION:
    case GRPC_STATUS_UNIMPLEMENTED: /* something answers there that is not the Pub/Sub API */
        return PUBSUB_FATAL;
    default:
        return PUBSUB_RECONNECT; /* also OK: a stream has no good reason to end */
    }
}

enum pubsub_reaction pubsub_classify(int grpc_code, const char *error_code, const char *text)
{
    if (error_code && *error_code)
        for (size_t i = 0; i < ARRAY_LEN(code_rows); i++)
            if (strstr(error_code, code_rows[i].contains))
                return code_rows[i].reaction;
    if (text)
        for (size_t i = 0; i < ARRAY_LEN(text_rows); i++)
            if ((text_rows[i].grpc_code == ANY_STATUS || text_rows[i].grpc_code == grpc_code) &&
                strstr(text, text_rows[i].contains))
                return text_rows[i].reaction;
    return by_status(grpc_code);
}

const char *pubsub_reaction_name(enum pubsub_reaction r)
{
    static const char *const names[] = {
        [PUBSUB_RECONNECT] = "reconnect",
        [PUBSUB_NEW_TOKEN] = "new token",
        [PUBSUB_LOST_POSITION] = "lost position",
        [PUBSUB_SLOW_DOWN] = "slow down",
        [PUBSUB_FATAL] = "fatal",
        [PUBSUB_CALM] = "calm",
    };
    return (size_t)r < ARRAY_LEN(names) ? names[r] : "unknown";
}

const char *pubsub_status_name(int grpc_code)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED",
    };
    return grpc_code >= 0 && (size_t)grpc_code < ARRAY_LEN(names) ? names[grpc_code] : "status out of range";
}
