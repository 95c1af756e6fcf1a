/*
 * horizon: the version below which nothing can come any more, so that states shrink and tombstones go.
 *
 * Every few hours of source time the newest version seen is noted, with the seq it stood at. A note becomes
 * the horizon once HORIZON_AGE_MS of source time have passed since, and the journal holds nothing from before
 * it: what comes later and is older still is never applied, it becomes a repair.
 *
 * Only one org's versions can be compared: a sink that has taken changes of several has no horizon any more.
 *
 * Guarantees: never rises for the local clock, nor for what only this process knows: notes, and whose they are,
 * are kept with the cursor.
 * Ownership: a value. Thread: the sink's. Errors: none: notes that do not parse are as if there were none.
 */
#ifndef DELIVERY_HORIZON_H
#define DELIVERY_HORIZON_H

#include "base/buf.h"
#include "event/version.h"

#define HORIZON_AGE_MS  (INT64_C(96) * 3600 * 1000)
#define HORIZON_STEP_MS (INT64_C(4) * 3600 * 1000)

enum { HORIZON_NOTES = 32 };

struct horizon_note {
    int64_t source_ms;
    uint64_t seq;
    uint32_t epoch;
    int64_t commit;
};

struct horizon {
    char org_id[19];                          /* whose changes were seen; "": none yet */
    bool several;                             /* and those of another org, too */
    struct horizon_note notes[HORIZON_NOTES]; /* oldest first */
    uint32_t n;
    int64_t newest_ms; /* source time */
    struct version newest;
    uint32_t
        floor; /* another store had come to this epoch: ours, which begins at 1, is to be raised to it; 0: done */
    uint32_t raise; /* by how much: versions of the changes are those of the journal, raised */
};

/* Where the journal stands in this epoch: from now on it is known by how much to raise. */
void horizon_raise(struct horizon *h, uint32_t epoch);
void horizon_read(struct horizon *h, struct span state);
void horizon_write(const struct horizon *h, struct buf *out);
/* Whether a change of this org may be compared with what is noted. */
bool horizon_is_of(const struct horizon *h, struct span org_id);
/* A change of this org and version, committed then. */
void horizon_see(struct horizon *h, struct span org_id, const struct version *v, int64_t committed_ms);
/* All up to seq was seen. True: it was noted. */
bool horizon_note(struct horizon *h, uint64_t seq);
/* VERSION_NONE: there is none yet. `oldest`: the first seq that the journal holds. Forgets older notes. */
struct version horizon_at(struct horizon *h, uint64_t oldest);

#endif
