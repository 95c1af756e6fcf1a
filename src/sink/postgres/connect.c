/*
 * Connecting: options, TLS, and how a session must be.
 *
 * The connection string comes first, then libpq's environment, then our defaults. Ours are stricter than libpq's in
 * one point: a server that is not on this machine must show a certificate that is valid for its name (verify-full),
 * unless an sslmode was asked for. Without a root certificate of PostgreSQL's own the system's are used.
 */
#include "sink/postgres/talk.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char origin[] = "sink.postgres";
static const char system_roots[] = "/etc/ssl/certs/ca-certificates.crt";

enum { CONNECT_MS = 20000, GRACE_MS = 30000, MAX_OPTIONS = 16 };

/* --- options --------------------------------------------------------------------------------------- */

struct options {
    PQconninfoOption *given;    /* from the connection string; NULL: none */
    PQconninfoOption *defaults; /* environment and compiled in */
    const char *keys[MAX_OPTIONS], *values[MAX_OPTIONS];
    size_t n;
};

static const PQconninfoOption *option(const PQconninfoOption *all, const char *key)
{
    for (; all && all->keyword; all++)
        if (strcmp(all->keyword, key) == 0)
            return all;
    return NULL;
}

static const char *given(const struct options *o, const char *key)
{
    const PQconninfoOption *one = option(o->given, key);
    return one && one->val && *one->val ? one->val : NULL;
}

/* What the connection string or the environment says; NULL: neither says more than libpq itself. */
static const char *chosen(const struct options *o, const char *key)
{
    if (given(o, key))
        return given(o, key);
    const PQconninfoOption *one = option(o->defaults, key);
    if (!one || !one->val || !*one->val || (one->compiled && strcmp(one->val, one->compiled) == 0))
        return NULL;
    return one->val;
}

static void add(struct options *o, const char *key, const char *value)
{
    BUG_IF(o->n + 1 >= MAX_OPTIONS);
    o->keys[o->n] = key;
    o->values[o->n++] = value;
}

/* Only where nobody chose: what stands behind dbname would win over the connection string. */
static void add_default(struct options *o, const char *key, const char *value)
{
    if (!chosen(o, key))
        add(o, key, value);
}

static bool host_is_local(const char *host, size_t n)
{
    static const char *const names[] = {"localhost", "::1", "127.0.0.1"};
    if (n == 0 || host[0] == '/' || host[0] == '@')
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i]) == n && strncmp(host, names[i], n) == 0)
            return true;
    return n > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= n;
}

/* Every host of the list, which libpq tries one after the other. */
static bool hosts_are_local(const char *hosts)
{
    for (;;) {
        size_t n = strcspn(hosts, ",");
        if (!host_is_local(hosts, n))
            return false;
        if (!hosts[n])
            return true;
        hosts += n + 1;
    }
}

static bool is_local(const struct options *o)
{
    const char *address = chosen(o, "hostaddr"), *host = chosen(o, "host");
    return hosts_are_local(address ? address : host ? host : "");
}

static bool own_root_exists(void)
{
    const char *home = getenv("HOME");
    struct buf path = BUF_INIT;
    buf_addf(&path, "%s/.postgresql/root.crt", home ? home : "");
    bool found = access((const char *)path.data, R_OK) == 0;
    buf_release(&path);
    return found;
}

static void add_tls(struct options *o)
{
    const char *mode = chosen(o, "sslmode");
    if (!mode && !is_local(o))
        add(o, "sslmode", mode = "verify-full");
    if (mode && strncmp(mode, "verify-", 7) == 0 && !own_root_exists() && access(system_roots, R_OK) == 0)
        add_default(o, "sslrootcert", system_roots);
}

static int make_options(struct options *o, const char *dsn, const char *name, struct err *e)
{
    o->defaults = PQconndefaults();
    if (*dsn) {
        /* libpq's message may quote a part of the string, and with it the password. */
        o->given = PQconninfoParse(dsn, NULL);
        if (!o->given)
            return err_set(e, ERR_CONFIG, origin, 0,
                           "dsn is no connection string: write host=... dbname=... user=..., or "
                           "postgresql://user@host/dbname");
    }
    add_default(o, "connect_timeout", "10");
    add_default(o, "keepalives_idle", "30");
    add_default(o, "keepalives_interval", "10");
    add_default(o, "keepalives_count", "3");
    add_default(o, "tcp_user_timeout", "60000");
    add_default(o, "client_encoding", "UTF8");
    add(o, "fallback_application_name", name);
    add_tls(o);
    if (*dsn)
        add(o, "dbname", dsn);
    return 0;
}

static void release_options(struct options *o)
{
    PQconninfoFree(o->given);
    PQconninfoFree(o->defaults);
}

void pg_sslmode_of(const char *dsn, char out[16])
{
    struct options o = {.n = 0};
    const char *mode = NULL;
    if (make_options(&o, dsn, "", NULL) == 0)
        mode = chosen(&o, "sslmode");
    for (size_t i = 0; i < o.n && !mode; i++)
        if (strcmp(o.keys[i], "sslmode") == 0)
            mode = o.values[i];
    snprintf(out, 16, "%s", mode ? mode : "");
    release_options(&o);
}

/* --- the connection -------------------------------------------------------------------------------- */

