#include "store/seen_run.h"

#include "base/alloc.h"
#include "store/codec.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RECORD_VERSION = 1, MAX_SEGMENTS = 1 << 20 };

/* A filter's value: 48 bytes of head make the blocks begin on a cache line, after the 16 of LMDB's page head. */
struct filter_head {
    uint64_t run;
    uint32_t segment, blocks;
    uint8_t unused[32];
};
enum { LMDB_PAGE_HEAD = 16 };
_Static_assert((sizeof(struct filter_head) + LMDB_PAGE_HEAD) % FILTER_BLOCK_BYTES == 0, "blocks are cache lines");

static int damaged(const struct store_txn *txn, uint64_t run, const char *what, struct err *e)
{
    return err_set(e, ERR_STORE, "store", 0, "store %s is damaged: run %" PRIu64 " of seen: %s: restore a backup, or move the folder away and begin again",
                   store_folder(txn->st), run, what);
}

void run_will_need(struct span v)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)v.p & ~(page - 1);
    (void)madvise((void *)from, (uintptr_t)v.p + v.n - from, MADV_WILLNEED);
}

/* --- keys and records ------------------------------------------------------------------------------ */

struct part_key {
    uint8_t bytes[12];
};

static struct part_key part_key(uint64_t run, uint32_t part)
{
    struct part_key k;
    key_u64(k.bytes, run);
    key_u32(k.bytes + 8, part);
    return k;
}

static struct span part_span(const struct part_key *k)
{
    return span_of(k->bytes, sizeof k->bytes);
}

int run_put_record(struct store_txn *txn, const struct run *run, struct err *e)
{
    struct buf b = BUF_INIT;
    put_u32(&b, RECORD_VERSION);
    put_u32(&b, run->state);
    put_u32(&b, run->level);
    put_u32(&b, run->chunk_ids);
    put_u64(&b, run->count);
    put_i64(&b, run->min_ms);
    put_i64(&b, run->max_ms);
    buf_add(&b, &run->last, sizeof run->last);
    put_u32(&b, run->n_inputs);
    put_u32(&b, run->n_segments);
    buf_add(&b, run->inputs, run->n_inputs * sizeof *run->inputs);
    for (uint32_t i = 0; i < run->n_segments; i++) {
        const struct segment *s = &run->segments[i];
        buf_add(&b, &s->first, sizeof s->first);
        put_u32(&b, s->blocks);
        put_u32(&b, s->first_chunk);
        put_u32(&b, s->count);
    }
    uint8_t key[8];
    key_u64(key, run->number);
    int rc = store_put(txn, DB_SEEN_FILTERS, span_of(key, sizeof key), buf_span(&b), e);
    buf_release(&b);
    return rc;
}

static struct identity get_identity(struct reader *r)
{
    struct identity id = {get_u64(r), 0};
    id.low = get_u64(r);
    return id;
}

static int read_record(struct store_txn *txn, struct run *run, struct span value, struct err *e)
{
    struct reader r = {value, false};
    uint32_t version = get_u32(&r);
    if (version != RECORD_VERSION)
        return damaged(txn, run->number, "unknown version", e);
    run->state = (enum run_state)get_u32(&r);
    run->level = get_u32(&r);
    run->chunk_ids = get_u32(&r);
    run->count = get_u64(&r);
    run->min_ms = get_i64(&r);
    run->max_ms = get_i64(&r);
    run->last = get_identity(&r);
    run->n_inputs = get_u32(&r);
    uint32_t n_segments = get_u32(&r);
    if (!reader_ok(&r) || run->n_inputs > SEEN_MAX_FAN_OUT || n_segments > MAX_SEGMENTS || run->chunk_ids == 0)
        return damaged(txn, run->number, "bad record", e);
    for (uint32_t i = 0; i < run->n_inputs; i++)
        run->inputs[i] = get_u64(&r);
    run->segments = xcalloc(n_segments + 1, sizeof *run->segments);
    for (; run->n_segments < n_segments; run->n_segments++) {
        struct segment *s = &run->segments[run->n_segments];
        s->first = get_identity(&r);
        s->blocks = get_u32(&r);
        s->first_chunk = get_u32(&r);
        s->count = get_u32(&r);
        if (!reader_ok(&r) || s->count == 0 || s->blocks == 0)
            return damaged(txn, run->number, "bad segment", e);
    }
    return 0;
}

static uint32_t segment_chunks(const struct run *run, const struct segment *s)
{
    return (uint32_t)(((uint64_t)s->count + run->chunk_ids - 1) / run->chunk_ids);
}

