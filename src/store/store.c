#include "store/store.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/exit_code.h"
#include "base/file.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "store/guard.h"
#include "store/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct store {
    char *folder;
    enum store_mode mode;
    int64_t max_size;
    MDB_env *env;
    MDB_dbi dbi[DB_COUNT];
    int lock_fd;
    bool had_store; /* the lock file says that there was one before we opened */
    uint8_t id[16], identity_key[16];
    atomic_uint_fast64_t syncs;
};

static const char *const db_names[DB_COUNT] = {
    [DB_META] = "meta",
    [DB_ORGS] = "orgs",
    [DB_SUBSCRIPTIONS] = "subscriptions",
    [DB_JOURNAL] = "journal",
    [DB_SEEN_LOG] = "seen_log",
    [DB_SEEN_RUNS] = "seen_runs",
    [DB_SEEN_FILTERS] = "seen_filters",
    [DB_SCHEMAS] = "schemas",
    [DB_SINKS] = "sinks",
    [DB_DEAD_LETTERS] = "dead_letters",
    [DB_INCIDENTS] = "incidents",
    [DB_REPAIRS] = "repairs",
    [DB_VERSIONS] = "versions",
};

static int64_t free_bytes_at(const char *folder)
{
    struct statvfs vfs;
    return statvfs(folder, &vfs) == 0 ? (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize : -1;
}

int(store_error)(const struct store *st, int code, const char *doing, struct err *e)
{
    int64_t free_bytes = free_bytes_at(st->folder);
    const char *advice = "";
    switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EIO: /* LMDB reports a full disk as EIO for large transactions */
        advice =
            "; the disk is full or failing: make room, then start again, nothing that was committed is lost";
        break;
    case MDB_MAP_FULL:
        advice = "; raise store.max_size";
        break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PANIC:
        advice = "; the store is damaged: restore a backup, or move the folder away and begin again";
        break;
    case MDB_VERSION_MISMATCH:
        advice = "; the file was written by another LMDB version";
        break;
    case EROFS:
    case EACCES:
    case EPERM:
        advice = "; the daemon needs to write here: check mount and owner";
        break;
    case EAGAIN:
        advice = "; another process with the same process id (in another container?) reads this store";
        break;
    default:
        break;
    }
    return err_set(e, ERR_STORE, "store", code, "store %s: %s: %s%s (free: %" PRId64 " bytes)", st->folder,
                   doing, mdb_strerror(code), advice, free_bytes);
}

/* --- opening -------------------------------------------------------------------------------------- */

/* LMDB's locks and its map do not work over a network. */
int store_check_place(const char *folder, struct err *e)
{
    struct stat st;
    if (stat(folder, &st) != 0)
        return err_set_errno(e, ERR_STORE, "store", errno, "store %s", folder);
    const char *remote = file_network_name(folder);
    if (!remote)
        return 0;
    return err_set(
        e, ERR_CONFIG, "store", 0,
        "store %s is on a network file system (%s), where a memory map and its locks are not safe: use a "
        "local disk",
        folder, remote);
}

/* Who holds the lock; and, in a second line, that a store was made here: its data must not vanish unnoticed.
 */
static const char had_store_line[] = "store\n";

static int write_lock(struct store *st, bool has_store, struct err *e)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%ld\n%s", (long)getpid(), has_store ? had_store_line : "");
    if (ftruncate(st->lock_fd, 0) != 0 || pwrite(st->lock_fd, text, (size_t)n, 0) != n)
        return store_error(st, errno, "cannot write the lock file", e);
    return 0;
}

