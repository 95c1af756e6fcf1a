/*
 * value: one scalar of the file <-> its place in struct config, by the type of its key.
 *
 * `base` is the struct the key's offset counts in: the item of the nearest list, or struct config.
 * KEY_ORG and KEY_SUBSCRIPTIONS need the whole file and are resolved by load.c.
 *
 * Ownership: a stored text is copied. Thread: one at a time.
 * Errors: value_store returns false and gives *why (free), worded to follow the key's path.
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "base/buf.h"
#include "config/config.h"
#include "config/keys.h"

#define VALUE_HIDDEN "(set)" /* what is printed of a secret */

/* `shown` is what messages may show of the value: the text as it stands in the file, before variables. */
MUST_CHECK bool value_store(const struct key *key, void *base, char *text, const char *shown, char **why);
/*
 * Append the value as YAML, secrets as "(set)". false: nothing is set, nothing is appended.
 */
bool value_print(const struct key *key, const void *base, struct buf *out);
/* One item of a list ("sinks"), as config_print writes it. */
void config_print_item(const struct config *config, const struct key *list, const void *item,
                       struct buf *out);
/* Wipe a secret, free a text; other types own nothing. */
void value_release(const struct key *key, void *base);

/* "96h", "300s", "500ms"; "10GiB", "64KiB". */
void value_add_duration(struct buf *out, int64_t ms);
void value_add_size(struct buf *out, int64_t bytes);
/* As YAML: plain when that cannot be read as anything but this text, else in double quotes. */
void value_add_text(struct buf *out, const char *text);
/* The same for what stands in front of a colon, where variables are not replaced. */
void value_add_name(struct buf *out, const char *name);
/* A copy for messages: at most 60 bytes, then "…". */
char *value_excerpt(struct span text);

/* The replay id as a user would write it: lower-case hex. */
void value_add_start(struct buf *out, const struct subscription_config *sub);

#endif
