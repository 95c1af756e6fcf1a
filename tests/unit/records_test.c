/*
 * Records mode, between a journal filled by hand and a mirror in memory that fails as told: every change goes
 * where newest wins says, each event counts once whatever happens between the two commits (I9), and a target
 * or a store that was rolled back is noticed and healed (I7). A real SQLite mirror is killed at every point.
 */
#include "delivery_fixture.h"

#include "avro_bytes.h"
#include "base/digest.h"
#include "base/exit_code.h"
#include "base/file.h"
#include "delivery/authority.h"
#include "delivery/record_state.h"
#include "delivery/redeliver.h"
#include "delivery/redrive.h"
#include "delivery/transaction.h"
#include "fake_mirror.h"
#include "lives.h"
#include "store/dead_letters.h"
#include "store/incidents.h"
#include "store/repairs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

/* Histories are written short. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

enum { MOST_KILLS = 400 };
static const int64_t T0 = 1778068800000;

#define A1 "001000000000001AAA"
#define A2 "001000000000002AAA"
#define A3 "001000000000003AAA"

static const char change_schema[] =
    "{\"type\":\"record\",\"name\":\"XChangeEvent\",\"fields\":[" HEADER_FIELD
    ",{\"name\":\"Name\",\"type\":[\"null\",\"string\"],\"default\":null}"
    ",{\"name\":\"Phone\",\"type\":[\"null\",\"string\"],\"default\":null}"
    ",{\"name\":\"Rating\",\"type\":[\"null\",\"string\"],\"default\":null}"
    ",{\"name\":\"LastModifiedDate\",\"type\":[\"null\",\"long\"],\"default\":null,"
    "\"doc\":\"Data:DateTime:00N000000000001\"}]}";
static const char platform_schema[] =
    "{\"type\":\"record\",\"name\":\"Order__e\",\"fields\":["
    "{\"name\":\"CreatedDate\",\"type\":\"long\",\"doc\":\"CreatedDate:DateTime\"},"
    "{\"name\":\"CreatedById\",\"type\":\"string\",\"doc\":\"CreatedBy:EntityId\"},"
    "{\"name\":\"Item__c\",\"type\":[\"null\",\"string\"],\"default\":null}]}";

enum type {
    CREATE,
    UPDATE,
    DELETE,
    UNDELETE,
    GAP_UPDATE = 5,
    OVERFLOW = 8,
    RENAME = 11,
    PLATFORM = 100,
    BROKEN
};

/* One event. Of an UPDATE: NULL is not changed, "" is nulled. */
struct say {
    enum type type;
    int64_t commit;
    const char *id, *name, *phone, *rating;
    const char *id2, *id3, *key;
    int64_t sequence, at_ms; /* at_ms: commit time, T0 + commit when 0 */
    bool diff;               /* the name is a difference to the one before */
};

static char names[][24] = {"mirror", "x", "/data/ChangeEvents", "X", "id", "last_modified_date"};
static bool real_mirror;
static struct entity_config entity;
static uint64_t said;
static uint32_t said_in; /* the subscription that events come in */
static uint32_t epoch;

const struct mirror_ops *__real_mirror_ops_of(enum sink_kind kind);
const struct mirror_ops *__wrap_mirror_ops_of(enum sink_kind kind);
const struct mirror_ops *__wrap_mirror_ops_of(enum sink_kind kind)
{
    return real_mirror ? __real_mirror_ops_of(kind) : &fake_mirror_ops;
}

/* --- the fixture ----------------------------------------------------------------------------------- */

static void configure(struct fixture *f)
{
    snprintf(f->path, sizeof f->path, "%s/mirror.db", f->output.path);
    f->subscriptions[0] = (struct subscription_config){.name = names[1], .topic = names[2]};
    f->sinks[0] = (struct sink_config){.name = names[0],
                                       .kind = SINK_KIND_SQLITE,
                                       .path = f->path,
                                       .batch_events = 1000,
                                       .n_subscriptions = 1,
                                       .subscriptions = f->numbers,
                                       .on_delete = DELETE_HARD};
    f->config = (struct config){
        .n_subscriptions = 1, .subscriptions = f->subscriptions, .n_sinks = 1, .sinks = f->sinks};
}

static int set_up(void **state)
{
    struct fixture *f = fixture_new();
    configure(f);
    open_store(f);
    make_subscriptions(f);
    hold_schema(f, "change", change_schema);
    hold_schema(f, "platform", platform_schema);
    fake_reset();
    said = 0;
    said_in = epoch = 1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    real_mirror = false;
    return 0;
}

/* --- the journal ------------------------------------------------------------------------------------ */

static void put_text(struct buf *b, const char *s)
{
    put_long(b, s && *s ? 1 : 0);
    if (s && *s)
        put_string(b, s);
}

static struct span payload_of(const struct say *s, struct arena *a)
{
    struct buf b = BUF_INIT;
    char changed[8], nulled[8];
    const char *ids[4] = {s->id, s->id2, s->id3, NULL};
    const char *changed_list[2] = {changed, NULL}, *nulled_list[2] = {nulled, NULL};
    const int64_t at = s->at_ms ? s->at_ms : T0 + s->commit;
    if (s->type == PLATFORM) {
        put_long(&b, at);
        put_string(&b, "005000000000001AAA");
        put_text(&b, s->name);
    } else {
        const bool update = s->type == UPDATE;
        const char *const values[] = {s->name, s->phone, s->rating};
        unsigned set = 1 << 4, null = 0;
        for (unsigned i = 0; i < 3; i++) {
            set |= values[i] ? 2u << i : 0;
            null |= values[i] && !*values[i] ? 2u << i : 0;
        }
        snprintf(changed, sizeof changed, "0x%02X", set);
        snprintf(nulled, sizeof nulled, "0x%02X", null);
        struct header_values h = {.entity = "X",
                                  .record_ids = ids,
                                  .change_type = s->type == BROKEN ? CREATE : s->type,
                                  .transaction_key = s->key,
                                  .sequence_number = s->sequence ? s->sequence : 1,
                                  .commit_timestamp = at,
                                  .commit_number = s->commit,
                                  .changed = update ? changed_list : NULL,
                                  .nulled = update && null ? nulled_list : NULL,
                                  .diff = s->diff ? (const char *const[]){"0x02", NULL} : NULL};
        put_header(&b, &h);
        for (unsigned i = 0; i < 3; i++)
            put_text(&b, values[i]);
        const bool dated = update || s->type == CREATE || s->type == UNDELETE;
        put_long(&b, dated ? 1 : 0);
        if (dated)
            put_long(&b, at);
        if (s->type == BROKEN)
            buf_add_char(&b, '!');
    }
    struct span out = arena_copy(a, buf_span(&b));
    buf_release(&b);
    return out;
}

static void say_all(struct fixture *f, const struct say *say, size_t n)
{
    uint64_t first;
    struct event_data *events = calloc(n, sizeof *events);
    struct arena a = ARENA_INIT;
    struct store_txn txn;
    for (size_t i = 0; i < n; i++) {
        char *id = arena_alloc(&a, 24);
        /* a platform event says its own id */
        snprintf(id, 24, "e%" PRIu64, say[i].type == PLATFORM ? (uint64_t)say[i].commit : 1000 + said);
        said++;
        events[i] = (struct event_data){
            .event_id = span_of_str(id),
            .replay_id = span_of_str(id),
            .schema_id = span_of_str(say[i].type == PLATFORM ? "platform" : "change"),
            .payload = payload_of(&say[i], &a)};
    }
    begin(f, true, &txn);
    for (size_t i = 0; i < n; i += JOURNAL_MAX_BLOCK_EVENTS) {
        struct journal_block block = {
            .subscription = said_in, .epoch = epoch, .received_ms = T0, .source_ms = T0};
        size_t some = n - i < JOURNAL_MAX_BLOCK_EVENTS ? n - i : JOURNAL_MAX_BLOCK_EVENTS;
        assert_int_equal(journal_append(&txn, &block, events + i, some, &first, &f->e), 0);
        first += some - 1;
    }
    commit(f, &txn);
    journal_signal_raise(&f->signal, first);
    arena_release(&a);
    free(events);
}

#define SAY(f, ...)                                                                                          \
    do {                                                                                                     \
        const struct say all_[] = {__VA_ARGS__};                                                             \
        say_all(f, all_, ARRAY_LEN(all_));                                                                   \
    } while (0)

/* --- running ---------------------------------------------------------------------------------------- */

static void settle(struct fixture *f)
{
    if (!f->d)
        start(f, 0);
    wait_state(f, DELIVERY_RUNNING); /* it has compared what the target holds */
    wait_settled(f);
    if (f->failed)
        fail_msg("%s", f->fatal.text);
}

static struct sink_record counts(struct fixture *f)
{
    return record_of(f, names[0]);
}

static void assert_counts(struct fixture *f, uint64_t delivered, uint64_t superseded, uint64_t filtered,
                          uint64_t parked)
{
    struct sink_record r = counts(f);
    assert_int_equal(r.delivered, delivered);
    assert_int_equal(r.superseded, superseded);
    assert_int_equal(r.filtered, filtered);
    assert_int_equal(r.parked, parked);
}

/* "NAME|PHONE|RATING" of a record; NULL: it has no row; "(deleted)" behind a soft one. */
static const char *row(const char *id)
{
    static char text[300];
    struct fake_row *r = fake_find(&fake.held, "x", span_of_str(id));
    if (!r || !r->is_row)
        return NULL;
    snprintf(text, sizeof text, "%s|%s|%s%s%s", fake_cell(r, "name"), fake_cell(r, "phone"),
             fake_cell(r, "rating"), r->deleted ? " (deleted)" : "", r->incomplete ? " (incomplete)" : "");
    return text;
}

struct seen_letters {
    size_t n;
    char ids[16][20], reasons[16][40], details[16][100];
};

static int see_letter(void *ctx, const struct dead_letter *d)
{
    struct seen_letters *s = ctx;
    snprintf(s->ids[s->n], sizeof s->ids[0], "%.*s", SPAN_ARG(d->record_id));
    snprintf(s->reasons[s->n], sizeof s->reasons[0], "%.*s", SPAN_ARG(d->reason));
    snprintf(s->details[s->n++], sizeof s->details[0], "%.*s", SPAN_ARG(d->detail));
    return 0;
}