static int take_lock(struct store *st, struct err *e)
{
    char *path = xasprintf("%s/tidemark.lock", st->folder);
    int rc = -1;
    owner_make(st->folder, "tidemark.lock");
    st->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (st->lock_fd < 0) {
        store_error(st, errno, "cannot open the lock file", e);
        goto out;
    }
    if (flock(st->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        char holder[32] = "";
        ssize_t n = pread(st->lock_fd, holder, sizeof holder - 1, 0);
        holder[n > 0 ? strcspn(holder, "\n") : 0] = '\0';
        err_set(e, ERR_STORE, "store", EWOULDBLOCK,
                "store %s is in use by another process (pid %s): one daemon per store; commands reach it "
                "through its socket",
                st->folder, *holder ? holder : "unknown");
        goto out;
    }
    char old[64] = "";
    ssize_t n = pread(st->lock_fd, old, sizeof old - 1, 0);
    st->had_store = n > 0 && strstr(old, had_store_line);
    rc = write_lock(st, st->had_store, e);
out:
    free(path);
    return rc;
}

int store_lock_folder(const char *folder, int *fd, struct err *e)
{
    struct store st = {.folder = (char *)(uintptr_t)folder, .lock_fd = -1};
    int rc = take_lock(&st, e);
    if (rc != 0 && st.lock_fd >= 0)
        close(st.lock_fd);
    *fd = rc == 0 ? st.lock_fd : -1;
    return rc;
}

static bool only_reads(enum store_mode mode)
{
    return mode == STORE_READ_ONLY || mode == STORE_COPY;
}

/*
 * LMDB meets a page that cannot be: it would abort the process. What is committed elsewhere stands, nothing
 * can be cleaned up here, and the exit code must tell the supervisor that it is the store.
 */
static void on_damage(MDB_env *env, const char *what)
{
    const char *folder = "";
    mdb_env_get_path(env, &folder);
    fprintf(stderr,
            "tidemark: store %s is damaged (%s): restore a backup, or move the folder away and begin again "
            "(free: %" PRId64 " bytes)\n",
            folder, what, free_bytes_at(folder));
    _exit(EXIT_STORE);
}

/* Returns an LMDB code. An environment that failed to open cannot be opened again: the next try makes
 * another. */
static int try_environment(struct store *st, unsigned flags)
{
    if (st->env)
        mdb_env_close(st->env);
    st->env = NULL;
    int rc = mdb_env_create(&st->env);
    if (rc == 0)
        rc = mdb_env_set_assert(st->env, on_damage);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(st->env, DB_COUNT);
    /* A quarter on top, for trims, cursors and dead letters when the journal is full (I5). */
    if (rc == 0 && !only_reads(st->mode))
        rc = mdb_env_set_mapsize(st->env, (size_t)(st->max_size + st->max_size / 4));
    if (rc == 0)
        rc = mdb_env_set_maxreaders(st->env, 126);
    if (rc == 0)
        rc = mdb_env_open(st->env, st->folder, flags, 0600);
    return rc;
}

static int open_environment(struct store *st, struct err *e)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    if (only_reads(st->mode))
        flags |= MDB_RDONLY;
    if (st->mode == STORE_COPY)
        flags |= MDB_NOLOCK;
    else
        owner_make(st->folder, "lock.mdb");
    int rc = try_environment(st, flags);
    if (st->mode == STORE_READ_ONLY && (rc == EROFS || rc == EACCES))
        rc = try_environment(st, flags | MDB_NOLOCK);
    return rc == 0 ? 0 : store_error(st, rc, "cannot open", e);
}

/* A file that was cut would kill us by SIGBUS at the first page that is missing: say so instead. */
static int check_file_length(struct store *st, struct err *e)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file;
    int fd;
    mdb_env_info(st->env, &info);
    mdb_env_stat(st->env, &stat);
    if (mdb_env_get_fd(st->env, &fd) != 0 || fstat(fd, &file) != 0)
        return store_error(st, errno, "cannot look at data.mdb", e);
    int64_t needed = (int64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    if (file.st_size >= needed)
        return 0;
    return err_set(e, ERR_STORE, "store", MDB_CORRUPTED,
                   "store %s is damaged: data.mdb has %" PRId64 " bytes of the %" PRId64
                   " it needs; restore a backup, or move "
                   "the folder away and begin again",
                   st->folder, (int64_t)file.st_size, needed);
}

static int open_databases(struct store *st, struct store_txn *txn, struct err *e)
{
    for (int i = 0; i < DB_COUNT; i++) {
        int rc = mdb_dbi_open(txn->mdb, db_names[i], txn->write ? MDB_CREATE : 0, &st->dbi[i]);
        if (rc == MDB_NOTFOUND && !txn->write)
            return err_set(e, ERR_STORE, "store", rc, "store %s: no store here (it has no '%s')", st->folder,
                           db_names[i]);
        if (rc != 0)
            return store_error(st, rc, "cannot open a database", e);
    }
    return 0;
}

