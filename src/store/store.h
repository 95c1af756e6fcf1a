/*
 * store: one LMDB environment in one folder; everything the program keeps.
 *
 * Holds: the handle, the lock against a second daemon, the layout version, the store id, transactions, and
 * the mapping of LMDB's errors. What is kept in it is described by the other headers of this folder; the
 * layout is written down in docs/store-format.md.
 *
 * Guarantees
 *   A commit that returned 0 is on the disk (no NOSYNC, no WRITEMAP, which dies by SIGBUS on a full disk).
 *   Writers: one write transaction at a time, in one process (the lock). Readers: any, short; a span read
 *   from a transaction dies with it.
 *   A layout version that is not ours is refused, never guessed at.
 *
 * Calling order: store_open -> store_begin -> … -> store_commit | store_abort -> store_close.
 * Ownership: the caller closes; a transaction is a value on the caller's stack.
 * Thread: any; a write transaction belongs to the thread that began it. Never hold one across a call that
 * can block (network, sink), never two at once in a thread.
 * Errors: -1 with err of class ERR_STORE: the process must stop (exit 3); the text names path, reason, free
 * bytes. Exception: store_open gives ERR_CONFIG when the folder cannot be made or is on a network file
 * system.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"

#include <lmdb.h>

struct store;

enum store_mode {
    STORE_DAEMON,    /* read-write, takes the lock, makes the store when there is none */
    STORE_MAINTAIN,  /* read-write, takes the lock, refuses when there is none: commands with the daemon down
                      */
    STORE_READ_ONLY, /* no lock: looks at a living or dead store, also on a read-only file system */
    STORE_COPY, /* read-only, leaves no trace, also on a network file system: a backup, which nobody writes */
};

/* Named databases. Numbers index struct store's handles; names are the layout's. */
enum store_db {
    DB_META,          /* "layout", "store_id", … -> bytes */
    DB_ORGS,          /* org name -> org record */
    DB_SUBSCRIPTIONS, /* u32 number -> subscription record */
    DB_JOURNAL,       /* u64 first seq -> block of events */
    DB_SEEN_LOG,      /* u64 first identity number -> identities, newest, not sealed yet */
    DB_SEEN_RUNS,     /* u64 run, u32 chunk -> sorted identities */
    DB_SEEN_FILTERS,  /* u64 run -> run record; u64 run, u32 segment -> filter */
    DB_SCHEMAS,       /* org id, 0, schema id -> JSON */
    DB_SINKS,         /* sink name -> sink record */
    DB_DEAD_LETTERS,  /* sink, 0, u64 seq, record id -> dead letter */
    DB_INCIDENTS,     /* u64 number -> incident */
    DB_REPAIRS,       /* u64 number -> repair task */
    DB_VERSIONS,      /* sink, record -> field versions (records mode without a transactional target) */
    DB_COUNT
};

enum { STORE_LAYOUT_VERSION = 1 };

struct store_txn {
    struct store *st;
    MDB_txn *mdb;
    bool write;
};

MUST_CHECK int store_open(const char *folder, enum store_mode mode, int64_t max_size, struct store **out,
                          struct err *e);
void store_close(struct store *st);
/* ERR_CONFIG when `folder`, which exists, is on a network file system: store_open says the same. */
MUST_CHECK int store_check_place(const char *folder, struct err *e);

MUST_CHECK int store_begin(struct store *st, bool write, struct store_txn *txn, struct err *e);
/* Also ends a read transaction. After -1 the transaction is gone. */
MUST_CHECK int store_commit(struct store_txn *txn, struct err *e);
void store_abort(struct store_txn *txn);

/* The lock of STORE_DAEMON and STORE_MAINTAIN alone, for work on the folder itself. close(*fd) gives it back.
 */
MUST_CHECK int store_lock_folder(const char *folder, int *fd, struct err *e);

/* For backup alone. */
MDB_env *store_env(const struct store *st);

MDB_dbi store_dbi(const struct store *st, enum store_db db);
const char *store_folder(const struct store *st);
/* 16 random bytes made with the store; a restored store gets new ones (I7). */
const uint8_t *store_id(const struct store *st);
/* 16 random bytes that key the identities of events: those the store was made with, whatever its id became.
 */
const uint8_t *store_identity_key(const struct store *st);
/* Make it another store, which knows what it knew: a new id, the same identities. Takes effect when next
 * opened. */
MUST_CHECK int store_renew_id(struct store_txn *txn, struct err *e);

/* 0 found, 1 not found, -1 err. *value is valid until the transaction ends or writes. */
MUST_CHECK int store_get(struct store_txn *txn, enum store_db db, struct span key, struct span *value,
                         struct err *e);
MUST_CHECK int store_put(struct store_txn *txn, enum store_db db, struct span key, struct span value,
                         struct err *e);
/* Room for n bytes under a key greater than all others of this database (MDB_APPEND | MDB_RESERVE). */
MUST_CHECK int store_append(struct store_txn *txn, enum store_db db, struct span key, size_t n,
                            uint8_t **room, struct err *e);
/* 0 deleted, 1 was not there, -1 err. */
MUST_CHECK int store_delete(struct store_txn *txn, enum store_db db, struct span key, struct err *e);

/* Turn an LMDB code (or errno) into err: ERR_STORE with path, meaning, free bytes. Returns -1. */
int store_error(const struct store *st, int code, const char *doing, struct err *e);
#ifdef __clang_analyzer__
#define store_error(...) (store_error(__VA_ARGS__), -1)
#endif

struct store_space {
    int64_t live_bytes; /* pages in use: what I5 compares */
    int64_t file_bytes; /* size of the data file; never shrinks */
    int64_t max_bytes;  /* store.max_size */
    int64_t free_bytes; /* of the file system */
    uint64_t commits;   /* synced, by this process since it opened the store */
};
MUST_CHECK int store_space(struct store *st, struct store_space *out, struct err *e);

/* Remove reader slots of processes that died: at start and every minute, else the file grows for ever. */
void store_check_readers(struct store *st);

#endif
