/*
 * The admin API on libmicrohttpd: one thread and one listening socket for each of TCP and Unix. Every answer
 * is made whole, from one snapshot, before it is sent.
 */
#include "admin/server.h"

#include "admin/commands.h"
#include "admin/listen.h"
#include "admin/metrics.h"
#include "admin/ready.h"
#include "admin/status.h"
#include "base/alloc.h"
#include "base/digest.h"
#include "base/log.h"

#include <microhttpd.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 32, MOST_REQUEST_BYTES = 16 << 10, IDLE_TIMEOUT_S = 15 };

struct admin {
    int tcp_fd, unix_fd; /* -1 once libmicrohttpd has them */
    char *socket_path;
    char address[LISTEN_ADDRESS_SIZE];
    struct daemon_parts *parts;
    struct MHD_Daemon *tcp, *local;
};

/* --- answers -------------------------------------------------------------------------------------- */

struct answer {
    unsigned status;
    const char *content_type;
    struct buf body;
};

static const char plain_text[] = "text/plain; charset=utf-8";

static void fail(struct answer *a, const struct err *e)
{
    a->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    a->content_type = plain_text;
    buf_addf(&a->body, "%s\n", e->text);
}

static void get_healthz(const struct daemon_parts *parts, struct MHD_Connection *connection, struct answer *a)
{
    (void)parts, (void)connection;
    buf_add_str(&a->body, "ok\n");
}

static void get_readyz(const struct daemon_parts *parts, struct MHD_Connection *connection, struct answer *a)
{
    (void)connection;
    if (status_ready(parts, &a->body))
        buf_add_str(&a->body, "ready\n");
    else
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
}

static void get_status(const struct daemon_parts *parts, struct MHD_Connection *connection, struct answer *a)
{
    struct err e = ERR_INIT;
    (void)connection;
    json_t *status = status_json(parts, &e);
    if (!status) {
        fail(a, &e);
        return;
    }
    char *text = json_dumps(status, JSON_COMPACT);
    BUG_IF(!text);
    a->content_type = "application/json";
    buf_addf(&a->body, "%s\n", text);
    free(text);
    json_decref(status);
}

static void get_page(const struct daemon_parts *parts, struct MHD_Connection *connection, struct answer *a)
{
    struct err e = ERR_INIT;
    (void)connection;
    json_t *status = status_json(parts, &e);
    if (!status) {
        fail(a, &e);
        return;
    }
    status_text(status, false, &a->body);
    json_decref(status);
}

static void get_metrics(const struct daemon_parts *parts, struct MHD_Connection *connection, struct answer *a)
{
    struct snapshot s;
    struct err e = ERR_INIT;
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    enum metrics_format format = accept && strstr(accept, "application/openmetrics-text")
                                     ? METRICS_OPENMETRICS
                                     : METRICS_PROMETHEUS;
    if (snapshot_take(parts, &s, &e) == 0) {
        a->content_type = metrics_content_type(format);
        metrics_add(&s, format, &a->body);
    } else {
        fail(a, &e);
    }
    snapshot_release(&s);
}

static const struct route {
    const char *path;
    void (*get)(const struct daemon_parts *parts, struct MHD_Connection *connection, struct answer *a);
} routes[] = {
    {"/", get_page},         {"/healthz", get_healthz}, {"/readyz", get_readyz},
    {"/status", get_status}, {"/metrics", get_metrics},
};

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

/* --- requests ------------------------------------------------------------------------------------- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct answer *a)
{
    size_t n = a->body.len;
    struct MHD_Response *response = MHD_create_response_from_buffer(n, buf_detach(&a->body),
                                                                    MHD_RESPMEM_MUST_FREE);
    BUG_IF(!response);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, a->content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result queued = MHD_queue_response(connection, a->status, response);
    MHD_destroy_response(response);
    return queued;
}

/*
 * Who may change something: whoever can open the Unix socket (mode 0600), or shows the configured token. Digests
 * are compared, so that the time taken tells nothing about the token.
 */
static bool may_change(const struct admin *admin, struct MHD_Connection *connection, char by[64])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_DAEMON);
    if (info && info->daemon == admin->local) {
        struct ucred peer = {0};
        socklen_t n = sizeof peer;
        info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        bool known = info && getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0;
        snprintf(by, 64, "uid %ld", known ? (long)peer.uid : -1L);
        return true;
    }
    static const char scheme[] = "Bearer ";
    const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                     MHD_HTTP_HEADER_AUTHORIZATION);
    const char *token = admin->parts->config->admin.token;
    uint8_t given[32], wanted[32];
    if (!token || !header || strncmp(header, scheme, sizeof scheme - 1) != 0)
        return false;
    digest_sha256(span_of_str(header + sizeof scheme - 1), given);
    digest_sha256(span_of_str(token), wanted);
    snprintf(by, 64, "the admin token");
    return CRYPTO_memcmp(given, wanted, sizeof given) == 0;
}

