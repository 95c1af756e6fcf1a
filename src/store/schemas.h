/*
 * schemas: Avro schema JSON by (org id, schema id). Stored in or before the transaction of the first event
 * that needs it, and never removed: every journal entry is decodable from the store alone (I6).
 *
 * Thread: as the transaction; schema_load_from: any. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_SCHEMAS_H
#define STORE_SCHEMAS_H

#include "store/store.h"

/* 0: appended to json; 1: not held; -1: err. */
MUST_CHECK int schema_load(struct store_txn *txn, struct span org_id, struct span schema_id, struct buf *json,
                           struct err *e);
/* The same in a transaction of its own: what a schema_cache is made with (schema_load_fn). ctx: the struct store. */
MUST_CHECK int schema_load_from(void *ctx, struct span org_id, struct span schema_id, struct buf *json,
                                struct err *e);
MUST_CHECK int schema_save(struct store_txn *txn, struct span org_id, struct span schema_id, struct span json,
                           struct err *e);

#endif