static uint32_t run_chunks(const struct run *run)
{
    if (run->n_segments == 0)
        return 0;
    const struct segment *s = &run->segments[run->n_segments - 1];
    return s->first_chunk + segment_chunks(run, s);
}

/* --- the directory --------------------------------------------------------------------------------- */

static void directory_clear(struct directory *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->runs[i].segments);
    d->n = 0;
    d->next_number = 1;
}

void directory_release(struct directory *d)
{
    directory_clear(d);
    free(d->runs);
    *d = (struct directory){0};
}

struct run *directory_find(const struct directory *d, uint64_t number)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->runs[i].number == number)
            return &d->runs[i];
    return NULL;
}

static int set_filter(struct store_txn *txn, struct run *run, uint32_t segment, struct span value, struct err *e)
{
    if (run->state != RUN_LIVE)
        return 0;
    if (segment >= run->n_segments)
        return damaged(txn, run->number, "a filter without a segment", e);
    struct segment *s = &run->segments[segment];
    if (value.n != sizeof(struct filter_head) + (size_t)s->blocks * FILTER_BLOCK_BYTES ||
        (uintptr_t)(value.p + sizeof(struct filter_head)) % sizeof(uint64_t) != 0)
        return damaged(txn, run->number, "a filter of another size", e);
    s->filter = (const uint64_t *)(const void *)(value.p + sizeof(struct filter_head));
    return 0;
}

static struct run *add_run(struct directory *d, uint64_t number)
{
    if (d->n == d->cap) {
        d->cap = d->cap ? 2 * d->cap : 16;
        d->runs = xrealloc(d->runs, d->cap * sizeof *d->runs);
    }
    d->runs[d->n] = (struct run){.number = number};
    d->next_number = number + 1;
    return &d->runs[d->n++];
}

static int load_entry(struct directory *d, struct store_txn *txn, struct span key, struct span value, struct err *e)
{
    if (key.n == 8)
        return read_record(txn, add_run(d, key_get_u64(key.p)), value, e);
    if (key.n == 12 && d->n > 0 && d->runs[d->n - 1].number == key_get_u64(key.p))
        return set_filter(txn, &d->runs[d->n - 1], key_get_u32(key.p + 8), value, e);
    return damaged(txn, key.n >= 8 ? key_get_u64(key.p) : 0, "a filter without a run", e);
}

static int check_complete(const struct directory *d, struct store_txn *txn, struct err *e)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct run *run = &d->runs[i];
        for (uint32_t k = 0; k < run->n_segments && run->state == RUN_LIVE; k++)
            if (!run->segments[k].filter)
                return damaged(txn, run->number, "a filter is missing", e);
        for (uint32_t k = 0; k < run->n_inputs && run->state == RUN_BUILDING; k++)
            if (!directory_find(d, run->inputs[k]))
                return damaged(txn, run->number, "an input is missing", e);
    }
    return 0;
}

int directory_load(struct directory *d, struct store_txn *txn, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    directory_clear(d);
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_SEEN_FILTERS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read runs of seen", e);
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        if (load_entry(d, txn, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), e) != 0)
            break;
    mdb_cursor_close(cursor);
    if (rc == 0)
        return -1;
    if (rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read runs of seen", e);
    return check_complete(d, txn, e);
}

int directory_moved(const struct directory *d, struct store_txn *txn, bool all, struct err *e)
{
    for (size_t i = 0; i < d->n; i++)
        for (uint32_t k = 0; k < d->runs[i].n_segments && d->runs[i].state == RUN_LIVE; k++) {
            struct part_key key = part_key(d->runs[i].number, k);
            struct span value;
            int rc = store_get(txn, DB_SEEN_FILTERS, part_span(&key), &value, e);
            if (rc != 0)
                return rc < 0 ? -1 : damaged(txn, d->runs[i].number, "a filter is gone", e);
            if ((const void *)(value.p + sizeof(struct filter_head)) != d->runs[i].segments[k].filter)
                return 1;
            if (!all)
                return 0;
        }
    return 0;
}

/* --- reading --------------------------------------------------------------------------------------- */

static int get_chunk(struct store_txn *txn, const struct run *run, uint32_t chunk, struct span *ids, struct err *e)
{
    struct part_key key = part_key(run->number, chunk);
    int rc = store_get(txn, DB_SEEN_RUNS, part_span(&key), ids, e);
    if (rc < 0)
        return -1;
    if (rc == 1 || ids->n == 0 || ids->n % ID_BYTES != 0)
        return damaged(txn, run->number, "a chunk is missing or cut", e);
    return 0;
}

