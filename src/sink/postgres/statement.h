/*
 * statement: rows of one table that want the same kind of statement, as one bulk statement.
 *
 * Rows travel as an array of the table's row type, which unnest makes a table again; columns that the target has in a
 * type of its own travel beside it, each as an array of texts. Rows that set different columns go into one UPDATE all the same: a
 * mask per row says which columns are meant, and the others keep what they hold; where no row sets a column to null,
 * null says so, which costs the server less. `exact` groups, whose rows all set the same columns, need neither.
 *
 * Ownership: borrows. Thread: the sink's. Errors: as pg_send.
 */
#ifndef SINK_POSTGRES_STATEMENT_H
#define SINK_POSTGRES_STATEMENT_H

#include "sink/postgres/postgres.h"

enum pg_verb {
    PG_UPDATE,  /* the row is there */
    PG_INSERT,  /* it is not; exact groups update one that came meanwhile */
    PG_APPEND,  /* insert, unless the key is there */
    PG_REMOVE,  /* delete the row */
    PG_ARCHIVE, /* move it to the history table */
    PG_BURY,    /* state to the tombstone */
    PG_UNBURY,  /* no tombstone any more */
};

/* One row in one statement. */
struct pg_item {
    struct mirror_row *row;
    enum pg_verb verb;
    uint32_t next;       /* in row->columns, while its cells are gathered */
    uint64_t hash;       /* of set */
    const uint64_t *set; /* the cells it sets, as bits */
};

static inline bool pg_set_has(const uint64_t *set, uint32_t cell)
{
    return set[cell / 64] >> (cell % 64) & 1;
}

struct pg_group {
    const struct mirror_table *table;
    const struct pg_table *t;
    enum pg_verb verb;
    struct pg_item *items;
    size_t n;
    bool placed; /* updates: every row is where its load found it, or is not touched */
};

/* How many rows it must have touched for every item to be done; *counts false: any number is right. */
MUST_CHECK int pg_send_group(struct mirror *m, const struct pg_group *group, bool *counts, struct err *e);

#endif
