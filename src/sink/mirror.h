/*
 * mirror: the contract between delivery and a SQL database that mirrors the state of an org (records mode).
 *
 * Delivery decides (conflict, mapping, policies) and says which rows to write; a mirror keeps tables, rows, the
 * state of each record (its versions, as bytes only delivery understands) and the authority over them, all in one
 * transaction of the target (I7). A mirror is a `const struct mirror_ops` and a private struct.
 *
 * Our own tables in the target:
 *   _tidemark_sinks       sink name, owner epoch, store id, cursor, and the bytes that delivery keeps with it: who
 *                         may write, and how far it is (I7)
 *   _tidemark_fields      what each column was made from: table, number, column, field, field id, type
 *   _tidemark_tombstones  table, record id, state: records that have no row (hard or archive delete, or updates to a
 *                         record that was never seen whole and has no row yet)
 * Each mirrored row has, besides the mapped columns: `_version` (text, its newest version), `_seq` (bigint),
 * `_state` (bytes), `_incomplete` (boolean: never had a full image), and for soft deletes `_deleted`,
 * `_deleted_at`. History tables (archive): TABLE_history, the key, the mapped columns, `_version`, `_seq` and
 * `_archived_at`, no primary key. Append-only tables: the key, the mapped columns, `_payload_hash` and `_seq`; the primary
 * key is (key, `_payload_hash`), because publishers may give several events one id. Whether an event has its row follows
 * from the event alone, so that order and repeats change nothing (I8). A table that is there with the key alone as unique
 * column is used as it is: of events that share an id the first is the row, and the others are refused; a row from before
 * there were hashes is taken for the event that comes next with its id.
 *
 * Calling order
 *   new -> open -> fence -> (fields) -> (begin -> prepare* -> load -> (send* -> write)* -> commit | rollback)* ->
 *   close -> free
 *   open again after close, after a failed open, and after every ERR_RETRY or ERR_UNKNOWN: then fence again before
 *   anything is believed (I7). begin .. commit is one transaction of the target. rollback undoes all of it, what
 *   prepare did included: those tables are prepared again in the next one. prepare is cheap for a shape it knows.
 *
 * Outcome of a row: WRITTEN is durable once commit says so. A row the target refuses (constraint, type, length, a
 * value it cannot hold: NaN in SQLite, a year beyond 9999) is REFUSED with its reason, and the others of the same
 * write go in (savepoints, halves). With `whole` none of them does: at least one is REFUSED, the others UNWRITTEN.
 * A lost connection, a lock or a full disk is a failure of the call (ERR_RETRY), never of a row. When write fails, rows
 * may say more: FATAL, this one ended the transaction by itself (a trigger that rolls back; why says what it said); LOST,
 * the connection ended without a reason of its own while these were on their way: perhaps at one of them.
 *
 * Commit: 0 is durable; ERR_RETRY is certainly not applied; ERR_UNKNOWN may have been: open and fence tell.
 * ERR_REJECTED from begin, write or commit: another owner has fenced us (the epoch in the target is not ours).
 *
 * Ownership: everything given is borrowed for the call; what load gives lives in the arena given to it.
 * Thread: the sink's delivery thread, all calls; may block in the target's library. `interrupt` is for any thread:
 * it makes the call in progress, and those that follow, return ERR_RETRY soon, until the next open.
 * Errors: open: ERR_RETRY (target away), ERR_REJECTED (needs a person: no right, not a database of ours, newer
 * layout), ERR_CONFIG. No text ever holds a password or a value of a record.
 */
#ifndef SINK_MIRROR_H
#define SINK_MIRROR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "event/version.h"

#include <stdint.h>

/* --- tables ---------------------------------------------------------------------------------------- */

enum mirror_type {
    MIRROR_TEXT,     /* SQLite TEXT, PostgreSQL text */
    MIRROR_BOOLEAN,  /* SQLite INTEGER 0/1, boolean */
    MIRROR_BIGINT,   /* SQLite INTEGER, bigint */
    MIRROR_DOUBLE,   /* SQLite REAL, double precision */
    MIRROR_DATETIME, /* SQLite TEXT ISO 8601 UTC with milliseconds, timestamptz */
    MIRROR_DATE,     /* SQLite TEXT YYYY-MM-DD, date */
    MIRROR_TIME,     /* SQLite TEXT HH:MM:SS.mmm, time */
    MIRROR_JSON,     /* SQLite TEXT, jsonb */
};
const char *mirror_type_name(enum mirror_type type); /* "text", "boolean" …: what _tidemark_fields holds */
bool mirror_type_of_name(struct span name, enum mirror_type *out);

enum mirror_on_delete { MIRROR_HARD, MIRROR_SOFT, MIRROR_ARCHIVE };

struct mirror_column {
    const char *name;
    enum mirror_type type;
    bool insert_only; /* owned by the target: written when the row is inserted, never again */
    /* A JSON object that several fields share: an upsert is given an object of those that change and merges it into
     * what the row holds, member by member; a member that is null is removed. */
    bool merged;
};