static struct seen_letters letters(struct fixture *f)
{
    struct seen_letters s = {0};
    struct store_txn txn;
    begin(f, false, &txn);
    assert_int_equal(dead_letter_each(&txn, NULL, see_letter, &s, &f->e), 0);
    store_abort(&txn);
    return s;
}

struct kinds {
    size_t n, repairs;
    char text[16][60]; /* "gap:Account" */
};

static int see_incident(void *ctx, const struct incident *i)
{
    struct kinds *k = ctx;
    if (i->state == INCIDENT_OPEN)
        snprintf(k->text[k->n++], sizeof k->text[0], "%s", i->kind);
    return 0;
}

static int see_repair(void *ctx, const struct repair *r)
{
    struct kinds *k = ctx;
    assert_true(r->incident > 0 && r->subscription == 1);
    k->repairs++;
    return 0;
}

static struct kinds incidents(struct fixture *f)
{
    struct kinds k = {0};
    struct store_txn txn;
    begin(f, false, &txn);
    assert_int_equal(incident_each(&txn, see_incident, &k, &f->e), 0);
    assert_int_equal(repair_each(&txn, see_repair, &k, &f->e), 0);
    store_abort(&txn);
    return k;
}

static void assert_incident(struct fixture *f, const char *kind, size_t repairs)
{
    struct kinds k = incidents(f);
    assert_int_equal(k.n, 1);
    assert_string_equal(k.text[0], kind);
    assert_int_equal(k.repairs, repairs);
}

static void fail_commits(enum fake_commit what, size_t times)
{
    pthread_mutex_lock(&fake.lock);
    for (fake.n_commits = 0; fake.n_commits < times; fake.n_commits++)
        fake.commits[fake.n_commits] = what;
    fake.next_commit = 0;
    pthread_mutex_unlock(&fake.lock);
}

/* --- newest wins ------------------------------------------------------------------------------------ */

static void a_late_change_to_one_field_survives_a_newer_one_to_another(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {UPDATE, 30, A1, "Acme Ltd"});
    settle(f);
    SAY(f, {UPDATE, 20, A1, "Old name", "2"}, {UPDATE, 30, A1, "Acme Ltd"},
        {CREATE, 10, A1, "Acme", "1", "Hot"});
    settle(f);
    assert_string_equal(row(A1), "Acme Ltd|2|Hot");
    assert_counts(f, 5, 0, 0, 0); /* repeats are applied again */
    assert_string_equal(fake_find(&fake.held, "x", span_of_str(A1))->version, "1.30.1");
}

static void nulls_are_written_and_what_is_not_named_is_left(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {UPDATE, 11, A1, NULL, "", NULL});
    settle(f);
    assert_string_equal(row(A1), "Acme||Hot");
}

static void the_deleted_stay_deleted(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {DELETE, 20, A1});
    settle(f);
    assert_null(row(A1));
    SAY(f, {UPDATE, 15, A1, "Late"}, {CREATE, 10, A1, "Acme", "1", "Hot"}, {UPDATE, 40, A1, NULL, "4"});
    settle(f);
    assert_null(row(A1));
    assert_counts(f, 2, 3, 0, 0);
    SAY(f, {UNDELETE, 30, A1, "Back", "3", "Cold"});
    settle(f);
    assert_string_equal(row(A1), "Back|4|Cold");
}

/* The deletion comes late: what is newer than it outlives the row, and comes back with it. */
static void a_value_newer_than_a_deletion_outlives_the_row(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].batch_events = 1;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {UPDATE, 40, A1, NULL, "4"}, {DELETE, 20, A1},
        {UNDELETE, 30, A1, "Back", "3", "Cold"});
    settle(f);
    assert_string_equal(row(A1), "Back|4|Cold");
}

/* --- what is told of values -------------------------------------------------------------------------- */

static char name_name[] = "Name", phone_name[] = "Phone";

/* What is logged while the journal is settled: the log takes whatever stderr is. */
static void settle_and_listen(struct fixture *f, struct buf *said_so)
{
    char path[220];
    snprintf(path, sizeof path, "%s/log", f->output.path);
    int real = dup(2), file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(real >= 0 && file >= 0 && dup2(file, 2) == 2);
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    settle(f);
    stop(f);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(dup2(real, 2), 2);
    close(real);
    close(file);
    buf_clear(said_so);
    assert_int_equal(file_read(path, 1 << 20, said_so, &f->e), 0);
    buf_add_char(said_so, '\0');
    unlink(path);
}

static void assert_logged(const struct buf *said_so, const char *line)
{
    if (!strstr((const char *)said_so->data, line))
        fail_msg("%s\nis not in\n%s", line, (const char *)said_so->data);
}

/* "two" of the text becomes `now`: as the service writes it. */
static const char *difference(const char *whole, const char *now)
{
    static char text[200];
    uint8_t digest[32];
    char hex[65];
    digest_sha256(span_of_str(whole), digest);
    hex_encode(span_of(digest, sizeof digest), hex);
    snprintf(text, sizeof text, "--- \n+++ %s\n@@ -2,1 +2,1 @@\n-two\n+%s", hex, now);
    return text;
}

/* Fields and rules are named, values are not; texts that come as differences are no exception. */
static void what_becomes_of_values_is_said_by_field_and_rule(void **state)
{
    struct fixture *f = *state;
    struct buf heard = BUF_INIT;
    struct field_config fields[] = {
        {.field = name_name, .max_length = 9, .on_too_long = TOO_LONG_FLAG},
        {.field = phone_name, .type = FIELD_TYPE_INTEGER, .on_error = ERROR_NULL}};
    entity = (struct entity_config){
        .entity = names[3], .on_delete = DELETE_HARD, .n_fields = ARRAY_LEN(fields), .fields = fields};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    SAY(f, {CREATE, 10, A1, "secret name", "secret phone"}, {CREATE, 11, A2, "one\ntwo", "1"},
        {UPDATE, 12, A1, "another secret"});
    settle_and_listen(f, &heard);
    assert_logged(&heard, "3 values were cut or emptied, as configured (on_too_long, on_error): "
                          "X.Name (max_length: 2), X.Phone (type integer: 1)");
    assert_null(strstr((char *)heard.data, "secret"));
    SAY(f, {UPDATE, 20, A2, difference("one\nsecrets", "secrets"), .diff = true});
    settle_and_listen(f, &heard);
    assert_logged(&heard, "1 values were cut or emptied, as configured (on_too_long, on_error): "
                          "X.Name (max_length: 1)");
    assert_string_equal(row(A2), "one\nsecre|1|");
    SAY(f, {UPDATE, 30, A1, difference("one\nsecrets", "secrets"), .diff = true});
    settle_and_listen(f, &heard);
    assert_logged(
        &heard,
        "1 long texts came as differences that could not be applied, and are to be re-read: X.Name (");
    assert_null(strstr((char *)heard.data, "secret"));
    assert_incident(f, "text_difference", 1);
    buf_release(&heard);
}

/* What does not fit its column is parked, however it came. */
static void a_difference_that_gives_too_much_is_parked(void **state)
{
    struct fixture *f = *state;
    struct field_config short_name = {.field = name_name, .max_length = 8, .on_too_long = TOO_LONG_PARK};
    entity = (struct entity_config){
        .entity = names[3], .on_delete = DELETE_HARD, .n_fields = 1, .fields = &short_name};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    SAY(f, {CREATE, 10, A1, "one\ntwo", "1", "Hot"});
    SAY(f, {UPDATE, 20, A1, difference("one\ntwenty", "twenty"), "2", .diff = true},
        {UPDATE, 30, A1, NULL, NULL, "Cold"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "one\ntwo|1|Cold");
    assert_counts(f, 2, 0, 0, 1);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.reasons[0], "mapping");
    assert_non_null(strstr(s.details[0], "X.Name: max_length 8"));
    assert_int_equal(incidents(f).n, 0);
}

/* The text that it lacks is as missing when the row comes back as it is in a row that never went. */
static void a_difference_that_is_newer_than_a_deletion_is_owed(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].batch_events = 1;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {DELETE, 20, A1},
        {UPDATE, 40, A1, "no difference", "4", .diff = true}, {UNDELETE, 30, A1, "Back", "3", "Cold"},
        {UPDATE, 15, A1, "too old to matter", .diff = true});
    settle(f);
    assert_string_equal(row(A1), "Back|4|Cold (incomplete)");
    assert_incident(f, "text_difference", 1);
    assert_counts(f, 3, 2, 0, 0);
}

static void a_row_that_goes_and_comes_is_the_same_however_batches_are_cut(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].on_delete = DELETE_SOFT;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {DELETE, 20, A1}, {CREATE, 10, A2, "B", "1", "Hot"},
        {DELETE, 20, A2}, {UNDELETE, 30, A2, "B again", "1", ""});
    settle(f);
    assert_string_equal(row(A1), "Acme|1|Hot (deleted)");
    assert_string_equal(row(A2), "B again|1|");
}

static void a_soft_deletion_marks_the_same_row_whatever_comes_first(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].on_delete = DELETE_SOFT;
    f->sinks[0].batch_events = 1;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {UPDATE, 15, A1, NULL, "2"}, {DELETE, 20, A1},
        {UPDATE, 40, A1, NULL, NULL, "Cold"});
    SAY(f, {UPDATE, 40, A2, NULL, NULL, "Cold"}, {DELETE, 20, A2}, {UPDATE, 15, A2, NULL, "2"},
        {CREATE, 10, A2, "Acme", "1", "Hot"});
    settle(f);
    assert_string_equal(row(A1), "Acme|2|Cold (deleted)");
    assert_string_equal(row(A2), "Acme|2|Cold (deleted)");
    /* Of a record that only its deletion tells of there is no row, until something says what it was. */
    SAY(f, {DELETE, 20, A3});
    settle(f);
    assert_null(row(A3));
    SAY(f, {UPDATE, 40, A3, NULL, NULL, "Cold"});
    settle(f);
    assert_string_equal(row(A3), "||Cold (deleted)");
    SAY(f, {CREATE, 10, A3, "Acme", "1", "Hot"}, {UPDATE, 15, A3, NULL, "2"});
    settle(f);
    assert_string_equal(row(A3), "Acme|2|Cold (deleted)");
    SAY(f, {UNDELETE, 30, A3, "Back", "3", "Hot"});
    settle(f);
    assert_string_equal(row(A3), "Back|3|Cold");
    assert_int_equal(incidents(f).n, 1); /* A2 came in parts: then it was owed */
}

