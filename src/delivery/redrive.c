#include "delivery/redrive.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/killpoint.h"
#include "base/log.h"
#include "base/text.h"
#include "store/dead_letters.h"
#include "store/incidents.h"
#include "store/sinks.h"

#include <inttypes.h>
#include <stdio.h>

enum { LETTERS_AT_ONCE = 2000 }; /* in one transaction */

/* What is chosen of one sink. */
struct chosen {
    char sink[STORE_MAX_NAME + 1];
    uint64_t settled; /* its cursor; UINT64_MAX: it has no record, and never comes by */
    bool configured;
    size_t n, unsettled, waiting; /* chosen; to come by themselves; marked already */
    uint64_t first, last;
};

struct key {
    struct span sink, record_id;
    uint64_t seq;
};

struct walk {
    const struct config *config;
    const struct redrive_request *request;
    struct store_txn *txn;
    struct chosen *sinks;
    size_t n_sinks;
    struct arena arena;
    struct key *keys; /* NULL: only count */
    size_t n_keys;
    struct err *e;
};

static int parse_seqs(const char *text, struct redrive_request *out, struct err *e)
{
    while (*text) {
        char number[24];
        int64_t seq;
        const size_t n = strcspn(text, ",");
        snprintf(number, sizeof number, "%.*s", (int)n, text);
        if (n >= sizeof number || text_parse_int(number, 1, INT64_MAX, &seq) != 0)
            return err_set(e, ERR_CONFIG, "dlq", 0, "SEQ is a number from 1 on, not '%.*s'", (int)n, text);
        if (out->n_seqs == REDRIVE_MOST_SEQS)
            return err_set(e, ERR_CONFIG, "dlq", 0, "at most %d SEQ at once; --reason or --all choose more",
                           REDRIVE_MOST_SEQS);
        out->seqs[out->n_seqs++] = (uint64_t)seq;
        text += n + (text[n] == ',');
    }
    return 0;
}

int redrive_choose(enum redrive_action action, const char *sink, const char *seqs, const char *reason,
                   bool all, struct redrive_request *out, struct err *e)
{
    *out = (struct redrive_request){.action = action, .sink = sink, .reason = reason};
    if (!*seqs && !*reason && !all)
        return err_set(e, ERR_CONFIG, "dlq", 0, "which? SINK SEQ…, --reason CLASS or --all");
    if (all && (*seqs || *reason))
        return err_set(e, ERR_CONFIG, "dlq", 0, "--all goes with --sink alone");
    if (*seqs && !*sink)
        return err_set(e, ERR_CONFIG, "dlq", 0, "SEQ is a number of one sink's: SINK SEQ…");
    return parse_seqs(seqs, out, e);
}

/* --- choosing ------------------------------------------------------------------------------------- */

static bool is_configured(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_sinks; i++)
        if (strcmp(config->sinks[i].name, name) == 0)
            return true;
    return false;
}

static struct chosen *chosen_of(struct walk *w, struct span sink)
{
    struct sink_record record;
    if (w->n_sinks && span_equal_str(sink, w->sinks[w->n_sinks - 1].sink))
        return &w->sinks[w->n_sinks - 1]; /* letters stand by sink */
    w->sinks = xrealloc(w->sinks, (w->n_sinks + 1) * sizeof *w->sinks);
    struct chosen *c = &w->sinks[w->n_sinks];
    *c = (struct chosen){.settled = UINT64_MAX};
    snprintf(c->sink, sizeof c->sink, "%.*s", SPAN_ARG(sink));
    int rc = sink_record_get(w->txn, c->sink, &record, w->e);
    if (rc == 0)
        c->settled = record.cursor;
    sink_record_release(&record);
    if (rc < 0)
        return NULL;
    c->configured = is_configured(w->config, c->sink);
    w->n_sinks++;
    return c;
}

static bool is_meant(const struct redrive_request *r, const struct dead_letter *d)
{
    bool named = r->n_seqs == 0;
    for (size_t i = 0; i < r->n_seqs && !named; i++)
        named = r->seqs[i] == d->ev.seq;
    return named && (!*r->reason || span_equal_str(d->reason, r->reason));
}

static int see(void *ctx, const struct dead_letter *d)
{
    struct walk *w = ctx;
    if (!is_meant(w->request, d))
        return 0;
    struct chosen *c = chosen_of(w, d->sink);
    if (!c)
        return -1;
    if (d->ev.seq > c->settled) {
        c->unsettled++;
    } else if (w->request->action == REDRIVE_RETRY && d->status == DEAD_LETTER_RETRYING) {
        c->waiting++;
    } else {
        if (c->n++ == 0)
            c->first = d->ev.seq;
        c->last = d->ev.seq;
        if (w->keys)
            w->keys[w->n_keys++] = (struct key){arena_copy(&w->arena, d->sink),
                                                arena_copy(&w->arena, d->record_id), d->ev.seq};
    }
    return w->keys && w->n_keys == LETTERS_AT_ONCE;
}

/* Begins with nothing counted. -1 err. */
static int choose(struct walk *w, struct store_txn *txn)
{
    w->txn = txn;
    w->n_sinks = w->n_keys = 0;
    arena_reset(&w->arena);
    return dead_letter_each(txn, *w->request->sink ? w->request->sink : NULL, see, w, w->e) < 0 ? -1 : 0;
}

/* --- carrying out --------------------------------------------------------------------------------- */

