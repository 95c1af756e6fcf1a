/*
 * What is SQLite's own about the SQLite mirror: files, locks, full disks, and the freedom of its types. What every
 * mirror must keep is in tests/contract/mirror_contract_test.c.
 */
#include "mirror_sqlite.h"

#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what is asked of the disk: SQLite's calls come by here ------------------------------------------- */

static unsigned log_syncs; /* of a write-ahead log */

static void note_sync(int fd)
{
    char link[32], path[160];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    log_syncs += n > 4 && memcmp(path + n - 4, "-wal", 4) == 0;
}

int fdatasync(int fd)
{
    note_sync(fd);
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    note_sync(fd);
    return (int)syscall(SYS_fsync, fd);
}

static const struct mirror_column columns[] = {{.name = "name", .type = MIRROR_TEXT},
                                               {.name = "amount", .type = MIRROR_DOUBLE},
                                               {.name = "modified", .type = MIRROR_DATETIME}};
static const struct mirror_source sources[] = {
    {"Name", "", 0}, {"Amount", "", 1}, {"LastModifiedDate", "", 2}};
static const struct mirror_table table = {.name = "account",
                                          .key = "id",
                                          .last_modified = "modified",
                                          .shape = 1,
                                          .n_columns = 3,
                                          .n_sources = 3,
                                          .columns = columns,
                                          .sources = sources};
static const uint32_t name_column[] = {0};

static int setup(void **state)
{
    struct mirror_stand *t = calloc(1, sizeof *t);
    *state = t;
    return stand_begin(t, &mirror_kind_sqlite) ? 0 : -1;
}

static int teardown(void **state)
{
    stand_end(*state);
    free(*state);
    return 0;
}

static void assert_opens_not(struct mirror_stand *t, enum err_class class, const char *text)
{
    struct buf notice = BUF_INIT;
    assert_int_equal(t->ops->open(t->m, &notice, &t->e), -1);
    if (t->e.class != class || !strstr(t->e.text, text))
        fail_msg("%s: %s", err_class_name(t->e.class), t->e.text);
    buf_release(&notice);
}

static void prepare(struct mirror_stand *t)
{
    begin_with(t, &table);
}

/* Write one value into one column; what became of the row. */
static struct mirror_row put(struct mirror_stand *t, const char *id, uint32_t column,
                             struct mirror_value value)
{
    struct mirror_row row = stand_row(t, &table, id, MIRROR_UPSERT, 1, &column, &value, "s");
    if (t->ops->write(t->m, &row, 1, false, &t->e) != 0)
        fail_msg("%s", t->e.text);
    row.columns = NULL;
    row.values = NULL;
    return row;
}

static void commit(struct mirror_stand *t)
{
    if (t->ops->commit(t->m, stand_store, 1, span_of(NULL, 0), &t->e) != 0)
        fail_msg("%s", t->e.text);
}

/* --- files ----------------------------------------------------------------------------------------- */

