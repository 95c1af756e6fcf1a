/*
 * limits: the REST resource /services/data/vNN.N/limits, as far as clients ask for it: the calls of a day.
 *
 * Each answer counts as a call itself, as with the service. POST /sim/limits?used=N&max=N&status=S sets what is told, or
 * the HTTP status of a failure instead (0: none).
 *
 * Thread: under the simulator's lock. Errors: false: no such numbers.
 */
#ifndef SIM_LIMITS_H
#define SIM_LIMITS_H

#include "base/buf.h"
#include "sim/session.h"

struct limits_page {
    int64_t used, max;   /* max 0: 15000, a developer org's */
    int64_t fail_status; /* 0: it answers */
    uint64_t asked;
};

bool limits_is_path(const char *url);
/* Returns the HTTP status. authorization: the header, or NULL. */
unsigned limits_answer(struct limits_page *page, const struct session *session, const char *authorization,
                       struct buf *body);
/* NULL: as it is. */
bool limits_set(struct limits_page *page, const char *used, const char *max, const char *status);

#endif
