/*
 * Events that the real service sent, and vectors checked with its own decoders, in the folder named by
 * TIDEMARK_FIXTURES. Without it every test here is skipped.
 */
#include "avro/decoder.h"
#include "avro_bytes.h"
#include "base/digest.h"
#include "base/file.h"
#include "event/json_line.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>

static const char *folder;

static json_t *load_json(const char *name)
{
    char path[512];
    json_error_t je;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *json = json_load_file(path, 0, &je);
    if (!json)
        fail_msg("%s: %s", path, je.text);
    return json;
}

static void load_text(const char *name, struct buf *out)
{
    char path[512];
    struct err e = ERR_INIT;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_read(path, AVRO_MAX_SCHEMA_BYTES, out, &e) != 0)
        fail_msg("%s", e.text);
}

static struct avro_plan *load_plan(const char *name, const char *id)
{
    struct buf text = BUF_INIT;
    struct avro_plan *plan = NULL;
    struct err e = ERR_INIT;
    load_text(name, &text);
    if (avro_compile(buf_span(&text), id ? id : "", &plan, &e) != 0)
        fail_msg("%s: %s", name, e.text);
    buf_release(&text);
    return plan;
}

static void assert_text(struct span got, const json_t *want, const char *name)
{
    if (!json_is_string(want) || !span_equal(got, span_of(json_string_value(want), json_string_length(want))))
        fail_msg("%s: got \"%.*s\", want \"%s\"", name, SPAN_ARG(got), json_string_value(want));
}

static void assert_cell(const struct cell *cell, const json_t *want, const char *name);

/* Every field of the shape: a JSON null or a missing member is an absent value. */
static void assert_fields(const struct record_shape *shape, uint32_t from, const struct field_value *fields,
                          uint32_t n, const json_t *want, bool nulls_given)
{
    uint32_t k = 0;
    for (uint32_t i = from; i < shape->n_fields; i++) {
        const json_t *value = json_object_get(want, shape->fields[i].name);
        if (nulls_given && !value)
            fail_msg("%s is not among the expected values", shape->fields[i].name);
        if (k < n && fields[k].index == i)
            assert_cell(&fields[k++].cell, value, shape->fields[i].name);
        else if (value && !json_is_null(value))
            fail_msg("%s has no value", shape->fields[i].name);
    }
    assert_int_equal(k, n);
}

static void assert_cell(const struct cell *cell, const json_t *want, const char *name)
{
    switch (cell->type) {
    case CELL_BOOLEAN:
        if (!json_is_boolean(want) || cell->as.boolean != json_is_true(want))
            fail_msg("%s: another boolean", name);
        return;
    case CELL_INT:
        if (!json_is_integer(want) || cell->as.integer != json_integer_value(want))
            fail_msg("%s: %lld", name, (long long)cell->as.integer);
        return;
    case CELL_DOUBLE:
        if (!json_is_number(want) || cell->as.number != json_number_value(want))
            fail_msg("%s: %.17g", name, cell->as.number);
        return;
    case CELL_STRING:
        assert_text(cell->as.bytes, want, name);
        return;
    case CELL_RECORD:
        if (!json_is_object(want))
            fail_msg("%s is a record", name);
        assert_fields(cell->as.record.shape, 0, cell->as.record.fields, cell->n, want, true);
        return;
    default:
        fail_msg("%s: a value of type %d", name, (int)cell->type);
    }
}

static void assert_texts(const struct span *got, uint32_t n, const json_t *want)
{
    assert_int_equal(n, json_array_size(want));
    for (uint32_t i = 0; i < n; i++)
        assert_text(got[i], json_array_get(want, i), "an item");
}

