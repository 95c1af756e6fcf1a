#include "sim/options.h"

#include "base/alloc.h"
#include "base/text.h"
#include "sim/flow.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { K_TEXT, K_LIST, K_INT, K_SECONDS, K_SHARE, K_NUMBER, K_FLAG, K_SPECIAL, K_HEADING };
enum special {
    S_TIME = 1,
    S_PENDING_ZERO,
    S_BENCH,
    S_LOG_FORMAT,
    S_VERBOSE,
    S_HELP,
    S_VERSION,
    S_LIST,
    S_SEED
};

struct option_spec {
    const char *name;
    enum kind kind;
    size_t offset; /* or enum special */
    const char *argument;
    const char *help;
};

#define AT(member) offsetof(struct sim_options, member)

static const struct option_spec specs[] = {
    {NULL, K_HEADING, 0, NULL, "Where it listens"},
    {"listen", K_TEXT, AT(listen), "HOST:PORT",
     "gRPC (Pub/Sub API); default 127.0.0.1:7443, port 0 picks one"},
    {"http", K_TEXT, AT(http), "HOST:PORT",
     "OAuth token endpoint and /sim/…; default 127.0.0.1:7480, port 0 picks one"},
    {"tls", K_TEXT, AT(tls_dir), "DIR",
     "TLS on both ports; makes DIR/ca.pem, server.pem, server.key unless there"},
    {"tls-name", K_TEXT, AT(tls_name), "NAME",
     "put this name into the certificate instead of localhost, 127.0.0.1, ::1"},
    {"ports-file", K_TEXT, AT(ports_file), "FILE",
     "written once listening: grpc=PORT and http=PORT, one per line"},
    {NULL, K_HEADING, 0, NULL, "What happens in the company"},
    {"seed", K_SPECIAL, S_SEED, "N", "same seed, same ids and values; default 1"},
    {"rate", K_NUMBER, AT(rate), "EVENTS/S",
     "events per second; 0: as fast as clients take them; default 10, and 0 with --count"},
    {"count", K_INT, AT(count), "N",
     "publish N events, then only keepalives; at rate 0 all at once at the start; default: without end"},
    {"prefill", K_INT, AT(prefill), "N",
     "N events are on the bus before it listens, committed 2 h to 1 h ago"},
    {"hold", K_FLAG, AT(hold), NULL, "publish nothing of --rate and --count before the first Subscribe"},
    {"start-time", K_SPECIAL, S_TIME, "TIME",
     "RFC 3339; commit stamps go on from there by the seed, not by the clock"},
    {"retain", K_INT, AT(retain), "N",
     "events kept for replay (and never longer than 72 h); default 1000000"},
    {"channel", K_LIST, AT(channels), "NAME=TOPIC,…",
     "a channel, as /data/Sales__chn=/data/AccountChangeEvent,…; repeatable"},
    {"managed", K_LIST, AT(managed), "NAME=TOPIC[,…]",
     "a managed subscription; earliest: begins there while nothing is committed; recover=earliest: begins "
     "there "
     "when that is too old; repeatable"},
    {"load", K_LIST, AT(load_files), "FILE",
     "serve these events (JSON, see below) instead of the workload; repeatable"},
    {"schema", K_LIST, AT(schema_files), "FILE", "serve this Avro schema too, under its true id; repeatable"},
    {"ledger", K_TEXT, AT(ledger), "FILE",
     "append one JSON line per published event, before it is sent to anyone"},
    {NULL, K_HEADING, 0, NULL, "How the service behaves"},
    {"batch", K_INT, AT(batch), "N", "at most N events per response; default 100"},
    {"cap", K_INT, AT(cap), "N", "a stream is never owed more than N events; default 100, as the service"},
    {"keepalive", K_SECONDS, AT(keepalive_ms), "SECONDS",
     "empty response after so long without one; default 120"},
    {"pending-zero", K_SECONDS, AT(pending_zero_ms), "SECONDS",
     "close a stream that owes nothing for so long; default 70"},
    {"pending-zero-status", K_SPECIAL, S_PENDING_ZERO, "ok|unavailable|stall", "how that ends; default ok"},
    {"schema-delay", K_SECONDS, AT(schema_delay_ms), "SECONDS",
     "time GetSchema takes; default 0 (the real one: about 1)"},
    {"auth-delay", K_SECONDS, AT(auth_delay_ms), "SECONDS",
     "time until Subscribe refuses a bad token; default 10"},
    {"replay-bytes", K_INT, AT(replay_id_bytes), "8|10", "length of replay ids; default 10, as the service"},
    {"min-ping", K_SECONDS, AT(min_ping_ms), "SECONDS",
     "GOAWAY (too many pings) for HTTP/2 pings that come faster; default: never"},
    {"managed-commit-delay", K_SECONDS, AT(managed_commit_delay_ms), "SECONDS",
     "until a commit, and those that came since, is answered; default 1"},
    {"managed-deadline", K_SECONDS, AT(managed_deadline_ms), "SECONDS",
     "a managed stream without a commit for so long is closed; default 1800"},
    {"managed-release", K_SECONDS, AT(managed_release_ms), "SECONDS",
     "until the slot of a managed stream that ended is free; default 0 (the real one: seconds to 18 "
     "minutes)"},
    {NULL, K_HEADING, 0, NULL, "Who may call"},
    {"client-id", K_TEXT, AT(client_id), "ID", "default demo"},
    {"client-secret", K_TEXT, AT(client_secret), "SECRET", "default demo-secret"},
    {"org-id", K_TEXT, AT(org_id), "ID", "15 or 18 characters; default 00DSM0000000001"},
    {"static-token", K_TEXT, AT(static_token), "TOKEN",
     "an access token that is accepted besides those it issued"},
    {"instance-url", K_TEXT, AT(instance_url), "URL", "default: the URL of the --http port"},
    {"username", K_TEXT, AT(username), "NAME",
     "for password and JWT logins; default integration@demo.example"},
    {"password", K_TEXT, AT(password), "TEXT",
     "password and security token, one behind the other; default demo-passworddemo-token"},
    {"jwt-key", K_TEXT, AT(jwt_key), "FILE",
     "public key or certificate (PEM) that must have signed a JWT; default: any signature does"},
    {"jwt-audience", K_TEXT, AT(jwt_audience), "URL",
     "the only audience a JWT may name; default: both login hosts, and this one"},
    {"refresh-token", K_TEXT, AT(refresh_token), "TOKEN",
     "the refresh token that is good; default demo-refresh"},
    {"rotate-refresh", K_FLAG, AT(rotate_refresh), NULL,
     "each refresh brings a new refresh token; using an old one ends the grant"},
    {"clock-ahead", K_SECONDS, AT(clock_ahead_ms), "SECONDS",
     "the login server's clock is ahead of this machine's"},
    {"deny-topic", K_LIST, AT(denied), "TOPIC", "no permission for this topic; repeatable"},
    {NULL, K_HEADING, 0, NULL, "What goes wrong (shares are numbers from 0 to 1)"},
    {"duplicates", K_SHARE, AT(workload.duplicates), "SHARE",
     "events repeated: same event id, new replay id"},
    {"shared-replay", K_SHARE, AT(workload.shared_replay), "SHARE",
     "transactions that are several events under one id and replay id, one record each"},
    {"gaps", K_SHARE, AT(workload.gaps), "SHARE",
     "transactions that tell less than happened: GAP_*, overflow, wildcard ids"},
    {"diffs", K_SHARE, AT(workload.diffs), "SHARE", "transactions that send a long text as a difference"},
    {"schema-change-at", K_INT, AT(workload.schema_change_at), "N",
     "Account gets one more field, and another schema, from the Nth event on"},
    {"undecodable", K_SHARE, AT(workload.undecodable), "SHARE", "transactions that are a damaged payload"},
    {"unknown-schema-every", K_INT, AT(workload.unknown_schema_every), "N",
     "every Nth event names a schema nobody knows"},
    {"refuse-schema", K_LIST, AT(refused_schemas), "ID|NAME",
     "GetSchema refuses this schema (id, or record name as Order__e); repeatable"},
    {"oversize", K_INT, AT(workload.oversize), "BYTES", "one event is larger than BYTES"},
    {"oversize-at", K_INT, AT(workload.oversize_at), "N", "it is about the Nth event; default 10"},
    {"fault", K_LIST, AT(faults), "ORDER",
     "one order, as \"Subscribe UNAVAILABLE events=10\" (docs/simulator.md); repeatable"},
    {"relay", K_FLAG, AT(relay), NULL,
     "a relay before the gRPC port, for faults of the wire; not with --tls"},
    {NULL, K_HEADING, 0, NULL, "Benchmark"},
    {"bench", K_SPECIAL, S_BENCH, "full|update",
     "serve --count pre-encoded Account events on /data/AccountChangeEvent, 100 per response"},
    {"bench-first", K_INT, AT(bench_first), "N",
     "number of the first one; default 1, so that a later run can go on with new ids"},
    {"bench-records", K_INT, AT(bench_records), "N",
     "they are about N records: the first N events create one each, with update the others update them; a "
     "multiple of 100"},
    {NULL, K_HEADING, 0, NULL, "Output"},
    {"list", K_SPECIAL, S_LIST, NULL, "print topics and schema ids, and exit"},
    {"log-format", K_SPECIAL, S_LOG_FORMAT, "text|json", "default text"},
    {"verbose", K_SPECIAL, S_VERBOSE, NULL, "log each call and response"},
    {"help", K_SPECIAL, S_HELP, NULL, "this text"},
    {"version", K_SPECIAL, S_VERSION, NULL, ""},
};

