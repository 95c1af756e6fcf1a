/*
 * held: what a mirror holds of one record and since which change (status --explain), and whether the target is fit for
 * use (doctor).
 *
 * Every table that this sink ever made is asked for the record: its state (the versions of its fields) and its row.
 *
 * Guarantees: nothing in the target stays changed. Calling order: none; each connects and closes.
 * Ownership: everything lives in the arena given. Thread: any; may block in the target's library.
 * Errors: -1 with err: ERR_RETRY away; ERR_REJECTED nothing of ours there, or no right.
 */
#ifndef DELIVERY_HELD_H
#define DELIVERY_HELD_H

#include "base/arena.h"
#include "base/err.h"
#include "config/config.h"
#include "delivery/record_state.h"

struct held_field {
    struct span field, column;
    struct span text; /* what the column shows; of a JSON column that several fields share, all of it */
    bool is_null;     /* also when there is no row */
    struct version version;
    bool listed; /* newer than the record's base: an UPDATE named it */
    bool edited; /* what brought the version did not reach the row, which had been edited in the target */
};

struct held_record {
    struct span table;
    bool has_row, deleted; /* deleted: softly */
    struct record_state state;
    bool incomplete;
    size_t n;
    struct held_field *fields;
};

/* record_id: 15 or 18 characters. *n: in how many tables it was found; usually 0 or 1. */
MUST_CHECK int held_look(const struct sink_config *sink, const char *record_id, struct arena *a,
                         struct held_record **out, size_t *n, struct err *e);

/*
 * For doctor: may this sink do what it must? Lines "ok: …" and "bad: …", as mirror_ops.inspect gives them, of the target
 * and of every table that this sink made. Nothing stays changed.
 */
MUST_CHECK int held_inspect(const struct sink_config *sink, struct buf *findings, struct err *e);

/* The three characters that make a record id one that does not tell upper from lower case. out: 19 bytes. */
void held_long_id(const char *record_id, char *out);

#endif
