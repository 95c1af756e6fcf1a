/*
 * The decoder on bytes and schemas that no service should send: every refusal decoder.h names, with the byte
 * it names; and everything Avro allows beyond what the service sends.
 */
#include "avro/decoder.h"
#include "avro/schema_cache.h"
#include "avro_bytes.h"
#include "base/alloc.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>

static struct avro_plan *compile(const char *json)
{
    struct avro_plan *plan = NULL;
    struct err e = ERR_INIT;
    if (avro_compile(span_of_str(json), "id", &plan, &e) != 0)
        fail_msg("%s\n%s", e.text, json);
    return plan;
}

/* {"type":"record","name":"E","fields":[{"name":"a","type":<type>}]} */
static char *schema_of(const char *type)
{
    return xasprintf("{\"type\":\"record\",\"name\":\"E\",\"namespace\":\"n.s\",\"fields\":[{\"name\":\"a\","
                     "\"type\":%s}]}",
                     type);
}

static void assert_refused_schema(const char *json, const char *want)
{
    struct avro_plan *plan = NULL;
    struct err e = ERR_INIT;
    char id[23];
    assert_int_equal(avro_compile(span_of_str(json), "id", &plan, &e), -1);
    assert_int_equal(e.class, ERR_REJECTED);
    if (!strstr(e.text, want))
        fail_msg("'%s' does not say '%s'", e.text, want);
    /* What only the header lacks is still a schema with an id. */
    assert_int_equal(avro_schema_id(span_of_str(json), id, NULL), strstr(want, "ChangeEventHeader") ? 0 : -1);
}

static void assert_refused_type(const char *type, const char *want)
{
    char *json = schema_of(type);
    assert_refused_schema(json, want);
    free(json);
}

/* The bytes are an event of one field `a` of this type, and are refused in these words. */
static void assert_refused_bytes(const char *type, const void *bytes, size_t n, const char *want)
{
    char *json = schema_of(type);
    struct avro_plan *plan = compile(json);
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    /* Exactly as long as it says: a sanitizer sees one byte more. */
    uint8_t *exact = xmalloc(n ? n : 1);
    memcpy(exact, bytes, n);
    if (avro_decode(plan, span_of(exact, n), &a, &ch, &e) == 0)
        fail_msg("accepted, want '%s'", want);
    assert_int_equal(e.class, ERR_REJECTED);
    if (strcmp(e.text, want) != 0)
        fail_msg("got '%s', want '%s'", e.text, want);
    free(exact);
    arena_release(&a);
    avro_plan_free(plan);
    free(json);
}

#define BYTES(text) "" text, sizeof(text) - 1

