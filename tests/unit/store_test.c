/*
 * What the store keeps beside the journal: each kind of record comes back as it was written, cut anywhere it
 * is damage and nothing worse; and who may open a store, and which stores are refused.
 */
#include "base/exit_code.h"
#include "base/random.h"
#include "store/dead_letters.h"
#include "store/incidents.h"
#include "store/journal_signal.h"
#include "store/repairs.h"
#include "store/schemas.h"
#include "store/sinks.h"
#include "store/subscriptions.h"
#include "store_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { MAX_SIZE = 64 << 20 };

struct fixture {
    struct store_folder folder;
    struct store *st;
    struct store_txn txn;
    struct err e;
};

static void open_store(struct fixture *f)
{
    if (store_open(f->folder.path, STORE_DAEMON, MAX_SIZE, &f->st, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    store_folder_make(&f->folder);
    open_store(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(f->st);
    store_folder_remove(&f->folder);
    free(f);
    return 0;
}

static void begin(struct fixture *f, bool write)
{
    if (store_begin(f->st, write, &f->txn, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static void commit(struct fixture *f)
{
    if (store_commit(&f->txn, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static void put_raw(struct fixture *f, enum store_db db, struct span key, struct span value)
{
    begin(f, true);
    assert_int_equal(store_put(&f->txn, db, key, value, &f->e), 0);
    commit(f);
}

static void fill_text(char *to, size_t size, char c)
{
    memset(to, c, size - 1);
    to[size - 1] = '\0';
}

/* --- records, at their greatest lengths ------------------------------------------------------------- */

static void write_subscription(struct fixture *f)
{
    struct subscription_record r = {.generation = 3,
                                    .resume_len = EVENT_MAX_REPLAY_ID,
                                    .resume_source_ms = -1,
                                    .started_source_ms = 5,
                                    .last_response_ms = 6,
                                    .received = 30,
                                    .duplicates = 10,
                                    .before_start = 5,
                                    .journaled = 15,
                                    .replay_from_ms = 9,
                                    .prior_generation = 2,
                                    .prior_resume_len = EVENT_MAX_REPLAY_ID,
                                    .lost_position = true,
                                    .epoch = 7};
    fill_text(r.org_id, sizeof r.org_id, 'o');
    fill_text(r.topic, sizeof r.topic, 't');
    fill_text(r.name, sizeof r.name, 'n');
    fill_text(r.replaying, sizeof r.replaying, 'r');
    fill_text(r.last_replay, sizeof r.last_replay, 'l');
    memset(r.resume, 1, sizeof r.resume);
    memset(r.prior_resume, 2, sizeof r.prior_resume);
    begin(f, true);
    assert_int_equal(subscription_create(&f->txn, &r, &f->e), 0);
    commit(f);
}

static int read_subscription(struct fixture *f, bool check)
{
    struct subscription_record r;
    char want[STORE_MAX_REQUEST];
    int rc = subscription_get(&f->txn, 1, &r, &f->e);
    if (rc != 0 || !check)
        return rc;
    fill_text(want, sizeof want, 'r');
    assert_string_equal(r.replaying, want);
    fill_text(want, STORE_MAX_NAME + 1, 'n');
    assert_string_equal(r.name, want);
    assert_int_equal(strlen(r.topic), STORE_MAX_TOPIC);
    assert_int_equal(strlen(r.org_id), 18);
    assert_int_equal(r.resume_len, EVENT_MAX_REPLAY_ID);
    assert_int_equal(r.resume[63], 1);
    assert_int_equal(r.prior_resume[63], 2);
    assert_int_equal(r.resume_source_ms, -1);
    assert_int_equal(r.received, 30);
    assert_int_equal(r.journaled, 15);
    assert_int_equal(r.replay_from_ms, 9);
    assert_true(r.lost_position);
    assert_int_equal(r.epoch, 7);
    return 0;
}

static void write_org(struct fixture *f)
{
    struct org_record r = {.epoch = 9};
    fill_text(r.org_id, sizeof r.org_id, 'o');
    fill_text(r.instance_url, sizeof r.instance_url, 'u');
    begin(f, true);
    assert_int_equal(org_put(&f->txn, "main", &r, &f->e), 0);
    commit(f);
}

static int read_org(struct fixture *f, bool check)
{
    struct org_record r;
    int rc = org_get(&f->txn, "main", &r, &f->e);
    if (rc != 0 || !check)
        return rc;
    assert_int_equal(r.epoch, 9);
    assert_int_equal(strlen(r.org_id), 18);
    assert_int_equal(strlen(r.instance_url), sizeof r.instance_url - 1);
    return 0;
}

static void write_sink(struct fixture *f)
{
    struct sink_record r = {.cursor = 40,
                            .base = 10,
                            .generation = 2,
                            .delivered = 20,
                            .filtered = 4,
                            .parked = 6,
                            .retries = 7,
                            .redelivered = 8,
                            .retired = true,
                            .state = BUF_INIT,
                            .redeliver_to = 50,
                            .redeliver_from_ms = -3};
    snprintf(r.name, sizeof r.name, "log");
    fill_text(r.last_redelivery, sizeof r.last_redelivery, 'd');
    buf_add_str(&r.state, "the sink's own memory");
    begin(f, true);
    assert_int_equal(sink_record_put(&f->txn, &r, &f->e), 0);
    commit(f);
    sink_record_release(&r);
}

static int read_sink(struct fixture *f, bool check)
{
    struct sink_record r;
    int rc = sink_record_get(&f->txn, "log", &r, &f->e);
    if (rc == 0 && check) {
        assert_string_equal(r.name, "log");
        assert_int_equal(r.cursor, 40);
        assert_int_equal(r.parked, 6);
        assert_int_equal(r.redelivered, 8);
        assert_true(r.retired);
        assert_true(span_equal_str(buf_span(&r.state), "the sink's own memory"));
        assert_int_equal(r.redeliver_to, 50);
        assert_int_equal(r.redeliver_from_ms, -3);
        assert_int_equal(sink_counted(&r), 50);
    }
    sink_record_release(&r); /* initialised in any case */
    return rc;
}

static void write_letter(struct fixture *f)
{
    struct dead_letter d = {.sink = span_of_str("log"),
                            .record_id = span_of_str("001000000000001AAA"),
                            .status = DEAD_LETTER_RETRYING,
                            .parked_ms = 3,
                            .reason = span_of_str("undecodable"),
                            .detail = span_of_str("all of it"),
                            .ev = {.seq = 77,
                                   .subscription = 1,
                                   .generation = 2,
                                   .epoch = 3,
                                   .flags = EVENT_REPLAYED,
                                   .received_ms = 4,
                                   .event_id = span_of_str("e"),
                                   .replay_id = span_of_str("r"),
                                   .schema_id = span_of_str("s"),
                                   .payload = span_of_str("p")}};
    begin(f, true);
    assert_int_equal(dead_letter_put(&f->txn, &d, &f->e), 0);
    assert_int_equal(dead_letter_put(&f->txn, &d, &f->e), 0); /* repeating is harmless (I4) */
    commit(f);
}

static int check_letter(void *ctx, const struct dead_letter *d)
{
    ++*(int *)ctx;
    assert_true(span_equal_str(d->sink, "log"));
    assert_true(span_equal_str(d->record_id, "001000000000001AAA"));
    assert_int_equal(d->ev.seq, 77);
    return 0;
}

static int check_letter_whole(void *ctx, const struct dead_letter *d)
{
    assert_int_equal(d->status, DEAD_LETTER_RETRYING);
    assert_int_equal(d->ev.flags, EVENT_REPLAYED);
    assert_true(span_equal_str(d->detail, "all of it"));
    assert_true(span_equal_str(d->ev.payload, "p"));
    return check_letter(ctx, d);
}

static int read_letter(struct fixture *f, bool check)
{
    int n = 0;
    int rc = dead_letter_each(&f->txn, NULL, check ? check_letter_whole : check_letter, &n, &f->e);
    assert_true(rc != 0 || n == 1);
    if (rc == 0 && check) {
        assert_int_equal(dead_letter_each(&f->txn, "lo", check_letter, &n, &f->e), 0);
        assert_int_equal(n, 1); /* "lo" is another sink */
    }
    return rc;
}

static void write_one_incident(struct fixture *f)
{
    struct incident i = {.state = INCIDENT_OPEN,
                         .opened_ms = 1,
                         .since_ms = 2,
                         .until_ms = 3,
                         .old_replay_id_len = EVENT_MAX_REPLAY_ID};
    fill_text(i.subject, sizeof i.subject, 's');
    fill_text(i.kind, sizeof i.kind, 'k');
    fill_text(i.policy, sizeof i.policy, 'p');
    fill_text(i.text, sizeof i.text, 't');
    begin(f, true);
    assert_int_equal(incident_open(&f->txn, &i, &f->e), 0);
    assert_int_equal(i.number, 1);
    commit(f);
}

static int check_incident(void *ctx, const struct incident *i)
{
    (void)ctx;
    assert_int_equal(i->number, 1);
    return 0;
}

static int check_incident_whole(void *ctx, const struct incident *i)
{
    assert_int_equal(i->state, INCIDENT_OPEN);
    assert_int_equal(strlen(i->text), sizeof i->text - 1);
    assert_int_equal(i->old_replay_id_len, EVENT_MAX_REPLAY_ID);
    assert_int_equal(i->until_ms, 3);
    return check_incident(ctx, i);
}

static int read_incident(struct fixture *f, bool check)
{
    return incident_each(&f->txn, check ? check_incident_whole : check_incident, NULL, &f->e);
}

static void write_repair(struct fixture *f)
{
    struct repair r = {.incident = 4, .subscription = 5, .since_ms = 6, .until_ms = 7};
    begin(f, true);
    assert_int_equal(repair_add(&f->txn, &r, &f->e), 0);
    commit(f);
}

static int check_repair(void *ctx, const struct repair *r)
{
    bool check = *(bool *)ctx;
    assert_int_equal(r->number, 1);
    if (check)
        assert_int_equal(r->until_ms, 7);
    return 0;
}

static int read_repair(struct fixture *f, bool check)
{
    return repair_each(&f->txn, check_repair, &check, &f->e);
}

static const struct kind {
    const char *name;
    enum store_db db;
    void (*write)(struct fixture *f);
    int (*read)(struct fixture *f, bool check); /* in f->txn: 0, or -1 with f->e */
} kinds[] = {
    {"subscription", DB_SUBSCRIPTIONS, write_subscription, read_subscription},
    {"org", DB_ORGS, write_org, read_org},
    {"sink", DB_SINKS, write_sink, read_sink},
    {"dead letter", DB_DEAD_LETTERS, write_letter, read_letter},
    {"incident", DB_INCIDENTS, write_one_incident, read_incident},
    {"repair", DB_REPAIRS, write_repair, read_repair},
};

static int read_record(struct fixture *f, const struct kind *kind, bool check)
{
    err_clear(&f->e);
    begin(f, false);
    int rc = kind->read(f, check);
    store_abort(&f->txn);
    return rc;
}

/* The only record of its database. */
static void copy_record(struct fixture *f, enum store_db db, struct buf *key, struct buf *value)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    begin(f, false);
    assert_int_equal(mdb_cursor_open(f->txn.mdb, store_dbi(f->st, db), &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &k, &v, MDB_FIRST), 0);
    buf_add(key, k.mv_data, k.mv_size);
    buf_add(value, v.mv_data, v.mv_size);
    mdb_cursor_close(cursor);
    store_abort(&f->txn);
}

static void records_come_back_as_they_were_written(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        kinds[i].write(f);
        if (read_record(f, &kinds[i], true) != 0)
            fail_msg("%s: %s", kinds[i].name, f->e.text);
    }
    store_close(f->st);
    open_store(f);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        assert_int_equal(read_record(f, &kinds[i], true), 0);
}

static void a_record_cut_anywhere_is_damage(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct buf key = BUF_INIT, value = BUF_INIT;
        size_t versions = 0; /* lengths at which earlier versions ended are no damage */
        kinds[i].write(f);
        copy_record(f, kinds[i].db, &key, &value);
        for (size_t cut = 0; cut < value.len; cut++) {
            put_raw(f, kinds[i].db, buf_span(&key), span_of(value.data, cut));
            if (read_record(f, &kinds[i], false) == 0)
                versions++;
            else if (f->e.class != ERR_STORE)
                fail_msg("%s cut at %zu: %s", kinds[i].name, cut, f->e.text);
        }
        if (versions > 3)
            fail_msg("%s: cut at %zu places it is read all the same", kinds[i].name, versions);
        put_raw(f, kinds[i].db, buf_span(&key), buf_span(&value));
        assert_int_equal(read_record(f, &kinds[i], true), 0);
        buf_release(&key);
        buf_release(&value);
    }
}

static void changed_bytes_are_an_answer_and_no_crash(void **state)
{
    struct fixture *f = *state;
    struct rng r = {3};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct buf key = BUF_INIT, value = BUF_INIT, bad = BUF_INIT;
        kinds[i].write(f);
        copy_record(f, kinds[i].db, &key, &value);
        for (int round = 0; round < 1500; round++) {
            buf_clear(&bad);
            buf_add_span(&bad, buf_span(&value));
            for (uint64_t n = 1 + rng_below(&r, 4); n > 0; n--)
                bad.data[rng_below(&r, bad.len)] = (uint8_t)rng_below(&r, 256);
            put_raw(f, kinds[i].db, buf_span(&key), buf_span(&bad));
            if (read_record(f, &kinds[i], false) != 0)
                assert_int_equal(f->e.class, ERR_STORE);
        }
        buf_release(&key);
        buf_release(&value);
        buf_release(&bad);
    }
}

/* A key that is not of its database's form is damage where it is walked over, not something else's record. */
static void a_strange_key_is_damage(void **state)
{
    struct fixture *f = *state;
    static const enum store_db walked[] = {DB_SUBSCRIPTIONS, DB_DEAD_LETTERS, DB_INCIDENTS, DB_REPAIRS};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        for (size_t k = 0; k < ARRAY_LEN(walked); k++) {
            struct buf key = BUF_INIT, value = BUF_INIT;
            if (kinds[i].db != walked[k])
                continue;
            kinds[i].write(f);
            copy_record(f, kinds[i].db, &key, &value);
            put_raw(f, kinds[i].db, span_of_str("!"), buf_span(&value));
            begin(f, false);
            struct subscription_record record;
            int rc = kinds[i].db == DB_SUBSCRIPTIONS
                         ? subscription_find(&f->txn, "a", "b", "c", &record, &f->e)
                         : kinds[i].read(f, false);
            store_abort(&f->txn);
            assert_int_equal(rc, -1);
            assert_int_equal(f->e.class, ERR_STORE);
            buf_release(&key);
            buf_release(&value);
        }
}

static void numbers_only_grow(void **state)
{
    struct fixture *f = *state;
    struct subscription_record found;
    begin(f, true);
    for (uint32_t i = 1; i <= 300; i++) {
        struct subscription_record r = {.org_id = "00Dxx0000001gEREAY"};
        struct incident incident = {.state = INCIDENT_OPEN};
        snprintf(r.topic, sizeof r.topic, "/data/%u", i % 150);
        snprintf(r.name, sizeof r.name, "%u", i / 150);
        assert_int_equal(subscription_create(&f->txn, &r, &f->e), 0);
        assert_int_equal(r.number, i);
        assert_int_equal(incident_open(&f->txn, &incident, &f->e), 0);
        assert_int_equal(incident.number, i);
    }
    commit(f);
    begin(f, false);
    assert_int_equal(subscription_find(&f->txn, "00Dxx0000001gEREAY", "/data/7", "1", &found, &f->e), 0);
    assert_int_equal(found.number, 157);
    assert_int_equal(subscription_find(&f->txn, "00Dxx0000001gEREAX", "/data/7", "1", &found, &f->e), 1);
    assert_int_equal(subscription_get(&f->txn, 301, &found, &f->e), 1);
    store_abort(&f->txn);
}

static void schemas_belong_to_their_org(void **state)
{
    struct fixture *f = *state;
    static char long_id[600];
    struct buf json = BUF_INIT;
    begin(f, true);
    assert_int_equal(schema_save(&f->txn, span_of_str("one"), span_of_str("id"), span_of_str("{}"), &f->e),
                     0);
    assert_int_equal(
        schema_save(&f->txn, span_of_str("one"), span_of(long_id, sizeof long_id), span_of_str("{}"), &f->e),
        -1);
    assert_int_equal(f->e.class, ERR_REJECTED); /* the store is well: nobody needs to stop */
    commit(f);
    begin(f, false);
    assert_int_equal(schema_load(&f->txn, span_of_str("two"), span_of_str("id"), &json, &f->e), 1);
    assert_int_equal(schema_load(&f->txn, span_of_str("one"), span_of_str("id"), &json, &f->e), 0);
    assert_true(span_equal_str(buf_span(&json), "{}"));
    store_abort(&f->txn);
    buf_release(&json);
}

/* --- who may open what ------------------------------------------------------------------------------ */

static void refused(struct fixture *f, enum store_mode mode, const char *text)
{
    err_clear(&f->e);
    assert_int_equal(store_open(f->folder.path, mode, MAX_SIZE, &f->st, &f->e), -1);
    f->st = NULL;
    assert_int_equal(f->e.class, ERR_STORE);
    if (!strstr(f->e.text, text) || !strstr(f->e.text, f->folder.path))
        fail_msg("'%s' does not name '%s' and the folder", f->e.text, text);
}

static void a_layout_of_the_future_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    uint32_t layout = STORE_LAYOUT_VERSION + 1;
    put_raw(f, DB_META, span_of_str("layout"), span_of(&layout, sizeof layout));
    store_close(f->st);
    refused(f, STORE_DAEMON, "layout version 2");
    refused(f, STORE_MAINTAIN, "layout version 2");
    refused(f, STORE_READ_ONLY, "layout version 2");
}

static void a_store_without_its_marks_is_damaged(void **state)
{
    struct fixture *f = *state;
    put_raw(f, DB_META, span_of_str("store_id"), span_of_str("short"));
    store_close(f->st);
    refused(f, STORE_DAEMON, "damaged");
    /* Without a layout, but not new: it is not made into a new one. */
    f->st = NULL;
    store_folder_remove(&f->folder);
    store_folder_make(&f->folder);
    open_store(f);
    begin(f, true);
    assert_int_equal(store_delete(&f->txn, DB_META, span_of_str("layout"), &f->e), 0);
    commit(f);
    store_close(f->st);
    refused(f, STORE_DAEMON, "a store was here");
}

static void what_is_not_there_is_not_made_by_looking(void **state)
{
    struct fixture *f = *state;
    store_close(f->st);
    store_folder_remove(&f->folder);
    refused(f, STORE_READ_ONLY, "no store here");
    refused(f, STORE_MAINTAIN, "no store here");
    assert_int_equal(mkdir(f->folder.path, 0700), 0);
    refused(f, STORE_READ_ONLY, "no store here");
    refused(f, STORE_MAINTAIN, "no store here");
    open_store(f);
}

/* In a process of its own: LMDB does not open one environment twice. */
static int open_elsewhere(struct fixture *f, enum store_mode mode, uid_t user)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct store *st;
        struct err e = ERR_INIT;
        if (user && (setgid(user) != 0 || setuid(user) != 0))
            _exit(9);
        if (store_open(f->folder.path, mode, MAX_SIZE, &st, &e) != 0) {
            fprintf(stderr, "%s\n", e.text);
            _exit(e.class == ERR_STORE ? EXIT_STORE : 1);
        }
        struct store_txn txn;
        struct subscription_record r;
        int rc = store_begin(st, false, &txn, &e) != 0 || subscription_get(&txn, 1, &r, &e) != 0;
        _exit(rc);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void one_writer_and_any_number_of_readers(void **state)
{
    struct fixture *f = *state;
    write_subscription(f);
    assert_int_equal(open_elsewhere(f, STORE_DAEMON, 0), EXIT_STORE);
    assert_int_equal(open_elsewhere(f, STORE_MAINTAIN, 0), EXIT_STORE);
    assert_int_equal(open_elsewhere(f, STORE_READ_ONLY, 0), 0);
    store_close(f->st);
    assert_int_equal(open_elsewhere(f, STORE_MAINTAIN, 0), 0);
    open_store(f);
}

/* Whoever may read the files may look, also without being able to write the reader table. */
static void a_reader_needs_no_right_to_write(void **state)
{
    struct fixture *f = *state;
    char path[160];
    if (geteuid() != 0)
        skip();
    write_subscription(f);
    store_close(f->st);
    f->st = NULL;
    snprintf(path, sizeof path, "%s/data.mdb", f->folder.path);
    assert_int_equal(chmod(f->folder.path, 0755), 0);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(open_elsewhere(f, STORE_READ_ONLY, 65534), 0);
}

/* --- the signal ------------------------------------------------------------------------------------- */

struct waiter {
    struct journal_signal *signal;
    uint64_t beyond, head;
};

static void *wait_long(void *arg)
{
    struct waiter *w = arg;
    w->head = journal_signal_wait(w->signal, w->beyond, 20 * 1000);
    return NULL;
}

static void a_raise_or_a_nudge_wakes_who_waits(void **state)
{
    (void)state;
    struct journal_signal signal;
    pthread_t threads[2];
    journal_signal_init(&signal, 5);
    assert_int_equal(journal_signal_wait(&signal, 4, 20000), 5); /* there already */
    assert_int_equal(journal_signal_wait(&signal, 5, 1), 5);     /* time is up */
    struct waiter high = {&signal, 9, 0}, low = {&signal, 5, 0};
    assert_int_equal(pthread_create(&threads[0], NULL, wait_long, &high), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, wait_long, &low), 0);
    journal_signal_raise(&signal, 7);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    assert_int_equal(low.head, 7);
    journal_signal_raise(&signal, 6); /* never backwards */
    journal_signal_raise(&signal, 10);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(high.head, 10);
    journal_signal_release(&signal);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(records_come_back_as_they_were_written),
        CASE(a_record_cut_anywhere_is_damage),
        CASE(changed_bytes_are_an_answer_and_no_crash),
        CASE(a_strange_key_is_damage),
        CASE(numbers_only_grow),
        CASE(schemas_belong_to_their_org),
        CASE(a_layout_of_the_future_is_refused_and_left_alone),
        CASE(a_store_without_its_marks_is_damaged),
        CASE(what_is_not_there_is_not_made_by_looking),
        CASE(one_writer_and_any_number_of_readers),
        CASE(a_reader_needs_no_right_to_write),
        CASE(a_raise_or_a_nudge_wakes_who_waits),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
