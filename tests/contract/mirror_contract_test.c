/*
 * What every mirror must keep (src/sink/mirror.h), run over each of them.
 *
 * A new mirror adds one line to `mirror_kinds`. Everything else is the same for all.
 */
#include "base/exit_code.h"
#include "lives.h"
#include "mirror_postgres.h"
#include "mirror_sqlite.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static const struct mirror_kind *const mirror_kinds[] = {&mirror_kind_sqlite, &mirror_kind_postgres};

/* --- what is held and shown -------------------------------------------------------------------------- */

static struct mirror_held held_of(struct mirror_stand *t, const struct mirror_table *table, const char *id)
{
    struct mirror_held held;
    struct span s = stand_id(id);
    OK(t->ops->load(t->m, table, &s, 1, &t->a, &held, &t->e));
    return held;
}

/* What a column of a committed row shows: NULL no row, "(null)" for null. */
static const char *shown(struct mirror_stand *t, const struct mirror_table *table, const char *id,
                         const char *column)
{
    struct mirror_cell *cells;
    const char *found = NULL;
    size_t n;
    OK(t->ops->look(t->second, &t->e));
    OK(t->ops->row(t->second, table, stand_id(id), &t->a, &cells, &n, &t->e));
    for (size_t i = 0; i < n; i++)
        if (span_equal_str(cells[i].column, column))
            found = cells[i].is_null ? "(null)" : arena_strndup(&t->a, cells[i].text.p, cells[i].text.n);
    t->ops->close(t->second);
    if (n && !found)
        fail_msg("no column %s", column);
    return found;
}

static void assert_shown(struct mirror_stand *t, const struct mirror_table *table, const char *id,
                         const char *column, const char *expected)
{
    const char *found = shown(t, table, id, column);
    if (!expected)
        assert_null(found);
    else if (!found)
        fail_msg("%s has no row", id);
    else
        assert_string_equal(found, expected);
}

/* --- tables of the tests --------------------------------------------------------------------------- */

static const struct mirror_column account_columns[] = {
    {.name = "name", .type = MIRROR_TEXT},
    {.name = "employees", .type = MIRROR_BIGINT},
    {.name = "owner_id", .type = MIRROR_TEXT, .insert_only = true},
    {.name = "modified", .type = MIRROR_DATETIME},
    {.name = "added_later", .type = MIRROR_DOUBLE},
};
static const struct mirror_source account_sources[] = {
    {"Name", "00N1", 0},     {"NumberOfEmployees", "", 1},
    {"OwnerId", "00N3", 2},  {"LastModifiedDate", "00N4", 3},
    {"Later__c", "00N5", 4},
};
enum { NAME, EMPLOYEES, OWNER, MODIFIED, LATER };

static struct mirror_table account(enum mirror_on_delete on_delete)
{
    return (struct mirror_table){.name = "account",
                                 .key = "id",
                                 .on_delete = on_delete,
                                 .last_modified = "modified",
                                 .shape = 1,
                                 .n_columns = 4,
                                 .n_sources = 4,
                                 .columns = account_columns,
                                 .sources = account_sources};
}

static const uint32_t all_columns[] = {NAME, EMPLOYEES, OWNER, MODIFIED};
#define ACCOUNT_VALUES(name_, employees_)                                                                    \
    (const struct mirror_value[])                                                                            \
    {                                                                                                        \
        VALUE_TEXT(name_), VALUE_OF(MIRROR_BIGINT, employees_), VALUE_TEXT("005A"),                          \
            VALUE_OF(MIRROR_DATETIME, STAND_T0)                                                              \
    }

