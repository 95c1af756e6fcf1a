/*
 * session: who may call.
 *
 * The token endpoint issues access tokens; every RPC must bring one of them with the right instance URL
 * and organization id. A static token can be accepted besides.
 *
 * Guarantees: token texts never appear in a log. Thread: under the simulator's lock.
 * Errors: session_check says which of the service's error codes applies.
 */
#ifndef SIM_SESSION_H
#define SIM_SESSION_H

#include "base/buf.h"
#include "base/err.h"

enum { SESSION_MAX_TOKENS = 256 }; /* the oldest is forgotten */

struct session {
    char org_id[19];
    char instance_url[256];
    char client_id[128];
    char client_secret[256];
    char static_token[256]; /* "": none */
    char tokens[SESSION_MAX_TOKENS][128];
    unsigned n_issued;  /* in total */
    unsigned n_revoked; /* tokens issued before this number are dead */
};

/* A fresh token; the text lives until SESSION_MAX_TOKENS more were issued. */
const char *session_issue(struct session *s);
/* All tokens issued so far are refused from now on. */
void session_revoke_all(struct session *s);

enum session_verdict { SESSION_OK, SESSION_HEADERS_INVALID, SESSION_REFUSED };
/* The three metadata values; p is NULL where one is missing. */
enum session_verdict session_check(const struct session *s, struct span access_token,
                                   struct span instance_url, struct span tenant_id);
bool session_client_ok(const struct session *s, struct span client_id, struct span client_secret);

#endif
