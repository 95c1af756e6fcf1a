/*
 * breaker: when the next login may be tried after one that failed.
 *
 * Guarantees
 *   A service that is busy or away is asked again soon, with growing pauses of full jitter, a minute at most.
 *   Refused credentials: pauses from 30 s doubling to 15 min, and never more than BREAKER_PER_HOUR logins in
 * any hour, whatever other failures come in between. Too many logins ("login rate exceeded"): 15 min at
 * least, doubling to an hour. A refusal that the service counts against the user (a wrong password): a second
 * try after 15 min, then none any more: the strictest orgs lock the account at the third.
 *
 * A password that got no answer may have been refused: the first few in a row are tried again like any other that
 * fails to be heard, then with pauses of 15 min, and all of them count towards the cap of the hour.
 *
 * A process that dies forgets nothing: memory.h keeps the breaker.
 * Times are monotonic and given in, so that tests need not wait. Thread: one at a time.
 */
#ifndef AUTH_BREAKER_H
#define AUTH_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum { BREAKER_PER_HOUR = 6, BREAKER_COUNTED_MOST = 2, BREAKER_UNHEARD_MOST = 3 };
#define BREAKER_NEVER INT64_MAX

enum breaker_cause {
    BREAKER_BUSY,    /* no answer, or one that may be another next time */
    BREAKER_REFUSED, /* the credentials */
    BREAKER_COUNTED, /* the credentials, and it counts towards a lock */
    BREAKER_RATE,    /* too many logins */
    BREAKER_UNHEARD, /* it was asked, and nobody knows what it says: only where that may count towards a lock */
};

struct breaker {
    enum breaker_cause cause;             /* of the last failure */
    unsigned failures;                    /* of that cause, in a row */
    unsigned total;                       /* of any cause, since the last success */
    unsigned counted;                     /* BREAKER_COUNTED since the last success */
    int64_t refused_ms[BREAKER_PER_HOUR]; /* the last refusals, a ring */
    unsigned n_refused;
    unsigned unheard; /* logins in a row whose answer nobody heard */
};

#define BREAKER_INIT                                                                                         \
    {                                                                                                        \
        0                                                                                                    \
    }

/* A login failed now: how long to wait, at least at_least_ms (what the service asked for). BREAKER_NEVER: for
 * good. */
int64_t breaker_failed(struct breaker *b, enum breaker_cause cause, int64_t now_ms, int64_t at_least_ms);
/*
 * The process has started again with what it knew: how long to wait for the many logins in a row that were begun
 * and whose answer nobody lived to hear. 0: not at all, as after the ordinary death.
 */
int64_t breaker_resumed(const struct breaker *b);
/* A login worked. */
void breaker_worked(struct breaker *b);

#endif
