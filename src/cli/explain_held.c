#include "cli/explain_held.h"

#include "base/table.h"
#include "delivery/held.h"

#include <stdio.h>

/* --- which event brought it ------------------------------------------------------------------------------ */

static const struct explain_event *event_of(const struct explain_event *events, size_t n,
                                            const struct version *v)
{
    for (size_t i = 0; i < n; i++)
        if (version_compare(&events[i].version, v) == 0)
            return &events[i];
    return NULL;
}

static json_t *text_of(struct span s)
{
    return json_stringn((const char *)s.p, s.n);
}

static json_t *version_text(const struct version *v)
{
    struct buf b = BUF_INIT;
    if (version_is_none(v))
        return json_null();
    version_add_text(&b, v);
    json_t *text = json_string((char *)b.data);
    buf_release(&b);
    return text;
}

static json_t *field_json(const struct held_field *f, const struct explain_event *events, size_t n)
{
    const struct explain_event *from = event_of(events, n, &f->version);
    json_t *o = json_object(), *value = f->is_null ? json_null() : text_of(f->text);
    json_object_set_new(o, "field", text_of(f->field));
    json_object_set_new(o, "column", text_of(f->column));
    json_object_set_new(o, "value", value ? value : json_null());
    json_object_set_new(o, "version", version_text(&f->version));
    json_object_set_new(o, "by",
                        json_string(version_is_none(&f->version) ? "nothing"
                                    : f->listed                  ? "update"
                                                                 : "image"));
    json_object_set_new(o, "seq", from ? json_integer((json_int_t)from->seq) : json_null());
    if (f->edited)
        json_object_set_new(o, "edit_won", json_true());
    return o;
}

static const char *existence_name(enum record_existence existence)
{
    static const char *const names[] = {
        [RECORD_UNSEEN] = "unseen", [RECORD_EXISTS] = "exists", [RECORD_DELETED] = "deleted"};
    return names[existence];
}

static json_t *record_json(const char *sink, const struct held_record *r, const struct explain_event *events,
                           size_t n)
{
    const struct explain_event *existed = event_of(events, n, &r->state.existed);
    json_t *o = json_object(), *fields = json_array();
    json_object_set_new(o, "sink", json_string(sink));
    json_object_set_new(o, "table", text_of(r->table));
    json_object_set_new(o, "row", json_boolean(r->has_row));
    json_object_set_new(o, "deleted", json_boolean(r->deleted));
    json_object_set_new(o, "existence", json_string(existence_name(r->state.existence)));
    json_object_set_new(o, "existed", version_text(&r->state.existed));
    json_object_set_new(o, "existed_seq", existed ? json_integer((json_int_t)existed->seq) : json_null());
    json_object_set_new(o, "incomplete", json_boolean(r->incomplete));
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(fields, field_json(&r->fields[i], events, n));
    json_object_set_new(o, "fields", fields);
    return o;
}

/* --- what became of each event's fields --------------------------------------------------------------------- */

/* An UPDATE names its fields; any other change speaks about all of them. */
static bool speaks_about(const struct explain_event *ev, struct span field)
{
    size_t i;
    json_t *name, *names = json_object_get(ev->json, "changed_fields");
    const char *type = json_string_value(json_object_get(ev->json, "change_type"));
    if (!type || strcmp(type, "UPDATE") != 0)
        return true;
    json_array_foreach(names, i, name) if (span_equal_str(field, json_string_value(name))) return true;
    return false;
}

/* {"sink", "fields": [{"field", "version", "seq"}…]}: of this event, what was newer already or became so. */
static void add_superseded(const char *sink, const struct held_record *r, const struct explain_event *ev,
                           const struct explain_event *events, size_t n)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < r->n; i++) {
        const struct held_field *f = &r->fields[i];
        if (version_is_none(&ev->version) || version_compare(&f->version, &ev->version) <= 0 ||
            !speaks_about(ev, f->field))
            continue;
        const struct explain_event *by = event_of(events, n, &f->version);
        json_t *o = json_object();
        json_object_set_new(o, "field", text_of(f->field));
        json_object_set_new(o, "version", version_text(&f->version));
        json_object_set_new(o, "seq", by ? json_integer((json_int_t)by->seq) : json_null());
        json_array_append_new(fields, o);
    }
    json_t *list = json_object_get(ev->json, "superseded");
    if (!list) {
        list = json_array();
        json_object_set_new(ev->json, "superseded", list);
    }
    json_array_append_new(list, json_pack("{ssso}", "sink", sink, "fields", fields));
}

