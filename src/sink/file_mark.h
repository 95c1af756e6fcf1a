/*
 * file_mark: where our part of an output file ends, in a form that can be checked later.
 *
 * The store keeps a mark beside the sink's cursor. A mark names the file (device, inode), how long it
 * was (length), and its last line by digest, so that a file that was replaced, shortened or edited is
 * not taken for ours.
 *
 * Of a long last line only the last FILE_MARK_LINE_MAX bytes count, so that checking costs one read.
 *
 * Ownership: none. Thread: any. Errors: -1 with err, the caller adds the path.
 */
#ifndef SINK_FILE_MARK_H
#define SINK_FILE_MARK_H

#include "base/buf.h"
#include "base/err.h"

enum { FILE_MARK_LINE_MAX = 64 << 10 };

struct file_mark {
    uint64_t device, inode;
    uint64_t length;       /* bytes; 0 or just behind a line end */
    uint32_t line_bytes;   /* of the last line, its line end included; 0 when length is 0 */
    uint8_t line_hash[32]; /* SHA-256 of those bytes */
};

void file_mark_encode(const struct file_mark *mark, struct buf *out);
/* -1: not a mark of a form known here. */
MUST_CHECK int file_mark_decode(struct span bytes, struct file_mark *mark);

/* The last line is `line`, its line end included. */
void file_mark_set_line(struct file_mark *mark, struct span line);

/*
 * Set length and last line from the file itself. *torn: the file does not end with a line end; the mark
 * is unusable then.
 */
MUST_CHECK int file_mark_at(int fd, uint64_t length, struct file_mark *mark, bool *torn, struct err *e);
/* *matches: the line that ends at mark->length is still the one remembered. */
MUST_CHECK int file_mark_check(int fd, const struct file_mark *mark, bool *matches, struct err *e);

#endif
