/* The simulator's pure parts: bitmaps, flow control, positions, schema ids, sessions, options, the
 * benchmark's ring. */
#include "base/alloc.h"
#include "base/file.h"
#include "sim/bench.h"
#include "sim/canonical.h"
#include "sim/encode.h"
#include "sim/flow.h"
#include "sim/options.h"
#include "sim/session.h"
#include "sim/values.h"
#include "sim/wire.h"

#include <proto/pubsub_api.pb-c.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* --- bitmaps ------------------------------------------------------------------------------------ */

static void assert_bitmap(const char *expected, const unsigned *bits, size_t n, int parent)
{
    struct field_mask m = {{0}};
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        mask_set(&m, bits[i]);
    assert_true(parent < 0 ? bitmap_text(&text, &m) : bitmap_nested_text(&text, (unsigned)parent, &m));
    assert_string_equal((const char *)text.data, expected);
    buf_release(&text);
}

#define BITMAP(expected, parent, ...)                                                                        \
    assert_bitmap(expected, (const unsigned[]){__VA_ARGS__}, ARRAY_LEN(((const unsigned[]){__VA_ARGS__})),   \
                  parent)

static void test_bitmaps(void **state)
{
    struct field_mask none = {{0}};
    struct buf text = BUF_INIT;
    (void)state;
    BITMAP("0x400800", -1, 11, 22);
    BITMAP("0x400080", -1, 7, 22);
    BITMAP("0x400000", -1, 22);
    BITMAP("4-0x01", 4, 0);
    BITMAP("0x010000", -1, 16);
    BITMAP("0x08F81000", -1, 12, 19, 20, 21, 22, 23, 27);
    BITMAP("6-0x0180", 6, 7, 8);
    BITMAP("0x100000000000800000", -1, 23, 68);
    BITMAP("0x0400800000000000000000", -1, 71, 82);
    BITMAP("0x800002", -1, 1, 23);
    BITMAP("0x1000000010", -1, 4, 36);
    assert_false(bitmap_text(&text, &none));
    assert_false(bitmap_nested_text(&text, 4, &none));
    assert_int_equal(text.len, 0);
}

/* --- flow control and replay ids ------------------------------------------------------------------ */

static void test_flow(void **state)
{
    struct flow f = {.cap = FLOW_CAP};
    (void)state;
    assert_int_equal(flow_request(&f, 25), 0);
    flow_delivered(&f, 1);
    assert_int_equal(f.pending, 24);
    assert_int_equal(flow_request(&f, 50), 0);
    assert_int_equal(f.pending, 74);
    assert_int_equal(flow_request(&f, 200), 0); /* treated as the cap, not refused */
    assert_int_equal(f.pending, 100);
    assert_int_equal(flow_request(&f, INT32_MAX), 0);
    assert_int_equal(f.pending, 100);
    assert_int_equal(flow_request(&f, 0), -1);
    assert_int_equal(flow_request(&f, -3), -1);
    flow_delivered(&f, 100);
    assert_int_equal(f.pending, 0);
}

static void test_replay_ids(void **state)
{
    uint8_t id[10], expected[] = {0, 0, 0, 0, 0, 0x17, 0x90, 0x50, 0, 0};
    uint64_t counter = 0;
    (void)state;
    replay_id_write(0x179050, 10, id);
    assert_memory_equal(id, expected, 10);
    assert_int_equal(replay_id_read(span_of(id, 10), &counter), 0);
    assert_int_equal(counter, 0x179050);
    assert_int_equal(replay_id_read(span_of(id, 8), &counter), 0);
    assert_int_equal(counter, 0x179050);
    assert_int_equal(replay_id_read(span_of(id, 9), &counter), -1);
    assert_int_equal(replay_id_read(span_of(id, 0), &counter), -1);
    assert_int_equal(replay_id_read(span_of_str("1234567890"), &counter), -1); /* digits in place of bytes */
}

static struct topics *one_topic(void)
{
    struct topics *topics = xcalloc(1, sizeof *topics);
    assert_non_null(topics_add(topics, "/data/AccountChangeEvent", "a"));
    assert_non_null(topics_add(topics, "/event/Order__e", "b"));
    return topics;
}

