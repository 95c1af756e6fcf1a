#include "sim/http_port.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "sim/sim.h"

#include <microhttpd.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <strings.h>

enum { MAX_BODY = 64 << 10 };

struct http_port {
    struct sim *sim;
    struct MHD_Daemon *daemon;
};

struct request {
    struct buf body;
    bool too_large;
};

struct answer {
    unsigned status;
    struct buf body;
};

/* --- form fields and Basic credentials ------------------------------------------------------------ */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void add_unescaped(struct buf *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%' && i + 2 < n + 0 && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            buf_add_char(out, (char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2])));
            i += 2;
        } else {
            buf_add_char(out, p[i] == '+' ? ' ' : p[i]);
        }
    }
}

/* The value of a form field, unescaped; false when it is not there. */
static bool form_field(const struct buf *body, const char *name, struct buf *out)
{
    const char *p = body->data ? (const char *)body->data : "";
    size_t name_len = strlen(name);
    while (*p) {
        size_t n = strcspn(p, "&");
        if (n > name_len && memcmp(p, name, name_len) == 0 && p[name_len] == '=') {
            add_unescaped(out, p + name_len + 1, n - name_len - 1);
            return true;
        }
        p += n + (p[n] == '&');
    }
    return false;
}

static bool basic_credentials(struct MHD_Connection *connection, struct buf *id, struct buf *secret)
{
    const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    struct buf plain = BUF_INIT;
    bool found = false;
    if (header && strncasecmp(header, "Basic ", 6) == 0 &&
        base64_decode(&plain, header + 6, strlen(header + 6)) == 0 && plain.len) {
        size_t n = strcspn((const char *)plain.data, ":");
        if (n < plain.len) {
            buf_add(id, plain.data, n);
            buf_add(secret, plain.data + n + 1, plain.len - n - 1);
            found = true;
        }
    }
    buf_release(&plain);
    return found;
}

/* --- the token endpoint --------------------------------------------------------------------------- */

static void token_error(struct answer *a, const char *error, const char *description)
{
    a->status = 400;
    buf_addf(&a->body, "{\"error\":\"%s\",\"error_description\":\"%s\"}", error, description);
}

static void add_signature(struct buf *out, const struct session *session, const char *id,
                          const char *issued_at)
{
    unsigned char mac[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
    unsigned n = 0;
    struct buf data = BUF_INIT;
    buf_addf(&data, "%s%s", id, issued_at);
    HMAC(EVP_sha256(), session->client_secret, (int)strlen(session->client_secret), data.data, data.len, mac,
         &n);
    EVP_EncodeBlock(text, mac, (int)n);
    buf_add_str(out, (const char *)text);
    buf_release(&data);
}

static void issue(struct sim *s, struct answer *a)
{
    struct session *session = &s->session;
    char id[400], issued_at[24];
    snprintf(id, sizeof id, "%s/id/%s/%s", session->instance_url, session->org_id, s->org.users[1]);
    snprintf(issued_at, sizeof issued_at, "%lld", (long long)clock_wall_ms());
    a->status = 200;
    buf_addf(&a->body, "{\"access_token\":\"%s\",\"signature\":\"", session_issue(session));
    add_signature(&a->body, session, id, issued_at);
    buf_addf(&a->body,
             "\",\"scope\":\"api "
             "id\",\"instance_url\":\"%s\",\"id\":\"%s\",\"token_type\":\"Bearer\",\"issued_at\":\"%s\"}",
             session->instance_url, id, issued_at);
}

static void token(struct sim *s, struct MHD_Connection *connection, const struct request *r, struct answer *a)
{
    struct buf grant = BUF_INIT, id = BUF_INIT, secret = BUF_INIT;
    form_field(&r->body, "grant_type", &grant);
    if (!basic_credentials(connection, &id, &secret)) {
        form_field(&r->body, "client_id", &id);
        form_field(&r->body, "client_secret", &secret);
    }
    if (!span_equal_str(buf_span(&grant), "client_credentials"))
        token_error(a, "unsupported_grant_type", "grant type not supported");
    else if (!span_equal_str(buf_span(&id), s->session.client_id))
        token_error(a, "invalid_client_id", "client identifier invalid");
    else if (!session_client_ok(&s->session, buf_span(&id), buf_span(&secret)))
        token_error(a, "invalid_client", "invalid client credentials");
    else
        issue(s, a);
    log_info("oauth", "%s: %s", grant.len ? (const char *)grant.data : "no grant type",
             a->status == 200 ? "token issued" : (const char *)a->body.data);
    if (secret.data)
        wipe(secret.data, secret.len);
    buf_release(&grant);
    buf_release(&id);
    buf_release(&secret);
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
    buf_addf(out,
             "\",\"left\":%lld,\"streams\":%llu,\"responses\":%llu,\"events_sent\":%llu,\"tokens\":%u,"
             "\"topics\":{",
             s->to_publish == UINT64_MAX ? -1 : (long long)s->to_publish, (unsigned long long)s->streams,
             (unsigned long long)s->responses, (unsigned long long)s->events_sent, s->session.n_issued);
    for (unsigned i = 0; i < s->topics.n; i++)
        buf_addf(out, "%s\"%s\":%llu", i ? "," : "", s->topics.list[i].name,
                 (unsigned long long)s->topics.list[i].published);
    buf_add_str(out, "}}\n");
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

static enum MHD_Result reply(struct MHD_Connection *connection, struct answer *a)
{
    size_t n = a->body.len;
    struct MHD_Response *response = MHD_create_response_from_buffer(n, buf_detach(&a->body),
                                                                    MHD_RESPMEM_MUST_FREE);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json;charset=UTF-8");
    MHD_add_response_header(response, "Cache-Control", "no-store");
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
    struct answer a = {0, BUF_INIT};
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
    return reply(connection, &a);
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
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | (address->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0);
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
    h->daemon = start(h, list, tls);
    freeaddrinfo(list);
    if (!h->daemon) {
        free(h);
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
    MHD_stop_daemon(h->daemon);
    free(h);
}
