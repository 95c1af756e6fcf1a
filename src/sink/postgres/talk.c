#include "sink/postgres/talk.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const char origin[] = "sink.postgres";

void pg_init(struct pg *c)
{
    *c = (struct pg){.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (c->wake < 0)
        BUG("eventfd: %s", strerror(errno));
}

void pg_release(struct pg *c)
{
    pg_disconnect(c);
    free(c->asides);
    close(c->wake);
}

void pg_interrupt(struct pg *c)
{
    static const uint64_t one = 1;
    /* It can only fail when it is full, and then it is readable. */
    ssize_t written = write(c->wake, &one, sizeof one);
    (void)written;
}

void pg_disconnect(struct pg *c)
{
    if (c->conn)
        PQfinish(c->conn);
    c->conn = NULL;
    c->queued = c->n_asides = 0;
    pg_kept_release(&c->kept);
    c->broken = c->lost = false;
}

/* --- errors ---------------------------------------------------------------------------------------- */

/* Errors whose message quotes the value: told in our words. Without words: the server's, which quote none. */
static const struct {
    const char *state, *text;
} data_errors[] = {
    {"22001", NULL},
    {"22003", "a number is out of the range of its column's type"},
    {"22007", "a date or time that its column cannot hold"},
    {"22008", "a date or time that its column cannot hold"},
    {"22021", "a character that the database's encoding does not have"},
    {"22P05", "a character that the database's encoding does not have"},
    {"22P02", "a value that cannot be read as its column's type"},
    {"22030", "a JSON object with a key twice"},
    {"22032", "no valid JSON"},
    {"54011",
     "the table has as many columns as PostgreSQL allows, 1600: leave fields out (FIELD: false), or put them "
     "into one column (new_fields: json)"},
    {"22", "a value that does not fit its column"},
    {"P0", "a trigger or function of the target raised an error"},
};

static const char *words_for(const char *state)
{
    for (size_t i = 0; i < ARRAY_LEN(data_errors); i++)
        if (strncmp(state, data_errors[i].state, strlen(data_errors[i].state)) == 0)
            return data_errors[i].text;
    return NULL;
}

static void add_name(struct buf *text, const PGresult *r, int field, const char *what)
{
    const char *name = PQresultErrorField(r, field);
    if (name)
        buf_addf(text, ", %s %s", what, name);
}

/* Ended by somebody, or by a fault; not for lack of room, memory or time. */
static bool is_an_end(const char *state)
{
    return strncmp(state, "57P0", 4) == 0 || strncmp(state, "XX", 2) == 0;
}

/* What a failed statement means: sets fault, and fills e without any value of a row. */
static int describe(struct pg *c, const PGresult *r, struct err *e)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    c->fault = pg_fault_of(state);
    if (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        c->broken = true;
    c->lost |= !state || (c->broken && is_an_end(state));
    if (!state) {
        c->broken = true;
        return err_set(e, ERR_RETRY, origin, 0, "the connection to PostgreSQL broke");
    }
    struct buf text = BUF_INIT;
    const char *message = words_for(state);
    if (!message)
        message = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    buf_addf(&text, "%s: %s", state, message ? message : "no reason given");
    add_name(&text, r, PG_DIAG_TABLE_NAME, "table");
    add_name(&text, r, PG_DIAG_COLUMN_NAME, "column");
    add_name(&text, r, PG_DIAG_CONSTRAINT_NAME, "constraint");
    if (strcmp(state, "53100") == 0)
        buf_add_str(&text, " (the disk of the server is full: make room there)");
    const char *where = strncmp(state, "P0", 2) == 0 ? PQresultErrorField(r, PG_DIAG_CONTEXT) : NULL;
    if (where)
        buf_addf(&text, ", in %.*s", (int)strcspn(where, "\n"), where);
    err_set(e, c->fault == PG_FAULT_LOGIN ? ERR_REJECTED : ERR_RETRY, origin, 0, "%s",
            (const char *)text.data);
    buf_release(&text);
    return -1;
}

static int broke(struct pg *c, const char *how, struct err *e)
{
    c->broken = true;
    c->fault = PG_FAULT_AWAY;
    return err_set(e, ERR_RETRY, origin, 0, "%s", how);
}

/* The other end is gone. */
static int lost(struct pg *c, const char *how, struct err *e)
{
    c->lost = true;
    return broke(c, how, e);
}

/* --- waiting --------------------------------------------------------------------------------------- */

/* Until the socket can be read (or written, when asked), for as long as patience lasts. */
static int wait_for(struct pg *c, short events, struct err *e)
{
    int64_t limit = c->patience_ms ? clock_mono_ms() + c->patience_ms : INT64_MAX;
    for (;;) {
        struct pollfd fds[] = {{.fd = PQsocket(c->conn), .events = events},
                               {.fd = c->wake, .events = POLLIN}};
        int64_t left = limit - clock_mono_ms();
        if (left <= 0)
            return broke(c, "PostgreSQL has not answered in time; the connection is given up", e);
        int ready = poll(fds, ARRAY_LEN(fds), left > 60000 ? 60000 : (int)left);
        if (ready < 0 && errno != EINTR)
            return broke(c, "the connection to PostgreSQL cannot be waited for", e);
        if (ready > 0 && fds[1].revents)
            return broke(c, "interrupted while PostgreSQL was at work", e);
        if (ready > 0 && fds[0].revents)
            return 0;
    }
}

/* Send what libpq holds back; what arrives meanwhile is taken in, so that neither side waits for the other. */
static int flush(struct pg *c, struct err *e)
{
    for (;;) {
        int rest = PQflush(c->conn);
        if (rest == 0)
            return 0;
        if (rest < 0)
            return lost(c, "the connection to PostgreSQL broke while it was written to", e);
        if (wait_for(c, POLLIN | POLLOUT, e) != 0)
            return -1;
        if (!PQconsumeInput(c->conn))
            return lost(c, "the connection to PostgreSQL broke", e);
    }
}

int pg_push(struct pg *c, struct err *e)
{
    if (!c->conn || c->broken)
        return broke(c, "no connection to PostgreSQL", e);
    return flush(c, e);
}

/* The next answer; *out NULL: the end of one statement's. */
static int next_answer(struct pg *c, PGresult **out, struct err *e)
{
    while (PQisBusy(c->conn)) {
        if (wait_for(c, POLLIN, e) != 0)
            return -1;
        if (!PQconsumeInput(c->conn))
            return lost(c, "the connection to PostgreSQL broke", e);
    }
    *out = PQgetResult(c->conn);
    return 0;
}

/* --- statements ------------------------------------------------------------------------------------ */

/* A statement of our own among those of others: number 0, or that of the statement it prepares. */
struct pg_aside {
    size_t at; /* in the queue */
    uint64_t prepares;
};

static void queue_aside(struct pg *c, uint64_t prepares)
{
    if (c->n_asides == c->cap_asides) {
        c->cap_asides = 2 * c->cap_asides + 8;
        c->asides = xrealloc(c->asides, c->cap_asides * sizeof *c->asides);
    }
    c->asides[c->n_asides++] = (struct pg_aside){c->queued++, prepares};
}

static bool send_deallocate(struct pg *c, uint64_t number)
{
    char name[PG_KEPT_NAME], sql[PG_KEPT_NAME + 16];
    pg_kept_name(number, name);
    snprintf(sql, sizeof sql, "DEALLOCATE %s", name);
    if (!PQsendQueryParams(c->conn, sql, 0, NULL, NULL, NULL, NULL, 0))
        return false;
    queue_aside(c, 0);
    return true;
}

static bool send_prepare(struct pg *c, struct pg_kept_statement *s)
{
    char name[PG_KEPT_NAME];
    pg_kept_sent(&c->kept, s);
    pg_kept_name(s->number, name);
    if (!PQsendPrepare(c->conn, name, s->text, (int)s->n_types, s->types))
        return false;
    queue_aside(c, s->number);
    return true;
}

static bool send_statement(struct pg *c, const char *sql, int n, const struct pg_wire *w, bool binary)
{
    uint64_t gone = 0;
    char name[PG_KEPT_NAME];
    struct pg_kept_statement *s = n ? pg_kept_find(&c->kept, sql, w->types, (size_t)n, &gone) : NULL;
    if (gone && !send_deallocate(c, gone))
        return false;
    if (!s)
        return PQsendQueryParams(c->conn, sql, n, w->types, w->values, w->lengths, w->formats, binary);
    if (s->state == PG_KEPT_SEEN && !send_prepare(c, s))
        return false;
    pg_kept_name(s->number, name);
    return PQsendQueryPrepared(c->conn, name, n, w->values, w->lengths, w->formats, binary);
}

int pg_send(struct pg *c, const char *sql, const struct pg_params *params, bool binary, struct err *e)
{
    static const struct pg_params none = PG_PARAMS_INIT;
    if (!c->conn || c->broken)
        return broke(c, "no connection to PostgreSQL", e);
    struct pg_wire w;
    pg_params_wire(params ? params : &none, &w);
    const bool sent = send_statement(c, sql, params ? (int)params->n : 0, &w, binary);
    pg_wire_release(&w);
    if (!sent)
        return broke(c, "the connection to PostgreSQL broke while a statement was sent", e);
    c->queued++;
    return 0;
}

struct finishing {
    size_t done;
    size_t asides; /* of them, those that were ours */
    bool failed, synced;
    pg_each each;
    void *context;
    struct err *e;
};

static bool is_aside(const struct pg *c, const struct finishing *f)
{
    return f->asides < c->n_asides && c->asides[f->asides].at == f->done;
}

static void take_answer(struct pg *c, struct finishing *f, const PGresult *r)
{
    switch (PQresultStatus(r)) {
    case PGRES_PIPELINE_SYNC:
        f->synced = true;
        return;
    case PGRES_PIPELINE_ABORTED:
        return;
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        if (is_aside(c, f))
            pg_kept_answered(&c->kept, c->asides[f->asides].prepares);
        else if (f->each && !f->failed)
            f->each(f->context, f->done - f->asides, r);
        return;
    default:
        if (!f->failed)
            describe(c, r, f->e);
        f->failed = true;
    }
}

static int take_answers(struct pg *c, struct finishing *f, struct err *e)
{
    const size_t expected = c->queued;
    c->queued = 0;
    if (!c->conn || c->broken)
        return broke(c, "no connection to PostgreSQL", e);
    if (!PQpipelineSync(c->conn))
        return broke(c, "the connection to PostgreSQL broke while a statement was sent", e);
    if (flush(c, e) != 0)
        return -1;
    while (!f->synced) {
        PGresult *r = NULL;
        if (next_answer(c, &r, f->failed ? NULL : e) != 0)
            return -1;
        if (!r) { /* a NULL follows each statement's answer */
            f->asides += is_aside(c, f);
            if (++f->done > expected + 1)
                return f->failed ? -1 : broke(c, "PostgreSQL's answers do not match what was asked", e);
            continue;
        }
        take_answer(c, f, r);
        PQclear(r);
        if (c->broken)
            return -1;
    }
    return f->failed ? -1 : 0;
}

int pg_finish(struct pg *c, pg_each each, void *context, struct err *e)
{
    struct finishing f = {.each = each, .context = context, .e = e};
    const int rc = take_answers(c, &f, e);
    c->n_asides = 0;
    pg_kept_settled(&c->kept);
    return rc;
}

static void keep_answer(void *context, size_t i, const PGresult *r)
{
    (void)i;
    PGresult **out = context;
    *out = PQcopyResult(r, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
}

int pg_ask(struct pg *c, const char *sql, const struct pg_params *params, bool binary, PGresult **out,
           struct err *e)
{
    BUG_IF(c->queued);
    *out = NULL;
    if (pg_send(c, sql, params, binary, e) != 0)
        return -1;
    if (pg_finish(c, keep_answer, out, e) != 0) {
        PQclear(*out);
        *out = NULL;
        return -1;
    }
    return *out ? 0 : broke(c, "no memory for PostgreSQL's answer", e);
}

int pg_do(struct pg *c, const char *sql, struct err *e)
{
    if (pg_send(c, sql, NULL, false, e) != 0)
        return -1;
    return pg_finish(c, NULL, NULL, e);
}

int64_t pg_cell_int8(const PGresult *r, int row, int column)
{
    struct span cell = pg_cell(r, row, column);
    BUG_IF(cell.n != 8);
    uint64_t v = 0;
    for (size_t i = 0; i < 8; i++)
        v = v << 8 | cell.p[i];
    return (int64_t)v;
}