static void publish(struct bus *b, const char *topic, bool shares, const char *event_id)
{
    struct publication p = {.topic = topics_find(b->topics, span_of_str(topic)),
                            .event_id = span_of_str(event_id),
                            .schema_id = span_of_str("s"),
                            .payload = span_of_str("p"),
                            .entity = "Account",
                            .shares_replay_id = shares};
    bus_publish(b, &p);
}

static void test_bus_positions(void **state)
{
    struct topics *topics = one_topic();
    struct bus b;
    uint8_t id[10];
    uint64_t at;
    (void)state;
    bus_init(&b, topics, 7, 10, 4);
    assert_int_equal(bus_locate(&b, bus_head_replay_id(&b, id), &at),
                     0); /* a keepalive's id on an empty bus */
    assert_int_equal(at, 1);
    publish(&b, "/data/AccountChangeEvent", false, "one");
    uint64_t first = b.counter;
    publish(&b, "/data/AccountChangeEvent", true, "two"); /* a group under one id */
    assert_int_equal(b.counter, first);
    publish(&b, "/event/Order__e", false, "three");
    assert_true(b.counter > first);
    replay_id_write(first, 10, id);
    assert_int_equal(bus_locate(&b, span_of(id, 10), &at), 0);
    assert_int_equal(at, 3); /* behind the whole group */
    assert_int_equal(bus_locate(&b, span_of(id, 8), &at), 0);
    assert_int_equal(at, 3);
    at = 1;
    assert_ptr_equal(bus_seek(&b, topics_find(topics, span_of_str("/event/Order__e")), &at), bus_at(&b, 3));
    replay_id_write(b.counter + 1, 10, id);
    assert_int_equal(bus_locate(&b, span_of(id, 10), &at), -1); /* the future */
    publish(&b, "/event/Order__e", false, "four");
    publish(&b, "/event/Order__e", false, "five");
    publish(&b, "/event/Order__e", false, "six");
    assert_int_equal(b.next - b.first, 4); /* retention: one and two are gone */
    assert_int_equal(b.first, 3);
    replay_id_write(first - 1, 10, id);
    assert_int_equal(bus_locate(&b, span_of(id, 10), &at), -1);
    replay_id_write(first, 10, id);
    assert_int_equal(bus_locate(&b, span_of(id, 10), &at), 0);
    bus_release(&b);
    free(topics);
}

static void test_channels(void **state)
{
    struct topics *topics = one_topic();
    struct err e = ERR_INIT;
    (void)state;
    assert_int_equal(topics_add_channel(topics, "/data/ChangeEvents", &e), 0);
    assert_int_equal(topics_add_channel(topics, "/event/All__chn=/event/Order__e", &e), 0);
    assert_int_equal(topics_add_channel(topics, "/event/None__chn=/event/Nothing__e", &e), -1);
    assert_int_equal(topics_find(topics, span_of_str("/data/ChangeEvents"))->members, 1);
    assert_int_equal(topics_find(topics, span_of_str("/event/All__chn"))->members, 2);
    assert_string_equal(topics_find(topics, span_of_str("/data/ChangeEvents"))->schema_id, "");
    /* A topic that comes later joins the channel of all changes. */
    assert_non_null(topics_add(topics, "/data/LeadChangeEvent", "c"));
    assert_int_equal(topics_find(topics, span_of_str("/data/ChangeEvents"))->members, 1 | 1 << 4);
    free(topics);
}

/* --- wire --------------------------------------------------------------------------------------- */

