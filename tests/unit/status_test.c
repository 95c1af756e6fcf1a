/*
 * Status, readiness and metrics over a store filled by hand: the sums (I9), what is shown while no daemon runs,
 * the groupings, the rules behind /readyz, and texts that come from outside.
 */
#include "admin/metrics.h"
#include "admin/ready.h"
#include "admin/status.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char org_id[] = "00Dxx0000001gEREAY";

struct fixture {
    struct store_folder folder;
    struct config *config;
    struct store *st;
    struct daemon_parts parts;
};

/* --- a store filled by hand ----------------------------------------------------------------------- */

static struct config *make_config(const char *store_path)
{
    struct buf text = BUF_INIT, problems = BUF_INIT;
    buf_addf(
        &text,
        "orgs: [{ name: main, login_url: 'http://127.0.0.1:9', pubsub_endpoint: '127.0.0.1:9', tls: { "
        "plaintext: true },\n"
        "  auth: { client_credentials: { client_id: x, client_secret: x } } }]\n"
        "subscriptions: [{ name: accounts, org: main, topic: /data/AccountChangeEvent, watchdog: 300s },\n"
        "  { name: orders, org: main, topic: /event/Order__e }]\n"
        "sinks: [{ name: log, file: { path: '%s/out.ndjson' } }, { name: later, start: now, stdout: {} }]\n"
        "store: { path: '%s', max_size: 64MiB }\n"
        "admin: { listen: false }\n",
        store_path, store_path);
    struct config *config = config_load_text(buf_span(&text), "test.yaml", CONFIG_OFFLINE, &problems);
    if (!config)
        fail_msg("%s", (char *)problems.data);
    buf_release(&text);
    buf_release(&problems);
    return config;
}

static void append_events(struct store_txn *txn, uint32_t subscription, size_t n)
{
    struct err e = ERR_INIT;
    const struct event_data ev = {.event_id = span_of_str("an-id"),
                                  .replay_id = span_of("\0\1\2\3", 4),
                                  .schema_id = span_of_str("a-schema"),
                                  .payload = span_of_str("payload")};
    const struct journal_block block = {
        .subscription = subscription, .received_ms = 1700000000000, .source_ms = 1700000000000};
    struct event_data events[16];
    uint64_t first;
    for (size_t i = 0; i < n; i++)
        events[i] = ev;
    assert_int_equal(journal_append(txn, &block, events, n, &first, &e), 0);
}

static void add_dead_letter(struct store_txn *txn, const char *sink, uint64_t seq,
                            enum dead_letter_status status, const char *reason)
{
    struct err e = ERR_INIT;
    const struct dead_letter d = {.sink = span_of_str(sink),
                                  .status = status,
                                  .reason = span_of_str(reason),
                                  .detail = span_of_str("whole message"),
                                  .ev = {.seq = seq, .subscription = 1}};
    assert_int_equal(dead_letter_put(txn, &d, &e), 0);
}

static void fill_subscriptions(struct store_txn *txn)
{
    struct err e = ERR_INIT;
    struct org_record org = {.epoch = 1};
    snprintf(org.org_id, sizeof org.org_id, "%s", org_id);
    assert_int_equal(org_put(txn, "main", &org, &e), 0);
    struct subscription_record r = {.topic = "/data/AccountChangeEvent",
                                    .name = "accounts",
                                    .resume = {0, 0xd6, 0x87},
                                    .resume_len = 3,
                                    .resume_source_ms = 1700000000000,
                                    .last_response_ms = 1700000000123,
                                    .received = 15,
                                    .duplicates = 2,
                                    .before_start = 3,
                                    .journaled = 10};
    memcpy(r.org_id, org_id, sizeof r.org_id);
    assert_int_equal(subscription_create(txn, &r, &e), 0);
    append_events(txn, r.number, 10);
    /* The same name with another topic is another subscription, and not the one that is configured. */
    snprintf(r.topic, sizeof r.topic, "/data/Other");
    r.received = r.journaled = 99;
    assert_int_equal(subscription_create(txn, &r, &e), 0);
}

