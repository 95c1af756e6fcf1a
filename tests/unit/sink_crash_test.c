/*
 * The file sink under kill points and failing system calls.
 *
 * A small delivery stands in for the real one: it opens the sink with what its store holds, commits the mark,
 * and brings event after event, as sink.h asks. The property: wherever the process dies, and whichever call
 * fails, the file ends with each event once, in order, byte for byte.
 *
 * The cases with deaths come first: a process reads its setting at the first kill point it meets, and a child
 * inherits what its parent has read.
 */
#include "base/exit_code.h"
#include "base/file.h"
#include "base/killpoint.h"
#include "base/random.h"
#include "sink/file.h"
#include "sink_batch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEAD = 40, STATE_MAX = 128 };

/* What survives a death: the store. Its commit is atomic, as the real one's. */
struct store {
    uint64_t cursor;
    size_t state_n;
    uint8_t state[STATE_MAX];
};

struct world {
    char dir[64], path[80];
    struct store *store; /* shared with child processes */
    const char *found;   /* what the file holds before the first event */
};

static const struct sink_ops *ops;

/* ---- calls that fail ---- */

enum call { CALL_WRITE, CALL_FDATASYNC, CALL_FTRUNCATE, CALL_FSTAT, CALL_PREAD, CALL_FLOCK, CALLS };

/* Of all calls, the Nth and the `more` behind it fail; 0: none. */
static struct {
    unsigned long nth, more, seen, failed;
    bool write_goes_half; /* a failing write takes half of its bytes first, as a disk that fills up */
} fault;

/* Set while a batch is in submit, to see what is reported before the sync. */
static const struct sink_batch *in_submit;

static const int call_errno[CALLS] = {ENOSPC, EIO, EIO, EIO, EIO, ENOLCK};

static bool call_fails(enum call call)
{
    if (fault.nth == 0)
        return false;
    fault.seen++;
    if (fault.seen < fault.nth || fault.seen > fault.nth + fault.more)
        return false;
    fault.failed++;
    errno = call_errno[call];
    return true;
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (!call_fails(CALL_WRITE))
        return __real_write(fd, p, n);
    if (fault.write_goes_half && n > 1) {
        ssize_t half = __real_write(fd, p, n / 2);
        fault.nth = fault.seen + 1; /* and the rest fails */
        return half;
    }
    return -1;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    /* Nothing may be called durable before this returns. */
    for (size_t i = 0; in_submit && i < in_submit->n; i++)
        assert_int_equal(in_submit->deliveries[i].outcome, SINK_UNREPORTED);
    return call_fails(CALL_FDATASYNC) ? -1 : __real_fdatasync(fd);
}

int __real_fstat(int fd, struct stat *st);

/* The name of a new file is durable before anything in it counts. */
static unsigned folder_syncs;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    struct stat st;
    folder_syncs += __real_fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    return __real_fsync(fd);
}

int __real_ftruncate(int fd, off_t length);
int __wrap_ftruncate(int fd, off_t length);
int __wrap_ftruncate(int fd, off_t length)
{
    return call_fails(CALL_FTRUNCATE) ? -1 : __real_ftruncate(fd, length);
}

int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st)
{
    return call_fails(CALL_FSTAT) ? -1 : __real_fstat(fd, st);
}

ssize_t __real_pread(int fd, void *p, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *p, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *p, size_t n, off_t at)
{
    return call_fails(CALL_PREAD) ? -1 : __real_pread(fd, p, n, at);
}

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);
int __wrap_flock(int fd, int operation)
{
    return call_fails(CALL_FLOCK) ? -1 : __real_flock(fd, operation);
}

/* ---- a small delivery ---- */

/* Sizes that make some batches several writes long. */
static size_t text_size(uint64_t first)
{
    return first % 3 == 1 ? 120000 : 50;
}

static void commit(struct world *w, const struct sink *s, uint64_t cursor)
{
    struct buf state = BUF_INIT;
    ops->state(s, &state);
    assert_true(state.len <= STATE_MAX);
    KILLPOINT("test.before_commit");
    w->store->cursor = cursor;
    w->store->state_n = state.len;
    memcpy(w->store->state, state.data, state.len);
    KILLPOINT("test.after_commit");
    buf_release(&state);
}

/* Opens until it works; a person is never needed here. */
static void open_sink(struct world *w, struct sink *s, struct buf *notice)
{
    struct err e = ERR_INIT;
    for (;;) {
        const struct sink_memory memory = {w->store->cursor, span_of(w->store->state, w->store->state_n)};
        if (ops->open(s, &memory, notice, &e) == 0)
            break;
        if (e.class != ERR_RETRY)
            fail_msg("open: %s", e.text);
    }
    commit(w, s, w->store->cursor);
}