static void the_file_is_ours_alone_and_stops_no_reader(void **state)
{
    struct mirror_stand *t = *state;
    struct stat st;
    mode_t mask = umask(0);
    open_and_fence(t);
    umask(mask);
    prepare(t);
    put(t, "1", 0, VALUE_TEXT("x"));
    commit(t);
    char path[128];
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(path, sizeof path, "%s%s", t->path, suffixes[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    /* A reader in the middle of its reading stops nobody, and sees what it saw. */
    sqlite3 *reader = sqlite_outside(t);
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_prepare_v2(reader, "SELECT count(*) FROM account", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    prepare(t);
    put(t, "2", 0, VALUE_TEXT("y"));
    commit(t);
    sqlite3_reset(stmt);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), 1);
    sqlite3_finalize(stmt);
    sqlite3_close(reader);
}

/* The fence as well: who has taken over stays so. */
static void a_commit_is_on_the_disk_when_it_says_so(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    for (int i = 0; i < 3; i++) {
        unsigned before = log_syncs;
        prepare(t);
        put(t, "1", 0, VALUE_TEXT("x"));
        assert_int_equal(log_syncs, before); /* one for all of a batch */
        commit(t);
        assert_true(log_syncs > before);
        before = log_syncs;
        OK(t->ops->fence(t->m, &t->held, &t->e));
        assert_true(log_syncs > before);
    }
}

static void places_that_cannot_be_used_are_named(void **state)
{
    struct mirror_stand *t = *state;
    char path[96];
    snprintf(path, sizeof path, "%s", t->path);
    snprintf(t->path, sizeof t->path, "%s/none/mirror.db", t->dir);
    t->ops->free(t->m);
    t->m = t->ops->new (&t->config);
    assert_opens_not(t, ERR_RETRY, "its folder does not exist");
    snprintf(t->path, sizeof t->path, "%s", t->dir);
    t->ops->free(t->m);
    t->m = t->ops->new (&t->config);
    assert_opens_not(t, ERR_REJECTED, "is not a file");
    snprintf(t->path, sizeof t->path, "%s", path);
    t->ops->free(t->m);
    t->m = t->ops->new (&t->config);
    assert_int_equal(
        file_replace(path, "no database, but a note of somebody's that must stay as it is", 61, 0600, &t->e),
        0);
    assert_opens_not(t, ERR_REJECTED, "is no SQLite database");
    struct buf kept = BUF_INIT;
    assert_int_equal(file_read(path, 1000, &kept, &t->e), 0);
    assert_int_equal(kept.len, 61);
    buf_release(&kept);
    assert_int_equal(unlink(path), 0);
    open_and_fence(t);
}

static void what_a_newer_version_wrote_is_left_alone(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    t->ops->close(t->m);
    assert_true(t->kind->run(t, "UPDATE _tidemark_sinks SET layout=99"));
    assert_opens_not(t, ERR_REJECTED, "newer version");
}

/* Its tombstones do not say whose they are. */
static void what_an_earlier_version_wrote_goes_on(void **state)
{
    struct mirror_stand *t = *state;
    size_t n;
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "1", MIRROR_DELETE, 0, NULL, NULL, "dead"));
    commit_at(t, 1);
    t->ops->close(t->m);
    assert_true(t->kind->run(t, "ALTER TABLE _tidemark_tombstones DROP COLUMN sink"));
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, stand_row(t, &table, "2", MIRROR_DELETE, 0, NULL, NULL, "dead"));
    commit_at(t, 2);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM _tidemark_tombstones WHERE sink='warehouse'"),
                     1);
    OK(t->ops->begin(t->m, &t->e));
    OK(t->ops->forget(t->m, 9, 0, 10, &n, &t->e));
    assert_int_equal(n, 2);
    commit_at(t, 3);
}

static void a_damaged_file_is_told_apart(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    t->ops->close(t->m);
    /* The first page stays, so that it is a database; the rest is noise. */
    int fd = open(t->path, O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size > 8192);
    char noise[4096];
    memset(noise, 0xee, sizeof noise);
    for (off_t at = 4096; at < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, noise, sizeof noise, at), sizeof noise);
    close(fd);
    assert_opens_not(t, ERR_REJECTED, "is damaged");
}

static void a_file_that_is_moved_away_is_opened_anew(void **state)
{
    struct mirror_stand *t = *state;
    char moved[128];
    snprintf(moved, sizeof moved, "%s.moved", t->path);
    open_and_fence(t);
    prepare(t);
    commit(t);
    assert_true(t->held.epoch == 1);
    /* Between two transactions. */
    assert_int_equal(rename(t->path, moved), 0);
    assert_int_equal(t->ops->begin(t->m, &t->e), -1);
    assert_int_equal(t->e.class, ERR_RETRY);
    assert_non_null(strstr(t->e.text, "moved or removed"));
    t->ops->close(t->m);
    unlink(moved);
    open_and_fence(t);
    assert_false(t->held.known);
    /* Within one: what was committed cannot be found again, so nobody may believe it. */
    prepare(t);
    put(t, "1", 0, VALUE_TEXT("x"));
    assert_int_equal(unlink(t->path), 0);
    assert_int_equal(t->ops->commit(t->m, stand_store, 1, span_of(NULL, 0), &t->e), -1);
    assert_int_equal(t->e.class, ERR_UNKNOWN);
    t->ops->close(t->m);
    open_and_fence(t);
    assert_false(t->held.known);
}

