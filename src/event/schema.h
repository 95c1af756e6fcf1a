/*
 * schema: the shape of an event, as its Avro schema describes it.
 *
 * Pure data: avro/ builds it from schema JSON, a change refers to it for names, and whoever writes a
 * change (JSON, SQL) reads it. The date kinds come from the schema's `doc` members
 * ("Data:DateTime:00N…"), the only place where Salesforce says what a long means
 * (pubsub-api 8.4, 9.6).
 *
 * Ownership: a schema and everything below it lives in one arena of its own, is immutable once built
 * and stays for the life of the process. Thread: any.
 */
#ifndef EVENT_SCHEMA_H
#define EVENT_SCHEMA_H

#include "base/span.h"

/* The Salesforce type named by doc, as far as the Avro type does not say it already. */
enum field_kind {
    FIELD_PLAIN,    /* what the Avro type says */
    FIELD_DATETIME, /* long: ms since 1970, UTC */
    FIELD_DATE,     /* long: ms of midnight UTC of that day */
    FIELD_TIME,     /* long: ms since midnight UTC */
};

enum cell_type {
    CELL_NULL,
    CELL_BOOLEAN,
    CELL_INT,    /* int and long */
    CELL_DOUBLE, /* float and double */
    CELL_STRING, /* string and enum (its symbol) */
    CELL_BYTES,  /* bytes and fixed */
    CELL_RECORD,
    CELL_ARRAY,
    CELL_MAP,
};

struct record_shape;

struct schema_field {
    const char *name; /* NUL-terminated; valid JSON without escaping (Avro names are) */
    uint32_t name_len;
    enum field_kind kind;
    /* What its values are when they are no record: CELL_STRING where the schema allows several kinds, CELL_RECORD
     * where it allows records only, CELL_NULL where nothing else. */
    enum cell_type type;
    const struct record_shape *record; /* the record branch of its union, or NULL: a compound field */
    const char *doc;                   /* as in the schema, or NULL; its third part is the field's id */
    uint32_t quoted_len;
    const char *quoted; /* "\"Name\":" for the JSON writer */
};

struct record_shape {
    const char *name;
    uint32_t n_fields;
    const struct schema_field *fields;
};

struct event_schema {
    char id[64];              /* as the service names it; 22 characters in all captures */
    bool is_change;           /* field 0 is ChangeEventHeader */
    struct record_shape root; /* root.name: "AccountChangeEvent", "Order__e" */
};

#endif
