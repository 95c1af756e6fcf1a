/*
 * One event as one line: whole lines, since key order, names and values are a contract with users' scripts.
 */
#include "avro/decoder.h"
#include "avro_bytes.h"
#include "base/alloc.h"
#include "base/random.h"
#include "event/json_line.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>

#define FIELD(name, type) ",{\"name\":\"" name "\",\"type\":[\"null\"," type "],\"default\":null}"

static const char schema[] =
    "{\"type\":\"record\",\"name\":\"AccountChangeEvent\",\"namespace\":\"com.sforce.eventbus\",\"fields\":"
    "[" HEADER_FIELD FIELD("Name", "\"string\",{\"type\":\"record\",\"name\":\"Person\",\"fields\":["
                                   "{\"name\":\"FirstName\",\"type\":[\"null\",\"string\"]},{\"name\":"
                                   "\"LastName\",\"type\":[\"null\",\"string\"]}]}") /* 1 */
    FIELD("BillingAddress", "{\"type\":\"record\",\"name\":\"Address\",\"fields\":["
                            "{\"name\":\"Street\",\"type\":[\"null\",\"string\"]},{\"name\":\"City\","
                            "\"type\":[\"null\",\"string\"]},"
                            "{\"name\":\"Latitude\",\"type\":[\"null\",\"double\"]}]}")    /* 2 */
    FIELD("ShippingAddress", "\"Address\"")                                                /* 3 */
    FIELD("Phone", "\"string\"")                                                           /* 4 */
    FIELD("LastModifiedDate", "\"long\"")                                                  /* 5 */
    FIELD("AnnualRevenue", "\"double\"")                                                   /* 6 */
    FIELD("IsActive", "\"boolean\"")                                                       /* 7 */
    FIELD("Employees", "\"int\"")                                                          /* 8 */
    FIELD("Preferences", "{\"type\":\"array\",\"items\":[\"null\",\"string\"]}")           /* 9 */
    FIELD("Extra", "{\"type\":\"map\",\"values\":\"bytes\"}")                              /* 10 */
    FIELD("Kind", "{\"type\":\"enum\",\"name\":\"Kinds\",\"symbols\":[\"Red\",\"Blue\"]}") /* 11 */
    FIELD("Hash", "{\"type\":\"fixed\",\"name\":\"Three\",\"size\":3}")                    /* 12 */
    "]}";

/* What an event of the schema above holds; NULL, or `absent` in numbers: null. */
struct body {
    const char *name;         /* text */
    const char *first, *last; /* or a person */
    const char *billing[2];   /* Street, City */
    const char *shipping[2];
    const char *phone;
    int64_t modified;
    const double *revenue;
    const char *active; /* "t" or "f" */
    bool more;          /* the last four */
};

static void put_text(struct buf *b, const char *text)
{
    put_long(b, text ? 1 : 0);
    if (text)
        put_string(b, text);
}

static void put_address(struct buf *b, const char *const *parts)
{
    put_long(b, parts[0] || parts[1] ? 1 : 0);
    if (!parts[0] && !parts[1])
        return;
    put_text(b, parts[0]);
    put_text(b, parts[1]);
    put_long(b, 0);
}

