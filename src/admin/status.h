/*
 * status: the state of everything as JSON, and as text for people (README, "Status").
 *
 * Guarantees: totals come from one read transaction, so I9 holds in every answer. Keys are only ever added.
 *
 * Ownership: status_json gives a new reference (json_decref). Thread: any.
 * Errors: NULL with err: the store cannot be read.
 */
#ifndef ADMIN_STATUS_H
#define ADMIN_STATUS_H

#include "admin/daemon.h"

#include <jansson.h>

struct snapshot;

/* parts->store NULL: no store yet, lists are empty. */
MUST_CHECK json_t *status_json(const struct daemon_parts *parts, struct err *e);
json_t *status_from_snapshot(const struct snapshot *s);
/* The same, for people, from what status_json made. */
void status_text(const json_t *status, bool colour, struct buf *out);

/*
 * Ready: every subscription is in contact with the service and every sink is moving. When not, `why` names
 * each that is not, since when, and the reason, one line each.
 */
bool status_ready(const struct daemon_parts *parts, struct buf *why);

#endif