static const char *verb(const struct redrive_request *r)
{
    return r->action == REDRIVE_RETRY ? "tried again" : "dropped";
}

static int record_use(struct store_txn *txn, const struct redrive_request *r, const struct chosen *c,
                      struct err *e)
{
    struct incident use = {.state = INCIDENT_CLOSED, .opened_ms = clock_wall_ms()};
    snprintf(use.subject, sizeof use.subject, "%s", c->sink);
    snprintf(use.kind, sizeof use.kind, "dead_letters");
    snprintf(use.policy, sizeof use.policy, "ordered");
    snprintf(use.text, sizeof use.text,
             "%zu dead letters %s, seq %" PRIu64 " to %" PRIu64 "%s%.60s, ordered by %s", c->n, verb(r),
             c->first, c->last, *r->reason ? ", reason " : "", r->reason, r->by[0] ? r->by : "unknown");
    log_info("dlq", "sink %s: %s", c->sink, use.text);
    return incident_open(txn, &use, e);
}

static int record_uses(struct store_txn *txn, const struct redrive_request *r, const struct chosen *sinks,
                       size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (sinks[i].n && record_use(txn, r, &sinks[i], e) != 0)
            return -1;
    return 0;
}

static int change(struct walk *w, struct store_txn *txn)
{
    for (size_t i = 0; i < w->n_keys; i++) {
        const struct key *k = &w->keys[i];
        int rc = w->request->action == REDRIVE_DROP
                     ? dead_letter_delete(txn, k->sink, k->seq, k->record_id, w->e)
                     : dead_letter_mark(txn, k->sink, k->seq, k->record_id, DEAD_LETTER_RETRYING, w->e);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* One transaction's worth; *more: there is more. `told`: what is to be recorded with it. */
static int carry_out_some(struct store *st, struct walk *w, const struct chosen *told, size_t n_told,
                          bool *more)
{
    struct store_txn txn;
    if (store_begin(st, true, &txn, w->e) != 0)
        return -1;
    if (choose(w, &txn) != 0 || change(w, &txn) != 0 ||
        record_uses(&txn, w->request, told, n_told, w->e) != 0) {
        store_abort(&txn);
        return -1;
    }
    *more = w->n_keys == LETTERS_AT_ONCE;
    KILLPOINT("redrive.before_order");
    int rc = store_commit(&txn, w->e);
    KILLPOINT("redrive.after_order");
    return rc;
}

static int carry_out(struct store *st, struct walk *w, struct err *e)
{
    struct chosen *told = w->sinks; /* of the first look, which counted all */
    const size_t n_told = w->n_sinks;
    bool more = true;
    int rc = 0;
    w->sinks = NULL;
    w->e = e;
    w->keys = xcalloc(LETTERS_AT_ONCE, sizeof *w->keys);
    for (bool first = true; rc == 0 && more; first = false)
        rc = carry_out_some(st, w, told, first ? n_told : 0, &more);
    free(w->keys);
    free(w->sinks);
    w->keys = NULL;
    w->sinks = told;
    w->n_sinks = n_told;
    return rc;
}

/* --- telling -------------------------------------------------------------------------------------- */

static int tell(const struct walk *w, struct buf *answer, struct err *e)
{
    const struct redrive_request *r = w->request;
    size_t n = 0, unsettled = 0, waiting = 0;
    for (size_t i = 0; i < w->n_sinks; i++) {
        const struct chosen *c = &w->sinks[i];
        n += c->n;
        unsettled += c->unsettled;
        waiting += c->waiting;
        if (c->n && r->action == REDRIVE_RETRY && !c->configured)
            return err_set(e, ERR_CONFIG, "dlq", 0,
                           "sink %s is not in the configuration: nobody would deliver its dead letters; "
                           "'dlq export' writes them out, 'dlq drop' gives them up",
                           c->sink);
        if (c->n)
            buf_addf(answer, "sink %s: %zu dead letters %s %s, seq %" PRIu64 " to %" PRIu64 "\n", c->sink,
                     c->n, r->dry_run ? "would be" : "are", verb(r), c->first, c->last);
    }
    if (waiting)
        buf_addf(answer, "%zu wait to be tried again already\n", waiting);
    if (unsettled)
        buf_addf(answer, "%zu are of events that their sink has not settled: they come again by themselves\n",
                 unsettled);
    if (n == 0 && waiting == 0)
        return err_set(e, ERR_CONFIG, "dlq", 0, "%s",
                       unsettled ? "what is chosen is not settled yet: it comes again by itself"
                                 : "no dead letter is chosen by this; 'tidemark dlq list' shows them");
    return 0;
}

int redrive_order(struct store *st, const struct config *config, const struct redrive_request *request,
                  struct buf *answer, struct err *e)
{
    struct walk w = {.config = config, .request = request, .arena = ARENA_INIT, .e = e};
    struct store_txn txn;
    if (store_begin(st, false, &txn, e) != 0)
        return -1;
    int rc = choose(&w, &txn);
    store_abort(&txn);
    if (rc == 0)
        rc = tell(&w, answer, e);
    size_t n = 0;
    for (size_t i = 0; i < w.n_sinks; i++)
        n += w.sinks[i].n;
    if (rc == 0 && n && !request->dry_run)
        rc = carry_out(st, &w, e);
    arena_release(&w.arena);
    free(w.sinks);
    return rc;
}
