/*
 * Delivery between a journal filled by hand and real sinks: every event is delivered, filtered or parked,
 * once, in order, and the sums hold (I9), wherever the process dies and however often a target is away.
 */
#include "delivery_fixture.h"

#include "avro_bytes.h"
#include "base/exit_code.h"
#include "base/file.h"
#include "base/random.h"
#include "delivery/redrive.h"
#include "lives.h"
#include "store/codec.h"
#include "store/dead_letters.h"
#include "store/incidents.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MOST_KILLS = 500 };

static const char schema[] = "{\"type\":\"record\",\"name\":\"XChangeEvent\",\"fields\":[" HEADER_FIELD "]}";

static char elsewhere[240]; /* a file whose folder is not there yet */
static char names[][24] = {"log", "x", "y", "/data/XChangeEvent", "/data/YChangeEvent", "other"};

static void configure(struct fixture *f)
{
    snprintf(f->path, sizeof f->path, "%s/out.ndjson", f->output.path);
    snprintf(elsewhere, sizeof elsewhere, "%s/later/out.ndjson", f->output.path);
    for (int i = 0; i < 2; i++)
        f->subscriptions[i] = (struct subscription_config){.name = names[1 + i], .topic = names[3 + i]};
    f->sinks[0] = (struct sink_config){.name = names[0],
                                       .kind = SINK_KIND_FILE,
                                       .path = f->path,
                                       .fsync = true,
                                       .batch_events = 1000,
                                       .n_subscriptions = 2,
                                       .subscriptions = f->numbers};
    f->sinks[1] = (struct sink_config){.name = names[5],
                                       .kind = SINK_KIND_NULL,
                                       .batch_events = 7,
                                       .n_subscriptions = 2,
                                       .subscriptions = f->numbers};
    f->config = (struct config){
        .n_subscriptions = 2, .subscriptions = f->subscriptions, .n_sinks = 1, .sinks = f->sinks};
}

static int set_up(void **state)
{
    struct fixture *f = fixture_new();
    configure(f);
    open_store(f);
    make_subscriptions(f);
    hold_schema(f, "held", schema);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    unlink(elsewhere);
    unlink(f->path);
    *strrchr(elsewhere, '/') = '\0';
    rmdir(elsewhere);
    fixture_free(f);
    return 0;
}

/* --- the journal, by hand --------------------------------------------------------------------------- */

enum kind { GOOD, BROKEN, NO_SCHEMA };

/* What event `seq` is follows from its number. */
static enum kind kind_of(uint64_t seq)
{
    return seq % 10 == 3 ? BROKEN : seq % 10 == 7 ? NO_SCHEMA : GOOD;
}

static void append(struct fixture *f, size_t n, uint32_t subscription)
{
    uint64_t next = bounds_of(f).head + 1, first;
    struct event_data *events = calloc(n, sizeof *events);
    struct arena a = ARENA_INIT;
    struct store_txn txn;
    for (size_t i = 0; i < n; i++) {
        const char *const ids[] = {"001000000000001AAA", NULL};
        struct header_values h = {.entity = "X", .record_ids = ids, .commit_timestamp = 1778068800000};
        struct buf payload = BUF_INIT;
        char *id = arena_alloc(&a, 24);
        snprintf(id, 24, "e%" PRIu64, next + i);
        put_header(&payload, &h);
        if (kind_of(next + i) == BROKEN)
            buf_add_char(&payload, '!'); /* a byte behind the end: found only when all is decoded */
        events[i] = (struct event_data){
            .event_id = span_of_str(id),
            .replay_id = span_of_str(id),
            .schema_id = span_of_str(kind_of(next + i) == NO_SCHEMA ? "refused" : "held"),
            .payload = arena_copy(&a, buf_span(&payload))};
        buf_release(&payload);
    }
    struct journal_block block = {
        .subscription = subscription, .received_ms = 1778068800000, .source_ms = 1778068800000};
    begin(f, true, &txn);
    assert_int_equal(journal_append(&txn, &block, events, n, &first, &f->e), 0);
    commit(f, &txn);
    journal_signal_raise(&f->signal, first + n - 1);
    arena_release(&a);
    free(events);
}

