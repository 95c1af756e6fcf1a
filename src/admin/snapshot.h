/*
 * snapshot: everything worth knowing about a daemon, or about the store it left, at one moment.
 *
 * What status, metrics and readiness say is written from this, so that they cannot disagree.
 *
 * Guarantees: totals, cursors and bounds come from one read transaction, so I9 holds in every snapshot; how the
 * loops stand (the views) is asked just before.
 *
 * Calling order: snapshot_take -> read -> snapshot_release (also after a failed take).
 * Ownership: a snapshot owns its arrays and borrows the configuration. Thread: any.
 * Errors: -1 with err: the store cannot be read.
 */
#ifndef ADMIN_SNAPSHOT_H
#define ADMIN_SNAPSHOT_H

#include "admin/daemon.h"
#include "store/dead_letters.h"
#include "store/incidents.h"
#include "store/journal.h"
#include "store/sinks.h"
#include "store/subscriptions.h"

struct snapshot_subscription {
    const struct subscription_config *config;
    const char *org;                   /* its name */
    struct subscription_record record; /* all zero before the first login */
    struct source_view view;           /* daemon down: SOURCE_STOPPED */
};

struct snapshot_org {
    const char *name;
    struct org_view view;  /* daemon down: all zero */
    int64_t next_login_ms; /* wall clock; 0: at once, or when one is needed; INT64_MAX: none will come */
};

struct snapshot_sink {
    const struct sink_config *config; /* NULL: it left the configuration */
    struct sink_record record;        /* without its state */
    uint64_t lag;
    int64_t lag_ms;            /* since the oldest unsettled event was received; 0 without lag */
    struct delivery_view view; /* daemon down: DELIVERY_STOPPED */
};

struct snapshot_dead_letters {
    char sink[STORE_MAX_NAME + 1];
    char reason[64];
    enum dead_letter_status status;
    uint64_t count;
};

struct snapshot {
    const char *store_path;
    bool running;   /* taken inside the daemon */
    bool has_store; /* false: nothing below but the configuration's names */
    struct reload_view reload;
    int64_t wall_ms, mono_ms;
    int64_t source_ms; /* source time; 0: unknown, as it is while no daemon runs */
    struct journal_bounds bounds;
    struct store_space space;
    size_t n_orgs, n_subscriptions, n_sinks, n_dead_letters, n_incidents;
    struct snapshot_org *orgs;                   /* as configured */
    struct snapshot_subscription *subscriptions; /* as configured */
    struct snapshot_sink *sinks;                 /* as configured, then the retired ones */
    struct snapshot_dead_letters *dead_letters;  /* grouped */
    struct incident *incidents;
};

/* parts->store NULL: there is no store yet. */
MUST_CHECK int snapshot_take(const struct daemon_parts *parts, struct snapshot *out, struct err *e);
void snapshot_release(struct snapshot *s);

/* How old the position is in source time, ms; -1: unknown. */
int64_t snapshot_position_age_ms(const struct snapshot *s, const struct snapshot_subscription *sub);
/* Wall clock of the last response, of this process or before it; 0: none. */
int64_t snapshot_last_response_ms(const struct snapshot_subscription *sub);
uint64_t snapshot_open_incidents(const struct snapshot *s);
const char *snapshot_sink_kind(const struct snapshot_sink *sink); /* NULL: not configured */
const char *snapshot_sink_state(const struct snapshot_sink *sink);

#endif
