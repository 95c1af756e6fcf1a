/*
 * managed: the org's managed subscriptions (ManagedEventSubscription): who holds each, and what is committed.
 *
 * The service keeps the position; a client reads from there, and commits what it has. Only one stream of each
 * may be open; its slot is free again some time after it ended. While nothing is committed, or after a STOP,
 * it begins where defaultReplay says; where the committed id is older than retention, where
 * errorRecoveryReplay says.
 *
 * Calling order: managed_add at the start, then the others. Ownership: the list is the simulator's.
 * Thread: under the simulator's lock. Errors: -1 with ERR_CONFIG: the definition or the order in words.
 */
#ifndef SIM_MANAGED_H
#define SIM_MANAGED_H

#include "base/buf.h"
#include "sim/topics.h"

struct call;

enum { MANAGED_MAX = 32 };

struct managed {
    char id[19]; /* 18x… */
    char name[81];
    struct topic *topic;
    bool starts_earliest, recovers_earliest;
    bool stopped;              /* state STOP */
    bool taken;                /* by a client that is not here */
    const struct call *holder; /* the open stream; NULL: none */
    int64_t free_at_ms;        /* monotonic: when the slot of the one before is free */
    bool has_position;
    uint64_t committed; /* a counter of the bus */
    uint64_t streams, commits, refused;
    uint64_t refuse_next; /* commits to refuse, on order */
};

struct managed_list {
    struct managed items[MANAGED_MAX];
    unsigned n;
};

/* "NAME=TOPIC[,earliest][,recover=earliest]" */
MUST_CHECK int managed_add(struct managed_list *list, struct topics *topics, const char *definition,
                           struct err *e);
struct managed *managed_find(struct managed_list *list, const char *name);
struct managed *managed_find_id(struct managed_list *list, const char *id);

/* What POST /sim/managed asks for; NULL where a parameter is missing. */
struct managed_order {
    const char *name;
    const char *slot;   /* "taken", "free" */
    const char *state;  /* "RUN", "STOP": ends the stream and forgets the position */
    const char *refuse; /* refuse the next N commits */
};
MUST_CHECK int managed_run(struct managed_list *list, const struct managed_order *order, struct err *e);

/* For /sim/stats: {"NAME":{…},…}; ids as the bus writes them. */
void managed_json(const struct managed_list *list, size_t replay_id_bytes, struct buf *out);

#endif
