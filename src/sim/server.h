/*
 * server: the Pub/Sub API on gRPC C core.
 *
 * One completion queue, polled by the calling thread, drives all calls. Methods are taken as they come
 * (no registration), so that unknown ones are answered UNIMPLEMENTED. A call lives until every
 * operation that was started for it has come back.
 *
 * Calling order: server_open -> server_run until *stop -> server_close.
 * Ownership: borrows the simulator. Thread: main; takes the simulator's lock.
 * Errors: server_open -1 with ERR_CONFIG (port in use); server_run -1 when the ledger cannot be written.
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "base/err.h"

#include <stdatomic.h>

struct sim;
struct server;

struct server_tls {
    const char *certificate_pem, *key_pem; /* NULL: plaintext */
};

MUST_CHECK int server_open(struct server **server, struct sim *sim, const char *address,
                           const struct server_tls *tls, int *port, struct err *e);
MUST_CHECK int server_run(struct server *server, const atomic_bool *stop, struct err *e);
void server_close(struct server *server);

#endif
