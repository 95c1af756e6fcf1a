#include "cli/explain.h"

#include "avro/decoder.h"
#include "avro/schema_cache.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/digest.h"
#include "cli/change_line.h"
#include "cli/cli.h"
#include "cli/explain_held.h"
#include "cli/look.h"
#include "delivery/horizon.h"
#include "event/json_line.h"
#include "store/dead_letters.h"
#include "store/journal.h"
#include "store/schemas.h"
#include "store/sinks.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH_EVENTS = 1000, BATCH_BYTES = 4 << 20, ID_CHARS = 15 };

/* Where an event stands with a sink that has parked it. */
struct parked {
    uint64_t seq;
    char sink[STORE_MAX_NAME + 1];
    enum dead_letter_status status;
    char *reason, *detail;
};

/* An event that touches the record: as JSON, and as a line for people. */
struct touching {
    uint64_t seq;
    uint32_t subscription;
    bool in_journal;
    struct version version;
    json_t *json;
    char *line;
};

struct explaining {
    const struct config *config;
    const struct explain_options *options;
    struct store *st;
    struct schema_cache *schemas;
    struct arena arena;
    struct journal_bounds bounds;
    struct subscription_record record; /* of the newest event looked at */
    struct touching *events;
    size_t n_events;
    struct parked *parked;
    size_t n_parked;
    struct event_data *old; /* dead letters of events that left the journal, in old_arena */
    size_t n_old;
    struct arena old_arena;
    uint32_t *raises;     /* per sink: of epochs */
    uint64_t undecodable; /* whether they touch the record nobody can say */
};

bool explain_is_record_id(const char *text)
{
    size_t n = strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return text[n] == '\0' && (n == ID_CHARS || n == ID_CHARS + 3);
}

/* --- which events --------------------------------------------------------------------------------- */

/* The first 15 characters are the record; "001*" in a gap means every record of the entity. */
static bool names_record(struct span id, const char *wanted)
{
    if (id.n && id.p[id.n - 1] == '*')
        return id.n - 1 <= ID_CHARS && memcmp(id.p, wanted, id.n - 1) == 0;
    return id.n >= ID_CHARS && memcmp(id.p, wanted, ID_CHARS) == 0;
}

static bool touches(const struct change_header *header, const char *wanted)
{
    for (uint32_t i = 0; i < header->n_record_ids; i++)
        if (names_record(header->record_ids[i], wanted))
            return true;
    return false;
}

static json_t *time_of(int64_t ms)
{
    char text[25];
    if (ms <= 0)
        return json_null();
    clock_format_ms(ms, text);
    return json_string(text);
}

/* What the line of the event says about the change, without its values. */
static json_t *describe(const struct explaining *x, const struct event_data *ev, const struct change *ch)
{
    static const char *const kept[] = {"id",
                                       "topic",
                                       "replay_id",
                                       "seq",
                                       "kind",
                                       "entity",
                                       "change_type",
                                       "commit_timestamp",
                                       "commit_number",
                                       "transaction_key",
                                       "changed_fields",
                                       "nulled_fields"};
    const struct line_source source = {span_of_str(x->record.org_id), span_of_str(x->record.topic)};
    struct buf line = BUF_INIT;
    json_line_add(&line, ev, ch, &source, 0);
    json_t *whole = json_loadb((const char *)line.data, line.len, JSON_ALLOW_NUL, NULL), *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        json_t *value = json_object_get(whole, kept[i]);
        if (value)
            json_object_set(o, kept[i], value);
    }
    json_object_set_new(o, "subscription", json_string(x->record.name));
    json_object_set_new(o, "generation", json_integer(ev->generation));
    json_object_set_new(o, "received_at", time_of(ev->received_ms));
    json_decref(whole);
    buf_release(&line);
    return o;
}

