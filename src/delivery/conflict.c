#include "delivery/conflict.h"

static bool newer(const struct version *a, const struct version *b)
{
    return version_compare(a, b) > 0;
}

/* Which of the change's fields are not held in a newer version. Both lists ascend. */
static void decide_fields(const struct record_state *held, const struct conflict_change *ch, struct arena *a,
                          struct conflict_decision *out)
{
    uint32_t k = 0;
    out->won = arena_alloc(a, ch->n + 1);
    const bool beats_base = !newer(&held->base, &ch->version);
    for (uint32_t i = 0; i < ch->n; i++) {
        while (k < held->n && held->fields[k].field < ch->fields[i])
            k++;
        const bool listed = k < held->n && held->fields[k].field == ch->fields[i];
        out->won[i] = beats_base && !(listed && newer(&held->fields[k].version, &ch->version));
        out->n_won += out->won[i];
    }
}

/* What is newer than a full image, or a deletion, stays listed; hashes of the others are out of date. */
static void keep_newer(struct record_state *next, const struct version *than, struct arena *a)
{
    if (next->n == 0)
        return;
    struct field_version *fields = arena_alloc(a, next->n * sizeof *fields);
    uint32_t n = 0;
    for (uint32_t i = 0; i < next->n; i++)
        if (newer(&next->fields[i].version, than))
            fields[n++] = next->fields[i];
    next->fields = fields;
    next->n = n;
}

/* Every field is spoken about. */
static void rebase(struct record_state *next, const struct conflict_change *ch, struct arena *a)
{
    if (!newer(&next->base, &ch->version)) {
        next->base = ch->version;
        next->base_edited = false;
    }
    keep_newer(next, &next->base, a);
}

static void turn(struct record_state *next, enum record_existence existence, const struct conflict_change *ch)
{
    next->existence = existence;
    next->existed = ch->version;
    next->deleted_ms = 0;
    if (!newer(&next->dirty, &ch->version))
        next->dirty = VERSION_NONE;
}

static bool outdated(const struct record_state *held, const struct conflict_change *ch)
{
    return held->existence != RECORD_UNSEEN && newer(&held->existed, &ch->version);
}

static void decide_image(const struct record_state *held, const struct conflict_change *ch, struct arena *a,
                         struct conflict_decision *out)
{
    const bool late = outdated(held, ch);
    decide_fields(held, ch, a, out);
    if (late && !(ch->soft && held->existence == RECORD_DELETED && !newer(&held->base, &ch->version)))
        return;
    out->superseded = false;
    out->row = CONFLICT_ROW_UPSERT;
    rebase(&out->next, ch, a);
    if (late)
        return; /* what the record was when it was deleted */
    out->returns = held->existence == RECORD_DELETED;
    turn(&out->next, RECORD_EXISTS, ch);
}

static void decide_delete(const struct record_state *held, const struct conflict_change *ch, struct arena *a,
                          struct conflict_decision *out)
{
    if (outdated(held, ch))
        return;
    out->superseded = false;
    out->row = CONFLICT_ROW_DELETE;
    turn(&out->next, RECORD_DELETED, ch);
    if (!ch->soft)
        rebase(&out->next, ch, a);
}

/* Enter the winners into the list. Those at the version of the base need no place in it. */
static void list_winners(const struct record_state *held, const struct conflict_change *ch, struct arena *a,
                         struct conflict_decision *out)
{
    if (version_compare(&ch->version, &held->base) == 0)
        return;
    struct field_version *fields = arena_alloc(a, (held->n + out->n_won) * sizeof *fields);
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < ch->n; i++) {
        if (!out->won[i])
            continue;
        while (k < held->n && held->fields[k].field < ch->fields[i])
            fields[n++] = held->fields[k++];
        if (k < held->n && held->fields[k].field == ch->fields[i])
            k++;
        fields[n++] = (struct field_version){.field = ch->fields[i], .version = ch->version};
    }
    while (k < held->n)
        fields[n++] = held->fields[k++];
    arena_shrink(a, fields, (held->n + out->n_won) * sizeof *fields, n * sizeof *fields);
    out->next.fields = fields;
    out->next.n = n;
}

static void decide_update(const struct record_state *held, const struct conflict_change *ch, struct arena *a,
                          struct conflict_decision *out)
{
    const bool has_row = held->existence == RECORD_EXISTS ||
                         (held->existence == RECORD_DELETED &&
                          (!ch->soft || held->n > 0 || !version_is_none(&held->base)));
    decide_fields(held, ch, a, out);
    if (ch->n == 0 && held->existence == RECORD_EXISTS)
        out->superseded = newer(&held->base, &ch->version);
    /* One that names no field we mirror says at least that the record was there. */
    if (out->n_won == 0 && (ch->n > 0 || has_row))
        return;
    list_winners(held, ch, a, out);
    if (held->existence == RECORD_DELETED && !ch->soft) {
        out->row = CONFLICT_ROW_STATE;
        return; /* superseded by the deletion, as far as the row goes */
    }
    out->superseded = false;
    out->row = CONFLICT_ROW_UPSERT;
    out->owes = held->existence == RECORD_UNSEEN && held->n == 0 && version_is_none(&held->base) &&
                version_is_none(&held->dirty);
}

static void decide_gap(const struct record_state *held, const struct conflict_change *ch,
                       struct conflict_decision *out)
{
    if (held->existence != RECORD_UNSEEN && !newer(&ch->version, &held->existed))
        return;
    out->superseded = false;
    if (!newer(&ch->version, &held->dirty))
        return;
    out->next.dirty = ch->version;
    out->row = CONFLICT_ROW_STATE;
    out->owes = true;
}

void conflict_decide(const struct record_state *held, const struct conflict_change *change, struct arena *a,
                     struct conflict_decision *out)
{
    *out = (struct conflict_decision){.row = CONFLICT_ROW_NONE, .superseded = true, .next = *held};
    switch (change->kind) {
    case CONFLICT_IMAGE:
        decide_image(held, change, a, out);
        break;
    case CONFLICT_UPDATE:
        decide_update(held, change, a, out);
        break;
    case CONFLICT_DELETE:
        decide_delete(held, change, a, out);
        break;
    case CONFLICT_GAP:
        decide_gap(held, change, out);
        break;
    }
}
