/*
 * Schema JSON to nodes.
 *
 * Our own parse beside avro-c's, because avro-c drops `doc`, where Salesforce says what a long means.
 * Stricter than avro-c in what makes events ambiguous (two fields of one name, nested unions), as the Avro
 * specification is; more tolerant in names: a short name that is not defined in the enclosing
 * namespace is looked up as a full name, as the Java library does.
 */
#include "avro/plan.h"

#include <jansson.h>
#include <stdlib.h>

struct name_slot {
    const char *full;
    struct avro_node *node;
    struct name_slot *next;
};

enum { NAME_BUCKETS = 256, MAX_NAME = 1024 };

struct parser {
    struct arena *a;
    struct err *e;
    uint32_t fields; /* of all records so far */
    int depth;
    const char *where; /* the innermost named thing: for messages */
    struct name_slot *names[NAME_BUCKETS];
};

static struct avro_node *parse_type(struct parser *s, const json_t *json, const char *space);

static void *zero_alloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    memset(p, 0, n);
    return p;
}

static struct avro_node *reject(struct parser *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

static struct avro_node *reject(struct parser *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(s->e, ERR_REJECTED, "avro", 0, fmt, ap);
    va_end(ap);
    if (s->where)
        err_prefix(s->e, "in %.100s", s->where);
    return NULL;
}

static struct name_slot **name_bucket(struct parser *s, const char *full)
{
    uint32_t h = 2166136261u;
    for (const char *c = full; *c; c++)
        h = (h ^ (uint8_t)*c) * 16777619u;
    return &s->names[h % NAME_BUCKETS];
}

static struct avro_node *find_name(struct parser *s, const char *full)
{
    for (struct name_slot *slot = *name_bucket(s, full); slot; slot = slot->next)
        if (strcmp(slot->full, full) == 0)
            return slot->node;
    return NULL;
}

/* [A-Za-z_][A-Za-z0-9_]*: what an Avro name may be; so a name never needs escaping in JSON. */
static bool is_name(const char *p, size_t n)
{
    if (n == 0 || n > MAX_NAME)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return true;
}

static bool is_dotted_name(const char *p)
{
    for (;;) {
        size_t n = strcspn(p, ".");
        if (!is_name(p, n))
            return false;
        if (!p[n])
            return true;
        p += n + 1;
    }
}

static const char *qualify(struct parser *s, const char *space, const char *name)
{
    size_t ns = strlen(space), n = strlen(name);
    if (ns == 0 || strchr(name, '.'))
        return arena_strndup(s->a, name, n);
    char *full = arena_alloc(s->a, ns + n + 2);
    memcpy(full, space, ns);
    full[ns] = '.';
    memcpy(full + ns + 1, name, n + 1);
    return full;
}

/* The namespace part of a full name: "" when it has none. */
static const char *space_of(struct parser *s, const char *full)
{
    const char *dot = strrchr(full, '.');
    return dot ? arena_strndup(s->a, full, (size_t)(dot - full)) : "";
}

static const char *simple_name(const char *full)
{
    const char *dot = strrchr(full, '.');
    return dot ? dot + 1 : full;
}

/* Name and namespace members to a full name, and the node that now bears it. NULL: err. */
static struct avro_node *define_name(struct parser *s, const json_t *json, const char *space,
                                     enum node_kind kind)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    const json_t *own_space = json_object_get(json, "namespace");
    if (!name)
        return reject(s, "a record, enum or fixed without a name");
    if (json_is_string(own_space))
        space = json_string_value(own_space);
    const char *full = qualify(s, space, name);
    if (!is_dotted_name(full))
        return reject(s, "'%.100s' is not an Avro name", full);
    if (find_name(s, full))
        return reject(s, "'%.100s' is defined twice", full);
    struct avro_node *node = zero_alloc(s->a, sizeof *node);
    node->kind = kind;
    node->name = full;
    struct name_slot *slot = arena_alloc(s->a, sizeof *slot);
    struct name_slot **bucket = name_bucket(s, full);
    *slot = (struct name_slot){full, node, *bucket};
    *bucket = slot;
    return node;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first text that occurs twice, or NULL. Sorts texts. */
static const char *find_twin(const char **texts, size_t n)
{
    qsort(texts, n, sizeof *texts, compare_texts);
    for (size_t i = 1; i < n; i++)
        if (strcmp(texts[i - 1], texts[i]) == 0)
            return texts[i];
    return NULL;
}

/* "Data:DateTime:00N…": the second part says what a long stands for (pubsub-api 8.4, 9.6). */
static enum field_kind kind_of_doc(const char *doc)
{
    static const struct {
        const char *type;
        enum field_kind kind;
    } kinds[] = {{"DateTime", FIELD_DATETIME},
                 {"DateOnly", FIELD_DATE},
                 {"Birthday", FIELD_DATE},
                 {"TimeOnly", FIELD_TIME}};
    const char *type = doc ? strchr(doc, ':') : NULL;
    if (!type)
        return FIELD_PLAIN;
    type++;
    size_t n = strcspn(type, ":");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (n == strlen(kinds[i].type) && memcmp(type, kinds[i].type, n) == 0)
            return kinds[i].kind;
    return FIELD_PLAIN;
}

static bool holds(const struct avro_node *type, enum node_kind kind)
{
    if (type->kind != NODE_UNION)
        return type->kind == kind;
    for (uint32_t i = 0; i < type->n; i++)
        if (type->as.branches[i]->kind == kind)
            return true;
    return false;
}

static const struct record_shape *record_branch(const struct avro_node *type)
{
    if (type->kind == NODE_RECORD)
        return &type->as.record.shape;
    if (type->kind == NODE_UNION)
        for (uint32_t i = 0; i < type->n; i++)
            if (type->as.branches[i]->kind == NODE_RECORD)
                return &type->as.branches[i]->as.record.shape;
    return NULL;
}

static enum cell_type cell_of(const struct avro_node *type)
{
    static const enum cell_type cells[] = {
        [NODE_NULL] = CELL_NULL,     [NODE_BOOLEAN] = CELL_BOOLEAN, [NODE_INT] = CELL_INT,
        [NODE_LONG] = CELL_INT,      [NODE_FLOAT] = CELL_DOUBLE,    [NODE_DOUBLE] = CELL_DOUBLE,
        [NODE_STRING] = CELL_STRING, [NODE_ENUM] = CELL_STRING,     [NODE_BYTES] = CELL_BYTES,
        [NODE_FIXED] = CELL_BYTES,   [NODE_RECORD] = CELL_RECORD,   [NODE_ARRAY] = CELL_ARRAY,
        [NODE_MAP] = CELL_MAP};
    if (type->kind != NODE_UNION)
        return cells[type->kind];
    enum cell_type found = CELL_NULL;
    bool records = false;
    for (uint32_t i = 0; i < type->n; i++) {
        enum cell_type one = cells[type->as.branches[i]->kind];
        records |= one == CELL_RECORD;
        if (one != CELL_NULL && one != CELL_RECORD)
            found = found == CELL_NULL || found == one ? one : CELL_STRING;
    }
    return found == CELL_NULL && records ? CELL_RECORD : found;
}

static int parse_field(struct parser *s, const json_t *json, const char *space, struct schema_field *field,
                       struct field_step *step)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    if (!name || !is_name(name, strlen(name))) {
        reject(s, "field name '%.100s' is not an Avro name", name ? name : "");
        return -1;
    }
    const json_t *type = json_object_get(json, "type");
    if (!type) {
        reject(s, "field %.100s has no type", name);
        return -1;
    }
    step->node = parse_type(s, type, space);
    if (!step->node)
        return -1;

    const char *doc = json_string_value(json_object_get(json, "doc"));
    size_t n = strlen(name);
    field->name = arena_strndup(s->a, name, n);
    field->name_len = (uint32_t)n;
    field->doc = doc ? arena_strndup(s->a, doc, strlen(doc)) : NULL;
    field->kind = holds(step->node, NODE_LONG) ? kind_of_doc(doc) : FIELD_PLAIN;
    field->type = cell_of(step->node);
    field->record = record_branch(step->node);
    char *quoted = arena_alloc(s->a, n + 4);
    quoted[0] = '"';
    memcpy(quoted + 1, name, n);
    memcpy(quoted + 1 + n, "\":", 3);
    field->quoted = quoted;
    field->quoted_len = (uint32_t)n + 3;
    return 0;
}

