#include "config/document.h"

#include "base/alloc.h"
#include "base/err.h"

enum { MOST_DEPTH = 64 };

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){mark.line + 1, mark.column + 1};
}

/* libyaml names only the byte where a character is not acceptable. */
static struct place place_of_byte(struct span text, size_t offset)
{
    struct place place = {1, 1};
    for (size_t i = 0; i < offset && i < text.n; i++) {
        if (text.p[i] == '\n') {
            place.line++;
            place.column = 1;
        } else if ((text.p[i] & 0xc0) != 0x80) {
            place.column++;
        }
    }
    return place;
}

/* The text from this place on; empty past the end. Columns count characters. */
static struct span text_at(struct span text, struct place place)
{
    size_t line = 1, i = 0;
    for (; i < text.n && line < place.line; i++)
        line += text.p[i] == '\n';
    for (size_t column = 1; i < text.n && column < place.column; column++)
        do
            i++;
        while (i < text.n && (text.p[i] & 0xc0) == 0x80);
    return span_of(text.p + i, text.n - i);
}

/* What people trip over, in words that help more than the parser's. NULL: something else. */
static const char *usual_mistake(struct span text, struct place place)
{
    struct span at = text_at(text, place);
    if (at.n && at.p[0] == '\t') /* NOLINT(clang-analyzer-core.NullDereference): n is 0 then */
        return "a tab: YAML is indented with spaces";
    if (at.n && at.p[0] == '{' && at.p > text.p && at.p[-1] == '$')
        return "inside { } and [ ] a value with ${NAME} must stand in quotes";
    return NULL;
}

static void syntax_problem(const yaml_parser_t *parser, struct span text, struct problems *ps)
{
    const char *what = parser->problem ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR) {
        problem_add(ps, place_of_byte(text, parser->problem_offset), TOP_LEVEL,
                    "the file must be UTF-8 text: %s", what);
        return;
    }
    struct place place = place_of(parser->problem_mark);
    const char *usual = usual_mistake(text, place);
    if (usual)
        problem_add(ps, place, TOP_LEVEL, "%s", usual);
    else if (parser->context)
        problem_add(ps, place, TOP_LEVEL, "not YAML: %s %s that begins in line %zu", what, parser->context,
                    parser->context_mark.line + 1);
    else
        problem_add(ps, place, TOP_LEVEL, "not YAML: %s", what);
}

static void start_parser(yaml_parser_t *parser, struct span text)
{
    if (!yaml_parser_initialize(parser))
        BUG("out of memory");
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, text.p ? text.p : (const uint8_t *)"", text.n);
}

/* Events show what the tree no longer does: aliases, anchors, tags, a second document. */
static int check_event(const yaml_event_t *event, int *documents, int *depth, struct problems *ps)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    struct place place = place_of(event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents == 2)
            problem_add(ps, place, TOP_LEVEL,
                        "a second document begins here; one file holds one configuration");
        return 0;
    case YAML_ALIAS_EVENT:
        problem_add(ps, place, TOP_LEVEL, "aliases (*%s) are not supported: write the value out",
                    (const char *)event->data.alias.anchor);
        return 0;
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        ++*depth;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        ++*depth;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        --*depth;
        return 0;
    default:
        return 0;
    }
    if (anchor)
        problem_add(ps, place, TOP_LEVEL, "anchors (&%s) are not supported", (const char *)anchor);
    if (tag)
        problem_add(ps, place, TOP_LEVEL, "tags (%s) are not supported", (const char *)tag);
    if (*depth <= MOST_DEPTH)
        return 0;
    problem_add(ps, place, TOP_LEVEL, "nested more than %d levels deep", MOST_DEPTH);
    return -1;
}

static int check_events(struct span text, struct problems *ps)
{
    yaml_parser_t parser;
    start_parser(&parser, text);
    int documents = 0, depth = 0, rc = 0;
    for (bool more = true; more && rc == 0;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            syntax_problem(&parser, text, ps);
            rc = -1;
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        rc = check_event(&event, &documents, &depth, ps);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return rc;
}

int document_read(struct document *d, struct span text, struct problems *ps)
{
    *d = (struct document){.loaded = false};
    if (check_events(text, ps) != 0)
        return -1;
    yaml_parser_t parser;
    start_parser(&parser, text);
    d->loaded = yaml_parser_load(&parser, &d->yaml);
    if (!d->loaded && !problems_any(ps)) /* an alias that names nothing was told above */
        syntax_problem(&parser, text, ps);
    yaml_parser_delete(&parser);
    if (!d->loaded)
        return -1;
    d->root = yaml_document_get_root_node(&d->yaml);
    return 0;
}

void document_release(struct document *d)
{
    if (!d->loaded)
        return;
    for (yaml_node_t *node = d->yaml.nodes.start; node < d->yaml.nodes.top; node++)
        if (node->type == YAML_SCALAR_NODE)
            wipe(node->data.scalar.value, node->data.scalar.length);
    yaml_document_delete(&d->yaml);
    d->loaded = false;
}

yaml_node_t *document_node(struct document *d, int index)
{
    return yaml_document_get_node(&d->yaml, index);
}

struct place document_place(const yaml_node_t *node)
{
    return place_of(node->start_mark);
}

struct span document_scalar(const yaml_node_t *node)
{
    return span_of(node->data.scalar.value, node->data.scalar.length);
}

yaml_node_t *document_value(struct document *d, yaml_node_t *map, struct span name)
{
    if (map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = document_node(d, pair->key);
        if (key && key->type == YAML_SCALAR_NODE && span_equal(document_scalar(key), name))
            return document_node(d, pair->value);
    }
    return NULL;
}

yaml_node_t *document_find(struct document *d, yaml_node_t *map, const char *path)
{
    yaml_node_t *node = map;
    while (node && *path) {
        size_t n = strcspn(path, ".");
        node = document_value(d, node, span_of(path, n));
        path += n + (path[n] == '.');
    }
    return node;
}

bool document_is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    struct span s = document_scalar(node);
    return s.n == 0 || span_equal_str(s, "~") || span_equal_str(s, "null");
}
