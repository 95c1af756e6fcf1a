#include "base/alloc.h"
#include "base/file.h"
#include "sink/mirrors.h"
#include "sink/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char origin[] = "sink.sqlite";

struct mirror *sqlite_new(const struct sink_config *config)
{
    struct mirror *m = xcalloc(1, sizeof *m);
    m->name = xstrdup(config->name);
    m->renamed_from = config->renamed_from ? xstrdup(config->renamed_from) : NULL;
    /* ":memory:" is a file like any other here. */
    m->path = config->path[0] == '/' ? xstrdup(config->path) : xasprintf("./%s", config->path);
    if (pthread_mutex_init(&m->db_lock, NULL) != 0)
        BUG("no mutex");
    return m;
}

/* --- errors ---------------------------------------------------------------------------------------- */

static enum err_class class_of(const struct mirror *m, int code)
{
    switch (code & 0xff) {
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_AUTH:
        return m->opening ? ERR_REJECTED : ERR_RETRY; /* opening anew finds out whether it needs a person */
    default:
        return ERR_RETRY;
    }
}

int sqlite_error(struct mirror *m, int code, const char *doing, struct err *e)
{
    enum err_class class = class_of(m, code);
    struct statvfs space;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(
            e, class, origin, code,
            "cannot %s: another program has %s locked for writing (waited %d s): end its transaction", doing,
            m->path, SQLITE_BUSY_WAIT_MS / 1000);
    case SQLITE_FULL:
    case SQLITE_IOERR:
        if (statvfs(m->path, &space) == 0)
            return err_set(e, class, origin, code, "cannot %s in %s (%" PRIu64 " bytes free): %s", doing,
                           m->path, (uint64_t)space.f_bavail * space.f_frsize, sqlite3_errstr(code));
        break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return err_set(
            e, class, origin, code,
            "cannot %s: %s, or its folder, cannot be written by user %u (%s): check owner, mode and mount",
            doing, m->path, (unsigned)geteuid(), sqlite3_errstr(code));
    case SQLITE_CORRUPT:
        return err_set(
            e, class, origin, code,
            "cannot %s: %s is damaged (%s): restore it from a backup, or move it away and a new one is made",
            doing, m->path, sqlite3_errstr(code));
    case SQLITE_NOTADB:
        return err_set(
            e, class, origin, code,
            "cannot %s: %s is no SQLite database: give this sink another path, or move the file away", doing,
            m->path);
    case SQLITE_INTERRUPT:
        return err_set(e, class, origin, code, "cannot %s in %s: interrupted", doing, m->path);
    default:
        break;
    }
    return err_set(e, class, origin, code, "cannot %s in %s: %s", doing, m->path,
                   m->db ? sqlite3_errmsg(m->db) : sqlite3_errstr(code));
}

/* --- statements ------------------------------------------------------------------------------------ */