static void hostile_bytes_are_refused_with_their_offset(void **state)
{
    (void)state;
    assert_refused_bytes("\"int\"", BYTES(""), "field a: byte 0: the payload ends inside a number");
    assert_refused_bytes("\"int\"", BYTES("\x80\x80"), "field a: byte 0: the payload ends inside a number");
    assert_refused_bytes("\"int\"", BYTES("\x80\x80\x80\x80\x10"),
                         "field a: byte 0: int 2147483648 does not fit 32 bits");
    assert_refused_bytes("\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                         "field a: byte 0: a number of more than 10 bytes");
    assert_refused_bytes("\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
                         "field a: byte 0: a number of more than 64 bits");
    assert_refused_bytes("\"boolean\"", BYTES("\x02"), "field a: byte 0: boolean 2 is neither 0 nor 1");
    assert_refused_bytes("[\"null\",\"boolean\"]", BYTES("\x02\x07"),
                         "field a: byte 1: boolean 7 is neither 0 nor 1");
    assert_refused_bytes("\"boolean\"", BYTES(""),
                         "field a: byte 0: the payload ends where a boolean should be");
    assert_refused_bytes("\"double\"", BYTES("1234567"), "field a: byte 0: the payload ends inside a double");
    assert_refused_bytes("\"float\"", BYTES("123"), "field a: byte 0: the payload ends inside a float");
    assert_refused_bytes("\"string\"",
                         BYTES("\x06"
                               "ab"),
                         "field a: byte 0: string of 3 bytes, 2 are left");
    assert_refused_bytes("\"string\"",
                         BYTES("\x01"
                               "ab"),
                         "field a: byte 0: string of -1 bytes, 2 are left");
    assert_refused_bytes("\"bytes\"", BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                         "field a: byte 0: bytes of 9223372036854775807 bytes, 0 are left");
    assert_refused_bytes("\"string\"", BYTES("\x04\xc3\x28"),
                         "field a: byte 1: a string of 2 bytes is not UTF-8");
    assert_refused_bytes("\"string\"", BYTES("\x06\xed\xa0\x80"),
                         "field a: byte 1: a string of 3 bytes is not UTF-8");
    assert_refused_bytes("{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}", BYTES("123"),
                         "field a: byte 0: a fixed of 4 bytes, 3 are left");
    assert_refused_bytes("[\"null\",\"int\"]", BYTES("\x04"), "field a: byte 0: branch 2 of a union of 2");
    assert_refused_bytes("[\"null\",\"int\"]", BYTES("\x01\x01"),
                         "field a: byte 0: branch -1 of a union of 2");
    assert_refused_bytes("[\"null\"]", BYTES("\x02"), "field a: byte 0: branch 1 of a union of 1");
    assert_refused_bytes("{\"type\":\"enum\",\"name\":\"S\",\"symbols\":[\"A\",\"B\"]}", BYTES("\x04"),
                         "field a: byte 0: symbol 2 of an enum of 2 (n.s.S)");
    assert_refused_bytes("\"int\"", BYTES("\x02\x02"), "byte 1: 1 bytes after the event");
    assert_refused_bytes("[\"null\",{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"c\",\"type\":"
                         "[\"null\",\"string\"]}]}]",
                         BYTES("\x02\x02\x06"
                               "ab"),
                         "field a: field c: byte 2: string of 3 bytes, 2 are left");
}

static void hostile_blocks_are_refused_with_their_offset(void **state)
{
    (void)state;
    static const char strings[] = "{\"type\":\"array\",\"items\":\"string\"}";
    static const char nulls[] = "{\"type\":\"array\",\"items\":\"null\"}";
    static const char map[] = "{\"type\":\"map\",\"values\":\"int\"}";
    assert_refused_bytes(strings, BYTES("\x06\x02x"),
                         "field a: byte 0: an array of 3 items, but only 2 bytes are left");
    assert_refused_bytes(strings, BYTES("\x02\x02x"), "field a: byte 3: the payload ends inside a number");
    assert_refused_bytes(strings, BYTES("\xc2\x9a\x0c"),
                         "field a: byte 0: an array of more than 100000 items");
    assert_refused_bytes(strings, BYTES("\x02\x02x\xc0\x9a\x0c"),
                         "field a: byte 3: an array of more than 100000 items");
    assert_refused_bytes(strings, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"),
                         "field a: byte 0: an array of more than 100000 items");
    assert_refused_bytes(nulls, BYTES("\x02\x00"), "field a: byte 0: an array of items without size");
    assert_refused_bytes(strings, BYTES("\x01\x14\x02x\x00"),
                         "field a: byte 0: a block of 10 bytes, 3 are left");
    assert_refused_bytes(strings, BYTES("\x01\x01\x02x\x00"),
                         "field a: byte 0: a block of -1 bytes, 3 are left");
    assert_refused_bytes(strings, BYTES("\x01\x06\x02x\x00"),
                         "field a: byte 4: a block ends here, but it said byte 5");
    assert_refused_bytes(map, BYTES("\x02\x02k"), "field a: byte 3: the payload ends inside a number");
    assert_refused_bytes(map, BYTES("\x04\x02k\x02"),
                         "field a: byte 0: an array of 2 items, but only 3 bytes are left");
}

static struct cell only_cell(const char *type, const void *bytes, size_t n, struct arena *a,
                             struct avro_plan **plan)
{
    char *json = schema_of(type);
    struct err e = ERR_INIT;
    struct change ch;
    *plan = compile(json);
    free(json);
    if (avro_decode(*plan, span_of(bytes, n), a, &ch, &e) != 0)
        fail_msg("%s: %s", type, e.text);
    assert_int_equal(ch.kind, CHANGE_PLATFORM_EVENT);
    if (ch.n_fields == 0)
        return (struct cell){.type = CELL_NULL};
    assert_int_equal(ch.n_fields, 1);
    return ch.fields[0].cell;
}

static void arrays_come_in_all_block_forms(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        uint32_t items;
    } forms[] = {
        {BYTES("\x00"), 0},
        {BYTES("\x06\x02x\x02y\x02z\x00"), 3},
        {BYTES("\x05\x0c\x02x\x02y\x02z\x00"), 3},              /* a block that says its size */
        {BYTES("\x02\x02x\x02\x02y\x02\x02z\x00"), 3},          /* three blocks */
        {BYTES("\x02\x02x\x03\x08\x02y\x02z\x02\x02u\x00"), 4}, /* mixed */
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct arena a = ARENA_INIT;
        struct avro_plan *plan;
        struct cell cell = only_cell("{\"type\":\"array\",\"items\":\"string\"}", forms[i].bytes, forms[i].n,
                                     &a, &plan);
        assert_int_equal(cell.type, CELL_ARRAY);
        assert_int_equal(cell.n, forms[i].items);
        for (uint32_t k = 0; k < cell.n; k++)
            assert_true(span_equal(cell.as.items[k].as.bytes, span_of(&"xyzu"[k], 1)));
        arena_release(&a);
        avro_plan_free(plan);
    }
}

