/*
 * What is PostgreSQL's alone among the mirrors: what its errors mean, servers that die, lines that break at COMMIT,
 * rights, columns made by hand, constraints that wait, and that no text holds a secret. What every mirror must keep is
 * in tests/contract/mirror_contract_test.c.
 */
#include "harness/commit_thief.h"
#include "mirror_postgres.h"
#include "sink/postgres/sqlstate.h"
#include "sink/postgres/talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static const struct mirror_column columns[] = {{.name = "name", .type = MIRROR_TEXT},
                                               {.name = "amount", .type = MIRROR_DOUBLE},
                                               {.name = "is_open", .type = MIRROR_BOOLEAN},
                                               {.name = "closed_at", .type = MIRROR_DATETIME}};
static const struct mirror_source sources[] = {
    {"Name", "", 0}, {"Amount", "", 1}, {"IsOpen", "", 2}, {"ClosedAt", "", 3}};
static const uint32_t all[] = {0, 1, 2, 3};
#define VALUES(name_, amount_)                                                                               \
    (const struct mirror_value[])                                                                            \
    {                                                                                                        \
        VALUE_TEXT(name_), VALUE_NUMBER(amount_), VALUE_OF(MIRROR_BOOLEAN, 1),                               \
            VALUE_OF(MIRROR_DATETIME, STAND_T0)                                                              \
    }

static struct mirror_table deal(void)
{
    return (struct mirror_table){.name = "deal",
                                 .key = "id",
                                 .on_delete = MIRROR_HARD,
                                 .shape = 1,
                                 .n_columns = 4,
                                 .n_sources = 4,
                                 .columns = columns,
                                 .sources = sources};
}

/* A database of its own. */
static int begin_stand(void **state)
{
    struct mirror_stand *t = xcalloc(1, sizeof *t);
    *state = t;
    if (stand_begin(t, &mirror_kind_postgres))
        return 0;
    free(t);
    *state = NULL;
    return 0;
}

static int end_stand(void **state)
{
    struct mirror_stand *t = *state;
    if (t)
        stand_end(t);
    free(t);
    return 0;
}

#define STAND                                                                                                \
    struct mirror_stand *t = *state;                                                                         \
    if (!t)                                                                                                  \
    skip() /* no PostgreSQL here */