/* What the walk wants to know at one glance. Backwards: a run of nullable fields is counted from its end. */
static void prepare_steps(struct field_step *steps, uint32_t n)
{
    for (uint32_t i = n; i-- > 0;) {
        const struct avro_node *type = steps[i].node;
        if (type->kind != NODE_UNION || type->as.branches[0]->kind != NODE_NULL)
            continue;
        steps[i].null_run = i + 1 < n ? steps[i + 1].null_run + 1 : 1;
        if (type->n > 1) {
            steps[i].second = type->as.branches[1];
            steps[i].second_kind = type->as.branches[1]->kind;
        }
    }
}

static struct avro_node *parse_record(struct parser *s, const json_t *json, const char *space)
{
    struct avro_node *node = define_name(s, json, space, NODE_RECORD);
    if (!node)
        return NULL;
    const char *outer = s->where;
    s->where = node->name;
    const json_t *list = json_object_get(json, "fields");
    size_t n = json_array_size(list);
    if (n == 0)
        return reject(s, "a record without fields");
    if (n > AVRO_MAX_FIELDS - s->fields)
        return reject(s, "more than %d fields", AVRO_MAX_FIELDS);
    s->fields += (uint32_t)n;

    struct schema_field *fields = zero_alloc(s->a, n * sizeof *fields);
    struct field_step *steps = zero_alloc(s->a, n * sizeof *steps);
    const char **names = arena_alloc(s->a, n * sizeof *names);
    node->as.record.shape = (struct record_shape){simple_name(node->name), (uint32_t)n, fields};
    node->as.record.steps = steps;
    const char *inner = space_of(s, node->name);
    for (size_t i = 0; i < n; i++) {
        struct field_step *step = &steps[node->n];
        if (parse_field(s, json_array_get(list, i), inner, &fields[i], step) != 0)
            return NULL;
        names[i] = fields[i].name;
        step->index = (uint32_t)i;
        node->n += step->node->kind != NODE_NULL; /* a field that is always null has no bytes to walk */
    }
    const char *twin = find_twin(names, n);
    if (twin)
        return reject(s, "field %.100s twice", twin);
    prepare_steps(steps, node->n);
    s->where = outer;
    return node;
}

