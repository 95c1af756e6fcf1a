/*
 * unary: GetTopic and GetSchema.
 *
 * The answer is made at once and put into the call; GetSchema's waits for --schema-delay. A refused
 * token is answered at once here, unlike on Subscribe.
 *
 * Thread: main, under the simulator's lock.
 */
#ifndef SIM_UNARY_H
#define SIM_UNARY_H

#include "sim/call.h"

/* The request came (c->received). Fills in c->answer or c->failure, and c->due_ms. */
void unary_request(struct sim *s, struct call *c, int64_t now_ms);

#endif