/* A field that is mirrored, and the column it goes to. Several fields may share a JSON column. */
struct mirror_source {
    const char *field; /* "Phone", "BillingAddress.City" */
    const char
        *field_id; /* from the schema's doc, "" when it says none: tells a field made anew from an old one */
    uint32_t column; /* index into columns */
};

/*
 * A table as delivery wants it. Columns and sources are only ever appended; `shape` rises then, and prepare must
 * be called before the next write. Lives as long as the mirror is open.
 */
struct mirror_table {
    const char *name;
    const char *key;  /* the key column's name: text, primary key */
    bool append_only; /* platform events: key is the event's own id, rows are inserted once, no state */
    enum mirror_on_delete on_delete;
    const char *last_modified; /* the target's own last-modified column, or NULL */
    uint32_t number;           /* of this table in this sink: 0, 1, 2 … for caches */
    uint32_t shape;
    uint32_t n_columns, n_sources;
    const struct mirror_column *columns;
    const struct mirror_source *sources;
};

/* A row of _tidemark_fields, as fields gives it back. */
struct mirror_field {
    struct span table, column, field, field_id;
    uint32_t number; /* of the field within its table, from 1, never reused; stands in states */
    enum mirror_type type;
};

/* --- rows ------------------------------------------------------------------------------------------ */

struct mirror_value {
    bool is_null;
    enum mirror_type type; /* of its column */
    union {
        int64_t
            integer;   /* BOOLEAN 0/1, BIGINT; DATETIME ms since 1970; DATE days since 1970; TIME ms of day */
        double number; /* DOUBLE */
        struct span text; /* TEXT, JSON: valid UTF-8 without NUL */
    } as;
};

/* What the target holds of a record. */
struct mirror_held {
    struct span state; /* empty: nothing is known of this record */
    bool has_row;      /* a row is there (deleted softly counts); else the state came from a tombstone */
    bool deleted;      /* the row is softly deleted */
    bool has_modified; /* table->last_modified is not NULL and holds a value that can be read as a time */
    int64_t modified_ms;
    uint64_t place; /* of the row, as the target finds it soonest; only it reads this. 0: nobody knows */
};

enum mirror_action {
    MIRROR_UPSERT, /* the row is there afterwards; given columns are set, others untouched (or NULL) */
    MIRROR_DELETE, /* by table->on_delete, n is 0; the state goes to the tombstone, or stays in the soft row */
    MIRROR_STATE_ONLY, /* only state, version and seq change, wherever they are: row, else tombstone */
    MIRROR_APPEND,     /* append_only tables: inserted unless the key is there with this hash */
};

enum mirror_outcome { MIRROR_UNWRITTEN, MIRROR_WRITTEN, MIRROR_REFUSED, MIRROR_FATAL, MIRROR_LOST };

#define MIRROR_HASH_COLUMN "_payload_hash"

/* One record's change. At most one row per (table, id, hash) in a call of write. */
struct mirror_row {
    const struct mirror_table *table;
    struct span id;
    struct span hash; /* APPEND: of the event's payload, as text */
    enum mirror_action action;
    struct mirror_held held; /* as load gave it in this transaction: tells insert from update */
    uint32_t n;              /* columns to set, ascending */
    const uint32_t
        *columns; /* index into table->columns; those that are insert_only are left alone in updates */
    const struct mirror_value *values;
    struct span state;
    struct version version; /* the newest in state: `_version` shows it, the horizon looks at it */
    uint64_t seq;
    bool incomplete;
    /* UPSERT into a table with soft deletes: the record is deleted. A new row is marked; one that is there keeps the
     * mark it has. Otherwise the row is live afterwards. */
    bool deleted;
    int64_t deleted_ms;          /* DELETE, deleted: commit time of the deletion */
    enum mirror_outcome outcome; /* set by write */
    char why[200];               /* REFUSED, FATAL: the target's reason, without values */
};

/* --- authority ------------------------------------------------------------------------------------- */

enum { MIRROR_STORE_ID = 16 };

struct mirror_authority {
    bool known; /* false: this sink never wrote here */
    uint8_t store_id[MIRROR_STORE_ID];
    uint64_t cursor;
    uint64_t epoch; /* ours, after fence */
    struct span
        state; /* what commit was given with the cursor; valid until the next call of fence or close */
};

/* What prepare found or did, for the log and for incidents: one line each. */
struct mirror_remarks {
    struct buf notice; /* created, altered: news */
    struct buf odd;    /* a column of another type: needs a look, work goes on */
};

/* A column of a row, as people see it. */
struct mirror_cell {
    struct span column, text;
    bool is_null;
};

/* --- the contract ---------------------------------------------------------------------------------- */

struct mirror;

struct mirror_ops {
    const char *kind; /* "sqlite" */
    struct mirror *(*new)(const struct sink_config *config);
    /* Connect, and make or check our own tables. */
    MUST_CHECK int (*open)(struct mirror *m, struct buf *notice, struct err *e);
    /* Raise the owner epoch, durably, then read what is held (I7). What is held under the name that the sink had
     * before (renamed_from) is taken over, unless there is something under its own. */
    MUST_CHECK int (*fence)(struct mirror *m, struct mirror_authority *held, struct err *e);
    /* All of _tidemark_fields, into the arena. */
    MUST_CHECK int (*fields)(struct mirror *m, struct arena *a, struct mirror_field **out, size_t *n,
                             struct err *e);

