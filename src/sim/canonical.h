/*
 * canonical: a schema's true id.
 *
 * The service names a schema by base64url(MD5(Avro Parsing Canonical Form)), 22 characters. The form
 * drops doc, default, aliases and unknown members, writes full names, and orders members.
 *
 * Ownership: appends to the caller's buffer. Thread: any.
 * Errors: -1 with ERR_CONFIG: not JSON, not a schema, nested over 64 levels.
 */
#ifndef SIM_CANONICAL_H
#define SIM_CANONICAL_H

#include "base/buf.h"
#include "base/err.h"

MUST_CHECK int canonical_form(struct span schema_json, struct buf *out, struct err *e);
/* The id as text, and, when name is not NULL, the record's own name (without namespace), cut to size. */
MUST_CHECK int canonical_schema_id(struct span schema_json, char id[23], char *name, size_t name_size,
                                   struct err *e);

#endif
