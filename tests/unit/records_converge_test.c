/*
 * Convergence (I8) as a property of the real loop on real databases: the same changes in any order, with any
 * repeats, in any batches, with deaths anywhere, end in the rows that a plain model says (record_model.h).
 *
 * A world is a seed: a history of some hundred records, how it arrives, how the sink is configured, when its process
 * dies, whether its database is taken back or lost meanwhile. Each life of the sink is a process of its own.
 * TIDEMARK_SEED=N runs that world alone; what fails says which it was.
 */
#include "delivery/delivery.h"

#include "avro_bytes.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/exit_code.h"
#include "base/file.h"
#include "base/log.h"
#include "mirror_postgres.h"
#include "record_model.h"
#include "store/journal.h"
#include "store/schemas.h"
#include "store/sinks.h"
#include "store/subscriptions.h"
#include "store_folder.h"

#include <inttypes.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define INSTRUMENTED 1
#elif defined(__has_feature) /* clang's word for it */
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

#ifdef INSTRUMENTED
enum { WORLDS = 6, POSTGRES_WORLDS = 2, RECORDS = 100, MOST_DEATHS = 3 };
#else
enum { WORLDS = 18, POSTGRES_WORLDS = 3, RECORDS = 200, MOST_DEATHS = 6 };
#endif
enum { DEADLINE_MS = 120 * 1000, PORTIONS = 3, LIVES = 40 };

#define ORG              "00Dxx0000001gEREAY"
#define TEXT_FIELD(name) "{\"name\":\"" name "\",\"type\":[\"null\",\"string\"],\"default\":null}"
static const char schema[] =
    "{\"type\":\"record\",\"name\":\"XChangeEvent\",\"fields\":[" HEADER_FIELD
    "," TEXT_FIELD("Name") "," TEXT_FIELD(
        "Phone") ",{\"name\":\"Amount\",\"type\":[\"null\",\"double\"],\"default\":null},"
                 "{\"name\":\"Count\",\"type\":[\"null\",\"long\"],\"default\":null},"
                 "{\"name\":\"Flag\",\"type\":[\"null\",\"boolean\"],\"default\":null},"
                 "{\"name\":\"BillingAddress\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"Address\","
                 "\"fields\":[" TEXT_FIELD("City") "," TEXT_FIELD("Street") "]}],\"default\":null}]}";
enum { CITY = 5, STREET = 6, ADDRESS_INDEX = 6, PLAIN = 5 };

/* --- events ---------------------------------------------------------------------------------------- */

/* Field f holds the number n: as text, as number, as truth. */
static void put_value(struct buf *b, int f, int64_t n)
{
    char text[32];
    switch (f) {
    case 2:
        put_double(b, (double)n + 0.5);
        return;
    case 3:
        put_long(b, n);
        return;
    case 4:
        buf_add_char(b, (char)(n & 1));
        return;
    default:
        snprintf(text, sizeof text, "v%" PRId64, n);
        put_string(b, text);
    }
}

static void put_field(struct buf *b, const struct model_change *ch, int f)
{
    bool has = (ch->named >> f & 1) && !(ch->nulled >> f & 1);
    put_long(b, has);
    if (has)
        put_value(b, f, ch->values[f]);
}

static void put_body(struct buf *b, const struct model_change *ch)
{
    const uint32_t address = 3u << CITY;
    for (int f = 0; f < PLAIN; f++)
        put_field(b, ch, f);
    put_long(b, (ch->named & address) != 0);
    if (ch->named & address) {
        put_field(b, ch, CITY);
        put_field(b, ch, STREET);
    }
}

/* Bitmaps of the header: field f of the model is bit f + 1; the address has its own. */
static const char *const *bitmap(uint32_t fields, char text[2][16], const char *list[3])
{
    size_t n = 0;
    const uint32_t plain = fields & ((1u << PLAIN) - 1), address = fields >> CITY;
    if (plain) {
        snprintf(text[0], sizeof text[0], "0x%02X", plain << 1);
        list[n++] = text[0];
    }
    if (address) {
        snprintf(text[1], sizeof text[1], "%d-0x%02X", ADDRESS_INDEX, address);
        list[n++] = text[1];
    }
    list[n] = NULL;
    return list;
}

