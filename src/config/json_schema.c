/*
 * The table of keys as a JSON Schema (draft 2020-12), so that editors complete and check the file.
 *
 * It accepts a ${VARIABLE} wherever a value may stand, and leaves to `tidemark check` what a schema
 * cannot say (names that must exist, ranges of sizes and times).
 */
#include "base/json.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/text_rules.h"

#include <string.h>

#define VARIABLE "\\$\\{"

struct writer {
    struct buf *out;
    int depth;
    bool comma;
};

static void add_map(struct writer *w, const struct key *map);

static void next(struct writer *w, const char *name)
{
    buf_addf(w->out, "%s\n%*s", w->comma ? "," : "", 2 * w->depth, "");
    w->comma = true;
    if (name) {
        json_add_string(w->out, span_of_str(name));
        buf_add_str(w->out, ": ");
    }
}

static void begin(struct writer *w, const char *name, char bracket)
{
    next(w, name);
    buf_add_char(w->out, bracket);
    w->depth++;
    w->comma = false;
}

static void end(struct writer *w, char bracket)
{
    w->depth--;
    buf_addf(w->out, "\n%*s%c", 2 * w->depth, "", bracket);
    w->comma = true;
}

static void add_string(struct writer *w, const char *name, const char *value)
{
    next(w, name);
    json_add_string(w->out, span_of_str(value));
}

/* Text that is JSON already. */
static void add_raw(struct writer *w, const char *name, const char *value)
{
    next(w, name);
    buf_add_str(w->out, value);
}

/* `pattern`, or a variable. */
static void add_pattern(struct writer *w, const char *pattern)
{
    struct buf b = BUF_INIT;
    buf_addf(&b, "%s|" VARIABLE, pattern);
    add_string(w, "pattern", (char *)b.data);
    buf_release(&b);
}

static void add_range(struct writer *w, const struct key *key)
{
    next(w, "minimum");
    json_add_int(w->out, key->min);
    next(w, "maximum");
    json_add_int(w->out, key->max);
}

static void add_words(struct writer *w, const struct key *key)
{
    begin(w, "anyOf", '[');
    begin(w, NULL, '{');
    begin(w, "enum", '[');
    for (const struct key_word *word = key->words; word->text; word++)
        if (!word->later)
            add_string(w, NULL, word->text);
    for (const struct key_word *word = key->words; word->text; word++)
        if (strcmp(word->text, "null") == 0) /* without quotes it is YAML's null */
            add_raw(w, NULL, "null");
    end(w, ']');
    end(w, '}');
    begin(w, NULL, '{');
    add_string(w, "type", "string");
    add_string(w, "pattern", VARIABLE);
    end(w, '}');
    end(w, ']');
}

static void add_names(struct writer *w)
{
    add_string(w, "type", "array");
    add_raw(w, "minItems", "1");
    add_raw(w, "uniqueItems", "true");
    begin(w, "items", '{');
    add_string(w, "type", "string");
    end(w, '}');
}

static void add_scalar(struct writer *w, const struct key *key)
{
    switch (key->type) {
    case KEY_BOOL:
        add_raw(w, "type", "[\"boolean\", \"string\"]");
        add_pattern(w, "^(true|false)$");
        break;
    case KEY_INT:
        add_raw(w, "type", "[\"integer\", \"string\"]");
        add_range(w, key);
        add_pattern(w, "^[0-9]+$");
        break;
    case KEY_SIZE:
        add_raw(w, "type", "[\"string\", \"integer\"]");
        add_range(w, key);
        add_pattern(w, "^[0-9]+(|B|[KMGT]iB|[kKMGT]B)$");
        break;
    case KEY_DURATION:
        if (key->min == 0) { /* 0 needs no unit */
            add_raw(w, "type", "[\"string\", \"integer\"]");
            add_raw(w, "maximum", "0");
        } else {
            add_string(w, "type", "string");
        }
        add_pattern(w, "^(0|[0-9]+(ms|s|m|min|h|d))$");
        break;
    case KEY_START:
        add_raw(w, "type", "[\"string\", \"integer\"]");
        add_pattern(w, "^(latest|earliest|([0-9a-fA-F]{2})+|base64:.+|int:[0-9]+)$");
        break;
    case KEY_LISTEN:
        add_raw(w, "anyOf", "[{ \"const\": false }, { \"type\": \"string\" }]");
        break;
    default:
        add_string(w, "type", "string");
        if (key->rule && key->rule->pattern)
            add_pattern(w, key->rule->pattern);
    }
}

static void add_default(struct writer *w, const struct key *key)
{
    if (!key->fallback || !*key->fallback)
        return;
    if (key->type == KEY_BOOL || key->type == KEY_INT)
        add_raw(w, "default", key->fallback);
    else
        add_string(w, "default", key->fallback);
}

static void add_list(struct writer *w, const struct key *key)
{
    add_string(w, "type", "array");
    if (key->flags & KEY_REQUIRED)
        add_raw(w, "minItems", "1");
    begin(w, "items", '{');
    add_map(w, key);
    end(w, '}');
}

