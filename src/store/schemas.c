#include "store/schemas.h"

/* org id, NUL, schema id. A schema id is 22 characters; what would not fit LMDB's key limit is refused. */
static int make_key(struct span org_id, struct span schema_id, struct buf *key, struct err *e)
{
    buf_add_span(key, org_id);
    buf_add_char(key, '\0');
    buf_add_span(key, schema_id);
    if (key->len <= 500)
        return 0;
    return err_set(e, ERR_REJECTED, "store", 0, "schema id of %zu bytes is too long", schema_id.n);
}

int schema_load(struct store_txn *txn, struct span org_id, struct span schema_id, struct buf *json,
                struct err *e)
{
    struct buf key = BUF_INIT;
    struct span v;
    int rc = make_key(org_id, schema_id, &key, e);
    if (rc == 0)
        rc = store_get(txn, DB_SCHEMAS, buf_span(&key), &v, e);
    if (rc == 0)
        buf_add_span(json, v);
    buf_release(&key);
    return rc;
}

int schema_load_from(void *ctx, struct span org_id, struct span schema_id, struct buf *json, struct err *e)
{
    struct store_txn txn;
    if (store_begin(ctx, false, &txn, e) != 0)
        return -1;
    int rc = schema_load(&txn, org_id, schema_id, json, e);
    store_abort(&txn);
    return rc;
}

int schema_save(struct store_txn *txn, struct span org_id, struct span schema_id, struct span json,
                struct err *e)
{
    struct buf key = BUF_INIT;
    int rc = make_key(org_id, schema_id, &key, e);
    if (rc == 0)
        rc = store_put(txn, DB_SCHEMAS, buf_span(&key), json, e);
    buf_release(&key);
    return rc;
}