static void id_of(uint32_t record, char id[24])
{
    snprintf(id, 24, "001%012" PRIu32 "AAA", record);
}

static struct span payload_of(const struct model_change *ch, struct arena *a)
{
    static const int64_t types[] = {
        [MODEL_CREATE] = 0, [MODEL_UPDATE] = 1, [MODEL_DELETE] = 2, [MODEL_UNDELETE] = 3, [MODEL_GAP] = 5};
    char ids[MODEL_MOST_IDS][24], key[40], changed[2][16], nulled[2][16];
    const char *id_list[MODEL_MOST_IDS + 1], *changed_list[3], *nulled_list[3];
    struct buf b = BUF_INIT;
    for (uint32_t i = 0; i < ch->n_records; i++) {
        id_of(ch->records[i], ids[i]);
        id_list[i] = ids[i];
    }
    id_list[ch->n_records] = NULL;
    snprintf(key, sizeof key, "%08x-0000-0000-0000-%012x", ch->transaction, ch->epoch);
    const bool update = ch->kind == MODEL_UPDATE;
    struct header_values h = {.entity = "X",
                              .record_ids = id_list,
                              .change_type = types[ch->kind],
                              .transaction_key = key,
                              .sequence_number = ch->sequence,
                              .commit_timestamp = ch->stamp_ms,
                              .commit_number = ch->commit,
                              .changed = update ? bitmap(ch->named, changed, changed_list) : NULL,
                              .nulled = update ? bitmap(ch->nulled, nulled, nulled_list) : NULL};
    put_header(&b, &h);
    put_body(&b, ch);
    struct span s = arena_copy(a, buf_span(&b));
    buf_release(&b);
    return s;
}

/* --- a world --------------------------------------------------------------------------------------- */

struct world {
    uint64_t seed;
    struct store_folder store, target;
    enum sink_kind kind;
    char database[256], kept[280]; /* SQLite: the file, and a copy of it; PostgreSQL: how to connect */
    struct chance chance;
    struct history history;
    size_t *arrivals, n_arrivals; /* indexes into the changes, in the order in which they come */
    size_t deaths;
    struct store *st;
    struct err e;
};

static char subscription_name[] = "xs", topic[] = "/data/XChangeEvent", sink_name[] = "warehouse";
static char entity_name[] = "X";
static uint32_t first_subscription[] = {0};

/* Where the fields go: columns of their own, one for the address, one for all of them. */
enum form { FORM_COLUMNS, FORM_ADDRESS, FORM_OBJECT };

static enum form form_of(uint64_t seed)
{
    return (enum form)((seed + seed / 3) % 3);
}

/* How the sink of a world is configured follows from its seed. */
static struct sink_config config_of(uint64_t seed, enum sink_kind kind, char *database)
{
    static const int64_t batches[] = {1, 7, 40, 200, 1000};
    static const enum delete_policy deletes[] = {DELETE_HARD, DELETE_SOFT, DELETE_ARCHIVE};
    static struct entity_config entity;
    struct sink_config config = {
        .name = sink_name,
        .kind = kind,
        .path = kind == SINK_KIND_SQLITE ? database : NULL,
        .dsn = kind == SINK_KIND_POSTGRES ? database : NULL,
        .n_subscriptions = 1,
        .subscriptions = first_subscription,
        .batch_events = batches[seed % 5] == 1 ? 3 : batches[seed % 5],
        .on_delete = deletes[seed % 3],
        .conflict = CONFLICT_NEWEST_WINS,
        .new_fields = form_of(seed) == FORM_OBJECT ? NEW_FIELDS_JSON : NEW_FIELDS_ADD,
        .compounds = form_of(seed) == FORM_ADDRESS ? COMPOUNDS_JSON : COMPOUNDS_FLATTEN,
        .transactions = seed / 3 % 2 ? TRANSACTIONS_ATOMIC : TRANSACTIONS_BEST_EFFORT};
    if (seed / 2 % 2) { /* what is written already is not written again */
        entity = (struct entity_config){.entity = entity_name,
                                        .skip_unchanged = true,
                                        .on_delete = config.on_delete,
                                        .new_fields = config.new_fields,
                                        .compounds = config.compounds};
        config.n_entities = 1;
        config.entities = &entity;
    }
    return config;
}

