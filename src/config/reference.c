/*
 * The table of keys as Markdown: the reference part of docs/configuration.md.
 */
#include "base/json.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/value.h"

#include <string.h>

static void add_limits(struct buf *out, const struct key *key, void (*add)(struct buf *, int64_t))
{
    buf_add_str(out, ", ");
    add(out, key->min);
    buf_add_str(out, " to ");
    add(out, key->max);
}

static void add_words(struct buf *out, const struct key *key)
{
    const char *separator = "";
    for (const struct key_word *word = key->words; word->text; word++) {
        if (word->later)
            continue;
        buf_addf(out, "%s`%s`", separator, word->text);
        separator = ", ";
    }
}

static void add_type(struct buf *out, const struct key *key)
{
    switch (key->type) {
    case KEY_MAP:
        buf_add_str(out, key->flags & KEY_OFF ? "map or `false`" : "map");
        break;
    case KEY_LIST:
        buf_add_str(out, "list");
        break;
    case KEY_TABLE:
        buf_add_str(out, "map: name to map or `false`");
        break;
    case KEY_PAIRS:
        buf_add_str(out, "map: text to text");
        break;
    case KEY_BOOL:
        buf_add_str(out, "`true`, `false`");
        break;
    case KEY_INT:
        buf_add_str(out, "number");
        add_limits(out, key, json_add_int);
        break;
    case KEY_SIZE:
        buf_add_str(out, "size");
        add_limits(out, key, value_add_size);
        break;
    case KEY_DURATION:
        buf_add_str(out, "time");
        add_limits(out, key, value_add_duration);
        break;
    case KEY_WORD:
        add_words(out, key);
        break;
    case KEY_SUBSCRIPTIONS:
        buf_add_str(out, "list of names");
        break;
    case KEY_ORG:
        buf_add_str(out, "name");
        break;
    case KEY_LISTEN:
        buf_add_str(out, "text or `false`");
        break;
    default:
        buf_add_str(out, key->flags & KEY_SECRET ? "secret" : "text");
    }
}

static void add_row(struct buf *out, const struct key *key)
{
    buf_addf(out, "| `%s`", key->path);
    if (key->flags & KEY_SECRET)
        buf_addf(out, " or `%s_file`", key_name(key));
    buf_add_str(out, " | ");
    add_type(out, key);
    buf_add_str(out, " | ");
    if (key->flags & KEY_REQUIRED)
        buf_add_str(out, "required");
    else if (key->fallback && *key->fallback)
        buf_addf(out, "`%s`", key->fallback);
    buf_addf(out, " | %s%s |\n", key->help, key->flags & KEY_FIXED ? " Changes with a restart only." : "");
}

/* Every row below a top-level key, in the order of the table. */
static void add_section(struct buf *out, const struct key *section)
{
    size_t n = strlen(section->path);
    buf_addf(out, "### %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", section->path,
             section->help);
    for (const struct key *k = section + 1;
         k < config_keys + config_n_keys && strncmp(k->path, section->path, n) == 0; k++)
        if (!(k->flags & KEY_LATER))
            add_row(out, k);
    buf_add_char(out, '\n');
}

static void add_later(struct buf *out)
{
    buf_add_str(out, "### Not in this version\n\nThese belong to the format; using one is an error that says "
                     "so, never ignored.\n\n"
                     "| key or value | meaning |\n|---|---|\n");
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++) {
        if (k->flags & KEY_LATER) {
            buf_addf(out, "| `%s` | %s |\n", k->path, k->help);
            continue;
        }
        for (const struct key_word *word = k->words; word && word->text; word++)
            if (word->later)
                buf_addf(out, "| `%s: %s` | %s |\n", k->path, word->text, k->help);
    }
}

void config_reference(struct buf *out)
{
    for (const struct key *k = key_next_child(NULL, NULL); k; k = key_next_child(NULL, k))
        add_section(out, k);
    add_later(out);
}
