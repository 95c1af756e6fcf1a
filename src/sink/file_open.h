/*
 * file_open: opening an output file without guessing whose bytes it holds.
 *
 * What is found decides, in this order (the mark is what the store remembers, file_mark.h):
 *   no file                            begun as a new one, mode 0640, its folder synced
 *   no mark (new sink, or reset)       go on at its end
 *   another inode                      rotated: go on at its end
 *   shorter than the mark              truncated: go on at its end
 *   the line at the mark differs       refused: somebody rewrote it
 *   longer, the tail is our own batch  cut back to the mark: the batch comes again
 *   longer, the tail is not ours       refused: nobody cuts foreign bytes
 *   as long as the mark                go on
 * Going on at the end needs a line end there; a file whose last line is torn is refused.
 * Whatever is not simply "go on" is told in `notice`. Where the end that is gone on at is an event of ours, and not the
 * one delivered last, somebody has put an older copy there, or the store is another one than before: 0 with e filled in
 * (sink.h), so that it becomes an incident.
 *
 * The device number is kept, not compared: it changes when a volume is mounted again. The inode with the
 * line at the mark says enough.
 *
 * Guarantees: a file that is open here is locked (flock) against other processes and other sinks.
 * Ownership: on success the caller owns fd. Thread: the sink's.
 * Errors: ERR_REJECTED needs a person (foreign tail, locked, not a file, no permission); ERR_RETRY may
 * pass (full disk, folder not mounted yet). Texts name the path and what to do.
 */
#ifndef SINK_FILE_OPEN_H
#define SINK_FILE_OPEN_H

#include "sink/file_mark.h"
#include "sink/sink.h"

struct file_output {
    int fd; /* -1: closed. Reads and appends */
    struct file_mark mark;
};

/* sink_name is for the advice in messages. out->fd is -1 after a failure. */
MUST_CHECK int file_open(struct file_output *out, const char *sink_name, const char *path,
                         const struct sink_memory *memory, struct buf *notice, struct err *e);

/*
 * Open the path anew, at a batch boundary. The output in use stays when the path still names it, and also
 * on failure.
 */
MUST_CHECK int file_open_again(struct file_output *out, const char *sink_name, const char *path,
                               struct buf *notice, struct err *e);

/* Closing releases the lock. */
void file_output_close(struct file_output *out);

/*
 * Fill in e for a failed call on the output: "cannot DOING PATH (N bytes free): why". Returns -1. The free
 * space is told when space is what may be missing.
 */
int file_output_error(struct err *e, enum err_class class, int errnum, int fd, const char *doing,
                      const char *path);

#endif