static void test_wire(void **state)
{
    struct buf b = BUF_INIT, big = BUF_INIT;
    (void)state;
    for (int i = 0; i < 300; i++)
        buf_add_str(&big, "x");
    wire_add_event(&b, span_of_str("id-1"), span_of_str("schema"), buf_span(&big), span_of_str("replay-1"));
    wire_add_event(&b, span_of_str("id-2"), span_of_str(""), span_of_str(""), span_of_str("replay-2"));
    wire_add_response_tail(&b, span_of_str("replay-2"), span_of_str("rpc"), 98);
    Eventbus__V1__FetchResponse *r = eventbus__v1__fetch_response__unpack(NULL, b.len, b.data);
    assert_non_null(r);
    assert_int_equal(r->n_events, 2);
    assert_string_equal(r->events[0]->event->id, "id-1");
    assert_string_equal(r->events[0]->event->schema_id, "schema");
    assert_int_equal(r->events[0]->event->payload.len, 300);
    assert_memory_equal(r->events[1]->replay_id.data, "replay-2", 8);
    assert_int_equal(r->events[1]->event->payload.len, 0);
    assert_memory_equal(r->latest_replay_id.data, "replay-2", 8);
    assert_string_equal(r->rpc_id, "rpc");
    assert_int_equal(r->pending_num_requested, 98);
    eventbus__v1__fetch_response__free_unpacked(r, NULL);
    buf_release(&b);
    buf_release(&big);
}

/* --- schema ids ---------------------------------------------------------------------------------- */

static void assert_form(const char *json, const char *expected)
{
    struct buf out = BUF_INIT;
    struct err e = ERR_INIT;
    assert_int_equal(canonical_form(span_of_str(json), &out, &e), 0);
    assert_string_equal((const char *)out.data, expected);
    buf_release(&out);
}

static void test_canonical_form(void **state)
{
    struct buf out = BUF_INIT;
    struct err e = ERR_INIT;
    (void)state;
    assert_form("{\"type\":\"int\"}", "\"int\"");
    assert_form("{\"doc\":\"d\",\"fields\":[{\"default\":null,\"type\":[\"null\",{\"type\":\"string\"}],"
                "\"name\":\"f\",\"doc\":\"x\"}],"
                "\"namespace\":\"a.b\",\"name\":\"R\",\"type\":\"record\",\"uuid\":\"u\"}",
                "{\"name\":\"a.b.R\",\"type\":\"record\",\"fields\":[{\"name\":\"f\",\"type\":[\"null\","
                "\"string\"]}]}");
    /* An enum put into no namespace keeps its short name; a reference by short name is written in full. */
    assert_form("{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"n\",\"fields\":["
                "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"namespace\":\"\",\"symbols\":["
                "\"A\",\"B\"]}},"
                "{\"name\":\"x\",\"type\":{\"type\":\"record\",\"name\":\"X\",\"fields\":[]}},{\"name\":"
                "\"y\",\"type\":\"X\"},"
                "{\"name\":\"z\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}]}",
                "{\"name\":\"n.R\",\"type\":\"record\",\"fields\":["
                "{\"name\":\"e\",\"type\":{\"name\":\"E\",\"type\":\"enum\",\"symbols\":[\"A\",\"B\"]}},"
                "{\"name\":\"x\",\"type\":{\"name\":\"n.X\",\"type\":\"record\",\"fields\":[]}},{\"name\":"
                "\"y\",\"type\":\"n.X\"},"
                "{\"name\":\"z\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}]}");
    assert_int_equal(canonical_form(span_of_str("{\"type\":"), &out, &e), -1);
    assert_int_equal(canonical_form(span_of_str("{\"type\":\"record\",\"name\":\"R\"}"), &out, &e), -1);
    assert_int_equal(canonical_form(span_of_str("7"), &out, &e), -1);
    buf_release(&out);
}

static void test_doc_does_not_change_id(void **state)
{
    struct err e = ERR_INIT;
    char a[23], b[23], c[23], name[64];
    (void)state;
#define ORDER(doc, type)                                                                                     \
    "{\"type\":\"record\",\"name\":\"X__e\",\"namespace\":\"com.sforce.eventbus\",\"fields\":[{\"name\":"    \
    "\"F\",\"type\":\"" type "\",\"doc\":\"" doc "\"}]}"
    assert_int_equal(canonical_schema_id(span_of_str(ORDER("one", "long")), a, name, sizeof name, &e), 0);
    assert_int_equal(canonical_schema_id(span_of_str(ORDER("two", "long")), b, NULL, 0, &e), 0);
    assert_int_equal(canonical_schema_id(span_of_str(ORDER("one", "string")), c, NULL, 0, &e), 0);
    assert_string_equal(name, "X__e");
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(strlen(a), 22);
}