static void add_event(struct explaining *x, const struct event_data *ev, const struct change *ch,
                      bool in_journal)
{
    struct buf line = BUF_INIT;
    change_line_add(&line, ev, ch, look_width(160), look_has_colour());
    x->events = xrealloc(x->events, (x->n_events + 1) * sizeof *x->events);
    x->events[x->n_events++] = (struct touching){.seq = ev->seq,
                                                 .subscription = ev->subscription,
                                                 .in_journal = in_journal,
                                                 .version = {ev->epoch, ch->kind == CHANGE_SNAPSHOT,
                                                             ch->header.commit_number,
                                                             ch->header.sequence_number},
                                                 .json = describe(x, ev, ch),
                                                 .line = buf_detach(&line)};
}

/* x->record is its subscription's. */
static void look_at(struct explaining *x, const struct event_data *ev, bool in_journal)
{
    struct change_header header;
    struct change ch;
    struct err why = ERR_INIT;
    const struct avro_plan *plan = schema_cache_get(x->schemas, span_of_str(x->record.org_id), ev->schema_id,
                                                    &why);
    if (!plan || avro_decode_header(plan, ev->payload, &x->arena, &header, &why) != 0)
        x->undecodable++;
    else if (touches(&header, x->options->record_id)) {
        if (avro_decode(plan, ev->payload, &x->arena, &ch, &why) != 0) /* the header alone is known */
            ch = (struct change){.schema = avro_plan_schema(plan), .kind = CHANGE_RECORD, .header = header};
        add_event(x, ev, &ch, in_journal);
    }
}

/* One transaction reads a batch, and is over before it is looked at. */
static int read_batch(struct explaining *x, uint64_t from, struct event_data **events, size_t *n,
                      struct subscription_record *records, struct err *e)
{
    struct store_txn txn;
    arena_reset(&x->arena);
    if (store_begin(x->st, false, &txn, e) != 0)
        return -1;
    int rc = journal_bounds(&txn, &x->bounds, e);
    if (rc == 0 && from < x->bounds.oldest)
        from = x->bounds.oldest;
    if (rc == 0)
        rc = journal_read(&txn, from, BATCH_EVENTS, BATCH_BYTES, &x->arena, events, n, e);
    for (size_t i = 0; rc == 0 && i < *n; i++) {
        records[i] = i ? records[i - 1] : (struct subscription_record){0};
        rc = look_subscription(&txn, (*events)[i].subscription, &records[i], e);
    }
    store_abort(&txn);
    return rc;
}

/* As far as the journal reaches now: what comes meanwhile is left for the next time. */
static int read_journal(struct explaining *x, struct err *e)
{
    struct subscription_record *records = xcalloc(BATCH_EVENTS, sizeof *records);
    struct event_data *events = NULL;
    uint64_t next = 1, end = 0;
    size_t n = 0;
    int rc;
    while ((rc = read_batch(x, next, &events, &n, records, e)) == 0 && n) {
        end = end ? end : x->bounds.head;
        for (size_t i = 0; i < n && events[i].seq <= end; i++) {
            x->record = records[i];
            look_at(x, &events[i], true);
        }
        next = events[n - 1].seq + 1;
        if (next > end)
            break;
    }
    free(records);
    return rc;
}

/* --- where they stand ----------------------------------------------------------------------------- */

static struct touching *find_event(const struct explaining *x, uint64_t seq)
{
    for (size_t i = 0; i < x->n_events; i++)
        if (x->events[i].seq == seq)
            return &x->events[i];
    return NULL;
}

static struct span copy(struct arena *a, struct span s)
{
    uint8_t *p = arena_alloc(a, s.n + 1);
    memcpy(p, s.p, s.n);
    return span_of(p, s.n);
}

/* It left the journal, and its payload has the id in it: looked at once the walk is over. */
static void keep_for_later(struct explaining *x, const struct event_data *ev)
{
    struct event_data kept = *ev;
    if (ev->seq >= x->bounds.oldest || (x->n_old && x->old[x->n_old - 1].seq == ev->seq) ||
        !memmem(ev->payload.p, ev->payload.n, x->options->record_id, ID_CHARS))
        return;
    kept.event_id = copy(&x->old_arena, ev->event_id);
    kept.replay_id = copy(&x->old_arena, ev->replay_id);
    kept.schema_id = copy(&x->old_arena, ev->schema_id);
    kept.payload = copy(&x->old_arena, ev->payload);
    x->old = xrealloc(x->old, (x->n_old + 1) * sizeof *x->old);
    x->old[x->n_old++] = kept;
}

