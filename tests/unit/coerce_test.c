/*
 * Values on their way to their columns: good ones and bad ones, and what each must give.
 */
#include "delivery/map_parts.h"

#include "base/json.h"
#include "base/random.h"
#include "base/text.h"

#include <jansson.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena arena = ARENA_INIT;

/* A value as a test shows it: "text", 12, true, 2026-05-06, null; PARK: why; LEAVE; a '!' behind what is flagged. */
static void show(struct buf *b, enum map_result result, const struct mirror_value *v, bool flagged,
                 const struct err *why)
{
    char text[MIRROR_TIME_ROOM];
    if (result == MAP_PARK) {
        buf_addf(b, "PARK %s", why->text);
        return;
    }
    if (result == MAP_LEAVE) {
        buf_add_str(b, "LEAVE");
    } else if (v->is_null) {
        buf_add_str(b, "null");
    } else if (v->type == MIRROR_TEXT) {
        json_add_string(b, v->as.text);
    } else if (v->type == MIRROR_JSON) {
        buf_add_span(b, v->as.text);
    } else if (v->type == MIRROR_BOOLEAN) {
        buf_add_str(b, v->as.integer ? "true" : "false");
    } else if (v->type == MIRROR_BIGINT) {
        json_add_int(b, v->as.integer);
    } else if (v->type == MIRROR_DOUBLE) {
        json_add_double(b, v->as.number);
    } else {
        assert_true(mirror_time_text(v, text));
        buf_add_str(b, text);
    }
    if (flagged)
        buf_addf(b, "! %s", why->text);
}

static void assert_gives(const struct map_rule *rule, const struct cell *cell, const char *expected,
                         size_t number)
{
    struct map_rule whole = *rule;
    struct mirror_value value;
    struct err why = ERR_INIT;
    struct buf b = BUF_INIT;
    const char *flagged;
    whole.entity = "E";
    whole.field = "F";
    enum map_result result = coerce(&whole, cell, &arena, &value, &flagged, &why);
    show(&b, result, &value, flagged != NULL, &why);
    if (strcmp((char *)b.data, expected) != 0)
        fail_msg("case %zu: got  %s\nwant %s", number, (char *)b.data, expected);
    if (result == MAP_VALUE)
        assert_int_equal(value.type, whole.member ? MIRROR_JSON : whole.type);
    buf_release(&b);
    arena_reset(&arena);
}

static const struct field_config plain = {.field = NULL};

#define TEXT(s)                                                                                              \
    {                                                                                                        \
        .type = CELL_STRING, .as.bytes = {(const uint8_t *)(s), sizeof(s) - 1 }                              \
    }
#define INT(v)                                                                                               \
    {                                                                                                        \
        .type = CELL_INT, .as.integer = (v)                                                                  \
    }
#define DOUBLE(v)                                                                                            \
    {                                                                                                        \
        .type = CELL_DOUBLE, .as.number = (v)                                                                \
    }
#define BOOL(v)                                                                                              \
    {                                                                                                        \
        .type = CELL_BOOLEAN, .as.boolean = (v)                                                              \
    }

struct row {
    enum mirror_type type;
    enum field_kind kind;
    struct cell cell;
    const char *gives;
};

static void assert_rows(const struct row *rows, size_t n, const struct field_config *config)
{
    for (size_t i = 0; i < n; i++)
        assert_gives(&(struct map_rule){.type = rows[i].type, .kind = rows[i].kind, .config = config},
                     &rows[i].cell, rows[i].gives, i);
}

static void what_the_schema_says_arrives_unchanged(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("Grüße, \"Welt\"\n"), "\"Grüße, \\\"Welt\\\"\\n\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT(""), "\"\""},
        {MIRROR_BOOLEAN, FIELD_PLAIN, BOOL(true), "true"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, BOOL(false), "false"},
        {MIRROR_BIGINT, FIELD_PLAIN, INT(INT64_MAX), "9223372036854775807"},
        {MIRROR_BIGINT, FIELD_PLAIN, INT(INT64_MIN), "-9223372036854775808"},
        {MIRROR_BIGINT, FIELD_PLAIN, INT(9007199254740993), "9007199254740993"},
        {MIRROR_DOUBLE, FIELD_PLAIN, DOUBLE(0.1), "0.1"},
        {MIRROR_DOUBLE, FIELD_PLAIN, DOUBLE(1.7976931348623157e308), "1.7976931348623157e+308"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(1696444513000), "2023-10-04T18:35:13.000Z"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(-1), "1969-12-31T23:59:59.999Z"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(253402300799999), "9999-12-31T23:59:59.999Z"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(-62135596800000), "0001-01-01T00:00:00.000Z"},
        {MIRROR_DATE, FIELD_DATE, INT(1653955200000), "2022-05-31"},
        {MIRROR_DATE, FIELD_DATE, INT(-86400000), "1969-12-31"},
        {MIRROR_TIME, FIELD_TIME, INT(0), "00:00:00.000"},
        {MIRROR_TIME, FIELD_TIME, INT(86399999), "23:59:59.999"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &plain);
}