/* The mirror anew, under another connection string. */
static void use_dsn(struct mirror_stand *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void use_dsn(struct mirror_stand *t, const char *fmt, ...)
{
    static char dsn[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(dsn, sizeof dsn, fmt, ap);
    va_end(ap);
    struct sink_config config = t->config;
    config.dsn = dsn;
    t->ops->free(t->m);
    t->m = t->ops->new (&config);
}

static struct mirror_row full_row(struct mirror_stand *t, const struct mirror_table *table, const char *id,
                                  const struct mirror_value *values)
{
    return stand_row(t, table, id, MIRROR_UPSERT, 4, all, values, "s");
}

static void assert_refused(struct mirror_stand *t, struct mirror_row row, const char *because)
{
    OK(t->ops->write(t->m, &row, 1, false, &t->e));
    assert_int_equal(row.outcome, MIRROR_REFUSED);
    if (!strstr(row.why, because))
        fail_msg("\"%s\" is not in: %s", because, row.why);
}

static void run(struct mirror_stand *t, const char *sql)
{
    if (!postgres_run_outside(t, sql))
        fail_msg("%s", sql);
}

/* --- errors ---------------------------------------------------------------------------------------- */

static void states_say_who_is_to_blame(void **state)
{
    static const struct {
        const char *state;
        enum pg_fault fault;
    } cases[] = {
        {"23505", PG_FAULT_ROW},     {"23514", PG_FAULT_ROW},     {"22001", PG_FAULT_ROW},
        {"22P02", PG_FAULT_ROW},     {"54000", PG_FAULT_ROW},     {"P0001", PG_FAULT_ROW},
        {"40P01", PG_FAULT_BUSY},    {"55P03", PG_FAULT_BUSY},    {"57014", PG_FAULT_BUSY},
        {"57P01", PG_FAULT_AWAY},    {"53100", PG_FAULT_AWAY},    {"25006", PG_FAULT_AWAY},
        {"XX000", PG_FAULT_AWAY},    {"08006", PG_FAULT_AWAY},    {"42501", PG_FAULT_RIGHT},
        {"42P01", PG_FAULT_CHANGED}, {"42703", PG_FAULT_CHANGED}, {"28P01", PG_FAULT_LOGIN},
        {"3D000", PG_FAULT_LOGIN},   {"0A000", PG_FAULT_OTHER},   {"", PG_FAULT_AWAY},
        {NULL, PG_FAULT_AWAY},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(pg_fault_of(cases[i].state), cases[i].fault);
}

static void no_text_holds_the_password(void **state)
{
    STAND;
    static const char *const strings[] = {
        "host=/nowhere user=x password=sw0rdfish",
        "postgresql://x:sw0rdfish@%2Fnowhere/db",
        "host=/nowhere password='sw0rdfish unclosed",
        "host=/nowhere sslmode=what password=sw0rdfish",
        "sw0rdfish",
        "postgresql://x:sw0rdfish@[::1/db",
    };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        struct buf notice = BUF_INIT;
        use_dsn(t, "%s", strings[i]);
        assert_int_equal(t->ops->open(t->m, &notice, &t->e), -1);
        assert_true(t->e.class == ERR_RETRY || t->e.class == ERR_CONFIG);
        assert_null(strstr(t->e.text, "sw0rdfish"));
        assert_int_equal(notice.len, 0);
        buf_release(&notice);
    }
}

static void servers_elsewhere_must_show_a_certificate(void **state)
{
    static const struct {
        const char *dsn, *mode;
    } cases[] = {
        {"host=db.example.com dbname=x", "verify-full"},
        {"postgresql://u@db.example.com/x", "verify-full"},
        {"host=localhost hostaddr=192.0.2.1", "verify-full"},
        {"host=localhost,db.example.com", "verify-full"},
        {"host=127.0.0.1.example.com", "verify-full"},
        {"host=db.example.com sslmode=require", "require"},
        {"postgresql://u@db.example.com/x?sslmode=verify-ca", "verify-ca"},
        {"host=/run/postgresql", ""},
        {"host=127.0.0.1", ""},
        {"host=127.8.0.1 port=5433", ""},
        {"host=::1", ""},
        {"host=localhost", ""},
        {"postgresql:///x", ""},
        {"user=x", ""},
    };
    (void)state;
    unsetenv("PGSSLMODE");
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char mode[16];
        pg_sslmode_of(cases[i].dsn, mode);
        if (strcmp(mode, cases[i].mode) != 0)
            fail_msg("%s: sslmode '%s' instead of '%s'", cases[i].dsn, mode, cases[i].mode);
    }
    char mode[16];
    setenv("PGHOST", "db.example.com", 1);
    pg_sslmode_of("", mode);
    assert_string_equal(mode, "verify-full");
    setenv("PGSSLMODE", "require", 1);
    pg_sslmode_of("", mode);
    assert_string_equal(mode, "require");
    unsetenv("PGSSLMODE");
    unsetenv("PGHOST");
}

/* --- the server and the line ------------------------------------------------------------------------ */

static void a_killed_server_is_away_and_comes_back(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("kept", 1)));
    commit_at(t, 1);
    begin_with(t, &table);
    struct mirror_row row = full_row(t, &table, "006B", VALUES("lost", 2));
    write_ok(t, row);
    postgres_server_kill(postgres_of_tests);
    row.outcome = MIRROR_UNWRITTEN;
    FAILS(t->ops->write(t->m, &row, 1, false, &t->e), ERR_RETRY);
    t->ops->rollback(t->m);
    FAILS(t->ops->begin(t->m, &t->e), ERR_RETRY);
    t->ops->close(t->m);
    struct buf notice = BUF_INIT;
    FAILS(t->ops->open(t->m, &notice, &t->e), ERR_RETRY);
    buf_release(&notice);
    postgres_server_again(postgres_of_tests);
    open_and_fence(t);
    assert_int_equal(t->held.cursor, 1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE name = 'kept'"), 1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal"), 1);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006B", VALUES("again", 2)));
    commit_at(t, 2);
}

