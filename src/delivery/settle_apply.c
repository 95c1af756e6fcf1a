#include "delivery/settle.h"

#include "base/digest.h"

/* --- columns -------------------------------------------------------------------------------------- */

static void make_room(struct settle *s, struct record *r)
{
    const uint32_t n = r->table->mirror->n_columns;
    if (r->set)
        return;
    r->set = arena_alloc(s->arena, (n / 64 + 1) * sizeof *r->set);
    memset(r->set, 0, (n / 64 + 1) * sizeof *r->set);
    r->values = arena_alloc(s->arena, (n + 1) * sizeof *r->values);
}

static bool is_set(const struct record *r, uint32_t column)
{
    return r->set && (r->set[column / 64] >> (column % 64) & 1);
}

/* The key of a source within a column that several fields share. */
static const char *member_of(const struct map_entity *entity, uint32_t source)
{
    for (uint32_t i = 0; i < entity->n_slots; i++)
        if (entity->slots[i].source == source)
            return entity->slots[i].member;
    return NULL;
}

static void put_source(struct settle *s, const struct piece *piece, uint32_t source,
                       const struct mirror_value *v)
{
    struct record *r = piece->record;
    const uint32_t column = r->table->mirror->sources[source].column;
    if (!r->table->mirror->columns[column].merged) {
        r->set[column / 64] |= (uint64_t)1 << (column % 64);
        r->values[column] = *v;
        return;
    }
    struct patch *p = arena_alloc(s->arena, sizeof *p);
    *p = (struct patch){column, member_of(piece->of->entity, source), v, r->patches};
    if (p->member)
        r->patches = p;
}

/* --- the target's own edits ----------------------------------------------------------------------- */

enum edit { EDIT_NONE, EDIT_WINS, EDIT_PARKS };

/* Somebody else wrote the row since we did, says its last-modified column; *when: the time of that. */
static bool is_edited(const struct record *r, int64_t *when)
{
    if (!r->table->mirror->last_modified || !r->held.has_row || r->held.deleted || !r->held.has_modified)
        return false;
    *when = settle_is_ours(r, r->held.modified_ms) ? r->safe.edit_ms : r->held.modified_ms;
    return *when != 0;
}

static enum edit edited(const struct record *r, const struct mapped *m, int64_t *when)
{
    if (!is_edited(r, when))
        return EDIT_NONE;
    switch (m->entity->conflict) {
    case CONFLICT_NEWEST_WINS:
        return *when > m->d->ch->header.commit_timestamp ? EDIT_WINS : EDIT_NONE;
    case CONFLICT_SOURCE_WINS:
        return EDIT_NONE;
    case CONFLICT_TARGET_WINS:
        return EDIT_WINS;
    case CONFLICT_PARK:
        return EDIT_PARKS;
    }
    BUG("conflict policy %d", (int)m->entity->conflict);
}

static void note_stamp(struct record *r, const struct mapped *m)
{
    if (!r->table->mirror->last_modified)
        return;
    if (r->table->modified == NO_COLUMN) {
        if (m->d->ch->header.commit_timestamp > r->state.stamp_ms)
            r->state.stamp_ms = m->d->ch->header.commit_timestamp;
    } else if (is_set(r, r->table->modified) && !r->values[r->table->modified].is_null) {
        r->state.stamp_ms = r->values[r->table->modified].as.integer;
    }
}

/* --- rows ----------------------------------------------------------------------------------------- */

static bool is_soft(const struct record *r)
{
    return r->table->mirror->on_delete == MIRROR_SOFT;
}

/* A member of a shared column has its name from the schema of the event. */
static bool is_known_to(const struct piece *piece, uint32_t source)
{
    const struct mirror_table *t = piece->record->table->mirror;
    return !t->columns[t->sources[source].column].merged || member_of(piece->of->entity, source);
}

