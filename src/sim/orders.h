/*
 * orders: what a person, or a test, tells the simulator to do; one language for --fault and for POST /faults.
 *
 * One order per line: what, which, and parameters KEY=VALUE. Empty lines, and what follows a #, are skipped.
 *
 *   METHOD STATUS|STALL [code=CODE] [count=N] [seconds=S] [events=N] [topic=T] [text=…]
 *   token KIND [count=N] [seconds=S]
 *   wire KIND [now] [after=N] [count=N] [code=NAME] [debug=WORD] [seconds=S] [bytes=N]
 *   publish N | drop | revoke | expire | reuse | migrate [url=URL] | none
 *
 * docs/simulator.md explains each.
 *
 * Guarantees: the lines before one that is wrong are in force, it and the lines behind it are not.
 * Thread: under the simulator's lock. Errors: -1 with ERR_CONFIG: "line N: …".
 */
#ifndef SIM_ORDERS_H
#define SIM_ORDERS_H

#include "base/err.h"
#include "base/span.h"

struct sim;

MUST_CHECK int orders_run(struct sim *s, struct span text, struct err *e);

#endif
