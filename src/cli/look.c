#include "cli/look.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

int look_open(const struct config *config, struct store **out, struct err *e)
{
    *out = NULL;
    if (store_open(config->store.path, STORE_READ_ONLY, config->store.max_size, out, e) == 0)
        return 0;
    *out = NULL;
    /* Nothing there, or a daemon is just about to fill it. */
    if (e->class == ERR_STORE && (e->code == ENOENT || e->code == MDB_NOTFOUND)) {
        err_clear(e);
        return 0;
    }
    return -1;
}

int look_subscription(struct store_txn *txn, uint32_t number, struct subscription_record *out, struct err *e)
{
    if (out->number == number && number)
        return 0;
    int rc = subscription_get(txn, number, out, e);
    if (rc == 1)
        *out = (struct subscription_record){.number = number};
    return rc < 0 ? -1 : 0;
}

bool look_is_terminal(void)
{
    return isatty(STDOUT_FILENO);
}

bool look_has_colour(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return look_is_terminal() && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
}

size_t look_width(size_t otherwise)
{
    struct winsize size;
    if (look_is_terminal() && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
        return size.ws_col;
    return otherwise;
}
