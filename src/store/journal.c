#include "store/journal.h"

#include "store/codec.h"

#include <inttypes.h>

/*
 * A block, little-endian:
 *   header   u8 version, u8 0, u16 0, u32 events, u32 subscription, u32 generation, u32 epoch, u32 0,
 *            i64 received_ms, i64 source_ms
 *   events   each: u32 payload bytes, u16 event id bytes, u16 schema id bytes, u16 replay id bytes, u16
 * flags, then the four byte strings in the order event id, schema id, replay id, payload The newest seq is
 * kept in DB_META "journal_head", since the last block may be trimmed.
 */
enum { BLOCK_VERSION = 1, HEADER_BYTES = 40, EVENT_HEADER_BYTES = 12 };

/* A block lies in neighbouring pages. Where small and large ones have come and gone, neighbours are free only
 * in short runs: a map with plenty of free pages would be full for a large block. Only an event that is
 * larger itself makes a larger one. */
enum { MOST_BLOCK_BYTES = 96 << 10 };

static const char head_key[] = "journal_head";

struct event_header {
    uint32_t payload;
    uint16_t event_id, schema_id, replay_id, flags;
};
_Static_assert(sizeof(struct event_header) == EVENT_HEADER_BYTES, "packed by nature");

static int damaged(struct store_txn *txn, uint64_t seq, struct err *e)
{
    return err_set(e, ERR_STORE, "journal", MDB_CORRUPTED,
                   "store %s is damaged: the journal block at seq %" PRIu64
                   " does not parse; restore a backup",
                   store_folder(txn->st), seq);
}

static int read_head(struct store_txn *txn, uint64_t *head, struct err *e)
{
    struct span v;
    int rc = store_get(txn, DB_META, span_of_str(head_key), &v, e);
    if (rc < 0)
        return -1;
    *head = 0;
    if (rc == 0) {
        if (v.n != sizeof *head)
            return damaged(txn, 0, e);
        memcpy(head, v.p, sizeof *head);
    }
    return 0;
}

