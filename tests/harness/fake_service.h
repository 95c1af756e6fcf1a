/*
 * fake_service: a scripted Pub/Sub service inside the test, on gRPC C core.
 *
 * It sends bytes it packs itself and counts what clients ask for, so that flow control is checked from
 * the other side. It does only what its script says; behaviour of a whole org is the simulator's duty.
 *
 * Calling order: fake_service_start(script) -> use port -> read counters under fake_service_read -> stop.
 * Thread: one of its own; the script is fixed at start.
 */
#ifndef HARNESS_FAKE_SERVICE_H
#define HARNESS_FAKE_SERVICE_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct fake_script {
    /* TLS: PEM texts; NULL: plaintext. */
    const char *certificate, *key;
    int events;   /* to send on each stream, then: */
    int end_code; /* the stream ends with this status; -1: it stays open */
    const char *end_text;
    const char *error_code;     /* trailer, NULL: none */
    int batch;                  /* at most this many per response (0: as many as are asked for) */
    size_t payload;             /* bytes of each event's payload */
    bool garbage;               /* the first response does not parse */
    bool keepalives;            /* after the events: one response without events */
    int pending_offset;         /* added to pending_num_requested, to make the client's count differ */
    int unary_code;             /* status of GetTopic and GetSchema */
    bool unary_silent;          /* they are never answered */
    bool strict_pings;          /* the second ping within five minutes is one too many */
    int commits_per_answer;     /* ManagedSubscribe: one answer for so many, naming the newest; 0: for each */
    const char *commit_refusal; /* every answer is this error; NULL: accepted */
    bool answer_with_events;    /* answers come with the next events, while there are any */
};

struct fake_counts {
    int streams, unary;   /* calls accepted */
    int requests;         /* FetchRequests on all streams */
    int asked;            /* sum of their num_requested */
    int most_outstanding; /* highest sum of asked minus sent */
    int times_dry;        /* nothing outstanding although events were left to send */
    int smallest_request;
    int first_preset; /* of the last stream */
    char first_topic[80];
    uint8_t first_replay_id[64];
    size_t first_replay_id_len;
    int later_topics; /* follow-up requests that named a topic */
    char accesstoken[80], instanceurl[80], tenantid[40], trace_id[64]; /* of the last call */
    int distinct_trace_ids;
    int calls_without_metadata;
    char developer_name[80];                      /* ManagedSubscribe: of the last stream */
    int commits, commits_in_first, commits_alone; /* all; not allowed; in requests that ask for no events */
    char last_commit_request[24];
    uint8_t last_commit[64];
    size_t last_commit_len;
};

struct fake_service;

struct fake_service *fake_service_start(const struct fake_script *script);
int fake_service_port(const struct fake_service *f);
struct fake_counts fake_service_read(struct fake_service *f);
void fake_service_stop(struct fake_service *f);

#endif
