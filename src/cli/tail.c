/*
 * tidemark tail: look at a stream, or at the journal. Leaves no trace.
 */
#include "cli/tail.h"

#include "base/text.h"
#include "cli/cli.h"

#include <stdio.h>

static void parse_from(const struct command *self, struct tail_options *o, const char *text)
{
    struct err e = ERR_INIT;
    bool was_int = false;
    o->from_given = true;
    if (strcmp(text, "latest") == 0) {
        o->from = PUBSUB_LATEST;
        return;
    }
    if (strcmp(text, "earliest") == 0) {
        o->from = PUBSUB_EARLIEST;
        return;
    }
    int n = config_parse_replay_id(text, o->replay_id, &was_int, &e);
    if (n < 0)
        cli_usage_error(self, "--from: %s; latest and earliest are possible too", e.text);
    if (was_int)
        fputs("tidemark: int:... is read as 8 bytes, big-endian: check that the right events follow\n", stderr);
    o->from = PUBSUB_CUSTOM;
    o->replay_id_len = (uint32_t)n;
}

static void check_arguments(const struct command *self, const struct tail_options *o)
{
    for (size_t i = 0; i < o->n_topics; i++)
        if (o->topics[i][0] != '/')
            cli_usage_error(self, "'%s' is not a topic: those begin with /data/ or /event/", o->topics[i]);
    if (o->journal && o->org)
        cli_usage_error(self, "--org has no effect with --journal");
}

int cli_tail(const struct command *self, int argc, char **argv)
{
    enum { FROM = 1, JOURNAL, JSON, ORG };
    static const struct option own[] = {{"from", required_argument, NULL, FROM},   {"journal", no_argument, NULL, JOURNAL},
                                        {"count", required_argument, NULL, 'n'},   {"json", no_argument, NULL, JSON},
                                        {"org", required_argument, NULL, ORG},     {0}};
    struct common_options common;
    struct tail_options o = {.from = PUBSUB_LATEST};
    int c;
    cli_common_init(&common);
    while ((c = cli_next_option(self, &common, argc, argv, "n:", own)) != -1)
        switch (c) {
        case FROM: parse_from(self, &o, optarg); break;
        case JOURNAL: o.journal = true; break;
        case JSON: o.json = true; break;
        case ORG: o.org = optarg; break;
        default:
            if (text_parse_int(optarg, 1, INT64_MAX, &o.count) != 0)
                cli_usage_error(self, "-n takes a number from 1 on, not '%s'", optarg);
        }
    o.topics = argv + optind;
    o.n_topics = (size_t)(argc - optind);
    check_arguments(self, &o);
    struct config *config = cli_load_config(&common, o.journal ? CONFIG_NO_SINKS_NEEDED | CONFIG_OFFLINE : CONFIG_NO_SINKS_NEEDED);
    if (!config)
        return EXIT_USAGE;
    int code = o.journal ? tail_journal(config, &o) : tail_stream(config, &o);
    config_free(config);
    return code;
}
