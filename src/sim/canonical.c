/*
 * Rules applied, of the Avro specification's "Parsing Canonical Form": PRIMITIVES ({"type":"int"} is
 * "int"), FULLNAMES, STRIP, ORDER (name, type, fields, symbols, items, values, size), STRINGS,
 * INTEGERS, WHITESPACE. A "namespace": "" puts the type in no namespace: the 2023 schemas declare
 * ChangeType so, and their ids include it.
 */
#include "sim/canonical.h"

#include "base/digest.h"
#include "base/json.h"

#include <jansson.h>

enum { MAX_DEPTH = 64 };

static const char *const primitives[] = {"null",  "boolean", "int",   "long",
                                         "float", "double",  "bytes", "string"};

static bool is_primitive(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(primitives); i++)
        if (strcmp(name, primitives[i]) == 0)
            return true;
    return false;
}

static int add_schema(struct buf *out, json_t *schema, const char *namespace, int depth, struct err *e);

static void add_name(struct buf *out, const char *name, const char *namespace)
{
    struct buf full = BUF_INIT;
    if (!strchr(name, '.') && *namespace && !is_primitive(name))
        buf_addf(&full, "%s.", namespace);
    buf_add_str(&full, name);
    json_add_string(out, buf_span(&full));
    buf_release(&full);
}

/* The namespace that names inside this type are resolved in. */
static void inner_namespace(json_t *type, const char *outer, char *out, size_t size)
{
    const char *name = json_string_value(json_object_get(type, "name"));
    const char *own = json_string_value(json_object_get(type, "namespace"));
    const char *dot = name ? strrchr(name, '.') : NULL;
    if (dot)
        snprintf(out, size, "%.*s", (int)(dot - name), name);
    else
        snprintf(out, size, "%s", own ? own : outer);
}

static int add_fields(struct buf *out, json_t *fields, const char *namespace, int depth, struct err *e)
{
    size_t i;
    json_t *field;
    if (!json_is_array(fields))
        return err_set(e, ERR_CONFIG, "schema", 0, "a record without \"fields\"");
    buf_add_char(out, '[');
    json_array_foreach(fields, i, field)
    {
        const char *name = json_string_value(json_object_get(field, "name"));
        if (!name)
            return err_set(e, ERR_CONFIG, "schema", 0, "a field without a name");
        buf_add_str(out, i ? ",{\"name\":" : "{\"name\":");
        json_add_string(out, span_of_str(name));
        buf_add_str(out, ",\"type\":");
        if (add_schema(out, json_object_get(field, "type"), namespace, depth, e) < 0)
            return err_prefix(e, "%s", name);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
    return 0;
}

static void add_symbols(struct buf *out, json_t *symbols)
{
    size_t i;
    json_t *symbol;
    buf_add_char(out, '[');
    json_array_foreach(symbols, i, symbol)
    {
        if (i)
            buf_add_char(out, ',');
        json_add_string(out, span_of_str(json_is_string(symbol) ? json_string_value(symbol) : ""));
    }
    buf_add_char(out, ']');
}

static int add_named(struct buf *out, json_t *schema, const char *type, const char *namespace, int depth,
                     struct err *e)
{
    const char *name = json_string_value(json_object_get(schema, "name"));
    char inner[256];
    if (!name)
        return err_set(e, ERR_CONFIG, "schema", 0, "a %s without a name", type);
    inner_namespace(schema, namespace, inner, sizeof inner);
    buf_add_str(out, "{\"name\":");
    add_name(out, name, inner);
    buf_addf(out, ",\"type\":\"%s\"", type);
    if (strcmp(type, "record") == 0 || strcmp(type, "error") == 0) {
        buf_add_str(out, ",\"fields\":");
        if (add_fields(out, json_object_get(schema, "fields"), inner, depth, e) < 0)
            return -1;
    } else if (strcmp(type, "enum") == 0) {
        buf_add_str(out, ",\"symbols\":");
        add_symbols(out, json_object_get(schema, "symbols"));
    } else {
        buf_addf(out, ",\"size\":%lld", (long long)json_integer_value(json_object_get(schema, "size")));
    }
    buf_add_char(out, '}');
    return 0;
}

static int add_object(struct buf *out, json_t *schema, const char *namespace, int depth, struct err *e)
{
    json_t *type = json_object_get(schema, "type");
    const char *name = json_string_value(type);
    if (!name)
        return add_schema(out, type, namespace, depth, e);
    if (strcmp(name, "array") == 0 || strcmp(name, "map") == 0) {
        bool array = name[0] == 'a';
        buf_addf(out, "{\"type\":\"%s\",\"%s\":", name, array ? "items" : "values");
        if (add_schema(out, json_object_get(schema, array ? "items" : "values"), namespace, depth, e) < 0)
            return -1;
        buf_add_char(out, '}');
        return 0;
    }
    if (strcmp(name, "record") == 0 || strcmp(name, "error") == 0 || strcmp(name, "enum") == 0 ||
        strcmp(name, "fixed") == 0)
        return add_named(out, schema, name, namespace, depth, e);
    add_name(out, name, namespace);
    return 0;
}

static int add_schema(struct buf *out, json_t *schema, const char *namespace, int depth, struct err *e)
{
    size_t i;
    json_t *branch;
    if (depth > MAX_DEPTH)
        return err_set(e, ERR_CONFIG, "schema", 0, "nested deeper than %d levels", MAX_DEPTH);
    if (json_is_string(schema)) {
        add_name(out, json_string_value(schema), namespace);
        return 0;
    }
    if (json_is_object(schema))
        return add_object(out, schema, namespace, depth + 1, e);
    if (!json_is_array(schema))
        return err_set(e, ERR_CONFIG, "schema", 0, "a type that is neither a name, a union nor an object");
    buf_add_char(out, '[');
    json_array_foreach(schema, i, branch)
    {
        if (i)
            buf_add_char(out, ',');
        if (add_schema(out, branch, namespace, depth + 1, e) < 0)
            return -1;
    }
    buf_add_char(out, ']');
    return 0;
}

static int form_of(struct span schema_json, struct buf *out, char *name, size_t name_size, struct err *e)
{
    json_error_t why;
    json_t *schema = json_loadb((const char *)schema_json.p, schema_json.n, JSON_REJECT_DUPLICATES, &why);
    if (!schema)
        return err_set(e, ERR_CONFIG, "schema", 0, "not JSON: line %d: %s", why.line, why.text);
    int rc = add_schema(out, schema, "", 0, e);
    if (rc == 0 && name) {
        const char *full = json_string_value(json_object_get(schema, "name"));
        const char *dot = full ? strrchr(full, '.') : NULL;
        snprintf(name, name_size, "%s", dot ? dot + 1 : full ? full : "");
    }
    json_decref(schema);
    return rc;
}

int canonical_form(struct span schema_json, struct buf *out, struct err *e)
{
    return form_of(schema_json, out, NULL, 0, e);
}

int canonical_schema_id(struct span schema_json, char id[23], char *name, size_t name_size, struct err *e)
{
    struct buf form = BUF_INIT, text = BUF_INIT;
    int rc = form_of(schema_json, &form, name, name_size, e);
    if (rc == 0) {
        uint8_t digest[16];
        digest_md5(buf_span(&form), digest);
        base64url_add(&text, span_of(digest, sizeof digest));
        snprintf(id, 23, "%s", (const char *)text.data);
    }
    buf_release(&form);
    buf_release(&text);
    return rc;
}