static void maps_bytes_fixed_and_floats_decode(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct avro_plan *plan;
    struct cell cell = only_cell("{\"type\":\"map\",\"values\":[\"null\",\"long\"]}",
                                 BYTES("\x02\x02k\x02\x0e\x01\x06\x02l\x00\x00"), &a, &plan);
    assert_int_equal(cell.type, CELL_MAP);
    assert_int_equal(cell.n, 2);
    assert_true(span_equal_str(cell.as.entries[0].key, "k"));
    assert_int_equal(cell.as.entries[0].cell.as.integer, 7);
    assert_int_equal(cell.as.entries[1].cell.type, CELL_NULL);
    avro_plan_free(plan);
    cell = only_cell("\"bytes\"", BYTES("\x04\xff\x00"), &a, &plan);
    assert_int_equal(cell.type, CELL_BYTES);
    assert_int_equal(cell.as.bytes.n, 2);
    avro_plan_free(plan);
    cell = only_cell("{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}", BYTES("\xff\x01"), &a, &plan);
    assert_int_equal(cell.as.bytes.p[0], 0xff);
    avro_plan_free(plan);
    cell = only_cell("\"float\"", BYTES("\x00\x00\x20\x41"), &a, &plan);
    assert_true(cell.type == CELL_DOUBLE && cell.as.number == 10.0);
    avro_plan_free(plan);
    arena_release(&a);
}

static void numbers_are_exact_at_their_ends(void **state)
{
    (void)state;
    static const int64_t longs[] = {
        0, -1, 63, -64, 64, INT32_MAX, INT32_MIN, ((int64_t)1 << 53) + 1, INT64_MAX, INT64_MIN};
    struct arena a = ARENA_INIT;
    struct avro_plan *plan;
    for (size_t i = 0; i < ARRAY_LEN(longs); i++) {
        struct buf b = BUF_INIT;
        put_long(&b, longs[i]);
        struct cell cell = only_cell("\"long\"", b.data, b.len, &a, &plan);
        assert_true(cell.type == CELL_INT && cell.as.integer == longs[i]);
        avro_plan_free(plan);
        buf_release(&b);
    }
    /* Longer than needed, but not ambiguous. */
    struct cell cell = only_cell("\"int\"", BYTES("\x82\x80\x00"), &a, &plan);
    assert_int_equal(cell.as.integer, 1);
    avro_plan_free(plan);
    arena_release(&a);
}

static void unions_take_any_order(void **state)
{
    (void)state;
    static const char person[] =
        "{\"type\":\"record\",\"name\":\"P\",\"fields\":[{\"name\":\"L\",\"type\":[\"null\",\"string\"]}]}";
    struct arena a = ARENA_INIT;
    struct avro_plan *plan;
    char type[200];
    snprintf(type, sizeof type, "[\"null\",\"string\",%s]", person);
    assert_int_equal(only_cell(type, BYTES("\x00"), &a, &plan).type, CELL_NULL);
    avro_plan_free(plan);
    assert_int_equal(only_cell(type, BYTES("\x02\x02x"), &a, &plan).type, CELL_STRING);
    avro_plan_free(plan);
    struct cell cell = only_cell(type, BYTES("\x04\x02\x02x"), &a, &plan);
    assert_int_equal(cell.type, CELL_RECORD);
    assert_string_equal(cell.as.record.shape->name, "P");
    assert_ptr_equal(cell.as.record.shape, avro_plan_schema(plan)->root.fields[0].record);
    avro_plan_free(plan);
    snprintf(type, sizeof type, "[\"string\",\"null\",%s]", person);
    assert_int_equal(only_cell(type, BYTES("\x00\x02x"), &a, &plan).type, CELL_STRING);
    avro_plan_free(plan);
    assert_int_equal(only_cell(type, BYTES("\x02"), &a, &plan).type, CELL_NULL);
    avro_plan_free(plan);
    /* A branch number longer than it needs to be, and a null that is. */
    assert_int_equal(only_cell(type, BYTES("\x82\x00"), &a, &plan).type, CELL_NULL);
    avro_plan_free(plan);
    arena_release(&a);
}

static void recursion_ends_at_its_limit(void **state)
{
    (void)state;
    static const char json[] =
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\",\"E\"]},"
        "{\"name\":\"v\",\"type\":\"int\"}]}";
    for (int depth = AVRO_MAX_DEPTH - 1; depth <= AVRO_MAX_DEPTH + 1; depth++) {
        struct avro_plan *plan = compile(json);
        struct arena a = ARENA_INIT;
        struct err e = ERR_INIT;
        struct change ch;
        struct buf b = BUF_INIT;
        for (int i = 0; i < depth; i++)
            put_long(&b, 1);
        put_long(&b, 0);
        for (int i = 0; i <= depth; i++)
            put_long(&b, i);
        assert_int_equal(avro_decode(plan, buf_span(&b), &a, &ch, &e), depth <= AVRO_MAX_DEPTH ? 0 : -1);
        if (depth > AVRO_MAX_DEPTH)
            assert_string_equal(e.text, "field next: field next: byte 65: values nested deeper than 64");
        buf_release(&b);
        arena_release(&a);
        avro_plan_free(plan);
    }
}