static struct avro_node *parse_enum(struct parser *s, const json_t *json, const char *space)
{
    struct avro_node *node = define_name(s, json, space, NODE_ENUM);
    if (!node)
        return NULL;
    const json_t *list = json_object_get(json, "symbols");
    size_t n = json_array_size(list);
    if (n == 0)
        return reject(s, "enum %.100s has no symbols", node->name);
    struct span *symbols = arena_alloc(s->a, n * sizeof *symbols);
    const char **names = arena_alloc(s->a, n * sizeof *names);
    for (size_t i = 0; i < n; i++) {
        const char *symbol = json_string_value(json_array_get(list, i));
        if (!symbol || !is_name(symbol, strlen(symbol)))
            return reject(s, "enum %.100s: symbol %zu is not an Avro name", node->name, i);
        names[i] = arena_strndup(s->a, symbol, strlen(symbol));
        symbols[i] = span_of_str(names[i]);
    }
    const char *twin = find_twin(names, n);
    if (twin)
        return reject(s, "enum %.100s: symbol %.100s twice", node->name, twin);
    node->n = (uint32_t)n;
    node->as.symbols = symbols;
    return node;
}

static struct avro_node *parse_fixed(struct parser *s, const json_t *json, const char *space)
{
    struct avro_node *node = define_name(s, json, space, NODE_FIXED);
    if (!node)
        return NULL;
    const json_t *size = json_object_get(json, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 1 || json_integer_value(size) > INT32_MAX)
        return reject(s, "fixed %.100s has no usable size", node->name);
    node->n = (uint32_t)json_integer_value(size);
    return node;
}

