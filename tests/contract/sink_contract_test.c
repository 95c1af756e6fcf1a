/*
 * What every sink must keep (src/sink/sink.h), run over each of them.
 *
 * A new sink adds one line to `bench` below: how to prepare its target, how to break it, how to mend it, and
 * how to count what arrived. Everything else is the same for all.
 */
#include "base/file.h"
#include "sink_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* One sink and its target. */
struct stand {
    const struct sink_ops *ops;
    struct sink *s;
    char dir[64], path[80];
    struct buf state, notice;
    struct err e;
    struct made_batch made;
    int real_stdout;   /* this program's own, while the sink has another */
    struct rlimit room; /* before it was lowered */
};

struct kind {
    const char *name;
    enum sink_kind kind;
    /* Make the target ready; make it refuse; make it accept again; how many whole lines it holds. NULL: cannot. */
    void (*prepare)(struct stand *t);
    void (*break_it)(struct stand *t);
    void (*mend)(struct stand *t);
    size_t (*count)(const struct stand *t);
    void (*clean)(struct stand *t);
};

static size_t count_lines(const struct stand *t)
{
    struct buf found = BUF_INIT;
    size_t lines = 0;
    assert_int_equal(file_read(t->path, 64 << 20, &found, NULL), 0);
    for (size_t i = 0; i < found.len; i++)
        lines += found.data[i] == '\n';
    buf_release(&found);
    return lines;
}

static void prepare_nothing(struct stand *t)
{
    (void)t;
}

/* ---- file ---- */

/* No file may grow: what a full disk looks like, without a disk. */
static void no_room(struct stand *t)
{
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &t->room), 0);
    struct rlimit none = {0, t->room.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
}

static void room_again(struct stand *t)
{
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &t->room), 0);
}

static void remove_path(struct stand *t)
{
    unlink(t->path);
}

/* ---- stdout: into a file, whose lines can be counted; broken by a pipe nobody reads ---- */

static void stdout_to_path(struct stand *t)
{
    t->real_stdout = dup(STDOUT_FILENO);
    int fd = open(t->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && t->real_stdout >= 0);
    fflush(stdout);
    assert_int_equal(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    close(fd);
}

static void stdout_to_nobody(struct stand *t)
{
    int ends[2];
    (void)t;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
}

static void stdout_to_path_again(struct stand *t)
{
    int fd = open(t->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    close(fd);
}

static void stdout_restored(struct stand *t)
{
    assert_int_equal(dup2(t->real_stdout, STDOUT_FILENO), STDOUT_FILENO);
    close(t->real_stdout);
    unlink(t->path);
}

static const struct kind bench[] = {
    {"file", SINK_KIND_FILE, prepare_nothing, no_room, room_again, count_lines, remove_path},
    {"stdout", SINK_KIND_STDOUT, stdout_to_path, stdout_to_nobody, stdout_to_path_again, count_lines, stdout_restored},
    {"null", SINK_KIND_NULL, prepare_nothing, NULL, NULL, NULL, prepare_nothing},
};

/* ---- the stand ---- */

static void begin(struct stand *t, const struct kind *kind)
{
    char name[] = "target";
    memset(t, 0, sizeof *t);
    snprintf(t->dir, sizeof t->dir, "/tmp/tidemark-contract-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->path, sizeof t->path, "%s/out", t->dir);
    const struct sink_config config = {.name = name, .kind = kind->kind, .path = t->path, .fsync = true};
    t->ops = sink_ops_of(kind->kind);
    assert_string_equal(t->ops->kind, kind->name);
    kind->prepare(t);
    t->s = t->ops->new(&config);
    assert_non_null(t->s);
}

static void end(struct stand *t, const struct kind *kind)
{
    t->ops->close(t->s);
    t->ops->free(t->s);
    kind->clean(t);
    rmdir(t->dir);
    buf_release(&t->state);
    buf_release(&t->notice);
    made_batch_release(&t->made);
}

static void keep_state(struct stand *t)
{
    buf_clear(&t->state);
    t->ops->state(t->s, &t->state);
}

static int try_open(struct stand *t, uint64_t cursor)
{
    const struct sink_memory memory = {cursor, buf_span(&t->state)};
    buf_clear(&t->notice);
    err_clear(&t->e);
    return t->ops->open(t->s, &memory, &t->notice, &t->e);
}

static void must_open(struct stand *t, uint64_t cursor)
{
    if (try_open(t, cursor) != 0)
        fail_msg("%s: open: %s", t->ops->kind, t->e.text);
    keep_state(t);
}

static void submit(struct stand *t, uint64_t first, size_t n)
{
    t->ops->submit(t->s, made_batch_fill(&t->made, first, n, 30));
    assert_int_equal(made_batch_count(&t->made, SINK_UNREPORTED), 0);
}

static void deliver(struct stand *t, uint64_t first, size_t n)
{
    submit(t, first, n);
    assert_int_equal(made_batch_count(&t->made, SINK_DELIVERED), n);
    assert_int_equal(t->made.batch.reason.class, ERR_NONE);
    keep_state(t);
}

static void must_hold(const struct stand *t, const struct kind *kind, size_t lines)
{
    if (kind->count)
        assert_int_equal(kind->count(t), lines);
}

/* The same body for every kind. */
#define EACH_KIND(kind, t)                                                                                   \
    struct stand t;                                                                                          \
    for (const struct kind *kind = bench; kind < bench + ARRAY_LEN(bench) && (begin(&t, kind), true);         \
         end(&t, kind), kind++)

/* ---- the cases ---- */

static void every_kind_in_the_list_is_on_this_bench(void **state)
{
    (void)state;
    /* The enum has no count: the last one known here is the last one of the configuration. */
    assert_int_equal(ARRAY_LEN(bench), SINK_KIND_NULL + 1);
    for (size_t i = 0; i < ARRAY_LEN(bench); i++)
        assert_int_equal(bench[i].kind, i);
}

static void made_and_freed_unopened(void **state)
{
    (void)state;
    EACH_KIND (kind, t)
        t.ops->close(t.s);
}

static void batches_of_any_size_are_reported_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 0, 2, 5000};
    EACH_KIND (kind, t) {
        size_t sum = 0;
        must_open(&t, 0);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            deliver(&t, sum + 1, sizes[i]);
            sum += sizes[i];
        }
        must_hold(&t, kind, sum);
    }
}

