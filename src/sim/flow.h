/*
 * flow: what one Subscribe stream is owed.
 *
 * Requests add up; the outstanding amount is capped, and asking for more is treated as the cap, not as
 * an error. A request that is not positive ends the stream.
 *
 * Guarantees: 0 <= pending <= cap. Thread: the stream's. Errors: -1 for a request of 0 or less.
 */
#ifndef SIM_FLOW_H
#define SIM_FLOW_H

#include "base/compiler.h"

#include <stdint.h>

enum { FLOW_CAP = 100 }; /* the service's */

struct flow {
    int32_t cap;
    int32_t pending; /* events the client asked for and has not been sent */
};

MUST_CHECK int flow_request(struct flow *f, int32_t num_requested);
/* n events went out; n <= pending. */
void flow_delivered(struct flow *f, int32_t n);

#endif