static const struct entity_config *entity_config(const struct sink_config *sink, const char *entity)
{
    for (uint32_t i = 0; entity && i < sink->n_entities; i++)
        if (strcmp(sink->entities[i].entity, entity) == 0)
            return &sink->entities[i];
    return NULL;
}

static bool is_settled(const struct explain_event *ev, const char *sink)
{
    size_t i;
    json_t *standing;
    json_array_foreach(json_object_get(ev->json, "sinks"), i, standing)
    {
        if (strcmp(json_string_value(json_object_get(standing, "name")), sink) == 0)
            return strcmp(json_string_value(json_object_get(standing, "status")), "settled") == 0;
    }
    return false;
}

/* It was newer, and is settled, and the record is there: nothing but an edit wins against that. */
static bool is_lost_deletion(const struct sink_config *sink, const struct held_record *r,
                             const struct explain_event *ev)
{
    const char *type = json_string_value(json_object_get(ev->json, "change_type"));
    const struct entity_config *c = entity_config(sink,
                                                  json_string_value(json_object_get(ev->json, "entity")));
    return type && strcmp(type, "DELETE") == 0 && c && c->last_modified_column &&
           c->on_delete != DELETE_IGNORE && r->has_row && r->state.existence != RECORD_DELETED &&
           version_compare(&ev->version, &r->state.existed) > 0 && is_settled(ev, sink->name);
}

/* {"sink", "fields": ["Phone"…], "deletion"}: of this event, what did not reach the row. */
static void add_edit_won(const struct sink_config *sink, const struct held_record *r,
                         const struct explain_event *ev)
{
    const bool deletion = is_lost_deletion(sink, r, ev);
    json_t *fields = json_array();
    for (size_t i = 0; i < r->n; i++)
        if (r->fields[i].edited && version_compare(&r->fields[i].version, &ev->version) == 0)
            json_array_append_new(fields, text_of(r->fields[i].field));
    json_t *list = json_object_get(ev->json, "edit_won");
    if (!list) {
        list = json_array();
        json_object_set_new(ev->json, "edit_won", list);
    }
    if (deletion || json_array_size(fields))
        json_array_append_new(
            list, json_pack("{sssosb}", "sink", sink->name, "fields", fields, "deletion", deletion));
    else
        json_decref(fields);
}

/* --- all sinks ------------------------------------------------------------------------------------------------ */

static void explain_sink(const struct sink_config *sink, const char *record_id,
                         const struct explain_event *events, size_t n_events, json_t *out)
{
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct held_record *records;
    size_t n;
    if (held_look(sink, record_id, &a, &records, &n, &e) != 0)
        json_array_append_new(out, json_pack("{ssss}", "sink", sink->name, "error", e.text));
    else if (n == 0)
        json_array_append_new(out, json_pack("{sssn}", "sink", sink->name, "table"));
    for (size_t i = 0; e.class == ERR_NONE && i < n; i++) {
        json_array_append_new(out, record_json(sink->name, &records[i], events, n_events));
        for (size_t k = 0; k < n_events; k++) {
            add_superseded(sink->name, &records[i], &events[k], events, n_events);
            add_edit_won(sink, &records[i], &events[k]);
        }
    }
    arena_release(&a);
}

json_t *explain_held(const struct config *config, const char *sink, const char *record_id,
                     const uint32_t *raises, struct explain_event *events, size_t n)
{
    json_t *out = json_array();
    for (uint32_t i = 0; i < config->n_sinks; i++) {
        if (!sink_kind_is_mirror(config->sinks[i].kind) || (sink && strcmp(sink, config->sinks[i].name) != 0))
            continue;
        for (size_t k = 0; k < n; k++)
            events[k].version.epoch += raises[i];
        explain_sink(&config->sinks[i], record_id, events, n, out);
        for (size_t k = 0; k < n; k++)
            events[k].version.epoch -= raises[i];
    }
    return out;
}

