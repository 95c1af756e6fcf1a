/*
 * tidemark backup and restore: a copy of the store, with the daemon up or down; and the way back, with it down.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "store/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static void show_progress(void *ctx, int64_t done_bytes, int64_t most_bytes)
{
    (void)ctx;
    fprintf(stderr, "\r%" PRId64 " of at most %" PRId64 " MiB ", done_bytes >> 20, most_bytes >> 20);
}

static struct backup_progress progress_for_people(void)
{
    return (struct backup_progress){isatty(STDERR_FILENO) ? show_progress : NULL, NULL};
}

static void end_progress(const struct backup_progress *p)
{
    if (p->tell)
        fputs("\r\033[K", stderr);
}

static void print_facts(const struct backup_facts *f)
{
    char newest[25];
    if (f->journal.oldest > f->journal.head) {
        printf("%" PRId64 " bytes, no events\n", f->bytes);
        return;
    }
    clock_format_ms(f->newest_ms, newest);
    printf("%" PRId64 " bytes, seq %" PRIu64 " to %" PRIu64 ", the newest received %s\n", f->bytes, f->journal.oldest, f->journal.head,
           newest);
}

static int backup(const struct config *config, const char *dir)
{
    const struct backup_progress progress = progress_for_people();
    struct backup_facts facts;
    struct err e = ERR_INIT;
    struct store *st;
    if (store_open(config->store.path, STORE_READ_ONLY, config->store.max_size, &st, &e) != 0)
        return cli_fail(&e);
    int rc = backup_make(st, dir, &progress, &facts, &e);
    end_progress(&progress);
    store_close(st);
    if (rc != 0)
        return cli_fail(&e);
    printf("backup of %s in %s: ", config->store.path, dir);
    print_facts(&facts);
    return cli_finish_output(EXIT_OK);
}

static int restore(const struct config *config, const char *dir, bool force)
{
    const struct backup_progress progress = progress_for_people();
    struct backup_facts facts;
    struct err e = ERR_INIT;
    char by[64];
    const struct restore_order order = {dir, config->store.path, config->store.max_size, force, by};
    snprintf(by, sizeof by, "uid %ld", (long)getuid());
    int rc = backup_restore(&order, &progress, &facts, &e);
    end_progress(&progress);
    if (rc != 0)
        return cli_fail(&e);
    printf("store %s restored from %s: ", config->store.path, dir);
    print_facts(&facts);
    if (*facts.aside)
        printf("the old store is in %s\n", facts.aside);
    printf("At the next start, what came after that is read again, as far as the service still keeps it (72 hours).\n"
           "Lines of a file sink after seq %" PRIu64 " are cut and written again: if the backup is older than that, copy the file first.\n",
           facts.journal.head);
    return cli_finish_output(EXIT_OK);
}

int cli_backup(const struct command *self, int argc, char **argv)
{
    struct common_options common;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", NULL) != -1)
        ;
    if (argc - optind != 1)
        cli_usage_error(self, "takes the folder the backup goes to");
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    int code = backup(config, argv[optind]);
    config_free(config);
    return code;
}

int cli_restore(const struct command *self, int argc, char **argv)
{
    enum { FORCE = 1 };
    static const struct option own[] = {{"force", no_argument, NULL, FORCE}, {0}};
    struct common_options common;
    bool force = false;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", own) != -1)
        force = true;
    if (argc - optind != 1)
        cli_usage_error(self, "takes the folder of a backup");
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    int code = restore(config, argv[optind], force);
    config_free(config);
    return code;
}