static uint8_t *write_u32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *write_i64(uint8_t *p, int64_t v)
{
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *write_span(uint8_t *p, struct span s)
{
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

static uint8_t *write_event(uint8_t *p, const struct event_data *ev)
{
    struct event_header h = {(uint32_t)ev->payload.n, (uint16_t)ev->event_id.n, (uint16_t)ev->schema_id.n,
                             (uint16_t)ev->replay_id.n, (uint16_t)ev->flags};
    memcpy(p, &h, sizeof h);
    p = write_span(p + sizeof h, ev->event_id);
    p = write_span(p, ev->schema_id);
    p = write_span(p, ev->replay_id);
    return write_span(p, ev->payload);
}

/* How many events, from the first on, go into one block: at least one, and no more than fit. */
static size_t events_that_fit(const struct event_data *events, size_t n, size_t *bytes)
{
    size_t i = 0;
    *bytes = HEADER_BYTES;
    for (; i < n; i++) {
        const struct event_data *ev = &events[i];
        BUG_IF(ev->payload.n > UINT32_MAX || ev->event_id.n > UINT16_MAX || ev->schema_id.n > UINT16_MAX ||
               ev->replay_id.n > UINT16_MAX);
        size_t more = EVENT_HEADER_BYTES + ev->payload.n + ev->event_id.n + ev->schema_id.n + ev->replay_id.n;
        if (i > 0 && *bytes + more > MOST_BLOCK_BYTES)
            break;
        *bytes += more;
    }
    return i;
}

static int append_block(struct store_txn *txn, const struct journal_block *block, uint64_t first,
                        const struct event_data *events, size_t n, size_t bytes, struct err *e)
{
    uint8_t key[8], *p;
    key_u64(key, first);
    if (store_append(txn, DB_JOURNAL, span_of(key, sizeof key), bytes, &p, e) != 0)
        return -1;
    p = write_u32(p, BLOCK_VERSION);
    p = write_u32(p, (uint32_t)n);
    p = write_u32(p, block->subscription);
    p = write_u32(p, block->generation);
    p = write_u32(p, block->epoch);
    p = write_u32(p, 0);
    p = write_i64(p, block->received_ms);
    p = write_i64(p, block->source_ms);
    for (size_t i = 0; i < n; i++)
        p = write_event(p, &events[i]);
    return 0;
}

int journal_append(struct store_txn *txn, const struct journal_block *block, const struct event_data *events,
                   size_t n, uint64_t *first_seq, struct err *e)
{
    BUG_IF(n == 0 || n > JOURNAL_MAX_BLOCK_EVENTS);
    uint64_t head;
    if (read_head(txn, &head, e) != 0)
        return -1;
    *first_seq = head + 1;
    for (size_t done = 0; done < n;) {
        size_t bytes, fit = events_that_fit(events + done, n - done, &bytes);
        if (append_block(txn, block, head + 1, events + done, fit, bytes, e) != 0)
            return -1;
        head += fit;
        done += fit;
    }
    return store_put(txn, DB_META, span_of_str(head_key), span_of(&head, sizeof head), e);
}

/* --- reading -------------------------------------------------------------------------------------- */

struct block_view {
    uint64_t first;
    uint32_t n;
    struct journal_block common;
    struct span events;
};

static int parse_block(struct store_txn *txn, const MDB_val *k, const MDB_val *v, struct block_view *b,
                       struct err *e)
{
    if (k->mv_size != 8)
        return damaged(txn, 0, e);
    b->first = key_get_u64(k->mv_data);
    struct reader r = {span_of(v->mv_data, v->mv_size), false};
    uint32_t version = get_u32(&r);
    b->n = get_u32(&r);
    b->common.subscription = get_u32(&r);
    b->common.generation = get_u32(&r);
    b->common.epoch = get_u32(&r);
    get_u32(&r);
    b->common.received_ms = get_i64(&r);
    b->common.source_ms = get_i64(&r);
    b->events = r.rest;
    if (!reader_ok(&r) || version != BLOCK_VERSION || b->n == 0 || b->n > JOURNAL_MAX_BLOCK_EVENTS)
        return damaged(txn, b->first, e);
    return 0;
}

static bool parse_event(struct reader *r, struct event_data *ev)
{
    struct event_header h = {0};
    const uint8_t *p = reader_take(r, sizeof h);
    if (p)
        memcpy(&h, p, sizeof h);
    ev->flags = h.flags;
    ev->event_id = span_of(reader_take(r, h.event_id), h.event_id);
    ev->schema_id = span_of(reader_take(r, h.schema_id), h.schema_id);
    ev->replay_id = span_of(reader_take(r, h.replay_id), h.replay_id);
    ev->payload = span_of(reader_take(r, h.payload), h.payload);
    return reader_ok(r);
}

static void copy_event(struct arena *a, struct event_data *ev)
{
    size_t total = ev->event_id.n + ev->schema_id.n + ev->replay_id.n + ev->payload.n;
    /* The four strings are neighbours in the block: one copy, four views. */
    uint8_t *p = arena_alloc(a, total);
    memcpy(p, ev->event_id.p, total);
    ev->event_id.p = p;
    ev->schema_id.p = p + ev->event_id.n;
    ev->replay_id.p = ev->schema_id.p + ev->schema_id.n;
    ev->payload.p = ev->replay_id.p + ev->replay_id.n;
}

/* Move to the block that holds `seq`: the last one whose first seq is not greater. */
static int seek_block(MDB_cursor *cursor, uint64_t seq, MDB_val *k, MDB_val *v)
{
    uint8_t key[8];
    key_u64(key, seq);
    *k = (MDB_val){sizeof key, key};
    int rc = mdb_cursor_get(cursor, k, v, MDB_SET_RANGE);
    if (rc == 0 && k->mv_size == sizeof key && key_get_u64(k->mv_data) == seq)
        return 0;
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    return mdb_cursor_get(cursor, k, v, rc == 0 ? MDB_PREV : MDB_LAST);
}

/* Take events of one block, from seq `from` on; stops at the limits. Returns how many, or -1. */
static int take_events(struct store_txn *txn, const struct block_view *b, uint64_t from, size_t max_events,
                       size_t *bytes_left, struct arena *a, struct event_data *out, struct err *e)
{
    struct reader r = {b->events, false};
    size_t taken = 0;
    for (uint32_t i = 0; i < b->n && taken < max_events && *bytes_left; i++) {
        struct event_data *ev = &out[taken];
        if (!parse_event(&r, ev))
            return damaged(txn, b->first, e);
        if (b->first + i < from)
            continue;
        ev->seq = b->first + i;
        ev->subscription = b->common.subscription;
        ev->generation = b->common.generation;
        ev->epoch = b->common.epoch;
        ev->received_ms = b->common.received_ms;
        copy_event(a, ev);
        *bytes_left = *bytes_left > ev->payload.n ? *bytes_left - ev->payload.n : 0;
        taken++;
    }
    return (int)taken;
}

int journal_read(struct store_txn *txn, uint64_t from, size_t max_events, size_t max_bytes, struct arena *a,
                 struct event_data **events, size_t *n, struct err *e)
{
    uint64_t head;
    *n = 0;
    if (read_head(txn, &head, e) != 0)
        return -1;
    if (from > head)
        return 0;
    if (max_events > head - from + 1)
        max_events = head - from + 1;
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_JOURNAL), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read the journal", e);
    *events = arena_alloc(a, max_events * sizeof **events);
    size_t bytes_left = max_bytes ? max_bytes : 1;
    rc = seek_block(cursor, from, &k, &v);
    while (rc == 0 && *n < max_events && bytes_left) {
        struct block_view b;
        rc = -1;
        if (parse_block(txn, &k, &v, &b, e) != 0)
            goto out;
        if (from + *n < b.first || from + *n >= b.first + b.n) {
            err_set(e, ERR_STORE, "journal", 0,
                    "store %s is damaged: the journal holds no event with seq %" PRIu64,
                    store_folder(txn->st), from + *n);
            goto out;
        }
        int taken = take_events(txn, &b, from + *n, max_events - *n, &bytes_left, a, *events + *n, e);
        if (taken < 0)
            goto out;
        *n += (size_t)taken;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    if (rc == MDB_NOTFOUND && *n > 0)
        rc = 0;
    if (rc != 0)
        rc = err_set(e, ERR_STORE, "journal", rc,
                     "store %s is damaged: the journal ends before seq %" PRIu64 " (%s)",
                     store_folder(txn->st), from, mdb_strerror(rc));
out:
    mdb_cursor_close(cursor);
    return rc;
}

int journal_bounds(struct store_txn *txn, struct journal_bounds *out, struct err *e)
{
    if (read_head(txn, &out->head, e) != 0)
        return -1;
    MDB_cursor *cursor;
    MDB_val k, v;
    bool sane = true;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_JOURNAL), &cursor);
    if (rc == 0) {
        out->oldest = out->head + 1;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
        if (rc == 0 && (sane = k.mv_size == 8))
            out->oldest = key_get_u64(k.mv_data);
        mdb_cursor_close(cursor);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read the journal", e);
    return sane && out->oldest > 0 && out->oldest <= out->head + 1 ? 0 : damaged(txn, out->oldest, e);
}

int journal_trim(struct store_txn *txn, uint64_t settled, int64_t before_ms, bool for_space,
                 size_t max_blocks, size_t *removed, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    *removed = 0;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_JOURNAL), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot trim the journal", e);
    while (*removed < max_blocks && (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST)) == 0) {
        struct block_view b;
        if (parse_block(txn, &k, &v, &b, e) != 0) {
            mdb_cursor_close(cursor);
            return -1;
        }
        if (b.first + b.n - 1 > settled || (!for_space && b.common.source_ms >= before_ms))
            break;
        if ((rc = mdb_cursor_del(cursor, 0)) != 0)
            break;
        ++*removed;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_error(txn->st, rc, "cannot trim the journal", e);
}