static void what_no_database_can_hold_is_parked(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("a\0b"),
         "PARK E.F: type text: \"a\\u0000b\" holds a NUL, which no database keeps in a text"},
        {MIRROR_DOUBLE, FIELD_PLAIN, DOUBLE(NAN),
         "PARK E.F: type number: \"NaN\" is not a number that a database holds"},
        {MIRROR_DOUBLE, FIELD_PLAIN, DOUBLE(-INFINITY),
         "PARK E.F: type number: \"-Infinity\" is not a number that a database holds"},
        {MIRROR_TEXT, FIELD_PLAIN, DOUBLE(NAN), "PARK E.F: type text: \"NaN\" cannot be written as text"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(253402300800000),
         "PARK E.F: type datetime: 253402300800000 is not a time between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(-62135596800001),
         "PARK E.F: type datetime: -62135596800001 is not a time between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(INT64_MIN),
         "PARK E.F: type datetime: -9223372036854775808 is not a time between the years 1 and 9999"},
        {MIRROR_DATE, FIELD_DATE, INT(INT64_MAX),
         "PARK E.F: type date: 9223372036854775807 is not a day between the years 1 and 9999"},
        {MIRROR_DATE, FIELD_DATE, INT(1653955200001),
         "PARK E.F: type date: 1653955200001 is not the midnight of a day in UTC"},
        {MIRROR_TIME, FIELD_TIME, INT(86400000), "PARK E.F: type time: 86400000 is not a time of day"},
        {MIRROR_TIME, FIELD_TIME, INT(-1), "PARK E.F: type time: -1 is not a time of day"},
        {MIRROR_TEXT, FIELD_DATE, INT(5), "PARK E.F: type text: 5 cannot be written as text"},
        {MIRROR_JSON, FIELD_PLAIN, DOUBLE(INFINITY),
         "PARK E.F: type json: \"Infinity\" holds a value that JSON in a database cannot hold"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &plain);
}

static void texts_become_what_they_say(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {MIRROR_BOOLEAN, FIELD_PLAIN, TEXT("true"), "true"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, TEXT(" No "), "false"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, TEXT("1"), "true"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, TEXT("0"), "false"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, TEXT("maybe"),
         "PARK E.F: type boolean: \"maybe\" is neither true nor false, yes nor no, 1 nor 0"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, TEXT(""),
         "PARK E.F: type boolean: \"\" is neither true nor false, yes nor no, 1 nor 0"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT(" -42 "), "-42"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("+7"), "7"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("12.00"), "12"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("1e3"), "1000"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("9223372036854775807"), "9223372036854775807"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("9223372036854775808"),
         "PARK E.F: type integer: \"9223372036854775808\" is not a whole number of 64 bits"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("12.5"),
         "PARK E.F: type integer: \"12.5\" is not a whole number of 64 bits"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("0x10"), "PARK E.F: type integer: \"0x10\" is not a number"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("12 34"), "PARK E.F: type integer: \"12 34\" is not a number"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT(""), "PARK E.F: type integer: \"\" is not a number"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("-"), "PARK E.F: type integer: \"-\" is not a number"},
        {MIRROR_BIGINT, FIELD_PLAIN,
         TEXT("9\0"
              "1"),
         "PARK E.F: type integer: \"9\\u00001\" is not a number"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("1234.5"), "1234.5"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT(".5"), "0.5"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("-1.5E-3"), "-0.0015"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("1e309"),
         "PARK E.F: type number: \"1e309\" is too large for a double"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("nan"), "PARK E.F: type number: \"nan\" is not a number"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("1,5"), "PARK E.F: type number: \"1,5\" is not a number"},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("1e"), "PARK E.F: type number: \"1e\" is not a number"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06T14:30:00.123Z"), "2026-05-06T14:30:00.123Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06T14:30:00.000+0000"), "2026-05-06T14:30:00.000Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06 14:30 -05:30"),
         "PARK E.F: type datetime: \"2026-05-06 14:30 -05:30\" is not a time between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06 14:30-05:30"), "2026-05-06T20:00:00.000Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06"), "2026-05-06T00:00:00.000Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06T14:30:00.123000Z"), "2026-05-06T14:30:00.123Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-05-06T14:30:00.1234Z"),
         "PARK E.F: type datetime: \"2026-05-06T14:30:00.1234Z\" is not a time between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("2026-02-29"),
         "PARK E.F: type datetime: \"2026-02-29\" is not a time between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_PLAIN, TEXT("0001-01-01T00:00:00+01:00"),
         "PARK E.F: type datetime: \"0001-01-01T00:00:00+01:00\" is not a time between the years 1 and 9999"},
        {MIRROR_DATE, FIELD_PLAIN, TEXT("2024-02-29"), "2024-02-29"},
        {MIRROR_DATE, FIELD_PLAIN, TEXT("2000-02-29"), "2000-02-29"},
        {MIRROR_DATE, FIELD_PLAIN, TEXT("1900-02-29"),
         "PARK E.F: type date: \"1900-02-29\" is not a day between the years 1 and 9999"},
        {MIRROR_DATE, FIELD_PLAIN, TEXT("2026-05-06T23:30:00-01:00"), "2026-05-07"},
        {MIRROR_DATE, FIELD_PLAIN, TEXT("06.05.2026"),
         "PARK E.F: type date: \"06.05.2026\" is not a day between the years 1 and 9999"},
        {MIRROR_DATE, FIELD_PLAIN, TEXT("10000-01-01"),
         "PARK E.F: type date: \"10000-01-01\" is not a day between the years 1 and 9999"},
        {MIRROR_TIME, FIELD_PLAIN, TEXT("14:30"), "14:30:00.000"},
        {MIRROR_TIME, FIELD_PLAIN, TEXT("14:30:00.5Z"), "14:30:00.500"},
        {MIRROR_TIME, FIELD_PLAIN, TEXT("2026-05-06T14:30:00Z"), "14:30:00.000"},
        {MIRROR_TIME, FIELD_PLAIN, TEXT("24:00"), "PARK E.F: type time: \"24:00\" is not a time of day"},
        {MIRROR_TIME, FIELD_PLAIN, TEXT("2026-05-06"),
         "PARK E.F: type time: \"2026-05-06\" is not a time of day"},
        {MIRROR_JSON, FIELD_PLAIN, TEXT("{\"a\":[1,2]}"), "{\"a\":[1,2]}"},
        {MIRROR_JSON, FIELD_PLAIN, TEXT("12345678901234567890"), "12345678901234567890"},
        {MIRROR_JSON, FIELD_PLAIN, TEXT("{a}"), "PARK E.F: type json: \"{a}\" is not JSON"},
        {MIRROR_JSON, FIELD_PLAIN, TEXT("{} x"), "PARK E.F: type json: \"{} x\" is not JSON"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &plain);
}

