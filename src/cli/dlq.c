/*
 * tidemark dlq: dead letters: looked at in the store, whether a daemon runs or not; tried again, or given up (dlq_order.h).
 *
 * What is printed is made within a short read transaction and printed after it: a reader that waits for a pager would keep
 * the store from reusing its pages. An export, which may be long, takes one for every few megabytes.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/dlq_order.h"
#include "cli/look.h"
#include "store/dead_letters.h"
#include "store/sinks.h"

#include <inttypes.h>
#include <stdio.h>

enum dlq_what { DLQ_LIST, DLQ_SHOW, DLQ_EXPORT, DLQ_RETRY, DLQ_DROP };
enum { EXPORT_BYTES = 4 << 20 }; /* within one transaction */

struct dlq_options {
    enum dlq_what what;
    const char *sink;   /* NULL: all */
    const char *reason; /* NULL: any */
    int64_t seq;        /* show */
    struct buf seqs;    /* retry, drop: "12,15" */
    bool json, all, dry_run;
};

struct walk {
    const struct dlq_options *options;
    struct store_txn *txn;
    struct subscription_record subscription; /* of the newest dead letter looked at */
    struct table table;
    struct buf out;
    struct err *e;
    size_t found;
    struct { /* export: the last one written out */
        struct buf sink, record_id;
        uint64_t seq;
        bool more; /* there may be others behind it */
    } place;
};

/* --- JSON ----------------------------------------------------------------------------------------- */

/* Bytes from outside: JSON takes UTF-8 alone. */
static void add_text(struct buf *b, const char *key, struct span s)
{
    buf_addf(b, ",\"%s\":", key);
    if (text_is_utf8(s)) {
        json_add_string(b, s);
        return;
    }
    struct buf ascii = BUF_INIT;
    for (size_t i = 0; i < s.n; i++)
        buf_add_char(&ascii, s.p[i] < 0x80 ? (char)s.p[i] : '?');
    json_add_string(b, buf_span(&ascii));
    buf_release(&ascii);
}

static void add_time(struct buf *b, const char *key, int64_t ms)
{
    char text[25];
    clock_format_ms(ms, text);
    buf_addf(b, ",\"%s\":\"%s\"", key, text);
}

static void add_json(struct walk *w, const struct dead_letter *d)
{
    struct buf *b = &w->out;
    buf_add_str(b, "{\"sink\":");
    json_add_string(b, d->sink);
    buf_addf(b, ",\"seq\":%" PRIu64, d->ev.seq);
    add_text(b, "id", d->ev.event_id);
    if (d->record_id.n)
        add_text(b, "record_id", d->record_id);
    add_text(b, "reason", d->reason);
    add_text(b, "detail", d->detail);
    add_text(b, "status", span_of_str(dead_letter_status_name(d->status)));
    add_text(b, "subscription", span_of_str(w->subscription.name));
    add_text(b, "topic", span_of_str(w->subscription.topic));
    buf_add_str(b, ",\"replay_id\":\"");
    hex_add(b, d->ev.replay_id);
    buf_add_char(b, '"');
    add_text(b, "schema_id", d->ev.schema_id);
    add_time(b, "parked_at", d->parked_ms);
    add_time(b, "received_at", d->ev.received_ms);
    buf_addf(b, ",\"payload_bytes\":%zu", d->ev.payload.n);
    if (w->options->what != DLQ_LIST) {
        add_text(b, "org", span_of_str(w->subscription.org_id));
        buf_addf(b, ",\"generation\":%u,\"payload\":\"", d->ev.generation);
        base64_add(b, d->ev.payload);
        buf_add_char(b, '"');
    }
    buf_add_str(b, "}\n");
}

/* --- text ----------------------------------------------------------------------------------------- */

