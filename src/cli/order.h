/*
 * order: what a command asks of a running daemon, over the Unix socket in the store's folder.
 *
 * Calling order: order_begin -> order_argument … -> order_send -> order_release.
 * Ownership: the path belongs to the order. Thread: main. Errors: none but that nobody answers.
 */
#ifndef CLI_ORDER_H
#define CLI_ORDER_H

#include "base/buf.h"
#include "config/config.h"

struct order {
    struct buf path;
};

void order_begin(struct order *o, const char *path);
/* Escaped as a URL wants it. NULL or "": left out. */
void order_argument(struct order *o, const char *name, const char *value);
/*
 * 0: the daemon answered: its text was printed (stdout when it obeyed, else stderr), *code is the exit code.
 * -1: there is no daemon: the command works on the store itself.
 */
MUST_CHECK int order_send(struct order *o, const struct config *config, int *code);
void order_release(struct order *o);

#endif
