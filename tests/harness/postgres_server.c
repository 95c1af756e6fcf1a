#include "harness/postgres_server.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 120000, STEP_MS = 10 };

struct postgres_server {
    char folder[64], data[80], bin[128];
    uid_t user; /* 0: the one we are */
    gid_t group;
    pid_t pid;
};

/* The newest version installed: /usr/lib/postgresql/15/bin. */
static bool find_programs(char *bin, size_t room)
{
    glob_t found;
    bool any = glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0;
    if (any) {
        const char *path = found.gl_pathv[found.gl_pathc - 1];
        snprintf(bin, room, "%.*s", (int)(strlen(path) - strlen("/initdb")), path);
    }
    globfree(&found);
    return any;
}

static void find_user(struct postgres_server *s)
{
    const struct passwd *who = NULL;
    if (geteuid() != 0)
        return;
    who = getpwnam("postgres");
    if (!who)
        who = getpwnam("nobody");
    if (!who)
        BUG("no unprivileged user to run PostgreSQL as");
    s->user = who->pw_uid;
    s->group = who->pw_gid;
}

/* In the child: give up root, die with the parent, write to a file, become the program. */
static void become(const struct postgres_server *s, char *const argv[])
{
    char log[96];
    if (s->user && (setgid(s->group) != 0 || setuid(s->user) != 0))
        _exit(120);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    snprintf(log, sizeof log, "%s/log", s->folder);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0 || chdir(s->folder) != 0)
        _exit(121);
    setenv("LC_ALL", "C", 1);
    setenv("TZ", "UTC", 1);
    execv(argv[0], argv);
    _exit(122);
}

static pid_t spawn(const struct postgres_server *s, char *const argv[])
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        BUG("fork: %s", strerror(errno));
    if (child == 0)
        become(s, argv);
    return child;
}

static void make_cluster(struct postgres_server *s)
{
    char program[160];
    int status;
    snprintf(program, sizeof program, "%s/initdb", s->bin);
    char *const argv[] = {program,
                          (char *)"-D",
                          s->data,
                          (char *)"-U",
                          (char *)"postgres",
                          (char *)"-A",
                          (char *)"trust",
                          (char *)"-E",
                          (char *)"UTF8",
                          (char *)"--locale=C",
                          (char *)"--no-sync",
                          NULL};
    pid_t child = spawn(s, argv);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        BUG("%s failed, see %s/log", program, s->folder);
}

/* The last line of postmaster.pid says so. */
static bool is_ready(const struct postgres_server *s)
{
    char path[96];
    struct buf text = BUF_INIT;
    snprintf(path, sizeof path, "%s/postmaster.pid", s->data);
    bool ready = file_read(path, 4096, &text, NULL) == 0 && strstr((const char *)text.data, "\nready");
    buf_release(&text);
    return ready;
}

static void start_server(struct postgres_server *s)
{
    char program[160], sockets[96], lock[96];
    snprintf(program, sizeof program, "%s/postgres", s->bin);
    snprintf(sockets, sizeof sockets, "unix_socket_directories=%s", s->folder);
    snprintf(lock, sizeof lock, "%s/postmaster.pid", s->data);
    unlink(lock); /* of one that was killed */
    char *const argv[] = {program,
                          (char *)"-D",
                          s->data,
                          (char *)"-c",
                          sockets,
                          (char *)"-c",
                          (char *)"listen_addresses=",
                          (char *)"-c",
                          (char *)"fsync=off",
                          (char *)"-c",
                          (char *)"shared_buffers=32MB",
                          NULL};
    s->pid = spawn(s, argv);
    int64_t limit = clock_mono_ms() + PATIENCE_MS;
    while (!is_ready(s)) {
        if (waitpid(s->pid, NULL, WNOHANG) != 0 || clock_mono_ms() > limit)
            BUG("%s does not start, see %s/log", program, s->folder);
        poll(NULL, 0, STEP_MS);
    }
}

struct postgres_server *postgres_server_start(void)
{
    struct postgres_server *s = xcalloc(1, sizeof *s);
    if (!find_programs(s->bin, sizeof s->bin)) {
        free(s);
        return NULL;
    }
    find_user(s);
    snprintf(s->folder, sizeof s->folder, "/tmp/tidemark-pg-XXXXXX");
    if (!mkdtemp(s->folder) || (s->user && chown(s->folder, s->user, s->group) != 0))
        BUG("cannot make %s: %s", s->folder, strerror(errno));
    snprintf(s->data, sizeof s->data, "%s/data", s->folder);
    make_cluster(s);
    start_server(s);
    return s;
}

const char *postgres_server_folder(const struct postgres_server *s)
{
    return s->folder;
}

/* Gone, or dead and not yet buried. */
static bool is_dead(pid_t pid)
{
    char path[64];
    struct buf stat = BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *state = file_read(path, 4096, &stat, NULL) == 0 ? strrchr((char *)stat.data, ')') : NULL;
    bool dead = !state || state[2] == 'Z' || state[2] == 'X';
    buf_release(&stat);
    return dead;
}

/* Stopped first, so that it has no more children. They hold the shared memory until they are dead, and the next server
 * would not start. */
void postgres_server_kill(struct postgres_server *s)
{
    char path[96];
    struct buf children = BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
    kill(s->pid, SIGSTOP);
    waitpid(s->pid, NULL, WUNTRACED);
    if (file_read(path, 1 << 16, &children, NULL) != 0)
        BUG("cannot read %s", path);
    kill(s->pid, SIGKILL);
    for (char *at = (char *)children.data, *end; at && *at; at = end) {
        pid_t child = (pid_t)strtol(at, &end, 10);
        if (end == at)
            break;
        kill(child, SIGKILL);
        for (int64_t limit = clock_mono_ms() + PATIENCE_MS; !is_dead(child); poll(NULL, 0, STEP_MS))
            if (clock_mono_ms() > limit)
                BUG("process %d does not die", (int)child);
    }
    buf_release(&children);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void postgres_server_again(struct postgres_server *s)
{
    BUG_IF(s->pid);
    start_server(s);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void postgres_server_stop(struct postgres_server *s)
{
    if (!s)
        return;
    if (s->pid) {
        kill(s->pid, SIGQUIT);
        waitpid(s->pid, NULL, 0);
    }
    nftw(s->folder, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    free(s);
}
