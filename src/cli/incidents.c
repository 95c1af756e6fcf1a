/*
 * tidemark incidents: list reads the store, whether a daemon runs or not; close is an order to the daemon, or with the
 * daemon down a change of the store itself.
 */
#include "cli/cli.h"
#include "cli/order.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/table.h"
#include "base/text.h"
#include "cli/look.h"
#include "store/incidents.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct listing {
    bool all, json;
    struct table table;
    struct buf out;
};

static void add_string(struct buf *b, const char *key, const char *text)
{
    buf_addf(b, ",\"%s\":", key);
    json_add_string(b, span_of_str(text));
}

static void add_time(struct buf *b, const char *key, int64_t ms)
{
    char text[25];
    clock_format_ms(ms, text);
    if (ms)
        buf_addf(b, ",\"%s\":\"%s\"", key, text);
    else
        buf_addf(b, ",\"%s\":null", key);
}

static void add_json(struct buf *b, const struct incident *i)
{
    char id[2 * EVENT_MAX_REPLAY_ID + 1];
    hex_encode(span_of(i->old_replay_id, i->old_replay_id_len), id);
    buf_addf(b, "{\"id\":%" PRIu64, i->number);
    add_string(b, "subject", i->subject);
    add_string(b, "kind", i->kind);
    add_string(b, "state", incident_state_name(i->state));
    add_string(b, "policy", i->policy);
    add_string(b, "old_replay_id", id);
    add_time(b, "opened_at", i->opened_ms);
    add_time(b, "since", i->since_ms);
    add_time(b, "until", i->until_ms);
    add_string(b, "text", i->text);
    add_time(b, "closed_at", i->closed_ms);
    add_string(b, "closed_by", i->closed_by);
    add_string(b, "note", i->note);
    buf_add_str(b, "}\n");
}

static int add(void *ctx, const struct incident *i)
{
    struct listing *l = ctx;
    char opened[25];
    if (!l->all && i->state != INCIDENT_OPEN)
        return 0;
    if (l->json) {
        add_json(&l->out, i);
        return 0;
    }
    clock_format_ms(i->opened_ms, opened);
    table_cell(&l->table, "%" PRIu64, i->number);
    table_cell(&l->table, "%s", opened);
    table_cell(&l->table, "%s", incident_state_name(i->state));
    table_cell(&l->table, "%s", i->kind);
    table_cell(&l->table, "%s", i->subject);
    if (i->closed_ms)
        table_cell(&l->table, "%s; closed by %s%s%s", i->text, i->closed_by, *i->note ? ": " : "", i->note);
    else
        table_cell(&l->table, "%s", i->text);
    return 0;
}

static int list(const struct config *config, struct listing *l)
{
    static const char *const heading[] = {"id", "opened", "state", "kind", "subject", "what"};
    struct err e = ERR_INIT;
    struct store *st;
    struct store_txn txn;
    if (look_open(config, &st, &e) != 0)
        return cli_fail(&e);
    for (size_t i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&l->table, "%s", heading[i]);
    /* Printed after the transaction: a reader that waits for a pager would keep the store from reusing pages. */
    int rc = st ? store_begin(st, false, &txn, &e) : 0;
    if (st && rc == 0) {
        rc = incident_each(&txn, add, l, &e);
        store_abort(&txn);
    }
    store_close(st);
    if (rc != 0)
        return cli_fail(&e);
    if (!l->json && l->table.n_rows > 1)
        table_print(&l->table, "", look_has_colour(), &l->out);
    else if (!l->json)
        fputs(l->all ? "no incidents\n" : "no open incidents\n", stderr);
    if (l->out.len)
        fwrite(l->out.data, 1, l->out.len, stdout);
    return cli_finish_output(EXIT_OK);
}

/* --- close ---------------------------------------------------------------------------------------- */

static int close_in_store(const struct config *config, int64_t number, const char *note, struct buf *answer, struct err *e)
{
    struct store *st;
    struct store_txn txn;
    char by[64];
    snprintf(by, sizeof by, "uid %ld, daemon down", (long)getuid());
    if (store_open(config->store.path, STORE_MAINTAIN, config->store.max_size, &st, e) != 0)
        return -1;
    int rc = store_begin(st, true, &txn, e);
    if (rc == 0) {
        rc = incident_order_close(&txn, (uint64_t)number, by, note, answer, e);
        if (rc == 0)
            rc = store_commit(&txn, e);
        else
            store_abort(&txn);
    }
    store_close(st);
    return rc;
}

static int close_incident(const struct config *config, const char *id, int64_t number, const char *note)
{
    struct buf answer = BUF_INIT;
    struct err e = ERR_INIT;
    struct order order;
    int code;
    order_begin(&order, "/incidents/close");
    order_argument(&order, "id", id);
    order_argument(&order, "note", note);
    int rc = order_send(&order, config, &code);
    order_release(&order);
    if (rc == 0)
        return cli_finish_output(code);
    code = close_in_store(config, number, note, &answer, &e) == 0 ? EXIT_OK : cli_fail(&e);
    if (code == EXIT_OK)
        fwrite(answer.data, 1, answer.len, stdout);
    buf_release(&answer);
    return code == EXIT_OK ? cli_finish_output(EXIT_OK) : code;
}

/* --- arguments ------------------------------------------------------------------------------------ */

/* The number of the incident to close; 0: list. */
static int64_t read_arguments(const struct command *self, int argc, char **argv, const struct listing *l, const char *note)
{
    const char *what = optind < argc ? argv[optind] : NULL;
    int64_t number;
    if (!what)
        cli_usage_error(self, "what? list or close");
    if (strcmp(what, "list") == 0) {
        if (note)
            cli_usage_error(self, "--note goes with close");
        if (argc - optind > 1)
            cli_usage_error(self, "unexpected argument '%s'", argv[optind + 1]);
        return 0;
    }
    if (strcmp(what, "close") != 0)
        cli_usage_error(self, "'%s' is not list or close", what);
    if (l->all || l->json)
        cli_usage_error(self, "--all and --json go with list");
    if (argc - optind != 2)
        cli_usage_error(self, "close takes the ID of one incident");
    if (text_parse_int(argv[optind + 1], 1, INT64_MAX, &number) != 0)
        cli_usage_error(self, "ID is a number from 1 on, not '%s'", argv[optind + 1]);
    return number;
}

int cli_incidents(const struct command *self, int argc, char **argv)
{
    enum { JSON = 1, ALL, NOTE };
    static const struct option own[] = {
        {"json", no_argument, NULL, JSON}, {"all", no_argument, NULL, ALL}, {"note", required_argument, NULL, NOTE}, {0}};
    struct common_options common;
    struct listing l = {.out = BUF_INIT};
    const char *note = NULL;
    int c;
    cli_common_init(&common);
    while ((c = cli_next_option(self, &common, argc, argv, "", own)) != -1) {
        if (c == JSON)
            l.json = true;
        else if (c == ALL)
            l.all = true;
        else
            note = optarg;
    }
    int64_t number = read_arguments(self, argc, argv, &l, note);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    if (number) {
        int closed = close_incident(config, argv[optind + 1], number, note ? note : "");
        config_free(config);
        return closed;
    }
    table_init(&l.table, "rlllll");
    int code = list(config, &l);
    table_release(&l.table);
    buf_release(&l.out);
    config_free(config);
    return code;
}
