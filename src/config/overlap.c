/*
 * Where one sink gets an event twice: identity is per subscription, so nothing else would notice. Nothing here is an
 * error: somebody may want just that.
 */
#include "base/alloc.h"
#include "config/loader.h"

#include <fnmatch.h>
#include <stdlib.h>

struct taken {
    const struct config *config;
    uint32_t i; /* the subscription */
};

static const struct subscription_config *subscription_of(const struct taken *t)
{
    return &t->config->subscriptions[t->i];
}

static int by_topic(const void *left, const void *right)
{
    const struct subscription_config *a = subscription_of(left), *b = subscription_of(right);
    if (a->org != b->org)
        return a->org < b->org ? -1 : 1;
    int order = strcmp(a->topic, b->topic);
    return order ? order : a < b ? -1 : a > b;
}

/* A channel that carries every change that is selected for publishing. */
static bool is_all_changes(const char *topic)
{
    return strcmp(topic, "/data/ChangeEvents") == 0;
}

/* A channel somebody composed: what is in it only the org knows. */
static bool is_custom(const char *topic)
{
    return fnmatch("*__chn", topic, 0) == 0;
}

static void warn(struct loader *l, uint32_t sink, const struct taken *a, const struct taken *b,
                 const char *how)
{
    const struct subscription_config *one = subscription_of(a), *other = subscription_of(b);
    char *path = xasprintf("sinks[%u].subscriptions", sink);
    problem_warn(&l->problems, document_place(loader_item(l, "sinks", sink, "subscriptions")), path,
                 "%s (%s) and %s (%s) %s; this sink gets such an event once for each", one->name, one->topic,
                 other->name, other->topic, how);
    free(path);
}

/* Changes and platform events are never in one channel. */
static bool is_data(const char *topic)
{
    return strncmp(topic, "/data/", 6) == 0;
}

/* Of one org, in the order of their topics. */
static void check_group(struct loader *l, uint32_t sink, const struct taken *group, size_t n)
{
    const struct taken *all = NULL, *custom[2] = {NULL, NULL};
    for (size_t i = n; i-- > 0;) {
        const char *topic = subscription_of(&group[i])->topic;
        if (is_all_changes(topic))
            all = &group[i];
        if (is_custom(topic))
            custom[is_data(topic)] = &group[i];
    }
    for (size_t i = 0; i < n; i++) {
        const char *topic = subscription_of(&group[i])->topic;
        const struct taken *own = custom[is_data(topic)];
        if (i && strcmp(topic, subscription_of(&group[i - 1])->topic) == 0)
            warn(l, sink, &group[i - 1], &group[i], "bring the same events");
        else if (all && !is_all_changes(topic) && fnmatch("/data/*ChangeEvent", topic, 0) == 0)
            warn(l, sink, all, &group[i], "bring the same events");
        else if (own && own != &group[i])
            warn(l, sink, own, &group[i],
                 "may bring the same events: what is in a custom channel only the org knows");
    }
}

void overlap_check(struct loader *l, uint32_t sink)
{
    const struct config *c = l->config;
    const struct sink_config *s = &c->sinks[sink];
    struct taken *taken = xcalloc((size_t)s->n_subscriptions + 1, sizeof *taken);
    size_t n = 0;
    for (uint32_t i = 0; i < s->n_subscriptions; i++)
        if (c->subscriptions[s->subscriptions[i]].topic)
            taken[n++] = (struct taken){c, s->subscriptions[i]};
    if (n)
        qsort(taken, n, sizeof *taken, by_topic);
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1;
             end < n && subscription_of(&taken[end])->org == subscription_of(&taken[begin])->org; end++)
            ;
        check_group(l, sink, taken + begin, end - begin);
    }
    free(taken);
}