static const char intro[] =
    "tidemark-sim: a simulator of an org, as the Pub/Sub API shows it.\n"
    "\n"
    "It answers GetTopic, GetSchema, Subscribe and ManagedSubscribe, issues tokens (client_credentials, "
    "jwt_bearer,\n"
    "refresh_token, password), and lets a small company work: accounts, contacts, opportunities,\n"
    "invoices and orders on\n"
    "  /data/AccountChangeEvent /data/ContactChangeEvent /data/OpportunityChangeEvent\n"
    "  /data/Invoice__ChangeEvent /event/Order__e, and /data/ChangeEvents with all changes.\n"
    "\n"
    "usage: tidemark-sim [OPTION…]\n";

static const char outro[] =
    "\n"
    "Over HTTP: POST /faults (orders as --fault takes them, one per line), POST /services/oauth2/token, GET "
    "/sim/state (the company's rows), GET /sim/stats (counts),\n"
    "POST /sim/revoke (all tokens die), POST /sim/drop (all streams end with UNAVAILABLE),\n"
    "POST /sim/token-fault?kind=KIND&count=N&seconds=S (the next N logins get that;\n"
    "a wrong KIND lists them), and for the next N RPCs, on a stream after M events:\n"
    "POST "
    "/sim/"
    "call-fault?method=Subscribe|ManagedSubscribe|GetTopic|GetSchema&status=UNAVAILABLE|…|STALL|NONE&code="
    "CODE\n"
    "&count=N&seconds=S&events=M (code: the service's error code without its prefix),\n"
    "POST /sim/managed?name=NAME&slot=taken|free&state=RUN|STOP&refuse=N (of a managed subscription: who "
    "holds it,\n"
    "whether it runs, and how many commits are refused next).\n"
    "\n"
    "A file for --load: {\"topic\":…, \"schema_file\":…, \"schema_files\":[…], "
    "\"events\":[{\"payload_b64\":…, \"topic\":…,\n"
    "\"event_id\":…, \"schema_id\":…, \"schema_file\":…, \"replay_id_hex\":…}]}. Only payload_b64 is "
    "required in an event:\n"
    "topic and schema may stand at the top, the topic follows from the schema, ids are made up. Schema files "
    "are\n"
    "looked for beside the file and one folder up.\n"
    "\n"
    "Ends at SIGINT or SIGTERM with exit code 0; 2: wrong options; 4: a port cannot be opened.\n";

