/*
 * faults: what the next calls get instead of an answer.
 *
 * A queue of outcomes, each for one method: the next N calls of it fail with a status, at once, after a
 * while, or, on a stream, after so many events; or they are never answered. A call takes the oldest outcome
 * of its method when it starts and keeps it.
 *
 * Guarantees: an outcome meets exactly `count` calls. Thread: under the simulator's lock.
 * Errors: faults_add says in words what is wrong with the script.
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum call_kind { CALL_SUBSCRIBE, CALL_MANAGED, CALL_GET_TOPIC, CALL_GET_SCHEMA, CALL_UNKNOWN };

enum { FAULTS_MAX = 32 };

struct fault {
    enum call_kind method;
    bool stall;            /* no answer, ever */
    int status;            /* of gRPC; OK: the true answer, late (streams: an end without error) */
    char code[80];         /* error-code without its prefix; "": the error has none */
    char topic[160];       /* streams: only of this topic; "": of any */
    char text[160];        /* what the error says; "": the simulator's own words */
    int64_t delay_ms;      /* before it shows */
    uint64_t after_events; /* streams: sent before it shows */
    int64_t count;         /* calls it still meets */
};

struct faults {
    struct fault queue[FAULTS_MAX];
    unsigned n;
};

/* What POST /sim/call-fault gives; NULL where a parameter is missing. */
struct fault_script {
    const char *method; /* "Subscribe", "ManagedSubscribe", "GetTopic", "GetSchema" */
    const char *status; /* "UNAVAILABLE", …, "STALL"; "NONE" empties the queue */
    const char *code, *count, *seconds, *events, *text, *topic;
};

MUST_CHECK int faults_add(struct faults *f, const struct fault_script *script, struct err *e);
/* true: the call that starts now is to have *out. topic: of a stream, else NULL. */
bool faults_take(struct faults *f, enum call_kind method, const char *topic, struct fault *out);

#endif
