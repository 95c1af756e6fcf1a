/*
 * daemon: what the parts of a running daemon are, for those who look at it.
 *
 * Ownership: borrows; whoever fills one in keeps the parts alive. Thread: immutable once filled in.
 */
#ifndef ADMIN_DAEMON_H
#define ADMIN_DAEMON_H

#include "config/config.h"
#include "delivery/delivery.h"
#include "intake/intake.h"
#include "store/store.h"

struct daemon_parts {
    const struct config *config;
    struct store *store;
    struct intake *intake;           /* NULL: the daemon is down, only the store can be looked at */
    struct delivery_loop **deliveries; /* per sink, as configured */
};

#endif