static void partial_rows_are_incomplete_and_owed_once(void **state)
{
    struct fixture *f = *state;
    SAY(f, {UPDATE, 10, A1, "Acme"}, {UPDATE, 11, A1, NULL, "1"});
    settle(f);
    assert_string_equal(row(A1), "Acme|1| (incomplete)");
    assert_incident(f, "incomplete_rows", 1);
    SAY(f, {CREATE, 5, A1, "First", "0", "Hot"});
    settle(f);
    assert_string_equal(row(A1), "Acme|1|Hot");
    assert_incident(f, "incomplete_rows", 1);
}

static void gaps_and_unnamed_records_are_owed(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "Acme", "1", "Hot"}, {GAP_UPDATE, 20, A1}, {UPDATE, 30, A1, "Acme Ltd"},
        {GAP_UPDATE, 20, A1});
    settle(f);
    assert_string_equal(row(A1), "Acme Ltd|1|Hot (incomplete)");
    assert_incident(f, "gap", 1);
    SAY(f, {OVERFLOW, 40, "000000000000000AAA"}, {UPDATE, 41, "001*", NULL, ""});
    settle(f);
    struct kinds k = incidents(f);
    assert_int_equal(k.n, 2); /* one for both */
    assert_int_equal(k.repairs, 3);
    assert_string_equal(row(A1), "Acme Ltd|1|Hot (incomplete)");
    assert_null(row("001*"));
    assert_counts(f, 6, 0, 0, 0);
}

/* Each of them is to be looked at, however many come at once, and none is told twice. */
static void columns_of_other_types_are_incidents_of_their_own(void **state)
{
    struct fixture *f = *state;
    fake.odd = "column \"name\" is of another type\ncolumn \"phone\" is of another type\n";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"});
    settle(f);
    stop(f);
    assert_int_equal(incidents(f).n, 2);
    fake.odd = "column \"phone\" is of another type\ncolumn \"rating\" is of another type";
    SAY(f, {UPDATE, 20, A1, "b"});
    settle(f);
    assert_int_equal(incidents(f).n, 3);
}

/* --- outcomes --------------------------------------------------------------------------------------- */

static void one_refused_of_a_merged_event_parks_one(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "poison", ""},
        {CREATE, 12, A3, "c", "1", "Hot"});
    fake.poison = "poison";
    SAY(f, {UPDATE, 20, A1, NULL, NULL, "Cold", A2, A3}, {BROKEN, 21, A1, "x"});
    settle(f);
    assert_string_equal(row(A1), "a|1|Cold");
    assert_string_equal(row(A2), "||Cold (incomplete)");
    assert_string_equal(row(A3), "c|1|Cold");
    assert_counts(f, 3, 0, 0, 2);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.ids[0], A2);
    assert_string_equal(s.reasons[0], "rejected");
    assert_string_equal(s.ids[1], "");
    assert_string_equal(s.reasons[1], "undecodable");
    /* now the merged event itself: refused for one of three */
    fake.poison = "Warm";
    SAY(f, {UPDATE, 30, A1, NULL, NULL, "Warm"}, {UPDATE, 31, A1, "a2", NULL, NULL}, {UPDATE, 32, A3, "c2"});
    settle(f);
    assert_string_equal(row(A1), "a2|1|Cold");
    assert_string_equal(row(A3), "c2|1|Cold");
    assert_counts(f, 5, 0, 0, 3);
}

static void a_large_batch_is_sent_in_stretches_and_counts_the_same(void **state)
{
    struct fixture *f = *state;
    enum { N = 1200, POISON = 700 };
    static struct say all[2 * N];
    static char ids[N][20];
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "001%012dAAA", i + 1);
        all[i] = (struct say){CREATE, 10 + i, ids[i], "a", "1", "Hot"};
        all[N + i] = (struct say){UPDATE, 5000 + i, ids[i], NULL, i == POISON ? "poison" : "2"};
    }
    f->sinks[0].batch_events = 2 * N;
    fake.poison = "poison";
    say_all(f, all, ARRAY_LEN(all));
    settle(f);
    assert_true(fake.sends > 1);
    assert_string_equal(row(ids[0]), "a|2|Hot");
    assert_string_equal(row(ids[POISON]), "a|1|Hot");
    assert_string_equal(row(ids[N - 1]), "a|2|Hot");
    assert_counts(f, 2 * N - 1, 0, 0, 1);
}

/* The next batch is read while the target works, and taken if it is what comes next: here often it is not. */
static void batches_that_are_read_ahead_go_in_once(void **state)
{
    struct fixture *f = *state;
    enum { N = 600, ROUNDS = 5, UNREADABLE = 3 * N + 7 };
    static struct say all[ROUNDS * N];
    static char ids[N][20], phones[ROUNDS][2];
    for (int i = 0; i < ROUNDS * N; i++) {
        snprintf(ids[i % N], sizeof ids[0], "001%012dAAA", i % N + 1);
        phones[i / N][0] = (char)('1' + i / N);
        all[i] = i < N             ? (struct say){CREATE, 10 + i, ids[i], "a", "1", "Hot"}
                 : i == UNREADABLE ? (struct say){BROKEN, 10 + i, ids[i % N], "x"}
                                   : (struct say){UPDATE, 10 + i, ids[i % N], NULL, phones[i / N]};
    }
    f->sinks[0].batch_events = N;
    fail_commits(FAKE_COMMIT, 5);
    fake.commits[0] = fake.commits[4] = FAKE_LOST;
    fake.commits[2] = FAKE_UNKNOWN_APPLIED;
    say_all(f, all, ARRAY_LEN(all));
    settle(f);
    assert_string_equal(row(ids[0]), "a|5|Hot");
    assert_string_equal(row(ids[7]), "a|5|Hot");
    assert_counts(f, ROUNDS * N - 1, 0, 0, 1);
    assert_int_equal(letters(f).n, 1);
    assert_true(fake.sends > ROUNDS);
}

/* Rows are sent ahead of their write in one piece: not when one among them is to be left out. */
static void a_row_that_undoes_a_large_batch_is_parked_alone(void **state)
{
    struct fixture *f = *state;
    enum { N = 1200, POISON = 700 };
    static struct say all[N];
    static char ids[N][20];
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "001%012dAAA", i + 1);
        all[i] = (struct say){CREATE, 10 + i, ids[i], i == POISON ? "fatal" : "a", "1", "Hot"};
    }
    f->sinks[0].batch_events = N;
    fake.fatal = "fatal";
    say_all(f, all, ARRAY_LEN(all));
    settle(f);
    assert_string_equal(row(ids[POISON - 1]), "a|1|Hot");
    assert_string_equal(row(ids[N - 1]), "a|1|Hot");
    assert_counts(f, N - 1, 0, 0, 1);
}

/* A trigger that rolls the whole transaction back: the batch goes in without what it does that at. */
static void a_row_that_undoes_the_others_is_parked_alone(void **state)
{
    struct fixture *f = *state;
    fake.fatal = "fatal";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "1", "Hot"},
        {UPDATE, 12, A2, "fatal", NULL, NULL}, {UPDATE, 13, A2, NULL, "3", NULL},
        {CREATE, 14, A3, "fatal", "1", "Hot"}, {UPDATE, 15, A1, NULL, "2", NULL});
    settle(f);
    assert_string_equal(row(A1), "a|2|Hot");
    assert_string_equal(row(A2), "b|3|Hot");
    assert_null(row(A3));
    assert_counts(f, 4, 0, 0, 2);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.ids[0], A2);
    assert_string_equal(s.reasons[0], "rejected");
    assert_string_equal(s.details[0], "it rolls the whole transaction back: everything back");
    assert_string_equal(s.ids[1], A3);
    assert_int_equal(counts(f).retries, 0); /* the target is fine */
}

static void rows_that_end_the_connection_are_parked_alone(void **state)
{
    struct fixture *f = *state;
    fake.deadly = "deadly";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "1", "Hot"},
        {UPDATE, 12, A2, "deadly", NULL, NULL}, {UPDATE, 13, A2, NULL, "3", NULL},
        {CREATE, 14, A3, "deadly", "1", "Hot"}, {UPDATE, 15, A1, NULL, "2", NULL});
    settle(f);
    assert_string_equal(row(A1), "a|2|Hot");
    assert_string_equal(row(A2), "b|3|Hot");
    assert_null(row(A3));
    assert_counts(f, 4, 0, 0, 2);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.ids[0], A2);
    assert_string_equal(s.reasons[0], "rejected");
    assert_non_null(strstr(s.details[0], "connection to the target ends"));
    assert_string_equal(s.ids[1], A3);
    /* What comes after goes in as ever. */
    const size_t writes = fake.writes;
    SAY(f, {UPDATE, 20, A1, "a2"}, {UPDATE, 21, A2, "b2"});
    settle(f);
    assert_string_equal(row(A2), "b2|3|Hot");
    assert_int_equal(fake.writes, writes + 1);
}

static void wait_reason(struct fixture *f, const char *words)
{
    struct delivery_view v = {0};
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; clock_mono_ms() < until;) {
        delivery_describe(f->d, &v);
        if (v.state == DELIVERY_BACKING_OFF && strstr(v.reason, words))
            return;
        journal_signal_wait(&f->signal, UINT64_MAX, 2);
    }
    fail_msg("still %s (%s)", delivery_state_name(v.state), v.reason);
}

static void a_target_at_which_nothing_goes_in_is_ill(void **state)
{
    struct fixture *f = *state;
    fake.ill = true;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "1", "Hot"});
    start(f, 0);
    wait_reason(f, "ends whatever is written");
    assert_int_equal(letters(f).n, 0);
    pthread_mutex_lock(&fake.lock);
    fake.ill = false;
    pthread_mutex_unlock(&fake.lock);
    settle(f);
    assert_string_equal(row(A2), "b|1|Hot");
    assert_counts(f, 2, 0, 0, 0);
}

