#include "base/http.h"

#include "base/alloc.h"
#include "base/proxy.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>

enum { LONGEST_URL = 4096, LONGEST_HOST = 300 };

/* What curl's callbacks of one request need. */
struct exchange {
    struct http_answer *answer;
    size_t max_answer;
    const atomic_bool *stop;
    struct proxy proxy; /* url NULL: directly */
    bool plain;         /* http://, so only loopback may get it */
    bool too_large;     /* the answer passed max_answer */
    bool not_loopback;  /* connected elsewhere than the name promised */
    bool sent;          /* a connection stands: from here on the server may have the request */
};

void http_setup(void)
{
    CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
    BUG_IF(rc != CURLE_OK);
}

void http_answer_release(struct http_answer *answer)
{
    wipe(answer->body.data, answer->body.len);
    buf_release(&answer->body);
}

void http_form_add(struct buf *b, const char *name, const char *value)
{
    if (b->len)
        buf_add_char(b, '&');
    buf_add_str(b, name);
    buf_add_char(b, '=');
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                     *p == '-' || *p == '.' || *p == '_' || *p == '~';
        if (plain)
            buf_add_char(b, (char)*p);
        else
            buf_addf(b, "%%%02X", *p);
    }
}

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (sa->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
    }
    return false;
}

/* "host", "host:port", "v6", "[v6]", "[v6]:port" -> the host alone; false when it is none of them. */
static bool host_without_port(const char *host, char out[LONGEST_HOST])
{
    const char *from = host, *to = host + strlen(host);
    if (*host == '[') {
        from = host + 1;
        to = strchr(from, ']');
        if (!to || (to[1] && to[1] != ':'))
            return false;
    } else {
        const char *colon = strchr(host, ':');
        if (colon && !strchr(colon + 1, ':'))
            to = colon;
    }
    size_t n = (size_t)(to - from);
    if (n == 0 || n >= LONGEST_HOST)
        return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

bool http_host_is_loopback(const char *host)
{
    char name[LONGEST_HOST];
    if (!host_without_port(host, name))
        return false;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return false;
    bool all = found != NULL;
    for (const struct addrinfo *ai = found; ai; ai = ai->ai_next)
        all = all && is_loopback(ai->ai_addr);
    freeaddrinfo(found);
    return all;
}

static size_t on_body(char *data, size_t one, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    (void)one; /* always 1 */
    if (n > x->max_answer - x->answer->body.len) {
        x->too_large = true;
        return 0; /* fewer than n: curl gives up */
    }
    buf_add(&x->answer->body, data, n);
    return n;
}

/* The value of "Name: value\r\n" when the name fits, trimmed into out. */
static bool header_value(const char *line, size_t n, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name);
    if (n <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return false;
    const char *from = line + name_len + 1, *to = line + n;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (unsigned char)to[-1] <= ' ')
        to--;
    size_t len = (size_t)(to - from) < size ? (size_t)(to - from) : size - 1;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

static size_t on_header(char *line, size_t one, size_t n, void *ctx)
{
    struct http_answer *answer = ((struct exchange *)ctx)->answer;
    char value[64];
    (void)one;
    if (header_value(line, n, "Content-Type", answer->content_type, sizeof answer->content_type))
        return n;
    if (header_value(line, n, "Date", value, sizeof value)) {
        time_t when = curl_getdate(value, NULL);
        answer->date_ms = when > 0 ? (int64_t)when * 1000 : 0;
    } else if (header_value(line, n, "Retry-After", value, sizeof value)) {
        int64_t seconds;
        /* A date is possible too; so few send one that it counts as missing. */
        answer->retry_after_s = sscanf(value, "%" SCNd64, &seconds) == 1 && seconds >= 0 ? seconds : -1;
    }
    return n;
}

/* Called at least once a second, also while connecting: non-zero ends the request. */
static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct exchange *x = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return x->stop && atomic_load(x->stop);
}

