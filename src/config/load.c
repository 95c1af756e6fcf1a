/*
 * Loading: walk the tree of the file beside the table of keys. A value goes where its row says; what
 * no row knows is a problem; then names are resolved, and rules.c looks at the whole.
 *
 * Recursion is as deep as the table, not as the file: nothing is entered that no row describes.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"
#include "config/expand.h"
#include "config/loader.h"
#include "config/value.h"

#include <stdlib.h>

/* What one map has said so far. */
struct map_state {
    uint8_t seen[256]; /* by row: SEEN_ bits */
    const struct key *chosen;
    struct place chosen_place;
};

enum { SEEN_VALUE = 1, SEEN_FILE = 2, SEEN_MEANT = 4 };

#define PROBLEM LOADER_PROBLEM

const char *loader_path(const struct loader *l)
{
    return l->path.len ? (const char *)l->path.data : TOP_LEVEL;
}

size_t loader_push(struct loader *l, const char *name)
{
    size_t before = l->path.len;
    buf_addf(&l->path, "%s%s", before ? "." : "", name);
    return before;
}

static size_t path_push_index(struct loader *l, size_t i)
{
    size_t before = l->path.len;
    buf_addf(&l->path, "[%zu]", i);
    return before;
}

void loader_pop(struct loader *l, size_t before)
{
    l->path.len = before;
    if (l->path.data)
        l->path.data[before] = '\0';
}

static enum expand_form form_of(const struct key *key)
{
    return key->flags & KEY_LINES ? EXPAND_LINES : EXPAND_ONE_LINE;
}

char *loader_scalar(struct loader *l, yaml_node_t *node, enum expand_form form)
{
    struct place place = document_place(node);
    if (node->type != YAML_SCALAR_NODE) {
        PROBLEM(l, place, "must be one value, not a %s",
                node->type == YAML_MAPPING_NODE ? "mapping" : "list");
        return NULL;
    }
    if (document_is_null(node)) {
        PROBLEM(l, place, "has no value");
        return NULL;
    }
    char *why = NULL;
    char *text = expand_text(document_scalar(node), form, &why);
    if (!text) {
        PROBLEM(l, place, "%s", why);
        free(why);
    }
    return text;
}

static void store(struct loader *l, const struct key *key, yaml_node_t *node, void *base, char *text)
{
    char *why = NULL;
    char *shown = value_excerpt(document_scalar(node));
    if (!value_store(key, base, text, shown, &why)) {
        PROBLEM(l, document_place(node), "%s", why);
        free(why);
    }
    wipe(shown, strlen(shown));
    free(shown);
}

/* `null` is no value to YAML; where it is one of the words, it is that word. */
static bool is_word_null(const struct key *key, const yaml_node_t *node)
{
    bool has = false;
    for (const struct key_word *word = key->words; word && word->text; word++)
        has |= strcmp(word->text, "null") == 0;
    return has && node->type == YAML_SCALAR_NODE && span_equal_str(document_scalar(node), "null");
}

static void load_scalar(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    char *text = is_word_null(key, node) ? xstrdup("null") : loader_scalar(l, node, form_of(key));
    if (!text)
        return;
    store(l, key, node, base, text);
    wipe(text, strlen(text));
    free(text);
}

static void load_secret_file(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    char *path = loader_scalar(l, node, EXPAND_ONE_LINE);
    if (!path)
        return;
    char *why = NULL;
    char *secret = expand_secret_file(path, form_of(key), &why);
    if (secret) {
        store(l, key, node, base, secret);
        wipe(secret, strlen(secret));
    } else {
        PROBLEM(l, document_place(node), "%s", why);
    }
    free(secret);
    free(why);
    free(path);
}

static void add_reference(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    char *name = loader_scalar(l, node, EXPAND_ONE_LINE);
    if (!name)
        return;
    references_add(l, key, base, document_place(node), name);
}

