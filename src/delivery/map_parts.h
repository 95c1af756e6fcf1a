/*
 * map_parts: what the files of map share: the rule of one field, and the steps of a conversion.
 *
 * map.c (with map_table.h) finds tables, columns and slots; coerce.c turns a value into its column's type; texts.c
 * writes a value of any shape as text or JSON; clean.c tidies texts that people typed; moment.c reads and makes dates
 * and times. Everything but map.c is pure.
 *
 * Ownership: results live in the arena given, or point into the event. Thread: any.
 * Errors: false with `why`, a text that follows "cannot be …" or stands alone; see each.
 */
#ifndef DELIVERY_MAP_PARTS_H
#define DELIVERY_MAP_PARTS_H

#include "delivery/map.h"

struct map_rule {
    const char *entity, *field; /* "Account", "BillingAddress.City" */
    enum mirror_type type; /* of the column, or of the value before it becomes a member of a JSON object */
    bool member;           /* the value becomes JSON text */
    bool multi;            /* a multi-select picklist: "a;b" */
    enum field_kind kind;
    const struct field_config *config; /* never NULL */
};

/*
 * The whole way of one value: clean, map, convert, limit, and the fallbacks. As map_value.
 */
enum map_result coerce(const struct map_rule *rule, const struct cell *cell, struct arena *a,
                       struct mirror_value *out, const char **flagged, struct err *why);

/* --- clean ------------------------------------------------------------------------------------------ */

/* "+49 (0)89 1234-56 ext. 7" -> "+4989123456x7". false: it is no phone number. */
bool clean_phone(struct span text, struct arena *a, struct span *out);
/* "$ (1,234.50)" -> "-1234.50", "1.234,5 EUR" -> "1234.5". false: it is no amount, or more than one. */
bool clean_currency(struct span text, struct arena *a, struct span *out);
/* Without white space around (Unicode's, too). */
struct span clean_trim(struct span text);
/* The first `most` characters of valid UTF-8; *cut: there were more. */
struct span clean_cut(struct span text, int64_t most, bool *cut);

/* --- texts ------------------------------------------------------------------------------------------- */

/* A date or time as ISO 8601 text; false: out of range. */
bool texts_add_moment(struct buf *b, enum field_kind kind, int64_t v);
/* Dates and times as ISO texts, bytes as base64. false: JSON in a database cannot hold it (NaN, a NUL in a text). */
bool texts_add_json(struct buf *b, const struct cell *cell, enum field_kind kind);
/* A list of texts, none with a ';', as Salesforce writes multi-select picklists: "a;b". */
bool texts_add_joined(struct buf *b, const struct cell *cell);
/* No database takes a text with a NUL in it. */
bool texts_has_nul(struct span s);

/* --- moment ----------------------------------------------------------------------------------------- */

enum { MOMENT_DAY_MS = 86400000 };

/* The years 1 to 9999, which every target can hold. */
bool moment_in_range(int64_t ms);
/*
 * ISO 8601 as Salesforce and people write it: "2026-05-06", "2026-05-06T14:30:00.123Z", "… +02:00", "+0000". Without
 * an offset it is UTC. *ms since 1970; *has_time: more than a date.
 */
bool moment_parse(struct span text, int64_t *ms, bool *has_time);
/* "14:30", "14:30:00", "14:30:00.123", a "Z" behind: ms of the day. */
bool moment_parse_time(struct span text, int64_t *ms);
/* Days since 1970, towards the past. */
int64_t moment_day(int64_t ms);
/* Milliseconds since that day's midnight. */
int64_t moment_of_day(int64_t ms);

#endif