static void fill_sinks(struct store_txn *txn)
{
    struct err e = ERR_INIT;
    struct sink_record log = {
        .name = "log", .cursor = 7, .delivered = 4, .filtered = 1, .parked = 2, .state = BUF_INIT};
    struct sink_record gone = {
        .name = "gone", .cursor = 3, .delivered = 3, .retired = true, .state = BUF_INIT};
    assert_int_equal(sink_record_put(txn, &log, &e), 0);
    assert_int_equal(sink_record_put(txn, &gone, &e), 0);
    add_dead_letter(txn, "log", 2, DEAD_LETTER_FINAL, "undecodable");
    add_dead_letter(txn, "log", 3, DEAD_LETTER_FINAL, "undecodable");
    add_dead_letter(txn, "log", 4, DEAD_LETTER_RETRYING, "undecodable");
    add_dead_letter(txn, "gone", 1, DEAD_LETTER_FINAL, "rejected");
}

static void fill(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct store_txn txn;
    assert_int_equal(store_begin(f->st, true, &txn, &e), 0);
    fill_subscriptions(&txn);
    fill_sinks(&txn);
    struct incident incident = {.state = INCIDENT_OPEN,
                                .subject = "accounts",
                                .kind = "lost_position",
                                .policy = "repair",
                                .old_replay_id = {0xab},
                                .old_replay_id_len = 1,
                                .since_ms = 1700000000000,
                                .text = "the replay id was refused"};
    assert_int_equal(incident_open(&txn, &incident, &e), 0);
    assert_int_equal(store_commit(&txn, &e), 0);
}

static int setup(void **state)
{
    static struct fixture f;
    struct err e = ERR_INIT;
    f = (struct fixture){0};
    store_folder_make(&f.folder);
    f.config = make_config(f.folder.path);
    if (store_open(f.folder.path, STORE_DAEMON, 64 << 20, &f.st, &e) != 0)
        fail_msg("%s", e.text);
    fill(&f);
    f.parts = (struct daemon_parts){.config = f.config, .store = f.st};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->st);
    config_free(f->config);
    store_folder_remove(&f->folder);
    return 0;
}

/* --- reading JSON --------------------------------------------------------------------------------- */

static json_t *status_of(const struct fixture *f)
{
    struct err e = ERR_INIT;
    json_t *status = status_json(&f->parts, &e);
    if (!status)
        fail_msg("%s", e.text);
    return status;
}

static json_t *item(const json_t *status, const char *list, size_t i)
{
    json_t *o = json_array_get(json_object_get(status, list), i);
    assert_non_null(o);
    return o;
}

static int64_t number(const json_t *o, const char *key)
{
    assert_true(json_is_integer(json_object_get(o, key)));
    return json_integer_value(json_object_get(o, key));
}

static void assert_text(const json_t *o, const char *key, const char *text)
{
    assert_true(json_is_string(json_object_get(o, key)));
    assert_string_equal(json_string_value(json_object_get(o, key)), text);
}

static void assert_keys(const json_t *o, const char *const *keys)
{
    for (; *keys; keys++)
        if (!json_object_get(o, *keys))
            fail_msg("no key %s", *keys);
}

/* --- status --------------------------------------------------------------------------------------- */

static void keys_are_those_of_the_contract(void **state)
{
    static const char *const top[] = {"version",      "daemon",    "subscriptions", "journal", "sinks",
                                      "dead_letters", "incidents", "orgs",          NULL};
    static const char *const subscription[] = {"name",
                                               "org",
                                               "topic",
                                               "state",
                                               "reason",
                                               "generation",
                                               "replay_id",
                                               "position_age_s",
                                               "last_response_at",
                                               "received",
                                               "duplicates",
                                               "before_start",
                                               "journaled",
                                               NULL};
    static const char *const sink[] = {"name",   "kind",      "state",       "cursor",
                                       "lag",    "delivered", "superseded",  "filtered",
                                       "parked", "retries",   "redelivered", NULL};
    static const char *const journal[] = {"head", "oldest", "events", "bytes", "max_bytes", NULL};
    static const char *const letter[] = {"sink", "status", "reason", "count", NULL};
    static const char *const incident[] = {
        "id", "subscription", "kind", "old_replay_id", "since", "until", "policy", "state", NULL};
    json_t *status = status_of(*state);
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach(status, key, value) assert_string_equal(key, top[i++]);
    assert_null(top[i]);
    assert_keys(item(status, "subscriptions", 0), subscription);
    assert_keys(item(status, "sinks", 0), sink);
    assert_keys(json_object_get(status, "journal"), journal);
    assert_keys(item(status, "dead_letters", 0), letter);
    assert_keys(item(status, "incidents", 0), incident);
    json_decref(status);
}

