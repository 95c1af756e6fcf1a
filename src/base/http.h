/*
 * http: one request, one answer, over libcurl.
 *
 * For OAuth and REST, not for events. TLS is verified against ca_file, or the system's roots when it
 * is NULL. HTTPS_PROXY and NO_PROXY are honoured (proxy.h). Redirects are not followed: a login that
 * redirects would send the secret elsewhere. Answers over max_answer bytes are refused.
 *
 * Guarantees: secrets in the form or headers never appear in err texts; the request's copies are wiped.
 * Calling order: http_setup() once before threads -> http_do() -> http_answer_release().
 * Ownership: the request is borrowed; the answer's memory belongs to the answer.
 * Thread: any; each call uses a handle of its own. Blocks up to timeout_ms; *stop (may be NULL) set by
 * another thread ends it within a second.
 * Errors: -1 with err only if no HTTP answer came: ERR_RETRY (connect, DNS, timeout: says host and why),
 * ERR_CONFIG (certificate refused, bad URL, plain http:// to a host that is not loopback).
 * A status of 4xx or 5xx is an answer, not an error.
 */
#ifndef BASE_HTTP_H
#define BASE_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>

struct http_request {
    const char *method; /* "GET", "POST", "HEAD" */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    struct span body;           /* POST: sent as it is */
    const char *ca_file;        /* NULL: system roots */
    int connect_timeout_ms;
    int timeout_ms;
    size_t max_answer; /* bytes */
    const atomic_bool *stop;
};

struct http_answer {
    int status;
    struct buf body;
    char content_type[64];
    int64_t date_ms;       /* Date header as ms since 1970; 0 when missing */
    int64_t retry_after_s; /* Retry-After in seconds; -1 when missing or a date */
    bool sent; /* also after -1: the request went out, so without an answer nobody knows what became of it */
};

void http_setup(void);
MUST_CHECK int http_do(const struct http_request *request, struct http_answer *answer, struct err *e);
void http_answer_release(struct http_answer *answer);

/* application/x-www-form-urlencoded: appends "name=value", with '&' before it unless b is empty. */
void http_form_add(struct buf *b, const char *name, const char *value);

/*
 * True when every address that host (a name, an address, or "host:port", also "[v6]:port") resolves to
 * is loopback; plain text is allowed only there. false also when it does not resolve.
 */
bool http_host_is_loopback(const char *host);

#endif
