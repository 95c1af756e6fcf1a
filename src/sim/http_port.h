/*
 * http_port: the simulator's HTTP side.
 *
 *   POST /services/oauth2/token   see oauth.h
 *   GET  /sim/state               the company's rows, to compare a mirror with
 *   GET  /sim/stats               counts per topic, of streams and of responses
 *   POST /faults                  one order per line: faults of calls, tokens and wire, and more (orders.h)
 *   POST /sim/managed             slot, state and commits of a managed subscription (managed.h)
 *   POST /sim/revoke              every token issued so far dies
 *   POST /sim/drop                every open stream ends with UNAVAILABLE
 *   POST /sim/call-fault          what the next RPCs get instead (faults.h)
 *   POST /sim/token-fault         what the next token requests get instead (oauth.h)
 *
 * Thread: libmicrohttpd runs its own, one for each connection; they take the simulator's lock.
 * Errors: -1 with ERR_CONFIG when the address cannot be opened.
 */
#ifndef SIM_HTTP_PORT_H
#define SIM_HTTP_PORT_H

#include "sim/server.h"

struct http_port;

MUST_CHECK int http_port_open(struct http_port **out, struct sim *sim, const char *address,
                              const struct server_tls *tls, int *port, struct err *e);
void http_port_close(struct http_port *h);

/* "HOST:PORT", "[::1]:0": host without brackets into out. -1: not of that form. */
MUST_CHECK int split_address(const char *address, char host[256], char port[8]);

#endif
