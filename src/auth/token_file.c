#include "auth/token_file.h"

#include "base/alloc.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST_TOKEN = 8 * 1024, LOCK_TRIES = 4, OWNER_ONLY = 0600 };

/* The content without the white space at its end; visible ASCII only, since it is sent as it is. */
static int read_token(const char *path, char **token, struct err *e)
{
    struct buf b = BUF_INIT;
    int rc = file_read(path, LONGEST_TOKEN, &b, e);
    size_t n = b.len;
    while (n && strchr(" \t\r\n", b.data[n - 1]))
        n--;
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (b.data[i] <= ' ' || b.data[i] > '~')
            rc = err_set(e, ERR_CONFIG, "auth", 0, "%s must hold the refresh token alone, on one line", path);
    if (rc == 0 && n == 0)
        rc = err_set(e, ERR_CONFIG, "auth", 0, "%s is empty: put the refresh token there", path);
    if (rc == 0)
        *token = xmemdupz(b.data, n);
    wipe(b.data, b.len);
    buf_release(&b);
    return rc;
}

static bool is_at(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* A file that was replaced while we waited for its lock is not the one to lock: again. */
static int lock(struct token_file *f, struct err *e)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        int fd = open(f->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return err_set_errno(e, ERR_CONFIG, "auth", errno, "cannot read %s", f->path);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int errnum = errno;
            close(fd);
            if (errnum != EWOULDBLOCK)
                return err_set_errno(e, ERR_RETRY, "auth", errnum, "cannot lock %s", f->path);
            break;
        }
        if (is_at(fd, f->path)) {
            f->fd = fd;
            return 0;
        }
        close(fd);
    }
    return err_set(e, ERR_RETRY, "auth", EWOULDBLOCK,
                   "another process is logging in with the refresh token in %s", f->path);
}

int token_file_take(struct token_file *f, const char *path, char **token, struct err *e)
{
    token_file_leave(f);
    f->path = realpath(path, NULL);
    if (!f->path)
        return err_set_errno(e, ERR_CONFIG, "auth", errno, "cannot read %s", path);
    if (lock(f, e) != 0 || read_token(f->path, token, e) != 0) {
        token_file_leave(f);
        return -1;
    }
    return 0;
}

int token_file_probe(struct token_file *f, struct err *e)
{
    static const char room[LONGEST_TOKEN];
    char *path = xasprintf("%s.probe", f->path);
    int rc = file_replace(path, room, sizeof room, OWNER_ONLY, e);
    if (rc == 0) {
        unlink(path);
    } else if (!f->rotates && (e->code == EACCES || e->code == EPERM || e->code == EROFS)) {
        err_clear(e);
        rc = 0;
    } else {
        err_prefix(e, "not logging in, since a new refresh token could not be kept");
    }
    free(path);
    return rc;
}

int token_file_put(struct token_file *f, const char *old, const char *token, bool *changed, struct err *e)
{
    struct err unreadable = ERR_INIT;
    char *there = NULL;
    *changed = read_token(f->path, &there, &unreadable) == 0 && strcmp(there, old) != 0;
    if (there)
        wipe(there, strlen(there));
    free(there);
    if (*changed)
        return err_set(e, ERR_RETRY, "auth", 0,
                       "%s was changed during the login: logging in with what it holds now", f->path);
    f->rotates = true;
    char *line = xasprintf("%s\n", token);
    int rc = file_replace(f->path, line, strlen(line), OWNER_ONLY, e);
    wipe(line, strlen(line));
    free(line);
    return rc;
}

void token_file_leave(struct token_file *f)
{
    if (f->fd >= 0)
        close(f->fd); /* and with it the lock */
    free(f->path);
    f->path = NULL;
    f->fd = -1;
}
