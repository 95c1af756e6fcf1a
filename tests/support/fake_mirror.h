/*
 * fake_mirror: a mirror in memory, for tests of what delivery does with one: its rows can be looked at, and it fails
 * as told.
 *
 * There is one target; it keeps what was committed, whoever opens it. Link with --wrap=mirror_ops_of.
 * Thread: the test may look while the loop waits; `lock` guards all of it.
 */
#ifndef SUPPORT_FAKE_MIRROR_H
#define SUPPORT_FAKE_MIRROR_H

#include "base/alloc.h"
#include "sink/mirror.h"

#include <pthread.h>
#include <stdio.h>

enum { FAKE_ROWS = 1500, FAKE_COLUMNS = 12, FAKE_TABLES = 8, FAKE_FIELDS = 64 };

struct fake_row {
    bool used, is_row, deleted, incomplete;
    char table[40], id[40], hash[20], version[64];
    char name[FAKE_COLUMNS][40];
    char value[FAKE_COLUMNS][80]; /* "" for null */
    uint8_t state[400];
    size_t n_state;
    bool has_modified;
    int64_t modified_ms;
};

struct fake_data {
    struct fake_row rows[FAKE_ROWS];
    size_t n_rows;
    struct {
        char table[40], column[40], field[40], field_id[40];
        enum mirror_type type;
    } fields[FAKE_FIELDS];
    size_t n_fields;
    bool known;
    uint8_t store_id[MIRROR_STORE_ID], state[200];
    size_t n_state;
    uint64_t cursor, epoch;
};

enum fake_commit {
    FAKE_COMMIT,
    FAKE_LOST,
    FAKE_LOST_AND_RELENTS, /* and what was refused is refused no more */
    FAKE_UNKNOWN_APPLIED,
    FAKE_UNKNOWN_LOST,
};