    MUST_CHECK int (*begin)(struct mirror *m, struct err *e);
    /*
     * Inside a transaction: make the table, or add what is missing, never destructively; register new sources in
     * _tidemark_fields (numbers[i] of each source comes back). An existing column of another type stays: `odd`.
     * ERR_CONFIG: it cannot be used at all (no key of ours, a view).
     */
    MUST_CHECK int (*prepare)(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
                              struct mirror_remarks *remarks, struct err *e);
    /* What is held of n records of one table; ids are distinct. */
    MUST_CHECK int (*load)(struct mirror *m, const struct mirror_table *table, const struct span *ids,
                           size_t n, struct arena *a, struct mirror_held *held, struct err *e);
    /* What a row holds in one column now, as the column's type (text differences, values that outlive a delete):
     * *found false when there is no row. */
    MUST_CHECK int (*text)(struct mirror *m, const struct mirror_table *table, struct span id,
                           uint32_t column, struct arena *a, bool *found, struct mirror_value *out,
                           struct err *e);
    /*
     * NULL, or: the first rows of the next write that is not whole, in one or several calls, each going on where the
     * one before ended. The target may work on them while delivery decides those that follow; what becomes of them
     * that write tells. Until then the rows stay where they are, and text and other writes may come between.
     */
    MUST_CHECK int (*send)(struct mirror *m, struct mirror_row *rows, size_t n, struct err *e);
    /* Write rows of any tables; whole: all or none of them. 0 with refused rows marked, or the call failed. */
    MUST_CHECK int (*write)(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, struct err *e);
    /* Remove tombstones older than the horizon (epoch, commit), at most `most`; *n of them. In a transaction. */
    MUST_CHECK int (*forget)(struct mirror *m, uint32_t epoch, int64_t commit, size_t most, size_t *n,
                             struct err *e);
    /*
     * Cursor, store id, what delivery keeps with them (to count after a crash what the target holds already, I9)
     * and everything since begin, in ONE commit, only while the epoch is still ours. After a failure the
     * transaction is over.
     */
    MUST_CHECK int (*commit)(struct mirror *m, const uint8_t store_id[MIRROR_STORE_ID], uint64_t cursor,
                             struct span state, struct err *e);
    void (*rollback)(struct mirror *m); /* also when nothing was begun */

    /*
     * For people and doctor, on a connection of its own, without open: connect for reading only, then load, text,
     * fields and row may be called, until close. ERR_RETRY: away; ERR_REJECTED: no right, or nothing of ours there.
     */
    MUST_CHECK int (*look)(struct mirror *m, struct err *e);
    /* Every column of one row as text, NULL spans for null; *n 0 when there is no row. */
    MUST_CHECK int (*row)(struct mirror *m, const struct mirror_table *table, struct span id, struct arena *a,
                          struct mirror_cell **out, size_t *n, struct err *e);
    /* doctor: may this sink do what it must (connect, create, write)? One line a finding, "ok: …" or "bad: …"
     * with what to do; touches nothing that stays. After look, also after one that failed. */
    MUST_CHECK int (*inspect)(struct mirror *m, const struct mirror_table *tables, size_t n,
                              struct buf *findings, struct err *e);

    /* Dry run: what prepare and write would do, as text, one statement a line, without touching anything. */
    void (*show_table)(const struct mirror_table *table, struct buf *out);
    void (*show_row)(const struct mirror_row *row, struct buf *out);

    void (*interrupt)(struct mirror *m);
    void (*close)(struct mirror *m); /* safe after a half-failed open */
    void (*free)(struct mirror *m);
};

/* The list of mirrors: NULL for a kind that is not one. */
const struct mirror_ops *mirror_ops_of(enum sink_kind kind);

/* "name" with quotes doubled: identifiers are always quoted. */
void mirror_add_identifier(struct buf *out, const char *name);
/* Why an event of an append-only table whose key stands alone has no row of its own. */
void mirror_say_twin(const struct mirror_table *table, char *out, size_t n);
/* 'text' with quotes doubled, for statements that are shown and never run. */
void mirror_add_literal(struct buf *out, struct span text);

/*
 * What a target remembers of a source, among the fields of its table: the same field in the same column, as far as ids
 * are told; of several, the one whose id is the same. NULL: nothing.
 */
const struct mirror_field *mirror_find_field(const struct mirror_table *table,
                                             const struct mirror_source *source,
                                             const struct mirror_field *fields, size_t n);

/* For inspect: a finding for each line of remarks, "how: line". */
void mirror_add_findings(struct buf *findings, const char *how, const struct buf *lines);

/*
 * Times as both kinds of target read them: "2026-05-06T14:30:00.123Z", "2026-05-06", "14:30:00.123". False: the
 * value is outside the years 1 to 9999, or not within a day.
 */
enum { MIRROR_TIME_ROOM = 32 };
bool mirror_time_text(const struct mirror_value *value, char out[MIRROR_TIME_ROOM]);

#endif
