#include "config/config.h"
#include "config/keys.h"
#include "config/value.h"

#include <string.h>

struct printer {
    const struct config *config;
    struct buf *out;
    int indent;
    bool dash; /* the next line begins a list item */
};

static void print_map(struct printer *p, const struct key *map, const char *base);

static void begin_line(struct printer *p, const struct key *key)
{
    buf_addf(p->out, "%*s%s%s:", p->dash ? p->indent - 2 : p->indent, "", p->dash ? "- " : "", key_name(key));
    p->dash = false;
}

static bool is_chosen(const struct key *key, const char *base)
{
    int choice;
    memcpy(&choice, base + key->offset, sizeof choice);
    return choice == key->choice;
}

static void print_inner_map(struct printer *p, const struct key *key, const char *base)
{
    begin_line(p, key);
    size_t before = p->out->len;
    buf_add_char(p->out, '\n');
    p->indent += 2;
    print_map(p, key, base);
    p->indent -= 2;
    if (p->out->len == before + 1) {
        p->out->len = before;
        buf_add_str(p->out, " {}\n");
    }
}

static void print_list(struct printer *p, const struct key *key, const char *base)
{
    const char *items;
    uint32_t n;
    memcpy(&items, base + key->offset, sizeof items);
    memcpy(&n, base + key->list.count_offset, sizeof n);
    begin_line(p, key);
    buf_add_str(p->out, n ? "\n" : " []\n");
    p->indent += 4;
    for (uint32_t i = 0; i < n; i++) {
        p->dash = true;
        print_map(p, key, items + i * key->list.item_size);
    }
    p->indent -= 4;
}

/* The names of a KEY_TABLE with what is below them, or the two sides of KEY_PAIRS. Nothing when it was not given. */
static void print_items(struct printer *p, const struct key *key, const char *base)
{
    const char *items, *text;
    uint32_t n;
    memcpy(&items, base + key->offset, sizeof items);
    memcpy(&n, base + key->list.count_offset, sizeof n);
    if (!n)
        return;
    begin_line(p, key);
    buf_add_char(p->out, '\n');
    p->indent += 2;
    for (uint32_t i = 0; i < n; i++) {
        const char *item = items + i * key->list.item_size;
        memcpy(&text, item + key->list.name_offset, sizeof text);
        buf_addf(p->out, "%*s", p->indent, "");
        value_add_name(p->out, text);
        buf_add_str(p->out, ": ");
        if (key->type == KEY_PAIRS) {
            memcpy(&text, item + key->list.value_offset, sizeof text);
            value_add_text(p->out, text);
            buf_add_char(p->out, '\n');
        } else if (*(const bool *)(item + key->list.skip_offset)) {
            buf_add_str(p->out, "false\n");
        } else {
            p->out->len--;
            buf_add_char(p->out, '\n');
            p->indent += 2;
            print_map(p, key, item);
            p->indent -= 2;
        }
    }
    p->indent -= 2;
}

static void print_scalar(struct printer *p, const struct key *key, const char *base)
{
    struct buf value = BUF_INIT;
    if (value_print(key, base, &value)) {
        begin_line(p, key);
        buf_add_char(p->out, ' ');
        buf_add_span(p->out, buf_span(&value));
        buf_add_char(p->out, '\n');
    }
    buf_release(&value);
}

static void print_subscriptions(struct printer *p, const struct key *key, const struct sink_config *sink)
{
    if (!sink->n_subscriptions) /* a file without subscriptions, looked at for its sinks */
        return;
    begin_line(p, key);
    for (uint32_t i = 0; i < sink->n_subscriptions; i++) {
        buf_add_str(p->out, i ? ", " : " [");
        value_add_text(p->out, p->config->subscriptions[sink->subscriptions[i]].name);
    }
    buf_add_str(p->out, "]\n");
}

static void print_key(struct printer *p, const struct key *key, const char *base)
{
    switch (key->type) {
    case KEY_MAP:
        if (!(key->flags & KEY_CHOICE) || is_chosen(key, base))
            print_inner_map(p, key, base);
        return;
    case KEY_LIST:
        print_list(p, key, base);
        return;
    case KEY_TABLE:
    case KEY_PAIRS:
        print_items(p, key, base);
        return;
    case KEY_ORG:
        begin_line(p, key);
        buf_add_char(p->out, ' ');
        value_add_text(p->out,
                       p->config->orgs[((const struct subscription_config *)(const void *)base)->org].name);
        buf_add_char(p->out, '\n');
        return;
    case KEY_SUBSCRIPTIONS:
        print_subscriptions(p, key, (const struct sink_config *)(const void *)base);
        return;
    default:
        print_scalar(p, key, base);
    }
}

/* Keys that have no effect on this kind of sink are not part of what is in effect. */
static bool applies(const struct key *key, const char *base)
{
    if (!(key->flags & (KEY_EVENTS | KEY_MIRROR)))
        return true;
    const struct sink_config *sink = (const struct sink_config *)(const void *)base;
    return sink_kind_is_mirror(sink->kind) == ((key->flags & KEY_MIRROR) != 0);
}

static void print_map(struct printer *p, const struct key *map, const char *base)
{
    for (const struct key *k = key_next_child(map, NULL); k; k = key_next_child(map, k))
        if (!(k->flags & KEY_LATER) && applies(k, base))
            print_key(p, k, base);
}

void config_print_item(const struct config *config, const struct key *list, const void *item, struct buf *out)
{
    struct printer p = {config, out, 0, false};
    print_map(&p, list, item);
}

void config_print(const struct config *config, struct buf *out)
{
    struct printer p = {config, out, 0, false};
    print_map(&p, NULL, (const char *)config);
}
