/*
 * record_model: what an org did to its records, drawn from a seed, and the rows a mirror must end with.
 *
 * The model says what newest wins means, in the plainest way: sort what was done to a record by version, forget
 * repeats, do it once in that order. It knows nothing of src/delivery, of arrival, batches or states.
 *
 * A history is what a service would send: creates, partial updates, nulls, deletes, undeletes, updates to records
 * that are deleted, gaps; the same change to several records in one event; one change as several events; many
 * transactions in one second; an org whose commit numbers fall when its database moves.
 */
#ifndef SUPPORT_RECORD_MODEL_H
#define SUPPORT_RECORD_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum model_kind { MODEL_CREATE, MODEL_UPDATE, MODEL_DELETE, MODEL_UNDELETE, MODEL_GAP };

/* Name, Phone, Amount, Count, Flag, BillingAddress.City, BillingAddress.Street */
enum { MODEL_FIELDS = 7, MODEL_MOST_IDS = 4 };

struct model_change {
    uint32_t epoch;
    int64_t commit, stamp_ms;
    int32_t sequence;
    enum model_kind kind;
    uint32_t transaction;
    uint32_t n_records, records[MODEL_MOST_IDS];
    /* UPDATE: the fields it names; CREATE, UNDELETE: those that are not null. */
    uint32_t named, nulled;
    int64_t values[MODEL_FIELDS];
};

struct model_row {
    bool exists, incomplete;
    bool marked; /* deleted softly: a row that does not exist any more is there still */
    int64_t deleted_ms;
    bool is_null[MODEL_FIELDS];
    int64_t values[MODEL_FIELDS];
    uint32_t epoch; /* of the newest change */
    int64_t commit;
    int32_t sequence;
};

/* --- chance ---------------------------------------------------------------------------------------- */

struct chance {
    uint64_t s;
};

static inline uint32_t chance_draw(struct chance *c)
{
    c->s = c->s * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = c->s;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    return (uint32_t)(x >> 32);
}

static inline uint32_t chance_below(struct chance *c, uint32_t n)
{
    return n ? chance_draw(c) % n : 0;
}

/* True in so many of a hundred. */
static inline bool chance_percent(struct chance *c, uint32_t percent)
{
    return chance_below(c, 100) < percent;
}

/* --- histories ------------------------------------------------------------------------------------- */

struct history {
    uint32_t n_records;
    struct model_change *changes; /* in the order they were made */
    size_t n, cap;
};

static inline struct model_change *history_add(struct history *h)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 256;
        h->changes = realloc(h->changes, h->cap * sizeof *h->changes);
    }
    memset(&h->changes[h->n], 0, sizeof *h->changes);
    return &h->changes[h->n++];
}

/* *counter below 0: few values, so that what is written is often there already. */
static inline int64_t history_value(struct chance *c, int64_t *counter)
{
    return *counter < 0 ? chance_below(c, 3) : ++*counter;
}

static inline void history_fill(struct chance *c, struct model_change *ch, int64_t *counter)
{
    for (int f = 0; f < MODEL_FIELDS; f++) {
        if (!chance_percent(c, ch->kind == MODEL_UPDATE ? 35 : 70))
            continue;
        if (ch->kind == MODEL_UPDATE && chance_percent(c, 20))
            ch->nulled |= 1u << f;
        ch->named |= 1u << f;
        ch->values[f] = history_value(c, counter);
    }
    if (ch->kind == MODEL_UPDATE && !ch->named) {
        ch->named = 1;
        ch->values[0] = history_value(c, counter);
    }
}

/* What may be done to a record that is there, that is deleted, that is not there yet. */
static inline enum model_kind history_pick(struct chance *c, enum model_kind *was)
{
    uint32_t draw = chance_below(c, 100);
    if (*was == MODEL_CREATE)
        return draw < 75 ? MODEL_UPDATE : draw < 95 ? MODEL_DELETE : MODEL_GAP;
    if (*was == MODEL_DELETE)
        return draw < 50 ? MODEL_UNDELETE : draw < 90 ? MODEL_UPDATE : MODEL_DELETE;
    return draw < 60 ? MODEL_CREATE : draw < 90 ? MODEL_UPDATE : draw < 95 ? MODEL_DELETE : MODEL_GAP;
}