/* A record comes back: what was newer than its deletion goes to the row, too. In a marked row it is already. */
static void bring_back(struct settle *s, const struct piece *piece, struct conflict_decision *d)
{
    for (uint32_t i = 0; i < d->next.n; i++) {
        const struct field_version *f = &d->next.fields[i];
        const uint32_t source = table_source(piece->record->table, f->field);
        if (source == NO_COLUMN)
            continue;
        if (f->kept && is_known_to(piece, source)) {
            put_source(s, piece, source, f->kept);
            record_state_keep(&d->next, i, NULL);
        } else if (!is_soft(piece->record)) {
            d->next.dirty = record_state_newest(&d->next); /* nobody knows what it was */
            d->owes = true;
        }
    }
}

/* Never 0, which stands for a value nobody knows. */
static uint64_t hash_of_value(const struct mirror_value *v)
{
    const bool text = v->type == MIRROR_TEXT || v->type == MIRROR_JSON;
    const struct span bytes = v->is_null ? span_of("null", 4)
                              : text     ? v->as.text
                                         : span_of(&v->as, sizeof v->as.integer);
    uint8_t digest[32];
    uint64_t hash;
    digest_sha256(bytes, digest);
    memcpy(&hash, digest, sizeof hash);
    hash ^= v->is_null ? 1 : text ? 2 : 3;
    return hash ? hash : 4;
}

/*
 * skip_unchanged: a value that equals the one last written to this record is not written again, so that what the
 * target made of it since stands, and nothing goes round in a circle. The version counts either way.
 */
static void put_changed(struct settle *s, struct piece *piece, const struct mapped *m,
                        struct conflict_decision *d)
{
    struct record *r = piece->record;
    const bool live = !d->returns &&
                      (r->pending == CONFLICT_ROW_UPSERT || (r->held.has_row && !r->held.deleted));
    uint64_t *hashes = arena_alloc(s->arena, (m->change.n + 1) * sizeof *hashes);
    for (uint32_t i = 0; i < m->change.n; i++) {
        hashes[i] = 0;
        if (!d->won[i] || m->leaves[i])
            continue;
        const struct field_version *held = record_state_find(&r->state, m->change.fields[i]);
        hashes[i] = hash_of_value(&m->values[i]);
        if (!live || !held || held->hash != hashes[i])
            put_source(s, piece, m->sources[i], &m->values[i]);
    }
    if (d->returns)
        bring_back(s, piece, d);
    record_state_hash(&d->next, &m->change.version, m->change.n, m->change.fields, hashes, s->arena);
}

static void apply_upsert(struct settle *s, struct piece *piece, const struct mapped *m,
                         struct conflict_decision *d)
{
    struct record *r = piece->record;
    make_room(s, r);
    if (m->entity->config && m->entity->config->skip_unchanged) {
        put_changed(s, piece, m, d);
        r->pending = CONFLICT_ROW_UPSERT;
        return;
    }
    for (uint32_t i = 0; i < m->change.n; i++)
        if (d->won[i] && !m->leaves[i])
            put_source(s, piece, m->sources[i], &m->values[i]);
    if (d->returns)
        bring_back(s, piece, d);
    r->pending = CONFLICT_ROW_UPSERT;
}

/* What the row holds of a field now, be it written or pending. *found false: nobody knows. */
static int held_value(struct settle *s, const struct piece *piece, uint32_t source, bool *found,
                      struct mirror_value *out, struct err *e)
{
    const struct record *r = piece->record;
    const struct mirror_table *t = r->table->mirror;
    const uint32_t column = t->sources[source].column;
    *found = is_set(r, column);
    if (*found)
        *out = r->values[column];
    else if (r->held.has_row && s->ops->text(s->mirror, t, r->id, column, s->arena, found, out, e) != 0)
        return -1;
    if (!*found || !t->columns[column].merged)
        return 0;
    const char *member = member_of(piece->of->entity, source);
    *found = member != NULL;
    if (member && !out->is_null)
        out->is_null = !map_patch_find(out->as.text, member, &out->as.text);
    return 0;
}

