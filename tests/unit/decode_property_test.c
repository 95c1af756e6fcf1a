/*
 * Random schemas, random values: what avro-c encodes, the plan decodes to the same values, and no proper
 * prefix of it, nor it with a byte more, is accepted. Seeded: a failure names its seed.
 */
#include "avro/decoder.h"
#include "avro_oracle.h"
#include "base/buf.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>

enum { SCHEMAS = 1500, VALUES = 6, MAX_NAMED = 64, ENCODED = 1 << 20 };

struct maker {
    struct rng r;
    struct buf json;
    int names;
    char kinds[MAX_NAMED]; /* 'r', 'e', 'f'; 'R': still open */
};

enum { CAN_BE_UNION = 1, CAN_BE_NULL = 2 };

static void make_type(struct maker *m, int depth, unsigned flags);

static void make_record(struct maker *m, int depth)
{
    int name = m->names++;
    m->kinds[name] = 'R';
    buf_addf(&m->json,
             "{\"type\":\"record\",\"name\":\"N%d\",\"fields\":[{\"name\":\"first\",\"type\":\"int\"}", name);
    int n = (int)rng_below(&m->r, depth == 0 ? 30 : 5);
    for (int i = 0; i < n; i++) {
        buf_addf(&m->json, ",{\"name\":\"f%d\",\"type\":", i);
        if (rng_below(&m->r, 2)) { /* the service's usual field */
            buf_add_str(&m->json, "[\"null\",");
            make_type(m, depth + 1, 0);
            buf_add_char(&m->json, ']');
        } else {
            make_type(m, depth + 1, CAN_BE_UNION | CAN_BE_NULL);
        }
        buf_add_char(&m->json, '}');
    }
    buf_add_str(&m->json, "]}");
    m->kinds[name] = 'r';
}

static void make_union(struct maker *m, int depth)
{
    static const char *const types[] = {"\"null\"",    "\"string\"", "\"long\"",
                                        "\"boolean\"", "\"double\"", "\"bytes\""};
    unsigned first = (unsigned)rng_below(&m->r, 6), n = 1 + (unsigned)rng_below(&m->r, 4);
    buf_add_char(&m->json, '[');
    for (unsigned i = 0; i < n; i++)
        buf_addf(&m->json, "%s%s", i ? "," : "", types[(first + i) % 6]);
    if (rng_below(&m->r, 2) && m->names < MAX_NAMED) {
        buf_add_char(&m->json, ',');
        make_record(m, depth + 1);
    }
    buf_add_char(&m->json, ']');
}

/* A type that was defined before; an open record would be endless. */
static bool make_reference(struct maker *m)
{
    if (m->names == 0)
        return false;
    int name = (int)rng_below(&m->r, (uint64_t)m->names);
    if (m->kinds[name] == 'R')
        return false;
    buf_addf(&m->json, "\"N%d\"", name);
    return true;
}

static void make_type(struct maker *m, int depth, unsigned flags)
{
    static const char *const plain[] = {"int",   "long",   "float",  "double", "boolean",
                                        "bytes", "string", "string", "string"};
    switch (rng_below(&m->r, depth > 4 || m->names >= MAX_NAMED - 2 ? 8 : 16)) {
    case 8:
        buf_addf(&m->json, "{\"type\":\"fixed\",\"name\":\"N%d\",\"size\":%d}", m->names,
                 1 + (int)rng_below(&m->r, 20));
        m->kinds[m->names++] = 'f';
        return;
    case 9:
        buf_addf(&m->json, "{\"type\":\"enum\",\"name\":\"N%d\",\"symbols\":[\"A\",\"Bee\",\"C_3\"]}",
                 m->names);
        m->kinds[m->names++] = 'e';
        return;
    case 10:
    case 11:
        make_record(m, depth);
        return;
    case 12:
        buf_add_str(&m->json, "{\"type\":\"array\",\"items\":");
        make_type(m, depth + 1, CAN_BE_UNION);
        buf_add_char(&m->json, '}');
        return;
    case 13:
        buf_add_str(&m->json, "{\"type\":\"map\",\"values\":");
        make_type(m, depth + 1, CAN_BE_UNION);
        buf_add_char(&m->json, '}');
        return;
    case 14:
        if (flags & CAN_BE_UNION) {
            make_union(m, depth);
            return;
        }
        break;
    case 15:
        if (make_reference(m))
            return;
        break;
    case 7:
        if (flags & CAN_BE_NULL) {
            buf_add_str(&m->json, "\"null\"");
            return;
        }
        break;
    default:
        break;
    }
    buf_addf(&m->json, "\"%s\"", plain[rng_below(&m->r, sizeof plain / sizeof *plain)]);
}