/* Row 001A is there, committed with cursor 1. */
static void with_one_account(struct mirror_stand *t, const struct mirror_table *table)
{
    open_and_fence(t);
    begin_with(t, table);
    write_ok(t, stand_row(t, table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Acme", 7), "s1"));
    commit_at(t, 1);
}

/* --- authority ------------------------------------------------------------------------------------- */

static void a_new_target_knows_nobody_and_remembers_us(struct mirror_stand *t)
{
    open_and_fence(t);
    assert_false(t->held.known);
    uint64_t first = t->held.epoch;
    assert_true(first > 0);
    OK(t->ops->begin(t->m, &t->e));
    OK(t->ops->commit(t->m, stand_store, 42, span_of("a\0b", 3), &t->e));
    OK(t->ops->fence(t->m, &t->held, &t->e));
    assert_true(t->held.known);
    assert_memory_equal(t->held.store_id, stand_store, MIRROR_STORE_ID);
    assert_int_equal(t->held.cursor, 42);
    assert_true(span_equal(t->held.state, span_of("a\0b", 3)));
    assert_int_equal(t->held.epoch, first + 1);
    /* Nothing kept, and the largest cursor. */
    OK(t->ops->begin(t->m, &t->e));
    OK(t->ops->commit(t->m, stand_store, INT64_MAX, span_of(NULL, 0), &t->e));
    t->ops->close(t->m);
    open_and_fence(t);
    assert_int_equal(t->held.cursor, INT64_MAX);
    assert_int_equal(t->held.state.n, 0);
    assert_int_equal(t->held.epoch, first + 2);
}

static void sinks_of_other_names_have_cursors_of_their_own(struct mirror_stand *t)
{
    struct sink_config other = t->config;
    char name[] = "o'ther \"sink\"";
    struct mirror_authority held;
    struct buf notice = BUF_INIT;
    open_and_fence(t);
    OK(t->ops->begin(t->m, &t->e));
    commit_at(t, 5);
    t->ops->free(t->second);
    other.name = name;
    t->second = t->ops->new (&other);
    OK(t->ops->open(t->second, &notice, &t->e));
    OK(t->ops->fence(t->second, &held, &t->e));
    assert_false(held.known);
    OK(t->ops->begin(t->m, &t->e));
    commit_at(t, 6);
    buf_release(&notice);
}

/* All that is held of it goes on under the new name, and whoever still runs under the old one is stopped. */
static void a_sink_under_a_new_name_is_the_same_sink(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    static char name[] = "archive";
    struct sink_config renamed = t->config;
    struct mirror_authority held;
    struct buf notice = BUF_INIT;
    size_t gone = 0;
    with_one_account(t, &table);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001B", MIRROR_DELETE, 0, NULL, NULL, "deleted"));
    commit_at(t, 7);
    t->ops->free(t->second);
    renamed.renamed_from = t->config.name;
    renamed.name = name;
    t->second = t->ops->new (&renamed);
    OK(t->ops->open(t->second, &notice, &t->e));
    for (int i = 0; i < 2; i++) { /* the configuration goes on saying it */
        OK(t->ops->fence(t->second, &held, &t->e));
        assert_true(held.known);
        assert_int_equal(held.cursor, 7);
        assert_memory_equal(held.store_id, stand_store, MIRROR_STORE_ID);
        assert_true(span_equal_str(held.state, "counts"));
    }
    FAILS(t->ops->begin(t->m, &t->e), ERR_REJECTED);
    OK(t->ops->begin(t->second, &t->e));
    OK(t->ops->forget(t->second, 2, 0, 10, &gone, &t->e));
    assert_int_equal(gone, 1);
    OK(t->ops->commit(t->second, stand_store, 8, span_of(NULL, 0), &t->e));
    OK(t->ops->fence(t->m, &t->held, &t->e));
    assert_false(t->held.known);
    /* the old name is in use again: it is another sink, and keeps what it holds */
    OK(t->ops->begin(t->m, &t->e));
    commit_at(t, 3);
    OK(t->ops->fence(t->second, &held, &t->e));
    assert_int_equal(held.cursor, 8);
    OK(t->ops->begin(t->m, &t->e));
    t->ops->rollback(t->m);
    buf_release(&notice);
}

static void a_second_owner_fences_the_first(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    struct mirror_authority held;
    struct buf notice = BUF_INIT;
    with_one_account(t, &table);
    OK(t->ops->open(t->second, &notice, &t->e));
    OK(t->ops->fence(t->second, &held, &t->e));
    assert_true(held.known);
    assert_int_equal(held.cursor, 1);
    FAILS(t->ops->begin(t->m, &t->e), ERR_REJECTED);
    assert_non_null(strstr(t->e.text, "another daemon"));
    /* The second writes; the first, fenced anew, sees how far it came, and stops it in turn. */
    OK(t->ops->begin(t->second, &t->e));
    OK(t->ops->commit(t->second, stand_store, 9, span_of(NULL, 0), &t->e));
    OK(t->ops->fence(t->m, &t->held, &t->e));
    assert_int_equal(t->held.cursor, 9);
    FAILS(t->ops->begin(t->second, &t->e), ERR_REJECTED);
    t->ops->close(t->second);
    buf_release(&notice);
}

static void a_rollback_leaves_nothing(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_SOFT);
    open_and_fence(t);
    for (int i = 0; i < 2; i++) { /* the second time prepare has to make the table again */
        begin_with(t, &table);
        write_ok(
            t, stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Acme", 7), "s1"));
        t->ops->rollback(t->m);
        t->ops->rollback(t->m);
    }
    assert_shown(t, &table, "001A", "name", NULL);
    begin_with(t, &table);
    assert_false(held_of(t, &table, "001A").has_row);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Acme", 7), "s1"));
    commit_at(t, 1);
    assert_shown(t, &table, "001A", "name", "Acme");
    /* Closed in the middle is rolled back, too. */
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001B", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("B", 7), "s1"));
    t->ops->close(t->m);
    open_and_fence(t);
    assert_int_equal(t->held.cursor, 1);
    assert_shown(t, &table, "001B", "name", NULL);
}

/* --- rows ------------------------------------------------------------------------------------------ */

static void an_update_touches_only_what_it_names(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    const uint32_t two[] = {EMPLOYEES, OWNER};
    with_one_account(t, &table);
    assert_shown(t, &table, "001A", "name", "Acme");
    assert_shown(t, &table, "001A", "owner_id", "005A");
    assert_shown(t, &table, "001A", "_version", "1.1.1");
    assert_shown(t, &table, "001A", "_incomplete", t->kind->no);
    begin_with(t, &table);
    struct mirror_row row = stand_row(
        t, &table, "001A", MIRROR_UPSERT, 2, two,
        (const struct mirror_value[]){VALUE_NULL(MIRROR_BIGINT), VALUE_TEXT("005B")}, "s2");
    assert_true(row.held.has_row);
    assert_true(span_equal_str(row.held.state, "s1"));
    assert_true(row.held.has_modified);
    assert_int_equal(row.held.modified_ms, STAND_T0);
    row.incomplete = true;
    write_ok(t, row);
    commit_at(t, 2);
    assert_shown(t, &table, "001A", "name", "Acme");
    assert_shown(t, &table, "001A", "employees", "(null)");
    assert_shown(t, &table, "001A", "owner_id", "005A"); /* the target's own since it was inserted */
    assert_shown(t, &table, "001A", "_seq", "2");
    assert_shown(t, &table, "001A", "_incomplete", t->kind->yes);
    begin_with(t, &table);
    assert_true(span_equal_str(held_of(t, &table, "001A").state, "s2"));
    t->ops->rollback(t->m);
    /* A row may consist of its key alone. */
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001K", MIRROR_UPSERT, 0, NULL, NULL, "k"));
    write_ok(t, stand_row(t, &table, "001K", MIRROR_UPSERT, 0, NULL, NULL, "k2"));
    commit_at(t, 3);
    assert_shown(t, &table, "001K", "name", "(null)");
}

static void a_hard_delete_leaves_a_tombstone(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    with_one_account(t, &table);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead"));
    write_ok(t, stand_row(t, &table, "001Z", MIRROR_DELETE, 0, NULL, NULL, "never seen"));
    commit_at(t, 2);
    assert_shown(t, &table, "001A", "name", NULL);
    begin_with(t, &table);
    struct mirror_held held = held_of(t, &table, "001A");
    assert_false(held.has_row);
    assert_true(span_equal_str(held.state, "dead"));
    assert_true(span_equal_str(held_of(t, &table, "001Z").state, "never seen"));
    assert_int_equal(held_of(t, &table, "001Y").state.n, 0);
    /* State alone goes where the state is; an upsert makes a row of it, and the tombstone is gone. */
    write_ok(t, stand_row(t, &table, "001A", MIRROR_STATE_ONLY, 0, NULL, NULL, "dead2"));
    assert_true(span_equal_str(held_of(t, &table, "001A").state, "dead2"));
    write_ok(t,
             stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Again", 1), "s3"));
    commit_at(t, 3);
    assert_shown(t, &table, "001A", "name", "Again");
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM _tidemark_tombstones"), 1);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_STATE_ONLY, 0, NULL, NULL, "s4"));
    commit_at(t, 4);
    assert_shown(t, &table, "001A", "name", "Again");
    assert_shown(t, &table, "001A", "_seq", "6");
}

static void a_soft_delete_keeps_the_row(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_SOFT);
    const uint32_t two[] = {NAME, OWNER};
    with_one_account(t, &table);
    assert_shown(t, &table, "001A", "_deleted", t->kind->no);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead"));
    write_ok(t, stand_row(t, &table, "001Z", MIRROR_DELETE, 0, NULL, NULL, "never seen"));
    commit_at(t, 2);
    assert_shown(t, &table, "001A", "name", "Acme");
    assert_shown(t, &table, "001A", "_deleted", t->kind->yes);
    assert_shown(t, &table, "001A", "_deleted_at", t->kind->shown[MIRROR_DATETIME]);
    begin_with(t, &table);
    struct mirror_row row = stand_row(t, &table, "001A", MIRROR_UPSERT, 2, two,
                                      (const struct mirror_value[]){VALUE_TEXT("Back"), VALUE_TEXT("005C")},
                                      "s3");
    assert_true(row.held.has_row && row.held.deleted);
    write_ok(t, row);
    assert_false(held_of(t, &table, "001Z").has_row);
    commit_at(t, 3);
    assert_shown(t, &table, "001A", "name", "Back");
    assert_shown(t, &table, "001A", "owner_id", "005A");
    assert_shown(t, &table, "001A", "_deleted", t->kind->no);
    assert_shown(t, &table, "001A", "_deleted_at", "(null)");
}

/* What a deleted record was may come after its deletion: into a row that is marked from the beginning. */
static void what_a_softly_deleted_record_was_goes_to_its_marked_row(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_SOFT);
    const uint32_t two[] = {NAME, OWNER};
    const struct mirror_value *values[] = {
        ACCOUNT_VALUES("Acme", 7), (const struct mirror_value[]){VALUE_TEXT("Was"), VALUE_TEXT("005C")}};
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "never seen"));
    commit_at(t, 1);
    for (int i = 0; i < 2; i++) { /* made, then changed */
        begin_with(t, &table);
        struct mirror_row row = stand_row(t, &table, "001A", MIRROR_UPSERT, i ? 2 : 4, i ? two : all_columns,
                                          values[i], "was");
        assert_int_equal(row.held.has_row, i);
        row.deleted = true;
        row.deleted_ms = i ? 0 : STAND_T0;
        write_ok(t, row);
        assert_true(held_of(t, &table, "001A").deleted);
        commit_at(t, 2);
        assert_shown(t, &table, "001A", "name", i ? "Was" : "Acme");
        assert_shown(t, &table, "001A", "owner_id", "005A");
        assert_shown(t, &table, "001A", "_deleted", t->kind->yes);
        assert_shown(t, &table, "001A", "_deleted_at", t->kind->shown[MIRROR_DATETIME]);
    }
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM _tidemark_tombstones"), 0);
    /* Deleted once more, later: the row says when. */
    begin_with(t, &table);
    struct mirror_row again = stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead");
    again.deleted_ms = STAND_T0 - 1000;
    write_ok(t, again);
    commit_at(t, 3);
    assert_string_not_equal(shown(t, &table, "001A", "_deleted_at"), t->kind->shown[MIRROR_DATETIME]);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Back", 7), "s"));
    commit_at(t, 4);
    assert_shown(t, &table, "001A", "_deleted", t->kind->no);
    assert_shown(t, &table, "001A", "_deleted_at", "(null)");
}

