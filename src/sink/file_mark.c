/*
 * The stored form, little-endian, 61 bytes: form (1), device, inode, length (8 each), bytes of the
 * last line (4), SHA-256 (32).
 */
#include "sink/file_mark.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"

enum { MARK_FORM = 1, MARK_SIZE = 1 + 3 * 8 + 4 + 32 };

static uint8_t *put_le(uint8_t *to, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *to++ = (uint8_t)(v >> (8 * i));
    return to;
}

static const uint8_t *get_le(const uint8_t *from, size_t n, uint64_t *v)
{
    *v = 0;
    for (size_t i = 0; i < n; i++)
        *v |= (uint64_t)*from++ << (8 * i);
    return from;
}

void file_mark_encode(const struct file_mark *mark, struct buf *out)
{
    uint8_t bytes[MARK_SIZE], *to = bytes;
    *to++ = MARK_FORM;
    to = put_le(to, mark->device, 8);
    to = put_le(to, mark->inode, 8);
    to = put_le(to, mark->length, 8);
    to = put_le(to, mark->line_bytes, 4);
    memcpy(to, mark->line_hash, sizeof mark->line_hash);
    buf_add(out, bytes, sizeof bytes);
}

int file_mark_decode(struct span bytes, struct file_mark *mark)
{
    uint64_t line_bytes;
    if (bytes.n != MARK_SIZE || bytes.p[0] != MARK_FORM)
        return -1;
    const uint8_t *at = bytes.p + 1;
    at = get_le(at, 8, &mark->device);
    at = get_le(at, 8, &mark->inode);
    at = get_le(at, 8, &mark->length);
    at = get_le(at, 4, &line_bytes);
    memcpy(mark->line_hash, at, sizeof mark->line_hash);
    mark->line_bytes = (uint32_t)line_bytes;
    if (mark->line_bytes > FILE_MARK_LINE_MAX || mark->line_bytes > mark->length || mark->length > INT64_MAX)
        return -1;
    return (mark->line_bytes == 0) == (mark->length == 0) ? 0 : -1;
}

void file_mark_set_line(struct file_mark *mark, struct span line)
{
    if (line.n > FILE_MARK_LINE_MAX)
        line = span_of(line.p + (line.n - FILE_MARK_LINE_MAX), FILE_MARK_LINE_MAX);
    mark->line_bytes = (uint32_t)line.n;
    digest_sha256(line, mark->line_hash);
}

/* The `n` bytes before `end`, exactly; ERR_RETRY when the file has become shorter meanwhile. */
static int read_before(int fd, uint64_t end, size_t n, uint8_t *to, struct err *e)
{
    size_t got;
    if (file_read_at(fd, to, n, end - n, &got, e) != 0)
        return -1;
    return got == n ? 0 : err_set(e, ERR_RETRY, "sink.file", 0, "became shorter while it was read");
}

int file_mark_at(int fd, uint64_t length, struct file_mark *mark, bool *torn, struct err *e)
{
    *torn = false;
    mark->length = length;
    mark->line_bytes = 0;
    memset(mark->line_hash, 0, sizeof mark->line_hash);
    if (length == 0)
        return 0;
    size_t n = length < FILE_MARK_LINE_MAX ? (size_t)length : FILE_MARK_LINE_MAX;
    uint8_t *end = xmalloc(n);
    int rc = read_before(fd, length, n, end, e);
    if (rc == 0 && end[n - 1] != '\n') {
        *torn = true;
    } else if (rc == 0) {
        const uint8_t *before = memrchr(end, '\n', n - 1);
        const uint8_t *line = before ? before + 1 : end;
        file_mark_set_line(mark, span_of(line, (size_t)(end + n - line)));
    }
    free(end);
    return rc;
}

int file_mark_check(int fd, const struct file_mark *mark, bool *matches, struct err *e)
{
    *matches = mark->length == 0;
    if (mark->length == 0)
        return 0;
    uint8_t *line = xmalloc(mark->line_bytes);
    int rc = read_before(fd, mark->length, mark->line_bytes, line, e);
    if (rc == 0) {
        uint8_t hash[32];
        digest_sha256(span_of(line, mark->line_bytes), hash);
        *matches = memcmp(hash, mark->line_hash, sizeof hash) == 0;
    }
    free(line);
    return rc;
}
