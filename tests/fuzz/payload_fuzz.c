/*
 * Payload bytes: the first byte chooses a schema, the rest is the event.
 *
 * Nothing may crash. What we accept, avro-c must read to the same values, and the line must be JSON. What we
 * refuse, avro-c must refuse too, unless it is one of the things where we are stricter on purpose; this
 * way round only with shapes avro-c is safe on (no enums, arrays, maps, recursion).
 */
#include "avro/decoder.h"
#include "avro_bytes.h"
#include "avro_c_guard.h"
#include "avro_oracle.h"
#include "event/json_line.h"

#include <jansson.h>
#include <stdlib.h>

#define NULLABLE(name, type) ",{\"name\":\"" name "\",\"type\":[\"null\"," type "]}"
#define PERSON                                                                                               \
    "{\"type\":\"record\",\"name\":\"Person\",\"fields\":[{\"name\":\"First\",\"type\":[\"null\","           \
    "\"string\"]},"                                                                                          \
    "{\"name\":\"Last\",\"type\":[\"null\",\"string\"]}]}"
#define ADDRESS                                                                                              \
    "{\"type\":\"record\",\"name\":\"Address\",\"fields\":[{\"name\":\"Street\",\"type\":[\"null\","         \
    "\"string\"]},"                                                                                          \
    "{\"name\":\"City\",\"type\":[\"null\",\"string\"]},{\"name\":\"Latitude\",\"type\":[\"null\","          \
    "\"double\"]}]}"

