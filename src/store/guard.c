#include "store/guard.h"

#include "base/compiler.h"
#include "base/exit_code.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static struct watched {
    _Atomic(uintptr_t) start; /* 0: free */
    _Atomic(uintptr_t) end;
    _Atomic(const char *) folder;
} maps[8];

static struct sigaction before_segv, before_bus;

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text)); /* nowhere left to say so */
    (void)ignored;
}

static const char *folder_at(uintptr_t address)
{
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        if (address >= maps[i].start && address < maps[i].end)
            return maps[i].folder;
    return NULL;
}

static const char *any_folder(void)
{
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        if (maps[i].start)
            return maps[i].folder;
    return NULL;
}

static bool inside_lmdb(const ucontext_t *context)
{
#if defined(__x86_64__)
    uintptr_t at = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    uintptr_t at = (uintptr_t)context->uc_mcontext.pc;
#else
    uintptr_t at = 0;
#endif
    Dl_info info;
    return at && dladdr((void *)at, &info) && info.dli_fname && strstr(info.dli_fname, "liblmdb");
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    const char *folder = folder_at((uintptr_t)info->si_addr);
    if (!folder && inside_lmdb(context))
        folder = any_folder();
    if (!folder) {
        /* Not ours to explain: returning repeats the access, now under whoever handled it before (a sanitizer). */
        sigaction(number, number == SIGSEGV ? &before_segv : &before_bus, NULL);
        return;
    }
    say("tidemark: store ");
    say(folder);
    say(" is damaged, or its disk fails (a page cannot be read): restore a backup, or move the folder away and begin again\n");
    _exit(EXIT_STORE);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before_segv);
    sigaction(SIGBUS, &action, &before_bus);
}

/* LMDB does not tell where its map is; the kernel does. */
static bool find_map(const char *folder, uintptr_t *start, uintptr_t *end)
{
    char path[PATH_MAX], wanted[PATH_MAX + 16], line[PATH_MAX + 128];
    if (!realpath(folder, path))
        return false;
    snprintf(wanted, sizeof wanted, "%s/data.mdb\n", path);
    FILE *maps_file = fopen("/proc/self/maps", "re");
    bool found = false;
    while (maps_file && !found && fgets(line, sizeof line, maps_file)) {
        const char *name = strchr(line, '/');
        if (!name || strcmp(name, wanted) != 0)
            continue;
        char *rest;
        *start = strtoull(line, &rest, 16);
        *end = *rest == '-' ? strtoull(rest + 1, NULL, 16) : 0;
        found = *start < *end;
    }
    if (maps_file)
        fclose(maps_file);
    return found;
}

void guard_watch(const char *folder)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uintptr_t start, end;
    pthread_once(&once, install);
    if (!find_map(folder, &start, &end))
        return;
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        uintptr_t free_slot = 0;
        if (!atomic_compare_exchange_strong(&maps[i].start, &free_slot, start))
            continue;
        maps[i].folder = folder;
        maps[i].end = end;
        return;
    }
}

void guard_unwatch(const char *folder)
{
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        if (maps[i].start && maps[i].folder == folder) {
            maps[i].end = 0;
            maps[i].start = 0;
            return;
        }
}