static void add_row(struct walk *w, const struct dead_letter *d)
{
    char parked[25];
    clock_format_ms(d->parked_ms, parked);
    table_cell(&w->table, "%.*s", SPAN_ARG(d->sink));
    table_cell(&w->table, "%" PRIu64, d->ev.seq);
    table_cell(&w->table, "%s", parked);
    table_cell(&w->table, "%s", dead_letter_status_name(d->status));
    table_cell(&w->table, "%.*s", SPAN_ARG(d->reason));
    table_cell(&w->table, "%.*s", SPAN_ARG(d->ev.event_id));
    table_cell(&w->table, "%s", w->subscription.topic);
}

/* "key  value", control characters blanked. */
static void add_line(struct buf *b, const char *key, struct span value)
{
    buf_addf(b, "%-13s ", key);
    for (size_t i = 0; i < value.n; i++)
        buf_add_char(b, value.p[i] < 0x20 || value.p[i] == 0x7f ? ' ' : (char)value.p[i]);
    buf_add_char(b, '\n');
}

static void add_time_line(struct buf *b, const char *key, int64_t ms)
{
    char text[25];
    clock_format_ms(ms, text);
    add_line(b, key, span_of_str(text));
}

static void add_hex_dump(struct buf *b, struct span s)
{
    for (size_t at = 0; at < s.n; at += 16) {
        size_t n = s.n - at < 16 ? s.n - at : 16;
        buf_addf(b, "  %08zx ", at);
        for (size_t i = 0; i < 16; i++) {
            if (i < n)
                buf_addf(b, "%s%02x", i == 8 ? "  " : " ", s.p[at + i]);
            else
                buf_add_str(b, i == 8 ? "    " : "   ");
        }
        buf_add_str(b, "  |");
        for (size_t i = 0; i < n; i++)
            buf_add_char(b, s.p[at + i] >= 0x20 && s.p[at + i] < 0x7f ? (char)s.p[at + i] : '.');
        buf_add_str(b, "|\n");
    }
}

static void add_whole(struct walk *w, const struct dead_letter *d)
{
    struct buf *b = &w->out;
    char hex[2 * EVENT_MAX_REPLAY_ID + 1] = "";
    if (d->ev.replay_id.n <= EVENT_MAX_REPLAY_ID)
        hex_encode(d->ev.replay_id, hex);
    if (w->found > 1)
        buf_add_char(b, '\n');
    add_line(b, "sink", d->sink);
    buf_addf(b, "%-13s %" PRIu64 "\n", "seq", d->ev.seq);
    if (d->record_id.n)
        add_line(b, "record", d->record_id);
    add_line(b, "status", span_of_str(dead_letter_status_name(d->status)));
    add_line(b, "reason", d->reason);
    add_line(b, "detail", d->detail);
    add_time_line(b, "parked", d->parked_ms);
    add_line(b, "event id", d->ev.event_id);
    add_line(b, "subscription", span_of_str(w->subscription.name));
    add_line(b, "topic", span_of_str(w->subscription.topic));
    add_line(b, "org", span_of_str(w->subscription.org_id));
    add_line(b, "replay id", span_of_str(hex));
    add_line(b, "schema id", d->ev.schema_id);
    buf_addf(b, "%-13s %u\n", "generation", d->ev.generation);
    add_time_line(b, "received", d->ev.received_ms);
    buf_addf(b, "%-13s %zu bytes\n", "payload", d->ev.payload.n);
    add_hex_dump(b, d->ev.payload);
}

/* --- the walk ------------------------------------------------------------------------------------- */

static int keep_place(struct walk *w, const struct dead_letter *d)
{
    buf_clear(&w->place.sink);
    buf_clear(&w->place.record_id);
    buf_add_span(&w->place.sink, d->sink);
    buf_add_span(&w->place.record_id, d->record_id);
    w->place.seq = d->ev.seq;
    w->place.more = true;
    return 1;
}

