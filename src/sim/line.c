#include "sim/line.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_MOST = 64 << 10, QUEUE_MOST = 1 << 20, FIRST_MOST = 4096, CANCEL = 8 };

struct line *line_new(struct relay *relay, int client, int server)
{
    struct line *l = xcalloc(1, sizeof *l);
    l->relay = relay;
    l->client = client;
    l->server = server;
    return l;
}

static void forget_stream(struct line *l, struct line_stream *s)
{
    buf_release(&s->first);
    *s = l->streams[--l->n_streams];
}

void line_free(struct line *l, bool reset)
{
    const struct linger at_once = {1, 0};
    if (reset)
        setsockopt(l->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(l->client);
    if (l->server >= 0)
        close(l->server);
    while (l->n_streams)
        forget_stream(l, &l->streams[0]);
    free(l->streams);
    buf_release(&l->up.in);
    buf_release(&l->up.out);
    buf_release(&l->down.in);
    buf_release(&l->down.out);
    free(l);
}

static struct line_stream *find_stream(struct line *l, uint32_t id)
{
    for (size_t i = 0; i < l->n_streams; i++)
        if (l->streams[i].id == id)
            return &l->streams[i];
    return NULL;
}

static struct line_stream *add_stream(struct line *l, uint32_t id)
{
    l->streams = xrealloc(l->streams, (l->n_streams + 1) * sizeof *l->streams);
    struct line_stream *s = &l->streams[l->n_streams++];
    *s = (struct line_stream){.id = id};
    if (id > l->last_stream)
        l->last_stream = id;
    return s;
}

/* --- sockets --------------------------------------------------------------------------------------- */

static size_t queued(const struct pipe *p)
{
    return p->out.len - p->out_at;
}

/* At most `most` bytes. False: the socket is dead. */
static bool write_some(int fd, struct pipe *p, size_t most)
{
    size_t n = queued(p) < most ? queued(p) : most;
    if (!n)
        return true;
    ssize_t wrote = send(fd, p->out.data + p->out_at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (wrote < 0)
        return errno == EAGAIN || errno == EINTR;
    p->out_at += (size_t)wrote;
    if (!queued(p)) {
        buf_clear(&p->out);
        p->out_at = 0;
    }
    return true;
}

/* False: it has ended. */
static bool read_some(int fd, struct pipe *p)
{
    ssize_t n = recv(fd, buf_reserve(&p->in, READ_MOST), READ_MOST, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    p->in.len += (size_t)n;
    return n > 0;
}

/* --- what a fault does ------------------------------------------------------------------------------ */

static void strike_stream(struct line *l, struct line_stream *s, const struct wire_fault *fault)
{
    if (fault->kind == WIRE_GARBLE) {
        s->garble = true;
        return;
    }
    frame_add_rst(&l->down.out, s->id, fault->code);
    frame_add_rst(&l->up.out, s->id, CANCEL);
    s->kind = STREAM_DEAD;
}

static void strike_line(struct line *l, const struct wire_fault *fault, int64_t now_ms)
{
    switch (fault->kind) {
    case WIRE_RESET:
        write_some(l->client, &l->down, SIZE_MAX);
        l->over = true;
        break;
    case WIRE_CLOSE:
        l->close_when_sent = true;
        break;
    case WIRE_GOAWAY:
        frame_add_goaway(&l->down.out, l->last_stream, fault->code, fault->debug);
        l->close_when_sent = fault->code != 0;
        break;
    case WIRE_SILENCE:
        l->silent_until_ms = fault->hold_ms ? now_ms + fault->hold_ms : INT64_MAX;
        break;
    case WIRE_MUTE:
        l->mute = true;
        break;
    case WIRE_DRIP:
        l->drip_bytes = fault->bytes;
        l->drip_every_ms = fault->every_ms;
        break;
    default:
        break;
    }
}

static bool is_of_streams(const struct wire_fault *fault)
{
    return fault->kind == WIRE_RST_STREAM || fault->kind == WIRE_GARBLE;
}

static void strike(struct line *l, struct line_stream *s, int64_t now_ms)
{
    struct wire_fault fault = s->fault;
    s->has_fault = false;
    relay_struck(l->relay, &fault);
    if (is_of_streams(&fault))
        strike_stream(l, s, &fault);
    else
        strike_line(l, &fault, now_ms);
}

void line_strike_now(struct line *l, const struct wire_fault *fault, int64_t now_ms)
{
    relay_struck(l->relay, fault);
    if (!is_of_streams(fault)) {
        strike_line(l, fault, now_ms);
        l->over = l->over || (l->close_when_sent && !queued(&l->down));
        return;
    }
    for (size_t i = 0; i < l->n_streams; i++)
        if (l->streams[i].kind == STREAM_EVENTS)
            strike_stream(l, &l->streams[i], fault);
}

void line_calm(struct line *l)
{
    l->silent_until_ms = l->drip_bytes = 0;
    for (size_t i = 0; i < l->n_streams; i++)
        l->streams[i].has_fault = l->streams[i].garble = false;
}

/* --- from the client -------------------------------------------------------------------------------- */

/* The first message of a call says whether it is a subscription. */
static void look_at_call(struct line *l, struct line_stream *s, struct span data)
{
    bool in_message, complete = false;
    while (data.n && !complete) {
        size_t n = message_scan(&s->up, data, &in_message, &complete);
        if (in_message)
            buf_add(&s->first, data.p, n);
        data = span_of(data.p + n, data.n - n);
    }
    if (!complete && s->first.len <= FIRST_MOST)
        return;
    s->kind = complete && message_asks_for_events(buf_span(&s->first)) ? STREAM_EVENTS : STREAM_PLAIN;
    buf_release(&s->first);
    if (s->kind == STREAM_EVENTS)
        s->has_fault = relay_take(l->relay, &s->fault);
}

static void pass_up(struct line *l, const struct frame *f, struct span bytes, int64_t now_ms)
{
    struct line_stream *s = f->stream ? find_stream(l, f->stream) : NULL;
    if (f->type == FRAME_HEADERS && !s)
        s = add_stream(l, f->stream);
    if (s && s->kind == STREAM_DEAD && f->type != FRAME_HEADERS) {
        if (f->type == FRAME_DATA && f->n > FRAME_HEADER)
            frame_add_window(&l->down.out, 0, (uint32_t)f->n - FRAME_HEADER);
        return;
    }
    buf_add(&l->up.out, bytes.p, f->n);
    if (s && f->type == FRAME_RST_STREAM) {
        forget_stream(l, s);
    } else if (s && s->kind == STREAM_NEW && f->type == FRAME_DATA) {
        look_at_call(l, s, span_of(bytes.p + f->data_at, f->data_n));
        if (s->has_fault && s->fault.after == 0)
            strike(l, s, now_ms);
    }
}

/* --- from the service ------------------------------------------------------------------------------- */

/* Counts responses; one that is to be garbled is overwritten where it stands. */
static void follow_responses(struct line_stream *s, uint8_t *data, size_t n)
{
    bool in_message, complete;
    while (n) {
        size_t part = message_scan(&s->down, span_of(data, n), &in_message, &complete);
        if (in_message && s->garble)
            memset(data, 0xff, part);
        if (in_message && complete)
            s->garble = false;
        s->responses += complete;
        data += part;
        n -= part;
    }
}

static bool ends_stream(const struct frame *f)
{
    return f->type == FRAME_RST_STREAM ||
           ((f->type == FRAME_DATA || f->type == FRAME_HEADERS) && (f->flags & FRAME_END_STREAM));
}

static void pass_down(struct line *l, const struct frame *f, uint8_t *bytes, int64_t now_ms)
{
    struct line_stream *s = f->stream ? find_stream(l, f->stream) : NULL;
    bool dead = s && s->kind == STREAM_DEAD;
    if (l->mute && f->stream)
        return;
    if (dead && f->type == FRAME_DATA && f->n > FRAME_HEADER)
        frame_add_window(&l->up.out, 0, (uint32_t)f->n - FRAME_HEADER);
    if (s && s->kind == STREAM_EVENTS && f->type == FRAME_DATA)
        follow_responses(s, bytes + f->data_at, f->data_n);
    if (!dead || f->type == FRAME_HEADERS)
        buf_add(&l->down.out, bytes, f->n);
    if (s && s->has_fault && s->fault.after && s->responses >= s->fault.after)
        strike(l, s, now_ms);
    if (s && ends_stream(f))
        forget_stream(l, s);
}

/* --- turns ------------------------------------------------------------------------------------------ */

static void take_away(struct buf *b, size_t n)
{
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

/* Whole frames go on; a line that a fault has silenced or ended keeps the rest. */
static void judge(struct line *l, struct pipe *p, int64_t now_ms)
{
    struct frame f;
    size_t at = 0;
    if (p == &l->up && !l->preface_passed) {
        if (p->in.len < FRAME_PREFACE)
            return;
        buf_add(&p->out, p->in.data, at = FRAME_PREFACE);
        l->preface_passed = true;
    }
    while (!l->over && !l->close_when_sent && !l->silent_until_ms &&
           frame_peek(span_of(p->in.data + at, p->in.len - at), &f)) {
        if (p == &l->up)
            pass_up(l, &f, span_of(p->in.data + at, f.n), now_ms);
        else
            pass_down(l, &f, p->in.data + at, now_ms);
        at += f.n;
    }
    if (at)
        take_away(&p->in, at);
}

static bool may_drip(const struct line *l, int64_t now_ms)
{
    return !l->drip_bytes || now_ms >= l->drip_at_ms;
}

static int64_t ms_until(int64_t due_ms, int64_t now_ms)
{
    return due_ms > now_ms ? due_ms - now_ms : 0;
}

int64_t line_wants(struct line *l, struct pollfd fds[2], int64_t now_ms)
{
    fds[0] = (struct pollfd){.fd = -1};
    fds[1] = (struct pollfd){.fd = -1};
    if (l->silent_until_ms)
        return l->silent_until_ms == INT64_MAX ? -1 : ms_until(l->silent_until_ms, now_ms);
    bool drips = queued(&l->down) && !may_drip(l, now_ms);
    bool reads_client = queued(&l->up) < QUEUE_MOST && !l->close_when_sent;
    bool writes_client = queued(&l->down) && !drips;
    bool reads_server = queued(&l->down) < QUEUE_MOST && !l->close_when_sent;
    bool writes_server = queued(&l->up) > 0;
    fds[0].events = (short)((reads_client ? POLLIN : 0) | (writes_client ? POLLOUT : 0));
    fds[1].events = (short)((reads_server ? POLLIN : 0) | (writes_server ? POLLOUT : 0));
    if (fds[0].events)
        fds[0].fd = l->client;
    if (fds[1].events)
        fds[1].fd = l->server;
    return drips ? ms_until(l->drip_at_ms, now_ms) : -1;
}

static void write_client(struct line *l, int64_t now_ms)
{
    if (!queued(&l->down) || !may_drip(l, now_ms))
        return;
    if (!write_some(l->client, &l->down, l->drip_bytes ? (size_t)l->drip_bytes : SIZE_MAX))
        l->over = true;
    l->drip_at_ms = now_ms + l->drip_every_ms;
}

static void end_server(struct line *l)
{
    close(l->server);
    l->server = -1;
}

void line_turn(struct line *l, const struct pollfd fds[2], int64_t now_ms)
{
    if (l->silent_until_ms) {
        if (now_ms < l->silent_until_ms)
            return;
        l->silent_until_ms = 0;
    }
    const short readable = POLLIN | POLLHUP | POLLERR;
    if ((fds[0].revents & readable) && !l->close_when_sent && !read_some(l->client, &l->up))
        l->over = true;
    if ((fds[1].revents & readable) && !l->close_when_sent && !read_some(l->server, &l->down))
        end_server(l);
    judge(l, &l->up, now_ms);
    judge(l, &l->down, now_ms);
    if (l->server < 0 && !l->silent_until_ms)
        l->close_when_sent = true;
    if (l->silent_until_ms)
        return;
    if (l->server >= 0 && !write_some(l->server, &l->up, SIZE_MAX))
        l->close_when_sent = true;
    write_client(l, now_ms);
    if (l->close_when_sent && !queued(&l->down))
        l->over = true;
}