static void other_kinds_are_converted_or_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {MIRROR_TEXT, FIELD_PLAIN, INT(9007199254740993), "\"9007199254740993\""},
        {MIRROR_TEXT, FIELD_PLAIN, DOUBLE(12.5), "\"12.5\""},
        {MIRROR_TEXT, FIELD_PLAIN, BOOL(true), "\"true\""},
        {MIRROR_TEXT, FIELD_DATETIME, INT(0), "\"1970-01-01T00:00:00.000Z\""},
        {MIRROR_TEXT, FIELD_DATE, INT(0), "\"1970-01-01\""},
        {MIRROR_TEXT, FIELD_TIME, INT(60000), "\"00:01:00.000\""},
        {MIRROR_TEXT,
         FIELD_PLAIN,
         {.type = CELL_BYTES, .as.bytes = {(const uint8_t *)"\0\xff", 2}},
         "\"AP8=\""},
        {MIRROR_BOOLEAN, FIELD_PLAIN, INT(1), "true"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, INT(2),
         "PARK E.F: type boolean: 2 is neither true nor false, yes nor no, 1 nor 0"},
        {MIRROR_BOOLEAN, FIELD_DATE, INT(0),
         "PARK E.F: type boolean: 0 is neither true nor false, yes nor no, 1 nor 0"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, DOUBLE(0), "false"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, DOUBLE(0.5),
         "PARK E.F: type boolean: 0.5 is neither true nor false, yes nor no, 1 nor 0"},
        {MIRROR_BIGINT, FIELD_PLAIN, DOUBLE(12), "12"},
        {MIRROR_BIGINT, FIELD_PLAIN, DOUBLE(-9223372036854775808.0), "-9223372036854775808"},
        {MIRROR_BIGINT, FIELD_PLAIN, DOUBLE(9223372036854775808.0),
         "PARK E.F: type integer: 9.223372036854776e+18 is not a whole number of 64 bits"},
        {MIRROR_BIGINT, FIELD_PLAIN, DOUBLE(12.5),
         "PARK E.F: type integer: 12.5 is not a whole number of 64 bits"},
        {MIRROR_BIGINT, FIELD_PLAIN, DOUBLE(NAN),
         "PARK E.F: type integer: \"NaN\" is not a whole number of 64 bits"},
        {MIRROR_BIGINT, FIELD_PLAIN, BOOL(true), "1"},
        {MIRROR_DOUBLE, FIELD_PLAIN, INT(9007199254740992), "9007199254740992.0"},
        {MIRROR_DOUBLE, FIELD_PLAIN, INT(9007199254740993),
         "PARK E.F: type number: 9007199254740993 has more digits than a double holds"},
        {MIRROR_DOUBLE, FIELD_PLAIN, INT(INT64_MAX),
         "PARK E.F: type number: 9223372036854775807 has more digits than a double holds"},
        {MIRROR_DATE, FIELD_DATETIME, INT(1696444513000), "2023-10-04"},
        {MIRROR_DATE, FIELD_DATETIME, INT(-1), "1969-12-31"},
        {MIRROR_DATE, FIELD_PLAIN, INT(1653955200000), "2022-05-31"},
        {MIRROR_DATE, FIELD_PLAIN, INT(1653955200001),
         "PARK E.F: type date: 1653955200001 is not the midnight of a day in UTC"},
        {MIRROR_DATE, FIELD_TIME, INT(0), "PARK E.F: type date: 0 is not a day between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_DATE, INT(1653955200000), "2022-05-31T00:00:00.000Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, DOUBLE(1696444513000.0), "2023-10-04T18:35:13.000Z"},
        {MIRROR_DATETIME, FIELD_PLAIN, DOUBLE(0.5),
         "PARK E.F: type datetime: 0.5 is not a time between the years 1 and 9999"},
        {MIRROR_DATETIME, FIELD_PLAIN, BOOL(true),
         "PARK E.F: type datetime: true is not a time between the years 1 and 9999"},
        {MIRROR_TIME, FIELD_DATETIME, INT(-1), "23:59:59.999"},
        {MIRROR_TIME, FIELD_DATE, INT(0), "PARK E.F: type time: 0 is not a time of day"},
        {MIRROR_JSON, FIELD_DATETIME, INT(0), "\"1970-01-01T00:00:00.000Z\""},
        {MIRROR_JSON, FIELD_PLAIN, BOOL(false), "false"},
        {MIRROR_JSON, FIELD_PLAIN, INT(INT64_MAX), "9223372036854775807"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &plain);
}

