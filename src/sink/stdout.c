/*
 * stdout sink: one line of JSON per event to the standard output, for pipes and terminals.
 *
 * A pipe keeps no position and cannot be synced or cut back: DELIVERED means that the kernel took the
 * whole line. When a write fails in the middle of a batch, each delivery is told apart:
 *   lines taken whole    DELIVERED: they will not come again; UNKNOWN when the reader is gone, because it
 *                        may have left with them unread
 *   the line cut short   UNKNOWN: the reader may have it, torn
 *   the lines behind it  RETRY
 * The next write then begins with a line end, so that a torn line never swallows a good one.
 *
 * SIGPIPE is ignored by the program; a reader that is gone shows as EPIPE.
 */
#include "base/alloc.h"
#include "base/killpoint.h"
#include "sink/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

/* As in the file sink: bounds memory whatever a batch holds. */
enum { CHUNK = 256 << 10, BUFFER_KEPT_MAX = 2 << 20 };

static const char origin[] = "sink.stdout";

struct sink {
    bool is_open;
    bool line_is_torn; /* what was taken last does not end with a line end */
    struct buf lines;
};

static struct sink *stdout_new(const struct sink_config *config)
{
    (void)config;
    return xcalloc(1, sizeof(struct sink));
}

static int stdout_open(struct sink *s, const struct sink_memory *memory, struct buf *notice, struct err *e)
{
    (void)memory;
    (void)notice;
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags < 0)
        return err_set_errno(e, ERR_REJECTED, origin, errno, "the standard output is closed");
    if ((flags & O_ACCMODE) == O_RDONLY)
        return err_set(e, ERR_REJECTED, origin, 0, "the standard output is open for reading only");
    s->is_open = true;
    return 0;
}

/* Write all of it; *taken says how far it came. A reader that is slow is waited for. */
static int write_taken(struct span bytes, size_t *taken, struct err *e)
{
    *taken = 0;
    while (*taken < bytes.n) {
        ssize_t wrote = write(STDOUT_FILENO, bytes.p + *taken, bytes.n - *taken);
        if (wrote >= 0) {
            *taken += (size_t)wrote;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            /* Whoever shares the pipe with us made it non-blocking. */
            struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};
            poll(&ready, 1, -1);
        } else if (errno == EPIPE) {
            return err_set(e, ERR_RETRY, origin, EPIPE,
                           "cannot write to the standard output: its reader is gone");
        } else if (errno != EINTR) {
            return err_set_errno(e, ERR_RETRY, origin, errno, "cannot write to the standard output");
        }
    }
    return 0;
}

static size_t count_lines(struct span bytes)
{
    size_t lines = 0;
    const uint8_t *at = bytes.p, *stop = bytes.p + bytes.n;
    while (at < stop && (at = memchr(at, '\n', (size_t)(stop - at)))) {
        lines++;
        at++;
    }
    return lines;
}

/*
 * Write s->lines, which hold the deliveries from `first` on, and report those that are through. On failure
 * everything else of the batch is reported too.
 */
static int write_out(struct sink *s, struct sink_batch *batch, size_t first, bool begins_with_line_end)
{
    struct err e = ERR_INIT;
    size_t taken;
    int rc = write_taken(buf_span(&s->lines), &taken, &e);
    if (taken)
        s->line_is_torn = s->lines.data[taken - 1] != '\n';
    size_t whole = count_lines(span_of(s->lines.data, taken)) - (begins_with_line_end && taken ? 1 : 0);
    struct err unknown = e;
    unknown.class = ERR_UNKNOWN;
    for (size_t i = 0; i < whole; i++)
        sink_report(batch, first + i, rc != 0 && e.code == EPIPE ? SINK_UNKNOWN : SINK_DELIVERED, &unknown);
    if (rc == 0)
        return 0;
    if (s->line_is_torn && taken)
        sink_report(batch, first + whole, SINK_UNKNOWN, &unknown);
    sink_report_rest(batch, SINK_RETRY, &e);
    return -1;
}

/* Format deliveries from `first` on until a chunk is full; returns the first that is not in it. */
static size_t format_chunk(struct sink *s, const struct sink_batch *batch, size_t first)
{
    size_t i = first;
    for (; i < batch->n && s->lines.len < CHUNK; i++) {
        const struct delivery *d = &batch->deliveries[i];
        json_line_add(&s->lines, d->ev, d->ch, d->source, d->line_flags);
        buf_add_char(&s->lines, '\n');
    }
    return i;
}

static void stdout_submit(struct sink *s, struct sink_batch *batch)
{
    static const struct err closed = {ERR_RETRY, "sink.stdout", 0, "the sink is not open"};
    if (!s->is_open) {
        sink_report_rest(batch, SINK_RETRY, &closed);
        return;
    }
    for (size_t i = 0, next; i < batch->n; i = next) {
        bool mend = s->line_is_torn;
        buf_clear(&s->lines);
        if (mend)
            buf_add_char(&s->lines, '\n');
        next = format_chunk(s, batch, i);
        KILLPOINT("stdout.before_write");
        if (write_out(s, batch, i, mend) != 0)
            break;
        KILLPOINT("stdout.after_write");
    }
    if (s->lines.cap > BUFFER_KEPT_MAX)
        buf_release(&s->lines);
}

static void stdout_state(const struct sink *s, struct buf *out)
{
    (void)s;
    (void)out;
}

static void stdout_close(struct sink *s)
{
    s->is_open = false;
}

static void stdout_free(struct sink *s)
{
    if (!s)
        return;
    buf_release(&s->lines);
    free(s);
}

const struct sink_ops sink_stdout_ops = {
    .kind = "stdout",
    .new = stdout_new,
    .open = stdout_open,
    .submit = stdout_submit,
    .state = stdout_state,
    .close = stdout_close,
    .free = stdout_free,
};
