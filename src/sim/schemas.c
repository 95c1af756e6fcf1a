#include "sim/schemas.h"

#include "base/alloc.h"
#include "sim/canonical.h"

#include <avro.h>
#include <stdio.h>

static int check_with_avro_c(struct span json, struct err *e)
{
    avro_schema_t parsed;
    if (avro_schema_from_json_length((const char *)json.p, json.n, &parsed))
        return err_set(e, ERR_CONFIG, "schema", 0, "not a valid Avro schema: %s", avro_strerror());
    avro_schema_decref(parsed);
    return 0;
}

int schemas_add(struct schemas *s, struct span json, char id_out[23], struct err *e)
{
    struct schema schema = {.json = BUF_INIT};
    if (canonical_schema_id(json, schema.id, schema.record, sizeof schema.record, e) < 0 ||
        check_with_avro_c(json, e) < 0)
        return -1;
    if (id_out)
        memcpy(id_out, schema.id, sizeof schema.id);
    if (schemas_find(s, span_of_str(schema.id)))
        return 0;
    buf_add_span(&schema.json, json);
    struct schema *copy = xmalloc(sizeof *copy);
    *copy = schema;
    s->list = xrealloc(s->list, (s->n + 1) * sizeof(struct schema *));
    s->list[s->n++] = copy;
    return 0;
}

struct schema *schemas_find(const struct schemas *s, struct span id)
{
    for (size_t i = 0; i < s->n; i++)
        if (span_equal_str(id, s->list[i]->id))
            return s->list[i];
    return NULL;
}

struct schema *schemas_find_record(const struct schemas *s, const char *record)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(record, s->list[i]->record) == 0)
            return s->list[i];
    return NULL;
}

void schemas_release(struct schemas *s)
{
    for (size_t i = 0; i < s->n; i++) {
        buf_release(&s->list[i]->json);
        free(s->list[i]);
    }
    free(s->list);
}

void topic_of_record(const char *record, char out[160])
{
    size_t n = strlen(record);
    bool is_change = n > 11 && strcmp(record + n - 11, "ChangeEvent") == 0;
    snprintf(out, 160, "/%s/%.120s", is_change ? "data" : "event", record);
}