/* Deletions were soft once, and are not any more: a row that comes back is not marked, and one that goes is gone. */
static void marks_of_another_configuration_are_seen(struct mirror_stand *t)
{
    const struct mirror_table soft = account(MIRROR_SOFT);
    static const enum mirror_on_delete now[] = {MIRROR_HARD, MIRROR_ARCHIVE};
    with_one_account(t, &soft);
    for (size_t i = 0; i < ARRAY_LEN(now); i++) {
        const struct mirror_table table = account(now[i]);
        begin_with(t, &soft);
        write_ok(t, stand_row(t, &soft, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead"));
        write_ok(t, stand_row(t, &soft, "001B", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("B", 1), "s"));
        write_ok(t, stand_row(t, &soft, "001B", MIRROR_DELETE, 0, NULL, NULL, "dead"));
        commit_at(t, 2);
        t->ops->close(t->m);
        open_and_fence(t);
        begin_with(t, &table);
        assert_true(held_of(t, &table, "001A").deleted);
        write_ok(t,
                 stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Back", 7), "s"));
        write_ok(t, stand_row(t, &table, "001B", MIRROR_DELETE, 0, NULL, NULL, "dead"));
        write_ok(t,
                 stand_row(t, &table, "001C", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("New", 7), "s"));
        assert_false(held_of(t, &table, "001A").deleted);
        assert_false(held_of(t, &table, "001B").has_row);
        commit_at(t, 3);
        assert_shown(t, &table, "001A", "_deleted", t->kind->no);
        assert_shown(t, &table, "001A", "_deleted_at", "(null)");
        assert_shown(t, &table, "001C", "_deleted", t->kind->no);
        t->ops->close(t->m);
        open_and_fence(t);
    }
}

static void an_archived_row_moves_to_its_history(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_ARCHIVE);
    with_one_account(t, &table);
    for (int i = 0; i < 2; i++) { /* deleted twice: two lives in the history */
        begin_with(t, &table);
        write_ok(t, stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead"));
        assert_false(held_of(t, &table, "001A").has_row);
        write_ok(t, stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("Life", 2),
                              "alive"));
        commit_at(t, 2);
    }
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), 1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account_history"), 2);
    assert_int_equal(t->kind->count(t,
                                    "SELECT count(*) FROM account_history WHERE name='Acme' AND id='001A' AND"
                                    " employees=7 AND _version='1.1.1' AND _archived_at IS NOT NULL"),
                     1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM _tidemark_tombstones"), 0);
}

static void only_the_poisoned_row_is_refused(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    enum { N = 50, POISON = 31 };
    struct mirror_row rows[N];
    char ids[N][8];
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(id text PRIMARY KEY NOT NULL, name text,"
                                " employees bigint CHECK (employees <> 666))"));
    begin_with(t, &table);
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "%03d", i);
        struct mirror_value *values = arena_alloc(&t->a, 4 * sizeof *values);
        memcpy(values, ACCOUNT_VALUES("secret", i == POISON ? 666 : i), 4 * sizeof *values);
        rows[i] = stand_row(t, &table, ids[i], MIRROR_UPSERT, 4, all_columns, values, "s");
    }
    OK(t->ops->write(t->m, rows, N, false, &t->e));
    for (int i = 0; i < N; i++)
        assert_int_equal(rows[i].outcome, i == POISON ? MIRROR_REFUSED : MIRROR_WRITTEN);
    assert_true(rows[POISON].why[0] != '\0');
    assert_null(strstr(rows[POISON].why, "secret"));
    assert_false(held_of(t, &table, ids[POISON]).has_row);
    commit_at(t, 1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), N - 1);
    /* The same, when rows are there already: an update that is refused leaves the row as it was. */
    const uint32_t one[] = {EMPLOYEES};
    const struct mirror_value values[] = {VALUE_OF(MIRROR_BIGINT, 666), VALUE_OF(MIRROR_BIGINT, 99)};
    begin_with(t, &table);
    rows[0] = stand_row(t, &table, ids[0], MIRROR_UPSERT, 1, one, &values[0], "new");
    rows[1] = stand_row(t, &table, ids[1], MIRROR_UPSERT, 1, one, &values[1], "new");
    OK(t->ops->write(t->m, rows, 2, false, &t->e));
    assert_int_equal(rows[0].outcome, MIRROR_REFUSED);
    assert_int_equal(rows[1].outcome, MIRROR_WRITTEN);
    assert_true(span_equal_str(held_of(t, &table, ids[0]).state, "s"));
    commit_at(t, 2);
    assert_shown(t, &table, ids[0], "employees", "0");
    assert_shown(t, &table, ids[1], "employees", "99");
}

static void open_again(struct mirror_stand *t, const struct mirror_table *table)
{
    t->ops->rollback(t->m);
    t->ops->close(t->m);
    open_and_fence(t);
    begin_with(t, table);
}

/* It is told by its outcome when the write fails: delivery leaves it out, and the others go in. */
static void a_row_that_takes_the_others_with_it_is_known(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    static const char *const ids[] = {"001B", "001P", "001C"};
    const struct mirror_value *fine = ACCOUNT_VALUES("fine", 1), *poison = ACCOUNT_VALUES("poison", 1);
    struct mirror_row rows[3];
    with_one_account(t, &table);
    assert_true(t->kind->run(t, t->kind->trap));
    begin_with(t, &table);
    for (size_t i = 0; i < 3; i++)
        rows[i] = stand_row(t, &table, ids[i], MIRROR_UPSERT, 4, all_columns, i == 1 ? poison : fine, "s");
    for (int whole = 0; whole < 2; whole++) {
        FAILS(t->ops->write(t->m, rows, 3, whole, &t->e), ERR_RETRY);
        assert_int_equal(rows[1].outcome, t->kind->trapped);
        assert_true(rows[0].outcome != MIRROR_FATAL && rows[2].outcome != MIRROR_FATAL);
        assert_non_null(strstr(rows[1].why, t->kind->trapped == MIRROR_FATAL ? "no poison here" : ""));
        open_again(t, &table);
    }
    OK(t->ops->write(t->m, &rows[0], 1, false, &t->e));
    FAILS(t->ops->write(t->m, &rows[1], 1, false, &t->e), ERR_RETRY);
    assert_int_equal(rows[1].outcome, t->kind->trapped);
    open_again(t, &table);
    rows[1] = rows[2];
    OK(t->ops->write(t->m, rows, 2, false, &t->e));
    assert_int_equal(rows[0].outcome, MIRROR_WRITTEN);
    assert_int_equal(rows[1].outcome, MIRROR_WRITTEN);
    commit_at(t, 2);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), 3);
    assert_shown(t, &table, "001P", "name", NULL);
}

static void a_whole_write_is_all_or_nothing(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_ARCHIVE);
    struct mirror_row rows[3];
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(id text PRIMARY KEY NOT NULL,"
                                " employees bigint CHECK (employees <> 666))"));
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("A", 1), "s"));
    rows[0] = stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead");
    rows[1] = stand_row(t, &table, "001B", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("B", 666), "s");
    rows[2] = stand_row(t, &table, "001C", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("C", 1), "s");
    OK(t->ops->write(t->m, rows, 3, true, &t->e));
    assert_int_equal(rows[0].outcome, MIRROR_UNWRITTEN);
    assert_int_equal(rows[1].outcome, MIRROR_REFUSED);
    assert_true(rows[1].why[0] != '\0');
    assert_int_equal(rows[2].outcome, MIRROR_UNWRITTEN);
    assert_true(held_of(t, &table, "001A").has_row);
    assert_false(held_of(t, &table, "001C").has_row);
    /* The transaction goes on: what was written before stands, and the next group goes in. */
    rows[1] = stand_row(t, &table, "001B", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("B", 2), "s");
    OK(t->ops->write(t->m, rows, 3, true, &t->e));
    for (int i = 0; i < 3; i++)
        assert_int_equal(rows[i].outcome, MIRROR_WRITTEN);
    commit_at(t, 1);
    assert_shown(t, &table, "001A", "name", NULL);
    assert_shown(t, &table, "001B", "name", "B");
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account_history"), 1);
}

static const struct mirror_column order_columns[] = {{.name = "amount", .type = MIRROR_DOUBLE}};
static const struct mirror_source order_sources[] = {{"Amount__c", "", 0}};
static const struct mirror_table orders = {.name = "order__e",
                                           .key = "event_id",
                                           .append_only = true,
                                           .number = 3,
                                           .shape = 1,
                                           .n_columns = 1,
                                           .n_sources = 1,
                                           .columns = order_columns,
                                           .sources = order_sources};

/* An event: `hash` stands for its payload, of which `amount` is all. */
static struct mirror_row order(struct mirror_stand *t, const char *id, const char *hash,
                               const struct mirror_value *amount)
{
    static const uint32_t one[] = {0};
    struct mirror_row row = stand_row(t, &orders, id, MIRROR_APPEND, 1, one, amount, "");
    row.hash = span_of_str(hash);
    return row;
}

static void appended_rows_come_once(struct mirror_stand *t)
{
    const struct mirror_value first = VALUE_NUMBER(1.5), again = VALUE_NUMBER(2.5);
    open_and_fence(t);
    for (int i = 0; i < 2; i++) {
        begin_with(t, &orders);
        write_ok(t, order(t, "e-1", "aa", i ? &again : &first));
        commit_at(t, 1);
    }
    begin_with(t, &orders);
    write_ok(t, order(t, "e-2", "aa", &first));
    commit_at(t, 2);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM order__e"), 2);
    assert_shown(t, &orders, "e-1", "amount", "1.5");
    assert_shown(t, &orders, "e-1", "_seq", "1");
}

/* Publishers set ids: events that share one have a row each, in whatever order, batches and repeats they come. */
static void events_that_share_an_id_have_a_row_each(struct mirror_stand *t)
{
    static const char *const hashes[] = {"cc", "aa", "bb", "aa", "cc"};
    const struct mirror_value amount = VALUE_NUMBER(1.5);
    open_and_fence(t);
    begin_with(t, &orders);
    struct mirror_row rows[] = {order(t, "e-1", "bb", &amount), order(t, "e-1", "aa", &amount),
                                order(t, "e-2", "aa", &amount)};
    OK(t->ops->write(t->m, rows, ARRAY_LEN(rows), false, &t->e));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(rows[i].outcome, MIRROR_WRITTEN);
    commit_at(t, 3);
    for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
        begin_with(t, &orders);
        write_ok(t, order(t, "e-1", hashes[i], &amount));
        commit_at(t, 4 + i);
    }
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM order__e WHERE event_id = 'e-1'"), 3);
    assert_int_equal(
        t->kind->count(t, "SELECT count(DISTINCT _payload_hash) FROM order__e WHERE event_id = 'e-1'"), 3);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM order__e"), 4);
}

