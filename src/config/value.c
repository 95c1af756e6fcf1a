#include "config/value.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/text.h"
#include "config/text_rules.h"

#include <stdlib.h>
#include <string.h>

static void *slot(const struct key *key, const void *base)
{
    return (char *)(uintptr_t)base + key->offset;
}

static bool refuse(char **why, char *text)
{
    *why = text;
    return false;
}

char *value_excerpt(struct span text)
{
    enum { MOST = 60 };
    if (text.n <= MOST)
        return xmemdupz(text.p, text.n);
    size_t n = MOST;
    while (n && (text.p[n] & 0xc0) == 0x80)
        n--;
    return xasprintf("%.*s…", (int)n, (const char *)text.p);
}

static bool store_text(const struct key *key, void *base, char *text, const char *shown, char **why)
{
    if (!*text)
        return refuse(why, xstrdup("must not be empty"));
    if (key->rule && !key->rule->check(text)) {
        if (key->flags & KEY_SECRET)
            return refuse(why, xasprintf("must be %s", key->rule->must));
        return refuse(why, xasprintf("must be %s, not '%s'", key->rule->must, shown));
    }
    char **to = slot(key, base);
    value_release(key, base);
    *to = xstrdup(text);
    return true;
}

static bool store_bool(const struct key *key, void *base, const char *text, const char *shown, char **why)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return refuse(why, xasprintf("must be true or false, not '%s'", shown));
    *(bool *)slot(key, base) = yes;
    return true;
}

static void add_number(struct buf *out, enum key_type type, int64_t v)
{
    if (type == KEY_SIZE)
        value_add_size(out, v);
    else if (type == KEY_DURATION)
        value_add_duration(out, v);
    else
        json_add_int(out, v);
}

static bool store_number(const struct key *key, void *base, const char *text, const char *shown, char **why)
{
    static const char *const must[] = {[KEY_INT] = "a whole number",
                                       [KEY_SIZE] = "a size like 64KiB or 10GiB",
                                       [KEY_DURATION] = "a time like 500ms, 30s or 96h"};
    int64_t v;
    int rc = key->type == KEY_SIZE       ? text_parse_size(text, &v)
             : key->type == KEY_DURATION ? text_parse_duration(text, &v)
                                         : text_parse_int(text, INT64_MIN, INT64_MAX, &v);
    if (rc != 0)
        return refuse(why, xasprintf("must be %s, not '%s'", must[key->type], shown));
    if (v < key->min || v > key->max) {
        struct buf b = BUF_INIT;
        buf_add_str(&b, "must be between ");
        add_number(&b, key->type, key->min);
        buf_add_str(&b, " and ");
        add_number(&b, key->type, key->max);
        buf_addf(&b, ", not '%s'", shown);
        return refuse(why, buf_detach(&b));
    }
    *(int64_t *)slot(key, base) = v;
    return true;
}

/* "a, b or c", and the nearest word if the value looks like a typing mistake. */
static char *words_message(const struct key_word *words, const char *text, const char *shown)
{
    const char *names[16];
    size_t n = 0;
    for (; words[n].text && n < ARRAY_LEN(names); n++)
        names[n] = words[n].text;
    struct buf b = BUF_INIT;
    buf_add_str(&b, "must be ");
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        if (words[i].later)
            continue;
        bool last = true;
        for (size_t k = i + 1; k < n; k++)
            last = last && words[k].later;
        buf_addf(&b, "%s%s", first ? "" : last ? " or " : ", ", words[i].text);
        first = false;
    }
    buf_addf(&b, ", not '%s'", shown);
    const char *nearest = text_nearest(text, names, n);
    if (nearest)
        buf_addf(&b, " (did you mean '%s'?)", nearest);
    return buf_detach(&b);
}

static bool store_word(const struct key *key, void *base, const char *text, const char *shown, char **why)
{
    for (int i = 0; key->words[i].text; i++) {
        if (strcmp(key->words[i].text, text) != 0)
            continue;
        if (key->words[i].later)
            return refuse(why, xasprintf("'%s' is not supported by this version", text));
        if (key->offset != KEY_NOT_STORED)
            memcpy(slot(key, base), &i, sizeof i);
        return true;
    }
    return refuse(why, words_message(key->words, text, shown));
}

static bool store_start(struct subscription_config *sub, const char *text, const char *shown, char **why)
{
    static const char *const names[] = {"latest", "earliest"};
    struct err e = ERR_INIT;
    bool was_int;
    int n = 0;
    if (strcmp(text, "latest") == 0) {
        sub->start = START_LATEST;
    } else if (strcmp(text, "earliest") == 0) {
        sub->start = START_EARLIEST;
    } else if ((n = config_parse_replay_id(text, sub->start_replay_id, &was_int, &e)) > 0) {
        sub->start = START_REPLAY_ID;
        sub->start_replay_id_len = (uint32_t)n;
    } else {
        const char *nearest = text_nearest(text, names, 2);
        return refuse(
            why,
            xasprintf("must be latest, earliest or a replay id (hex, base64:…, int:…), not '%s'%s%s%s", shown,
                      nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : ""));
    }
    return true;
}