static void the_sums_hold(void **state)
{
    json_t *status = status_of(*state), *o;
    size_t i;
    const json_t *journal = json_object_get(status, "journal");
    json_array_foreach(json_object_get(status, "subscriptions"), i, o) assert_int_equal(
        number(o, "received"), number(o, "duplicates") + number(o, "before_start") + number(o, "journaled"));
    json_array_foreach(json_object_get(status, "sinks"), i, o)
        assert_int_equal(number(journal, "head") - number(o, "base"),
                         number(o, "delivered") + number(o, "superseded") + number(o, "filtered") +
                             number(o, "parked") + number(o, "lag"));
    assert_int_equal(number(journal, "head"), 10);
    assert_int_equal(number(journal, "oldest"), 1);
    assert_int_equal(number(journal, "events"), 10);
    assert_int_equal(number(journal, "max_bytes"), 64 << 20);
    json_decref(status);
}

static void without_a_daemon_everything_is_stopped(void **state)
{
    json_t *status = status_of(*state), *daemon = json_object_get(status, "daemon");
    assert_true(json_is_false(json_object_get(daemon, "running")));
    assert_true(json_is_null(json_object_get(daemon, "pid")));
    const json_t *accounts = item(status, "subscriptions", 0), *orders = item(status, "subscriptions", 1);
    assert_int_equal(json_array_size(json_object_get(status, "subscriptions")), 2);
    assert_text(accounts, "name", "accounts");
    assert_text(accounts, "state", "stopped");
    assert_text(accounts, "replay_id", "00d687");
    assert_text(accounts, "last_response_at", "2023-11-14T22:13:20.123Z");
    assert_true(json_is_null(json_object_get(accounts, "position_age_s")));
    assert_int_equal(number(accounts, "journaled"), 10);
    /* Never connected. */
    assert_true(json_is_null(json_object_get(orders, "replay_id")));
    assert_true(json_is_null(json_object_get(orders, "last_response_at")));
    assert_int_equal(number(orders, "received"), 0);
    json_decref(status);
}

static void sinks_new_known_and_retired(void **state)
{
    json_t *status = status_of(*state);
    const json_t *log = item(status, "sinks", 0), *later = item(status, "sinks", 1),
                 *gone = item(status, "sinks", 2);
    assert_int_equal(json_array_size(json_object_get(status, "sinks")), 3);
    assert_text(log, "name", "log");
    assert_text(log, "kind", "file");
    assert_text(log, "state", "stopped");
    assert_int_equal(number(log, "cursor"), 7);
    assert_int_equal(number(log, "lag"), 3);
    assert_true(number(log, "lag_s") > 0);
    assert_text(later, "kind", "stdout"); /* start: now, and not begun: nothing waits for it */
    assert_int_equal(number(later, "lag"), 0);
    assert_text(gone, "name", "gone");
    assert_text(gone, "state", "retired");
    assert_int_equal(number(gone, "lag"), 7);
    json_decref(status);
}

static void dead_letters_are_grouped(void **state)
{
    static const struct {
        const char *sink, *status, *reason;
        int count;
    } groups[] = {{"gone", "final", "rejected", 1},
                  {"log", "final", "undecodable", 2},
                  {"log", "retrying", "undecodable", 1}};
    json_t *status = status_of(*state);
    assert_int_equal(json_array_size(json_object_get(status, "dead_letters")), ARRAY_LEN(groups));
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        const json_t *o = item(status, "dead_letters", i);
        assert_text(o, "sink", groups[i].sink);
        assert_text(o, "status", groups[i].status);
        assert_text(o, "reason", groups[i].reason);
        assert_int_equal(number(o, "count"), groups[i].count);
    }
    json_decref(status);
}