static int on_dead_letter(void *ctx, const struct dead_letter *d)
{
    struct walk *w = ctx;
    const struct dlq_options *o = w->options;
    if (o->what == DLQ_SHOW && d->ev.seq != (uint64_t)o->seq)
        return 0;
    if (o->sink && !span_equal_str(d->sink, o->sink))
        return 1; /* behind the last one of the sink */
    if (o->reason && !span_equal_str(d->reason, o->reason))
        return 0;
    if (look_subscription(w->txn, d->ev.subscription, &w->subscription, w->e) != 0)
        return -1;
    w->found++;
    if (o->json)
        add_json(w, d);
    else if (o->what == DLQ_SHOW)
        add_whole(w, d);
    else
        add_row(w, d);
    return o->what == DLQ_EXPORT && w->out.len >= EXPORT_BYTES ? keep_place(w, d) : 0;
}

static bool is_configured(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_sinks; i++)
        if (strcmp(config->sinks[i].name, name) == 0)
            return true;
    return false;
}

/* 1: neither the configuration nor the store knows a sink of this name. */
static int check_sink(struct store_txn *txn, const struct config *config, const char *name, struct err *e)
{
    struct sink_record record;
    if (!name || is_configured(config, name))
        return 0;
    int rc = sink_record_get(txn, name, &record, e);
    sink_record_release(&record);
    return rc;
}

static int read_dead_letters(struct store *st, const struct config *config, struct walk *w, struct err *e)
{
    struct store_txn txn;
    if (store_begin(st, false, &txn, e) != 0)
        return -1;
    w->txn = &txn;
    w->e = e;
    int rc = check_sink(&txn, config, w->options->sink, e);
    const bool goes_on = w->place.more;
    w->place.more = false;
    if (rc == 0) {
        rc = goes_on ? dead_letter_after(&txn, buf_span(&w->place.sink), w->place.seq, buf_span(&w->place.record_id),
                                         on_dead_letter, w, e)
                     : dead_letter_each(&txn, w->options->sink, on_dead_letter, w, e);
        rc = rc < 0 ? -1 : 0;
    }
    store_abort(&txn);
    w->txn = NULL;
    w->e = NULL;
    return rc;
}

/* 1: there is no such sink. */
static int export_dead_letters(struct store *st, const struct config *config, struct walk *w, struct err *e)
{
    int rc;
    do {
        rc = read_dead_letters(st, config, w, e);
        if (w->out.len)
            fwrite(w->out.data, 1, w->out.len, stdout);
        buf_clear(&w->out);
    } while (rc == 0 && w->place.more);
    return rc;
}

static void add_heading(struct walk *w)
{
    static const char *const heading[] = {"sink", "seq", "parked", "status", "reason", "event id", "topic"};
    table_init(&w->table, "lrlllll");
    for (size_t i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&w->table, "%s", heading[i]);
}

static int print_found(struct walk *w)
{
    const struct dlq_options *o = w->options;
    if (o->what == DLQ_SHOW && w->found == 0) {
        fprintf(stderr, "tidemark: sink '%s' has no dead letter with seq %" PRId64 "; 'tidemark dlq list' shows what there is\n",
                o->sink, o->seq);
        return EXIT_USAGE;
    }
    if (o->what == DLQ_LIST && !o->json && w->found)
        table_print(&w->table, "", look_has_colour(), &w->out);
    if (w->found == 0)
        fputs("no dead letters\n", stderr);
    if (w->out.len)
        fwrite(w->out.data, 1, w->out.len, stdout);
    return cli_finish_output(EXIT_OK);
}

static int dlq(const struct config *config, const struct dlq_options *o)
{
    struct walk w = {.options = o, .out = BUF_INIT};
    struct err e = ERR_INIT;
    struct store *st;
    int code;
    if (look_open(config, &st, &e) != 0)
        return cli_fail(&e);
    add_heading(&w);
    int rc = !st                     ? 0
             : o->what == DLQ_EXPORT ? export_dead_letters(st, config, &w, &e)
                                     : read_dead_letters(st, config, &w, &e);
    if (rc < 0) {
        code = cli_fail(&e);
    } else if (rc == 1) {
        fprintf(stderr, "tidemark: there is no sink '%s'\n", o->sink);
        code = EXIT_USAGE;
    } else {
        code = print_found(&w);
    }
    store_close(st);
    table_release(&w.table);
    buf_release(&w.out);
    buf_release(&w.place.sink);
    buf_release(&w.place.record_id);
    return code;
}

