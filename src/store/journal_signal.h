/*
 * journal_signal: "the journal grew", from intake to every delivery thread.
 *
 * Calling order: journal_signal_init -> raise / wait … -> journal_signal_release.
 * Thread: any. Errors: none.
 */
#ifndef STORE_JOURNAL_SIGNAL_H
#define STORE_JOURNAL_SIGNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct journal_signal {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t head;
    uint64_t nudges;
};

void journal_signal_init(struct journal_signal *s, uint64_t head);
void journal_signal_release(struct journal_signal *s);
/* The journal's head is now `head`: wake those who wait for it. Call after the commit. */
void journal_signal_raise(struct journal_signal *s, uint64_t head);
/* Wake everybody, to look at their flags. */
void journal_signal_nudge(struct journal_signal *s);
/* Return once head > beyond, or after a nudge, or at the timeout. Returns the head. */
uint64_t journal_signal_wait(struct journal_signal *s, uint64_t beyond, int timeout_ms);

#endif
