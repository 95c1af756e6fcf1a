#include "cli/parts.h"

#include "base/alloc.h"
#include "pubsub/pubsub.h"
#include "sink/mirror.h"
#include "store/journal.h"
#include "store/schemas.h"

/* --- start ---------------------------------------------------------------------------------------- */

static int read_head(struct parts *p, uint64_t *head, struct err *e)
{
    struct store_txn txn;
    struct journal_bounds bounds;
    if (store_begin(p->store, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, &bounds, e);
    store_abort(&txn);
    *head = bounds.head;
    return rc;
}

static int start_delivery(struct parts *p, const struct config *c, uint32_t i, struct delivery_loop **out,
                          struct err *e)
{
    struct delivery_options o = {.config = c,
                                 .sink = &c->sinks[i],
                                 .store = p->store,
                                 .schemas = p->schemas,
                                 .signal = &p->signal,
                                 .on_fatal = p->on_fatal,
                                 .ctx = p->ctx};
    return delivery_start(&o, out, e);
}

static struct delivery_loop **new_deliveries(const struct config *c)
{
    return xcalloc((size_t)c->n_sinks + 1, sizeof(struct delivery_loop *));
}

static int check_config(const struct config *c, struct err *e)
{
    for (uint32_t i = 0; i < c->n_orgs; i++)
        if (pubsub_check(&c->orgs[i], e) != 0)
            return -1;
    for (uint32_t i = 0; i < c->n_sinks; i++)
        if (sink_kind_is_mirror(c->sinks[i].kind) && !mirror_ops_of(c->sinks[i].kind))
            return err_set(e, ERR_CONFIG, "run", 0, "sink %s: a mirror in %s can be checked, but not run yet",
                           c->sinks[i].name, sink_kind_name(c->sinks[i].kind));
    return 0;
}

int parts_start(struct parts *p, struct config *config, void (*on_fatal)(void *ctx, const struct err *e),
                void *ctx, struct err *e)
{
    uint64_t head;
    *p = (struct parts){.config = config, .on_fatal = on_fatal, .ctx = ctx};
    journal_signal_init(&p->signal, 0);
    pthread_rwlock_init(&p->view.lock, NULL);
    if (check_config(config, e) != 0 ||
        store_open(config->store.path, STORE_DAEMON, config->store.max_size, &p->store, e) != 0 ||
        admin_bind(config, &p->admin, e) != 0 || read_head(p, &head, e) != 0 ||
        delivery_register(p->store, config, e) != 0)
        return -1;
    journal_signal_raise(&p->signal, head);
    p->schemas = schema_cache_new(schema_load_from, p->store);
    p->deliveries = new_deliveries(config);
    for (uint32_t i = 0; i < config->n_sinks; i++)
        if (start_delivery(p, config, i, &p->deliveries[i], e) != 0)
            return -1;
    struct intake_options o = {config, p->store, p->schemas, &p->signal, on_fatal, ctx};
    if (intake_start(&o, &p->intake, e) != 0)
        return -1;
    p->view.config = config;
    p->view.store = p->store;
    p->view.intake = p->intake;
    p->view.deliveries = p->deliveries;
    return admin_serve(p->admin, &p->view, e);
}

void parts_stop(struct parts *p)
{
    admin_stop(p->admin);
    intake_stop(p->intake);
    for (uint32_t i = 0; p->deliveries && i < p->config->n_sinks; i++)
        delivery_stop(p->deliveries[i]);
    free(p->deliveries);
    schema_cache_free(p->schemas);
    store_close(p->store);
    journal_signal_release(&p->signal);
    pthread_rwlock_destroy(&p->view.lock);
    config_free(p->config);
    for (uint32_t i = 0; i < p->n_past; i++)
        config_free(p->past[i]);
    free(p->past);
    *p = (struct parts){0};
}

/* --- another configuration ------------------------------------------------------------------------ */

static bool goes_on(const struct parts_plan *plan, const struct config *next, uint32_t sink)
{
    for (uint32_t k = 0; k < next->n_sinks; k++)
        if (plan->sinks[k] == sink)
            return true;
    return false;
}

/* Those that do not go on: settle the batch in hand and end. What they were can still be looked at. */
static void end_deliveries(struct parts *p, const struct config *next, const struct parts_plan *plan)
{
    for (uint32_t i = 0; i < p->config->n_sinks; i++)
        if (!goes_on(plan, next, i))
            delivery_end(p->deliveries[i]);
}

/* The change was refused: loops that ended for it start again. */
static int resume_deliveries(struct parts *p, const struct config *next, const struct parts_plan *plan,
                             struct err *e)
{
    for (uint32_t i = 0; i < p->config->n_sinks; i++) {
        struct delivery_loop *again, *ended = p->deliveries[i];
        if (goes_on(plan, next, i))
            continue;
        if (start_delivery(p, p->config, i, &again, e) != 0)
            return -1;
        pthread_rwlock_wrlock(&p->view.lock);
        p->deliveries[i] = again;
        pthread_rwlock_unlock(&p->view.lock);
        delivery_stop(ended);
    }
    return 0;
}

/* All loops of the next configuration; NULL with e. */
static struct delivery_loop **make_deliveries(struct parts *p, const struct config *next,
                                              const struct parts_plan *plan, struct err *e)
{
    struct delivery_loop **loops = new_deliveries(next);
    for (uint32_t k = 0; k < next->n_sinks; k++) {
        if (plan->sinks[k] != PARTS_NEW) {
            loops[k] = p->deliveries[plan->sinks[k]];
        } else if (start_delivery(p, next, k, &loops[k], e) != 0) {
            while (k-- > 0)
                if (plan->sinks[k] == PARTS_NEW)
                    delivery_stop(loops[k]);
            free(loops);
            return NULL;
        }
    }
    return loops;
}

static void keep_past(struct parts *p)
{
    p->past = xrealloc(p->past, ((size_t)p->n_past + 1) * sizeof(struct config *));
    p->past[p->n_past++] = p->config;
}

static bool is_used(const struct parts *p, const struct config *past)
{
    bool used = intake_uses(p->intake, past);
    for (uint32_t i = 0; i < p->config->n_sinks; i++)
        used = used || delivery_config(p->deliveries[i]) == past;
    return used;
}

/* What left a moment ago is still being told of its end: that configuration goes at the next change. */
static void free_past(struct parts *p)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->n_past; i++) {
        if (is_used(p, p->past[i]))
            p->past[kept++] = p->past[i];
        else
            config_free(p->past[i]);
    }
    p->n_past = kept;
}

