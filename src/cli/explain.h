/*
 * explain: why a record is in the targets as it is (tidemark status --explain RECORD-ID).
 *
 *   Events: which events of the journal touch the record, and where each stands with each sink: delivered, waiting,
 *   parked and why, filtered. Also those that left the journal and are kept as dead letters.
 *
 *   Held: what each sink that mirrors records holds of it, field by field, and since which event (explain_held.h).
 *
 * It reads the store beside a running daemon or after it, and looks at the mirrors; it asks no org.
 *
 * Ownership: borrows. Thread: main. Errors: an exit code, said on stderr.
 */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "config/config.h"

struct explain_options {
    const char *record_id; /* 15 or 18 characters */
    const char *sink;      /* NULL: all */
    bool json;
};

/* A record id is 15 or 18 letters and digits. */
bool explain_is_record_id(const char *text);
int explain(const struct config *config, const struct explain_options *options);

#endif