static void lists_records_and_multi_select_picklists(void **state)
{
    (void)state;
    static const struct cell items[] = {TEXT("a"), TEXT("b c"), {.type = CELL_NULL}},
                             awkward[] = {TEXT("a;b"), TEXT("\"")}, nul[] = {TEXT("\0")};
    static const struct schema_field fields[] = {
        {.name = "City", .name_len = 4, .quoted = "\"City\":", .quoted_len = 7},
        {.name = "At", .name_len = 2, .kind = FIELD_DATETIME, .quoted = "\"At\":", .quoted_len = 5}};
    static const struct record_shape shape = {"R", 2, fields};
    static const struct field_value values[] = {{0, TEXT("Kiel")}, {1, INT(0)}};
    static const struct map_entry entries[] = {{{(const uint8_t *)"k", 1}, DOUBLE(1.5)},
                                               {{(const uint8_t *)"l", 1}, BOOL(true)}};
    const struct cell two = {.type = CELL_ARRAY, .n = 2, .as.items = items},
                      three = {.type = CELL_ARRAY, .n = 3, .as.items = items},
                      odd = {.type = CELL_ARRAY, .n = 2, .as.items = awkward},
                      bad = {.type = CELL_ARRAY, .n = 1, .as.items = nul}, none = {.type = CELL_ARRAY},
                      record = {.type = CELL_RECORD, .n = 2, .as.record = {&shape, values}},
                      map = {.type = CELL_MAP, .n = 2, .as.entries = entries};
    const struct row rows[] = {
        {MIRROR_JSON, FIELD_PLAIN, two, "[\"a\",\"b c\"]"},
        {MIRROR_JSON, FIELD_PLAIN, three, "[\"a\",\"b c\",null]"},
        {MIRROR_JSON, FIELD_PLAIN, none, "[]"},
        {MIRROR_TEXT, FIELD_PLAIN, two, "\"a;b c\""},
        {MIRROR_TEXT, FIELD_PLAIN, odd, "\"[\\\"a;b\\\",\\\"\\\\\\\"\\\"]\""},
        {MIRROR_TEXT, FIELD_PLAIN, none, "\"\""},
        {MIRROR_JSON, FIELD_PLAIN, bad,
         "PARK E.F: type json: a list holds a value that JSON in a database cannot hold"},
        {MIRROR_JSON, FIELD_PLAIN, record, "{\"City\":\"Kiel\",\"At\":\"1970-01-01T00:00:00.000Z\"}"},
        {MIRROR_JSON, FIELD_PLAIN, map, "{\"k\":1.5,\"l\":true}"},
        {MIRROR_TEXT, FIELD_PLAIN, record,
         "\"{\\\"City\\\":\\\"Kiel\\\",\\\"At\\\":\\\"1970-01-01T00:00:00.000Z\\\"}\""},
        {MIRROR_BIGINT, FIELD_PLAIN, two, "PARK E.F: type integer: a list is not a number"},
        {MIRROR_DATETIME, FIELD_PLAIN, record,
         "PARK E.F: type datetime: a record is not a time between the years 1 and 9999"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &plain);
    struct map_rule multi = {.type = MIRROR_JSON, .multi = true, .config = &plain};
    struct cell picked = TEXT("a;b c"), empty = TEXT("");
    assert_gives(&multi, &picked, "[\"a\",\"b c\"]", 0);
    assert_gives(&multi, &empty, "[]", 1);
}

static void members_of_a_json_column_are_json(void **state)
{
    (void)state;
    struct map_rule rule = {.type = MIRROR_JSON, .member = true, .config = &plain};
    struct cell text = TEXT("a \"b\""), number = DOUBLE(1.5), nan = DOUBLE(NAN), null = {.type = CELL_NULL};
    assert_gives(&rule, &text, "\"a \\\"b\\\"\"", 0);
    assert_gives(&rule, &number, "1.5", 1);
    assert_gives(&rule, &nan,
                 "PARK E.F: type json: \"NaN\" holds a value that JSON in a database cannot hold", 2);
    assert_gives(&rule, &null, "null", 3);
    struct buf patch = BUF_INIT;
    struct mirror_value a = {.type = MIRROR_JSON, .as.text = span_of_str("\"x\"")},
                        b = {.type = MIRROR_JSON, .is_null = true};
    map_patch_add(&patch, "City", &a);
    assert_string_equal((char *)patch.data, "{\"City\":\"x\"}");
    map_patch_add(&patch, "Zip\"", &b);
    assert_string_equal((char *)patch.data, "{\"City\":\"x\",\"Zip\\\"\":null}");
    buf_release(&patch);
}

static void a_member_of_a_shared_object_is_found_as_it_stands(void **state)
{
    (void)state;
    static const struct {
        const char *object, *member, *value; /* NULL: it has none */
    } cases[] = {
        {"{\"City\":\"Kiel\"}", "City", "\"Kiel\""},
        {"{\"City\": \"Kiel\", \"Zip\": 24103.50}", "Zip", "24103.50"},
        {" { \"A\" : [1, {\"City\": 2}, \"}\"] , \"City\" :true } ", "City", "true"},
        {"{\"A\":{\"City\":2},\"B\":\"\\\",\\\"City\\\":3\"}", "City", NULL},
        {"{\"A\":{\"City\":2,\"x\":[]}}", "A", "{\"City\":2,\"x\":[]}"},
        {"{\"Zip\\\"\":1}", "Zip\"", "1"},
        {"{\"City\":null}", "City", "null"},
        {"{}", "City", NULL},
        {"", "City", NULL},
        {"null", "City", NULL},
        {"[\"City\"]", "City", NULL},
        {"{\"City\"", "City", NULL},
        {"{\"City\":", "City", NULL},
        {"{\"City", "City", NULL},
        {"{\"City\":\"Kiel\\", "Zip", NULL},
    };
    struct arena a = ARENA_INIT;
    struct span text;
    assert_true(map_patch_text(span_of_str("\"a\\r\\n\\u00e9\""), &a, &text));
    assert_true(span_equal_str(text, "a\r\n\xc3\xa9"));
    assert_false(map_patch_text(span_of_str("12"), &a, &text));
    assert_false(map_patch_text(span_of_str("\"half"), &a, &text));
    arena_release(&a);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span value = span_of(NULL, 0);
        const bool found = map_patch_find(span_of_str(cases[i].object), cases[i].member, &value);
        if (found != (cases[i].value != NULL) || (found && !span_equal_str(value, cases[i].value)))
            fail_msg("%s of %s: %d, %.*s", cases[i].member, cases[i].object, found, SPAN_ARG(value));
    }
}

