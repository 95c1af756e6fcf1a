#include "store/subscriptions.h"

#include "store/codec.h"

static int damaged(struct store_txn *txn, const char *what, struct err *e)
{
    return err_set(e, ERR_STORE, "store", MDB_CORRUPTED,
                   "store %s is damaged: %s does not parse; restore a backup", store_folder(txn->st), what);
}

static void encode(const struct subscription_record *r, struct buf *b)
{
    put_span(b, span_of_str(r->org_id));
    put_span(b, span_of_str(r->topic));
    put_span(b, span_of_str(r->name));
    put_u32(b, r->generation);
    put_span(b, span_of(r->resume, r->resume_len));
    put_i64(b, r->resume_source_ms);
    put_i64(b, r->started_source_ms);
    put_i64(b, r->last_response_ms);
    put_u64(b, r->received);
    put_u64(b, r->duplicates);
    put_u64(b, r->before_start);
    put_u64(b, r->journaled);
    put_span(b, span_of_str(r->replaying));
    put_span(b, span_of_str(r->last_replay));
    put_i64(b, r->last_replay_ms);
    put_i64(b, r->replay_from_ms);
    put_u32(b, r->prior_generation);
    put_span(b, span_of(r->prior_resume, r->prior_resume_len));
    put_u8(b, r->lost_position);
    put_u32(b, r->epoch);
    put_span(b, span_of(r->acknowledged, r->acknowledged_len));
    put_i64(b, r->acknowledged_ms);
}

static int decode(struct store_txn *txn, uint32_t number, struct span v, struct subscription_record *out,
                  struct err *e)
{
    struct reader r = {v, false};
    *out = (struct subscription_record){.number = number};
    get_text(&r, out->org_id, sizeof out->org_id);
    get_text(&r, out->topic, sizeof out->topic);
    get_text(&r, out->name, sizeof out->name);
    out->generation = get_u32(&r);
    struct span resume = get_span(&r);
    out->resume_source_ms = get_i64(&r);
    out->started_source_ms = get_i64(&r);
    out->last_response_ms = get_i64(&r);
    out->received = get_u64(&r);
    out->duplicates = get_u64(&r);
    out->before_start = get_u64(&r);
    out->journaled = get_u64(&r);
    struct span prior = {0};
    if (reader_more(&r)) { /* records of the first version end here */
        get_text(&r, out->replaying, sizeof out->replaying);
        get_text(&r, out->last_replay, sizeof out->last_replay);
        out->last_replay_ms = get_i64(&r);
        out->replay_from_ms = get_i64(&r);
        out->prior_generation = get_u32(&r);
        prior = get_span(&r);
        out->lost_position = get_u8(&r);
        out->epoch = get_u32(&r);
    }
    struct span acknowledged = {0};
    if (reader_more(&r)) {
        acknowledged = get_span(&r);
        out->acknowledged_ms = get_i64(&r);
    }
    if (!reader_ok(&r) || resume.n > sizeof out->resume || prior.n > sizeof out->prior_resume ||
        acknowledged.n > sizeof out->acknowledged)
        return damaged(txn, "a subscription record", e);
    if (resume.n)
        memcpy(out->resume, resume.p, resume.n);
    if (prior.n)
        memcpy(out->prior_resume, prior.p, prior.n);
    if (acknowledged.n)
        memcpy(out->acknowledged, acknowledged.p, acknowledged.n);
    out->acknowledged_len = (uint32_t)acknowledged.n;
    out->resume_len = (uint32_t)resume.n;
    out->prior_resume_len = (uint32_t)prior.n;
    return 0;
}

int subscription_each(struct store_txn *txn, int (*fn)(void *ctx, const struct subscription_record *record),
                      void *ctx, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_SUBSCRIPTIONS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read subscriptions", e);
    int result = 0;
    while (result == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct subscription_record record;
        if (k.mv_size != 4)
            result = damaged(txn, "a subscription key", e);
        else if (decode(txn, key_get_u32(k.mv_data), span_of(v.mv_data, v.mv_size), &record, e) != 0)
            result = -1;
        else
            result = fn(ctx, &record);
    }
    mdb_cursor_close(cursor);
    if (result == 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read subscriptions", e);
    return result;
}

struct search {
    const char *org_id, *topic, *name;
    struct subscription_record *out;
    uint32_t greatest;
};

static int match(void *ctx, const struct subscription_record *r)
{
    struct search *s = ctx;
    s->greatest = r->number;
    if (!s->name || strcmp(r->name, s->name) != 0 || strcmp(r->topic, s->topic) != 0 ||
        strcmp(r->org_id, s->org_id) != 0)
        return 0;
    *s->out = *r;
    return 1;
}

int subscription_find(struct store_txn *txn, const char *org_id, const char *topic, const char *name,
                      struct subscription_record *out, struct err *e)
{
    struct search s = {org_id, topic, name, out, 0};
    int rc = subscription_each(txn, match, &s, e);
    return rc < 0 ? -1 : rc == 1 ? 0 : 1;
}

int subscription_get(struct store_txn *txn, uint32_t number, struct subscription_record *out, struct err *e)
{
    uint8_t key[4];
    struct span v;
    key_u32(key, number);
    int rc = store_get(txn, DB_SUBSCRIPTIONS, span_of(key, sizeof key), &v, e);
    return rc != 0 ? rc : decode(txn, number, v, out, e);
}

int subscription_create(struct store_txn *txn, struct subscription_record *record, struct err *e)
{
    struct search s = {NULL, NULL, NULL, NULL, 0};
    if (subscription_each(txn, match, &s, e) < 0)
        return -1;
    record->number = s.greatest + 1;
    return subscription_put(txn, record, e);
}

int subscription_put(struct store_txn *txn, const struct subscription_record *record, struct err *e)
{
    uint8_t key[4];
    struct buf b = BUF_INIT;
    key_u32(key, record->number);
    encode(record, &b);
    int rc = store_put(txn, DB_SUBSCRIPTIONS, span_of(key, sizeof key), buf_span(&b), e);
    buf_release(&b);
    return rc;
}

int org_get(struct store_txn *txn, const char *org_name, struct org_record *out, struct err *e)
{
    struct span v;
    int rc = store_get(txn, DB_ORGS, span_of_str(org_name), &v, e);
    if (rc != 0)
        return rc;
    struct reader r = {v, false};
    get_text(&r, out->org_id, sizeof out->org_id);
    out->epoch = get_u32(&r);
    get_text(&r, out->instance_url, sizeof out->instance_url);
    return reader_ok(&r) ? 0 : damaged(txn, "an org record", e);
}

int org_put(struct store_txn *txn, const char *org_name, const struct org_record *record, struct err *e)
{
    struct buf b = BUF_INIT;
    put_span(&b, span_of_str(record->org_id));
    put_u32(&b, record->epoch);
    put_span(&b, span_of_str(record->instance_url));
    int rc = store_put(txn, DB_ORGS, span_of_str(org_name), buf_span(&b), e);
    buf_release(&b);
    return rc;
}

static const char source_time_key[] = "source_time";

int source_time_get(struct store_txn *txn, int64_t *ms, struct err *e)
{
    struct span v;
    int rc = store_get(txn, DB_META, span_of_str(source_time_key), &v, e);
    *ms = 0;
    if (rc == 0 && v.n == sizeof *ms)
        memcpy(ms, v.p, sizeof *ms);
    return rc < 0 ? -1 : 0;
}

int source_time_put(struct store_txn *txn, int64_t ms, struct err *e)
{
    return store_put(txn, DB_META, span_of_str(source_time_key), span_of(&ms, sizeof ms), e);
}
