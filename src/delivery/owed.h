/*
 * owed: re-reads that a mirror needs, as incidents people see and tasks in the store. Internal to delivery/.
 *
 *   gap               the stream said "gap" for a record
 *   text_difference   a long text came as a difference to one that is not held
 *   late_change       a change came that is older than the horizon
 *   incomplete_rows   changes of a record came, but never all of it
 *   entity_reread     the stream spoke of records it did not name (overflow, "001*")
 *   column_type       a column of the target is of another type: a look is needed
 *   and those of I7   what lies before the journal, of whole subscriptions
 *
 * One incident is open per sink, kind and entity (column_type: per column); each record that is owed is a task of
 * its own.
 *
 * Ownership: borrows. Thread: the sink's, in a write transaction of the store. Errors: -1 with err,
 * ERR_STORE.
 */
#ifndef DELIVERY_OWED_H
#define DELIVERY_OWED_H

#include "delivery/delivery.h"
#include "store/incidents.h"

struct owed {
    const char *kind;
    struct span entity;
    struct span record_id; /* empty: the whole entity */
    uint32_t subscription;
    int64_t since_ms; /* commit time of the change that asks for it; 0: unknown */
};

MUST_CHECK int owed_add(struct store_txn *txn, const struct delivery_options *o, const struct owed *owed,
                        size_t n, struct err *e);
/* An incident of the sink with this text, unless one of its kind is open; *opened says which. */
MUST_CHECK int owed_incident(struct store_txn *txn, const struct delivery_options *o, const char *kind,
                             const char *policy, const char *text, uint64_t *number, bool *opened,
                             struct err *e);
/* An incident that asks a person to look, unless one with this text is open. */
MUST_CHECK int owed_look(struct store_txn *txn, const struct delivery_options *o, const char *kind,
                         const char *text, struct err *e);
/* Everything of the sink's subscriptions, since nobody knows when. */
MUST_CHECK int owed_all(struct store_txn *txn, const struct delivery_options *o, uint64_t incident,
                        struct err *e);

#endif
