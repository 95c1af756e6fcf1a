/*
 * mirror_sqlite: a SQLite database as the target of a mirror_stand.
 */
#ifndef SUPPORT_MIRROR_SQLITE_H
#define SUPPORT_MIRROR_SQLITE_H

#include "mirror_stand.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

static bool sqlite_make_target(struct mirror_stand *t)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    if (!t->dir[0]) {
        snprintf(t->dir, sizeof t->dir, "%s/tidemark-mirror-XXXXXX", base);
        if (!mkdtemp(t->dir))
            BUG("cannot make %s", t->dir);
    }
    snprintf(t->path, sizeof t->path, "%s/mirror.db", t->dir);
    t->config.path = t->path;
    return true;
}

static void sqlite_remove_target(struct mirror_stand *t)
{
    static const char *const names[] = {"mirror.db", "mirror.db-wal", "mirror.db-shm", "mirror.db-journal"};
    char path[160];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", t->dir, names[i]);
        unlink(path);
    }
    rmdir(t->dir);
}

static sqlite3 *sqlite_outside(struct mirror_stand *t)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(t->path, &db) != SQLITE_OK)
        BUG("cannot open %s", t->path);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

static bool sqlite_run_outside(struct mirror_stand *t, const char *sql)
{
    sqlite3 *db = sqlite_outside(t);
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close(db);
    return code == SQLITE_OK;
}

static int64_t sqlite_count_outside(struct mirror_stand *t, const char *sql)
{
    sqlite3 *db = sqlite_outside(t);
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
        BUG("%s: %s", sql, sqlite3_errmsg(db));
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void sqlite_hold_target(struct mirror_stand *t)
{
    t->private = sqlite_outside(t);
    if (sqlite3_exec(t->private, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        BUG("cannot lock %s", t->path);
}

static void sqlite_let_go_of_target(struct mirror_stand *t)
{
    sqlite3_close(t->private);
    t->private = NULL;
}

static const struct mirror_kind mirror_kind_sqlite = {
    .name = "sqlite",
    .kind = SINK_KIND_SQLITE,
    .make = sqlite_make_target,
    .remove = sqlite_remove_target,
    .run = sqlite_run_outside,
    .count = sqlite_count_outside,
    .hold = sqlite_hold_target,
    .let_go = sqlite_let_go_of_target,
    .shown = {"text", "1", "-9223372036854775808", "0.1", "2026-01-01T00:00:00.123Z", "2024-02-29",
              "23:59:59.999", "{\"a\":1}"},
    .yes = "1",
    .no = "0",
    .trap = "CREATE TRIGGER trap BEFORE INSERT ON account WHEN NEW.name='poison'"
            " BEGIN SELECT RAISE(ROLLBACK,'no poison here'); END",
    .trapped = MIRROR_FATAL,
};

#endif
