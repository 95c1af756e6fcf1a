/*
 * What the table of keys cannot say: keys that need or exclude each other, names that must differ,
 * outputs that must not be shared, plain text only where nobody can listen.
 */
#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http.h"
#include "base/rs256.h"
#include "config/expand.h"
#include "config/loader.h"
#include "config/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Item i of a list of the file: "orgs", 0. Never NULL for an item that was loaded. */
static yaml_node_t *item_node(struct loader *l, const char *list, uint32_t i)
{
    yaml_node_t *node = document_find(&l->doc, l->doc.root, list);
    return document_node(&l->doc, node->data.sequence.items.start[i]);
}

/* The value under `key` of item i; NULL: not in the file. */
static yaml_node_t *item_value(struct loader *l, const char *list, uint32_t i, const char *key)
{
    return document_find(&l->doc, item_node(l, list, i), key);
}

yaml_node_t *loader_item(struct loader *l, const char *list, uint32_t i, const char *key)
{
    yaml_node_t *value = item_value(l, list, i, key);
    return value ? value : item_node(l, list, i);
}

/* A problem with `key` of item i, told where its value stands, or where the item begins. */
static void item_problem(struct loader *l, const char *list, uint32_t i, const char *key, const char *fmt,
                         ...) PRINTF_LIKE(5, 6);

static void item_problem(struct loader *l, const char *list, uint32_t i, const char *key, const char *fmt,
                         ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text, *path = xasprintf("%s[%u].%s", list, i, key);
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("cannot format a message");
    va_end(ap);
    problem_add(&l->problems, document_place(loader_item(l, list, i, key)), path, "%s", text);
    free(text);
    free(path);
}

/* --- plain text ------------------------------------------------------------------------------- */

/* Host names are asked of DNS only when that is wanted; a name that is left open is decided at run time. */
static bool may_be_loopback(const struct loader *l, const char *host_port)
{
    if (l->flags & CONFIG_OFFLINE) {
        char host[256];
        const char *start = host_port[0] == '[' ? host_port + 1 : host_port;
        size_t n = strcspn(start, host_port[0] == '[' ? "]" : ":");
        snprintf(host, sizeof host, "%.*s", (int)n, start);
        uint8_t address[sizeof(struct in6_addr)];
        bool literal = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
        if (!literal)
            return true;
    }
    return http_host_is_loopback(host_port);
}

static bool is_plain_url(const char *url)
{
    return url && strncmp(url, "http://", 7) == 0;
}

static void check_url(struct loader *l, uint32_t i, const char *key, const char *url)
{
    if (is_plain_url(url) && !may_be_loopback(l, url + 7))
        item_problem(
            l, "orgs", i, key,
            "http:// is for loopback addresses only: secrets would travel in the clear; use https://");
}

/* --- orgs ------------------------------------------------------------------------------------- */

static void check_ca_file(struct loader *l, uint32_t i, struct org_config *org)
{
    struct buf pem = BUF_INIT;
    struct err e = ERR_INIT;
    if (!org->ca_file)
        return;
    bool login_uses_it = *org->login_url && !is_plain_url(org->login_url);
    if (org->plaintext && !login_uses_it)
        item_problem(l, "orgs", i, "tls.ca_file", "has no effect: nothing here uses TLS (plaintext: true)");
    else if (file_read(org->ca_file, CA_FILE_MAX_BYTES, &pem, &e) != 0)
        item_problem(l, "orgs", i, "tls.ca_file", "%s", e.text);
    else
        digest_sha256(buf_span(&pem), org->ca_digest);
    buf_release(&pem);
}

/* The key that was written, of a secret that may stand in a file. */
static const char *secret_key(struct loader *l, uint32_t i, const char *key, const char *file_key)
{
    return item_value(l, "orgs", i, file_key) ? file_key : key;
}

/* A key that cannot sign is a mistake to tell now, not at the first login. */
static void check_private_key(struct loader *l, uint32_t i, const struct org_config *org)
{
    struct err e = ERR_INIT;
    if (org->auth.private_key && rs256_check_key(span_of_str(org->auth.private_key), &e) != 0)
        item_problem(l, "orgs", i,
                     secret_key(l, i, "auth.jwt_bearer.private_key", "auth.jwt_bearer.private_key_file"),
                     "%s", e.text);
}

/* The folder: a new token is written beside the old one, then renamed over it. */
static bool folder_is_writable(const char *path)
{
    char *folder = realpath(path, NULL);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        slash[slash == folder] = '\0';
    bool writable = slash && access(folder, W_OK | X_OK) == 0;
    free(folder);
    return writable;
}

