#include "store/dead_letters.h"

#include "store/codec.h"

/* sink, NUL, seq, record id */
static void make_key(struct buf *key, struct span sink, uint64_t seq, struct span record_id)
{
    uint8_t number[8];
    key_u64(number, seq);
    buf_add_span(key, sink);
    buf_add_char(key, '\0');
    buf_add(key, number, sizeof number);
    buf_add_span(key, record_id);
}

int dead_letter_put(struct store_txn *txn, const struct dead_letter *d, struct err *e)
{
    struct buf key = BUF_INIT, v = BUF_INIT;
    make_key(&key, d->sink, d->ev.seq, d->record_id);
    put_u8(&v, (uint8_t)d->status);
    put_i64(&v, d->parked_ms);
    put_span(&v, d->reason);
    put_span(&v, d->detail);
    put_u32(&v, d->ev.subscription);
    put_u32(&v, d->ev.generation);
    put_u32(&v, d->ev.epoch);
    put_u32(&v, d->ev.flags);
    put_i64(&v, d->ev.received_ms);
    put_span(&v, d->ev.event_id);
    put_span(&v, d->ev.replay_id);
    put_span(&v, d->ev.schema_id);
    put_span(&v, d->ev.payload);
    int rc = store_put(txn, DB_DEAD_LETTERS, buf_span(&key), buf_span(&v), e);
    buf_release(&key);
    buf_release(&v);
    return rc;
}

static bool decode(struct span key, struct span v, struct dead_letter *d)
{
    const uint8_t *nul = memchr(key.p, 0, key.n);
    if (!nul || (size_t)(key.p + key.n - nul) < 9)
        return false;
    d->sink = span_of(key.p, (size_t)(nul - key.p));
    d->record_id = span_of(nul + 9, (size_t)(key.p + key.n - nul) - 9);
    struct reader r = {v, false};
    d->ev.seq = key_get_u64(nul + 1);
    d->status = (enum dead_letter_status)get_u8(&r);
    d->parked_ms = get_i64(&r);
    d->reason = get_span(&r);
    d->detail = get_span(&r);
    d->ev.subscription = get_u32(&r);
    d->ev.generation = get_u32(&r);
    d->ev.epoch = get_u32(&r);
    d->ev.flags = get_u32(&r);
    d->ev.received_ms = get_i64(&r);
    d->ev.event_id = get_span(&r);
    d->ev.replay_id = get_span(&r);
    d->ev.schema_id = get_span(&r);
    d->ev.payload = get_span(&r);
    return reader_ok(&r);
}

int dead_letter_delete(struct store_txn *txn, struct span sink, uint64_t seq, struct span record_id,
                       struct err *e)
{
    struct buf key = BUF_INIT;
    make_key(&key, sink, seq, record_id);
    int rc = store_delete(txn, DB_DEAD_LETTERS, buf_span(&key), e);
    buf_release(&key);
    return rc;
}

