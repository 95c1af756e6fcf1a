/*
 * listen: the two listening sockets of the admin API. Internal to admin/.
 *
 * Ownership: the caller closes the descriptor and unlinks the socket's path. Thread: any.
 * Errors: -1 with err: ERR_CONFIG (address, port, a store path too long for a socket), ERR_STORE (the socket's
 * file cannot be made).
 */
#ifndef ADMIN_LISTEN_H
#define ADMIN_LISTEN_H

#include "base/err.h"

enum { LISTEN_ADDRESS_SIZE = 80 };

/* `address` is filled with "HOST:PORT" as it was bound, an IPv6 host in brackets. */
MUST_CHECK int listen_tcp(const char *host, int port, char address[LISTEN_ADDRESS_SIZE], struct err *e);
/* Mode 0600. A socket that is there already is a dead daemon's: the caller holds the store's lock. */
MUST_CHECK int listen_unix(const char *path, struct err *e);

#endif
