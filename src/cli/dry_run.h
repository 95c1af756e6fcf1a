/*
 * dry_run: `tidemark run --dry-run`: what each sink that mirrors records would do next, as statements on stdout.
 *
 * The journal is read beside a daemon or without one. Where it holds nothing for a sink yet, the org is asked for the
 * schemas of the topics, and the tables they would become are shown.
 *
 * Thread: main. Errors: the exit code: 2 when no sink mirrors records, 3 the store, 4 an org that was asked.
 */
#ifndef CLI_DRY_RUN_H
#define CLI_DRY_RUN_H

#include "config/config.h"

int run_dry(const struct config *config);

#endif
