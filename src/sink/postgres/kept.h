/*
 * kept: statements that the server keeps parsed and planned for one connection, by text and types of parameters.
 *
 * A text that is seen for the second time is prepared under a name, and executed by it from then on; one that never
 * comes again costs nothing there. The least recently used goes when there is no room.
 *
 * Guarantees
 *   Two statements are the same only if text and types are, byte by byte.
 *   A PREPARE that failed, or was skipped behind a failure, is none: its statement is prepared anew, under another name.
 *
 * Calling order: PG_KEPT_INIT -> (pg_kept_find -> [pg_kept_sent -> pg_kept_answered])* -> pg_kept_settled after each
 * round of answers -> pg_kept_release when the connection ends.
 * Ownership: texts are copied. Thread: the connection's. Errors: none.
 */
#ifndef SINK_POSTGRES_KEPT_H
#define SINK_POSTGRES_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PG_KEPT_MOST = 32, PG_KEPT_NAME = 24 };

enum pg_kept_state {
    PG_KEPT_SEEN,  /* once: the server does not know it */
    PG_KEPT_SENT,  /* its PREPARE is on its way */
    PG_KEPT_READY, /* the server knows it */
};

struct pg_kept_statement {
    char *text;
    unsigned *types;
    size_t n_types;
    uint64_t hash;
    uint64_t used;   /* when last; greater: later */
    uint64_t number; /* its name is made of it; 0: none yet */
    enum pg_kept_state state;
};

struct pg_kept {
    struct pg_kept_statement all[PG_KEPT_MOST];
    size_t n;
    uint64_t uses, names;
};

#define PG_KEPT_INIT ((struct pg_kept){.n = 0})

/*
 * The statement if it was seen before; else NULL, and it is remembered. gone: the number of one that the server knows
 * and need not know any more; 0: none.
 */
struct pg_kept_statement *pg_kept_find(struct pg_kept *k, const char *text, const unsigned *types,
                                       size_t n_types, uint64_t *gone);
/* It goes to the server, under a number of its own. */
void pg_kept_sent(struct pg_kept *k, struct pg_kept_statement *s);
/* The server has prepared it. 0: nothing. */
void pg_kept_answered(struct pg_kept *k, uint64_t number);
/* No answers are due: what is not ready by now never was prepared. */
void pg_kept_settled(struct pg_kept *k);
void pg_kept_release(struct pg_kept *k);
/* "tm7" */
void pg_kept_name(uint64_t number, char out[PG_KEPT_NAME]);

#endif