/* A table whose key stands alone (made by an earlier version, or by hand) is used as it is, and loses nothing unsaid. */
static void a_table_whose_key_stands_alone_refuses_the_second(struct mirror_stand *t)
{
    const struct mirror_value amount = VALUE_NUMBER(1.5);
    open_and_fence(t);
    assert_true(t->kind->run(
        t,
        "CREATE TABLE order__e (event_id TEXT PRIMARY KEY NOT NULL, amount DOUBLE PRECISION, _seq BIGINT)"));
    assert_true(t->kind->run(t, "INSERT INTO order__e VALUES ('e-0', 0.5, 1)"));
    begin_with(t, &orders);
    write_ok(t, order(t, "e-0", "aa", &amount)); /* nobody knows better: it is that row */
    write_ok(t, order(t, "e-1", "aa", &amount));
    struct mirror_row twin = order(t, "e-0", "bb", &amount);
    OK(t->ops->write(t->m, &twin, 1, false, &t->e));
    assert_int_equal(twin.outcome, MIRROR_REFUSED);
    assert_non_null(strstr(twin.why, "another event has this id"));
    struct mirror_row rows[] = {order(t, "e-1", "bb", &amount), order(t, "e-2", "bb", &amount),
                                order(t, "e-2", "aa", &amount), order(t, "e-1", "aa", &amount)};
    static const enum mirror_outcome outcomes[] = {MIRROR_REFUSED, MIRROR_WRITTEN, MIRROR_REFUSED,
                                                   MIRROR_WRITTEN};
    OK(t->ops->write(t->m, rows, ARRAY_LEN(rows), false, &t->e));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(rows[i].outcome, outcomes[i]);
    commit_at(t, 1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM order__e"), 3);
    assert_shown(t, &orders, "e-0", "amount", "0.5");
    assert_shown(t, &orders, "e-2", "_payload_hash", "bb");
}

/* --- values ---------------------------------------------------------------------------------------- */

static const struct mirror_column typed_columns[] = {
    {.name = "t", .type = MIRROR_TEXT},      {.name = "b", .type = MIRROR_BOOLEAN},
    {.name = "i", .type = MIRROR_BIGINT},    {.name = "d", .type = MIRROR_DOUBLE},
    {.name = "dt", .type = MIRROR_DATETIME}, {.name = "da", .type = MIRROR_DATE},
    {.name = "ti", .type = MIRROR_TIME},     {.name = "j", .type = MIRROR_JSON},
};
static const struct mirror_source typed_sources[] = {
    {"T", "", 0},  {"B", "", 1},  {"I", "", 2},  {"D", "", 3},
    {"Dt", "", 4}, {"Da", "", 5}, {"Ti", "", 6}, {"J", "", 7},
};
static const struct mirror_table typed = {.name = "typed",
                                          .key = "id",
                                          .shape = 1,
                                          .n_columns = 8,
                                          .n_sources = 8,
                                          .columns = typed_columns,
                                          .sources = typed_sources};
static const uint32_t typed_all[] = {0, 1, 2, 3, 4, 5, 6, 7};

static void values_of_every_type_are_exact(struct mirror_stand *t)
{
    const struct mirror_value values[] = {
        VALUE_TEXT("text"),
        VALUE_OF(MIRROR_BOOLEAN, 1),
        VALUE_OF(MIRROR_BIGINT, INT64_MIN),
        VALUE_NUMBER(0.1),
        VALUE_OF(MIRROR_DATETIME, STAND_T0),
        VALUE_OF(MIRROR_DATE, 19782),
        VALUE_OF(MIRROR_TIME, 86399999),
        {.type = MIRROR_JSON, .as.text = {(const uint8_t *)"{\"a\":1}", 7}}};
    const struct mirror_value nulls[] = {VALUE_NULL(MIRROR_TEXT),     VALUE_NULL(MIRROR_BOOLEAN),
                                         VALUE_NULL(MIRROR_BIGINT),   VALUE_NULL(MIRROR_DOUBLE),
                                         VALUE_NULL(MIRROR_DATETIME), VALUE_NULL(MIRROR_DATE),
                                         VALUE_NULL(MIRROR_TIME),     VALUE_NULL(MIRROR_JSON)};
    open_and_fence(t);
    begin_with(t, &typed);
    write_ok(t, stand_row(t, &typed, "1", MIRROR_UPSERT, 8, typed_all, values, "s"));
    write_ok(t, stand_row(t, &typed, "2", MIRROR_UPSERT, 8, typed_all, nulls, "s"));
    commit_at(t, 1);
    for (int i = 0; i < 8; i++) {
        assert_shown(t, &typed, "2", typed_columns[i].name, "(null)");
        if (i != MIRROR_JSON) /* spacing is the target's */
            assert_shown(t, &typed, "1", typed_columns[i].name, t->kind->shown[i]);
    }
    /* Read back one by one, as the types they are. */
    begin_with(t, &typed);
    for (uint32_t i = 0; i < 8; i++) {
        struct mirror_value out;
        bool found;
        OK(t->ops->text(t->m, &typed, stand_id("1"), i, &t->a, &found, &out, &t->e));
        assert_true(found && !out.is_null && out.type == values[i].type);
        if (i == MIRROR_TEXT)
            assert_true(span_equal(out.as.text, values[i].as.text));
        else if (i == MIRROR_DOUBLE)
            assert_true(out.as.number == 0.1);
        else if (i != MIRROR_JSON)
            assert_int_equal(out.as.integer, values[i].as.integer);
        OK(t->ops->text(t->m, &typed, stand_id("2"), i, &t->a, &found, &out, &t->e));
        assert_true(found && out.is_null && out.type == values[i].type);
    }
    /* Written over, each goes back to null. */
    write_ok(t, stand_row(t, &typed, "1", MIRROR_UPSERT, 8, typed_all, nulls, "s"));
    commit_at(t, 2);
    assert_shown(t, &typed, "1", "dt", "(null)");
}

static void texts_and_numbers_survive_at_their_limits(struct mirror_stand *t)
{
    static const char *const texts[] = {"",
                                        " spaces ",
                                        "quotes ' \" \\ \n\r\t",
                                        "\xf0\x9f\x8c\x8a tide \xc3\xa9",
                                        "00123",
                                        "1e5",
                                        "NULL",
                                        "\\N",
                                        "t",
                                        "2026-01-01"};
    static const double numbers[] = {
        0, -1.5, 1e308, DBL_TRUE_MIN, DBL_EPSILON, 9007199254740993.0, 123456789.123456789, 1.0 / 3};
    static const int64_t integers[] = {0, -1, INT64_MAX, INT64_MIN, INT64_C(9007199254740993)};
    const uint32_t text_column[] = {0}, number_column[] = {3}, integer_column[] = {2};
    char id[16];
    open_and_fence(t);
    begin_with(t, &typed);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const struct mirror_value v = VALUE_TEXT(texts[i]);
        struct mirror_value out;
        bool found;
        snprintf(id, sizeof id, "t%zu", i);
        write_ok(t, stand_row(t, &typed, id, MIRROR_UPSERT, 1, text_column, &v, "s"));
        OK(t->ops->text(t->m, &typed, stand_id(id), 0, &t->a, &found, &out, &t->e));
        assert_true(found && !out.is_null && span_equal_str(out.as.text, texts[i]));
        OK(t->ops->text(t->m, &typed, stand_id(id), 7, &t->a, &found, &out, &t->e));
        assert_true(found && out.is_null);
        OK(t->ops->text(t->m, &typed, stand_id("none"), 0, &t->a, &found, &out, &t->e));
        assert_false(found);
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const struct mirror_value v = VALUE_NUMBER(numbers[i]);
        snprintf(id, sizeof id, "d%zu", i);
        write_ok(t, stand_row(t, &typed, id, MIRROR_UPSERT, 1, number_column, &v, "s"));
    }
    for (size_t i = 0; i < ARRAY_LEN(integers); i++) {
        const struct mirror_value v = VALUE_OF(MIRROR_BIGINT, integers[i]);
        snprintf(id, sizeof id, "i%zu", i);
        write_ok(t, stand_row(t, &typed, id, MIRROR_UPSERT, 1, integer_column, &v, "s"));
    }
    commit_at(t, 1);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM typed WHERE id='d%zu' AND d=%.17g", i, numbers[i]);
        assert_int_equal(t->kind->count(t, sql), 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(integers); i++) {
        char expected[32];
        snprintf(id, sizeof id, "i%zu", i);
        snprintf(expected, sizeof expected, "%lld", (long long)integers[i]);
        assert_shown(t, &typed, id, "i", expected);
    }
}