static const char *query(void *ctx, const char *name)
{
    const char *value = MHD_lookup_connection_value(ctx, MHD_GET_ARGUMENT_KIND, name);
    return value ? value : "";
}

static void run_command(const struct admin *admin, struct MHD_Connection *connection, const char *path,
                        struct answer *a)
{
    struct err e = ERR_INIT;
    struct command_request request = {.path = path, .argument = query, .ctx = connection};
    if (!may_change(admin, connection, request.by)) {
        a->status = MHD_HTTP_FORBIDDEN;
        buf_add_str(&a->body,
                    "this changes something: use the socket in the store's folder, or the admin token\n");
    } else if (command_run(admin->parts, &request, &a->body, &e) != 0) {
        a->status = e.class == ERR_CONFIG ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_INTERNAL_SERVER_ERROR;
        buf_clear(&a->body);
        buf_addf(&a->body, "%s\n", e.text);
    }
}

/*
 * Thread: libmicrohttpd's. Called at the end of the headers, then for each piece of a body, then at its end. An
 * answer before the end closes the connection, which suits a method or a body that we do not take.
 */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request_ctx)
{
    const struct admin *admin = ctx;
    struct answer a = {MHD_HTTP_OK, plain_text, BUF_INIT};
    const struct route *route = find_route(path);
    (void)version, (void)upload;
    bool reads = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    bool commands = strcmp(method, MHD_HTTP_METHOD_POST) == 0 && command_exists(path);
    if (*upload_size)
        return MHD_NO;
    if ((reads || commands) && !*request_ctx) {
        *request_ctx = ctx; /* any mark: the headers were seen */
        return MHD_YES;
    }
    pthread_rwlock_rdlock(&admin->parts->lock);
    if (commands) {
        run_command(admin, connection, path, &a);
    } else if (!route) {
        a.status = MHD_HTTP_NOT_FOUND;
        buf_add_str(&a.body, "not found: /healthz /readyz /status /metrics\n");
    } else if (!reads) {
        a.status = MHD_HTTP_METHOD_NOT_ALLOWED;
        buf_add_str(&a.body, "only GET and HEAD\n");
    } else {
        route->get(admin->parts, connection, &a);
    }
    pthread_rwlock_unlock(&admin->parts->lock);
    return send_answer(connection, &a);
}

/* --- life ----------------------------------------------------------------------------------------- */

int admin_bind(const struct config *config, struct admin **out, struct err *e)
{
    struct admin *a = xcalloc(1, sizeof *a);
    a->tcp_fd = -1;
    a->socket_path = admin_socket_path(config->store.path);
    a->unix_fd = listen_unix(a->socket_path, e);
    if (a->unix_fd < 0)
        goto fail;
    if (config->admin.enabled &&
        (a->tcp_fd = listen_tcp(config->admin.host, config->admin.port, a->address, e)) < 0)
        goto fail;
    *out = a;
    return 0;
fail:
    admin_stop(a);
    return -1;
}

static struct MHD_Daemon *serve_on(struct admin *a, int *fd, struct err *e)
{
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, 0, NULL, NULL, on_request, a,
        MHD_OPTION_LISTEN_SOCKET, *fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)MOST_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)MOST_REQUEST_BYTES, MHD_OPTION_END);
    if (!daemon) {
        err_set(e, ERR_FATAL, "admin", 0, "cannot start the admin API");
        return NULL;
    }
    *fd = -1; /* closed by MHD_stop_daemon */
    return daemon;
}

int admin_serve(struct admin *a, struct daemon_parts *parts, struct err *e)
{
    a->parts = parts;
    const bool tcp = a->tcp_fd >= 0;
    /* A request may come before we know which of the two took it: it waits. */
    pthread_rwlock_wrlock(&parts->lock);
    a->local = serve_on(a, &a->unix_fd, e);
    if (a->local && tcp)
        a->tcp = serve_on(a, &a->tcp_fd, e);
    pthread_rwlock_unlock(&parts->lock);
    if (!a->local || (tcp && !a->tcp))
        return -1;
    if (tcp)
        log_info("admin", "listening on http://%s", a->address);
    return 0;
}

void admin_stop(struct admin *a)
{
    if (!a)
        return;
    if (a->local || a->unix_fd >= 0)
        (void)unlink(a->socket_path);
    if (a->tcp)
        MHD_stop_daemon(a->tcp);
    if (a->local)
        MHD_stop_daemon(a->local);
    if (a->tcp_fd >= 0)
        close(a->tcp_fd);
    if (a->unix_fd >= 0)
        close(a->unix_fd);
    free(a->socket_path);
    free(a);
}