static struct fake_target {
    pthread_mutex_t lock;
    struct fake_data held, work;
    bool is_open, working;
    uint64_t epoch; /* of whoever opened it */
    /* Orders */
    bool away;
    enum fake_commit commits[16]; /* what the next commits do; then they succeed */
    size_t n_commits, next_commit;
    const char *poison; /* a row with this value is refused */
    const char *fatal;  /* a row with this value ends the transaction … */
    const char *deadly; /* … and with this one the connection */
    bool ill;           /* any row does */
    const char *odd;    /* what prepare finds odd */
    size_t writes, opens, refusals;
    const struct mirror_row *sent; /* on their way to the next write */
    size_t n_sent, sends;
    int64_t stamps_ms; /* what the target fills into the last-modified column at a write; 0: nothing */
    int64_t forgotten; /* the last horizon that forget was given */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int fake_err(struct err *e, enum err_class class, const char *text)
{
    return err_set(e, class, "sink.fake", 0, "%s", text);
}

static struct fake_row *fake_find(struct fake_data *d, const char *table, struct span id)
{
    for (size_t i = 0; i < d->n_rows; i++)
        if (d->rows[i].used && strcmp(d->rows[i].table, table) == 0 && span_equal_str(id, d->rows[i].id))
            return &d->rows[i];
    return NULL;
}

/* Of events that share an id, the one with this payload. */
static struct fake_row *fake_find_event(struct fake_data *d, const struct mirror_row *row)
{
    for (size_t i = 0; i < d->n_rows; i++)
        if (strcmp(d->rows[i].table, row->table->name) == 0 && span_equal_str(row->id, d->rows[i].id) &&
            span_equal_str(row->hash, d->rows[i].hash))
            return &d->rows[i];
    return NULL;
}

static struct fake_row *fake_make(struct fake_data *d, const char *table, struct span id, bool anew)
{
    struct fake_row *r = fake_find(d, table, id);
    if (r && !anew)
        return r;
    BUG_IF(d->n_rows == FAKE_ROWS);
    r = &d->rows[d->n_rows++];
    *r = (struct fake_row){.used = true};
    snprintf(r->table, sizeof r->table, "%s", table);
    snprintf(r->id, sizeof r->id, "%.*s", SPAN_ARG(id));
    return r;
}

static char *fake_cell(struct fake_row *r, const char *column)
{
    for (size_t i = 0; i < FAKE_COLUMNS; i++) {
        if (!r->name[i][0])
            snprintf(r->name[i], sizeof r->name[i], "%s", column);
        if (strcmp(r->name[i], column) == 0)
            return r->value[i];
    }
    BUG("too many columns");
}

static void fake_text(const struct mirror_value *v, char out[80])
{
    if (v->is_null)
        out[0] = '\0';
    else if (v->type == MIRROR_TEXT || v->type == MIRROR_JSON)
        snprintf(out, 80, "%.*s", SPAN_ARG(v->as.text));
    else
        snprintf(out, 80, "%lld", (long long)v->as.integer);
}

static struct mirror *fake_new(const struct sink_config *config)
{
    (void)config;
    return xcalloc(1, 1);
}

static int fake_open(struct mirror *m, struct buf *notice, struct err *e)
{
    (void)m;
    (void)notice;
    pthread_mutex_lock(&fake.lock);
    const bool away = fake.away;
    fake.is_open = !away;
    fake.opens++;
    pthread_mutex_unlock(&fake.lock);
    return away ? fake_err(e, ERR_RETRY, "the target is away") : 0;
}

static int fake_fence(struct mirror *m, struct mirror_authority *held, struct err *e)
{
    (void)m;
    (void)e;
    pthread_mutex_lock(&fake.lock);
    fake.epoch = ++fake.held.epoch;
    *held = (struct mirror_authority){.known = fake.held.known,
                                      .cursor = fake.held.cursor,
                                      .epoch = fake.epoch,
                                      .state = span_of(fake.held.state, fake.held.n_state)};
    memcpy(held->store_id, fake.held.store_id, sizeof held->store_id);
    pthread_mutex_unlock(&fake.lock);
    return 0;
}

static int fake_fields(struct mirror *m, struct arena *a, struct mirror_field **out, size_t *n, struct err *e)
{
    (void)m;
    (void)e;
    const struct fake_data *d = &fake.held;
    *out = arena_alloc(a, (d->n_fields + 1) * sizeof **out);
    *n = d->n_fields;
    for (size_t i = 0; i < d->n_fields; i++)
        (*out)[i] = (struct mirror_field){.table = span_of_str(d->fields[i].table),
                                          .column = span_of_str(d->fields[i].column),
                                          .field = span_of_str(d->fields[i].field),
                                          .field_id = span_of_str(d->fields[i].field_id),
                                          .number = (uint32_t)i + 1,
                                          .type = d->fields[i].type};
    return 0;
}

static int fake_begin(struct mirror *m, struct err *e)
{
    (void)m;
    pthread_mutex_lock(&fake.lock);
    BUG_IF(!fake.is_open || fake.working);
    bool fenced = fake.epoch != fake.held.epoch;
    fake.work = fake.held;
    fake.working = !fenced;
    pthread_mutex_unlock(&fake.lock);
    return fenced ? fake_err(e, ERR_REJECTED, "another owner has fenced us") : 0;
}

static int fake_prepare(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
                        struct mirror_remarks *remarks, struct err *e)
{
    (void)m;
    (void)e;
    if (fake.odd)
        buf_add_str(&remarks->odd, fake.odd);
    struct fake_data *d = &fake.work;
    for (uint32_t i = 0; i < table->n_sources; i++) {
        const char *column = table->columns[table->sources[i].column].name;
        size_t f = 0;
        while (f < d->n_fields &&
               (strcmp(d->fields[f].table, table->name) != 0 || strcmp(d->fields[f].column, column) != 0))
            f++;
        if (f == d->n_fields) {
            BUG_IF(f == FAKE_FIELDS);
            snprintf(d->fields[f].table, sizeof d->fields[f].table, "%s", table->name);
            snprintf(d->fields[f].column, sizeof d->fields[f].column, "%s", column);
            snprintf(d->fields[f].field, sizeof d->fields[f].field, "%s", table->sources[i].field);
            snprintf(d->fields[f].field_id, sizeof d->fields[f].field_id, "%s", table->sources[i].field_id);
            d->fields[f].type = table->columns[table->sources[i].column].type;
            d->n_fields++;
        }
        numbers[i] = (uint32_t)f + 1;
    }
    return 0;
}

static int fake_load(struct mirror *m, const struct mirror_table *table, const struct span *ids, size_t n,
                     struct arena *a, struct mirror_held *held, struct err *e)
{
    (void)m;
    (void)e;
    for (size_t i = 0; i < n; i++) {
        const struct fake_row *r = fake_find(&fake.work, table->name, ids[i]);
        held[i] = (struct mirror_held){.has_row = r && r->is_row};
        if (!r)
            continue;
        held[i].state = arena_copy(a, span_of(r->state, r->n_state));
        held[i].deleted = r->deleted;
        held[i].has_modified = table->last_modified && r->has_modified;
        held[i].modified_ms = r->modified_ms;
    }
    return 0;
}

static int fake_read(struct mirror *m, const struct mirror_table *table, struct span id, uint32_t column,
                     struct arena *a, bool *found, struct mirror_value *out, struct err *e)
{
    (void)m;
    (void)e;
    struct fake_row *r = fake_find(&fake.work, table->name, id);
    *found = r && r->is_row;
    if (!*found)
        return 0;
    const char *text = fake_cell(r, table->columns[column].name);
    *out = (struct mirror_value){.is_null = !*text, .type = table->columns[column].type};
    if (out->type == MIRROR_TEXT)
        out->as.text = arena_copy(a, span_of_str(text));
    else
        out->as.integer = strtoll(text, NULL, 10);
    return 0;
}

static void fake_delete(struct fake_row *r, const struct mirror_row *row)
{
    r->deleted = row->table->on_delete == MIRROR_SOFT && r->is_row;
    r->is_row = r->deleted;
    if (!r->is_row)
        memset(r->value, 0, sizeof r->value);
}

static void fake_upsert(struct fake_row *r, const struct mirror_row *row)
{
    const bool insert = !r->is_row;
    r->is_row = true;
    r->deleted = row->deleted && (insert || r->deleted);
    for (uint32_t i = 0; i < row->n; i++) {
        const struct mirror_column *c = &row->table->columns[row->columns[i]];
        if (c->insert_only && !insert)
            continue;
        BUG_IF(i > 0 && row->columns[i] <= row->columns[i - 1]);
        fake_text(&row->values[i], fake_cell(r, c->name));
        if (row->table->last_modified && strcmp(c->name, row->table->last_modified) == 0) {
            r->has_modified = !row->values[i].is_null;
            r->modified_ms = row->values[i].as.integer;
        }
    }
}

static bool fake_has(const struct mirror_row *row, const char *value)
{
    char text[80];
    for (uint32_t i = 0; value && i < row->n; i++) {
        fake_text(&row->values[i], text);
        if (strcmp(text, value) == 0)
            return true;
    }
    return false;
}

/* True: one of these rows takes all of them with it, and says so. */
static bool fake_dies(struct mirror_row *rows, size_t n)
{
    pthread_mutex_lock(&fake.lock);
    bool dies = fake.ill;
    pthread_mutex_unlock(&fake.lock);
    for (size_t i = 0; i < n && !dies; i++) {
        dies = fake_has(&rows[i], fake.deadly);
        if (!dies && fake_has(&rows[i], fake.fatal)) {
            rows[i].outcome = MIRROR_FATAL;
            snprintf(rows[i].why, sizeof rows[i].why, "everything back");
            return true;
        }
    }
    for (size_t i = 0; dies && i < n; i++)
        rows[i].outcome = MIRROR_LOST;
    return dies;
}

static void fake_put(struct mirror_row *row)
{
    struct fake_row *r = row->action == MIRROR_APPEND ? fake_find_event(&fake.work, row)
                                                      : fake_find(&fake.work, row->table->name, row->id);
    BUG_IF((row->action == MIRROR_APPEND) != (row->hash.n != 0));
    row->outcome = MIRROR_WRITTEN;
    if (row->action == MIRROR_APPEND && r)
        return;
    BUG_IF(row->action != MIRROR_APPEND && (r && r->is_row) != row->held.has_row);
    r = fake_make(&fake.work, row->table->name, row->id, row->action == MIRROR_APPEND);
    snprintf(r->hash, sizeof r->hash, "%.*s", SPAN_ARG(row->hash));
    if (row->action == MIRROR_UPSERT || row->action == MIRROR_APPEND)
        fake_upsert(r, row);
    if (row->action == MIRROR_DELETE)
        fake_delete(r, row);
    if (fake.stamps_ms && r->is_row) {
        r->has_modified = true;
        r->modified_ms = fake.stamps_ms++;
    }
    BUG_IF(row->state.n > sizeof r->state);
    if (row->state.n)
        memcpy(r->state, row->state.p, row->state.n);
    r->n_state = row->state.n;
    r->incomplete = row->incomplete;
    struct buf version = BUF_INIT;
    version_add_text(&version, &row->version);
    snprintf(r->version, sizeof r->version, "%s", (char *)version.data);
    buf_release(&version);
}

/* Keeps nothing: checks that stretches go on where the last one ended, and that the write has them all. */
static int fake_send(struct mirror *m, struct mirror_row *rows, size_t n, struct err *e)
{
    (void)m;
    (void)e;
    BUG_IF(n == 0 || !fake.working || (fake.n_sent && rows != fake.sent + fake.n_sent));
    fake.sent = fake.n_sent ? fake.sent : rows;
    fake.n_sent += n;
    fake.sends++;
    return 0;
}

static int fake_write(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, struct err *e)
{
    (void)m;
    (void)e;
    bool refused = false;
    fake.writes++;
    if (fake.n_sent && rows == fake.sent) {
        BUG_IF(whole || n < fake.n_sent);
        fake.n_sent = 0;
    }
    for (size_t i = 0; i < n; i++)
        rows[i].outcome = MIRROR_UNWRITTEN;
    if (fake_dies(rows, n))
        return fake_err(e, ERR_RETRY, "the transaction is gone");
    for (size_t i = 0; i < n; i++) {
        if (!fake_has(&rows[i], fake.poison))
            continue;
        rows[i].outcome = MIRROR_REFUSED;
        snprintf(rows[i].why, sizeof rows[i].why, "the target does not like it");
        refused = true;
        fake.refusals++;
    }
    for (size_t i = 0; i < n && !(whole && refused); i++)
        if (rows[i].outcome == MIRROR_UNWRITTEN)
            fake_put(&rows[i]);
    return 0;
}

static int fake_forget(struct mirror *m, uint32_t epoch, int64_t commit, size_t most, size_t *n,
                       struct err *e)
{
    (void)m;
    (void)epoch;
    fake.forgotten = commit;
    (void)most;
    (void)e;
    *n = 0;
    return 0;
}

static int fake_commit(struct mirror *m, const uint8_t store_id[MIRROR_STORE_ID], uint64_t cursor,
                       struct span state, struct err *e)
{
    (void)m;
    pthread_mutex_lock(&fake.lock);
    const bool fenced = fake.epoch != fake.held.epoch;
    enum fake_commit what = fake.next_commit < fake.n_commits ? fake.commits[fake.next_commit++]
                                                              : FAKE_COMMIT;
    fake.working = false;
    if (what == FAKE_LOST_AND_RELENTS)
        fake.poison = NULL;
    if (!fenced && (what == FAKE_COMMIT || what == FAKE_UNKNOWN_APPLIED)) {
        fake.work.known = true;
        fake.work.cursor = cursor;
        memcpy(fake.work.store_id, store_id, MIRROR_STORE_ID);
        BUG_IF(state.n > sizeof fake.work.state);
        memcpy(fake.work.state, state.p, state.n);
        fake.work.n_state = state.n;
        fake.held = fake.work;
    }
    pthread_mutex_unlock(&fake.lock);
    if (fenced)
        return fake_err(e, ERR_REJECTED, "another owner has fenced us");
    if (what == FAKE_COMMIT)
        return 0;
    return what == FAKE_LOST || what == FAKE_LOST_AND_RELENTS
               ? fake_err(e, ERR_RETRY, "the commit was not applied")
               : fake_err(e, ERR_UNKNOWN, "the connection was lost during the commit");
}

static void fake_rollback(struct mirror *m)
{
    (void)m;
    fake.n_sent = 0;
    fake.working = false;
}

static void fake_interrupt(struct mirror *m)
{
    (void)m;
}

static void fake_close(struct mirror *m)
{
    (void)m;
    fake.working = false;
    fake.is_open = false;
}

static void fake_free(struct mirror *m)
{
    free(m);
}

static const struct mirror_ops fake_mirror_ops = {.kind = "fake",
                                                  .new = fake_new,
                                                  .open = fake_open,
                                                  .fence = fake_fence,
                                                  .fields = fake_fields,
                                                  .begin = fake_begin,
                                                  .prepare = fake_prepare,
                                                  .load = fake_load,
                                                  .text = fake_read,
                                                  .send = fake_send,
                                                  .write = fake_write,
                                                  .forget = fake_forget,
                                                  .commit = fake_commit,
                                                  .rollback = fake_rollback,
                                                  .interrupt = fake_interrupt,
                                                  .close = fake_close,
                                                  .free = fake_free};

/* A new, empty target that does as it should. */
static void fake_reset(void)
{
    memset(&fake.held, 0, sizeof fake.held);
    fake.is_open = fake.working = fake.away = false;
    fake.n_commits = fake.next_commit = fake.writes = fake.opens = fake.refusals = 0;
    fake.poison = fake.odd = fake.fatal = fake.deadly = NULL;
    fake.ill = false;
    fake.stamps_ms = 0;
    fake.forgotten = 0;
    fake.n_sent = fake.sends = 0;
}

#endif
