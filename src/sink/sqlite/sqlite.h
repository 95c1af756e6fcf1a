/*
 * sqlite: a mirror in a SQLite database. Private to this folder; the contract is sink/mirror.h.
 *
 * How it keeps the contract
 *   One connection, write-ahead log, synchronous=FULL: readers never wait for us nor we for them, and a commit is
 *   one fsync of the log. A write transaction begins IMMEDIATE: from then on nobody else writes, so what load saw
 *   and the epoch that begin checked stay true until commit. A failed statement undoes itself alone, so a row that
 *   is refused costs no savepoint; whole writes, and rows that take two statements on tables of the user, have one.
 *   Every table is a b-tree on the record id (WITHOUT ROWID): one search finds a row, one writes it.
 *
 *   connection.c  opening, the file, errors by class
 *   authority.c   epoch, cursor, begin and commit, the horizon
 *   tables.c      DDL: our own tables, those that are mirrored into
 *   fields.c      _tidemark_fields: what columns were made from
 *   statements.c  prepared statements by table, kind and set of columns
 *   values.c      values in and out
 *   rows.c        load and write
 *   look.c        for people: rows as text, dry runs, findings for doctor
 *
 * Thread: the sink's; sqlite_interrupt from any.
 */
#ifndef SINK_SQLITE_SQLITE_H
#define SINK_SQLITE_SQLITE_H

#include "sink/mirror.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum { SQLITE_BUSY_WAIT_MS = 3000, SQLITE_LAYOUT = 1 };

/* Statements on our own tables, prepared when first used. */
enum own_statement {
    OWN_BEGIN,
    OWN_COMMIT,
    OWN_ROLLBACK,
    OWN_SAVEPOINT,
    OWN_RELEASE,
    OWN_ROLLBACK_TO,
    OWN_RENAME,
    OWN_RENAME_TOMBSTONES,
    OWN_FENCE,
    OWN_AUTHORITY,
    OWN_CURSOR,
    OWN_TOMBSTONE_GET,
    OWN_TOMBSTONE_PUT,
    OWN_TOMBSTONE_DROP,
    OWN_FORGET,
    N_OWN,
};

/* Statements on a mirrored table. Those before N_FIXED are one per table, the others one per set of columns. */
enum row_statement {
    ROW_LOAD,
    ROW_DELETE,
    ROW_SOFT_DELETE,
    ROW_STATE,
    ROW_ARCHIVE,
    N_FIXED,
    ROW_INSERT = N_FIXED,
    ROW_INSERT_DELETED, /* softly */
    ROW_UPDATE,
    ROW_REVIVE, /* an update that brings a softly deleted row back */
    ROW_APPEND,
    ROW_APPEND_ALONE, /* to a table whose key is unique by itself */
    ROW_APPEND_SHOWN, /* to either, for a dry run */
    ROW_TEXT,         /* one column of one row */
};

/* A table as prepare left it. */
struct sqlite_table {
    char *name; /* of the table all this is about: who only looks may number all tables alike */
    bool known;
    bool fresh;     /* prepared in the transaction in progress: a rollback forgets it */
    bool key_alone; /* append-only: the key is unique by itself */
    uint32_t shape, n_sources;
    uint32_t *numbers;
    sqlite3_stmt *fixed[N_FIXED];
};

enum { STATEMENTS = 1024 };

struct column_statement {
    sqlite3_stmt *stmt;
    enum row_statement kind;
    uint32_t table, n;
    uint32_t *columns;
};

struct mirror {
    char *name;         /* of the sink */
    char *renamed_from; /* the one it had before; NULL: none */
    char *path;
    sqlite3 *db;
    pthread_mutex_t db_lock; /* db may be closed only while nobody interrupts it */
    atomic_bool interrupted;
    bool began;
    bool opening; /* what fails now needs another class than later */
    uint64_t epoch;
    struct buf held; /* authority.state */
    struct buf text; /* of the statement, version or message in the making */
    sqlite3_stmt *own[N_OWN];
    struct sqlite_table *tables;
    uint32_t n_tables;
    struct column_statement statements[STATEMENTS];
};

/* --- connection.c --- */

/* Fill in e for a result code of the connection: class, what was done, which file, what to do. Returns -1. */
int sqlite_error(struct mirror *m, int code, const char *doing, struct err *e);
/* Statements without results, any number of them. */
MUST_CHECK int sqlite_run(struct mirror *m, const char *sql, const char *doing, struct err *e);
MUST_CHECK int sqlite_prepare(struct mirror *m, const char *sql, sqlite3_stmt **out, struct err *e);
/* Own statement, reset and ready to be bound. */
MUST_CHECK int sqlite_own(struct mirror *m, enum own_statement which, sqlite3_stmt **out, struct err *e);
/* An own statement without results or parameters. */
MUST_CHECK int sqlite_own_run(struct mirror *m, enum own_statement which, const char *doing, struct err *e);
MUST_CHECK int sqlite_connect(struct mirror *m, int flags, struct err *e);
/* Whether the path still names the file that is open. */
bool sqlite_was_moved(struct mirror *m);

struct mirror *sqlite_new(const struct sink_config *config);
MUST_CHECK int sqlite_open(struct mirror *m, struct buf *notice, struct err *e);
void sqlite_interrupt(struct mirror *m);
void sqlite_close(struct mirror *m);
void sqlite_free(struct mirror *m);