static void wide_records_outgrow_the_stack(void **state)
{
    (void)state;
    struct buf json = BUF_INIT, b = BUF_INIT;
    buf_add_str(&json, "{\"type\":\"record\",\"name\":\"E\",\"fields\":[");
    for (int i = 0; i < AVRO_MAX_FIELDS; i++) {
        buf_addf(&json, "%s{\"name\":\"f%d\",\"type\":%s}", i ? "," : "", i,
                 i % 3 ? "[\"null\",\"int\"]" : "[\"int\",\"null\"]");
        put_long(&b, i % 3 ? i % 2 : 0);
        if (i % 3 == 0 || i % 2)
            put_long(&b, i);
    }
    buf_add_str(&json, "]}");
    struct avro_plan *plan = compile((char *)json.data);
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    assert_int_equal(avro_decode(plan, buf_span(&b), &a, &ch, &e), 0);
    uint32_t k = 0;
    for (int i = 0; i < AVRO_MAX_FIELDS; i++) {
        if (i % 3 && i % 2 == 0)
            continue;
        assert_int_equal(ch.fields[k].index, i);
        assert_int_equal(ch.fields[k++].cell.as.integer, i);
    }
    assert_int_equal(k, ch.n_fields);
    /* Cut anywhere, it is refused. */
    for (size_t n = 0; n < b.len; n += 97)
        assert_int_equal(avro_decode(plan, span_of(b.data, n), &a, &ch, &e), -1);
    avro_plan_free(plan);
    json.len -= 2;
    buf_add_str(&json, ",{\"name\":\"more\",\"type\":\"int\"}]}");
    assert_refused_schema((char *)json.data, "more than 4096 fields");
    arena_release(&a);
    buf_release(&b);
    buf_release(&json);
}

static void bad_schemas_are_refused(void **state)
{
    (void)state;
    assert_refused_schema("", "schema is not JSON");
    assert_refused_schema("{\"type\":", "schema is not JSON");
    assert_refused_schema("\"string\"", "the top level is not a record");
    assert_refused_schema("[\"null\"]", "the top level is not a record");
    assert_refused_schema("7", "neither a name");
    assert_refused_schema("{\"type\":\"record\",\"fields\":[]}", "without a name");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\",\"fields\":[]}",
                          "in E: a record without fields");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\"}", "a record without fields");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"a-b\",\"fields\":[]}",
                          "'a-b' is not an Avro name");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\",\"namespace\":\"a..b\",\"fields\":[]}",
                          "is not an Avro name");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"type\":\"int\"}]}",
                          "field name ''");
    assert_refused_schema(
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"x\\\"y\",\"type\":\"int\"}]}",
        "is not an Avro name");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"x\"}]}",
                          "field x has no type");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"},"
                          "{\"name\":\"x\",\"type\":\"int\"}]}",
                          "in E: field x twice");
    assert_refused_schema(
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"x\",\"type\":\"null\"}]}",
        "record E takes no bytes");
    assert_refused_schema("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"x\",\"type\":\"E\"}]}",
                          "record E takes no bytes");
    assert_refused_type("\"strnig\"", "'strnig' is neither an Avro type nor defined above");
    assert_refused_type("{\"type\":\"n.s.Nobody\"}", "'n.s.Nobody' is neither");
    assert_refused_type("{\"type\":{\"type\":\"int\"}}", "neither a name");
    assert_refused_type("{\"type\":\"array\"}", "an array without items");
    assert_refused_type("{\"type\":\"map\"}", "a map without values");
    assert_refused_type("[]", "a union without branches");
    assert_refused_type("[\"null\",[\"int\"]]", "a union inside a union");
    assert_refused_type("[\"null\",\"int\",\"int\"]", "two branches of one type");
    assert_refused_type("[\"null\",\"E\",\"n.s.E\"]", "a union with n.s.E twice");
    assert_refused_type("{\"type\":\"enum\",\"name\":\"S\",\"symbols\":[]}", "enum n.s.S has no symbols");
    assert_refused_type("{\"type\":\"enum\",\"name\":\"S\",\"symbols\":[\"A\",\"A\"]}", "symbol A twice");
    assert_refused_type("{\"type\":\"enum\",\"name\":\"S\",\"symbols\":[\"A\",7]}",
                        "symbol 1 is not an Avro name");
    assert_refused_type("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", "'n.s.E' is defined twice");
    assert_refused_type("{\"type\":\"fixed\",\"name\":\"F\"}", "fixed n.s.F has no usable size");
    assert_refused_type("{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}", "no usable size");
    assert_refused_type("{\"type\":\"fixed\",\"name\":\"F\",\"size\":0}", "no usable size");
}