static void fields_that_share_a_column_are_merged(struct mirror_stand *t)
{
    static const struct mirror_column columns[] = {{.name = "address", .type = MIRROR_JSON, .merged = true}};
    static const struct mirror_source sources[] = {{"Address.City", "", 0}, {"Address.Street", "", 0}};
    const struct mirror_table table = {.name = "shared",
                                       .key = "id",
                                       .on_delete = MIRROR_SOFT,
                                       .shape = 1,
                                       .n_columns = 1,
                                       .n_sources = 2,
                                       .columns = columns,
                                       .sources = sources};
    static const char *const patches[] = {"{\"City\":\"Kiel\",\"Street\":null}", "{\"Street\":\"Dock 1\"}",
                                          "{\"City\":null,\"ZipCode\":24103}", "{}"};
    static const char *const expected[] = {"{\"City\":\"Kiel\"}", "{\"City\":\"Kiel\",\"Street\":\"Dock 1\"}",
                                           "{\"Street\":\"Dock 1\",\"ZipCode\":24103}",
                                           "{\"Street\":\"Dock 1\",\"ZipCode\":24103}"};
    const uint32_t one[] = {0};
    open_and_fence(t);
    for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
        const struct mirror_value value = {.type = MIRROR_JSON, .as.text = span_of_str(patches[i])};
        begin_with(t, &table);
        write_ok(t, stand_row(t, &table, "1", MIRROR_UPSERT, 1, one, &value, "s"));
        commit_at(t, i);
        const char *found = shown(t, &table, "1", "address");
        char plain[128];
        size_t n = 0;
        bool quoted = false;
        for (const char *c = found; *c; c++) { /* blanks between members are the target's taste */
            quoted ^= *c == '"';
            if (*c != ' ' || quoted)
                plain[n++] = *c;
        }
        plain[n] = '\0';
        assert_string_equal(plain, expected[i]);
    }
    assert_int_equal(t->numbers[0] != t->numbers[1], 1);
}

static void values_a_target_cannot_hold_are_refused_not_changed(struct mirror_stand *t)
{
    const struct mirror_value bad[] = {VALUE_OF(MIRROR_DATETIME, INT64_MAX),
                                       VALUE_OF(MIRROR_DATE, INT64_MIN / 2), VALUE_OF(MIRROR_TIME, 86400000),
                                       VALUE_NUMBER(NAN)};
    static const uint32_t columns[] = {4, 5, 6, 3};
    open_and_fence(t);
    begin_with(t, &typed);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char id[8];
        snprintf(id, sizeof id, "b%zu", i);
        struct mirror_row row = stand_row(t, &typed, id, MIRROR_UPSERT, 1, &columns[i], &bad[i], "s");
        OK(t->ops->write(t->m, &row, 1, false, &t->e));
        bool stores = i == 3 && t->kind->stores_nan;
        assert_int_equal(row.outcome, stores ? MIRROR_WRITTEN : MIRROR_REFUSED);
        if (!stores)
            assert_non_null(strstr(row.why, typed_columns[columns[i]].name));
    }
    commit_at(t, 1);
}

static void names_may_hold_anything(struct mirror_stand *t)
{
    static const struct mirror_column columns[] = {{.name = "sel\"ect", .type = MIRROR_TEXT},
                                                   {.name = "what ?1; --", .type = MIRROR_TEXT},
                                                   {.name = "h\xc3\xa9", .type = MIRROR_BIGINT}};
    static const struct mirror_source sources[] = {{"A'B", "x'y", 0}, {"B\"", "", 1}, {"C.D", "", 2}};
    const struct mirror_table table = {.name = "we\"ird 'table'",
                                       .key = "the \"key\"",
                                       .on_delete = MIRROR_ARCHIVE,
                                       .shape = 1,
                                       .n_columns = 3,
                                       .n_sources = 3,
                                       .columns = columns,
                                       .sources = sources};
    const uint32_t all[] = {0, 1, 2};
    const struct mirror_value values[] = {VALUE_TEXT("a"), VALUE_TEXT("b"), VALUE_OF(MIRROR_BIGINT, 3)};
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "id'\"?", MIRROR_UPSERT, 3, all, values, "s"));
    write_ok(t, stand_row(t, &table, "id'\"?", MIRROR_UPSERT, 3, all, values, "s2"));
    write_ok(t, stand_row(t, &table, "gone", MIRROR_UPSERT, 3, all, values, "s"));
    write_ok(t, stand_row(t, &table, "gone", MIRROR_DELETE, 0, NULL, NULL, "s"));
    commit_at(t, 1);
    assert_shown(t, &table, "id'\"?", "what ?1; --", "b");
    assert_shown(t, &table, "gone", "what ?1; --", NULL);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM \"we\"\"ird 'table'_history\""), 1);
}

/* --- tables ---------------------------------------------------------------------------------------- */

static void tables_grow_and_numbers_stay(struct mirror_stand *t)
{
    struct mirror_table table = account(MIRROR_HARD);
    uint32_t before[4];
    with_one_account(t, &table);
    memcpy(before, t->numbers, sizeof before);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            assert_true(before[i] != before[k] && before[i] > 0);
    assert_non_null(strstr((const char *)t->remarks.notice.data, "account"));
    buf_clear(&t->remarks.notice);
    table.shape = 2;
    table.n_columns = table.n_sources = 5;
    const uint32_t later[] = {LATER};
    const struct mirror_value value = VALUE_NUMBER(2.25);
    begin_with(t, &table);
    assert_non_null(strstr((const char *)t->remarks.notice.data, "added_later"));
    assert_memory_equal(t->numbers, before, sizeof before);
    uint32_t fifth = t->numbers[4];
    write_ok(t, stand_row(t, &table, "001A", MIRROR_UPSERT, 1, later, &value, "s2"));
    commit_at(t, 2);
    assert_shown(t, &table, "001A", "name", "Acme");
    assert_shown(t, &table, "001A", "added_later", "2.25");
    /* Another life: the same numbers, in whatever order the sources come. */
    t->ops->close(t->m);
    open_and_fence(t);
    struct mirror_source turned[5];
    for (int i = 0; i < 5; i++)
        turned[i] = account_sources[4 - i];
    turned[3].field_id = "00N2"; /* the schema tells now what it did not tell before */
    table.sources = turned;
    buf_clear(&t->remarks.notice);
    begin_with(t, &table);
    assert_int_equal(t->remarks.notice.len, 0);
    assert_int_equal(t->numbers[0], fifth);
    for (int i = 0; i < 4; i++)
        assert_int_equal(t->numbers[4 - i], before[i]);
    commit_at(t, 3);
    /* A field made anew under its old name is another field; one whose id is known stays that one. */
    turned[3].field_id = "00N9";
    table.shape = 3;
    begin_with(t, &table);
    assert_true(t->numbers[3] > fifth);
    commit_at(t, 4);
    struct mirror_field *fields;
    size_t n;
    OK(t->ops->fields(t->m, &t->a, &fields, &n, &t->e));
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++) {
        assert_true(span_equal_str(fields[i].table, "account"));
        if (fields[i].number == before[1]) {
            assert_true(span_equal_str(fields[i].field, "NumberOfEmployees"));
            assert_true(span_equal_str(fields[i].column, "employees"));
            assert_true(span_equal_str(fields[i].field_id, "00N2"));
            assert_int_equal(fields[i].type, MIRROR_BIGINT);
        }
    }
}

static void a_last_modified_column_that_tells_no_time_is_remarked_on(struct mirror_stand *t)
{
    static const struct {
        const char *type;
        bool tells;
    } cases[] = {{"integer", false}, {"timestamp", true}};
    struct mirror_table table = account(MIRROR_HARD);
    table.last_modified = "touched";
    open_and_fence(t);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char sql[100];
        snprintf(sql, sizeof sql, "CREATE TABLE account(id text PRIMARY KEY NOT NULL, touched %s)",
                 cases[i].type);
        assert_true(t->kind->run(t, "DROP TABLE IF EXISTS account"));
        assert_true(t->kind->run(t, sql));
        buf_clear(&t->remarks.odd);
        begin_with(t, &table);
        const char *odd = t->remarks.odd.len ? (const char *)t->remarks.odd.data : "";
        assert_int_equal(strstr(odd, "edits in the target are not noticed") == NULL, cases[i].tells);
        t->ops->rollback(t->m);
        t->ops->close(t->m);
        open_and_fence(t);
    }
}

static void a_table_of_too_many_columns_says_what_to_do(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_SOFT);
    struct buf sql = BUF_INIT;
    open_and_fence(t);
    buf_add_str(&sql, "CREATE TABLE account(id text PRIMARY KEY NOT NULL");
    for (int i = 0, most = strcmp(t->ops->kind, "sqlite") == 0 ? 1997 : 1597; i < most; i++)
        buf_addf(&sql, ", z%d int", i);
    buf_add_str(&sql, ")");
    assert_true(t->kind->run(t, (const char *)sql.data));
    OK(t->ops->begin(t->m, &t->e));
    assert_int_equal(t->ops->prepare(t->m, &table, t->numbers, &t->remarks, &t->e), -1);
    assert_non_null(strstr(t->e.text, "new_fields: json"));
    t->ops->rollback(t->m);
    buf_release(&sql);
}