static void incidents_are_listed(void **state)
{
    json_t *status = status_of(*state);
    const json_t *o = item(status, "incidents", 0);
    assert_int_equal(number(o, "id"), 1);
    assert_text(o, "subscription", "accounts");
    assert_text(o, "kind", "lost_position");
    assert_text(o, "old_replay_id", "ab");
    assert_text(o, "since", "2023-11-14T22:13:20.000Z");
    assert_true(json_is_null(json_object_get(o, "until")));
    assert_text(o, "policy", "repair");
    assert_text(o, "state", "open");
    json_decref(status);
}

static void without_a_store_lists_are_empty(void **state)
{
    struct fixture f = *(struct fixture *)*state;
    struct buf text = BUF_INIT;
    f.parts.store = NULL;
    json_t *status = status_of(&f);
    static const char *const lists[] = {"subscriptions", "sinks", "dead_letters", "incidents"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        assert_int_equal(json_array_size(json_object_get(status, lists[i])), 0);
    assert_int_equal(number(json_object_get(status, "journal"), "events"), 0);
    status_text(status, false, &text);
    assert_non_null(strstr((char *)text.data, "there is none yet"));
    buf_release(&text);
    json_decref(status);
}

static struct snapshot take(const struct fixture *f)
{
    struct snapshot s;
    struct err e = ERR_INIT;
    if (snapshot_take(&f->parts, &s, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

static void the_position_ages_in_source_time(void **state)
{
    struct snapshot s = take(*state);
    struct snapshot_subscription *accounts = &s.subscriptions[0];
    s.running = true;
    s.source_ms = 1700000000000 + 90 * 1000;
    assert_int_equal(snapshot_position_age_ms(&s, accounts), 90 * 1000);
    s.source_ms = 1700000000000 - 1; /* a stamp of another org was ahead */
    assert_int_equal(snapshot_position_age_ms(&s, accounts), 0);
    assert_int_equal(snapshot_position_age_ms(&s, &s.subscriptions[1]), -1);
    accounts->view.last_response_ms = 1700000005000;
    assert_int_equal(snapshot_last_response_ms(accounts), 1700000005000);
    snapshot_release(&s);
}

/* A reason is cut to a size, within a character if need be, and may say anything. */
static void texts_from_outside_do_no_harm(void **state)
{
    struct snapshot s = take(*state);
    struct buf text = BUF_INIT;
    snprintf(s.subscriptions[0].view.reason, sizeof s.subscriptions[0].view.reason,
             "line\nbreak \033[31m \xc3");
    s.subscriptions[0].view.state = SOURCE_REFUSED;
    json_t *status = status_from_snapshot(&s);
    char *dump = json_dumps(status, 0);
    assert_non_null(dump);
    assert_non_null(strstr(dump, "break"));
    status_text(status, false, &text);
    assert_null(strchr((char *)text.data, '\033'));
    assert_non_null(strstr((char *)text.data, "! refused: line break"));
    free(dump);
    buf_release(&text);
    json_decref(status);
    snapshot_release(&s);
}

static void the_text_says_what_is_wrong(void **state)
{
    static const char *const wanted[] = {"daemon not running",
                                         "accounts",
                                         "/data/AccountChangeEvent",
                                         "10 events (seq 1 to 10)",
                                         "of 64.0 MiB in use",
                                         "retired",
                                         "undecodable",
                                         "lost_position",
                                         "! the replay id was refused",
                                         "tidemark dlq list"};
    json_t *status = status_of(*state);
    struct buf text = BUF_INIT;
    status_text(status, false, &text);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr((char *)text.data, wanted[i]))
            fail_msg("no '%s' in\n%s", wanted[i], (char *)text.data);
    assert_null(strchr((char *)text.data, '\033'));
    buf_clear(&text);
    status_text(status, true, &text);
    assert_non_null(strstr((char *)text.data, "\033["));
    buf_release(&text);
    json_decref(status);
}

/* --- readiness ------------------------------------------------------------------------------------ */

static void subscriptions_ready_or_not(void **state)
{
    enum { NOW = 1000 * 1000, WATCHDOG = 300 * 1000 };
    static const struct {
        enum source_state state;
        int64_t contact_ms;
        bool ready;
        const char *why, *trouble, *reason;
    } cases[] = {
        {SOURCE_LIVE, NOW, true, "", "", ""},
        {SOURCE_CATCHING_UP, NOW - WATCHDOG, true, "", "", ""},
        {SOURCE_LIVE, NOW - WATCHDOG - 1, false, "no sign of life", "", ""},
        {SOURCE_LIVE, NOW - WATCHDOG, true, "", "", "waiting for schema x: INTERNAL"},
        {SOURCE_LIVE, NOW - WATCHDOG - 1, false, "Z: waiting for schema x", "",
         "waiting for schema x: INTERNAL"},
        {SOURCE_CATCHING_UP, 0, false, "Z: waiting for schema x", "", "waiting for schema x: INTERNAL"},
        {SOURCE_CATCHING_UP, 0, false, "has not answered since the stream was opened\n", "", ""},
        {SOURCE_CATCHING_UP, 0, false, "was opened; before that: no route", "no route", ""},
        {SOURCE_CATCHING_UP, NOW, true, "", "no route", ""},
        {SOURCE_CONNECTING, NOW, false, "connecting", "", ""},
        {SOURCE_BACKING_OFF, NOW, false, "backing_off since 2023-11-14T22:13:20.000Z: connection refused", "",
         "connection refused"},
        {SOURCE_LOST_POSITION, NOW, false, "lost_position", "", ""},
        {SOURCE_PAUSED_FULL, NOW, false, "paused_full", "", ""},
        {SOURCE_REFUSED, NOW, false, "refused", "", ""},
        {SOURCE_STOPPED, NOW, false, "stopped", "", ""},
    };
    struct snapshot s = take(*state);
    s.mono_ms = NOW;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct snapshot_subscription *sub = &s.subscriptions[0];
        struct buf why = BUF_INIT;
        sub->view = (struct source_view){
            .state = cases[i].state, .since_ms = 1700000000000, .last_contact_mono_ms = cases[i].contact_ms};
        snprintf(sub->view.reason, sizeof sub->view.reason, "%s", cases[i].reason);
        snprintf(sub->view.trouble, sizeof sub->view.trouble, "%s", cases[i].trouble);
        assert_int_equal(ready_subscription(&s, sub, &why), cases[i].ready);
        if (!cases[i].ready) {
            assert_non_null(strstr((char *)why.data, "subscription accounts: "));
            assert_non_null(strstr((char *)why.data, cases[i].why));
            assert_int_equal(why.data[why.len - 1], '\n');
        } else {
            assert_int_equal(why.len, 0);
        }
        buf_release(&why);
    }
    snapshot_release(&s);
}

static void sinks_ready_or_not(void **state)
{
    enum { NOW = 1000 * 1000 };
    static const struct {
        enum delivery_state state;
        uint64_t lag;
        int64_t progress_ms;
        bool ready;
        const char *why;
    } cases[] = {
        {DELIVERY_RUNNING, 0, 0, true, ""}, /* nothing to do since the start */
        {DELIVERY_RUNNING, 5, NOW - READY_SINK_PROGRESS_MS, true, ""},
        {DELIVERY_RUNNING, 5, NOW - READY_SINK_PROGRESS_MS - 1, false, "5 events wait"},
        {DELIVERY_OPENING, 0, NOW, false, "opening"},
        {DELIVERY_BACKING_OFF, 0, NOW, false, "backing_off since 2023-11-14T22:13:20.000Z: disk full"},
        {DELIVERY_REFUSED, 0, NOW, false, "refused"},
        {DELIVERY_STOPPED, 0, NOW, false, "stopped"},
    };
    struct snapshot s = take(*state);
    s.mono_ms = NOW;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct snapshot_sink *sink = &s.sinks[0];
        struct buf why = BUF_INIT;
        sink->lag = cases[i].lag;
        sink->view = (struct delivery_view){.state = cases[i].state,
                                            .since_ms = 1700000000000,
                                            .last_progress_mono_ms = cases[i].progress_ms};
        if (cases[i].state != DELIVERY_RUNNING)
            snprintf(sink->view.reason, sizeof sink->view.reason, "disk full");
        assert_int_equal(ready_sink(&s, sink, &why), cases[i].ready);
        if (!cases[i].ready)
            assert_non_null(strstr((char *)why.data, cases[i].why));
        buf_release(&why);
    }
    assert_true(ready_sink(&s, &s.sinks[2], NULL)); /* retired */
    snapshot_release(&s);
}

static void every_part_that_is_not_ready_is_named(void **state)
{
    const struct fixture *f = *state;
    struct buf why = BUF_INIT;
    assert_false(status_ready(&f->parts, &why));
    static const char *const names[] = {
        "subscription accounts: ", "subscription orders: ", "sink log: ", "sink later: "};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_non_null(strstr((char *)why.data, names[i]));
    buf_release(&why);
}

/* --- metrics -------------------------------------------------------------------------------------- */

static void assert_has(const struct buf *text, const char *line)
{
    if (!strstr((char *)text->data, line))
        fail_msg("no '%s' in\n%s", line, (char *)text->data);
}

static void metrics_say_what_status_says(void **state)
{
    static const char *const lines[] = {
        "# TYPE tidemark_events_received_total counter\n",
        "\ntidemark_events_received_total{subscription=\"accounts\"} 15\n",
        "\ntidemark_events_duplicates_total{subscription=\"accounts\"} 2\n",
        "\ntidemark_events_before_start_total{subscription=\"accounts\"} 3\n",
        "\ntidemark_events_journaled_total{subscription=\"accounts\"} 10\n",
        "\ntidemark_subscription_up{subscription=\"accounts\"} 0\n",
        "\ntidemark_subscription_last_response_timestamp_seconds{subscription=\"accounts\"} 1700000000.123\n",
        "\ntidemark_position_age_seconds{subscription=\"accounts\"} 90.000\n",
        "\ntidemark_position_expires_seconds{subscription=\"accounts\"} 259110.000\n",
        "\ntidemark_reconnects_total{subscription=\"accounts\",reason=\"token\"} 4\n",
        "\ntidemark_journal_head_seq 10\n",
        "\ntidemark_journal_oldest_seq 1\n",
        "\ntidemark_sink_events_total{sink=\"log\",outcome=\"delivered\"} 4\n",
        "\ntidemark_sink_events_total{sink=\"log\",outcome=\"parked\"} 2\n",
        "\ntidemark_sink_cursor_seq{sink=\"log\"} 7\n",
        "\ntidemark_sink_lag_events{sink=\"log\"} 3\n",
        "\ntidemark_sink_breaker_state{sink=\"log\"} 1\n",
        "\ntidemark_dead_letters{sink=\"log\",status=\"final\"} 2\n",
        "\ntidemark_dead_letters{sink=\"log\",status=\"retrying\"} 1\n",
        "\ntidemark_incidents_open 1\n",
    };
    struct snapshot s = take(*state);
    struct buf text = BUF_INIT;
    s.source_ms = 1700000000000 + 90 * 1000;
    s.subscriptions[0].view.reconnects_by[PUBSUB_NEW_TOKEN] = 4;
    s.sinks[0].view.state = DELIVERY_BACKING_OFF;
    metrics_add(&s, METRICS_PROMETHEUS, &text);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_has(&text, lines[i]);
    assert_null(strstr((char *)text.data, "sink=\"gone\""));
    assert_null(strstr((char *)text.data, "position_age_seconds{subscription=\"orders\""));
    buf_release(&text);
    snapshot_release(&s);
}

static void histograms_are_cumulated(void **state)
{
    static const char *const lines[] = {
        "# TYPE tidemark_delivery_seconds histogram\n",
        "\ntidemark_delivery_seconds_bucket{sink=\"log\",le=\"0.005\"} 2\n",
        "\ntidemark_delivery_seconds_bucket{sink=\"log\",le=\"0.01\"} 2\n",
        "\ntidemark_delivery_seconds_bucket{sink=\"log\",le=\"1.0\"} 3\n",
        "\ntidemark_delivery_seconds_bucket{sink=\"log\",le=\"86400.0\"} 3\n",
        "\ntidemark_delivery_seconds_bucket{sink=\"log\",le=\"+Inf\"} 4\n",
        "\ntidemark_delivery_seconds_sum{sink=\"log\"} 100000.755\n",
        "\ntidemark_delivery_seconds_count{sink=\"log\"} 4\n",
        "\ntidemark_commit_delay_seconds_count{sink=\"log\"} 0\n",
    };
    struct snapshot s = take(*state);
    struct buf text = BUF_INIT;
    struct histogram h = {0};
    histogram_add(&h, -3); /* a clock was set back */
    histogram_add(&h, 5);  /* bounds are inclusive */
    histogram_add(&h, 750);
    histogram_add(&h, 100000000); /* above every bound */
    histogram_read(&h, &s.sinks[0].view.since_received);
    metrics_add(&s, METRICS_PROMETHEUS, &text);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_has(&text, lines[i]);
    buf_release(&text);
    snapshot_release(&s);
}

/* Two subscriptions of one org: one sample. */
static void logins_are_counted_per_org(void **state)
{
    static const char name[] = "\ntidemark_token_refreshes_total{";
    struct snapshot s = take(*state);
    struct buf text = BUF_INIT;
    s.subscriptions[0].view.token_refreshes = s.subscriptions[1].view.token_refreshes = 3;
    metrics_add(&s, METRICS_PROMETHEUS, &text);
    assert_has(&text, "\ntidemark_token_refreshes_total{org=\"main\"} 3\n");
    assert_null(strstr(strstr((char *)text.data, name) + 1, name));
    buf_release(&text);
    snapshot_release(&s);
}

/* What must not differ: an alert on the metric, and a probe of the path. */
static void the_gauge_says_what_readyz_says(void **state)
{
    struct snapshot s = take(*state);
    struct buf text = BUF_INIT;
    metrics_add(&s, METRICS_PROMETHEUS, &text);
    assert_false(ready_all(&s, NULL));
    assert_has(&text, "\ntidemark_ready 0\n");
    for (size_t i = 0; i < s.n_subscriptions; i++) {
        s.subscriptions[i].view.state = SOURCE_LIVE;
        s.subscriptions[i].view.last_contact_mono_ms = s.mono_ms;
    }
    for (size_t i = 0; i < s.n_sinks; i++) {
        s.sinks[i].view.state = DELIVERY_RUNNING;
        s.sinks[i].view.last_progress_mono_ms = s.mono_ms;
    }
    buf_clear(&text);
    metrics_add(&s, METRICS_PROMETHEUS, &text);
    assert_true(ready_all(&s, NULL));
    assert_has(&text, "\ntidemark_ready 1\n");
    buf_release(&text);
    snapshot_release(&s);
}

static void openmetrics_names_families_without_total(void **state)
{
    static const char end[] = "\n# EOF\n";
    struct snapshot s = take(*state);
    struct buf text = BUF_INIT;
    metrics_add(&s, METRICS_OPENMETRICS, &text);
    assert_has(&text, "# TYPE tidemark_events_received counter\n");
    assert_has(&text, "\ntidemark_events_received_total{subscription=\"accounts\"} 15\n");
    assert_string_equal((char *)text.data + text.len - strlen(end), end);
    buf_release(&text);
    snapshot_release(&s);
}

static void labels_are_escaped(void **state)
{
    struct snapshot s = take(*state);
    struct subscription_config strange = *s.subscriptions[0].config;
    char name[] = "a\"b\\c\nd";
    struct buf text = BUF_INIT;
    strange.name = name;
    s.subscriptions[0].config = &strange;
    metrics_add(&s, METRICS_PROMETHEUS, &text);
    assert_has(&text, "tidemark_events_received_total{subscription=\"a\\\"b\\\\c\\nd\"} 15\n");
    buf_release(&text);
    snapshot_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_those_of_the_contract, setup, teardown),
        cmocka_unit_test_setup_teardown(the_sums_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_daemon_everything_is_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(sinks_new_known_and_retired, setup, teardown),
        cmocka_unit_test_setup_teardown(dead_letters_are_grouped, setup, teardown),
        cmocka_unit_test_setup_teardown(incidents_are_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_store_lists_are_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(the_position_ages_in_source_time, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_from_outside_do_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(the_text_says_what_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(subscriptions_ready_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(sinks_ready_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(every_part_that_is_not_ready_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_say_what_status_says, setup, teardown),
        cmocka_unit_test_setup_teardown(histograms_are_cumulated, setup, teardown),
        cmocka_unit_test_setup_teardown(logins_are_counted_per_org, setup, teardown),
        cmocka_unit_test_setup_teardown(the_gauge_says_what_readyz_says, setup, teardown),
        cmocka_unit_test_setup_teardown(openmetrics_names_families_without_total, setup, teardown),
        cmocka_unit_test_setup_teardown(labels_are_escaped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
