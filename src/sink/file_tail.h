/*
 * file_tail: are the bytes behind a mark our own unfinished batch?
 *
 * Whoever cuts a file back must know whose bytes go. The tail is ours only if it consists of lines as
 * json_line writes them (same first keys in the same order), whose "seq" is above the cursor and strictly
 * ascending; re-driven dead letters ("late":true) may have any seq. The last line may be cut short
 * anywhere, and blocks that never reached the disk may read as zeros behind it.
 *
 * Ownership: borrows the file descriptor; its offset does not move. Thread: the sink's.
 * Errors: -1 with err when the file cannot be read.
 */
#ifndef SINK_FILE_TAIL_H
#define SINK_FILE_TAIL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_tail {
    bool is_ours;
    uint64_t foreign_at;     /* offset of the first line that is not ours */
    const char *foreign_why; /* static text */
};

/* The last line of a file, as far as it is one of ours. */
struct file_tail_line {
    bool is_ours;
    uint64_t seq;
    char replay_id[2 * 64 + 1]; /* hex; "" when the line does not say */
};

/* The line of `line_bytes` bytes that ends at `end`. A line that is not whole there (a very long one) is not known. */
MUST_CHECK int file_tail_last(int fd, uint64_t end, size_t line_bytes, struct file_tail_line *line,
                              struct err *e);

MUST_CHECK int file_tail_check(int fd, uint64_t from, uint64_t to, uint64_t cursor, struct file_tail *tail,
                               struct err *e);

#endif
