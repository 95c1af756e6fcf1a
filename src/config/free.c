#include "config/config.h"
#include "config/keys.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>

static void release_items(const struct key *key, void *base);

/* The table knows which members own memory: a key that is added is freed without a line here. */
static void release_scope(const struct key *list, void *base)
{
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++) {
        if (!key_in_scope(list, k))
            continue;
        if (key_has_items(k))
            release_items(k, base);
        else
            value_release(k, base);
    }
}

static void release_text(char *item, size_t offset)
{
    char *text;
    memcpy(&text, item + offset, sizeof text);
    free(text);
}

static void release_items(const struct key *key, void *base)
{
    char *items;
    uint32_t n;
    memcpy(&items, (char *)base + key->offset, sizeof items);
    memcpy(&n, (char *)base + key->list.count_offset, sizeof n);
    for (uint32_t i = 0; i < n; i++) {
        char *item = items + i * key->list.item_size;
        if (key->type != KEY_PAIRS)
            release_scope(key, item);
        else
            release_text(item, key->list.value_offset);
        if (key->type != KEY_LIST)
            release_text(item, key->list.name_offset);
    }
    free(items);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n_sinks; i++)
        free(c->sinks[i].subscriptions);
    release_scope(NULL, c);
    free(c->admin.host);
    free(c->file);
    free(c);
}
