/*
 * store_folder: a folder for one test's store, and its removal.
 *
 * In memory where there is /dev/shm: these tests commit thousands of times, and what they ask is not whether the
 * disk obeys.
 */
#ifndef SUPPORT_STORE_FOLDER_H
#define SUPPORT_STORE_FOLDER_H

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct store_folder {
    char path[128];
};

static inline void store_folder_make(struct store_folder *f)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(f->path, sizeof f->path, "%s/tidemark-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(f->path))
        BUG("cannot make %s", f->path);
}

static inline void store_folder_remove(struct store_folder *f)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "tidemark.lock"};
    char path[160];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        unlink(path);
    }
    rmdir(f->path);
}

#endif