static void swap(size_t *a, size_t *b)
{
    size_t kept = *a;
    *a = *b;
    *b = kept;
}

/* Everything at least once, some again; in order, nearly in order, or in none. */
static void arrive(struct world *w)
{
    const size_t n = w->history.n;
    const uint32_t disorder = chance_below(&w->chance, 3);
    w->arrivals = xcalloc(2 * n, sizeof *w->arrivals);
    for (size_t i = 0; i < n; i++)
        w->arrivals[w->n_arrivals++] = i;
    for (size_t i = 0; i < n; i++)
        if (chance_percent(&w->chance, 20))
            w->arrivals[w->n_arrivals++] = chance_below(&w->chance, (uint32_t)n);
    if (disorder == 0) /* repeats stand where a replay would bring them: behind everything */
        return;
    for (size_t i = w->n_arrivals - 1; i > 0; i--) {
        size_t near = i < 20 ? 0 : i - 20;
        size_t k = disorder == 1 ? near + chance_below(&w->chance, (uint32_t)(i - near + 1))
                                 : chance_below(&w->chance, (uint32_t)i + 1);
        swap(&w->arrivals[i], &w->arrivals[k]);
    }
}

static void open_store(struct world *w)
{
    if (store_open(w->store.path, STORE_DAEMON, 64 << 20, &w->st, &w->e) != 0)
        fail_msg("%s", w->e.text);
}

static void make_store(struct world *w)
{
    struct store_txn txn;
    struct subscription_record r = {.org_id = ORG};
    snprintf(r.topic, sizeof r.topic, "%s", topic);
    snprintf(r.name, sizeof r.name, "%s", subscription_name);
    open_store(w);
    assert_int_equal(store_begin(w->st, true, &txn, &w->e), 0);
    assert_int_equal(subscription_create(&txn, &r, &w->e), 0);
    assert_int_equal(schema_save(&txn, span_of_str(ORG), span_of_str("s"), span_of_str(schema), &w->e), 0);
    assert_int_equal(store_commit(&txn, &w->e), 0);
    store_close(w->st);
}

/* One block: events of one epoch that come together. */
static size_t append_block(struct world *w, size_t from, size_t to, struct arena *a)
{
    const uint32_t epoch = w->history.changes[w->arrivals[from]].epoch;
    const size_t most = 1 + chance_below(&w->chance, 60);
    struct event_data events[64] = {{0}};
    struct store_txn txn;
    uint64_t first;
    size_t n = 0;
    for (; from + n < to && n < most; n++) {
        const struct model_change *ch = &w->history.changes[w->arrivals[from + n]];
        char id[32];
        if (ch->epoch != epoch)
            break;
        int len = snprintf(id, sizeof id, "e%zu", from + n);
        events[n] = (struct event_data){.event_id = arena_copy(a, span_of(id, (size_t)len)),
                                        .replay_id = arena_copy(a, span_of(id, (size_t)len)),
                                        .schema_id = span_of_str("s"),
                                        .payload = payload_of(ch, a)};
    }
    const struct journal_block block = {
        .subscription = 1, .epoch = epoch, .received_ms = 1778068800000, .source_ms = 1778068800000};
    assert_int_equal(store_begin(w->st, true, &txn, &w->e), 0);
    assert_int_equal(journal_append(&txn, &block, events, n, &first, &w->e), 0);
    assert_int_equal(store_commit(&txn, &w->e), 0);
    return n;
}

static void append_portion(struct world *w, size_t portion, size_t portions)
{
    size_t at = w->n_arrivals * portion / portions;
    const size_t to = w->n_arrivals * (portion + 1) / portions;
    struct arena a = ARENA_INIT;
    open_store(w);
    while (at < to) {
        at += append_block(w, at, to, &a);
        arena_reset(&a);
    }
    store_close(w->st);
    arena_release(&a);
}

/* --- a life: run by a process of its own ----------------------------------------------------------- */

static void on_fatal(void *ctx, const struct err *e)
{
    (void)ctx;
    fprintf(stderr, "fatal: %s\n", e->text);
    _exit(1);
}

