#include "intake/logins.h"

#include "intake/source.h"

#include "store/logins.h"

#include <stdio.h>

_Static_assert((int)LOGIN_REFUSALS == (int)BREAKER_PER_HOUR, "the store keeps the whole ring");

static bool is_worth_keeping(const struct auth_memory *m)
{
    return m->breaker.total || m->breaker.n_refused || m->breaker.unheard || m->next_login_ms;
}

static struct login_record record_of(const struct auth_memory *m)
{
    struct login_record r = {.cause = m->breaker.cause,
                             .failures = m->breaker.failures,
                             .total = m->breaker.total,
                             .counted = m->breaker.counted,
                             .unheard = m->breaker.unheard,
                             .n_refused = m->breaker.n_refused,
                             .next_login_ms = m->next_login_ms,
                             .credentials = m->credentials};
    memcpy(r.refused_ms, m->breaker.refused_ms, sizeof r.refused_ms);
    snprintf(r.why, sizeof r.why, "%s", m->why);
    return r;
}

static struct auth_memory memory_of(const struct login_record *r)
{
    struct auth_memory m = {
        .breaker = {.cause = r->cause <= BREAKER_UNHEARD ? (enum breaker_cause)r->cause : BREAKER_REFUSED,
                    .failures = r->failures,
                    .total = r->total,
                    .counted = r->counted,
                    .unheard = r->unheard,
                    .n_refused = r->n_refused},
        .next_login_ms = r->next_login_ms,
        .credentials = (uint16_t)r->credentials};
    memcpy(m.breaker.refused_ms, r->refused_ms, sizeof m.breaker.refused_ms);
    snprintf(m.why, sizeof m.why, "%s", r->why);
    return m;
}

static int write_record(struct store *st, const char *org, const struct auth_memory *now, struct err *e)
{
    struct store_txn txn;
    struct login_record r = record_of(now);
    if (store_begin(st, true, &txn, e) != 0)
        return -1;
    int rc = is_worth_keeping(now) ? login_record_put(&txn, org, &r, e) : login_record_delete(&txn, org, e);
    if (rc < 0) {
        store_abort(&txn);
        return -1;
    }
    return store_commit(&txn, e);
}

/* Thread: the org's logins. */
static void keep(void *ctx, const struct auth_memory *now)
{
    struct org_run *org = ctx;
    const struct intake_options *o = &org->intake->options;
    struct err e = ERR_INIT;
    if (write_record(org->store, org->config->name, now, &e) != 0)
        o->on_fatal(o->ctx, &e);
}

int logins_recall(struct store_txn *txn, const char *org_name, struct auth_memory *out, struct err *e)
{
    struct login_record r;
    int rc = login_record_get(txn, org_name, &r, e);
    *out = memory_of(&r);
    return rc;
}

int logins_remember(struct org_run *org, struct err *e)
{
    struct store_txn txn;
    struct auth_memory before;
    if (store_begin(org->store, false, &txn, e) != 0)
        return -1;
    int rc = logins_recall(&txn, org->config->name, &before, e);
    store_abort(&txn);
    if (rc < 0)
        return -1;
    auth_remember(org->auth, rc == 0 ? &before : NULL, keep, org);
    return 0;
}