void options_help(void)
{
    fputs(intro, stdout);
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        char left[64];
        if (specs[i].kind == K_HEADING) {
            printf("\n%s:\n", specs[i].help);
            continue;
        }
        snprintf(left, sizeof left, "--%s%s%s", specs[i].name, specs[i].argument ? " " : "",
                 specs[i].argument ? specs[i].argument : "");
        printf("  %-34s %s%s%s\n", left, strlen(left) > 34 ? "\n                                     " : "",
               specs[i].help, "");
    }
    fputs(outro, stdout);
}

static int bad(struct err *e, const struct option_spec *spec, const char *value, const char *expected)
{
    return err_set(e, ERR_CONFIG, "options", 0, "--%s %s: %s", spec->name, value, expected);
}

static int parse_number(const char *text, double max, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0) || v > max)
        return -1;
    *out = v;
    return 0;
}

static int choose(struct err *e, const struct option_spec *spec, const char *value, const char *const *names,
                  size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(value, names[i]) == 0)
            return (int)i;
    bad(e, spec, value, spec->argument);
    return -1;
}

static int apply_special(struct sim_options *o, const struct option_spec *spec, const char *value,
                         struct err *e)
{
    static const char *const ends[] = {"ok", "unavailable", "stall"},
                             *const benches[] = {"off", "full", "update"},
                             *const formats[] = {"text", "json"};
    int chosen = 0;
    int64_t n;
    switch ((enum special)spec->offset) {
    case S_SEED:
        if (text_parse_int(value, 0, INT64_MAX, &n) < 0)
            return bad(e, spec, value, "a number from 0 on");
        o->workload.seed = (uint64_t)n;
        break;
    case S_TIME:
        if (text_parse_time(value, &o->workload.start_ms) < 0)
            return bad(e, spec, value, "a time as 2026-05-06T14:30:00Z");
        break;
    case S_PENDING_ZERO:
        chosen = choose(e, spec, value, ends, ARRAY_LEN(ends));
        o->pending_zero = (enum pending_zero)chosen;
        break;
    case S_BENCH:
        chosen = choose(e, spec, value, benches, ARRAY_LEN(benches));
        o->bench = (enum bench_kind)chosen;
        break;
    case S_LOG_FORMAT:
        chosen = choose(e, spec, value, formats, ARRAY_LEN(formats));
        o->log_format = (enum log_format)chosen;
        break;
    case S_VERBOSE:
        o->log_level = LOG_LEVEL_DEBUG;
        break;
    case S_HELP:
        o->action = ACTION_HELP;
        break;
    case S_VERSION:
        o->action = ACTION_VERSION;
        break;
    case S_LIST:
        o->action = ACTION_LIST;
        break;
    }
    return chosen < 0 ? -1 : 0;
}

