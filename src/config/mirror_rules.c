/*
 * Sinks that mirror records: what the table of keys cannot say. Deletes have no default; keys that would have no
 * effect are mistakes; no two things share a table, a column or a database. What the names of a schema decide
 * (a default name that collides) is found when the schema comes: delivery/map.
 */
#include "base/alloc.h"
#include "config/loader.h"
#include "config/names.h"
#include "config/value.h"

#include <stdio.h>
#include <stdlib.h>

/* A key of a sink, of one of its entities, or of a field of one; NULL where it stops. */
struct spot {
    uint32_t sink;
    const char *entity, *field, *key;
};

static yaml_node_t *child(struct loader *l, yaml_node_t *node, const char *name)
{
    return node && name ? document_value(&l->doc, node, span_of_str(name)) : NULL;
}

/* The node, or NULL; *outer: the innermost one that is there. */
static yaml_node_t *node_at(struct loader *l, struct spot at, yaml_node_t **outer)
{
    const char *const down[] = {at.entity ? "entities" : NULL, at.entity, at.field ? "fields" : NULL,
                                at.field, at.key};
    yaml_node_t *sinks = document_find(&l->doc, l->doc.root, "sinks");
    yaml_node_t *node = document_node(&l->doc, sinks->data.sequence.items.start[at.sink]);
    *outer = node;
    for (size_t i = 0; node && i < ARRAY_LEN(down); i++) {
        if (!down[i])
            continue;
        node = child(l, node, down[i]);
        if (node)
            *outer = node;
    }
    return node;
}

static bool is_given(struct loader *l, struct spot at)
{
    yaml_node_t *outer;
    return node_at(l, at, &outer) != NULL;
}

/* A sink that mirrors records has a larger batch than others, unless it says its own. */
static void default_batch(struct loader *l, uint32_t i)
{
    enum { MIRROR_BATCH_EVENTS = 5000 };
    yaml_node_t *outer;
    if (!child(l, node_at(l, (struct spot){.sink = i, .key = "batch"}, &outer), "events"))
        l->config->sinks[i].batch_events = MIRROR_BATCH_EVENTS;
}