static void transactions_that_undo_the_others_are_parked_whole(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].transactions = TRANSACTIONS_ATOMIC;
    fake.fatal = "fatal";
    fake.deadly = "deadly";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot", .key = "t1"}, {UPDATE, 20, A1, "fatal", .key = "t2"},
        {UPDATE, 20, A1, NULL, "2", .key = "t2", .sequence = 2}, {UPDATE, 30, A1, "deadly", .key = "t3"},
        {UPDATE, 30, A1, NULL, "3", .key = "t3", .sequence = 2},
        {UPDATE, 40, A1, NULL, NULL, "Cold", .key = "t4"});
    settle(f);
    assert_string_equal(row(A1), "a|1|Cold");
    assert_counts(f, 2, 0, 0, 4);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(s.reasons[i], "transaction refused");
    assert_non_null(strstr(s.details[0], "rolls the whole transaction back"));
    assert_non_null(strstr(s.details[3], "connection to the target ends"));
}

static void what_is_configured_away_is_filtered(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].on_delete = DELETE_IGNORE;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {DELETE, 20, A1});
    settle(f);
    assert_string_equal(row(A1), "a|1|Hot");
    assert_counts(f, 1, 0, 1, 0);
}

static void platform_events_are_appended_once(void **state)
{
    struct fixture *f = *state;
    SAY(f, {PLATFORM, 1, NULL, "apples"}, {PLATFORM, 2, NULL, "pears"}, {PLATFORM, 1, NULL, "apples"});
    settle(f);
    SAY(f, {PLATFORM, 2, NULL, "pears"}, {PLATFORM, 3, NULL, ""});
    settle(f);
    size_t rows = 0;
    for (size_t i = 0; i < fake.held.n_rows; i++)
        rows += strcmp(fake.held.rows[i].table, "order__e") == 0;
    assert_int_equal(rows, 3);
    assert_string_equal(fake_cell(fake_find(&fake.held, "order__e", span_of_str("e2")), "item__c"), "pears");
}

/* Publishers set ids: what shares one and says something else is another event (I2). */
static void platform_events_that_share_an_id_are_both_there(void **state)
{
    struct fixture *f = *state;
    SAY(f, {PLATFORM, 1, NULL, "apples"}, {PLATFORM, 1, NULL, "plums"}, {PLATFORM, 1, NULL, "apples"});
    settle(f);
    SAY(f, {PLATFORM, 1, NULL, "plums"}, {PLATFORM, 1, NULL, "pears"});
    settle(f);
    char items[100] = "";
    for (size_t i = 0; i < fake.held.n_rows; i++)
        if (strcmp(fake.held.rows[i].id, "e1") == 0)
            snprintf(items + strlen(items), sizeof items - strlen(items), "%s ",
                     fake_cell(&fake.held.rows[i], "item__c"));
    assert_string_equal(items, "apples plums pears ");
    assert_counts(f, 4, 1, 0, 0);
    assert_int_equal(letters(f).n, 0);
}

/* --- transactions ----------------------------------------------------------------------------------- */

static void an_atomic_transaction_goes_in_whole_or_is_parked_whole(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].transactions = TRANSACTIONS_ATOMIC;
    f->sinks[0].on_delete = DELETE_SOFT;
    struct field_config phone = {.field = phone_name, .max_length = 6};
    entity = (struct entity_config){
        .entity = names[3], .key = names[4], .n_fields = 1, .fields = &phone, .on_delete = DELETE_SOFT};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    fake.poison = "poison";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot", .key = "t1"}, {UPDATE, 20, A1, "a2", .key = "t2", .sequence = 1},
        {CREATE, 20, A2, "b", "poison", "", .key = "t2", .sequence = 2},
        /* of this one a row is written before the refusal shows: it goes and comes */
        {CREATE, 30, A3, "c", "1", "Hot", .key = "t3", .sequence = 1},
        {DELETE, 30, A3, .key = "t3", .sequence = 2},
        {CREATE, 30, A2, "b", "poison", "", .key = "t3", .sequence = 3},
        {UPDATE, 40, A1, NULL, "4", .key = "t4"},
        /* a kind of change that nobody knows */
        {UPDATE, 50, A1, "a5", .key = "t5", .sequence = 1}, {RENAME, 50, A1, .key = "t5", .sequence = 2},
        /* a value that the mapping refuses */
        {UPDATE, 60, A1, "a6", .key = "t6", .sequence = 1},
        {UPDATE, 60, A1, NULL, "1234567", .key = "t6", .sequence = 2});
    settle(f);
    assert_string_equal(row(A1), "a|4|Hot");
    assert_null(row(A2));
    assert_null(row(A3));
    assert_counts(f, 2, 0, 0, 9);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 9);
    for (size_t i = 0; i < 5; i++) { /* all say why */
        assert_string_equal(s.reasons[i], "transaction refused");
        assert_string_equal(s.details[i], "the target does not like it");
    }
    assert_string_equal(s.reasons[6], "unknown change type");
    assert_string_equal(s.reasons[7], "transaction refused");
    assert_string_equal(s.reasons[8], "mapping");
    assert_non_null(strstr(s.details[8], "Phone"));
}

/* Every one of them is found out only after a row of it was written. */
static void any_number_of_transactions_of_a_batch_may_be_refused(void **state)
{
    struct fixture *f = *state;
    enum { GROUPS = 20 };
    static char keys[GROUPS][8];
    struct say say[3 * GROUPS];
    f->sinks[0].transactions = TRANSACTIONS_ATOMIC;
    fake.poison = "poison";
    for (int i = 0; i < GROUPS; i++) {
        snprintf(keys[i], sizeof keys[i], "t%d", i);
        say[3 * i] = (struct say){CREATE, 10 + i, A1, "a", .key = keys[i], .sequence = 1};
        say[3 * i + 1] = (struct say){DELETE, 10 + i, A1, .key = keys[i], .sequence = 2};
        say[3 * i + 2] = (struct say){CREATE, 10 + i, A2, "poison", .key = keys[i], .sequence = 3};
    }
    say_all(f, say, ARRAY_LEN(say));
    SAY(f, {CREATE, 100, A3, "c", .key = "last"});
    settle(f);
    assert_null(row(A1));
    assert_null(row(A2));
    assert_string_equal(row(A3), "c||");
    assert_counts(f, 1, 0, 0, 3 * GROUPS);
}

/* The cursor stands between transactions only: a batch that would end within one takes the rest of it in. */
static void batches_end_where_transactions_end(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].batch_events = 3;
    SAY(f, {CREATE, 10, A1, "a", "1", "", .key = "t1"}, {CREATE, 20, A2, "b", .key = "t2"},
        {CREATE, 20, A3, "c", .key = "t2", .sequence = 2}, {UPDATE, 20, A1, "a2", .key = "t2", .sequence = 3},
        {UPDATE, 20, A1, NULL, "2", .key = "t2", .sequence = 4}, {UPDATE, 30, A1, NULL, "3", .key = "t3"});
    fail_commits(FAKE_COMMIT, 0);
    settle(f);
    assert_string_equal(row(A1), "a2|3|");
    /* t1; t2, all four; t3: three commits and no more */
    assert_int_equal(fake.writes, 3);
    assert_counts(f, 6, 0, 0, 0);
}

static void a_transaction_without_end_is_split(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 10500 };
    struct say *say = calloc(MANY, sizeof *say);
    for (int i = 0; i < MANY; i++)
        say[i] = (struct say){UPDATE, 20, A1, "a", .key = "t", .sequence = i + 1};
    say_all(f, say, MANY);
    free(say);
    settle(f);
    assert_counts(f, MANY, 0, 0, 0);
    assert_int_equal(fake.writes, 2);
}

/* Of several subscriptions each has its own transaction under way; one that went quiet holds nobody up. */
static void transactions_of_subscriptions_lie_in_one_another(void **state)
{
    (void)state;
    enum { MANY = 7 };
    static const struct {
        uint32_t subscription;
        const char *key;
        int64_t received_ms;
    } says[MANY] = {{1, "a", 0}, {2, "b", 0}, {1, "a", 1},  {1, "c", 2},
                    {2, "d", 3}, {3, "e", 3}, {2, "d", 300}};
    struct subscription_info infos[3], *list[3];
    struct event_data events[MANY];
    enum event_fate fates[MANY];
    struct change changes[MANY];
    struct delivery deliveries[MANY];
    for (uint32_t i = 0; i < 3; i++) {
        infos[i] = (struct subscription_info){.number = i + 1};
        snprintf(infos[i].record.topic, sizeof infos[i].record.topic, "%s",
                 i == 2 ? "/data/XChangeEvent"
                 : i    ? "/data/Sales__chn"
                        : "/data/ChangeEvents");
        list[i] = &infos[i];
    }
    for (size_t i = 0; i < MANY; i++) {
        events[i] = (struct event_data){
            .seq = i + 1, .subscription = says[i].subscription, .received_ms = says[i].received_ms};
        fates[i] = FATE_DELIVER;
        changes[i] = (struct change){.header.transaction_key = span_of_str(says[i].key)};
        deliveries[i] = (struct delivery){.ev = &events[i], .ch = &changes[i]};
    }
    struct batch b = {.arena = ARENA_INIT,
                      .events = events,
                      .fates = fates,
                      .deliveries = deliveries,
                      .subscriptions = list,
                      .n_subscriptions = 3};
    /* how many events are there -> how many may go, while more may come */
    static const size_t may_go[MANY + 1] = {0, 0, 0, 0, 0, 3, 3, 4};
    for (size_t n = 1; n <= MANY; n++) {
        b.n_events = b.n_deliveries = n;
        size_t got = transaction_boundary(&b, false, false);
        if (got != may_go[n])
            fail_msg("of %zu events %zu may go, not %zu", n, got, may_go[n]);
    }
    assert_int_equal(transaction_boundary(&b, true, false), MANY);
    arena_release(&b.arena);
}

/* --- between the two commits ------------------------------------------------------------------------ */