static void schema_limits_hold(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    /* The record and its field's type are two levels. */
    for (int depth = 62; depth <= 63; depth++) {
        buf_clear(&b);
        for (int i = 0; i < depth; i++)
            buf_add_str(&b, "{\"type\":\"array\",\"items\":");
        buf_add_str(&b, "\"int\"");
        for (int i = 0; i < depth; i++)
            buf_add_char(&b, '}');
        if (depth == 63) {
            assert_refused_type((char *)b.data, "types nested deeper than 64");
            continue;
        }
        char *json = schema_of((char *)b.data);
        avro_plan_free(compile(json));
        free(json);
    }
    buf_clear(&b);
    for (int i = 0; i < 100000; i++)
        buf_add_char(&b, '[');
    assert_refused_type((char *)b.data, "schema is not JSON");
    buf_clear(&b);
    char *json = schema_of("\"int\"");
    buf_add_str(&b, json);
    while (b.len < AVRO_MAX_SCHEMA_BYTES)
        buf_add_str(&b, "                                ");
    b.len = AVRO_MAX_SCHEMA_BYTES;
    b.data[b.len] = 0;
    avro_plan_free(compile((char *)b.data));
    buf_add_char(&b, ' ');
    assert_refused_schema((char *)b.data, "more than 4194304");
    free(json);
    buf_release(&b);
}

/* Pairs of pairs of pairs … of nulls: 2^60 fields in a few bytes, if nobody looked. */
static void types_without_bytes_cost_nothing(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_add_str(&b, "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"v\",\"type\":\"int\"}");
    buf_add_str(&b, ",{\"name\":\"r0\",\"type\":{\"type\":\"record\",\"name\":\"R0\",\"fields\":[{\"name\":"
                    "\"n\",\"type\":\"null\"}]}}");
    for (int i = 1; i < 60; i++)
        buf_addf(&b,
                 ",{\"name\":\"r%d\",\"type\":{\"type\":\"record\",\"name\":\"R%d\",\"fields\":["
                 "{\"name\":\"a\",\"type\":\"R%d\"},{\"name\":\"b\",\"type\":\"R%d\"}]}}",
                 i, i, i - 1, i - 1);
    buf_add_str(&b, "]}");
    assert_refused_schema((char *)b.data, "record R0 takes no bytes");
    buf_release(&b);
    struct arena a = ARENA_INIT;
    struct avro_plan *plan = compile(
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"n\",\"type\":\"null\"},"
        "{\"name\":\"v\",\"type\":\"int\"},{\"name\":\"m\",\"type\":\"null\"}]}");
    struct err e = ERR_INIT;
    struct change ch;
    assert_int_equal(avro_decode(plan, span_of("\x0e", 1), &a, &ch, &e), 0);
    assert_int_equal(ch.n_fields, 1);
    assert_int_equal(ch.fields[0].index, 1);
    arena_release(&a);
    avro_plan_free(plan);
}

static void names_resolve_near_then_far(void **state)
{
    (void)state;
    /* Members nobody knows, an empty namespace, a short name from the enclosing one, one from none. */
    struct avro_plan *plan = compile(
        "{\"uuid\":\"x\",\"type\":\"record\",\"name\":\"E\",\"namespace\":\"n.s\",\"fields\":["
        "{\"name\":\"a\",\"type\":{\"type\":\"enum\",\"name\":\"T\",\"namespace\":\"\",\"symbols\":[\"A\","
        "\"B\"]},\"order\":7},"
        "{\"name\":\"b\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}},"
        "{\"name\":\"c\",\"type\":[\"null\",\"F\"]},{\"name\":\"d\",\"type\":\"n.s.F\"},{\"name\":\"e\","
        "\"type\":{\"type\":\"T\"}},"
        "{\"name\":\"f\",\"type\":{\"type\":\"long\",\"logicalType\":\"x\"},\"doc\":\"Data:DateTime:00N000\"}"
        "]}");
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    assert_int_equal(avro_decode(plan,
                                 span_of("\x02"
                                         "x"
                                         "\x02"
                                         "y"
                                         "z"
                                         "\x00"
                                         "\x08",
                                         7),
                                 &a, &ch, &e),
                     0);
    assert_int_equal(ch.n_fields, 6);
    assert_true(span_equal_str(ch.fields[0].cell.as.bytes, "B"));
    assert_true(span_equal_str(ch.fields[4].cell.as.bytes, "A"));
    const struct record_shape *root = &avro_plan_schema(plan)->root;
    assert_string_equal(root->name, "E");
    assert_int_equal(root->fields[5].kind, FIELD_DATETIME);
    assert_string_equal(root->fields[5].doc, "Data:DateTime:00N000");
    assert_string_equal(root->fields[5].quoted, "\"f\":");
    assert_false(avro_plan_schema(plan)->is_change);
    arena_release(&a);
    avro_plan_free(plan);
}

