#include "base/notify.h"

#include "base/text.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A path, or "@name" for Linux' abstract names: those begin with a NUL and end where the length says. */
static int parse_address(const char *text, struct sockaddr_un *address, socklen_t *length, struct err *e)
{
    size_t n = strlen(text);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if ((*text != '/' && *text != '@') || n < 2 || n >= sizeof address->sun_path)
        return err_set(e, ERR_CONFIG, "notify", 0, "NOTIFY_SOCKET is not the address of a Unix socket");
    memcpy(address->sun_path, text, n);
    if (*text == '@')
        address->sun_path[0] = '\0';
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*text == '/'));
    return 0;
}

int notify_send(const char *message, struct err *e)
{
    const char *where = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    socklen_t length = 0;
    if (!where || !*where)
        return 0;
    if (parse_address(where, &address, &length, e) != 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(e, ERR_RETRY, "notify", errno, "a socket for the supervisor");
    ssize_t sent = sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    int errnum = errno;
    close(fd);
    return sent >= 0 ? 0 : err_set_errno(e, ERR_RETRY, "notify", errnum, "cannot tell the supervisor");
}

int64_t notify_watchdog_ms(void)
{
    const char *us_text = getenv("WATCHDOG_USEC"), *pid_text = getenv("WATCHDOG_PID");
    int64_t us, pid;
    if (!us_text || text_parse_int(us_text, 1, INT64_MAX, &us) != 0)
        return 0;
    /* A parent's watchdog is not ours. */
    if (pid_text && (text_parse_int(pid_text, 1, INT32_MAX, &pid) != 0 || pid != getpid()))
        return 0;
    return us < 1000 ? 1 : us / 1000;
}
