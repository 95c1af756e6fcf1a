#include "sim/http_port.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/text.h"
#include "sim/orders.h"
#include "sim/relay.h"
#include "sim/sim.h"

#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <time.h>

enum { MAX_BODY = 64 << 10 };

struct http_port {
    struct sim *sim;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; /* of closing */
    pthread_cond_t closing_cond;
    bool closing;
};

struct request {
    struct buf body;
    bool too_large;
};

struct answer {
    unsigned status;
    struct buf body;
    const char *content_type; /* NULL: JSON */
    const char *location;
    int retry_after_s;
    int64_t delay_ms; /* before it goes out */
};

/* --- the token endpoint --------------------------------------------------------------------------- */

static void token(struct sim *s, struct MHD_Connection *connection, const struct request *r, struct answer *a)
{
    struct oauth_answer given = {.body = BUF_INIT};
    oauth_token(&s->oauth, &s->session, s->org.users[1], buf_span(&r->body),
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization"), &given);
    *a = (struct answer){given.status,   given.body,          given.content_type,
                         given.location, given.retry_after_s, given.delay_ms};
}

static const char *argument(struct MHD_Connection *connection, const char *name, const char *fallback)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
    return value ? value : fallback;
}

static void token_fault(struct sim *s, struct MHD_Connection *connection, struct answer *a)
{
    const char *kind = argument(connection, "kind", "");
    const char *late = strcmp(kind, "slow") == 0 ? "5" : "0";
    int64_t count, seconds;
    if (text_parse_int(argument(connection, "count", "1"), 0, INT64_MAX, &count) == 0 &&
        text_parse_int(argument(connection, "seconds", late), 0, 3600, &seconds) == 0 &&
        oauth_set_fault(&s->oauth, kind, count, seconds * 1000)) {
        a->status = 204;
        return;
    }
    a->status = 400;
    buf_add_str(&a->body, "{\"message\":\"expected kind=KIND&count=N&seconds=S, KIND one of ");
    oauth_fault_names(&a->body);
    buf_add_str(&a->body, "\"}\n");
}

static void call_fault(struct sim *s, struct MHD_Connection *connection, struct answer *a)
{
    struct err e = ERR_INIT;
    struct fault_script script = {.method = argument(connection, "method", NULL),
                                  .status = argument(connection, "status", NULL),
                                  .code = argument(connection, "code", NULL),
                                  .count = argument(connection, "count", NULL),
                                  .seconds = argument(connection, "seconds", NULL),
                                  .events = argument(connection, "events", NULL)};
    a->status = 204;
    if (faults_add(&s->faults, &script, &e) == 0)
        return;
    a->status = 400;
    buf_addf(&a->body, "{\"message\":\"expected %s\"}\n", e.text);
}

static void faults(struct sim *s, const struct request *r, struct answer *a)
{
    struct err e = ERR_INIT;
    a->status = 204;
    if (orders_run(s, buf_span(&r->body), &e) == 0)
        return;
    a->status = 400;
    buf_add_str(&a->body, "{\"message\":");
    json_add_string(&a->body, span_of_str(e.text));
    buf_add_str(&a->body, "}\n");
}

static void managed(struct sim *s, struct MHD_Connection *connection, struct answer *a)
{
    struct err e = ERR_INIT;
    struct managed_order order = {.name = argument(connection, "name", NULL),
                                  .slot = argument(connection, "slot", NULL),
                                  .state = argument(connection, "state", NULL),
                                  .refuse = argument(connection, "refuse", NULL)};
    a->status = 204;
    if (managed_run(&s->managed, &order, &e) == 0)
        return;
    a->status = 400;
    buf_addf(&a->body, "{\"message\":\"expected %s\"}\n", e.text);
}

static void limits(struct sim *s, struct MHD_Connection *connection, struct answer *a)
{
    a->status = limits_answer(&s->limits, &s->session,
                              MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization"),
                              &a->body);
}

static void set_limits(struct sim *s, struct MHD_Connection *connection, struct answer *a)
{
    bool done = limits_set(&s->limits, argument(connection, "used", NULL), argument(connection, "max", NULL),
                           argument(connection, "status", NULL));
    a->status = done ? 204 : 400;
    if (!done)
        buf_add_str(&a->body, "{\"message\":\"expected used=N&max=N&status=S, S an HTTP error or 0\"}\n");
}

