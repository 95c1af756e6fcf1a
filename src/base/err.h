/*
 * err: what went wrong, as a value.
 *
 * A function that can fail returns 0, or -1 with a caller-owned `struct err` filled in. The struct
 * has a fixed size and allocates nothing, so it works when memory does not. Program flow reads the
 * class; only people read the text. Lower layers describe, they do not log: the place that decides
 * logs, once.
 *
 * Ownership: the caller owns the struct; setting it again overwrites. Thread: any, one at a time.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/compiler.h"

#include <stdarg.h>

enum err_class {
    ERR_NONE = 0,
    ERR_RETRY,    /* certainly not done; trying again later may work */
    ERR_UNKNOWN,  /* may have been done (timeout after send): repeat with the same key */
    ERR_REJECTED, /* the other side, or a limit, refuses this input for good */
    ERR_CONFIG,   /* the user must change something */
    ERR_AUTH,     /* credentials refused */
    ERR_STORE,    /* the store cannot keep its word: stop (exit 3) */
    ERR_FATAL,    /* the process must stop: start again from what is true */
};

struct err {
    enum err_class class;
    char origin[24]; /* "store", "sink.file", "pubsub" … */
    int code;        /* foreign code: errno, gRPC status, HTTP status, LMDB code; 0 when none */
    char text[600];  /* what, where, and what to do; cut at the end when longer */
};

#define ERR_INIT {ERR_NONE, "", 0, ""}

/* Fill in e and return -1, so that `return err_set(...)` reads well. e may be NULL. */
int err_set(struct err *e, enum err_class class, const char *origin, int code, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
int err_setv(struct err *e, enum err_class class, const char *origin, int code, const char *fmt, va_list ap)
    PRINTF_LIKE(5, 0);

/* As err_set, with ": " and strerror(errnum) appended; code = errnum. */
int err_set_errno(struct err *e, enum err_class class, const char *origin, int errnum, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* Put "fmt: " before the text that is there; class, origin and code stay. Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What an analyzer that looks at one file at a time cannot see: these return -1. */
#ifdef __clang_analyzer__
#define err_set(...) (err_set(__VA_ARGS__), -1)
#define err_setv(...) (err_setv(__VA_ARGS__), -1)
#define err_set_errno(...) (err_set_errno(__VA_ARGS__), -1)
#define err_prefix(...) (err_prefix(__VA_ARGS__), -1)
#endif

void err_clear(struct err *e);
const char *err_class_name(enum err_class class);

/*
 * A broken invariant of ours, in release builds too: print file and line, abort. After a crash we
 * start from the committed position; stopping is a supported path, guessing is not.
 */
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
#define BUG_IF(cond)                                                                                         \
    do {                                                                                                     \
        if (UNLIKELY(cond))                                                                                  \
            bug_at(__FILE__, __LINE__, "%s", #cond);                                                         \
    } while (0)
NO_RETURN void bug_at(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