static void a_table_made_by_hand_is_completed_never_changed(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_SOFT);
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(note text DEFAULT 'mine', id text PRIMARY KEY NOT NULL,"
                                " employees text)"));
    assert_true(
        t->kind->run(t, "INSERT INTO account(id, employees) VALUES ('001A', 'many'), ('001H', 'few')"));
    begin_with(t, &table);
    assert_non_null(strstr((const char *)t->remarks.odd.data, "employees"));
    struct mirror_held held = held_of(t, &table, "001H");
    assert_true(held.has_row && !held.deleted && !held.has_modified);
    assert_int_equal(held.state.n, 0);
    const uint32_t one[] = {NAME};
    const struct mirror_value value = VALUE_TEXT("Acme");
    write_ok(t, stand_row(t, &table, "001A", MIRROR_UPSERT, 1, one, &value, "s"));
    commit_at(t, 1);
    assert_shown(t, &table, "001A", "note", "mine");
    assert_shown(t, &table, "001A", "employees", "many");
    assert_shown(t, &table, "001A", "name", "Acme");
    assert_shown(t, &table, "001H", "name", "(null)");
}

static void tables_that_cannot_be_used_are_refused(struct mirror_stand *t)
{
    struct mirror_table table = account(MIRROR_HARD);
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(id text, name text)"));
    assert_true(t->kind->run(t, "CREATE VIEW look AS SELECT id, name FROM account"));
    assert_true(t->kind->run(t, "CREATE TABLE twokeys(id text, other text, PRIMARY KEY(id, other))"));
    static const char *const names[] = {"account", "look", "twokeys"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        table.name = names[i];
        OK(t->ops->begin(t->m, &t->e));
        FAILS(t->ops->prepare(t->m, &table, t->numbers, &t->remarks, &t->e), ERR_CONFIG);
        assert_non_null(strstr(t->e.text, names[i]));
        t->ops->rollback(t->m);
    }
}

static void the_horizon_takes_old_tombstones_only(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    size_t n, all = 0;
    char id[16];
    open_and_fence(t);
    begin_with(t, &table);
    for (int i = 1; i <= 20; i++) {
        snprintf(id, sizeof id, "%d", i);
        struct mirror_row row = stand_row(t, &table, id, MIRROR_DELETE, 0, NULL, NULL, "dead");
        row.version = (struct version){i <= 10 ? 1 : 2, 0, i <= 10 ? 1000 + i : i, 1};
        write_ok(t, row);
    }
    commit_at(t, 1);
    begin_with(t, &table);
    do {
        OK(t->ops->forget(t->m, 2, 15, 4, &n, &t->e)); /* older than (2, 15): all of epoch 1, and 11 .. 14 */
        assert_true(n <= 4);
        all += n;
    } while (n);
    assert_int_equal(all, 14);
    assert_int_equal(held_of(t, &table, "14").state.n, 0);
    assert_true(span_equal_str(held_of(t, &table, "15").state, "dead"));
    commit_at(t, 2);
}

/* The versions of two sinks in one database, say of two orgs, cannot be compared. */
static void the_horizon_takes_no_tombstones_of_others(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    static char name[] = "another";
    struct sink_config another = t->config;
    struct mirror_authority held;
    struct buf notice = BUF_INIT;
    size_t n;
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "001A", MIRROR_DELETE, 0, NULL, NULL, "dead"));
    commit_at(t, 1);
    t->ops->free(t->second);
    another.name = name;
    t->second = t->ops->new (&another);
    OK(t->ops->open(t->second, &notice, &t->e));
    OK(t->ops->fence(t->second, &held, &t->e));
    OK(t->ops->begin(t->second, &t->e));
    OK(t->ops->forget(t->second, 9, 0, 10, &n, &t->e));
    assert_int_equal(n, 0);
    OK(t->ops->commit(t->second, stand_store, 1, span_of(NULL, 0), &t->e));
    begin_with(t, &table);
    assert_true(span_equal_str(held_of(t, &table, "001A").state, "dead"));
    t->ops->rollback(t->m);
    buf_release(&notice);
}

static void a_large_batch_of_many_shapes_goes_in(struct mirror_stand *t)
{
    enum { N = 3000 };
    const struct mirror_table table = account(MIRROR_HARD);
    struct mirror_row *rows = calloc(N, sizeof *rows);
    open_and_fence(t);
    for (int round = 0; round < 2; round++) {
        begin_with(t, &table);
        for (int i = 0; i < N; i++) {
            char *id = arena_alloc(&t->a, 16);
            uint32_t *columns = arena_alloc(&t->a, sizeof all_columns), n = 0;
            struct mirror_value *values = arena_alloc(&t->a, 4 * sizeof *values);
            for (uint32_t c = 0; c < 4; c++)
                if (i >> c & 1) {
                    columns[n] = c;
                    values[n++] = ACCOUNT_VALUES("x", round * N + i)[c];
                }
            snprintf(id, 16, "%05d", (i * 7919) % N);
            rows[i] = stand_row(t, &table, id, MIRROR_UPSERT, n, columns, values, round ? "two" : "one");
        }
        OK(t->ops->write(t->m, rows, N, false, &t->e));
        for (int i = 0; i < N; i++)
            assert_int_equal(rows[i].outcome, MIRROR_WRITTEN);
        commit_at(t, (uint64_t)round + 1);
    }
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), N);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE employees >= 3000"), N / 2);
    free(rows);
}

/* Rows that set a column, set it to null, or leave it alone, all in one write. */
static void a_null_is_a_value_and_what_is_not_named_is_none(struct mirror_stand *t)
{
    enum { N = 64, SETS = 1, NULLS = 8 };
    static const uint32_t columns[] = {NAME, EMPLOYEES, MODIFIED};
    const struct mirror_value nulls[] = {VALUE_NULL(MIRROR_TEXT), VALUE_NULL(MIRROR_BIGINT),
                                         VALUE_NULL(MIRROR_DATETIME)};
    const struct mirror_table table = account(MIRROR_SOFT);
    struct mirror_row rows[N];
    open_and_fence(t);
    for (int round = 0; round < 2; round++) {
        begin_with(t, &table);
        for (int i = 0; i < N; i++) {
            char *id = arena_alloc(&t->a, 8);
            uint32_t *named = arena_alloc(&t->a, sizeof columns), n = 0;
            struct mirror_value *values = arena_alloc(&t->a, 3 * sizeof *values);
            snprintf(id, 8, "%d", i);
            for (int c = 0; c < 3; c++) {
                if (round && !(i & SETS << c))
                    continue;
                named[n] = columns[c];
                values[n++] = round && i & NULLS << c
                                  ? nulls[c]
                                  : ACCOUNT_VALUES(round ? "new" : "old", round)[columns[c]];
            }
            rows[i] = stand_row(t, &table, id, MIRROR_UPSERT, n, named, values, "s");
        }
        OK(t->ops->write(t->m, rows, N, false, &t->e));
        for (int i = 0; i < N; i++)
            assert_int_equal(rows[i].outcome, MIRROR_WRITTEN);
        commit_at(t, (uint64_t)round + 1);
    }
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE CASE"
                                       " WHEN (CAST(id AS integer) & 1) = 0 THEN name = 'old'"
                                       " WHEN (CAST(id AS integer) & 8) = 0 THEN name = 'new'"
                                       " ELSE name IS NULL END"),
                     N);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE CASE"
                                       " WHEN (CAST(id AS integer) & 2) = 0 THEN employees = 0"
                                       " WHEN (CAST(id AS integer) & 16) = 0 THEN employees = 1"
                                       " ELSE employees IS NULL END"),
                     N);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE modified IS NULL"), N / 4);
}

enum { SENT = 60, STRETCH = 20 };

/* The rows of accounts "000" …, with as many employees as their number; `poison` has 666. */
static void make_rows(struct mirror_stand *t, const struct mirror_table *table, int poison,
                      struct mirror_row *rows)
{
    for (int i = 0; i < SENT; i++) {
        char *id = arena_alloc(&t->a, 8);
        struct mirror_value *values = arena_alloc(&t->a, 4 * sizeof *values);
        snprintf(id, 8, "%03d", i);
        memcpy(values, ACCOUNT_VALUES("sent", i == poison ? 666 : i), 4 * sizeof *values);
        rows[i] = stand_row(t, table, id, MIRROR_UPSERT, 4, all_columns, values, "s");
    }
}

static void send_stretch(struct mirror_stand *t, struct mirror_row *rows, int i)
{
    if (t->ops->send)
        OK(t->ops->send(t->m, &rows[i * STRETCH], STRETCH, &t->e));
}

static void rows_sent_before_their_write_are_written_by_it(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    struct mirror_row rows[SENT];
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(id text PRIMARY KEY NOT NULL, name text,"
                                " employees bigint CHECK (employees <> 666))"));
    /* Two stretches sent, the third comes with the write; a rollback in between leaves nothing of them. */
    for (int round = 0; round < 2; round++) {
        begin_with(t, &table);
        make_rows(t, &table, -1, rows);
        send_stretch(t, rows, 0);
        send_stretch(t, rows, 1);
        if (round == 0)
            t->ops->rollback(t->m);
    }
    OK(t->ops->write(t->m, rows, SENT, false, &t->e));
    for (int i = 0; i < SENT; i++)
        assert_int_equal(rows[i].outcome, MIRROR_WRITTEN);
    commit_at(t, 1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE name = 'sent'"), SENT);
}

