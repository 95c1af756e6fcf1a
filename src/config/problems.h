/*
 * problems: the mistakes of one file, collected, then told in the order of the file.
 *
 * Calling order: PROBLEMS_INIT -> problem_add()... -> problems_report -> problems_release.
 * Ownership: texts are copied. Thread: one at a time. Errors: none. A file that is wrong everywhere
 * is told about its first hundred mistakes and how many more there are.
 */
#ifndef CONFIG_PROBLEMS_H
#define CONFIG_PROBLEMS_H

#include "base/buf.h"

/* Counted from 1; 0: not about a place in the file. */
struct place {
    size_t line, column;
};

struct problem {
    struct place place;
    size_t order; /* as found: equal places keep it */
    char *text;
};

struct problems {
    struct problem *list;
    size_t n, cap;
    size_t more; /* not kept */
    size_t n_warnings;
};

#define PROBLEMS_INIT                                                                                        \
    {                                                                                                        \
        NULL, 0, 0, 0, 0                                                                                     \
    }

/* "path: text" at this place. */
void problem_add(struct problems *ps, struct place place, const char *path, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Something to know that is not a mistake. */
void problem_warn(struct problems *ps, struct place place, const char *path, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* True when there is a mistake; warnings do not count. */
bool problems_any(const struct problems *ps);
/* True when further problems are only counted: their wording is not worth any work. */
bool problems_full(const struct problems *ps);
/* Append one line each: "FILE:LINE:COL: PATH: text". */
void problems_report(struct problems *ps, const char *file, struct buf *out);
void problems_release(struct problems *ps);

#endif