/* `records` records, about six changes each. */
static inline void history_make(struct history *h, uint64_t seed, uint32_t records)
{
    struct chance c = {seed * 0x9e3779b97f4a7c15u + 1};
    enum model_kind *was = calloc(records, sizeof *was); /* CREATE: there; DELETE; else: not seen */
    int64_t commit = 70000000000 + chance_below(&c, 1000000), stamp = 1767225600000,
            counter = seed / 2 % 2 ? -1 : 0;
    uint32_t epoch = 1 + chance_below(&c, 3), transaction = 0;
    h->n_records = records;
    for (uint32_t i = 0; i < records; i++)
        was[i] = MODEL_UNDELETE;
    for (uint32_t left = records * 4; left; left--) {
        uint32_t in_transaction = 1 + chance_below(&c, 4);
        int32_t sequence = 0;
        commit += 1 + chance_below(&c, 1000);
        stamp += chance_percent(&c, 20) ? 1000 : 0; /* many in one second */
        if (chance_below(&c, records * 2) == 0) {   /* the org moves: numbers fall, time does not */
            epoch++;
            commit = 70000000000 - chance_below(&c, 1000000);
        }
        transaction++;
        for (uint32_t i = 0; i < in_transaction; i++) {
            uint32_t first = chance_below(&c, records),
                     n = chance_percent(&c, 20) ? 1 + chance_below(&c, MODEL_MOST_IDS) : 1;
            enum model_kind kind = history_pick(&c, &was[first]);
            struct model_change *ch = history_add(h);
            *ch = (struct model_change){.epoch = epoch,
                                        .commit = commit,
                                        .stamp_ms = stamp,
                                        .sequence = ++sequence,
                                        .kind = kind,
                                        .transaction = transaction};
            for (uint32_t k = 0; k < n; k++) {
                uint32_t r = (first + k * 7) % records;
                bool twice = false;
                for (uint32_t q = 0; q < ch->n_records; q++)
                    twice |= ch->records[q] == r;
                if (twice)
                    continue;
                ch->records[ch->n_records++] = r;
                if (kind == MODEL_CREATE || kind == MODEL_UNDELETE)
                    was[r] = MODEL_CREATE;
                else if (kind == MODEL_DELETE)
                    was[r] = MODEL_DELETE;
            }
            if (kind == MODEL_DELETE || kind == MODEL_GAP)
                continue;
            history_fill(&c, ch, &counter);
            uint32_t half = ch->named & chance_draw(&c);
            if (kind == MODEL_UPDATE && half && half != ch->named &&
                chance_percent(&c, 40)) { /* as two events */
                struct model_change rest = *ch;
                ch->named &= half;
                ch->nulled &= half;
                rest.named &= ~half;
                rest.nulled &= ~half;
                rest.sequence = ++sequence;
                *history_add(h) = rest;
            }
        }
    }
    free(was);
}

static inline void history_release(struct history *h)
{
    free(h->changes);
    memset(h, 0, sizeof *h);
}

/* --- what must come of it -------------------------------------------------------------------------- */

static inline bool model_newer(const struct model_change *a, const struct model_change *b)
{
    if (a->epoch != b->epoch)
        return a->epoch > b->epoch;
    if (a->commit != b->commit)
        return a->commit > b->commit;
    return a->sequence > b->sequence;
}

static inline bool model_concerns(const struct model_change *ch, uint32_t record)
{
    for (uint32_t i = 0; i < ch->n_records; i++)
        if (ch->records[i] == record)
            return true;
    return false;
}

/*
 * Histories are in the order in which things were done, so that doing them once in that order is all there is.
 * A record nobody saw created is there as far as it is known, until it is deleted; one that is deleted comes back
 * with a full image alone, and remembers what updates said meanwhile only as far as that image is older.
 *
 * soft: a deletion marks the row and says nothing about its fields, which go on as everybody else's do. Of a record
 * about which nothing but its deletion was ever said there is no row.
 */
static inline struct model_row model_row_of(const struct history *h, uint32_t record, bool soft)
{
    struct model_row row = {.exists = false};
    bool ever = false, whole = false, gap = false, said = false;
    for (int f = 0; f < MODEL_FIELDS; f++)
        row.is_null[f] = true;
    for (size_t i = 0; i < h->n; i++) {
        const struct model_change *ch = &h->changes[i];
        if (!model_concerns(ch, record))
            continue;
        row.epoch = ch->epoch;
        row.commit = ch->commit;
        row.sequence = ch->sequence;
        if (ch->kind == MODEL_GAP) {
            gap = true;
            continue;
        }
        if (ch->kind != MODEL_UPDATE) { /* says whether there is a record, and everything about it */
            row.exists = ch->kind != MODEL_DELETE;
            for (int f = 0; f < MODEL_FIELDS && (row.exists || !soft); f++)
                row.is_null[f] = true;
            ever = true;
            whole = row.exists;
            gap = gap && !whole && !soft;
            row.deleted_ms = ch->stamp_ms;
        } else if (!ever) {
            row.exists = true;
        }
        said |= ch->kind != MODEL_DELETE;
        for (int f = 0; f < MODEL_FIELDS; f++)
            if (ch->named >> f & 1) {
                row.is_null[f] = ch->nulled >> f & 1;
                row.values[f] = ch->values[f];
            }
    }
    row.marked = soft && said && !row.exists;
    row.incomplete = row.marked ? gap : !whole || gap;
    return row;
}

#endif