static void a_lock_of_others_is_a_failure_of_the_call(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    t->kind->hold(t);
    assert_int_equal(t->ops->begin(t->m, &t->e), -1);
    assert_int_equal(t->e.class, ERR_RETRY);
    assert_non_null(strstr(t->e.text, "locked for writing"));
    t->kind->let_go(t);
    prepare(t);
    commit(t);
}

/* --- a full disk ----------------------------------------------------------------------------------- */

static void a_full_disk_fails_the_call_and_loses_nothing(void **state)
{
    struct mirror_stand *t = *state;
    char dir[64], big[40000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    snprintf(dir, sizeof dir, "%s", t->dir);
    if (geteuid() != 0 || mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700") != 0) {
        skip();
        return;
    }
    open_and_fence(t);
    prepare(t);
    put(t, "kept", 0, VALUE_TEXT("before"));
    commit(t);
    int failed = 0, n = 0;
    char id[16];
    uint64_t committed = 0;
    while (!failed && n < 200) {
        prepare(t);
        snprintf(id, sizeof id, "%d", n++);
        const struct mirror_value value = VALUE_TEXT(big);
        struct mirror_row row = stand_row(t, &table, id, MIRROR_UPSERT, 1, name_column, &value, "s");
        if (t->ops->write(t->m, &row, 1, false, &t->e) != 0)
            failed = 1;
        else if (row.outcome != MIRROR_WRITTEN)
            fail_msg("the row was blamed for the disk: %s", row.why);
        else if (t->ops->commit(t->m, stand_store, (uint64_t)n, span_of(NULL, 0), &t->e) != 0)
            failed = 1;
        else
            committed = (uint64_t)n;
    }
    assert_true(failed);
    assert_true(t->e.class == ERR_RETRY || t->e.class == ERR_UNKNOWN);
    assert_non_null(strstr(t->e.text, "bytes free"));
    assert_null(strstr(t->e.text, "xxxx"));
    t->ops->close(t->m);
    /* Room again: everything that was committed is there, and it goes on. */
    assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=16m"), 0);
    open_and_fence(t);
    assert_true(t->held.cursor >= committed && t->held.cursor <= committed + 1);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), 1 + t->held.cursor);
    prepare(t);
    put(t, "after", 0, VALUE_TEXT(big));
    commit(t);
    t->ops->close(t->m);
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

/* --- tables of the user ---------------------------------------------------------------------------- */

static void triggers_refuse_rows_not_batches(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    prepare(t);
    commit(t);
    assert_true(t->kind->run(t, "CREATE TRIGGER no BEFORE INSERT ON account WHEN new.name='no' BEGIN"
                                " SELECT raise(ABORT,'not in this house'); END"));
    assert_true(t->kind->run(t, "CREATE TRIGGER hush BEFORE INSERT ON account WHEN new.name='hush' BEGIN"
                                " SELECT raise(IGNORE); END"));
    assert_true(t->kind->run(t, "CREATE TRIGGER end BEFORE INSERT ON account WHEN new.name='end' BEGIN"
                                " SELECT raise(ROLLBACK,'the end'); END"));
    prepare(t);
    assert_int_equal(put(t, "1", 0, VALUE_TEXT("yes")).outcome, MIRROR_WRITTEN);
    struct mirror_row row = put(t, "2", 0, VALUE_TEXT("no"));
    assert_int_equal(row.outcome, MIRROR_REFUSED);
    assert_non_null(strstr(row.why, "not in this house"));
    row = put(t, "3", 0, VALUE_TEXT("hush"));
    assert_int_equal(row.outcome, MIRROR_REFUSED);
    assert_non_null(strstr(row.why, "ignored"));
    commit(t);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), 1);
    /* One that ends the transaction ends the call: nothing of it may count as written. */
    prepare(t);
    put(t, "4", 0, VALUE_TEXT("yes"));
    const struct mirror_value value = VALUE_TEXT("end");
    row = stand_row(t, &table, "5", MIRROR_UPSERT, 1, name_column, &value, "s");
    assert_int_equal(t->ops->write(t->m, &row, 1, false, &t->e), -1);
    assert_int_equal(t->e.class, ERR_RETRY);
    t->ops->rollback(t->m);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account"), 1);
}

