/*
 * document: YAML text -> one tree of nodes that know their place.
 *
 * libyaml's document API, with what it lets through made an error: a second document, anchors and
 * aliases, tags, nesting deeper than any configuration, bytes that are not UTF-8. A syntax error ends
 * reading: nothing after it can be trusted, so it is the only problem told.
 *
 * Calling order: document_read -> document_* -> document_release (also after a failed read).
 * Ownership: the document owns its nodes; releasing wipes their texts, which may be secrets.
 * Thread: one at a time. Errors: problems; -1 when there is no tree to look at.
 */
#ifndef CONFIG_DOCUMENT_H
#define CONFIG_DOCUMENT_H

#include "base/span.h"
#include "config/problems.h"

#include <yaml.h>

struct document {
    yaml_document_t yaml;
    bool loaded;
    yaml_node_t *root; /* NULL: nothing but comments */
};

#define TOP_LEVEL "top level" /* the path of what concerns the whole file */

MUST_CHECK int document_read(struct document *d, struct span text, struct problems *ps);
void document_release(struct document *d);

yaml_node_t *document_node(struct document *d, int index);
struct place document_place(const yaml_node_t *node);
struct span document_scalar(const yaml_node_t *node);
/* The value under a dotted path ("tls.ca_file") of a mapping; NULL when a part is missing. */
yaml_node_t *document_find(struct document *d, yaml_node_t *map, const char *path);
/* The value under one key as it stands, dots and all; NULL when it is not there. */
yaml_node_t *document_value(struct document *d, yaml_node_t *map, struct span name);
/* "key: " followed by nothing, or ~ or null: the key is there, a value is not. */
bool document_is_null(const yaml_node_t *node);

#endif
