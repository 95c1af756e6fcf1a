/*
 * sqlstate: what a PostgreSQL error means for us. One visible table, from SQLSTATE to who is at fault.
 *
 * Errors of a row park that row and nothing else. Everything else is a failure of the call: the batch waits, the
 * sink's breaker opens, and the same batch is tried again. Nothing is decided by the text of a message, which
 * changes with the server's version and language.
 *
 * Thread: any. Errors: none.
 */
#ifndef SINK_POSTGRES_SQLSTATE_H
#define SINK_POSTGRES_SQLSTATE_H

enum pg_fault {
    PG_FAULT_ROW, /* this row will never be accepted as it is */
    PG_FAULT_BUSY, /* somebody else's lock, a deadlock, a cancelled statement: the same again may work at once */
    PG_FAULT_AWAY,    /* the server goes, is full, or stands still: later */
    PG_FAULT_RIGHT,   /* a right is missing: a person must grant it */
    PG_FAULT_LOGIN,   /* user, password or database are refused: a person must change something */
    PG_FAULT_CHANGED, /* a table or column is not what it was: look at it anew */
    PG_FAULT_OTHER,
};

/* state: five characters, or NULL when the connection broke before there was one. */
enum pg_fault pg_fault_of(const char *state);

#endif
