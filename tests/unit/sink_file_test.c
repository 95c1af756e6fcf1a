/*
 * The file sink's rules: whose bytes are cut, whose are kept, and what is said.
 */
#include "base/digest.h"
#include "base/file.h"
#include "base/random.h"
#include "sink/file.h"
#include "sink_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 40 }; /* bytes in a made event's field */

/* A sink on DIR/out.ndjson, and what the store would remember about it. */
struct world {
    char dir[64], path[80], other[80];
    struct sink *s;
    uint64_t cursor;
    struct buf state, notice;
    struct err e;
    struct made_batch made;
    struct buf expected; /* what the file must hold */
};

static const struct sink_ops *ops;

static struct sink *new_sink(const char *path, bool fsync_asked)
{
    char name[] = "log";
    const struct sink_config config = {
        .name = name, .kind = SINK_KIND_FILE, .path = (char *)(uintptr_t)path, .fsync = fsync_asked};
    return ops->new(&config);
}

static int begin(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    ops = sink_ops_of(SINK_KIND_FILE);
    snprintf(w->dir, sizeof w->dir, "/tmp/tidemark-sink-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/out.ndjson", w->dir);
    snprintf(w->other, sizeof w->other, "%s/out.ndjson.1", w->dir);
    w->s = new_sink(w->path, true);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    ops->close(w->s);
    ops->free(w->s);
    umount2(w->dir, MNT_DETACH); /* a case that failed may have left it */
    unlink(w->path);
    rmdir(w->path);
    unlink(w->other);
    assert_int_equal(rmdir(w->dir), 0);
    buf_release(&w->state);
    buf_release(&w->notice);
    buf_release(&w->expected);
    made_batch_release(&w->made);
    free(w);
    return 0;
}

static int try_open(struct world *w)
{
    const struct sink_memory memory = {w->cursor, buf_span(&w->state)};
    buf_clear(&w->notice);
    buf_add_str(&w->notice, "");
    err_clear(&w->e);
    return ops->open(w->s, &memory, &w->notice, &w->e);
}

/* The store's commit. */
static void commit(struct world *w, uint64_t cursor)
{
    w->cursor = cursor;
    buf_clear(&w->state);
    ops->state(w->s, &w->state);
}

static void must_open(struct world *w)
{
    if (try_open(w) != 0)
        fail_msg("open: %s", w->e.text);
    commit(w, w->cursor);
}

static void must_refuse(struct world *w, enum err_class class, const char *text)
{
    assert_int_equal(try_open(w), -1);
    assert_int_equal(w->e.class, class);
    assert_string_equal(w->e.origin, "sink.file");
    if (!strstr(w->e.text, text) || !strstr(w->e.text, w->path))
        fail_msg("'%s' and the path are not in: %s", text, w->e.text);
}

static void submit(struct world *w, uint64_t first, size_t n)
{
    ops->submit(w->s, made_batch_fill(&w->made, first, n, TEXT));
}

static void deliver(struct world *w, size_t n)
{
    submit(w, w->cursor + 1, n);
    assert_int_equal(made_batch_count(&w->made, SINK_DELIVERED), n);
    made_batch_lines(&w->made, &w->expected);
    commit(w, w->cursor + n);
}

/* Delivered and durable, but the process dies before the store's commit. */
static void deliver_uncommitted(struct world *w, size_t n)
{
    submit(w, w->cursor + 1, n);
    assert_int_equal(made_batch_count(&w->made, SINK_DELIVERED), n);
}

static void put(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, text, n, NULL), 0);
    close(fd);
}

static void put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

static void must_hold(const char *path, struct span expected)
{
    struct buf found = BUF_INIT;
    assert_int_equal(file_read(path, 64 << 20, &found, NULL), 0);
    assert_int_equal(found.len, expected.n);
    if (expected.n)
        assert_memory_equal(found.data, expected.p, expected.n);
    buf_release(&found);
}

static void must_hold_expected(const struct world *w)
{
    must_hold(w->path, buf_span(&w->expected));
}