static void load_references(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    struct place place = document_place(node);
    if (node->type != YAML_SEQUENCE_NODE) {
        PROBLEM(l, place, "must be a list of names, like [a, b]");
        return;
    }
    size_t n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (n == 0)
        PROBLEM(l, place, "must not be empty; without this key all subscriptions are meant");
    if (n > 1024) {
        PROBLEM(l, place, "has more than 1024 items");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t before = path_push_index(l, i);
        add_reference(l, key, document_node(&l->doc, node->data.sequence.items.start[i]), base);
        loader_pop(l, before);
    }
}

void loader_defaults(const struct key *list, void *base)
{
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++) {
        bool stored = k->offset != KEY_NOT_STORED || k->type == KEY_LISTEN;
        if ((k->flags & KEY_INHERIT) && key_in_scope(list, k))
            memcpy((char *)base + k->offset, &(int){-1}, sizeof(int));
        if (!k->fallback || !stored || !key_in_scope(list, k))
            continue;
        if (k->type == KEY_TEXT) { /* as it is: "" has a meaning here that a user cannot give */
            memcpy((char *)base + k->offset, &(char *){xstrdup(k->fallback)}, sizeof(char *));
            continue;
        }
        char *text = xstrdup(k->fallback), *why = NULL;
        if (!value_store(k, base, text, text, &why))
            BUG("the default of %s %s", k->path, why);
        free(text);
    }
}

static void load_list(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    struct place place = document_place(node);
    bool none = document_is_null(node);
    if (!none && node->type != YAML_SEQUENCE_NODE) {
        PROBLEM(l, place, "must be a list: one '- ' per item");
        return;
    }
    size_t n = none ? 0 : (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (n == 0 && ((key->flags & KEY_REQUIRED) || !(l->flags & CONFIG_NO_SINKS_NEEDED)))
        PROBLEM(l, place, "must not be empty");
    if (n > key->list.max) {
        PROBLEM(l, place, "has more than %u items", key->list.max);
        n = key->list.max;
    }
    if (n == 0)
        return;
    char *items = xcalloc(n, key->list.item_size);
    memcpy((char *)base + key->offset, &items, sizeof items);
    memcpy((char *)base + key->list.count_offset, &(uint32_t){(uint32_t)n}, sizeof(uint32_t));
    for (size_t i = 0; i < n; i++)
        loader_defaults(key, items + i * key->list.item_size);
    for (size_t i = 0; i < n; i++) {
        size_t before = path_push_index(l, i);
        loader_map(l, key, document_node(&l->doc, node->data.sequence.items.start[i]),
                   items + i * key->list.item_size);
        loader_pop(l, before);
    }
}

static void load_value(struct loader *l, const struct key *key, yaml_node_t *node, void *base)
{
    switch (key->type) {
    case KEY_MAP:
        if ((key->flags & KEY_OFF) && node->type == YAML_SCALAR_NODE &&
            span_equal_str(document_scalar(node), "false"))
            l->config->admin.enabled = false;
        else
            loader_map(l, key, node, base);
        return;
    case KEY_LIST:
        load_list(l, key, node, base);
        return;
    case KEY_TABLE:
    case KEY_PAIRS:
        loader_items(l, key, node, base);
        return;
    case KEY_ORG:
        add_reference(l, key, node, base);
        return;
    case KEY_SUBSCRIPTIONS:
        load_references(l, key, node, base);
        return;
    default:
        load_scalar(l, key, node, base);
    }
}

/* A key that stands elsewhere in the same map or its maps: its path from there, "tls.ca_file". */
static const struct key *key_elsewhere(const struct key *map, struct span name)
{
    const struct key *scope = map;
    while (scope && !key_has_items(scope))
        scope = key_parent(scope);
    const struct key *found = NULL;
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++)
        if (key_in_scope(scope, k) && span_equal_str(name, key_name(k))) {
            if (found)
                return NULL; /* several: which one was meant is not ours to guess */
            found = k;
        }
    return found;
}

/* The row of a key in this map; *as_file: it was written NAME_file. */
static const struct key *row_of(const struct key *map, struct span name, bool *as_file)
{
    *as_file = false;
    const struct key *key = key_child(map, (const char *)name.p, name.n);
    if (key || name.n <= 5 || memcmp(name.p + name.n - 5, "_file", 5) != 0)
        return key;
    key = key_child(map, (const char *)name.p, name.n - 5);
    *as_file = true;
    return key && (key->flags & KEY_SECRET) ? key : NULL;
}