static int on_dead_letter(void *ctx, const struct dead_letter *d)
{
    struct explaining *x = ctx;
    if (d->record_id.n && !names_record(d->record_id, x->options->record_id))
        return 0; /* of another record of the same event */
    if (!find_event(x, d->ev.seq) && d->ev.seq >= x->bounds.oldest)
        return 0; /* looked at in the journal already */
    keep_for_later(x, &d->ev);
    struct parked p = {.seq = d->ev.seq, .status = d->status};
    snprintf(p.sink, sizeof p.sink, "%.*s", SPAN_ARG(d->sink));
    p.reason = xmemdupz(d->reason.p, d->reason.n);
    p.detail = xmemdupz(d->detail.p, d->detail.n);
    x->parked = xrealloc(x->parked, (x->n_parked + 1) * sizeof *x->parked);
    x->parked[x->n_parked++] = p;
    return 0;
}

static int read_dead_letters(struct explaining *x, struct err *e)
{
    struct store_txn txn;
    if (store_begin(x->st, false, &txn, e) != 0)
        return -1;
    int rc = dead_letter_each(&txn, x->options->sink, on_dead_letter, x, e);
    struct subscription_record *records = xcalloc(x->n_old + 1, sizeof *records);
    for (size_t i = 0; rc == 0 && i < x->n_old; i++)
        rc = look_subscription(&txn, x->old[i].subscription, &records[i], e);
    store_abort(&txn);
    for (size_t i = 0; rc == 0 && i < x->n_old; i++) {
        x->record = records[i];
        if (!find_event(x, x->old[i].seq)) /* parked by several sinks */
            look_at(x, &x->old[i], false);
    }
    free(records);
    return rc;
}

static const struct parked *find_parked(const struct explaining *x, uint64_t seq, const char *sink)
{
    for (size_t i = 0; i < x->n_parked; i++)
        if (x->parked[i].seq == seq && strcmp(x->parked[i].sink, sink) == 0)
            return &x->parked[i];
    return NULL;
}

static bool wants(const struct config *c, const struct sink_config *sink, const char *subscription)
{
    if (sink->n_subscriptions == c->n_subscriptions)
        return true;
    for (uint32_t i = 0; i < sink->n_subscriptions; i++)
        if (strcmp(c->subscriptions[sink->subscriptions[i]].name, subscription) == 0)
            return true;
    return false;
}

struct standing {
    const char *status;
    char more[300];
};

/* r NULL: the sink has not begun. */
static struct standing standing_of(const struct explaining *x, const struct sink_config *sink,
                                   const struct sink_record *r, const struct touching *ev)
{
    const uint64_t cursor = r ? r->cursor : x->bounds.oldest - 1;
    struct standing s = {"waiting", ""};
    const char *subscription = json_string_value(json_object_get(ev->json, "subscription"));
    const struct parked *p = find_parked(x, ev->seq, sink->name);
    if (p) {
        s.status = "parked";
        snprintf(s.more, sizeof s.more, "%s, %s: %s", dead_letter_status_name(p->status), p->reason,
                 p->detail);
    } else if (!r && sink->start == SINK_START_NOW) {
        s.status = "not_given";
        snprintf(s.more, sizeof s.more, "the sink has not begun, and begins with what comes then");
    } else if (r && ev->seq <= r->base) {
        s.status = "not_given";
        snprintf(s.more, sizeof s.more, "the sink began after seq %" PRIu64, r->base);
    } else if (!wants(x->config, sink, subscription)) {
        s.status = "filtered";
        snprintf(s.more, sizeof s.more, "the sink does not take subscription %s", subscription);
    } else if (ev->seq <= cursor) {
        s.status = sink_kind_is_mirror(sink->kind) ? "settled" : "delivered";
    } else if (r && ev->seq <= r->redeliver_to) {
        s.status = "delivered";
        snprintf(s.more, sizeof s.more, "to be delivered once more, by order");
    } else {
        snprintf(s.more, sizeof s.more, "%" PRIu64 " events before it", ev->seq - cursor - 1);
    }
    return s;
}