/* One batch that begins behind the cursor. */
static void deliver(struct world *w, struct sink *s, struct made_batch *made, struct buf *notice)
{
    uint64_t first = w->store->cursor + 1;
    size_t n = 1 + first % 5;
    if (first + n - 1 > HEAD)
        n = HEAD - first + 1;
    in_submit = made_batch_fill(made, first, n, 50);
    free(made->text);
    made->text = xmalloc(120000);
    memset(made->text, 'x', 120000);
    for (size_t i = 0; i < n; i++)
        made->events[i].name.cell.as.bytes = span_of(made->text, text_size(first + i));
    ops->submit(s, &made->batch);
    in_submit = NULL;
    assert_int_equal(made_batch_count(made, SINK_UNREPORTED), 0);
    if (made_batch_count(made, SINK_DELIVERED) == n) {
        commit(w, s, first + n - 1);
        return;
    }
    /* One batch is one promise. */
    assert_int_equal(made_batch_count(made, SINK_DELIVERED), 0);
    assert_true(made->batch.reason.class == ERR_RETRY || made->batch.reason.class == ERR_UNKNOWN);
    ops->close(s);
    open_sink(w, s, notice);
}

/* What must be in the file once everything is delivered. */
static void add_expected(const struct world *w, struct buf *expected)
{
    struct made_batch made = MADE_BATCH_INIT;
    buf_add_str(expected, w->found);
    for (uint64_t seq = 1; seq <= HEAD; seq++) {
        made_batch_fill(&made, seq, 1, text_size(seq));
        made_batch_lines(&made, expected);
    }
    made_batch_release(&made);
}

static void run_to_the_end(struct world *w)
{
    char name[] = "log";
    const struct sink_config config = {.name = name, .kind = SINK_KIND_FILE, .path = w->path, .fsync = true};
    struct sink *s = ops->new(&config);
    struct made_batch made = MADE_BATCH_INIT;
    struct buf notice = BUF_INIT;
    open_sink(w, s, &notice);
    while (w->store->cursor < HEAD)
        deliver(w, s, &made, &notice);
    ops->close(s);
    ops->free(s);
    made_batch_release(&made);
    buf_release(&notice);
}

static void must_hold_every_event_once(const struct world *w)
{
    struct buf expected = BUF_INIT, found = BUF_INIT;
    add_expected(w, &expected);
    assert_int_equal(file_read(w->path, 64 << 20, &found, NULL), 0);
    assert_int_equal(found.len, expected.len);
    assert_memory_equal(found.data, expected.data, expected.len);
    buf_release(&expected);
    buf_release(&found);
}

/* ---- worlds ---- */

static void reset(struct world *w)
{
    unlink(w->path);
    memset(w->store, 0, sizeof *w->store);
    if (*w->found)
        assert_int_equal(file_replace(w->path, w->found, strlen(w->found), 0640, NULL), 0);
}

static int begin(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    ops = sink_ops_of(SINK_KIND_FILE);
    memset(&fault, 0, sizeof fault);
    /* A death of the process loses nothing that was written, synced or not: the thousands of syncs may be cheap. */
    snprintf(w->dir, sizeof w->dir, "%s/tidemark-sink-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/out.ndjson", w->dir);
    w->found = "";
    w->store = mmap(NULL, sizeof *w->store, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(w->store, MAP_FAILED);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    unlink(w->path);
    assert_int_equal(rmdir(w->dir), 0);
    munmap(w->store, sizeof *w->store);
    free(w);
    return 0;
}

/* ---- deaths ---- */

/* True when the child died at its kill point, false when it came to the end. */
static bool run_and_die(struct world *w, unsigned long nth)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char text[24];
        snprintf(text, sizeof text, "%lu", nth);
        setenv("TIDEMARK_KILL_AT", text, 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        run_to_the_end(w);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_KILLPOINT);
    return WEXITSTATUS(status) == EXIT_KILLPOINT;
}

static void die_everywhere(struct world *w)
{
    unsigned long nth = 1;
    for (;; nth++) {
        reset(w);
        if (!run_and_die(w, nth))
            break;
        assert_false(run_and_die(w, 0));
        must_hold_every_event_once(w);
    }
    must_hold_every_event_once(w);
    /* Fewer would mean that the points have gone: batches, each with at least six. */
    assert_true(nth > 60);
}

static void a_death_at_any_point_leaves_each_event_once(void **state)
{
#ifndef TIDEMARK_KILLPOINTS
    skip();
#endif
    die_everywhere(*state);
}

static void so_does_one_behind_lines_of_others(void **state)
{
#ifndef TIDEMARK_KILLPOINTS
    skip();
#endif
    struct world *w = *state;
    w->found = "an older line\nand another\n";
    die_everywhere(w);
}

static void many_deaths_in_one_life_leave_each_event_once(void **state)
{
#ifndef TIDEMARK_KILLPOINTS
    skip();
#endif
    struct world *w = *state;
    struct rng r = {20260506};
    for (int life = 0; life < 20; life++) {
        reset(w);
        while (run_and_die(w, 1 + rng_below(&r, 12)))
            ;
        must_hold_every_event_once(w);
    }
}

