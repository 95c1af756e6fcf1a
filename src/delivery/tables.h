/*
 * tables: what the loop knows of the mirror's tables since it was opened. Internal to delivery/.
 *
 * The mirror numbers the fields of a table (prepare); states name fields by these numbers. A table is
 * prepared again whenever its shape rises, and everything is forgotten when the target is opened anew.
 *
 * Ownership: a table lives as long as the tables; its arrays change with prepare alone. Thread: the sink's.
 * Errors: those of the mirror.
 */
#ifndef DELIVERY_TABLES_H
#define DELIVERY_TABLES_H

#include "sink/mirror.h"

enum { NO_COLUMN = UINT32_MAX };

struct table {
    const struct mirror_table *mirror;
    bool used; /* in this batch */
    bool prepared;
    uint32_t shape;    /* of what was prepared */
    uint32_t n;        /* sources prepared */
    uint32_t *fields;  /* numbers of the fields, ascending … */
    uint32_t *sources; /* … and the source each stands for */
    uint32_t *numbers; /* by source */
    uint32_t *places;  /* by source: where its field stands in `fields` */
    uint32_t modified; /* the column that is table->last_modified, or NO_COLUMN */
};

struct tables {
    struct table **tables; /* by mirror_table.number */
    size_t n;
};

struct table *tables_of(struct tables *t, const struct mirror_table *mirror);
/* Ask the mirror to make or check it, unless that was done for this shape. In a transaction of the mirror. */
MUST_CHECK int table_prepare(struct table *t, const struct mirror_ops *ops, struct mirror *m,
                             struct mirror_remarks *remarks, struct err *e);
/* The source a field's number stands for; NO_COLUMN: a field this table does not know any more. */
uint32_t table_source(const struct table *t, uint32_t field);
/* The transaction of the last prepares was rolled back, or the mirror closed. */
void tables_forget(struct tables *t);
void tables_release(struct tables *t);

#endif