/* From the key `first` on, while keys begin with its first `prefix` bytes and the seq is at most `last`. */
static int walk(struct store_txn *txn, struct span first, size_t prefix, uint64_t last,
                int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k = {first.n, (void *)(uintptr_t)first.p}, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_DEAD_LETTERS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read dead letters", e);
    rc = mdb_cursor_get(cursor, &k, &v, first.n ? MDB_SET_RANGE : MDB_FIRST);
    int result = 0;
    while (result == 0 && rc == 0) {
        struct dead_letter d = {0};
        if (prefix && (k.mv_size < prefix || memcmp(k.mv_data, first.p, prefix) != 0))
            break;
        if (!decode(span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), &d))
            result = err_set(e, ERR_STORE, "store", MDB_CORRUPTED,
                             "store %s is damaged: a dead letter does not parse", store_folder(txn->st));
        else if (d.ev.seq > last)
            break;
        else
            result = fn(ctx, &d);
        if (result == 0)
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (result == 0 && rc != 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read dead letters", e);
    return result;
}

int dead_letter_between(struct store_txn *txn, const char *sink, uint64_t first, uint64_t last,
                        int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e)
{
    struct buf key = BUF_INIT;
    make_key(&key, span_of_str(sink), first, span_of(NULL, 0));
    int rc = walk(txn, buf_span(&key), strlen(sink) + 1, last, fn, ctx, e);
    buf_release(&key);
    return rc;
}

/* The key behind it: no key is its beginning and one byte more, as short as that. */
int dead_letter_after(struct store_txn *txn, struct span sink, uint64_t seq, struct span record_id,
                      int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e)
{
    struct buf key = BUF_INIT;
    make_key(&key, sink, seq, record_id);
    buf_add_char(&key, '\0');
    int rc = walk(txn, buf_span(&key), 0, UINT64_MAX, fn, ctx, e);
    buf_release(&key);
    return rc;
}

int dead_letter_mark(struct store_txn *txn, struct span sink, uint64_t seq, struct span record_id,
                     enum dead_letter_status status, struct err *e)
{
    struct buf key = BUF_INIT, value = BUF_INIT;
    struct span v;
    make_key(&key, sink, seq, record_id);
    int rc = store_get(txn, DB_DEAD_LETTERS, buf_span(&key), &v, e);
    if (rc == 0) {
        buf_add_span(&value, v);
        value.data[0] = (uint8_t)status;
        rc = store_put(txn, DB_DEAD_LETTERS, buf_span(&key), buf_span(&value), e);
    }
    buf_release(&key);
    buf_release(&value);
    return rc;
}

int dead_letter_each(struct store_txn *txn, const char *sink,
                     int (*fn)(void *ctx, const struct dead_letter *d), void *ctx, struct err *e)
{
    if (sink)
        return dead_letter_between(txn, sink, 0, UINT64_MAX, fn, ctx, e);
    return walk(txn, span_of(NULL, 0), 0, UINT64_MAX, fn, ctx, e);
}

/* The first key that begins with the name, and what is behind the name; 1: there is none. */
static int first_of(struct store_txn *txn, struct span prefix, struct buf *rest, struct buf *value,
                    struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k = {prefix.n, (void *)(uintptr_t)prefix.p}, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_DEAD_LETTERS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read dead letters", e);
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read dead letters", e);
    if (rc != 0 || k.mv_size < prefix.n || memcmp(k.mv_data, prefix.p, prefix.n) != 0)
        return 1;
    buf_clear(rest);
    buf_clear(value);
    buf_add(rest, (const uint8_t *)k.mv_data + prefix.n, k.mv_size - prefix.n);
    buf_add(value, v.mv_data, v.mv_size);
    return 0;
}

int dead_letters_rename(struct store_txn *txn, const char *from, const char *to, size_t *n, struct err *e)
{
    const struct span old = span_of(from, strlen(from) + 1),
                      new = span_of(to, strlen(to) + 1); /* with the NUL */
    struct buf key = BUF_INIT, rest = BUF_INIT, value = BUF_INIT;
    int rc;
    *n = 0;
    while ((rc = first_of(txn, old, &rest, &value, e)) == 0) {
        buf_clear(&key);
        buf_add_span(&key, new);
        buf_add_span(&key, buf_span(&rest));
        if (store_put(txn, DB_DEAD_LETTERS, buf_span(&key), buf_span(&value), e) != 0) {
            rc = -1;
            break;
        }
        buf_clear(&key);
        buf_add_span(&key, old);
        buf_add_span(&key, buf_span(&rest));
        if (store_delete(txn, DB_DEAD_LETTERS, buf_span(&key), e) < 0) {
            rc = -1;
            break;
        }
        ++*n;
    }
    buf_release(&key);
    buf_release(&rest);
    buf_release(&value);
    return rc < 0 ? -1 : 0;
}

const char *dead_letter_status_name(enum dead_letter_status status)
{
    return status == DEAD_LETTER_RETRYING ? "retrying" : "final";
}