static void a_connection_ended_in_a_transaction_is_a_retry(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("x", 1)));
    run(t,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tidemark sink%'"
        " AND datname = current_database()");
    /* Before COMMIT is sent nothing can have been committed. */
    FAILS(t->ops->commit(t->m, stand_store, 1, span_of_str(""), &t->e), ERR_RETRY);
    t->ops->close(t->m);
    open_and_fence(t);
    assert_false(t->held.known);
}

static void a_line_that_breaks_at_commit_leaves_the_answer_to_the_fence(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    struct commit_thief *thief = commit_thief_start(postgres_server_folder(postgres_of_tests));
    use_dsn(t, "host=%s user=postgres dbname=%s", commit_thief_folder(thief), strrchr(t->dir, '/') + 1);
    open_and_fence(t);
    begin_with(t, &table);
    commit_at(t, 1);
    static const enum thief_mood moods[] = {THIEF_TAKES_ANSWER, THIEF_TAKES_COMMIT};
    static const uint64_t cursors[] = {2, 2};
    for (size_t i = 0; i < ARRAY_LEN(moods); i++) {
        begin_with(t, &table);
        write_ok(t, full_row(t, &table, "006A", VALUES("x", (double)i)));
        commit_thief_arm(thief, moods[i]);
        FAILS(t->ops->commit(t->m, stand_store, i + 2, span_of_str(""), &t->e), ERR_UNKNOWN);
        t->ops->close(t->m);
        open_and_fence(t);
        assert_int_equal(t->held.cursor, cursors[i]);
        assert_int_equal(postgres_count_outside(t, "SELECT amount FROM deal"), 0);
    }
    t->ops->close(t->m);
    commit_thief_stop(thief);
}

static void whoever_is_fenced_in_a_transaction_cannot_commit(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    struct mirror *second = t->ops->new (&t->config);
    struct mirror_authority held;
    struct buf notice = BUF_INIT;
    open_and_fence(t);
    begin_with(t, &table);
    commit_at(t, 1);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("late", 1)));
    OK(t->ops->open(second, &notice, &t->e));
    OK(t->ops->fence(second, &held, &t->e));
    assert_int_equal(held.cursor, 1);
    FAILS(t->ops->commit(t->m, stand_store, 2, span_of_str(""), &t->e), ERR_REJECTED);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal"), 0);
    t->ops->free(second);
    buf_release(&notice);
}

/* --- rights ------------------------------------------------------------------------------------------ */

static void use_role(struct mirror_stand *t, const char *role)
{
    use_dsn(t, "host=%s user=%s dbname=%s", postgres_server_folder(postgres_of_tests), role,
            strrchr(t->dir, '/') + 1);
}

static void a_missing_right_is_named_and_may_be_granted_later(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    struct buf text = BUF_INIT;
    run(t, "CREATE ROLE plain LOGIN");
    use_role(t, "plain");
    FAILS(t->ops->open(t->m, &text, &t->e), ERR_REJECTED);
    assert_non_null(strstr(t->e.text, "CREATE"));
    t->ops->close(t->m);
    FAILS(t->ops->look(t->m, &t->e), ERR_REJECTED);
    OK(t->ops->inspect(t->m, &table, 1, &text, &t->e));
    assert_non_null(
        strstr((const char *)text.data, "bad: tables cannot be made in schema \"public\": GRANT CREATE"));
    t->ops->close(t->m);
    buf_clear(&text);
    run(t, "GRANT CREATE ON SCHEMA public TO plain");
    open_and_fence(t);
    run(t, "CREATE TABLE deal (id text PRIMARY KEY, name text, amount float8, is_open boolean, closed_at "
           "timestamptz,"
           " _version text, _seq bigint, _state bytea, _incomplete boolean NOT NULL DEFAULT false);"
           "GRANT SELECT, INSERT ON deal TO plain");
    begin_with(t, &table);
    struct mirror_row row = full_row(t, &table, "006A", VALUES("x", 1));
    /* Nothing is refused for it: with the right, the same batch goes in. */
    FAILS(t->ops->write(t->m, &row, 1, false, &t->e), ERR_RETRY);
    assert_non_null(strstr(t->e.text, "deal"));
    assert_non_null(strstr(t->e.text, "UPDATE"));
    assert_int_equal(row.outcome, MIRROR_UNWRITTEN);
    t->ops->rollback(t->m);
    OK(t->ops->inspect(t->m, &table, 1, &text, &t->e));
    assert_non_null(strstr((const char *)text.data, "GRANT UPDATE, DELETE ON \"deal\""));
    run(t, "GRANT UPDATE ON deal TO plain");
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("x", 1)));
    write_ok(t, full_row(t, &table, "006A", VALUES("y", 2)));
    commit_at(t, 1);
    buf_release(&text);
}

