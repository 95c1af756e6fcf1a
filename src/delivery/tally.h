/*
 * tally: what a batch did to values, by field and by rule: for the log, which names both and never a value.
 *
 * Ownership: entries live in the arena they are added with, which is the batch's; slots, and rules (static text), are
 * borrowed.
 * Thread: the sink's. Errors: none.
 */
#ifndef DELIVERY_TALLY_H
#define DELIVERY_TALLY_H

#include "delivery/map.h"

struct tally {
    struct tally_entry {
        const struct map_slot *slot;
        const char *rule;
        size_t n;
        struct tally_entry *next;
    } * first; /* in the order they came */
    size_t n;
};

void tally_add(struct tally *t, struct arena *a, const struct map_slot *slot, const char *rule);
/* "Account.Phone (max_length: 3), Account.Rating (type integer: 1)"; of very many, the first. */
void tally_text(const struct tally *t, struct buf *out);

#endif
