#include "config_text.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/random.h"
#include "config/differences.h"
#include "config/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The rest of a file that is good (config_text.h); most cases add to it or replace a part. Lines 7 to 9. */
#define SINK                                                                                                 \
    "sinks:\n"                                                                                               \
    "  - name: log\n"                                                                                        \
    "    file: { path: /tmp/out.ndjson }\n"

/* A folder of this program's own, gone at the end. */
static char folder[] = "/tmp/tidemark-config-XXXXXX";

static void write_file(const char *name, const char *content, size_t n)
{
    struct err e = ERR_INIT;
    char *path = xasprintf("%s/%s", folder, name);
    if (file_replace(path, content, n, 0600, &e) != 0)
        fail_msg("%s", e.text);
    free(path);
}

/* --- good files ------------------------------------------------------------------------------- */

static void every_default_is_the_documented_one(void **state)
{
    (void)state;
    struct config *c = load_good(ORG SUB SINK);
    assert_int_equal(c->n_orgs, 1);
    const struct org_config *org = &c->orgs[0];
    assert_string_equal(org->name, "main");
    assert_string_equal(org->login_url, "https://acme.my.salesforce.com");
    assert_string_equal(org->pubsub_endpoint, "api.pubsub.salesforce.com:7443");
    assert_string_equal(org->api_version, "66.0");
    assert_string_equal(org->client_name, "tidemark");
    assert_int_equal(org->auth.kind, AUTH_CLIENT_CREDENTIALS);
    assert_string_equal(org->auth.client_id, "id");
    assert_string_equal(org->auth.client_secret, "secret");
    assert_null(org->auth.access_token);
    assert_null(org->ca_file);
    assert_false(org->plaintext);
    assert_int_equal(org->keepalive_ms, 60000);
    assert_int_equal(org->max_message, 16 << 20);
    assert_int_equal(org->backoff_initial_ms, 500);
    assert_int_equal(org->backoff_max_ms, 60000);

    assert_int_equal(c->n_subscriptions, 1);
    const struct subscription_config *sub = &c->subscriptions[0];
    assert_string_equal(sub->name, "accounts");
    assert_int_equal(sub->org, 0);
    assert_string_equal(sub->topic, "/data/AccountChangeEvent");
    assert_int_equal(sub->start, START_LATEST);
    assert_int_equal(sub->on_lost_position, LOST_REPAIR);
    assert_int_equal(sub->watchdog_ms, 300000);
    assert_null(sub->managed);

    assert_int_equal(c->n_sinks, 1);
    const struct sink_config *sink = &c->sinks[0];
    assert_string_equal(sink->name, "log");
    assert_int_equal(sink->kind, SINK_KIND_FILE);
    assert_string_equal(sink->path, "/tmp/out.ndjson");
    assert_true(sink->fsync);
    assert_int_equal(sink->n_subscriptions, 1);
    assert_int_equal(sink->subscriptions[0], 0);
    assert_int_equal(sink->order, ORDER_PER_RECORD);
    assert_int_equal(sink->start, SINK_START_JOURNAL);
    assert_int_equal(sink->batch_events, 1000);
    assert_int_equal(sink->batch_wait_ms, 10);
    assert_null(sink->renamed_from);

    assert_string_equal(c->store.path, "/var/lib/tidemark");
    assert_int_equal(c->store.retention_ms, 96 * 3600000);
    assert_int_equal(c->store.max_size, (int64_t)10 << 30);
    assert_int_equal(c->store.dedupe_window_ms, 96 * 3600000);
    assert_true(c->admin.enabled);
    assert_string_equal(c->admin.host, "127.0.0.1");
    assert_int_equal(c->admin.port, 9464);
    assert_null(c->admin.token);
    assert_int_equal(c->log.level, LOG_LEVEL_INFO);
    assert_int_equal(c->log.format, LOG_FORMAT_TEXT);
    assert_int_equal(c->drain_ms, 25000);
    assert_string_equal(c->file, "t.yaml");
    config_free(c);
}

/* Every key that can be given, none at its default. */
static const char everything[] =
    "orgs:\n"
    "  - name: main\n"
    "    login_url: http://127.0.0.1:7480/\n"
    "    pubsub_endpoint: \"[::1]:7443\"\n"
    "    api_version: \"61.0\"\n"
    "    client_name: Acme/tidemark\n"
    "    auth: { client_credentials: { client_id: \"a$${b}\", client_secret: s } }\n"
    "    tls: { plaintext: true }\n"
    "    keepalive: 30s\n"
    "    max_message: 20MB\n"
    "    backoff: { initial: 1s, max: 2m }\n"
    "  - name: other\n"
    "    auth: { static: { access_token: 00D!x, instance_url: https://x.example, tenant_id: "
    "00Dxx0000001gEREAY } }\n"
    "    tls: { ca_file: /dev/null }\n"
    "subscriptions:\n"
    "  - { name: accounts, org: main, topic: /data/AccountChangeEvent, start: earliest, on_lost_position: "
    "stop, watchdog: 1h, managed: Ns__Account_feed }\n"
    "  - { name: orders, org: other, topic: /event/Order__e, start: base64:AAAAAAAS1ocAAA==, "
    "on_lost_position: latest }\n"
    "  - { name: all, org: other, topic: /data/ChangeEvents, start: 00000000000000000001, on_lost_position: "
    "earliest }\n"
    "sinks:\n"
    "  - name: log\n"
    "    subscriptions: [orders, accounts]\n"
    "    file: { path: /tmp/tidemark-test/out.ndjson, format: json, fsync: false }\n"
    "    order: strict\n"
    "    start: now\n"
    "    batch: { events: 10, wait: 1500ms }\n"
    "    renamed_from: old\n"
    "  - { name: out, stdout: { format: json }, order: none }\n"
    "  - { name: nothing, null: {} }\n"
    "  - { name: more, null: }\n"
    "store: { path: /tmp/tidemark-test, retention: 0, max_size: 64MiB, dedupe_window: 73h }\n"
    "admin: { listen: \"[::1]:0\", token: t }\n"
    "log: { level: debug, format: json }\n"
    "shutdown: { drain: 0 }\n";

static void every_key_arrives_where_it_belongs(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    const struct org_config *org = &c->orgs[0];
    assert_string_equal(org->login_url, "http://127.0.0.1:7480"); /* without the slash */
    assert_string_equal(org->pubsub_endpoint, "[::1]:7443");
    assert_string_equal(org->api_version, "61.0");
    assert_string_equal(org->client_name, "Acme/tidemark");
    assert_string_equal(org->auth.client_id, "a${b}");
    assert_true(org->plaintext);
    assert_int_equal(org->keepalive_ms, 30000);
    assert_int_equal(org->max_message, 20000000);
    assert_int_equal(org->backoff_initial_ms, 1000);
    assert_int_equal(org->backoff_max_ms, 120000);
    assert_int_equal(c->orgs[1].auth.kind, AUTH_STATIC);
    assert_string_equal(c->orgs[1].login_url, "");
    assert_string_equal(c->orgs[1].auth.access_token, "00D!x");
    assert_string_equal(c->orgs[1].auth.tenant_id, "00Dxx0000001gEREAY");
    assert_string_equal(c->orgs[1].ca_file, "/dev/null");
    assert_int_equal(c->subscriptions[0].start, START_EARLIEST);
    assert_int_equal(c->subscriptions[0].on_lost_position, LOST_STOP);
    assert_int_equal(c->subscriptions[0].watchdog_ms, 3600000);
    assert_string_equal(c->subscriptions[0].managed, "Ns__Account_feed");
    assert_int_equal(c->subscriptions[1].org, 1);
    assert_int_equal(c->subscriptions[1].start, START_REPLAY_ID);
    assert_int_equal(c->subscriptions[1].start_replay_id_len, 10);
    assert_memory_equal(c->subscriptions[1].start_replay_id, "\0\0\0\0\0\x12\xd6\x87\0\0", 10);
    assert_int_equal(c->subscriptions[1].on_lost_position, LOST_LATEST);
    assert_int_equal(c->subscriptions[2].start_replay_id_len, 10);
    assert_int_equal(c->subscriptions[2].on_lost_position, LOST_EARLIEST);
    const struct sink_config *sink = &c->sinks[0];
    assert_int_equal(sink->n_subscriptions, 2);
    assert_int_equal(sink->subscriptions[0], 1);
    assert_int_equal(sink->subscriptions[1], 0);
    assert_false(sink->fsync);
    assert_int_equal(sink->order, ORDER_STRICT);
    assert_int_equal(sink->start, SINK_START_NOW);
    assert_int_equal(sink->batch_events, 10);
    assert_int_equal(sink->batch_wait_ms, 1500);
    assert_string_equal(sink->renamed_from, "old");
    assert_int_equal(c->sinks[1].kind, SINK_KIND_STDOUT);
    assert_int_equal(c->sinks[1].order, ORDER_NONE);
    assert_null(c->sinks[1].path);
    assert_int_equal(c->sinks[1].n_subscriptions, 3);
    assert_int_equal(c->sinks[2].kind, SINK_KIND_NULL);
    assert_int_equal(c->sinks[3].kind, SINK_KIND_NULL);
    assert_int_equal(c->store.retention_ms, 0);
    assert_int_equal(c->store.max_size, 64 << 20);
    assert_string_equal(c->admin.host, "::1");
    assert_int_equal(c->admin.port, 0);
    assert_string_equal(c->admin.token, "t");
    assert_int_equal(c->log.level, LOG_LEVEL_DEBUG);
    assert_int_equal(c->log.format, LOG_FORMAT_JSON);
    assert_int_equal(c->drain_ms, 0);
    config_free(c);
}

