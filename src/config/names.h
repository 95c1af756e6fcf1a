/*
 * names: how Salesforce names become names of tables and columns (docs/mirror.md).
 *
 * Guarantees: the same name always becomes the same; a default name is lower case and short enough for every
 * target, with room for what is added behind (`_history`, `_2`). What is longer is cut, with a digest of the whole
 * behind the cut. Two names may become one: whoever makes columns of them checks that (names_equal).
 *
 * Ownership: appends to the caller's buffer. Thread: any. Errors: none.
 */
#ifndef CONFIG_NAMES_H
#define CONFIG_NAMES_H

#include "base/buf.h"

/* Bytes. PostgreSQL keeps 63 of an identifier, and cuts what is longer without an error. */
enum { NAMES_MAX_TABLE = 52, NAMES_MAX_COLUMN = 58 };

#define NAMES_JSON_COLUMN "_fields" /* new_fields: json */
#define NAMES_OF_OURS                                                                                        \
    "_version, _seq, _state, _incomplete, _deleted, _deleted_at, _archived_at, "                             \
    "_payload_hash, " NAMES_JSON_COLUMN

/* "LastModifiedDate" -> "last_modified_date", "BillingAddress.City" -> "billing_address_city". */
void names_add_default(struct span name, size_t most, struct buf *out);
/* One of NAMES_OF_OURS, or the beginning of our own names. */
bool names_is_ours(const char *column);
/* What every table of PostgreSQL has under names of the server's (its manual, "System Columns"). */
#define NAMES_OF_POSTGRES "ctid, cmin, cmax, tableoid, xmin, xmax"
bool names_is_system(const char *column);
/* As SQL databases see it that do not tell upper from lower case. */
bool names_equal(const char *a, const char *b);

#endif