static void put_body(struct buf *b, const struct body *v)
{
    put_long(b, v->name ? 1 : v->first || v->last ? 2 : 0);
    if (v->name)
        put_string(b, v->name);
    if (v->first || v->last) {
        put_text(b, v->first);
        put_text(b, v->last);
    }
    put_address(b, v->billing);
    put_address(b, v->shipping);
    put_text(b, v->phone);
    put_long(b, v->modified ? 1 : 0);
    if (v->modified)
        put_long(b, v->modified);
    put_long(b, v->revenue ? 1 : 0);
    if (v->revenue)
        put_double(b, *v->revenue);
    put_long(b, v->active ? 1 : 0);
    if (v->active)
        buf_add_char(b, *v->active == 't');
    if (!v->more) {
        buf_add(b, "\0\0\0\0\0", 5);
        return;
    }
    buf_add(b, "\x02\x53", 2);                    /* Employees -42 */
    buf_add(b, "\x02\x04\x02\x02x\0\0", 7);       /* Preferences ["x", null] */
    buf_add(b, "\x02\x02\x02k\x04\xff\xfe\0", 8); /* Extra {"k": ff fe} */
    buf_add(b, "\x02\x02", 2);                    /* Kind Blue */
    buf_add(b, "\x02\x01\x02\x03", 4);            /* Hash 01 02 03 */
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char envelope[] =
    "{\"id\":\"9b77cea1\",\"org\":\"00Dxx0000001gEREAY\",\"topic\":\"/data/AccountChangeEvent\","
    "\"replay_id\":\"000000000012d6870000\",\"schema_id\":\"a01VpgrsZNJdn-7KStJcxQ\"";
static const char arrival[] = ",\"seq\":4711,\"received_at\":\"2026-05-06T14:30:00.123Z\"";

static struct event_data event_data(void)
{
    return (struct event_data){.seq = 4711,
                               .generation = 3,
                               .received_ms = 1778077800123,
                               .event_id = span_of_str("9b77cea1"),
                               .replay_id = span_of("\0\0\0\0\0\x12\xd6\x87\0\0", 10),
                               .schema_id = span_of_str("a01VpgrsZNJdn-7KStJcxQ")};
}

static const struct line_source source = {{(const uint8_t *)"00Dxx0000001gEREAY", 18},
                                          {(const uint8_t *)"/data/AccountChangeEvent", 24}};

static char *line_of(const char *json, struct span payload, const struct event_data *ev, unsigned flags)
{
    struct avro_plan *plan = NULL;
    struct err e = ERR_INIT;
    struct arena a = ARENA_INIT;
    struct change ch;
    struct buf line = BUF_INIT;
    if (avro_compile(span_of_str(json), "a01VpgrsZNJdn-7KStJcxQ", &plan, &e) != 0 ||
        avro_decode(plan, payload, &a, &ch, &e) != 0)
        fail_msg("%s", e.text);
    json_line_add(&line, ev, &ch, &source, flags);
    json_error_t je;
    json_t *parsed = json_loadb((char *)line.data, line.len, JSON_REJECT_DUPLICATES, &je);
    if (!parsed)
        fail_msg("%s: %s", je.text, (char *)line.data);
    json_decref(parsed);
    arena_release(&a);
    avro_plan_free(plan);
    return buf_detach(&line);
}

static char *change_line(const struct header_values *h, const struct body *v)
{
    struct event_data ev = event_data();
    struct buf b = BUF_INIT;
    put_header(&b, h);
    put_body(&b, v);
    char *line = line_of(schema, buf_span(&b), &ev, 0);
    buf_release(&b);
    return line;
}

/* The line from its "changed_fields" on. */
static void assert_tail(const struct header_values *h, const struct body *v, const char *want)
{
    char *line = change_line(h, v);
    char *tail = strstr(line, ",\"changed_fields\":");
    assert_non_null(tail);
    assert_string_equal(tail + 1, want);
    free(line);
}

static void an_update_is_the_line_of_the_interface(void **state)
{
    (void)state;
    struct header_values h = {"Account",
                              LIST("001Dp00000JJkkHIAT"),
                              1,
                              "com/salesforce/api/soap/66.0",
                              "00034c74-0500",
                              1,
                              1696444513000,
                              11657372702432,
                              "005Dp000000PpjsIAC",
                              LIST("0x10"),
                              NULL,
                              LIST("0x30", "2-0x02")};
    struct body v = {.billing = {NULL, "San Francisco"}, .modified = 1696444513000};
    char *line = change_line(&h, &v);
    char *want = xasprintf("%s%s,\"kind\":\"change\",\"entity\":\"Account\",\"change_type\":\"UPDATE\","
                           "\"record_ids\":[\"001Dp00000JJkkHIAT\"],"
                           "\"commit_timestamp\":1696444513000,\"commit_number\":11657372702432,"
                           "\"transaction_key\":\"00034c74-0500\","
                           "\"sequence_number\":1,\"change_origin\":\"com/salesforce/api/soap/"
                           "66.0\",\"commit_user\":\"005Dp000000PpjsIAC\","
                           "\"changed_fields\":[\"Phone\",\"LastModifiedDate\",\"BillingAddress.City\"],"
                           "\"nulled_fields\":[\"Phone\"],"
                           "\"diff_fields\":[],\"fields\":{\"Phone\":null,\"LastModifiedDate\":1696444513000,"
                           "\"BillingAddress\":{\"City\":\"San Francisco\"}}}",
                           envelope, arrival);
    assert_string_equal(line, want);
    free(want);
    free(line);
}

static void a_create_lists_every_value(void **state)
{
    (void)state;
    const double revenue = 3233.0;
    struct header_values h = {.record_ids = LIST("001A", "001B")};
    struct body v = {.first = "Ada",
                     .billing = {"1 \"Main\" St\n", NULL},
                     .phone = "",
                     .modified = 1,
                     .revenue = &revenue,
                     .active = "f",
                     .more = true};
    assert_tail(&h, &v,
                "\"changed_fields\":[],\"nulled_fields\":[],\"diff_fields\":[],\"fields\":{\"Name\":{"
                "\"FirstName\":\"Ada\"},"
                "\"BillingAddress\":{\"Street\":\"1 \\\"Main\\\" "
                "St\\n\"},\"Phone\":\"\",\"LastModifiedDate\":1,\"AnnualRevenue\":3233.0,"
                "\"IsActive\":false,\"Employees\":-42,\"Preferences\":[\"x\",null],\"Extra\":{\"k\":\"__4\"},"
                "\"Kind\":\"Blue\","
                "\"Hash\":\"AQID\"}}");
    h.change_type = 3;
    struct body one = {.name = "Acme", .active = "t"};
    assert_tail(&h, &one,
                "\"changed_fields\":[],\"nulled_fields\":[],\"diff_fields\":[],\"fields\":{\"Name\":\"Acme\","
                "\"IsActive\":true}}");
}

static void nulled_components_are_null_inside_their_compound(void **state)
{
    (void)state;
    struct body nothing = {0}, city = {.billing = {NULL, "Rome"}};
    struct header_values h = {.change_type = 1, .nulled = LIST("2-0x01"), .changed = LIST("2-0x03")};
    assert_tail(&h, &city,
                "\"changed_fields\":[\"BillingAddress.Street\",\"BillingAddress.City\"],\"nulled_fields\":["
                "\"BillingAddress.Street\"],"
                "\"diff_fields\":[],\"fields\":{\"BillingAddress\":{\"Street\":null,\"City\":\"Rome\"}}}");
    /* The compound's own bit: all of its components. */
    h.nulled = h.changed = LIST("0x08");
    assert_tail(&h, &nothing,
                "\"changed_fields\":[\"ShippingAddress.Street\",\"ShippingAddress.City\",\"ShippingAddress."
                "Latitude\"],"
                "\"nulled_fields\":[\"ShippingAddress.Street\",\"ShippingAddress.City\",\"ShippingAddress."
                "Latitude\"],"
                "\"diff_fields\":[],\"fields\":{\"ShippingAddress\":{\"Street\":null,\"City\":null,"
                "\"Latitude\":null}}}");
    /* Named nulled but not changed: nulled all the same; several compounds, ascending. */
    h.nulled = LIST("3-0x02");
    h.changed = LIST("2-0x02");
    assert_tail(&h, &city,
                "\"changed_fields\":[\"BillingAddress.City\"],\"nulled_fields\":[\"ShippingAddress.City\"],"
                "\"diff_fields\":[],"
                "\"fields\":{\"BillingAddress\":{\"City\":\"Rome\"},\"ShippingAddress\":{\"City\":null}}}");
}

static void changed_without_a_value_is_absent(void **state)
{
    (void)state;
    struct body phone = {.phone = "1"};
    struct header_values h = {.change_type = 1, .changed = LIST("0x30", "2-0x01")};
    assert_tail(
        &h, &phone,
        "\"changed_fields\":[\"Phone\",\"LastModifiedDate\",\"BillingAddress.Street\"],\"nulled_fields\":[],"
        "\"diff_fields\":[],\"fields\":{\"Phone\":\"1\"}}");
    h.changed = LIST("2-0x01");
    struct body nothing = {0};
    assert_tail(&h, &nothing,
                "\"changed_fields\":[\"BillingAddress.Street\"],\"nulled_fields\":[],\"diff_fields\":[],"
                "\"fields\":{}}");
}

static void values_nobody_named_are_enriched(void **state)
{
    (void)state;
    struct header_values h = {.change_type = 1, .changed = LIST("0x20", "2-0x02")};
    struct body v = {
        .name = "Acme", .billing = {"Via", "Rome"}, .shipping = {"S", "C"}, .modified = 7, .active = "t"};
    assert_tail(&h, &v,
                "\"changed_fields\":[\"LastModifiedDate\",\"BillingAddress.City\"],\"nulled_fields\":[],"
                "\"diff_fields\":[],"
                "\"fields\":{\"LastModifiedDate\":7,\"BillingAddress\":{\"City\":\"Rome\"}},"
                "\"enriched\":{\"Name\":\"Acme\",\"BillingAddress\":{\"Street\":\"Via\"},"
                "\"ShippingAddress\":{\"Street\":\"S\",\"City\":\"C\"},\"IsActive\":true}}");
    struct header_values deleted = {.change_type = 2};
    struct body owner = {.name = "Acme", .first = NULL};
    assert_tail(&deleted, &owner,
                "\"changed_fields\":[],\"nulled_fields\":[],\"diff_fields\":[],\"fields\":{},\"enriched\":{"
                "\"Name\":\"Acme\"}}");
    struct body nothing = {0};
    assert_tail(&deleted, &nothing,
                "\"changed_fields\":[],\"nulled_fields\":[],\"diff_fields\":[],\"fields\":{}}");
}

static void a_name_that_may_be_text_is_listed_as_what_it_is(void **state)
{
    (void)state;
    struct header_values h = {.change_type = 1, .changed = LIST("0x02")};
    struct body text = {.name = "Acme"}, person = {.last = "Byron"};
    assert_tail(&h, &text,
                "\"changed_fields\":[\"Name\"],\"nulled_fields\":[],\"diff_fields\":[],\"fields\":{\"Name\":"
                "\"Acme\"}}");
    assert_tail(
        &h, &person,
        "\"changed_fields\":[\"Name.FirstName\",\"Name.LastName\"],\"nulled_fields\":[],\"diff_fields\":[],"
        "\"fields\":{\"Name\":{\"LastName\":\"Byron\"}}}");
    h.changed = LIST("1-0x02");
    assert_tail(&h, &text,
                "\"changed_fields\":[\"Name.LastName\"],\"nulled_fields\":[],\"diff_fields\":[],\"fields\":{"
                "\"Name\":\"Acme\"}}");
    h.nulled = h.changed = LIST("0x02");
    struct body nothing = {0};
    assert_tail(&h, &nothing,
                "\"changed_fields\":[\"Name\"],\"nulled_fields\":[\"Name\"],\"diff_fields\":[],\"fields\":{"
                "\"Name\":null}}");
}

static void assert_kind(int64_t symbol, const struct header_values *with, const char *want)
{
    struct header_values h = with ? *with : (struct header_values){0};
    struct body v = {.phone = "1"};
    h.change_type = symbol;
    char *line = change_line(&h, &v);
    char kind[64], *k = strstr(line, "\"kind\":"), *type = strstr(line, "\"change_type\":"),
                   *fields = strstr(line, "\"fields\":");
    snprintf(kind, sizeof kind, "%.*s %.*s", (int)strcspn(k, ","), k, (int)strcspn(type, ","), type);
    char *got = xasprintf("%s %s", kind, fields);
    assert_string_equal(got, want);
    free(got);
    free(line);
}

static void kinds_follow_the_change_type(void **state)
{
    (void)state;
    struct header_values changed = {.changed = LIST("0x10")};
    assert_kind(
        4, NULL,
        "\"kind\":\"gap\" \"change_type\":\"GAP_CREATE\" \"fields\":{},\"enriched\":{\"Phone\":\"1\"}}");
    assert_kind(8, NULL,
                "\"kind\":\"overflow\" \"change_type\":\"GAP_OVERFLOW\" "
                "\"fields\":{},\"enriched\":{\"Phone\":\"1\"}}");
    assert_kind(9, NULL, "\"kind\":\"snapshot\" \"change_type\":\"SNAPSHOT\" \"fields\":{\"Phone\":\"1\"}}");
    /* Types that did not exist when this was written: the schema's own symbol. */
    assert_kind(
        10, NULL,
        "\"kind\":\"gap\" \"change_type\":\"GAP_MERGE\" \"fields\":{},\"enriched\":{\"Phone\":\"1\"}}");
    assert_kind(11, NULL, "\"kind\":\"change\" \"change_type\":\"RENAME\" \"fields\":{\"Phone\":\"1\"}}");
    assert_kind(11, &changed, "\"kind\":\"change\" \"change_type\":\"RENAME\" \"fields\":{\"Phone\":\"1\"}}");
}

static void a_platform_event_has_no_header_keys(void **state)
{
    (void)state;
    static const char order[] =
        "{\"type\":\"record\",\"name\":\"Order__e\",\"namespace\":\"com.sforce.eventbus\",\"fields\":["
        "{\"name\":\"CreatedDate\",\"type\":\"long\",\"doc\":\"CreatedDate:DateTime\"},"
        "{\"name\":\"CreatedById\",\"type\":\"string\",\"doc\":\"CreatedBy:EntityId\"}" FIELD(
            "Number__c", "\"double\"") FIELD("Note__c", "\"string\"") "]}";
    struct buf b = BUF_INIT;
    put_long(&b, 1711497484289);
    put_string(&b, "005");
    put_long(&b, 1);
    put_double(&b, NAN);
    put_long(&b, 0);
    struct event_data ev = event_data();
    char *line = line_of(order, buf_span(&b), &ev, 0);
    char *want = xasprintf(
        "%s%s,\"kind\":\"platform_event\",\"fields\":{\"CreatedDate\":1711497484289,\"CreatedById\":\"005\","
        "\"Number__c\":\"NaN\"}}",
        envelope, arrival);
    assert_string_equal(line, want);
    free(line);
    free(want);
    /* Without a seq and an arrival; replayed; late. */
    ev.seq = 0;
    ev.received_ms = 0;
    ev.flags = EVENT_REPLAYED;
    line = line_of(order, buf_span(&b), &ev, LINE_LATE);
    want = xasprintf(
        "%s,\"replay\":3,\"late\":true,\"kind\":\"platform_event\",\"fields\":{\"CreatedDate\":1711497484289,"
        "\"CreatedById\":\"005\",\"Number__c\":\"NaN\"}}",
        envelope);
    assert_string_equal(line, want);
    free(line);
    free(want);
    buf_release(&b);
}

static void ids_that_are_not_text_do_not_spoil_the_line(void **state)
{
    (void)state;
    static const char one[] =
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}";
    struct event_data ev = {
        .event_id = span_of("a\xff\"\n", 4), .replay_id = span_of(NULL, 0), .schema_id = span_of("\"q\"", 3)};
    char *line = line_of(one, span_of("\x02", 1), &ev, 0);
    assert_string_equal(
        line,
        "{\"id\":\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"org\":\"00Dxx0000001gEREAY\",\"topic\":\"/data/"
        "AccountChangeEvent\","
        "\"replay_id\":\"\",\"schema_id\":\"\\\"q\\\"\",\"kind\":\"platform_event\",\"fields\":{\"a\":1}}");
    free(line);
}

