#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TIDEMARK_VERSION
#error "the build defines TIDEMARK_VERSION"
#endif

enum { OPTION_HELP = 0x1000, OPTION_VERSION, OPTION_LOG_FORMAT, MOST_OPTIONS = 24 };

static const struct option common_table[] = {{"config", required_argument, NULL, 'c'},
                                             {"verbose", no_argument, NULL, 'v'},
                                             {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
                                             {"help", no_argument, NULL, OPTION_HELP},
                                             {"version", no_argument, NULL, OPTION_VERSION}};

void cli_common_init(struct common_options *common)
{
    *common = (struct common_options){.config_path = config_default_path(NULL)};
}

void cli_usage_error(const struct command *self, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "tidemark %s: ", self->name);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\nTry 'tidemark %s --help'.\n", self->name);
    va_end(ap);
    exit(EXIT_USAGE);
}

static void print_help(const struct command *self)
{
    printf(
        "usage: tidemark %s %s\n"
        "\n"
        "  -c, --config FILE       configuration (else $TIDEMARK_CONFIG, else /etc/tidemark/tidemark.yaml)\n"
        "  -v, --verbose           say more\n"
        "      --log-format text|json\n"
        "      --help, --version\n",
        self->name, self->usage);
}

static void set_log_format(const struct command *self, struct common_options *common, const char *text)
{
    if (strcmp(text, "text") != 0 && strcmp(text, "json") != 0)
        cli_usage_error(self, "--log-format is 'text' or 'json', not '%s'", text);
    common->log_format_given = true;
    common->log_format = strcmp(text, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
}

int cli_next_option(const struct command *self, struct common_options *common, int argc, char **argv,
                    const char *shorts, const struct option *own)
{
    struct option all[MOST_OPTIONS] = {{0}};
    size_t n = 0;
    for (; own && own[n].name; n++)
        all[n] = own[n];
    BUG_IF(n + ARRAY_LEN(common_table) >= MOST_OPTIONS);
    memcpy(all + n, common_table, sizeof common_table);
    char all_shorts[64];
    snprintf(all_shorts, sizeof all_shorts, "c:v%s", shorts);
    for (;;) {
        int c = getopt_long(argc, argv, all_shorts, all, NULL);
        switch (c) {
        case 'c':
            common->config_path = optarg;
            break;
        case 'v':
            common->verbose++;
            break;
        case OPTION_LOG_FORMAT:
            set_log_format(self, common, optarg);
            break;
        case OPTION_HELP:
            print_help(self);
            exit(cli_finish_output(EXIT_OK));
        case OPTION_VERSION:
            printf("tidemark %s\n", TIDEMARK_VERSION);
            exit(cli_finish_output(EXIT_OK));
        case '?':
            fprintf(stderr, "Try 'tidemark %s --help'.\n", self->name);
            exit(EXIT_USAGE);
        default:
            return c;
        }
    }
}

struct config *cli_load_config(const struct common_options *common, unsigned flags)
{
    struct buf problems = BUF_INIT;
    struct config *config = config_load(common->config_path, flags, &problems);
    if (problems.len)
        fwrite(problems.data, 1, problems.len, stderr);
    buf_release(&problems);
    if (config)
        cli_set_log(common, config);
    return config;
}

void cli_set_log(const struct common_options *common, const struct config *config)
{
    enum log_level level = common->verbose ? LOG_LEVEL_DEBUG : config->log.level;
    log_setup(level, common->log_format_given ? common->log_format : config->log.format);
}

int cli_exit_code(enum err_class class)
{
    switch (class) {
    case ERR_NONE:
        return EXIT_OK;
    case ERR_CONFIG:
        return EXIT_USAGE;
    case ERR_STORE:
        return EXIT_STORE;
    case ERR_AUTH:
    case ERR_RETRY:
    case ERR_UNKNOWN:
    case ERR_REJECTED:
        return EXIT_SOURCE;
    case ERR_FATAL:
        return EXIT_INTERNAL;
    }
    return EXIT_INTERNAL;
}

int cli_fail(const struct err *e)
{
    fprintf(stderr, "tidemark: %s\n", e->text);
    return cli_exit_code(e->class);
}

int64_t cli_parse_seconds(const struct command *self, const char *option, const char *text, double min)
{
    char *end;
    errno = 0;
    double s = strtod(text, &end);
    if (errno || end == text || *end || !(s >= min) || s > 1e9)
        cli_usage_error(self, "%s takes seconds, at least %g, not '%s'", option, min, text);
    return (int64_t)(s * 1000);
}

int cli_finish_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE) /* a reader that has seen enough is no trouble */
        fprintf(stderr, "tidemark: cannot write to standard output: %s\n", strerror(errno));
    return code ? code : EXIT_SINK;
}