static void unknown_key(struct loader *l, const struct key *map, struct map_state *state, yaml_node_t *node)
{
    struct span name = document_scalar(node);
    if (problems_full(&l->problems)) {
        PROBLEM(l, document_place(node), "unknown key");
        return;
    }
    const char *names[64];
    char *file_names[64];
    size_t n = 0, n_files = 0;
    for (const struct key *k = key_next_child(map, NULL); k && n + 2 <= ARRAY_LEN(names);
         k = key_next_child(map, k)) {
        names[n++] = key_name(k);
        if (k->flags & KEY_SECRET)
            names[n++] = file_names[n_files++] = xasprintf("%s_file", key_name(k));
    }
    char *word = value_excerpt(name);
    const struct key *elsewhere = key_elsewhere(map, name);
    const char *nearest = text_nearest(word, names, n);
    if (elsewhere && map && (map->flags & KEY_CHOICE))
        PROBLEM(l, document_place(node), "has no effect here; it belongs to '%s'",
                key_name(key_parent(elsewhere)));
    else if (nearest)
        PROBLEM(l, document_place(node), "unknown key (did you mean '%s'?)", nearest);
    else if (elsewhere && key_parent(elsewhere))
        PROBLEM(l, document_place(node), "unknown key here; it belongs under '%s'",
                key_name(key_parent(elsewhere)));
    else
        PROBLEM(l, document_place(node), "unknown key");
    bool as_file; /* the key that was meant is not missing as well: one mistake, one line */
    const struct key *meant = nearest ? row_of(map, span_of_str(nearest), &as_file) : NULL;
    if (meant)
        state->seen[meant - config_keys] |= SEEN_MEANT;
    free(word);
    for (size_t i = 0; i < n_files; i++)
        free(file_names[i]);
}

/* false: the value is not to be read. */
static bool note_key(struct loader *l, struct map_state *state, const struct key *key, bool as_file,
                     struct place place)
{
    uint8_t *seen = &state->seen[key - config_keys];
    uint8_t bit = as_file ? SEEN_FILE : SEEN_VALUE;
    bool again = *seen & bit, both = (*seen & (SEEN_VALUE | SEEN_FILE)) && !again;
    *seen |= bit;
    if (again || both) {
        if (again)
            PROBLEM(l, place, "is given twice");
        else
            PROBLEM(l, place, "'%s' and '%s_file' exclude each other", key_name(key), key_name(key));
        return false;
    }
    if (key->flags & KEY_CHOICE) {
        if (state->chosen) {
            PROBLEM(l, place, "only one kind is possible, and '%s' is given in line %zu",
                    key_name(state->chosen), state->chosen_place.line);
            return false;
        }
        state->chosen = key;
        state->chosen_place = place;
    }
    if (key->flags & KEY_LATER) {
        PROBLEM(l, place, "not supported by this version");
        return false;
    }
    return true;
}

static void load_pair(struct loader *l, const struct key *map, struct map_state *state,
                      yaml_node_pair_t *pair, void *base)
{
    yaml_node_t *name_node = document_node(&l->doc, pair->key), *node = document_node(&l->doc, pair->value);
    if (name_node->type != YAML_SCALAR_NODE) {
        PROBLEM(l, document_place(name_node), "a key must be a plain word");
        return;
    }
    struct span name = document_scalar(name_node);
    char *shown = value_excerpt(name);
    size_t before = loader_push(l, shown);
    free(shown);
    bool as_file;
    const struct key *key = row_of(map, name, &as_file);
    if (!key) {
        unknown_key(l, map, state, name_node);
    } else if (note_key(l, state, key, as_file, document_place(name_node))) {
        if ((key->flags & KEY_CHOICE) && base)
            memcpy((char *)base + key->offset, &key->choice, sizeof key->choice);
        if (as_file)
            load_secret_file(l, key, node, base);
        else
            load_value(l, key, node, base);
    }
    loader_pop(l, before);
}