/* --- what came of it ---------------------------------------------------------------------------------- */

static int count_letter(void *ctx, const struct dead_letter *d)
{
    uint64_t *n = ctx;
    enum kind kind = kind_of(d->ev.seq);
    assert_true(kind != GOOD);
    assert_true(span_equal_str(d->reason, kind == BROKEN ? "undecodable" : "schema refused"));
    assert_true(d->ev.payload.n > 0 && d->ev.event_id.n > 0);
    ++*n;
    return 0;
}

static uint64_t dead_letters(struct fixture *f)
{
    struct store_txn txn;
    uint64_t n = 0;
    begin(f, false, &txn);
    assert_int_equal(dead_letter_each(&txn, NULL, count_letter, &n, &f->e), 0);
    store_abort(&txn);
    return n;
}

/* The file holds each good event from `first` to `last` once, in order, and nothing else. */
static void check_file(struct fixture *f, const char *path, uint64_t first, uint64_t last)
{
    struct buf text = BUF_INIT;
    if (file_read(path, 64 << 20, &text, &f->e) != 0)
        fail_msg("%s", f->e.text);
    buf_add_char(&text, '\0');
    char *line = (char *)text.data;
    for (uint64_t seq = first; seq <= last; seq++) {
        char want[40], *end = strchr(line, '\n');
        if (kind_of(seq) != GOOD)
            continue;
        if (!end)
            fail_msg("the file ends before seq %" PRIu64, seq);
        snprintf(want, sizeof want, "\"seq\":%" PRIu64 ",", seq);
        *end = '\0';
        if (!strstr(line, want))
            fail_msg("%s is not seq %" PRIu64, line, seq);
        line = end + 1;
    }
    assert_string_equal(line, "");
    buf_release(&text);
}

/* --- tests ------------------------------------------------------------------------------------------ */

static void each_event_once_by_its_outcome(void **state)
{
    struct fixture *f = *state;
    append(f, 100, 1);
    start(f, 0);
    wait_settled(f);
    append(f, 1, 2);
    append(f, 250, 1);
    wait_settled(f);
    struct sink_record r = record_of(f, "log");
    assert_int_equal(r.cursor, 351);
    assert_int_equal(r.delivered, 281);
    assert_int_equal(r.parked, 70);
    assert_int_equal(r.retries, 0);
    assert_int_equal(dead_letters(f), 70);
    check_file(f, f->path, 1, 351);
}

static void what_is_not_subscribed_is_filtered(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].n_subscriptions = 1;
    append(f, 10, 2);
    append(f, 10, 1);
    append(f, 5, 2);
    start(f, 0);
    wait_settled(f);
    struct sink_record r = record_of(f, "log");
    assert_int_equal(r.filtered, 15);
    assert_int_equal(r.delivered, 8);
    assert_int_equal(r.parked, 2);
    check_file(f, f->path, 11, 20);
}

static void a_target_that_is_away_is_waited_for(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].path = elsewhere;
    append(f, 30, 1);
    start(f, 0);
    wait_state(f, DELIVERY_BACKING_OFF);
    assert_int_equal(record_of(f, "log").cursor, 0);
    assert_int_equal(dead_letters(f), 0);
    char *slash = strrchr(elsewhere, '/');
    *slash = '\0';
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    *slash = '/';
    wait_settled(f);
    assert_int_equal(record_of(f, "log").delivered, 24);
    check_file(f, elsewhere, 1, 30);
}

static char renamed[] = "renamed";

/* `delivery_test run|renamed STORE OUTPUT`: deliver what is journaled, and end. */
static int run_once(const char *how, char **folders)
{
    struct fixture *f = fixture_over(folders[0], folders[1]);
    configure(f);
    if (strcmp(how, renamed) == 0) {
        f->sinks[0].renamed_from = f->sinks[0].name;
        f->sinks[0].name = renamed;
    }
    f->sinks[0].batch_events = 7;
    open_store(f);
    start(f, 0);
    wait_settled(f);
    close_store(f);
    free(f);
    return 0;
}

