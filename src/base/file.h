/*
 * file: the system calls around files, done completely.
 *
 * Guarantees: EINTR and short writes are handled; nothing reports success before the call that tells
 * the truth (fsync, close) has succeeded.
 *
 * Errors: -1 with err (errno in code); the class is ERR_RETRY unless said. Thread: any.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* Write all n bytes. ENOSPC, EDQUOT, EIO come back as they are in err->code. */
MUST_CHECK int file_write_all(int fd, const void *p, size_t n, struct err *e);
/* Read a whole regular file of at most max bytes, appended to out. ERR_CONFIG when missing or larger. */
MUST_CHECK int file_read(const char *path, size_t max, struct buf *out, struct err *e);
/* Read up to n bytes at an offset; *got is smaller than n only at the end of the file. */
MUST_CHECK int file_read_at(int fd, void *p, size_t n, uint64_t offset, size_t *got, struct err *e);
/* Replace path atomically: temp file in the same folder, write, fsync, rename, fsync the folder. */
MUST_CHECK int file_replace(const char *path, const void *p, size_t n, unsigned mode, struct err *e);
/* fsync the folder that holds path, so that a name that was made or renamed survives. */
MUST_CHECK int file_sync_folder_of(const char *path, struct err *e);
/* The kind of network file system that holds path ("NFS"), where locks and memory maps are not safe; NULL: none. */
const char *file_network_name(const char *path);
/* mkdir -p; folders that are made get `mode`. */
MUST_CHECK int file_make_folders(const char *path, unsigned mode, struct err *e);

#endif