enum bound { NOT_LESS, GREATER };

static size_t bound_in(struct span ids, struct identity id, size_t guess, enum bound bound)
{
    size_t n = ids.n / ID_BYTES;
    guess = guess < n ? guess : n - 1;
    return bound == GREATER ? ids_upper_bound(ids.p, n, id, guess) : ids_lower_bound(ids.p, n, id, guess);
}

/* The first identity of the segment that is not less than id, or greater: its chunk, the place there, and the chunk's
 * identities. The place is behind the last one when there is none. The guess is off by a hundred or so where hashes
 * are uniform: it finds the page, seldom its neighbour. */
static int locate(struct store_txn *txn, const struct run *run, struct identity id, enum bound bound,
                  struct run_place *place, struct span *ids, struct err *e)
{
    const struct segment *s = run_segment(run, id);
    struct identity end = s + 1 < run->segments + run->n_segments ? s[1].first : run->last;
    uint32_t first = s->first_chunk, last = first + segment_chunks(run, s) - 1;
    size_t guess = id_guess(id, s->first, end, s->count);
    uint32_t chunk = first + (uint32_t)(guess / run->chunk_ids);
    if (get_chunk(txn, run, chunk, ids, e) != 0)
        return -1;
    size_t at = bound_in(*ids, id, guess % run->chunk_ids, bound);
    while (at == 0 && chunk > first) { /* it may begin in the chunk before */
        struct span before;
        if (get_chunk(txn, run, chunk - 1, &before, e) != 0)
            return -1;
        size_t n = before.n / ID_BYTES, at_before = bound_in(before, id, n - 1, bound);
        if (at_before == n)
            break;
        chunk--;
        *ids = before;
        at = at_before;
    }
    while (at == ids->n / ID_BYTES && chunk < last) {
        if (get_chunk(txn, run, ++chunk, ids, e) != 0)
            return -1;
        at = bound_in(*ids, id, 0, bound);
    }
    *place = (struct run_place){chunk, (uint32_t)at};
    return 0;
}

int run_contains(struct store_txn *txn, const struct run *run, struct identity id, bool *found, struct err *e)
{
    struct run_place place;
    struct span ids;
    if (locate(txn, run, id, NOT_LESS, &place, &ids, e) != 0)
        return -1;
    *found = place.at < ids.n / ID_BYTES && id_equal(id_at(ids.p, place.at), id);
    return 0;
}

int run_after(struct store_txn *txn, const struct run *run, struct identity id, struct run_place *out, struct err *e)
{
    struct span ids;
    *out = (struct run_place){0};
    if (run->n_segments == 0)
        return 0;
    if (locate(txn, run, id, GREATER, out, &ids, e) != 0)
        return -1;
    if (out->at == ids.n / ID_BYTES)
        *out = (struct run_place){out->chunk + 1, 0};
    return 0;
}

int run_read(struct store_txn *txn, const struct run *run, struct run_place *place, struct span *ids, struct err *e)
{
    *ids = span_of(NULL, 0);
    if (place->chunk >= run_chunks(run))
        return 0;
    if (get_chunk(txn, run, place->chunk, ids, e) != 0)
        return -1;
    BUG_IF(place->at * (size_t)ID_BYTES >= ids->n);
    ids->p += place->at * (size_t)ID_BYTES;
    ids->n -= place->at * (size_t)ID_BYTES;
    run_will_need(*ids);
    *place = (struct run_place){place->chunk + 1, 0};
    return 0;
}

/* --- writing --------------------------------------------------------------------------------------- */

/* Room under a new key. Run numbers only grow, but a merge's output is older than runs sealed meanwhile: no
 * MDB_APPEND. */
