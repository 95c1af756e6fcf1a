/*
 * tidemark status: from the daemon when one answers, else from the store it left.
 */
#include "cli/cli.h"

#include "admin/server.h"
#include "admin/status.h"
#include "cli/look.h"

#include <errno.h>
#include <stdio.h>

/* NULL: nobody answers, or not with a status; said on stderr unless no daemon runs. */
static json_t *ask_daemon(const struct config *config)
{
    struct err e = ERR_INIT;
    struct buf body = BUF_INIT;
    json_t *status = NULL;
    int http = admin_request(config->store.path, "GET", "/status", &body, &e);
    if (http == 200)
        status = json_loadb((const char *)body.data, body.len, 0, NULL);
    if (!status && http > 0)
        fprintf(stderr, "tidemark: the daemon answers with HTTP status %d: %.*s\n", http, (int)body.len, (char *)body.data);
    else if (!status && e.code != ENOENT && e.code != ECONNREFUSED && e.code != ENOTDIR)
        fprintf(stderr, "tidemark: %s\n", e.text);
    buf_release(&body);
    return status;
}

static json_t *read_store(const struct config *config, struct err *e)
{
    struct store *st;
    if (look_open(config, &st, e) != 0)
        return NULL;
    const struct daemon_parts parts = {.config = config, .store = st};
    json_t *status = status_json(&parts, e);
    store_close(st);
    return status;
}

static void print_status(const json_t *status, bool json)
{
    struct buf text = BUF_INIT;
    if (json) {
        char *dump = json_dumps(status, JSON_INDENT(2));
        BUG_IF(!dump);
        buf_addf(&text, "%s\n", dump);
        free(dump);
    } else {
        status_text(status, look_has_colour(), &text);
    }
    fwrite(text.data, 1, text.len, stdout);
    buf_release(&text);
}

int cli_status(const struct command *self, int argc, char **argv)
{
    enum { JSON = 1 };
    static const struct option own[] = {{"json", no_argument, NULL, JSON}, {0}};
    struct common_options common;
    struct err e = ERR_INIT;
    bool json = false;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", own) != -1)
        json = true;
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    json_t *status = ask_daemon(config);
    if (!status)
        status = read_store(config, &e);
    if (status)
        print_status(status, json);
    int code = status ? cli_finish_output(EXIT_OK) : cli_fail(&e);
    json_decref(status);
    config_free(config);
    return code;
}