static struct avro_node *parse_items(struct parser *s, const json_t *json, const char *space,
                                     enum node_kind kind)
{
    const char *member = kind == NODE_ARRAY ? "items" : "values";
    const json_t *items = json_object_get(json, member);
    if (!items)
        return reject(s, "%s without %s", kind == NODE_ARRAY ? "an array" : "a map", member);
    struct avro_node *node = zero_alloc(s->a, sizeof *node);
    node->kind = kind;
    node->as.items = parse_type(s, items, space);
    return node->as.items ? node : NULL;
}

static struct avro_node *parse_union(struct parser *s, const json_t *json, const char *space)
{
    size_t n = json_array_size(json);
    if (n == 0)
        return reject(s, "a union without branches");
    struct avro_node *node = zero_alloc(s->a, sizeof *node);
    const char **names = arena_alloc(s->a, n * sizeof *names);
    size_t n_names = 0;
    unsigned unnamed = 0; /* bit k: a branch of unnamed kind k */
    node->kind = NODE_UNION;
    node->n = (uint32_t)n;
    node->as.branches = arena_alloc(s->a, n * sizeof *node->as.branches);
    for (size_t i = 0; i < n; i++) {
        struct avro_node *branch = parse_type(s, json_array_get(json, i), space);
        if (!branch)
            return NULL;
        if (branch->kind == NODE_UNION)
            return reject(s, "a union inside a union");
        if (branch->name)
            names[n_names++] = branch->name;
        else if (unnamed & 1u << branch->kind)
            return reject(s, "a union with two branches of one type");
        else
            unnamed |= 1u << branch->kind;
        node->as.branches[i] = branch;
    }
    const char *twin = find_twin(names, n_names);
    return twin ? reject(s, "a union with %.100s twice", twin) : node;
}

static struct avro_node *parse_reference(struct parser *s, const char *name, const char *space)
{
    struct avro_node *node = find_name(s, qualify(s, space, name));
    if (!node)
        node = find_name(s, name);
    return node ? node : reject(s, "'%.100s' is neither an Avro type nor defined above", name);
}

static struct avro_node *parse_named_type(struct parser *s, const char *type, const json_t *object,
                                          const char *space)
{
    static const char *const primitives[] = {
        [NODE_NULL] = "null",   [NODE_BOOLEAN] = "boolean", [NODE_INT] = "int",       [NODE_LONG] = "long",
        [NODE_FLOAT] = "float", [NODE_DOUBLE] = "double",   [NODE_STRING] = "string", [NODE_BYTES] = "bytes"};
    for (unsigned k = 0; k < ARRAY_LEN(primitives); k++) {
        if (strcmp(type, primitives[k]) != 0)
            continue;
        struct avro_node *node = zero_alloc(s->a, sizeof *node);
        node->kind = (enum node_kind)k;
        return node;
    }
    if (!object)
        return parse_reference(s, type, space);
    if (strcmp(type, "record") == 0)
        return parse_record(s, object, space);
    if (strcmp(type, "enum") == 0)
        return parse_enum(s, object, space);
    if (strcmp(type, "fixed") == 0)
        return parse_fixed(s, object, space);
    if (strcmp(type, "array") == 0)
        return parse_items(s, object, space, NODE_ARRAY);
    if (strcmp(type, "map") == 0)
        return parse_items(s, object, space, NODE_MAP);
    return parse_reference(s, type, space);
}