/* Ids that were seen beside these schemas outside; the files are not part of the project. */
static void test_published_ids(void **state)
{
    static const char *const known[][2] = {
        {"Order_Event__e.avsc", "_CADE3qaegX3ECEW0rlbYA"},
        {"Test_Event__e.avsc", "6L0yfG1TjHj3IeYaje5uZQ"},
        {"Low_Ink__e.avsc", "5E5OtZj5_Gm6Vax9XMXH9A"},
        {"CM_Test_Event_Two__e.avsc", "K98aAtiNFBjA-PJlcvaQ2g"},
        {"AccountChangeEvent.i8wgJwwM.avsc", "i8wgJwwM-AVcDbFkbRl5Nw"},
        {"AccountChangeEvent.4egfTTax.avsc", "4egfTTaxua4Y39nYlBXfNg"},
    };
    const char *folder = getenv("TIDEMARK_FIXTURES");
    (void)state;
    if (!folder)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct buf json = BUF_INIT;
        struct err e = ERR_INIT;
        char id[23], *path = xasprintf("%s/%s", folder, known[i][0]);
        assert_int_equal(file_read(path, 1 << 20, &json, &e), 0);
        assert_int_equal(canonical_schema_id(buf_span(&json), id, NULL, 0, &e), 0);
        assert_string_equal(id, known[i][1]);
        buf_release(&json);
        free(path);
    }
}

/* --- ids, sessions, options ----------------------------------------------------------------------- */

static void test_record_ids(void **state)
{
    char id[19], other[19];
    (void)state;
    record_id_checksum("001Dp00000JJkkH", id); /* from a capture */
    assert_string_equal(id, "001Dp00000JJkkHIAT");
    record_id_checksum("005Dp000000Ppjs", id);
    assert_string_equal(id, "005Dp000000PpjsIAC");
    record_id_make("001", 1, id);
    record_id_make("001", 62, other);
    assert_int_equal(strlen(id), 18);
    assert_string_not_equal(id, other);
}

static enum session_verdict check(const struct session *s, const char *token, const char *url,
                                  const char *org)
{
    return session_check(s, span_of_str(token), span_of_str(url), span_of_str(org));
}

static void test_session(void **state)
{
    static struct session s = {.org_id = "00DSM00000000012AA", .instance_url = "http://127.0.0.1:7480"};
    const char *url = "http://127.0.0.1:7480", *org = "00DSM00000000012AA";
    (void)state;
    char *token = xstrdup(session_issue(&s));
    assert_int_equal(strncmp(token, "00DSM0000000001!", 16), 0);
    assert_int_equal(check(&s, token, url, org), SESSION_OK);
    assert_int_equal(check(&s, token, "http://127.0.0.1:7480/", "00DSM0000000001"), SESSION_OK);
    assert_int_equal(check(&s, "", url, org), SESSION_HEADERS_INVALID);
    assert_int_equal(check(&s, token, "", org), SESSION_HEADERS_INVALID);
    assert_int_equal(check(&s, token, "acme.example", org), SESSION_HEADERS_INVALID);
    assert_int_equal(check(&s, "other", url, org), SESSION_REFUSED);
    assert_int_equal(check(&s, token, "http://127.0.0.1:7481", org), SESSION_REFUSED);
    assert_int_equal(check(&s, token, url, "00DSM00000000022AA"), SESSION_REFUSED);
    assert_int_equal(check(&s, "fixed", url, org), SESSION_REFUSED);
    snprintf(s.static_token, sizeof s.static_token, "fixed");
    assert_int_equal(check(&s, "fixed", url, org), SESSION_OK);
    session_revoke_all(&s);
    assert_int_equal(check(&s, token, url, org), SESSION_REFUSED);
    char *second = xstrdup(session_issue(&s));
    assert_int_equal(check(&s, second, url, org), SESSION_OK);
    for (int i = 0; i < SESSION_MAX_TOKENS; i++)
        session_issue(&s);
    assert_int_equal(check(&s, second, url, org), SESSION_REFUSED);
    free(token);
    free(second);
}

