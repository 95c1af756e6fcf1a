/*
 * replay: read again from a position, on a person's order.
 *
 * A replay raises the subscription's generation: what the service sends from there on is journaled again,
 * marked where an earlier generation held it, and delivered once more. The order is a change of the stored
 * record and nothing else, so it takes effect now (a running intake reopens the stream) or at the next start.
 *
 * Guarantees
 *   The same order twice, while the first is still catching up or within five minutes, is one.
 *   Every use is recorded as a closed incident of kind "replay": when, from, to, by whom.
 *   An id that the service then refuses is an incident like any lost position: nothing is skipped in silence.
 *
 * Calling order: replay_parse -> replay_find -> replay_order, in a write transaction. Ownership: values. Thread: as the
 * transaction; with a running daemon only through intake_replay.
 * Errors: replay_parse, replay_find: ERR_CONFIG; all: ERR_STORE.
 */
#ifndef INTAKE_REPLAY_H
#define INTAKE_REPLAY_H

#include "config/config.h"
#include "store/subscriptions.h"

enum replay_from { REPLAY_FROM_ID, REPLAY_FROM_EARLIEST, REPLAY_FROM_LATEST, REPLAY_FROM_TIME };

struct replay_request {
    enum replay_from from;
    uint8_t id[EVENT_MAX_REPLAY_ID];
    uint32_t id_len;
    int64_t time_ms;              /* REPLAY_FROM_TIME: wall clock, inclusive … */
    bool is_age;                  /* … given as one: "-2h" */
    char text[STORE_MAX_REQUEST]; /* normalised: what is compared and recorded */
    char by[64];                  /* who asked */
    bool dry_run;
};

/* "earliest", "latest", a replay id, an RFC 3339 time, or "-2h". */
MUST_CHECK int replay_parse(const char *from, struct replay_request *out, bool *was_int, struct err *e);

/*
 * The record of a subscription as the store has it, by the org that was logged in to last. ERR_CONFIG when it has
 * never reached its org: there is no position that could be changed.
 */
MUST_CHECK int replay_find(struct store_txn *txn, const char *org_name,
                           const struct subscription_config *subscription, struct subscription_record *out,
                           struct err *e);

enum replay_result { REPLAY_ORDERED, REPLAY_ALREADY_UNDER_WAY, REPLAY_DRY_RUN };

/*
 * Change *record in this transaction (not with dry_run), and describe in `answer`, for people, what will be
 * read again. Returns a replay_result, or -1.
 */
MUST_CHECK int replay_order(struct store_txn *txn, const struct replay_request *request,
                            struct subscription_record *record, int64_t source_ms, struct buf *answer,
                            struct err *e);

/* The replay's position was not accepted yet: no response has come in its generation. */
bool replay_unconfirmed(const struct subscription_record *record);
/* A response came: there is no way back to the prior position. */
void replay_confirm(struct subscription_record *record);
/* The service refused the position: as if it had never been ordered. The caller stores the record. */
void replay_undo(struct subscription_record *record);
/* It has caught up. The next commit of the subscription stores that. */
void replay_finish(struct subscription_record *record);

#endif
