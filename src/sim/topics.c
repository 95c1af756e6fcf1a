#include "sim/topics.h"

#include <stdio.h>

struct topic *topics_find(struct topics *t, struct span name)
{
    for (unsigned i = 0; i < t->n; i++)
        if (span_equal_str(name, t->list[i].name))
            return &t->list[i];
    return NULL;
}

unsigned topics_index(const struct topics *t, const struct topic *topic)
{
    return (unsigned)(topic - t->list);
}

bool topic_name_has_prefix(struct span name)
{
    return (name.n > 7 && memcmp(name.p, "/event/", 7) == 0) ||
           (name.n > 6 && memcmp(name.p, "/data/", 6) == 0);
}

static struct topic *add(struct topics *t, const char *name)
{
    if (t->n == TOPICS_MAX || strlen(name) >= sizeof t->list[0].name)
        return NULL;
    struct topic *topic = &t->list[t->n++];
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->is_change = strncmp(name, "/data/", 6) == 0;
    return topic;
}

static bool is_all_changes(const struct topic *topic)
{
    return strcmp(topic->name, "/data/ChangeEvents") == 0;
}

struct topic *topics_add(struct topics *t, const char *name, const char *schema_id)
{
    struct topic *topic = topics_find(t, span_of_str(name));
    if (!topic) {
        topic = add(t, name);
        if (!topic)
            return NULL;
        topic->members = 1ull << topics_index(t, topic);
        for (unsigned i = 0; i < t->n; i++)
            if (topic->is_change && is_all_changes(&t->list[i]))
                t->list[i].members |= topic->members;
    }
    snprintf(topic->schema_id, sizeof topic->schema_id, "%s", schema_id);
    return topic;
}

int topics_add_channel(struct topics *t, const char *definition, struct err *e)
{
    char name[128];
    size_t len = strcspn(definition, "=");
    snprintf(name, sizeof name, "%.*s", (int)len, definition);
    if (!topic_name_has_prefix(span_of_str(name)) || len >= sizeof name || topics_find(t, span_of_str(name)))
        return err_set(e, ERR_CONFIG, "channel", 0, "'%s': give /data/NAME__chn=TOPIC,TOPIC, a new name",
                       definition);
    uint64_t members = 0;
    const char *p = definition[len] ? definition + len + 1 : "";
    while (*p) {
        size_t n = strcspn(p, ",");
        const struct topic *member = topics_find(t, span_of(p, n));
        if (!member)
            return err_set(e, ERR_CONFIG, "channel", 0, "'%s': there is no topic '%.*s'", definition, (int)n,
                           p);
        members |= member->members;
        p += n + (p[n] == ',');
    }
    struct topic *channel = add(t, name);
    if (!channel)
        return err_set(e, ERR_CONFIG, "channel", 0, "'%s': more than %d topics", definition, TOPICS_MAX);
    channel->members = members;
    if (is_all_changes(channel))
        for (unsigned i = 0; i < t->n; i++)
            if (t->list[i].is_change)
                channel->members |= t->list[i].members;
    for (unsigned i = 0; i < t->n; i++)
        if (channel->members >> i & 1 && t->list[i].has_workload)
            channel->has_workload = true;
    return 0;
}