static int live(uint64_t seed, const char *folder, enum sink_kind kind, char *database)
{
    struct subscription_config subscription = {.name = subscription_name, .topic = topic};
    struct sink_config sink = config_of(seed, kind, database);
    const struct config config = {
        .n_subscriptions = 1, .subscriptions = &subscription, .n_sinks = 1, .sinks = &sink};
    struct delivery_options o = {.config = &config, .sink = &sink, .on_fatal = on_fatal};
    struct journal_signal signal;
    struct delivery_loop *d;
    struct store_txn txn;
    struct journal_bounds bounds;
    struct err e = ERR_INIT;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (store_open(folder, STORE_DAEMON, 64 << 20, &o.store, &e) != 0 ||
        store_begin(o.store, false, &txn, &e) != 0 || journal_bounds(&txn, &bounds, &e) != 0)
        on_fatal(NULL, &e);
    store_abort(&txn);
    journal_signal_init(&signal, bounds.head);
    o.signal = &signal;
    o.schemas = schema_cache_new(schema_load_from, o.store);
    if (delivery_register(o.store, &config, &e) != 0 || delivery_start(&o, &d, &e) != 0)
        on_fatal(NULL, &e);
    int rc = 0;
    /* What the store holds of the target may be more than is true: only one that was opened knows. */
    struct delivery_view v = {.state = DELIVERY_OPENING};
    bool ran = false;
    for (int64_t until = clock_mono_ms() + DEADLINE_MS; rc == 0 && !(ran && delivery_settled(d));) {
        journal_signal_wait(&signal, UINT64_MAX, 5);
        delivery_describe(d, &v);
        ran |= v.state == DELIVERY_RUNNING;
        if (clock_mono_ms() > until) {
            fprintf(stderr, "not settled: %s, %s\n", delivery_state_name(v.state), v.reason);
            rc = 1;
        }
    }
    delivery_stop(d);
    schema_cache_free(o.schemas);
    store_close(o.store);
    journal_signal_release(&signal);
    return rc;
}

/* True when it died at its kill point (0: it has none), false when it settled everything. */
static bool one_life(struct world *w, uint32_t kill_at)
{
    char seed[24], text[24];
    snprintf(seed, sizeof seed, "%" PRIu64, w->seed);
    snprintf(text, sizeof text, "%" PRIu32, kill_at);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("TIDEMARK_KILL_AT", text, 1);
        if (kill_at && !freopen("/dev/null", "w", stderr))
            _exit(1);
        execl("/proc/self/exe", "records_converge_test", "--live", seed, w->store.path,
              w->kind == SINK_KIND_SQLITE ? "sqlite" : "postgres", w->database, (char *)NULL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != EXIT_KILLPOINT))
        fail_msg("seed %" PRIu64 ": a life ended with status %x", w->seed, (unsigned)status);
    w->deaths += WEXITSTATUS(status) == EXIT_KILLPOINT;
    return WEXITSTATUS(status) == EXIT_KILLPOINT;
}

/* --- the database taken back, or lost -------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    struct buf bytes = BUF_INIT;
    struct err e;
    unlink(to);
    if (access(from, F_OK) == 0) {
        assert_int_equal(file_read(from, 256 << 20, &bytes, &e), 0);
        assert_int_equal(file_replace(to, bytes.data, bytes.len, 0600, &e), 0);
    }
    buf_release(&bytes);
}

static void copy_database(const struct world *w, const char *from, const char *to)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char a[300], b[300];
    (void)w;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(a, sizeof a, "%s%s", from, suffixes[i]);
        snprintf(b, sizeof b, "%s%s", to, suffixes[i]);
        if (i < 2)
            copy_file(a, b);
        else
            unlink(b); /* shared memory is made anew */
    }
}

static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[300];
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

/* --- the verdict ----------------------------------------------------------------------------------- */

static void show_history(const struct world *w, uint32_t record)
{
    static const char *const kinds[] = {"create", "update", "delete", "undelete", "gap"};
    for (size_t k = 0; k < w->n_arrivals; k++) {
        const struct model_change *ch = &w->history.changes[w->arrivals[k]];
        if (model_concerns(ch, record))
            print_message("# seq %zu: %" PRIu32 ".%" PRId64 ".%d %s named %02x nulled %02x\n", k + 1,
                          ch->epoch, ch->commit, ch->sequence, kinds[ch->kind], ch->named, ch->nulled);
    }
}