static void must_say(const struct world *w, const char *text)
{
    if (!strstr((const char *)w->notice.data, text))
        fail_msg("'%s' is not in: %s", text, (const char *)w->notice.data);
}

static void must_say_nothing(const struct world *w)
{
    assert_string_equal((const char *)w->notice.data, "");
}

static void restart(struct world *w)
{
    ops->close(w->s);
    must_open(w);
}

/* ---- writing ---- */

static void a_new_file_gets_lines_with_one_sync_per_batch(void **state)
{
    struct world *w = *state;
    struct stat st;
    mode_t mask = umask(0);
    must_open(w);
    umask(mask);
    must_say_nothing(w);
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    deliver(w, 1);
    deliver(w, 100);
    submit(w, 1000, 0);
    assert_int_equal(sink_file_syncs(w->s), 2);
    /* A batch of several writes is still one promise. */
    deliver(w, 4000);
    assert_true(w->expected.len > 512 << 10);
    assert_int_equal(sink_file_syncs(w->s), 3);
    must_hold_expected(w);
}

static void without_fsync_nothing_is_synced(void **state)
{
    struct world *w = *state;
    ops->free(w->s);
    w->s = new_sink(w->path, false);
    must_open(w);
    deliver(w, 10);
    assert_int_equal(sink_file_syncs(w->s), 0);
    must_hold_expected(w);
}

static void a_restart_goes_on_where_it_was_and_changes_nothing(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 3);
    for (int i = 0; i < 3; i++) {
        restart(w);
        must_say_nothing(w);
        must_hold_expected(w);
    }
    deliver(w, 3);
    must_hold_expected(w);
}

static void a_sink_that_is_not_open_reports_retry(void **state)
{
    struct world *w = *state;
    submit(w, 1, 3);
    assert_int_equal(made_batch_count(&w->made, SINK_RETRY), 3);
    assert_non_null(strstr(w->made.batch.reason.text, w->path));
    must_open(w);
}

/* ---- an unfinished batch of ours ---- */

static void an_uncommitted_batch_is_cut_back_exactly(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 5);
    deliver_uncommitted(w, 7);
    restart(w);
    must_say(w, "cut back");
    must_hold_expected(w);
    deliver(w, 9);
    must_hold_expected(w);
}

static void the_first_batch_of_all_is_cut_back_too(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver_uncommitted(w, 7);
    restart(w);
    must_say(w, "cut back");
    must_hold_expected(w);
}

/* The tail as a crash may leave it: cut at any byte, with zeros behind it or not. */
static void our_tail_torn_anywhere_is_cut_back(void **state)
{
    struct world *w = *state;
    static const char zeros[5000];
    struct buf tail = BUF_INIT;
    must_open(w);
    deliver(w, 2);
    made_batch_fill(&w->made, w->cursor + 1, 3, TEXT);
    made_batch_lines(&w->made, &tail);
    for (size_t cut = 1; cut <= tail.len; cut++) {
        ops->close(w->s);
        put(w->path, (const char *)tail.data, cut);
        if (cut % 2)
            put(w->path, zeros, sizeof zeros);
        must_open(w);
        must_say(w, "cut back");
        must_hold_expected(w);
    }
    deliver(w, 1);
    must_hold_expected(w);
    buf_release(&tail);
}

static void our_tail_with_very_long_lines_is_cut_back(void **state)
{
    struct world *w = *state;
    static const size_t sizes[] = {60000, 65000, 65536, 70000, 131072, 200000, 1 << 20};
    must_open(w);
    deliver(w, 2);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf tail = BUF_INIT;
        made_batch_fill(&w->made, w->cursor + 1, 3, sizes[i]);
        made_batch_lines(&w->made, &tail);
        for (size_t cut = 0; cut < 3; cut++) {
            ops->close(w->s);
            put(w->path, (const char *)tail.data, tail.len - cut * (sizes[i] - 7));
            must_open(w);
            must_hold_expected(w);
        }
        buf_release(&tail);
    }
}