static int parse(struct sim_options *o, struct err *e, const char *a, const char *b, const char *c)
{
    char *argv[] = {xstrdup("tidemark-sim"), xstrdup(a), b ? xstrdup(b) : NULL, c ? xstrdup(c) : NULL, NULL};
    int argc = 2 + (b != NULL) + (c != NULL);
    static char *kept[64]; /* texts are borrowed by the options */
    static size_t n_kept;
    int rc = options_parse(o, argc, argv, e);
    for (int i = 0; i < 4; i++)
        if (argv[i] && n_kept < ARRAY_LEN(kept))
            kept[n_kept++] = argv[i];
    return rc;
}

static void test_options(void **state)
{
    struct sim_options o;
    struct err e = ERR_INIT;
    (void)state;
    assert_int_equal(parse(&o, &e, "--keepalive", "0.25", NULL), 0);
    assert_int_equal(o.keepalive_ms, 250);
    assert_int_equal(o.count, -1);
    assert_true(o.publishes);
    assert_int_equal(parse(&o, &e, "--load", "a.json", "b.json"), 0);
    assert_int_equal(o.load_files.n, 2);
    assert_false(o.publishes);
    assert_int_equal(parse(&o, &e, "--rat", "7x", NULL), -1); /* an abbreviation, and not a number */
    assert_int_equal(parse(&o, &e, "--keepalife", "7", NULL), -1);
    assert_non_null(strstr(e.text, "--keepalive"));
    assert_int_equal(parse(&o, &e, "--duplicates", "1.5", NULL), -1);
    assert_int_equal(parse(&o, &e, "--replay-bytes", "9", NULL), -1);
    assert_int_equal(parse(&o, &e, "--bench", "full", NULL), -1); /* needs a count */
    assert_int_equal(parse(&o, &e, "--count", NULL, NULL), -1);
    assert_int_equal(parse(&o, &e, "stray", NULL, NULL), -1);
    assert_int_equal(parse(&o, &e, "--start-time", "2026-05-06T14:30:00Z", NULL), 0);
    assert_int_equal(o.workload.start_ms, 1778077800000);
}

/* --- benchmark ring --------------------------------------------------------------------------------- */

static Eventbus__V1__FetchResponse *take(struct bench *b, uint64_t *next, int max, int *n)
{
    struct buf out = BUF_INIT;
    uint8_t id[10];
    *n = bench_take(b, next, max, &out);
    wire_add_response_tail(&out, bench_replay_id(b, *next, id), span_of_str("rpc"), 0);
    Eventbus__V1__FetchResponse *r = eventbus__v1__fetch_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->n_events, *n);
    buf_release(&out);
    return r;
}

