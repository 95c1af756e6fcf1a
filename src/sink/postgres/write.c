/*
 * Writing: rows to as few statements as possible, and refusals down to the row.
 *
 * A range of rows is one round trip: savepoint, one statement per table and kind, constraints. When the server
 * refuses something that a row can be guilty of, everything since the savepoint is undone and the two halves of the
 * range are tried, down to the single row, which is refused with the server's reason. A row that was there when it
 * was loaded and is gone now (somebody deleted it) is found by the count of rows touched, in the same way, and then
 * inserted.
 */
#include "sink/postgres/statement.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RANGE_ROWS = 20000,
    RANGE_BYTES = 32 << 20,
    MANY_ALIKE = 128, /* rows that set the same columns are worth a statement of their own */
    BY_KEY = 100,     /* transactions: where others write, too, rows move */
};

struct writing {
    struct mirror *m;
    struct arena *a;
    bool suppressed; /* the last failure: fewer rows touched than given */
    bool savepoint;  /* one of ours stands open, which the next range releases */
    size_t refused;
};

/* --- which statement a row wants ------------------------------------------------------------------------ */

static void add_to_set(uint64_t *set, uint32_t cell)
{
    set[cell / 64] |= UINT64_C(1) << (cell % 64);
}

static void add_own_cells(const struct pg_table *t, uint32_t n_columns, bool with_deleted, uint64_t *set)
{
    for (uint32_t own = 0; own < PG_OWNS; own++)
        if (t->columns[n_columns + own].there && (with_deleted || own < PG_OWN_DELETED))
            add_to_set(set, n_columns + own);
}

static const uint64_t *set_of(struct writing *w, const struct pg_table *t, const struct mirror_row *row,
                              enum pg_verb verb)
{
    const struct mirror_table *table = row->table;
    size_t words = (t->n + 63) / 64;
    uint64_t *set = arena_alloc(w->a, words * sizeof *set);
    memset(set, 0, words * sizeof *set);
    for (uint32_t i = 0; i < row->n && row->action != MIRROR_STATE_ONLY; i++) {
        uint32_t cell = row->columns[i];
        BUG_IF(cell >= table->n_columns);
        bool kept = t->columns[cell].how == PG_LEFT ||
                    (verb == PG_UPDATE && table->columns[cell].insert_only);
        if (!kept)
            add_to_set(set, cell);
    }
    add_own_cells(t, table->n_columns, verb == PG_INSERT || pg_sets_deleted(row), set);
    return set;
}

static void add_item(struct writing *w, const struct pg_table *t, struct mirror_row *row, enum pg_verb verb,
                     struct pg_item *items, size_t *n)
{
    struct pg_item *item = &items[(*n)++];
    *item = (struct pg_item){.row = row, .verb = verb};
    if (verb > PG_APPEND)
        return;
    item->set = set_of(w, t, row, verb);
    uint64_t hash = 14695981039346656037ULL;
    for (size_t i = 0; i < (t->n + 63) / 64; i++)
        hash = (hash ^ item->set[i]) * 1099511628211ULL;
    item->hash = hash ^ hash >> 29;
}