static void phone_numbers_are_cleaned(void **state)
{
    (void)state;
    static const struct field_config phone = {.clean = CLEAN_PHONE};
    static const struct row rows[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("(415) 555-1212"), "\"4155551212\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT(" +49 (0)431 / 12 34-56 "), "\"+49431123456\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("(0)431 1234"), "\"04311234\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("+1.415.555.1212 ext. 7"), "\"+14155551212x7\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("415-555-1212 x 99"), "\"4155551212x99\""},
        {MIRROR_TEXT, FIELD_PLAIN,
         TEXT("415\xc2\xa0"
              "555"),
         "\"415555\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT(""), "\"\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1-800-FLOWERS"),
         "PARK E.F: clean phone: \"1-800-FLOWERS\" is not a phone number"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("415-555-1212 x"),
         "PARK E.F: clean phone: \"415-555-1212 x\" is not a phone number"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1 x 2 x 3"),
         "PARK E.F: clean phone: \"1 x 2 x 3\" is not a phone number"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("4+9"), "PARK E.F: clean phone: \"4+9\" is not a phone number"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("+"), "PARK E.F: clean phone: \"+\" is not a phone number"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("n/a"), "PARK E.F: clean phone: \"n/a\" is not a phone number"},
        {MIRROR_TEXT, FIELD_PLAIN,
         TEXT("1\0"
              "2"),
         "PARK E.F: clean phone: \"1\\u00002\" is not a phone number"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &phone);
}

