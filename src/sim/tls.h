/*
 * tls: certificates for a local test, made on first use.
 *
 * DIR/ca.pem is what clients trust; DIR/server.pem and DIR/server.key are what the simulator shows. What
 * is there already is used as it is. The CA's key is thrown away: nothing else is ever signed with it.
 *
 * Ownership: the struct owns the texts; SIM_TLS_INIT -> sim_tls_load -> sim_tls_release (wipes the key).
 * Thread: main. Errors: -1 with ERR_CONFIG.
 */
#ifndef SIM_TLS_H
#define SIM_TLS_H

#include "base/buf.h"
#include "base/err.h"

struct sim_tls {
    struct buf certificate, key; /* PEM */
};

#define SIM_TLS_INIT                                                                                         \
    {                                                                                                        \
        BUF_INIT, BUF_INIT                                                                                   \
    }

/* name: the certificate's only name, instead of localhost, 127.0.0.1 and ::1; may be NULL. */
MUST_CHECK int sim_tls_load(struct sim_tls *tls, const char *dir, const char *name, struct err *e);
void sim_tls_release(struct sim_tls *tls);

#endif