static bool store_listen(struct config *c, const char *text, const char *shown, char **why)
{
    const char *host;
    size_t n;
    if (strcmp(text, "false") == 0) {
        c->admin.enabled = false;
        return true;
    }
    int port;
    if (!text_split_endpoint(text, &host, &n, &port))
        return refuse(why, xasprintf("must be ADDRESS:PORT or false, not '%s'", shown));
    free(c->admin.host);
    c->admin.host = xmemdupz(host, n);
    c->admin.port = port;
    c->admin.enabled = true;
    return true;
}

bool value_store(const struct key *key, void *base, char *text, const char *shown, char **why)
{
    switch (key->type) {
    case KEY_TEXT:
        return store_text(key, base, text, shown, why);
    case KEY_BOOL:
        return store_bool(key, base, text, shown, why);
    case KEY_INT:
    case KEY_SIZE:
    case KEY_DURATION:
        return store_number(key, base, text, shown, why);
    case KEY_WORD:
        return store_word(key, base, text, shown, why);
    case KEY_START:
        return store_start(base, text, shown, why);
    case KEY_LISTEN:
        return store_listen(base, text, shown, why);
    case KEY_MAP:
    case KEY_LIST:
    case KEY_TABLE:
    case KEY_PAIRS:
    case KEY_ORG:
    case KEY_SUBSCRIPTIONS:
        break;
    }
    BUG("key %s does not hold one scalar", key->path);
}

void value_add_duration(struct buf *out, int64_t ms)
{
    if (ms && ms % 3600000 == 0)
        buf_addf(out, "%lldh", (long long)ms / 3600000);
    else if (ms && ms % 1000)
        buf_addf(out, "%lldms", (long long)ms);
    else
        buf_addf(out, "%llds", (long long)ms / 1000);
}

void value_add_size(struct buf *out, int64_t bytes)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes && bytes % 1024 == 0 && unit + 1 < ARRAY_LEN(units)) {
        bytes /= 1024;
        unit++;
    }
    buf_addf(out, "%lld%s", (long long)bytes, units[unit]);
}

static bool is_plain(const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-";
    static const char *const other[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
    size_t n = strspn(text, plain);
    /* A letter or '/' in front: not a number, not a list. */
    bool safe = n && !text[n] && !strchr("0123456789.-_", text[0]);
    for (size_t i = 0; safe && i < ARRAY_LEN(other); i++)
        safe = strcasecmp(text, other[i]) != 0;
    return safe;
}

void value_add_name(struct buf *out, const char *name)
{
    if (is_plain(name))
        buf_add_str(out, name);
    else
        json_add_string(out, span_of_str(name));
}

void value_add_text(struct buf *out, const char *text)
{
    if (is_plain(text)) {
        buf_add_str(out, text);
        return;
    }
    struct buf escaped = BUF_INIT;
    for (const char *p = text; *p; p++)
        buf_add_str(&escaped, p[0] == '$' && p[1] == '{' ? "$$" : (const char[]){*p, '\0'});
    json_add_string(out, buf_span(&escaped));
    buf_release(&escaped);
}

void value_add_start(struct buf *out, const struct subscription_config *sub)
{
    if (sub->start != START_REPLAY_ID) {
        buf_add_str(out, sub->start == START_LATEST ? "latest" : "earliest");
        return;
    }
    buf_add_char(out, '"'); /* or 1234 would be a number to other readers of YAML */
    hex_add(out, span_of(sub->start_replay_id, sub->start_replay_id_len));
    buf_add_char(out, '"');
}

static bool print_text(const struct key *key, const char *text, struct buf *out)
{
    if (!text || !*text)
        return false;
    value_add_text(out, key->flags & KEY_SECRET ? VALUE_HIDDEN : text);
    return true;
}

static void print_listen(const struct config *c, struct buf *out)
{
    if (!c->admin.enabled)
        buf_add_str(out, "false");
    else
        buf_addf(out, strchr(c->admin.host, ':') ? "\"[%s]:%d\"" : "\"%s:%d\"", c->admin.host, c->admin.port);
}

static bool print_word(const struct key *key, const void *base, struct buf *out)
{
    if (key->offset == KEY_NOT_STORED) {
        buf_add_str(out, key->fallback);
        return true;
    }
    int i;
    memcpy(&i, slot(key, base), sizeof i);
    if (i < 0) /* KEY_INHERIT, and nothing to inherit from */
        return false;
    buf_add_str(out, key->words[i].text);
    return true;
}

bool value_print(const struct key *key, const void *base, struct buf *out)
{
    switch (key->type) {
    case KEY_TEXT:
        return print_text(key, *(char **)slot(key, base), out);
    case KEY_BOOL:
        buf_add_str(out, *(bool *)slot(key, base) ? "true" : "false");
        return true;
    case KEY_INT:
    case KEY_SIZE:
    case KEY_DURATION:
        add_number(out, key->type, *(int64_t *)slot(key, base));
        return true;
    case KEY_WORD:
        return print_word(key, base, out);
    case KEY_START:
        value_add_start(out, base);
        return true;
    case KEY_LISTEN:
        print_listen(base, out);
        return true;
    case KEY_MAP:
    case KEY_LIST:
    case KEY_TABLE:
    case KEY_PAIRS:
    case KEY_ORG:
    case KEY_SUBSCRIPTIONS:
        break;
    }
    BUG("key %s does not hold one scalar", key->path);
}

void value_release(const struct key *key, void *base)
{
    if (key->type != KEY_TEXT || key->offset == KEY_NOT_STORED)
        return;
    char **text = slot(key, base);
    if (*text && (key->flags & KEY_SECRET))
        wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}