static int run_to_visit(struct fixture *f, int visit)
{
    return live_to_visit(visit, "run", f->folder.path, f->output.path);
}

/* A sink that opens, but takes nothing: it has parked what it must, and waits. Gives what end_without_reader takes. */
static int begin_without_reader(struct fixture *f)
{
    int ends[2], real = dup(1);
    assert_int_equal(pipe(ends), 0);
    signal(SIGPIPE, SIG_IGN);
    fflush(stdout);
    assert_int_equal(dup2(ends[1], 1), 1);
    close(ends[0]);
    close(ends[1]);
    f->sinks[0].kind = SINK_KIND_STDOUT;
    start(f, 0);
    wait_state(f, DELIVERY_BACKING_OFF);
    return real;
}

static void end_without_reader(struct fixture *f, int real)
{
    dup2(real, 1);
    close(real);
    f->sinks[0].kind = SINK_KIND_FILE;
}

/* A batch that comes again because its target is away is parked once: not with every try. */
static void what_is_parked_is_parked_once(void **state)
{
    struct fixture *f = *state;
    append(f, 20, 1);
    int real = begin_without_reader(f);
    struct store_space before, after;
    int rc = store_space(f->st, &before, &f->e);
    for (int64_t until = clock_mono_ms() + 1000; clock_mono_ms() < until;) /* two or three more tries */
        journal_signal_wait(&f->signal, UINT64_MAX, 10);
    rc |= store_space(f->st, &after, &f->e);
    stop(f);
    end_without_reader(f, real); /* and elsewhere all of it arrives */
    assert_int_equal(rc, 0);
    assert_int_equal(after.commits, before.commits);
    assert_int_equal(dead_letters(f), 4);
    assert_int_equal(record_of(f, "log").cursor, 0);
    start(f, 0);
    wait_settled(f);
    assert_int_equal(record_of(f, "log").parked, 4);
    check_file(f, f->path, 1, 20);
}

/* What a try parked and a later one delivers is no dead letter. */
static void what_decodes_at_last_is_no_dead_letter(void **state)
{
    struct fixture *f = *state;
    append(f, 20, 1);
    int real = begin_without_reader(f);
    stop(f);
    end_without_reader(f, real);
    assert_int_equal(dead_letters(f), 4);
    hold_schema(f, "refused", schema); /* it came at last */
    start(f, 0);
    wait_settled(f);
    assert_int_equal(record_of(f, "log").parked, 2);
    assert_int_equal(record_of(f, "log").delivered, 18);
    assert_int_equal(dead_letters(f), 2);
}

/* Lines of this seq that say they are late, and those that do not. */
static void count_lines(struct fixture *f, uint64_t seq, size_t *late, size_t *others)
{
    struct buf text = BUF_INIT;
    char want[40];
    snprintf(want, sizeof want, "\"seq\":%" PRIu64 ",", seq);
    *late = *others = 0;
    if (file_read(f->path, 64 << 20, &text, &f->e) != 0)
        fail_msg("%s", f->e.text);
    buf_add_char(&text, '\0');
    for (char *line = (char *)text.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (strstr(line, want))
            ++*(strstr(line, "\"late\":true") ? late : others);
    }
    assert_int_equal(text.data[text.len - 2], '\0'); /* the last line is whole */
    buf_release(&text);
}

