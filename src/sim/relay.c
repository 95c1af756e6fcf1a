#include "sim/relay.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "sim/http_port.h"
#include "sim/line.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAITING_MOST = 32, BACKLOG = 64 };

struct relay {
    int listener, target_port, wake;
    pthread_t thread;
    struct line *lines;

    pthread_mutex_t lock; /* of everything below */
    struct wire_fault waiting[WAITING_MOST];
    unsigned n_waiting;
    struct wire_fault now[WAITING_MOST]; /* to strike what is open, when the thread comes by */
    unsigned n_now;
    int64_t refusals;
    uint64_t strikes;
    bool calm, closing;
};

static const char *const kind_names[WIRE_KINDS] = {"reset", "close", "rst_stream", "goaway", "silence",
                                                   "mute",  "drip",  "garble",     "refuse"};

/* --- faults ----------------------------------------------------------------------------------------- */

static void wake(struct relay *r)
{
    const uint64_t one = 1;
    if (write(r->wake, &one, sizeof one) < 0)
        log_debug("relay", "the wake-up is waiting already");
}

int relay_order(struct relay *r, const struct wire_fault *fault, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    if (fault->kind == WIRE_REFUSE)
        r->refusals += fault->count;
    else if (fault->now && r->n_now < WAITING_MOST)
        r->now[r->n_now++] = *fault;
    else if (!fault->now && r->n_waiting < WAITING_MOST)
        r->waiting[r->n_waiting++] = *fault;
    else
        rc = err_set(e, ERR_CONFIG, "fault", 0, "%d faults are waiting already", WAITING_MOST);
    pthread_mutex_unlock(&r->lock);
    wake(r);
    return rc;
}

void relay_calm(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->n_waiting = r->n_now = 0;
    r->refusals = 0;
    r->calm = true;
    pthread_mutex_unlock(&r->lock);
    wake(r);
}

uint64_t relay_strikes(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t n = r->strikes;
    pthread_mutex_unlock(&r->lock);
    return n;
}

bool relay_take(struct relay *r, struct wire_fault *out)
{
    pthread_mutex_lock(&r->lock);
    bool found = r->n_waiting > 0;
    if (found) {
        *out = r->waiting[0];
        if (--r->waiting[0].count == 0)
            memmove(&r->waiting[0], &r->waiting[1], --r->n_waiting * sizeof r->waiting[0]);
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

void relay_struck(struct relay *r, const struct wire_fault *fault)
{
    log_info("relay", "a fault as ordered: %s", kind_names[fault->kind]);
    pthread_mutex_lock(&r->lock);
    r->strikes++;
    pthread_mutex_unlock(&r->lock);
}

/* --- connections ------------------------------------------------------------------------------------ */

static void at_once(int fd)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int connect_service(const struct relay *r)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)r->target_port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool is_refused(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    bool refused = r->refusals > 0;
    r->refusals -= refused;
    pthread_mutex_unlock(&r->lock);
    return refused;
}

static void take_connection(struct relay *r)
{
    int client = accept(r->listener, NULL, NULL);
    if (client < 0)
        return;
    bool refused = is_refused(r);
    int server = refused ? -1 : connect_service(r);
    at_once(client);
    struct line *l = line_new(r, client, server);
    if (server < 0) {
        if (refused)
            relay_struck(r, &(struct wire_fault){.kind = WIRE_REFUSE});
        line_free(l, true);
        return;
    }
    at_once(server);
    l->next = r->lines;
    r->lines = l;
}

/* --- the thread ------------------------------------------------------------------------------------- */

/* Orders that came meanwhile. False: the end. */
static bool obey(struct relay *r)
{
    struct wire_fault now[WAITING_MOST];
    pthread_mutex_lock(&r->lock);
    unsigned n = r->n_now;
    memcpy(now, r->now, n * sizeof now[0]);
    r->n_now = 0;
    bool calm = r->calm, closing = r->closing;
    r->calm = false;
    pthread_mutex_unlock(&r->lock);
    int64_t now_ms = clock_mono_ms();
    for (struct line *l = r->lines; l; l = l->next) {
        if (calm)
            line_calm(l);
        for (unsigned i = 0; i < n; i++)
            line_strike_now(l, &now[i], now_ms);
    }
    return !closing;
}

static void sweep(struct relay *r)
{
    for (struct line **at = &r->lines; *at;) {
        struct line *l = *at;
        if (!l->over) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        line_free(l, !l->close_when_sent);
    }
}

static size_t count_lines(const struct relay *r)
{
    size_t n = 0;
    for (const struct line *l = r->lines; l; l = l->next)
        n++;
    return n;
}

static void *run(void *arg)
{
    struct relay *r = arg;
    struct pollfd *fds = NULL;
    while (obey(r)) {
        sweep(r);
        size_t n = count_lines(r), i = 2;
        int64_t wait_ms = -1, now_ms = clock_mono_ms();
        fds = xrealloc(fds, (2 + 2 * n) * sizeof *fds);
        fds[0] = (struct pollfd){.fd = r->wake, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = r->listener, .events = POLLIN};
        for (struct line *l = r->lines; l; l = l->next, i += 2) {
            int64_t due_ms = line_wants(l, &fds[i], now_ms);
            if (due_ms >= 0 && (wait_ms < 0 || due_ms < wait_ms))
                wait_ms = due_ms;
        }
        poll(fds, 2 + 2 * n, wait_ms > 60000 ? 60000 : (int)wait_ms);
        uint64_t wakes;
        if ((fds[0].revents & POLLIN) && read(r->wake, &wakes, sizeof wakes) < 0)
            continue;
        now_ms = clock_mono_ms();
        i = 2;
        for (struct line *l = r->lines; l; l = l->next, i += 2)
            line_turn(l, &fds[i], now_ms);
        if (fds[1].revents & POLLIN)
            take_connection(r);
    }
    free(fds);
    return NULL;
}

static int listen_on(const char *address, int *port, struct err *e)
{
    char host[256], service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE},
                    *list = NULL;
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    const int on = 1;
    if (split_address(address, host, service) < 0)
        return err_set(e, ERR_CONFIG, "listen", 0, "'%s' is not HOST:PORT", address);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return err_set(e, ERR_CONFIG, "listen", 0, "%s: %s", address, gai_strerror(rc));
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0 &&
              getsockname(fd, (struct sockaddr *)&bound, &n) == 0 &&
              getnameinfo((struct sockaddr *)&bound, n, NULL, 0, service, sizeof service, NI_NUMERICSERV) ==
                  0;
    freeaddrinfo(list);
    if (!ok) {
        err_set_errno(e, ERR_CONFIG, "listen", errno, "cannot listen on %s", address);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *port = (int)strtol(service, NULL, 10);
    return fd;
}

int relay_open(struct relay **out, const char *address, int target_port, int *port, struct err *e)
{
    int listener = listen_on(address, port, e);
    if (listener < 0)
        return -1;
    struct relay *r = xcalloc(1, sizeof *r);
    r->listener = listener;
    r->target_port = target_port;
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BUG_IF(r->wake < 0);
    pthread_mutex_init(&r->lock, NULL);
    int rc = pthread_create(&r->thread, NULL, run, r);
    if (rc)
        BUG("pthread_create: %s", strerror(rc));
    *out = r;
    return 0;
}

void relay_close(struct relay *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_mutex_unlock(&r->lock);
    wake(r);
    pthread_join(r->thread, NULL);
    for (struct line *l = r->lines, *next; l; l = next) {
        next = l->next;
        line_free(l, true);
    }
    close(r->listener);
    close(r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
