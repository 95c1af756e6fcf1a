/*
 * text: reading what people write, without guessing.
 *
 * Every parser takes the whole text or fails: trailing characters are errors.
 * Thread: any. Errors: -1, the caller words the message.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/compiler.h"
#include "base/span.h"

MUST_CHECK int text_parse_int(const char *text, int64_t min, int64_t max, int64_t *out);
/* "64KiB", "10GiB", "123" (bytes), also "10MB" (powers of ten). */
MUST_CHECK int text_parse_size(const char *text, int64_t *bytes);
/* "500ms", "30s", "10m", "96h", "7d". A bare number is refused, except 0. */
MUST_CHECK int text_parse_duration(const char *text, int64_t *ms);
/* RFC 3339 "2026-05-06T14:30:00Z", fraction and offset allowed. */
MUST_CHECK int text_parse_time(const char *text, int64_t *wall_ms);
/* Valid UTF-8 per RFC 3629: no overlong forms, no surrogates, at most U+10FFFF. */
bool text_is_utf8(struct span s);
/* The candidate with the smallest edit distance, if that is small enough to be a typing mistake; else NULL. */
const char *text_nearest(const char *word, const char *const *candidates, size_t n);

#endif