static int apply(struct sim_options *o, const struct option_spec *spec, const char *value, struct err *e)
{
    void *to = (char *)o + spec->offset;
    double number;
    switch (spec->kind) {
    case K_TEXT:
        *(const char **)to = value;
        return 0;
    case K_LIST: {
        struct option_list *list = to;
        if (list->n == OPTION_LIST_MAX)
            return bad(e, spec, value, "given too often");
        list->items[list->n++] = value;
        return 0;
    }
    case K_INT:
        return text_parse_int(value, 0, INT64_MAX / 4, to) < 0
                   ? bad(e, spec, value, "a whole number from 0 on")
                   : 0;
    case K_SECONDS:
        if (parse_number(value, 1e7, &number) < 0)
            return bad(e, spec, value, "seconds, as 120 or 0.5");
        *(int64_t *)to = (int64_t)(number * 1000);
        return 0;
    case K_SHARE:
        return parse_number(value, 1, to) < 0 ? bad(e, spec, value, "a share from 0 to 1") : 0;
    case K_NUMBER:
        return parse_number(value, 1e9, to) < 0 ? bad(e, spec, value, "a number from 0 on") : 0;
    case K_FLAG:
        *(bool *)to = true;
        return 0;
    default:
        return apply_special(o, spec, value, e);
    }
}

static void set_defaults(struct sim_options *o)
{
    memset(o, 0, sizeof *o);
    o->listen = "127.0.0.1:7443";
    o->http = "127.0.0.1:7480";
    o->client_id = "demo";
    o->client_secret = "demo-secret";
    o->username = "integration@demo.example";
    o->password = "demo-passworddemo-token";
    o->refresh_token = "demo-refresh";
    o->org_id = "00DSM0000000001";
    o->rate = -1;
    o->count = -1;
    o->batch = 100;
    o->cap = FLOW_CAP;
    o->retain = 1000000;
    o->keepalive_ms = 120000;
    o->auth_delay_ms = 10000;
    o->pending_zero_ms = 70000;
    o->managed_commit_delay_ms = 1000;
    o->managed_deadline_ms = 1800 * 1000;
    o->replay_id_bytes = 10;
    o->workload.seed = 1;
    o->workload.oversize_at = 10;
    o->bench_first = 1;
    o->log_level = LOG_LEVEL_INFO;
}

