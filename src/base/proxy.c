#include "base/proxy.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

enum { LONGEST_NAME = 254, DEFAULT_PORT = 1080 /* curl's */ };

/* --- NO_PROXY ------------------------------------------------------------------------------------- */

struct address {
    int family; /* AF_UNSPEC: a name */
    uint8_t bytes[16];
};

static struct address read_address(const char *text)
{
    struct address a = {.family = AF_UNSPEC};
    if (inet_pton(AF_INET, text, a.bytes) == 1)
        a.family = AF_INET;
    else if (inet_pton(AF_INET6, text, a.bytes) == 1)
        a.family = AF_INET6;
    return a;
}

/* Without brackets, port, and the dot that ends a full name. false: too long to be a name. */
static bool plain_host(const char *host, char out[LONGEST_NAME])
{
    size_t n = strlen(host);
    const char *colon = strchr(host, ':');
    if (host[0] == '[' && strchr(host, ']')) {
        host++;
        n = strcspn(host, "]");
    } else if (colon && !strchr(colon + 1, ':')) { /* with two it is an IPv6 address */
        n = (size_t)(colon - host);
    }
    if (n > 1 && host[n - 1] == '.')
        n--;
    if (n >= LONGEST_NAME)
        return false;
    memcpy(out, host, n);
    out[n] = '\0';
    return true;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, int64_t bits)
{
    size_t whole = (size_t)bits / 8;
    unsigned rest = (unsigned)bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

static bool in_network(const struct address *host, char *entry)
{
    char *slash = strchr(entry, '/');
    int64_t most = host->family == AF_INET ? 32 : 128, bits = most;
    if (slash) {
        *slash = '\0';
        if (text_parse_int(slash + 1, 0, most, &bits) != 0)
            return false;
    }
    char plain[LONGEST_NAME];
    if (!plain_host(entry, plain))
        return false;
    struct address network = read_address(plain);
    return network.family == host->family && same_bits(network.bytes, host->bytes, bits);
}

/* entry: "x.example", ".x.example", "*.x.example" */
static bool in_domain(const char *host, const char *entry)
{
    char domain[LONGEST_NAME];
    if (strncmp(entry, "*.", 2) == 0)
        entry += 2;
    else if (*entry == '.')
        entry++;
    if (!plain_host(entry, domain) || !*domain)
        return false;
    size_t n = strlen(host), tail = strlen(domain);
    return n >= tail && strcasecmp(host + n - tail, domain) == 0 && (n == tail || host[n - tail - 1] == '.');
}

bool proxy_is_excluded(const char *no_proxy, const char *host)
{
    char name[LONGEST_NAME];
    if (!no_proxy || !plain_host(host, name))
        return false;
    struct address address = read_address(name);
    bool excluded = false;
    char *list = xstrdup(no_proxy), *rest = list;
    for (char *entry; !excluded && (entry = strsep(&rest, ", \t"));)
        excluded = strcmp(entry, "*") == 0 ||
                   (*entry &&
                    (address.family == AF_UNSPEC ? in_domain(name, entry) : in_network(&address, entry)));
    free(list);
    return excluded;
}

/* By its text alone: a name that only DNS knows to be loopback is no reason to ask DNS, which behind a proxy
 * may not answer. */
static bool is_loopback(const char *host)
{
    char name[LONGEST_NAME];
    if (!plain_host(host, name))
        return false;
    struct address a = read_address(name);
    if (a.family == AF_INET)
        return a.bytes[0] == 127;
    if (a.family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK((struct in6_addr *)(void *)a.bytes);
    return in_domain(name, "localhost");
}

/* --- HTTPS_PROXY ---------------------------------------------------------------------------------- */

/* %40 -> @, as in URLs. */
static char *unescaped(const char *text, size_t n)
{
    char *out = xmalloc(n + 1), *to = out;
    for (size_t i = 0; i < n; i++) {
        char hex[3] = {0};
        if (text[i] == '%' && n - i > 2 && isxdigit((unsigned char)text[i + 1]) &&
            isxdigit((unsigned char)text[i + 2])) {
            memcpy(hex, text + i + 1, 2);
            *to++ = (char)strtoul(hex, NULL, 16);
            i += 2;
        } else {
            *to++ = text[i];
        }
    }
    *to = '\0';
    return out;
}

/* The end of "HOST" or "[v6]"; *port stays as it is when none follows. NULL: neither. */
static const char *host_end(const char *host, int64_t *port)
{
    const char *end = host + strcspn(host, ":");
    if (*host == '[') {
        end = strchr(host, ']');
        end = end ? end + 1 : host;
    }
    if (end == host || (*end && *end != ':') ||
        strspn(host, "[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:") != strlen(host))
        return NULL;
    return *end && text_parse_int(end + 1, 1, 65535, port) != 0 ? NULL : end;
}

int proxy_parse(const char *value, struct proxy *out, struct err *e)
{
    *out = (struct proxy)PROXY_INIT;
    const char *scheme_end = strstr(value, "://");
    const char *rest = scheme_end ? scheme_end + 3 : value;
    if (scheme_end && (scheme_end - value != 4 || strncasecmp(value, "http", 4) != 0))
        return err_set(e, ERR_CONFIG, "proxy", 0,
                       "HTTPS_PROXY: only http:// proxies are supported (http://HOST:PORT); what goes "
                       "through them is TLS "
                       "all the same");
    char *authority = xmemdupz(rest, strcspn(rest, "/"));
    char *at = strrchr(authority, '@');
    const char *host = at ? at + 1 : authority;
    int64_t port = DEFAULT_PORT;
    const char *end = host_end(host, &port);
    if (end) {
        out->url = xasprintf("http://%.*s:%d", (int)(end - host), host, (int)port);
        out->user = at ? unescaped(authority, (size_t)(at - authority)) : NULL;
    }
    wipe(authority, strlen(authority));
    free(authority);
    if (!end)
        return err_set(e, ERR_CONFIG, "proxy", 0,
                       "HTTPS_PROXY: expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT");
    return 0;
}

static const char *variable(const char *lower, const char *upper)
{
    const char *value = getenv(lower);
    if (!value)
        value = getenv(upper);
    return value && *value ? value : NULL;
}

int proxy_choose(const char *host, struct proxy *out, struct err *e)
{
    *out = (struct proxy)PROXY_INIT;
    const char *value = variable("https_proxy", "HTTPS_PROXY");
    if (!value || is_loopback(host) || proxy_is_excluded(variable("no_proxy", "NO_PROXY"), host))
        return 0;
    return proxy_parse(value, out, e);
}

void proxy_release(struct proxy *p)
{
    if (p->user)
        wipe(p->user, strlen(p->user));
    free(p->user);
    free(p->url);
    *p = (struct proxy)PROXY_INIT;
}