static void tables_of_ours_need_no_right_to_make_them(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("x", 1)));
    commit_at(t, 1);
    t->ops->close(t->m);
    run(t, "CREATE ROLE writer LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "
           "writer");
    use_role(t, "writer");
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("y", 1)));
    commit_at(t, 2);
    /* A new table does need one. */
    struct mirror_table other = table;
    other.name = "other";
    other.number = 1;
    OK(t->ops->begin(t->m, &t->e));
    FAILS(t->ops->prepare(t->m, &other, t->numbers, &t->remarks, &t->e), ERR_RETRY);
    assert_non_null(strstr(t->e.text, "\"other\""));
    t->ops->rollback(t->m);
}

static void tables_stand_where_the_search_path_says(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    run(t, "CREATE SCHEMA crm");
    use_dsn(t, "%s options='-c search_path=crm'", t->dsn);
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("x", 1)));
    commit_at(t, 1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM crm.deal"), 1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM crm._tidemark_sinks"), 1);
}

/* --- tables made by hand ------------------------------------------------------------------------------ */

static void columns_made_by_hand_take_what_fits_and_never_cut(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    run(t, "CREATE TABLE deal (id varchar(18) PRIMARY KEY, name varchar(5), amount numeric(6,2), is_open "
           "integer,"
           " closed_at date, loud text GENERATED ALWAYS AS (upper(name)) STORED)");
    open_and_fence(t);
    begin_with(t, &table);
    static const char *const named[] = {"character varying(5)", "numeric(6,2)", "integer", "date"};
    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        assert_non_null(strstr((const char *)t->remarks.odd.data, named[i]));
    write_ok(t, full_row(t, &table, "006A", VALUES("short", 12.5)));
    write_ok(t, full_row(t, &table, "006A", VALUES("other", 99)));
    assert_refused(t, full_row(t, &table, "006A", VALUES("much too long", 1)), "character varying(5)");
    assert_refused(t, full_row(t, &table, "006B", VALUES("short", 1e9)), "22003");
    commit_at(t, 1);
    assert_int_equal(
        postgres_count_outside(t, "SELECT count(*) FROM deal WHERE id = '006A' AND name = 'other' AND"
                                  " amount = 99.00 AND is_open = 1 AND closed_at = '2026-01-01' AND"
                                  " loud = 'OTHER'"),
        1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal"), 1);
}

static void no_reason_quotes_a_value(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    run(t, "CREATE TABLE deal (id text PRIMARY KEY, name integer, amount float8 UNIQUE)");
    run(t, "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
           " IF NEW.amount = 666 THEN RAISE 'not %', NEW.amount; END IF;"
           " IF NEW.amount = 777 THEN RETURN NULL; END IF; RETURN NEW; END$$");
    run(t, "CREATE TRIGGER judge BEFORE INSERT OR UPDATE ON deal FOR EACH ROW EXECUTE FUNCTION judge()");
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("1", 5)));
    struct mirror_row row = full_row(t, &table, "006B", VALUES("s3cret", 6));
    OK(t->ops->write(t->m, &row, 1, false, &t->e));
    assert_int_equal(row.outcome, MIRROR_REFUSED);
    assert_null(strstr(row.why, "s3cret"));
    assert_refused(t, full_row(t, &table, "006B", VALUES("2", 5)), "deal_amount_key");
    row = full_row(t, &table, "006B", VALUES("2", 666));
    OK(t->ops->write(t->m, &row, 1, false, &t->e));
    assert_int_equal(row.outcome, MIRROR_REFUSED);
    assert_non_null(strstr(row.why, "judge"));
    assert_null(strstr(row.why, "666"));
    assert_refused(t, full_row(t, &table, "006B", VALUES("2", 777)), "took no row");
    commit_at(t, 1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal"), 1);
}

