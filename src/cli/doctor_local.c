/*
 * What the doctor finds on this machine: the store's folder, and the outputs.
 */
#include "cli/doctor.h"

#include "base/alloc.h"
#include "cli/look.h"
#include "delivery/held.h"
#include "store/incidents.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SCARCE_BYTES = 100 << 20 };

static const char make_room[] = "make room, or put it on another disk";

/* The folder itself, or the nearest one above it that exists. free() it. */
static char *existing_folder(const char *path)
{
    struct stat st;
    char *folder = xstrdup(path);
    while (stat(folder, &st) != 0 && errno == ENOENT) {
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder) {
            free(folder);
            return xstrdup(slash ? "/" : ".");
        }
        *slash = '\0';
    }
    return folder;
}

static int64_t free_bytes(const char *folder)
{
    struct statvfs vfs;
    return statvfs(folder, &vfs) == 0 ? (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize : -1;
}

/* --- the store ------------------------------------------------------------------------------------ */

static int count_open(void *ctx, const struct incident *incident)
{
    uint64_t *n = ctx;
    *n += incident->state == INCIDENT_OPEN;
    return 0;
}

static void look_inside(struct doctor *d, struct store *st)
{
    const char *path = d->config->store.path;
    struct store_space space;
    struct store_txn txn;
    struct err e = ERR_INIT;
    uint64_t open_incidents = 0;
    int rc = store_space(st, &space, &e);
    if (rc == 0)
        rc = store_begin(st, false, &txn, &e);
    if (rc == 0) {
        rc = incident_each(&txn, count_open, &open_incidents, &e);
        store_abort(&txn);
    }
    if (rc != 0) {
        doctor_bad(d, EXIT_STORE, "store", path, "restore a backup, or move the folder away and begin again",
                   "%s", e.text);
        return;
    }
    const int64_t may_grow = space.max_bytes - space.file_bytes;
    if (space.live_bytes > space.max_bytes / 10 * 8)
        doctor_warn(
            d, "store", path, "look for a sink that lags ('tidemark status'), or raise store.max_size",
            "%" PRId64 " of %" PRId64 " MiB are in use", space.live_bytes >> 20, space.max_bytes >> 20);
    if (space.free_bytes >= SCARCE_BYTES && space.free_bytes < may_grow)
        doctor_warn(d, "store", path, "lower store.max_size, or give it a larger disk",
                    "may grow by %" PRId64 " MiB (store.max_size), the disk has %" PRId64 " free",
                    may_grow >> 20, space.free_bytes >> 20);
    if (open_incidents)
        doctor_warn(d, "store", path,
                    "'tidemark incidents list' says what happened; close them when dealt with",
                    "open incidents: %" PRIu64, open_incidents);
    doctor_good(d, "store", path, "%" PRId64 " MiB, of which %" PRId64 " in use", space.file_bytes >> 20,
                space.live_bytes >> 20);
}

static void check_folder(struct doctor *d, const char *folder)
{
    const char *path = d->config->store.path;
    struct stat st;
    int64_t room = free_bytes(folder);
    if (stat(folder, &st) != 0)
        doctor_bad(d, EXIT_STORE, "store", path, "check the path and its folders", "cannot look at %s: %s",
                   folder, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        doctor_bad(d, EXIT_STORE, "store", path, "give store.path a folder of its own", "%s is no folder",
                   folder);
    else if (access(folder, R_OK | W_OK | X_OK) != 0)
        doctor_bad(d, EXIT_STORE, "store", path,
                   "check owner and mode of the folder, and whether it is mounted read-only",
                   "user %u cannot write to %s: %s", (unsigned)geteuid(), folder, strerror(errno));
    else if (strcmp(folder, path) == 0 && st.st_mode & 077)
        doctor_warn(d, "store", path, "chmod 700: events and positions are in it",
                    "others may look into it (mode %03o)", (unsigned)st.st_mode & 0777);
    if (room >= 0 && room < SCARCE_BYTES)
        doctor_bad(d, EXIT_STORE, "store", path, make_room, "its disk has %" PRId64 " MiB free", room >> 20);
}

void doctor_store(struct doctor *d)
{
    const char *path = d->config->store.path;
    struct err e = ERR_INIT;
    struct store *st = NULL;
    char *folder = existing_folder(path);
    check_folder(d, folder);
    if (store_check_place(folder, &e) != 0)
        doctor_bad(d, cli_exit_code(e.class), "store", path, "put store.path on a local disk", "%s", e.text);
    else if (look_open(d->config, &st, &e) != 0)
        doctor_bad(d, cli_exit_code(e.class), "store", path,
                   "see the message; 'tidemark restore' puts a backup in its place", "%s", e.text);
    else if (!st)
        doctor_good(d, "store", path, "not there yet: the daemon makes it");
    else
        look_inside(d, st);
    store_close(st);
    free(folder);
}

/* --- outputs -------------------------------------------------------------------------------------- */

static void check_file(struct doctor *d, const struct sink_config *sink)
{
    struct stat st;
    char *folder = xstrdup(sink->path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    const char *place = slash ? folder : ".";
    const bool is_there = stat(sink->path, &st) == 0;
    const int64_t room = free_bytes(place);
    if (is_there && !S_ISREG(st.st_mode))
        doctor_bad(d, EXIT_SINK, "sink", sink->name, "name a regular file", "%s is no regular file",
                   sink->path);
    else if (is_there && access(sink->path, R_OK | W_OK) != 0)
        doctor_bad(d, EXIT_SINK, "sink", sink->name,
                   "check owner and mode of the file, and whether it is mounted read-only",
                   "user %u cannot read and write %s: %s", (unsigned)geteuid(), sink->path, strerror(errno));
    else if (!is_there && access(place, W_OK | X_OK) != 0)
        doctor_bad(d, EXIT_SINK, "sink", sink->name,
                   "make the folder, or mount it, for the user the daemon runs as", "cannot make %s: %s",
                   sink->path, strerror(errno));
    else if (room >= 0 && room < SCARCE_BYTES)
        doctor_bad(d, EXIT_SINK, "sink", sink->name, make_room, "the disk of %s has %" PRId64 " MiB free",
                   sink->path, room >> 20);
    else
        doctor_good(d, "sink", sink->name, "%s can be %s", sink->path, is_there ? "written" : "made");
    free(folder);
}

/* Each line of what the mirror found; it says itself what to do. */
static void check_mirror(struct doctor *d, const struct sink_config *sink)
{
    struct buf findings = BUF_INIT;
    struct err e = ERR_INIT;
    if (held_inspect(sink, &findings, &e) != 0)
        doctor_bad(d, EXIT_SINK, "sink", sink->name, NULL, "%s", e.text);
    for (char *line = findings.len ? (char *)findings.data : NULL; line && *line;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        if (strncmp(line, "bad: ", 5) == 0)
            doctor_bad(d, EXIT_SINK, "sink", sink->name, NULL, "%s", line + 5);
        else
            doctor_good(d, "sink", sink->name, "%s", strncmp(line, "ok: ", 4) == 0 ? line + 4 : line);
        line = end ? end + 1 : NULL;
    }
    buf_release(&findings);
}

void doctor_sinks(struct doctor *d)
{
    for (uint32_t i = 0; i < d->config->n_sinks; i++) {
        const struct sink_config *sink = &d->config->sinks[i];
        if (sink->kind == SINK_KIND_FILE)
            check_file(d, sink);
        else if (sink_kind_is_mirror(sink->kind))
            check_mirror(d, sink);
        else
            doctor_good(d, "sink", sink->name, "needs nothing");
    }
    if (d->config->n_sinks == 0)
        doctor_warn(d, "sink", d->config->file, "'tidemark run' wants at least one",
                    "no sinks are configured");
}
