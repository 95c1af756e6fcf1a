/*
 * Long texts that came as differences: applied to what the record holds now, when the hash agrees.
 */
#include "delivery/settle.h"

#include "delivery/text_diff.h"

/* The text that is held, or is about to be. 0; *found false: there is none that can be read. */
static int held_text(struct settle *s, const struct record *r, uint32_t column, bool *found,
                     struct mirror_value *out, struct err *e)
{
    const struct mirror_column *c = &r->table->mirror->columns[column];
    *found = false;
    if (c->merged || c->type != MIRROR_TEXT)
        return 0;
    if (r->set && (r->set[column / 64] >> (column % 64) & 1)) {
        *out = r->values[column];
        *found = !out->is_null;
        return 0;
    }
    if (!r->held.has_row)
        return 0;
    if (s->ops->text(s->mirror, r->table->mirror, r->id, column, s->arena, found, out, e) != 0)
        return -1;
    *found = *found && !out->is_null;
    return 0;
}

/* 0: *out is the new value; 1: the difference says nothing here; -1 err. *missed: it should have. */
static int new_text(struct settle *s, const struct piece *piece, const struct text_change *t,
                    struct mirror_value *out, bool *missed, struct err *e)
{
    const struct record *r = piece->record;
    const struct version held = record_state_version(&r->state, t->field);
    struct mirror_value old;
    bool found, flagged = false;
    const char *reason;
    struct err why = ERR_INIT;
    if (version_compare(&held, &piece->of->change.version) >= 0)
        return 1; /* newer, or this very change */
    if (held_text(s, r, r->table->mirror->sources[t->slot->source].column, &found, &old, e) != 0)
        return -1;
    struct buf text = BUF_INIT;
    if (!found || !text_diff_apply(old.as.text, t->difference, &text, &reason)) {
        buf_release(&text);
        *missed = true;
        return 1;
    }
    const struct cell cell = {.type = CELL_STRING, .as.bytes = arena_copy(s->arena, buf_span(&text))};
    buf_release(&text);
    if (map_value(piece->of->entity, t->slot, &cell, s->arena, out, &flagged, &why) == MAP_VALUE)
        return 0;
    *missed = true;
    return 1;
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

int settle_texts(struct settle *s, const struct piece *piece, struct mapped *out, struct err *e)
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
    for (uint32_t i = 0; i < m->n_texts; i++) {
        struct mirror_value value;
        int rc = new_text(s, piece, &m->texts[i], &value, &out->misses_text, e);
        if (rc < 0)
            return -1;
        if (rc == 0)
            insert(out, fields, sources, values, leaves, &m->texts[i], &value);
    }
    return 0;
}
