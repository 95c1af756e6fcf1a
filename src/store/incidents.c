#include "store/incidents.h"

#include "base/clock.h"
#include "base/text.h"
#include "store/codec.h"

#include <inttypes.h>
#include <stdio.h>

static int write_incident(struct store_txn *txn, const struct incident *i, struct err *e)
{
    struct buf v = BUF_INIT;
    uint8_t key[8];
    key_u64(key, i->number);
    put_u8(&v, (uint8_t)i->state);
    put_i64(&v, i->opened_ms);
    put_span(&v, span_of_str(i->subject));
    put_span(&v, span_of_str(i->kind));
    put_span(&v, span_of_str(i->policy));
    put_span(&v, span_of(i->old_replay_id, i->old_replay_id_len));
    put_i64(&v, i->since_ms);
    put_i64(&v, i->until_ms);
    put_span(&v, span_of_str(i->text));
    put_i64(&v, i->closed_ms);
    put_span(&v, span_of_str(i->closed_by));
    put_span(&v, span_of_str(i->note));
    int rc = store_put(txn, DB_INCIDENTS, span_of(key, sizeof key), buf_span(&v), e);
    buf_release(&v);
    return rc;
}

int incident_open(struct store_txn *txn, struct incident *incident, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, last;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_INCIDENTS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot record an incident", e);
    rc = mdb_cursor_get(cursor, &k, &last, MDB_LAST);
    incident->number = rc == 0 && k.mv_size == 8 ? key_get_u64(k.mv_data) + 1 : 1;
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot record an incident", e);
    return write_incident(txn, incident, e);
}

static bool decode(struct span key, struct span v, struct incident *i)
{
    if (key.n != 8)
        return false;
    struct reader r = {v, false};
    *i = (struct incident){.number = key_get_u64(key.p)};
    i->state = (enum incident_state)get_u8(&r);
    i->opened_ms = get_i64(&r);
    get_text(&r, i->subject, sizeof i->subject);
    get_text(&r, i->kind, sizeof i->kind);
    get_text(&r, i->policy, sizeof i->policy);
    struct span id = get_span(&r);
    i->since_ms = get_i64(&r);
    i->until_ms = get_i64(&r);
    get_text(&r, i->text, sizeof i->text);
    if (reader_more(&r)) { /* records of earlier versions end here */
        i->closed_ms = get_i64(&r);
        get_text(&r, i->closed_by, sizeof i->closed_by);
        get_text(&r, i->note, sizeof i->note);
    }
    if (!reader_ok(&r) || id.n > sizeof i->old_replay_id)
        return false;
    if (id.n)
        memcpy(i->old_replay_id, id.p, id.n);
    i->old_replay_id_len = (uint32_t)id.n;
    return true;
}

static int check_note(const char *note, struct err *e)
{
    struct incident *i = NULL;
    size_t n = strlen(note);
    if (n >= sizeof i->note)
        return err_set(e, ERR_CONFIG, "incidents", 0, "a note has at most %zu bytes, this one has %zu",
                       sizeof i->note - 1, n);
    if (!text_is_utf8(span_of_str(note)))
        return err_set(e, ERR_CONFIG, "incidents", 0, "the note is not UTF-8");
    for (const char *p = note; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return err_set(e, ERR_CONFIG, "incidents", 0,
                           "the note has a control character: one line of text, please");
    return 0;
}

static int damaged(struct store_txn *txn, struct err *e)
{
    return err_set(e, ERR_STORE, "store", MDB_CORRUPTED,
                   "store %s is damaged: an incident does not parse; restore a backup",
                   store_folder(txn->st));
}

int incident_close(struct store_txn *txn, uint64_t number, const char *by, const char *note,
                   struct incident *incident, struct err *e)
{
    struct span v;
    uint8_t key[8];
    key_u64(key, number);
    if (check_note(note, e) != 0)
        return -1;
    int rc = store_get(txn, DB_INCIDENTS, span_of(key, sizeof key), &v, e);
    if (rc != 0)
        return rc < 0 ? -1 : 2;
    if (!decode(span_of(key, sizeof key), v, incident))
        return damaged(txn, e);
    if (incident->state != INCIDENT_OPEN)
        return 1;
    incident->state = INCIDENT_CLOSED;
    incident->closed_ms = clock_wall_ms();
    snprintf(incident->closed_by, sizeof incident->closed_by, "%s", by);
    snprintf(incident->note, sizeof incident->note, "%s", note);
    return write_incident(txn, incident, e);
}

int incident_order_close(struct store_txn *txn, uint64_t number, const char *by, const char *note,
                         struct buf *answer, struct err *e)
{
    struct incident incident;
    char closed[25];
    int rc = incident_close(txn, number, by, note, &incident, e);
    if (rc < 0)
        return -1;
    if (rc == 2)
        return err_set(e, ERR_CONFIG, "incidents", 0,
                       "there is no incident %" PRIu64 "; 'tidemark incidents list --all' shows them",
                       number);
    clock_format_ms(incident.closed_ms, closed);
    if (rc == 0)
        buf_addf(answer, "incident %" PRIu64 " (%s, %s): closed\n", number, incident.kind, incident.subject);
    else if (incident.closed_ms)
        buf_addf(answer, "incident %" PRIu64 " (%s, %s) was closed already, %s by %s\n", number,
                 incident.kind, incident.subject, closed, incident.closed_by);
    else
        buf_addf(answer,
                 "incident %" PRIu64 " (%s, %s) was recorded closed: there is nothing to do about it\n",
                 number, incident.kind, incident.subject);
    return 0;
}

int incident_each(struct store_txn *txn, int (*fn)(void *ctx, const struct incident *incident), void *ctx,
                  struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn->mdb, store_dbi(txn->st, DB_INCIDENTS), &cursor);
    if (rc != 0)
        return store_error(txn->st, rc, "cannot read incidents", e);
    int result = 0;
    while (result == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct incident i;
        if (!decode(span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), &i))
            result = damaged(txn, e);
        else
            result = fn(ctx, &i);
    }
    mdb_cursor_close(cursor);
    if (result == 0 && rc != MDB_NOTFOUND)
        return store_error(txn->st, rc, "cannot read incidents", e);
    return result;
}

/* --- a sink that has another name now ----------------------------------------------------------------- */

/* A subscription, or the store, may have the name of a sink: these kinds are of theirs. */
static bool is_of_sink(const struct incident *i)
{
    static const char *const others[] = {"lost_position", "replay", "replay_refused", "restored"};
    for (size_t k = 0; k < ARRAY_LEN(others); k++)
        if (strcmp(i->kind, others[k]) == 0)
            return false;
    return true;
}

struct renaming {
    const char *from;
    uint64_t after; /* this number */
    struct incident found;
    bool any;
};

static int find_next(void *ctx, const struct incident *i)
{
    struct renaming *r = ctx;
    if (i->number <= r->after || strcmp(i->subject, r->from) != 0 || !is_of_sink(i))
        return 0;
    r->found = *i;
    r->any = true;
    return 1;
}

int incidents_rename_sink(struct store_txn *txn, const char *from, const char *to, struct err *e)
{
    struct renaming r = {.from = from};
    do {
        r.any = false;
        if (incident_each(txn, find_next, &r, e) < 0)
            return -1;
        r.after = r.found.number;
        snprintf(r.found.subject, sizeof r.found.subject, "%s", to);
    } while (r.any && write_incident(txn, &r.found, e) == 0);
    return r.any ? -1 : 0;
}

const char *incident_state_name(enum incident_state state)
{
    return state == INCIDENT_OPEN ? "open" : "closed";
}
