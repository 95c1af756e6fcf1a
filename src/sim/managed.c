#include "sim/managed.h"

#include "base/digest.h"
#include "base/text.h"
#include "sim/values.h"
#include "sim/wire.h"

#include <stdio.h>

static int bad_definition(const char *definition, const char *what, struct err *e)
{
    return err_set(e, ERR_CONFIG, "options", 0,
                   "--managed %s: %s; expected NAME=TOPIC[,earliest][,recover=earliest]", definition, what);
}

static bool next_word(struct span *rest, struct span *word)
{
    if (!rest->n)
        return false;
    const uint8_t *comma = memchr(rest->p, ',', rest->n);
    size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
    *word = span_of(rest->p, n);
    *rest = comma ? span_of(comma + 1, rest->n - n - 1) : span_of(NULL, 0);
    return true;
}

int managed_add(struct managed_list *list, struct topics *topics, const char *definition, struct err *e)
{
    const char *equals = strchr(definition, '=');
    struct managed m = {0};
    struct span word, rest;
    if (!equals || equals == definition || (size_t)(equals - definition) >= sizeof m.name)
        return bad_definition(definition, "no name of at most 80 characters", e);
    snprintf(m.name, sizeof m.name, "%.*s", (int)(equals - definition), definition);
    if (managed_find(list, m.name))
        return bad_definition(definition, "the name is there already", e);
    rest = span_of_str(equals + 1);
    if (!next_word(&rest, &word) || !(m.topic = topics_find(topics, word)))
        return bad_definition(definition, "there is no such topic (see --list)", e);
    while (next_word(&rest, &word)) {
        if (span_equal_str(word, "earliest"))
            m.starts_earliest = true;
        else if (span_equal_str(word, "recover=earliest"))
            m.recovers_earliest = true;
        else
            return bad_definition(definition, "unknown word behind the topic", e);
    }
    if (list->n == MANAGED_MAX)
        return bad_definition(definition, "too many", e);
    char id15[16];
    snprintf(id15, sizeof id15, "18xSM%010u", list->n + 1);
    record_id_checksum(id15, m.id);
    list->items[list->n++] = m;
    return 0;
}

struct managed *managed_find(struct managed_list *list, const char *name)
{
    for (unsigned i = 0; i < list->n; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

struct managed *managed_find_id(struct managed_list *list, const char *id)
{
    for (unsigned i = 0; i < list->n; i++)
        if (strncmp(list->items[i].id, id, 15) == 0)
            return &list->items[i];
    return NULL;
}

int managed_run(struct managed_list *list, const struct managed_order *order, struct err *e)
{
    struct managed *m = order->name ? managed_find(list, order->name) : NULL;
    int64_t refuse = 0;
    if (!m)
        return err_set(e, ERR_CONFIG, "managed", 0, "name=NAME of a managed subscription");
    bool slot_ok = !order->slot || strcmp(order->slot, "taken") == 0 || strcmp(order->slot, "free") == 0;
    bool state_ok = !order->state || strcmp(order->state, "RUN") == 0 || strcmp(order->state, "STOP") == 0;
    if (!slot_ok || !state_ok || (order->refuse && text_parse_int(order->refuse, 0, INT64_MAX, &refuse) < 0))
        return err_set(e, ERR_CONFIG, "managed", 0,
                       "slot=taken or free, state=RUN or STOP, refuse=N from 0 on");
    if (order->slot) {
        m->taken = strcmp(order->slot, "taken") == 0;
        m->free_at_ms = 0;
    }
    if (order->state) {
        m->stopped = strcmp(order->state, "STOP") == 0;
        m->has_position = m->has_position && !m->stopped;
    }
    if (order->refuse)
        m->refuse_next = (uint64_t)refuse;
    return 0;
}

void managed_json(const struct managed_list *list, size_t replay_id_bytes, struct buf *out)
{
    buf_add_char(out, '{');
    for (unsigned i = 0; i < list->n; i++) {
        const struct managed *m = &list->items[i];
        uint8_t id[WIRE_REPLAY_ID_MAX];
        buf_addf(out,
                 "%s\"%s\":{\"open\":%s,\"streams\":%llu,\"commits\":%llu,\"refused\":%llu,\"committed\":",
                 i ? "," : "", m->name, m->holder ? "true" : "false", (unsigned long long)m->streams,
                 (unsigned long long)m->commits, (unsigned long long)m->refused);
        if (m->has_position) {
            replay_id_write(m->committed, replay_id_bytes, id);
            buf_add_char(out, '"');
            hex_add(out, span_of(id, replay_id_bytes));
            buf_add_str(out, "\"}");
        } else {
            buf_add_str(out, "null}");
        }
    }
    buf_add_char(out, '}');
}
