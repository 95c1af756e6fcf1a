/*
 * logins: what is remembered of an org's failed logins, so that a crash loop cannot lock an account (auth/memory.h).
 *
 * Ownership: records are values. Thread: as the transaction. Errors: -1 with err, ERR_STORE.
 */
#ifndef STORE_LOGINS_H
#define STORE_LOGINS_H

#include "store/store.h"

enum { LOGIN_REFUSALS = 6 };

struct login_record {
    uint32_t cause, failures, total, counted, unheard, n_refused;
    int64_t refused_ms[LOGIN_REFUSALS]; /* wall clock, a ring */
    int64_t next_login_ms;              /* wall clock; 0: at once; INT64_MAX: none */
    uint32_t credentials;               /* 16 bits of a digest */
    char why[200];
};

/* 0 found, 1 nothing is remembered, -1 err. */
MUST_CHECK int login_record_get(struct store_txn *txn, const char *org_name, struct login_record *out,
                                struct err *e);
MUST_CHECK int login_record_put(struct store_txn *txn, const char *org_name,
                                const struct login_record *record, struct err *e);
/* 0 deleted, 1 nothing was remembered, -1 err. */
MUST_CHECK int login_record_delete(struct store_txn *txn, const char *org_name, struct err *e);

#endif
