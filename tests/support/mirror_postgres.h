/*
 * mirror_postgres: a database of a PostgreSQL of the test's own as the target of a mirror_stand. The server is started
 * at the first use and lives as long as the program; each stand has a database.
 */
#ifndef SUPPORT_MIRROR_POSTGRES_H
#define SUPPORT_MIRROR_POSTGRES_H

#include "harness/postgres_server.h"
#include "mirror_stand.h"

#include <libpq-fe.h>
#include <stdlib.h>

static struct postgres_server *postgres_of_tests;

static void postgres_stop_for_good(void)
{
    postgres_server_stop(postgres_of_tests);
    postgres_of_tests = NULL;
}

static PGconn *postgres_connect_to(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);
    if (PQstatus(conn) != CONNECTION_OK)
        BUG("%s", PQerrorMessage(conn));
    return conn;
}

static PGconn *postgres_outside(struct mirror_stand *t)
{
    return postgres_connect_to(t->dsn);
}

static bool postgres_run_on(const char *dsn, const char *sql)
{
    PGconn *conn = postgres_connect_to(dsn);
    PGresult *r = PQexec(conn, sql);
    bool fine = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
    if (!fine)
        fprintf(stderr, "# %s", PQerrorMessage(conn));
    PQclear(r);
    PQfinish(conn);
    return fine;
}

/* dir is FOLDER/DATABASE: another program that is given it finds the same. */
static bool postgres_make_target(struct mirror_stand *t)
{
    static unsigned made;
    if (!t->dir[0]) {
        char all[128], sql[64];
        if (!postgres_of_tests) {
            postgres_of_tests = postgres_server_start();
            if (!postgres_of_tests)
                return false;
            atexit(postgres_stop_for_good);
        }
        const char *folder = postgres_server_folder(postgres_of_tests);
        snprintf(t->dir, sizeof t->dir, "%s/t%u", folder, ++made);
        snprintf(all, sizeof all, "host=%s user=postgres dbname=postgres", folder);
        snprintf(sql, sizeof sql, "CREATE DATABASE t%u", made);
        if (!postgres_run_on(all, sql))
            BUG("cannot make %s", t->dir);
    }
    const char *database = strrchr(t->dir, '/');
    snprintf(t->dsn, sizeof t->dsn, "host=%.*s user=postgres dbname=%s", (int)(database - t->dir), t->dir,
             database + 1);
    t->config.dsn = t->dsn;
    return true;
}

static void postgres_remove_target(struct mirror_stand *t)
{
    (void)t; /* goes with the server */
}

static bool postgres_run_outside(struct mirror_stand *t, const char *sql)
{
    return postgres_run_on(t->dsn, sql);
}

static int64_t postgres_count_outside(struct mirror_stand *t, const char *sql)
{
    PGconn *conn = postgres_outside(t);
    PGresult *r = PQexec(conn, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        BUG("%s: %s", sql, PQerrorMessage(conn));
    int64_t n = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    PQfinish(conn);
    return n;
}

static void postgres_hold_target(struct mirror_stand *t)
{
    t->private = postgres_outside(t);
    PGresult *r = PQexec(t->private, "BEGIN; LOCK TABLE _tidemark_sinks IN ACCESS EXCLUSIVE MODE");
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        BUG("cannot lock: %s", PQerrorMessage(t->private));
    PQclear(r);
}

static void postgres_let_go_of_target(struct mirror_stand *t)
{
    PQfinish(t->private);
    t->private = NULL;
}

static const struct mirror_kind mirror_kind_postgres = {
    .name = "postgres",
    .kind = SINK_KIND_POSTGRES,
    .make = postgres_make_target,
    .remove = postgres_remove_target,
    .run = postgres_run_outside,
    .count = postgres_count_outside,
    .hold = postgres_hold_target,
    .let_go = postgres_let_go_of_target,
    .shown = {"text", "t", "-9223372036854775808", "0.1", "2026-01-01 00:00:00.123+00", "2024-02-29",
              "23:59:59.999", "{\"a\": 1}"},
    .yes = "t",
    .no = "f",
    .stores_nan = true,
    .trap = "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';"
            "CREATE TRIGGER trap BEFORE INSERT ON account FOR EACH ROW WHEN (NEW.name = 'poison')"
            " EXECUTE FUNCTION trap()",
    .trapped = MIRROR_LOST,
};

#endif