/* Everything of `next` stands. Nobody looks meanwhile. */
static int switch_over(struct parts *p, struct config *next, const struct parts_plan *plan,
                       struct intake_change *change, struct delivery_loop **loops, struct err *e)
{
    pthread_rwlock_wrlock(&p->view.lock);
    int rc = intake_change(p->intake, change, e);
    struct delivery_loop **old = p->deliveries;
    if (rc == 0) {
        p->deliveries = p->view.deliveries = loops;
        p->view.config = next;
    }
    pthread_rwlock_unlock(&p->view.lock);
    if (rc != 0)
        return -1;
    for (uint32_t i = 0; i < p->config->n_sinks; i++)
        if (!goes_on(plan, next, i))
            delivery_stop(old[i]);
    free(old);
    keep_past(p);
    p->config = next;
    return 0;
}

int parts_change(struct parts *p, struct config *next, const struct parts_plan *plan, struct err *e)
{
    struct intake_change *change = NULL;
    struct delivery_loop **loops = NULL;
    int rc = -1;
    if (check_config(next, e) != 0 ||
        intake_change_new(p->intake, next, plan->orgs, plan->subscriptions, &change, e) != 0)
        return -1;
    end_deliveries(p, next, plan);
    if (delivery_register(p->store, next, e) != 0) {
        struct err again = ERR_INIT;
        if (e->class != ERR_CONFIG)
            p->on_fatal(p->ctx, e);
        else if (resume_deliveries(p, next, plan, &again) != 0)
            p->on_fatal(p->ctx, &again);
        goto out;
    }
    loops = make_deliveries(p, next, plan, e);
    if (!loops) {
        p->on_fatal(p->ctx, e);
        goto out;
    }
    rc = switch_over(p, next, plan, change, loops, e);
    if (rc != 0) { /* intake has ended, and said why */
        for (uint32_t k = 0; k < next->n_sinks; k++)
            if (plan->sinks[k] == PARTS_NEW)
                delivery_stop(loops[k]);
        free(loops);
    }
out:
    intake_change_free(change);
    if (rc == 0)
        free_past(p);
    return rc;
}
