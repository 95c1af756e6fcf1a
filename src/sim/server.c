/*
 * The loop: publish what is due, give each open call its turn, wait for the queue until the next thing
 * is due, handle what came. The lock is held for all of it but the wait.
 */
#include "sim/server.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "sim/managed_stream.h"
#include "sim/subscribe.h"
#include "sim/unary.h"

#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdio.h>

enum { LOOK_MS = 100, CLOSE_MS = 2000 }; /* how often the stop flag is looked at; patience at the end */

struct server {
    struct sim *sim;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    struct call *calls;
    struct call *next_call; /* handed to gRPC, filled in when a client calls */
    struct tag shutdown;
    bool down;
};

static void grpc_log(gpr_log_func_args *args)
{
    log_debug("grpc", "%s", args->message);
}

static grpc_event next_event(struct server *server, int64_t wait_ms)
{
    gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                         gpr_time_from_millis(wait_ms, GPR_TIMESPAN));
    return grpc_completion_queue_next(server->queue, deadline, NULL);
}

static void request_call(struct server *server)
{
    struct call *c = server->next_call = call_new();
    grpc_call_error error = grpc_server_request_call(server->grpc, &c->grpc, &c->details, &c->metadata,
                                                     server->queue, server->queue, &c->tags[TAG_NEW]);
    if (error != GRPC_CALL_OK)
        BUG("grpc_server_request_call: %s", grpc_call_error_to_string(error));
}

static enum call_kind kind_of(const struct call *c)
{
    static const struct {
        const char *method;
        enum call_kind kind;
    } methods[] = {{"/eventbus.v1.PubSub/Subscribe", CALL_SUBSCRIBE},
                   {"/eventbus.v1.PubSub/ManagedSubscribe", CALL_MANAGED},
                   {"/eventbus.v1.PubSub/GetTopic", CALL_GET_TOPIC},
                   {"/eventbus.v1.PubSub/GetSchema", CALL_GET_SCHEMA}};
    struct span method = span_of(GRPC_SLICE_START_PTR(c->details.method),
                                 GRPC_SLICE_LENGTH(c->details.method));
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (span_equal_str(method, methods[i].method))
            return methods[i].kind;
    return CALL_UNKNOWN;
}

static bool is_stream(const struct call *c)
{
    return c->kind == CALL_SUBSCRIBE || c->kind == CALL_MANAGED;
}

static void on_new(struct server *server, struct call *c)
{
    struct failure f = {.status = GRPC_STATUS_UNIMPLEMENTED,
                        .code = NULL,
                        .text = "The simulator does not offer this method."};
    c->next = server->calls;
    c->link = &server->calls;
    if (c->next)
        c->next->link = &c->next;
    server->calls = c;
    c->kind = kind_of(c);
    call_accept(c);
    if (c->kind == CALL_UNKNOWN)
        call_fail(c, &f);
    request_call(server);
}

static void on_message(struct server *server, struct call *c, bool ok, int64_t now_ms)
{
    if (!ok && c->received) {
        grpc_byte_buffer_destroy(c->received);
        c->received = NULL;
    }
    if (c->over || c->ending || c->kind == CALL_UNKNOWN)
        return;
    if (c->kind == CALL_SUBSCRIBE) {
        subscribe_request(server->sim, c, now_ms);
    } else if (c->kind == CALL_MANAGED) {
        managed_request(server->sim, c, now_ms);
    } else if (c->received) {
        unary_request(server->sim, c, now_ms);
    } else {
        struct failure f = {
            .status = GRPC_STATUS_INVALID_ARGUMENT, .code = NULL, .text = "The request is missing."};
        call_fail(c, &f);
    }
}

static void handle(struct server *server, grpc_event event, int64_t now_ms)
{
    struct tag *tag = event.tag;
    struct call *c = tag->call;
    if (tag->kind == TAG_SHUTDOWN) {
        server->down = true;
        return;
    }
    if (tag->kind == TAG_NEW) {
        if (event.success) {
            on_new(server, c);
        } else { /* the server shuts down: no call will come */
            server->next_call = NULL;
            call_free(c);
        }
        return;
    }
    c->outstanding--;
    switch (tag->kind) {
    case TAG_OVER:
        c->over = true;
        managed_over(server->sim, c, now_ms);
        if (is_stream(c))
            log_info("stream", "%llu is closed after %llu events", (unsigned long long)c->number,
                     (unsigned long long)c->sent);
        break;
    case TAG_MESSAGE:
        on_message(server, c, event.success, now_ms);
        break;
    default:
        if (c->sending) {
            grpc_byte_buffer_destroy(c->sending);
            c->sending = NULL;
        }
        break;
    }
}

/* What a call waits for, besides messages. Returns ms until it is due, -1: nothing. */
static int64_t advance(struct server *server, struct call *c, int64_t now_ms)
{
    if (c->over || c->ending)
        return -1;
    if (c->due_ms && !c->sending) {
        if (c->due_ms > now_ms)
            return c->due_ms - now_ms;
        if (c->fails) {
            struct failure f = c->failure;
            call_fail(c, &f);
        } else {
            call_answer(c);
        }
        return -1;
    }
    if (c->kind == CALL_MANAGED)
        return managed_advance(server->sim, c, now_ms);
    return c->kind == CALL_SUBSCRIBE ? subscribe_advance(server->sim, c, now_ms) : -1;
}

