#include "sim/faults.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By number, as gRPC has them. */
static const char *const status_names[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

static const struct {
    const char *name;
    enum call_kind kind;
} methods[] = {{"Subscribe", CALL_SUBSCRIBE},
               {"ManagedSubscribe", CALL_MANAGED},
               {"GetTopic", CALL_GET_TOPIC},
               {"GetSchema", CALL_GET_SCHEMA}};

static int find_method(const char *name, struct fault *fault)
{
    for (size_t i = 0; name && i < ARRAY_LEN(methods); i++)
        if (strcmp(name, methods[i].name) == 0) {
            fault->method = methods[i].kind;
            return 0;
        }
    return -1;
}

static int find_status(const char *name, struct fault *fault)
{
    fault->stall = name && strcmp(name, "STALL") == 0;
    if (fault->stall)
        return 0;
    for (size_t i = 0; name && i < ARRAY_LEN(status_names); i++)
        if (strcmp(name, status_names[i]) == 0) {
            fault->status = (int)i;
            return 0;
        }
    return -1;
}

static int parse_seconds(const char *text, int64_t *ms)
{
    char *end;
    double seconds = text ? strtod(text, &end) : 0;
    if (text && (end == text || *end || !(seconds >= 0) || seconds > 86400))
        return -1;
    *ms = (int64_t)(seconds * 1000);
    return 0;
}

int faults_add(struct faults *f, const struct fault_script *script, struct err *e)
{
    struct fault fault = {.count = 1};
    int64_t events = 0;
    if (script->status && strcmp(script->status, "NONE") == 0) {
        f->n = 0;
        return 0;
    }
    if (find_method(script->method, &fault) < 0)
        return err_set(e, ERR_CONFIG, "fault", 0,
                       "method=Subscribe, ManagedSubscribe, GetTopic or GetSchema");
    if (find_status(script->status, &fault) < 0)
        return err_set(e, ERR_CONFIG, "fault", 0,
                       "status=UNAVAILABLE (or another gRPC status), STALL or NONE");
    if ((script->count && text_parse_int(script->count, 1, INT64_MAX, &fault.count) < 0) ||
        (script->events && text_parse_int(script->events, 0, INT64_MAX, &events) < 0) ||
        parse_seconds(script->seconds, &fault.delay_ms) < 0)
        return err_set(e, ERR_CONFIG, "fault", 0, "count=N from 1 on, events=N from 0 on, seconds=S");
    if (script->code && strlen(script->code) >= sizeof fault.code)
        return err_set(e, ERR_CONFIG, "fault", 0, "code=: at most %zu characters", sizeof fault.code - 1);
    if (script->text && strlen(script->text) >= sizeof fault.text)
        return err_set(e, ERR_CONFIG, "fault", 0, "text=: at most %zu characters", sizeof fault.text - 1);
    if (f->n == FAULTS_MAX)
        return err_set(e, ERR_CONFIG, "fault", 0, "%d outcomes are waiting already", FAULTS_MAX);
    fault.after_events = (uint64_t)events;
    snprintf(fault.code, sizeof fault.code, "%s", script->code ? script->code : "");
    if (script->topic && strlen(script->topic) >= sizeof fault.topic)
        return err_set(e, ERR_CONFIG, "fault", 0, "topic=: at most %zu characters", sizeof fault.topic - 1);
    snprintf(fault.topic, sizeof fault.topic, "%s", script->topic ? script->topic : "");
    snprintf(fault.text, sizeof fault.text, "%s", script->text ? script->text : "");
    f->queue[f->n++] = fault;
    return 0;
}

static bool fits(const struct fault *fault, enum call_kind method, const char *topic)
{
    return fault->method == method && (!fault->topic[0] || (topic && strcmp(fault->topic, topic) == 0));
}

bool faults_take(struct faults *f, enum call_kind method, const char *topic, struct fault *out)
{
    for (unsigned i = 0; i < f->n; i++) {
        if (!fits(&f->queue[i], method, topic))
            continue;
        *out = f->queue[i];
        if (--f->queue[i].count == 0)
            memmove(&f->queue[i], &f->queue[i + 1], (--f->n - i) * sizeof f->queue[0]);
        return true;
    }
    return false;
}