/* Dead letters that are tried again come once, behind the others, and say that they are late; wherever the process dies. */
static void letters_come_late_and_once(void **state)
{
    struct fixture *f = *state;
    int visit = 1, code = EXIT_KILLPOINT;
    for (; code == EXIT_KILLPOINT && visit < MOST_KILLS; visit++) {
        tear_down(state);
        set_up(state);
        f = *state;
        append(f, 20, 1);
        start(f, 0);
        wait_settled(f);
        stop(f);
        assert_int_equal(dead_letters(f), 4);
        hold_schema(f, "refused", schema); /* it came at last: two of them decode now */
        struct redrive_request request;
        struct buf answer = BUF_INIT;
        assert_int_equal(redrive_choose(REDRIVE_RETRY, "log", "", "", true, &request, &f->e), 0);
        assert_int_equal(redrive_order(f->st, &f->config, &request, &answer, &f->e), 0);
        buf_release(&answer);
        append(f, 2, 1);
        close_store(f);
        code = run_to_visit(f, visit);
        assert_true(code == 0 || code == EXIT_KILLPOINT);
        assert_int_equal(run_to_visit(f, 0), 0);
        open_store(f);
        const struct sink_record r = record_of(f, "log");
        assert_int_equal(r.redriven, 2);
        assert_int_equal(r.delivered, 18);
        assert_int_equal(r.parked, 4);
        assert_int_equal(dead_letters(f), 2);
        for (uint64_t seq = 1; seq <= 22; seq++) {
            size_t late, others;
            count_lines(f, seq, &late, &others);
            assert_int_equal(late, kind_of(seq) == NO_SCHEMA);
            assert_int_equal(others, kind_of(seq) == GOOD);
        }
    }
    assert_int_equal(code, 0);
    assert_true(visit > 5);
}

/* Dying anywhere: one run dies at visit N of a kill point, the next one finishes. N = 1, 2, 3 … until a run
 * is not killed. Nothing is lost, nothing is there twice, and a further run changes nothing. */
static void dying_anywhere_loses_and_repeats_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t head = 0, parked = 0;
    int visit = 0, code;
    do {
        append(f, 9, 1);
        append(f, 11, 1);
        head += 20;
        parked += 4;
        close_store(f); /* one process at a time */
        code = run_to_visit(f, ++visit);
        assert_true(code == 0 || code == EXIT_KILLPOINT);
        if (code != 0 && visit % 3 == 0) /* and again, at once */
            assert_int_equal(run_to_visit(f, 2), EXIT_KILLPOINT);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(run_to_visit(f, 0), 0);
            open_store(f);
            struct sink_record r = record_of(f, "log");
            assert_int_equal(r.cursor, head);
            assert_int_equal(r.delivered, head - parked);
            assert_int_equal(r.parked, parked);
            assert_int_equal(dead_letters(f), parked);
            check_file(f, f->path, 1, head);
            if (i == 0)
                close_store(f);
        }
    } while (code != 0 && visit < MOST_KILLS);
    assert_true(visit > 15 && visit < MOST_KILLS);
}

static void a_drain_ends_with_everything_delivered(void **state)
{
    struct fixture *f = *state;
    f->sinks[0].batch_events = 3;
    append(f, 100, 1);
    start(f, 0);
    delivery_drain(f->d);
    wait_state(f, DELIVERY_STOPPED);
    assert_true(delivery_settled(f->d));
    assert_int_equal(record_of(f, "log").cursor, 100);
    check_file(f, f->path, 1, 100);
}

static void a_damaged_store_is_told_and_ends_the_loop(void **state)
{
    struct fixture *f = *state;
    struct store_txn txn;
    uint8_t key[8];
    append(f, 10, 1);
    append(f, 10, 1);
    key_u64(key, 11);
    begin(f, true, &txn);
    assert_int_equal(store_put(&txn, DB_JOURNAL, span_of(key, 8), span_of_str("garbage"), &f->e), 0);
    commit(f, &txn);
    f->sinks[0].batch_events = 10;
    start(f, 0);
    wait_state(f, DELIVERY_STOPPED);
    assert_true(f->failed);
    assert_int_equal(f->fatal.class, ERR_STORE);
    assert_int_equal(record_of(f, "log").cursor, 10);
    check_file(f, f->path, 1, 10);
}

/* --- which sinks there are -------------------------------------------------------------------------- */

static void register_sinks(struct fixture *f)
{
    if (delivery_register(f->st, &f->config, &f->e) != 0)
        fail_msg("%s", f->e.text);
}

static void trim(struct fixture *f, uint64_t settled)
{
    struct store_txn txn;
    size_t removed;
    begin(f, true, &txn);
    assert_int_equal(journal_trim(&txn, settled, 0, true, 1000, &removed, &f->e), 0);
    commit(f, &txn);
}