static void add_names_of(struct writer *w, const struct key *key)
{
    add_string(w, "type", "object");
    add_raw(w, "minProperties", "1");
    if (!key->list.name_rule->pattern)
        return;
    begin(w, "propertyNames", '{');
    add_string(w, "pattern", key->list.name_rule->pattern);
    end(w, '}');
}

static void add_table(struct writer *w, const struct key *key)
{
    add_names_of(w, key);
    begin(w, "additionalProperties", '{');
    begin(w, "anyOf", '[');
    add_raw(w, NULL, "{ \"const\": false }");
    add_raw(w, NULL, "{ \"type\": \"null\" }");
    begin(w, NULL, '{');
    add_map(w, key);
    end(w, '}');
    end(w, ']');
    end(w, '}');
}

static void add_pairs(struct writer *w, const struct key *key)
{
    add_names_of(w, key);
    begin(w, "additionalProperties", '{');
    add_raw(w, "type", "[\"string\", \"number\", \"boolean\"]");
    end(w, '}');
}

static bool is_needed(const struct key *k)
{
    return (k->flags & KEY_REQUIRED) && !(k->flags & KEY_LATER);
}

/* A kind that needs no keys may be named alone: "postgres:". */
static bool may_be_empty(const struct key *map)
{
    bool needs = false;
    for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k))
        needs |= is_needed(k);
    return (map->flags & KEY_CHOICE) && !needs;
}

static void add_key(struct writer *w, const struct key *key)
{
    begin(w, key_name(key), '{');
    add_string(w, "description", key->help);
    if (key->type == KEY_MAP && ((key->flags & KEY_OFF) || may_be_empty(key))) {
        begin(w, "anyOf", '[');
        add_raw(w, NULL, key->flags & KEY_OFF ? "{ \"const\": false }" : "{ \"type\": \"null\" }");
        begin(w, NULL, '{');
        add_map(w, key);
        end(w, '}');
        end(w, ']');
    } else if (key->type == KEY_MAP) {
        add_map(w, key);
    } else if (key->type == KEY_LIST) {
        add_list(w, key);
    } else if (key->type == KEY_TABLE) {
        add_table(w, key);
    } else if (key->type == KEY_PAIRS) {
        add_pairs(w, key);
    } else if (key->type == KEY_WORD) {
        add_words(w, key);
    } else if (key->type == KEY_SUBSCRIPTIONS) {
        add_names(w);
    } else {
        add_scalar(w, key);
    }
    add_default(w, key);
    end(w, '}');
    if (!(key->flags & KEY_SECRET))
        return;
    struct buf name = BUF_INIT;
    buf_addf(&name, "%s_file", key_name(key));
    begin(w, (char *)name.data, '{');
    add_string(w, "description", "A file that holds it, instead.");
    add_string(w, "type", "string");
    end(w, '}');
    buf_release(&name);
}

/* x or x_file: one of them when it is required, never both. */
static void add_secret_rule(struct writer *w, const char *name, bool required)
{
    struct buf b = BUF_INIT;
    if (required)
        buf_addf(&b, "{ \"oneOf\": [{ \"required\": [\"%s\"] }, { \"required\": [\"%s_file\"] }] }", name,
                 name);
    else
        buf_addf(&b, "{ \"not\": { \"required\": [\"%s\", \"%s_file\"] } }", name, name);
    add_raw(w, NULL, (char *)b.data);
    buf_release(&b);
}

/* What a map must say: required keys, secrets in one form, exactly one kind. */
static void add_rules(struct writer *w, const struct key *map)
{
    bool any_needed = false, any_rule = false, any_choice = false;
    for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k)) {
        any_needed |= is_needed(k) && !(k->flags & KEY_SECRET);
        any_choice |= (k->flags & KEY_CHOICE) != 0;
        any_rule |= (k->flags & KEY_SECRET) != 0;
    }
    if (any_needed) {
        begin(w, "required", '[');
        for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k))
            if (is_needed(k) && !(k->flags & KEY_SECRET))
                add_string(w, NULL, key_name(k));
        end(w, ']');
    }
    if (any_rule) {
        begin(w, "allOf", '[');
        for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k))
            if (k->flags & KEY_SECRET)
                add_secret_rule(w, key_name(k), k->flags & KEY_REQUIRED);
        end(w, ']');
    }
    if (any_choice) {
        begin(w, "oneOf", '[');
        for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k))
            if ((k->flags & KEY_CHOICE) && !(k->flags & KEY_LATER)) {
                begin(w, NULL, '{');
                begin(w, "required", '[');
                add_string(w, NULL, key_name(k));
                end(w, ']');
                end(w, '}');
            }
        end(w, ']');
    }
}

static void add_map(struct writer *w, const struct key *map)
{
    add_string(w, "type", "object");
    add_raw(w, "additionalProperties", "false");
    begin(w, "properties", '{');
    for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k))
        if (!(k->flags & KEY_LATER))
            add_key(w, k);
    end(w, '}');
    add_rules(w, map);
}

void config_json_schema(struct buf *out)
{
    struct writer w = {out, 1, false};
    buf_add_char(out, '{');
    add_string(&w, "$schema", "https://json-schema.org/draft/2020-12/schema");
    add_string(&w, "title", "Tidemark configuration");
    add_map(&w, NULL);
    end(&w, '}');
    buf_add_char(out, '\n');
}
