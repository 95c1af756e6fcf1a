#include "store/backup.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/killpoint.h"
#include "base/text.h"
#include "store/incidents.h"
#include "store/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char partial_name[] = ".partial";

/* --- folders -------------------------------------------------------------------------------------- */

static int fail(struct err *e, const char *doing, const char *path)
{
    return err_set_errno(e, ERR_STORE, "backup", errno, "cannot %s %s", doing, path);
}

static int sync_folder(const char *folder, struct err *e)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : fail(e, "sync", folder);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* What an attempt that was cut short left behind; nothing else is ever in this folder. */
static int remove_partial(const char *partial, struct err *e)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "tidemark.lock"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", partial, names[i]);
        int rc = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR ? 0 : fail(e, "remove", path);
        free(path);
        if (rc != 0)
            return -1;
    }
    return rmdir(partial) == 0 || errno == ENOENT ? 0 : fail(e, "remove", partial);
}

static int make_folder(const char *path, const char *parent, struct err *e)
{
    if (mkdir(path, 0700) != 0)
        return fail(e, "make", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail(e, "open", path);
    owner_give(fd, parent);
    close(fd);
    return 0;
}

/* A fresh folder for the copy, within the one it is for: renaming it into place never crosses a mount. */
static char *begin_partial(const char *dir, struct err *e)
{
    char *partial = xasprintf("%s/%s", dir, partial_name);
    if (remove_partial(partial, e) == 0 && make_folder(partial, dir, e) == 0)
        return partial;
    free(partial);
    return NULL;
}

static int require_empty(const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    int rc = 0;
    if (!d)
        return fail(e, "read", dir);
    while (rc == 0 && (entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, "lost+found") != 0 &&
            strcmp(entry->d_name, partial_name) != 0)
            rc = err_set(e, ERR_CONFIG, "backup", ENOTEMPTY, "%s is not empty (it has '%s'): a backup goes into a folder of its own",
                         dir, entry->d_name);
    closedir(d);
    return rc;
}

static bool has_data(const char *folder, struct stat *data)
{
    char *path = xasprintf("%s/data.mdb", folder);
    bool has = stat(path, data) == 0;
    free(path);
    return has;
}

/* --- copying -------------------------------------------------------------------------------------- */

struct copying {
    MDB_env *env;
    int fd;
    int code;
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void *copy_main(void *arg)
{
    struct copying *c = arg;
    int code = mdb_env_copyfd2(c->env, c->fd, MDB_CP_COMPACT);
    /* Pages that belong to nothing, which an old crash of the file's writer may leave, stop only a compact copy. */
    if (code == MDB_INCOMPATIBLE && lseek(c->fd, 0, SEEK_SET) == 0 && ftruncate(c->fd, 0) == 0)
        code = mdb_env_copyfd2(c->env, c->fd, 0);
    pthread_mutex_lock(&c->lock);
    c->code = code;
    c->done = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Copy in a thread of its own: the library says nothing before it is done, people want to see it move. */
static int copy_with_progress(struct store *st, int fd, const struct backup_progress *progress, struct err *e)
{
    enum { TELL_EVERY_NS = 200 * 1000 * 1000 };
    struct copying c = {.env = store_env(st), .fd = fd, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct store_space space;
    pthread_t thread;
    if (store_space(st, &space, e) != 0)
        return -1;
    if (pthread_create(&thread, NULL, copy_main, &c) != 0)
        return err_set(e, ERR_FATAL, "backup", 0, "cannot start a thread");
    pthread_mutex_lock(&c.lock);
    while (!c.done) {
        struct timespec until;
        struct stat copy;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TELL_EVERY_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&c.changed, &c.lock, &until);
        if (progress->tell && fstat(fd, &copy) == 0)
            progress->tell(progress->ctx, copy.st_size, space.live_bytes);
    }
    pthread_mutex_unlock(&c.lock);
    pthread_join(thread, NULL);
    return c.code == 0 ? 0 : store_error(st, c.code, "cannot copy", e);
}

/* The store into partial/data.mdb, on the disk. */
static int copy_to(struct store *st, const char *partial, const struct backup_progress *progress, struct err *e)
{
    char *path = xasprintf("%s/data.mdb", partial);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        owner_give(fd, partial);
    int rc = fd >= 0 ? copy_with_progress(st, fd, progress, e) : fail(e, "make", path);
    if (rc == 0 && fsync(fd) != 0)
        rc = fail(e, "sync", path);
    if (fd >= 0 && close(fd) != 0 && rc == 0)
        rc = fail(e, "close", path);
    free(path);
    return rc;
}

static int read_facts(struct store *st, struct backup_facts *facts, struct err *e)
{
    struct store_txn txn;
    struct arena arena = ARENA_INIT;
    struct event_data *newest;
    size_t n = 0;
    struct stat data;
    if (store_begin(st, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, &facts->journal, e);
    if (rc == 0 && facts->journal.oldest <= facts->journal.head)
        rc = journal_read(&txn, facts->journal.head, 1, 1, &arena, &newest, &n, e);
    store_abort(&txn);
    facts->newest_ms = rc == 0 && n ? newest[0].received_ms : 0;
    facts->bytes = has_data(store_folder(st), &data) ? data.st_size : 0;
    arena_release(&arena);
    return rc;
}

/* What was written is a store, and this one. */
static int check_copy(const char *partial, struct backup_facts *facts, struct err *e)
{
    struct store *copy;
    if (store_open(partial, STORE_COPY, 0, &copy, e) != 0)
        return err_prefix(e, "the copy cannot be read back");
    int rc = read_facts(copy, facts, e);
    store_close(copy);
    return rc;
}

static int publish(const char *partial, const char *dir, struct err *e)
{
    char *from = xasprintf("%s/data.mdb", partial), *to = xasprintf("%s/data.mdb", dir);
    KILLPOINT("backup.before_rename");
    int rc = sync_folder(partial, e);
    if (rc == 0)
        rc = rename(from, to) == 0 ? sync_folder(dir, e) : fail(e, "rename", from);
    KILLPOINT("backup.after_rename");
    free(from);
    free(to);
    return rc;
}

/* --- backup --------------------------------------------------------------------------------------- */

int backup_make(struct store *st, const char *dir, const struct backup_progress *progress, struct backup_facts *facts,
                struct err *e)
{
    *facts = (struct backup_facts){.bytes = 0};
    if (file_make_folders(dir, 0700, e) != 0) {
        e->class = ERR_CONFIG;
        return -1;
    }
    if (require_empty(dir, e) != 0)
        return -1;
    char *partial = begin_partial(dir, e);
    if (!partial)
        return -1;
    struct err ignored;
    int rc = -1;
    KILLPOINT("backup.before_copy");
    if (copy_to(st, partial, progress, e) != 0 || check_copy(partial, facts, e) != 0 || publish(partial, dir, e) != 0)
        (void)remove_partial(partial, &ignored);
    else
        rc = remove_partial(partial, e);
    free(partial);
    return rc != 0 ? -1 : file_sync_folder_of(dir, e);
}

/* --- restore -------------------------------------------------------------------------------------- */

static int record_restore(struct store_txn *txn, const struct restore_order *order, const struct backup_facts *facts, struct err *e)
{
    char newest[25] = "never";
    struct incident i = {.state = INCIDENT_OPEN, .opened_ms = clock_wall_ms(), .since_ms = facts->newest_ms};
    if (facts->newest_ms)
        clock_format_ms(facts->newest_ms, newest);
    snprintf(i.subject, sizeof i.subject, "store");
    snprintf(i.kind, sizeof i.kind, "restored");
    snprintf(i.policy, sizeof i.policy, "reread");
    /* People read it as JSON, too: a path that is not UTF-8, or would be cut, is left out. */
    bool nameable = strlen(order->from) <= 100 && text_is_utf8(span_of_str(order->from));
    snprintf(i.text, sizeof i.text,
             "restored from %s by %s; the journal ends at seq %" PRIu64 " (received %s). What came later is read again, if the "
             "service still keeps it; lines of a file after that seq are cut and written again",
             nameable ? order->from : "a backup", order->by, facts->journal.head, newest);
    return incident_open(txn, &i, e);
}

/* Another store from now on: targets must not compare their cursors with it (I7). */
static int make_another(const char *partial, const struct restore_order *order, const struct backup_facts *facts, struct err *e)
{
    struct store *st;
    struct store_txn txn;
    if (store_open(partial, STORE_MAINTAIN, order->max_size, &st, e) != 0)
        return -1;
    int rc = store_begin(st, true, &txn, e);
    if (rc == 0) {
        rc = store_renew_id(&txn, e);
        if (rc == 0)
            rc = record_restore(&txn, order, facts, e);
        if (rc == 0)
            rc = store_commit(&txn, e);
        else
            store_abort(&txn);
    }
    store_close(st);
    return rc;
}

/* Give the old store a second name: under the first it stays until the new one takes that. */
static int keep_old(const char *folder, struct backup_facts *facts, struct err *e)
{
    char when[25];
    clock_format_ms(clock_wall_ms(), when);
    snprintf(facts->aside, sizeof facts->aside, "%s/replaced-%s", folder, when);
    char *from = xasprintf("%s/data.mdb", folder), *to = xasprintf("%s/data.mdb", facts->aside);
    int rc = make_folder(facts->aside, folder, e);
    if (rc == 0 && link(from, to) != 0)
        rc = fail(e, "keep the old store as", to);
    if (rc == 0)
        rc = sync_folder(facts->aside, e);
    free(from);
    free(to);
    return rc;
}

/* The reader table belongs to a data file: whoever still reads the old one keeps the old table. */
static int drop_reader_table(const char *folder, struct err *e)
{
    char *path = xasprintf("%s/lock.mdb", folder);
    int rc = unlink(path) == 0 || errno == ENOENT ? 0 : fail(e, "remove", path);
    free(path);
    return rc;
}

static int put_in_place(const char *partial, const struct restore_order *order, bool replaces, struct backup_facts *facts,
                        struct err *e)
{
    if (replaces && keep_old(order->folder, facts, e) != 0)
        return -1;
    return drop_reader_table(order->folder, e) == 0 && publish(partial, order->folder, e) == 0 ? drop_reader_table(order->folder, e) : -1;
}

static int open_backup(const struct restore_order *order, struct store **source, struct err *e)
{
    struct stat from, there;
    if (!has_data(order->from, &from) && errno == EACCES)
        return err_set(e, ERR_CONFIG, "restore", EACCES, "%s: this user may not look into it (%s)", order->from, strerror(EACCES));
    if (!has_data(order->from, &from))
        return err_set(e, ERR_CONFIG, "restore", errno, "%s is no backup: it has no data.mdb (%s)", order->from, strerror(errno));
    bool is_there = has_data(order->folder, &there);
    if (is_there && from.st_ino == there.st_ino && from.st_dev == there.st_dev)
        return err_set(e, ERR_CONFIG, "restore", 0, "%s is the store itself", order->from);
    if (is_there && !order->replace)
        return err_set(e, ERR_CONFIG, "restore", EEXIST, "there is a store in %s already: --force keeps it aside and puts the backup in "
                       "its place", order->folder);
    return store_open(order->from, STORE_COPY, 0, source, e);
}

/* Under the lock. */
static int restore(const struct restore_order *order, struct store *source, const struct backup_progress *progress,
                   struct backup_facts *facts, struct err *e)
{
    struct stat there;
    struct err ignored;
    int rc = -1;
    char *partial = begin_partial(order->folder, e);
    if (!partial)
        return -1;
    KILLPOINT("restore.before_copy");
    if (copy_to(source, partial, progress, e) != 0 || check_copy(partial, facts, e) != 0 ||
        make_another(partial, order, facts, e) != 0 || put_in_place(partial, order, has_data(order->folder, &there), facts, e) != 0)
        (void)remove_partial(partial, &ignored);
    else
        rc = remove_partial(partial, e);
    free(partial);
    return rc;
}

int backup_restore(const struct restore_order *order, const struct backup_progress *progress, struct backup_facts *facts,
                   struct err *e)
{
    struct store *source;
    int lock_fd = -1;
    *facts = (struct backup_facts){.bytes = 0};
    if (open_backup(order, &source, e) != 0)
        return -1;
    int rc = file_make_folders(order->folder, 0700, e);
    if (rc == 0)
        rc = store_lock_folder(order->folder, &lock_fd, e);
    if (rc == 0)
        rc = restore(order, source, progress, facts, e);
    if (lock_fd >= 0)
        close(lock_fd);
    store_close(source);
    return rc;
}