static int check_layout(struct store *st, struct store_txn *txn, struct err *e)
{
    struct span v;
    int rc = store_get(txn, DB_META, span_of_str("layout"), &v, e);
    if (rc < 0)
        return -1;
    if (rc == 1) {
        if (!txn->write)
            return err_set(e, ERR_STORE, "store", MDB_NOTFOUND, "store %s: no store here", st->folder);
        if (st->had_store)
            return err_set(e, ERR_STORE, "store", 0,
                           "store %s: data.mdb is missing or empty, and a store was here: restore a backup; "
                           "or, to begin anew "
                           "and receive everything again, remove %s/tidemark.lock",
                           st->folder, st->folder);
        uint32_t version = STORE_LAYOUT_VERSION;
        random_bytes(st->id, sizeof st->id);
        memcpy(st->identity_key, st->id, sizeof st->identity_key);
        if (store_put(txn, DB_META, span_of_str("layout"), span_of(&version, sizeof version), e) != 0)
            return -1;
        return store_put(txn, DB_META, span_of_str("store_id"), span_of(st->id, sizeof st->id), e);
    }
    uint32_t version = 0;
    if (v.n == sizeof version)
        memcpy(&version, v.p, sizeof version);
    if (version != STORE_LAYOUT_VERSION)
        return err_set(
            e, ERR_STORE, "store", 0,
            "store %s has layout version %u, this program knows %d: use the program that wrote it, or newer",
            st->folder, version, STORE_LAYOUT_VERSION);
    rc = store_get(txn, DB_META, span_of_str("store_id"), &v, e);
    if (rc < 0)
        return -1;
    if (rc == 1 || v.n != sizeof st->id)
        return err_set(e, ERR_STORE, "store", 0, "store %s is damaged: it has no id", st->folder);
    memcpy(st->id, v.p, sizeof st->id);
    rc = store_get(txn, DB_META, span_of_str("identity_key"), &v,
                   e); /* only a restored store has one of its own */
    if (rc == 0 && v.n != sizeof st->identity_key)
        return err_set(e, ERR_STORE, "store", 0, "store %s is damaged: its identity key does not parse",
                       st->folder);
    memcpy(st->identity_key, rc == 0 ? v.p : st->id, sizeof st->identity_key);
    return rc < 0 ? -1 : 0;
}

/* A folder without data.mdb must not be made into a store by a command that only looks. */
static int require_existing(const struct store *st, struct err *e)
{
    char *data = xasprintf("%s/data.mdb", st->folder);
    int rc = 0;
    if (access(data, F_OK) != 0 && errno == EACCES)
        rc = err_set(e, ERR_STORE, "store", EACCES,
                     "store %s: this user may not look into it (%s): use the daemon's, or root", st->folder,
                     strerror(EACCES));
    else if (access(data, F_OK) != 0)
        rc = err_set(e, ERR_STORE, "store", errno, "store %s: no store here (%s)", st->folder,
                     strerror(errno));
    free(data);
    return rc;
}

int store_open(const char *folder, enum store_mode mode, int64_t max_size, struct store **out, struct err *e)
{
    struct store *st = xcalloc(1, sizeof *st);
    st->folder = xstrdup(folder);
    st->mode = mode;
    st->max_size = max_size;
    st->lock_fd = -1;
    struct store_txn txn;
    if (mode == STORE_DAEMON) {
        if (file_make_folders(folder, 0700, e) != 0) {
            e->class = ERR_STORE;
            goto fail;
        }
    } else if (require_existing(st, e) != 0) {
        goto fail;
    }
    if (mode != STORE_COPY && store_check_place(folder, e) != 0)
        goto fail;
    if (!only_reads(mode) && take_lock(st, e) != 0)
        goto fail;
    if (open_environment(st, e) != 0 || check_file_length(st, e) != 0)
        goto fail;
    guard_watch(st->folder);
    store_check_readers(st);
    if (store_begin(st, !only_reads(mode), &txn, e) != 0)
        goto fail;
    if (open_databases(st, &txn, e) != 0 || check_layout(st, &txn, e) != 0) {
        store_abort(&txn);
        goto fail;
    }
    if (store_commit(&txn, e) != 0)
        goto fail;
    if (st->lock_fd >= 0 && !st->had_store && write_lock(st, true, e) != 0)
        goto fail;
    *out = st;
    return 0;
fail:
    store_close(st);
    return -1;
}

void store_close(struct store *st)
{
    if (!st)
        return;
    if (st->env) {
        guard_unwatch(st->folder);
        mdb_env_close(st->env);
    }
    if (st->lock_fd >= 0)
        close(st->lock_fd); /* and with it the lock */
    free(st->folder);
    free(st);
}

/* --- transactions --------------------------------------------------------------------------------- */

int store_begin(struct store *st, bool write, struct store_txn *txn, struct err *e)
{
    *txn = (struct store_txn){st, NULL, write};
    int rc = mdb_txn_begin(st->env, NULL, write ? 0 : MDB_RDONLY, &txn->mdb);
    if (rc == MDB_MAP_RESIZED) { /* a daemon with another max_size wrote since we opened */
        mdb_env_set_mapsize(st->env, 0);
        rc = mdb_txn_begin(st->env, NULL, write ? 0 : MDB_RDONLY, &txn->mdb);
    }
    return rc == 0 ? 0 : store_error(st, rc, "cannot begin a transaction", e);
}