static void check_refresh_token_file(struct loader *l, uint32_t i, const struct org_config *org)
{
    static const char key[] = "auth.refresh_token.refresh_token_file";
    const char *path = org->auth.refresh_token_file;
    if (!path)
        return;
    char *why = NULL;
    char *token = expand_secret_file(path, EXPAND_ONE_LINE, &why);
    if (!token) {
        item_problem(l, "orgs", i, key, "%s", why);
    } else if (!folder_is_writable(path)) {
        char *where = xasprintf("orgs[%u].%s", i, key);
        problem_warn(
            &l->problems, document_place(item_value(l, "orgs", i, key)), where,
            "its folder is not writable: if the app rotates refresh tokens, the new one cannot be kept");
        free(where);
    }
    if (token)
        wipe(token, strlen(token));
    free(token);
    free(why);
}

static void check_org(struct loader *l, uint32_t i)
{
    struct org_config *org = &l->config->orgs[i];
    bool is_static = item_value(l, "orgs", i, "auth.static");
    yaml_node_t *login = item_value(l, "orgs", i, "login_url");
    if (is_static && login)
        item_problem(l, "orgs", i, "login_url", "has no effect with auth 'static', which never signs in");
    else if (!is_static && !login)
        item_problem(l, "orgs", i, "login_url", "is required");
    check_url(l, i, "login_url", org->login_url);
    check_url(l, i, "auth.static.instance_url", org->auth.instance_url);
    if (org->plaintext && !may_be_loopback(l, org->pubsub_endpoint))
        item_problem(l, "orgs", i, "tls.plaintext", "true is for loopback addresses only, and %s is not one",
                     org->pubsub_endpoint);
    check_ca_file(l, i, org);
    check_private_key(l, i, org);
    check_refresh_token_file(l, i, org);
    if (org->backoff_max_ms < org->backoff_initial_ms)
        item_problem(l, "orgs", i, "backoff.max", "must not be shorter than backoff.initial");
}

/* --- names ------------------------------------------------------------------------------------ */

struct named {
    const char *name;
    uint32_t i;
};

static int by_name(const void *left, const void *right)
{
    const struct named *a = left, *b = right;
    int order = strcmp(a->name, b->name);
    return order ? order : a->i < b->i ? -1 : a->i > b->i;
}

static void check_unique(struct loader *l, const char *list, const void *items, uint32_t n, size_t size,
                         size_t offset)
{
    struct named *names = xcalloc((size_t)n + 1, sizeof *names);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *name;
        memcpy(&name, (const char *)items + i * size + offset, sizeof name);
        if (name)
            names[count++] = (struct named){name, i};
    }
    if (count)
        qsort(names, count, sizeof *names, by_name);
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(names[i].name, names[i - 1].name) == 0)
            item_problem(l, list, names[i].i, "name", "'%s' is the name of %s[%u] too", names[i].name, list,
                         names[i - 1].i);
    free(names);
}

/* --- subscriptions ---------------------------------------------------------------------------- */

static void check_subscription(struct loader *l, uint32_t i)
{
    const struct subscription_config *sub = &l->config->subscriptions[i];
    if (l->config->n_orgs && sub->watchdog_ms <= l->config->orgs[sub->org].keepalive_ms)
        item_problem(l, "subscriptions", i, "watchdog",
                     "must be longer than the org's keepalive, or idle streams are cut");
    yaml_node_t *start = item_value(l, "subscriptions", i, "start");
    if (sub->start != START_REPLAY_ID || !start || start->type != YAML_SCALAR_NODE)
        return;
    struct span text = document_scalar(start);
    if (text.n > 4 && memcmp(text.p, "int:", 4) == 0) {
        char *path = xasprintf("subscriptions[%u].start", i);
        problem_warn(&l->problems, document_place(start), path,
                     "int: makes an 8-byte replay id; ids of 10 bytes cannot be written so");
        free(path);
    }
}

/* The service sends what is managed to one client: the second would wait for ever. */
static void check_managed(struct loader *l, uint32_t i)
{
    const struct subscription_config *all = l->config->subscriptions;
    for (uint32_t k = 0; all[i].managed && k < i; k++)
        if (all[k].managed && all[k].org == all[i].org && strcmp(all[k].managed, all[i].managed) == 0)
            return item_problem(l, "subscriptions", i, "managed",
                                "'%s' is the managed subscription of '%s' too: only one client can have it",
                                all[i].managed, all[k].name ? all[k].name : "another");
}

/* --- sinks ------------------------------------------------------------------------------------ */

/* Where a sink writes: the path with links resolved, and the file itself when it exists (hard links). */
struct output {
    char *path;
    bool exists;
    dev_t device;
    ino_t inode;
};

/* Cut the last part off `head`; false at the root. It goes in front of `tail`, unless it is "." or empty. */
static bool cut_last(char *head, struct buf *tail)
{
    char *slash = strrchr(head, '/');
    if (!slash || slash == head)
        return false;
    if (slash[1] && strcmp(slash, "/.") != 0) {
        struct buf longer = BUF_INIT;
        buf_add_str(&longer, slash);
        buf_add_span(&longer, buf_span(tail));
        buf_release(tail);
        *tail = longer;
    }
    *slash = '\0';
    return true;
}

