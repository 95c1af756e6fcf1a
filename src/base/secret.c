#include "base/secret.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/*
 * One byte, not zero: no file fits into it, and the kernel takes exactly 1 to mean that a core is not piped
 * to a collector either, which a limit of 0 does not keep it from (core(5), fs/coredump.c). PR_SET_DUMPABLE
 * would do the same, but would also take /proc/PID/fd, smaps and debuggers from the user who runs the daemon.
 */
void secret_forbid_cores(void)
{
    const char *wanted = getenv("TIDEMARK_CORE");
    if (wanted && strcmp(wanted, "1") == 0)
        return;
    const struct rlimit one_byte = {1, 1};
    (void)setrlimit(RLIMIT_CORE, &one_byte); /* a hard limit of 0 is there already: as good for files */
}