static void commits_of_unknown_fate_count_once(void **state)
{
    struct fixture *f = *state;
    static const enum fake_commit ways[] = {FAKE_LOST, FAKE_UNKNOWN_LOST, FAKE_UNKNOWN_APPLIED};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        fail_commits(ways[i], 1);
        SAY(f, {CREATE, 10 + (int64_t)i, A1, "a", "1", "Hot"}, {UPDATE, 5, A1, "old"});
        settle(f);
        assert_string_equal(row(A1), "a|1|Hot");
        assert_counts(f, 1 + i, 1 + i, 0, 0);
    }
    assert_int_equal(incidents(f).n, 0);
    assert_int_equal(fake.opens, 4);
}

/* A batch that comes again may be longer: what is new in it is owed, too. */
/* It went in each time: pauses that grew would take minutes here. */
static void a_commit_whose_answer_alone_is_lost_is_progress(void **state)
{
    struct fixture *f = *state;
    enum { N = 14 };
    struct say say[N];
    for (int i = 0; i < N; i++)
        say[i] = (struct say){UPDATE, 10 + i, A1, "a", i % 2 ? "1" : "2"};
    f->sinks[0].batch_events = 1;
    fail_commits(FAKE_UNKNOWN_APPLIED, N);
    say_all(f, say, N);
    settle(f);
    assert_counts(f, N, 0, 0, 0);
    assert_int_equal(fake.opens, N + 1);
}

static void what_is_owed_is_noted_once_and_all(void **state)
{
    struct fixture *f = *state;
    fail_commits(FAKE_LOST, ARRAY_LEN(fake.commits)); /* until the batch has grown */
    SAY(f, {UPDATE, 10, A1, "a"});
    start(f, 0);
    wait_state(f, DELIVERY_BACKING_OFF);
    SAY(f, {UPDATE, 11, A2, "b"}, {GAP_UPDATE, 12, A3});
    fail_commits(FAKE_LOST, 1);
    settle(f);
    assert_int_equal(incidents(f).repairs, 3);
    assert_counts(f, 3, 0, 0, 0);
}

/* What was refused, and owed nothing then, goes in when the batch comes again. */
static void what_is_owed_at_the_second_try_only_is_noted(void **state)
{
    struct fixture *f = *state;
    fake.poison = "poison";
    fail_commits(FAKE_LOST_AND_RELENTS, 1);
    SAY(f, {UPDATE, 10, A1, "poison"}, {UPDATE, 11, A2, "b"});
    settle(f);
    assert_string_equal(row(A1), "poison|| (incomplete)");
    assert_counts(f, 2, 0, 0, 0);
    assert_incident(f, "incomplete_rows", 2);
}

/* Nor is it a dead letter any more: the list says what the counts say. */
static void what_goes_in_at_the_second_try_is_no_dead_letter(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "2", "Hot"});
    settle(f);
    fake.poison = "poison";
    fail_commits(FAKE_LOST_AND_RELENTS, 1);
    SAY(f, {UPDATE, 20, A1, NULL, "poison", NULL, A2}, {BROKEN, 21, A3, "x"});
    settle(f);
    assert_string_equal(row(A1), "a|poison|Hot");
    assert_string_equal(row(A2), "b|poison|Hot");
    assert_counts(f, 3, 0, 0, 1);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.reasons[0], "undecodable");
    /* of a merged event, the one that is refused still stays */
    fake.poison = "poison";
    fail_commits(FAKE_LOST, 1);
    SAY(f, {UPDATE, 30, A1, "poison", NULL, NULL}, {UPDATE, 31, A2, "c"});
    settle(f);
    assert_counts(f, 4, 0, 0, 2);
    assert_int_equal(letters(f).n, 2);
}

/* A re-delivery takes away what it brings in, and leaves what it does not look at. */
static void what_a_redelivery_brings_in_is_no_dead_letter(void **state)
{
    struct fixture *f = *state;
    fake.poison = "poison";
    SAY(f, {UPDATE, 10, A1, "poison"}, {UPDATE, 20, A2, "poison"}, {BROKEN, 30, A3, "x"});
    settle(f);
    assert_counts(f, 0, 0, 0, 3);
    assert_int_equal(letters(f).n, 3);
    fake.poison = NULL;
    struct redeliver_request request = {
        .from = REDELIVER_FROM_TIME, .time_ms = T0 + 15, .text = "later", .by = "test"};
    struct buf answer = BUF_INIT;
    assert_int_equal(delivery_redeliver(f->d, &request, &answer, &f->e), REDELIVER_ORDERED);
    buf_release(&answer);
    settle(f);
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.ids[0], A1);
    assert_string_equal(s.reasons[1], "undecodable");
    assert_string_equal(row(A2), "poison|| (incomplete)");
    assert_counts(f, 0, 0, 0, 3); /* what became of it when it came first */
    assert_int_equal(counts(f).redelivered, 1);
}

static void who_is_fenced_does_not_fight(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"});
    settle(f);
    pthread_mutex_lock(&fake.lock);
    fake.held.epoch++; /* another owner */
    pthread_mutex_unlock(&fake.lock);
    SAY(f, {UPDATE, 20, A1, "b"});
    wait_state(f, DELIVERY_REFUSED);
    assert_string_equal(row(A1), "a|1|Hot");
    assert_int_equal(fake.opens, 1);
    delivery_reopen(f->d); /* a person says that it is gone */
    settle(f);
    assert_string_equal(row(A1), "b|1|Hot");
    assert_int_equal(fake.opens, 2);
}

static void a_target_that_is_away_is_waited_for(void **state)
{
    struct fixture *f = *state;
    fake.away = true;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"});
    start(f, 0);
    wait_state(f, DELIVERY_BACKING_OFF);
    assert_counts(f, 0, 0, 0, 0);
    pthread_mutex_lock(&fake.lock);
    fake.away = false;
    pthread_mutex_unlock(&fake.lock);
    settle(f);
    assert_counts(f, 1, 0, 0, 0);
}

/* --- I7 --------------------------------------------------------------------------------------------- */

static void a_target_restored_from_a_backup_gets_what_it_lost(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"});
    settle(f);
    stop(f);
    struct fake_data *backup = malloc(sizeof *backup);
    *backup = fake.held;
    SAY(f, {UPDATE, 20, A1, "b"}, {CREATE, 21, A2, "c", "1", ""});
    settle(f);
    stop(f);
    fake.held = *backup;
    free(backup);
    SAY(f, {UPDATE, 30, A1, NULL, "3"});
    settle(f);
    assert_string_equal(row(A1), "b|3|Hot");
    assert_string_equal(row(A2), "c|1|");
    assert_counts(f, 4, 0, 0, 0);
    assert_int_equal(counts(f).redelivered, 2);
    assert_int_equal(incidents(f).n, 0); /* the journal held all of it */
}

static void a_target_made_anew_gets_all_that_is_held(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    stop(f);
    fake_reset();
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "b|1|Hot");
    assert_incident(f, "target_rolled_back", 1);
    assert_counts(f, 2, 0, 0, 0);
}

static void a_store_that_was_rolled_back_is_noticed(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    stop(f);
    fake.held.cursor = 17; /* as if it had been given more, which this store does not know */
    SAY(f, {UPDATE, 30, A1, NULL, "3"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "b|3|Hot");
    assert_incident(f, "store_rolled_back", 1);
    assert_int_equal(fake.held.cursor, 3);
    settle(f); /* and only once */
    assert_incident(f, "store_rolled_back", 1);
}

/* What the target holds of a sink that has come to this seq, and counted all of it. `mark`: of the event there. */
static void target_stands_at(struct fixture *f, uint64_t cursor, uint64_t mark)
{
    struct sink_record r = counts(f);
    struct buf totals = BUF_INIT;
    r.cursor = cursor;
    r.delivered = cursor - r.base - r.superseded - r.filtered - r.parked;
    authority_state(&r, mark, 1, &totals);
    memcpy(fake.held.state, totals.data, totals.len);
    fake.held.n_state = totals.len;
    fake.held.cursor = cursor;
    buf_release(&totals);
}

/* Noticed, but not told to the target before we died: nothing of what came since may be taken for delivered. */
static void a_store_rolled_back_stays_noticed(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    stop(f);
    target_stands_at(f, 5, 0);
    fail_commits(FAKE_LOST, 1);
    start(f, 0);
    wait_state(f, DELIVERY_BACKING_OFF);
    stop(f);
    SAY(f, {UPDATE, 30, A1, "c"}, {UPDATE, 40, A1, NULL, "4"}, {UPDATE, 50, A1, NULL, NULL, "Cold"},
        {CREATE, 60, A2, "d"});
    settle(f);
    assert_string_equal(row(A1), "c|4|Cold");
    assert_string_equal(row(A2), "d||");
    assert_counts(f, 6, 0, 0, 0);
    assert_incident(f, "store_rolled_back", 1);
}

/* The journal has grown beyond the target's cursor by the time that the target can be asked. */
static void a_store_rolled_back_and_gone_on_is_noticed(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    stop(f);
    target_stands_at(f, 4, 4711);
    SAY(f, {UPDATE, 30, A1, "c"}, {UPDATE, 40, A1, NULL, "4"}, {UPDATE, 50, A1, NULL, NULL, "Cold"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "c|4|Cold");
    assert_counts(f, 5, 0, 0, 0);
    assert_incident(f, "store_rolled_back", 1);
    settle(f); /* what it holds now agrees */
    assert_incident(f, "store_rolled_back", 1);
    assert_int_equal(counts(f).redelivered, 2);
}

static void another_store_is_never_compared(void **state)
{
    struct fixture *f = *state;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    stop(f);
    fake.held.store_id[0] ^= 1;
    settle(f);
    stop(f);
    assert_incident(f, "other_store", 1);
    assert_memory_equal(fake.held.store_id, store_id(f->st), MIRROR_STORE_ID);
    assert_counts(f, 2, 0, 0, 0);
    assert_string_equal(row(A1), "b|1|Hot");
}

/* The org has been on two other instances since the target was made; a new store knows of the last one only. */
static void a_new_store_goes_on_in_the_epoch_of_the_lost_one(void **state)
{
    struct fixture *f = *state;
    epoch = 3;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    close_store(f);
    store_folder_remove(&f->folder);
    store_folder_make(&f->folder);
    open_store(f);
    make_subscriptions(f);
    hold_schema(f, "change", change_schema);
    epoch = 1;
    SAY(f, {UPDATE, 30, A1, NULL, "3"}, {UPDATE, 15, A1, "older"});
    settle(f);
    assert_string_equal(row(A1), "b|3|Hot");
    close_store(f); /* what it found out about that is kept */
    open_store(f);
    SAY(f, {UPDATE, 40, A1, "d"});
    settle(f);
    assert_string_equal(row(A1), "d|3|Hot");
    epoch = 2; /* and one more: commit numbers begin anew */
    SAY(f, {UPDATE, 1, A1, NULL, "5"});
    settle(f);
    assert_string_equal(row(A1), "d|5|Hot");
    assert_counts(f, 3, 1, 0, 0);
    assert_incident(f, "other_store", 1);
}

static void a_redelivery_goes_through_the_conflict_check(void **state)
{
    struct fixture *f = *state;
    struct redeliver_request all = {.from = REDELIVER_FROM_EARLIEST, .text = "earliest"};
    struct buf answer = BUF_INIT;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"});
    settle(f);
    assert_int_equal(delivery_redeliver(f->d, &all, &answer, &f->e), REDELIVER_ORDERED);
    buf_release(&answer);
    stop(f); /* the order may not have begun: the target still holds the old cursor */
    settle(f);
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; counts(f).redeliver_to && clock_mono_ms() < until;)
        journal_signal_wait(&f->signal, UINT64_MAX, 2);
    assert_string_equal(row(A1), "b|1|Hot");
    assert_counts(f, 2, 0, 0, 0);
    assert_true(counts(f).redelivered > 0);
}

static void a_value_that_was_written_last_is_not_written_again(void **state)
{
    struct fixture *f = *state;
    entity = (struct entity_config){
        .entity = names[3], .key = names[4], .skip_unchanged = true, .on_delete = DELETE_HARD};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "1", "Hot"});
    settle(f);
    stop(f);
    snprintf(fake_cell(fake_find(&fake.held, "x", span_of_str(A1)), "name"), 80, "the target's own");
    SAY(f, {UPDATE, 20, A1, "a", "2"}, {DELETE, 21, A2}, {UNDELETE, 22, A2, "b", "1", "Hot"});
    settle(f);
    assert_string_equal(row(A1), "the target's own|2|Hot");
    assert_string_equal(row(A2), "b|1|Hot");
    SAY(f, {UPDATE, 19, A1, "older"}, {UPDATE, 30, A1, "new", "2", ""}, {UPDATE, 31, A2, "", "1"});
    settle(f);
    assert_string_equal(row(A1), "new|2|");
    assert_string_equal(row(A2), "|1|Hot");
    assert_counts(f, 7, 1, 0, 0);
}

