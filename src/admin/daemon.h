/*
 * daemon: what the parts of a running daemon are, for those who look at it.
 *
 * Ownership: borrows; whoever fills one in keeps the parts alive.
 * Thread: who looks holds `lock` for reading, who changes something for writing (a reload); commands that look at a
 * store alone need none.
 */
#ifndef ADMIN_DAEMON_H
#define ADMIN_DAEMON_H

#include "config/config.h"
#include "delivery/delivery.h"
#include "intake/intake.h"
#include "store/store.h"

#include <pthread.h>

/* The last reload. */
struct reload_view {
    bool failed;   /* the configuration in effect is not what the file says */
    int64_t at_ms; /* wall clock; 0: none yet */
    char why[600];
};

struct daemon_parts {
    const struct config *config;
    struct store *store;
    struct intake *intake;             /* NULL: the daemon is down, only the store can be looked at */
    struct delivery_loop **deliveries; /* per sink, as configured */
    struct reload_view reload;
    pthread_rwlock_t lock;
};

#endif
