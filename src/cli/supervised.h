/*
 * supervised: the daemon's side of its supervisor: ready, stopping, and a watchdog that tells the truth.
 *
 * The watchdog's period is the longest a loop may take for one turn. WATCHDOG=1 goes out at half of it, but
 * only once every loop has turned since the last one: a thread that hangs, in a target's library or in an
 * fsync, ends the messages, and the supervisor ends the process after one to one and a half periods. A target
 * that is down, a service that does not answer or a full journal is no reason: the loops turn while they
 * wait.
 *
 * Calling order: supervised_init -> supervised_ready -> supervised_turn … -> supervised_stopping.
 * Thread: main. Errors: a supervisor that cannot be told is logged once.
 */
#ifndef CLI_SUPERVISED_H
#define CLI_SUPERVISED_H

#include <stdbool.h>
#include <stdint.h>

struct supervised {
    int64_t period_ms;    /* 0: no watchdog */
    int64_t told_mono_ms; /* the last WATCHDOG=1 */
    bool deaf;            /* it could not be told */
};

void supervised_init(struct supervised *s);
void supervised_ready(struct supervised *s);
/* Often, compared with the period. oldest_beat_mono_ms: when the loop that has not turned for longest last
 * did. */
void supervised_turn(struct supervised *s, int64_t oldest_beat_mono_ms);
void supervised_stopping(struct supervised *s);

#endif
