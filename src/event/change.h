/*
 * change: an event after decoding.
 *
 * Header, record ids, and per field absent, value or null. Values point into the event's payload;
 * nothing is copied or converted: Avro values unchanged.
 *
 * How to read one (pubsub-api 9.3):
 *   CREATE, UNDELETE: full image; fields lists every non-null field, all else is null.
 *   UPDATE: `changed` says which fields changed; of those, `nulled` were set to null. A value in
 *           `fields` whose bit is not in `changed` is enriched data. A field that is in neither
 *           never touches a target.
 *   DELETE, gap, overflow: no values.
 *   platform event: no header; fields lists every non-null field.
 *
 * Ownership: everything lives in the arena and the payload given to the decoder. Thread: one at a time.
 */
#ifndef EVENT_CHANGE_H
#define EVENT_CHANGE_H

#include "base/span.h"
#include "event/schema.h"

enum change_kind {
    CHANGE_RECORD,   /* "change": CREATE, UPDATE, DELETE, UNDELETE */
    CHANGE_GAP,      /* "gap": GAP_* */
    CHANGE_OVERFLOW, /* "overflow": GAP_OVERFLOW */
    CHANGE_SNAPSHOT, /* "snapshot" */
    CHANGE_PLATFORM_EVENT,
};

enum change_type {
    CHANGE_CREATE,
    CHANGE_UPDATE,
    CHANGE_DELETE,
    CHANGE_UNDELETE,
    CHANGE_GAP_CREATE,
    CHANGE_GAP_UPDATE,
    CHANGE_GAP_DELETE,
    CHANGE_GAP_UNDELETE,
    CHANGE_GAP_OVERFLOW,
    CHANGE_TYPE_SNAPSHOT,
    CHANGE_TYPE_UNKNOWN, /* a symbol that did not exist when this was written; change_type_name has it */
};

struct field_value;
struct map_entry;

struct cell {
    enum cell_type type;
    uint32_t n; /* RECORD: present fields; ARRAY: items; MAP: entries */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct span bytes; /* STRING, BYTES */
        struct {
            const struct record_shape *shape;
            const struct field_value *fields; /* non-null ones only, ascending index */
        } record;
        const struct cell *items; /* ARRAY, nulls included */
        const struct map_entry *entries;
    } as;
};

struct field_value {
    uint32_t index;   /* in the record's shape */
    struct cell cell; /* never CELL_NULL */
};

struct map_entry {
    struct span key;
    struct cell cell;
};

/* One level of a bitmap: which fields of `shape` are named (pubsub-api 9.5). */
struct field_bits {
    uint32_t n_words;
    const uint64_t *words; /* bit i of words[i / 64] stands for field i */
};

/* The nested part: bits of one compound field's children. */
struct nested_bits {
    uint32_t parent; /* index in the root shape; its record is never NULL */
    struct field_bits bits;
};

/*
 * The fields named by changedFields, nulledFields or diffFields. A parent whose own top-level bit is set
 * has been expanded: it appears in `nested` with all children, and not in `top`. A field that may be text or a
 * compound (Account.Name) is expanded only when the event holds a compound; else it stays in `top`.
 */
struct field_set {
    struct field_bits top;
    uint32_t n_nested;
    const struct nested_bits *nested; /* ascending parent, each parent once */
};

static inline bool field_bits_has(const struct field_bits *b, uint32_t i)
{
    return i / 64 < b->n_words && (b->words[i / 64] >> (i % 64) & 1);
}

/* True when the field (child < 0: the plain field itself; else a child of the compound `index`) is named. */
bool field_set_has(const struct field_set *set, uint32_t index, int child);

/* ChangeEventHeader. Spans point into the payload. */
struct change_header {
    struct span entity;
    uint32_t n_record_ids;
    const struct span *record_ids;
    enum change_type type;
    struct span type_name; /* the schema's own symbol */
    struct span origin;
    struct span transaction_key;
    int32_t sequence_number;
    int64_t commit_timestamp; /* ms since 1970; does not order transactions */
    int64_t commit_number;
    struct span commit_user;
};

struct change {
    const struct event_schema *schema;
    enum change_kind kind;
    struct change_header header; /* all zero for platform events */
    struct field_set changed, nulled, diff;
    uint32_t n_fields;
    const struct field_value *fields; /* present (non-null) values, ascending index; without the header */
};

const char *change_kind_name(enum change_kind kind); /* "change", "gap", … as in the JSON */

/* When it was committed (a platform event: created), ms since 1970; 0: it does not say. */
int64_t change_committed_ms(const struct change *ch);

#endif
