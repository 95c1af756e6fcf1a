#include "harness/fake_http.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_MS = 20, LARGEST_REQUEST = 64 * 1024, MOST_ONCE = 8 };

struct fake_http {
    int listener, port;
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock;
    char *answer;
    char *once[MOST_ONCE]; /* from the first on, NULL after the last */
    char *last, *shown;
    int requests;
};

/* A whole request: head and as many bytes as Content-Length says. */
static bool complete(const struct buf *b)
{
    const char *text = (const char *)b->data, *end = text ? strstr(text, "\r\n\r\n") : NULL;
    if (!end)
        return false;
    const char *length = strcasestr(text, "content-length:");
    size_t body = length && length < end ? (size_t)strtoul(length + 15, NULL, 10) : 0;
    return b->len >= (size_t)(end - text) + 4 + body;
}

static void serve_one(struct fake_http *f, int fd)
{
    struct buf request = BUF_INIT;
    while (!atomic_load(&f->stop) && !complete(&request) && request.len < LARGEST_REQUEST) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, LOOK_MS) <= 0)
            continue;
        ssize_t n = recv(fd, buf_reserve(&request, 4096), 4096, 0);
        if (n <= 0)
            break;
        request.len += (size_t)n;
        request.data[request.len] = 0;
    }
    pthread_mutex_lock(&f->lock);
    char *answer = f->once[0] ? f->once[0] : xstrdup(f->answer);
    if (f->once[0]) {
        memmove(f->once, f->once + 1, sizeof f->once - sizeof f->once[0]);
        f->once[MOST_ONCE - 1] = NULL;
    }
    free(f->last);
    f->last = xmemdupz(request.data ? request.data : (const uint8_t *)"", request.len);
    f->requests++;
    pthread_mutex_unlock(&f->lock);
    if (*answer) {
        if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
            BUG("send");
        shutdown(fd, SHUT_WR);
    }
    /* Until the client has closed: closing first could reset what it has not read yet. */
    while (!atomic_load(&f->stop)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char byte;
        if (poll(&p, 1, LOOK_MS) > 0 && recv(fd, &byte, 1, 0) <= 0)
            break;
    }
    free(answer);
    buf_release(&request);
}

static void *serve(void *arg)
{
    struct fake_http *f = arg;
    while (!atomic_load(&f->stop)) {
        struct pollfd p = {.fd = f->listener, .events = POLLIN};
        if (poll(&p, 1, LOOK_MS) <= 0)
            continue;
        int fd = accept(f->listener, NULL, NULL);
        if (fd < 0)
            continue;
        serve_one(f, fd);
        close(fd);
    }
    return NULL;
}

struct fake_http *fake_http_start(void)
{
    struct fake_http *f = xcalloc(1, sizeof *f);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    pthread_mutex_init(&f->lock, NULL);
    f->answer = xstrdup("");
    f->last = xstrdup("");
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BUG_IF(bind(f->listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(f->listener, 8) != 0);
    BUG_IF(getsockname(f->listener, (struct sockaddr *)&at, &len) != 0);
    f->port = ntohs(at.sin_port);
    BUG_IF(pthread_create(&f->thread, NULL, serve, f) != 0);
    return f;
}

int fake_http_port(const struct fake_http *f)
{
    return f->port;
}

void fake_http_answer(struct fake_http *f, const char *bytes)
{
    pthread_mutex_lock(&f->lock);
    free(f->answer);
    f->answer = xstrdup(bytes);
    pthread_mutex_unlock(&f->lock);
}

static char *json_answer(int status, const char *json)
{
    return xasprintf("HTTP/1.1 %d x\r\nContent-Type: application/json;charset=UTF-8\r\n"
                     "Date: Wed, 06 May 2026 14:30:00 GMT\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n%s",
                     status, strlen(json), json);
}

void fake_http_answer_json(struct fake_http *f, int status, const char *json)
{
    char *bytes = json_answer(status, json);
    fake_http_answer(f, bytes);
    free(bytes);
}

void fake_http_answer_once_json(struct fake_http *f, int status, const char *json)
{
    int i = 0;
    pthread_mutex_lock(&f->lock);
    while (i < MOST_ONCE && f->once[i])
        i++;
    BUG_IF(i == MOST_ONCE);
    f->once[i] = json_answer(status, json);
    pthread_mutex_unlock(&f->lock);
}

int fake_http_requests(struct fake_http *f)
{
    pthread_mutex_lock(&f->lock);
    int n = f->requests;
    pthread_mutex_unlock(&f->lock);
    return n;
}

const char *fake_http_last(struct fake_http *f)
{
    pthread_mutex_lock(&f->lock);
    free(f->shown);
    f->shown = xstrdup(f->last);
    pthread_mutex_unlock(&f->lock);
    return f->shown;
}

void fake_http_stop(struct fake_http *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    close(f->listener);
    pthread_mutex_destroy(&f->lock);
    for (int i = 0; i < MOST_ONCE; i++)
        free(f->once[i]);
    free(f->answer);
    free(f->last);
    free(f->shown);
    free(f);
}
