/*
 * subscriptions: positions, generations and totals, and the orgs they belong to.
 *
 * A subscription record belongs to (org id, topic, subscription name): another topic under an old name begins
 * a record of its own. Its number is what journal and dead letters refer to; numbers are never given twice.
 *
 * Guarantees: totals change in the transaction of what they count (I9): received = duplicates +
 * before_start + journaled. resume is a resume point in the sense of I1.
 *
 * A generation is raised by an ordered replay and by nothing else (subscription_replay).
 *
 * Ownership: records are values; strings in them are fixed arrays. Thread: as the transaction.
 * Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_SUBSCRIPTIONS_H
#define STORE_SUBSCRIPTIONS_H

#include "event/event.h"
#include "store/store.h"

enum { STORE_MAX_NAME = 64, STORE_MAX_TOPIC = 255, STORE_MAX_REQUEST = 160 };

struct subscription_record {
    uint32_t number;
    char org_id[19];
    char topic[STORE_MAX_TOPIC + 1];
    char name[STORE_MAX_NAME + 1];
    uint32_t generation;
    uint8_t resume[EVENT_MAX_REPLAY_ID]; /* where a new stream begins: CUSTOM with these bytes */
    uint32_t resume_len;                 /* 0: no position yet */
    int64_t resume_source_ms;            /* source time at which this resume point was current */
    int64_t started_source_ms;           /* server's time before the first Subscribe; 0: not asked yet */
    int64_t last_response_ms;            /* wall clock */
    uint64_t received, duplicates, before_start, journaled;
    /* An ordered replay that has not caught up yet: what was asked for, as text; "" when none is under way.
     */
    char replaying[STORE_MAX_REQUEST];
    char last_replay[STORE_MAX_REQUEST]; /* the newest order, under way or done … */
    int64_t last_replay_ms;              /* … and when it was given (wall clock) */
    int64_t replay_from_ms;              /* events committed before are not journaled again; 0: all are */
    /* Until the service has accepted the replay's position: what to return to if it refuses it. */
    uint32_t prior_generation;
    uint8_t prior_resume[EVENT_MAX_REPLAY_ID];
    uint32_t prior_resume_len;
    bool lost_position; /* an incident says so: the next stream begins where the policy says */
    uint8_t acknowledged[EVENT_MAX_REPLAY_ID]; /* managed: what the service last said is committed … */
    uint32_t acknowledged_len;
    int64_t acknowledged_ms; /* … and when (wall clock) */
    uint32_t
        epoch; /* of the org when the position was stored: another epoch, another database, another counter */
};

/* 0 found, 1 not found, -1 err. */
MUST_CHECK int subscription_find(struct store_txn *txn, const char *org_id, const char *topic,
                                 const char *name, struct subscription_record *out, struct err *e);
MUST_CHECK int subscription_get(struct store_txn *txn, uint32_t number, struct subscription_record *out,
                                struct err *e);
/* Give *record a number and write it. */
MUST_CHECK int subscription_create(struct store_txn *txn, struct subscription_record *record, struct err *e);
MUST_CHECK int subscription_put(struct store_txn *txn, const struct subscription_record *record,
                                struct err *e);
/* Call fn for each record, ascending number; fn returning non-zero ends the walk and is returned. */
int subscription_each(struct store_txn *txn, int (*fn)(void *ctx, const struct subscription_record *record),
                      void *ctx, struct err *e);

/* What is known of an org: an org name whose login gives another org id is refused. */
struct org_record {
    char org_id[19];
    uint32_t epoch; /* raised when the org's database instance changes */
    char instance_url[256];
};
MUST_CHECK int org_get(struct store_txn *txn, const char *org_name, struct org_record *out, struct err *e);
MUST_CHECK int org_put(struct store_txn *txn, const char *org_name, const struct org_record *record,
                       struct err *e);

/* Source time: the greatest server Date or commit stamp received, ms since 1970; 0 before the first. */
MUST_CHECK int source_time_get(struct store_txn *txn, int64_t *ms, struct err *e);
MUST_CHECK int source_time_put(struct store_txn *txn, int64_t ms, struct err *e);

#endif
