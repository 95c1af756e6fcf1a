#include "base/killpoint.h"

#ifdef TIDEMARK_KILLPOINTS
#include "base/exit_code.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long kill_at;
static const char *only;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_environment(void)
{
    const char *n = getenv("TIDEMARK_KILL_AT");
    kill_at = n ? strtol(n, NULL, 10) : 0;
    only = getenv("TIDEMARK_KILL_AT_POINT");
}

void killpoint_visit(const char *name)
{
    static atomic_long visits;
    pthread_once(&once, read_environment);
    if (kill_at <= 0 || (only && strcmp(only, name) != 0))
        return;
    if (atomic_fetch_add(&visits, 1) + 1 != kill_at)
        return;
    fprintf(stderr, "killpoint %s\n", name);
    _exit(EXIT_KILLPOINT);
}
#else
/* ISO C wants a declaration in every file. */
extern int killpoint_unused;
#endif