int sqlite_run(struct mirror *m, const char *sql, const char *doing, struct err *e)
{
    int code = sqlite3_exec(m->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : sqlite_error(m, code, doing, e);
}

int sqlite_prepare(struct mirror *m, const char *sql, sqlite3_stmt **out, struct err *e)
{
    int code = sqlite3_prepare_v3(m->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return code == SQLITE_OK ? 0 : sqlite_error(m, code, "prepare a statement", e);
}

static const char *const own_sql[N_OWN] = {
    [OWN_BEGIN] = "BEGIN IMMEDIATE",
    [OWN_COMMIT] = "COMMIT",
    [OWN_ROLLBACK] = "ROLLBACK",
    [OWN_SAVEPOINT] = "SAVEPOINT rows",
    [OWN_RELEASE] = "RELEASE rows",
    [OWN_ROLLBACK_TO] = "ROLLBACK TO rows",
    [OWN_RENAME] = "UPDATE _tidemark_sinks SET name=?1 WHERE name=?2"
                   " AND NOT EXISTS(SELECT 1 FROM _tidemark_sinks WHERE name=?1)",
    [OWN_RENAME_TOMBSTONES] = "UPDATE _tidemark_tombstones SET sink=?1 WHERE sink=?2"
                              " AND NOT EXISTS(SELECT 1 FROM _tidemark_sinks WHERE name=?2)",
    [OWN_FENCE] = "INSERT INTO _tidemark_sinks(name,epoch,layout) VALUES(?1,1,?2)"
                  " ON CONFLICT(name) DO UPDATE SET epoch=epoch+1,layout=?2",
    [OWN_AUTHORITY] = "SELECT epoch,store_id,cursor,state FROM _tidemark_sinks WHERE name=?1",
    [OWN_CURSOR] = "UPDATE _tidemark_sinks SET store_id=?1,cursor=?2,state=?3 WHERE name=?4 AND epoch=?5",
    [OWN_TOMBSTONE_GET] = "SELECT state FROM _tidemark_tombstones WHERE table_name=?1 AND id=?2",
    [OWN_TOMBSTONE_PUT] =
        "INSERT INTO _tidemark_tombstones(table_name,id,state,version,seq,epoch,commit_number,sink)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT(table_name,id) DO UPDATE SET "
        "state=?3,version=?4,seq=?5,epoch=?6,"
        "commit_number=?7,sink=?8",
    [OWN_TOMBSTONE_DROP] = "DELETE FROM _tidemark_tombstones WHERE table_name=?1 AND id=?2",
    [OWN_FORGET] = "DELETE FROM _tidemark_tombstones WHERE (table_name,id) IN (SELECT table_name,id"
                   " FROM _tidemark_tombstones WHERE (epoch,commit_number)<(?1,?2) AND sink IN (?4,'')"
                   " ORDER BY epoch,commit_number LIMIT ?3)",
};

int sqlite_own(struct mirror *m, enum own_statement which, sqlite3_stmt **out, struct err *e)
{
    if (!m->own[which] && sqlite_prepare(m, own_sql[which], &m->own[which], e) != 0)
        return -1;
    *out = m->own[which];
    return 0;
}

int sqlite_own_run(struct mirror *m, enum own_statement which, const char *doing, struct err *e)
{
    sqlite3_stmt *stmt;
    if (sqlite_own(m, which, &stmt, e) != 0)
        return -1;
    int code = sqlite3_step(stmt);
    if (code != SQLITE_DONE)
        sqlite_error(m, code, doing, e);
    sqlite3_reset(stmt);
    return code == SQLITE_DONE ? 0 : -1;
}

/* --- the file -------------------------------------------------------------------------------------- */

static int check_folder(struct mirror *m, struct err *e)
{
    const char *slash = strrchr(m->path, '/');
    char *folder = slash == m->path ? xstrdup("/") : xmemdupz(m->path, (size_t)(slash - m->path));
    struct stat st;
    int rc = -1;
    if (stat(folder, &st) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        err_set(e, ERR_RETRY, origin, errno,
                "cannot open %s: its folder does not exist; make it, or mount it", m->path);
    } else {
        const char *remote = file_network_name(folder);
        if (remote)
            err_set(e, ERR_CONFIG, origin, 0,
                    "%s is on a network file system (%s), where the locks and the shared memory of SQLite "
                    "are not "
                    "safe: use a local disk",
                    m->path, remote);
        else
            rc = 0;
    }
    free(folder);
    return rc;
}

/* A database of ours is nobody else's to read: 0600, and SQLite gives its log and shared memory the same mode. */
static int make_file(struct mirror *m, bool *made, struct err *e)
{
    struct stat st;
    if (stat(m->path, &st) == 0) {
        if (S_ISREG(st.st_mode))
            return 0;
        return err_set(e, ERR_REJECTED, origin, 0, "%s is not a file: give this sink the path of one",
                       m->path);
    }
    int fd = errno == ENOENT ? open(m->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (fd < 0) {
        bool person = errno == EACCES || errno == EPERM || errno == EROFS || errno == ELOOP ||
                      errno == ENAMETOOLONG;
        return err_set_errno(e, person ? ERR_REJECTED : ERR_RETRY, origin, errno,
                             "cannot make %s (as user %u)", m->path, (unsigned)geteuid());
    }
    *made = true;
    int rc = close(fd) == 0 ? 0 : err_set_errno(e, ERR_RETRY, origin, errno, "cannot make %s", m->path);
    return rc == 0 ? file_sync_folder_of(m->path, e) : -1;
}

bool sqlite_was_moved(struct mirror *m)
{
    int moved = 0;
    return sqlite3_file_control(m->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

/* Somebody else writes: wait, but not long, and not against an interrupt. */
static int on_busy(void *context, int tries)
{
    const struct mirror *m = context;
    enum { STEP_MS = 5 };
    if (atomic_load(&m->interrupted) || tries >= SQLITE_BUSY_WAIT_MS / STEP_MS)
        return 0;
    sqlite3_sleep(STEP_MS);
    return 1;
}

static int on_progress(void *context)
{
    const struct mirror *m = context;
    return atomic_load(&m->interrupted);
}

int sqlite_connect(struct mirror *m, int flags, struct err *e)
{
    sqlite3 *db = NULL;
    atomic_store(&m->interrupted, false);
    int code = sqlite3_open_v2(m->path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    pthread_mutex_lock(&m->db_lock);
    m->db = db;
    pthread_mutex_unlock(&m->db_lock);
    if (code != SQLITE_OK)
        return sqlite_error(m, code, "open the database", e);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_handler(db, on_busy, m);
    sqlite3_progress_handler(db, 100000, on_progress, m);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* A column that is missing must be an error, not the text of its name. */
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    return 0;
}

/* The log must be there: with a rollback journal readers would stop us, and a commit would cost three fsyncs. */
static int use_wal(struct mirror *m, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite_prepare(m, "PRAGMA journal_mode=WAL", &stmt, e) != 0)
        return -1;
    int code = sqlite3_step(stmt), rc = -1;
    if (code != SQLITE_ROW)
        sqlite_error(m, code, "switch to a write-ahead log", e);
    else if (!span_equal_str(sqlite_column_span(stmt, 0), "wal"))
        err_set(e, ERR_REJECTED, origin, 0, "%s cannot have a write-ahead log there: use a local disk",
                m->path);
    else
        rc = 0;
    sqlite3_finalize(stmt);
    return rc;
}

static const char settings[] =
    "PRAGMA synchronous=FULL;"        /* a commit is on disk when it says so */
    "PRAGMA temp_store=MEMORY;"       /* savepoints */
    "PRAGMA cache_size=-65536;"       /* KiB */
    "PRAGMA wal_autocheckpoint=4000;" /* pages: 16 MiB, where 4 cost a tenth of the rate */
    "PRAGMA journal_size_limit=67108864";

static int open_database(struct mirror *m, struct buf *notice, struct err *e)
{
    bool made_file = false, made = false;
    if (check_folder(m, e) != 0 || make_file(m, &made_file, e) != 0 ||
        sqlite_connect(m, SQLITE_OPEN_READWRITE, e) != 0)
        return -1;
    if (sqlite3_db_readonly(m->db, "main") == 1)
        return sqlite_error(m, SQLITE_READONLY, "open the database", e);
    if (use_wal(m, e) != 0 || sqlite_run(m, settings, "set up the connection", e) != 0)
        return -1;
    /*
     * What a failed fsync left in the log may be in memory and not on the disk, and nobody would ask for it
     * again. Copying the log into the database does. Others that read or write may stand in the way: then they
     * hold what is needed, and the next checkpoint is theirs or ours.
     */
    int code = sqlite3_wal_checkpoint_v2(m->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY && (code & 0xff) != SQLITE_LOCKED)
        return sqlite_error(m, code, "check the write-ahead log", e);
    if (sqlite_make_own(m, &made, e) != 0)
        return -1;
    if (made)
        buf_addf(notice, "%s %s", made_file ? "made" : "our tables were added to", m->path);
    return 0;
}

int sqlite_open(struct mirror *m, struct buf *notice, struct err *e)
{
    BUG_IF(m->db);
    m->opening = true;
    int rc = open_database(m, notice, e);
    m->opening = false;
    if (rc != 0)
        sqlite_close(m);
    return rc;
}

void sqlite_interrupt(struct mirror *m)
{
    pthread_mutex_lock(&m->db_lock);
    atomic_store(&m->interrupted, true);
    if (m->db)
        sqlite3_interrupt(m->db);
    pthread_mutex_unlock(&m->db_lock);
}

void sqlite_close(struct mirror *m)
{
    if (!m->db)
        return;
    sqlite_rollback(m);
    sqlite_drop_all_statements(m);
    for (uint32_t i = 0; i < m->n_tables; i++) {
        free(m->tables[i].numbers);
        free(m->tables[i].name);
    }
    free(m->tables);
    m->tables = NULL;
    m->n_tables = 0;
    m->epoch = 0;
    pthread_mutex_lock(&m->db_lock);
    if (sqlite3_close(m->db) != SQLITE_OK)
        BUG("a statement is still open: %s", sqlite3_errmsg(m->db));
    m->db = NULL;
    pthread_mutex_unlock(&m->db_lock);
}

void sqlite_free(struct mirror *m)
{
    if (!m)
        return;
    sqlite_close(m);
    buf_release(&m->held);
    buf_release(&m->text);
    pthread_mutex_destroy(&m->db_lock);
    free(m->name);
    free(m->renamed_from);
    free(m->path);
    free(m);
}

const struct mirror_ops mirror_sqlite_ops = {
    .kind = "sqlite",
    .new = sqlite_new,
    .open = sqlite_open,
    .fence = sqlite_fence,
    .fields = sqlite_fields,
    .begin = sqlite_begin,
    .prepare = sqlite_prepare_table,
    .load = sqlite_load,
    .text = sqlite_text,
    .write = sqlite_write,
    .forget = sqlite_forget,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .look = sqlite_look,
    .row = sqlite_row,
    .inspect = sqlite_inspect,
    .show_table = sqlite_show_table,
    .show_row = sqlite_show_row,
    .interrupt = sqlite_interrupt,
    .close = sqlite_close,
    .free = sqlite_free,
};