static void canonical_ids_see_only_what_changes_the_bytes(void **state)
{
    (void)state;
    char one[23], two[23], other[23];
    /* The id of {"name":"n.s.E","type":"record","fields":[{"name":"a","type":"int"}]}, by another program. */
    assert_int_equal(
        avro_schema_id(
            span_of_str("{\"type\":\"record\",\"name\":\"E\",\"namespace\":\"n.s\",\"fields\":["
                        "{\"name\":\"a\",\"type\":{\"type\":\"int\"},\"doc\":\"d\",\"default\":7}]}"),
            one, NULL),
        0);
    assert_int_equal(
        avro_schema_id(
            span_of_str(
                " { \"fields\":[{\"type\":\"int\",\"name\":\"a\"}],\"name\":\"n.s.E\",\"aliases\":[\"Z\"],"
                "\"type\":\"record\"}"),
            two, NULL),
        0);
    assert_int_equal(
        avro_schema_id(
            span_of_str(
                "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}"),
            other, NULL),
        0);
    assert_string_equal(one, "awHJPig5lRhgYAMghb9EHw");
    assert_string_equal(one, two);
    assert_string_not_equal(one, other);
}

static const char change_schema[] =
    "{\"type\":\"record\",\"name\":\"AccountChangeEvent\",\"namespace\":\"com.sforce.eventbus\",\"fields\":"
    "[" HEADER_FIELD
    ",{\"name\":\"Name\",\"type\":[\"null\",\"string\",{\"type\":\"record\",\"name\":\"Person\",\"fields\":["
    "{\"name\":\"First\",\"type\":[\"null\",\"string\"]},{\"name\":\"Last\",\"type\":[\"null\",\"string\"]}]}"
    "]}"
    ",{\"name\":\"Billing\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"Address\",\"fields\":["
    "{\"name\":\"Street\",\"type\":[\"null\",\"string\"]},{\"name\":\"City\",\"type\":[\"null\",\"string\"]}]"
    "}]}"
    ",{\"name\":\"Shipping\",\"type\":[\"null\",\"Address\"]}"
    ",{\"name\":\"Phone\",\"type\":[\"null\",\"string\"]}]}";

/* Decodes an UPDATE with these elements in changedFields and this body. -1: refused, with e. */
static int decode_changed(const struct avro_plan *plan, const char *const *elements, const void *body,
                          size_t n, struct arena *a, struct change *ch, struct err *e)
{
    struct buf b = BUF_INIT;
    struct header_values h = {.change_type = 1, .changed = elements};
    put_header(&b, &h);
    buf_add(&b, body, n);
    struct span kept = arena_copy(a, buf_span(&b));
    buf_release(&b);
    return avro_decode(plan, kept, a, ch, e);
}

