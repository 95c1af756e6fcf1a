#include "admin/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16 };

static int bind_one(const struct addrinfo *info)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && bind(fd, info->ai_addr, info->ai_addrlen) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static void describe_bound(int fd, char address[LISTEN_ADDRESS_SIZE])
{
    struct sockaddr_storage bound = {0};
    socklen_t n = sizeof bound;
    char host[64] = "?", port[8] = "?";
    if (getsockname(fd, (struct sockaddr *)&bound, &n) == 0)
        getnameinfo((struct sockaddr *)&bound, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(address, LISTEN_ADDRESS_SIZE, bound.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

int listen_tcp(const char *host, int port, char address[LISTEN_ADDRESS_SIZE], struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    char service[8];
    int fd = -1;
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return err_set(e, ERR_CONFIG, "admin", rc, "admin.listen: '%s' is no address: %s", host, gai_strerror(rc));
    for (const struct addrinfo *info = found; info && fd < 0; info = info->ai_next)
        fd = bind_one(info);
    int errnum = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return err_set(e, ERR_CONFIG, "admin", errnum, "cannot listen on %s:%d: %s%s", host, port, strerror(errnum),
                       errnum == EADDRINUSE ? ": another program uses this port, choose another for admin.listen (0: any)" : "");
    describe_bound(fd, address);
    return fd;
}

static int remove_stale(const char *path, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return 0; /* bind says what is wrong */
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_STORE, "admin", EEXIST, "%s is in the way of the admin socket: it is no socket, move it away", path);
    if (unlink(path) != 0)
        return err_set_errno(e, ERR_STORE, "admin", errno, "cannot remove the old admin socket %s", path);
    return 0;
}

int listen_unix(const char *path, struct err *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(path), most = sizeof address.sun_path - 1;
    if (n > most)
        return err_set(e, ERR_CONFIG, "admin", ENAMETOOLONG,
                       "the admin socket %s has a path of %zu bytes, a socket's is at most %zu: choose a shorter store.path",
                       path, n, most);
    memcpy(address.sun_path, path, n + 1);
    if (remove_stale(path, e) != 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The file gets the descriptor's mode, so there is no moment in which others may connect. */
    if (fd >= 0 && fchmod(fd, 0600) == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err_set_errno(e, ERR_STORE, "admin", errno, "cannot make the admin socket %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}