static void assert_header(const struct change_header *h, const json_t *want)
{
    assert_text(h->entity, json_object_get(want, "entityName"), "entityName");
    assert_texts(h->record_ids, h->n_record_ids, json_object_get(want, "recordIds"));
    assert_text(h->type_name, json_object_get(want, "changeType"), "changeType");
    assert_text(h->origin, json_object_get(want, "changeOrigin"), "changeOrigin");
    assert_text(h->transaction_key, json_object_get(want, "transactionKey"), "transactionKey");
    assert_text(h->commit_user, json_object_get(want, "commitUser"), "commitUser");
    assert_int_equal(h->sequence_number, json_integer_value(json_object_get(want, "sequenceNumber")));
    assert_int_equal(h->commit_timestamp, json_integer_value(json_object_get(want, "commitTimestamp")));
    assert_int_equal(h->commit_number, json_integer_value(json_object_get(want, "commitNumber")));
}

/* The whole line must be JSON, with the same values in it; gives it to the caller. */
static json_t *line_of(const struct change *ch)
{
    struct buf line = BUF_INIT;
    struct event_data ev = {.event_id = span_of_str("id"), .seq = 1, .received_ms = 1};
    struct line_source source = {span_of_str("00D000000000000AAA"), span_of_str("/data/X")};
    json_error_t je;
    json_line_add(&line, &ev, ch, &source, 0);
    json_t *json = json_loadb((char *)line.data, line.len, JSON_REJECT_DUPLICATES, &je);
    if (!json)
        fail_msg("not JSON: %s: %s", je.text, (char *)line.data);
    buf_release(&line);
    return json;
}

static void decode_payload(const struct avro_plan *plan, const json_t *event, struct buf *payload,
                           struct arena *a, struct change *out)
{
    struct err e = ERR_INIT;
    const char *text = json_string_value(json_object_get(event, "payload_b64"));
    buf_clear(payload);
    assert_int_equal(base64_decode(payload, text, strlen(text)), 0);
    if (avro_decode(plan, buf_span(payload), a, out, &e) != 0)
        fail_msg("%s", e.text);
    struct change_header h;
    assert_int_equal(avro_decode_header(plan, buf_span(payload), a, &h, &e), 0);
    assert_true(span_equal(h.transaction_key, out->header.transaction_key));
    assert_int_equal(h.commit_number, out->header.commit_number);
}

/* A CREATE's line holds exactly the non-null values. */
static void assert_line_values(const json_t *fields, const json_t *decoded)
{
    const char *name;
    json_t *want;
    size_t n = 0;
    json_object_foreach((json_t *)decoded, name, want)
    {
        const json_t *got = json_object_get(fields, name);
        if (json_is_null(want) || strcmp(name, "ChangeEventHeader") == 0) {
            assert_null(got);
            continue;
        }
        n++;
        if (json_is_object(want))
            assert_line_values(got, want);
        else if (!json_equal(got, want))
            fail_msg("%s in the line", name);
    }
    assert_int_equal(json_object_size(fields), n);
}

static void check_capture(const char *name, size_t want_events)
{
    json_t *capture = load_json(name), *event;
    struct buf payload = BUF_INIT;
    struct arena a = ARENA_INIT;
    size_t i, n = 0;
    json_array_foreach(json_object_get(capture, "events"), i, event)
    {
        const char *schema = json_string_value(json_object_get(event, "schema_file"));
        if (!schema)
            continue;
        const char *id = json_string_value(json_object_get(event, "schema_id"));
        struct avro_plan *plan = load_plan(schema, id);
        assert_string_equal(avro_plan_computed_id(plan), id);
        struct change ch;
        decode_payload(plan, event, &payload, &a, &ch);
        const json_t *decoded = json_object_get(event, "decoded");
        assert_header(&ch.header, json_object_get(decoded, "ChangeEventHeader"));
        assert_fields(&ch.schema->root, 1, ch.fields, ch.n_fields, decoded, true);
        assert_int_equal(ch.kind, CHANGE_RECORD);
        json_t *line = line_of(&ch);
        if (ch.header.type == CHANGE_CREATE)
            assert_line_values(json_object_get(line, "fields"), decoded);
        json_decref(line);
        avro_plan_free(plan);
        n++;
    }
    assert_int_equal(n, want_events);
    arena_release(&a);
    buf_release(&payload);
    json_decref(capture);
}

