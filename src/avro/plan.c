/*
 * A schema's JSON to a plan.
 *
 * Order: our own parse with its limits first (avro-c recurses without any), then avro-c as the second
 * opinion, then what the decoder needs to know about the header. avro-c gets the service's own text;
 * where only its name rules object, the canonical form decides, in which every name is full.
 */
#include "avro/plan.h"

#include "base/alloc.h"

#include <avro.h>
#include <pthread.h>

/* avro_strerror() is one buffer for the whole process. */
static pthread_mutex_t avro_c_lock = PTHREAD_MUTEX_INITIALIZER;

static int ask_avro_c(struct span json, struct err *e)
{
    pthread_mutex_lock(&avro_c_lock);
    avro_set_error("%s", ""); /* prefixes would pile up on what an earlier failure left */
    avro_schema_t schema;
    int rc = avro_schema_from_json_length((const char *)json.p, json.n, &schema);
    if (rc == 0)
        avro_schema_decref(schema);
    else
        err_set(e, ERR_REJECTED, "avro", 0, "schema: %s", avro_strerror());
    pthread_mutex_unlock(&avro_c_lock);
    return rc == 0 ? 0 : -1;
}

enum change_type change_type_of_symbol(struct span symbol)
{
    static const char *const names[] = {
        [CHANGE_CREATE] = "CREATE",
        [CHANGE_UPDATE] = "UPDATE",
        [CHANGE_DELETE] = "DELETE",
        [CHANGE_UNDELETE] = "UNDELETE",
        [CHANGE_GAP_CREATE] = "GAP_CREATE",
        [CHANGE_GAP_UPDATE] = "GAP_UPDATE",
        [CHANGE_GAP_DELETE] = "GAP_DELETE",
        [CHANGE_GAP_UNDELETE] = "GAP_UNDELETE",
        [CHANGE_GAP_OVERFLOW] = "GAP_OVERFLOW",
        [CHANGE_TYPE_SNAPSHOT] = "SNAPSHOT",
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (span_equal_str(symbol, names[i]))
            return (enum change_type)i;
    return CHANGE_TYPE_UNKNOWN;
}

static bool is_strings(const struct avro_node *type)
{
    return type->kind == NODE_ARRAY && type->as.items->kind == NODE_STRING;
}

static bool is_string(const struct avro_node *type)
{
    return type->kind == NODE_STRING;
}

static bool is_enum(const struct avro_node *type)
{
    return type->kind == NODE_ENUM;
}

static bool is_integer(const struct avro_node *type)
{
    return type->kind == NODE_INT || type->kind == NODE_LONG;
}

static bool is_int(const struct avro_node *type)
{
    return type->kind == NODE_INT;
}

/* pubsub-api 9.1. What identity and version are made of has to be there. */
static const struct {
    const char *name;
    bool (*fits)(const struct avro_node *type);
    const char *type;
    bool required;
} header_fields[HEADER_ROLES] = {
    [HEADER_ENTITY] = {"entityName", is_string, "a string", true},
    [HEADER_RECORD_IDS] = {"recordIds", is_strings, "an array of strings", true},
    [HEADER_TYPE] = {"changeType", is_enum, "an enum", true},
    [HEADER_ORIGIN] = {"changeOrigin", is_string, "a string", false},
    [HEADER_TRANSACTION] = {"transactionKey", is_string, "a string", true},
    [HEADER_SEQUENCE] = {"sequenceNumber", is_int, "an int", true},
    [HEADER_TIMESTAMP] = {"commitTimestamp", is_integer, "a long", true},
    [HEADER_NUMBER] = {"commitNumber", is_integer, "a long", true},
    [HEADER_USER] = {"commitUser", is_string, "a string", false},
    [HEADER_NULLED] = {"nulledFields", is_strings, "an array of strings", true},
    [HEADER_DIFF] = {"diffFields", is_strings, "an array of strings", false},
    [HEADER_CHANGED] = {"changedFields", is_strings, "an array of strings", true},
};

static enum header_role role_named(const char *name)
{
    for (int r = HEADER_OTHER + 1; r < HEADER_ROLES; r++)
        if (strcmp(name, header_fields[r].name) == 0)
            return (enum header_role)r;
    return HEADER_OTHER;
}

static const enum compound *classify(struct avro_plan *plan)
{
    const struct record_shape *shape = &plan->root->as.record.shape;
    enum compound *kinds = arena_alloc(&plan->arena, shape->n_fields * sizeof *kinds);
    memset(kinds, 0, shape->n_fields * sizeof *kinds);
    for (uint32_t i = 0; i < plan->root->n; i++) {
        const struct field_step *step = &plan->root->as.record.steps[i];
        if (!shape->fields[step->index].record)
            continue;
        uint32_t others = 0;
        if (step->node->kind == NODE_UNION)
            for (uint32_t b = 0; b < step->node->n; b++)
                others += step->node->as.branches[b]->kind != NODE_NULL;
        kinds[step->index] = others > 1 ? COMPOUND_SOMETIMES : COMPOUND_ALWAYS;
    }
    return kinds;
}

static int prepare_header(struct avro_plan *plan, const struct avro_node *header, struct err *e)
{
    const struct record_shape *shape = &header->as.record.shape;
    enum header_role *roles = arena_alloc(&plan->arena, header->n * sizeof *roles);
    bool found[HEADER_ROLES] = {false};
    for (uint32_t i = 0; i < header->n; i++) {
        const struct field_step *step = &header->as.record.steps[i];
        enum header_role role = role_named(shape->fields[step->index].name);
        roles[i] = role;
        if (role == HEADER_OTHER)
            continue;
        if (!header_fields[role].fits(step->node))
            return err_set(e, ERR_REJECTED, "avro", 0, "schema: ChangeEventHeader.%s is not %s",
                           header_fields[role].name, header_fields[role].type);
        found[role] = true;
        if (role == HEADER_TYPE) {
            enum change_type *types = arena_alloc(&plan->arena, step->node->n * sizeof *types);
            for (uint32_t k = 0; k < step->node->n; k++)
                types[k] = change_type_of_symbol(step->node->as.symbols[k]);
            plan->change_types = types;
        }
    }
    for (int r = HEADER_OTHER + 1; r < HEADER_ROLES; r++)
        if (header_fields[r].required && !found[r])
            return err_set(e, ERR_REJECTED, "avro", 0, "schema: ChangeEventHeader has no %s",
                           header_fields[r].name);
    plan->compounds = classify(plan);
    plan->header = header;
    plan->roles = roles;
    plan->schema.is_change = true;
    return 0;
}

static int compile_into(struct avro_plan *plan, struct span json, struct err *e)
{
    if (schema_parse(json, &plan->arena, &plan->root, e) != 0)
        return -1;
    struct buf canonical = BUF_INIT;
    canonical_add(&canonical, plan->root);
    canonical_id(buf_span(&canonical), plan->computed_id);
    int rc = ask_avro_c(json, e);
    if (rc != 0)
        rc = ask_avro_c(buf_span(&canonical), NULL);
    buf_release(&canonical);
    if (rc != 0)
        return -1;

    const struct record_shape *shape = &plan->root->as.record.shape;
    plan->schema.root = *shape;
    const struct field_step *first = plan->root->as.record.steps;
    if (first->index == 0 && first->node->kind == NODE_RECORD &&
        strcmp(shape->fields[0].name, "ChangeEventHeader") == 0)
        return prepare_header(plan, first->node, e);
    return 0;
}

int avro_compile(struct span schema_json, const char *schema_id, struct avro_plan **out, struct err *e)
{
    struct avro_plan *plan = xcalloc(1, sizeof *plan);
    if (strlen(schema_id) >= sizeof plan->schema.id) {
        free(plan);
        return err_set(e, ERR_REJECTED, "avro", 0, "schema id of %zu characters", strlen(schema_id));
    }
    memcpy(plan->schema.id, schema_id, strlen(schema_id) + 1);
    if (compile_into(plan, schema_json, e) != 0) {
        avro_plan_free(plan);
        return -1;
    }
    *out = plan;
    return 0;
}

void avro_plan_free(struct avro_plan *plan)
{
    if (!plan)
        return;
    arena_release(&plan->arena);
    free(plan);
}

const struct event_schema *avro_plan_schema(const struct avro_plan *plan)
{
    return &plan->schema;
}

const char *avro_plan_computed_id(const struct avro_plan *plan)
{
    return plan->computed_id;
}

int avro_schema_id(struct span schema_json, char out[23], struct err *e)
{
    struct arena a = ARENA_INIT;
    struct avro_node *root;
    int rc = schema_parse(schema_json, &a, &root, e);
    if (rc == 0) {
        struct buf canonical = BUF_INIT;
        canonical_add(&canonical, root);
        canonical_id(buf_span(&canonical), out);
        buf_release(&canonical);
    }
    arena_release(&a);
    return rc;
}
