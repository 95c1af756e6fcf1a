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
    int64_t opened_ms;                /* wall clock */
    char subject[STORE_MAX_NAME + 1]; /* subscription or sink */
    char kind[32];                    /* "lost_position", "output_rotated", … */
    char policy[16];                  /* what is done about it */
    uint8_t old_replay_id[EVENT_MAX_REPLAY_ID];
    uint32_t old_replay_id_len;
    int64_t since_ms, until_ms; /* source time of the interval that may be lost; 0: unknown */
    char text[400];
    int64_t closed_ms;  /* wall clock; 0 while it is open, or when it was recorded closed */
    char closed_by[64]; /* who */
    char note[400];     /* what that person found or did; "" when nothing was said */
};

MUST_CHECK int incident_open(struct store_txn *txn, struct incident *incident, struct err *e);
/*
 * Close incident `number` on a person's order. 0: closed; 1: it was closed before, and stays as it was; 2:
 * there is none with this number. *incident is as stored afterwards (not with 2). ERR_CONFIG: the note is too
 * long, not UTF-8, or has control characters.
 */
MUST_CHECK int incident_close(struct store_txn *txn, uint64_t number, const char *by, const char *note,
                              struct incident *incident, struct err *e);
/* The same, told to people in `answer`: 0, or -1 with ERR_CONFIG when there is no such incident. */
MUST_CHECK int incident_order_close(struct store_txn *txn, uint64_t number, const char *by, const char *note,
                                    struct buf *answer, struct err *e);
/* Incidents of the sink `from` are `to`'s from now on, closed ones too; what their texts say stays. */
MUST_CHECK int incidents_rename_sink(struct store_txn *txn, const char *from, const char *to, struct err *e);
int incident_each(struct store_txn *txn, int (*fn)(void *ctx, const struct incident *incident), void *ctx,
                  struct err *e);
const char *incident_state_name(enum incident_state state);

#endif