static void real_creates_decode_to_their_values(void **state)
{
    (void)state;
    if (!folder)
        skip();
    check_capture("payloads/AccountCreationEvents.json", 3);
}

static void real_updates_decode_to_their_values(void **state)
{
    (void)state;
    if (!folder)
        skip();
    check_capture("payloads/AccountUpdateEvents.json", 1);
    check_capture("payloads/AccountAddressUpdateEvent.json", 2);
}

static void merged_headers_decode_without_their_schema(void **state)
{
    (void)state;
    if (!folder)
        skip();
    /* The schema of these two was never published; the header is the same in all, and comes first. */
    json_t *capture = load_json("payloads/EventContentPayload.json"), *event;
    struct avro_plan *plan = load_plan("AccountChangeEvent.i8wgJwwM.avsc", "");
    struct buf payload = BUF_INIT;
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    size_t i;
    json_array_foreach(json_object_get(capture, "events"), i, event)
    {
        const char *text = json_string_value(json_object_get(event, "payload_b64"));
        struct change_header h;
        buf_clear(&payload);
        assert_int_equal(base64_decode(&payload, text, strlen(text)), 0);
        assert_int_equal(avro_decode_header(plan, buf_span(&payload), &a, &h, &e), 0);
        assert_header(&h,
                      json_object_get(json_object_get(event, "decoded_header_only"), "ChangeEventHeader"));
        assert_int_equal(h.n_record_ids, 20);
    }
    assert_int_equal(i, 2);
    avro_plan_free(plan);
    arena_release(&a);
    buf_release(&payload);
    json_decref(capture);
}

static json_t *names_line(const struct avro_plan *plan, const json_t *event)
{
    struct buf payload = BUF_INIT;
    struct arena a = ARENA_INIT;
    struct change ch;
    decode_payload(plan, event, &payload, &a, &ch);
    assert_header(&ch.header, json_object_get(event, "decoded_header"));
    assert_fields(&ch.schema->root, 1, ch.fields, ch.n_fields, json_object_get(event, "decoded_nonnull"),
                  false);
    json_t *line = line_of(&ch);
    arena_release(&a);
    buf_release(&payload);
    return line;
}

static void assert_json(const json_t *got, const char *want)
{
    json_t *json = json_loads(want, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    if (!json_equal(got, json)) {
        char *text = json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT);
        fail_msg("got %s, want %s", text, want);
    }
    json_decref(json);
}

static void edge_cases_say_what_they_mean(void **state)
{
    (void)state;
    if (!folder)
        skip();
    static const struct {
        const char *name, *kind, *changed, *nulled, *fields; /* fields NULL: not compared */
    } cases[] = {
        {"GAP_CREATE", "gap", "[]", "[]", "{}"},
        {"GAP_OVERFLOW", "overflow", "[]", "[]", "{}"},
        {"GAP_UPDATE", "gap", "[]", "[]", "{}"},
        {"wildcard", "change", "[]", "[]", "{}"},
        {"DELETE", "change", "[]", "[]", "{}"},
        {"UPDATE Phone", "change", "[\"Phone\",\"LastModifiedDate\"]", "[\"Phone\"]",
         "{\"Phone\":null,\"LastModifiedDate\":1714417112000}"},
        {"UPDATE BillingAddress.Street", "change", "[\"LastModifiedDate\",\"BillingAddress.Street\"]",
         "[\"BillingAddress.Street\"]",
         "{\"LastModifiedDate\":1714417112000,\"BillingAddress\":{\"Street\":null}}"},
        {"UPDATE Description", "change", "[\"Description\",\"LastModifiedDate\"]", "[]", NULL},
    };
    json_t *capture = load_json("payloads/SYNTHETIC_edge_cases.json"), *event;
    struct avro_plan *plan = load_plan(json_string_value(json_object_get(capture, "schema_file")), "");
    assert_string_equal(avro_plan_computed_id(plan),
                        json_string_value(json_object_get(capture, "schema_id")));
    size_t i;
    json_array_foreach(json_object_get(capture, "events"), i, event)
    {
        assert_true(i < sizeof cases / sizeof *cases);
        assert_int_equal(
            strncmp(json_string_value(json_object_get(event, "name")), cases[i].name, strlen(cases[i].name)),
            0);
        json_t *line = names_line(plan, event);
        assert_string_equal(json_string_value(json_object_get(line, "kind")), cases[i].kind);
        assert_json(json_object_get(line, "changed_fields"), cases[i].changed);
        assert_json(json_object_get(line, "nulled_fields"), cases[i].nulled);
        if (cases[i].fields)
            assert_json(json_object_get(line, "fields"), cases[i].fields);
        else
            assert_json(json_object_get(line, "diff_fields"), "[\"Description\"]");
        json_decref(line);
    }
    assert_int_equal(i, sizeof cases / sizeof *cases);
    avro_plan_free(plan);
    json_decref(capture);
}