static size_t random_text(struct rng *r, char *out)
{
    static const char *const pieces[] = {
        "a", "Z", " ", "\"", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "0123456789abcdef"};
    size_t n = 0;
    for (uint64_t left = rng_below(r, 3) ? rng_below(r, 4) : rng_below(r, 40); left; left--) {
        const char *piece = pieces[rng_below(r, 8)];
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    out[n] = '\0';
    return n;
}

static void fill(struct rng *r, avro_value_t *value, int depth);

static void fill_items(struct rng *r, avro_value_t *value, int depth, bool map)
{
    uint64_t n = depth > 6 ? 0 : rng_below(r, 4);
    for (uint64_t i = 0; i < n; i++) {
        avro_value_t item;
        char key[16];
        snprintf(key, sizeof key, "k%d", (int)i);
        if (map)
            avro_value_add(value, key, &item, NULL, NULL);
        else
            avro_value_append(value, &item, NULL);
        fill(r, &item, depth + 1);
    }
}

static void fill(struct rng *r, avro_value_t *value, int depth)
{
    char text[1024];
    uint64_t bits = rng_next(r) >> rng_below(r, 64);
    avro_schema_t schema = avro_value_get_schema(value);
    avro_value_t part;
    float f = 0;
    double d = 0;
    size_t n = 0;
    switch (avro_value_get_type(value)) {
    case AVRO_NULL:
        avro_value_set_null(value);
        return;
    case AVRO_BOOLEAN:
        avro_value_set_boolean(value, bits & 1);
        return;
    case AVRO_INT32:
        avro_value_set_int(value, (int32_t)bits);
        return;
    case AVRO_INT64:
        avro_value_set_long(value, rng_below(r, 2) ? -(int64_t)bits : (int64_t)bits);
        return;
    case AVRO_FLOAT:
        memcpy(&f, &bits, sizeof f);
        avro_value_set_float(value, f);
        return;
    case AVRO_DOUBLE:
        memcpy(&d, &bits, sizeof d);
        avro_value_set_double(value, d);
        return;
    case AVRO_STRING:
        n = random_text(r, text);
        avro_value_set_string_len(value, text, n + 1);
        return;
    case AVRO_BYTES:
        avro_value_set_bytes(value, &bits, bits % 8);
        return;
    case AVRO_FIXED:
        memset(text, (int)bits, sizeof text);
        avro_value_set_fixed(value, text, (size_t)avro_schema_fixed_size(schema));
        return;
    case AVRO_ENUM:
        avro_value_set_enum(value, (int)(bits % 3));
        return;
    case AVRO_ARRAY:
        fill_items(r, value, depth, false);
        return;
    case AVRO_MAP:
        fill_items(r, value, depth, true);
        return;
    case AVRO_RECORD:
        avro_value_get_size(value, &n);
        for (size_t i = 0; i < n; i++) {
            avro_value_get_by_index(value, i, &part, NULL);
            fill(r, &part, depth + 1);
        }
        return;
    case AVRO_UNION:
        avro_value_set_branch(value, (int)rng_below(r, avro_schema_union_size(schema)), &part);
        fill(r, &part, depth + 1);
        return;
    default:
        fail();
    }
}

static void check_value(const struct avro_plan *plan, struct maker *m, avro_value_t *value, char *bytes,
                        uint64_t seed)
{
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    avro_writer_t writer = avro_writer_memory(bytes, ENCODED - 1);
    assert_int_equal(avro_value_write(writer, value), 0);
    size_t n = (size_t)avro_writer_tell(writer);
    avro_writer_free(writer);
    if (avro_decode(plan, span_of(bytes, n), &a, &ch, &e) != 0)
        fail_msg("seed %llu: %s\n%s", (unsigned long long)seed, e.text, (char *)m->json.data);
    if (!oracle_fields_equal(value, 0, ch.fields, ch.n_fields))
        fail_msg("seed %llu: other values\n%s", (unsigned long long)seed, (char *)m->json.data);
    bytes[n] = 0;
    assert_int_equal(avro_decode(plan, span_of(bytes, n + 1), &a, &ch, &e), -1);
    for (size_t cut = 0; cut < n; cut += 1 + n / 20)
        assert_int_equal(avro_decode(plan, span_of(bytes, cut), &a, &ch, &e), -1);
    arena_release(&a);
}

static void what_avro_c_encodes_decodes_the_same(void **state)
{
    (void)state;
    char *bytes = malloc(ENCODED);
    for (uint64_t seed = 1; seed <= SCHEMAS; seed++) {
        struct maker m = {.r = {seed * 7919}, .json = BUF_INIT};
        struct avro_plan *plan;
        struct err e = ERR_INIT;
        avro_schema_t schema;
        avro_value_t value;
        make_record(&m, 0);
        if (avro_compile(buf_span(&m.json), "", &plan, &e) != 0)
            fail_msg("seed %llu: %s\n%s", (unsigned long long)seed, e.text, (char *)m.json.data);
        assert_int_equal(avro_schema_from_json_length((char *)m.json.data, m.json.len, &schema), 0);
        avro_value_iface_t *iface = avro_generic_class_from_schema(schema);
        avro_generic_value_new(iface, &value);
        for (int i = 0; i < VALUES; i++) {
            avro_value_reset(&value);
            fill(&m.r, &value, 0);
            check_value(plan, &m, &value, bytes, seed);
        }
        avro_value_decref(&value);
        avro_value_iface_decref(iface);
        avro_schema_decref(schema);
        avro_plan_free(plan);
        buf_release(&m.json);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_avro_c_encodes_decodes_the_same)};
    return cmocka_run_group_tests_name("decode_property", tests, NULL, NULL);
}
