/*
 * interrupt: SIGINT and SIGTERM end a command with 130 or 143: at once, or, for one that has something to finish,
 * when it looks. And a wake-up for the main thread from other threads.
 *
 * Calling order: interrupt_setup once, before threads start -> interrupt_hold where the finishing begins.
 * Thread: interrupt_wake any, the rest main. Errors: none.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

void interrupt_setup(void);
/* From now on the first signal is noticed, the second ends the process. */
void interrupt_hold(void);
/* 0, or the signal that came. */
int interrupt_signal(void);
/* Return at a signal, at interrupt_wake, or after timeout_ms. */
void interrupt_wait(int timeout_ms);
void interrupt_wake(void);
/* 130 or 143. */
int interrupt_exit_code(void);

#endif
