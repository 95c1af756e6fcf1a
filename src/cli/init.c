/*
 * init: a commented configuration to start from, on stdout. It passes `check` once the environment
 * variables it names exist.
 */
#include "cli/cli.h"

#include <stdio.h>

static const struct option options[] = {{0}};

int cli_init(const struct command *self, int argc, char **argv)
{
    struct common_options common;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", options) != -1)
        ;
    if (optind < argc)
        cli_usage_error(self, "takes no arguments; redirect its output: tidemark init > tidemark.yaml");
    fputs(config_sample(), stdout);
    return cli_finish_output(EXIT_OK);
}