static uint64_t settled_by_all(struct fixture *f)
{
    struct store_txn txn;
    uint64_t seq;
    begin(f, false, &txn);
    assert_int_equal(sinks_settled(&txn, &seq, &f->e), 0);
    store_abort(&txn);
    return seq;
}

static int keep_incident(void *ctx, const struct incident *i)
{
    *(struct incident *)ctx = *i;
    return 0;
}

static void new_sinks_begin_where_they_should(void **state)
{
    struct fixture *f = *state;
    f->config.n_sinks = 2;
    f->sinks[1].start = SINK_START_NOW;
    append(f, 10, 1);
    append(f, 10, 1);
    trim(f, 10);
    register_sinks(f);
    assert_int_equal(record_of(f, "log").cursor, 10);
    assert_int_equal(record_of(f, "other").cursor, 20);
    append(f, 4, 1);
    register_sinks(f); /* known by now: nothing moves */
    assert_int_equal(record_of(f, "log").cursor, 10);
    assert_int_equal(record_of(f, "other").cursor, 20);
    start(f, 0);
    wait_settled(f);
    assert_int_equal(record_of(f, "log").delivered, 11);
}

/* A sink that comes back finds that the journal moved on: what it missed is an incident, and the sums stay
 * true. */
static void what_a_sink_missed_while_it_was_away_is_an_incident(void **state)
{
    struct fixture *f = *state;
    f->config.n_sinks = 2;
    append(f, 10, 1);
    register_sinks(f);
    f->config.n_sinks = 1;
    register_sinks(f);
    assert_true(record_of(f, "other").retired);
    start(f, 0);
    append(f, 10, 1);
    append(f, 10, 1);
    wait_settled(f);
    assert_int_equal(settled_by_all(f), 30);
    trim(f, 20);
    f->config.n_sinks = 2;
    register_sinks(f);
    struct sink_record r = record_of(f, "other");
    assert_false(r.retired);
    assert_int_equal(r.cursor, 20);
    struct incident i = {0};
    struct store_txn txn;
    begin(f, false, &txn);
    assert_int_equal(incident_each(&txn, keep_incident, &i, &f->e), 0);
    store_abort(&txn);
    assert_int_equal(i.state, INCIDENT_OPEN);
    assert_string_equal(i.subject, "other");
    assert_non_null(strstr(i.text, "seq 1 to 20"));
}

/* The new name is a living sink, whatever the old one was, and is told what left the journal meanwhile. */
static void a_renamed_sink_lives(void **state)
{
    struct fixture *f = *state;
    append(f, 10, 1);
    append(f, 10, 1);
    f->config.n_sinks = 2;
    register_sinks(f);
    f->config.n_sinks = 1;
    register_sinks(f); /* "other" is retired */
    trim(f, 10);
    f->config.n_sinks = 2;
    f->sinks[1].name = renamed;
    f->sinks[1].renamed_from = names[5];
    register_sinks(f);
    struct sink_record r = record_of(f, "renamed");
    assert_false(r.retired);
    assert_int_equal(r.cursor, 10);
    start(f, 1);
    wait_settled(f);
    assert_false(f->failed);
    assert_int_equal(record_of(f, "renamed").delivered, 8);
    register_sinks(f); /* renamed_from may stay in the configuration */
    assert_int_equal(record_of(f, "renamed").delivered, 8);
}

struct of_name {
    const char *name;
    size_t letters, incidents;
};

static int see_letter(void *ctx, const struct dead_letter *d)
{
    struct of_name *o = ctx;
    o->letters += span_equal_str(d->sink, o->name);
    return 0;
}

static int see_subject(void *ctx, const struct incident *i)
{
    struct of_name *o = ctx;
    o->incidents += strcmp(i->subject, o->name) == 0;
    return 0;
}

static struct of_name kept_for(struct fixture *f, const char *name)
{
    struct of_name o = {.name = name};
    struct store_txn txn;
    begin(f, false, &txn);
    assert_int_equal(dead_letter_each(&txn, NULL, see_letter, &o, &f->e), 0);
    assert_int_equal(incident_each(&txn, see_subject, &o, &f->e), 0);
    store_abort(&txn);
    return o;
}