static void test_bench_identity(void **state)
{
    struct bench_profile profile = {
        .first = 51, .count = 10000, .replay_id_bytes = 10, .full = true, .seed = 1};
    struct bench *b = bench_new(&profile, "0123456789012345678901");
    char(*ids)[37] = xcalloc(10000, sizeof *ids);
    uint64_t next = bench_first(b);
    size_t total = 0;
    int n;
    (void)state;
    while (next < bench_end(b)) {
        Eventbus__V1__FetchResponse *r = take(b, &next, 100, &n);
        assert_int_equal(n, 100);
        for (size_t i = 0; i < r->n_events; i++) {
            uint64_t counter;
            const Eventbus__V1__ConsumerEvent *ce = r->events[i];
            assert_int_equal(replay_id_read(span_of(ce->replay_id.data, ce->replay_id.len), &counter), 0);
            assert_int_equal(counter, BENCH_BASE + 51 + total);
            assert_int_equal(strlen(ce->event->id), 36);
            memcpy(ids[total++], ce->event->id, 37);
        }
        assert_memory_equal(r->latest_replay_id.data, r->events[99]->replay_id.data, 10);
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
    qsort(ids, total, sizeof *ids, (int (*)(const void *, const void *))strcmp);
    for (size_t i = 1; i < total; i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
    assert_true(bench_payload_bytes(b) > 580 && bench_payload_bytes(b) < 640);
    assert_int_equal(bench_head(b), bench_end(b));
    free(ids);
    bench_free(b);
}

/* The first events make the records, in full; the others change them, all over, and commit numbers rise. */
static void test_bench_records(void **state)
{
    struct bench_profile profile = {
        .first = 1, .count = 600, .replay_id_bytes = 10, .seed = 1, .records = 300};
    struct bench *b = bench_new(&profile, "0123456789012345678901");
    unsigned seen[300] = {0};
    size_t largest_update = 0, smallest_create = SIZE_MAX;
    uint64_t next = 1;
    (void)state;
    for (uint64_t number = 1; number <= 600;) {
        int n;
        Eventbus__V1__FetchResponse *r = take(b, &next, 100, &n);
        for (size_t i = 0; i < r->n_events; i++, number++) {
            const ProtobufCBinaryData payload = r->events[i]->event->payload;
            unsigned found = 0;
            for (unsigned k = 0; k < 300; k++) {
                char id[19];
                record_id_make("001", k + 1, id);
                if (memmem(payload.data, payload.len, id, 18)) {
                    seen[k]++;
                    found++;
                    assert_true(number > 300 || k + 1 == number);
                }
            }
            assert_int_equal(found, 1);
            if (number <= 300 && payload.len < smallest_create)
                smallest_create = payload.len;
            if (number > 300 && payload.len > largest_update)
                largest_update = payload.len;
        }
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
    assert_true(largest_update < smallest_create);
    for (unsigned k = 0; k < 300; k++)
        assert_true(seen[k] >= 1);
    bench_free(b);
}

/* However a stream is cut, event number n is the same event. */
static void test_bench_resume(void **state)
{
    struct bench_profile profile = {.first = 1, .count = 1000, .replay_id_bytes = 8, .seed = 1};
    struct bench *b = bench_new(&profile, "0123456789012345678901");
    uint64_t whole = 121, cut = 0;
    int n;
    uint8_t id[10];
    (void)state;
    Eventbus__V1__FetchResponse *expected = take(b, &whole, 100, &n), *r;
    assert_int_equal(bench_locate(b, bench_replay_id(b, 121, id), &cut), 0);
    assert_int_equal(cut, 121);
    for (size_t i = 0; i < 100; i += (size_t)n) {
        r = take(b, &cut, 7, &n);
        for (size_t k = 0; k < r->n_events && i + k < 100; k++) {
            const Eventbus__V1__ProducerEvent *a = expected->events[i + k]->event, *c = r->events[k]->event;
            assert_string_equal(a->id, c->id);
            assert_int_equal(a->payload.len, c->payload.len);
            assert_memory_equal(a->payload.data, c->payload.data, a->payload.len);
        }
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
    eventbus__v1__fetch_response__free_unpacked(expected, NULL);
    replay_id_write(BENCH_BASE + 1001, 8, id);
    assert_int_equal(bench_locate(b, span_of(id, 8), &cut), -1);
    cut = 1001;
    struct buf none = BUF_INIT;
    assert_int_equal(bench_take(b, &cut, 100, &none), 0);
    buf_release(&none);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bitmaps),        cmocka_unit_test(test_flow),
        cmocka_unit_test(test_replay_ids),     cmocka_unit_test(test_bus_positions),
        cmocka_unit_test(test_channels),       cmocka_unit_test(test_wire),
        cmocka_unit_test(test_canonical_form), cmocka_unit_test(test_doc_does_not_change_id),
        cmocka_unit_test(test_published_ids),  cmocka_unit_test(test_record_ids),
        cmocka_unit_test(test_session),        cmocka_unit_test(test_options),
        cmocka_unit_test(test_bench_identity), cmocka_unit_test(test_bench_resume),
        cmocka_unit_test(test_bench_records),
    };
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
