/*
 * jwt: the service's side of an assertion: is it signed by the app's key, for this user, for us, and in time?
 *
 * Thread: any. Errors: the refusal in the service's own words; NULL: accepted.
 */
#ifndef SIM_JWT_H
#define SIM_JWT_H

#include "base/err.h"
#include "base/span.h"

struct evp_pkey_st;

struct jwt_rules {
    struct evp_pkey_st *key; /* NULL: signatures are not looked at */
    const char *issuer, *subject;
    const char *audience; /* NULL: either login host, or own_url */
    const char *own_url;
    int64_t now_s;
};

struct jwt_refusal {
    const char *error, *description;
};

const struct jwt_refusal *jwt_check(const struct jwt_rules *rules, struct span assertion);
/* The public key in a PEM file, as a key or in a certificate; the caller frees it. */
MUST_CHECK int jwt_read_key(const char *path, struct evp_pkey_st **key, struct err *e);

#endif
