#include "sink/file_open.h"

#include "base/alloc.h"
#include "base/file.h"
#include "sink/file_tail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char origin[] = "sink.file";

/* What one open works on. */
struct opening {
    const char *sink_name, *path;
    const struct sink_memory *memory;
    struct buf *notice;
    bool was_missing;
    struct file_output *out;
};

/* Where the next thing worth telling goes: `buf_addf(remark(notice), ...)`. */
static struct buf *remark(struct buf *notice)
{
    if (notice->len)
        buf_add_str(notice, "; ");
    return notice;
}

int file_output_error(struct err *e, enum err_class class, int errnum, int fd, const char *doing,
                      const char *path)
{
    struct statvfs space;
    bool about_space = errnum == ENOSPC || errnum == EDQUOT || errnum == EIO || errnum == EFBIG;
    if (about_space && (fd >= 0 ? fstatvfs(fd, &space) : statvfs(path, &space)) == 0)
        return err_set_errno(e, class, origin, errnum, "cannot %s %s (%" PRIu64 " bytes free)", doing, path,
                             (uint64_t)space.f_bavail * space.f_frsize);
    return err_set_errno(e, class, origin, errnum, "cannot %s %s", doing, path);
}

/* Which failures of open(2) pass by themselves, and which need a person. */
static int open_failed(const struct opening *o, int errnum, struct err *e)
{
    switch (errnum) {
    case ENOENT: /* with O_CREAT: a folder is missing. It is not made: a volume may not be mounted yet */
        return err_set(e, ERR_RETRY, origin, errnum,
                       "cannot open %s: its folder does not exist; make it, or mount it", o->path);
    case EACCES:
    case EPERM:
        return err_set(e, ERR_REJECTED, origin, errnum,
                       "cannot open %s for reading and appending: permission denied for user %u; check the "
                       "owner and mode of the file and its folder",
                       o->path, (unsigned)geteuid());
    case EISDIR:
        return err_set(e, ERR_REJECTED, origin, errnum,
                       "%s is a folder; the path of a file sink names a file", o->path);
    case EROFS:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:
    case ETXTBSY:
        return err_set_errno(e, ERR_REJECTED, origin, errnum, "cannot open %s", o->path);
    default:
        return file_output_error(e, ERR_RETRY, errnum, -1, "open", o->path);
    }
}

static int refuse_other_kinds(const struct opening *o, mode_t mode, struct err *e)
{
    const char *kind = S_ISREG(mode)    ? NULL
                       : S_ISDIR(mode)  ? "a folder"
                       : S_ISFIFO(mode) ? "a pipe"
                       : S_ISSOCK(mode) ? "a socket"
                                        : "a device";
    if (!kind)
        return 0;
    return err_set(
        e, ERR_REJECTED, origin, 0,
        "%s is %s; a file sink can only keep its promise on a regular file (the stdout sink writes to pipes)",
        o->path, kind);
}

/* Who holds a flock on the file, or 0. A line of /proc/locks: "1: FLOCK ADVISORY WRITE 42 08:01:77 0 EOF". */
static long lock_holder(const struct stat *st)
{
    FILE *locks = fopen("/proc/locks", "re");
    char line[256];
    long holder = 0;
    while (locks && holder == 0 && fgets(line, sizeof line, locks)) {
        long pid;
        unsigned long long inode;
        unsigned major_number, minor_number;
        int fields = sscanf(line, "%*d: FLOCK %*s WRITE %ld %x:%x:%llu", &pid, &major_number, &minor_number,
                            &inode);
        if (fields == 4 && inode == st->st_ino && makedev(major_number, minor_number) == st->st_dev)
            holder = pid;
    }
    if (locks)
        fclose(locks);
    return holder;
}

