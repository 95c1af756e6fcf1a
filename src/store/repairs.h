/*
 * repairs: re-reads that are owed, because the stream said "gap" or could not say anything.
 *
 * A task is written in the transaction of the incident that asks for it and stays until it is done; the
 * re-read itself needs the REST client, which this version does not have: until then the incident stays open.
 *
 * Guarantees: numbers only grow. Thread: as the transaction. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_REPAIRS_H
#define STORE_REPAIRS_H

#include "store/store.h"

enum { STORE_MAX_ENTITY = 100, STORE_MAX_RECORD_ID = 18 };

struct repair {
    uint64_t number;                         /* given by repair_add */
    uint64_t incident;                       /* that asked for it */
    uint32_t subscription;                   /* the store's number */
    int64_t since_ms, until_ms;              /* source time of what must be re-read; 0: unknown */
    char entity[STORE_MAX_ENTITY + 1];       /* "": every entity of the subscription */
    char record_id[STORE_MAX_RECORD_ID + 1]; /* "": every record of it */
};

MUST_CHECK int repair_add(struct store_txn *txn, struct repair *repair, struct err *e);
int repair_each(struct store_txn *txn, int (*fn)(void *ctx, const struct repair *repair), void *ctx,
                struct err *e);

#endif