static int place_events(struct explaining *x, struct err *e)
{
    struct store_txn txn;
    if (store_begin(x->st, false, &txn, e) != 0)
        return -1;
    int rc = 0;
    x->raises = xcalloc(x->config->n_sinks + 1, sizeof *x->raises);
    for (uint32_t k = 0; rc == 0 && k < x->config->n_sinks; k++) {
        const struct sink_config *sink = &x->config->sinks[k];
        struct sink_record r;
        struct horizon horizon;
        if (x->options->sink && strcmp(x->options->sink, sink->name) != 0)
            continue;
        int found = sink_record_get(&txn, sink->name, &r, e);
        rc = found < 0 ? -1 : 0;
        if (found == 0 && sink_kind_is_mirror(sink->kind)) {
            horizon_read(&horizon, buf_span(&r.state));
            x->raises[k] = horizon.raise;
        }
        for (size_t i = 0; rc == 0 && i < x->n_events; i++) {
            struct standing s = standing_of(x, sink, found == 0 ? &r : NULL, &x->events[i]);
            json_t *list = json_object_get(x->events[i].json, "sinks");
            if (!list) {
                list = json_array();
                json_object_set_new(x->events[i].json, "sinks", list);
            }
            json_array_append_new(list, json_pack("{ssssss*}", "name", sink->name, "status", s.status,
                                                  "detail", s.more[0] ? s.more : NULL));
        }
        sink_record_release(&r);
    }
    store_abort(&txn);
    return rc;
}

/* --- telling -------------------------------------------------------------------------------------- */