/* At most two statements per row. gone: its row was not there any more. */
static void add_items(struct writing *w, struct mirror_row *row, bool gone, struct pg_item *items, size_t *n)
{
    const struct pg_table *t = pg_table_of(w->m, row->table);
    bool has_row = row->held.has_row && !gone;
    if (!t->known || t->shape != row->table->shape || !t->exists)
        BUG("table \"%s\" is written to before it is prepared", row->table->name);
    switch (row->action) {
    case MIRROR_APPEND:
        add_item(w, t, row, PG_APPEND, items, n);
        return;
    case MIRROR_UPSERT:
        add_item(w, t, row, has_row ? PG_UPDATE : PG_INSERT, items, n);
        if (!row->held.has_row && row->held.state.n)
            add_item(w, t, row, PG_UNBURY, items, n);
        return;
    case MIRROR_STATE_ONLY:
        add_item(w, t, row, has_row ? PG_UPDATE : PG_BURY, items, n);
        return;
    case MIRROR_DELETE:
        if (has_row && row->table->on_delete == MIRROR_SOFT) {
            add_item(w, t, row, PG_UPDATE, items, n);
            return;
        }
        if (has_row)
            add_item(w, t, row, row->table->on_delete == MIRROR_ARCHIVE ? PG_ARCHIVE : PG_REMOVE, items, n);
        add_item(w, t, row, PG_BURY, items, n);
        return;
    }
    BUG("action %d", (int)row->action);
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_places(const void *one, const void *other)
{
    const struct pg_item *a = one, *b = other;
    const int by = compare_u64(a->row->held.place, b->row->held.place);
    return by ? by : span_compare(a->row->id, b->row->id);
}

static int compare_items(const void *one, const void *other)
{
    const struct pg_item *a = one, *b = other;
    int by = compare_u64(a->row->table->number, b->row->table->number);
    by = by ? by : compare_u64(a->verb, b->verb);
    by = by ? by : compare_u64(a->hash, b->hash);
    return by ? by : compare_places(one, other);
}

static bool same_statement(const struct pg_item *a, const struct pg_item *b)
{
    return a->row->table == b->row->table && a->verb == b->verb;
}

static bool same_set(const struct pg_table *t, const struct pg_item *a, const struct pg_item *b)
{
    return a->hash == b->hash && memcmp(a->set, b->set, (t->n + 63) / 64 * sizeof *a->set) == 0;
}

/* --- one round trip ---------------------------------------------------------------------------------------- */

/* How many rows each statement of a round trip must have touched. */
struct pg_expected {
    size_t n, cap;
    long *rows; /* by statement; -1: any number */
    bool short_of;
};

static void expect(struct arena *a, struct pg_expected *x, long rows)
{
    if (x->n == x->cap) {
        long *more = arena_alloc(a, (2 * x->cap + 16) * sizeof *more);
        if (x->n)
            memcpy(more, x->rows, x->n * sizeof *more);
        x->rows = more;
        x->cap = 2 * x->cap + 16;
    }
    x->rows[x->n++] = rows;
}

static void check_count(void *context, size_t i, const PGresult *r)
{
    struct pg_expected *x = context;
    if (i >= x->n || x->rows[i] < 0)
        return;
    const char *count = PQcmdTuples((PGresult *)(uintptr_t)r);
    if (strtol(count, NULL, 10) < x->rows[i])
        x->short_of = true;
}

static int queue(struct writing *w, const char *sql, struct pg_expected *x, struct err *e)
{
    expect(w->a, x, -1);
    return pg_send(&w->m->pg, sql, NULL, false, e);
}

static int queue_group(struct writing *w, struct pg_item *items, size_t n, struct pg_expected *x,
                       struct err *e)
{
    bool counts;
    struct pg_group g = {.table = items[0].row->table,
                         .t = pg_table_of(w->m, items[0].row->table),
                         .verb = items[0].verb,
                         .items = items,
                         .n = n,
                         .placed = items[0].verb == PG_UPDATE && w->m->by_key == 0};
    for (size_t i = 0; i < n && g.placed; i++)
        g.placed = items[i].row->held.place != 0;
    if (pg_send_group(w->m, &g, &counts, e) != 0)
        return -1;
    expect(w->a, x, counts ? (long)n : -1);
    return 0;
}

static bool sets_columns(const struct pg_item *item)
{
    return item->set != NULL;
}

/* Items of one table and verb, sorted by what they set: long runs by themselves, what is left together. */
static int queue_run(struct writing *w, struct pg_item *items, size_t n, struct pg_expected *x, struct err *e)
{
    if (!sets_columns(items))
        return queue_group(w, items, n, x, e);
    const struct pg_table *t = pg_table_of(w->m, items[0].row->table);
    size_t left = 0; /* those that wait for company, moved to the front */
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && same_set(t, &items[i], &items[end]);)
            end++;
        if (end - i >= MANY_ALIKE) {
            if (queue_group(w, &items[i], end - i, x, e) != 0)
                return -1;
            continue;
        }
        memmove(&items[left], &items[i], (end - i) * sizeof *items);
        left += end - i;
    }
    qsort(items, left, sizeof *items, compare_places);
    return left ? queue_group(w, items, left, x, e) : 0;
}

