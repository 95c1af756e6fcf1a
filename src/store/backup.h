/*
 * backup: a compact copy of a store, made beside a running daemon, and the way back.
 *
 * Guarantees
 *   A backup is one snapshot: what one transaction saw. DIR/data.mdb appears only once it is whole and on the disk.
 *   A restore replaces the store by one rename: at any moment, also after a kill, there is the old store or the new
 *   one, whole. The old one is kept aside.
 *   A restored store has a new store id (I7) and an open incident "restored".
 *   What fails or is killed half way leaves a folder ".partial", which the next attempt removes.
 *
 * Calling order: backup_make with an open store; backup_restore with none open. Ownership: borrows.
 * Thread: any; progress is told on the caller's.
 * Errors: ERR_CONFIG: the folder is not empty, there is a store already, DIR is no backup; ERR_STORE.
 */
#ifndef STORE_BACKUP_H
#define STORE_BACKUP_H

#include "store/journal.h"
#include "store/store.h"

struct backup_progress {
    void (*tell)(void *ctx, int64_t done_bytes, int64_t most_bytes); /* NULL: nobody looks */
    void *ctx;
};

/* What a copy holds. */
struct backup_facts {
    struct journal_bounds journal;
    int64_t newest_ms; /* when its newest event was received, wall clock; 0: it has none */
    int64_t bytes;
    char aside[512]; /* restore: where the old store is kept; "" when there was none */
};

/* Copy the store into `dir`, which does not exist or is empty. Holds a read transaction throughout: the store's file
 * grows by what is written meanwhile. */
MUST_CHECK int backup_make(struct store *st, const char *dir, const struct backup_progress *progress,
                           struct backup_facts *facts, struct err *e);

struct restore_order {
    const char *from;   /* a folder that backup_make filled */
    const char *folder; /* the store's */
    int64_t max_size;
    bool replace; /* a store that is there is moved aside; else it is refused */
    const char *by;
};
MUST_CHECK int backup_restore(const struct restore_order *order, const struct backup_progress *progress,
                              struct backup_facts *facts, struct err *e);

#endif
