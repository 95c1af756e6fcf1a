#include "store/seen_sort.h"

#include "base/alloc.h"

/* Buckets of four on average for a full segment; the counters stay in the second-level cache. */
enum { MAX_BUCKET_BITS = 14, SMALL_BUCKET = 48 };

struct buckets {
    uint64_t low; /* smallest high word */
    unsigned shift;
    uint32_t n;
    uint32_t *start; /* n + 1; while filling: where the next of this bucket goes */
};

static uint32_t bucket_of(const struct buckets *b, struct identity id)
{
    return (uint32_t)((id.high - b->low) >> b->shift);
}

struct range {
    uint64_t low, high; /* of high words */
};

static void widen(struct range *range, uint64_t v)
{
    range->low = v < range->low ? v : range->low;
    range->high = v > range->high ? v : range->high;
}

static struct range range_of(const struct id_piece *pieces, size_t n_pieces, enum piece_order order)
{
    struct range range = {UINT64_MAX, 0};
    for (size_t i = 0; i < n_pieces; i++) {
        size_t step = order == PIECES_SORTED && pieces[i].n > 1 ? pieces[i].n - 1 : 1;
        for (size_t k = 0; k < pieces[i].n; k += step)
            widen(&range, id_at(pieces[i].ids, k).high);
    }
    return range;
}

static void choose_buckets(struct buckets *b, struct range range, size_t total)
{
    unsigned bits = 1;
    while (bits < MAX_BUCKET_BITS && (size_t)4 << bits < total)
        bits++;
    b->low = range.low;
    b->shift = 0;
    while ((range.high - range.low) >> b->shift >= 1ULL << bits)
        b->shift++;
    b->n = (uint32_t)((range.high - range.low) >> b->shift) + 1;
    b->start = xcalloc(b->n + 1, sizeof *b->start);
}

static void fill_buckets(struct buckets *b, const struct id_piece *pieces, size_t n_pieces, struct identity *out)
{
    for (size_t i = 0; i < n_pieces; i++)
        for (size_t k = 0; k < pieces[i].n; k++)
            b->start[bucket_of(b, id_at(pieces[i].ids, k))]++;
    uint32_t at = 0;
    for (uint32_t i = 0; i <= b->n; i++) {
        uint32_t count = b->start[i];
        b->start[i] = at;
        at += count;
    }
    for (size_t i = 0; i < n_pieces; i++)
        for (size_t k = 0; k < pieces[i].n; k++) {
            struct identity id = id_at(pieces[i].ids, k);
            out[b->start[bucket_of(b, id)]++] = id;
        }
}

static int compare_ids(const void *a, const void *b)
{
    struct identity x = id_at(a, 0), y = id_at(b, 0);
    return id_less(x, y) ? -1 : id_less(y, x);
}

static void sort_bucket(struct identity *ids, size_t n)
{
    if (n > SMALL_BUCKET) {
        qsort(ids, n, sizeof *ids, compare_ids);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct identity id = ids[i];
        size_t k = i;
        for (; k > 0 && id_less(id, ids[k - 1]); k--)
            ids[k] = ids[k - 1];
        ids[k] = id;
    }
}

static size_t drop_repeats(struct identity *ids, size_t n)
{
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (!id_equal(ids[i], ids[kept - 1]))
            ids[kept++] = ids[i];
    return kept;
}

size_t ids_sort(const struct id_piece *pieces, size_t n_pieces, enum piece_order order, struct identity *out)
{
    size_t total = 0;
    for (size_t i = 0; i < n_pieces; i++)
        total += pieces[i].n;
    if (total == 0)
        return 0;
    struct buckets b;
    choose_buckets(&b, range_of(pieces, n_pieces, order), total);
    fill_buckets(&b, pieces, n_pieces, out);
    /* Filled, start[i] is where bucket i ends. */
    for (uint32_t i = 0, from = 0; i < b.n; from = b.start[i++])
        sort_bucket(out + from, b.start[i] - from);
    free(b.start);
    return drop_repeats(out, total);
}