static void a_constraint_that_waits_for_commit_refuses_its_row_alone(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    run(t, "CREATE TABLE allowed (name text PRIMARY KEY); INSERT INTO allowed VALUES ('good');"
           "CREATE TABLE deal (id text PRIMARY KEY, name text REFERENCES allowed DEFERRABLE INITIALLY "
           "DEFERRED)");
    open_and_fence(t);
    begin_with(t, &table);
    struct mirror_row rows[3] = {full_row(t, &table, "006A", VALUES("good", 1)),
                                 full_row(t, &table, "006B", VALUES("bad", 1)),
                                 full_row(t, &table, "006C", VALUES("good", 1))};
    OK(t->ops->write(t->m, rows, 3, false, &t->e));
    assert_int_equal(rows[0].outcome, MIRROR_WRITTEN);
    assert_int_equal(rows[1].outcome, MIRROR_REFUSED);
    assert_int_equal(rows[2].outcome, MIRROR_WRITTEN);
    commit_at(t, 1);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal"), 2);
}

static void a_row_that_somebody_took_away_meanwhile_is_there_again(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("x", 1)));
    write_ok(t, full_row(t, &table, "006B", VALUES("x", 1)));
    commit_at(t, 1);
    begin_with(t, &table);
    struct mirror_row rows[2] = {full_row(t, &table, "006A", VALUES("y", 2)),
                                 full_row(t, &table, "006B", VALUES("y", 2))};
    run(t, "DELETE FROM deal WHERE id = '006B'");
    OK(t->ops->write(t->m, rows, 2, false, &t->e));
    assert_int_equal(rows[0].outcome, MIRROR_WRITTEN);
    assert_int_equal(rows[1].outcome, MIRROR_WRITTEN);
    commit_at(t, 2);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE name = 'y'"), 2);
}

/* Statements that the server keeps: the same text with the same types, the least recently used goes. */
static void a_statement_is_kept_from_its_second_time_on(void **state)
{
    (void)state;
    static const unsigned text[] = {PG_TEXT}, number[] = {PG_INT8};
    struct pg_kept kept = PG_KEPT_INIT;
    uint64_t gone;
    char other[32], name[PG_KEPT_NAME];
    assert_null(pg_kept_find(&kept, "SELECT $1", text, 1, &gone));
    assert_null(pg_kept_find(&kept, "SELECT $1", number, 1, &gone));
    struct pg_kept_statement *s = pg_kept_find(&kept, "SELECT $1", text, 1, &gone);
    assert_int_equal(s->state, PG_KEPT_SEEN);
    pg_kept_sent(&kept, s);
    pg_kept_settled(&kept); /* it was skipped behind a failure */
    assert_int_equal(s->state, PG_KEPT_SEEN);
    const uint64_t first = s->number;
    pg_kept_sent(&kept, s);
    assert_int_not_equal(s->number, first);
    pg_kept_answered(&kept, s->number);
    pg_kept_settled(&kept);
    assert_int_equal(s->state, PG_KEPT_READY);
    const uint64_t ready = s->number;
    pg_kept_name(ready, name);
    for (int i = 0; i < PG_KEPT_MOST - 1; i++) {
        snprintf(other, sizeof other, "SELECT $1 + %d", i);
        assert_null(pg_kept_find(&kept, other, number, 1, &gone));
        assert_int_equal(gone, 0); /* nobody told the server of the one that made room */
    }
    assert_null(pg_kept_find(&kept, "SELECT 1", NULL, 0, &gone));
    assert_int_equal(gone, ready);
    assert_null(pg_kept_find(&kept, "SELECT $1", text, 1, &gone));
    pg_kept_release(&kept);
}

