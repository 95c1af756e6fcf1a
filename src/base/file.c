#include "base/file.h"

#include "base/alloc.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

int file_write_all(int fd, const void *p, size_t n, struct err *e)
{
    const uint8_t *at = p;
    while (n) {
        ssize_t wrote = write(fd, at, n);
        if (wrote < 0) {
            if (errno == EINTR)
                continue;
            return err_set_errno(e, ERR_RETRY, "file", errno, "write");
        }
        at += wrote;
        n -= (size_t)wrote;
    }
    return 0;
}

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    int rc = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, ERR_CONFIG, "file", errno, "cannot read %s", path);
    struct stat st;
    if (fstat(fd, &st) != 0) {
        err_set_errno(e, ERR_CONFIG, "file", errno, "cannot read %s", path);
        goto out;
    }
    if (S_ISDIR(st.st_mode)) {
        err_set(e, ERR_CONFIG, "file", EISDIR, "%s is a directory, not a file", path);
        goto out;
    }
    size_t start = out->len;
    for (;;) {
        uint8_t *to = buf_reserve(out, 4096);
        ssize_t got = read(fd, to, 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_set_errno(e, ERR_CONFIG, "file", errno, "cannot read %s", path);
            goto out;
        }
        out->len += (size_t)got;
        to[got] = 0;
        if (got == 0)
            break;
        if (out->len - start > max) {
            err_set(e, ERR_CONFIG, "file", EFBIG, "%s is larger than %zu bytes", path, max);
            goto out;
        }
    }
    rc = 0;
out:
    close(fd);
    return rc;
}

int file_read_at(int fd, void *p, size_t n, uint64_t offset, size_t *got, struct err *e)
{
    *got = 0;
    while (*got < n) {
        ssize_t part = pread(fd, (uint8_t *)p + *got, n - *got, (off_t)(offset + *got));
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return err_set_errno(e, ERR_RETRY, "file", errno, "read");
        if (part == 0)
            break;
        *got += (size_t)part;
    }
    return 0;
}

int file_sync_folder_of(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? xmemdupz(path, slash == path ? 1 : (size_t)(slash - path)) : xstrdup(".");
    int rc = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        rc = err_set_errno(e, ERR_RETRY, "file", errno, "cannot sync folder %s", folder);
    if (fd >= 0)
        close(fd);
    free(folder);
    return rc;
}

int file_replace(const char *path, const void *p, size_t n, unsigned mode, struct err *e)
{
    int rc = -1;
    uint32_t salt;
    random_bytes(&salt, sizeof salt);
    char *temp = xasprintf("%s.%08x.tmp", path, salt);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        err_set_errno(e, ERR_RETRY, "file", errno, "cannot create %s", temp);
        goto out;
    }
    if (file_write_all(fd, p, n, e) != 0) {
        err_prefix(e, "%s", temp);
        goto out;
    }
    if (fsync(fd) != 0) {
        err_set_errno(e, ERR_RETRY, "file", errno, "cannot sync %s", temp);
        goto out;
    }
    int closed = close(fd);
    fd = -1;
    if (closed != 0 || rename(temp, path) != 0) {
        err_set_errno(e, ERR_RETRY, "file", errno, "cannot replace %s", path);
        goto out;
    }
    rc = file_sync_folder_of(path, e);
out:
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        unlink(temp);
    free(temp);
    return rc;
}

const char *file_network_name(const char *path)
{
    /* 9p and overlay are left alone: containers live on them. */
    static const struct {
        unsigned long magic;
        const char *name;
    } remote[] = {{0x6969, "NFS"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"},
                  {0x517b, "SMB"}, {0x5346414f, "AFS"},  {0x00c36400, "Ceph"}};
    struct statfs fs;
    if (statfs(path, &fs) != 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(remote); i++)
        if ((unsigned long)(uint32_t)fs.f_type == remote[i].magic)
            return remote[i].name;
    return NULL;
}

int file_make_folders(const char *path, unsigned mode, struct err *e)
{
    char *partial = xstrdup(path);
    int rc = 0;
    for (char *p = partial + 1; rc == 0; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char was = *p;
        *p = '\0';
        if (mkdir(partial, mode) != 0 && errno != EEXIST)
            rc = err_set_errno(e, ERR_CONFIG, "file", errno, "cannot make folder %s", partial);
        *p = was;
        if (!was)
            break;
    }
    struct stat st;
    if (rc == 0 && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        rc = err_set(e, ERR_CONFIG, "file", ENOTDIR, "%s is not a directory", path);
    free(partial);
    return rc;
}
