#include "delivery/owed.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/repairs.h"
#include "store/subscriptions.h"

#include <stdio.h>

/* --- incidents ------------------------------------------------------------------------------------ */

struct lookup {
    const char *subject, *kind;
    struct span begins; /* of the text */
    uint64_t number;
};

static int is_it(void *ctx, const struct incident *i)
{
    struct lookup *l = ctx;
    if (i->state == INCIDENT_OPEN && strcmp(i->subject, l->subject) == 0 && strcmp(i->kind, l->kind) == 0 &&
        strncmp(i->text, (const char *)l->begins.p, l->begins.n) == 0)
        l->number = i->number;
    return 0;
}

static int find_or_open(struct store_txn *txn, const struct delivery_options *o, struct lookup *l,
                        const char *policy, const char *text, int64_t since_ms, bool *opened, struct err *e)
{
    *opened = false;
    l->subject = o->sink->name;
    if (incident_each(txn, is_it, l, e) != 0)
        return -1;
    if (l->number)
        return 0;
    struct incident i = {.state = INCIDENT_OPEN, .opened_ms = clock_wall_ms(), .since_ms = since_ms};
    snprintf(i.subject, sizeof i.subject, "%s", o->sink->name);
    snprintf(i.kind, sizeof i.kind, "%s", l->kind);
    snprintf(i.policy, sizeof i.policy, "%s", policy);
    snprintf(i.text, sizeof i.text, "%s", text);
    if (incident_open(txn, &i, e) != 0)
        return -1;
    log_warn("delivery", "incident %s of sink %s: %s", i.kind, i.subject, i.text);
    l->number = i.number;
    *opened = true;
    return 0;
}

int owed_incident(struct store_txn *txn, const struct delivery_options *o, const char *kind,
                  const char *policy, const char *text, uint64_t *number, bool *opened, struct err *e)
{
    struct lookup l = {.kind = kind, .begins = span_of("", 0)};
    int rc = find_or_open(txn, o, &l, policy, text, 0, opened, e);
    *number = l.number;
    return rc;
}

int owed_look(struct store_txn *txn, const struct delivery_options *o, const char *kind, const char *text,
              struct err *e)
{
    char whole[sizeof((struct incident *)0)->text];
    bool opened;
    snprintf(whole, sizeof whole, "%s", text);
    struct lookup l = {.kind = kind, .begins = span_of_str(whole)};
    return find_or_open(txn, o, &l, "went_on", whole, 0, &opened, e);
}

/* --- tasks ---------------------------------------------------------------------------------------- */

static const char *says(const char *kind)
{
    if (strcmp(kind, "gap") == 0)
        return "changes came without their values";
    if (strcmp(kind, "text_difference") == 0)
        return "long texts came as differences to texts that are not held";
    if (strcmp(kind, "incomplete_rows") == 0)
        return "rows hold only what changed since the stream began";
    if (strcmp(kind, "late_change") == 0)
        return "changes came so late that what they compete with is forgotten";
    return "the stream told of changes to records it did not name";
}

static int incident_of(struct store_txn *txn, const struct delivery_options *o, const struct owed *owed,
                       uint64_t *number, struct err *e)
{
    char text[200], begins[STORE_MAX_ENTITY + 4];
    bool opened;
    snprintf(begins, sizeof begins, "%.*s: ", SPAN_ARG(owed->entity));
    snprintf(text, sizeof text, "%s%s; to be re-read", begins, says(owed->kind));
    struct lookup l = {.kind = owed->kind, .begins = span_of_str(begins)};
    int rc = find_or_open(txn, o, &l, "repair", text, owed->since_ms, &opened, e);
    *number = l.number;
    return rc;
}

int owed_add(struct store_txn *txn, const struct delivery_options *o, const struct owed *owed, size_t n,
             struct err *e)
{
    const struct owed *last = NULL;
    uint64_t incident = 0;
    for (size_t i = 0; i < n; i++) {
        const struct owed *w = &owed[i];
        if (!last || strcmp(last->kind, w->kind) != 0 || !span_equal(last->entity, w->entity))
            if (incident_of(txn, o, w, &incident, e) != 0)
                return -1;
        last = w;
        struct repair r = {.incident = incident, .subscription = w->subscription, .since_ms = w->since_ms};
        snprintf(r.entity, sizeof r.entity, "%.*s", SPAN_ARG(w->entity));
        snprintf(r.record_id, sizeof r.record_id, "%.*s", SPAN_ARG(w->record_id));
        if (repair_add(txn, &r, e) != 0)
            return -1;
    }
    return 0;
}

struct all {
    const struct delivery_options *o;
    uint32_t numbers[256];
    size_t n;
};

static int note_subscription(void *ctx, const struct subscription_record *r)
{
    struct all *all = ctx;
    const struct delivery_options *o = all->o;
    bool wanted = false;
    for (uint32_t i = 0; i < o->sink->n_subscriptions; i++)
        wanted |= strcmp(o->config->subscriptions[o->sink->subscriptions[i]].name, r->name) == 0;
    if (wanted && all->n < ARRAY_LEN(all->numbers))
        all->numbers[all->n++] = r->number;
    return 0;
}

int owed_all(struct store_txn *txn, const struct delivery_options *o, uint64_t incident, struct err *e)
{
    struct all all = {.o = o};
    if (subscription_each(txn, note_subscription, &all, e) != 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        struct repair r = {.incident = incident, .subscription = all.numbers[i]};
        if (repair_add(txn, &r, e) != 0)
            return -1;
    }
    return 0;
}
