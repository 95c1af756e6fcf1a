/*
 * source: one subscription at run time, and its state machine. Internal to intake/.
 *
 *      CONNECTING ──stream open──► CATCHING_UP ──quiet, or near the clock──► LIVE
 *        ▲    │                        │                                      │
 *        │    └─token fails──┐         └──────────── stream ends ─────────────┤
 *        │                   ▼                                                ▼
 *        └──pause over── BACKING_OFF ◄── RECONNECT, NEW_TOKEN, SLOW_DOWN ── reaction
 *        ├──probe─────── REFUSED ◄───────────────────────────── FATAL ────────┤
 *        └──policy────── LOST_POSITION ◄── the replay id is refused ──────────┘
 *      any ──journal full of unsettled entries──► PAUSED_FULL ──below 90 %──► CONNECTING
 *
 * State lives in one field and changes in source_set_state, which logs old -> new with the reason.
 *
 * Thread: everything here belongs to the intake thread, except `shared`, which the I/O thread fills under
 * the inbox lock.
 */
#ifndef INTAKE_SOURCE_H
#define INTAKE_SOURCE_H

#include "intake/append.h"
#include "intake/intake.h"
#include "intake/managed.h"
#include "intake/replay.h"
#include "pubsub/pubsub.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    QUEUE_MOST_EVENTS = 4000, /* per stream, waiting to be journaled: then nothing more is asked for */
    QUEUE_MOST_BYTES = 8 << 20,
    BATCH_MOST_EVENTS = 2000,
    BATCH_MOST_BYTES = 4 << 20,
    REFUSED_PROBE_MS = 300 * 1000,
    START_MARGIN_MS = 10 * 1000, /* commit stamps are whole seconds, clocks differ a little */
};

struct org_run {
    const struct org_config *config;
    struct intake *intake;
    struct store *store;
    struct auth *auth;
    struct pubsub *pubsub;
    struct usage *usage;
    struct org_record record;
    bool known; /* record is what the store holds */
    bool gone;  /* it left the configuration: nothing is asked of it any more (reload.c) */
    bool ended; /* and its connection and logins have ended; under the inbox lock */
    struct org_run *next_gone;
    uint64_t schema_id_mismatches;
    int64_t server_time_ms;      /* Date of the last login … */
    int64_t server_time_mono_ms; /* … and when we learned it */
};

/* One schema that is being fetched, or was refused. */
struct schema_fetch {
    struct org_run *org;
    char id[256];
    bool in_flight;
    uint64_t token_serial; /* of the token it was last asked with */
    bool unusable; /* refused for good, or does not compile: its events are journaled as undecodable */
    int refusals;  /* INVALID_ARGUMENT or NOT_FOUND in a row */
    int64_t first_refusal_ms, retry_at_ms; /* monotonic */
    unsigned failures;
    char reason[300];
    struct schema_fetch *next;
};

struct source {
    const struct subscription_config *config;
    struct org_run *org;
    char subject[STORE_MAX_NAME + 16]; /* "subscription accounts" */

    enum source_state state;
    char reason[400];
    char trouble[400]; /* what the last failure was, until the service is heard again */
    int64_t since_ms;
    int64_t retry_at_ms; /* monotonic: BACKING_OFF, REFUSED */
    unsigned attempt;    /* failures in a row: reset by a response, not by an open stream */
    uint64_t reconnects, reconnects_by[PUBSUB_CALM + 1];

    struct subscription_record record;
    bool have_record;
    struct replay_group group;
    struct managed_run managed; /* config->managed: what is more about it */
    int64_t drop_before_ms;     /* events committed before are `before_start`; 0: none */
    bool replay_through;        /* the record may say so before the store does */
    bool drops_for_latest;      /* because it begins at `latest`, not because of a replay from a time */

    uint64_t token_serial;
    uint32_t stream_epoch; /* of the org when the current stream was opened */
    bool stream_open, topic_ok;
    bool topic_ends; /* GetTopic has said why the stream is to end, before it said so itself … */
    enum pubsub_reaction ends_for; /* … and this is what it said */
    int64_t topic_ask_at_ms; /* monotonic: GetTopic is asked again beside its stream; 0: not */
    unsigned topic_failures; /* in a row, on this stream */
    int64_t opened_ms, last_event_ms, last_response_mono_ms; /* monotonic */
    int64_t last_response_ms;                                /* wall */
    int64_t newest_stamp_ms; /* commit stamp of the newest event; 0: none yet */
    bool heard;              /* a response came on the current stream */
    bool silent;             /* the watchdog has cut a stream, and no response has come since */
    int64_t contact_mono_ms; /* the last response; or GetTopic's answer, unless the streams are silent */