static void amounts_are_cleaned(void **state)
{
    (void)state;
    static const struct field_config currency = {.clean = CLEAN_CURRENCY};
    static const struct row rows[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("$1,234.50"), "\"1234.50\""},
        {MIRROR_DOUBLE, FIELD_PLAIN, TEXT("$1,234.50"), "1234.5"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1.234,50 \xe2\x82\xac"), "\"1234.50\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("EUR 1.234.567"), "\"1234567\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1,234"), "\"1234\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1.234"), "\"1.234\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("12,5"), "\"12.5\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("CHF 1'234'567.05"), "\"1234567.05\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1 234 567,05 kr"), "\"1234567.05\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("($ 12.50)"), "\"-12.50\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("-$12"), "\"-12\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("12-"), "\"-12\""},
        {MIRROR_TEXT, FIELD_PLAIN,
         TEXT("\xe2\x88\x92"
              "12"),
         "\"-12\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("Rs.500"), "\"500\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT(".50"), "\"0.50\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("5."), "\"5\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1,23,456"),
         "PARK E.F: clean currency: \"1,23,456\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1.2.3"), "PARK E.F: clean currency: \"1.2.3\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("--5"), "PARK E.F: clean currency: \"--5\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("(5"), "PARK E.F: clean currency: \"(5\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("5 to 7"), "PARK E.F: clean currency: \"5 to 7\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("1,,000"), "PARK E.F: clean currency: \"1,,000\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("free"), "PARK E.F: clean currency: \"free\" is not an amount"},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("  "), "\"\""},
    };
    assert_rows(rows, ARRAY_LEN(rows), &currency);
    static const struct field_config trim = {.clean = CLEAN_TRIM};
    static const struct row trimmed[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT(" \t a b \xc2\xa0\xe3\x80\x80\n"), "\"a b\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("\xe2\x80\x83"), "\"\""},
        {MIRROR_BIGINT, FIELD_PLAIN, INT(3), "3"},
    };
    assert_rows(trimmed, ARRAY_LEN(trimmed), &trim);
}

static void lengths_are_counted_in_characters(void **state)
{
    (void)state;
    struct field_config c = {.max_length = 3};
    static const struct row fits[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("abc"), "\"abc\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("äöü"), "\"äöü\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80"), "\"😀😀😀\""},
    };
    assert_rows(fits, ARRAY_LEN(fits), &c);
    static const struct row parked[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("äöüx"), "PARK E.F: max_length 3: \"äöüx\" is longer"}};
    assert_rows(parked, ARRAY_LEN(parked), &c);
    c.on_too_long = TOO_LONG_TRUNCATE;
    static const struct row cut[] = {{MIRROR_TEXT, FIELD_PLAIN, TEXT("äöüx"), "\"äöü\""}};
    assert_rows(cut, ARRAY_LEN(cut), &c);
    c.on_too_long = TOO_LONG_FLAG;
    static const struct row flagged[] = {{MIRROR_TEXT, FIELD_PLAIN, TEXT("äö\xf0\x9f\x98\x80x"),
                                          "\"äö😀\"! E.F: max_length 3: \"äö😀x\" is longer and was cut"}};
    assert_rows(flagged, ARRAY_LEN(flagged), &c);
    /* A reason never holds more than the beginning of a long text. */
    char *text = malloc(100001);
    assert_non_null(text);
    memset(text, 'x', 100000);
    struct cell cell = {.type = CELL_STRING, .as.bytes = {(uint8_t *)text, 100000}};
    c.on_too_long = TOO_LONG_PARK;
    assert_gives(
        &(struct map_rule){.type = MIRROR_TEXT, .config = &c}, &cell,
        "PARK E.F: max_length 3: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"… is longer",
        0);
    free(text);
}

static void values_are_mapped(void **state)
{
    (void)state;
    struct value_pair pairs[] = {{(char *)"Tech", (char *)"technology"},
                                 {(char *)"true", (char *)"1"},
                                 {(char *)"3", (char *)"three"},
                                 {(char *)"1970-01-01", (char *)"epoch"}};
    struct field_config c = {.map = pairs, .n_map = 4};
    static const struct row rows[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("Tech"), "\"technology\""},
        {MIRROR_TEXT, FIELD_PLAIN, BOOL(true), "\"1\""},
        {MIRROR_BIGINT, FIELD_PLAIN, BOOL(true), "1"},
        {MIRROR_TEXT, FIELD_PLAIN, INT(3), "\"three\""},
        {MIRROR_TEXT, FIELD_PLAIN, DOUBLE(3), "\"three\""},
        {MIRROR_TEXT, FIELD_DATE, INT(0), "\"epoch\""},
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("tech"), "PARK E.F: map: \"tech\" is not in it"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("Tech"), "PARK E.F: type integer: \"technology\" is not a number"},
        {MIRROR_TEXT, FIELD_PLAIN, {.type = CELL_NULL}, "null"},
    };
    assert_rows(rows, ARRAY_LEN(rows), &c);
    c.on_unknown = UNKNOWN_KEEP;
    static const struct row kept[] = {{MIRROR_TEXT, FIELD_PLAIN, TEXT("tech"), "\"tech\""}};
    assert_rows(kept, ARRAY_LEN(kept), &c);
    c.on_unknown = UNKNOWN_NULL;
    static const struct row nulled[] = {{MIRROR_TEXT, FIELD_PLAIN, TEXT("tech"), "null"}};
    assert_rows(nulled, ARRAY_LEN(nulled), &c);
}

