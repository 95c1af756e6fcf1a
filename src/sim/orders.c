#include "sim/orders.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "sim/frames.h"
#include "sim/relay.h"
#include "sim/sim.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORDS_MOST = 12, PUBLISH_MOST = 1000000 };

/* One line, taken apart. All texts are in the line's own copy. */
struct order {
    const char *what;
    const char *which; /* NULL: not given */
    struct {
        const char *key, *value;
    } given[WORDS_MOST];
    size_t n_given;
    bool used[WORDS_MOST];
};

static const char *value_of(struct order *o, const char *key)
{
    for (size_t i = 0; i < o->n_given; i++)
        if (strcmp(o->given[i].key, key) == 0) {
            o->used[i] = true;
            return o->given[i].value;
        }
    return NULL;
}

static int wrong(struct err *e, const char *what)
{
    return err_set(e, ERR_CONFIG, "fault", 0, "%s", what);
}

static int whole_number(struct order *o, const char *key, int64_t least, int64_t fallback, int64_t *out,
                        struct err *e)
{
    const char *text = value_of(o, key);
    *out = fallback;
    if (text && text_parse_int(text, least, PUBLISH_MOST, out) < 0)
        return err_set(e, ERR_CONFIG, "fault", 0, "%s=%s: a number from %lld on", key, text,
                       (long long)least);
    return 0;
}

static int seconds(struct order *o, int64_t *ms, struct err *e)
{
    const char *text = value_of(o, "seconds");
    char *end = NULL;
    double s = text ? strtod(text, &end) : 0;
    if (text && (end == text || *end || !(s >= 0) || s > 86400))
        return err_set(e, ERR_CONFIG, "fault", 0, "seconds=%s: seconds, as 10 or 0.5", text);
    *ms = (int64_t)(s * 1000);
    return 0;
}

/* --- what can be ordered ---------------------------------------------------------------------------- */

static int order_call(struct sim *s, struct order *o, struct err *e)
{
    const struct fault_script script = {.method = o->what,
                                        .status = o->which,
                                        .code = value_of(o, "code"),
                                        .count = value_of(o, "count"),
                                        .seconds = value_of(o, "seconds"),
                                        .events = value_of(o, "events"),
                                        .topic = value_of(o, "topic"),
                                        .text = value_of(o, "text")};
    return faults_add(&s->faults, &script, e);
}

static int order_token(struct sim *s, struct order *o, struct err *e)
{
    int64_t count, ms;
    struct buf names = BUF_INIT;
    if (whole_number(o, "count", 0, 1, &count, e) < 0 || seconds(o, &ms, e) < 0)
        return -1;
    if (o->which && oauth_set_fault(&s->oauth, o->which, count, ms))
        return 0;
    oauth_fault_names(&names);
    err_set(e, ERR_CONFIG, "fault", 0, "token KIND, KIND one of %s", (const char *)names.data);
    buf_release(&names);
    return -1;
}

static const char *const wire_kinds[WIRE_KINDS] = {
    [WIRE_RESET] = "reset",     [WIRE_CLOSE] = "close",   [WIRE_RST_STREAM] = "rst_stream",
    [WIRE_GOAWAY] = "goaway",   [WIRE_MUTE] = "mute",     [WIRE_DRIP] = "drip",
    [WIRE_SILENCE] = "silence", [WIRE_REFUSE] = "refuse", [WIRE_GARBLE] = "garble"};

static int order_wire(struct sim *s, struct order *o, struct err *e)
{
    struct wire_fault fault = {.kind = WIRE_KINDS, .now = value_of(o, "now") != NULL};
    for (int i = 0; o->which && i < WIRE_KINDS; i++)
        if (strcmp(o->which, wire_kinds[i]) == 0)
            fault.kind = (enum wire_kind)i;
    if (fault.kind == WIRE_KINDS)
        return wrong(e, "wire KIND, KIND one of reset, close, rst_stream, goaway, silence, mute, drip, "
                        "garble, refuse");
    if (!s->relay)
        return wrong(e, "faults of the wire need --relay");
    const char *code = value_of(o, "code"), *debug = value_of(o, "debug");
    if (frame_code(code ? code : "NO_ERROR", &fault.code) < 0)
        return wrong(e, "code=NAME, a code of HTTP/2 as NO_ERROR, INTERNAL_ERROR, ENHANCE_YOUR_CALM");
    if (debug && strlen(debug) >= sizeof fault.debug)
        return wrong(e, "debug=WORD is too long");
    snprintf(fault.debug, sizeof fault.debug, "%s", debug ? debug : "");
    if (whole_number(o, "after", 0, 0, &fault.after, e) < 0 ||
        whole_number(o, "count", 1, 1, &fault.count, e) < 0 ||
        whole_number(o, "bytes", 1, 16, &fault.bytes, e) < 0 || seconds(o, &fault.hold_ms, e) < 0)
        return -1;
    fault.every_ms = fault.hold_ms ? fault.hold_ms : 1;
    return relay_order(s->relay, &fault, e);
}

