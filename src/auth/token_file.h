/*
 * token_file: the refresh token on disk.
 *
 * Where an org rotates refresh tokens, each is good once: using it brings a new one, and using it again
 * revokes the grant, which only a person can give anew. So the file is locked from reading the token until
 * its successor is on disk, against other processes with the same configuration (a command beside the
 * daemon); and before the token is used, it is tried whether the folder would take a successor.
 *
 * Guarantees: after token_file_put the new token is on disk (file and folder synced), or the old file is
 * untouched. A file that somebody else has changed meanwhile is never overwritten. A link is followed: what
 * it points to is replaced.
 *
 * Calling order: TOKEN_FILE_INIT -> token_file_take -> token_file_probe -> token_file_put ->
 * token_file_leave, any number of times. Ownership: tokens given out are the caller's: wipe and free. Thread:
 * one at a time. Errors: ERR_CONFIG the file is missing or no token; ERR_RETRY another process has it, or the
 * disk refuses.
 */
#ifndef AUTH_TOKEN_FILE_H
#define AUTH_TOKEN_FILE_H

#include "base/err.h"

#include <stdbool.h>

struct token_file {
    char *path;   /* links resolved */
    int fd;       /* holds the lock; -1: not taken */
    bool rotates; /* a successor was put here before */
};

#define TOKEN_FILE_INIT                                                                                      \
    {                                                                                                        \
        NULL, -1, false                                                                                      \
    }

/* Lock the file and read it. */
MUST_CHECK int token_file_take(struct token_file *f, const char *path, char **token, struct err *e);
/*
 * Would the folder take a successor? A full or failing disk is told. A folder that may not be written is told
 * only once a token was seen to rotate: without rotation it need not be writable.
 */
MUST_CHECK int token_file_probe(struct token_file *f, struct err *e);
/* Replace `old`, which was read, by `token`. *changed: the file no longer holds `old`: it stays as it is, and
 * -1. */
MUST_CHECK int token_file_put(struct token_file *f, const char *old, const char *token, bool *changed,
                              struct err *e);
void token_file_leave(struct token_file *f);

#endif