/* A settled line longer than what the mark looks at. */
static void a_settled_line_may_be_long(void **state)
{
    struct world *w = *state;
    must_open(w);
    ops->submit(w->s, made_batch_fill(&w->made, 1, 2, 300000));
    assert_int_equal(made_batch_count(&w->made, SINK_DELIVERED), 2);
    made_batch_lines(&w->made, &w->expected);
    commit(w, 2);
    restart(w);
    must_say_nothing(w);
    /* And a file taken over at its end. */
    buf_clear(&w->state);
    restart(w);
    restart(w);
    must_say_nothing(w);
    deliver(w, 1);
    must_hold_expected(w);
}

static void late_events_in_our_tail_may_have_any_seq(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 10);
    made_batch_fill(&w->made, 3, 4, 100);
    w->made.batch.deliveries[0].line_flags = LINE_LATE;
    w->made.batch.deliveries[1].line_flags = LINE_LATE;
    w->made.events[2].ev.seq = 11;
    w->made.events[3].ev.seq = 2;
    w->made.batch.deliveries[3].line_flags = LINE_LATE;
    ops->submit(w->s, &w->made.batch);
    assert_int_equal(made_batch_count(&w->made, SINK_DELIVERED), 4);
    restart(w);
    must_say(w, "cut back");
    must_hold_expected(w);
    /* The same, longer than the window of the check. */
    made_batch_fill(&w->made, 3, 1, 100000);
    w->made.batch.deliveries[0].line_flags = LINE_LATE;
    ops->submit(w->s, &w->made.batch);
    restart(w);
    must_hold_expected(w);
}

/* ---- bytes that are not ours ---- */

static void must_keep_foreign_tail(struct world *w, const char *tail, size_t n)
{
    struct buf all = BUF_INIT;
    buf_add_span(&all, buf_span(&w->expected));
    buf_add(&all, tail, n);
    ops->close(w->s);
    put(w->path, tail, n);
    must_refuse(w, ERR_REJECTED, "tidemark sink reset log");
    must_hold(w->path, buf_span(&all));
    assert_int_equal(truncate(w->path, (off_t)w->expected.len), 0);
    buf_release(&all);
}

static void a_foreign_tail_stops_the_sink_and_keeps_its_bytes(void **state)
{
    static const char *const tails[] = {
        "x", "\n", "{}\n", "hello\n", "{\"id\":1}\n", "{\"id\":\"a\",\"name\":\"b\"}\n", "{\"seq\":99}",
        "{\"id\":\"a\",\"org\":\"b\",\"topic\":\"c\",\"replay_id\":\"d\",\"schema_id\":\"e\",\"seq\":99\n",
        "{\"id\":\"a\",\"org\":\"b\",\"topic\":\"c\",\"replay_id\":\"d\",\"schema_id\":\"e\",\"seq\":99}}}x\n",
        "{\"id\":\"a\",\"org\":\"b\",\"topic\":\"c\",\"replay_id\":\"d\",\"schema_id\":\"e\",\"seq\":}\n",
        "{\"id\":\"a\",\"org\":\"b\",\"topic\":\"c\",\"replay_id\":\"d\",\"schema_id\":\"e\",\"seq\":99999999999999999999999}\n",
    };
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    for (size_t i = 0; i < ARRAY_LEN(tails); i++)
        must_keep_foreign_tail(w, tails[i], strlen(tails[i]));
    must_keep_foreign_tail(w, "{\"id\":\0\0\0x", 10);
    char *wide = xmalloc(300000);
    memset(wide, 'w', 300000);
    must_keep_foreign_tail(w, wide, 300000);
    wide[299999] = '\n';
    must_keep_foreign_tail(w, wide, 300000);
    free(wide);
    restart(w);
    must_say_nothing(w);
}