/* What to do about it, found by libpq's words: it has no codes for these. More special ones first. */
static const struct {
    const char *words, *advice;
} tls_advice[] = {
    {"does not match host name", "connect to it by the name that its certificate is for (host=NAME, with "
                                 "hostaddr=ADDRESS where that name leads "
                                 "elsewhere), or give it a certificate for this one"},
    {"root certificate file",
     "give sslrootcert the file with the authority that signed the server's certificate"},
    {"certificate verify failed", "give sslrootcert the file with the authority that signed the server's "
                                  "certificate, and see that it has not "
                                  "expired"},
    {"does not support SSL", "turn TLS on there (ssl = on); sslmode=disable sends everything as it is"},
};

static const char *advice_for(const char *message)
{
    for (size_t i = 0; i < ARRAY_LEN(tls_advice); i++)
        if (strstr(message, tls_advice[i].words))
            return tls_advice[i].advice;
    return NULL;
}

static int refused(struct pg *c, struct err *e)
{
    /* libpq's words name host, user and database, never the password; its last line break goes. */
    const char *message = PQerrorMessage(c->conn);
    bool login = PQconnectionNeedsPassword(c->conn);
    size_t n = strlen(message);
    while (n > 0 && message[n - 1] == '\n')
        n--;
    const char *advice = advice_for(message);
    return err_set(e, login ? ERR_REJECTED : ERR_RETRY, origin, 0, "cannot connect to PostgreSQL: %.*s%s%s",
                   (int)n, n ? message : "no reason given", advice ? "; " : "", advice ? advice : "");
}

static int poll_until_connected(struct pg *c, struct err *e)
{
    int64_t limit = clock_mono_ms() + CONNECT_MS;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        if (PQstatus(c->conn) == CONNECTION_BAD || state == PGRES_POLLING_FAILED)
            return refused(c, e);
        struct pollfd fds[] = {
            {.fd = PQsocket(c->conn), .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT},
            {.fd = c->wake, .events = POLLIN},
        };
        int64_t left = limit - clock_mono_ms();
        int ready = left > 0 ? poll(fds, ARRAY_LEN(fds), (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return err_set(e, ERR_RETRY, origin, 0, "cannot connect to PostgreSQL: no answer within %d s",
                           CONNECT_MS / 1000);
        if (fds[1].revents)
            return err_set(e, ERR_RETRY, origin, 0, "interrupted while connecting to PostgreSQL");
        state = PQconnectPoll(c->conn);
    }
    return 0;
}

/*
 * How the session must be, whatever the server's configuration says. Times are UTC. "committed" means on disk.
 * A batch finds its rows by key: the planner knows nothing yet of tables that have just been made, and would read
 * them whole. Limits are ours only where neither role, database nor connection string sets them.
 */
static const char session[] =
    "SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false),"
    " set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),"
    " set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false),"
    " CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', "
    "false) END";
static const char limits[] =
    "SELECT count(set_config(ours.name, ours.value, false)) FROM (VALUES ('statement_timeout', '60s'),"
    " ('lock_timeout', '10s'), ('idle_in_transaction_session_timeout', '60s')) ours (name, value)"
    " JOIN pg_settings s USING (name)"
    " WHERE s.source NOT IN ('client', 'user', 'database', 'database user')";
static const char longest[] = "SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'";

static int set_session(struct pg *c, enum pg_intent intent, struct err *e)
{
    PGresult *r = NULL;
    if (pg_do(c, session, e) != 0 || pg_do(c, limits, e) != 0)
        return -1;
    if (intent == PG_FOR_READING && pg_do(c, "SET default_transaction_read_only = on", e) != 0)
        return -1;
    if (pg_ask(c, longest, NULL, true, &r, e) != 0)
        return -1;
    int64_t limit = pg_cell_int8(r, 0, 0);
    c->patience_ms = limit ? limit + GRACE_MS : 0;
    PQclear(r);
    return 0;
}

static void say_nothing(void *context, const char *message)
{
    (void)context;
    (void)message;
}

static void forget_interrupt(struct pg *c)
{
    uint64_t count;
    while (read(c->wake, &count, sizeof count) > 0)
        continue;
}

int pg_connect(struct pg *c, const char *dsn, const char *name, enum pg_intent intent, struct buf *notice,
               struct err *e)
{
    struct options o = {.n = 0};
    int rc = -1;
    BUG_IF(c->conn);
    forget_interrupt(c);
    c->patience_ms = CONNECT_MS;
    if (make_options(&o, dsn, name, e) != 0)
        goto out;
    c->conn = PQconnectStartParams(o.keys, o.values, 1);
    if (!c->conn) {
        err_set(e, ERR_RETRY, origin, 0, "no memory for a connection to PostgreSQL");
        goto out;
    }
    if (poll_until_connected(c, e) != 0)
        goto out;
    PQsetNoticeProcessor(c->conn, say_nothing, NULL);
    if (PQsetnonblocking(c->conn, 1) != 0 || !PQenterPipelineMode(c->conn)) {
        err_set(e, ERR_RETRY, origin, 0, "the connection to PostgreSQL broke at once");
        goto out;
    }
    if (set_session(c, intent, e) != 0)
        goto out;
    if (notice && !is_local(&o) && !PQsslInUse(c->conn))
        buf_add_str(notice, "the connection to PostgreSQL is not encrypted (sslmode)\n");
    rc = 0;
out:
    release_options(&o);
    if (rc != 0)
        pg_disconnect(c);
    return rc;
}