/* "1,4,3.0" : top-level indexes, then parent.child. */
static void assert_bits(const struct avro_plan *plan, const char *const *elements, const char *body, size_t n,
                        const char *want)
{
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    struct buf got = BUF_INIT;
    if (decode_changed(plan, elements, body, n, &a, &ch, &e) != 0)
        fail_msg("%s", e.text);
    for (uint32_t i = 0; i < ch.schema->root.n_fields; i++)
        if (field_set_has(&ch.changed, i, -1))
            buf_addf(&got, "%s%u", got.len ? "," : "", i);
    for (uint32_t k = 0; k < ch.changed.n_nested; k++)
        for (int child = 0; child < 2; child++)
            if (field_set_has(&ch.changed, ch.changed.nested[k].parent, child))
                buf_addf(&got, "%s%u.%d", got.len ? "," : "", ch.changed.nested[k].parent, child);
    assert_string_equal(got.len ? (char *)got.data : "", want);
    buf_release(&got);
    arena_release(&a);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING   BYTES("\0\0\0\0")

static void bitmaps_name_fields(void **state)
{
    (void)state;
    struct avro_plan *plan = compile(change_schema);
    static const char *const empty[] = {NULL};
    assert_bits(plan, empty, NOTHING, "");
    assert_bits(plan, LIST("0x10"), NOTHING, "4");
    assert_bits(plan, LIST("0x0010"), NOTHING, "4");
    assert_bits(plan, LIST("0x00"), NOTHING, "");
    assert_bits(plan, LIST("2-0x01"), NOTHING, "2.0");
    assert_bits(plan, LIST("0x10", "2-0x02", "3-0x03"), NOTHING, "4,2.1,3.0,3.1");
    assert_bits(plan, LIST("3-0x01", "2-0x02", "0x10"), NOTHING, "4,2.1,3.0"); /* any order */
    assert_bits(plan, LIST("2-0x01", "2-0x02"), NOTHING, "2.0,2.1");           /* a parent twice: the union */
    assert_bits(plan, LIST("0x10", "0x04"), NOTHING, "4,2.0,2.1");
    assert_bits(plan, LIST("0x04"), NOTHING, "2.0,2.1"); /* the parent's own bit: all children */
    assert_bits(plan, LIST("0x0C", "3-0x01"), NOTHING, "2.0,2.1,3.0,3.1");
    assert_bits(plan, LIST("0x1c"), NOTHING, "4,2.0,2.1,3.0,3.1");
    /* Name is text or a compound: what the event holds decides what its own bit means. */
    assert_bits(plan, LIST("0x02"), NOTHING, "1");
    assert_bits(plan, LIST("0x02"), BYTES("\x02\x02x\0\0\0"), "1");
    assert_bits(plan, LIST("0x02"), BYTES("\x04\x00\x02\x02x\0\0\0"), "1.0,1.1");
    assert_bits(plan, LIST("1-0x02"), BYTES("\x04\x00\x02\x02x\0\0\0"), "1.1");
    avro_plan_free(plan);
}

static void malformed_bitmaps_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *element, *why;
    } bad[] = {
        {"", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"0x", "no hex digits"},
        {"x10", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"xx10", "not of the form 0x<hex digits>"},
        {"0X10", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"10", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"Phone", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"0x1", "an odd number of hex digits"},
        {"0x1G", "a character that is not a hex digit"},
        {"0x-1", "a character that is not a hex digit"},
        {"0x20", "a bit beyond the fields of the schema"},
        {"0x0100000000000000000000000000000000", "a bit beyond the fields of the schema"},
        {"0x01", "the bit of ChangeEventHeader"},
        {"0-0x01", "a parent that has no components"},
        {"4-0x01", "a parent that has no components"},
        {"5-0x01", "a parent beyond the fields of the schema"},
        {"4294967298-0x01", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"-1-0x01", "not of the form 0x<hex digits> or <field>-0x<hex digits>"},
        {"2-", "not of the form 0x<hex digits>"},
        {"2-01", "not of the form 0x<hex digits>"},
        {"2-0x04", "a bit beyond the fields of the schema"},
        {"2-0x001", "an odd number of hex digits"},
        {"2-3-0x01", "not of the form 0x<hex digits>"},
    };
    struct avro_plan *plan = compile(change_schema);
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = ERR_INIT;
        struct change ch;
        char want[200];
        if (decode_changed(plan, LIST("0x10", bad[i].element), NOTHING, &a, &ch, &e) == 0)
            fail_msg("%s was accepted", bad[i].element);
        /* 8 Account, 1 no ids, 1 type, 2 texts, 3 numbers, 1 user, 2 empty arrays, count, "0x10", length. */
        snprintf(want, sizeof want, "byte 25: changedFields, element 1: %s", bad[i].why);
        assert_string_equal(e.text, want);
    }
    arena_release(&a);
    avro_plan_free(plan);
}

static void headers_are_read_by_name(void **state)
{
    (void)state;
    struct avro_plan *plan = compile(change_schema);
    static const char *const ids[] = {"001A", "001B", NULL};
    struct header_values h = {"Account",        ids,   10,   "origin", "key", -5, 1771291772000,
                              (int64_t)1 << 60, "005", NULL, NULL,     NULL};
    struct buf b = BUF_INIT;
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change_header got;
    struct change ch;
    put_header(&b, &h);
    size_t header_bytes = b.len;
    buf_add_str(&b, "whatever follows");
    assert_int_equal(avro_decode_header(plan, buf_span(&b), &a, &got, &e), 0);
    assert_true(span_equal_str(got.entity, "Account") && span_equal_str(got.record_ids[1], "001B"));
    assert_int_equal(got.n_record_ids, 2);
    assert_int_equal(got.type, CHANGE_TYPE_UNKNOWN);
    assert_true(span_equal_str(got.type_name, "GAP_MERGE"));
    assert_true(span_equal_str(got.origin, "origin") && span_equal_str(got.transaction_key, "key"));
    assert_true(got.sequence_number == -5 && got.commit_timestamp == 1771291772000 &&
                got.commit_number == (int64_t)1 << 60);
    assert_true(span_equal_str(got.commit_user, "005"));
    for (size_t n = 0; n < header_bytes; n++)
        assert_int_equal(avro_decode_header(plan, span_of(b.data, n), &a, &got, &e), -1);
    b.len = header_bytes;
    buf_add(&b, "\0\0\0\0", 4);
    assert_int_equal(avro_decode(plan, buf_span(&b), &a, &ch, &e), 0);
    assert_int_equal(ch.kind, CHANGE_GAP); /* a kind of gap that did not exist when this was written */
    b.data[b.len - 4 - 3 - 4 - 9 - 6 - 1 - 4 - 7 - 1] = 40;
    assert_int_equal(avro_decode_header(plan, buf_span(&b), &a, &got, &e), -1);
    assert_string_equal(e.text,
                        "ChangeEventHeader.changeType: byte 20: symbol 20 of an enum of 12 (changeType)");
    buf_release(&b);
    arena_release(&a);
    avro_plan_free(plan);
}