static struct avro_node *parse_type(struct parser *s, const json_t *json, const char *space)
{
    if (s->depth >= AVRO_MAX_DEPTH)
        return reject(s, "types nested deeper than %d", AVRO_MAX_DEPTH);
    s->depth++;
    struct avro_node *node;
    if (json_is_array(json)) {
        node = parse_union(s, json, space);
    } else {
        bool object = json_is_object(json);
        const char *type = json_string_value(object ? json_object_get(json, "type") : json);
        node = type ? parse_named_type(s, type, object ? json : NULL, space)
                    : reject(s, "a type that is neither a name, nor an object with a type, nor a union");
    }
    s->depth--;
    return node;
}

/*
 * The least number of bytes a value takes; 0 with err for a record that takes none. Such a record (only
 * nulls inside, or itself without end) says nothing, and would let a few payload bytes cost endless
 * work. An inner record that is being measured counts as nothing, which is right for a lower bound.
 */
static uint32_t measure(struct parser *s, struct avro_node *node)
{
    static const uint8_t least[] = {
        [NODE_NULL] = 0,   [NODE_BOOLEAN] = 1, [NODE_INT] = 1,   [NODE_LONG] = 1,  [NODE_FLOAT] = 4,
        [NODE_DOUBLE] = 8, [NODE_STRING] = 1,  [NODE_BYTES] = 1, [NODE_FIXED] = 0, [NODE_ENUM] = 1,
        [NODE_RECORD] = 0, [NODE_ARRAY] = 1,   [NODE_MAP] = 1,   [NODE_UNION] = 1};
    if (node->measured)
        return node->min_bytes;
    node->measured = true;
    uint64_t bytes = least[node->kind];
    if (node->kind == NODE_FIXED) {
        bytes = node->n;
    } else if (node->kind == NODE_RECORD) {
        for (uint32_t i = 0; i < node->n; i++)
            bytes += measure(s, (struct avro_node *)node->as.record.steps[i].node);
        if (bytes == 0 && !s->e->class)
            reject(s, "record %.100s takes no bytes", node->name);
    } else if (node->kind == NODE_ARRAY || node->kind == NODE_MAP) {
        measure(s, (struct avro_node *)node->as.items);
    } else if (node->kind == NODE_UNION) {
        for (uint32_t i = 0; i < node->n; i++)
            measure(s, (struct avro_node *)node->as.branches[i]);
    }
    node->min_bytes = bytes > INT32_MAX ? INT32_MAX : (uint32_t)bytes;
    return node->min_bytes;
}

int schema_parse(struct span text, struct arena *a, struct avro_node **root, struct err *e)
{
    if (text.n > AVRO_MAX_SCHEMA_BYTES)
        return err_set(e, ERR_REJECTED, "avro", 0, "schema of %zu bytes: more than %d", text.n,
                       AVRO_MAX_SCHEMA_BYTES);
    json_error_t je;
    json_t *json = json_loadb((const char *)text.p, text.n, JSON_DECODE_ANY, &je);
    if (!json)
        return err_set(e, ERR_REJECTED, "avro", 0, "schema is not JSON: byte %d: %s", je.position, je.text);
    struct parser s = {.a = a, .e = e};
    *root = parse_type(&s, json, "");
    json_decref(json);
    if (!*root)
        return err_prefix(e, "schema");
    if ((*root)->kind != NODE_RECORD)
        return err_set(e, ERR_REJECTED, "avro", 0, "schema: the top level is not a record");
    struct err none = ERR_INIT;
    s.e = &none;
    measure(&s, *root);
    if (none.class) {
        if (e)
            *e = none;
        return err_prefix(e, "schema");
    }
    return 0;
}