static void one_event_larger_than_any_buffer(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        must_open(&t, 0);
        t.ops->submit(t.s, made_batch_fill(&t.made, 1, 3, 3 << 20));
        assert_int_equal(made_batch_count(&t.made, SINK_DELIVERED), 3);
        keep_state(&t);
        deliver(&t, 4, 1);
        must_hold(&t, kind, 4);
    }
}

static void open_close_open_goes_on(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        for (uint64_t round = 0; round < 4; round++) {
            must_open(&t, round * 10);
            deliver(&t, round * 10 + 1, 10);
            t.ops->close(t.s);
            t.ops->close(t.s);
        }
        must_hold(&t, kind, 40);
    }
}

/* The whole life of a process: another struct sink, only the state is left. */
static void another_life_goes_on_from_the_state(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        char name[] = "target";
        const struct sink_config config = {.name = name, .kind = kind->kind, .path = t.path, .fsync = true};
        must_open(&t, 0);
        deliver(&t, 1, 10);
        t.ops->free(t.s);
        t.s = t.ops->new(&config);
        must_open(&t, 10);
        deliver(&t, 11, 10);
        must_hold(&t, kind, 20);
    }
}

static void a_closed_sink_reports_retry(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        submit(&t, 1, 3);
        assert_int_equal(made_batch_count(&t.made, SINK_RETRY), 3);
        must_open(&t, 0);
        t.ops->close(t.s);
        submit(&t, 1, 3);
        assert_int_equal(made_batch_count(&t.made, SINK_RETRY), 3);
        assert_int_equal(t.made.batch.reason.class, ERR_RETRY);
        must_hold(&t, kind, 0);
    }
}

/* ASan sees a sink that looks at a delivery after submit. */
static void nothing_of_a_batch_is_kept(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        must_open(&t, 0);
        submit(&t, 1, 50);
        made_batch_release(&t.made);
        keep_state(&t);
        deliver(&t, 51, 50);
        t.ops->close(t.s);
    }
}

static void state_says_the_same_twice(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        struct buf again = BUF_INIT;
        must_open(&t, 0);
        deliver(&t, 1, 5);
        buf_add_str(&again, "kept:"); /* appended, not replaced */
        t.ops->state(t.s, &again);
        assert_int_equal(again.len, t.state.len + 5);
        if (t.state.len)
            assert_memory_equal(again.data + 5, t.state.data, t.state.len);
        buf_release(&again);
    }
}

/* Refused work is reported with a reason, is not there, and is accepted once the target works again. */
static void a_broken_target_loses_and_repeats_nothing(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    EACH_KIND (kind, t) {
        if (!kind->break_it)
            continue;
        must_open(&t, 0);
        deliver(&t, 1, 10);
        for (int i = 0; i < 3; i++) {
            kind->break_it(&t);
            submit(&t, 11, 1000);
            kind->mend(&t);
            assert_int_equal(made_batch_count(&t.made, SINK_DELIVERED), 0);
            assert_int_equal(made_batch_count(&t.made, SINK_REJECTED), 0);
            assert_true(t.made.batch.reason.class == ERR_RETRY || t.made.batch.reason.class == ERR_UNKNOWN);
            assert_string_not_equal(t.made.batch.reason.text, "");
            assert_memory_equal(t.made.batch.reason.origin, "sink.", 5);
            t.ops->close(t.s);
            must_open(&t, 10);
        }
        deliver(&t, 11, 1000);
        must_hold(&t, kind, 1010);
    }
}