/* One text for one place, however it is written: resolved as far as it exists, the rest as it stands. */
static char *resolved_path(const char *path)
{
    char folder[PATH_MAX];
    char *head = path[0] == '/' ? xstrdup(path)
                                : xasprintf("%s/%s", getcwd(folder, sizeof folder) ? folder : "", path);
    struct buf tail = BUF_INIT;
    char *real = realpath(head, NULL);
    while (!real && cut_last(head, &tail))
        real = realpath(head, NULL);
    const char *begin = !real ? head : strcmp(real, "/") == 0 && tail.len ? "" : real;
    char *out = xasprintf("%s%s", begin, tail.len ? (char *)tail.data : "");
    free(real);
    free(head);
    buf_release(&tail);
    return out;
}

static struct output output_of(const char *path)
{
    struct stat st;
    struct output o = {.path = resolved_path(path), .exists = stat(path, &st) == 0};
    if (o.exists) {
        o.device = st.st_dev;
        o.inode = st.st_ino;
    }
    return o;
}

static bool same_output(const struct output *a, const struct output *b)
{
    return strcmp(a->path, b->path) == 0 ||
           (a->exists && b->exists && a->device == b->device && a->inode == b->inode);
}

static void check_stdout(struct loader *l)
{
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < l->config->n_sinks; i++) {
        if (!item_value(l, "sinks", i, "stdout"))
            continue;
        if (first != UINT32_MAX)
            item_problem(l, "sinks", i, "stdout", "sinks[%u] writes to standard output already", first);
        else
            first = i;
    }
}

/* No two sinks write to one place. */
static void check_outputs(struct loader *l)
{
    struct config *c = l->config;
    struct output *outputs = xcalloc((size_t)c->n_sinks + 1, sizeof *outputs);
    struct output store = output_of(c->store.path);
    for (uint32_t i = 0; i < c->n_sinks; i++) {
        if (!c->sinks[i].path)
            continue;
        outputs[i] = output_of(c->sinks[i].path);
        const char *key = c->sinks[i].kind == SINK_KIND_SQLITE ? "sqlite.path" : "file.path";
        if (same_output(&outputs[i], &store))
            item_problem(l, "sinks", i, key, "is the store's folder");
        for (uint32_t k = 0; k < i; k++)
            if (outputs[k].path && same_output(&outputs[k], &outputs[i])) {
                item_problem(l, "sinks", i, key, "is the file of sinks[%u] too; every sink needs its own", k);
                break;
            }
    }
    for (uint32_t i = 0; i < c->n_sinks; i++)
        free(outputs[i].path);
    free(outputs);
    free(store.path);
}

static void check_renames(struct loader *l, uint32_t i)
{
    const struct config *c = l->config;
    const char *from = c->sinks[i].renamed_from;
    for (uint32_t k = 0; from && k < c->n_sinks; k++) {
        const struct sink_config *other = &c->sinks[k];
        if (other->name && strcmp(other->name, from) == 0)
            item_problem(l, "sinks", i, "renamed_from", "'%s' is still the name of sinks[%u]", from, k);
        else if (k < i && other->renamed_from && strcmp(other->renamed_from, from) == 0)
            item_problem(l, "sinks", i, "renamed_from", "sinks[%u] takes the cursor of '%s' already", k,
                         from);
    }
}

/* --- all -------------------------------------------------------------------------------------- */

void rules_check(struct loader *l)
{
    struct config *c = l->config;
    for (uint32_t i = 0; i < c->n_orgs; i++)
        check_org(l, i);
    for (uint32_t i = 0; i < c->n_subscriptions; i++)
        check_subscription(l, i);
    for (uint32_t i = 0; i < c->n_subscriptions; i++)
        check_managed(l, i);
    check_unique(l, "orgs", c->orgs, c->n_orgs, sizeof *c->orgs, offsetof(struct org_config, name));
    check_unique(l, "subscriptions", c->subscriptions, c->n_subscriptions, sizeof *c->subscriptions,
                 offsetof(struct subscription_config, name));
    check_unique(l, "sinks", c->sinks, c->n_sinks, sizeof *c->sinks, offsetof(struct sink_config, name));
    check_stdout(l);
    check_outputs(l);
    for (uint32_t i = 0; i < c->n_sinks; i++)
        check_renames(l, i);
    mirror_rules_check(l);
    for (uint32_t i = 0; i < c->n_sinks; i++)
        overlap_check(l, i);
    yaml_node_t *token = document_find(&l->doc, l->doc.root, "admin.token");
    if (!token)
        token = document_find(&l->doc, l->doc.root, "admin.token_file");
    if (token && !c->admin.enabled)
        problem_add(&l->problems, document_place(token), "admin.token",
                    "has no effect: nothing listens (listen: false)");
}
