#include "harness/tcp_relay.h"

#include "base/alloc.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_PAIRS = 16, LOOK_MS = 20 };

struct tcp_relay {
    int listener, port, server_port;
    pthread_t thread;
    atomic_bool stop, silent, hush, cut;
    struct {
        int client, server;
        bool silent;
    } pairs[MAX_PAIRS];
    int n;
};

static void copy(int from, int to, bool silent, bool *gone)
{
    uint8_t bytes[16384];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        *gone = true;
    for (ssize_t at = 0; n > 0 && !silent && to >= 0 && at < n;) {
        ssize_t wrote = send(to, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (wrote <= 0) {
            *gone = true;
            return;
        }
        at += wrote;
    }
}

static void drop(struct tcp_relay *r, int i)
{
    close(r->pairs[i].client);
    if (r->pairs[i].server >= 0)
        close(r->pairs[i].server);
    r->pairs[i] = r->pairs[--r->n];
}

static void take(struct tcp_relay *r)
{
    int client = accept(r->listener, NULL, NULL), server = -1;
    if (client < 0)
        return;
    if (r->server_port) {
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)r->server_port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(server, (struct sockaddr *)&to, sizeof to) != 0) {
            close(server);
            close(client);
            return;
        }
    }
    BUG_IF(r->n == MAX_PAIRS);
    r->pairs[r->n].client = client;
    r->pairs[r->n].silent = false;
    r->pairs[r->n++].server = server;
}

static void *relay(void *arg)
{
    struct tcp_relay *r = arg;
    while (!atomic_load(&r->stop)) {
        struct pollfd fds[1 + 2 * MAX_PAIRS] = {{.fd = r->listener, .events = POLLIN}};
        int n = r->n;
        for (int i = 0; i < n; i++) {
            fds[1 + 2 * i] = (struct pollfd){.fd = r->pairs[i].client, .events = POLLIN};
            fds[2 + 2 * i] = (struct pollfd){.fd = r->pairs[i].server, .events = POLLIN};
        }
        if (poll(fds, (nfds_t)(1 + 2 * n), LOOK_MS) < 0 && errno != EINTR)
            BUG("poll: %d", errno);
        bool all = atomic_load(&r->silent), cut = atomic_exchange(&r->cut, false),
             hush = atomic_exchange(&r->hush, false);
        for (int i = n - 1; i >= 0; i--) {
            bool gone = cut, silent = r->pairs[i].silent = all || hush || r->pairs[i].silent;
            if (fds[1 + 2 * i].revents)
                copy(r->pairs[i].client, r->pairs[i].server, silent, &gone);
            if (fds[2 + 2 * i].revents)
                copy(r->pairs[i].server, r->pairs[i].client, silent, &gone);
            if (gone)
                drop(r, i);
        }
        if (fds[0].revents)
            take(r);
    }
    while (r->n)
        drop(r, 0);
    return NULL;
}

struct tcp_relay *tcp_relay_start(int server_port)
{
    struct tcp_relay *r = xcalloc(1, sizeof *r);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    r->server_port = server_port;
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BUG_IF(bind(r->listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(r->listener, 8) != 0);
    BUG_IF(getsockname(r->listener, (struct sockaddr *)&at, &len) != 0);
    r->port = ntohs(at.sin_port);
    BUG_IF(pthread_create(&r->thread, NULL, relay, r) != 0);
    return r;
}

int tcp_relay_port(const struct tcp_relay *r)
{
    return r->port;
}

void tcp_relay_silence(struct tcp_relay *r)
{
    atomic_store(&r->silent, true);
}

void tcp_relay_hush(struct tcp_relay *r)
{
    atomic_store(&r->hush, true);
}

void tcp_relay_cut(struct tcp_relay *r)
{
    atomic_store(&r->cut, true);
}

void tcp_relay_stop(struct tcp_relay *r)
{
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    close(r->listener);
    free(r);
}