/* --- for people ------------------------------------------------------------------------------------------------- */

static const char *member(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text ? text : "";
}

/* The event a version came with: "seq 12", or that it is not held any more. */
static void add_from(const json_t *o, char *out, size_t n)
{
    const json_t *seq = json_object_get(o, "seq");
    const char *by = member(o, "by");
    if (json_is_true(json_object_get(o, "edit_won")))
        snprintf(out, n,
                 json_is_integer(seq) ? "an edit in the target, not seq %lld" : "an edit in the target",
                 (long long)json_integer_value(seq));
    else if (strcmp(by, "nothing") == 0)
        snprintf(out, n, "nothing yet");
    else if (json_is_integer(seq))
        snprintf(out, n, "seq %lld%s", (long long)json_integer_value(seq),
                 strcmp(by, "image") == 0 ? ", the whole record" : "");
    else
        snprintf(out, n, "%s not held any more", strcmp(by, "image") == 0 ? "a whole record" : "an event");
}

static void add_value(const json_t *field, char *out, size_t n)
{
    enum { SHOWN = 40 };
    const char *value = json_string_value(json_object_get(field, "value"));
    size_t i = 0;
    if (!value) {
        snprintf(out, n, "null");
        return;
    }
    for (; value[i] && i < SHOWN && i + 4 < n; i++)
        out[i] = (unsigned char)value[i] < ' ' ? ' ' : value[i];
    while (value[i] && i && ((unsigned char)value[i] & 0xc0) == 0x80)
        i--; /* not within a character */
    snprintf(out + i, n - i, "%s", value[i] ? "…" : "");
}

static void add_record(const json_t *r, bool colour, struct buf *out)
{
    struct table t;
    size_t i;
    json_t *field;
    const json_t *existed = json_object_get(r, "existed_seq");
    buf_addf(out, "sink %s, table %s: %s", member(r, "sink"), member(r, "table"),
             !json_is_true(json_object_get(r, "row"))      ? "no row"
             : json_is_true(json_object_get(r, "deleted")) ? "the row is marked as deleted"
                                                           : "one row");
    if (strcmp(member(r, "existence"), "unseen") != 0)
        buf_addf(out, "; the record %s since version %s",
                 strcmp(member(r, "existence"), "deleted") == 0 ? "is deleted" : "exists",
                 member(r, "existed"));
    if (json_is_integer(existed))
        buf_addf(out, " (seq %lld)", (long long)json_integer_value(existed));
    buf_addf(out, "%s\n",
             json_is_true(json_object_get(r, "incomplete")) ? "; incomplete, to be re-read" : "");
    table_init(&t, "lllll");
    table_cell(&t, "field");
    table_cell(&t, "column");
    table_cell(&t, "version");
    table_cell(&t, "from");
    table_cell(&t, "value");
    json_array_foreach(json_object_get(r, "fields"), i, field)
    {
        char from[64], value[64];
        const char *version = member(field, "version");
        add_from(field, from, sizeof from);
        add_value(field, value, sizeof value);
        table_cell(&t, "%s", member(field, "field"));
        table_cell(&t, "%s", member(field, "column"));
        table_cell(&t, "%s", *version ? version : "-");
        table_cell(&t, "%s", from);
        table_cell(&t, "%s", value);
    }
    table_print(&t, "  ", colour, out);
    table_release(&t);
}

void explain_held_text(const json_t *held, bool colour, struct buf *out)
{
    size_t i;
    json_t *r;
    json_array_foreach(held, i, r)
    {
        if (json_object_get(r, "error"))
            buf_addf(out, "sink %s: %s\n", member(r, "sink"), member(r, "error"));
        else if (json_is_null(json_object_get(r, "table")))
            buf_addf(out, "sink %s holds nothing of it\n", member(r, "sink"));
        else
            add_record(r, colour, out);
    }
}
