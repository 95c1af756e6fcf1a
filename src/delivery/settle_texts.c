/*
 * Long texts that came as differences: applied to what the record holds now, when the hash agrees.
 */
#include "delivery/settle.h"

#include "delivery/text_diff.h"

/* 0; *found false: there is no row to read from. */
static int read_row(struct settle *s, const struct record *r, uint32_t column, bool *found,
                    struct mirror_value *out, struct err *e)
{
    *found = false;
    if (!r->held.has_row)
        return 0;
    if (s->ops->text(s->mirror, r->table->mirror, r->id, column, s->arena, found, out, e) != 0)
        return -1;
    *found = *found && !out->is_null;
    return 0;
}

/* The same of a member of a shared object: as JSON, until it is read as a text. */
static int held_member(struct settle *s, const struct record *r, uint32_t column, const char *member,
                       bool *found, struct span *out, struct err *e)
{
    const struct patch *p = r->patches;
    struct mirror_value object;
    while (p && (p->column != column || strcmp(p->member, member) != 0))
        p = p->earlier;
    *found = p && !p->value->is_null;
    if (*found)
        *out = p->value->as.text;
    if (!p && read_row(s, r, column, found, &object, e) != 0)
        return -1;
    if (!p && *found)
        *found = map_patch_find(object.as.text, member, out);
    *found = *found && map_patch_text(*out, s->arena, out);
    return 0;
}

/* The text that is held, or is about to be. 0; *found false: there is none that can be read. */
static int held_text(struct settle *s, const struct record *r, const struct map_slot *slot, bool *found,
                     struct span *out, struct err *e)
{
    const uint32_t column = r->table->mirror->sources[slot->source].column;
    const struct mirror_column *c = &r->table->mirror->columns[column];
    struct mirror_value value;
    *found = false;
    if (c->merged)
        return slot->member ? held_member(s, r, column, slot->member, found, out, e) : 0;
    if (c->type != MIRROR_TEXT)
        return 0;
    if (r->set && (r->set[column / 64] >> (column % 64) & 1)) {
        value = r->values[column];
        *found = !value.is_null;
    } else if (read_row(s, r, column, found, &value, e) != 0) {
        return -1;
    }
    if (*found)
        *out = value.as.text;
    return 0;
}

enum new_text {
    TEXT_NEW,     /* *out */
    TEXT_PASSED,  /* the difference says nothing here: newer, or this very change, is held */
    TEXT_MISSED,  /* it should have: the text that it changes is another, or is not held */
    TEXT_REFUSED, /* what it gives does not fit its column: *refusal says field and rule */
};

/* -1 err. */
static int new_text(struct settle *s, const struct piece *piece, const struct text_change *t,
                    struct mirror_value *out, struct err *refusal, struct err *e)
{
    const struct record *r = piece->record;
    const struct version held = record_state_version(&r->state, t->field);
    struct span old;
    bool found;
    const char *flagged = NULL, *reason = "no text is held";
    if (version_compare(&held, &piece->of->change.version) >= 0)
        return TEXT_PASSED;
    if (held_text(s, r, t->slot, &found, &old, e) != 0)
        return -1;
    struct buf text = BUF_INIT;
    if (!found || !text_diff_apply(old, t->difference, &text, &reason)) {
        buf_release(&text);
        tally_add(&s->pieces->missed, s->arena, t->slot, reason);
        return TEXT_MISSED;
    }
    const struct cell cell = {.type = CELL_STRING, .as.bytes = arena_copy(s->arena, buf_span(&text))};
    buf_release(&text);
    if (map_value(piece->of->entity, t->slot, &cell, s->arena, out, &flagged, refusal) != MAP_VALUE)
        return TEXT_REFUSED;
    if (flagged)
        tally_add(&s->pieces->cut, s->arena, t->slot, flagged);
    return TEXT_NEW;
}

/* Enter one more field, in its place. */
static void insert(struct mapped *m, uint32_t *fields, uint32_t *sources, struct mirror_value *values,
                   bool *leaves, const struct text_change *t, const struct mirror_value *value)
{
    uint32_t at = m->change.n++;
    for (; at > 0 && fields[at - 1] > t->field; at--) {
        fields[at] = fields[at - 1];
        sources[at] = sources[at - 1];
        values[at] = values[at - 1];
        leaves[at] = leaves[at - 1];
    }
    fields[at] = t->field;
    sources[at] = t->slot->source;
    values[at] = *value;
    leaves[at] = false;
}

int settle_texts(struct settle *s, const struct piece *piece, struct mapped *out, const char **refused,
                 struct err *e)
{
    const struct mapped *m = piece->of;
    const uint32_t n = m->change.n, most = n + m->n_texts;
    *out = *m;
    uint32_t *fields = arena_alloc(s->arena, most * sizeof *fields);
    uint32_t *sources = arena_alloc(s->arena, most * sizeof *sources);
    struct mirror_value *values = arena_alloc(s->arena, most * sizeof *values);
    bool *leaves = arena_alloc(s->arena, most);
    if (n) {
        memcpy(fields, m->change.fields, n * sizeof *fields);
        memcpy(sources, m->sources, n * sizeof *sources);
        memcpy(values, m->values, n * sizeof *values);
        memcpy(leaves, m->leaves, n);
    }
    out->change.fields = fields;
    out->sources = sources;
    out->values = values;
    out->leaves = leaves;
    *refused = NULL;
    for (uint32_t i = 0; i < m->n_texts; i++) {
        struct mirror_value value;
        struct err why = ERR_INIT;
        int rc = new_text(s, piece, &m->texts[i], &value, &why, e);
        if (rc < 0)
            return -1;
        if (rc == TEXT_REFUSED)
            *refused = arena_strndup(s->arena, why.text, strlen(why.text));
        out->misses_text |= rc == TEXT_MISSED;
        if (rc == TEXT_NEW)
            insert(out, fields, sources, values, leaves, &m->texts[i], &value);
    }
    return 0;
}