/* --- the horizon ------------------------------------------------------------------------------------- */

static void what_is_older_than_the_horizon_folds_and_is_owed(void **state)
{
    struct fixture *f = *state;
    const int64_t days = 24 * 3600 * 1000;
    size_t removed;
    struct store_txn txn;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, "b"}, {UPDATE, 30, A1, NULL, "2"});
    settle(f);
    SAY(f, {CREATE, 100, A2, "c", .at_ms = T0 + 5 * days});
    settle(f);
    const size_t before = fake_find(&fake.held, "x", span_of_str(A1))->n_state;
    SAY(f, {UPDATE, 110, A1, NULL, NULL, "Warm", .at_ms = T0 + 5 * days});
    settle(f);
    assert_int_equal(fake.forgotten, 0); /* the journal still holds what lies below */
    stop(f);
    begin(f, true, &txn);
    assert_int_equal(journal_trim(&txn, 3, 0, true, 1, &removed, &f->e), 0);
    assert_int_equal(removed, 1);
    commit(f, &txn);
    SAY(f, {UPDATE, 120, A1, NULL, NULL, "Cold", .at_ms = T0 + 5 * days}, {UPDATE, 25, A1, "late"});
    settle(f);
    assert_int_equal(fake.forgotten, 30);
    assert_string_equal(row(A1), "b|2|Cold");
    assert_true(fake_find(&fake.held, "x", span_of_str(A1))->n_state < before);
    assert_incident(f, "late_change", 1);
    assert_counts(f, 6, 1, 0, 0);
}

/* Commit numbers of another org say nothing about those of the first, also when a new process reads hers first. */
static void orgs_have_no_horizon_in_common(void **state)
{
    struct fixture *f = *state;
    static const char other[] = "00Dxx0000001gEREA2";
    const int64_t days = 24 * 3600 * 1000;
    size_t removed;
    struct store_txn txn;
    struct subscription_record r = {.number = 0};
    begin(f, true, &txn);
    snprintf(r.org_id, sizeof r.org_id, "%s", other);
    snprintf(r.topic, sizeof r.topic, "%s", names[2]);
    snprintf(r.name, sizeof r.name, "y");
    assert_int_equal(subscription_create(&txn, &r, &f->e), 0);
    assert_int_equal(
        schema_save(&txn, span_of_str(other), span_of_str("change"), span_of_str(change_schema), &f->e), 0);
    commit(f, &txn);
    SAY(f, {CREATE, 1000, A1, "a", "1", "Hot"});
    settle(f);
    SAY(f, {CREATE, 1100, A2, "b", .at_ms = T0 + 5 * days});
    settle(f);
    stop(f);
    begin(f, true, &txn);
    assert_int_equal(journal_trim(&txn, 2, 0, true, 1, &removed, &f->e), 0);
    assert_int_equal(removed, 1);
    commit(f, &txn);
    said_in = r.number;
    SAY(f, {CREATE, 7, A3, "c", .at_ms = T0 + 5 * days});
    settle(f);
    assert_string_equal(row(A3), "c||");
    assert_int_equal(incidents(f).n, 0);
    stop(f);
    said_in = 1; /* and no more for the first */
    SAY(f, {UPDATE, 900, A1, NULL, NULL, "Cold", .at_ms = T0 + 5 * days});
    settle(f);
    assert_int_equal(incidents(f).n, 0);
    assert_int_equal(fake.forgotten, 0);
    assert_counts(f, 3, 1, 0, 0);
}

/* --- who wins against the target's own edits ---------------------------------------------------------- */

static void edit_row(const char *id, const char *name, int64_t at_ms)
{
    struct fake_row *r = fake_find(&fake.held, "x", span_of_str(id));
    snprintf(fake_cell(r, "name"), 80, "%s", name);
    r->has_modified = true;
    r->modified_ms = at_ms;
}

static void edits_of_the_target_are_respected_as_configured(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum conflict_policy policy;
        const char *older, *newer; /* the row after a change older, and one newer than the edit */
        uint64_t superseded, parked;
    } cases[] = {{CONFLICT_NEWEST_WINS, "edited|1|Hot", "new|1|Hot", 1, 0},
                 {CONFLICT_SOURCE_WINS, "old|1|Hot", "new|1|Hot", 0, 0},
                 {CONFLICT_TARGET_WINS, "edited|1|Hot", "edited|1|Hot", 2, 0},
                 {CONFLICT_PARK, "edited|1|Hot", "edited|1|Hot", 0, 2}};
    entity = (struct entity_config){
        .entity = names[3], .key = names[4], .last_modified_column = names[5], .on_delete = DELETE_HARD};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    uint64_t superseded = 0, parked = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const int64_t base = 1000 * ((int64_t)i + 1);
        entity.conflict = cases[i].policy;
        superseded += cases[i].superseded;
        parked += cases[i].parked;
        fake_reset();
        SAY(f, {CREATE, base + 10, A1, "a", "1", "Hot"});
        settle(f);
        stop(f);
        edit_row(A1, "edited", T0 + base + 25);
        SAY(f, {UPDATE, base + 20, A1, "old"});
        settle(f);
        stop(f);
        assert_string_equal(row(A1), cases[i].older);
        if (cases[i].policy == CONFLICT_SOURCE_WINS)
            edit_row(A1, "edited", T0 + base + 25);
        SAY(f, {UPDATE, base + 30, A1, "new"});
        settle(f);
        stop(f);
        assert_string_equal(row(A1), cases[i].newer);
        struct sink_record r = counts(f);
        assert_int_equal(r.superseded, superseded);
        assert_int_equal(r.parked, parked);
    }
}

/* A default or a trigger fills the column, at our writes too, and we are behind the org by an hour. */
static void a_target_that_stamps_every_row_itself_edits_none(void **state)
{
    struct fixture *f = *state;
    static char touched[] = "touched";
    static const enum transaction_policy policies[] = {TRANSACTIONS_BEST_EFFORT, TRANSACTIONS_ATOMIC};
    entity = (struct entity_config){
        .entity = names[3], .key = names[4], .last_modified_column = touched, .on_delete = DELETE_HARD};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        const int64_t base = 1000 * (int64_t)(i + 1), now = T0 + 3600000 * (int64_t)(i + 1);
        f->sinks[0].transactions = policies[i];
        fake_reset();
        fake.stamps_ms = now;
        SAY(f, {CREATE, base + 10, A1, "a", "1", "Hot"}, {CREATE, base + 11, A2, "b", "2", "Hot"});
        settle(f);
        stop(f);
        SAY(f, {UPDATE, base + 20, A1, "a2"});
        settle(f);
        stop(f);
        assert_string_equal(row(A1), "a2|1|Hot");
        /* Somebody's edit is still one, when our own note of it moves the stamp: what came between is newer. */
        fake.stamps_ms = now + 900000;
        edit_row(A1, "edited", now + 600000);
        SAY(f, {UPDATE, base + 30, A1, "older"});
        settle(f);
        stop(f);
        assert_string_equal(row(A1), "edited|1|Hot");
        SAY(f, {.type = UPDATE, .commit = base + 40, .id = A1, .name = "newer", .at_ms = now + 700000});
        settle(f);
        stop(f);
        assert_string_equal(row(A1), "newer|1|Hot");
        SAY(f, {UPDATE, base + 50, A1, "newest"});
        settle(f);
        stop(f);
        assert_string_equal(row(A1), "newest|1|Hot");
        assert_int_equal(counts(f).superseded, i + 1);
    }
}

