/*
 * intake: loop 1. From the streams of all orgs to the journal.
 *
 * One thread takes what the I/O threads queued, and for each response: drops what is held, appends the rest
 * raw, sets the subscription's position, commits (append.h). It drives each subscription's state machine
 * (source.h) and the upkeep of the store: identities, trims, reader slots.
 *
 * Guarantees
 *   Commits when the queue runs dry or a batch is full (2,000 events).
 *   A subscription that waits (for a token, a schema, its back-off) holds up no other.
 *   Intake stops only where unsettled entries fill the journal (I5): the streams are closed in state
 *   paused_full, positions kept, and reopened below 90 %.
 *
 * Calling order: intake_start -> intake_describe … -> intake_stop (closes the streams, commits what was
 * received, joins; frees). Thread: start and stop from one thread; describe from any. Errors: intake_start:
 * ERR_CONFIG (CA file, endpoint) or ERR_STORE. Afterwards a store that fails is told once to on_fatal, and
 * intake ends: the process must stop.
 */
#ifndef INTAKE_INTAKE_H
#define INTAKE_INTAKE_H

#include "auth/auth.h"
#include "avro/schema_cache.h"
#include "config/config.h"
#include "intake/replay.h"
#include "pubsub/pubsub.h"
#include "salesforce/usage.h"
#include "store/journal_signal.h"
#include "store/store.h"

struct intake;

struct intake_options {
    const struct config *config;
    struct store *store;
    struct schema_cache *schemas;
    struct journal_signal *signal;
    void (*on_fatal)(void *ctx, const struct err *e);
    void *ctx;
};

MUST_CHECK int intake_start(const struct intake_options *options, struct intake **out, struct err *e);
void intake_stop(struct intake *in);

enum source_state {
    SOURCE_CONNECTING,
    SOURCE_CATCHING_UP,
    SOURCE_LIVE,
    SOURCE_BACKING_OFF,
    SOURCE_LOST_POSITION,
    SOURCE_PAUSED_FULL,
    SOURCE_REFUSED, /* only a person can help; probed slowly */
    SOURCE_STOPPED,
};

const char *source_state_name(enum source_state s);

/* A managed subscription: what is more about it. */
struct managed_view {
    bool beside;                /* what the store may lack is being read on a plain stream */
    uint64_t accepted, refused; /* commits, since the start */
    char trouble[200];          /* why the newest commit was refused; "": it was not */
    char brings[100]; /* events of another topic than the configured one; "": as far as seen, of that one */
};

/* A subscription as it stands now, for status and readiness. */
struct source_view {
    enum source_state state;
    int64_t since_ms; /* wall clock of the last change of state */
    char reason[400]; /* "" when all is well */
    char trouble
        [400]; /* an open stream that was not answered yet: how the one before it failed; "": it did not */
    uint32_t number; /* the store's number; 0 before the first login */
    char org_id[19];
    bool caught_up_possible;      /* GetTopic succeeded with the current token, the stream is open, nothing is
                                     queued */
    bool queued;                  /* something received is not journaled yet */
    int64_t quiet_since_mono_ms;  /* later of: stream opened, last event */
    int64_t last_response_ms;     /* wall clock; 0: none in this process */
    int64_t last_contact_mono_ms; /* last sign of life of the service; 0: none since the stream was opened */
    uint64_t reconnects;
    uint64_t reconnects_by[PUBSUB_CALM + 1]; /* by what the end of the stream asked for */
    uint64_t schema_id_mismatches;           /* of its org */
    struct managed_view managed;
    uint64_t token_refreshes; /* of its org: logins that worked, in this process */
};

/*
 * Order a replay of a subscription (its index in the configuration), and wait until it is stored. Returns a
 * replay_result; -1 with err. *answer tells a person what will be read again.
 */
MUST_CHECK int intake_replay(struct intake *in, uint32_t subscription, const struct replay_request *request,
                             struct buf *answer, struct err *e);

/*
 * Another configuration while it runs (reload.c). What goes on as it is keeps its streams, tokens and positions;
 * what left is closed, what is new begins. Of a stream that is closed everything that is not journaled is asked for
 * again when its subscription comes back: its position stands.
 *
 * Calling order: intake_change_new (may fail: nothing has changed) -> intake_change (from then on subscriptions are
 * counted as in the new configuration) -> intake_change_free (ends what left, which may take a moment).
 * Ownership: the configuration, and those before it, live for as long as intake_uses says, at most until
 * intake_stop. Thread: that of start and stop; nobody else may call anything with the number of a subscription
 * meanwhile.
 * Errors: intake_change_new: ERR_CONFIG. intake_change: ERR_RETRY: intake has ended, which on_fatal was told.
 */
#define INTAKE_NEW UINT32_MAX
struct intake_change;
/* For each org and subscription of `next`: its index in the present configuration if it goes on as it is, or
 * INTAKE_NEW. A subscription goes on only with its org. */
MUST_CHECK int intake_change_new(struct intake *in, const struct config *next, const uint32_t *orgs,
                                 const uint32_t *subscriptions, struct intake_change **out, struct err *e);
MUST_CHECK int intake_change(struct intake *in, struct intake_change *change, struct err *e);
void intake_change_free(struct intake_change *change);
/* Something of this configuration is still pointed to. Once it is not, it never will be. */
bool intake_uses(struct intake *in, const struct config *config);

void intake_describe(struct intake *in, uint32_t subscription, struct source_view *out);
/* An org (its index in the configuration) as it stands now. */
struct org_view {
    struct auth_view auth;
    struct usage_view usage;
};
void intake_describe_org(struct intake *in, uint32_t org, struct org_view *out);
/* A person says that the credentials are mended: log in now, whatever pause is going on. */
void intake_login(struct intake *in, uint32_t org);
/* A person may have mended what subscriptions were refused for: try them now, not at the slow probe. Pauses of
 * logins stand. Thread: any. */
void intake_probe(struct intake *in);
/* When the loop last turned; it does at least once a second, unless it hangs. */
int64_t intake_beat_mono_ms(const struct intake *in);
/* Source time as far as it is known, ms since 1970; 0: unknown. */
int64_t intake_source_time_ms(struct intake *in);

#endif