static void open_incident(struct fixture *f, const char *kind)
{
    struct incident i = {.state = INCIDENT_OPEN};
    struct store_txn txn;
    snprintf(i.subject, sizeof i.subject, "log");
    snprintf(i.kind, sizeof i.kind, "%s", kind);
    begin(f, true, &txn);
    assert_int_equal(incident_open(&txn, &i, &f->e), 0);
    commit(f, &txn);
}

/* Dead letters and incidents go with the cursor, wherever the process dies; those of a subscription of that name stay. */
static void what_is_kept_for_a_sink_follows_its_name(void **state)
{
    struct fixture *f = *state;
    int visit = 1, code = EXIT_KILLPOINT;
    bool before = false, after = false;
    for (; code == EXIT_KILLPOINT && visit < MOST_KILLS; visit++) {
        tear_down(state);
        set_up(state);
        f = *state;
        append(f, 20, 1);
        start(f, 0);
        wait_settled(f);
        stop(f);
        open_incident(f, "output_differs");
        open_incident(f, "lost_position"); /* of a subscription that is called so, too */
        open_incident(f, "gap");
        append(f, 10, 1);
        close_store(f);
        code = live_to_visit(visit, renamed, f->folder.path, f->output.path);
        assert_true(code == 0 || code == EXIT_KILLPOINT);
        open_store(f);
        struct of_name old = kept_for(f, "log"), new = kept_for(f, renamed);
        struct sink_record r;
        struct store_txn txn;
        begin(f, false, &txn);
        const bool moved = sink_record_get(&txn, renamed, &r, &f->e) == 0;
        sink_record_release(&r);
        store_abort(&txn);
        assert_int_equal(old.letters, moved ? 0 : 4);
        assert_int_equal(old.incidents, moved ? 1 : 3);
        assert_int_equal(new.incidents, moved ? 2 : 0);
        assert_true(new.letters >= (moved ? 4 : 0));
        before |= !moved;
        after |= moved;
        close_store(f);
        assert_int_equal(live_to_visit(0, renamed, f->folder.path, f->output.path), 0);
        open_store(f);
        assert_int_equal(kept_for(f, renamed).letters, record_of(f, renamed).parked);
        assert_int_equal(record_of(f, renamed).parked, 6);
        assert_int_equal(kept_for(f, "log").letters, 0);
        check_file(f, f->path, 1, 30);
    }
    assert_int_equal(code, 0);
    assert_true(before && after);
}

static void all_who_left_are_retired(void **state)
{
    struct fixture *f = *state;
    struct store_txn txn;
    append(f, 10, 1);
    begin(f, true, &txn);
    for (int i = 0; i < 150; i++) {
        struct sink_record r = {.state = BUF_INIT};
        snprintf(r.name, sizeof r.name, "gone-%d", i);
        assert_int_equal(sink_record_put(&txn, &r, &f->e), 0);
    }
    commit(f, &txn);
    start(f, 0);
    wait_settled(f);
    assert_int_equal(settled_by_all(f), 10);
}

int main(int argc, char **argv)
{
    if (argc == 4 && (strcmp(argv[1], "run") == 0 || strcmp(argv[1], renamed) == 0))
        return run_once(argv[1], argv + 2);
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(each_event_once_by_its_outcome),
        CASE(what_is_not_subscribed_is_filtered),
        CASE(a_target_that_is_away_is_waited_for),
        CASE(what_is_parked_is_parked_once),
        CASE(what_decodes_at_last_is_no_dead_letter),
        CASE(letters_come_late_and_once),
        CASE(dying_anywhere_loses_and_repeats_nothing),
        CASE(a_drain_ends_with_everything_delivered),
        CASE(a_damaged_store_is_told_and_ends_the_loop),
        CASE(new_sinks_begin_where_they_should),
        CASE(what_a_sink_missed_while_it_was_away_is_an_incident),
        CASE(a_renamed_sink_lives),
        CASE(what_is_kept_for_a_sink_follows_its_name),
        CASE(all_who_left_are_retired),
    };
    return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