static const struct {
    const char *json;
    bool safe; /* for avro-c, whatever the bytes */
} schemas[] = {
    {"{\"type\":\"record\",\"name\":\"AccountChangeEvent\",\"namespace\":\"com.sforce.eventbus\",\"fields\":"
     "[" HEADER_FIELD NULLABLE("Name", "\"string\"," PERSON) NULLABLE("Billing", ADDRESS)
         NULLABLE("Shipping", "\"Address\"") NULLABLE("Phone", "\"string\"") NULLABLE("Modified", "\"long\"")
             NULLABLE("Active", "\"boolean\"") NULLABLE("Revenue", "\"double\"")
                 NULLABLE("Staff", "\"int\"") "]}",
     false},
    {"{\"type\":\"record\",\"name\":\"Order__e\",\"fields\":[{\"name\":\"CreatedDate\",\"type\":\"long\"},"
     "{\"name\":\"CreatedById\",\"type\":\"string\"}" NULLABLE("Number", "\"double\"")
         NULLABLE("Note", "\"string\"") NULLABLE("Done", "\"boolean\"") NULLABLE("A", "\"string\"")
             NULLABLE("B", "\"int\"") NULLABLE("C", ADDRESS) "]}",
     true},
    {"{\"type\":\"record\",\"name\":\"E\",\"fields\":[{\"name\":\"a\",\"type\":{\"type\":\"array\",\"items\":"
     "[\"null\",\"string\",\"E\"]}},"
     "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":[\"int\",\"null\"]}},"
     "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"S\",\"symbols\":[\"A\",\"B\",\"C\"]}},"
     "{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}},{\"name\":\"g\",\"type\":"
     "\"float\"},"
     "{\"name\":\"n\",\"type\":{\"type\":\"array\",\"items\":\"null\"}},{\"name\":\"b\",\"type\":\"bytes\"},{"
     "\"name\":\"z\",\"type\":\"null\"},"
     "{\"name\":\"aa\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":\"long\"}}}]}",
     false},
    {"{\"type\":\"record\",\"name\":\"L\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\",\"L\"]},{"
     "\"name\":\"v\",\"type\":\"int\"}]}",
     false},
    {"{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":[\"string\",\"null\"," PERSON
     "]},"
     "{\"name\":\"b\",\"type\":[\"int\",\"long\",\"boolean\",\"double\",\"float\",\"bytes\"]},{\"name\":"
     "\"p\",\"type\":\"Person\"}]}",
     true},
};

static struct {
    struct avro_plan *plan;
    avro_schema_t schema;
    avro_value_iface_t *iface;
} ready[ARRAY_LEN(schemas)];

static void prepare(void)
{
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        struct err e = ERR_INIT;
        if (avro_compile(span_of_str(schemas[i].json), "fuzz", &ready[i].plan, &e) != 0)
            BUG("%s", e.text);
        BUG_IF(avro_schema_from_json_length(schemas[i].json, strlen(schemas[i].json), &ready[i].schema) != 0);
        ready[i].iface = avro_generic_class_from_schema(ready[i].schema);
    }
    guard_begin();
}

/* What we refuse and avro-c need not. */
static bool is_stricter(const char *why)
{
    static const char *const reasons[] = {"bytes after the event", "neither 0 nor 1", "more than 64 bits",
                                          "is not UTF-8"};
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (strstr(why, reasons[i]))
            return true;
    return false;
}

static void check_bits(const struct record_shape *root, const struct field_set *set)
{
    for (uint32_t i = root->n_fields; i < set->top.n_words * 64; i++)
        BUG_IF(field_bits_has(&set->top, i));
    for (uint32_t k = 0; k < set->n_nested; k++) {
        BUG_IF(k && set->nested[k].parent <= set->nested[k - 1].parent);
        const struct record_shape *shape = root->fields[set->nested[k].parent].record;
        BUG_IF(!shape);
        for (uint32_t i = shape->n_fields; i < set->nested[k].bits.n_words * 64; i++)
            BUG_IF(field_bits_has(&set->nested[k].bits, i));
    }
}

static void check_line(const struct change *ch)
{
    struct event_data ev = {
        .seq = 1, .received_ms = 1, .event_id = span_of_str("id"), .schema_id = span_of_str("s")};
    struct line_source source = {span_of_str("00D"), span_of_str("/data/X")};
    struct buf line = BUF_INIT;
    json_line_add(&line, &ev, ch, &source, 0);
    json_error_t je;
    json_t *json = json_loadb((char *)line.data, line.len, JSON_ALLOW_NUL, &je);
    /* A NUL in a map's key is valid JSON, but not for this reader. */
    BUG_IF(!json && json_error_code(&je) != json_error_null_byte_in_key);
    json_decref(json);
    buf_release(&line);
}

static void check_header(const struct avro_plan *plan, struct span payload, const struct change *ch,
                         avro_value_t *want)
{
    struct arena a = ARENA_INIT;
    struct change_header h;
    avro_value_t header = {NULL, NULL}, field = {NULL, NULL};
    size_t n = 0;
    int64_t number = 0;
    BUG_IF(avro_decode_header(plan, payload, &a, &h, NULL) != 0);
    BUG_IF(h.commit_number != ch->header.commit_number || !span_equal(h.entity, ch->header.entity) ||
           h.n_record_ids != ch->header.n_record_ids);
    avro_value_get_by_name(want, "ChangeEventHeader", &header, NULL);
    avro_value_get_by_name(&header, "recordIds", &field, NULL);
    avro_value_get_size(&field, &n);
    BUG_IF(n != h.n_record_ids);
    avro_value_get_by_name(&header, "commitNumber", &field, NULL);
    avro_value_get_long(&field, &number);
    BUG_IF(number != h.commit_number);
    check_bits(&ch->schema->root, &ch->changed);
    check_bits(&ch->schema->root, &ch->nulled);
    check_bits(&ch->schema->root, &ch->diff);
    arena_release(&a);
}

static void check(size_t k, struct span payload)
{
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    int rc = avro_decode(ready[k].plan, payload, &a, &ch, &e);
    if (rc == 0)
        check_line(&ch);
    if (rc == 0 || schemas[k].safe) {
        avro_value_t value;
        avro_generic_value_new(ready[k].iface, &value);
        avro_reader_t reader = avro_reader_memory((const char *)payload.p, (int64_t)payload.n);
        int theirs = avro_value_read(reader, &value);
        BUG_IF(rc == 0 && theirs != 0);
        BUG_IF(rc == 0 && !oracle_fields_equal(&value, ch.kind == CHANGE_PLATFORM_EVENT ? 0 : 1, ch.fields,
                                               ch.n_fields));
        if (rc == 0 && ch.kind != CHANGE_PLATFORM_EVENT)
            check_header(ready[k].plan, payload, &ch, &value);
        if (rc != 0 && theirs == 0 && !is_stricter(e.text))
            BUG("only we refuse: %s", e.text);
        avro_reader_free(reader);
        avro_value_decref(&value);
    }
    arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!ready[0].plan)
        prepare();
    if (size == 0)
        return 0;
    /* A copy of its own: what lies before the payload is not its to read. */
    uint8_t *copy = malloc(size - 1);
    memcpy(copy, data + 1, size - 1);
    check(data[0] % ARRAY_LEN(schemas), span_of(copy, size - 1));
    free(copy);
    guard_end();
    return 0;
}