/* Only one way to sign in fits into an org; config_auth_test.c does the others, config_mirror_test.c mirrors. */
static bool is_tested_elsewhere(const struct key *k)
{
    return (k->flags & KEY_MIRROR) || strncmp(k->path, "sinks[].entities", 16) == 0 ||
           strncmp(k->path, "sinks[].sqlite", 14) == 0 || strncmp(k->path, "sinks[].postgres", 16) == 0 ||
           strncmp(k->path, "orgs[].auth.jwt_bearer", 22) == 0 ||
           strncmp(k->path, "orgs[].auth.refresh_token", 25) == 0 ||
           strncmp(k->path, "orgs[].auth.password", 20) == 0;
}

static void no_key_of_the_table_is_forgotten_here(void **state)
{
    (void)state;
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++) {
        char *name = xasprintf("%s:", key_name(k));
        if (!(k->flags & KEY_LATER) && !is_tested_elsewhere(k) && !strstr(everything, name))
            fail_msg("%s is not in the file that has everything", k->path);
        free(name);
    }
}

static void assert_prints_back(const char *text)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    struct config *c = load_good(text);
    config_print(c, &once);
    struct config *again = load_good((char *)once.data);
    config_print(again, &twice);
    assert_string_equal((char *)once.data, (char *)twice.data);
    config_free(again);
    config_free(c);
    buf_release(&once);
    buf_release(&twice);
}

static void the_printed_configuration_loads_to_the_same_one(void **state)
{
    (void)state;
    assert_prints_back(everything);
    assert_prints_back(ORG SUB SINK);
    assert_prints_back(ORG SUB SINK "admin: { listen: false }\n");
    struct buf out = BUF_INIT;
    struct config *c = load_good(ORG SUB SINK "admin: { token: S3CRET }\nlog:\n");
    config_print(c, &out);
    config_free(c);
    assert_string_equal((char *)out.data, "orgs:\n"
                                          "  - name: main\n"
                                          "    login_url: \"https://acme.my.salesforce.com\"\n"
                                          "    pubsub_endpoint: \"api.pubsub.salesforce.com:7443\"\n"
                                          "    api_version: \"66.0\"\n"
                                          "    client_name: tidemark\n"
                                          "    auth:\n"
                                          "      client_credentials:\n"
                                          "        client_id: id\n"
                                          "        client_secret: \"(set)\"\n"
                                          "    tls:\n"
                                          "      plaintext: false\n"
                                          "    keepalive: 60s\n"
                                          "    max_message: 16MiB\n"
                                          "    backoff:\n"
                                          "      initial: 500ms\n"
                                          "      max: 60s\n"
                                          "subscriptions:\n"
                                          "  - name: accounts\n"
                                          "    org: main\n"
                                          "    topic: /data/AccountChangeEvent\n"
                                          "    start: latest\n"
                                          "    on_lost_position: repair\n"
                                          "    watchdog: 300s\n"
                                          "sinks:\n"
                                          "  - name: log\n"
                                          "    subscriptions: [accounts]\n"
                                          "    file:\n"
                                          "      path: /tmp/out.ndjson\n"
                                          "      format: json\n"
                                          "      fsync: true\n"
                                          "    order: per_record\n"
                                          "    start: journal\n"
                                          "    batch:\n"
                                          "      events: 1000\n"
                                          "      wait: 10ms\n"
                                          "store:\n"
                                          "  path: /var/lib/tidemark\n"
                                          "  retention: 96h\n"
                                          "  max_size: 10GiB\n"
                                          "  dedupe_window: 96h\n"
                                          "admin:\n"
                                          "  listen: \"127.0.0.1:9464\"\n"
                                          "  token: \"(set)\"\n"
                                          "log:\n"
                                          "  level: info\n"
                                          "  format: text\n"
                                          "shutdown:\n"
                                          "  drain: 25s\n");
    buf_release(&out);
}

static void looking_at_a_stream_needs_no_sinks(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    struct config *c = load(ORG, CONFIG_NO_SINKS_NEEDED, &problems);
    assert_non_null(c);
    assert_int_equal(c->n_sinks, 0);
    config_free(c);
    c = load(ORG "subscriptions: []\n" SINK, CONFIG_NO_SINKS_NEEDED, &problems);
    assert_non_null(c);
    config_print(c, &problems); /* must not fail on the sink that has nothing to deliver */
    config_free(c);
    buf_release(&problems);
    assert_problems(ORG, "t.yaml:1:1: subscriptions: is required\n"
                         "t.yaml:1:1: sinks: is required\n");
}

static void admin_can_be_turned_off(void **state)
{
    (void)state;
    struct config *c = load_good(ORG SUB SINK "admin: { listen: false }\n");
    assert_false(c->admin.enabled);
    config_free(c);
    c = load_good(ORG SUB SINK "admin: false\n");
    assert_false(c->admin.enabled);
    config_free(c);
}

/* --- bad files -------------------------------------------------------------------------------- */