    struct pubsub_response *current; /* being journaled */
    uint32_t next_event;             /* index in current */
    const struct avro_plan *plan;    /* of the newest event: most events have the schema of the one before */
    char plan_id[256];
    struct schema_fetch *waiting; /* for this schema; NULL: for none */

    struct {                          /* under the inbox lock */
        struct pubsub_stream *stream; /* NULL: ended */
        uint64_t number, ended_number;
        struct pubsub_stream *beside; /* of a managed subscription (managed.h) */
        uint64_t beside_number;       /* 0: none is wanted */
        struct pubsub_response *head, **tail;
        size_t events, bytes;
        bool paused;
        bool in_hand; /* a response was taken, and no view says yet what became of it */
    } shared;
    uint32_t owed;            /* notes that will name it yet: one for each stream opened and each GetTopic */
    struct source *next_gone; /* it left the configuration (reload.c) */
};

/* What a queued response holds of QUEUE_MOST_BYTES: an empty one is not free either. */
static inline size_t response_cost(const struct pubsub_response *r)
{
    return r->bytes + 1024;
}

/* A replay that another thread orders, and waits for. */
struct replay_call {
    struct replay_request request;
    struct buf answer;
    struct err e;
    int result;
    bool done;
    int users; /* the waiting thread and the note: the last one frees */
};

/* What other threads tell the intake thread. */
struct note {
    enum { NOTE_END, NOTE_TOPIC, NOTE_SCHEMA, NOTE_REPLAY, NOTE_CHANGE } kind;
    struct source *source;      /* END, TOPIC */
    struct schema_fetch *fetch; /* SCHEMA */
    uint64_t number;            /* stream */
    bool failed;
    struct pubsub_status status; /* END; TOPIC and SCHEMA when failed */
    bool can_subscribe;
    struct buf json;
    struct replay_call *call;     /* REPLAY */
    struct intake_change *change; /* CHANGE */
    struct note *next;
};

struct intake {
    struct intake_options options;
    struct appender *appender;
    pthread_t thread;
    bool started;

    uint32_t n_orgs, n_sources;
    struct org_run **orgs;
    struct source **sources;
    struct source *gone_sources; /* late callbacks may name them; changed under the inbox lock */
    struct org_run *gone_orgs;   /* likewise */
    struct schema_fetch *fetches;
    struct arena arena;           /* of one batch */
    struct pubsub_response *done; /* journaled by the batch in hand: freed after its commit */
    int64_t newest_stamp_ms;      /* greatest commit stamp received */
    int64_t batch_stamp_ms;
    int64_t latest_stamp_ms; /* what is stamped later is not believed */
    uint64_t next_stream_number;
    int64_t batch_bytes, batch_most_bytes; /* a batch is full at these */
    int64_t bytes_since_space_check;
    int64_t space_checked_ms, readers_checked_ms;
    bool full, trim_for_space, trim_wanted;
    int64_t reopen_below;  /* full: live bytes that end it … */
    int64_t retry_full_ms; /* … or this time, monotonic, with a tenth free … */
    const char *full_why;  /* … and what people are told */

    pthread_mutex_t lock; /* the inbox: everything below, and sources[].shared */
    pthread_cond_t wake, replied;
    struct note *notes, **notes_tail;
    bool woken, stopping, ended;
    bool probe;                /* those that were refused are to be tried */
    struct source_view *views; /* per subscription, for other threads */
    int64_t source_time_ms;

    atomic_int_fast64_t beat_mono_ms; /* the last turn */
};

/* It came on the plain stream beside the managed one. */
static inline bool source_is_beside(const struct source *s, const struct pubsub_response *r)
{
    return s->config->managed && r->stream != s->shared.number;
}

/* Does it say how far the subscription is? */
static inline bool source_is_aside(const struct source *s, const struct pubsub_response *r)
{
    return s->config->managed && !s->managed.whole && !source_is_beside(s, r);
}