static void spot_problem(struct loader *l, struct spot at, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void spot_problem(struct loader *l, struct spot at, const char *fmt, ...)
{
    yaml_node_t *outer;
    node_at(l, at, &outer);
    struct buf path = BUF_INIT;
    buf_addf(&path, "sinks[%u]", at.sink);
    if (at.entity)
        buf_addf(&path, ".entities.%s", at.entity);
    if (at.field)
        buf_addf(&path, ".fields.%s", at.field);
    if (at.key)
        buf_addf(&path, ".%s", at.key);
    va_list ap;
    va_start(ap, fmt);
    char *text;
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("cannot format a message");
    va_end(ap);
    problem_add(&l->problems, document_place(outer), (char *)path.data, "%s", text);
    free(text);
    buf_release(&path);
}

/* --- a sink's keys ----------------------------------------------------------------------------- */

static void check_effective(struct loader *l, uint32_t i)
{
    const struct key *list = key_find("sinks");
    bool mirror = sink_kind_is_mirror(l->config->sinks[i].kind);
    for (const struct key *k = key_next_child(list, NULL); k; k = key_next_child(list, k)) {
        struct spot at = {.sink = i, .key = key_name(k)};
        if ((k->flags & (mirror ? KEY_EVENTS : KEY_MIRROR)) && is_given(l, at))
            spot_problem(l, at,
                         mirror ? "has no effect on a sink that mirrors records (%s)"
                                : "has no effect on a sink that does not mirror records (%s)",
                         sink_kind_name(l->config->sinks[i].kind));
    }
}

/* What only platform events reach has no deletes. */
static bool may_see_deletes(const struct config *c, const struct sink_config *sink)
{
    for (uint32_t i = 0; i < sink->n_subscriptions; i++) {
        const char *topic = c->subscriptions[sink->subscriptions[i]].topic;
        if (!topic || strncmp(topic, "/event/", 7) != 0)
            return true;
    }
    return sink->n_subscriptions == 0;
}

static bool is_event_name(const char *entity)
{
    size_t n = strlen(entity);
    return n > 3 && strcmp(entity + n - 3, "__e") == 0;
}

static void check_on_delete(struct loader *l, uint32_t i)
{
    static const char required[] =
        "is required: hard, soft, archive or ignore; there is no default for deletes";
    const struct sink_config *sink = &l->config->sinks[i];
    if (sink->on_delete != DELETE_UNSET || !may_see_deletes(l->config, sink))
        return;
    if (!sink->only_listed) {
        if (!is_given(l, (struct spot){.sink = i, .key = "on_delete"}))
            spot_problem(l, (struct spot){.sink = i, .key = "on_delete"}, "%s", required);
        return;
    }
    for (uint32_t k = 0; k < sink->n_entities; k++) {
        const struct entity_config *entity = &sink->entities[k];
        struct spot at = {.sink = i, .entity = entity->entity, .key = "on_delete"};
        if (entity->entity && !entity->skipped && !is_event_name(entity->entity) &&
            entity->on_delete == DELETE_UNSET && !is_given(l, at))
            spot_problem(l, at, "%s", required);
    }
}

/* -1 is "not said": the sink's own words stand in its members of the same name. */
static void inherit(struct sink_config *sink)
{
    sink->only_listed = false;
    for (uint32_t k = 0; k < sink->n_entities; k++) {
        struct entity_config *entity = &sink->entities[k];
        sink->only_listed |= !entity->skipped;
        if ((int)entity->on_delete < 0)
            entity->on_delete = sink->on_delete;
        if ((int)entity->conflict < 0)
            entity->conflict = sink->conflict;
        if ((int)entity->new_fields < 0)
            entity->new_fields = sink->new_fields;
        if ((int)entity->compounds < 0)
            entity->compounds = sink->compounds;
    }
}

/* --- fields ------------------------------------------------------------------------------------- */

static bool is_texty(enum field_type type)
{
    return type == FIELD_TYPE_OF_SCHEMA || type == FIELD_TYPE_TEXT;
}

static void check_field(struct loader *l, struct spot at, const struct field_config *field)
{
    at.key = "on_too_long";
    if (field->on_too_long != TOO_LONG_PARK && !field->max_length)
        spot_problem(l, at, "has no effect without 'max_length'");
    at.key = "on_unknown";
    if (field->on_unknown != UNKNOWN_PARK && !field->n_map)
        spot_problem(l, at, "has no effect without 'map'");
    at.key = "max_length";
    if (field->max_length && !is_texty(field->type))
        spot_problem(l, at, "has no effect: it is for text, and 'type' says otherwise");
    at.key = "clean";
    bool number = field->type == FIELD_TYPE_NUMBER || field->type == FIELD_TYPE_INTEGER;
    if (field->clean == CLEAN_CURRENCY ? !number && !is_texty(field->type)
                                       : field->clean != CLEAN_NONE && !number && !is_texty(field->type))
        spot_problem(l, at, "has no effect with this 'type'");
    else if (field->clean == CLEAN_PHONE && number)
        spot_problem(l, at,
                     "phone numbers are text: a number would lose their first zeros; use 'type: text'");
}

/* --- names -------------------------------------------------------------------------------------- */

/* A name, and where it comes from. */
struct claim {
    char *name;
    struct spot at;
    const char *what;
};

struct claims {
    struct claim *list;
    size_t n, cap;
};

static void claim(struct claims *c, const char *name, struct spot at, const char *what)
{
    if (c->n == c->cap)
        c->list = xrealloc(c->list, (c->cap = c->cap ? 2 * c->cap : 16) * sizeof *c->list);
    c->list[c->n++] = (struct claim){xstrdup(name), at, what};
}

static void claim_default(struct claims *c, const char *name, size_t most, struct spot at, const char *what)
{
    struct buf b = BUF_INIT;
    names_add_default(span_of_str(name), most, &b);
    claim(c, (char *)b.data, at, what);
    buf_release(&b);
}

static int by_name(const void *left, const void *right)
{
    const struct claim *a = left, *b = right;
    int order = strcasecmp(a->name, b->name);
    return order ? order : a->at.sink < b->at.sink ? -1 : a->at.sink > b->at.sink;
}

/* Equal names, next to each other once sorted: told at the one that a user wrote, naming both. */
static void check_claims(struct loader *l, struct claims *c, const char *kind)
{
    if (c->n)
        qsort(c->list, c->n, sizeof *c->list, by_name);
    for (size_t i = 1; i < c->n; i++) {
        if (!names_equal(c->list[i].name, c->list[i - 1].name))
            continue;
        bool first = is_given(l, c->list[i - 1].at) && !is_given(l, c->list[i].at);
        const struct claim *here = &c->list[first ? i - 1 : i], *other = &c->list[first ? i : i - 1];
        spot_problem(l, here->at, "%s '%s' is that of %s, too", kind, here->name, other->what);
    }
    for (size_t i = 0; i < c->n; i++)
        free(c->list[i].name);
    free(c->list);
}

static void check_columns(struct loader *l, struct spot at, const struct entity_config *entity)
{
    struct claims c = {NULL, 0, 0};
    at.key = "key";
    claim(&c, entity->key ? entity->key : is_event_name(entity->entity) ? "event_id" : "id", at, "the key");
    for (uint32_t i = 0; i < entity->n_fields; i++) {
        const struct field_config *field = &entity->fields[i];
        struct spot here = at;
        here.field = field->field;
        here.key = "column";
        if (!field->field || field->skipped)
            continue;
        if (field->column)
            claim(&c, field->column, here, field->field);
        else
            claim_default(&c, field->field, NAMES_MAX_COLUMN, here, field->field);
    }
    for (uint32_t i = 0; i < entity->n_constants; i++) {
        struct spot here = at;
        here.key = "constants";
        if (entity->constants[i].column)
            claim(&c, entity->constants[i].column, here, "a constant");
    }
    check_claims(l, &c, "the column");
}

static void check_tables(struct loader *l, uint32_t i)
{
    const struct sink_config *sink = &l->config->sinks[i];
    struct claims c = {NULL, 0, 0};
    for (uint32_t k = 0; k < sink->n_entities; k++) {
        const struct entity_config *entity = &sink->entities[k];
        struct spot at = {.sink = i, .entity = entity->entity, .key = "table"};
        if (!entity->entity || entity->skipped)
            continue;
        if (entity->table)
            claim(&c, entity->table, at, entity->entity);
        else
            claim_default(&c, entity->entity, NAMES_MAX_TABLE, at, entity->entity);
        if (entity->on_delete != DELETE_ARCHIVE)
            continue;
        struct buf history = BUF_INIT;
        buf_addf(&history, "%s_history", c.list[c.n - 1].name);
        claim(&c, (char *)history.data, at, "the history of another");
        buf_release(&history);
    }
    check_claims(l, &c, "the table");
}

/* --- databases ---------------------------------------------------------------------------------- */

/* No database twice: two sinks would make the same tables. (SQLite files are compared with all files.) */
static void check_dsn(struct loader *l, uint32_t i)
{
    const struct sink_config *sink = &l->config->sinks[i];
    if (sink->kind != SINK_KIND_POSTGRES || !sink->dsn || strcmp(sink->dsn, VALUE_HIDDEN) == 0)
        return; /* what `check --print` shows instead of a secret says nothing about it */
    for (uint32_t k = 0; k < i; k++) {
        const struct sink_config *other = &l->config->sinks[k];
        if (other->kind == SINK_KIND_POSTGRES && other->dsn && strcmp(other->dsn, sink->dsn) == 0) {
            spot_problem(l, (struct spot){.sink = i, .key = "postgres"},
                         "sinks[%u] writes to this database already; every sink needs its own", k);
            return;
        }
    }
}

/* A field made in two orgs has an id in each, and with it a column of its own. */
static void warn_of_orgs(struct loader *l, uint32_t i)
{
    const struct sink_config *sink = &l->config->sinks[i];
    for (uint32_t k = 1; k < sink->n_subscriptions; k++) {
        const struct subscription_config *subs = l->config->subscriptions;
        uint32_t first = subs[sink->subscriptions[0]].org, other = subs[sink->subscriptions[k]].org;
        if (first == other || !l->config->orgs[first].name || !l->config->orgs[other].name)
            continue;
        yaml_node_t *outer;
        char *path = xasprintf("sinks[%u].subscriptions", i);
        (void)node_at(l, (struct spot){.sink = i, .key = "subscriptions"}, &outer);
        problem_warn(
            &l->problems, document_place(outer), path,
            "mirrors the orgs %s and %s in the same tables: custom fields of one name get a column for each; "
            "a sink per org keeps them apart",
            l->config->orgs[first].name, l->config->orgs[other].name);
        free(path);
        return;
    }
}

void mirror_rules_check(struct loader *l)
{
    for (uint32_t i = 0; i < l->config->n_sinks; i++) {
        struct sink_config *sink = &l->config->sinks[i];
        if (!is_given(l, (struct spot){.sink = i, .key = sink_kind_name(sink->kind)}))
            continue; /* the kind is missing, and that was told */
        check_effective(l, i);
        if (!sink_kind_is_mirror(sink->kind))
            continue;
        inherit(sink);
        default_batch(l, i);
        check_on_delete(l, i);
        check_tables(l, i);
        check_dsn(l, i);
        warn_of_orgs(l, i);
        for (uint32_t k = 0; k < sink->n_entities; k++) {
            const struct entity_config *entity = &sink->entities[k];
            struct spot at = {.sink = i, .entity = entity->entity};
            if (!entity->entity)
                continue;
            check_columns(l, at, entity);
            for (uint32_t f = 0; f < entity->n_fields; f++) {
                at.field = entity->fields[f].field;
                if (at.field)
                    check_field(l, at, &entity->fields[f]);
            }
        }
    }
}
