/*
 * memory: what the logins of an org leave behind when the process dies: a crash loop must not lock an account.
 *
 * The owner of a store keeps it (auth_remember): a copy before each login, as if its answer would never be heard, and
 * one after it. Pauses and the cap of an hour go on after a restart; a login that was begun and not heard counts only
 * when it happens many times in a row. Credentials that changed void all of it: a person has mended something. So
 * does a person's word (auth_try_now).
 *
 * Which credentials they were is known by 16 bits of a digest: enough to notice a change, and nothing to find a
 * secret with.
 *
 * Ownership: values. Thread: any. Errors: none.
 */
#ifndef AUTH_MEMORY_H
#define AUTH_MEMORY_H

#include "auth/breaker.h"
#include "config/config.h"

struct auth_memory {
    struct breaker breaker; /* its times are of the wall clock */
    int64_t next_login_ms;  /* wall clock; 0: at once; BREAKER_NEVER */
    uint16_t credentials;
    char why[200]; /* the last refusal, for people; "" */
};

uint16_t auth_memory_credentials(const struct org_config *org);
/* The breaker's times from one clock to another: `ahead` is the other minus this one. What lies in the future of
 * `now` (of the other clock: a clock was set back) counts as now. */
void auth_memory_move(struct breaker *b, int64_t ahead_ms, int64_t now_ms);

#endif