/* Which changes an edit kept from the row: "NAME PHONE rest", 'e' for each; what comes after is written again. */
static const char *edits_of(const char *id)
{
    static char text[4];
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct record_state s;
    const struct fake_row *r = fake_find(&fake.held, "x", span_of_str(id));
    assert_int_equal(record_state_decode(span_of(r->state, r->n_state), &a, &s, &e), 0);
    const struct field_version *name = record_state_find(&s, 1), *phone = record_state_find(&s, 2);
    snprintf(text, sizeof text, "%c%c%c", name && name->edited ? 'e' : '-',
             phone && phone->edited ? 'e' : '-', s.base_edited ? 'e' : '-');
    arena_release(&a);
    return text;
}

static void what_an_edit_kept_from_the_row_is_remembered(void **state)
{
    struct fixture *f = *state;
    entity = (struct entity_config){.entity = names[3],
                                    .key = names[4],
                                    .last_modified_column = names[5],
                                    .conflict = CONFLICT_NEWEST_WINS,
                                    .on_delete = DELETE_HARD};
    f->sinks[0].n_entities = 1;
    f->sinks[0].entities = &entity;
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 12, A1, NULL, "2"});
    settle(f);
    stop(f);
    assert_string_equal(edits_of(A1), "---");
    edit_row(A1, "edited", T0 + 25);
    SAY(f, {UPDATE, 20, A1, "lost", "lost"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "edited|2|Hot");
    assert_string_equal(edits_of(A1), "ee-");
    SAY(f, {UPDATE, 30, A1, NULL, "3"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "edited|3|Hot");
    assert_string_equal(edits_of(A1), "e--");
    edit_row(A1, "edited again", T0 + 60);
    SAY(f, {CREATE, 50, A1, "image", "4", "Cold"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "edited again|3|Hot");
    assert_string_equal(edits_of(A1), "--e");
    SAY(f, {CREATE, 70, A1, "image", "5", "Cold"});
    settle(f);
    stop(f);
    assert_string_equal(row(A1), "image|5|Cold");
    assert_string_equal(edits_of(A1), "---");
}

/* --- dead letters that are tried again ---------------------------------------------------------------- */

/* What `dlq retry` or `dlq drop` does; expects that it is done. */
static void order_letters(struct fixture *f, enum redrive_action action, const char *seqs, const char *reason)
{
    struct redrive_request request;
    struct buf answer = BUF_INIT;
    assert_int_equal(redrive_choose(action, names[0], seqs, reason, !*seqs && !*reason, &request, &f->e), 0);
    if (redrive_order(f->st, &f->config, &request, &answer, &f->e) != 0)
        fail_msg("%s", f->e.text);
    assert_true(answer.len > 0);
    if (f->d && action == REDRIVE_RETRY)
        delivery_redrive(f->d);
    buf_release(&answer);
}

static void a_letter_that_is_tried_again_goes_in(void **state)
{
    struct fixture *f = *state;
    fake.poison = "poison";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "2", "Hot"},
        {UPDATE, 20, A1, NULL, "poison", NULL, A2}, {PLATFORM, 7, NULL, "poison"}, {BROKEN, 30, A3, "x"});
    settle(f);
    assert_counts(f, 2, 0, 0, 3);
    assert_int_equal(letters(f).n, 4);
    order_letters(f, REDRIVE_RETRY, "3", ""); /* nothing has changed: refused again */
    settle(f);
    assert_int_equal(letters(f).n, 4);
    assert_int_equal(counts(f).redriven, 0);
    fake.poison = NULL;
    SAY(f, {UPDATE, 40, A1, NULL, "newer"});
    settle(f);
    order_letters(f, REDRIVE_RETRY, "", "rejected");
    settle(f);
    assert_string_equal(row(A1), "a|newer|Hot"); /* late, and older: it brings nothing back */
    assert_string_equal(row(A2), "b|poison|Hot");
    assert_non_null(fake_find(&fake.held, "order__e", span_of_str("e7")));
    struct seen_letters s = letters(f);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.reasons[0], "undecodable");
    assert_counts(f, 3, 0, 0, 3); /* what became of them when they first came */
    assert_int_equal(counts(f).redriven, 3);
    order_letters(f, REDRIVE_RETRY, "", "");
    settle(f);
    assert_int_equal(letters(f).n, 1);
    order_letters(f, REDRIVE_DROP, "5", "");
    assert_int_equal(letters(f).n, 0);
    assert_int_equal(incidents(f).n, 0); /* orders are closed ones */
}

/* Alone in its batch, where nothing else could go in; but it is parked already. */
static void a_letter_that_ends_the_connection_is_final_again(void **state)
{
    struct fixture *f = *state;
    fake.deadly = "deadly";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "deadly", "2", "Hot"});
    settle(f);
    assert_counts(f, 1, 0, 0, 1);
    order_letters(f, REDRIVE_RETRY, "2", "");
    settle(f);
    assert_null(row(A2));
    assert_int_equal(letters(f).n, 1);
    assert_int_equal(counts(f).redriven, 0);
    SAY(f, {UPDATE, 20, A1, "a2"});
    settle(f);
    assert_string_equal(row(A1), "a2|1|Hot");
}

/* Those of one transaction go in together, or not. */
static void letters_of_an_atomic_transaction_are_tried_together(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].transactions = TRANSACTIONS_ATOMIC;
    fake.poison = "poison";
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot", .key = "t1"},
        {CREATE, 10, A2, "b", "poison", "Hot", .key = "t1", .sequence = 2},
        {CREATE, 20, A3, "c", "3", "Hot", .key = "t2"});
    settle(f);
    assert_counts(f, 1, 0, 0, 2);
    order_letters(f, REDRIVE_RETRY, "", "");
    settle(f);
    assert_null(row(A1));
    assert_int_equal(letters(f).n, 2);
    fake.poison = NULL;
    order_letters(f, REDRIVE_RETRY, "", "");
    settle(f);
    assert_string_equal(row(A1), "a|1|Hot");
    assert_string_equal(row(A2), "b|poison|Hot");
    assert_int_equal(letters(f).n, 0);
    assert_int_equal(counts(f).redriven, 2);
}

/* The target goes away meanwhile; with the daemon down an order waits; what is dropped is not tried. */
static void orders_outlive_the_loop_and_the_target(void **state)
{
    struct fixture *f = *state;
    struct redrive_request request;
    struct buf answer = BUF_INIT;
    fake.poison = "poison";
    SAY(f, {CREATE, 10, A1, "a", "poison"}, {CREATE, 11, A2, "b", "poison"}, {CREATE, 12, A3, "c", "poison"});
    settle(f);
    stop(f);
    fake.poison = NULL;
    order_letters(f, REDRIVE_RETRY, "1,3", "");
    order_letters(f, REDRIVE_DROP, "3", "");
    assert_int_equal(redrive_choose(REDRIVE_RETRY, "", "", "nothing", false, &request, &f->e), 0);
    assert_int_equal(redrive_order(f->st, &f->config, &request, &answer, &f->e), -1);
    assert_int_equal(f->e.class, ERR_CONFIG);
    f->e = (struct err)ERR_INIT;
    assert_int_equal(letters(f).n, 2);
    fail_commits(FAKE_UNKNOWN_LOST, 2);
    settle(f);
    assert_string_equal(row(A1), "a|poison|");
    assert_null(row(A2));
    assert_int_equal(letters(f).n, 1);
    assert_int_equal(counts(f).redriven, 1);
    order_letters(f, REDRIVE_RETRY, "", "");
    fail_commits(FAKE_UNKNOWN_APPLIED, 1);
    settle(f);
    assert_string_equal(row(A2), "b|poison|");
    assert_null(row(A3));
    assert_int_equal(letters(f).n, 0);
    assert_int_equal(counts(f).redriven, 2);
    assert_counts(f, 0, 0, 0, 3);
    assert_int_equal(incidents(f).n, 0);
    buf_release(&answer);
}

/* A re-delivery takes the cursor behind letters that wait, and leaves one of them alone: its turn comes at the end. */
static void letters_wait_for_a_redelivery_to_end(void **state)
{
    struct fixture *f = *state;
    fake.poison = "poison";
    SAY(f, {CREATE, 10, A1, "a", "poison"}, {CREATE, 20, A2, "b", "poison"}, {CREATE, 30, A3, "c", "3"});
    settle(f);
    stop(f);
    order_letters(f, REDRIVE_RETRY, "", "");
    fake.poison = NULL;
    fake.away = true;
    start(f, 0);
    wait_state(f, DELIVERY_BACKING_OFF);
    struct redeliver_request request = {
        .from = REDELIVER_FROM_TIME, .time_ms = T0 + 15, .text = "later", .by = "test"};
    struct buf answer = BUF_INIT;
    assert_int_equal(delivery_redeliver(f->d, &request, &answer, &f->e), REDELIVER_ORDERED);
    buf_release(&answer);
    pthread_mutex_lock(&fake.lock);
    fake.away = false;
    pthread_mutex_unlock(&fake.lock);
    settle(f);
    assert_string_equal(row(A1), "a|poison|");
    assert_string_equal(row(A2), "b|poison|");
    assert_int_equal(letters(f).n, 0);
    assert_int_equal(counts(f).redriven, 1);
    assert_int_equal(counts(f).redelivered, 2);
    assert_counts(f, 1, 0, 0, 2);
}

/* --- killed at every point, with a real database ------------------------------------------------------ */

static void order_of_events(struct fixture *f)
{
    SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {CREATE, 11, A2, "b", "2", "Hot"}, {BROKEN, 12, A3, "x"},
        {UPDATE, 20, A1, "a2", NULL, NULL, A2}, {PLATFORM, 7, NULL, "apples"}, {UPDATE, 15, A1, "late", "9"},
        {DELETE, 30, A2}, {UPDATE, 29, A2, "gone"}, {UPDATE, 41, A3, "c"}, {GAP_UPDATE, 42, A1});
}

static struct field_config short_phone = {.field = phone_name, .max_length = 1, .on_too_long = TOO_LONG_PARK};

/* `records_test run|strict STORE OUTPUT`: deliver what is journaled, and end; strict: long phones are parked. */
static int run_once(const char *how, char **folders)
{
    struct fixture *f = fixture_over(folders[0], folders[1]);
    real_mirror = true;
    configure(f);
    entity = (struct entity_config){.entity = names[3], .on_delete = DELETE_HARD};
    if (strcmp(how, "strict") == 0) {
        entity.n_fields = 1;
        entity.fields = &short_phone;
        f->sinks[0].n_entities = 1;
        f->sinks[0].entities = &entity;
    }
    f->sinks[0].batch_events = 3;
    open_store(f);
    settle(f);
    close_store(f);
    free(f);
    return 0;
}

