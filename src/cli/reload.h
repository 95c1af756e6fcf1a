/*
 * reload: SIGHUP reads the configuration again.
 *
 * What changed is changed: sinks, subscriptions and orgs that were added, removed or set differently; the log,
 * retention, the admin token. Everything else goes on untouched. A file with a mistake, or one that changes what is
 * fixed while the daemon runs (the keys marked KEY_FIXED), changes nothing: why is logged, shown in status, and
 * tidemark_config_reload_success turns 0.
 *
 * Thread: main. Errors: none; a store that fails was told to on_fatal of the parts.
 */
#ifndef CLI_RELOAD_H
#define CLI_RELOAD_H

#include "cli/cli.h"
#include "cli/parts.h"

void reload_config(struct parts *p, const struct common_options *common);

#endif