static void a_row_that_was_sent_is_refused_alone(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    enum { POISON = 27 };
    struct mirror_row rows[SENT];
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(id text PRIMARY KEY NOT NULL, name text,"
                                " employees bigint CHECK (employees <> 666))"));
    begin_with(t, &table);
    write_ok(t,
             stand_row(t, &table, "before", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("before", 1), "s"));
    make_rows(t, &table, POISON, rows);
    for (int i = 0; i < SENT / STRETCH; i++)
        send_stretch(t, rows, i);
    OK(t->ops->write(t->m, rows, SENT, false, &t->e));
    for (int i = 0; i < SENT; i++)
        assert_int_equal(rows[i].outcome, i == POISON ? MIRROR_REFUSED : MIRROR_WRITTEN);
    assert_null(strstr(rows[POISON].why, "sent"));
    commit_at(t, 1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE employees <> 666"), SENT);
    assert_shown(t, &table, "before", "name", "before");
}

/* What delivery asks and writes at once while rows are on their way; with a refused row among those, and without. */
static void between_rows_that_are_sent_others_are_read_and_written(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    const struct mirror_value far = VALUE_OF(MIRROR_DATETIME, INT64_MAX / 2);
    struct mirror_row rows[SENT];
    struct mirror_value value;
    bool found;
    open_and_fence(t);
    assert_true(t->kind->run(t, "CREATE TABLE account(id text PRIMARY KEY NOT NULL, name text,"
                                " employees bigint CHECK (employees <> 666))"));
    for (int poison = -1; poison < 2; poison++) {
        begin_with(t, &table);
        make_rows(t, &table, poison, rows);
        for (int i = 0; i < SENT; i++)
            rows[i].held = held_of(t, &table, arena_strndup(&t->a, rows[i].id.p, rows[i].id.n));
        write_ok(t,
                 stand_row(t, &table, "other", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("old", 1), "s"));
        send_stretch(t, rows, 0);
        OK(t->ops->text(t->m, &table, stand_id("other"), NAME, &t->a, &found, &value, &t->e));
        assert_true(found && span_equal_str(value.as.text, "old"));
        send_stretch(t, rows, 1);
        write_ok(t,
                 stand_row(t, &table, "other", MIRROR_UPSERT, 4, all_columns, ACCOUNT_VALUES("new", 1), "s"));
        ((struct mirror_value *)rows[SENT - 1].values)[MODIFIED] = far; /* refused before it is sent */
        send_stretch(t, rows, 2);
        OK(t->ops->write(t->m, rows, SENT, false, &t->e));
        for (int i = 0; i < SENT - 1; i++)
            assert_int_equal(rows[i].outcome, i == poison ? MIRROR_REFUSED : MIRROR_WRITTEN);
        assert_int_equal(rows[SENT - 1].outcome, MIRROR_REFUSED);
        commit_at(t, (uint64_t)poison + 2);
        assert_shown(t, &table, "other", "name", "new");
    }
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), SENT);
}

/* --- for people ------------------------------------------------------------------------------------ */

static void looking_changes_nothing(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_ARCHIVE);
    struct mirror_table alike = table;
    alike.name = "alike";
    struct buf findings = BUF_INIT;
    struct mirror_cell *cells;
    struct mirror_field *fields;
    size_t n;
    open_and_fence(t);
    OK(t->ops->begin(t->m, &t->e));
    commit_at(t, 1);
    OK(t->ops->look(t->second, &t->e));
    OK(t->ops->row(t->second, &table, stand_id("001A"), &t->a, &cells, &n, &t->e));
    assert_int_equal(n, 0);
    OK(t->ops->fields(t->second, &t->a, &fields, &n, &t->e));
    assert_int_equal(n, 0);
    struct span id = stand_id("001A");
    struct mirror_held held;
    OK(t->ops->load(t->second, &table, &id, 1, &t->a, &held, &t->e));
    assert_false(held.has_row);
    /* Who only looks may number tables alike. */
    const struct mirror_table pair[] = {table, alike};
    OK(t->ops->load(t->second, &alike, &id, 1, &t->a, &held, &t->e));
    assert_false(held.has_row);
    OK(t->ops->inspect(t->second, pair, 2, &findings, &t->e));
    t->ops->close(t->second);
    assert_non_null(strstr((const char *)findings.data, "\"alike\""));
    assert_null(strstr((const char *)findings.data, "\"alike\" has its columns")); /* it is not there yet */
    assert_non_null(strstr((const char *)findings.data, "account"));
    assert_null(strstr((const char *)findings.data, "bad:"));
    buf_clear(&findings);
    /* What it would do was not done. */
    OK(t->ops->look(t->second, &t->e));
    OK(t->ops->row(t->second, &table, stand_id("001A"), &t->a, &cells, &n, &t->e));
    t->ops->close(t->second);
    assert_true(t->kind->run(t, "CREATE VIEW account AS SELECT 1 AS id"));
    OK(t->ops->look(t->second, &t->e));
    OK(t->ops->inspect(t->second, &table, 1, &findings, &t->e));
    t->ops->close(t->second);
    assert_non_null(strstr((const char *)findings.data, "bad: "));
    /* The owner was not fenced by any of this. */
    OK(t->ops->begin(t->m, &t->e));
    commit_at(t, 2);
    buf_release(&findings);
}

static void a_dry_run_shows_rows_that_are_marked(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_SOFT);
    struct buf sql = BUF_INIT;
    open_and_fence(t);
    t->ops->show_table(&table, &sql);
    struct mirror_row row = {.table = &table,
                             .id = stand_id("001A"),
                             .action = MIRROR_UPSERT,
                             .n = 4,
                             .columns = all_columns,
                             .values = ACCOUNT_VALUES("Acme", 7),
                             .state = span_of_str("s"),
                             .version = {1, 0, 5, 1},
                             .seq = 5,
                             .deleted = true,
                             .deleted_ms = STAND_T0};
    t->ops->show_row(&row, &sql);
    row.held.has_row = row.held.deleted = true;
    row.values = ACCOUNT_VALUES("Was", 8);
    row.deleted_ms = 0;
    t->ops->show_row(&row, &sql);
    assert_true(t->kind->run(t, (const char *)sql.data));
    assert_shown(t, &table, "001A", "name", "Was");
    assert_shown(t, &table, "001A", "_deleted", t->kind->yes);
    assert_shown(t, &table, "001A", "_deleted_at", t->kind->shown[MIRROR_DATETIME]);
    buf_release(&sql);
}

static void what_a_dry_run_shows_does_what_a_run_does(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_ARCHIVE);
    const uint32_t one[] = {NAME};
    const struct mirror_value value = VALUE_TEXT("O'Neil?");
    struct buf sql = BUF_INIT;
    open_and_fence(t);
    t->ops->show_table(&table, &sql);
    struct mirror_row row = {.table = &table,
                             .id = stand_id("001A"),
                             .action = MIRROR_UPSERT,
                             .n = 4,
                             .columns = all_columns,
                             .values = ACCOUNT_VALUES("Acme", 7),
                             .state = span_of_str("s"),
                             .version = {1, 0, 5, 1},
                             .seq = 5,
                             .deleted_ms = STAND_T0};
    t->ops->show_row(&row, &sql);
    row.id = stand_id("001B");
    t->ops->show_row(&row, &sql);
    row.held.has_row = true;
    row.action = MIRROR_DELETE;
    t->ops->show_row(&row, &sql);
    row = (struct mirror_row){.table = &table,
                              .id = stand_id("001A"),
                              .action = MIRROR_UPSERT,
                              .n = 1,
                              .columns = one,
                              .values = &value,
                              .held.has_row = true,
                              .state = span_of_str("s"),
                              .version = {1, 0, 6, 1},
                              .seq = 6};
    t->ops->show_row(&row, &sql);
    assert_true(t->kind->run(t, (const char *)sql.data));
    assert_shown(t, &table, "001A", "name", "O'Neil?");
    assert_shown(t, &table, "001A", "employees", "7");
    assert_shown(t, &table, "001A", "_version", "1.6.1");
    assert_shown(t, &table, "001B", "name", NULL);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account_history"), 1);
    buf_release(&sql);
}

/* --- failures -------------------------------------------------------------------------------------- */

static void *interrupt_soon(void *arg)
{
    struct mirror_stand *t = arg;
    t->ops->interrupt(t->m);
    return NULL;
}

static void an_interrupt_stops_waiting_until_the_next_open(struct mirror_stand *t)
{
    pthread_t thread;
    if (!t->kind->hold)
        return;
    open_and_fence(t);
    t->kind->hold(t);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, t), 0);
    FAILS(t->ops->begin(t->m, &t->e), ERR_RETRY);
    pthread_join(thread, NULL);
    t->kind->let_go(t);
    FAILS(t->ops->begin(t->m, &t->e), ERR_RETRY);
    t->ops->close(t->m);
    open_and_fence(t);
    OK(t->ops->begin(t->m, &t->e));
    commit_at(t, 1);
}

/* --- deaths ---------------------------------------------------------------------------------------- */

enum { LIVES_BATCHES = 4, LIVES_ROWS = 20 };