/* A column of the row as the text the model would give. */
static void field_text(const struct model_row *row, int f, char out[64])
{
    if (row->is_null[f])
        snprintf(out, 64, "(null)");
    else if (f == 2)
        snprintf(out, 64, "%" PRId64 ".5", row->values[f]);
    else if (f == 3)
        snprintf(out, 64, "%" PRId64, row->values[f]);
    else if (f == 4)
        snprintf(out, 64, "%d", (int)(row->values[f] & 1));
    else
        snprintf(out, 64, "v%" PRId64, row->values[f]);
}

/* A look at the rows that nothing of ours takes part in. */
struct reader {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    PGconn *conn;
    PGresult *result;
    char sql[700];
};

enum { INCOMPLETE = MODEL_FIELDS, VERSION, MARKED, DELETED_MS, CELLS };
static const char *const cell_names[CELLS] = {"name",     "phone",    "amount",     "count",
                                              "flag",     "city",     "street",     "_incomplete",
                                              "_version", "_deleted", "_deleted_at"};

static void cell_text(const struct model_row *row, int cell, char out[64])
{
    switch (cell) {
    case INCOMPLETE:
        snprintf(out, 64, "%d", row->incomplete);
        return;
    case VERSION:
        snprintf(out, 64, "%" PRIu32 ".%" PRId64 ".%d", row->epoch, row->commit, row->sequence);
        return;
    case MARKED:
        snprintf(out, 64, "%d", row->marked);
        return;
    case DELETED_MS:
        if (row->marked)
            snprintf(out, 64, "%" PRId64, row->deleted_ms);
        else
            snprintf(out, 64, "(null)");
        return;
    default:
        field_text(row, cell, out);
    }
}

static bool is_soft(const struct world *w)
{
    return config_of(w->seed, w->kind, NULL).on_delete == DELETE_SOFT;
}

/* The fields of the model as the columns hold them; both databases read members alike where the path has no dot. */
static const char *fields_sql(const struct world *w)
{
    const bool postgres = w->kind == SINK_KIND_POSTGRES;
    switch (form_of(w->seed)) {
    case FORM_ADDRESS:
        return "name,phone,amount,count,CAST(flag AS "
               "int),billing_address->>'City',billing_address->>'Street'";
    case FORM_OBJECT:
        return postgres ? "_fields->>'Name',_fields->>'Phone',_fields->>'Amount',_fields->>'Count',"
                          "CAST(CAST(_fields->>'Flag' AS boolean) AS int),_fields->>'BillingAddress.City',"
                          "_fields->>'BillingAddress.Street'"
                        : "_fields->>'Name',_fields->>'Phone',_fields->>'Amount',_fields->>'Count',"
                          "_fields->>'Flag',_fields->>'$.\"BillingAddress.City\"',"
                          "_fields->>'$.\"BillingAddress.Street\"'";
    default:
        return "name,phone,amount,count,CAST(flag AS int),billing_address_city,billing_address_street";
    }
}

static void reader_open(struct reader *r, const struct world *w)
{
    const bool postgres = w->kind == SINK_KIND_POSTGRES;
    const char *marks = !is_soft(w) ? "0,NULL"
                        : postgres
                            ? "CAST(_deleted AS int),CAST(extract(epoch FROM _deleted_at)*1000 AS bigint)"
                            : "_deleted,CAST(strftime('%s',_deleted_at) AS int)*1000";
    memset(r, 0, sizeof *r);
    snprintf(r->sql, sizeof r->sql, "SELECT %s,CAST(_incomplete AS int),_version,%s FROM x WHERE id=$1",
             fields_sql(w), marks);
    if (postgres)
        r->conn = postgres_connect_to(w->database);
    else if (sqlite3_open(w->database, &r->db) != SQLITE_OK ||
             sqlite3_prepare_v2(r->db, r->sql, -1, &r->stmt, NULL) != SQLITE_OK)
        fail_msg("seed %" PRIu64 ": %s", w->seed, sqlite3_errmsg(r->db));
}

