/*
 * seen_sort: many sequences of identities to one sorted sequence without repeats.
 *
 * Identities are hashes, so their place is known nearly: one pass counts them per bucket of their range, one
 * copies each to its bucket, and a bucket holds a handful. Sixteen sorted inputs cost no more than one unsorted:
 * comparing the heads of sixteen inputs for each identity would. Inputs that are not uniform are sorted all the
 * same, slower.
 *
 * Ownership: borrows. Thread: any. Errors: none.
 */
#ifndef STORE_SEEN_SORT_H
#define STORE_SEEN_SORT_H

#include "store/seen_ids.h"

struct id_piece {
    const uint8_t *ids;
    size_t n;
};

enum piece_order { PIECES_UNSORTED, PIECES_SORTED };

/* out has room for all of them. Returns how many different ones there are. SORTED: each piece is in order, which
 * saves reading them once more. */
size_t ids_sort(const struct id_piece *pieces, size_t n_pieces, enum piece_order order, struct identity *out);

#endif