static void constraints_that_would_do_something_else_refuse(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    assert_true(t->kind->run(
        t, "CREATE TABLE account(id TEXT PRIMARY KEY ON CONFLICT REPLACE,"
           " name TEXT NOT NULL ON CONFLICT ROLLBACK UNIQUE ON CONFLICT IGNORE, amount REAL) STRICT"));
    prepare(t);
    assert_int_equal(put(t, "1", 0, VALUE_TEXT("one")).outcome, MIRROR_WRITTEN);
    assert_int_equal(put(t, "2", 0, VALUE_TEXT("one")).outcome, MIRROR_REFUSED);
    assert_int_equal(put(t, "1", 0, VALUE_NULL(MIRROR_TEXT)).outcome, MIRROR_REFUSED);
    assert_int_equal(put(t, "3", 0, VALUE_TEXT("three")).outcome, MIRROR_WRITTEN);
    commit(t);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE name IN ('one','three')"), 2);
}

static void types_that_would_change_values_are_told(void **state)
{
    static const struct mirror_column wide[] = {
        {.name = "t1", .type = MIRROR_TEXT},     {.name = "t2", .type = MIRROR_TEXT},
        {.name = "i1", .type = MIRROR_BIGINT},   {.name = "i2", .type = MIRROR_BIGINT},
        {.name = "d1", .type = MIRROR_DOUBLE},   {.name = "d2", .type = MIRROR_DOUBLE},
        {.name = "m1", .type = MIRROR_DATETIME}, {.name = "m2", .type = MIRROR_DATETIME},
        {.name = "b1", .type = MIRROR_BOOLEAN},  {.name = "b2", .type = MIRROR_BOOLEAN}};
    const struct mirror_table t2 = {
        .name = "wide", .key = "id", .number = 1, .shape = 1, .n_columns = 10, .columns = wide};
    struct mirror_stand *t = *state;
    open_and_fence(t);
    assert_true(
        t->kind->run(t, "CREATE TABLE wide(id TEXT PRIMARY KEY, t1 VARCHAR(20), t2 INT, i1 BIGINT, i2 TEXT,"
                        " d1 DOUBLE PRECISION, d2 INTEGER, m1 DATETIME, m2 INTEGER, b1 BOOLEAN, b2 TEXT)"));
    assert_int_equal(t->ops->begin(t->m, &t->e), 0);
    assert_int_equal(t->ops->prepare(t->m, &t2, t->numbers, &t->remarks, &t->e), 0);
    const char *odd = (const char *)t->remarks.odd.data;
    for (size_t i = 0; i < 10; i++) {
        char quoted[8];
        snprintf(quoted, sizeof quoted, "\"%s\"", wide[i].name);
        assert_int_equal(strstr(odd, quoted) != NULL, wide[i].name[1] == '2');
    }
    t->ops->rollback(t->m);
}

static void names_that_differ_in_case_alone_are_twins(void **state)
{
    static const struct mirror_column twins[] = {{.name = "Name", .type = MIRROR_TEXT},
                                                 {.name = "name", .type = MIRROR_TEXT}};
    static const struct mirror_column own[] = {{.name = "_Version", .type = MIRROR_TEXT}};
    const struct mirror_table bad[] = {
        {.name = "a", .key = "id", .shape = 1, .n_columns = 2, .columns = twins},
        {.name = "a", .key = "NAME", .shape = 1, .n_columns = 1, .columns = twins},
        {.name = "a", .key = "id", .shape = 1, .n_columns = 1, .columns = own},
        {.name = "sqlite_mine", .key = "id", .shape = 1, .n_columns = 1, .columns = twins},
    };
    struct mirror_stand *t = *state;
    open_and_fence(t);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(t->ops->begin(t->m, &t->e), 0);
        assert_int_equal(t->ops->prepare(t->m, &bad[i], t->numbers, &t->remarks, &t->e), -1);
        if (t->e.class != ERR_CONFIG)
            fail_msg("%zu: %s", i, t->e.text);
        t->ops->rollback(t->m);
    }
}

