#include "delivery/settle.h"

#include "base/killpoint.h"

enum { STRETCHES = 4, STRETCH_LEAST = 250 };

/* --- what the target holds ------------------------------------------------------------------------ */

static int load_table(struct settle *s, const struct table *t, struct record **records, struct span *ids,
                      struct mirror_held *held, struct err *e)
{
    const struct pieces *p = s->pieces;
    size_t n = 0;
    for (size_t i = 0; i < p->n_records; i++) {
        if (p->records[i]->table != t)
            continue;
        records[n] = p->records[i];
        ids[n++] = p->records[i]->id;
    }
    if (n == 0)
        return 0;
    if (s->ops->load(s->mirror, t->mirror, ids, n, s->arena, held, e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct record *r = records[i];
        struct err why = ERR_INIT;
        r->held = held[i];
        r->had_modified = held[i].has_modified;
        r->had_modified_ms = held[i].modified_ms;
        r->unreadable = record_state_decode(r->held.state, s->arena, &r->safe, &why) != 0;
        r->state = r->safe;
    }
    return 0;
}

int settle_load(struct settle *s, struct err *e)
{
    const struct pieces *p = s->pieces;
    struct record **records = arena_alloc(s->arena, (p->n_records + 1) * sizeof *records);
    struct span *ids = arena_alloc(s->arena, (p->n_records + 1) * sizeof *ids);
    struct mirror_held *held = arena_alloc(s->arena, (p->n_records + 1) * sizeof *held);
    const struct table *done = NULL;
    for (size_t i = 0; i < p->n_records; i++) {
        struct table *t = p->records[i]->table;
        if (!t->used || t->mirror->append_only || t == done)
            continue;
        t->used = false; /* loaded */
        done = t;
        if (load_table(s, t, records, ids, held, e) != 0)
            return -1;
    }
    return 0;
}

/* --- best effort ---------------------------------------------------------------------------------- */

static char *copy_text(struct settle *s, const char *text)
{
    return arena_strndup(s->arena, text, strlen(text));
}

/* The pieces of a refused row, one by one, from the first that the target has not seen. */
static int take_apart(struct settle *s, struct record *r, struct piece *from, struct err *e)
{
    r->refused = false;
    settle_revert(r);
    for (struct piece *piece = from; piece; piece = piece->next) {
        bool refused;
        const char *why;
        if (settle_apply(s, piece, e) != 0 || settle_write_one(s, r, &refused, &why, e) != 0)
            return -1;
        if (!refused)
            continue;
        piece->outcome = OUTCOME_PARKED;
        piece->reason = "rejected";
        piece->detail = copy_text(s, why);
        piece->owes = false;
        settle_revert(r);
    }
    return 0;
}

/* Every record among these with something to be written, once. */
static size_t gather_rows(struct settle *s, struct piece *const *pieces, size_t n, struct mirror_row *rows,
                          struct record **records)
{
    size_t n_rows = 0;
    for (size_t i = 0; i < n; i++) {
        struct record *r = pieces[i]->record;
        if (r->refused || r->pending == CONFLICT_ROW_NONE || r->first_pending != pieces[i])
            continue;
        settle_row(s, r, &rows[n_rows]);
        records[n_rows++] = r;
    }
    return n_rows;
}

/*
 * Record by record, in stretches: the target may write the rows of one while the next is decided. They grow, so that
 * the target begins soon, and works longest on the last, when something else can be done here. Pieces of a record stay
 * in journal order, and what one record decides says nothing about another.
 */
static int decide_records(struct settle *s, struct mirror_row *rows, struct record **records, size_t *n_rows,
                          struct err *e)
{
    const struct pieces *p = s->pieces;
    /* What is sent must be written in one piece: not while a row is sought that takes others with it. */
    const bool sends = s->ops->send && p->n_records >= 2 * STRETCH_LEAST && poison_is_absent(s->poison);
    const size_t parts = (1 << STRETCHES) - 1; /* 1 + 2 + 4 … */
    size_t stretch = p->n_records / parts > STRETCH_LEAST ? p->n_records / parts : STRETCH_LEAST;
    size_t sent = 0;
    for (size_t i = 0; i < p->n_records; i++) {
        struct record *r = p->records[i];
        for (struct piece *piece = r->first; piece && !r->refused; piece = piece->next)
            if (settle_apply(s, piece, e) != 0)
                return -1;
        if (r->refused || r->pending == CONFLICT_ROW_NONE)
            continue;
        settle_row(s, r, &rows[*n_rows]);
        records[(*n_rows)++] = r;
        if (!sends || *n_rows - sent < stretch)
            continue;
        if (s->ops->send(s->mirror, &rows[sent], *n_rows - sent, e) != 0)
            return -1;
        sent = *n_rows;
        stretch *= 2;
    }
    if (sent == 0)
        return 0;
    if (sent < *n_rows && s->ops->send(s->mirror, &rows[sent], *n_rows - sent, e) != 0)
        return -1;
    if (s->meanwhile)
        s->meanwhile(s->context);
    return 0;
}

static int settle_best_effort(struct settle *s, struct err *e)
{
    const size_t n = s->pieces->n_records;
    size_t n_rows = 0;
    struct mirror_row *rows = arena_alloc(s->arena, (n + 1) * sizeof *rows);
    struct record **records = arena_alloc(s->arena, (n + 1) * sizeof *records);
    if (decide_records(s, rows, records, &n_rows, e) != 0)
        return -1;
    KILLPOINT("records.before_write");
    if (n_rows && settle_write(s, rows, records, n_rows, false, e) != 0)
        return -1;
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].outcome == MIRROR_WRITTEN)
            settle_written(records[i], &rows[i]);
        else
            records[i]->refused = true;
    for (size_t i = 0; i < s->pieces->n_records; i++) {
        struct record *r = s->pieces->records[i];
        if (r->refused && take_apart(s, r, r->first_pending, e) != 0)
            return -1;
    }
    return 0;
}