/* Values that are newer than the deletion outlive the row. */
static int keep_values(struct settle *s, const struct piece *piece, struct record_state *next, struct err *e)
{
    for (uint32_t i = 0; i < next->n; i++) {
        const struct field_version *f = &next->fields[i];
        const uint32_t source = table_source(piece->record->table, f->field);
        if (f->kept || source == NO_COLUMN)
            continue;
        struct mirror_value *v = arena_alloc(s->arena, sizeof *v);
        bool found = false;
        if (held_value(s, piece, source, &found, v, e) != 0)
            return -1;
        if (found)
            record_state_keep(next, i, v);
    }
    return 0;
}

static int apply_delete(struct settle *s, struct piece *piece, struct conflict_decision *d, struct err *e)
{
    struct record *r = piece->record;
    if (!is_soft(r) && keep_values(s, piece, &d->next, e) != 0)
        return -1;
    r->set = NULL;
    r->patches = NULL;
    r->pending = r->held.has_row ? CONFLICT_ROW_DELETE : CONFLICT_ROW_STATE;
    r->deleted_ms = piece->of->d->ch->header.commit_timestamp;
    if (is_soft(r))
        d->next.deleted_ms = r->deleted_ms;
    return 0;
}

/* An UPDATE to a record that is gone: its values wait in the state. */
static void apply_state(struct piece *piece, const struct mapped *m, struct conflict_decision *d)
{
    struct record *r = piece->record;
    for (uint32_t i = 0, k = 0; m->change.kind == CONFLICT_UPDATE && i < m->change.n; i++) {
        while (k < d->next.n && d->next.fields[k].field < m->change.fields[i])
            k++;
        if (d->won[i] && k < d->next.n && d->next.fields[k].field == m->change.fields[i] && !m->leaves[i])
            record_state_keep(&d->next, k, &m->values[i]);
    }
    if (r->pending == CONFLICT_ROW_NONE)
        r->pending = CONFLICT_ROW_STATE;
}

/* --- one piece ------------------------------------------------------------------------------------ */

static void park(struct piece *piece, const char *reason, const char *detail)
{
    piece->outcome = OUTCOME_PARKED;
    piece->reason = reason;
    piece->detail = detail;
}

static void apply_append(struct settle *s, struct piece *piece)
{
    struct record *r = piece->record;
    const struct mapped *m = piece->of;
    if (r->first != piece) {
        piece->outcome = OUTCOME_SUPERSEDED; /* the same event again */
        return;
    }
    make_room(s, r);
    for (uint32_t i = 0; i < m->change.n; i++)
        if (!m->leaves[i])
            put_source(s, piece, m->sources[i], &m->values[i]);
    r->pending = CONFLICT_ROW_UPSERT;
    r->first_pending = piece;
    r->seq = m->d->ev->seq;
}

static int carry_out(struct settle *s, struct piece *piece, const struct mapped *m,
                     struct conflict_decision *d, struct err *e)
{
    switch (d->row) {
    case CONFLICT_ROW_NONE:
        return 0;
    case CONFLICT_ROW_STATE:
        apply_state(piece, m, d);
        return 0;
    case CONFLICT_ROW_UPSERT:
        apply_upsert(s, piece, m, d);
        return 0;
    case CONFLICT_ROW_DELETE:
        return apply_delete(s, piece, d, e);
    }
    BUG("conflict row %d", (int)d->row);
}

/* A text that came as a difference to one we do not have: as after a gap. */
static void note_missed_text(struct settle *s, const struct mapped *m, struct conflict_decision *d)
{
    struct conflict_change gap = {.kind = CONFLICT_GAP, .version = m->change.version};
    struct conflict_decision missed;
    if (!m->misses_text)
        return;
    conflict_decide(&d->next, &gap, s->arena, &missed);
    if (missed.row == CONFLICT_ROW_NONE)
        return;
    d->next = missed.next;
    d->owes |= missed.owes;
    if (d->row == CONFLICT_ROW_NONE)
        d->row = CONFLICT_ROW_STATE;
    d->superseded &= d->next.existence == RECORD_DELETED;
}