static struct avro_plan *plan_of_vector(const char *schema)
{
    if (strncmp(schema, "docs Account", 12) == 0)
        schema = "RECONSTRUCTED.AccountChangeEvent";
    else if (strncmp(schema, "docs Lead", 9) == 0)
        schema = "RECONSTRUCTED.LeadChangeEvent";
    char name[128];
    snprintf(name, sizeof name, "%s.avsc", schema);
    return load_plan(name, "");
}

/* An UPDATE whose body is all null, with these elements in all three arrays. */
static void check_vector(const json_t *vector)
{
    struct avro_plan *plan = plan_of_vector(json_string_value(json_object_get(vector, "schema")));
    const char *elements[8] = {NULL};
    size_t i;
    json_t *element;
    json_array_foreach(json_object_get(vector, "encoded"), i, element)
        elements[i] = json_string_value(element);
    struct header_values h = {.change_type = 1, .nulled = elements, .diff = elements, .changed = elements};
    struct buf payload = BUF_INIT;
    put_header(&payload, &h);
    for (uint32_t f = 1; f < avro_plan_schema(plan)->root.n_fields; f++)
        put_long(&payload, 0);
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct change ch;
    if (avro_decode(plan, buf_span(&payload), &a, &ch, &e) != 0)
        fail_msg("%s", e.text);
    json_t *line = line_of(&ch);
    static const char *const keys[] = {"changed_fields", "nulled_fields", "diff_fields"};
    for (size_t k = 0; k < 3; k++)
        if (!json_equal(json_object_get(line, keys[k]), json_object_get(vector, "fields")))
            fail_msg("%s of %s: %s", keys[k], elements[0], json_dumps(json_object_get(line, keys[k]), 0));
    json_decref(line);
    arena_release(&a);
    buf_release(&payload);
    avro_plan_free(plan);
}

static void every_bitmap_vector_gives_its_names(void **state)
{
    (void)state;
    if (!folder)
        skip();
    json_t *vectors = load_json("payloads/bitmap_vectors.json"), *vector;
    size_t i;
    json_array_foreach(vectors, i, vector) check_vector(vector);
    assert_int_equal(i, 12);
    json_decref(vectors);
}

