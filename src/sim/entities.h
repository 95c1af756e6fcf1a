/*
 * entities: the simulated company's objects, as an administrator would see them in Setup.
 *
 * One table per object: its fields in schema order, with the Salesforce type that goes into `doc` and
 * the kind of value the workload writes. The schema JSON is made from the table, in the form the
 * service sends: namespace com.sforce.eventbus, every field but the header a union with null, named
 * types defined at first use.
 *
 * A field that holds a compound (Address, PersonName) has several leaves, one per component; a plain
 * field has one. Leaves are numbered through the whole object. Account.Name is both: leaf 0 is the name
 * of a business account, the others are a person's name.
 *
 * Everything here is constant. Thread: any.
 */
#ifndef SIM_ENTITIES_H
#define SIM_ENTITIES_H

#include "base/buf.h"

enum field_type {
    TYPE_STRING,
    TYPE_DOUBLE,
    TYPE_INT,
    TYPE_LONG,
    TYPE_BOOLEAN,
    TYPE_ADDRESS,
    TYPE_PERSON_NAME,
    TYPE_SWITCHABLE_NAME, /* [null, string, record] */
    TYPE_LOCATION,
};

/* What the workload writes into a field. The first group it never touches in an update. */
enum value_kind {
    VALUE_NONE, /* always null */
    VALUE_OWNER,
    VALUE_CREATED_DATE,
    VALUE_CREATED_BY,
    VALUE_MODIFIED_DATE,
    VALUE_MODIFIED_BY,
    VALUE_AUTONUMBER,
    VALUE_FIRST_CHANGEABLE,
    VALUE_COMPANY = VALUE_FIRST_CHANGEABLE,
    VALUE_ADDRESS,
    VALUE_PERSON,
    VALUE_LOCATION,
    VALUE_PHONE,
    VALUE_EMAIL,
    VALUE_URL,
    VALUE_CODE,      /* short upper-case text */
    VALUE_PICK,      /* one of the `choices` */
    VALUE_MULTIPICK, /* some of them, joined by ';' */
    VALUE_SENTENCE,
    VALUE_TEXT, /* several lines */
    VALUE_MONEY,
    VALUE_PERCENT,
    VALUE_COUNT,
    VALUE_BOOLEAN,
    VALUE_DATE,
    VALUE_TIME,
    VALUE_DATETIME,
    VALUE_ACCOUNT, /* reference to a live account */
    VALUE_CONTACT,
};

enum {
    FIELD_REQUIRED = 1 << 0, /* set by every create, never nulled */
    FIELD_LATER = 1 << 2,    /* an administrator adds it while the simulator runs (--schema-change-at) */
    FIELD_NOT_NULL = 1 << 1, /* no union with null in the schema (platform events' first two) */
};

struct entity_field {
    const char *name;
    enum field_type type;
    enum value_kind value;
    const char *doc; /* "Data:Phone" */
    unsigned flags;
    const char *choices; /* '|' between them */
};

enum entity_number {
    ENTITY_ACCOUNT,
    ENTITY_CONTACT,
    ENTITY_OPPORTUNITY,
    ENTITY_INVOICE,
    ENTITY_ORDER,
    ENTITY_COUNT
};

enum { ENTITY_MAX_LEAVES = 128 };

struct entity {
    const char *name;       /* "Account": header.entityName */
    const char *topic;      /* "/data/AccountChangeEvent" */
    const char *record;     /* "AccountChangeEvent": the schema's name */
    const char *key_prefix; /* of record ids; NULL: a platform event, which has no records */
    unsigned n_fields;
    const struct entity_field *fields;
};

extern const struct entity entities[ENTITY_COUNT];

/* A component of a compound type. */
struct component {
    const char *name;
    enum field_type type;
};

/* The components of a compound type; n is 0 for a plain type. */
const struct component *type_components(enum field_type type, unsigned *n);
/* Leaves a field of this type takes. */
unsigned type_leaves(enum field_type type);
/* The first leaf of field f, and how many leaves the whole object has. */
unsigned entity_first_leaf(const struct entity *entity, unsigned f);
unsigned entity_leaves(const struct entity *entity);
/* Is field f there? `extended`: the fields that come later have been added. */
bool entity_has_field(const struct entity *entity, unsigned f, bool extended);
/* Index of field f in the event record: behind the header, if there is one. */
unsigned entity_schema_index(const struct entity *entity, unsigned f, bool extended);

/* Append the schema JSON. */
void entity_schema_json(struct buf *out, const struct entity *entity, bool extended);

#endif
