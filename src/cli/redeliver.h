/*
 * redeliver: tidemark replay --sink: deliver from the journal again, daemon up or down.
 *
 * Thread: main. Errors: the exit code; why was said on stderr.
 */
#ifndef CLI_REDELIVER_H
#define CLI_REDELIVER_H

#include "cli/cli.h"

int redeliver_to_sink(const struct command *self, const struct config *config, const char *sink, const char *from, bool dry_run);

#endif
