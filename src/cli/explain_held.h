/*
 * explain_held: the second half of status --explain: what the mirrors hold of the record, and why.
 *
 *   Per field of the record in each sink that mirrors records: its version, the event that brought it, and the value.
 *   Per event: which of its fields were superseded, and by which event; which did not reach the row, because it had been
 *   edited in the target (newest_wins, target_wins), and whether a deletion did not.
 *
 * Ownership: the caller's arena and JSON. Thread: main. Errors: a target that cannot be looked at is told, not failed.
 */
#ifndef CLI_EXPLAIN_HELD_H
#define CLI_EXPLAIN_HELD_H

#include "base/arena.h"
#include "config/config.h"
#include "event/version.h"

#include <jansson.h>

/* An event that touches the record, as far as its version counts. */
struct explain_event {
    uint64_t seq;
    struct version version; /* in the epoch of the journal */
    json_t *json;           /* change_type, changed_fields; gets "superseded" and "edit_won" per sink */
};

/*
 * One object per sink that was looked at: {"sink", "table", "row", …, "fields": […]} or {"sink", "error"}. `raises`: per
 * sink of the configuration, by how much it raises epochs (delivery/horizon.h).
 */
json_t *explain_held(const struct config *config, const char *sink, const char *record_id,
                     const uint32_t *raises, struct explain_event *events, size_t n);
/* The same for people. */
void explain_held_text(const json_t *held, bool colour, struct buf *out);

#endif
