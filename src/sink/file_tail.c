#include "sink/file_tail.h"

#include "base/alloc.h"
#include "base/file.h"
#include "sink/file_mark.h"

/* Holds the keys up to "seq" of any line: ids and topic are short. Longer lines are skipped through. */
enum { WINDOW = FILE_MARK_LINE_MAX };

enum head_form { HEAD_FOREIGN, HEAD_CUT, HEAD_OURS };

struct scan {
    int fd;
    uint64_t at, to; /* the next line begins at `at` */
    uint64_t last_seq;
    uint8_t *window;
    struct file_tail *tail;
};

static enum head_form foreign(struct scan *s, const char *why)
{
    s->tail->is_ours = false;
    s->tail->foreign_at = s->at;
    s->tail->foreign_why = why;
    return HEAD_FOREIGN;
}

/* Step over `text`; HEAD_CUT when the bytes end inside it. */
static enum head_form skip_text(struct span *rest, const char *text)
{
    size_t n = strlen(text);
    size_t common = rest->n < n ? rest->n : n;
    if (memcmp(rest->p, text, common) != 0)
        return HEAD_FOREIGN;
    *rest = span_of(rest->p + common, rest->n - common);
    return common == n ? HEAD_OURS : HEAD_CUT;
}

/* Step over a JSON string. */
static enum head_form skip_string(struct span *rest)
{
    if (rest->n && rest->p[0] != '"')
        return HEAD_FOREIGN;
    for (size_t i = 1; i < rest->n; i++) {
        if (rest->p[i] < 0x20)
            return HEAD_FOREIGN;
        if (rest->p[i] == '\\') {
            i++;
        } else if (rest->p[i] == '"') {
            *rest = span_of(rest->p + i + 1, rest->n - i - 1);
            return HEAD_OURS;
        }
    }
    return HEAD_CUT;
}