static void nulls_and_errors_follow_the_configuration(void **state)
{
    (void)state;
    struct field_config c = {.nulls = NULLS_KEEP};
    static const struct row kept[] = {{MIRROR_TEXT, FIELD_PLAIN, {.type = CELL_NULL}, "LEAVE"}};
    assert_rows(kept, ARRAY_LEN(kept), &c);
    c.nulls = NULLS_EMPTY;
    static const struct row emptied[] = {
        {MIRROR_TEXT, FIELD_PLAIN, {.type = CELL_NULL}, "\"\""},
        {MIRROR_BIGINT, FIELD_PLAIN, {.type = CELL_NULL}, "0"},
        {MIRROR_DOUBLE, FIELD_PLAIN, {.type = CELL_NULL}, "0.0"},
        {MIRROR_BOOLEAN, FIELD_PLAIN, {.type = CELL_NULL}, "false"},
        {MIRROR_DATE, FIELD_PLAIN, {.type = CELL_NULL}, "null"},
        {MIRROR_JSON, FIELD_PLAIN, {.type = CELL_NULL}, "null"},
    };
    assert_rows(emptied, ARRAY_LEN(emptied), &c);
    c = (struct field_config){.on_error = ERROR_NULL};
    static const struct row failed[] = {
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("x"), "null! E.F: type integer: \"x\" is not a number"},
        {MIRROR_DOUBLE, FIELD_PLAIN, DOUBLE(NAN),
         "null! E.F: type number: \"NaN\" is not a number that a database holds"},
        {MIRROR_DATETIME, FIELD_DATETIME, INT(INT64_MAX),
         "null! E.F: type datetime: 9223372036854775807 is not a time between the years 1 and 9999"},
        {MIRROR_BIGINT, FIELD_PLAIN, TEXT("7"), "7"},
    };
    assert_rows(failed, ARRAY_LEN(failed), &c);
    c.clean = CLEAN_PHONE;
    static const struct row phone[] = {
        {MIRROR_TEXT, FIELD_PLAIN, TEXT("x"), "null! E.F: clean phone: \"x\" is not a phone number"}};
    assert_rows(phone, ARRAY_LEN(phone), &c);
    assert_gives(&(struct map_rule){.type = MIRROR_TEXT, .config = &plain}, NULL, "null", 0);
}

/* --- any value, any rule -------------------------------------------------------------------------------- */

static struct span any_text(struct rng *r)
{
    static const char *const pieces[] = {"1",
                                         "23",
                                         "-",
                                         "+",
                                         ".",
                                         ",",
                                         ":",
                                         "T",
                                         "Z",
                                         "2026-05-06",
                                         "14:30",
                                         "true",
                                         "no",
                                         "x",
                                         "(0)",
                                         "$",
                                         "\xe2\x82\xac",
                                         "\xc2\xa0",
                                         "\xf0\x9f\x98\x80",
                                         "{",
                                         "}",
                                         "[]",
                                         "\"",
                                         ";",
                                         " ",
                                         "\t",
                                         "e5",
                                         "ext",
                                         "'"};
    struct buf b = BUF_INIT;
    for (uint64_t i = rng_below(r, 8); i > 0; i--)
        buf_add_str(&b, pieces[rng_below(r, ARRAY_LEN(pieces))]);
    if (rng_below(r, 30) == 0)
        buf_add_char(&b, '\0');
    struct span s = arena_copy(&arena, buf_span(&b));
    buf_release(&b);
    return s;
}

static struct cell any_cell(struct rng *r, int depth)
{
    static const int64_t whole[] = {
        0, 1, -1, 86400000, 1653955200000, INT64_MIN, INT64_MAX, 253402300799999, 253402300800000};
    static const double numbers[] = {
        0, -0.0, 1, 0.1, 9007199254740993.0, 1e300, 5e-324, 9223372036854775807.0};
    struct cell c = {.type = (enum cell_type)rng_below(r, depth > 0 ? CELL_MAP + 1 : CELL_RECORD)};
    switch (c.type) {
    case CELL_BOOLEAN:
        c.as.boolean = rng_below(r, 2);
        break;
    case CELL_INT:
        c.as.integer = rng_below(r, 2) ? whole[rng_below(r, ARRAY_LEN(whole))] : (int64_t)rng_next(r);
        break;
    case CELL_DOUBLE:
        c.as.number = rng_below(r, 8) == 0   ? NAN
                      : rng_below(r, 8) == 0 ? -INFINITY
                                             : numbers[rng_below(r, ARRAY_LEN(numbers))];
        break;
    case CELL_STRING:
    case CELL_BYTES:
        c.as.bytes = any_text(r);
        break;
    case CELL_ARRAY:
    case CELL_MAP: {
        c.n = (uint32_t)rng_below(r, 4);
        struct cell *items = arena_alloc(&arena, 4 * sizeof *items);
        struct map_entry *entries = arena_alloc(&arena, 4 * sizeof *entries);
        for (uint32_t i = 0; i < c.n; i++) {
            items[i] = any_cell(r, depth - 1);
            entries[i] = (struct map_entry){any_text(r), items[i]};
        }
        if (c.type == CELL_ARRAY)
            c.as.items = items;
        else
            c.as.entries = entries;
        break;
    }
    default: /* records have shapes; lists_records_and_multi_select_picklists has one */
        c.type = CELL_NULL;
    }
    return c;
}

