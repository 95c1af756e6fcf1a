/*
 * differences: what differs between two configurations, for a daemon that gets a new one while it runs.
 *
 * Two items are the same when everything that is in effect for them is, defaults and secrets included; the files may
 * be written differently. A file of secrets or of certificates counts by what it held when the configuration was
 * loaded. References count by what they name: a sink of "all subscriptions" differs when the subscriptions do.
 *
 * Ownership: borrows both. Thread: any. Errors: none.
 */
#ifndef CONFIG_DIFFERENCES_H
#define CONFIG_DIFFERENCES_H

#include "config/config.h"

bool config_same_org(const struct config *a, uint32_t i, const struct config *b, uint32_t k);
/* The org's own settings do not count, only its name. */
bool config_same_subscription(const struct config *a, uint32_t i, const struct config *b, uint32_t k);
bool config_same_sink(const struct config *a, uint32_t i, const struct config *b, uint32_t k);
/*
 * Append the paths of the settings outside of the lists that differ: "log.level, store.retention". `fixed`: those
 * that cannot change while a daemon runs; else the others.
 */
void config_changed_settings(const struct config *a, const struct config *b, bool fixed, struct buf *paths);

#endif