/* More shapes than there is room for, some of them twice; a refusal among those that are prepared; a table made anew. */
static void kept_statements_outlive_refusals_and_tables(void **state)
{
    enum { N = 60 };
    STAND;
    struct mirror_column many[N];
    struct mirror_source from[N];
    struct mirror_table table = deal();
    const struct mirror_value good[] = {VALUE_TEXT("x"), VALUE_TEXT("y")};
    const struct mirror_value bad[] = {VALUE_TEXT("much too long"), VALUE_TEXT("y")};
    char names[N][8];
    struct buf sql = BUF_INIT;
    buf_add_str(&sql, "CREATE TABLE deal (id text PRIMARY KEY");
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "c%d", i);
        many[i] = (struct mirror_column){.name = names[i], .type = MIRROR_TEXT};
        from[i] = (struct mirror_source){names[i], "", (uint32_t)i};
        buf_addf(&sql, ", %s text CHECK (length(%s) < 5)", names[i], names[i]);
    }
    buf_add_str(&sql, ")");
    table.n_columns = table.n_sources = N;
    table.columns = many;
    table.sources = from;
    for (int life = 0; life < 2; life++) {
        run(t, "DROP TABLE IF EXISTS deal");
        run(t, (const char *)sql.data);
        if (life == 0) {
            open_and_fence(t);
        } else { /* it has other types now: they are learned with the next open */
            begin_with(t, &table);
            const struct span id = stand_id("006A");
            struct mirror_held held;
            FAILS(t->ops->load(t->m, &table, &id, 1, &t->a, &held, &t->e), ERR_RETRY);
            t->ops->rollback(t->m);
            t->ops->close(t->m);
            open_and_fence(t);
        }
        begin_with(t, &table);
        write_ok(t, stand_row(t, &table, "006A", MIRROR_UPSERT, 0, NULL, NULL, "s"));
        for (uint32_t i = 0; i < 4 * (N - 1); i++) {
            const uint32_t at = i % 3 ? i / 4 : 5, some[] = {at, at + 1};
            const uint32_t n = 1 + i % 2;
            write_ok(t, stand_row(t, &table, "006A", MIRROR_UPSERT, n, some, good, "s"));
            assert_refused(t, stand_row(t, &table, "006A", MIRROR_UPSERT, n, some, bad, "s"), "23514");
        }
        commit_at(t, (uint64_t)life + 1);
        assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE c5 = 'x' AND c59 = 'y'"),
                         1);
    }
    buf_release(&sql);
}

/* What others write stands, but for the columns that we set; and the rows are found though they have moved. */
static void rows_that_others_write_meanwhile_are_found_where_they_are_now(void **state)
{
    enum { N = 12 };
    STAND;
    const struct mirror_table table = deal();
    static const uint32_t only_name[] = {0};
    const struct mirror_value names[] = {VALUE_TEXT("old"), VALUE_TEXT("new"), VALUE_TEXT("newer")};
    struct mirror_row rows[N];
    open_and_fence(t);
    for (int round = 0; round < 3; round++) {
        begin_with(t, &table);
        for (int i = 0; i < N; i++) {
            char *id = arena_alloc(&t->a, 8);
            snprintf(id, 8, "006%02d", i);
            rows[i] = stand_row(t, &table, id, MIRROR_UPSERT, 1, only_name, &names[round], "s");
            assert_int_equal(rows[i].held.place != 0, round > 0);
        }
        if (round == 1) {
            run(t, "UPDATE deal SET amount = 7 WHERE id IN ('00603', '00608'); DELETE FROM deal WHERE id = "
                   "'00605'");
        }
        OK(t->ops->send(t->m, rows, N / 2, &t->e));
        if (round == 2)
            run(t, "UPDATE deal SET amount = 8 WHERE id = '00611'");
        OK(t->ops->write(t->m, rows, N, false, &t->e));
        for (int i = 0; i < N; i++)
            assert_int_equal(rows[i].outcome, MIRROR_WRITTEN);
        commit_at(t, (uint64_t)round + 1);
    }
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE name = 'newer'"), N);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE amount = 7"), 2);
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE amount = 8"), 1);
}

