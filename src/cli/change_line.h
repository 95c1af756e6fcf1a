/*
 * change_line: one change as one line for people.
 *
 *   2026-05-06 14:30:00  UPDATE  Account  001xx000003DGb2AAG  Phone=null BillingAddress.City="San Francisco"
 *
 * The time is the commit's (platform events: CreatedDate, else when it was received), in UTC. Of an UPDATE the
 * changed fields are shown, of a full image all that have a value; dates as ISO text. The line is cut to a width.
 *
 * Guarantees: no control character reaches the terminal. Thread: any. Errors: none.
 */
#ifndef CLI_CHANGE_LINE_H
#define CLI_CHANGE_LINE_H

#include "base/buf.h"
#include "event/change.h"
#include "event/event.h"

/* Appends the line with its end. width counts characters; ev->seq 0: no seq in front. */
void change_line_add(struct buf *out, const struct event_data *ev, const struct change *ch, size_t width, bool colour);

#endif