int store_commit(struct store_txn *txn, struct err *e)
{
    struct store *st = txn->st;
    if (txn->write)
        KILLPOINT("store.before_commit");
    int rc = mdb_txn_commit(txn->mdb);
    txn->mdb = NULL;
    if (rc != 0)
        return store_error(st, rc, "cannot commit", e);
    if (txn->write) {
        st->syncs++;
        KILLPOINT("store.after_commit");
    }
    return 0;
}

void store_abort(struct store_txn *txn)
{
    if (txn->mdb)
        mdb_txn_abort(txn->mdb);
    txn->mdb = NULL;
}

static MDB_val val_of(struct span s)
{
    return (MDB_val){s.n, (void *)(uintptr_t)s.p};
}

int store_get(struct store_txn *txn, enum store_db db, struct span key, struct span *value, struct err *e)
{
    MDB_val k = val_of(key), v;
    int rc = mdb_get(txn->mdb, txn->st->dbi[db], &k, &v);
    if (rc == MDB_NOTFOUND)
        return 1;
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read", e);
    *value = span_of(v.mv_data, v.mv_size);
    return 0;
}

int store_put(struct store_txn *txn, enum store_db db, struct span key, struct span value, struct err *e)
{
    MDB_val k = val_of(key), v = val_of(value);
    int rc = mdb_put(txn->mdb, txn->st->dbi[db], &k, &v, 0);
    return rc == 0 ? 0 : store_error(txn->st, rc, "cannot write", e);
}

int store_append(struct store_txn *txn, enum store_db db, struct span key, size_t n, uint8_t **room,
                 struct err *e)
{
    MDB_val k = val_of(key), v = {n, NULL};
    int rc = mdb_put(txn->mdb, txn->st->dbi[db], &k, &v, MDB_APPEND | MDB_RESERVE);
    if (rc != 0)
        return store_error(txn->st, rc,
                           rc == MDB_KEYEXIST ? "an appended key is not the greatest" : "cannot write", e);
    *room = v.mv_data;
    return 0;
}

int store_delete(struct store_txn *txn, enum store_db db, struct span key, struct err *e)
{
    MDB_val k = val_of(key);
    int rc = mdb_del(txn->mdb, txn->st->dbi[db], &k, NULL);
    if (rc == MDB_NOTFOUND)
        return 1;
    return rc == 0 ? 0 : store_error(txn->st, rc, "cannot delete", e);
}

/* --- about the store ------------------------------------------------------------------------------ */

MDB_env *store_env(const struct store *st)
{
    return st->env;
}

MDB_dbi store_dbi(const struct store *st, enum store_db db)
{
    return st->dbi[db];
}

const char *store_folder(const struct store *st)
{
    return st->folder;
}

const uint8_t *store_id(const struct store *st)
{
    return st->id;
}

const uint8_t *store_identity_key(const struct store *st)
{
    return st->identity_key;
}

int store_renew_id(struct store_txn *txn, struct err *e)
{
    uint8_t id[16];
    random_bytes(id, sizeof id);
    const struct span key = span_of(txn->st->identity_key, sizeof txn->st->identity_key);
    int rc = store_put(txn, DB_META, span_of_str("identity_key"), key, e);
    return rc != 0 ? rc : store_put(txn, DB_META, span_of_str("store_id"), span_of(id, sizeof id), e);
}

void store_check_readers(struct store *st)
{
    int dead = 0;
    if (mdb_reader_check(st->env, &dead) == 0 && dead > 0)
        log_info("store", "removed %d reader slots of processes that died", dead);
}

/* Pages on the free list: database 0 holds, per old transaction, a count and that many page numbers. */
static int free_pages(struct store_txn *txn, size_t *pages, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    *pages = 0;
    int rc = mdb_cursor_open(txn->mdb, 0, &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read the free list", e);
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        size_t n;
        memcpy(&n, v.mv_data, sizeof n);
        *pages += n;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : store_error(txn->st, rc, "cannot read the free list", e);
}

int store_space(struct store *st, struct store_space *out, struct err *e)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct store_txn txn;
    size_t unused;
    if (store_begin(st, false, &txn, e) != 0)
        return -1;
    mdb_env_info(st->env, &info);
    mdb_env_stat(st->env, &stat);
    if (free_pages(&txn, &unused, e) != 0) {
        store_abort(&txn);
        return -1;
    }
    store_abort(&txn);
    out->file_bytes = (int64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    out->live_bytes = out->file_bytes - (int64_t)unused * stat.ms_psize;
    out->max_bytes = st->max_size;
    out->free_bytes = free_bytes_at(st->folder);
    out->commits = st->syncs;
    return 0;
}
