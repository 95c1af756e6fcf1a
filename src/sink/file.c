/*
 * file sink: one line of JSON per event, appended, synced, then reported.
 *
 * A file knows no transactions, so the store remembers where our part of it ends (the mark) and commits
 * that with the cursor. Three steps, and what a crash leaves after each:
 *   1. write       lines, maybe torn, behind the mark: cut back at the next open, delivered again
 *   2. fdatasync   whole lines behind the mark: the same
 *   3. the store commits cursor and mark: settled
 * So each event stands in the file once, wherever the process dies (tests/unit/sink_file_test.c, the kill
 * loop). This holds only if delivery commits the mark after every open, before the first submit: what
 * was written into a file nobody remembers cannot be told from somebody else's.
 *
 * When something fails, the file says how it must go on:
 *   write fails, cut back to the mark      RETRY: nothing of the batch is there
 *   write fails, cutting back fails too    UNKNOWN, closed: the next open looks
 *   fdatasync fails                        UNKNOWN, closed: the kernel may have dropped the pages and
 *                                          report the next sync as done, so only the mark is to be trusted
 *   deleted, truncated or written to by    RETRY, closed: the next open decides what that was
 *   somebody else since the last batch
 */
#include "sink/file.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/killpoint.h"
#include "sink/file_open.h"
#include "sink/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

/* Written out when this much has gathered: stays in the processor's cache, bounds memory whatever comes. */
enum { CHUNK = 256 << 10 };
/* A buffer that one huge event has grown is given back. */
enum { BUFFER_KEPT_MAX = 2 << 20 };

static const char origin[] = "sink.file";

struct sink {
    char *name, *path;
    bool fsync;
    struct file_output out;
    struct buf lines;
    uint64_t syncs;
};

/* One batch on its way into the file. */
struct writing {
    struct sink *sink;
    uint64_t written;
    size_t last_line; /* offset of the newest line in sink->lines */
};

static struct sink *file_new(const struct sink_config *config)
{
    struct sink *s = xcalloc(1, sizeof *s);
    s->name = xstrdup(config->name);
    s->path = xstrdup(config->path);
    s->fsync = config->fsync;
    s->out.fd = -1;
    return s;
}

static int file_open_sink(struct sink *s, const struct sink_memory *memory, struct buf *notice, struct err *e)
{
    file_output_close(&s->out);
    return file_open(&s->out, s->name, s->path, memory, notice, e);
}

/* Nobody but us may have changed the file since the last batch. */
static int check_untouched(const struct sink *s, struct err *e)
{
    struct stat st;
    if (s->out.fd < 0)
        return err_set(e, ERR_RETRY, origin, 0, "%s is not open", s->path);
    if (fstat(s->out.fd, &st) != 0)
        return file_output_error(e, ERR_RETRY, errno, s->out.fd, "look at", s->path);
    if (st.st_nlink == 0)
        return err_set(e, ERR_RETRY, origin, 0, "%s was deleted while it was written; opening it anew",
                       s->path);
    if ((uint64_t)st.st_size < s->out.mark.length)
        return err_set(e, ERR_RETRY, origin, 0,
                       "%s was truncated from %" PRIu64 " to %jd bytes while it was written", s->path,
                       s->out.mark.length, (intmax_t)st.st_size);
    if ((uint64_t)st.st_size > s->out.mark.length)
        return err_set(e, ERR_RETRY, origin, 0,
                       "%s has grown from %" PRIu64 " to %jd bytes: somebody else writes to it", s->path,
                       s->out.mark.length, (intmax_t)st.st_size);
    return 0;
}

static int write_out(struct writing *w, struct err *e)
{
    struct sink *s = w->sink;
    const uint8_t *at = s->lines.data;
    size_t n = s->lines.len;
#ifdef TIDEMARK_KILLPOINTS
    /* Let a test die with a torn line in the file. */
    size_t half = n / 2;
    if (file_write_all(s->out.fd, at, half, e) != 0)
        return -1;
    KILLPOINT("file.half_written");
    at += half;
    n -= half;
#endif
    if (file_write_all(s->out.fd, at, n, e) != 0)
        return -1;
    /* Let the disk begin while the next lines are made. Only a hint: fdatasync tells the truth at the end. */
    if (s->fsync)
        sync_file_range(s->out.fd, (off_t)(s->out.mark.length + w->written), (off_t)s->lines.len, SYNC_FILE_RANGE_WRITE);
    w->written += s->lines.len;
    return 0;
}

