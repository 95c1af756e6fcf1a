/*
 * commands: what changes the state of a running daemon, on a person's order.
 *
 *   POST /replay?subscription=NAME&from=POSITION[&dry_run=1]   read again from there (intake/replay.h)
 *   POST /replay?sink=NAME&from=POSITION[&dry_run=1]           deliver again from the journal (delivery/redeliver.h)
 *   POST /login?org=NAME                                       log in now, whatever pause is going on (auth/auth.h)
 *   POST /dlq/retry?sink=NAME&seq=N,N…&reason=CLASS&all=1[&dry_run=1], /dlq/drop the same   (delivery/redrive.h)
 *   POST /incidents/close?id=N[&note=TEXT]                     a person has dealt with it (store/incidents.h)
 *
 * The server asks for authority before it calls command_run.
 *
 * Ownership: borrows. Thread: any. Errors: ERR_CONFIG: the order makes no sense (HTTP 400); ERR_RETRY, ERR_STORE: it
 * could not be carried out (HTTP 500).
 */
#ifndef ADMIN_COMMANDS_H
#define ADMIN_COMMANDS_H

#include "admin/daemon.h"
#include "delivery/redeliver.h"

struct command_request {
    const char *path;
    const char *(*argument)(void *ctx, const char *name); /* "" when missing */
    void *ctx;
    char by[64]; /* who */
};

/* --from of a re-delivery: what a replay takes (intake/replay.h), except "latest". ERR_CONFIG. */
MUST_CHECK int command_parse_redelivery(const char *from, struct redeliver_request *out, bool *was_int,
                                        struct err *e);

bool command_exists(const char *path);
MUST_CHECK int command_run(const struct daemon_parts *parts, const struct command_request *request,
                           struct buf *answer, struct err *e);

#endif