/* Each batch writes one row more per record; cursor and rows agree or the death was seen. */
static void live(struct mirror_stand *t)
{
    const struct mirror_table table = account(MIRROR_HARD);
    const uint32_t one[] = {EMPLOYEES};
    open_and_fence(t);
    for (uint64_t batch = t->held.known ? t->held.cursor + 1 : 1; batch <= LIVES_BATCHES; batch++) {
        begin_with(t, &table);
        for (int i = 0; i < LIVES_ROWS; i++) {
            const struct mirror_value value = VALUE_OF(MIRROR_BIGINT, (int64_t)batch);
            char id[16];
            snprintf(id, sizeof id, "%d", i);
            write_ok(t, stand_row(t, &table, id, MIRROR_UPSERT, 1, one, &value, "s"));
        }
        commit_at(t, batch);
    }
}

static int run_child(const char *kind, const char *dir)
{
    struct mirror_stand t;
    for (size_t i = 0; i < ARRAY_LEN(mirror_kinds); i++)
        if (strcmp(mirror_kinds[i]->name, kind) == 0) {
            memset(&t, 0, sizeof t);
            static char name[] = "warehouse";
            t.kind = mirror_kinds[i];
            t.config = (struct sink_config){.name = name, .kind = t.kind->kind};
            snprintf(t.dir, sizeof t.dir, "%s", dir);
            t.kind->make(&t);
            t.ops = mirror_ops_of(t.kind->kind);
            t.m = t.ops->new (&t.config);
            live(&t);
            t.ops->free(t.m);
            arena_release(&t.a);
            buf_release(&t.remarks.notice);
            buf_release(&t.remarks.odd);
            return 0;
        }
    return 1;
}

/* True when the child died at its kill point, false when it came to the end. The point is read once a process: so
 * it is a program of its own. */
static bool run_and_die(struct mirror_stand *t, int nth)
{
    int status = live_to_visit(nth, "--live", t->kind->name, t->dir);
    assert_true(status == 0 || status == EXIT_KILLPOINT);
    return status == EXIT_KILLPOINT;
}

static void a_death_keeps_cursor_and_rows_together(struct mirror_stand *t)
{
#ifndef TIDEMARK_KILLPOINTS
    return;
#endif
    int nth = 1;
    for (;; nth++) {
        bool died = run_and_die(t, nth);
        if (!died)
            break;
        open_and_fence(t);
        uint64_t cursor = t->held.known ? t->held.cursor : 0;
        t->ops->close(t->m);
        if (cursor) {
            char sql[96];
            snprintf(sql, sizeof sql, "SELECT count(*) FROM account WHERE employees=%d", (int)cursor);
            assert_int_equal(t->kind->count(t, sql), LIVES_ROWS);
            assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), LIVES_ROWS);
        }
    }
    assert_true(nth > LIVES_BATCHES);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE employees=4"), LIVES_ROWS);
}

/* --- all of them over every kind ------------------------------------------------------------------- */

static void over_every_kind(void (*promise)(struct mirror_stand *))
{
    size_t ran = 0;
    for (size_t i = 0; i < ARRAY_LEN(mirror_kinds); i++) {
        struct mirror_stand t;
        if (!stand_begin(&t, mirror_kinds[i])) {
            print_message("# %s: no target here\n", mirror_kinds[i]->name);
            continue;
        }
        promise(&t);
        stand_end(&t);
        ran++;
    }
    assert_true(ran > 0);
}

#define PROMISE(name)                                                                                        \
    static void test_##name(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        over_every_kind(name);                                                                               \
    }

PROMISE(a_new_target_knows_nobody_and_remembers_us)
PROMISE(sinks_of_other_names_have_cursors_of_their_own)
PROMISE(a_sink_under_a_new_name_is_the_same_sink)
PROMISE(a_second_owner_fences_the_first)
PROMISE(a_rollback_leaves_nothing)
PROMISE(an_update_touches_only_what_it_names)
PROMISE(a_hard_delete_leaves_a_tombstone)
PROMISE(a_soft_delete_keeps_the_row)
PROMISE(what_a_softly_deleted_record_was_goes_to_its_marked_row)
PROMISE(marks_of_another_configuration_are_seen)
PROMISE(an_archived_row_moves_to_its_history)
PROMISE(only_the_poisoned_row_is_refused)
PROMISE(a_row_that_takes_the_others_with_it_is_known)
PROMISE(a_whole_write_is_all_or_nothing)
PROMISE(appended_rows_come_once)
PROMISE(events_that_share_an_id_have_a_row_each)
PROMISE(a_table_whose_key_stands_alone_refuses_the_second)
PROMISE(values_of_every_type_are_exact)
PROMISE(texts_and_numbers_survive_at_their_limits)
PROMISE(fields_that_share_a_column_are_merged)
PROMISE(values_a_target_cannot_hold_are_refused_not_changed)
PROMISE(names_may_hold_anything)
PROMISE(tables_grow_and_numbers_stay)
PROMISE(a_last_modified_column_that_tells_no_time_is_remarked_on)
PROMISE(a_table_of_too_many_columns_says_what_to_do)
PROMISE(a_table_made_by_hand_is_completed_never_changed)
PROMISE(tables_that_cannot_be_used_are_refused)
PROMISE(the_horizon_takes_old_tombstones_only)
PROMISE(the_horizon_takes_no_tombstones_of_others)
PROMISE(a_large_batch_of_many_shapes_goes_in)
PROMISE(a_null_is_a_value_and_what_is_not_named_is_none)
PROMISE(rows_sent_before_their_write_are_written_by_it)
PROMISE(a_row_that_was_sent_is_refused_alone)
PROMISE(between_rows_that_are_sent_others_are_read_and_written)
PROMISE(looking_changes_nothing)
PROMISE(a_dry_run_shows_rows_that_are_marked)
PROMISE(what_a_dry_run_shows_does_what_a_run_does)
PROMISE(an_interrupt_stops_waiting_until_the_next_open)
PROMISE(a_death_keeps_cursor_and_rows_together)

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--live") == 0)
        return run_child(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_target_knows_nobody_and_remembers_us),
        cmocka_unit_test(test_sinks_of_other_names_have_cursors_of_their_own),
        cmocka_unit_test(test_a_sink_under_a_new_name_is_the_same_sink),
        cmocka_unit_test(test_a_second_owner_fences_the_first),
        cmocka_unit_test(test_a_rollback_leaves_nothing),
        cmocka_unit_test(test_an_update_touches_only_what_it_names),
        cmocka_unit_test(test_a_hard_delete_leaves_a_tombstone),
        cmocka_unit_test(test_a_soft_delete_keeps_the_row),
        cmocka_unit_test(test_what_a_softly_deleted_record_was_goes_to_its_marked_row),
        cmocka_unit_test(test_marks_of_another_configuration_are_seen),
        cmocka_unit_test(test_an_archived_row_moves_to_its_history),
        cmocka_unit_test(test_only_the_poisoned_row_is_refused),
        cmocka_unit_test(test_a_row_that_takes_the_others_with_it_is_known),
        cmocka_unit_test(test_a_whole_write_is_all_or_nothing),
        cmocka_unit_test(test_appended_rows_come_once),
        cmocka_unit_test(test_events_that_share_an_id_have_a_row_each),
        cmocka_unit_test(test_a_table_whose_key_stands_alone_refuses_the_second),
        cmocka_unit_test(test_values_of_every_type_are_exact),
        cmocka_unit_test(test_texts_and_numbers_survive_at_their_limits),
        cmocka_unit_test(test_fields_that_share_a_column_are_merged),
        cmocka_unit_test(test_values_a_target_cannot_hold_are_refused_not_changed),
        cmocka_unit_test(test_names_may_hold_anything),
        cmocka_unit_test(test_tables_grow_and_numbers_stay),
        cmocka_unit_test(test_a_last_modified_column_that_tells_no_time_is_remarked_on),
        cmocka_unit_test(test_a_table_of_too_many_columns_says_what_to_do),
        cmocka_unit_test(test_a_table_made_by_hand_is_completed_never_changed),
        cmocka_unit_test(test_tables_that_cannot_be_used_are_refused),
        cmocka_unit_test(test_the_horizon_takes_old_tombstones_only),
        cmocka_unit_test(test_the_horizon_takes_no_tombstones_of_others),
        cmocka_unit_test(test_a_large_batch_of_many_shapes_goes_in),
        cmocka_unit_test(test_a_null_is_a_value_and_what_is_not_named_is_none),
        cmocka_unit_test(test_rows_sent_before_their_write_are_written_by_it),
        cmocka_unit_test(test_a_row_that_was_sent_is_refused_alone),
        cmocka_unit_test(test_between_rows_that_are_sent_others_are_read_and_written),
        cmocka_unit_test(test_looking_changes_nothing),
        cmocka_unit_test(test_a_dry_run_shows_rows_that_are_marked),
        cmocka_unit_test(test_what_a_dry_run_shows_does_what_a_run_does),
        cmocka_unit_test(test_an_interrupt_stops_waiting_until_the_next_open),
        cmocka_unit_test(test_a_death_keeps_cursor_and_rows_together),
    };
    return cmocka_run_group_tests_name("mirror_contract", tests, NULL, NULL);
}