/* The cells of a row, NULL for null, until the next look; false: there is none. */
static bool reader_look(struct reader *r, const char *id, const char *cells[CELLS])
{
    bool found;
    if (r->conn) {
        PQclear(r->result);
        r->result = PQexecParams(r->conn, r->sql, 1, NULL, &id, NULL, NULL, 0);
        if (PQresultStatus(r->result) != PGRES_TUPLES_OK)
            fail_msg("%s", PQerrorMessage(r->conn));
        found = PQntuples(r->result) == 1;
        for (int i = 0; found && i < CELLS; i++)
            cells[i] = PQgetisnull(r->result, 0, i) ? NULL : PQgetvalue(r->result, 0, i);
        return found;
    }
    sqlite3_reset(r->stmt);
    sqlite3_bind_text(r->stmt, 1, id, -1, SQLITE_STATIC);
    found = sqlite3_step(r->stmt) == SQLITE_ROW;
    for (int i = 0; found && i < CELLS; i++)
        cells[i] = (const char *)sqlite3_column_text(r->stmt, i);
    return found;
}

static void reader_close(struct reader *r)
{
    PQclear(r->result);
    PQfinish(r->conn);
    sqlite3_finalize(r->stmt);
    sqlite3_close(r->db);
}

static void check_row(const struct world *w, uint32_t record, struct reader *r)
{
    const struct model_row expected = model_row_of(&w->history, record, is_soft(w));
    const char *cells[CELLS];
    char id[24], text[64];
    id_of(record, id);
    const bool found = reader_look(r, id, cells);
    if (found != (expected.exists || expected.marked)) {
        show_history(w, record);
        fail_msg("seed %" PRIu64 ": record %s is %s", w->seed, id,
                 found ? "there and should not be" : "missing");
    }
    for (int f = 0; found && f < CELLS; f++) {
        const char *is = cells[f] ? cells[f] : "(null)";
        cell_text(&expected, f, text);
        if (strcmp(is, text) != 0) {
            show_history(w, record);
            fail_msg("seed %" PRIu64 ": record %s, %s: %s instead of %s", w->seed, id, cell_names[f], is,
                     text);
        }
    }
}

static void check_rows(const struct world *w)
{
    struct reader r;
    reader_open(&r, w);
    for (uint32_t i = 0; i < w->history.n_records; i++)
        check_row(w, i, &r);
    reader_close(&r);
}

/* I9: every event counts once, by its worst outcome; none was filtered or parked. */
static void check_totals(struct world *w)
{
    struct sink_record r;
    struct store_txn txn;
    open_store(w);
    assert_int_equal(store_begin(w->st, false, &txn, &w->e), 0);
    assert_int_equal(sink_record_get(&txn, sink_name, &r, &w->e), 0);
    store_abort(&txn);
    store_close(w->st);
    if (r.cursor != w->n_arrivals || r.delivered + r.superseded != w->n_arrivals || r.filtered || r.parked)
        fail_msg("seed %" PRIu64 ": cursor %" PRIu64 ", delivered %" PRIu64 ", superseded %" PRIu64
                 ", filtered %" PRIu64 ", parked %" PRIu64 " of %zu events",
                 w->seed, r.cursor, r.delivered, r.superseded, r.filtered, r.parked, w->n_arrivals);
    sink_record_release(&r);
}

/* --- from seed to verdict -------------------------------------------------------------------------- */

/* False: there is no such target here. */
static bool make_target(struct world *w)
{
    struct mirror_stand stand = {.kind = &mirror_kind_postgres};
    if (w->kind == SINK_KIND_SQLITE) {
        snprintf(w->database, sizeof w->database, "%s/mirror.db", w->target.path);
        snprintf(w->kept, sizeof w->kept, "%s.kept", w->database);
        return true;
    }
    if (!stand.kind->make(&stand))
        return false;
    snprintf(w->database, sizeof w->database, "%s", stand.dsn);
    return true;
}

static void end_world(struct world *w)
{
    if (w->kind == SINK_KIND_SQLITE) {
        remove_database(w->database);
        remove_database(w->kept);
    }
    store_folder_remove(&w->target);
    store_folder_remove(&w->store);
    history_release(&w->history);
    free(w->arrivals);
}