/* --- source.c: the state machine */
void source_set_state(struct source *s, enum source_state state, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Do what is due now. Returns the monotonic time of the next thing, or INT64_MAX. -1 with err: ERR_STORE. */
MUST_CHECK int source_step(struct intake *in, struct source *s, int64_t now, int64_t *next, struct err *e);
MUST_CHECK int source_on_end(struct intake *in, struct source *s, const struct note *note, struct err *e);
void source_on_topic(struct intake *in, struct source *s, const struct note *note);
/* A response was taken from the queue: the service is there. */
void source_heard(struct source *s, const struct pubsub_response *r, int64_t now);
void source_close_stream(struct intake *in, struct source *s);
/* It has caught up: the replay that is under way, if there is one, is through. */
void source_finish_replay(struct source *s);
/* Nothing the current stream has brought, or still brings, counts any more: it will be sent again. */
void source_abandon(struct intake *in, struct source *s);
/* The stream brings what cannot be kept: close it, without what came behind, and try again slowly. */
void source_distrust(struct intake *in, struct source *s, const char *why, int64_t now);
/* On the intake thread: a replay_result, or -1. */
MUST_CHECK int source_replay(struct intake *in, struct source *s, const struct replay_request *request,
                             struct buf *answer, struct err *e);
bool source_has_work(struct intake *in, struct source *s);

/* The position is refused, or counts no more: an incident, and then the policy. */
MUST_CHECK int source_lose_position(struct intake *in, struct source *s, const char *why, struct err *e);

/* How long to wait after the attempt-th failure in a row. */
int64_t org_back_off_ms(const struct org_config *org, unsigned attempt, enum pubsub_reaction reaction);

/* --- connect.c: from a token to an open stream */
/* GetTopic once more, for the stream that is open. */
void source_ask_topic(struct source *s, int64_t now);
/* Try now: opens a stream, or leaves the source waiting, refused, or without its position. */
MUST_CHECK int source_connect(struct intake *in, struct source *s, int64_t now, struct err *e);

/* Where a new stream begins: the resume point; else what `start` says, minding the hole of `latest`. */
MUST_CHECK int source_choose_start(struct intake *in, struct source *s, enum pubsub_from *from,
                                   struct span *replay_id, struct err *e);
void source_open_beside(struct intake *in, struct source *s, const struct auth_token *token,
                        enum pubsub_from from, struct span replay_id);

/* --- gather.c: responses -> arrivals */
void gather_batch(struct intake *in, int64_t now);
void gather_free_done(struct intake *in);

/* --- schema_fetch.c */
/* The plan for an event's schema; NULL and *fetch set: wait for it, or (fetch->unusable) it will never come.
 */
const struct avro_plan *schema_for(struct intake *in, struct source *s, struct span schema_id, int64_t now,
                                   struct schema_fetch **fetch);
/* Nothing more of s is journaled before this fetch has ended; its reason says so. */
void schema_wait_for(struct source *s, struct schema_fetch *fetch);
MUST_CHECK int schema_fetch_arrived(struct intake *in, struct note *note, int64_t now, struct err *e);
/* Start fetches whose pause is over; *next as in source_step. */
void schema_fetch_step(struct intake *in, int64_t now, int64_t *next);
/* The org left: drop its fetches. False: one is in flight, and names the org when it comes. */
bool schema_fetch_forget(struct intake *in, const struct org_run *org);

/* --- reload.c */
MUST_CHECK int org_run_new(struct intake *in, const struct org_config *config, struct org_run **out,
                           struct err *e);
void org_run_free(struct org_run *org);
struct source *source_new(const struct subscription_config *config, struct org_run *org);
void source_free(struct source *s);
/* On the intake thread. Cannot fail. */
void reload_take(struct intake *in, struct intake_change *change);
/* Free what left, and is told of nothing any more. On the intake thread, when no note is in hand. */
void reload_reap(struct intake *in);

/* --- logins.c */
/* Pauses of logins go on where they were, and are kept from now on. */
MUST_CHECK int logins_remember(struct org_run *org, struct err *e);

/* --- space.c: what the store has room for (I5) */
/* Look at the space now and then, forget old identities, trim: one step of each. *more: there is more to do at once. */
MUST_CHECK int space_upkeep(struct intake *in, int64_t now, bool *more, struct err *e);
/*
 * The map has no room for this batch: with all of it in use, or because what is free lies in pieces too short
 * for a large event. Nothing of the batch took effect, so its events are asked for again, once a tenth of
 * what is held has made room, or after a while: pages that were freed are free for use only some commits
 * later. Returns 0, or -1 when the error is another.
 */
MUST_CHECK int space_give_way(struct intake *in, struct err *e);

/* --- intake.c */
void intake_post(struct intake *in, struct note *note); /* takes the note */
void intake_wake(void *in);
int64_t intake_source_now(struct intake *in);

#endif