static int queue_savepoint(struct writing *w, struct pg_expected *x, struct err *e)
{
    if (w->savepoint && queue(w, "RELEASE SAVEPOINT tidemark", x, e) != 0)
        return -1;
    w->savepoint = true;
    return queue(w, "SAVEPOINT tidemark", x, e);
}

static int queue_rows(struct writing *w, struct mirror_row *rows, size_t n, bool gone, struct pg_expected *x,
                      struct err *e)
{
    struct pg_item *items = arena_alloc(w->a, 2 * n * sizeof *items);
    size_t n_items = 0;
    for (size_t i = 0; i < n; i++)
        add_items(w, &rows[i], gone, items, &n_items);
    qsort(items, n_items, sizeof *items, compare_items);
    for (size_t i = 0, end; i < n_items; i = end) {
        for (end = i + 1; end < n_items && same_statement(&items[i], &items[end]);)
            end++;
        if (queue_run(w, &items[i], end - i, x, e) != 0)
            return -1;
    }
    return 0;
}

static int undo(struct writing *w, struct err *e)
{
    w->savepoint = false;
    if (pg_send(&w->m->pg, "ROLLBACK TO SAVEPOINT tidemark", NULL, false, e) != 0 ||
        pg_send(&w->m->pg, "RELEASE SAVEPOINT tidemark", NULL, false, e) != 0)
        return -1;
    return pg_finish(&w->m->pg, NULL, NULL, e);
}

enum attempt { DONE, REFUSED, FAILED };

/* What is queued since the savepoint: all of it or nothing. */
static enum attempt finish(struct writing *w, struct pg_expected *x, struct err *e)
{
    w->suppressed = false;
    /* A constraint that is checked at COMMIT could only refuse the whole batch. */
    if (queue(w, "SET CONSTRAINTS ALL IMMEDIATE", x, e) != 0)
        return FAILED;
    if (pg_finish(&w->m->pg, check_count, x, e) != 0) {
        if (w->m->pg.broken || w->m->pg.fault != PG_FAULT_ROW)
            return FAILED;
        struct err undone = ERR_INIT;
        if (undo(w, &undone) == 0)
            return REFUSED;
        *e = undone;
        return FAILED;
    }
    if (!x->short_of)
        return DONE;
    w->suppressed = true;
    w->m->by_key = w->m->by_key ? w->m->by_key : BY_KEY;
    err_set(e, ERR_REJECTED, "sink.postgres", 0,
            "the target took no row: a trigger or a policy of its own suppressed it");
    return undo(w, e) == 0 ? REFUSED : FAILED;
}

static enum attempt attempt_once(struct writing *w, struct mirror_row *rows, size_t n, bool gone,
                                 struct err *e)
{
    struct pg_expected x = {.n = 0};
    if (queue_savepoint(w, &x, e) != 0 || queue_rows(w, rows, n, gone, &x, e) != 0)
        return FAILED;
    return finish(w, &x, e);
}

/* All of them or none. REFUSED: a row is to blame, e says how; the transaction stands as before. */
static enum attempt attempt(struct writing *w, struct mirror_row *rows, size_t n, bool gone, struct err *e)
{
    const bool placed = w->m->by_key == 0;
    const enum attempt result = attempt_once(w, rows, n, gone, e);
    const bool moved = result == REFUSED && w->suppressed && placed;
    return moved ? attempt_once(w, rows, n, gone, e) : result;
}

static void refuse(struct writing *w, struct mirror_row *row, const struct err *e)
{
    row->outcome = MIRROR_REFUSED;
    snprintf(row->why, sizeof row->why, "table \"%s\": %s", row->table->name, e->text);
    w->refused++;
}