static void events_settled_before_or_out_of_order_are_foreign(void **state)
{
    struct world *w = *state;
    struct buf tail = BUF_INIT;
    must_open(w);
    deliver(w, 4);
    /* A copy of our own first lines. */
    must_keep_foreign_tail(w, (const char *)w->expected.data, w->expected.len);
    made_batch_fill(&w->made, 5, 3, TEXT);
    w->made.events[1].ev.seq = 7;
    w->made.events[2].ev.seq = 6;
    made_batch_lines(&w->made, &tail);
    must_keep_foreign_tail(w, (const char *)tail.data, tail.len);
    w->made.events[2].ev.seq = 7;
    buf_clear(&tail);
    made_batch_lines(&w->made, &tail);
    must_keep_foreign_tail(w, (const char *)tail.data, tail.len);
    buf_release(&tail);
}

static void foreign_lines_behind_our_tail_stop_the_sink(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    deliver_uncommitted(w, 2);
    made_batch_lines(&w->made, &w->expected);
    must_keep_foreign_tail(w, "theirs\n", 7);
}

static void a_reset_accepts_a_foreign_tail(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    put_text(w->path, "theirs\n");
    must_refuse(w, ERR_REJECTED, "somebody else");
    buf_clear(&w->state);
    must_open(w);
    must_say(w, "going on at its end");
    buf_add_str(&w->expected, "theirs\n");
    deliver(w, 2);
    restart(w);
    must_say_nothing(w);
    must_hold_expected(w);
}

static void an_edited_line_stops_the_sink(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    int fd = open(w->path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "X", 1, (off_t)w->expected.len - 5), 1);
    close(fd);
    must_refuse(w, ERR_REJECTED, "last line settled");
}

static void a_file_that_grows_under_us_is_noticed_before_the_next_batch(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    put_text(w->path, "theirs\n");
    submit(w, 5, 2);
    assert_int_equal(made_batch_count(&w->made, SINK_RETRY), 2);
    assert_non_null(strstr(w->made.batch.reason.text, "somebody else"));
    must_refuse(w, ERR_REJECTED, "somebody else");
    buf_add_str(&w->expected, "theirs\n");
    must_hold_expected(w);
}

/* ---- rotated, truncated, deleted, found ---- */

static void a_rotated_file_is_left_alone_and_the_new_one_begun(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    assert_int_equal(rename(w->path, w->other), 0);
    must_open(w);
    must_say(w, "begun as a new file");
    must_hold(w->other, buf_span(&w->expected));
    buf_clear(&w->expected);
    deliver(w, 2);
    /* And onto a file that has lines already. */
    ops->close(w->s);
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(rename(w->other, w->path), 0);
    must_open(w);
    must_say(w, "rotated");
    buf_clear(&w->expected);
    assert_int_equal(file_read(w->path, 1 << 20, &w->expected, NULL), 0);
    deliver(w, 2);
    must_hold_expected(w);
    restart(w);
    must_say_nothing(w);
}

static void a_rotation_with_an_uncommitted_first_batch_repeats_nothing(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    assert_int_equal(rename(w->path, w->other), 0);
    must_open(w);
    buf_clear(&w->expected);
    deliver_uncommitted(w, 3);
    restart(w);
    must_say(w, "cut back");
    deliver(w, 3);
    must_hold_expected(w);
}

static void a_truncated_file_is_begun_at_its_end(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    assert_int_equal(truncate(w->path, 0), 0);
    must_open(w);
    must_say(w, "truncated");
    buf_clear(&w->expected);
    deliver(w, 2);
    must_hold_expected(w);
}

/* logrotate's copytruncate: no hole, no lost batch. */
static void a_file_truncated_under_us_goes_on_without_a_hole(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    assert_int_equal(truncate(w->path, 0), 0);
    submit(w, 5, 2);
    assert_int_equal(made_batch_count(&w->made, SINK_RETRY), 2);
    restart(w);
    must_say(w, "truncated");
    buf_clear(&w->expected);
    deliver(w, 2);
    must_hold_expected(w);
}

static void a_file_truncated_inside_a_line_is_refused(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    assert_int_equal(truncate(w->path, (off_t)w->expected.len - 20), 0);
    must_refuse(w, ERR_REJECTED, "torn line");
    put_text(w->path, "\n");
    must_open(w);
}

