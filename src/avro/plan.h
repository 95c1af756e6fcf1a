/*
 * plan: what a schema becomes, inside avro/ only.
 *
 * One node per type, linked as the schema links them (a named type that is referred to later is the
 * same node, so recursion is a cycle of pointers). A record keeps one step per field, with what the
 * walk needs for the usual case, ["null", T], beside each other.
 *
 * Ownership: everything lives in the plan's arena. Immutable once compiled. Thread: any.
 */
#ifndef AVRO_PLAN_H
#define AVRO_PLAN_H

#include "avro/decoder.h"
#include "base/buf.h"
#include "base/err.h"

enum node_kind {
    NODE_NULL,
    NODE_BOOLEAN,
    NODE_INT,
    NODE_LONG,
    NODE_FLOAT,
    NODE_DOUBLE,
    NODE_STRING,
    NODE_BYTES,
    NODE_FIXED,
    NODE_ENUM,
    NODE_RECORD,
    NODE_ARRAY,
    NODE_MAP,
    NODE_UNION,
};

struct field_step {
    const struct avro_node *node;   /* the field's type */
    const struct avro_node *second; /* branch 1 of a union whose branch 0 is null, else NULL */
    enum node_kind second_kind;
    uint32_t index;    /* of the field; plain null fields have no step */
    uint32_t null_run; /* so many steps from here on are null where their byte is 0x00 */
};

struct avro_node {
    enum node_kind kind;
    uint32_t n;         /* UNION: branches; ENUM: symbols; FIXED: bytes; RECORD: steps */
    uint32_t min_bytes; /* no value of this type is shorter */
    const char *name;   /* RECORD, ENUM, FIXED: the full name; else NULL */
    bool printed;       /* canonical form: the definition was written, the name suffices */
    bool measured;      /* min_bytes is known, or being worked out */
    union {
        struct {
            struct record_shape shape;
            struct field_step *steps;
        } record;
        const struct avro_node *items; /* ARRAY, MAP (its values) */
        const struct avro_node **branches;
        const struct span *symbols;
    } as;
};

/* What a field of ChangeEventHeader is for us. */
enum header_role {
    HEADER_OTHER, /* a field that came after this was written: walked over */
    HEADER_ENTITY,
    HEADER_RECORD_IDS,
    HEADER_TYPE,
    HEADER_ORIGIN,
    HEADER_TRANSACTION,
    HEADER_SEQUENCE,
    HEADER_TIMESTAMP,
    HEADER_NUMBER,
    HEADER_USER,
    HEADER_NULLED,
    HEADER_DIFF,
    HEADER_CHANGED,
    HEADER_ROLES,
};

/* Whether a bit of a field stands for the field or for its components (pubsub-api 9.5). */
enum compound {
    COMPOUND_NO,
    COMPOUND_SOMETIMES, /* ["null", "string", record]: what the event holds decides */
    COMPOUND_ALWAYS,
};

struct avro_plan {
    struct arena arena;
    struct event_schema schema;
    struct avro_node *root;
    /* Change events only. */
    const struct avro_node *header;
    const enum header_role *roles;        /* per field of the header */
    const enum change_type *change_types; /* per symbol of the changeType enum */
    const enum compound *compounds;       /* per field of the root */
    char computed_id[23];
};

/*
 * schema_parse: JSON to nodes, all limits of decoder.h. The root is a record.
 * Errors: -1, ERR_REJECTED, text with the place in the schema.
 */
MUST_CHECK int schema_parse(struct span text, struct arena *a, struct avro_node **root, struct err *e);

/* canonical: the Parsing Canonical Form, appended to out; marks nodes as printed, so once per parse. */
void canonical_add(struct buf *out, struct avro_node *root);
void canonical_id(struct span canonical, char out[23]);

enum change_type change_type_of_symbol(struct span symbol);

#endif
