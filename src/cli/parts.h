/*
 * parts: what a daemon consists of, started from a configuration, changed to another, stopped.
 *
 * Guarantees
 *   Everything stands before data can flow: store, sockets, sinks' records, then delivery, then intake.
 *   parts_change keeps what the plan says goes on: its threads, connections and memory. Either the new
 *   configuration is in effect as a whole, or the old one is as before (delivery loops that had to end for the try
 *   have started again). A loop that ends settles the batch in hand; its successor goes on from its cursor.
 *   Those who look (view) see one configuration or the other.
 *
 * Calling order: parts_start -> parts_change … -> parts_stop (also after a failed start).
 * Ownership: takes each configuration, on success and on failure of parts_start; keeps those of the past for as long
 * as something goes on that was started from them, and points into them. Thread: main. Errors: parts_start: any class; parts_change:
 * ERR_CONFIG; else on_fatal was told, and the process must stop.
 */
#ifndef CLI_PARTS_H
#define CLI_PARTS_H

#include "admin/server.h"
#include "store/journal_signal.h"

struct parts {
    struct config *config; /* in effect */
    struct config **past;
    uint32_t n_past;
    struct store *store;
    struct journal_signal signal;
    struct schema_cache *schemas;
    struct admin *admin;
    struct intake *intake;
    struct delivery_loop **deliveries; /* per sink of config */
    struct daemon_parts view;
    void (*on_fatal)(void *ctx, const struct err *e);
    void *ctx;
};

MUST_CHECK int parts_start(struct parts *p, struct config *config,
                           void (*on_fatal)(void *ctx, const struct err *e), void *ctx, struct err *e);
void parts_stop(struct parts *p);

/* For each item of the next configuration: its index in the present one if it goes on as it is, or PARTS_NEW. */
#define PARTS_NEW UINT32_MAX
struct parts_plan {
    uint32_t *orgs, *subscriptions, *sinks;
};
/* On success takes `next`. */
MUST_CHECK int parts_change(struct parts *p, struct config *next, const struct parts_plan *plan,
                            struct err *e);

#endif