static void a_new_name_is_synced_before_the_first_line(void **state)
{
    struct world *w = *state;
    char name[] = "log";
    const struct sink_config config = {.name = name, .kind = SINK_KIND_FILE, .path = w->path, .fsync = true};
    struct sink *s = ops->new(&config);
    struct made_batch made = MADE_BATCH_INIT;
    struct buf notice = BUF_INIT;
    folder_syncs = 0;
    open_sink(w, s, &notice);
    assert_int_equal(folder_syncs, 1);
    deliver(w, s, &made, &notice);
    ops->close(s);
    open_sink(w, s, &notice);
    assert_int_equal(folder_syncs, 1);
    ops->close(s);
    ops->free(s);
    made_batch_release(&made);
    buf_release(&notice);
}

/* ---- failures ---- */

/* The Nth call fails, for every N, until a run meets no failure. */
static void fail_everywhere(struct world *w, unsigned long more, bool write_goes_half)
{
    for (unsigned long nth = 1;; nth++) {
        reset(w);
        memset(&fault, 0, sizeof fault);
        fault.nth = nth;
        fault.more = more;
        fault.write_goes_half = write_goes_half;
        run_to_the_end(w);
        bool none_failed = fault.failed == 0;
        fault.nth = 0;
        must_hold_every_event_once(w);
        if (none_failed) {
            assert_true(nth > 60);
            return;
        }
    }
}

static void any_call_may_fail_once(void **state)
{
    fail_everywhere(*state, 0, false);
}

static void any_write_may_stop_half_way(void **state)
{
    fail_everywhere(*state, 0, true);
}

static void any_call_may_fail_with_those_behind_it(void **state)
{
    struct world *w = *state;
    w->found = "an older line\n";
    fail_everywhere(w, 1, false);
    fail_everywhere(w, 2, true);
    fail_everywhere(w, 9, false);
}

/* ---- what is said when the disk does not keep its word ---- */

static void submit_with_fault(struct world *w, struct sink *s, struct made_batch *made, unsigned long nth, unsigned long more)
{
    const struct sink_memory memory = {w->store->cursor, span_of(w->store->state, w->store->state_n)};
    struct buf notice = BUF_INIT;
    struct err e = ERR_INIT;
    assert_int_equal(ops->open(s, &memory, &notice, &e), 0);
    buf_release(&notice);
    made_batch_fill(made, 1, 3, 50);
    fault.seen = 0;
    fault.nth = nth;
    fault.more = more;
    ops->submit(s, &made->batch);
    fault.nth = 0;
}

static void a_failed_sync_and_a_failed_cut_are_unknown(void **state)
{
    struct world *w = *state;
    char name[] = "log";
    const struct sink_config config = {.name = name, .kind = SINK_KIND_FILE, .path = w->path, .fsync = true};
    struct sink *s = ops->new(&config);
    struct made_batch made = MADE_BATCH_INIT;
#ifdef TIDEMARK_KILLPOINTS
    const unsigned long writes = 2; /* each batch is written in halves */
#else
    const unsigned long writes = 1;
#endif
    /* fstat, writes, then fdatasync. */
    submit_with_fault(w, s, &made, 1 + writes + 1, 0);
    assert_int_equal(made_batch_count(&made, SINK_UNKNOWN), 3);
    assert_int_equal(made.batch.reason.class, ERR_UNKNOWN);
    assert_int_equal(made.batch.reason.code, EIO);
    assert_non_null(strstr(made.batch.reason.text, "cannot sync"));
    assert_non_null(strstr(made.batch.reason.text, w->path));
    assert_non_null(strstr(made.batch.reason.text, "bytes free"));
    /* It does not pretend that a second sync would help. */
    made_batch_fill(&made, 1, 3, 50);
    ops->submit(s, &made.batch);
    assert_int_equal(made_batch_count(&made, SINK_RETRY), 3);
    unlink(w->path);
    /* The last write fails, and so does taking the first back. */
    submit_with_fault(w, s, &made, 1 + writes, 1);
    assert_int_equal(made_batch_count(&made, SINK_UNKNOWN), 3);
    assert_int_equal(made.batch.reason.code, ENOSPC);
    unlink(w->path);
    /* The write fails and is taken back. */
    submit_with_fault(w, s, &made, 1 + writes, 0);
    assert_int_equal(made_batch_count(&made, SINK_RETRY), 3);
    assert_non_null(strstr(made.batch.reason.text, "cannot write to"));
    struct stat st;
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_size, 0);
    ops->close(s);
    ops->free(s);
    made_batch_release(&made);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_death_at_any_point_leaves_each_event_once),
        CASE(so_does_one_behind_lines_of_others),
        CASE(many_deaths_in_one_life_leave_each_event_once),
        CASE(a_new_name_is_synced_before_the_first_line),
        CASE(any_call_may_fail_once),
        CASE(any_write_may_stop_half_way),
        CASE(any_call_may_fail_with_those_behind_it),
        CASE(a_failed_sync_and_a_failed_cut_are_unknown),
    };
    return cmocka_run_group_tests_name("sink_crash", tests, NULL, NULL);
}
