/*
 * lives: a life that may end at a kill point is a process of its own: this program again, with other arguments.
 *
 * A test counts visits up until a life comes to its end (status 0) instead of dying (EXIT_KILLPOINT).
 */
#ifndef SUPPORT_LIVES_H
#define SUPPORT_LIVES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Run `PROGRAM what first second`, which dies at its visit-th kill point (0: at none). Its exit status. */
static inline int live_to_visit(int visit, const char *what, const char *first, const char *second)
{
    char text[16];
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        snprintf(text, sizeof text, "%d", visit);
        setenv("TIDEMARK_KILL_AT", text, 1);
        if (freopen("/dev/null", "w", stderr))
            execl("/proc/self/exe", "life", what, first, second, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#endif
