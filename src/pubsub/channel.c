/*
 * One connection at a time for all calls of an org.
 *
 * A gRPC channel reconnects by itself, with pauses of its own, and fails calls at once with the last error
 * while it waits. That would run against the owner's backoff: a call at the right moment would fail with
 * an old error, and a dead host would be knocked at in between. So a channel whose connection could not be
 * made is dropped, and the next call brings a new one, which connects at once: the owner alone decides when.
 */
#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http.h"
#include "base/log.h"
#include "pubsub/internal.h"

#include <grpc/grpc_security.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <unistd.h>

enum {
    KEEPALIVE_TIMEOUT_MS = 20 * 1000,
    CONNECT_TIMEOUT_MS = 20 * 1000,
};

static const char system_roots[] = "/etc/ssl/certs/ca-certificates.crt"; /* gRPC's choice on Debian */

/* Certificates in the text, or -1 when one is damaged. */
static int count_certificates(struct span pem)
{
    int n = 0;
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    BUG_IF(!bio);
    ERR_clear_error();
    for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++)
        X509_free(cert);
    unsigned long last = ERR_peek_last_error();
    if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
        n = -1;
    ERR_clear_error();
    BIO_free(bio);
    return n;
}

/*
 * gRPC does not check what it is given: a damaged file shows as an address list that is empty. So it is
 * read and parsed here first.
 */
int channel_read_roots(const char *ca_file, char **pem, struct err *e)
{
    struct buf text = BUF_INIT;
    *pem = NULL;
    if (!ca_file) {
        const char *path = getenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
        if (access(path ? path : system_roots, R_OK) != 0)
            return err_set(
                e, ERR_CONFIG, "pubsub", 0,
                "no CA certificates at %s: install the package ca-certificates, or set tls.ca_file",
                path ? path : system_roots);
        return 0;
    }
    if (file_read(ca_file, CA_FILE_MAX_BYTES, &text, e)) {
        buf_release(&text);
        return err_prefix(e, "tls.ca_file");
    }
    int n = count_certificates(buf_span(&text));
    if (n <= 0) {
        buf_release(&text);
        return err_set(e, ERR_CONFIG, "pubsub", 0, "tls.ca_file %s: %s", ca_file,
                       n < 0 ? "a certificate in it is damaged" : "holds no certificate in PEM form");
    }
    *pem = buf_detach(&text);
    return 0;
}

int pubsub_check(const struct org_config *org, struct err *e)
{
    char *pem = NULL;
    int rc = org->ca_file ? channel_read_roots(org->ca_file, &pem, e) : 0;
    free(pem);
    return rc;
}

static grpc_arg int_arg(const char *key, int64_t value)
{
    grpc_arg a = {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key};
    a.value.integer = value < INT_MAX ? (int)value : INT_MAX;
    return a;
}

static grpc_arg text_arg(const char *key, const char *value)
{
    grpc_arg a = {.type = GRPC_ARG_STRING, .key = (char *)(uintptr_t)key};
    a.value.string = (char *)(uintptr_t)value;
    return a;
}

/* "Proxy-Authorization:Basic …", as gRPC wants it in an argument; "": no proxy, or one that asks nobody. */
static void add_proxy_header(struct buf *out, const struct proxy *proxy)
{
    buf_add_str(out, "");
    if (!proxy->user)
        return;
    buf_add_str(out, "Proxy-Authorization:Basic ");
    base64_add(out, span_of_str(proxy->user));
}

/* Certificates end, and are replaced in their file: each connection is made with what it holds then. p->lock held. */
static void read_roots_again(struct pubsub *p)
{
    struct err e = ERR_INIT;
    char *pem;
    bool bad = channel_read_roots(p->ca_file, &pem, &e) != 0;
    if (!bad) {
        free(p->root_pem);
        p->root_pem = pem;
    } else if (!p->roots_bad) {
        log_warn(p->subject, "%s; connections are made with what it held before", e.text);
    }
    p->roots_bad = bad;
}

/* p->lock held. */
static struct channel *make(struct pubsub *p)
{
    if (p->ca_file)
        read_roots_again(p);
    int64_t timeout = p->keepalive_ms < KEEPALIVE_TIMEOUT_MS ? p->keepalive_ms : KEEPALIVE_TIMEOUT_MS;
    struct buf header = BUF_INIT;
    add_proxy_header(&header, &p->proxy);
    grpc_arg args[] = {
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, p->keepalive_ms),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, timeout),
        int_arg("grpc.http2.max_pings_without_data", 0), /* 0: no limit; quiet streams are the normal case */
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, p->max_message),
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0), /* a stream that lives for days is not to be kept for replay */
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1), /* a new channel is a new connection */
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_TIMEOUT_MS),  /* really the connect timeout */
        int_arg(GRPC_ARG_DNS_ARES_QUERY_TIMEOUT_MS, CONNECT_TIMEOUT_MS), /* else two minutes */
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, p->proxy.url != NULL),
        text_arg(GRPC_ARG_PRIMARY_USER_AGENT_STRING, "tidemark"),
        /* The last two: through a proxy only. The second has no name in the public headers. */
        text_arg(GRPC_ARG_HTTP_PROXY, p->proxy.url),
        text_arg("grpc.http_connect_headers", (const char *)header.data),
    };
    size_t unused = !p->proxy.url ? 2 : header.len == 0;
    const grpc_channel_args all = {ARRAY_LEN(args) - unused, args};
    grpc_channel_credentials *creds = p->plaintext
                                          ? grpc_insecure_credentials_create()
                                          : grpc_ssl_credentials_create_ex(p->root_pem, NULL, NULL, NULL);
    struct channel *c = xcalloc(1, sizeof *c);
    c->grpc = grpc_channel_create(p->endpoint, creds, &all);
    BUG_IF(!c->grpc); /* without an address to reach it is a channel whose calls fail */
    grpc_channel_credentials_release(creds);
    wipe(header.data, header.len);
    buf_release(&header);
    c->refs = 1;
    c->calm_before = pubsub_calls_for_calm();
    return c;
}

struct channel *channel_take(struct pubsub *p)
{
    if (!p->current)
        p->current = make(p);
    p->current->refs++;
    return p->current;
}

void channel_release(struct pubsub *p, struct channel *c)
{
    (void)p;
    if (--c->refs > 0)
        return;
    grpc_channel_destroy(c->grpc);
    free(c);
}

void channel_replace(struct pubsub *p, struct channel *c)
{
    if (p->current != c)
        return;
    p->current = NULL;
    channel_release(p, c);
}