/* In a database whose texts are ordered by the rules of a language, record ids are bytes all the same. */
static void keys_are_bytes_whatever_the_language(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    static const char *const ids[] = {"006a", "006A", "006B", "006b"};
    run(t, "CREATE DATABASE other TEMPLATE template0 LC_COLLATE 'C.utf8' LC_CTYPE 'C.utf8'");
    use_dsn(t, "%s dbname=other", t->dsn);
    open_and_fence(t);
    for (int round = 0; round < 2; round++) {
        begin_with(t, &table);
        for (size_t i = 0; i < ARRAY_LEN(ids); i++)
            write_ok(t, full_row(t, &table, ids[i], VALUES("x", (double)i)));
        commit_at(t, (uint64_t)round + 1);
    }
    begin_with(t, &table);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        const struct mirror_row row = full_row(t, &table, ids[i], VALUES("x", 1));
        assert_true(row.held.has_row);
    }
    write_ok(t, stand_row(t, &table, ids[0], MIRROR_DELETE, 0, NULL, NULL, "s"));
    commit_at(t, 3);
    t->ops->close(t->m);
    run(t, "DROP DATABASE other");
    struct buf ddl = BUF_INIT;
    t->ops->show_table(&table, &ddl);
    assert_non_null(strstr((const char *)ddl.data, "\"id\" text COLLATE \"C\" PRIMARY KEY"));
    buf_release(&ddl);
}

/* Rows of several partitions may stand at one place. */
static void rows_of_partitions_are_found_by_their_key(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    run(t, "CREATE TABLE deal (id text PRIMARY KEY, name text) PARTITION BY HASH (id);"
           "CREATE TABLE deal_0 PARTITION OF deal FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
           "CREATE TABLE deal_1 PARTITION OF deal FOR VALUES WITH (MODULUS 2, REMAINDER 1)");
    open_and_fence(t);
    for (int round = 0; round < 2; round++) {
        begin_with(t, &table);
        for (int i = 0; i < 8; i++) {
            char *id = arena_alloc(&t->a, 8);
            snprintf(id, 8, "006%d", i);
            struct mirror_row row = full_row(t, &table, id, VALUES(round ? "new" : "old", i));
            assert_int_equal(row.held.place, 0);
            write_ok(t, row);
        }
        commit_at(t, (uint64_t)round + 1);
    }
    assert_int_equal(postgres_count_outside(t, "SELECT count(*) FROM deal WHERE name = 'new'"), 8);
}

static void a_column_dropped_meanwhile_comes_back_after_the_next_open(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("x", 1)));
    commit_at(t, 1);
    run(t, "ALTER TABLE deal DROP COLUMN amount");
    begin_with(t, &table);
    struct mirror_row row = full_row(t, &table, "006A", VALUES("y", 2));
    FAILS(t->ops->write(t->m, &row, 1, false, &t->e), ERR_RETRY);
    t->ops->rollback(t->m);
    t->ops->close(t->m);
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006A", VALUES("y", 2)));
    commit_at(t, 2);
    assert_int_equal(postgres_count_outside(t, "SELECT amount FROM deal WHERE name = 'y'"), 2);
}

/* What a setting was when the row was written, as a trigger on the table saw it. */
static void assert_setting(struct mirror_stand *t, const char *name, const char *expected)
{
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM seen WHERE name = '%s' AND setting = '%s'", name,
             expected);
    if (postgres_count_outside(t, sql) != 1)
        fail_msg("%s is not '%s'", name, expected);
}