static int run_to_visit(struct fixture *f, int visit)
{
    return live_to_visit(visit, "run", f->folder.path, f->output.path);
}

/* As a person would see it: the row of the database, by the mirror's own `row`. */
static void assert_database(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct arena a = ARENA_INIT;
    const struct mirror_ops *ops = __real_mirror_ops_of(SINK_KIND_SQLITE);
    struct mirror *m = ops->new (&f->sinks[0]);
    static const struct mirror_table table = {.name = "x", .key = "id"},
                                     orders = {.name = "order__e", .key = "event_id"};
    struct mirror_cell *cells = NULL;
    size_t n = 0;
    if (ops->look(m, &e) != 0 || ops->row(m, &table, span_of_str(A1), &a, &cells, &n, &e) != 0)
        fail_msg("%s", e.text);
    size_t right = 0;
    for (size_t i = 0; i < n; i++)
        right += (span_equal_str(cells[i].column, "name") && span_equal_str(cells[i].text, "a2")) ||
                 (span_equal_str(cells[i].column, "phone") && span_equal_str(cells[i].text, "9")) ||
                 (span_equal_str(cells[i].column, "rating") && span_equal_str(cells[i].text, "Hot"));
    assert_int_equal(right, 3);
    assert_int_equal(ops->row(m, &table, span_of_str(A2), &a, &cells, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(ops->row(m, &orders, span_of_str("e7"), &a, &cells, &n, &e), 0);
    assert_true(n > 0);
    ops->close(m);
    ops->free(m);
    arena_release(&a);
}

/* Of the real database; to be freed. */
static char *phone_of(struct fixture *f, const char *id)
{
    struct err e = ERR_INIT;
    struct arena a = ARENA_INIT;
    const struct mirror_ops *ops = __real_mirror_ops_of(SINK_KIND_SQLITE);
    struct mirror *m = ops->new (&f->sinks[0]);
    static const struct mirror_table table = {.name = "x", .key = "id"};
    struct mirror_cell *cells = NULL;
    size_t n = 0;
    char *phone = NULL;
    if (ops->look(m, &e) != 0 || ops->row(m, &table, span_of_str(id), &a, &cells, &n, &e) != 0)
        fail_msg("%s", e.text);
    for (size_t i = 0; i < n; i++)
        if (span_equal_str(cells[i].column, "phone"))
            phone = xmemdupz(cells[i].text.p, cells[i].text.n);
    ops->close(m);
    ops->free(m);
    arena_release(&a);
    assert_non_null(phone);
    return phone;
}

static void dying_anywhere_loses_and_repeats_nothing(void **state)
{
    struct fixture *f = *state;
    int visit = 1, rc = EXIT_KILLPOINT;
    for (; rc == EXIT_KILLPOINT && visit < MOST_KILLS; visit++) {
        tear_down(state);
        set_up(state);
        f = *state;
        order_of_events(f);
        close_store(f);
        rc = run_to_visit(f, visit);
        assert_true(rc == EXIT_KILLPOINT || rc == 0);
        assert_int_equal(run_to_visit(f, 0), 0);
        open_store(f);
        assert_counts(f, 8, 1, 0, 1);
        assert_int_equal(letters(f).n, 1);
        assert_int_equal(counts(f).redelivered, 0);
        assert_database(f);
    }
    assert_int_equal(rc, 0);
    assert_true(visit > 15);
}

/* One life parks, and dies; the next one finds the cause gone. What is listed is what was counted. */
static void dying_anywhere_leaves_no_untrue_letter(void **state)
{
    struct fixture *f = *state;
    int visit = 1, rc = EXIT_KILLPOINT;
    size_t parked[2] = {0, 0};
    for (; rc == EXIT_KILLPOINT && visit < MOST_KILLS; visit++) {
        tear_down(state);
        set_up(state);
        f = *state;
        SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, NULL, "long", NULL, A2},
            {UPDATE, 30, A2, "b"});
        close_store(f);
        rc = live_to_visit(visit, "strict", f->folder.path, f->output.path);
        assert_true(rc == EXIT_KILLPOINT || rc == 0);
        assert_int_equal(run_to_visit(f, 0), 0);
        open_store(f);
        const struct sink_record r = counts(f);
        assert_true(r.parked <= 1 && r.delivered + r.parked == 3);
        assert_int_equal(letters(f).n, 2 * r.parked);
        parked[r.parked]++;
    }
    assert_int_equal(rc, 0);
    assert_true(parked[0] > 5 && parked[1] > 1);
}

/* Letters that wait are delivered once, and counted once, wherever the process dies. */
static void dying_anywhere_redrives_once(void **state)
{
    struct fixture *f = *state;
    int visit = 1, rc = EXIT_KILLPOINT;
    for (; rc == EXIT_KILLPOINT && visit < MOST_KILLS; visit++) {
        tear_down(state);
        set_up(state);
        f = *state;
        SAY(f, {CREATE, 10, A1, "a", "1", "Hot"}, {UPDATE, 20, A1, NULL, "long", NULL, A2},
            {UPDATE, 30, A2, "b", "3"});
        close_store(f);
        assert_int_equal(live_to_visit(0, "strict", f->folder.path, f->output.path), 0);
        open_store(f);
        assert_int_equal(letters(f).n, 2);
        order_letters(f, REDRIVE_RETRY, "", "");
        close_store(f);
        rc = run_to_visit(f, visit);
        assert_true(rc == EXIT_KILLPOINT || rc == 0);
        assert_int_equal(run_to_visit(f, 0), 0);
        open_store(f);
        assert_counts(f, 2, 0, 0, 1);
        assert_int_equal(counts(f).redriven, 2);
        assert_int_equal(letters(f).n, 0);
        char *values[2] = {phone_of(f, A1), phone_of(f, A2)};
        assert_string_equal(values[0], "long");
        assert_string_equal(values[1], "3");
        free(values[0]);
        free(values[1]);
    }
    assert_int_equal(rc, 0);
    assert_true(visit > 5);
}

int main(int argc, char **argv)
{
    if (argc == 4 && (strcmp(argv[1], "run") == 0 || strcmp(argv[1], "strict") == 0))
        return run_once(argv[1], argv + 2);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_late_change_to_one_field_survives_a_newer_one_to_another),
        TEST(nulls_are_written_and_what_is_not_named_is_left),
        TEST(a_row_that_undoes_a_large_batch_is_parked_alone),
        TEST(a_row_that_undoes_the_others_is_parked_alone),
        TEST(rows_that_end_the_connection_are_parked_alone),
        TEST(a_target_at_which_nothing_goes_in_is_ill),
        TEST(transactions_that_undo_the_others_are_parked_whole),
        TEST(the_deleted_stay_deleted),
        TEST(a_soft_deletion_marks_the_same_row_whatever_comes_first),
        TEST(a_value_newer_than_a_deletion_outlives_the_row),
        TEST(a_difference_that_is_newer_than_a_deletion_is_owed),
        TEST(what_becomes_of_values_is_said_by_field_and_rule),
        TEST(a_difference_that_gives_too_much_is_parked),
        TEST(a_row_that_goes_and_comes_is_the_same_however_batches_are_cut),
        TEST(partial_rows_are_incomplete_and_owed_once),
        TEST(gaps_and_unnamed_records_are_owed),
        TEST(columns_of_other_types_are_incidents_of_their_own),
        TEST(one_refused_of_a_merged_event_parks_one),
        TEST(a_large_batch_is_sent_in_stretches_and_counts_the_same),
        TEST(batches_that_are_read_ahead_go_in_once),
        TEST(what_is_configured_away_is_filtered),
        TEST(platform_events_are_appended_once),
        TEST(platform_events_that_share_an_id_are_both_there),
        TEST(an_atomic_transaction_goes_in_whole_or_is_parked_whole),
        TEST(any_number_of_transactions_of_a_batch_may_be_refused),
        TEST(batches_end_where_transactions_end),
        TEST(a_transaction_without_end_is_split),
        TEST(transactions_of_subscriptions_lie_in_one_another),
        TEST(what_is_owed_is_noted_once_and_all),
        TEST(commits_of_unknown_fate_count_once),
        TEST(a_commit_whose_answer_alone_is_lost_is_progress),
        TEST(what_is_owed_at_the_second_try_only_is_noted),
        TEST(what_goes_in_at_the_second_try_is_no_dead_letter),
        TEST(what_a_redelivery_brings_in_is_no_dead_letter),
        TEST(who_is_fenced_does_not_fight),
        TEST(a_target_that_is_away_is_waited_for),
        TEST(a_target_restored_from_a_backup_gets_what_it_lost),
        TEST(a_target_made_anew_gets_all_that_is_held),
        TEST(a_store_that_was_rolled_back_is_noticed),
        TEST(a_store_rolled_back_stays_noticed),
        TEST(a_store_rolled_back_and_gone_on_is_noticed),
        TEST(another_store_is_never_compared),
        TEST(a_new_store_goes_on_in_the_epoch_of_the_lost_one),
        TEST(a_redelivery_goes_through_the_conflict_check),
        TEST(a_value_that_was_written_last_is_not_written_again),
        TEST(what_is_older_than_the_horizon_folds_and_is_owed),
        TEST(orgs_have_no_horizon_in_common),
        TEST(edits_of_the_target_are_respected_as_configured),
        TEST(a_target_that_stamps_every_row_itself_edits_none),
        TEST(what_an_edit_kept_from_the_row_is_remembered),
        TEST(a_letter_that_is_tried_again_goes_in),
        TEST(a_letter_that_ends_the_connection_is_final_again),
        TEST(letters_of_an_atomic_transaction_are_tried_together),
        TEST(orders_outlive_the_loop_and_the_target),
        TEST(letters_wait_for_a_redelivery_to_end),
        TEST(dying_anywhere_redrives_once),
        TEST(dying_anywhere_loses_and_repeats_nothing),
        TEST(dying_anywhere_leaves_no_untrue_letter),
    };
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
