/*
 * dry_run: what a sink that mirrors records would do next, as statements, without doing it.
 *
 * The first batch beyond the sink's cursor goes through mapping and conflict check as always; the mirror is looked at
 * (what it holds decides what would be written), and shows its statements instead of running them. What was
 * superseded or would be parked is said in comments.
 *
 * Guarantees: neither the store nor the target changes. The output is SQL with comments; no text holds a password.
 * Calling order: dry_run, once per sink. Thread: main; the store may be open for reading only, beside a daemon.
 * Errors: -1 with err, of the store. A target that is away is a comment: it is taken as empty.
 */
#ifndef DELIVERY_DRY_RUN_H
#define DELIVERY_DRY_RUN_H

#include "delivery/delivery.h"

/* A schema the org was asked for, of an entity that the journal may hold nothing of yet. */
struct dry_run_schema {
    const struct event_schema *schema;
    const char *topic;
};

/*
 * options: config, sink, store (NULL: there is none yet) and schemas. *n_events: how many the batch had; with none,
 * the tables of `extra` are shown.
 */
MUST_CHECK int dry_run(const struct delivery_options *options, const struct dry_run_schema *extra,
                       size_t n_extra, struct buf *out, size_t *n_events, struct err *e);

#endif
