/*
 * look: reading the store beside a daemon, or after it: what status, dlq and tail --journal have in common.
 *
 * Thread: main. Errors: -1 with err of class ERR_STORE (damaged, newer layout, unreadable) or ERR_CONFIG.
 */
#ifndef CLI_LOOK_H
#define CLI_LOOK_H

#include "config/config.h"
#include "store/store.h"
#include "store/subscriptions.h"

/* Open read-only; *out is NULL when there is no store yet, which is no error. */
MUST_CHECK int look_open(const struct config *config, struct store **out, struct err *e);

/* The subscription with this number into *out; one that the store does not know has an empty topic. */
MUST_CHECK int look_subscription(struct store_txn *txn, uint32_t number, struct subscription_record *out, struct err *e);

/* True when people read stdout: colours and widths make sense (NO_COLOR turns colours off). */
bool look_is_terminal(void);
bool look_has_colour(void);
/* Characters per line of the terminal; `otherwise` when stdout is none. */
size_t look_width(size_t otherwise);

#endif