static bool begin_world(struct world *w, uint64_t seed, enum sink_kind kind)
{
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->kind = kind;
    w->chance = (struct chance){seed ^ 0x5bd1e995};
    store_folder_make(&w->store);
    store_folder_make(&w->target);
    if (!make_target(w)) {
        end_world(w);
        return false;
    }
    history_make(&w->history, seed, RECORDS);
    arrive(w);
    make_store(w);
    return true;
}

/* *taken_back: the database was replaced by an older one, or by none. */
static void run_world(struct world *w, bool *taken_back)
{
    *taken_back = false;
    for (size_t portion = 0; portion < PORTIONS; portion++) {
        append_portion(w, portion, PORTIONS);
        for (int death = 0; death < MOST_DEATHS; death++) {
            if (w->kind != SINK_KIND_SQLITE) {
                /* taking a server's database back is for others to test */
            } else if (portion == 2 && death == 1 &&
                       chance_percent(&w->chance, 40)) { /* a backup is restored */
                copy_database(w, w->kept, w->database);
                *taken_back = true;
            } else if (portion == 1 && death == 1 && chance_percent(&w->chance, 20)) { /* it is lost */
                remove_database(w->database);
                *taken_back = true;
            }
            if (!one_life(w, 1 + chance_below(&w->chance, portion == 2 ? 60 : 25)))
                break;
        }
        if (portion == 1 && w->kind == SINK_KIND_SQLITE)
            copy_database(w, w->database, w->kept);
    }
    assert_false(one_life(w, 0));
}

/* Worlds 1 to `worlds`, or that of TIDEMARK_SEED alone. */
static void over_worlds(enum sink_kind kind, uint64_t worlds)
{
    const char *one = getenv("TIDEMARK_SEED");
    uint64_t seed = one ? strtoull(one, NULL, 10) : 1, last = one ? seed : worlds;
    size_t deaths = 0, taken = 0;
    for (; seed <= last; seed++) {
        struct world w;
        bool taken_back;
        if (!begin_world(&w, seed, kind)) {
            skip();
            return;
        }
        run_world(&w, &taken_back);
        check_rows(&w);
        if (!taken_back)
            check_totals(&w);
        deaths += w.deaths;
        taken += taken_back;
        end_world(&w);
    }
#ifdef TIDEMARK_KILLPOINTS
    /* Or this was no test of it. */
    assert_true(one || deaths > worlds);
    assert_true(one || kind != SINK_KIND_SQLITE || taken > 0);
#endif
}

static void any_order_any_repeats_any_death_end_in_the_same_rows(void **state)
{
    (void)state;
    over_worlds(SINK_KIND_SQLITE, WORLDS);
}

static void so_they_do_in_postgresql(void **state)
{
    (void)state;
    over_worlds(SINK_KIND_POSTGRES, POSTGRES_WORLDS);
}

/* The first point that a life visits, the second, the third …: each with something new to settle. */
static void a_death_at_every_point_of_a_life_changes_nothing(void **state)
{
    (void)state;
#ifndef TIDEMARK_KILLPOINTS
    skip();
#endif
    struct world w;
    assert_true(begin_world(&w, 46, SINK_KIND_SQLITE)); /* batches of 7 */
    for (size_t nth = 1; nth <= LIVES; nth++) {
        append_portion(&w, nth - 1, LIVES);
        one_life(&w, (uint32_t)nth);
    }
    assert_true(w.deaths > LIVES / 2);
    assert_false(one_life(&w, 0));
    check_rows(&w);
    check_totals(&w);
    end_world(&w);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--live") == 0)
        return live(strtoull(argv[2], NULL, 10), argv[3],
                    strcmp(argv[4], "sqlite") == 0 ? SINK_KIND_SQLITE : SINK_KIND_POSTGRES, argv[5]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_any_repeats_any_death_end_in_the_same_rows),
        cmocka_unit_test(so_they_do_in_postgresql),
        cmocka_unit_test(a_death_at_every_point_of_a_life_changes_nothing),
    };
    return cmocka_run_group_tests_name("records_converge", tests, NULL, NULL);
}