static void drop_streams(struct server *server, const char *why)
{
    struct failure f = {.status = GRPC_STATUS_UNAVAILABLE, .code = NULL};
    snprintf(f.text, sizeof f.text, "%s", why);
    for (struct call *c = server->calls; c; c = c->next)
        if (is_stream(c) && !c->over && !c->ending)
            call_fail_after_write(c, &f);
}

/* One turn for everybody; returns how long to wait. */
static int64_t take_turns(struct server *server, int64_t now_ms)
{
    int64_t wait_ms = sim_pace(server->sim);
    if (wait_ms < 0 || wait_ms > LOOK_MS)
        wait_ms = LOOK_MS;
    if (server->sim->drop_streams) {
        server->sim->drop_streams = false;
        drop_streams(server, "RST_STREAM closed stream. HTTP/2 error code: NO_ERROR");
    }
    for (struct call *c = server->calls, *next; c; c = next) {
        next = c->next;
        int64_t due_ms = advance(server, c, now_ms);
        if (due_ms >= 0 && due_ms < wait_ms)
            wait_ms = due_ms;
        if (c->over && !c->outstanding)
            call_free(c);
    }
    return wait_ms;
}

int server_run(struct server *server, const atomic_bool *stop, struct err *e)
{
    struct sim *s = server->sim;
    int rc = 0;
    while (!*stop && rc == 0) {
        pthread_mutex_lock(&s->lock);
        int64_t wait_ms = take_turns(server, clock_mono_ms());
        if (s->failure.class != ERR_NONE) {
            *e = s->failure;
            rc = -1;
        }
        pthread_mutex_unlock(&s->lock);
        if (rc < 0)
            break;
        grpc_event event = next_event(server, wait_ms);
        pthread_mutex_lock(&s->lock);
        if (event.type == GRPC_OP_COMPLETE)
            handle(server, event, clock_mono_ms());
        pthread_mutex_unlock(&s->lock);
    }
    return rc;
}

static grpc_server_credentials *credentials(const struct server_tls *tls)
{
    if (!tls->certificate_pem)
        return grpc_insecure_server_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = {tls->key_pem, tls->certificate_pem};
    return grpc_ssl_server_credentials_create_ex(NULL, &pair, 1, GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
                                                 NULL);
}

static grpc_arg integer_arg(const char *name, int value)
{
    union {
        const char *in;
        char *out; /* grpc_arg holds char *, and nobody writes to it */
    } key = {name};
    grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = key.out};
    arg.value.integer = value;
    return arg;
}

static grpc_server *make_server(const struct sim *s)
{
    int min_ping_ms = (int)s->options->min_ping_ms;
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_ALLOW_REUSEPORT, 0), /* a port in use is an error, not a second server */
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 4 << 20),
        integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1),
        integer_arg(GRPC_ARG_MAX_METADATA_SIZE, 64 << 10), /* tokens may take 4 KiB and more */
        /* The service tolerates 30 s; strikes 0 means that no ping is too fast. */
        integer_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, min_ping_ms ? min_ping_ms : 1),
        integer_arg(GRPC_ARG_HTTP2_MAX_PING_STRIKES, min_ping_ms ? 2 : 0),
        integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
    };
    grpc_channel_args list = {ARRAY_LEN(args), args};
    return grpc_server_create(&list, NULL);
}

int server_open(struct server **out, struct sim *sim, const char *address, const struct server_tls *tls,
                int *port, struct err *e)
{
    gpr_set_log_function(grpc_log);
    grpc_init();
    struct server *server = xcalloc(1, sizeof *server);
    server->sim = sim;
    server->shutdown.kind = TAG_SHUTDOWN;
    server->grpc = make_server(sim);
    server->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
    grpc_server_credentials *creds = credentials(tls);
    *port = grpc_server_add_http2_port(server->grpc, address, creds);
    grpc_server_credentials_release(creds);
    grpc_server_start(server->grpc);
    *out = server;
    if (*port > 0) {
        request_call(server);
        return 0;
    }
    server_close(server);
    *out = NULL;
    return err_set(e, ERR_CONFIG, "listen", 0,
                   "cannot listen on %s: the port is in use, or the address is not one of this machine",
                   address);
}

/* Handle what comes until done() or the time is up. */
static void drain(struct server *server, int64_t patience_ms)
{
    int64_t end_ms = clock_mono_ms() + patience_ms;
    while (!server->down || server->calls) {
        grpc_event event = next_event(server, LOOK_MS);
        if (event.type == GRPC_OP_COMPLETE)
            handle(server, event, clock_mono_ms());
        for (struct call *c = server->calls, *next; c; c = next) {
            next = c->next;
            advance(server, c, clock_mono_ms());
            if (c->over && !c->outstanding)
                call_free(c);
        }
        if (clock_mono_ms() > end_ms)
            grpc_server_cancel_all_calls(server->grpc);
        if (clock_mono_ms() > end_ms + CLOSE_MS)
            break;
    }
}

void server_close(struct server *server)
{
    pthread_mutex_lock(&server->sim->lock);
    drop_streams(server, "The service is unavailable. Try again later.");
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->shutdown);
    drain(server, 500);
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_shutdown(server->queue);
    while (next_event(server, CLOSE_MS).type == GRPC_OP_COMPLETE)
        ;
    if (server->next_call) /* asked for while shutting down; its refusal came too late to be handled */
        call_free(server->next_call);
    grpc_completion_queue_destroy(server->queue);
    grpc_shutdown();
    pthread_mutex_unlock(&server->sim->lock);
    free(server);
}
