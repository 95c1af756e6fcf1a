/*
 * notify: what a supervisor is told (the sd_notify protocol: datagrams to the socket in $NOTIFY_SOCKET).
 *
 * Our own few lines and not libsystemd: the protocol is stable and small, the library would bring four
 * compression libraries and libgcrypt into a process that needs none of them.
 *
 * Guarantees: never blocks; without a supervisor that listens, nothing happens.
 * Ownership: borrows everything. Thread: any; the environment is read, never changed.
 * Errors: -1 with err (ERR_CONFIG: the address is not one; ERR_RETRY: it could not be sent).
 */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include "base/err.h"

#include <stdint.h>

/* "READY=1", "STOPPING=1\nSTATUS=draining", "WATCHDOG=1" … 0 when it was sent, or when nobody wants to know.
 */
MUST_CHECK int notify_send(const char *message, struct err *e);

/* How often the supervisor wants to hear WATCHDOG=1 at the least; 0: it does not ask this process. */
int64_t notify_watchdog_ms(void);

#endif
