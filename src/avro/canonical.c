/*
 * Parsing Canonical Form: full names, no white space, members in a fixed order, everything that does not
 * change the encoding left out. Its MD5 is how the service names a schema (pubsub-api 8.1).
 */
#include "avro/plan.h"

#include "base/digest.h"
#include "base/json.h"

static const char *const kind_names[] = {
    [NODE_NULL] = "null",   [NODE_BOOLEAN] = "boolean", [NODE_INT] = "int",       [NODE_LONG] = "long",
    [NODE_FLOAT] = "float", [NODE_DOUBLE] = "double",   [NODE_STRING] = "string", [NODE_BYTES] = "bytes",
    [NODE_FIXED] = "fixed", [NODE_ENUM] = "enum",       [NODE_RECORD] = "record", [NODE_ARRAY] = "array",
    [NODE_MAP] = "map",     [NODE_UNION] = "union"};

static void add_node(struct buf *out, struct avro_node *node);

static void add_quoted(struct buf *out, const char *text)
{
    buf_add_char(out, '"');
    buf_add_str(out, text);
    buf_add_char(out, '"');
}

static void add_fields(struct buf *out, const struct avro_node *node)
{
    const struct record_shape *shape = &node->as.record.shape;
    buf_add_str(out, ",\"fields\":[");
    for (uint32_t i = 0, step = 0; i < shape->n_fields; i++) {
        buf_add_str(out, i ? ",{\"name\":" : "{\"name\":");
        add_quoted(out, shape->fields[i].name);
        buf_add_str(out, ",\"type\":");
        if (step < node->n && node->as.record.steps[step].index == i)
            add_node(out, (struct avro_node *)node->as.record.steps[step++].node);
        else
            add_quoted(out, "null");
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void add_named(struct buf *out, struct avro_node *node)
{
    node->printed = true;
    buf_add_str(out, "{\"name\":");
    add_quoted(out, node->name);
    buf_add_str(out, ",\"type\":");
    add_quoted(out, kind_names[node->kind]);
    if (node->kind == NODE_RECORD) {
        add_fields(out, node);
    } else if (node->kind == NODE_FIXED) {
        buf_add_str(out, ",\"size\":");
        json_add_uint(out, node->n);
    } else {
        buf_add_str(out, ",\"symbols\":[");
        for (uint32_t i = 0; i < node->n; i++) {
            buf_add_str(out, i ? ",\"" : "\"");
            buf_add_span(out, node->as.symbols[i]);
            buf_add_char(out, '"');
        }
        buf_add_char(out, ']');
    }
    buf_add_char(out, '}');
}

static void add_node(struct buf *out, struct avro_node *node)
{
    switch (node->kind) {
    case NODE_RECORD:
    case NODE_ENUM:
    case NODE_FIXED:
        if (node->printed)
            add_quoted(out, node->name);
        else
            add_named(out, node);
        return;
    case NODE_ARRAY:
    case NODE_MAP:
        buf_add_str(out, node->kind == NODE_ARRAY ? "{\"type\":\"array\",\"items\":"
                                                  : "{\"type\":\"map\",\"values\":");
        add_node(out, (struct avro_node *)node->as.items);
        buf_add_char(out, '}');
        return;
    case NODE_UNION:
        buf_add_char(out, '[');
        for (uint32_t i = 0; i < node->n; i++) {
            if (i)
                buf_add_char(out, ',');
            add_node(out, (struct avro_node *)node->as.branches[i]);
        }
        buf_add_char(out, ']');
        return;
    default:
        add_quoted(out, kind_names[node->kind]);
    }
}

void canonical_add(struct buf *out, struct avro_node *root)
{
    add_node(out, root);
}

void canonical_id(struct span canonical, char out[23])
{
    uint8_t md5[16];
    digest_md5(canonical, md5);
    struct buf text = BUF_INIT;
    base64url_add(&text, span_of(md5, sizeof md5));
    BUG_IF(text.len != 22);
    memcpy(out, text.data, 23);
    buf_release(&text);
}
