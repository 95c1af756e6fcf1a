/*
 * Maps whose keys are the user's own: name -> map or false (KEY_TABLE), text -> text (KEY_PAIRS).
 *
 * What stands in front of the colon is taken as it is: variables are replaced in values only.
 */
#include "base/alloc.h"
#include "config/loader.h"
#include "config/value.h"

#include <stdlib.h>

static size_t n_pairs(const yaml_node_t *node)
{
    return (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
}

static char **text_at(char *item, size_t offset)
{
    return (char **)(void *)(item + offset);
}

/* The items of the map, zeroed; NULL: none, or not a map. */
static char *new_items(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    struct place place = document_place(node);
    bool none = document_is_null(node);
    if (!none && node->type != YAML_MAPPING_NODE) {
        LOADER_PROBLEM(l, place, "must be a mapping: one 'name: value' per line");
        return NULL;
    }
    size_t n = none ? 0 : n_pairs(node);
    if (n == 0)
        LOADER_PROBLEM(l, place, "must not be empty; leave the key out instead");
    if (n > key->list.max) {
        LOADER_PROBLEM(l, place, "has more than %u names", key->list.max);
        n = 0;
    }
    if (n == 0)
        return NULL;
    char *items = xcalloc(n, key->list.item_size);
    memcpy((char *)base + key->offset, &items, sizeof items);
    memcpy((char *)base + key->list.count_offset, &(uint32_t){(uint32_t)n}, sizeof(uint32_t));
    return items;
}

/* The name in front of item i; false: it cannot stand for one, or stands there already. */
static bool load_name(struct loader *l, const struct key *key, yaml_node_t *node, char *items, size_t i)
{
    struct span text = document_scalar(node);
    char *name = xmemdupz(text.p, text.n);
    if (strlen(name) != text.n || !key->list.name_rule->check(name)) {
        char *shown = value_excerpt(text);
        LOADER_PROBLEM(l, document_place(node), "must be %s, not '%s'", key->list.name_rule->must, shown);
        free(shown);
        free(name);
        return false;
    }
    for (size_t k = 0; k < i; k++) {
        const char *other = *text_at(items + k * key->list.item_size, key->list.name_offset);
        if (other && strcmp(other, name) == 0) {
            LOADER_PROBLEM(l, document_place(node), "is given twice");
            free(name);
            return false;
        }
    }
    *text_at(items + i * key->list.item_size, key->list.name_offset) = name;
    return true;
}

static void load_row(struct loader *l, const struct key *key, yaml_node_t *node, char *item)
{
    if (node->type == YAML_SCALAR_NODE && span_equal_str(document_scalar(node), "false"))
        *(bool *)(item + key->list.skip_offset) = true;
    else
        loader_map(l, key, node, item);
}

static void load_text(struct loader *l, const struct key *key, yaml_node_t *node, char *item)
{
    char *text = loader_scalar(l, node, EXPAND_ONE_LINE);
    if (text)
        *text_at(item, key->list.value_offset) = text;
}

void loader_items(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    char *items = new_items(l, key, node, base);
    if (!items)
        return;
    for (size_t i = 0, n = n_pairs(node); i < n; i++) {
        char *item = items + i * key->list.item_size;
        yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
        yaml_node_t *name = document_node(&l->doc, pair->key), *value = document_node(&l->doc, pair->value);
        if (key->type == KEY_TABLE)
            loader_defaults(key, item);
        if (name->type != YAML_SCALAR_NODE) {
            LOADER_PROBLEM(l, document_place(name), "a key must be a plain word");
            continue;
        }
        char *shown = value_excerpt(document_scalar(name));
        size_t before = loader_push(l, shown);
        free(shown);
        if (load_name(l, key, name, items, i)) {
            if (key->type == KEY_TABLE)
                load_row(l, key, value, item);
            else
                load_text(l, key, value, item);
        }
        loader_pop(l, before);
    }
}
