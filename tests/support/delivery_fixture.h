/*
 * delivery_fixture: delivery loops between a store whose journal the test fills by hand, and sinks that it configures.
 *
 * Calling order: fixture_new -> the test fills in subscriptions, sinks and config -> open_store ->
 * make_subscriptions, hold_schema -> start … stop (or close_store, which ends the loop too) -> fixture_free.
 *
 * Thread: the test's. Errors fail the test; what a loop says to on_fatal is in `fatal`, after `failed`.
 */
#ifndef SUPPORT_DELIVERY_FIXTURE_H
#define SUPPORT_DELIVERY_FIXTURE_H

#include "delivery/delivery.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/journal.h"
#include "store/schemas.h"
#include "store/sinks.h"
#include "store/subscriptions.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEADLINE_MS = 60 * 1000 };

#define ORG "00Dxx0000001gEREAY"

struct fixture {
    struct store_folder folder, output; /* of the store, of the sinks */
    char path[200];                     /* of the first sink */
    uint32_t numbers[2];                /* 0, 1 */
    struct subscription_config subscriptions[2];
    struct sink_config sinks[2];
    struct config config;
    struct store *st; /* NULL: not open */
    struct schema_cache *schemas;
    struct journal_signal signal;
    struct delivery_loop *d; /* NULL: none runs */
    struct err e, fatal;
    atomic_bool failed;
};

static inline struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    store_folder_make(&f->folder);
    store_folder_make(&f->output);
    f->numbers[1] = 1;
    return f;
}

/* In another process, over folders of the one that began: ends with close_store and free, which leave them there. */
static inline struct fixture *fixture_over(const char *folder, const char *output)
{
    struct fixture *f = calloc(1, sizeof *f);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    snprintf(f->folder.path, sizeof f->folder.path, "%s", folder);
    snprintf(f->output.path, sizeof f->output.path, "%s", output);
    f->numbers[1] = 1;
    return f;
}

static inline void on_fatal(void *ctx, const struct err *e)
{
    struct fixture *f = ctx;
    f->fatal = *e;
    f->failed = true;
}

/* --- the store -------------------------------------------------------------------------------------- */

static inline void begin(struct fixture *f, bool write, struct store_txn *txn)
{
    if (store_begin(f->st, write, txn, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static inline void commit(struct fixture *f, struct store_txn *txn)
{
    if (store_commit(txn, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static inline struct journal_bounds bounds_of(struct fixture *f)
{
    struct store_txn txn;
    struct journal_bounds b;
    begin(f, false, &txn);
    assert_int_equal(journal_bounds(&txn, &b, &f->e), 0);
    store_abort(&txn);
    return b;
}

static inline void open_store(struct fixture *f)
{
    if (store_open(f->folder.path, STORE_DAEMON, 256 << 20, &f->st, &f->e) != 0)
        fail_msg("%s", f->e.text);
    journal_signal_init(&f->signal, bounds_of(f).head);
    f->schemas = schema_cache_new(schema_load_from, f->st);
}

static inline void close_store(struct fixture *f)
{
    delivery_stop(f->d);
    f->d = NULL;
    if (!f->st)
        return;
    schema_cache_free(f->schemas);
    store_close(f->st);
    f->st = NULL;
    journal_signal_release(&f->signal);
}

static inline void fixture_free(struct fixture *f)
{
    close_store(f);
    store_folder_remove(&f->folder);
    store_folder_remove(&f->output);
    free(f);
}

/* Those that are configured: their numbers are 1, 2. */
static inline void make_subscriptions(struct fixture *f)
{
    struct store_txn txn;
    begin(f, true, &txn);
    for (uint32_t i = 0; i < f->config.n_subscriptions; i++) {
        struct subscription_record r = {.org_id = ORG};
        snprintf(r.topic, sizeof r.topic, "%s", f->subscriptions[i].topic);
        snprintf(r.name, sizeof r.name, "%s", f->subscriptions[i].name);
        assert_int_equal(subscription_create(&txn, &r, &f->e), 0);
    }
    commit(f, &txn);
}

static inline void hold_schema(struct fixture *f, const char *id, const char *json)
{
    struct store_txn txn;
    begin(f, true, &txn);
    assert_int_equal(schema_save(&txn, span_of_str(ORG), span_of_str(id), span_of_str(json), &f->e), 0);
    commit(f, &txn);
}

/* --- a loop ----------------------------------------------------------------------------------------- */

static inline void start(struct fixture *f, uint32_t sink)
{
    struct delivery_options o = {.config = &f->config,
                                 .sink = &f->sinks[sink],
                                 .store = f->st,
                                 .schemas = f->schemas,
                                 .signal = &f->signal,
                                 .on_fatal = on_fatal,
                                 .ctx = f};
    if (delivery_register(f->st, &f->config, &f->e) != 0 || delivery_start(&o, &f->d, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static inline void stop(struct fixture *f)
{
    delivery_stop(f->d);
    f->d = NULL;
}

static inline void wait_state(struct fixture *f, enum delivery_state state)
{
    struct delivery_view v = {0};
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; clock_mono_ms() < until;) {
        delivery_describe(f->d, &v);
        if (v.state == state)
            return;
        journal_signal_wait(&f->signal, UINT64_MAX, 2);
    }
    fail_msg("still %s (%s)", delivery_state_name(v.state), v.reason);
}

static inline void wait_settled(struct fixture *f)
{
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; !delivery_settled(f->d);) {
        journal_signal_wait(&f->signal, UINT64_MAX, 2);
        if (clock_mono_ms() > until)
            fail_msg("not settled in time");
    }
}

/* What the store holds of a sink, after the sums were checked (I9). */
static inline struct sink_record record_of(struct fixture *f, const char *name)
{
    struct sink_record r;
    struct store_txn txn;
    struct journal_bounds b;
    begin(f, false, &txn);
    if (sink_record_get(&txn, name, &r, &f->e) != 0)
        fail_msg("no record of %s", name);
    assert_int_equal(journal_bounds(&txn, &b, &f->e), 0);
    store_abort(&txn);
    sink_record_release(&r);
    assert_int_equal(b.head - r.base,
                     r.delivered + r.superseded + r.filtered + r.parked + (b.head - sink_counted(&r)));
    return r;
}

#endif