/* --- the simulator's own pages -------------------------------------------------------------------- */

static void stats(struct sim *s, struct answer *a)
{
    struct buf *out = &a->body;
    uint8_t id[10];
    a->status = 200;
    buf_addf(out, "{\"published\":%llu,\"held\":%llu,\"replay_id\":\"", (unsigned long long)(s->bus.next - 1),
             (unsigned long long)(s->bus.next - s->bus.first));
    hex_add(out, bus_head_replay_id(&s->bus, id));
    buf_addf(out, "\",\"left\":%lld,\"streams\":%llu,\"responses\":%llu,\"events_sent\":%llu,\"tokens\":%u,",
             s->to_publish == UINT64_MAX ? -1 : (long long)s->to_publish, (unsigned long long)s->streams,
             (unsigned long long)s->responses, (unsigned long long)s->events_sent, s->session.n_issued);
    buf_addf(out, "\"limits_requests\":%llu,", (unsigned long long)s->limits.asked);
    buf_addf(out, "\"token_requests\":%llu,\"token_refusals\":%llu,\"wire_faults\":%llu,\"topics\":{",
             (unsigned long long)s->oauth.requests, (unsigned long long)s->oauth.refused,
             s->relay ? (unsigned long long)relay_strikes(s->relay) : 0ull);
    for (unsigned i = 0; i < s->topics.n; i++)
        buf_addf(out, "%s\"%s\":%llu", i ? "," : "", s->topics.list[i].name,
                 (unsigned long long)s->topics.list[i].published);
    buf_add_str(out, "},\"managed\":");
    managed_json(&s->managed, s->bus.replay_id_bytes, out);
    buf_add_str(out, "}\n");
}

static void state(struct sim *s, struct answer *a)
{
    a->status = 200;
    org_state_json(&a->body, &s->org);
    buf_add_char(&a->body, '\n');
}

static void route(struct sim *s, struct MHD_Connection *connection, const char *method, const char *url,
                  const struct request *r, struct answer *a)
{
    bool post = strcmp(method, "POST") == 0, get = strcmp(method, "GET") == 0;
    if (r->too_large) {
        a->status = 413;
    } else if (post && strcmp(url, "/services/oauth2/token") == 0) {
        token(s, connection, r, a);
    } else if (post && strcmp(url, "/faults") == 0) {
        faults(s, r, a);
    } else if (post && strcmp(url, "/sim/token-fault") == 0) {
        token_fault(s, connection, a);
    } else if (post && strcmp(url, "/sim/call-fault") == 0) {
        call_fault(s, connection, a);
    } else if (post && strcmp(url, "/sim/managed") == 0) {
        managed(s, connection, a);
    } else if (get && limits_is_path(url)) {
        limits(s, connection, a);
    } else if (post && strcmp(url, "/sim/limits") == 0) {
        set_limits(s, connection, a);
    } else if (get && strcmp(url, "/sim/state") == 0) {
        state(s, a);
    } else if (get && strcmp(url, "/sim/stats") == 0) {
        stats(s, a);
    } else if (post && strcmp(url, "/sim/revoke") == 0) {
        session_revoke_all(&s->session);
        a->status = 204;
    } else if (post && strcmp(url, "/sim/drop") == 0) {
        s->drop_streams = true;
        a->status = 204;
    } else {
        a->status = 404;
        buf_add_str(
            &a->body,
            "[{\"errorCode\":\"NOT_FOUND\",\"message\":\"The requested resource does not exist\"}]\n");
    }
}

/* --- libmicrohttpd -------------------------------------------------------------------------------- */

/* Seconds pass, but not when the simulator ends. */
static void hold_back(struct http_port *h, int64_t delay_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += delay_ms / 1000;
    until.tv_nsec += delay_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&h->lock);
    while (!h->closing && pthread_cond_timedwait(&h->closing_cond, &h->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&h->lock);
}

static void add_date(struct MHD_Response *response, int64_t ms)
{
    char text[40];
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&seconds, &tm));
    MHD_add_response_header(response, "Date", text);
}

