/*
 * What the store has room for (I5): intake stops when what must be kept fills it, and begins again when a tenth is free.
 */
#include "intake/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/sinks.h"

enum {
    SPACE_CHECK_MS = 1000,
    READERS_CHECK_MS = 60 * 1000,
    RETRY_FULL_MS = 2000,
    GIVE_WAY_TOLD_MS = 60 * 1000,
};

/* Stop taking in, until live bytes fall below this; and find out for whom. */
static int become_full(struct intake *in, int64_t reopen_below, struct err *e)
{
    struct store_txn txn;
    struct journal_bounds bounds = {0};
    uint64_t settled = 0;
    if (store_begin(in->options.store, false, &txn, e) != 0)
        return -1;
    int rc = sinks_settled(&txn, &settled, e);
    if (rc == 0)
        rc = journal_bounds(&txn, &bounds, e);
    store_abort(&txn);
    in->full = true;
    in->reopen_below = reopen_below;
    in->retry_full_ms = clock_mono_ms() + RETRY_FULL_MS;
    in->full_why =
        settled < bounds.head
            ? "unsettled entries fill the journal (store.max_size): a sink does not keep up"
            : "identities, dead letters and what else must be kept fill the store: raise store.max_size";
    return rc;
}

/* I5: where do we stand between what is kept and what may be kept? */
static int check_space(struct intake *in, int64_t now, struct err *e)
{
    int64_t soon = in->options.config->store.max_size / 64;
    if (now - in->space_checked_ms < SPACE_CHECK_MS && in->bytes_since_space_check < soon)
        return 0;
    struct store_space space;
    if (store_space(in->options.store, &space, e) != 0)
        return -1;
    in->space_checked_ms = now;
    in->bytes_since_space_check = 0;
    if (!in->full && space.live_bytes >= space.max_bytes) {
        if (become_full(in, space.max_bytes / 10 * 9, e) != 0)
            return -1;
    } else if (in->full && (space.live_bytes < in->reopen_below || now >= in->retry_full_ms)) {
        in->full = space.live_bytes >= space.max_bytes / 10 * 9;
    }
    in->trim_for_space = in->full || space.live_bytes > space.max_bytes / 10 * 8;
    in->trim_wanted = true;
    return 0;
}

int space_give_way(struct intake *in, struct err *e)
{
    struct store_space space;
    if (e->class != ERR_STORE || e->code != MDB_MAP_FULL)
        return -1;
    if (clock_mono_ms() >= in->retry_full_ms + GIVE_WAY_TOLD_MS)
        log_warn("intake", "%s: making room", e->text);
    if (store_space(in->options.store, &space, e) != 0)
        return -1;
    err_clear(e);
    for (uint32_t i = 0; i < in->n_sources; i++)
        source_abandon(in, in->sources[i]);
    in->space_checked_ms = clock_mono_ms();
    in->trim_for_space = in->trim_wanted = true;
    return become_full(in, space.live_bytes / 10 * 9, e);
}

int space_upkeep(struct intake *in, int64_t now, bool *more, struct err *e)
{
    const int64_t source_now = intake_source_now(in);
    const int64_t expire_before_ms = source_now ? source_now - in->options.config->store.dedupe_window_ms : 0;
    const int64_t trim_before_ms = source_now ? source_now - in->options.config->store.retention_ms : 0;
    *more = false;
    if (check_space(in, now, e) != 0)
        return -1;
    if (now - in->readers_checked_ms >= READERS_CHECK_MS) {
        in->readers_checked_ms = now;
        store_check_readers(in->options.store);
    }
    if (append_identities_want_upkeep(in->appender, expire_before_ms)) {
        *more = !in->full; /* then once a second is enough */
        if (append_keep_identities(in->appender, expire_before_ms, e) != 0 && space_give_way(in, e) != 0)
            return -1;
    }
    if (in->trim_wanted &&
        append_trim(in->appender, trim_before_ms, in->trim_for_space, &in->trim_wanted, e) != 0)
        return -1;
    *more = *more || in->trim_wanted;
    if (in->trim_for_space && in->trim_wanted)
        in->space_checked_ms = 0; /* look again after each step: what need not go stays for the retention */
    return 0;
}
