/*
 * tidemark status: from the daemon when one answers, else from the store it left.
 */
#include "cli/cli.h"

#include "admin/server.h"
#include "admin/status.h"
#include "cli/explain.h"
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
        fprintf(stderr, "tidemark: the daemon answers with HTTP status %d: %.*s\n", http, (int)body.len,
                (char *)body.data);
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

static void check_options(const struct command *self, const struct explain_options *x)
{
    if (x->record_id && !explain_is_record_id(x->record_id))
        cli_usage_error(self, "--explain takes a record id of 15 or 18 characters, not '%s'", x->record_id);
    if (x->sink && !x->record_id)
        cli_usage_error(self, "--sink goes with --explain");
}

static void check_sink(const struct command *self, const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_sinks; i++)
        if (strcmp(config->sinks[i].name, name) == 0)
            return;
    cli_usage_error(self, "no sink '%s' in the configuration", name);
}

int cli_status(const struct command *self, int argc, char **argv)
{
    enum { JSON = 1, EXPLAIN, SINK };
    static const struct option own[] = {{"json", no_argument, NULL, JSON},
                                        {"explain", required_argument, NULL, EXPLAIN},
                                        {"sink", required_argument, NULL, SINK},
                                        {0}};
    struct common_options common;
    struct explain_options x = {0};
    struct err e = ERR_INIT;
    int c, code;
    cli_common_init(&common);
    while ((c = cli_next_option(self, &common, argc, argv, "", own)) != -1) {
        if (c == EXPLAIN)
            x.record_id = optarg;
        else if (c == SINK)
            x.sink = optarg;
        else
            x.json = true;
    }
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    check_options(self, &x);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    if (x.sink)
        check_sink(self, config, x.sink);
    if (x.record_id) {
        code = explain(config, &x);
    } else {
        json_t *status = ask_daemon(config);
        if (!status)
            status = read_store(config, &e);
        if (status)
            print_status(status, x.json);
        code = status ? cli_finish_output(EXIT_OK) : cli_fail(&e);
        json_decref(status);
    }
    config_free(config);
    return code;
}