static int lock(const struct opening *o, const struct stat *st, struct err *e)
{
    if (flock(o->out->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return file_output_error(e, ERR_RETRY, errno, o->out->fd, "lock", o->path);
    long pid = lock_holder(st);
    if (pid == getpid())
        return err_set(e, ERR_REJECTED, origin, EWOULDBLOCK,
                       "%s is in use by another sink of this process: one file, one sink", o->path);
    if (pid > 0)
        return err_set(e, ERR_REJECTED, origin, EWOULDBLOCK,
                       "%s is locked by process %ld: stop it, or give this sink another path", o->path, pid);
    return err_set(e, ERR_REJECTED, origin, EWOULDBLOCK,
                   "%s is locked by another process: stop it, or give this sink another path", o->path);
}

/* A name that was made must survive a crash before anything written under it counts. */
static int sync_name(const struct opening *o, struct err *e)
{
    char *real = realpath(o->path, NULL); /* behind a link, the target's folder has the name */
    int rc = file_sync_folder_of(real ? real : o->path, e);
    free(real);
    return rc;
}

/*
 * Open the path for appending, made if missing. Appending means that whatever happens to the file, no
 * write of ours lands in the middle of it, or behind a hole.
 */
static int open_path(struct opening *o, struct stat *st, struct err *e)
{
    /* O_NONBLOCK, O_NOCTTY: a serial line must neither hold us up nor adopt us. No effect on files. */
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = TEMP_FAILURE_RETRY(open(o->path, flags));
    if (fd < 0 && errno == ENOENT) {
        o->was_missing = true;
        fd = TEMP_FAILURE_RETRY(open(o->path, flags | O_CREAT, 0640));
    }
    if (fd < 0)
        return open_failed(o, errno, e);
    o->out->fd = fd;
    if (fstat(fd, st) != 0)
        return file_output_error(e, ERR_RETRY, errno, fd, "look at", o->path);
    if (refuse_other_kinds(o, st->st_mode, e) != 0 || lock(o, st, e) != 0)
        return -1;
    /* Again, now that nobody of ours can write to it. */
    if (fstat(fd, st) != 0)
        return file_output_error(e, ERR_RETRY, errno, fd, "look at", o->path);
    return st->st_size == 0 ? sync_name(o, e) : 0;
}

/* The mark becomes the file's present end. */
static int go_on_at_end(const struct opening *o, const struct stat *st, struct err *e)
{
    bool torn;
    if (file_mark_at(o->out->fd, (uint64_t)st->st_size, &o->out->mark, &torn, e) != 0)
        return err_prefix(e, "%s", o->path);
    if (torn)
        return err_set(e, ERR_REJECTED, origin, 0,
                       "%s holds %jd bytes that do not end with a line end, so the next event would join a "
                       "torn line: complete its last line, or move the file away",
                       o->path, (intmax_t)st->st_size);
    return 0;
}

/*
 * A file that is not the one remembered, or shorter, and holds events of ours all the same: somebody has put a copy
 * there, or our store is another one. Going on at its end loses or repeats what lies between, so it is said for good:
 * e becomes ERR_UNKNOWN, which is no failure. The mark is the file's end already.
 */
static int compare_copy(const struct opening *o, struct err *e)
{
    const struct file_mark *mark = &o->out->mark;
    const uint64_t cursor = o->memory->cursor;
    struct file_tail_line last;
    if (file_tail_last(o->out->fd, mark->length, mark->line_bytes, &last, e) != 0)
        return err_prefix(e, "%s", o->path);
    if (!last.is_ours || last.seq == cursor)
        return 0;
    if (last.seq > cursor)
        err_set(e, ERR_UNKNOWN, origin, 0,
                "%s ends with an event of seq %" PRIu64 ", and the store has seen %" PRIu64
                " delivered: it was written under another store, and what comes again is in it twice",
                o->path, last.seq, cursor);
    else if (o->memory->state.n)
        err_set(e, ERR_UNKNOWN, origin, 0,
                "%s is an older copy: it ends with seq %" PRIu64
                ", and what was delivered after it is not in it; `tidemark replay --sink %s --from %s` "
                "delivers it again",
                o->path, last.seq, o->sink_name, last.replay_id);
    return 0;
}

/* As go_on_at_end, for a file that may be a copy of the one remembered (`before`; NULL: none was). */
static int go_on_in_copy(const struct opening *o, const struct stat *st, const struct file_mark *before,
                         struct err *e)
{
    bool same = false;
    if (before && before->length && before->length == (uint64_t)st->st_size &&
        file_mark_check(o->out->fd, before, &same, e) != 0)
        return err_prefix(e, "%s", o->path);
    if (go_on_at_end(o, st, e) != 0)
        return -1;
    return same || st->st_size == 0 ? 0 : compare_copy(o, e);
}

static int refuse_foreign(const struct opening *o, uint64_t at, const char *what, struct err *e)
{
    return err_set(e, ERR_REJECTED, origin, 0,
                   "%s: somebody else wrote to it (at byte %" PRIu64 ": %s); what is not ours is not cut: "
                   "move the file away and a new one is begun, or `tidemark sink reset %s` accepts it and "
                   "goes on at its end",
                   o->path, at, what, o->sink_name);
}

/* Bytes behind the mark: cut them if they are the batch that was written and never settled. */
static int settle_tail(const struct opening *o, const struct stat *st, struct err *e)
{
    struct file_mark *mark = &o->out->mark;
    uint64_t size = (uint64_t)st->st_size;
    struct file_tail tail;
    if (file_tail_check(o->out->fd, mark->length, size, o->memory->cursor, &tail, e) != 0)
        return err_prefix(e, "%s", o->path);
    if (!tail.is_ours)
        return refuse_foreign(o, tail.foreign_at, tail.foreign_why, e);
    if (TEMP_FAILURE_RETRY(ftruncate(o->out->fd, (off_t)mark->length)) != 0)
        return file_output_error(e, ERR_RETRY, errno, o->out->fd, "cut back", o->path);
    buf_addf(remark(o->notice),
             "%s: cut back from %" PRIu64 " to %" PRIu64
             " bytes: an unfinished batch of ours, which comes again",
             o->path, size, mark->length);
    return 0;
}

/* The file is the one remembered: what became of it meanwhile? */
static int settle_same(const struct opening *o, const struct stat *st, struct err *e)
{
    struct file_mark *mark = &o->out->mark;
    uint64_t size = (uint64_t)st->st_size;
    bool matches;
    if (size < mark->length) {
        buf_addf(remark(o->notice),
                 "%s: truncated by somebody from %" PRIu64 " to %" PRIu64 " bytes: going on at its end",
                 o->path, mark->length, size);
        return go_on_in_copy(o, st, NULL, e);
    }
    if (file_mark_check(o->out->fd, mark, &matches, e) != 0)
        return err_prefix(e, "%s", o->path);
    if (!matches)
        return refuse_foreign(o, mark->length - mark->line_bytes, "the last line settled is no longer there",
                              e);
    return size > mark->length ? settle_tail(o, st, e) : 0;
}

/* The table of the header, for a file that is open and locked. */
static int settle(const struct opening *o, const struct stat *st, struct err *e)
{
    struct file_mark *mark = &o->out->mark;
    const struct span state = o->memory->state;
    if (state.n == 0 && st->st_size > 0)
        buf_addf(remark(o->notice), "%s: holds %jd bytes already: going on at its end", o->path,
                 (intmax_t)st->st_size);
    if (state.n == 0) {
        mark->device = st->st_dev;
        mark->inode = st->st_ino;
        return go_on_in_copy(o, st, NULL, e);
    }
    if (file_mark_decode(state, mark) != 0)
        return err_set(e, ERR_REJECTED, origin, 0,
                       "what the store remembers about %s has a form this version does not know; `tidemark "
                       "sink reset %s` forgets it and goes on at the file's end",
                       o->path, o->sink_name);
    const struct file_mark before = *mark;
    bool is_same = mark->inode == st->st_ino;
    mark->device = st->st_dev;
    mark->inode = st->st_ino;
    if (is_same && !o->was_missing)
        return settle_same(o, st, e);
    if (o->was_missing)
        buf_addf(remark(o->notice),
                 "%s: gone (rotated or deleted), with the %" PRIu64
                 " bytes settled in it: begun as a new file",
                 o->path, mark->length);
    else
        buf_addf(remark(o->notice),
                 "%s: another file than before (rotated; the old one had %" PRIu64
                 " settled bytes): going on at its end, byte %jd",
                 o->path, mark->length, (intmax_t)st->st_size);
    return go_on_in_copy(o, st, &before, e);
}

int file_open(struct file_output *out, const char *sink_name, const char *path,
              const struct sink_memory *memory, struct buf *notice, struct err *e)
{
    struct opening o = {.sink_name = sink_name, .path = path, .memory = memory, .notice = notice, .out = out};
    struct stat st;
    out->fd = -1;
    if (open_path(&o, &st, e) == 0 && settle(&o, &st, e) == 0)
        return 0;
    file_output_close(out);
    return -1;
}

/* The same file still. At a batch boundary only somebody else can have changed its length. */
static int look_again(struct file_output *out, const char *sink_name, const char *path, const struct stat *st,
                      struct buf *notice, struct err *e)
{
    struct buf state = BUF_INIT;
    file_mark_encode(&out->mark, &state);
    const struct sink_memory memory = {.cursor = UINT64_MAX, .state = buf_span(&state)};
    const struct opening o = {
        .sink_name = sink_name, .path = path, .memory = &memory, .notice = notice, .out = out};
    int rc = 0;
    if ((uint64_t)st->st_size > out->mark.length)
        rc = refuse_foreign(&o, out->mark.length, "more bytes than were delivered", e);
    else if ((uint64_t)st->st_size < out->mark.length)
        rc = settle_same(&o, st, e);
    buf_release(&state);
    return rc;
}

int file_open_again(struct file_output *out, const char *sink_name, const char *path, struct buf *notice,
                    struct err *e)
{
    struct stat st;
    bool is_there = stat(path, &st) == 0;
    if (out->fd >= 0 && is_there && st.st_ino == out->mark.inode && st.st_dev == out->mark.device)
        return look_again(out, sink_name, path, &st, notice, e);

    struct buf state = BUF_INIT;
    struct file_output fresh;
    file_mark_encode(&out->mark, &state);
    /* No line of a file taken over now can be our unfinished batch: no seq is above this cursor. */
    const struct sink_memory memory = {.cursor = UINT64_MAX, .state = buf_span(&state)};
    int rc = file_open(&fresh, sink_name, path, &memory, notice, e);
    if (rc == 0) {
        file_output_close(out);
        *out = fresh;
    }
    buf_release(&state);
    return rc;
}

void file_output_close(struct file_output *out)
{
    /* Nothing is lost by a close that fails: what counts was synced before. */
    if (out->fd >= 0)
        close(out->fd);
    out->fd = -1;
}
