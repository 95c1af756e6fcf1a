/*
 * talk: one connection to PostgreSQL, in pipeline mode: statements are queued, and their answers come together.
 * Statements with parameters that come again are prepared (kept.h).
 *
 * Guarantees
 *   No call blocks without an end: every wait has a deadline, and pg_interrupt ends it from another thread.
 *   Texts of errors hold no password and no value of a row: of the server's message only what names things is
 *   kept, in words of ours where the message itself would quote a value.
 *
 * Calling order: pg_init -> (pg_connect -> (pg_send* -> pg_finish)* -> pg_disconnect)* -> pg_release.
 * Ownership: answers belong to the call. Thread: one; pg_interrupt any.
 * Errors: ERR_RETRY, whatever the server says, except ERR_REJECTED for a refused login and ERR_CONFIG for a
 * connection string that is none. `fault` tells callers what kind it was, `broken` that the connection is gone.
 */
#ifndef SINK_POSTGRES_TALK_H
#define SINK_POSTGRES_TALK_H

#include "base/err.h"
#include "sink/postgres/kept.h"
#include "sink/postgres/params.h"
#include "sink/postgres/sqlstate.h"

#include <libpq-fe.h>

struct pg {
    PGconn *conn;
    int wake; /* an eventfd: readable once interrupted, until the next pg_connect */
    size_t queued;
    struct pg_kept kept;
    struct pg_aside *asides; /* among what is queued: statements of our own, whose answers nobody waits for */
    size_t n_asides, cap_asides;
    enum pg_fault fault; /* of the last failure */
    bool broken;         /* nothing more can be said on this connection */
    bool lost; /* … and the server gave no reason but that it ended: what it was doing may be the reason */
    int64_t patience_ms; /* without any answer for so long it is taken for gone; 0: no limit */
};

enum pg_intent { PG_FOR_WRITING, PG_FOR_READING };

void pg_init(struct pg *c);
/* dsn: a connection string, a URI, or "" for libpq's environment. name is shown in pg_stat_activity. */
MUST_CHECK int pg_connect(struct pg *c, const char *dsn, const char *name, enum pg_intent intent,
                          struct buf *notice, struct err *e);
/* The sslmode that a connection string leads to, with the environment and our default; "" when it is libpq's own
 * choice (this machine), or the string is none. */
void pg_sslmode_of(const char *dsn, char out[16]);
void pg_disconnect(struct pg *c);
void pg_release(struct pg *c);
void pg_interrupt(struct pg *c);

/* Queue one statement. params NULL: none. binary: how its rows come back. */
MUST_CHECK int pg_send(struct pg *c, const char *sql, const struct pg_params *params, bool binary,
                       struct err *e);
/* What is queued goes to the server now, which may begin with it. */
MUST_CHECK int pg_push(struct pg *c, struct err *e);
/* Wait for the answers of all that is queued; each gets them by number. After a failure the rest is skipped. */
typedef void (*pg_each)(void *context, size_t i, const PGresult *answer);
MUST_CHECK int pg_finish(struct pg *c, pg_each each, void *context, struct err *e);
/* One statement; *out, when asked for, is to be given to PQclear. */
MUST_CHECK int pg_ask(struct pg *c, const char *sql, const struct pg_params *params, bool binary,
                      PGresult **out, struct err *e);
MUST_CHECK int pg_do(struct pg *c, const char *sql, struct err *e);

/* A cell of an answer. */
static inline struct span pg_cell(const PGresult *r, int row, int column)
{
    return span_of(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}
/* A bigint that came in binary form. */
int64_t pg_cell_int8(const PGresult *r, int row, int column);

#endif
