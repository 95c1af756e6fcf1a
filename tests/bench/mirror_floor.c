/*
 * mirror_floor: what SQLite alone does with a mirror's rows: one prepared upsert, 1,000 rows a transaction.
 *
 *   mirror_floor MIRROR.db TABLE UPSERTS FLOOR.db
 *
 * Takes rows of the table as they are, makes an empty table of the same columns in another file with the same
 * settings (WAL, synchronous=FULL), inserts every record once and updates them all over, whole rows, UPSERTS times in
 * all. Prints one line of JSON.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

enum { KEPT_ROWS = 5000, PER_TRANSACTION = 1000 };

struct rows {
    int columns;
    sqlite3_value **values; /* KEPT_ROWS times columns */
    size_t kept;
    char (*ids)[19];
    size_t n_ids;
    char **names;
};

static void must(sqlite3 *db, int code, int expected, const char *what)
{
    if (code == expected)
        return;
    fprintf(stderr, "mirror_floor: %s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static void run(sqlite3 *db, const char *sql)
{
    must(db, sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, sql);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    must(db, sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, sql);
    return s;
}

/* The first column is the key. */
static void read_rows(const char *path, const char *table, struct rows *out)
{
    sqlite3 *db;
    must(NULL, sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK, path);
    char *sql = xasprintf("SELECT * FROM \"%s\"", table);
    sqlite3_stmt *s = prepare(db, sql);
    free(sql);
    out->columns = sqlite3_column_count(s);
    out->names = xcalloc((size_t)out->columns, sizeof *out->names);
    for (int i = 0; i < out->columns; i++)
        out->names[i] = xstrdup(sqlite3_column_name(s, i));
    out->values = xcalloc((size_t)KEPT_ROWS * (size_t)out->columns, sizeof(sqlite3_value *));
    while (sqlite3_step(s) == SQLITE_ROW) {
        if ((out->n_ids & (out->n_ids - 1)) == 0)
            out->ids = xrealloc(out->ids, (out->n_ids ? 2 * out->n_ids : 1) * sizeof *out->ids);
        snprintf(out->ids[out->n_ids++], sizeof *out->ids, "%s", (const char *)sqlite3_column_text(s, 0));
        for (int i = 0; i < out->columns && out->kept < KEPT_ROWS; i++)
            out->values[out->kept * (size_t)out->columns + (size_t)i] = sqlite3_value_dup(
                sqlite3_column_value(s, i));
        out->kept += out->kept < KEPT_ROWS;
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    if (out->n_ids == 0) {
        fprintf(stderr, "mirror_floor: %s holds no rows\n", path);
        exit(1);
    }
}

static sqlite3_stmt *make_table(sqlite3 *db, const struct rows *r)
{
    struct buf table = BUF_INIT, upsert = BUF_INIT, set = BUF_INIT;
    buf_addf(&table, "CREATE TABLE floor(\"%s\" TEXT PRIMARY KEY NOT NULL", r->names[0]);
    buf_add_str(&upsert, "INSERT INTO floor VALUES(?");
    for (int i = 1; i < r->columns; i++) {
        buf_addf(&table, ",\"%s\"", r->names[i]);
        buf_add_str(&upsert, ",?");
        buf_addf(&set, "%s\"%s\"=excluded.\"%s\"", i > 1 ? "," : "", r->names[i], r->names[i]);
    }
    buf_add_str(&table, ")");
    run(db, (const char *)table.data);
    buf_addf(&upsert, ") ON CONFLICT(\"%s\") DO UPDATE SET %s", r->names[0], (const char *)set.data);
    sqlite3_stmt *s = prepare(db, (const char *)upsert.data);
    buf_release(&table);
    buf_release(&upsert);
    buf_release(&set);
    return s;
}

static void upsert_all(sqlite3 *db, sqlite3_stmt *s, const struct rows *r, int64_t upserts)
{
    for (int64_t i = 0; i < upserts; i++) {
        if (i % PER_TRANSACTION == 0)
            run(db, i ? "COMMIT; BEGIN" : "BEGIN");
        size_t record = (size_t)i < r->n_ids ? (size_t)i
                                             : (size_t)((uint64_t)i * 0x9e3779b97f4a7c15ull % r->n_ids);
        sqlite3_value **row = &r->values[(size_t)i % r->kept * (size_t)r->columns];
        sqlite3_bind_text(s, 1, r->ids[record], -1, SQLITE_STATIC);
        for (int c = 1; c < r->columns; c++)
            sqlite3_bind_value(s, c + 1, row[c]);
        must(db, sqlite3_step(s), SQLITE_DONE, "upsert");
        sqlite3_reset(s);
    }
    run(db, "COMMIT");
}

int main(int argc, char **argv)
{
    struct rows r = {0};
    int64_t upserts;
    sqlite3 *db;
    if (argc != 5 || text_parse_int(argv[3], 1, 1000000000, &upserts) != 0) {
        fputs("usage: mirror_floor MIRROR.db TABLE UPSERTS FLOOR.db\n", stderr);
        return 2;
    }
    read_rows(argv[1], argv[2], &r);
    unlink(argv[4]);
    must(NULL, sqlite3_open(argv[4], &db), SQLITE_OK, argv[4]);
    run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
    sqlite3_stmt *s = make_table(db, &r);
    int64_t began = clock_mono_us();
    upsert_all(db, s, &r, upserts);
    double seconds = (double)(clock_mono_us() - began) / 1e6;
    printf("{\"events_per_s\":%.0f,\"columns\":%d,\"records\":%zu}\n", (double)upserts / seconds, r.columns,
           r.n_ids);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return 0;
}