static void schema_ids_are_what_the_service_calls_them(void **state)
{
    (void)state;
    if (!folder)
        skip();
    static const struct {
        const char *file, *id;
    } known[] = {
        {"AccountChangeEvent.i8wgJwwM.avsc", "i8wgJwwM-AVcDbFkbRl5Nw"},
        {"AccountChangeEvent.4egfTTax.avsc", "4egfTTaxua4Y39nYlBXfNg"},
        {"Order_Event__e.avsc", "_CADE3qaegX3ECEW0rlbYA"},
        {"Test_Event__e.avsc", "6L0yfG1TjHj3IeYaje5uZQ"},
        {"Low_Ink__e.avsc", "5E5OtZj5_Gm6Vax9XMXH9A"},
        {"CM_Test_Event_Two__e.avsc", "K98aAtiNFBjA-PJlcvaQ2g"},
        {"ContactChangeEvent.YHKH1xWT.avsc", "YHKH1xWTqwF24lvYNGguGA"},
        {"Some_Custom_Object__ChangeEvent.Q8gDmo90.avsc", "Q8gDmo90TsU92qnJqea7RA"},
        {"OpportunityChangeEvent.nsfixed.avsc", "eDjE91O7vQK20Moqzl5mCQ"},
        {"Case__e.conduit.avsc", "h8wdCDwl8GaO1wot-S6bXA"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct buf text = BUF_INIT;
        struct err e = ERR_INIT;
        char id[23];
        load_text(known[i].file, &text);
        if (avro_schema_id(buf_span(&text), id, &e) != 0)
            fail_msg("%s: %s", known[i].file, e.text);
        assert_string_equal(id, known[i].id);
        buf_release(&text);
    }
}

static void every_schema_compiles_with_its_date_kinds(void **state)
{
    (void)state;
    if (!folder)
        skip();
    static const struct {
        const char *file;
        uint32_t fields;
        unsigned dates, datetimes, times;
    } known[] = {
        {"AccountChangeEvent.4egfTTax.avsc", 86, 3, 6, 1},
        {"AccountChangeEvent.i8wgJwwM.avsc", 86, 3, 6, 1},
        {"CM_Test_Event_Two__e.avsc", 3, 0, 1, 0},
        {"CamelEventMessage__e.avsc", 3, 0, 1, 0},
        {"CamelEventNote__e.avsc", 3, 0, 1, 0},
        {"Case__e.conduit.avsc", 4, 0, 1, 0},
        {"ContactChangeEvent.YHKH1xWT.avsc", 43, 1, 5, 0},
        {"Low_Ink__e.avsc", 5, 0, 1, 0},
        {"OpportunityChangeEvent.nsfixed.avsc", 36, 1, 3, 0},
        {"Order_Event__e.avsc", 5, 0, 1, 0},
        {"RECONSTRUCTED.AccountChangeEvent.avsc", 43, 1, 2, 0},
        {"RECONSTRUCTED.ContactChangeEvent.avsc", 39, 1, 5, 0},
        {"RECONSTRUCTED.EventChangeEvent.avsc", 40, 2, 5, 0},
        {"RECONSTRUCTED.EventRelationChangeEvent.avsc", 14, 0, 3, 0},
        {"RECONSTRUCTED.LeadChangeEvent.avsc", 47, 2, 3, 0},
        {"RECONSTRUCTED.LoginEventStream.avsc", 43, 0, 2, 0},
        {"RECONSTRUCTED.UserChangeEvent.avsc", 60, 0, 6, 0},
        {"Some_Custom_Object__ChangeEvent.Q8gDmo90.avsc", 25, 1, 3, 1},
        {"Test_Event__e.avsc", 3, 0, 1, 0},
        {"Vendor_Profile__ChangeEvent.stripped.avsc", 45, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct avro_plan *plan = load_plan(known[i].file, "");
        const struct record_shape *root = &avro_plan_schema(plan)->root;
        unsigned kinds[4] = {0};
        for (uint32_t f = 0; f < root->n_fields; f++)
            kinds[root->fields[f].kind]++;
        assert_int_equal(root->n_fields, known[i].fields);
        assert_int_equal(kinds[FIELD_DATE], known[i].dates);
        assert_int_equal(kinds[FIELD_DATETIME], known[i].datetimes);
        assert_int_equal(kinds[FIELD_TIME], known[i].times);
        avro_plan_free(plan);
    }
}

int main(void)
{
    const char *env = getenv("TIDEMARK_FIXTURES");
    folder = env && *env ? env : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_creates_decode_to_their_values),
        cmocka_unit_test(real_updates_decode_to_their_values),
        cmocka_unit_test(merged_headers_decode_without_their_schema),
        cmocka_unit_test(edge_cases_say_what_they_mean),
        cmocka_unit_test(every_bitmap_vector_gives_its_names),
        cmocka_unit_test(schema_ids_are_what_the_service_calls_them),
        cmocka_unit_test(every_schema_compiles_with_its_date_kinds),
    };
    return cmocka_run_group_tests_name("fixtures", tests, NULL, NULL);
}
