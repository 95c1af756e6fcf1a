#include "store/incidents.h"

#include "store/codec.h"

int incident_open(struct store_txn *txn, struct incident *incident, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, last;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_INCIDENTS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot record an incident", e);
    rc = mdb_cursor_get(cursor, &k, &last, MDB_LAST);
    incident->number = rc == 0 && k.mv_size == 8 ? key_get_u64(k.mv_data) + 1 : 1;
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot record an incident", e);
    struct buf v = BUF_INIT;
    uint8_t key[8];
    key_u64(key, incident->number);
    put_u8(&v, (uint8_t)incident->state);
    put_i64(&v, incident->opened_ms);
    put_span(&v, span_of_str(incident->subject));
    put_span(&v, span_of_str(incident->kind));
    put_span(&v, span_of_str(incident->policy));
    put_span(&v, span_of(incident->old_replay_id, incident->old_replay_id_len));
    put_i64(&v, incident->since_ms);
    put_i64(&v, incident->until_ms);
    put_span(&v, span_of_str(incident->text));
    rc = store_put(txn, DB_INCIDENTS, span_of(key, sizeof key), buf_span(&v), e);
    buf_release(&v);
    return rc;
}

static bool decode(struct span key, struct span v, struct incident *i)
{
    if (key.n != 8)
        return false;
    struct reader r = {v, false};
    *i = (struct incident){.number = key_get_u64(key.p)};
    i->state = (enum incident_state)get_u8(&r);
    i->opened_ms = get_i64(&r);
    get_text(&r, i->subject, sizeof i->subject);
    get_text(&r, i->kind, sizeof i->kind);
    get_text(&r, i->policy, sizeof i->policy);
    struct span id = get_span(&r);
    i->since_ms = get_i64(&r);
    i->until_ms = get_i64(&r);
    get_text(&r, i->text, sizeof i->text);
    if (!reader_ok(&r) || id.n > sizeof i->old_replay_id)
        return false;
    if (id.n)
        memcpy(i->old_replay_id, id.p, id.n);
    i->old_replay_id_len = (uint32_t)id.n;
    return true;
}

int incident_each(struct store_txn *txn, int (*fn)(void *ctx, const struct incident *incident), void *ctx, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_INCIDENTS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read incidents", e);
    int result = 0;
    while (result == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct incident i;
        if (!decode(span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), &i))
            result = err_set(e, ERR_STORE, "store", MDB_CORRUPTED, "store %s is damaged: an incident does not parse",
                             store_folder(txn->st));
        else
            result = fn(ctx, &i);
    }
    mdb_cursor_close(cursor);
    if (result == 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read incidents", e);
    return result;
}

const char *incident_state_name(enum incident_state state)
{
    return state == INCIDENT_OPEN ? "open" : "closed";
}
