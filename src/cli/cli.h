/*
 * cli: one file per subcommand, one table in main.c.
 *
 * A command parses its own options with getopt_long, after the common ones (-c, -v, --log-format, --help,
 * --version) were understood by cli_options. Data goes to stdout, everything else to stderr.
 *
 * Thread: main. Errors: a command returns its exit code (base/exit_code.h) and has said why on stderr.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/err.h"
#include "base/exit_code.h"
#include "config/config.h"

#include <getopt.h>

struct command {
    const char *name;
    const char *summary; /* one line, for the list */
    int (*run)(const struct command *self, int argc, char **argv);
    const char *usage; /* what follows "usage: tidemark NAME "; then the options, one per line */
};

int cli_run(const struct command *self, int argc, char **argv);
int cli_check(const struct command *self, int argc, char **argv);
int cli_init(const struct command *self, int argc, char **argv);
int cli_tail(const struct command *self, int argc, char **argv);
int cli_status(const struct command *self, int argc, char **argv);
int cli_health(const struct command *self, int argc, char **argv);
int cli_schema(const struct command *self, int argc, char **argv);
int cli_topics(const struct command *self, int argc, char **argv);
int cli_dlq(const struct command *self, int argc, char **argv);
int cli_replay(const struct command *self, int argc, char **argv);
int cli_incidents(const struct command *self, int argc, char **argv);
int cli_doctor(const struct command *self, int argc, char **argv);
int cli_backup(const struct command *self, int argc, char **argv);
int cli_restore(const struct command *self, int argc, char **argv);
int cli_login(const struct command *self, int argc, char **argv);
int cli_sink(const struct command *self, int argc, char **argv);

/* Values of the common options, as far as they were given. */
struct common_options {
    const char *config_path; /* never NULL */
    int verbose;
    bool log_format_given;
    enum log_format log_format;
};

/*
 * The loop around getopt_long: handles the common options itself (--help prints and exits the process with 0,
 * a wrong option says so and exits with 2), and returns a command's own option, or -1 at the end.
 * `own` is the command's table, terminated by a zero row; its short options are in `shorts`.
 */
int cli_next_option(const struct command *self, struct common_options *common, int argc, char **argv,
                    const char *shorts, const struct option *own);
void cli_common_init(struct common_options *common);

/* Exit 2 with a message that names the command. */
NO_RETURN void cli_usage_error(const struct command *self, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Load the configuration, print its problems to stderr, apply the log settings. NULL: exit 2. */
struct config *cli_load_config(const struct common_options *common, unsigned flags);
/* The log as the options and the configuration want it. */
void cli_set_log(const struct common_options *common, const struct config *config);

/* "tidemark: text" on stderr, and the exit code that belongs to the error's class. */
int cli_fail(const struct err *e);
int cli_exit_code(enum err_class class);

/* TEXT as a positive number of seconds, fractions allowed, as ms; exits with 2 when it is not. */
int64_t cli_parse_seconds(const struct command *self, const char *option, const char *text, double min);

/* stdout: flush, and say so when that failed (a full disk, a closed pipe). Returns the exit code to use. */
int cli_finish_output(int code);

#endif