static int order_publish(struct sim *s, struct order *o, struct err *e)
{
    int64_t n;
    if (!o->which || text_parse_int(o->which, 1, PUBLISH_MOST, &n) < 0 || s->bench)
        return wrong(e, "publish N, from 1 on, and not in a benchmark");
    sim_publish(s, (uint64_t)n);
    return 0;
}

/* The same machine by its other name, unless one is given. */
static int order_migrate(struct sim *s, struct order *o, struct err *e)
{
    static const char address[] = "//127.0.0.1:", name[] = "//localhost:";
    const char *given = value_of(o, "url"), *now = s->session.instance_url, *at;
    char *url = NULL;
    if (given)
        url = xstrdup(given);
    else if ((at = strstr(now, address)))
        url = xasprintf("%.*s%s%s", (int)(at - now), now, name, at + sizeof address - 1);
    else if ((at = strstr(now, name)))
        url = xasprintf("%.*s%s%s", (int)(at - now), now, address, at + sizeof name - 1);
    int rc = url ? sim_migrate(s, url) : -1;
    free(url);
    return rc < 0 ? wrong(e, "migrate url=URL, of at most 255 characters") : 0;
}

static int order_drop(struct sim *s, struct order *o, struct err *e)
{
    (void)o, (void)e;
    s->drop_streams = true;
    return 0;
}

static int order_revoke(struct sim *s, struct order *o, struct err *e)
{
    (void)o, (void)e;
    session_revoke_all(&s->session);
    return 0;
}

static int order_expire(struct sim *s, struct order *o, struct err *e)
{
    (void)o, (void)e;
    bus_expire(&s->bus);
    return 0;
}

static int order_reuse(struct sim *s, struct order *o, struct err *e)
{
    (void)o, (void)e;
    bus_restart(&s->bus);
    return 0;
}

static int order_none(struct sim *s, struct order *o, struct err *e)
{
    (void)o, (void)e;
    s->faults.n = 0;
    if (s->relay)
        relay_calm(s->relay);
    return oauth_set_fault(&s->oauth, "none", 1, 0) ? 0 : -1;
}

static const struct {
    const char *what;
    int (*run)(struct sim *s, struct order *o, struct err *e);
} kinds[] = {
    {"token", order_token}, {"wire", order_wire},       {"publish", order_publish},
    {"drop", order_drop},   {"revoke", order_revoke},   {"expire", order_expire},
    {"reuse", order_reuse}, {"migrate", order_migrate}, {"none", order_none},
};

/* --- lines ------------------------------------------------------------------------------------------ */

/* text= takes the rest of the line; a word without = that is not the second counts as a key of its own. */
static int take_apart(char *line, struct order *o, struct err *e)
{
    char *p = line;
    *o = (struct order){0};
    for (;;) {
        p += strspn(p, " \t\r");
        if (!*p || *p == '#')
            return 0;
        char *word = p, *equals;
        bool takes_rest = strncmp(word, "text=", 5) == 0;
        p += takes_rest ? strlen(p) : strcspn(p, " \t\r");
        if (*p)
            *p++ = '\0';
        equals = strchr(word, '=');
        if (!o->what) {
            o->what = word;
        } else if (!equals && !o->which) {
            o->which = word;
        } else if (o->n_given == WORDS_MOST) {
            return wrong(e, "too many words");
        } else {
            if (equals)
                *equals = '\0';
            o->given[o->n_given].key = word;
            o->given[o->n_given++].value = equals ? equals + 1 : "";
        }
    }
}

static int run_line(struct sim *s, char *line, struct err *e)
{
    struct order o;
    int rc = -2;
    if (take_apart(line, &o, e) < 0)
        return -1;
    if (!o.what)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(o.what, kinds[i].what) == 0)
            rc = kinds[i].run(s, &o, e);
    if (rc == -2 && isupper((unsigned char)o.what[0]))
        rc = order_call(s, &o, e);
    if (rc == -2)
        return wrong(e, "an order begins with a method (as Subscribe), token, wire, publish, drop, revoke, "
                        "expire, reuse, migrate or none");
    for (size_t i = 0; rc == 0 && i < o.n_given; i++)
        if (!o.used[i])
            return err_set(e, ERR_CONFIG, "fault", 0, "%s has no effect there", o.given[i].key);
    if (rc == 0)
        log_info("fault", "ordered: %s%s%s", o.what, o.which ? " " : "", o.which ? o.which : "");
    return rc;
}

int orders_run(struct sim *s, struct span text, struct err *e)
{
    const char *at = (const char *)text.p, *end = at + text.n;
    for (int number = 1; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline ? newline : end) - at);
        char *line = xasprintf("%.*s", (int)n, at);
        int rc = run_line(s, line, e);
        free(line);
        if (rc < 0)
            return err_prefix(e, "line %d", number);
        at += n + 1;
    }
    return 0;
}