static int by_seq(const void *left, const void *right)
{
    const struct touching *a = left, *b = right;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* What the mirrors hold of it; the events learn which of their fields were superseded. */
static json_t *look_at_mirrors(const struct explaining *x)
{
    struct explain_event *events = xcalloc(x->n_events + 1, sizeof *events);
    for (size_t i = 0; i < x->n_events; i++)
        events[i] = (struct explain_event){x->events[i].seq, x->events[i].version, x->events[i].json};
    json_t *held = explain_held(x->config, x->options->sink, x->options->record_id, x->raises, events,
                                x->n_events);
    free(events);
    return held;
}

static void print_json(const struct explaining *x, json_t *held)
{
    json_t *o = json_object(), *events = json_array();
    json_object_set_new(o, "record_id", json_string(x->options->record_id));
    json_object_set_new(
        o, "journal",
        json_pack("{sIsI}", "oldest", (json_int_t)x->bounds.oldest, "head", (json_int_t)x->bounds.head));
    for (size_t i = 0; i < x->n_events; i++) {
        json_object_set_new(x->events[i].json, "in_journal", json_boolean(x->events[i].in_journal));
        json_array_append(events, x->events[i].json);
    }
    json_object_set_new(o, "events", events);
    json_object_set(o, "held", held);
    json_object_set_new(o, "undecodable", json_integer((json_int_t)x->undecodable));
    char *text = json_dumps(o, JSON_INDENT(2));
    BUG_IF(!text);
    puts(text);
    free(text);
    json_decref(o);
}

/* "w: superseded Phone (seq 12), Fax (seq 14)" of one event. */
static void print_superseded(const json_t *event)
{
    enum { NAMED = 8 };
    size_t i, k;
    json_t *sink, *field;
    json_array_foreach(json_object_get(event, "superseded"), i, sink)
    {
        json_t *fields = json_object_get(sink, "fields");
        if (json_array_size(fields) == 0)
            continue;
        printf("    %s: newer already:", json_string_value(json_object_get(sink, "sink")));
        json_array_foreach(fields, k, field)
        {
            const json_t *seq = json_object_get(field, "seq");
            if (k == NAMED) {
                printf(" and %zu more", json_array_size(fields) - k);
                break;
            }
            printf("%s %s", k ? "," : "", json_string_value(json_object_get(field, "field")));
            if (json_is_integer(seq))
                printf(" (seq %lld)", (long long)json_integer_value(seq));
        }
        putchar('\n');
    }
}

/* "w: not written, the row had been edited in the target: Phone, Fax" of one event. */
static void print_edit_won(const json_t *event)
{
    size_t i, k;
    json_t *sink, *field;
    json_array_foreach(json_object_get(event, "edit_won"), i, sink)
    {
        const json_t *fields = json_object_get(sink, "fields");
        printf("    %s: %s, the row had been edited in the target",
               json_string_value(json_object_get(sink, "sink")),
               json_is_true(json_object_get(sink, "deletion")) ? "not deleted" : "not written");
        json_array_foreach(fields, k, field) printf("%s %s", k ? "," : ":", json_string_value(field));
        putchar('\n');
    }
}

static void print_text(const struct explaining *x, const json_t *held)
{
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < x->n_events; i++) {
        size_t k;
        json_t *sink;
        fputs(x->events[i].line, stdout);
        json_array_foreach(json_object_get(x->events[i].json, "sinks"), k, sink)
        {
            const char *more = json_string_value(json_object_get(sink, "detail"));
            printf("    %s: %s%s%s\n", json_string_value(json_object_get(sink, "name")),
                   json_string_value(json_object_get(sink, "status")), more ? ", " : "", more ? more : "");
        }
        print_superseded(x->events[i].json);
        print_edit_won(x->events[i].json);
    }
    if (x->n_events == 0)
        printf("no event that touches %s\n", x->options->record_id);
    printf("the journal holds seq %" PRIu64 " to %" PRIu64 "\n", x->bounds.oldest, x->bounds.head);
    if (x->undecodable)
        printf("%" PRIu64 " events do not decode: whether they touch it cannot be said (tidemark dlq list)\n",
               x->undecodable);
    explain_held_text(held, look_has_colour(), &text);
    if (text.len)
        fwrite(text.data, 1, text.len, stdout);
    buf_release(&text);
}

static int explain_store(struct explaining *x)
{
    struct err e = ERR_INIT;
    if (read_journal(x, &e) != 0 || read_dead_letters(x, &e) != 0 || place_events(x, &e) != 0)
        return cli_fail(&e);
    if (x->n_events)
        qsort(x->events, x->n_events, sizeof *x->events, by_seq);
    json_t *held = look_at_mirrors(x);
    if (x->options->json)
        print_json(x, held);
    else
        print_text(x, held);
    json_decref(held);
    return cli_finish_output(EXIT_OK);
}

int explain(const struct config *config, const struct explain_options *options)
{
    struct explaining x = {
        .config = config, .options = options, .arena = ARENA_INIT, .old_arena = ARENA_INIT};
    struct err e = ERR_INIT;
    if (look_open(config, &x.st, &e) != 0)
        return cli_fail(&e);
    if (!x.st) {
        fprintf(stderr, "tidemark: there is no store in %s yet\n", config->store.path);
        return EXIT_STORE;
    }
    x.schemas = schema_cache_new(schema_load_from, x.st);
    int code = explain_store(&x);
    for (size_t i = 0; i < x.n_events; i++) {
        json_decref(x.events[i].json);
        free(x.events[i].line);
    }
    for (size_t i = 0; i < x.n_parked; i++) {
        free(x.parked[i].reason);
        free(x.parked[i].detail);
    }
    free(x.events);
    free(x.raises);
    free(x.parked);
    free(x.old);
    arena_release(&x.old_arena);
    schema_cache_free(x.schemas);
    arena_release(&x.arena);
    store_close(x.st);
    return code;
}