static void a_file_deleted_under_us_is_noticed_before_the_next_batch(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    assert_int_equal(unlink(w->path), 0);
    submit(w, 5, 2);
    assert_int_equal(made_batch_count(&w->made, SINK_RETRY), 2);
    assert_non_null(strstr(w->made.batch.reason.text, "deleted"));
    restart(w);
    must_say(w, "gone (rotated or deleted)");
    buf_clear(&w->expected);
    deliver(w, 2);
    must_hold_expected(w);
}

static void a_new_sink_appends_to_a_file_it_finds(void **state)
{
    struct world *w = *state;
    put_text(w->path, "older\nlines\n");
    must_open(w);
    must_say(w, "holds 12 bytes already");
    buf_add_str(&w->expected, "older\nlines\n");
    deliver(w, 2);
    deliver_uncommitted(w, 2);
    restart(w);
    must_hold_expected(w);
}

static void a_new_sink_refuses_a_file_with_a_torn_line(void **state)
{
    struct world *w = *state;
    put_text(w->path, "older\nlin");
    must_refuse(w, ERR_REJECTED, "torn line");
    must_hold(w->path, span_of_str("older\nlin"));
}

static void a_volume_mounted_again_is_the_same_file(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    w->state.data[1] ^= 0x55; /* the device number */
    restart(w);
    must_say_nothing(w);
    deliver(w, 1);
    must_hold_expected(w);
}

static void a_memory_of_unknown_form_is_refused(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    ops->close(w->s);
    struct rng r = {7};
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[64];
        size_t n = 1 + rng_below(&r, sizeof bytes);
        for (size_t j = 0; j < n; j++)
            bytes[j] = (uint8_t)rng_next(&r);
        if (i % 2) {
            n = w->state.len;
            memcpy(bytes, w->state.data, n);
            bytes[rng_below(&r, 29)] ^= (uint8_t)(1 + rng_below(&r, 255));
        }
        const struct sink_memory memory = {w->cursor, span_of(bytes, n)};
        buf_clear(&w->notice);
        if (ops->open(w->s, &memory, &w->notice, &w->e) == 0)
            ops->close(w->s);
    }
    must_hold_expected(w);
    w->state.data[0] = 9;
    must_refuse(w, ERR_REJECTED, "form this version does not know");
}

/* ---- SIGHUP ---- */

static int reopen(struct world *w)
{
    buf_clear(&w->notice);
    buf_add_str(&w->notice, "");
    err_clear(&w->e);
    return ops->reopen(w->s, &w->notice, &w->e);
}

static void a_reopen_follows_the_path(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    assert_int_equal(reopen(w), 0);
    must_say_nothing(w);
    assert_int_equal(rename(w->path, w->other), 0);
    deliver(w, 1); /* until told, the file in use stays in use */
    must_hold(w->other, buf_span(&w->expected));
    assert_int_equal(reopen(w), 0);
    must_say(w, "begun as a new file");
    commit(w, w->cursor);
    buf_clear(&w->expected);
    deliver(w, 2);
    must_hold_expected(w);
    restart(w);
    must_say_nothing(w);
}

static void a_reopen_begins_at_the_end_of_what_it_finds(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    assert_int_equal(rename(w->path, w->other), 0);
    put_text(w->path, "header\n");
    assert_int_equal(reopen(w), 0);
    must_say(w, "rotated");
    commit(w, w->cursor);
    buf_clear(&w->expected);
    buf_add_str(&w->expected, "header\n");
    deliver(w, 2);
    must_hold_expected(w);
    assert_int_equal(truncate(w->path, 0), 0);
    assert_int_equal(reopen(w), 0);
    must_say(w, "truncated");
    buf_clear(&w->expected);
    deliver(w, 2);
    must_hold_expected(w);
}