/*
 * After connecting, before the first byte of the request: the name was checked to be loopback, but the
 * name may have been resolved again since. What counts is the address that is really connected.
 */
static int before_request(void *ctx, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    struct exchange *x = ctx;
    (void)local_ip, (void)peer_port, (void)local_port;
    if (!x->plain || http_host_is_loopback(peer_ip)) {
        x->sent = true;
        return CURL_PREREQFUNC_OK;
    }
    x->not_loopback = true;
    return CURL_PREREQFUNC_ABORT;
}

/* Scheme and "host[:port]" of a URL; ERR_CONFIG when it is not http or https. */
static int read_url(const char *url, bool *plain, char where[LONGEST_HOST], struct err *e)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    int rc = -1;
    CURLU *u = curl_url();
    if (!u || strlen(url) > LONGEST_URL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        err_set(e, ERR_CONFIG, "http", 0, "not a URL with a scheme and a host (expected https://HOST…)");
        goto out;
    }
    (void)curl_url_get(u, CURLUPART_PORT, &port, 0);
    snprintf(where, LONGEST_HOST, "%s%s%s", host, port ? ":" : "", port ? port : "");
    *plain = strcasecmp(scheme, "http") == 0;
    if (!*plain && strcasecmp(scheme, "https") != 0)
        err_set(e, ERR_CONFIG, "http", 0, "%s: scheme '%s' is not supported (use https)", where, scheme);
    else if (*plain && !http_host_is_loopback(host))
        err_set(e, ERR_CONFIG, "http", 0,
                "http://%s: plain http is used only when every address of the host is loopback (use https)",
                where);
    else
        rc = 0;
out:
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return rc;
}

static int set_method(CURL *curl, const struct http_request *request, struct err *e)
{
    if (strcmp(request->method, "GET") == 0) {
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (strcmp(request->method, "POST") == 0) {
        /* Not copied by curl: the caller's memory is the only copy besides the socket buffers. */
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.n ? (const char *)request->body.p : "");
    } else {
        return err_set(e, ERR_CONFIG, "http", 0, "method %s is not supported", request->method);
    }
    return 0;
}

/* Always said, so that curl does not look into the environment by rules of its own. */
static void set_proxy(CURL *curl, const struct proxy *proxy)
{
    curl_easy_setopt(curl, CURLOPT_PROXY, proxy->url ? proxy->url : "");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* the proxy's Date is not the server's */
    if (!proxy->user)
        return;
    size_t n = strcspn(proxy->user, ":");
    char *name = xmemdupz(proxy->user, n);
    curl_easy_setopt(curl, CURLOPT_PROXYUSERNAME, name);
    curl_easy_setopt(curl, CURLOPT_PROXYPASSWORD, proxy->user[n] ? proxy->user + n + 1 : "");
    free(name);
}

static void set_options(CURL *curl, const struct http_request *request, struct exchange *x, char *why)
{
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT,
                     1L); /* the end does not wait for a name server that is silent */
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "tidemark");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (request->ca_file) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, request->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    set_proxy(curl, &x->proxy);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(curl, CURLOPT_PREREQDATA, x);
}

/* Nothing came through a proxy: it is as likely as the server behind it. */
static int describe_proxy_failure(int code, const char *reason, const char *where, const struct proxy *proxy,
                                  struct err *e)
{
    if (strstr(reason, "response 407"))
        return err_set(e, ERR_CONFIG, "http", code,
                       "%s: the proxy %s wants other credentials (HTTP 407): check HTTPS_PROXY", where,
                       proxy->url);
    if (strstr(reason, "CONNECT tunnel failed"))
        return err_set(e, ERR_RETRY, "http", code,
                       "%s: the proxy %s does not let us through: check NO_PROXY and its rules (%s)", where,
                       proxy->url, reason);
    return err_set(e, ERR_RETRY, "http", code, "%s, through the proxy %s: %s", where, proxy->url, reason);
}