static int reserve(struct store_txn *txn, enum store_db db, struct part_key key, size_t n, uint8_t **room, struct err *e)
{
    MDB_val k = {sizeof key.bytes, key.bytes}, v = {n, NULL};
    int rc = mdb_put(txn->mdb, store_dbi(txn->st, db), &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot write a run of seen", e);
    *room = v.mv_data;
    return 0;
}

static int write_chunks(struct store_txn *txn, const struct run *run, const struct segment *s,
                        const struct identity *ids, struct err *e)
{
    uint32_t done = 0;
    for (uint32_t chunk = s->first_chunk; done < s->count; chunk++) {
        uint32_t n = s->count - done < run->chunk_ids ? s->count - done : run->chunk_ids;
        uint8_t *room;
        if (reserve(txn, DB_SEEN_RUNS, part_key(run->number, chunk), (size_t)n * ID_BYTES, &room, e) != 0)
            return -1;
        memcpy(room, ids + done, (size_t)n * ID_BYTES);
        done += n;
    }
    return 0;
}

/* As many blocks as n wants, filled up to whole pages: the value then never lies inside a B-tree page, which would
 * move. */
static int choose_blocks(const struct store_txn *txn, uint32_t n, uint32_t *blocks, struct err *e)
{
    MDB_stat stat;
    int rc = mdb_stat(txn->mdb, store_dbi(txn->st, DB_SEEN_FILTERS), &stat);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read the page size", e);
    uint32_t per_page = stat.ms_psize / FILTER_BLOCK_BYTES;
    uint64_t wanted = ((uint64_t)n * FILTER_BITS_PER_ID + 8 * FILTER_BLOCK_BYTES - 1) / (8 * FILTER_BLOCK_BYTES) + 1;
    *blocks = (uint32_t)((wanted + per_page - 1) / per_page * per_page - 1);
    return 0;
}

static int write_filter(struct store_txn *txn, const struct run *run, const struct segment *s,
                        const struct identity *ids, struct err *e)
{
    struct filter_head head = {.run = run->number, .segment = (uint32_t)(s - run->segments), .blocks = s->blocks};
    size_t n = sizeof head + (size_t)s->blocks * FILTER_BLOCK_BYTES;
    uint8_t *room;
    if (reserve(txn, DB_SEEN_FILTERS, part_key(run->number, head.segment), n, &room, e) != 0)
        return -1;
    memcpy(room, &head, sizeof head);
    uint64_t *filter = (uint64_t *)(void *)(room + sizeof head);
    memset(filter, 0, n - sizeof head);
    for (uint32_t i = 0; i < s->count; i++) {
        struct probe p = probe_of(ids[i]);
        filter_add(filter, s->blocks, &p);
    }
    return 0;
}

int run_add_segment(struct store_txn *txn, struct run *run, const struct identity *ids, uint32_t n, struct err *e)
{
    if (run->n_segments > 0 && !id_less(run->last, ids[0]))
        return damaged(txn, run->number, "the identities of its inputs are out of order", e);
    struct segment s = {.first = ids[0], .first_chunk = run_chunks(run), .count = n};
    if (choose_blocks(txn, n, &s.blocks, e) != 0)
        return -1;
    run->segments = xrealloc(run->segments, (run->n_segments + 1) * sizeof *run->segments);
    run->segments[run->n_segments] = s;
    const struct segment *added = &run->segments[run->n_segments++];
    run->last = ids[n - 1];
    run->count += n;
    if (write_chunks(txn, run, added, ids, e) != 0)
        return -1;
    return write_filter(txn, run, added, ids, e);
}

/* --- deleting -------------------------------------------------------------------------------------- */

/* Freeing a value reads its first page: ask for all of them first, so that a slow disk is waited for once. */
static int prepare_deletes(MDB_cursor *cursor, uint64_t number, struct part_key *first, uint32_t budget)
{
    MDB_val k = {sizeof first->bytes, first->bytes}, v;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    for (uint32_t i = 0; rc == 0 && i < budget && k.mv_size == 12 && key_get_u64(k.mv_data) == number; i++) {
        run_will_need(span_of(v.mv_data, 1));
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    return rc;
}

static int delete_parts(struct store_txn *txn, enum store_db db, uint64_t number, uint32_t *budget, struct err *e)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, db), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot delete a run of seen", e);
    struct part_key first = part_key(number, 0);
    rc = prepare_deletes(cursor, number, &first, *budget);
    while ((rc == 0 || rc == MDB_NOTFOUND) && *budget > 0) {
        MDB_val k = {sizeof first.bytes, first.bytes}, v;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        if (rc != 0 || k.mv_size != 12 || key_get_u64(k.mv_data) != number)
            break;
        rc = mdb_cursor_del(cursor, 0);
        --*budget;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_error(txn->st, rc, "cannot delete a run of seen", e);
}

int run_delete_some(struct store_txn *txn, uint64_t number, uint32_t *budget, struct err *e)
{
    if (delete_parts(txn, DB_SEEN_RUNS, number, budget, e) != 0 ||
        delete_parts(txn, DB_SEEN_FILTERS, number, budget, e) != 0)
        return -1;
    if (*budget == 0)
        return 0;
    --*budget;
    uint8_t key[8];
    key_u64(key, number);
    return store_delete(txn, DB_SEEN_FILTERS, span_of(key, sizeof key), e) < 0 ? -1 : 0;
}
