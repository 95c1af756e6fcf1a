/*
 * proxy: which way a connection takes, by HTTPS_PROXY and NO_PROXY (or their lower-case forms, which win).
 *
 * One rule for logins and the Pub/Sub API. The libraries have rules of their own, which differ: gRPC knows
 * the lower-case names only, and to it NO_PROXY=force.com means salesforce.com too.
 *
 * Guarantees: loopback is never reached through a proxy. NO_PROXY is a list, separated by commas or white
 * space: "*" (everything), names (themselves and everything below them, a leading "." or "*." makes no
 * difference), addresses, networks (10.0.0.0/8, fd00::/8). The proxy is asked with CONNECT, and only an
 * http:// one: the connection inside is TLS anyway. User name and password never get into an err.
 *
 * Ownership: proxy_release, which wipes. Thread: any that does not change the environment meanwhile.
 * Errors: ERR_CONFIG when HTTPS_PROXY holds what cannot be used.
 */
#ifndef BASE_PROXY_H
#define BASE_PROXY_H

#include "base/err.h"

#include <stdbool.h>

struct proxy {
    char *url;  /* "http://HOST:PORT"; NULL: connect directly */
    char *user; /* "NAME:PASSWORD", as it is sent; NULL: none. Secret */
};

#define PROXY_INIT                                                                                           \
    {                                                                                                        \
        NULL, NULL                                                                                           \
    }

/* For a connection to host: a name or an address, perhaps with ":PORT"; an IPv6 one with a port in brackets.
 */
MUST_CHECK int proxy_choose(const char *host, struct proxy *out, struct err *e);
void proxy_release(struct proxy *p);

/* The parts, for tests. */
bool proxy_is_excluded(const char *no_proxy, const char *host);
MUST_CHECK int proxy_parse(const char *value, struct proxy *out, struct err *e);

#endif
