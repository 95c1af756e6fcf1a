/*
 * The other end of the admin socket: one request. HTTP/1.0, so that the answer is everything up to the end of the
 * connection; what is missing of Content-Length is noticed.
 */
#include "admin/server.h"

#include "base/alloc.h"
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TIMEOUT_MS = 15 * 1000, MOST_ANSWER_BYTES = 64 << 20 };

char *admin_socket_path(const char *store_folder)
{
    return xasprintf("%s/admin.sock", store_folder);
}

static int connect_to(const char *path, struct err *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {TIMEOUT_MS / 1000, 0};
    size_t n = strlen(path);
    if (n >= sizeof address.sun_path)
        return err_set(e, ERR_CONFIG, "admin", ENAMETOOLONG, "the path of the admin socket %s is too long", path);
    memcpy(address.sun_path, path, n + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    err_set_errno(e, ERR_RETRY, "admin", errno, "admin socket %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int send_request(int fd, const char *method, const char *path, struct err *e)
{
    struct buf request = BUF_INIT;
    buf_addf(&request, "%s %s HTTP/1.0\r\nHost: tidemark\r\nContent-Length: 0\r\n\r\n", method, path);
    ssize_t n = send(fd, request.data, request.len, MSG_NOSIGNAL); /* a hundred bytes fit a socket's buffer */
    int rc = n == (ssize_t)request.len ? 0 : err_set_errno(e, ERR_RETRY, "admin", n < 0 ? errno : EIO, "admin socket");
    buf_release(&request);
    return rc;
}

static int receive_all(int fd, struct buf *answer, struct err *e)
{
    for (;;) {
        struct pollfd wait = {fd, POLLIN, 0};
        int ready = poll(&wait, 1, TIMEOUT_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return err_set_errno(e, ERR_RETRY, "admin", ready < 0 ? errno : ETIMEDOUT, "the daemon does not answer");
        ssize_t n = recv(fd, buf_reserve(answer, 16 << 10), 16 << 10, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, ERR_RETRY, "admin", errno, "admin socket");
        if (n == 0)
            return 0;
        answer->len += (size_t)n;
        if (answer->len > MOST_ANSWER_BYTES)
            return err_set(e, ERR_RETRY, "admin", 0, "the daemon's answer is larger than %d bytes", MOST_ANSWER_BYTES);
    }
}

/* The value of Content-Length among the header lines, or -1. */
static int64_t content_length(const char *headers)
{
    static const char name[] = "\r\nContent-Length:";
    char digits[24];
    int64_t n;
    const char *at = strcasestr(headers, name);
    if (!at)
        return -1;
    at += strlen(name);
    at += strspn(at, " \t");
    snprintf(digits, sizeof digits, "%.*s", (int)strcspn(at, "\r\n"), at);
    return text_parse_int(digits, 0, MOST_ANSWER_BYTES, &n) == 0 ? n : -1;
}

static int read_answer(struct buf *answer, struct buf *body, struct err *e)
{
    static const char end[] = "\r\n\r\n";
    int64_t status;
    char *text = (char *)answer->data, digits[4] = "";
    char *after = memmem(text, answer->len, end, strlen(end));
    if (answer->len > 12 && strncmp(text, "HTTP/1.", 7) == 0)
        memcpy(digits, text + 9, 3);
    if (!after || text_parse_int(digits, 100, 599, &status) != 0)
        return err_set(e, ERR_RETRY, "admin", 0, "the daemon's answer is not HTTP");
    *after = '\0';
    after += strlen(end);
    size_t n = answer->len - (size_t)(after - text);
    if (content_length(text) != (int64_t)n)
        return err_set(e, ERR_RETRY, "admin", 0, "the daemon's answer is cut off");
    buf_add(body, after, n);
    return (int)status;
}

int admin_request(const char *store_folder, const char *method, const char *path, struct buf *body, struct err *e)
{
    char *socket_path = admin_socket_path(store_folder);
    struct buf answer = BUF_INIT;
    int status = -1, fd = connect_to(socket_path, e);
    if (fd >= 0 && send_request(fd, method, path, e) == 0 && receive_all(fd, &answer, e) == 0) {
        buf_add(&answer, "", 0); /* a NUL at the end */
        status = read_answer(&answer, body, e);
    }
    if (fd >= 0)
        close(fd);
    buf_release(&answer);
    free(socket_path);
    return status;
}
