#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names in parentheses: for an analyzer err.h makes them macros. */

int (err_setv)(struct err *e, enum err_class class, const char *origin, int code, const char *fmt, va_list ap)
{
    if (!e)
        return -1;
    e->class = class;
    e->code = code;
    snprintf(e->origin, sizeof e->origin, "%s", origin);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    return -1;
}

int (err_set)(struct err *e, enum err_class class, const char *origin, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(e, class, origin, code, fmt, ap);
    va_end(ap);
    return -1;
}

int (err_set_errno)(struct err *e, enum err_class class, const char *origin, int errnum, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(e, class, origin, errnum, fmt, ap);
    va_end(ap);
    if (e) {
        size_t used = strlen(e->text);
        char reason[128];
        /* GNU strerror_r: thread-safe, may return a constant string instead of filling the buffer */
        snprintf(e->text + used, sizeof e->text - used, ": %s", strerror_r(errnum, reason, sizeof reason));
    }
    return -1;
}

int (err_prefix)(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -1;
    char old[sizeof e->text];
    memcpy(old, e->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %s", old);
    return -1;
}

void err_clear(struct err *e)
{
    if (e)
        *e = (struct err)ERR_INIT;
}

const char *err_class_name(enum err_class class)
{
    switch (class) {
    case ERR_NONE: return "none";
    case ERR_RETRY: return "retry";
    case ERR_UNKNOWN: return "unknown";
    case ERR_REJECTED: return "rejected";
    case ERR_CONFIG: return "config";
    case ERR_AUTH: return "auth";
    case ERR_STORE: return "store";
    case ERR_FATAL: return "fatal";
    }
    return "?";
}

void bug_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "tidemark: BUG at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\nPlease report this line. Nothing that was committed is lost: start again.\n", stderr);
    abort();
}