static void the_session_is_durable_in_utc_and_waits_for_nobody_for_ever(void **state)
{
    STAND;
    const struct mirror_table table = deal();
    char sql[300];
    open_and_fence(t);
    begin_with(t, &table);
    commit_at(t, 1);
    run(t, "CREATE TABLE seen (name text, setting text)");
    run(t, "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM seen;"
           " INSERT INTO seen SELECT s.name, current_setting(s.name) FROM pg_settings s; RETURN NEW; END'");
    run(t, "CREATE TRIGGER see BEFORE INSERT ON deal FOR EACH ROW EXECUTE FUNCTION see()");
    const char *database = strrchr(t->dir, '/') + 1;
    static const char *const ours[] = {"1min", "10s", "1min"}, *const theirs[] = {"5min", "7s", "0"};
    for (int set = 0; set < 2; set++) {
        static const char *const names[] = {"statement_timeout", "lock_timeout",
                                            "idle_in_transaction_session_timeout"};
        char id[8];
        snprintf(id, sizeof id, "006%d", set);
        for (size_t i = 0; set && i < ARRAY_LEN(names); i++) {
            snprintf(sql, sizeof sql, "ALTER DATABASE %s SET %s = '%s'", database, names[i], theirs[i]);
            run(t, sql);
        }
        snprintf(
            sql, sizeof sql,
            "ALTER DATABASE %s SET synchronous_commit = off; ALTER DATABASE %s SET TimeZone = 'Asia/Tokyo'",
            database, database);
        run(t, sql);
        t->ops->close(t->m);
        open_and_fence(t);
        begin_with(t, &table);
        write_ok(t, full_row(t, &table, id, VALUES("x", 1)));
        commit_at(t, 2);
        assert_setting(t, "synchronous_commit", "on");
        assert_setting(t, "TimeZone", "UTC");
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            assert_setting(t, names[i], set ? theirs[i] : ours[i]);
    }
    /* Another promise that is kept on a disk is left as it is. */
    snprintf(sql, sizeof sql, "ALTER DATABASE %s SET synchronous_commit = 'local'", database);
    run(t, sql);
    t->ops->close(t->m);
    open_and_fence(t);
    begin_with(t, &table);
    write_ok(t, full_row(t, &table, "006Z", VALUES("x", 1)));
    commit_at(t, 3);
    assert_setting(t, "synchronous_commit", "local");
}

static void names_that_postgresql_would_cut_to_one_are_refused(void **state)
{
    STAND;
    struct mirror_table table = deal();
    struct mirror_column long_ones[2];
    char names[2][72];
    for (int i = 0; i < 2; i++) {
        memset(names[i], 'n', 70);
        names[i][69] = (char)('a' + i);
        names[i][70] = '\0';
        long_ones[i] = (struct mirror_column){.name = names[i], .type = MIRROR_TEXT};
    }
    table.columns = long_ones;
    table.n_columns = table.n_sources = 1;
    open_and_fence(t);
    begin_with(t, &table);
    const struct mirror_value value = VALUE_TEXT("x");
    write_ok(t, stand_row(t, &table, "006A", MIRROR_UPSERT, 1, all, &value, "s"));
    commit_at(t, 1);
    table.n_columns = table.n_sources = 2;
    table.shape = 2;
    OK(t->ops->begin(t->m, &t->e));
    FAILS(t->ops->prepare(t->m, &table, t->numbers, &t->remarks, &t->e), ERR_CONFIG);
    t->ops->rollback(t->m);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin_stand, end_stand)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_say_who_is_to_blame),
        cmocka_unit_test(servers_elsewhere_must_show_a_certificate),
        CASE(no_text_holds_the_password),
        CASE(a_killed_server_is_away_and_comes_back),
        CASE(a_connection_ended_in_a_transaction_is_a_retry),
        CASE(a_line_that_breaks_at_commit_leaves_the_answer_to_the_fence),
        CASE(whoever_is_fenced_in_a_transaction_cannot_commit),
        CASE(a_missing_right_is_named_and_may_be_granted_later),
        CASE(tables_of_ours_need_no_right_to_make_them),
        CASE(tables_stand_where_the_search_path_says),
        CASE(columns_made_by_hand_take_what_fits_and_never_cut),
        CASE(no_reason_quotes_a_value),
        CASE(a_constraint_that_waits_for_commit_refuses_its_row_alone),
        CASE(a_row_that_somebody_took_away_meanwhile_is_there_again),
        cmocka_unit_test(a_statement_is_kept_from_its_second_time_on),
        CASE(kept_statements_outlive_refusals_and_tables),
        CASE(rows_that_others_write_meanwhile_are_found_where_they_are_now),
        CASE(keys_are_bytes_whatever_the_language),
        CASE(rows_of_partitions_are_found_by_their_key),
        CASE(a_column_dropped_meanwhile_comes_back_after_the_next_open),
        CASE(the_session_is_durable_in_utc_and_waits_for_nobody_for_ever),
        CASE(names_that_postgresql_would_cut_to_one_are_refused),
    };
    return cmocka_run_group_tests_name("postgres", tests, NULL, NULL);
}
