/*
 * json: writing JSON text into a buffer, fast.
 *
 * For events, log lines and status output. Parsing JSON is jansson's job.
 *
 * Guarantees: the output is valid JSON as long as the input is valid UTF-8; control characters, '"'
 * and '\' are escaped, everything else is copied. Numbers are exact: 64-bit integers in full, doubles
 * with as few digits as read back to the same value; NaN and infinities as the strings "NaN",
 * "Infinity", "-Infinity".
 *
 * Thread: any, one buffer at a time. Errors: none.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

void json_add_string(struct buf *b, struct span s);
void json_add_int(struct buf *b, int64_t v);
void json_add_uint(struct buf *b, uint64_t v);
void json_add_double(struct buf *b, double v);

#endif