/* What the map does not say though it must. */
static void missing_keys(struct loader *l, const struct key *map, const struct map_state *state,
                         struct place place)
{
    struct buf kinds = BUF_INIT;
    for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k)) {
        if ((k->flags & KEY_CHOICE) && !(k->flags & KEY_LATER))
            buf_addf(&kinds, "%s%s", kinds.len ? ", " : "", key_name(k));
        bool required = (k->flags & KEY_REQUIRED) ||
                        ((k->flags & KEY_NONEMPTY) && !(l->flags & CONFIG_NO_SINKS_NEEDED));
        if (!required || state->seen[k - config_keys])
            continue;
        size_t before = loader_push(l, key_name(k));
        if (k->flags & KEY_SECRET)
            PROBLEM(l, place, "is required, here or as '%s_file'", key_name(k));
        else
            PROBLEM(l, place, "is required");
        loader_pop(l, before);
    }
    if (kinds.len && !state->chosen)
        PROBLEM(l, place, "exactly one of these is required: %s", (char *)kinds.data);
    buf_release(&kinds);
}

void loader_map(struct loader *l, const struct key *map, yaml_node_t *node, void *base)
{
    struct map_state state = {.chosen = NULL};
    BUG_IF(config_n_keys > sizeof state.seen);
    bool *visited = &l->visited[node - l->doc.yaml.nodes.start];
    if (*visited)
        return; /* an alias, told already */
    *visited = true;
    if (node->type == YAML_MAPPING_NODE) {
        for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
             pair++)
            load_pair(l, map, &state, pair, base);
    } else if (!document_is_null(node)) {
        PROBLEM(l, document_place(node), "must be a mapping: one 'key: value' per line%s",
                map && ((map->flags & KEY_OFF) || map->type == KEY_TABLE) ? ", or false" : "");
        return;
    }
    missing_keys(l, map, &state, document_place(node));
}

static void load_document(struct loader *l)
{
    struct document *d = &l->doc;
    if (!d->root) {
        problem_add(&l->problems, (struct place){1, 1}, TOP_LEVEL,
                    "the file is empty; 'tidemark init' prints one to start from");
        return;
    }
    l->visited = xcalloc((size_t)(d->yaml.nodes.top - d->yaml.nodes.start), sizeof *l->visited);
    loader_map(l, NULL, d->root, l->config);
    references_resolve(l);
    rules_check(l);
}

struct config *config_load_text(struct span text, const char *name, unsigned flags, struct buf *problems)
{
    struct loader l = {.flags = flags, .problems = PROBLEMS_INIT, .path = BUF_INIT};
    l.config = xcalloc(1, sizeof *l.config);
    l.config->file = xstrdup(name);
    loader_defaults(NULL, l.config);
    if (text.n > CONFIG_MAX_BYTES)
        problem_add(&l.problems, (struct place){0, 0}, TOP_LEVEL, "larger than %d MiB",
                    CONFIG_MAX_BYTES >> 20);
    else if (document_read(&l.doc, text, &l.problems) == 0)
        load_document(&l);
    document_release(&l.doc);
    references_release(&l);
    free(l.visited);
    buf_release(&l.path);
    if (problems_any(&l.problems)) {
        config_free(l.config);
        l.config = NULL;
    }
    problems_report(&l.problems, name, problems);
    problems_release(&l.problems);
    return l.config;
}

struct config *config_load(const char *path, unsigned flags, struct buf *problems)
{
    struct buf text = BUF_INIT;
    struct err e = ERR_INIT;
    struct config *config = NULL;
    if (file_read(path, CONFIG_MAX_BYTES, &text, &e) != 0)
        buf_addf(problems, "%s: %s\n", path, e.text);
    else
        config = config_load_text(buf_span(&text), path, flags, problems);
    wipe(text.data, text.len);
    buf_release(&text);
    return config;
}

const char *config_default_path(const char *option)
{
    const char *path = option ? option : getenv("TIDEMARK_CONFIG");
    return path && *path ? path : "/etc/tidemark/tidemark.yaml";
}