static enum MHD_Result reply(struct http_port *h, struct MHD_Connection *connection, struct answer *a)
{
    size_t n = a->body.len;
    struct MHD_Response *response = MHD_create_response_from_buffer(n, buf_detach(&a->body),
                                                                    MHD_RESPMEM_MUST_FREE);
    if (!response)
        return MHD_NO;
    char seconds[16];
    MHD_add_response_header(response, "Content-Type",
                            a->content_type ? a->content_type : "application/json;charset=UTF-8");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    add_date(response, oauth_now_ms(&h->sim->oauth));
    if (a->location)
        MHD_add_response_header(response, "Location", a->location);
    snprintf(seconds, sizeof seconds, "%d", a->retry_after_s);
    if (a->retry_after_s)
        MHD_add_response_header(response, "Retry-After", seconds);
    enum MHD_Result rc = MHD_queue_response(connection, a->status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *n,
                                  void **context)
{
    struct http_port *h = cls;
    struct request *r = *context;
    struct answer a = {.body = BUF_INIT};
    (void)version;
    if (!r) {
        *context = xcalloc(1, sizeof *r);
        return MHD_YES;
    }
    if (*n) {
        if (r->body.len + *n > MAX_BODY)
            r->too_large = true;
        else
            buf_add(&r->body, data, *n);
        *n = 0;
        return MHD_YES;
    }
    pthread_mutex_lock(&h->sim->lock);
    route(h->sim, connection, method, url, r, &a);
    pthread_mutex_unlock(&h->sim->lock);
    if (a.delay_ms)
        hold_back(h, a.delay_ms);
    return reply(h, connection, &a);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    struct request *r = *context;
    (void)cls, (void)connection, (void)why;
    if (!r)
        return;
    if (r->body.data)
        wipe(r->body.data, r->body.len);
    buf_release(&r->body);
    free(r);
    *context = NULL;
}

int split_address(const char *address, char host[256], char port[8])
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address || !colon[1] || strlen(colon + 1) > 5)
        return -1;
    size_t n = (size_t)(colon - address);
    if (address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    if (n == 0 || n > 255)
        return -1;
    memcpy(host, address, n);
    host[n] = 0;
    snprintf(port, 8, "%s", colon + 1);
    return 0;
}

static struct MHD_Daemon *start(struct http_port *h, const struct addrinfo *address,
                                const struct server_tls *tls)
{
    /* A thread for each connection: one may be held back. */
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     (address->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_SOCK_ADDR, 0, address->ai_addr},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, 30, NULL},
        {tls->key_pem ? MHD_OPTION_HTTPS_MEM_KEY : MHD_OPTION_END, 0, (void *)(intptr_t)tls->key_pem},
        {tls->key_pem ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0,
         (void *)(intptr_t)tls->certificate_pem},
        {MHD_OPTION_END, 0, NULL},
    };
    if (tls->key_pem)
        flags |= MHD_USE_TLS;
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static void free_port(struct http_port *h)
{
    pthread_cond_destroy(&h->closing_cond);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

int http_port_open(struct http_port **out, struct sim *sim, const char *address, const struct server_tls *tls,
                   int *port, struct err *e)
{
    char host[256], service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE},
                    *list = NULL;
    if (split_address(address, host, service) < 0)
        return err_set(e, ERR_CONFIG, "http", 0, "'%s' is not HOST:PORT", address);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return err_set(e, ERR_CONFIG, "http", 0, "%s: %s", address, gai_strerror(rc));
    struct http_port *h = xcalloc(1, sizeof *h);
    h->sim = sim;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->closing_cond, NULL);
    h->daemon = start(h, list, tls);
    freeaddrinfo(list);
    if (!h->daemon) {
        free_port(h);
        return err_set(e, ERR_CONFIG, "http", 0,
                       "cannot listen on %s: the port is in use, or the address is not one of this machine",
                       address);
    }
    *port = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    *out = h;
    return 0;
}

void http_port_close(struct http_port *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_cond_broadcast(&h->closing_cond);
    pthread_mutex_unlock(&h->lock);
    MHD_stop_daemon(h->daemon);
    free_port(h);
}
