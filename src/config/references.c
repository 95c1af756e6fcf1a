/*
 * Names that stand for something else in the file: a subscription's org, a sink's subscriptions. They
 * are noted while the file is walked and looked up when all names are known, so that the order of the
 * sections does not matter.
 */
#include "base/alloc.h"
#include "base/text.h"
#include "config/loader.h"
#include "config/value.h"

#include <stdlib.h>

struct reference {
    const struct key *key;
    void *base;
    struct place place;
    char *path;
    char *name;
};

void references_add(struct loader *l, const struct key *key, void *base, struct place place, char *name)
{
    size_t n = l->n_references;
    if ((n & (n - 1)) == 0) /* full at every power of two */
        l->references = xrealloc(l->references, (n ? 2 * n : 1) * sizeof *l->references);
    l->references[l->n_references++] = (struct reference){key, base, place, xstrdup((char *)l->path.data),
                                                          name};
}

static const char *nearest_name(const char *name, const void *items, size_t n, size_t size, size_t offset,
                                uint32_t *found)
{
    const char **names = xcalloc(n + 1, sizeof *names);
    size_t n_names = 0;
    *found = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        const char *one;
        memcpy(&one, (const char *)items + i * size + offset, sizeof one);
        if (!one)
            continue;
        names[n_names++] = one;
        if (*found == UINT32_MAX && strcmp(one, name) == 0)
            *found = (uint32_t)i;
    }
    const char *nearest = *found == UINT32_MAX ? text_nearest(name, names, n_names) : NULL;
    free(names);
    return nearest;
}

static void resolve_one(struct loader *l, const struct reference *r)
{
    struct config *c = l->config;
    bool org = r->key->type == KEY_ORG;
    uint32_t i;
    const char *nearest = org ? nearest_name(r->name, c->orgs, c->n_orgs, sizeof *c->orgs,
                                             offsetof(struct org_config, name), &i)
                              : nearest_name(r->name, c->subscriptions, c->n_subscriptions,
                                             sizeof *c->subscriptions,
                                             offsetof(struct subscription_config, name), &i);
    const char *kind = org ? "org" : "subscription";
    if (i == UINT32_MAX) {
        char *shown = value_excerpt(span_of_str(r->name));
        problem_add(&l->problems, r->place, r->path, "there is no %s '%s'%s%s%s", kind, shown,
                    nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "");
        free(shown);
        return;
    }
    if (org) {
        ((struct subscription_config *)r->base)->org = i;
        return;
    }
    struct sink_config *sink = r->base;
    for (uint32_t k = 0; k < sink->n_subscriptions; k++)
        if (sink->subscriptions[k] == i) {
            problem_add(&l->problems, r->place, r->path, "'%s' is named twice", r->name);
            return;
        }
    sink->subscriptions = xrealloc(sink->subscriptions, (sink->n_subscriptions + 1) * sizeof i);
    sink->subscriptions[sink->n_subscriptions++] = i;
}

void references_resolve(struct loader *l)
{
    for (size_t i = 0; i < l->n_references; i++)
        resolve_one(l, &l->references[i]);
    /* A sink that names no subscription takes them all. */
    struct config *c = l->config;
    for (uint32_t i = 0; i < c->n_sinks; i++) {
        struct sink_config *sink = &c->sinks[i];
        if (sink->n_subscriptions || !c->n_subscriptions)
            continue;
        sink->subscriptions = xcalloc(c->n_subscriptions, sizeof *sink->subscriptions);
        for (uint32_t k = 0; k < c->n_subscriptions; k++)
            sink->subscriptions[k] = k;
        sink->n_subscriptions = c->n_subscriptions;
    }
}

void references_release(struct loader *l)
{
    for (size_t i = 0; i < l->n_references; i++) {
        free(l->references[i].path);
        free(l->references[i].name);
    }
    free(l->references);
    l->references = NULL;
    l->n_references = 0;
}