static void written(struct mirror_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rows[i].outcome = MIRROR_WRITTEN;
}

static int failed(struct writing *w, struct mirror_row *rows, size_t n)
{
    for (size_t i = 0; w->m->pg.lost && i < n; i++)
        rows[i].outcome = MIRROR_LOST;
    return -1;
}

static int write_one(struct writing *w, struct mirror_row *row, struct err *e)
{
    enum attempt result = attempt(w, row, 1, false, e);
    if (result == REFUSED && w->suppressed && row->held.has_row)
        result = attempt(w, row, 1, true, e);
    if (result == REFUSED && w->suppressed && row->action == MIRROR_APPEND) {
        char why[sizeof row->why];
        mirror_say_twin(row->table, why, sizeof why);
        err_set(e, ERR_REJECTED, "sink.postgres", 0, "%s", why);
    }
    if (result == DONE)
        written(row, 1);
    else if (result == REFUSED)
        refuse(w, row, e);
    return result == FAILED ? failed(w, row, 1) : 0;
}

static int write_range(struct writing *w, struct mirror_row *rows, size_t n, struct err *e)
{
    if (n == 1)
        return write_one(w, rows, e);
    enum attempt result = attempt(w, rows, n, false, e);
    if (result == DONE)
        written(rows, n);
    if (result != REFUSED)
        return result == DONE ? 0 : failed(w, rows, n);
    if (write_range(w, rows, n / 2, e) != 0)
        return -1;
    return write_range(w, rows + n / 2, n - n / 2, e);
}

/* Values that our times cannot be are refused here: as a number the server would take them for others. */
static void refuse_value(struct writing *w, struct mirror_row *row)
{
    const struct mirror_value deleted = {.type = MIRROR_DATETIME, .as.integer = row->deleted_ms};
    const char *column = pg_is_deleted(row) && !pg_value_fits(&deleted) ? "_deleted_at" : NULL;
    for (uint32_t i = 0; i < row->n && !column; i++)
        if (!pg_value_fits(&row->values[i]))
            column = row->table->columns[row->columns[i]].name;
    if (!column)
        return;
    struct err e = ERR_INIT;
    err_set(&e, ERR_REJECTED, "sink.postgres", 0, "column \"%s\": the time is out of range", column);
    refuse(w, row, &e);
}

/* --- ranges --------------------------------------------------------------------------------------------------- */

static size_t bytes_of(const struct mirror_row *row)
{
    size_t n = 128 + row->state.n;
    for (uint32_t i = 0; i < row->n; i++) {
        const struct mirror_value *v = &row->values[i];
        n += 12 + (!v->is_null && (v->type == MIRROR_TEXT || v->type == MIRROR_JSON) ? v->as.text.n : 0);
    }
    return n;
}

static int write_all(struct writing *w, struct mirror_row *rows, size_t n, struct err *e)
{
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (rows[i].outcome == MIRROR_REFUSED)
            continue;
        size_t bytes = bytes_of(&rows[i]);
        for (; end < n && end - i < RANGE_ROWS && rows[end].outcome != MIRROR_REFUSED; end++) {
            bytes += bytes_of(&rows[end]);
            if (bytes > RANGE_BYTES)
                break;
        }
        if (write_range(w, &rows[i], end - i, e) != 0)
            return -1;
        arena_reset(w->a);
    }
    return 0;
}

/* One of them was refused: none goes in, and those that were fine are as they came. */
static int take_back(struct writing *w, struct mirror_row *rows, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].outcome == MIRROR_WRITTEN)
            rows[i].outcome = MIRROR_UNWRITTEN;
    w->savepoint = false;
    return pg_do(&w->m->pg, "ROLLBACK TO SAVEPOINT tidemark_whole", e);
}

static int say_right(const struct mirror *m, int rc, struct err *e)
{
    if (rc != 0 && !m->pg.broken && m->pg.fault == PG_FAULT_RIGHT)
        err_prefix(e, "the role needs SELECT, INSERT, UPDATE and DELETE on the tables it mirrors into");
    return rc;
}