static void times_that_others_wrote_are_read(void **state)
{
    static const struct {
        const char *stands;
        int64_t ms; /* 0: no time */
    } cases[] = {
        {"'2026-01-01T00:00:00.123Z'", STAND_T0},
        {"'2026-01-01 00:00:00.123'", STAND_T0},
        {"'2026-01-01T01:00:00.123+01:00'", STAND_T0},
        {"'2026-01-01 00:00:00'", STAND_T0 - 123},
        {"'2026-01-01'", STAND_T0 - 123},
        {"1767225600", 0},
        {"'yesterday, perhaps'", 0},
        {"''", 0},
        {"NULL", 0},
        {"x'00'", 0},
    };
    struct mirror_stand *t = *state;
    open_and_fence(t);
    prepare(t);
    put(t, "1", 0, VALUE_TEXT("x"));
    commit(t);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char sql[128];
        struct mirror_held held;
        struct span id = stand_id("1");
        snprintf(sql, sizeof sql, "UPDATE account SET modified=%s", cases[i].stands);
        assert_true(t->kind->run(t, sql));
        prepare(t);
        assert_int_equal(t->ops->load(t->m, &table, &id, 1, &t->a, &held, &t->e), 0);
        if (held.has_modified != (cases[i].ms != 0) || (cases[i].ms && held.modified_ms != cases[i].ms))
            fail_msg("%s is read as %lld", cases[i].stands, (long long)held.modified_ms);
        t->ops->rollback(t->m);
    }
}

static void a_column_dropped_under_us_is_made_again(void **state)
{
    struct mirror_stand *t = *state;
    open_and_fence(t);
    prepare(t);
    put(t, "1", 1, VALUE_NUMBER(1.5));
    commit(t);
    assert_true(t->kind->run(t, "ALTER TABLE account DROP COLUMN amount"));
    prepare(t);
    const uint32_t amount[] = {1};
    const struct mirror_value value = VALUE_NUMBER(2.5);
    struct mirror_row row = stand_row(t, &table, "1", MIRROR_UPSERT, 1, amount, &value, "s");
    assert_int_equal(t->ops->write(t->m, &row, 1, false, &t->e), -1);
    assert_int_equal(t->e.class, ERR_RETRY);
    t->ops->close(t->m);
    open_and_fence(t);
    prepare(t);
    put(t, "1", 1, value);
    commit(t);
    assert_int_equal(t->kind->count(t, "SELECT count(*) FROM account WHERE amount=2.5"), 1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_file_is_ours_alone_and_stops_no_reader),
        CASE(a_commit_is_on_the_disk_when_it_says_so),
        CASE(places_that_cannot_be_used_are_named),
        CASE(what_a_newer_version_wrote_is_left_alone),
        CASE(what_an_earlier_version_wrote_goes_on),
        CASE(a_damaged_file_is_told_apart),
        CASE(a_file_that_is_moved_away_is_opened_anew),
        CASE(a_lock_of_others_is_a_failure_of_the_call),
        CASE(a_full_disk_fails_the_call_and_loses_nothing),
        CASE(triggers_refuse_rows_not_batches),
        CASE(constraints_that_would_do_something_else_refuse),
        CASE(types_that_would_change_values_are_told),
        CASE(names_that_differ_in_case_alone_are_twins),
        CASE(times_that_others_wrote_are_read),
        CASE(a_column_dropped_under_us_is_made_again),
    };
    return cmocka_run_group_tests_name("mirror_sqlite", tests, NULL, NULL);
}