/* --- atomic --------------------------------------------------------------------------------------- */

static void park_group(struct settle *s, struct piece *const *pieces, size_t n, const char *why)
{
    const char *detail = copy_text(s, why);
    for (size_t i = 0; i < n; i++) {
        if (pieces[i]->outcome == OUTCOME_PARKED)
            continue;
        const bool own = pieces[i]->of->outcome == OUTCOME_PARKED; /* it is what the others are parked for */
        pieces[i]->outcome = OUTCOME_PARKED;
        pieces[i]->owes = false;
        pieces[i]->reason = own ? pieces[i]->of->reason : "transaction refused";
        pieces[i]->detail = own ? pieces[i]->of->why : detail;
        pieces[i]->record->refused = false;
        settle_revert(pieces[i]->record);
    }
}

/* 0: none of these was refused so far; 1: one was, *why says so; -1. */
static int decide_group(struct settle *s, struct piece *const *pieces, size_t n, const char **why,
                        struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (settle_apply(s, pieces[i], e) != 0)
            return -1;
        if (pieces[i]->outcome == OUTCOME_PARKED || pieces[i]->record->refused) {
            *why = pieces[i]->outcome == OUTCOME_PARKED ? pieces[i]->detail : pieces[i]->record->why;
            return 1;
        }
    }
    return 0;
}

static int write_group(struct settle *s, struct piece *const *pieces, size_t n, const char **why,
                       struct err *e)
{
    struct mirror_row *rows = arena_alloc(s->arena, (n + 1) * sizeof *rows);
    struct record **records = arena_alloc(s->arena, (n + 1) * sizeof *records);
    size_t n_rows = gather_rows(s, pieces, n, rows, records);
    if (n_rows && settle_write(s, rows, records, n_rows, true, e) != 0)
        return -1;
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].outcome == MIRROR_REFUSED) {
            *why = rows[i].why;
            return 1;
        }
    for (size_t i = 0; i < n_rows; i++)
        settle_written(records[i], &rows[i]);
    return 0;
}

/* An event of the group is parked already, and has no pieces that would say so. */
static bool is_broken(const struct settle *s, uint32_t group)
{
    for (size_t i = 0; i < s->pieces->n_mapped; i++)
        if (s->pieces->mapped[i].group == group && s->pieces->mapped[i].outcome == OUTCOME_PARKED)
            return true;
    return false;
}

static int settle_group(struct settle *s, struct piece *const *pieces, size_t n, bool any_parked,
                        struct err *e)
{
    s->group = poison_group_key(pieces[0]->of->d->ev->seq);
    s->unwritten = false;
    const char *why = poison_why(s->poison, s->group);
    int rc = why ? 1 : 0;
    if (rc == 0 && any_parked && is_broken(s, pieces[0]->of->group)) {
        why = "another event of the transaction is parked";
        rc = 1;
    }
    if (rc == 0)
        rc = decide_group(s, pieces, n, &why, e);
    if (rc == 0)
        rc = write_group(s, pieces, n, &why, e);
    if (rc <= 0)
        return rc;
    if (!s->unwritten) {
        park_group(s, pieces, n, why);
        return SETTLE_DONE;
    }
    poison_convict(s->poison, s->group, why);
    return SETTLE_AGAIN;
}

/* --- all ------------------------------------------------------------------------------------------ */

/* A group of a batch: its pieces stand together after sorting, in journal order. */
static struct piece **by_group(struct settle *s)
{
    const struct pieces *p = s->pieces;
    struct piece **sorted = arena_alloc(s->arena, (p->n + 1) * sizeof *sorted);
    uint32_t n_groups = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->pieces[i].of->group >= n_groups)
            n_groups = p->pieces[i].of->group + 1;
    size_t *starts = arena_alloc(s->arena, ((size_t)n_groups + 1) * sizeof *starts);
    memset(starts, 0, ((size_t)n_groups + 1) * sizeof *starts);
    for (size_t i = 0; i < p->n; i++)
        starts[p->pieces[i].of->group + 1]++;
    for (uint32_t g = 0; g < n_groups; g++)
        starts[g + 1] += starts[g];
    for (size_t i = 0; i < p->n; i++)
        sorted[starts[p->pieces[i].of->group]++] = &p->pieces[i];
    return sorted;
}

static int settle_atomic(struct settle *s, struct err *e)
{
    struct pieces *p = s->pieces;
    struct piece **sorted = by_group(s);
    bool any_parked = false;
    for (size_t i = 0; i < p->n_mapped; i++)
        any_parked |= p->mapped[i].outcome == OUTCOME_PARKED;
    for (size_t i = 0, n; i < p->n; i += n) {
        for (n = 1; i + n < p->n && sorted[i + n]->of->group == sorted[i]->of->group; n++)
            ;
        int rc = settle_group(s, &sorted[i], n, any_parked, e);
        if (rc != SETTLE_DONE)
            return rc;
    }
    return SETTLE_DONE;
}

int settle_pieces(struct settle *s, struct err *e)
{
    int rc = s->atomic ? settle_atomic(s, e) : settle_best_effort(s, e);
    if (rc == SETTLE_DONE)
        rc = settle_stamps(s, e);
    if (rc < 0 && s->again)
        return SETTLE_AGAIN;
    if (rc != SETTLE_DONE || !s->poison->doubtful || s->wrote)
        return rc;
    poison_acquit(s->poison);
    return err_set(e, ERR_RETRY, "delivery", 0,
                   "the connection to the target ends whatever is written: look at its log");
}
