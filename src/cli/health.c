/*
 * tidemark health: /readyz, over the socket in the store's folder, else over the configured address.
 */
#include "cli/cli.h"

#include "admin/server.h"
#include "base/alloc.h"
#include "base/http.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 10 * 1000, MOST_ANSWER_BYTES = 1 << 20 };

/* An address that listens on every interface is asked through loopback. */
static char *readyz_url(const struct config *config)
{
    const char *host = config->admin.host;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "*") == 0 || strcmp(host, "") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    return xasprintf(strchr(host, ':') ? "http://[%s]:%d/readyz" : "http://%s:%d/readyz", host, config->admin.port);
}

static int ask_over_tcp(const struct config *config, struct buf *body, struct err *e)
{
    struct http_answer answer;
    char *url = readyz_url(config);
    const struct http_request request = {.method = "GET",
                                         .url = url,
                                         .connect_timeout_ms = TIMEOUT_MS,
                                         .timeout_ms = TIMEOUT_MS,
                                         .max_answer = MOST_ANSWER_BYTES};
    int status = -1;
    http_setup();
    if (http_do(&request, &answer, e) == 0) {
        status = answer.status;
        buf_add_span(body, buf_span(&answer.body));
        http_answer_release(&answer);
    }
    free(url);
    return status;
}

int cli_health(const struct command *self, int argc, char **argv)
{
    struct common_options common;
    struct err over_socket = ERR_INIT, over_tcp = ERR_INIT;
    struct buf body = BUF_INIT;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", NULL) != -1)
        ;
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    int status = admin_request(config->store.path, "GET", "/readyz", &body, &over_socket);
    if (status < 0 && config->admin.enabled && config->admin.port)
        status = ask_over_tcp(config, &body, &over_tcp);
    if (body.len)
        fwrite(body.data, 1, body.len, stdout);
    if (status < 0)
        fprintf(stderr, "tidemark: not ready, no daemon answers: %s%s%s\n", over_socket.text, over_tcp.class ? "; " : "",
                over_tcp.text);
    buf_release(&body);
    config_free(config);
    return cli_finish_output(status == 200 ? EXIT_OK : EXIT_SOURCE);
}
