/*
 * tidemark-sim: a local simulator of an org.
 *
 * Options, state, ports, and the loop until a signal. What it simulates is in the headers: sim.h,
 * workload.h, subscribe.h.
 */
#include "base/exit_code.h"
#include "base/file.h"
#include "sim/http_port.h"
#include "sim/options.h"
#include "sim/orders.h"
#include "sim/relay.h"
#include "sim/server.h"
#include "sim/sim.h"
#include "sim/tls.h"

#include <signal.h>
#include <stdio.h>

#ifndef TIDEMARK_VERSION
#define TIDEMARK_VERSION "0.1.0"
#endif

static atomic_bool stop;

static void on_signal(int number)
{
    (void)number;
    stop = true;
}

static void set_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void set_instance_url(struct sim *s, const struct sim_options *o, int port)
{
    char host[256], service[8];
    if (o->instance_url) {
        size_t n = strlen(o->instance_url);
        snprintf(s->session.instance_url, sizeof s->session.instance_url, "%.*s",
                 (int)(n && o->instance_url[n - 1] == '/' ? n - 1 : n), o->instance_url);
        return;
    }
    if (split_address(o->http, host, service) < 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        snprintf(host, sizeof host, "127.0.0.1");
    snprintf(s->session.instance_url, sizeof s->session.instance_url,
             strchr(host, ':') ? "%s://[%.200s]:%d" : "%s://%.200s:%d", o->tls_dir ? "https" : "http", host,
             port);
}

static int write_ports(const char *path, int grpc_port, int http_port, struct err *e)
{
    char text[64];
    if (!path)
        return 0;
    int n = snprintf(text, sizeof text, "grpc=%d\nhttp=%d\n", grpc_port, http_port);
    return file_replace(path, text, (size_t)n, 0644, e);
}

static void announce(const struct sim *s, const struct sim_options *o, int grpc_port, int http_port)
{
    char host[256], service[8];
    if (split_address(o->listen, host, service) < 0)
        host[0] = 0;
    log_info("sim", "Pub/Sub API on %s:%d, %s; login at %s (client %s); org %s", host, grpc_port,
             o->tls_dir ? "TLS" : "plaintext", s->session.instance_url, o->client_id, s->org.id);
    if (http_port <= 0)
        return;
    if (s->bench)
        log_info("sim", "benchmark: %llu events of %zu bytes from number %llu on",
                 (unsigned long long)o->count, bench_payload_bytes(s->bench),
                 (unsigned long long)o->bench_first);
    else if (s->to_publish == UINT64_MAX)
        log_info("sim", "%llu events on the bus; publishing at %g events/s without end",
                 (unsigned long long)(s->bus.next - 1), o->rate);
    else
        log_info("sim", "%llu events on the bus; publishing %llu more", (unsigned long long)(s->bus.next - 1),
                 (unsigned long long)s->to_publish);
}

/* The port that clients are told: gRPC's own, or the relay's before it. */
static int open_grpc(struct server **server, struct sim *s, const struct sim_options *o,
                     const struct server_tls *pem, int *port, struct err *e)
{
    int behind = 0;
    if (!o->relay)
        return server_open(server, s, o->listen, pem, port, e);
    if (server_open(server, s, "127.0.0.1:0", pem, &behind, e) < 0)
        return -1;
    pthread_mutex_lock(&s->lock);
    int rc = relay_open(&s->relay, o->listen, behind, port, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int obey_options(struct sim *s, const struct sim_options *o, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; rc == 0 && i < o->faults.n; i++)
        if ((rc = orders_run(s, span_of_str(o->faults.items[i]), e)) < 0)
            err_prefix(e, "--fault");
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int serve(struct sim *s, const struct sim_options *o, struct err *e)
{
    struct http_port *http = NULL;
    struct server *server = NULL;
    struct sim_tls tls = SIM_TLS_INIT;
    int http_port = 0, grpc_port = 0, rc = -1;
    if (o->tls_dir && sim_tls_load(&tls, o->tls_dir, o->tls_name, e) < 0)
        goto out;
    struct server_tls pem = {tls.certificate.len ? (const char *)tls.certificate.data : NULL,
                             tls.key.len ? (const char *)tls.key.data : NULL};
    if (http_port_open(&http, s, o->http, &pem, &http_port, e) < 0)
        goto out;
    pthread_mutex_lock(&s->lock);
    set_instance_url(s, o, http_port);
    pthread_mutex_unlock(&s->lock);
    if (open_grpc(&server, s, o, &pem, &grpc_port, e) < 0 || obey_options(s, o, e) < 0 ||
        write_ports(o->ports_file, grpc_port, http_port, e) < 0)
        goto out;
    announce(s, o, grpc_port, http_port);
    rc = server_run(server, &stop, e);
    log_info("sim", "ending: %llu streams, %llu responses, %llu events sent, %llu published",
             (unsigned long long)s->streams, (unsigned long long)s->responses,
             (unsigned long long)s->events_sent, (unsigned long long)(s->bus.next - 1));
out:
    if (server)
        server_close(server);
    http_port_close(http);
    relay_close(s->relay);
    sim_tls_release(&tls);
    return rc;
}

static void list(const struct sim *s)
{
    for (unsigned i = 0; i < s->topics.n; i++)
        printf("%-34s %s\n", s->topics.list[i].name,
               s->topics.list[i].schema_id[0] ? s->topics.list[i].schema_id : "(several schemas)");
}

static int exit_code_of(const struct err *e)
{
    if (e->class == ERR_STORE)
        return EXIT_STORE;
    if (strcmp(e->origin, "listen") == 0 || strcmp(e->origin, "http") == 0)
        return EXIT_SOURCE;
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static struct sim s;
    struct sim_options o;
    struct err e = ERR_INIT;
    if (options_parse(&o, argc, argv, &e) < 0) {
        fprintf(stderr, "tidemark-sim: %s\n", e.text);
        return EXIT_USAGE;
    }
    if (o.action == ACTION_HELP) {
        options_help();
        return EXIT_OK;
    }
    if (o.action == ACTION_VERSION) {
        puts("tidemark-sim " TIDEMARK_VERSION);
        return EXIT_OK;
    }
    log_setup(o.log_level, o.log_format);
    set_signals();
    int rc = sim_open(&s, &o, &e);
    if (rc == 0) {
        if (o.action == ACTION_LIST)
            list(&s);
        else
            rc = serve(&s, &o, &e);
    }
    sim_close(&s);
    if (rc < 0)
        log_error("sim", "%s", e.text);
    return rc < 0 ? exit_code_of(&e) : EXIT_OK;
}
