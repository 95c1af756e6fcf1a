/*
 * loader: what loading one file carries along; shared by load.c (the table of keys against the tree),
 * references.c (names) and rules.c (what a table cannot say).
 *
 * Calling order: the walk (references_add) -> references_resolve -> rules_check -> references_release.
 * Ownership: the struct belongs to config_load_text. Errors: problems.
 * Thread: one at a time.
 */
#ifndef CONFIG_LOADER_H
#define CONFIG_LOADER_H

#include "config/config.h"
#include "config/document.h"
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

#endif
