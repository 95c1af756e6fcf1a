/*
 * managed_stream: the ManagedSubscribe RPC. Events come as on Subscribe (subscribe.h); what is different here
 * is where a stream begins, that it is the only one, and commits.
 *
 * Commits are handled in groups: --managed-commit-delay after the first that waits, the newest takes effect
 * and is answered; the others are answered by it. A commit is refused, and the stream goes on, when its id is
 * not one, is out of retention, was not delivered yet, or is older than what is committed. A stream without a
 * commit for --managed-deadline is ended.
 *
 * Thread: main, under the simulator's lock.
 */
#ifndef SIM_MANAGED_STREAM_H
#define SIM_MANAGED_STREAM_H

#include "sim/call.h"

/* A ManagedFetchRequest came (c->received), or the client's half-close (NULL). */
void managed_request(struct sim *s, struct call *c, int64_t now_ms);
/* As subscribe_advance. */
int64_t managed_advance(struct sim *s, struct call *c, int64_t now_ms);
/* The call is over: the slot becomes free, in time. */
void managed_over(struct sim *s, struct call *c, int64_t now_ms);

#endif