static void text_that_is_not_yaml_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"", "t.yaml:1:1: top level: the file is empty; 'tidemark init' prints one to start from\n"},
        {"# nothing\n\n",
         "t.yaml:1:1: top level: the file is empty; 'tidemark init' prints one to start from\n"},
        {"- a\n", "t.yaml:1:1: top level: must be a mapping: one 'key: value' per line\n"},
        {"orgs: [ {\n  name: x\nsinks: }\n", "t.yaml:3:6: top level: not YAML: did not find expected ',' or "
                                             "'}' while parsing a flow mapping that begins in line 1\n"},
        {"orgs:\n\t- name: x\n", "t.yaml:2:1: top level: a tab: YAML is indented with spaces\n"},
        {"\xc3\xa9: { b: ${X} }\n",
         "t.yaml:1:10: top level: inside { } and [ ] a value with ${NAME} must stand in quotes\n"},
        {"a: [x/${X:-d}, y]\n",
         "t.yaml:1:8: top level: inside { } and [ ] a value with ${NAME} must stand in quotes\n"},
        {"orgs: \"x\n", "t.yaml:2:1: top level: not YAML: found unexpected end of stream while scanning a "
                        "quoted scalar that begins in line 1\n"},
        {"a: b\nc: \xff\n",
         "t.yaml:2:4: top level: the file must be UTF-8 text: invalid leading UTF-8 octet\n"},
        {"a: \xc3\xa9 \x01\n",
         "t.yaml:1:6: top level: the file must be UTF-8 text: control characters are not allowed\n"},
        {ORG SUB SINK "---\nmore: 1\n",
         "t.yaml:10:1: top level: a second document begins here; one file holds one configuration\n"},
        {ORG SUB SINK "log: &a { level: info }\nshutdown: *a\n",
         "t.yaml:10:6: top level: anchors (&a) are not supported\n"
         "t.yaml:11:11: top level: aliases (*a) are not supported: write the value out\n"},
        {ORG SUB SINK "log: &a\n  level: *b\n",
         "t.yaml:10:6: top level: anchors (&a) are not supported\n"
         "t.yaml:11:10: top level: aliases (*b) are not supported: write the value out\n"},
        {ORG SUB SINK "log: { level: !!binary aW5mbw== }\n",
         "t.yaml:10:15: top level: tags (tag:yaml.org,2002:binary) are not supported\n"
         "t.yaml:10:15: log.level: must be error, warn, info or debug, not 'aW5mbw=='\n"},
        {ORG SUB SINK "? [a, b]\n: c\n", "t.yaml:10:3: top level: a key must be a plain word\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void nesting_and_size_are_bounded(void **state)
{
    (void)state;
    struct buf text = BUF_INIT, problems = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_add_char(&text, '[');
    assert_problems((char *)text.data, "t.yaml:1:65: top level: nested more than 64 levels deep\n");
    buf_clear(&text);
    while (text.len <= CONFIG_MAX_BYTES)
        buf_add_str(&text, "# the quick brown fox jumps over the lazy dog\n");
    assert_null(load((char *)text.data, 0, &problems));
    assert_string_equal((char *)problems.data, "t.yaml: top level: larger than 4 MiB\n");
    buf_release(&text);
    buf_release(&problems);
}

static void a_file_wrong_everywhere_is_told_in_bounded_space(void **state)
{
    (void)state;
    struct buf text = BUF_INIT, problems = BUF_INIT;
    buf_add_str(&text, ORG SUB SINK);
    for (int i = 0; i < 20000; i++)
        buf_addf(&text, "key%d: 1\n", i);
    assert_null(load((char *)text.data, 0, &problems));
    size_t lines = 0;
    for (const char *p = (char *)problems.data; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 101);
    assert_non_null(strstr((char *)problems.data, "t.yaml: 19900 more\n"));
    buf_release(&text);
    buf_release(&problems);
}

static void unknown_and_repeated_keys_are_refused(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {ORG SUB SINK "loog: 1\n", "t.yaml:10:1: loog: unknown key (did you mean 'log'?)\n"},
        {ORG SUB SINK "something_else: 1\n", "t.yaml:10:1: something_else: unknown key\n"},
        {ORG "    ca_file: /x\n" SUB SINK,
         "t.yaml:5:5: orgs[0].ca_file: unknown key here; it belongs under 'tls'\n"},
        {ORG SUB SINK "    fsync: true\n",
         "t.yaml:10:5: sinks[0].fsync: unknown key here; it belongs under 'file'\n"},
        {ORG SUB "sinks:\n  - { name: out, stdout: { fsync: true } }\n",
         "t.yaml:8:28: sinks[0].stdout.fsync: has no effect here; it belongs to 'file'\n"},
        {ORG SUB "sinks:\n  - { name: out, null: { path: /x } }\n",
         "t.yaml:8:26: sinks[0].null.path: unknown key\n"},
        {ORG SUB SINK "log: { level: info }\nlog: { level: warn }\n", "t.yaml:11:1: log: is given twice\n"},
        {ORG SUB SINK "log: { level: info, level: warn }\n", "t.yaml:10:21: log.level: is given twice\n"},
        {ORG "    auth: {}\n" SUB SINK, "t.yaml:5:5: orgs[0].auth: is given twice\n"},
        {ORG "    name_file: /x\n" SUB SINK, "t.yaml:5:5: orgs[0].name_file: unknown key\n"},
        {ORG SUB SINK "<<: { log: { level: info } }\n", "t.yaml:10:1: <<: unknown key\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void values_of_the_wrong_kind_are_refused(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {ORG SUB SINK "log: { level: loud }\n",
         "t.yaml:10:15: log.level: must be error, warn, info or debug, not 'loud'\n"},
        {ORG SUB SINK "log: { level: inof }\n",
         "t.yaml:10:15: log.level: must be error, warn, info or debug, not 'inof' (did you mean 'info'?)\n"},
        {ORG SUB SINK "log: { level: [info] }\n", "t.yaml:10:15: log.level: must be one value, not a list\n"},
        {ORG SUB SINK "log: { level: { a: b } }\n",
         "t.yaml:10:15: log.level: must be one value, not a mapping\n"},
        {ORG SUB SINK "log: { level: }\n", "t.yaml:10:15: log.level: has no value\n"},
        {ORG SUB SINK "log: { level: ~ }\n", "t.yaml:10:15: log.level: has no value\n"},
        {ORG SUB SINK "log: info\n", "t.yaml:10:6: log: must be a mapping: one 'key: value' per line\n"},
        {ORG SUB SINK "admin: true\n",
         "t.yaml:10:8: admin: must be a mapping: one 'key: value' per line, or false\n"},
        {ORG SUB SINK "    batch: { events: 10x, wait: 10 }\n",
         "t.yaml:10:22: sinks[0].batch.events: must be a whole number, not '10x'\n"
         "t.yaml:10:33: sinks[0].batch.wait: must be a time like 500ms, 30s or 96h, not '10'\n"},
        {ORG SUB SINK "    batch: { events: 0, wait: 2m }\n",
         "t.yaml:10:22: sinks[0].batch.events: must be between 1 and 10000, not '0'\n"
         "t.yaml:10:31: sinks[0].batch.wait: must be between 0s and 60s, not '2m'\n"},
        {ORG SUB SINK "    batch: { events: -1 }\n",
         "t.yaml:10:22: sinks[0].batch.events: must be between 1 and 10000, not '-1'\n"},
        {ORG SUB SINK "    batch: { events: 99999999999999999999 }\n",
         "t.yaml:10:22: sinks[0].batch.events: must be a whole number, not '99999999999999999999'\n"},
        {ORG SUB SINK "store: { retention: 96 parsecs, max_size: 10Gb, dedupe_window: 72h }\n",
         "t.yaml:10:21: store.retention: must be a time like 500ms, 30s or 96h, not '96 parsecs'\n"
         "t.yaml:10:43: store.max_size: must be a size like 64KiB or 10GiB, not '10Gb'\n"
         "t.yaml:10:64: store.dedupe_window: must be between 73h and 720h, not '72h'\n"},
        {ORG SUB SINK "store: { max_size: 1MiB }\n",
         "t.yaml:10:20: store.max_size: must be between 64MiB and 16TiB, not '1MiB'\n"},
        {ORG "    tls: { plaintext: yes }\n" SUB SINK,
         "t.yaml:5:23: orgs[0].tls.plaintext: must be true or false, not 'yes'\n"},
        {ORG "    tls: { ca_file: /nowhere/ca.pem }\n" SUB SINK,
         "t.yaml:5:21: orgs[0].tls.ca_file: cannot read /nowhere/ca.pem: No such file or directory\n"},
        {ORG "    pubsub_endpoint: https://x:1\n    api_version: 66\n    client_name: a,b\n" SUB SINK,
         "t.yaml:5:22: orgs[0].pubsub_endpoint: must be HOST:PORT, without a scheme, not 'https://x:1'\n"
         "t.yaml:6:18: orgs[0].api_version: must be a version like \"66.0\", not '66'\n"
         "t.yaml:7:18: orgs[0].client_name: must be 1 to 64 letters, digits, '.', '_', '-' or '/', not "
         "'a,b'\n"},
        {ORG "    pubsub_endpoint: x:70000\n" SUB SINK,
         "t.yaml:5:22: orgs[0].pubsub_endpoint: must be HOST:PORT, without a scheme, not 'x:70000'\n"},
        {ORG SUB SINK "admin: { listen: localhost }\n",
         "t.yaml:10:18: admin.listen: must be ADDRESS:PORT or false, not 'localhost'\n"},
        {ORG SUB SINK "admin: { listen: \"127.0.0.1:65536\" }\n",
         "t.yaml:10:18: admin.listen: must be ADDRESS:PORT or false, not '127.0.0.1:65536'\n"},
        {ORG SUB SINK "admin: { token: \"a b\" }\n",
         "t.yaml:10:17: admin.token: must be printable ASCII without spaces\n"},
        {ORG SUB "sinks: { name: log }\n", "t.yaml:7:8: sinks: must be a list: one '- ' per item\n"},
        {ORG SUB "sinks: []\n", "t.yaml:7:8: sinks: must not be empty\n"},
        {ORG SUB "sinks:\n", "t.yaml:7:7: sinks: must not be empty\n"},
        {ORG SUB "sinks: [log]\n", "t.yaml:7:9: sinks[0]: must be a mapping: one 'key: value' per line\n"},
        {ORG SUB "sinks: [{ name: \"a b\", file: { path: \"\" } }]\n",
         "t.yaml:7:17: sinks[0].name: must be 1 to 64 letters, digits, '.', '_' or '-', not 'a b'\n"
         "t.yaml:7:38: sinks[0].file.path: must not be empty\n"},
        {ORG SUB "sinks: [{ name: a, file: { path: \"/x/\\0y\" } }]\n",
         "t.yaml:7:34: sinks[0].file.path: must be one line of text, without control characters\n"},
        {ORG SUB "sinks: [{ name: a, file: { path: /x/ } }]\n",
         "t.yaml:7:34: sinks[0].file.path: must be the path of a file, not '/x/'\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void what_must_be_there_is_asked_for(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"log: { level: info }\n", "t.yaml:1:1: orgs: is required\n"
                                   "t.yaml:1:1: subscriptions: is required\n"
                                   "t.yaml:1:1: sinks: is required\n"},
        {"orgs: [{}]\nsubscriptions: [{}]\nsinks: [{}]\n",
         "t.yaml:1:8: orgs[0].name: is required\n"
         "t.yaml:1:8: orgs[0].auth: is required\n"
         "t.yaml:1:8: orgs[0].login_url: is required\n"
         "t.yaml:2:17: subscriptions[0].name: is required\n"
         "t.yaml:2:17: subscriptions[0].org: is required\n"
         "t.yaml:2:17: subscriptions[0].topic: is required\n"
         "t.yaml:3:9: sinks[0].name: is required\n"
         "t.yaml:3:9: sinks[0]: exactly one of these is required: file, stdout, null, sqlite, postgres\n"},
        {"orgs: [{ name: main, login_url: https://x.example, auth: {} }]\n" SUB SINK,
         "t.yaml:1:58: orgs[0].auth: exactly one of these is required: client_credentials, "
         "jwt_bearer, refresh_token, password, static\n"},
        {"orgs: [{ name: main, login_url: https://x.example, auth: { client_credentials: {} } }]\n" SUB SINK,
         "t.yaml:1:80: orgs[0].auth.client_credentials.client_id: is required\n"
         "t.yaml:1:80: orgs[0].auth.client_credentials.client_secret: is required, here or as "
         "'client_secret_file'\n"},
        {"orgs: [{ name: main, auth: { static: { access_token: x } } }]\n" SUB SINK,
         "t.yaml:1:38: orgs[0].auth.static.instance_url: is required\n"
         "t.yaml:1:38: orgs[0].auth.static.tenant_id: is required\n"},
        {ORG SUB "sinks: [{ name: log, file: }]\n", "t.yaml:7:28: sinks[0].file.path: is required\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void combinations_that_cannot_work_are_refused(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"orgs:\n  - name: main\n    login_url: https://x.example\n    auth:\n      client_credentials: { "
         "client_id: i, client_secret: s }\n"
         "      static: { access_token: t }\n" SUB SINK,
         "t.yaml:3:16: orgs[0].login_url: has no effect with auth 'static', which never signs in\n"
         "t.yaml:6:7: orgs[0].auth.static: only one kind is possible, and 'client_credentials' is given in "
         "line 5\n"},
        {"orgs: [{ name: main, login_url: https://x.example, auth: { static: { access_token: t, "
         "instance_url: https://y.example, "
         "tenant_id: 00Dxx0000001gEREAY } } }]\n" SUB SINK,
         "t.yaml:1:33: orgs[0].login_url: has no effect with auth 'static', which never signs in\n"},
        {ORG SUB SINK "    stdout: {}\n",
         "t.yaml:10:5: sinks[0].stdout: only one kind is possible, and 'file' is given in line 9\n"},
        {ORG "    backoff: { initial: 10s, max: 1s }\n" SUB SINK,
         "t.yaml:5:35: orgs[0].backoff.max: must not be shorter than backoff.initial\n"},
        {ORG "    backoff: { initial: 2m }\n" SUB SINK,
         "t.yaml:2:5: orgs[0].backoff.max: must not be shorter than backoff.initial\n"},
        {ORG "subscriptions:\n  - { name: a, org: main, topic: /event/X__e, watchdog: 60s }\n" SINK,
         "t.yaml:6:57: subscriptions[0].watchdog: must be longer than the org's keepalive, or idle streams "
         "are cut\n"},
        {ORG SUB SINK "admin: { listen: false, token: t }\n",
         "t.yaml:10:32: admin.token: has no effect: nothing listens (listen: false)\n"},
        {ORG SUB "sinks:\n  - { name: a, stdout: {} }\n  - { name: b, stdout: }\n",
         "t.yaml:9:24: sinks[1].stdout: sinks[0] writes to standard output already\n"},
        {ORG SUB SINK "    renamed_from: log\n",
         "t.yaml:10:19: sinks[0].renamed_from: 'log' is still the name of sinks[0]\n"},
        {ORG SUB
         "sinks:\n  - { name: a, null: {}, renamed_from: x }\n  - { name: b, null: {}, renamed_from: x }\n",
         "t.yaml:9:40: sinks[1].renamed_from: sinks[0] takes the cursor of 'x' already\n"},
        {ORG SUB "sinks: [{ name: a, file: { path: /var/lib/../lib/tidemark } }]\n",
         "t.yaml:7:34: sinks[0].file.path: is the store's folder\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void plain_text_is_for_loopback_only(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {"orgs:\n  - name: main\n    login_url: http://192.0.2.1\n    pubsub_endpoint: 192.0.2.1:7443\n    "
         "tls: { plaintext: true }\n"
         "    auth: { client_credentials: { client_id: i, client_secret: s } }\n" SUB SINK,
         "t.yaml:3:16: orgs[0].login_url: http:// is for loopback addresses only: secrets would travel in "
         "the clear; use https://\n"
         "t.yaml:5:23: orgs[0].tls.plaintext: true is for loopback addresses only, and 192.0.2.1:7443 is not "
         "one\n"},
        {"orgs:\n  - name: main\n    pubsub_endpoint: \"[2001:db8::1]:7443\"\n    tls: { plaintext: true, "
         "ca_file: /dev/null }\n"
         "    auth: { static: { access_token: t, instance_url: \"http://[2001:db8::1]\", tenant_id: "
         "00Dxx0000001gEREAY } }\n" SUB SINK,
         "t.yaml:4:23: orgs[0].tls.plaintext: true is for loopback addresses only, and [2001:db8::1]:7443 is "
         "not one\n"
         "t.yaml:4:38: orgs[0].tls.ca_file: has no effect: nothing here uses TLS (plaintext: true)\n"
         "t.yaml:5:54: orgs[0].auth.static.instance_url: http:// is for loopback addresses only: secrets "
         "would travel in the clear; use https://\n"},
        {ORG "    login_url2: ftp://x\n" SUB SINK,
         "t.yaml:5:5: orgs[0].login_url2: unknown key (did you mean 'login_url'?)\n"},
        {"orgs: [{ name: main, login_url: \"https://x.example/path\", auth: { client_credentials: { "
         "client_id: i, client_secret: s } } }]\n" SUB SINK,
         "t.yaml:1:33: orgs[0].login_url: must be https://HOST or https://HOST:PORT, without a path, not "
         "'https://x.example/path'\n"},
        {"orgs: [{ name: main, login_url: \"https://u@x.example\", auth: { client_credentials: { client_id: "
         "i, client_secret: s } } }]\n" SUB SINK,
         "t.yaml:1:33: orgs[0].login_url: must be https://HOST or https://HOST:PORT, without a path, not "
         "'https://u@x.example'\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
    struct config *c = load_good(
        "orgs: [{ name: main, login_url: \"http://[::1]:7480\", pubsub_endpoint: \"127.0.0.1:7443\", tls: { "
        "plaintext: true }, "
        "auth: { client_credentials: { client_id: i, client_secret: s } } }]\n" SUB SINK);
    config_free(c);
}

static void names_are_unique_and_known(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {ORG SUB "  - { name: accounts, org: main, topic: /event/X__e }\n" SINK,
         "t.yaml:7:13: subscriptions[1].name: 'accounts' is the name of subscriptions[0] too\n"},
        {ORG SUB SINK "  - { name: log, null: {} }\n",
         "t.yaml:10:13: sinks[1].name: 'log' is the name of sinks[0] too\n"},
        {ORG "subscriptions: [{ name: a, org: mian, topic: /event/X__e }]\n" SINK,
         "t.yaml:5:33: subscriptions[0].org: there is no org 'mian' (did you mean 'main'?)\n"},
        {ORG SUB SINK "    subscriptions: [acounts, accounts, other_things]\n",
         "t.yaml:10:21: sinks[0].subscriptions[0]: there is no subscription 'acounts' (did you mean "
         "'accounts'?)\n"
         "t.yaml:10:40: sinks[0].subscriptions[2]: there is no subscription 'other_things'\n"},
        {ORG SUB SINK "    subscriptions: [accounts, accounts]\n",
         "t.yaml:10:31: sinks[0].subscriptions[1]: 'accounts' is named twice\n"},
        {ORG SUB SINK "    subscriptions: []\n", "t.yaml:10:20: sinks[0].subscriptions: must not be empty; "
                                                 "without this key all subscriptions are meant\n"},
        {ORG SUB SINK "    subscriptions: accounts\n",
         "t.yaml:10:20: sinks[0].subscriptions: must be a list of names, like [a, b]\n"},
        {ORG "subscriptions: [{ name: a, org: main, topic: AccountChangeEvent, start: soonest }]\n" SINK,
         "t.yaml:5:46: subscriptions[0].topic: must be /data/NAME or /event/NAME, not 'AccountChangeEvent'\n"
         "t.yaml:5:73: subscriptions[0].start: must be latest, earliest or a replay id (hex, base64:…, "
         "int:…), not 'soonest'\n"},
        {ORG "subscriptions: [{ name: a, org: main, topic: /event/X__e, start: earlest }]\n" SINK,
         "t.yaml:5:66: subscriptions[0].start: must be latest, earliest or a replay id (hex, base64:…, "
         "int:…), not 'earlest' (did you mean 'earliest'?)\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void a_managed_subscription_has_one_client(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {ORG "subscriptions: [{ name: a, org: main, topic: /event/X__e, managed: 18xAB }]\n" SINK,
         "t.yaml:5:68: subscriptions[0].managed: must be a developer name: letters, digits and '_', "
         "beginning with a "
         "letter, not '18xAB'\n"},
        {ORG "subscriptions: [{ name: a, org: main, topic: /event/X__e, managed: Feed },\n"
             "                { name: b, org: main, topic: /event/Y__e, managed: Feed_2 },\n"
             "                { name: c, org: main, topic: /event/Z__e, managed: Feed }]\n" SINK,
         "t.yaml:7:68: subscriptions[2].managed: 'Feed' is the managed subscription of 'a' too: only one "
         "client can "
         "have it\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void what_this_version_cannot_do_is_never_ignored(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        {ORG SUB SINK "    start: snapshot\n",
         "t.yaml:10:12: sinks[0].start: 'snapshot' is not supported by this version\n"},
        {ORG SUB "sinks: [{ name: a, file: { path: /x, format: debezium } }, { name: b, stdout: { format: "
                 "cloudevents } }]\n",
         "t.yaml:7:46: sinks[0].file.format: 'debezium' is not supported by this version\n"
         "t.yaml:7:89: sinks[1].stdout.format: 'cloudevents' is not supported by this version\n"},
        {ORG SUB "sinks: [{ name: a, kafka: {} }, { name: b, http: {} }, { name: d, salesforce: {} "
                 "}]\n",
         "t.yaml:7:20: sinks[0].kafka: not supported by this version\n"
         "t.yaml:7:44: sinks[1].http: not supported by this version\n"
         "t.yaml:7:67: sinks[2].salesforce: not supported by this version\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

static void all_mistakes_are_told_in_one_run_in_the_order_of_the_file(void **state)
{
    (void)state;
    assert_problems(
        "orgs:\n"
        "  - name: main org\n"
        "    login_url: nowhere\n"
        "    auth: { client_credentials: { client_id: x, client_secrte: y } }\n"
        "subscriptions:\n"
        "  - name: accounts\n"
        "    org: mine\n"
        "    topik: /data/AccountChangeEvent\n"
        "    watchdog: forever\n"
        "sinks:\n"
        "  - name: log\n"
        "    file: { path: /tmp/out.ndjson, fsync: maybe }\n"
        "    subscriptions: [account]\n"
        "  - name: log\n"
        "    file: { path: /tmp/./out.ndjson }\n"
        "store: { path: \"${TIDEMARK_NO_SUCH}\" }\n",
        "t.yaml:2:11: orgs[0].name: must be 1 to 64 letters, digits, '.', '_' or '-', not 'main org'\n"
        "t.yaml:3:16: orgs[0].login_url: must be https://HOST or https://HOST:PORT, without a path, not "
        "'nowhere'\n"
        "t.yaml:4:49: orgs[0].auth.client_credentials.client_secrte: unknown key (did you mean "
        "'client_secret'?)\n"
        "t.yaml:7:10: subscriptions[0].org: there is no org 'mine'\n"
        "t.yaml:8:5: subscriptions[0].topik: unknown key (did you mean 'topic'?)\n"
        "t.yaml:9:15: subscriptions[0].watchdog: must be a time like 500ms, 30s or 96h, not 'forever'\n"
        "t.yaml:12:43: sinks[0].file.fsync: must be true or false, not 'maybe'\n"
        "t.yaml:13:21: sinks[0].subscriptions[0]: there is no subscription 'account' (did you mean "
        "'accounts'?)\n"
        "t.yaml:14:11: sinks[1].name: 'log' is the name of sinks[0] too\n"
        "t.yaml:15:19: sinks[1].file.path: is the file of sinks[0] too; every sink needs its own\n"
        "t.yaml:16:16: store.path: the environment variable TIDEMARK_NO_SUCH is not set\n");
}

static void one_file_under_several_names_is_one_file(void **state)
{
    (void)state;
    write_file("a.ndjson", "", 0);
    char *a = xasprintf("%s/a.ndjson", folder), *hard = xasprintf("%s/hard", folder),
         *soft = xasprintf("%s/soft", folder);
    assert_int_equal(link(a, hard), 0);
    assert_int_equal(symlink(".", soft), 0);
    char *text = xasprintf(ORG SUB "sinks:\n"
                                   "  - { name: a, file: { path: %s/a.ndjson } }\n"
                                   "  - { name: b, file: { path: %s/hard } }\n"
                                   "  - { name: c, file: { path: %s/soft/soft/a.ndjson } }\n"
                                   "  - { name: d, file: { path: %s/new } }\n"
                                   "  - { name: e, file: { path: %s/soft//./new } }\n",
                           folder, folder, folder, folder, folder);
    assert_problems(
        text, "t.yaml:9:30: sinks[1].file.path: is the file of sinks[0] too; every sink needs its own\n"
              "t.yaml:10:30: sinks[2].file.path: is the file of sinks[0] too; every sink needs its own\n"
              "t.yaml:12:30: sinks[4].file.path: is the file of sinks[3] too; every sink needs its own\n");
    unlink(soft);
    unlink(hard);
    unlink(a);
    free(text);
    free(soft);
    free(hard);
    free(a);
}

/* --- environment, secrets --------------------------------------------------------------------- */

static void variables_are_replaced_in_values_after_parsing(void **state)
{
    (void)state;
    setenv("TIDEMARK_T_NAME", "accounts", 1);
    setenv("TIDEMARK_T_EVENTS", "7", 1);
    setenv("TIDEMARK_T_EMPTY", "", 1);
    setenv("TIDEMARK_T_YAML", "x, stdout: {}", 1);
    unsetenv("TIDEMARK_T_NONE");
    struct config *c = load_good(
        ORG "subscriptions: [{ name: \"${TIDEMARK_T_NAME}\", org: main, topic: "
            "\"/data/${TIDEMARK_T_NONE:-X}__chn\" }]\n"
            "sinks:\n"
            "  - name: log\n"
            "    file: { path: \"/tmp/$a/$${b}/$$/${TIDEMARK_T_EMPTY:-d}${TIDEMARK_T_EMPTY}\", fsync: "
            "\"${TIDEMARK_T_EMPTY:-false}\" }\n"
            "    batch: { events: \"${TIDEMARK_T_EVENTS}${TIDEMARK_T_EVENTS}\" }\n"
            "    subscriptions: [\"${TIDEMARK_T_NAME}\"]\n"
            "  - { name: two, file: { path: \"${TIDEMARK_T_YAML}\" } }\n");
    assert_string_equal(c->subscriptions[0].name, "accounts");
    assert_string_equal(c->subscriptions[0].topic, "/data/X__chn");
    assert_string_equal(c->sinks[0].path, "/tmp/$a/${b}/$$/d");
    assert_false(c->sinks[0].fsync);
    assert_int_equal(c->sinks[0].batch_events, 77);
    assert_string_equal(c->sinks[1].path, "x, stdout: {}"); /* text, not structure */
    config_free(c);

    setenv("TIDEMARK_T_LINES", "a\nb", 1);
    static const struct bad cases[] = {
        {ORG SUB SINK "store: { path: \"${TIDEMARK_T_NONE}\" }\n",
         "t.yaml:10:16: store.path: the environment variable TIDEMARK_T_NONE is not set\n"},
        {ORG SUB SINK "store: { path: \"${TIDEMARK_T_EMPTY}\" }\n",
         "t.yaml:10:16: store.path: must not be empty\n"},
        {ORG SUB SINK "store: { path: \"${TIDEMARK_T_LINES}\" }\n",
         "t.yaml:10:16: store.path: must be one line of text, without control characters\n"},
        {ORG SUB SINK "store: { path: \"${TIDEMARK_T_NAME\" }\n",
         "t.yaml:10:16: store.path: '${' without '}'; a literal '${' is written '$${'\n"},
        {ORG SUB SINK "store: { path: \"${TIDEMARK_T-NAME}\" }\n",
         "t.yaml:10:16: store.path: '${' is followed by NAME} or NAME:-default}; a literal '${' is written "
         "'$${'\n"},
        {ORG SUB SINK "store: { path: \"${}\" }\n", "t.yaml:10:16: store.path: '${' is followed by NAME} or "
                                                    "NAME:-default}; a literal '${' is written '$${'\n"},
        {ORG SUB SINK "store: { max_size: \"${TIDEMARK_T_NAME}\" }\n",
         "t.yaml:10:20: store.max_size: must be a size like 64KiB or 10GiB, not '${TIDEMARK_T_NAME}'\n"},
        {ORG SUB SINK "\"${TIDEMARK_T_NAME}\": 1\n", "t.yaml:10:1: ${TIDEMARK_T_NAME}: unknown key\n"},
    };
    assert_all(cases, ARRAY_LEN(cases));
}

#define SECRET_ORG(auth)                                                                                     \
    "orgs: [{ name: main, login_url: https://x.example, auth: { client_credentials: { client_id: i, " auth   \
    " } } }]\n"

static void assert_secret(const char *content, size_t n, const char *expected, const char *why)
{
    write_file("secret", content, n);
    char *text = xasprintf(SECRET_ORG("client_secret_file: %s/secret") SUB SINK, folder);
    if (expected) {
        struct config *c = load_good(text);
        assert_string_equal(c->orgs[0].auth.client_secret, expected);
        config_free(c);
    } else {
        char *problems = xasprintf(
            "t.yaml:1:116: orgs[0].auth.client_credentials.client_secret_file: the file %s/secret %s\n",
            folder, why);
        assert_problems(text, problems);
        free(problems);
    }
    free(text);
}

static void a_secret_may_stand_in_a_file(void **state)
{
    (void)state;
    assert_secret("s3cret", 6, "s3cret", NULL);
    assert_secret("s3cret\n", 7, "s3cret", NULL);
    assert_secret("s3cret\r\n", 8, "s3cret", NULL);
    assert_secret(" s3 cret ", 9, " s3 cret ", NULL);
    assert_secret("${HOME}", 7, "${HOME}", NULL);
    assert_secret("", 0, NULL, "is empty");
    assert_secret("\n", 1, NULL, "is empty");
    assert_secret("a\nb", 3, NULL, "must hold one line of text");
    assert_secret("a\n\n", 3, NULL, "must hold one line of text");
    assert_secret("a\0b", 3, NULL, "must hold one line of text");
    assert_secret("\xff\xfe", 2, NULL, "must hold one line of text");
    assert_problems(SECRET_ORG("client_secret_file: /nowhere/secret") SUB SINK,
                    "t.yaml:1:116: orgs[0].auth.client_credentials.client_secret_file: cannot read "
                    "/nowhere/secret: No such file or directory\n");
    assert_problems(SECRET_ORG("client_secret_file: /tmp") SUB SINK,
                    "t.yaml:1:116: orgs[0].auth.client_credentials.client_secret_file: /tmp is a directory, "
                    "not a file\n");
    assert_problems(SECRET_ORG("client_secret: a, client_secret_file: /x") SUB SINK,
                    "t.yaml:1:114: orgs[0].auth.client_credentials.client_secret_file: 'client_secret' and "
                    "'client_secret_file' exclude each other\n");
    assert_problems(SECRET_ORG("client_secret: \"\"") SUB SINK,
                    "t.yaml:1:111: orgs[0].auth.client_credentials.client_secret: must not be empty\n");
    char *path = xasprintf("%s/secret", folder);
    unlink(path);
    free(path);
}

static void messages_and_prints_never_show_a_secret(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    setenv("TIDEMARK_T_SECRET", "S3CRET ENV", 1);
    static const char *const texts[] = {
        ORG SUB SINK "admin: { token: \"S3CRET with space\" }\n",
        ORG SUB SINK "admin: { token: \"${TIDEMARK_T_SECRET}\", tokn: S3CRET }\n",
        ORG SUB SINK "admin: { token: [S3CRET] }\n",
        ORG SUB SINK "admin: { token: S3CRET, listen: false }\n",
        ORG SUB SINK "admin: { token: \"S3CRET\\u0000\" }\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_null(load(texts[i], 0, &out));
    struct config *c = load_good(ORG SUB SINK "admin: { token: S3CRET }\n");
    config_print(c, &out);
    config_free(c);
    assert_non_null(strstr((char *)out.data, "(set)"));
    assert_null(strstr((char *)out.data, "S3CRET"));
    buf_release(&out);
}

static void replay_ids_are_read_in_three_forms(void **state)
{
    (void)state;
    uint8_t id[64];
    bool was_int;
    struct err e = ERR_INIT;
    assert_int_equal(config_parse_replay_id("000000000012D6870000", id, &was_int, &e), 10);
    assert_false(was_int);
    assert_memory_equal(id, "\0\0\0\0\0\x12\xd6\x87\0\0", 10);
    assert_int_equal(config_parse_replay_id("base64:AAAAAAAS1ocAAA==", id, &was_int, &e), 10);
    assert_memory_equal(id, "\0\0\0\0\0\x12\xd6\x87\0\0", 10);
    assert_int_equal(config_parse_replay_id("int:1234567", id, &was_int, &e), 8);
    assert_true(was_int);
    assert_memory_equal(id, "\0\0\0\0\0\x12\xd6\x87", 8);
    static const char *const bad[] = {"",        "0",        "abc",    "0x12",
                                      "int:",    "int:-1",   "int:1x", "int:9223372036854775808",
                                      "base64:", "base64:!", "latest", " 12"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(config_parse_replay_id(bad[i], id, &was_int, &e), -1);
    char long_hex[2 * 65 + 1];
    memset(long_hex, 'a', sizeof long_hex - 1);
    long_hex[sizeof long_hex - 1] = '\0';
    assert_int_equal(config_parse_replay_id(long_hex, id, &was_int, &e), -1);
    long_hex[128] = '\0';
    assert_int_equal(config_parse_replay_id(long_hex, id, &was_int, &e), 64);

    struct buf problems = BUF_INIT;
    struct config *c = load(
        ORG "subscriptions: [{ name: a, org: main, topic: /event/X__e, start: int:7 }]\n" SINK, 0, &problems);
    assert_non_null(c);
    assert_string_equal((char *)problems.data, "t.yaml:5:66: subscriptions[0].start: warning: int: makes an "
                                               "8-byte replay id; ids of 10 bytes cannot be written so\n");
    config_free(c);
    buf_release(&problems);
}

/* --- files and what is shipped ---------------------------------------------------------------- */

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    assert_null(config_load("/nowhere/t.yaml", 0, &problems));
    assert_string_equal((char *)problems.data,
                        "/nowhere/t.yaml: cannot read /nowhere/t.yaml: No such file or directory\n");
    buf_release(&problems);
    unsetenv("TIDEMARK_CONFIG");
    assert_string_equal(config_default_path(NULL), "/etc/tidemark/tidemark.yaml");
    setenv("TIDEMARK_CONFIG", "/x.yaml", 1);
    assert_string_equal(config_default_path(NULL), "/x.yaml");
    assert_string_equal(config_default_path("y.yaml"), "y.yaml");
    unsetenv("TIDEMARK_CONFIG");
}

static void the_samples_pass_the_check(void **state)
{
    (void)state;
    setenv("SF_LOGIN_URL", "https://acme.my.salesforce.com", 1);
    setenv("SF_CLIENT_ID", "3MVG9", 1);
    setenv("SF_CLIENT_SECRET", "s", 1);
    config_free(load_good(config_sample()));
    unsetenv("SF_LOGIN_URL");
    struct buf problems = BUF_INIT;
    struct config *c = config_load(SOURCE_DIR "/config/demo.yaml", 0, &problems);
    if (!c)
        fail_msg("%s", (char *)problems.data);
    assert_int_equal(c->n_subscriptions, 5);
    config_free(c);
    buf_release(&problems);
}

/* Each commented-out line of the sample shows a default or an alternative: it must be acceptable as it
 * stands. */
static void what_the_sample_comments_out_is_valid(void **state)
{
    (void)state;
    setenv("SF_LOGIN_URL", "https://acme.my.salesforce.com", 1);
    struct buf text = BUF_INIT, problems = BUF_INIT;
    for (const char *line = config_sample(); *line; line += strcspn(line, "\n") + 1) {
        size_t n = strcspn(line, "\n"), indent = strspn(line, " ");
        const char *rest = line + indent;
        /* "# key: value" and "#   key: value"; comments in words have a capital, or several, before any ':'
         */
        size_t key = rest[0] == '#' && rest[1] == ' ' ? strspn(rest + 2, " abcdefghijklmnopqrstuvwxyz_") : 0;
        bool is_key = indent && key && rest[2 + key] == ':' && !strchr(" \n", rest[1 + key]) &&
                      !memchr(rest + 2 + strspn(rest + 2, " "), ' ', key - strspn(rest + 2, " "));
        if (is_key && !memmem(rest, n - indent, "_file:", 6)) {
            buf_addf(&text, "%*s", (int)indent, "");
            rest += 2;
            n -= indent + 2;
        } else {
            rest = line;
        }
        buf_add(&text, rest, n);
        buf_add_char(&text, '\n');
    }
    struct config *c = load((char *)text.data, 0, &problems);
    if (!c)
        fail_msg("%s\n%s", (char *)problems.data, (char *)text.data);
    assert_non_null(strstr((char *)text.data, "\n    keepalive: 60s"));
    assert_non_null(strstr((char *)text.data, "\n      fsync: true"));
    config_free(c);
    buf_release(&text);
    buf_release(&problems);
}

static char *read_source(const char *name, size_t *n)
{
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    char *path = xasprintf("%s/%s", SOURCE_DIR, name);
    if (file_read(path, 4 << 20, &b, &e) != 0)
        fail_msg("%s", e.text);
    free(path);
    *n = b.len;
    return buf_detach(&b);
}

/* The committed file must be what the table of keys gives; TIDEMARK_WRITE_GENERATED=1 writes it. */
static void assert_generated(const char *name, const char *expected)
{
    if (getenv("TIDEMARK_WRITE_GENERATED")) {
        struct err e = ERR_INIT;
        char *path = xasprintf("%s/%s", SOURCE_DIR, name);
        if (file_replace(path, expected, strlen(expected), 0644, &e) != 0)
            fail_msg("%s", e.text);
        free(path);
    }
    size_t n;
    char *text = read_source(name, &n);
    if (strcmp(text, expected) != 0)
        fail_msg("%s differs from the table of keys; run this test with TIDEMARK_WRITE_GENERATED=1", name);
    free(text);
}

static void the_schema_and_the_reference_are_those_of_the_table(void **state)
{
    (void)state;
    struct buf schema = BUF_INIT, reference = BUF_INIT;
    config_json_schema(&schema);
    assert_generated("config/tidemark.schema.json", (char *)schema.data);

    static const char begin[] = "<!-- generated from the table of keys: begin -->\n";
    static const char end[] = "<!-- generated from the table of keys: end -->\n";
    size_t n;
    char *doc = read_source("docs/configuration.md", &n);
    char *from = strstr(doc, begin), *to = strstr(doc, end);
    assert_true(from && to && from < to);
    buf_add(&reference, doc, (size_t)(from - doc) + strlen(begin));
    buf_add_char(&reference, '\n');
    config_reference(&reference);
    buf_add_str(&reference, to);
    assert_generated("docs/configuration.md", (char *)reference.data);
    free(doc);
    buf_release(&schema);
    buf_release(&reference);
}

/* --- topics that bring the same events -------------------------------------------------------- */

static void assert_warnings(const char *subscriptions, const char *expected)
{
    struct buf problems = BUF_INIT, text = BUF_INIT;
    buf_addf(&text, "%ssubscriptions:\n%ssinks: [{ name: log, file: { path: /tmp/out.ndjson } }]\n", ORG,
             subscriptions);
    struct config *c = load((char *)text.data, 0, &problems);
    assert_non_null(c);
    assert_string_equal(problems.len ? (char *)problems.data : "", expected);
    config_free(c);
    buf_release(&problems);
    buf_release(&text);
}

static void topics_that_bring_the_same_events_are_told(void **state)
{
    (void)state;
#define END "; this sink gets such an event once for each\n"
    assert_warnings("  - { name: a, org: main, topic: /data/AccountChangeEvent }\n"
                    "  - { name: b, org: main, topic: /data/ContactChangeEvent }\n"
                    "  - { name: c, org: main, topic: /event/Order__e }\n"
                    "  - { name: d, org: main, topic: /event/Orders__chn }\n"
                    "  - { name: e, org: main, topic: /event/ChangeEvents__e }\n",
                    "t.yaml:11:9: sinks[0].subscriptions: warning: d (/event/Orders__chn) and e "
                    "(/event/ChangeEvents__e) may "
                    "bring the same events: what is in a custom channel only the org knows" END
                    "t.yaml:11:9: sinks[0].subscriptions: warning: d (/event/Orders__chn) and c "
                    "(/event/Order__e) may bring "
                    "the same events: what is in a custom channel only the org knows" END);
    assert_warnings("  - { name: a, org: main, topic: /data/AccountChangeEvent }\n"
                    "  - { name: b, org: main, topic: /data/ChangeEvents }\n"
                    "  - { name: c, org: main, topic: /data/AccountChangeEvent }\n",
                    "t.yaml:9:9: sinks[0].subscriptions: warning: b (/data/ChangeEvents) and a "
                    "(/data/AccountChangeEvent) "
                    "bring the same events" END
                    "t.yaml:9:9: sinks[0].subscriptions: warning: a (/data/AccountChangeEvent) and c "
                    "(/data/AccountChangeEvent) bring the same events" END);
#undef END
}

static void each_org_and_each_sink_stands_alone(void **state)
{
    (void)state;
    struct config *c = load_good(
        ORG
        "  - { name: other, auth: { static: { access_token: t, instance_url: 'https://x.my.salesforce.com', "
        "tenant_id: 00Dxx0000001gEREAY } } }\n"
        "subscriptions:\n"
        "  - { name: a, org: main, topic: /data/ChangeEvents }\n"
        "  - { name: b, org: other, topic: /data/AccountChangeEvent }\n"
        "  - { name: c, org: main, topic: /data/AccountChangeEvent }\n"
        "sinks:\n"
        "  - { name: one, subscriptions: [a, b], file: { path: /tmp/one } }\n"
        "  - { name: two, subscriptions: [b, c], file: { path: /tmp/two } }\n");
    config_free(c);
}

/* --- differences ------------------------------------------------------------------------------ */

static void assert_settings(const struct config *a, const struct config *b, bool fixed, const char *expected)
{
    struct buf paths = BUF_INIT;
    config_changed_settings(a, b, fixed, &paths);
    assert_string_equal(paths.len ? (char *)paths.data : "", expected);
    buf_release(&paths);
}

static void what_is_written_differently_is_the_same(void **state)
{
    (void)state;
    struct config *a = load_good(ORG SUB SINK);
    struct config *b = load_good(SINK "    order: per_record\n    subscriptions: [accounts]\n" SUB ORG
                                      "    api_version: '66.0'\nstore: { retention: 4d }\n");
    assert_true(config_same_org(a, 0, b, 0));
    assert_true(config_same_subscription(a, 0, b, 0));
    assert_true(config_same_sink(a, 0, b, 0));
    assert_settings(a, b, true, "");
    assert_settings(a, b, false, "");
    config_free(a);
    config_free(b);
}

static void what_is_in_effect_counts(void **state)
{
    (void)state;
    struct config *a = load_good(ORG SUB SINK);
    struct config *b = load_good(
        "orgs:\n"
        "  - name: main\n"
        "    login_url: https://acme.my.salesforce.com\n"
        "    auth: { client_credentials: { client_id: id, client_secret: other } }\n" SUB
        "  - { name: contacts, org: main, topic: /data/ContactChangeEvent }\n" SINK
        "    subscriptions: [accounts]\n"
        "  - { name: other, file: { path: /tmp/out.ndjson2 }, batch: { events: 7 } }\n"
        "store: { path: /else, max_size: 1GiB, retention: 1h }\n"
        "admin: { listen: false }\n"
        "log: { level: warn }\n");
    assert_false(config_same_org(a, 0, b, 0)); /* a secret alone */
    assert_true(config_same_subscription(a, 0, b, 0));
    assert_false(config_same_subscription(a, 0, b, 1));
    assert_false(config_same_sink(a, 0, b, 0)); /* all, which was one; and one */
    assert_false(config_same_sink(a, 0, b, 1));
    assert_settings(a, b, true, "store.path, store.max_size, admin.listen");
    assert_settings(a, b, false, "store.retention, log.level");
    config_free(a);
    config_free(b);
}

#define MIRROR(column, dsn)                                                                                  \
    "sinks:\n  - name: db\n    on_delete: soft\n    postgres: { dsn: '" dsn                                  \
    "' }\n    entities:\n      Account: { fields: { Phone: "                                                 \
    "{ column: " column " } } }\n"

static void what_is_mirrored_and_where_counts(void **state)
{
    (void)state;
    struct config *a = load_good(ORG SUB MIRROR("phone", "host=/run/pg"));
    struct config *same = load_good(SUB ORG MIRROR("phone", "host=/run/pg"));
    struct config *column = load_good(ORG SUB MIRROR("tel", "host=/run/pg"));
    struct config *dsn = load_good(ORG SUB MIRROR("phone", "host=/run/pg2"));
    assert_true(config_same_sink(a, 0, same, 0));
    assert_false(config_same_sink(a, 0, column, 0));
    assert_false(config_same_sink(a, 0, dsn, 0));
    config_free(a);
    config_free(same);
    config_free(column);
    config_free(dsn);
}

/* --- hostile files ---------------------------------------------------------------------------- */

static void mutate(struct rng *r, struct buf *b)
{
    static const char *const pieces[] = {"- ",     "{",     "}",     "[",
                                         "]",      ": ",    "&a ",   "*a",
                                         "!!str ", "\n",    "  ",    "${",
                                         "}",      "null",  "~",     "\"",
                                         "'",      "|\n",   "? ",    "orgs:",
                                         "name:",  "file:", "---\n", "\xef\xbb\xbf",
                                         "\xff",   "\t",    "#",     "99999999999999999999",
                                         "<<: "};
    size_t at = b->len ? rng_below(r, b->len) : 0, n = b->len ? rng_below(r, b->len - at) % 40 : 0;
    struct buf out = BUF_INIT;
    buf_add(&out, b->data, at);
    switch (rng_below(r, 4)) {
    case 0: /* cut a piece out */
        buf_add(&out, b->data + at + n, b->len - at - n);
        break;
    case 1: /* a piece twice */
        buf_add(&out, b->data + at, n);
        buf_add(&out, b->data + at, b->len - at);
        break;
    case 2: /* other bytes */
        buf_add(&out, b->data + at, b->len - at);
        if (b->len)
            out.data[at] = (uint8_t)rng_next(r);
        break;
    default: /* something that means something to YAML */
        buf_add_str(&out, pieces[rng_below(r, ARRAY_LEN(pieces))]);
        buf_add(&out, b->data + at, b->len - at);
    }
    buf_release(b);
    *b = out;
}

static void mutated_files_are_read_or_refused(void **state)
{
    (void)state;
    setenv("SF_LOGIN_URL", "https://acme.my.salesforce.com", 1);
    size_t n_mirror;
    char *mirror = read_source("tests/fuzz/corpus/config/mirror.yaml", &n_mirror);
    const char *const seeds[] = {config_sample(), everything, ORG SUB SINK, mirror};
    struct rng r = {20260506};
    int good = 0;
    for (int round = 0; round < 6000; round++) {
        struct buf text = BUF_INIT, problems = BUF_INIT, out = BUF_INIT;
        buf_add_str(&text, seeds[round % 4]);
        for (uint64_t i = 0, n = 1 + rng_below(&r, 6); i < n; i++)
            mutate(&r, &text);
        struct config *c = config_load_text(buf_span(&text), "t.yaml", CONFIG_OFFLINE, &problems);
        if (c) { /* what was accepted can be printed, and what was printed is accepted */
            good++;
            config_print(c, &out);
            config_free(c);
            buf_clear(&problems);
            c = config_load_text(buf_span(&out), "t.yaml", CONFIG_OFFLINE, &problems);
            if (!c)
                fail_msg("round %d: %s\n%s\n%s", round, (char *)problems.data, (char *)out.data,
                         (char *)text.data);
            config_free(c);
        } else {
            assert_true(problems.len > 0);
        }
        buf_release(&text);
        buf_release(&problems);
        buf_release(&out);
    }
    free(mirror);
    assert_true(good > 50); /* the mutations are not so wild that only refusal is tried */
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_the_documented_one),
        cmocka_unit_test(every_key_arrives_where_it_belongs),
        cmocka_unit_test(no_key_of_the_table_is_forgotten_here),
        cmocka_unit_test(the_printed_configuration_loads_to_the_same_one),
        cmocka_unit_test(looking_at_a_stream_needs_no_sinks),
        cmocka_unit_test(admin_can_be_turned_off),
        cmocka_unit_test(text_that_is_not_yaml_is_refused_with_its_place),
        cmocka_unit_test(nesting_and_size_are_bounded),
        cmocka_unit_test(a_file_wrong_everywhere_is_told_in_bounded_space),
        cmocka_unit_test(unknown_and_repeated_keys_are_refused),
        cmocka_unit_test(values_of_the_wrong_kind_are_refused),
        cmocka_unit_test(what_must_be_there_is_asked_for),
        cmocka_unit_test(combinations_that_cannot_work_are_refused),
        cmocka_unit_test(plain_text_is_for_loopback_only),
        cmocka_unit_test(names_are_unique_and_known),
        cmocka_unit_test(a_managed_subscription_has_one_client),
        cmocka_unit_test(what_this_version_cannot_do_is_never_ignored),
        cmocka_unit_test(all_mistakes_are_told_in_one_run_in_the_order_of_the_file),
        cmocka_unit_test(one_file_under_several_names_is_one_file),
        cmocka_unit_test(variables_are_replaced_in_values_after_parsing),
        cmocka_unit_test(a_secret_may_stand_in_a_file),
        cmocka_unit_test(messages_and_prints_never_show_a_secret),
        cmocka_unit_test(replay_ids_are_read_in_three_forms),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(the_samples_pass_the_check),
        cmocka_unit_test(what_the_sample_comments_out_is_valid),
        cmocka_unit_test(the_schema_and_the_reference_are_those_of_the_table),
        cmocka_unit_test(what_is_written_differently_is_the_same),
        cmocka_unit_test(what_is_in_effect_counts),
        cmocka_unit_test(what_is_mirrored_and_where_counts),
        cmocka_unit_test(topics_that_bring_the_same_events_are_told),
        cmocka_unit_test(each_org_and_each_sink_stands_alone),
        cmocka_unit_test(mutated_files_are_read_or_refused),
    };
    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
