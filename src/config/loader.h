/*
 * loader: what loading one file carries along; shared by load.c (the table of keys against the tree),
 * load_items.c (maps with names of the user's own), references.c (names that stand for something), rules.c and
 * mirror_rules.c (what a table cannot say).
 *
 * Calling order: the walk (loader_*, references_add) -> references_resolve -> rules_check (mirror_rules_check) ->
 * references_release.
 * Ownership: the struct belongs to config_load_text. Errors: problems.
 * Thread: one at a time.
 */
#ifndef CONFIG_LOADER_H
#define CONFIG_LOADER_H

#include "config/config.h"
#include "config/document.h"
#include "config/expand.h"
#include "config/keys.h"

struct loader {
    struct document doc;
    struct problems problems;
    struct config *config;
    unsigned flags;  /* enum config_flags */
    struct buf path; /* of the value being looked at: "orgs[0].tls" */
    bool *visited;   /* by node: with an alias, a node could be met twice or contain itself */
    struct reference *references;
    size_t n_references;
};

/* A problem at `place` with what the loader's path names. */
#define LOADER_PROBLEM(l, place, ...) problem_add(&(l)->problems, place, loader_path(l), __VA_ARGS__)
const char *loader_path(const struct loader *l);
/* Go down to `name`; give what it returned to loader_pop. */
size_t loader_push(struct loader *l, const char *name);
void loader_pop(struct loader *l, size_t before);

/* The rows of the table below `map` (NULL: the file) against a node, into `base`. */
void loader_map(struct loader *l, const struct key *map, yaml_node_t *node, void *base);
/* A KEY_TABLE or KEY_PAIRS. */
void loader_items(struct loader *l, const struct key *key, yaml_node_t *node, void *base);
/* The defaults of one item of `list` (NULL: of the file). */
void loader_defaults(const struct key *list, void *base);
/* The scalar's text with variables replaced (free); NULL after a problem. */
char *loader_scalar(struct loader *l, yaml_node_t *node, enum expand_form form);

/* Note that `base` means the org or subscription called `name` (taken); the path is the loader's. */
void references_add(struct loader *l, const struct key *key, void *base, struct place place, char *name);
/* Look them all up. A sink that names no subscription gets every one. */
void references_resolve(struct loader *l);
void references_release(struct loader *l);

/* Check the loaded values against each other. Values that were wrong themselves are unset: no second problem.
 */
void rules_check(struct loader *l);
/* Warn where a sink takes subscriptions that bring the same events (overlap.c). */
void overlap_check(struct loader *l, uint32_t sink);
/* The value under `key` of item i of a list; without such a key, the item. */
yaml_node_t *loader_item(struct loader *l, const char *list, uint32_t i, const char *key);
/* Sinks that mirror records: fills in what entities inherit, too. */
void mirror_rules_check(struct loader *l);

#endif