static void a_reopen_at_a_batch_boundary_loses_nothing(void **state)
{
    (void)state;
    EACH_KIND (kind, t) {
        if (!t.ops->reopen)
            continue;
        must_open(&t, 0);
        deliver(&t, 1, 10);
        assert_int_equal(t.ops->reopen(t.s, &t.notice, &t.e), 0);
        keep_state(&t);
        deliver(&t, 11, 10);
        must_hold(&t, kind, 20);
    }
}

/* A sink that reports twice is stopped before it can turn a refusal into a success. */
static void a_second_report_is_a_defect(void **state)
{
    (void)state;
    static const struct err why = {ERR_RETRY, "sink.test", 0, "not now"};
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct delivery once = {.outcome = SINK_UNREPORTED};
        struct sink_batch batch = {&once, 1, ERR_INIT};
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        sink_report(&batch, 0, SINK_RETRY, &why);
        sink_report_rest(&batch, SINK_DELIVERED, NULL); /* reports what is left: nothing */
        if (once.outcome != SINK_RETRY)
            _exit(1);
        sink_report(&batch, 0, SINK_DELIVERED, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- stdout alone: what a cut in the middle of a batch reports ---- */

static void stdout_tells_apart_what_was_taken(void **state)
{
    (void)state;
    const struct kind *kind = &bench[SINK_KIND_STDOUT];
    struct stand t;
    signal(SIGXFSZ, SIG_IGN);
    begin(&t, kind);
    must_open(&t, 0);
    made_batch_fill(&t.made, 1, 10, 30);
    struct buf lines = BUF_INIT;
    made_batch_lines(&t.made, &lines);
    /* Room for half of them and a piece. */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &t.room), 0);
    struct rlimit half = {lines.len / 2 + 7, t.room.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &half), 0);
    t.ops->submit(t.s, &t.made.batch);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &t.room), 0);
    buf_release(&lines);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(t.made.batch.deliveries[i].outcome, i < 5 ? SINK_DELIVERED : i == 5 ? SINK_UNKNOWN : SINK_RETRY);
    /* The torn line becomes a line of its own. */
    t.ops->close(t.s);
    must_open(&t, 5);
    deliver(&t, 6, 5);
    must_hold(&t, kind, 5 + 1 + 5);
    end(&t, kind);
}

static void stdout_waits_for_a_slow_reader(void **state)
{
    (void)state;
    const struct kind *kind = &bench[SINK_KIND_STDOUT];
    struct stand t;
    int ends[2];
    begin(&t, kind);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    pid_t reader = fork();
    if (reader == 0) {
        char some[3000];
        size_t lines = 0;
        close(ends[1]);
        close(STDOUT_FILENO);
        fcntl(ends[0], F_SETFL, 0);
        for (ssize_t got; (got = read(ends[0], some, sizeof some)) > 0;)
            for (ssize_t i = 0; i < got; i++)
                lines += some[i] == '\n';
        _exit(lines == 4000 ? 0 : 1);
    }
    close(ends[0]);
    close(ends[1]);
    must_open(&t, 0);
    deliver(&t, 1, 4000);
    stdout_to_path_again(&t); /* the pipe's last writer goes */
    int status;
    assert_int_equal(waitpid(reader, &status, 0), reader);
    assert_int_equal(status, 0);
    end(&t, kind);
}

static void stdout_that_is_closed_is_refused(void **state)
{
    (void)state;
    const struct kind *kind = &bench[SINK_KIND_STDOUT];
    struct stand t;
    begin(&t, kind);
    close(STDOUT_FILENO);
    int rc = try_open(&t, 0);
    stdout_to_path_again(&t);
    assert_int_equal(rc, -1);
    assert_int_equal(t.e.class, ERR_REJECTED);
    end(&t, kind);
}

/* A case that failed may have left the standard output elsewhere; the report goes there. */
static int own_stdout;

static int restore_stdout(void **state)
{
    (void)state;
    return dup2(own_stdout, STDOUT_FILENO) == STDOUT_FILENO ? 0 : -1;
}

#define CASE(f) cmocka_unit_test_teardown(f, restore_stdout)

int main(void)
{
    own_stdout = dup(STDOUT_FILENO);
    const struct CMUnitTest tests[] = {
        CASE(every_kind_in_the_list_is_on_this_bench),
        CASE(made_and_freed_unopened),
        CASE(batches_of_any_size_are_reported_whole),
        CASE(one_event_larger_than_any_buffer),
        CASE(open_close_open_goes_on),
        CASE(another_life_goes_on_from_the_state),
        CASE(a_closed_sink_reports_retry),
        CASE(nothing_of_a_batch_is_kept),
        CASE(state_says_the_same_twice),
        CASE(a_broken_target_loses_and_repeats_nothing),
        CASE(a_reopen_at_a_batch_boundary_loses_nothing),
        CASE(a_second_report_is_a_defect),
        CASE(stdout_tells_apart_what_was_taken),
        CASE(stdout_waits_for_a_slow_reader),
        CASE(stdout_that_is_closed_is_refused),
    };
    return cmocka_run_group_tests_name("sink_contract", tests, NULL, NULL);
}
