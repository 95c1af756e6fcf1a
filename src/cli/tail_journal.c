/*
 * tail --journal: what the store holds, read beside a running daemon or after it. Follows like tail -f: the
 * head is looked at a few times a second.
 */
#include "cli/tail.h"

#include "avro/schema_cache.h"
#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/look.h"
#include "store/journal.h"
#include "store/schemas.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH_EVENTS = 500, BATCH_BYTES = 4 << 20, POLL_MS = 200 };

struct origin {
    struct subscription_record record;
    struct line_source source;
    bool wanted;
};

struct reading {
    const struct tail_options *options;
    struct store *st;
    struct schema_cache *schemas;
    struct arena arena; /* one batch */
    struct event_data *events;
    size_t n_events;
    struct origin **origins; /* learned as they occur */
    size_t n_origins;
    uint64_t next, head;
};

static bool wants(const struct tail_options *o, const char *topic)
{
    for (size_t i = 0; i < o->n_topics; i++)
        if (strcmp(o->topics[i], topic) == 0)
            return true;
    return o->n_topics == 0;
}

static struct origin *find_origin(const struct reading *r, uint32_t number)
{
    for (size_t i = 0; i < r->n_origins; i++)
        if (r->origins[i]->record.number == number)
            return r->origins[i];
    return NULL;
}

static int learn_origins(struct reading *r, struct store_txn *txn, struct err *e)
{
    for (size_t i = 0; i < r->n_events; i++) {
        if (find_origin(r, r->events[i].subscription))
            continue;
        struct origin *o = xcalloc(1, sizeof *o);
        if (look_subscription(txn, r->events[i].subscription, &o->record, e) != 0) {
            free(o);
            return -1;
        }
        o->source = (struct line_source){span_of_str(o->record.org_id), span_of_str(o->record.topic)};
        o->wanted = wants(r->options, o->record.topic);
        r->origins = xrealloc(r->origins, (r->n_origins + 1) * sizeof(struct origin *));
        r->origins[r->n_origins++] = o;
    }
    return 0;
}

/* The next batch into r->events; none: the head is reached. The transaction ends before anything is printed. */
static int read_batch(struct reading *r, struct err *e)
{
    struct store_txn txn;
    struct journal_bounds bounds = {0};
    arena_reset(&r->arena);
    r->n_events = 0;
    if (store_begin(r->st, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, &bounds, e);
    if (rc == 0 && r->next < bounds.oldest) {
        if (r->next)
            fprintf(stderr,
                    "tidemark: seq %" PRIu64 " to %" PRIu64 " left the journal before they were read\n",
                    r->next, bounds.oldest - 1);
        r->next = bounds.oldest;
    }
    if (rc == 0)
        rc = journal_read(&txn, r->next, BATCH_EVENTS, BATCH_BYTES, &r->arena, &r->events, &r->n_events, e);
    if (rc == 0)
        rc = learn_origins(r, &txn, e);
    store_abort(&txn);
    r->head = bounds.head;
    if (rc == 0)
        r->next += r->n_events;
    return rc;
}

/* Set r->next behind the last event that has the replay id. 1: the journal holds none. */
static int seek_replay_id(struct reading *r, struct err *e)
{
    struct span wanted = span_of(r->options->replay_id, r->options->replay_id_len);
    uint64_t found = 0, head = UINT64_MAX;
    do {
        if (read_batch(r, e) != 0)
            return -1;
        head = head == UINT64_MAX ? r->head : head;
        for (size_t i = 0; i < r->n_events; i++)
            if (span_equal(r->events[i].replay_id, wanted) &&
                find_origin(r, r->events[i].subscription)->wanted)
                found = r->events[i].seq;
    } while (r->n_events && r->next <= head && !interrupt_signal());
    r->next = found + 1;
    return found ? 0 : 1;
}

static void print_event(struct reading *r, struct tail_out *out, const struct event_data *ev)
{
    const struct origin *o = find_origin(r, ev->subscription);
    struct err e = ERR_INIT;
    if (!o->wanted)
        return;
    const struct avro_plan *plan = schema_cache_get(r->schemas, o->source.org_id, ev->schema_id, &e);
    if (plan)
        tail_print(out, ev, plan, &o->source);
    else
        tail_complain(ev, &o->source, e.class == ERR_RETRY ? "the store does not hold its schema" : e.text);
}

static int follow(struct reading *r, struct err *e)
{
    struct tail_out out;
    int rc = 0;
    tail_out_init(&out, r->options);
    while (!tail_is_over(&out) && (rc = read_batch(r, e)) == 0) {
        for (size_t i = 0; i < r->n_events && !tail_is_over(&out); i++)
            print_event(r, &out, &r->events[i]);
        if (r->n_events == 0) {
            tail_idle(&out);
            interrupt_wait(POLL_MS);
        }
    }
    int code = tail_finish(&out);
    tail_out_release(&out);
    return rc == 0 ? code : cli_fail(e);
}

static int begin(struct reading *r, struct err *e)
{
    if (r->options->from == PUBSUB_CUSTOM)
        return seek_replay_id(r, e);
    if (r->options->from == PUBSUB_EARLIEST || !r->options->from_given)
        return 0;
    r->next = UINT64_MAX; /* beyond any head: nothing is read but the head */
    if (read_batch(r, e) != 0)
        return -1;
    r->next = r->head + 1;
    return 0;
}

int tail_journal(const struct config *config, const struct tail_options *options)
{
    struct reading r = {.options = options, .arena = ARENA_INIT};
    struct err e = ERR_INIT;
    int code;
    if (look_open(config, &r.st, &e) != 0)
        return cli_fail(&e);
    if (!r.st) {
        fprintf(stderr, "tidemark: there is no store in %s yet\n", config->store.path);
        return EXIT_STORE;
    }
    interrupt_setup();
    interrupt_hold();
    r.schemas = schema_cache_new(schema_load_from, r.st);
    int rc = begin(&r, &e);
    if (rc == 0) {
        code = follow(&r, &e);
    } else if (rc == 1) {
        fputs("tidemark: --from: the journal holds no event with this replay id\n", stderr);
        code = EXIT_USAGE;
    } else {
        code = cli_fail(&e);
    }
    for (size_t i = 0; i < r.n_origins; i++)
        free(r.origins[i]);
    free(r.origins);
    schema_cache_free(r.schemas);
    arena_release(&r.arena);
    store_close(r.st);
    return code;
}