static void headers_must_have_what_identity_needs(void **state)
{
    (void)state;
    assert_refused_schema(
        "{\"type\":\"record\",\"name\":\"XChangeEvent\",\"fields\":[{\"name\":\"ChangeEventHeader\",\"type\":"
        "{\"type\":\"record\",\"name\":\"H\",\"fields\":[{\"name\":\"entityName\",\"type\":\"string\"}]}}]}",
        "ChangeEventHeader has no recordIds");
    assert_refused_schema(
        "{\"type\":\"record\",\"name\":\"XChangeEvent\",\"fields\":[{\"name\":\"ChangeEventHeader\",\"type\":"
        "{\"type\":\"record\",\"name\":\"H\",\"fields\":[{\"name\":\"entityName\",\"type\":\"int\"}]}}]}",
        "ChangeEventHeader.entityName is not a string");
}

/* Loads what `held` says, and counts. */
struct store {
    const char *held;
    int loads;
};

static int load_schema(void *ctx, struct span org, struct span id, struct buf *json, struct err *e)
{
    struct store *store = ctx;
    (void)org;
    (void)id;
    store->loads++;
    if (!store->held)
        return 1;
    if (strcmp(store->held, "broken") == 0)
        return err_set(e, ERR_STORE, "store", 0, "cannot read");
    buf_add_str(json, store->held);
    return 0;
}

static void the_cache_asks_once(void **state)
{
    (void)state;
    struct store store = {NULL, 0};
    struct schema_cache *cache = schema_cache_new(load_schema, &store);
    struct span org = span_of_str("00D1"), id = span_of_str("-id_1");
    struct err e = ERR_INIT;
    assert_null(schema_cache_get(cache, org, id, &e));
    assert_int_equal(e.class, ERR_RETRY);
    store.held = "broken";
    assert_null(schema_cache_get(cache, org, id, &e));
    assert_int_equal(e.class, ERR_STORE);
    store.held = "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}";
    const struct avro_plan *plan = schema_cache_get(cache, org, id, &e);
    assert_non_null(plan);
    assert_string_equal(avro_plan_schema(plan)->id, "-id_1");
    assert_int_equal(store.loads, 3);
    assert_ptr_equal(schema_cache_get(cache, org, id, &e), plan);
    assert_ptr_equal(schema_cache_put(cache, org, id, span_of_str("not even JSON"), &e), plan);
    assert_int_equal(store.loads, 3);
    /* The same id of another org is another schema. */
    assert_ptr_not_equal(schema_cache_get(cache, span_of_str("00D2"), id, &e), plan);
    /* What does not compile is remembered, until somebody puts one that does. */
    store.held = "{}";
    id = span_of_str("id_2");
    for (int i = 0; i < 3; i++) {
        assert_null(schema_cache_get(cache, org, id, &e));
        assert_int_equal(e.class, ERR_REJECTED);
    }
    assert_int_equal(store.loads, 5);
    plan = schema_cache_put(
        cache, org, id,
        span_of_str("{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}"),
        &e);
    assert_non_null(plan);
    assert_ptr_equal(schema_cache_get(cache, org, id, &e), plan);
    schema_cache_free(cache);
}

static void *get_many(void *cache)
{
    for (int i = 0; i < 2000; i++) {
        char id[16];
        struct err e = ERR_INIT;
        snprintf(id, sizeof id, "id%d", i % 50);
        if (!schema_cache_get(cache, span_of_str("00D1"), span_of_str(id), &e))
            return cache;
    }
    return NULL;
}

static void threads_share_the_cache(void **state)
{
    (void)state;
    struct store store = {
        "{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}", 0};
    struct schema_cache *cache = schema_cache_new(load_schema, &store);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_many, cache), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(store.loads, 50);
    schema_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_bytes_are_refused_with_their_offset),
        cmocka_unit_test(hostile_blocks_are_refused_with_their_offset),
        cmocka_unit_test(arrays_come_in_all_block_forms),
        cmocka_unit_test(maps_bytes_fixed_and_floats_decode),
        cmocka_unit_test(numbers_are_exact_at_their_ends),
        cmocka_unit_test(unions_take_any_order),
        cmocka_unit_test(recursion_ends_at_its_limit),
        cmocka_unit_test(wide_records_outgrow_the_stack),
        cmocka_unit_test(bad_schemas_are_refused),
        cmocka_unit_test(schema_limits_hold),
        cmocka_unit_test(types_without_bytes_cost_nothing),
        cmocka_unit_test(names_resolve_near_then_far),
        cmocka_unit_test(canonical_ids_see_only_what_changes_the_bytes),
        cmocka_unit_test(bitmaps_name_fields),
        cmocka_unit_test(malformed_bitmaps_are_refused),
        cmocka_unit_test(headers_are_read_by_name),
        cmocka_unit_test(headers_must_have_what_identity_needs),
        cmocka_unit_test(the_cache_asks_once),
        cmocka_unit_test(threads_share_the_cache),
    };
    return cmocka_run_group_tests_name("avro", tests, NULL, NULL);
}