static struct field_config any_config(struct rng *r, struct value_pair *pair)
{
    return (struct field_config){.clean = (enum field_clean)rng_below(r, CLEAN_TRIM + 1),
                                 .max_length = (int64_t)rng_below(r, 4),
                                 .on_too_long = (enum too_long_policy)rng_below(r, TOO_LONG_FLAG + 1),
                                 .n_map = (uint32_t)rng_below(r, 2),
                                 .map = pair,
                                 .on_unknown = (enum unknown_policy)rng_below(r, UNKNOWN_NULL + 1),
                                 .on_error = (enum error_policy)rng_below(r, ERROR_NULL + 1),
                                 .nulls = (enum null_policy)rng_below(r, NULLS_EMPTY + 1)};
}

/* What the contract of mirror.h asks of a value. */
static void assert_holdable(const struct mirror_value *v)
{
    char text[MIRROR_TIME_ROOM];
    switch (v->type) {
    case MIRROR_TEXT:
        assert_true(text_is_utf8(v->as.text) && (!v->as.text.n || !memchr(v->as.text.p, 0, v->as.text.n)));
        return;
    case MIRROR_JSON: {
        json_t *json = json_loadb((const char *)v->as.text.p, v->as.text.n,
                                  JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
        if (!json)
            fail_msg("no JSON: %.*s", SPAN_ARG(v->as.text));
        json_decref(json);
        return;
    }
    case MIRROR_BOOLEAN:
        assert_in_range(v->as.integer, 0, 1);
        return;
    case MIRROR_DOUBLE:
        assert_true(isfinite(v->as.number));
        return;
    case MIRROR_BIGINT:
        return;
    default:
        assert_true(mirror_time_text(v, text));
    }
}

static void any_value_is_holdable_or_refused_with_a_reason(void **state)
{
    (void)state;
    struct rng r = {20260507};
    int results[3] = {0};
    struct value_pair pair = {(char *)"1", (char *)"2026-05-06"};
    for (int round = 0; round < 200000; round++) {
        struct field_config config = any_config(&r, &pair);
        struct map_rule rule = {.entity = "E",
                                .field = "F",
                                .type = (enum mirror_type)rng_below(&r, MIRROR_JSON + 1),
                                .member = rng_below(&r, 4) == 0,
                                .multi = rng_below(&r, 4) == 0,
                                .kind = (enum field_kind)rng_below(&r, FIELD_TIME + 1),
                                .config = &config};
        struct cell cell = any_cell(&r, 2);
        struct mirror_value value;
        struct err why = ERR_INIT;
        const char *flagged;
        enum map_result result = coerce(&rule, &cell, &arena, &value, &flagged, &why);
        results[result]++;
        assert_true((result == MAP_PARK || flagged) == (why.text[0] != '\0') || result == MAP_VALUE);
        if (result == MAP_PARK || flagged)
            assert_memory_equal(why.text, "E.F: ", 5);
        if (result == MAP_VALUE && !value.is_null)
            assert_holdable(&value);
        arena_reset(&arena);
    }
    assert_true(results[MAP_VALUE] > 10000 && results[MAP_PARK] > 10000 && results[MAP_LEAVE] > 1000);
}

static int release(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_schema_says_arrives_unchanged),
        cmocka_unit_test(what_no_database_can_hold_is_parked),
        cmocka_unit_test(texts_become_what_they_say),
        cmocka_unit_test(other_kinds_are_converted_or_refused),
        cmocka_unit_test(lists_records_and_multi_select_picklists),
        cmocka_unit_test(members_of_a_json_column_are_json),
        cmocka_unit_test(a_member_of_a_shared_object_is_found_as_it_stands),
        cmocka_unit_test(phone_numbers_are_cleaned),
        cmocka_unit_test(amounts_are_cleaned),
        cmocka_unit_test(lengths_are_counted_in_characters),
        cmocka_unit_test(values_are_mapped),
        cmocka_unit_test(nulls_and_errors_follow_the_configuration),
        cmocka_unit_test(any_value_is_holdable_or_refused_with_a_reason),
    };
    return cmocka_run_group_tests_name("coerce", tests, NULL, release);
}
