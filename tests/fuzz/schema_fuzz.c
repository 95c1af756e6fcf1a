/*
 * Schema JSON: nothing may crash, and what compiles must hold together: the canonical form of its canonical
 * form is itself, and bytes its plan accepts (the JSON text, zeros) avro-c reads to the same values.
 */
#include "avro/plan.h"
#include "avro_c_guard.h"
#include "avro_oracle.h"

#include <stdlib.h>

/* The canonical form of text into out, or -1. */
static int canonical_of(struct span text, struct buf *out)
{
    struct arena a = ARENA_INIT;
    struct avro_node *root;
    int rc = schema_parse(text, &a, &root, NULL);
    if (rc == 0)
        canonical_add(out, root);
    arena_release(&a);
    return rc;
}

/*
 * A type without a namespace inside one with a namespace gains it when the canonical form is read again: so
 * the Avro specification has it. From the second form on nothing may change.
 */
static void check_canonical(struct span json, const char *computed_id)
{
    struct buf first = BUF_INIT, second = BUF_INIT, third = BUF_INIT;
    char id[23];
    BUG_IF(canonical_of(json, &first) != 0);
    canonical_id(buf_span(&first), id);
    BUG_IF(strcmp(id, computed_id) != 0);
    if (canonical_of(buf_span(&first), &second) == 0) {
        BUG_IF(canonical_of(buf_span(&second), &third) != 0);
        BUG_IF(!span_equal(buf_span(&second), buf_span(&third)));
    }
    buf_release(&first);
    buf_release(&second);
    buf_release(&third);
}

static void check_bytes(const struct avro_plan *plan, avro_schema_t schema, struct span bytes)
{
    struct arena a = ARENA_INIT;
    struct change ch;
    struct err e = ERR_INIT;
    if (avro_decode(plan, bytes, &a, &ch, &e) == 0 && schema) {
        avro_value_iface_t *iface = avro_generic_class_from_schema(schema);
        avro_value_t value;
        avro_reader_t reader = avro_reader_memory((const char *)bytes.p, (int64_t)bytes.n);
        avro_generic_value_new(iface, &value);
        BUG_IF(avro_value_read(reader, &value) != 0);
        BUG_IF(
            !oracle_fields_equal(&value, ch.kind == CHANGE_PLATFORM_EVENT ? 0 : 1, ch.fields, ch.n_fields));
        avro_reader_free(reader);
        avro_value_decref(&value);
        avro_value_iface_decref(iface);
    }
    arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t zeros[64];
    struct avro_plan *plan = NULL;
    struct err e = ERR_INIT;
    struct span json = span_of(data, size);
    guard_begin();
    if (avro_compile(json, "fuzz", &plan, &e) == 0) {
        avro_schema_t schema = NULL;
        if (avro_schema_from_json_length((const char *)data, size, &schema) != 0)
            schema = NULL; /* only its rules for names refused it: compiling asked about the canonical form */
        check_canonical(json, avro_plan_computed_id(plan));
        check_bytes(plan, schema, json);
        for (size_t n = 1; n <= sizeof zeros; n++)
            check_bytes(plan, schema, span_of(zeros, n));
        avro_schema_decref(schema);
        avro_plan_free(plan);
    } else {
        BUG_IF(e.class != ERR_REJECTED || !e.text[0]);
    }
    guard_end();
    return 0;
}