static int write_batch(struct writing *w, const struct sink_batch *batch, struct err *e)
{
    struct buf *lines = &w->sink->lines;
    buf_clear(lines);
    for (size_t i = 0; i < batch->n; i++) {
        const struct delivery *d = &batch->deliveries[i];
        /* Before the line, never after: the last line of the batch is still here at the end, for the mark. */
        if (lines->len >= CHUNK) {
            if (write_out(w, e) != 0)
                return -1;
            buf_clear(lines);
        }
        w->last_line = lines->len;
        json_line_add(lines, d->ev, d->ch, d->source, d->line_flags);
        buf_add_char(lines, '\n');
    }
    return write_out(w, e);
}

/* Take the batch out again. What is taken back was not applied; what cannot be taken back may be. */
static void write_failed(struct sink *s, struct sink_batch *batch, const struct err *cause)
{
    struct err e;
    file_output_error(&e, ERR_RETRY, cause->code, s->out.fd, "write to", s->path);
    if (TEMP_FAILURE_RETRY(ftruncate(s->out.fd, (off_t)s->out.mark.length)) == 0) {
        sink_report_rest(batch, SINK_RETRY, &e);
        return;
    }
    e.class = ERR_UNKNOWN;
    file_output_close(&s->out);
    sink_report_rest(batch, SINK_UNKNOWN, &e);
}

static int make_durable(struct sink *s, struct err *e)
{
    if (!s->fsync)
        return 0;
    s->syncs++;
    if (fdatasync(s->out.fd) == 0)
        return 0;
    return file_output_error(e, ERR_UNKNOWN, errno, s->out.fd, "sync", s->path);
}

static void submit_lines(struct sink *s, struct sink_batch *batch)
{
    struct err e = ERR_INIT;
    struct writing w = {.sink = s};
    if (check_untouched(s, &e) != 0) {
        file_output_close(&s->out);
        sink_report_rest(batch, SINK_RETRY, &e);
        return;
    }
    KILLPOINT("file.before_write");
    if (write_batch(&w, batch, &e) != 0) {
        write_failed(s, batch, &e);
        return;
    }
    KILLPOINT("file.after_write");
    if (make_durable(s, &e) != 0) {
        file_output_close(&s->out);
        sink_report_rest(batch, SINK_UNKNOWN, &e);
        return;
    }
    KILLPOINT("file.after_sync");
    s->out.mark.length += w.written;
    file_mark_set_line(&s->out.mark, span_of(s->lines.data + w.last_line, s->lines.len - w.last_line));
    sink_report_rest(batch, SINK_DELIVERED, NULL);
}

static void file_submit(struct sink *s, struct sink_batch *batch)
{
    if (batch->n == 0)
        return;
    submit_lines(s, batch);
    if (s->lines.cap > BUFFER_KEPT_MAX)
        buf_release(&s->lines);
}

static void file_state(const struct sink *s, struct buf *out)
{
    file_mark_encode(&s->out.mark, out);
}

static int file_reopen(struct sink *s, struct buf *notice, struct err *e)
{
    /* Closed after a failure: the open that must follow looks at the path anyway. */
    if (s->out.fd < 0)
        return 0;
    return file_open_again(&s->out, s->name, s->path, notice, e);
}

static void file_close(struct sink *s)
{
    file_output_close(&s->out);
}

static void file_free(struct sink *s)
{
    if (!s)
        return;
    file_output_close(&s->out);
    buf_release(&s->lines);
    free(s->name);
    free(s->path);
    free(s);
}

uint64_t sink_file_syncs(const struct sink *s)
{
    return s->syncs;
}

const struct sink_ops sink_file_ops = {
    .kind = "file",
    .new = file_new,
    .open = file_open_sink,
    .submit = file_submit,
    .state = file_state,
    .reopen = file_reopen,
    .close = file_close,
    .free = file_free,
};