/* Strings of every length around the block sizes, with one awkward character at every place. */
static void every_string_survives(void **state)
{
    (void)state;
    static const char one[] =
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"string\"}]}";
    static const char *const awkward[] = {
        "\"", "\\", "\x01", "\x1f", "\n", "\x7f", "\xc3\xa9", "\xf0\x9f\x98\x80", " "};
    struct avro_plan *plan = NULL;
    struct arena a = ARENA_INIT;
    assert_int_equal(avro_compile(span_of_str(one), "", &plan, NULL), 0);
    for (size_t n = 0; n < 70; n++)
        for (size_t at = 0; at <= n; at++)
            for (size_t k = 0; k < ARRAY_LEN(awkward); k++) {
                char text[80];
                size_t extra = strlen(awkward[k]);
                memset(text, 'x', sizeof text);
                memcpy(text + at, awkward[k], extra);
                text[n + extra] = '\0';
                struct buf b = BUF_INIT, line = BUF_INIT;
                struct change ch;
                struct event_data ev = {0};
                put_string(&b, text);
                assert_int_equal(avro_decode(plan, buf_span(&b), &a, &ch, NULL), 0);
                json_line_add(&line, &ev, &ch, &source, 0);
                json_t *parsed = json_loadb((char *)line.data, line.len, 0, NULL);
                assert_string_equal(
                    json_string_value(json_object_get(json_object_get(parsed, "fields"), "a")), text);
                json_decref(parsed);
                buf_release(&b);
                buf_release(&line);
                arena_reset(&a);
            }
    arena_release(&a);
    avro_plan_free(plan);
}

