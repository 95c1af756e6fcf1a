/*
 * server: the admin API, over TCP (as configured) and over a Unix socket in the store's folder (mode 0600).
 *
 *   GET /healthz   200: the process lives
 *   GET /readyz    200 or 503; the body says which part is not ready, since when, why
 *   GET /status    JSON (README, "Status")
 *   GET /metrics   Prometheus text format
 *
 *   POST /replay, /login, /incidents/close …  commands (commands.h): only over the socket, or with the admin token
 *
 * Calling order: admin_bind, before anything else of the daemon opens (a port in use ends the start) ->
 * admin_serve, once the parts run -> admin_stop, before the parts end. Thread: libmicrohttpd's own.
 * Errors: ERR_CONFIG: the port is in use or the address cannot be bound; ERR_STORE: the socket cannot be made.
 */
#ifndef ADMIN_SERVER_H
#define ADMIN_SERVER_H

#include "admin/daemon.h"

struct admin;

/* Bind both sockets; the store's folder exists and is locked. */
MUST_CHECK int admin_bind(const struct config *config, struct admin **out, struct err *e);
/* Answer. *parts is borrowed until admin_stop. */
MUST_CHECK int admin_serve(struct admin *a, struct daemon_parts *parts, struct err *e);
void admin_stop(struct admin *a);

/* The Unix socket's path for a store in this folder. free() it. */
char *admin_socket_path(const char *store_folder);

/* A request without a body over the Unix socket: the HTTP status, with the body appended; -1 with err when nobody
 * answers. */
MUST_CHECK int admin_request(const char *store_folder, const char *method, const char *path, struct buf *body,
                             struct err *e);

#endif
