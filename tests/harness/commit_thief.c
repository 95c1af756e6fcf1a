#include "harness/commit_thief.h"

#include "base/alloc.h"
#include "base/err.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct commit_thief {
    char server[96], folder[64], path[96];
    int listener, stop;
    atomic_int mood;
    pthread_t thread;
};

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    return a;
}

static bool pass_on(int to, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(to, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Until either side ends, or the theft. */
static void carry(struct commit_thief *t, int client, int server)
{
    static char bytes[1 << 16];
    bool stolen = false;
    for (;;) {
        struct pollfd fds[] = {{client, POLLIN, 0}, {server, POLLIN, 0}, {t->stop, POLLIN, 0}};
        if (poll(fds, 3, -1) < 0 || fds[2].revents)
            return;
        if (fds[0].revents) {
            ssize_t n = recv(client, bytes, sizeof bytes, 0);
            if (n <= 0)
                return;
            bool commit = memmem(bytes, (size_t)n, "\0COMMIT\0", 8) != NULL;
            int mood = commit ? atomic_exchange(&t->mood, THIEF_HONEST) : THIEF_HONEST;
            if (mood == THIEF_TAKES_COMMIT)
                return;
            stolen = stolen || mood == THIEF_TAKES_ANSWER;
            if (!pass_on(server, bytes, (size_t)n))
                return;
        }
        if (fds[1].revents) {
            ssize_t n = recv(server, bytes, sizeof bytes, 0);
            if (n <= 0 || stolen || !pass_on(client, bytes, (size_t)n))
                return;
        }
    }
}

static void *run(void *arg)
{
    struct commit_thief *t = arg;
    for (;;) {
        struct pollfd fds[] = {{t->listener, POLLIN, 0}, {t->stop, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0 || fds[1].revents)
            return NULL;
        int client = accept(t->listener, NULL, NULL);
        int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un to = address_of(t->server);
        if (client >= 0 && server >= 0 && connect(server, (struct sockaddr *)&to, sizeof to) == 0)
            carry(t, client, server);
        close(client);
        close(server);
    }
}

struct commit_thief *commit_thief_start(const char *folder)
{
    struct commit_thief *t = xcalloc(1, sizeof *t);
    snprintf(t->folder, sizeof t->folder, "/tmp/tidemark-thief-XXXXXX");
    if (!mkdtemp(t->folder))
        BUG("cannot make %s", t->folder);
    snprintf(t->server, sizeof t->server, "%s/.s.PGSQL.5432", folder);
    snprintf(t->path, sizeof t->path, "%s/.s.PGSQL.5432", t->folder);
    struct sockaddr_un here = address_of(t->path);
    t->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    t->stop = eventfd(0, EFD_CLOEXEC);
    if (t->listener < 0 || t->stop < 0 || bind(t->listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(t->listener, 8) != 0 || pthread_create(&t->thread, NULL, run, t) != 0)
        BUG("cannot listen on %s: %s", t->path, strerror(errno));
    return t;
}

const char *commit_thief_folder(const struct commit_thief *t)
{
    return t->folder;
}

void commit_thief_arm(struct commit_thief *t, enum thief_mood mood)
{
    atomic_store(&t->mood, mood);
}

void commit_thief_stop(struct commit_thief *t)
{
    const uint64_t one = 1;
    if (write(t->stop, &one, sizeof one) != sizeof one)
        BUG("eventfd: %s", strerror(errno));
    pthread_join(t->thread, NULL);
    close(t->listener);
    close(t->stop);
    unlink(t->path);
    rmdir(t->folder);
    free(t);
}