static int check(struct sim_options *o, bool workload_wanted, struct err *e)
{
    o->publishes = workload_wanted || !o->load_files.n;
    if (o->rate < 0) /* not given */
        o->rate = o->count < 0 ? 10 : 0;
    if (o->replay_id_bytes != 8 && o->replay_id_bytes != 10)
        return err_set(e, ERR_CONFIG, "options", 0, "--replay-bytes: 8 or 10");
    if (o->batch < 1)
        return err_set(e, ERR_CONFIG, "options", 0, "--batch: at least 1");
    if (o->cap < 1 || o->cap > 1000000)
        return err_set(e, ERR_CONFIG, "options", 0, "--cap: 1 to 1000000");
    if (o->retain < 1)
        return err_set(e, ERR_CONFIG, "options", 0, "--retain: at least 1");
    if (strlen(o->org_id) != 15 && strlen(o->org_id) != 18)
        return err_set(e, ERR_CONFIG, "options", 0, "--org-id: 15 or 18 characters");
    if (o->keepalive_ms < 1)
        return err_set(e, ERR_CONFIG, "options", 0, "--keepalive: more than 0");
    if (o->bench && o->count < 0)
        return err_set(e, ERR_CONFIG, "options", 0, "--bench needs --count");
    if (o->bench_first < 1)
        return err_set(e, ERR_CONFIG, "options", 0, "--bench-first: at least 1");
    if (o->bench_records < 0 || o->bench_records % 100 != 0)
        return err_set(e, ERR_CONFIG, "options", 0, "--bench-records: a multiple of 100");
    if (o->workload.oversize > 256 << 20)
        return err_set(e, ERR_CONFIG, "options", 0, "--oversize: at most 256 MiB");
    if (o->relay && o->tls_dir)
        return err_set(e, ERR_CONFIG, "options", 0, "--relay cannot look into --tls");
    if (o->tls_name && !o->tls_dir)
        return err_set(e, ERR_CONFIG, "options", 0, "--tls-name needs --tls");
    return 0;
}

/* Long options only, made from the table. */
static const struct option_spec *spec_of[ARRAY_LEN(specs)];

static void make_long_options(struct option *longs)
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        if (specs[i].name) {
            spec_of[n] = &specs[i];
            longs[n++] = (struct option){specs[i].name, specs[i].argument ? required_argument : no_argument,
                                         NULL, 0};
        }
}

static int unknown_option(const char *given, struct err *e)
{
    const char *names[ARRAY_LEN(specs)];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        if (specs[i].name)
            names[n++] = specs[i].name;
    const char *nearest = text_nearest(strncmp(given, "--", 2) == 0 ? given + 2 : given, names, n);
    return err_set(e, ERR_CONFIG, "options", 0,
                   "%s: unknown option, or its value is missing%s%s%s (see --help)", given,
                   nearest ? "; did you mean --" : "", nearest ? nearest : "", nearest ? "?" : "");
}

int options_parse(struct sim_options *o, int argc, char **argv, struct err *e)
{
    struct option longs[ARRAY_LEN(specs) + 1];
    int c, at = 0;
    bool workload_wanted = false;
    set_defaults(o);
    memset(longs, 0, sizeof longs);
    make_long_options(longs);
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, ":hv", longs, &at)) != -1) {
        if (c == 'h')
            o->action = ACTION_HELP;
        else if (c == 'v')
            o->log_level = LOG_LEVEL_DEBUG;
        else if (c != 0)
            return unknown_option(argv[optind - 1], e);
        else if (apply(o, spec_of[at], optarg, e) < 0)
            return -1;
        else if (strcmp(spec_of[at]->name, "rate") == 0 || strcmp(spec_of[at]->name, "count") == 0 ||
                 strcmp(spec_of[at]->name, "prefill") == 0)
            workload_wanted = true;
    }
    /* "--load a.json b.json", "--schema *.avsc": what the shell made of a pattern. */
    for (; optind < argc; optind++) {
        size_t n = strlen(argv[optind]);
        bool is_schema = n > 5 && strcmp(argv[optind] + n - 5, ".avsc") == 0;
        struct option_list *list = is_schema ? &o->schema_files : &o->load_files;
        if (list->n == 0 || list->n == OPTION_LIST_MAX)
            return err_set(e, ERR_CONFIG, "options", 0, "%s: unexpected argument (see --help)", argv[optind]);
        list->items[list->n++] = argv[optind];
    }
    return check(o, workload_wanted, e);
}