/* --- rows that are sent before their write ------------------------------------------------------------------- */

/* Stretches of rows, each in a range of statements, behind one savepoint. Refused rows are taken apart by their write. */
int pg_send_rows(struct mirror *m, struct mirror_row *rows, size_t n, struct err *e)
{
    struct pg_sent *s = &m->sent;
    struct writing w = {.m = m, .a = &s->arena};
    size_t bytes = 0;
    BUG_IF(!m->in_transaction || (s->in_flight && rows != s->rows + s->n));
    if (s->closed)
        return 0;
    for (size_t i = 0; i < n; i++) {
        refuse_value(&w, &rows[i]);
        bytes += bytes_of(&rows[i]);
    }
    s->closed = w.refused || n == 0 || n > RANGE_ROWS || bytes > RANGE_BYTES;
    if (s->closed)
        return 0;
    if (!s->in_flight) {
        s->rows = rows;
        s->expected = arena_alloc(&s->arena, sizeof *s->expected);
        *s->expected = (struct pg_expected){.n = 0};
        s->in_flight = true;
        if (queue_savepoint(&w, s->expected, e) != 0)
            return -1;
    }
    s->n += n;
    if (queue_rows(&w, rows, n, false, s->expected, e) != 0)
        return -1;
    return pg_push(&m->pg, e);
}

int pg_settle_sent(struct mirror *m, struct err *e)
{
    struct pg_sent *s = &m->sent;
    struct writing w = {.m = m, .a = &s->arena};
    if (!s->in_flight)
        return 0;
    s->in_flight = false;
    s->closed = true;
    const enum attempt result = finish(&w, s->expected, e);
    s->done = result == DONE;
    if (result != DONE)
        return result == REFUSED ? 0 : say_right(m, -1, e);
    return pg_do(&m->pg, "RELEASE SAVEPOINT tidemark", e);
}

void pg_drop_sent(struct mirror *m)
{
    struct pg_sent *s = &m->sent;
    struct err unsaid = ERR_INIT;
    if (s->in_flight && m->pg.conn && !m->pg.broken) {
        const int answered = pg_finish(&m->pg, NULL, NULL,
                                       &unsaid); /* a connection that does not is broken now */
        (void)answered;
    }
    arena_reset(&s->arena);
    *s = (struct pg_sent){.arena = s->arena};
}

/* How many of the rows are in already. */
static int take_sent(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, size_t *in,
                     struct err *e)
{
    struct pg_sent *s = &m->sent;
    *in = 0;
    if (pg_settle_sent(m, e) != 0)
        return -1;
    if (s->n == 0 || rows != s->rows)
        return 0; /* others, between */
    BUG_IF(whole || n < s->n);
    if (s->done) {
        written(rows, s->n);
        *in = s->n;
    }
    pg_drop_sent(m);
    return 0;
}

/* --- the call ------------------------------------------------------------------------------------------------ */

int pg_write(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, struct err *e)
{
    struct arena a = ARENA_INIT;
    struct writing w = {.m = m, .a = &a};
    size_t in;
    BUG_IF(!m->in_transaction);
    for (size_t i = 0; i < n; i++) {
        rows[i].outcome = MIRROR_UNWRITTEN;
        rows[i].why[0] = '\0';
        refuse_value(&w, &rows[i]);
    }
    int rc = take_sent(m, rows, n, whole, &in, e);
    if (rc == 0 && whole && n)
        rc = pg_do(&m->pg, "SAVEPOINT tidemark_whole", e);
    if (rc == 0)
        rc = write_all(&w, rows + in, n - in, e);
    if (rc == 0 && whole && w.refused)
        rc = take_back(&w, rows, n, e);
    if (rc == 0 && whole && n)
        rc = pg_do(&m->pg, "RELEASE SAVEPOINT tidemark_whole", e);
    else if (rc == 0 && w.savepoint)
        rc = pg_do(&m->pg, "RELEASE SAVEPOINT tidemark", e);
    arena_release(&a);
    return say_right(m, rc, e);
}
