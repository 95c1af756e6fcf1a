/*
 * incidents: what may have lost data or needs a person: kept, shown, closed.
 *
 * Guarantees: numbers only grow; an incident is never removed by the program, only closed.
 * Thread: as the transaction. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_INCIDENTS_H
#define STORE_INCIDENTS_H

#include "event/event.h"
#include "store/store.h"
#include "store/subscriptions.h"

enum incident_state { INCIDENT_OPEN = 1, INCIDENT_CLOSED = 2 };

struct incident {
    uint64_t number; /* given by incident_open */
    enum incident_state state;
    int64_t opened_ms; /* wall clock */
    char subject[STORE_MAX_NAME + 1]; /* subscription or sink */
    char kind[32];   /* "lost_position", "output_rotated", … */
    char policy[16]; /* what is done about it */
    uint8_t old_replay_id[EVENT_MAX_REPLAY_ID];
    uint32_t old_replay_id_len;
    int64_t since_ms, until_ms; /* source time of the interval that may be lost; 0: unknown */
    char text[400];
};

MUST_CHECK int incident_open(struct store_txn *txn, struct incident *incident, struct err *e);
int incident_each(struct store_txn *txn, int (*fn)(void *ctx, const struct incident *incident), void *ctx, struct err *e);
const char *incident_state_name(enum incident_state state);

#endif
