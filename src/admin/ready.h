/*
 * ready: the rules behind /readyz.
 *
 *   A subscription is ready in state catching_up or live, when the service has confirmed the topic or sent something
 *   since the stream was opened, and gave a sign of life within the subscription's watchdog.
 *   A sink is ready in state running, when it has settled the head or has settled something within the last minute.
 *
 * Thread: any. Errors: none.
 */
#ifndef ADMIN_READY_H
#define ADMIN_READY_H

#include "admin/snapshot.h"

enum { READY_SINK_PROGRESS_MS = 60 * 1000 };

/* One line for each that is not ready: which, in what state, since when, why. `why` may be NULL. */
bool ready_subscription(const struct snapshot *s, const struct snapshot_subscription *sub, struct buf *why);
bool ready_sink(const struct snapshot *s, const struct snapshot_sink *sink, struct buf *why);
bool ready_all(const struct snapshot *s, struct buf *why);

#endif
