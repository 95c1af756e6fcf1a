/*
 * topics: the channels of the org.
 *
 * Single-entity topics carry one kind of event and name its schema; channels (/data/ChangeEvents,
 * custom __chn ones) carry the events of several topics and have a blank schema id.
 *
 * Thread: under the simulator's lock. Errors: a table that is full is reported to the user by options.
 */
#ifndef SIM_TOPICS_H
#define SIM_TOPICS_H

#include "base/err.h"
#include "base/span.h"

enum { TOPICS_MAX = 64 }; /* one bit each in a mask */

struct topic {
    char name[128];
    char schema_id[23]; /* "" on channels */
    uint64_t members;   /* bits of the topics whose events it carries; its own bit on a single-entity topic */
    bool is_change;     /* /data/ */
    bool has_workload;  /* the workload publishes here */
    bool denied;        /* --deny: no permission */
    uint64_t published;
};

struct topics {
    struct topic list[TOPICS_MAX];
    unsigned n;
};

/* NULL when there is none. The pointer stays valid: topics are never removed. */
struct topic *topics_find(struct topics *t, struct span name);
/* Add a single-entity topic, or give the one that is there. NULL when the table is full. */
struct topic *topics_add(struct topics *t, const char *name, const char *schema_id);
/* "NAME=TOPIC,TOPIC"; NAME alone, ending in "ChangeEvents", carries all /data/ topics. */
MUST_CHECK int topics_add_channel(struct topics *t, const char *definition, struct err *e);
unsigned topics_index(const struct topics *t, const struct topic *topic);
/* Names of topics begin with /event/ or /data/; anything else is refused as "no permission". */
bool topic_name_has_prefix(struct span name);

#endif
