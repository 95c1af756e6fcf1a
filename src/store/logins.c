#include "store/logins.h"

#include "store/codec.h"

/* Beside the other small things, in the meta database: "login NAME". */
static void make_key(struct buf *key, const char *org_name)
{
    buf_addf(key, "login %s", org_name);
}

int login_record_get(struct store_txn *txn, const char *org_name, struct login_record *out, struct err *e)
{
    struct buf key = BUF_INIT;
    struct span v;
    make_key(&key, org_name);
    int rc = store_get(txn, DB_META, buf_span(&key), &v, e);
    buf_release(&key);
    *out = (struct login_record){0};
    if (rc != 0)
        return rc;
    struct reader r = {v, false};
    out->cause = get_u32(&r);
    out->failures = get_u32(&r);
    out->total = get_u32(&r);
    out->counted = get_u32(&r);
    out->unheard = get_u32(&r);
    out->n_refused = get_u32(&r);
    for (int i = 0; i < LOGIN_REFUSALS; i++)
        out->refused_ms[i] = get_i64(&r);
    out->next_login_ms = get_i64(&r);
    out->credentials = get_u32(&r);
    get_text(&r, out->why, sizeof out->why);
    if (!reader_ok(&r))
        return err_set(
            e, ERR_STORE, "store", MDB_CORRUPTED,
            "store %s is damaged: what it remembers of logins to %s does not parse; restore a backup",
            store_folder(txn->st), org_name);
    return 0;
}

int login_record_put(struct store_txn *txn, const char *org_name, const struct login_record *record,
                     struct err *e)
{
    struct buf key = BUF_INIT, b = BUF_INIT;
    make_key(&key, org_name);
    put_u32(&b, record->cause);
    put_u32(&b, record->failures);
    put_u32(&b, record->total);
    put_u32(&b, record->counted);
    put_u32(&b, record->unheard);
    put_u32(&b, record->n_refused);
    for (int i = 0; i < LOGIN_REFUSALS; i++)
        put_i64(&b, record->refused_ms[i]);
    put_i64(&b, record->next_login_ms);
    put_u32(&b, record->credentials);
    put_span(&b, span_of_str(record->why));
    int rc = store_put(txn, DB_META, buf_span(&key), buf_span(&b), e);
    buf_release(&key);
    buf_release(&b);
    return rc;
}

int login_record_delete(struct store_txn *txn, const char *org_name, struct err *e)
{
    struct buf key = BUF_INIT;
    make_key(&key, org_name);
    int rc = store_delete(txn, DB_META, buf_span(&key), e);
    buf_release(&key);
    return rc;
}