/* curl's result -> class and text. Says host and why, never the path, query, headers or body. */
static int describe_failure(CURLcode rc, const char *why, const char *where, const struct exchange *x,
                            const struct http_request *request, struct err *e)
{
    const char *reason = why[0] ? why : curl_easy_strerror(rc);
    int code = (int)rc;
    if (x->too_large)
        return err_set(e, ERR_RETRY, "http", code, "%s: the answer is larger than %zu bytes: refused", where,
                       x->max_answer);
    if (x->not_loopback)
        return err_set(e, ERR_CONFIG, "http", code,
                       "%s: plain http, and the connection did not go to a loopback address: refused", where);
    switch (rc) {
    case CURLE_ABORTED_BY_CALLBACK:
        return err_set(e, ERR_RETRY, "http", code, "%s: stopped before the answer came", where);
    case CURLE_COULDNT_RESOLVE_HOST:
        return err_set(e, ERR_RETRY, "http", code,
                       "%s: the name does not resolve: check the host name and DNS (%s)", where, reason);
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(e, ERR_RETRY, "http", code, "%s: no answer in time (%s)", where, reason);
    case CURLE_PEER_FAILED_VERIFICATION:
        return err_set(
            e, ERR_CONFIG, "http", code,
            "%s: the server's certificate is refused: %s (check the host name, and tls.ca_file when the "
            "certificate comes from a private CA)",
            where, reason);
    case CURLE_SSL_CACERT_BADFILE:
        return err_set(e, ERR_CONFIG, "http", code, "%s: the CA certificates in %s cannot be used: %s", where,
                       request->ca_file ? request->ca_file : "the system's store", reason);
    case CURLE_SSL_CONNECT_ERROR:
        if (strstr(reason, "wrong version number"))
            return err_set(e, ERR_CONFIG, "http", code, "%s: the server does not speak TLS on this port",
                           where);
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
        return err_set(e, ERR_CONFIG, "http", code,
                       "%s: the proxy's name does not resolve: check HTTPS_PROXY (%s)", where, reason);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return err_set(e, ERR_CONFIG, "http", code, "%s: not a usable URL", where);
    default:
        break;
    }
    if (x->proxy.url)
        return describe_proxy_failure(code, reason, where, &x->proxy, e);
    return err_set(e, ERR_RETRY, "http", code, "%s: %s", where, reason);
}

static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *item = list; item; item = item->next)
        wipe(item->data, strlen(item->data)); /* may hold a token */
    curl_slist_free_all(list);
}

int http_do(const struct http_request *request, struct http_answer *answer, struct err *e)
{
    char why[CURL_ERROR_SIZE] = "", where[LONGEST_HOST] = "";
    struct curl_slist *headers = NULL;
    struct exchange x = {.answer = answer, .max_answer = request->max_answer, .stop = request->stop};
    int rc = -1;

    *answer = (struct http_answer){.body = BUF_INIT, .retry_after_s = -1};
    if (read_url(request->url, &x.plain, where, e) || (!x.plain && proxy_choose(where, &x.proxy, e)))
        return -1;
    CURL *curl = curl_easy_init();
    BUG_IF(!curl);
    if (set_method(curl, request, e))
        goto out;
    set_options(curl, request, &x, why);
    for (const char *const *h = request->headers; h && *h; h++) {
        struct curl_slist *longer = curl_slist_append(headers, *h);
        BUG_IF(!longer);
        headers = longer;
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);

    CURLcode done = curl_easy_perform(curl);
    if (done != CURLE_OK) {
        describe_failure(done, why, where, &x, request, e);
        goto out;
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    rc = 0;
out:
    if (rc)
        http_answer_release(answer);
    answer->sent = x.sent;
    free_headers(headers);
    curl_easy_cleanup(curl);
    proxy_release(&x.proxy);
    return rc;
}