/* --- authority.c --- */

MUST_CHECK int sqlite_fence(struct mirror *m, struct mirror_authority *held, struct err *e);
MUST_CHECK int sqlite_begin(struct mirror *m, struct err *e);
MUST_CHECK int sqlite_commit(struct mirror *m, const uint8_t store_id[MIRROR_STORE_ID], uint64_t cursor,
                             struct span state, struct err *e);
void sqlite_rollback(struct mirror *m);
MUST_CHECK int sqlite_forget(struct mirror *m, uint32_t epoch, int64_t commit, size_t most, size_t *n,
                             struct err *e);

/* --- tables.c --- */

MUST_CHECK int sqlite_add_own(struct mirror *m, bool *made, struct err *e); /* within a transaction */
/* Make our own tables; *made tells whether there were none. ERR_REJECTED: a newer layout. */
MUST_CHECK int sqlite_make_own(struct mirror *m, bool *made, struct err *e);
MUST_CHECK int sqlite_prepare_table(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
                                    struct mirror_remarks *remarks, struct err *e);
/* The statement that makes it, or its history table. */
void sqlite_add_create(const struct mirror_table *table, bool history, struct buf *out);
/* What is known of a table: an empty entry for one that was not prepared yet. Valid until the next call. */
struct sqlite_table *sqlite_table_of(struct mirror *m, const struct mirror_table *table);
/* Tables prepared in this transaction are known from now on (kept), or have to be prepared again. */
void sqlite_settle_tables(struct mirror *m, bool kept);

/* --- fields.c --- */

MUST_CHECK int sqlite_fields(struct mirror *m, struct arena *a, struct mirror_field **out, size_t *n,
                             struct err *e);
/* A number for each source: the one it has, or the next free one, which is written down. */
MUST_CHECK int sqlite_number_sources(struct mirror *m, const struct mirror_table *table, uint32_t *numbers,
                                     struct err *e);

/* --- statements.c --- */

/* Ready to be bound. n and columns only for kinds from N_FIXED on. */
MUST_CHECK int sqlite_row_statement(struct mirror *m, const struct mirror_table *table,
                                    enum row_statement kind, uint32_t n, const uint32_t *columns,
                                    sqlite3_stmt **out, struct err *e);
/* The one that an UPSERT takes. */
enum row_statement sqlite_upsert_kind(const struct mirror_row *row);
/* The text of such a statement; parameters in the order in which rows.c binds them. */
void sqlite_add_row_sql(const struct mirror_table *table, enum row_statement kind, uint32_t n,
                        const uint32_t *columns, struct buf *out);
void sqlite_drop_statements(struct mirror *m, uint32_t table);
void sqlite_drop_all_statements(struct mirror *m);

/* --- values.c --- */

/* False with why: SQLite cannot hold this value. */
MUST_CHECK bool sqlite_bind_value(sqlite3_stmt *stmt, int at, const struct mirror_value *value,
                                  const char **why);
void sqlite_bind_span(sqlite3_stmt *stmt, int at, struct span s); /* as text */
void sqlite_bind_bytes(sqlite3_stmt *stmt, int at, struct span s);
struct span sqlite_column_span(sqlite3_stmt *stmt, int at); /* until the next step */
struct span sqlite_column_copy(sqlite3_stmt *stmt, int at, struct arena *a);
/* Null, too, where something stands that is no value of the type. */
void sqlite_read_value(sqlite3_stmt *stmt, int at, enum mirror_type type, struct arena *a,
                       struct mirror_value *out);
/* A time as SQLite programs write them: RFC 3339, or "YYYY-MM-DD HH:MM:SS[.fff]" in UTC. */
MUST_CHECK bool sqlite_parse_time(struct span text, int64_t *ms);
void sqlite_add_value(const struct mirror_value *value, struct buf *out); /* as a literal of SQL */
const char *sqlite_type_name(enum mirror_type type);

/* --- rows.c --- */

MUST_CHECK int sqlite_load(struct mirror *m, const struct mirror_table *table, const struct span *ids,
                           size_t n, struct arena *a, struct mirror_held *held, struct err *e);
MUST_CHECK int sqlite_text(struct mirror *m, const struct mirror_table *table, struct span id,
                           uint32_t column, struct arena *a, bool *found, struct mirror_value *out,
                           struct err *e);
MUST_CHECK int sqlite_write(struct mirror *m, struct mirror_row *rows, size_t n, bool whole, struct err *e);

/* --- look.c --- */

MUST_CHECK int sqlite_has_table(struct mirror *m, const char *name, bool *has, struct err *e);
MUST_CHECK int sqlite_has_column(struct mirror *m, const char *table, const char *column, bool *has,
                                 struct err *e);
MUST_CHECK int sqlite_look(struct mirror *m, struct err *e);
MUST_CHECK int sqlite_row(struct mirror *m, const struct mirror_table *table, struct span id, struct arena *a,
                          struct mirror_cell **out, size_t *n, struct err *e);
MUST_CHECK int sqlite_inspect(struct mirror *m, const struct mirror_table *tables, size_t n,
                              struct buf *findings, struct err *e);
void sqlite_show_table(const struct mirror_table *table, struct buf *out);
void sqlite_show_row(const struct mirror_row *row, struct buf *out);

#endif
