/*
 * subscribe: the Subscribe stream.
 *
 * The first request fixes topic and position for the life of the stream; later ones only ask for more.
 * Nothing is sent until there are events, or a keepalive is due. Responses hold as many events as were
 * asked for and are there, or fewer; pending_num_requested is exact. A keepalive comes only while events
 * are owed; a stream that owes nothing for a while is closed.
 *
 * Thread: main, under the simulator's lock.
 */
#ifndef SIM_SUBSCRIBE_H
#define SIM_SUBSCRIBE_H

#include "sim/call.h"

/* A FetchRequest came (c->received), or the client's half-close (NULL). */
void subscribe_request(struct sim *s, struct call *c, int64_t now_ms);
/* Send what can be sent now. Returns ms until the stream needs to be looked at again; -1: on request only. */
int64_t subscribe_advance(struct sim *s, struct call *c, int64_t now_ms);

/* --- what every stream does: Subscribe, ManagedSubscribe ------------------------------------------------ */

/* Number and flow of a stream whose first request came. false: who asks is refused, in time (c->failure). */
bool stream_begin(struct sim *s, struct call *c, int64_t now_ms);
/* The stream fails, once the message on its way is out. */
void stream_end(struct call *c, const struct failure *f);
/* A request that does not parse ends the stream: -1. */
int stream_malformed(struct call *c, const char *code);

#endif
