/*
 * usage: how much of an org's API allowance is used up, looked at slowly.
 *
 * Asked for once a token is held, and every quarter of an hour from then on: 96 calls a day, which count themselves.
 * A failure is told in the view and, when it begins, in the log; it changes nothing else, and it never asks for a login.
 *
 * Calling order: usage_new -> usage_describe … -> usage_free (joins). Ownership: borrows org and auth until
 * usage_free. Thread: one of its own; describe from any. Errors: none.
 */
#ifndef SALESFORCE_USAGE_H
#define SALESFORCE_USAGE_H

#include "auth/auth.h"

struct usage;

struct usage_view {
    bool known; /* used and max are those of the last look */
    int64_t used, max;
    int64_t at_ms;    /* wall clock of the last answer; 0: none */
    char reason[300]; /* why it is not known; "": it is, or nobody has asked yet */
};

struct usage *usage_new(const struct org_config *org, struct auth *auth);
void usage_free(struct usage *u);
void usage_describe(struct usage *u, struct usage_view *out);

#endif