/* SEQ… of one sink, as the order takes them. */
static void read_seqs(const struct command *self, int argc, char **argv, struct dlq_options *o)
{
    if (optind + 1 == argc)
        return;
    if (o->sink)
        cli_usage_error(self, "--sink and SINK SEQ… are two ways to choose: one of them");
    o->sink = argv[optind + 1];
    if (argc - optind < 3)
        cli_usage_error(self, "%s: SINK SEQ…", argv[optind]);
    for (int i = optind + 2; i < argc; i++)
        buf_addf(&o->seqs, "%s%s", o->seqs.len ? "," : "", argv[i]);
}

static void read_arguments(const struct command *self, int argc, char **argv, struct dlq_options *o)
{
    static const char *const names[] = {"list", "show", "export", "retry", "drop"};
    const char *what = optind < argc ? argv[optind] : NULL;
    unsigned i = 0;
    if (!what)
        cli_usage_error(self, "what? list, show, retry, drop or export");
    while (i < ARRAY_LEN(names) && strcmp(what, names[i]) != 0)
        i++;
    if (i == ARRAY_LEN(names))
        cli_usage_error(self, "'%s' is not list, show, retry, drop or export", what);
    o->what = (enum dlq_what)i;
    const bool orders = o->what == DLQ_RETRY || o->what == DLQ_DROP;
    if ((o->all || o->dry_run) && !orders)
        cli_usage_error(self, "--all and --dry-run go with retry and drop");
    if (o->json && orders)
        cli_usage_error(self, "--json goes with list and show");
    if (orders) {
        read_seqs(self, argc, argv, o);
        return;
    }
    if (o->what != DLQ_SHOW) {
        o->json |= o->what == DLQ_EXPORT;
        if (argc - optind > 1)
            cli_usage_error(self, "%s: unexpected argument '%s'", what, argv[optind + 1]);
        return;
    }
    if (o->sink || o->reason)
        cli_usage_error(self, "--sink and --reason do not go with show, which takes SINK SEQ");
    if (argc - optind != 3)
        cli_usage_error(self, "show takes SINK SEQ");
    o->sink = argv[optind + 1];
    if (text_parse_int(argv[optind + 2], 1, INT64_MAX, &o->seq) != 0)
        cli_usage_error(self, "SEQ is a number from 1 on, not '%s'", argv[optind + 2]);
}

static int run(const struct config *config, struct dlq_options *o)
{
    if (o->what != DLQ_RETRY && o->what != DLQ_DROP)
        return dlq(config, o);
    return dlq_order(config, o->what == DLQ_RETRY ? REDRIVE_RETRY : REDRIVE_DROP, o->sink ? o->sink : "",
                     o->seqs.len ? (char *)o->seqs.data : "", o->reason ? o->reason : "", o->all, o->dry_run);
}

int cli_dlq(const struct command *self, int argc, char **argv)
{
    enum { JSON = 1, SINK, REASON, ALL, DRY_RUN };
    static const struct option own[] = {{"json", no_argument, NULL, JSON},
                                        {"sink", required_argument, NULL, SINK},
                                        {"reason", required_argument, NULL, REASON},
                                        {"all", no_argument, NULL, ALL},
                                        {"dry-run", no_argument, NULL, DRY_RUN},
                                        {0}};
    struct common_options common;
    struct dlq_options o = {.seqs = BUF_INIT};
    int c;
    cli_common_init(&common);
    while ((c = cli_next_option(self, &common, argc, argv, "", own)) != -1) {
        if (c == SINK)
            o.sink = optarg;
        else if (c == REASON)
            o.reason = optarg;
        else
            *(c == JSON ? &o.json : c == ALL ? &o.all : &o.dry_run) = true;
    }
    read_arguments(self, argc, argv, &o);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    int code = config ? run(config, &o) : EXIT_USAGE;
    config_free(config);
    buf_release(&o.seqs);
    return code;
}
