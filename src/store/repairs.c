#include "store/repairs.h"

#include "store/codec.h"

int repair_add(struct store_txn *txn, struct repair *repair, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, last;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_REPAIRS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot record a repair", e);
    rc = mdb_cursor_get(cursor, &k, &last, MDB_LAST);
    repair->number = rc == 0 && k.mv_size == 8 ? key_get_u64(k.mv_data) + 1 : 1;
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot record a repair", e);
    struct buf v = BUF_INIT;
    uint8_t key[8];
    key_u64(key, repair->number);
    put_u64(&v, repair->incident);
    put_u32(&v, repair->subscription);
    put_i64(&v, repair->since_ms);
    put_i64(&v, repair->until_ms);
    put_span(&v, span_of_str(repair->entity));
    put_span(&v, span_of_str(repair->record_id));
    rc = store_put(txn, DB_REPAIRS, span_of(key, sizeof key), buf_span(&v), e);
    buf_release(&v);
    return rc;
}

static bool decode(const MDB_val *k, const MDB_val *v, struct repair *out)
{
    if (k->mv_size != 8)
        return false;
    struct reader r = {span_of(v->mv_data, v->mv_size), false};
    *out = (struct repair){.number = key_get_u64(k->mv_data)};
    out->incident = get_u64(&r);
    out->subscription = get_u32(&r);
    out->since_ms = get_i64(&r);
    out->until_ms = get_i64(&r);
    if (reader_more(&r)) { /* tasks of earlier versions end here */
        get_text(&r, out->entity, sizeof out->entity);
        get_text(&r, out->record_id, sizeof out->record_id);
    }
    return reader_ok(&r);
}

int repair_each(struct store_txn *txn, int (*fn)(void *ctx, const struct repair *repair), void *ctx,
                struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_REPAIRS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read repairs", e);
    int result = 0;
    while (result == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct repair repair;
        if (!decode(&k, &v, &repair))
            result = err_set(e, ERR_STORE, "store", MDB_CORRUPTED,
                             "store %s is damaged: a repair task does not parse", store_folder(txn->st));
        else
            result = fn(ctx, &repair);
    }
    mdb_cursor_close(cursor);
    if (result == 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read repairs", e);
    return result;
}
