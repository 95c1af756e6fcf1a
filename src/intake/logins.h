/*
 * logins: what an org's logins leave behind, between auth, which knows it, and the store, which keeps it.
 *
 * Intake keeps it (logins_remember, source.h); a command that logs in by itself only looks: a pause that stands is a
 * pause for it, too.
 *
 * Ownership: values. Thread: as the transaction. Errors: -1 with err, ERR_STORE.
 */
#ifndef INTAKE_LOGINS_H
#define INTAKE_LOGINS_H

#include "auth/memory.h"
#include "store/store.h"

/* 0 found, 1 nothing is remembered, -1 err. */
MUST_CHECK int logins_recall(struct store_txn *txn, const char *org_name, struct auth_memory *out,
                             struct err *e);

#endif