static void every_integer_survives(void **state)
{
    (void)state;
    static const char one[] =
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"long\"}]}";
    struct avro_plan *plan = NULL;
    struct arena a = ARENA_INIT;
    struct rng r = {7};
    assert_int_equal(avro_compile(span_of_str(one), "", &plan, NULL), 0);
    for (int i = 0; i < 20000; i++) {
        int64_t v = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : (int64_t)rng_next(&r) >> rng_below(&r, 64);
        struct buf b = BUF_INIT, line = BUF_INIT;
        struct change ch;
        struct event_data ev = {0};
        char want[40];
        put_long(&b, v);
        assert_int_equal(avro_decode(plan, buf_span(&b), &a, &ch, NULL), 0);
        json_line_add(&line, &ev, &ch, &source, 0);
        snprintf(want, sizeof want, "\"fields\":{\"a\":%lld}}", (long long)v);
        assert_string_equal(strstr((char *)line.data, "\"fields\""), want);
        buf_release(&b);
        buf_release(&line);
        arena_reset(&a);
    }
    arena_release(&a);
    avro_plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_is_the_line_of_the_interface),
        cmocka_unit_test(a_create_lists_every_value),
        cmocka_unit_test(nulled_components_are_null_inside_their_compound),
        cmocka_unit_test(changed_without_a_value_is_absent),
        cmocka_unit_test(values_nobody_named_are_enriched),
        cmocka_unit_test(a_name_that_may_be_text_is_listed_as_what_it_is),
        cmocka_unit_test(kinds_follow_the_change_type),
        cmocka_unit_test(a_platform_event_has_no_header_keys),
        cmocka_unit_test(ids_that_are_not_text_do_not_spoil_the_line),
        cmocka_unit_test(every_string_survives),
        cmocka_unit_test(every_integer_survives),
    };
    return cmocka_run_group_tests_name("json_line", tests, NULL, NULL);
}
