#include "config/config.h"
#include "config/keys.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>

/* The table knows which members own memory: a key that is added is freed without a line here. */
static void release_scope(const struct key *list, void *base)
{
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++)
        if (key_in_scope(list, k))
            value_release(k, base);
}

static void release_list(struct config *c, const char *path)
{
    const struct key *list = key_find(path);
    char *items;
    uint32_t n;
    memcpy(&items, (char *)c + list->offset, sizeof items);
    memcpy(&n, (char *)c + list->list.count_offset, sizeof n);
    for (uint32_t i = 0; i < n; i++)
        release_scope(list, items + i * list->list.item_size);
    free(items);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n_sinks; i++)
        free(c->sinks[i].subscriptions);
    release_list(c, "orgs");
    release_list(c, "subscriptions");
    release_list(c, "sinks");
    release_scope(NULL, c);
    free(c->admin.host);
    free(c->file);
    free(c);
}