static enum head_form skip_seq(struct span rest, uint64_t *seq)
{
    size_t i = 0;
    *seq = 0;
    for (; i < rest.n && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        if (__builtin_mul_overflow(*seq, 10, seq) || __builtin_add_overflow(*seq, rest.p[i] - '0', seq))
            return HEAD_FOREIGN;
    if (i == rest.n)
        return HEAD_CUT;
    return i > 0 && (rest.p[i] == ',' || rest.p[i] == '}') ? HEAD_OURS : HEAD_FOREIGN;
}

/* {"id":"…","org":"…","topic":"…","replay_id":"…","schema_id":"…","seq":N */
static enum head_form read_head(struct span line, uint64_t *seq)
{
    static const char *const keys[] = {
        "{\"id\":", ",\"org\":", ",\"topic\":", ",\"replay_id\":", ",\"schema_id\":"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        enum head_form form = skip_text(&line, keys[i]);
        if (form == HEAD_OURS)
            form = skip_string(&line);
        if (form != HEAD_OURS)
            return form;
    }
    enum head_form form = skip_text(&line, ",\"seq\":");
    return form == HEAD_OURS ? skip_seq(line, seq) : form;
}

/* Comes soon behind "seq". Quotes inside strings are escaped, so what looks like this key is one. */
static bool has_late(struct span head)
{
    static const char mark[] = ",\"late\":true";
    return memmem(head.p, head.n, mark, sizeof mark - 1) != NULL;
}

/* A line that has its line end; `last` is the byte before. `head` is the line, or its first WINDOW bytes. */
static enum head_form check_whole(struct scan *s, struct span head, uint8_t last)
{
    uint64_t seq;
    if (read_head(head, &seq) != HEAD_OURS || last != '}')
        return foreign(s, "a line that is not an event of ours");
    if (has_late(head))
        return HEAD_OURS;
    if (seq <= s->last_seq)
        return foreign(s, "an event that was settled before, or comes out of order");
    s->last_seq = seq;
    return HEAD_OURS;
}

/* Fill the window from `at` on: as much as fits, or all up to the end. */
static int fill_window(struct scan *s, uint64_t at, size_t *n, struct err *e)
{
    size_t got;
    *n = s->to - at < WINDOW ? (size_t)(s->to - at) : WINDOW;
    if (file_read_at(s->fd, s->window, *n, at, &got, e) != 0)
        return -1;
    return got == *n ? 0 : err_set(e, ERR_RETRY, "sink.file", 0, "became shorter while it was read");
}

/* Everything from `at` on is zero. Overwrites the window. */
static int check_zeros(struct scan *s, uint64_t at, bool *zeros, struct err *e)
{
    size_t n;
    *zeros = true;
    for (; *zeros && at < s->to; at += n) {
        if (fill_window(s, at, &n, e) != 0)
            return -1;
        *zeros = s->window[0] == 0 && memcmp(s->window, s->window + 1, n - 1) == 0;
    }
    return 0;
}

/*
 * The end of the file, without a line end: the write was cut short. `part` is its beginning, in the window.
 * Its seq is not judged: the "late" that would excuse it may be in the part that is missing.
 */
static int check_torn(struct scan *s, struct span part, struct err *e)
{
    const uint8_t *zero = memchr(part.p, 0, part.n);
    struct span text = zero ? span_of(part.p, (size_t)(zero - part.p)) : part;
    uint64_t seq = 0;
    enum head_form form = read_head(text, &seq);
    bool zeros = true; /* behind the text */
    if (zero && check_zeros(s, s->at + text.n, &zeros, e) != 0)
        return -1;
    if (form == HEAD_FOREIGN || !zeros)
        foreign(s, "an unfinished line that is not ours");
    s->at = s->to;
    return 0;
}

/*
 * Follow the line that runs on at *at to behind its line end, or to s->to when it has none. *last becomes
 * the byte before the line end. Overwrites the window.
 */
static int skip_line(struct scan *s, uint64_t *at, uint8_t *last, bool *has_line_end, struct err *e)
{
    *has_line_end = false;
    while (!*has_line_end && *at < s->to) {
        size_t filled;
        if (fill_window(s, *at, &filled, e) != 0)
            return -1;
        const uint8_t *stop = memchr(s->window, '\n', filled);
        size_t n = stop ? (size_t)(stop - s->window) : filled;
        if (n)
            *last = s->window[n - 1];
        *at += n + (stop ? 1 : 0);
        *has_line_end = stop != NULL;
    }
    return 0;
}

/* A line longer than the window, whose beginning is in it. */
static int check_long(struct scan *s, struct err *e)
{
    struct span head = span_of(xmemdupz(s->window, WINDOW), WINDOW);
    uint8_t last = head.p[WINDOW - 1];
    uint64_t at = s->at + WINDOW;
    bool has_line_end;
    int rc = skip_line(s, &at, &last, &has_line_end, e);
    if (rc == 0 && !has_line_end)
        rc = check_torn(s, head, e);
    else if (rc == 0 && check_whole(s, head, last) == HEAD_OURS)
        s->at = at;
    free((void *)(uintptr_t)head.p);
    return rc;
}

/* The lines that end inside the window; the rest of it is looked at from where the last one ended. */
static int check_window(struct scan *s, size_t n, struct err *e)
{
    const uint8_t *line = s->window, *stop = s->window + n, *end;
    while (s->tail->is_ours && (end = memchr(line, '\n', (size_t)(stop - line)))) {
        size_t length = (size_t)(end - line);
        check_whole(s, span_of(line, length), length ? end[-1] : 0);
        s->at += length + 1;
        line = end + 1;
    }
    if (!s->tail->is_ours || line > s->window || s->at == s->to)
        return 0;
    return s->at + n == s->to ? check_torn(s, span_of(line, n), e) : check_long(s, e);
}

static void read_replay_id(struct span head, char *out, size_t size)
{
    static const char key[] = ",\"replay_id\":\"";
    const char *at = memmem(head.p, head.n, key, sizeof key - 1);
    size_t n = 0;
    if (at) {
        const char *end = (const char *)head.p + head.n;
        for (at += sizeof key - 1; at < end && strchr("0123456789abcdef", *at) && *at && n + 1 < size; at++)
            out[n++] = *at;
    }
    out[n] = '\0';
}

int file_tail_last(int fd, uint64_t end, size_t line_bytes, struct file_tail_line *line, struct err *e)
{
    *line = (struct file_tail_line){0};
    if (line_bytes < 2 || line_bytes > end)
        return 0;
    uint8_t *bytes = xmalloc(line_bytes);
    size_t got;
    int rc = file_read_at(fd, bytes, line_bytes, end - line_bytes, &got, e);
    if (rc == 0 && got == line_bytes) {
        struct span head = span_of(bytes, line_bytes - 1);
        line->is_ours = read_head(head, &line->seq) == HEAD_OURS && bytes[line_bytes - 2] == '}';
        if (line->is_ours)
            read_replay_id(head, line->replay_id, sizeof line->replay_id);
    }
    free(bytes);
    return rc;
}

int file_tail_check(int fd, uint64_t from, uint64_t to, uint64_t cursor, struct file_tail *tail,
                    struct err *e)
{
    struct scan s = {fd, from, to, cursor, xmalloc(WINDOW), tail};
    int rc = 0;
    *tail = (struct file_tail){.is_ours = true};
    while (rc == 0 && tail->is_ours && s.at < to) {
        size_t n;
        rc = fill_window(&s, s.at, &n, e);
        if (rc == 0)
            rc = check_window(&s, n, e);
    }
    free(s.window);
    return rc;
}