static void a_reopen_that_fails_keeps_the_file_in_use(void **state)
{
    struct world *w = *state;
    must_open(w);
    deliver(w, 4);
    assert_int_equal(rename(w->path, w->other), 0);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_int_equal(reopen(w), -1);
    assert_int_equal(w->e.class, ERR_REJECTED);
    deliver(w, 1);
    must_hold(w->other, buf_span(&w->expected));
    rmdir(w->path);
    rename(w->other, w->path);
    put_text(w->path, "theirs\n");
    assert_int_equal(reopen(w), -1);
    assert_int_equal(w->e.class, ERR_REJECTED);
    ops->close(w->s);
    assert_int_equal(reopen(w), 0);
}

/* ---- paths that are no good ---- */

static void one_file_belongs_to_one_sink(void **state)
{
    struct world *w = *state;
    must_open(w);
    struct sink *first = w->s;
    w->s = new_sink(w->path, true);
    must_refuse(w, ERR_REJECTED, "another sink of this process");
    ops->close(first);
    must_open(w);
    ops->close(w->s);
    ops->free(first);
}

static void a_file_of_another_process_is_refused_by_its_name(void **state)
{
    struct world *w = *state;
    int ready[2], done[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        close(done[1]);
        if (try_open(w) == 0 && write(ready[1], "x", 1) == 1 && read(done[0], &byte, 1) == 0)
            _exit(0);
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    must_refuse(w, ERR_REJECTED, "is locked by");
    close(done[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must_open(w);
    close(ready[0]);
    close(ready[1]);
    close(done[0]);
}

static void what_is_not_a_regular_file_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(w->path, 0700), 0);
    must_refuse(w, ERR_REJECTED, "folder");
    rmdir(w->path);
    assert_int_equal(mkfifo(w->path, 0600), 0);
    must_refuse(w, ERR_REJECTED, "pipe");
    unlink(w->path);
    assert_int_equal(symlink("/dev/null", w->path), 0);
    must_refuse(w, ERR_REJECTED, "device");
    unlink(w->path);
    assert_int_equal(symlink(w->path, w->path), 0);
    must_refuse(w, ERR_REJECTED, "symbolic links");
    unlink(w->path);
}

static void a_missing_folder_may_still_come(void **state)
{
    struct world *w = *state;
    ops->free(w->s);
    snprintf(w->path, sizeof w->path, "%s/volume/out.ndjson", w->dir);
    w->s = new_sink(w->path, true);
    must_refuse(w, ERR_RETRY, "folder does not exist");
    ops->close(w->s);
    char folder[80];
    snprintf(folder, sizeof folder, "%s/volume", w->dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    must_open(w);
    deliver(w, 1);
    must_hold_expected(w);
    unlink(w->path);
    rmdir(folder);
}

static void a_link_leads_to_its_file(void **state)
{
    struct world *w = *state;
    assert_int_equal(symlink(w->other, w->path), 0);
    must_open(w); /* made behind the link */
    deliver(w, 2);
    must_hold(w->other, buf_span(&w->expected));
    restart(w);
    must_say_nothing(w);
}

static void a_file_that_may_not_be_written_is_refused(void **state)
{
    struct world *w = *state;
    if (geteuid() != 0)
        skip(); /* needs to become somebody else */
    put_text(w->path, "theirs\n");
    assert_int_equal(chmod(w->dir, 0755), 0);
    assert_int_equal(chmod(w->path, 0444), 0);
    assert_int_equal(seteuid(65534), 0);
    must_refuse(w, ERR_REJECTED, "permission denied for user 65534");
    assert_int_equal(seteuid(0), 0);
}

/* ---- a full disk ---- */

static void must_fail_for_space(struct world *w, const char *text)
{
    assert_int_equal(made_batch_count(&w->made, SINK_RETRY), w->made.batch.n);
    assert_int_equal(w->made.batch.reason.class, ERR_RETRY);
    if (!strstr(w->made.batch.reason.text, text) || !strstr(w->made.batch.reason.text, w->path) ||
        !strstr(w->made.batch.reason.text, "bytes free"))
        fail_msg("%s", w->made.batch.reason.text);
    must_hold_expected(w);
}

static void a_write_past_the_limit_is_cut_back_and_told(void **state)
{
    struct world *w = *state;
    struct rlimit old, low = {20000, 0};
    must_open(w);
    deliver(w, 10);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    submit(w, w->cursor + 1, 1000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    must_fail_for_space(w, "File too large");
    deliver(w, 1000);
    must_hold_expected(w);
}

static void a_full_disk_is_told_and_forgotten_when_there_is_room_again(void **state)
{
    struct world *w = *state;
    if (geteuid() != 0 || mount("tmpfs", w->dir, "tmpfs", 0, "size=256k") != 0)
        skip(); /* needs the right to mount */
    char filler[80], full[80];
    snprintf(filler, sizeof filler, "%s/filler", w->dir);
    must_open(w);
    deliver(w, 100);
    static const char block[128 << 10];
    put(filler, block, sizeof block);
    submit(w, w->cursor + 1, 1000);
    must_fail_for_space(w, "No space left on device");
    submit(w, w->cursor + 1, 1000);
    must_fail_for_space(w, "No space left on device");
    assert_int_equal(unlink(filler), 0);
    restart(w);
    must_say_nothing(w);
    deliver(w, 500);
    must_hold_expected(w);
    ops->close(w->s);
    /* Not even room for the name. */
    snprintf(full, sizeof full, "size=4k,nr_inodes=1");
    assert_int_equal(umount(w->dir), 0);
    assert_int_equal(mount("tmpfs", w->dir, "tmpfs", 0, full), 0);
    must_refuse(w, ERR_RETRY, "No space left on device");
    assert_int_equal(umount(w->dir), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_file_gets_lines_with_one_sync_per_batch),
        CASE(without_fsync_nothing_is_synced),
        CASE(a_restart_goes_on_where_it_was_and_changes_nothing),
        CASE(a_sink_that_is_not_open_reports_retry),
        CASE(an_uncommitted_batch_is_cut_back_exactly),
        CASE(the_first_batch_of_all_is_cut_back_too),
        CASE(our_tail_torn_anywhere_is_cut_back),
        CASE(our_tail_with_very_long_lines_is_cut_back),
        CASE(a_settled_line_may_be_long),
        CASE(late_events_in_our_tail_may_have_any_seq),
        CASE(a_foreign_tail_stops_the_sink_and_keeps_its_bytes),
        CASE(events_settled_before_or_out_of_order_are_foreign),
        CASE(foreign_lines_behind_our_tail_stop_the_sink),
        CASE(a_reset_accepts_a_foreign_tail),
        CASE(an_edited_line_stops_the_sink),
        CASE(a_file_that_grows_under_us_is_noticed_before_the_next_batch),
        CASE(a_rotated_file_is_left_alone_and_the_new_one_begun),
        CASE(a_rotation_with_an_uncommitted_first_batch_repeats_nothing),
        CASE(a_truncated_file_is_begun_at_its_end),
        CASE(a_file_truncated_under_us_goes_on_without_a_hole),
        CASE(a_file_truncated_inside_a_line_is_refused),
        CASE(a_file_deleted_under_us_is_noticed_before_the_next_batch),
        CASE(a_new_sink_appends_to_a_file_it_finds),
        CASE(a_new_sink_refuses_a_file_with_a_torn_line),
        CASE(a_volume_mounted_again_is_the_same_file),
        CASE(a_memory_of_unknown_form_is_refused),
        CASE(a_reopen_follows_the_path),
        CASE(a_reopen_begins_at_the_end_of_what_it_finds),
        CASE(a_reopen_that_fails_keeps_the_file_in_use),
        CASE(one_file_belongs_to_one_sink),
        CASE(a_file_of_another_process_is_refused_by_its_name),
        CASE(what_is_not_a_regular_file_is_refused),
        CASE(a_missing_folder_may_still_come),
        CASE(a_link_leads_to_its_file),
        CASE(a_file_that_may_not_be_written_is_refused),
        CASE(a_write_past_the_limit_is_cut_back_and_told),
        CASE(a_full_disk_is_told_and_forgotten_when_there_is_room_again),
    };
    return cmocka_run_group_tests_name("sink_file", tests, NULL, NULL);
}
