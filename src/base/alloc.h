/*
 * alloc: allocation that cannot fail.
 *
 * For sizes the program chooses itself. When memory is gone the process ends with a clear line: it
 * starts again from what is committed. A size that comes from outside is checked against a stated
 * maximum before it gets here.
 *
 * Ownership: the caller frees with free().
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdlib.h>

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* Copy n bytes and add a NUL. */
char *xmemdupz(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));

/* Much was freed that is not wanted again soon: free pages go back to the system. Takes about a millisecond. */
void alloc_give_back(void);

/* Overwrite a secret before its memory goes back. p may be NULL. */
void wipe(void *p, size_t n);

#endif