/* The row goes, or comes back, and what was decided before is not written yet: that first. */
static int write_before(struct settle *s, struct piece *piece, const struct conflict_decision *d,
                        struct err *e)
{
    struct record *r = piece->record;
    const bool turns = (d->row == CONFLICT_ROW_DELETE && r->pending == CONFLICT_ROW_UPSERT) ||
                       (d->row == CONFLICT_ROW_UPSERT && r->pending == CONFLICT_ROW_DELETE);
    if (!turns)
        return 0;
    s->unwritten = true;
    return settle_write_one(s, r, &r->refused, &r->why, e);
}

int settle_apply(struct settle *s, struct piece *piece, struct err *e)
{
    struct record *r = piece->record;
    const struct mapped *m = piece->of;
    struct conflict_decision d;
    piece->owes = piece->late = false;
    piece->outcome = OUTCOME_DELIVERED;
    if (m->what == MAPPED_NOTHING) {
        park(piece, m->reason, m->why);
        return 0;
    }
    if (r->unreadable) {
        park(piece, "state unreadable", "the target holds bytes in _state that this program did not write");
        return 0;
    }
    if (m->what == MAPPED_APPEND) {
        apply_append(s, piece);
        return 0;
    }
    if (!version_is_none(&s->horizon) && version_compare(&m->change.version, &s->horizon) <= 0) {
        piece->outcome =
            OUTCOME_SUPERSEDED; /* what it would be compared with is gone: it is re-read instead */
        piece->owes = piece->late = true;
        return 0;
    }
    struct mapped with_texts;
    if (m->n_texts) {
        const char *refused;
        if (settle_texts(s, piece, &with_texts, &refused, e) != 0)
            return -1;
        if (refused) {
            park(piece, "mapping", refused);
            return 0;
        }
        m = &with_texts;
    }
    conflict_decide(&r->state, &m->change, s->arena, &d);
    note_missed_text(s, m, &d);
    if (write_before(s, piece, &d, e) != 0)
        return -1;
    if (r->refused)
        return 0; /* its pieces are taken one by one */
    int64_t when;
    const bool touches = d.row == CONFLICT_ROW_UPSERT || d.row == CONFLICT_ROW_DELETE;
    const enum edit edit = touches ? edited(r, m, &when) : EDIT_NONE;
    if (edit == EDIT_PARKS) {
        park(piece, "conflict",
             "the row was edited in the target since it was last written (conflict: park)");
        return 0;
    }
    if (edit == EDIT_WINS) {
        piece->outcome = OUTCOME_SUPERSEDED;
        if (d.row == CONFLICT_ROW_DELETE)
            return 0;
        /* decided, and for good: what won here must not come again with a repeat */
        d.row = CONFLICT_ROW_STATE;
        d.next.edit_ms = when;
        record_state_edited(&d.next, &m->change.version);
    } else {
        piece->outcome = d.superseded ? OUTCOME_SUPERSEDED : OUTCOME_DELIVERED;
        if (touches)
            d.next.edit_ms = 0;
    }
    if (d.row == CONFLICT_ROW_NONE)
        return 0;
    if (!r->first_pending)
        r->first_pending = piece;
    if (edit == EDIT_WINS) {
        if (r->pending == CONFLICT_ROW_NONE)
            r->pending = CONFLICT_ROW_STATE;
    } else if (carry_out(s, piece, m, &d, e) != 0) {
        return -1;
    }
    r->state = d.next;
    r->seq = m->d->ev->seq;
    piece->owes = d.owes;
    if (d.row == CONFLICT_ROW_UPSERT)
        note_stamp(r, m);
    return 0;
}
