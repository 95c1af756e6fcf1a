/*
 * values: what stands in a field, and where it comes from.
 *
 * Values are drawn from a seeded generator, so a seed gives the same company everywhere. Texts hold
 * umlauts, other alphabets and emoji, because real ones do.
 *
 * Ownership: a value owns its text. Thread: one generator at a time. Errors: none.
 */
#ifndef SIM_VALUES_H
#define SIM_VALUES_H

#include "base/random.h"
#include "sim/entities.h"

enum value_tag { TAG_NULL, TAG_STRING, TAG_DOUBLE, TAG_INT, TAG_BOOLEAN };

struct field_val {
    enum value_tag tag;
    union {
        char *text; /* owned */
        double number;
        int64_t integer;
        bool boolean;
    } as;
};

void val_clear(struct field_val *v);
void val_set_text(struct field_val *v, const char *text);
void val_set_int(struct field_val *v, int64_t integer);
void val_copy(struct field_val *to, const struct field_val *from);
bool val_equal(const struct field_val *a, const struct field_val *b);
/* Append as JSON. */
void val_json(struct buf *out, const struct field_val *v);

/* Draw a value for a plain field. Not for references, system fields and compounds. now_ms: for dates. */
void val_draw(struct field_val *v, struct rng *rng, const struct entity_field *field, int64_t now_ms);
/* All components of a compound; `leaves` has type_leaves() members. Geocodes stay null. */
void val_draw_compound(struct field_val *leaves, struct rng *rng, enum field_type type, bool person);
/* One component. */
void val_draw_component(struct field_val *v, struct rng *rng, enum field_type type, unsigned component);

/* "Müller & Söhne GmbH": at most 80 bytes. */
void draw_company(struct rng *rng, char out[96]);

/* 18 characters: prefix, instance, number in base 62, checksum. out holds 19. */
void record_id_make(const char *prefix, uint64_t number, char out[19]);
/* Append the 3 checksum characters to the 15 of id; out holds 19. */
void record_id_checksum(const char *id15, char out[19]);
/* Version 4 UUID from the generator. */
void draw_uuid(struct rng *rng, char out[37]);
/* "0005f9a1-1b2c-…": a transaction key, which is not an RFC 4122 UUID. */
void draw_transaction_key(struct rng *rng, char out[37]);

#endif
