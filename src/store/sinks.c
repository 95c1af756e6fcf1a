#include "store/sinks.h"

#include "store/codec.h"

#include <stdio.h>

void sink_record_release(struct sink_record *record)
{
    buf_release(&record->state);
}

static int decode(struct store_txn *txn, struct span name, struct span v, struct sink_record *out,
                  struct err *e)
{
    struct reader r = {v, false};
    *out = (struct sink_record){.state = BUF_INIT};
    snprintf(out->name, sizeof out->name, "%.*s", SPAN_ARG(name));
    out->cursor = get_u64(&r);
    out->base = get_u64(&r);
    out->generation = get_u32(&r);
    out->delivered = get_u64(&r);
    out->superseded = get_u64(&r);
    out->filtered = get_u64(&r);
    out->parked = get_u64(&r);
    out->retries = get_u64(&r);
    out->redelivered = get_u64(&r);
    out->retired = get_u8(&r);
    buf_add_span(&out->state, get_span(&r));
    if (reader_more(&r)) { /* records of earlier versions end here */
        out->redeliver_to = get_u64(&r);
        out->redeliver_from_ms = get_i64(&r);
        get_text(&r, out->last_redelivery, sizeof out->last_redelivery);
        out->last_redelivery_ms = get_i64(&r);
    }
    if (reader_more(&r)) /* and those before re-drives here */
        out->redriven = get_u64(&r);
    if (reader_ok(&r))
        return 0;
    sink_record_release(out);
    return err_set(e, ERR_STORE, "store", MDB_CORRUPTED,
                   "store %s is damaged: the record of sink %.*s does not parse; restore a backup",
                   store_folder(txn->st), SPAN_ARG(name));
}

int sink_record_get(struct store_txn *txn, const char *name, struct sink_record *out, struct err *e)
{
    struct span v;
    *out = (struct sink_record){.state = BUF_INIT};
    snprintf(out->name, sizeof out->name, "%s", name);
    int rc = store_get(txn, DB_SINKS, span_of_str(name), &v, e);
    return rc != 0 ? rc : decode(txn, span_of_str(name), v, out, e);
}

int sink_record_put(struct store_txn *txn, const struct sink_record *record, struct err *e)
{
    struct buf b = BUF_INIT;
    put_u64(&b, record->cursor);
    put_u64(&b, record->base);
    put_u32(&b, record->generation);
    put_u64(&b, record->delivered);
    put_u64(&b, record->superseded);
    put_u64(&b, record->filtered);
    put_u64(&b, record->parked);
    put_u64(&b, record->retries);
    put_u64(&b, record->redelivered);
    put_u8(&b, record->retired);
    put_span(&b, buf_span(&record->state));
    put_u64(&b, record->redeliver_to);
    put_i64(&b, record->redeliver_from_ms);
    put_span(&b, span_of_str(record->last_redelivery));
    put_i64(&b, record->last_redelivery_ms);
    put_u64(&b, record->redriven);
    int rc = store_put(txn, DB_SINKS, span_of_str(record->name), buf_span(&b), e);
    buf_release(&b);
    return rc;
}

int sink_record_delete(struct store_txn *txn, const char *name, struct err *e)
{
    return store_delete(txn, DB_SINKS, span_of_str(name), e);
}

int sink_record_each(struct store_txn *txn, int (*fn)(void *ctx, const struct sink_record *record), void *ctx,
                     struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_SINKS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read sinks", e);
    int result = 0;
    while (result == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct sink_record record;
        result = decode(txn, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), &record, e);
        if (result == 0) {
            result = fn(ctx, &record);
            sink_record_release(&record);
        }
    }
    mdb_cursor_close(cursor);
    if (result == 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read sinks", e);
    return result;
}

static int lowest(void *ctx, const struct sink_record *record)
{
    uint64_t *seq = ctx;
    if (!record->retired && record->cursor < *seq)
        *seq = record->cursor;
    return 0;
}

int sinks_settled(struct store_txn *txn, uint64_t *seq, struct err *e)
{
    *seq = UINT64_MAX;
    return sink_record_each(txn, lowest, seq, e);
}
