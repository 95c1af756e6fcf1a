#include "config/keys.h"

#include "base/compiler.h"
#include "config/config.h"
#include "config/text_rules.h"

#include <string.h>

#define ROOT(field) offsetof(struct config, field)
#define ORG(field)  offsetof(struct org_config, field)
#define SUB(field)  offsetof(struct subscription_config, field)
#define SINK(field) offsetof(struct sink_config, field)
#define ENT(field)  offsetof(struct entity_config, field)
#define FLD(field)  offsetof(struct field_config, field)

#define KIB    ((int64_t)1 << 10)
#define MIB    ((int64_t)1 << 20)
#define TIB    ((int64_t)1 << 40)
#define SECOND ((int64_t)1000)
#define HOUR   (3600 * SECOND)

/* The order of the words is the order of the enums in config.h and base/log.h. */
static const struct key_word lost_words[] = {
    {"repair", 0}, {"earliest", 0}, {"latest", 0}, {"stop", 0}, {NULL, 0}};
static const struct key_word order_words[] = {{"per_record", 0}, {"strict", 0}, {"none", 0}, {NULL, 0}};
static const struct key_word start_words[] = {{"journal", 0}, {"now", 0}, {"snapshot", 1}, {NULL, 0}};
static const struct key_word event_words[] = {{"json", 0}, {"cloudevents", 1}, {"debezium", 1}, {NULL, 0}};
static const struct key_word level_words[] = {
    {"error", 0}, {"warn", 0}, {"info", 0}, {"debug", 0}, {NULL, 0}};
static const struct key_word log_words[] = {{"text", 0}, {"json", 0}, {NULL, 0}};

static const struct key_word delete_words[] = {
    {"hard", 0}, {"soft", 0}, {"archive", 0}, {"ignore", 0}, {NULL, 0}};
static const struct key_word conflict_words[] = {
    {"newest_wins", 0}, {"source_wins", 0}, {"target_wins", 0}, {"park", 0}, {NULL, 0}};
static const struct key_word new_field_words[] = {{"add", 0}, {"json", 0}, {"ignore", 0}, {NULL, 0}};
static const struct key_word compound_words[] = {{"flatten", 0}, {"json", 0}, {NULL, 0}};
static const struct key_word transaction_words[] = {{"best_effort", 0}, {"atomic", 0}, {NULL, 0}};
static const struct key_word owner_words[] = {{"source", 0}, {"target", 0}, {NULL, 0}};
static const struct key_word type_words[] = {
    {"schema", 0}, {"text", 0},     {"boolean", 0}, {"integer", 0}, {"number", 0},
    {"date", 0},   {"datetime", 0}, {"time", 0},    {"json", 0},    {NULL, 0}};
static const struct key_word clean_words[] = {
    {"none", 0}, {"phone", 0}, {"currency", 0}, {"trim", 0}, {NULL, 0}};
static const struct key_word unknown_words[] = {{"park", 0}, {"keep", 0}, {"null", 0}, {NULL, 0}};
static const struct key_word too_long_words[] = {{"park", 0}, {"truncate", 0}, {"flag", 0}, {NULL, 0}};
static const struct key_word error_words[] = {{"park", 0}, {"null", 0}, {NULL, 0}};
static const struct key_word null_words[] = {{"write", 0}, {"keep", 0}, {"empty", 0}, {NULL, 0}};

/* A kind of sign-in or of sink that the format has and this version has not. */
#define LATER(p, h)                                                                                          \
    {                                                                                                        \
        .path = p, .type = KEY_MAP, .flags = KEY_CHOICE | KEY_LATER, .help = h                               \
    }

/* One row is two to four lines. */
/* clang-format off */
const struct key config_keys[] = {
    {.path = "orgs", .type = KEY_LIST, .flags = KEY_REQUIRED | KEY_NONEMPTY, .offset = ROOT(orgs),
     .list = {.item_size = sizeof(struct org_config), .count_offset = ROOT(n_orgs), .max = 256},
     .help = "The Salesforce orgs to connect to."},
    {.path = "orgs[].name", .type = KEY_TEXT, .flags = KEY_REQUIRED, .offset = ORG(name), .rule = &rule_name,
     .help = "How the rest of the file, the log and the metrics call this org."},
    {.path = "orgs[].login_url", .type = KEY_TEXT, .offset = ORG(login_url), .fallback = "",
     .rule = &rule_url,
     .help = "Where tokens come from: the org's My Domain URL. Required, except with `static`. "
             "`http://` is accepted for loopback addresses only."},
    {.path = "orgs[].pubsub_endpoint", .type = KEY_TEXT, .offset = ORG(pubsub_endpoint),
     .fallback = "api.pubsub.salesforce.com:7443", .rule = &rule_endpoint,
     .help = "Host and port of the Pub/Sub API."},
    {.path = "orgs[].api_version", .type = KEY_TEXT, .offset = ORG(api_version), .fallback = "66.0",
     .rule = &rule_api_version,
     .help = "Version of the REST API."},
    {.path = "orgs[].client_name", .type = KEY_TEXT, .offset = ORG(client_name), .fallback = "tidemark",
     .rule = &rule_client_name,
     .help = "The name the org sees in its logs (`Sforce-Call-Options`)."},

    {.path = "orgs[].auth", .type = KEY_MAP, .flags = KEY_REQUIRED,
     .help = "How to sign in: exactly one of the keys below."},
    {.path = "orgs[].auth.client_credentials", .type = KEY_MAP, .flags = KEY_CHOICE,
     .offset = ORG(auth.kind), .choice = AUTH_CLIENT_CREDENTIALS,
     .help = "OAuth client credentials flow of an external client app."},
    {.path = "orgs[].auth.client_credentials.client_id", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.client_id),
     .help = "The app's consumer key."},
    {.path = "orgs[].auth.client_credentials.client_secret", .type = KEY_TEXT,
     .flags = KEY_REQUIRED | KEY_SECRET, .offset = ORG(auth.client_secret),
     .help = "The app's consumer secret."},
    {.path = "orgs[].auth.jwt_bearer", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = ORG(auth.kind),
     .choice = AUTH_JWT_BEARER,
     .help = "OAuth JWT bearer flow: a signed assertion instead of a secret that travels."},
    {.path = "orgs[].auth.jwt_bearer.client_id", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.client_id),
     .help = "The app's consumer key."},
    {.path = "orgs[].auth.jwt_bearer.username", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.username),
     .help = "The user to act as; an administrator has pre-authorized it for the app."},
    {.path = "orgs[].auth.jwt_bearer.private_key", .type = KEY_TEXT,
     .flags = KEY_REQUIRED | KEY_SECRET | KEY_LINES, .offset = ORG(auth.private_key),
     .help = "RSA private key in PEM form, not encrypted; its certificate is uploaded to the app."},
    {.path = "orgs[].auth.jwt_bearer.audience", .type = KEY_TEXT, .offset = ORG(auth.audience),
     .rule = &rule_audience,
     .help = "Whom the assertion addresses. When missing: `https://test.salesforce.com` for the login URL of "
             "a sandbox, else `https://login.salesforce.com`, and the other one if that is refused."},
    {.path = "orgs[].auth.refresh_token", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = ORG(auth.kind),
     .choice = AUTH_REFRESH_TOKEN,
     .help = "OAuth refresh token flow, after somebody has granted access once."},
    {.path = "orgs[].auth.refresh_token.client_id", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.client_id),
     .help = "The app's consumer key."},
    {.path = "orgs[].auth.refresh_token.client_secret", .type = KEY_TEXT, .flags = KEY_SECRET,
     .offset = ORG(auth.client_secret),
     .help = "The app's consumer secret, where the app demands one."},
    {.path = "orgs[].auth.refresh_token.refresh_token_file", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.refresh_token_file), .rule = &rule_file_path,
     .help = "The file that holds the refresh token. It is read at each login and replaced when the service "
             "rotates the token: keep it in a folder this user may write to, and never share it between "
             "two installations."},
    {.path = "orgs[].auth.password", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = ORG(auth.kind),
     .choice = AUTH_PASSWORD,
     .help = "OAuth username and password flow. Many orgs have it switched off: prefer any other."},
    {.path = "orgs[].auth.password.client_id", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.client_id),
     .help = "The app's consumer key."},
    {.path = "orgs[].auth.password.client_secret", .type = KEY_TEXT, .flags = KEY_REQUIRED | KEY_SECRET,
     .offset = ORG(auth.client_secret),
     .help = "The app's consumer secret."},
    {.path = "orgs[].auth.password.username", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.username),
     .help = "The user to sign in as."},
    {.path = "orgs[].auth.password.password", .type = KEY_TEXT, .flags = KEY_REQUIRED | KEY_SECRET,
     .offset = ORG(auth.password),
     .help = "The user's password."},
    {.path = "orgs[].auth.password.security_token", .type = KEY_TEXT, .flags = KEY_SECRET,
     .offset = ORG(auth.security_token),
     .help = "The user's security token; not needed from addresses the org trusts."},
    {.path = "orgs[].auth.static", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = ORG(auth.kind),
     .choice = AUTH_STATIC,
     .help = "A token you already have; it is never renewed. For trying things out."},
    {.path = "orgs[].auth.static.access_token", .type = KEY_TEXT, .flags = KEY_REQUIRED | KEY_SECRET,
     .offset = ORG(auth.access_token), .rule = &rule_header_value,
     .help = "The access token or session id."},
    {.path = "orgs[].auth.static.instance_url", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.instance_url), .rule = &rule_url,
     .help = "The org's URL."},
    {.path = "orgs[].auth.static.tenant_id", .type = KEY_TEXT, .flags = KEY_REQUIRED,
     .offset = ORG(auth.tenant_id), .rule = &rule_tenant_id,
     .help = "The org's id, 18 characters."},

    {.path = "orgs[].tls", .type = KEY_MAP,
     .help = "How connections to the org are secured."},
    {.path = "orgs[].tls.ca_file", .type = KEY_TEXT, .offset = ORG(ca_file), .rule = &rule_file_path,
     .help = "PEM file of the certificate authorities to trust for login, REST and Pub/Sub, instead "
             "of the system's."},
    {.path = "orgs[].tls.plaintext", .type = KEY_BOOL, .offset = ORG(plaintext), .fallback = "false",
     .help = "`true`: Pub/Sub without TLS. Accepted for loopback addresses only (the simulator)."},
    {.path = "orgs[].keepalive", .type = KEY_DURATION, .offset = ORG(keepalive_ms), .fallback = "60s",
     .min = SECOND, .max = HOUR,
     .help = "How often an idle connection is probed (HTTP/2 ping)."},
    {.path = "orgs[].max_message", .type = KEY_SIZE, .offset = ORG(max_message), .fallback = "16MiB",
     .min = 64 * KIB, .max = 1024 * MIB,
     .help = "The largest response that is accepted."},
    {.path = "orgs[].backoff", .type = KEY_MAP,
     .help = "How long to wait before connecting again."},
    {.path = "orgs[].backoff.initial", .type = KEY_DURATION, .offset = ORG(backoff_initial_ms),
     .fallback = "500ms", .min = 1, .max = HOUR,
     .help = "Upper bound of the first wait; it doubles with each failure."},
    {.path = "orgs[].backoff.max", .type = KEY_DURATION, .offset = ORG(backoff_max_ms), .fallback = "60s",
     .min = 1, .max = HOUR,
     .help = "Upper bound of every wait."},

    {.path = "subscriptions", .type = KEY_LIST, .flags = KEY_NONEMPTY, .offset = ROOT(subscriptions),
     .list = {.item_size = sizeof(struct subscription_config), .count_offset = ROOT(n_subscriptions), .max = 1024},
     .help = "What to subscribe to. Required by `tidemark run`."},
    {.path = "subscriptions[].name", .type = KEY_TEXT, .flags = KEY_REQUIRED, .offset = SUB(name),
     .rule = &rule_name,
     .help = "The replay position is kept under org, topic and this name."},
    {.path = "subscriptions[].org", .type = KEY_ORG, .flags = KEY_REQUIRED, .offset = SUB(org),
     .help = "The name of one of `orgs`."},
    {.path = "subscriptions[].topic", .type = KEY_TEXT, .flags = KEY_REQUIRED, .offset = SUB(topic),
     .rule = &rule_topic,
     .help = "For example `/data/AccountChangeEvent`, `/data/ChangeEvents`, `/data/NAME__chn`, "
             "`/event/NAME__e`."},
    {.path = "subscriptions[].start", .type = KEY_START, .offset = SUB(start), .fallback = "latest",
     .help = "Where to begin while no position is stored: `latest`, `earliest` or a replay id (hex, "
             "`base64:…`, `int:…`)."},
    {.path = "subscriptions[].on_lost_position", .type = KEY_WORD, .offset = SUB(on_lost_position),
     .fallback = "repair", .words = lost_words,
     .help = "What to do when the service no longer accepts the stored position."},
    {.path = "subscriptions[].watchdog", .type = KEY_DURATION, .offset = SUB(watchdog_ms),
     .fallback = "300s", .min = SECOND, .max = 24 * HOUR,
     .help = "A stream that says nothing for so long is opened again. Longer than the org's "
             "`keepalive`; the service itself speaks every 270 s at the latest."},
    {.path = "subscriptions[].managed", .type = KEY_TEXT, .offset = SUB(managed), .rule = &rule_developer_name,
     .help = "Developer name of a managed subscription (ManagedEventSubscription) of this topic: the service "
             "keeps the position, too, and sends to one client alone. See \"Managed subscriptions\"."},

    {.path = "sinks", .type = KEY_LIST, .flags = KEY_NONEMPTY, .offset = ROOT(sinks),
     .list = {.item_size = sizeof(struct sink_config), .count_offset = ROOT(n_sinks), .max = 1024},
     .help = "Where events go. Required by `tidemark run`."},
    {.path = "sinks[].name", .type = KEY_TEXT, .flags = KEY_REQUIRED, .offset = SINK(name),
     .rule = &rule_name,
     .help = "The sink's cursor is kept under this name."},
    {.path = "sinks[].subscriptions", .type = KEY_SUBSCRIPTIONS, .offset = SINK(subscriptions),
     .help = "The names of the `subscriptions` to deliver; all of them when missing."},
    {.path = "sinks[].file", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = SINK(kind),
     .choice = SINK_KIND_FILE,
     .help = "Append to a file, one event per line. Exactly one kind per sink."},
    {.path = "sinks[].file.path", .type = KEY_TEXT, .flags = KEY_REQUIRED, .offset = SINK(path),
     .rule = &rule_file_path,
     .help = "The file; its folder must exist. Every sink needs a file of its own."},
    {.path = "sinks[].file.format", .type = KEY_WORD, .offset = KEY_NOT_STORED, .fallback = "json",
     .words = event_words,
     .help = "How an event is written."},
    {.path = "sinks[].file.fsync", .type = KEY_BOOL, .offset = SINK(fsync), .fallback = "true",
     .help = "`false`: a power failure may take events that count as delivered. A crash of the "
             "process cannot."},
    {.path = "sinks[].stdout", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = SINK(kind),
     .choice = SINK_KIND_STDOUT,
     .help = "Print to standard output, one event per line."},
    {.path = "sinks[].stdout.format", .type = KEY_WORD, .offset = KEY_NOT_STORED, .fallback = "json",
     .words = event_words,
     .help = "How an event is written."},
    {.path = "sinks[].null", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = SINK(kind),
     .choice = SINK_KIND_NULL,
     .help = "Take every event and keep none. For benchmarks."},
    {.path = "sinks[].sqlite", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = SINK(kind),
     .choice = SINK_KIND_SQLITE,
     .help = "Mirror records in a SQLite database: one table per entity, one row per record."},
    {.path = "sinks[].sqlite.path", .type = KEY_TEXT, .flags = KEY_REQUIRED, .offset = SINK(path),
     .rule = &rule_file_path,
     .help = "The database file, made when it is not there; its folder must exist. Every sink needs a file of "
             "its own."},
    {.path = "sinks[].postgres", .type = KEY_MAP, .flags = KEY_CHOICE, .offset = SINK(kind),
     .choice = SINK_KIND_POSTGRES,
     .help = "Mirror records in PostgreSQL: one table per entity, one row per record."},
    {.path = "sinks[].postgres.dsn", .type = KEY_TEXT, .flags = KEY_SECRET, .offset = SINK(dsn), .fallback = "",
     .help = "A libpq connection string or URI. What it leaves out, or all of it when missing, comes from the "
             "usual environment (`PGHOST`, `PGSERVICE`, `PGPASSFILE` …)."},
    LATER("sinks[].http", "Send events to a URL."),
    LATER("sinks[].kafka", "Send events to Kafka."),
    LATER("sinks[].salesforce", "Write records to another org."),
    {.path = "sinks[].order", .type = KEY_WORD, .flags = KEY_EVENTS, .offset = SINK(order), .fallback = "per_record",
     .words = order_words,
     .help = "What waits behind an event that is not settled: events of the same record, every "
             "event, or none."},
    {.path = "sinks[].start", .type = KEY_WORD, .offset = SINK(start), .fallback = "journal",
     .words = start_words,
     .help = "Where a new sink begins: at the oldest event the journal holds, or at the next one."},
    {.path = "sinks[].batch", .type = KEY_MAP,
     .help = "How events are grouped."},
    {.path = "sinks[].batch.events", .type = KEY_INT, .offset = SINK(batch_events), .fallback = "1000",
     .min = 1, .max = 10000,
     .help = "At most so many events are written and synced together. Sinks that mirror records take 5000 where "
             "nothing is said: each transaction of a database costs the same, whatever is in it."},
    {.path = "sinks[].batch.wait", .type = KEY_DURATION, .offset = SINK(batch_wait_ms), .fallback = "10ms",
     .min = 0, .max = 60 * SECOND,
     .help = "How long the first event of a batch waits for more."},
    {.path = "sinks[].renamed_from", .type = KEY_TEXT, .offset = SINK(renamed_from), .rule = &rule_name,
     .help = "The name this sink had before: its cursor, dead letters and incidents are carried over."},
    {.path = "sinks[].on_delete", .type = KEY_WORD, .flags = KEY_MIRROR | KEY_INHERIT, .offset = SINK(on_delete),
     .words = delete_words,
     .help = "What a deleted record does to its row: it goes, it is marked in `_deleted`, it moves to "
             "`TABLE_history`, or nothing happens. A sink that mirrors records must say so, here or for each "
             "entity."},
    {.path = "sinks[].conflict", .type = KEY_WORD, .flags = KEY_MIRROR, .offset = SINK(conflict),
     .fallback = "newest_wins", .words = conflict_words,
     .help = "Who wins when the target's row was edited since (`last_modified_column` says when): the newer of "
             "the two, always Salesforce, always the target, or a dead letter for a person to decide."},
    {.path = "sinks[].new_fields", .type = KEY_WORD, .flags = KEY_MIRROR, .offset = SINK(new_fields),
     .fallback = "add", .words = new_field_words,
     .help = "Fields that `fields` does not name: a column each, all in the JSON column `_fields`, or not "
             "mirrored."},
    {.path = "sinks[].compounds", .type = KEY_WORD, .flags = KEY_MIRROR, .offset = SINK(compounds),
     .fallback = "flatten", .words = compound_words,
     .help = "Compound fields (addresses, locations, names of persons): a column per part, or one JSON column."},
    {.path = "sinks[].transactions", .type = KEY_WORD, .flags = KEY_MIRROR, .offset = SINK(transactions),
     .fallback = "best_effort", .words = transaction_words,
     .help = "When the target refuses one record of a Salesforce transaction: it alone is parked, or the whole "
             "transaction."},
    {.path = "sinks[].entities", .type = KEY_TABLE, .flags = KEY_MIRROR, .offset = SINK(entities),
     .list = {.item_size = sizeof(struct entity_config), .count_offset = SINK(n_entities), .max = 2000,
              .name_offset = ENT(entity), .skip_offset = ENT(skipped), .name_rule = &rule_entity},
     .help = "What is mirrored, and how: a map by the names of entities (`Account`; a platform event: `Order__e`). "
             "Without it, everything by the default mapping. With it, only what it names; when it names nothing "
             "but entities with `false`, everything but those."},
    {.path = "sinks[].entities{}.table", .type = KEY_TEXT, .offset = ENT(table), .rule = &rule_table,
     .help = "The table's name. When missing: the entity's in lower case with `_` between words."},
    {.path = "sinks[].entities{}.key", .type = KEY_TEXT, .offset = ENT(key), .rule = &rule_column,
     .help = "The key column, which holds the record id. When missing: `id`; of platform events `event_id`."},
    {.path = "sinks[].entities{}.last_modified_column", .type = KEY_TEXT, .offset = ENT(last_modified_column),
     .rule = &rule_column,
     .help = "The target's own column that says when a row was last edited there: what `conflict` compares."},
    {.path = "sinks[].entities{}.skip_unchanged", .type = KEY_BOOL, .offset = ENT(skip_unchanged),
     .fallback = "false",
     .help = "`true`: a field that comes back with the value this sink last wrote is not written again. For two-way "
             "synchronisation: what the target sent to Salesforce does not undo what was edited there meanwhile."},
    {.path = "sinks[].entities{}.on_delete", .type = KEY_WORD, .flags = KEY_INHERIT, .offset = ENT(on_delete),
     .words = delete_words, .help = "Overrides the sink's."},
    {.path = "sinks[].entities{}.conflict", .type = KEY_WORD, .flags = KEY_INHERIT, .offset = ENT(conflict),
     .words = conflict_words, .help = "Overrides the sink's."},
    {.path = "sinks[].entities{}.new_fields", .type = KEY_WORD, .flags = KEY_INHERIT, .offset = ENT(new_fields),
     .words = new_field_words, .help = "Overrides the sink's."},
    {.path = "sinks[].entities{}.compounds", .type = KEY_WORD, .flags = KEY_INHERIT, .offset = ENT(compounds),
     .words = compound_words, .help = "Overrides the sink's."},
    {.path = "sinks[].entities{}.fields", .type = KEY_TABLE, .offset = ENT(fields),
     .list = {.item_size = sizeof(struct field_config), .count_offset = ENT(n_fields), .max = 2000,
              .name_offset = FLD(field), .skip_offset = FLD(skipped), .name_rule = &rule_field},
     .help = "A map by the names of fields: `Industry`, `BillingAddress.City`, or a whole compound, which is then one "
             "JSON column: `BillingAddress`; a part that is named, too, goes its own way. `false`: not mirrored. "
             "What is not named follows `new_fields`."},
    {.path = "sinks[].entities{}.fields{}.column", .type = KEY_TEXT, .offset = FLD(column), .rule = &rule_column,
     .help = "The column's name. When missing: the field's in lower case with `_` between words."},
    {.path = "sinks[].entities{}.fields{}.type", .type = KEY_WORD, .offset = FLD(type), .fallback = "schema",
     .words = type_words,
     .help = "The column's type, and what values are converted to: what the schema says, or another one."},
    {.path = "sinks[].entities{}.fields{}.clean", .type = KEY_WORD, .offset = FLD(clean), .fallback = "none",
     .words = clean_words,
     .help = "`phone`: digits, with one `+` in front where there is one, and `x` before an extension. `currency`: "
             "the number in an amount like `$1,234.50`. `trim`: no white space around."},
    {.path = "sinks[].entities{}.fields{}.max_length", .type = KEY_INT, .offset = FLD(max_length), .fallback = "0",
     .min = 0, .max = 1000000000,
     .help = "The longest text, in characters; 0: any."},
    {.path = "sinks[].entities{}.fields{}.on_too_long", .type = KEY_WORD, .offset = FLD(on_too_long),
     .fallback = "park", .words = too_long_words,
     .help = "A longer text: the delivery is parked, the text is cut, or it is cut and counted in the log."},
    {.path = "sinks[].entities{}.fields{}.map", .type = KEY_PAIRS, .offset = FLD(map),
     .list = {.item_size = sizeof(struct value_pair), .count_offset = FLD(n_map), .max = 2000,
              .name_offset = offsetof(struct value_pair, from), .value_offset = offsetof(struct value_pair, to),
              .name_rule = &rule_value},
     .help = "Values and what to write for each."},
    {.path = "sinks[].entities{}.fields{}.on_unknown", .type = KEY_WORD, .offset = FLD(on_unknown),
     .fallback = "park", .words = unknown_words,
     .help = "A value that `map` does not name: parked, kept as it is, or null."},
    {.path = "sinks[].entities{}.fields{}.on_error", .type = KEY_WORD, .offset = FLD(on_error), .fallback = "park",
     .words = error_words,
     .help = "A value that cannot be converted: the delivery is parked, or null is written and logged."},
    {.path = "sinks[].entities{}.fields{}.nulls", .type = KEY_WORD, .offset = FLD(nulls), .fallback = "write",
     .words = null_words,
     .help = "A field that becomes null: null is written, the column keeps what it has, or it is emptied (`''`, "
             "0, false)."},
    {.path = "sinks[].entities{}.fields{}.owner", .type = KEY_WORD, .offset = FLD(owner), .fallback = "source",
     .words = owner_words,
     .help = "`target`: written when the row is inserted, then left to the target."},
    {.path = "sinks[].entities{}.constants", .type = KEY_PAIRS, .offset = ENT(constants),
     .list = {.item_size = sizeof(struct constant_config), .count_offset = ENT(n_constants), .max = 100,
              .name_offset = offsetof(struct constant_config, column),
              .value_offset = offsetof(struct constant_config, value), .name_rule = &rule_column},
     .help = "Columns that are filled with a fixed text when a row is inserted."},

    {.path = "store", .type = KEY_MAP,
     .help = "The journal and everything else that is kept."},
    {.path = "store.path", .type = KEY_TEXT, .flags = KEY_FIXED, .offset = ROOT(store.path), .fallback = "/var/lib/tidemark",
     .help = "The folder, on a local disk. Made with mode 0700."},
    {.path = "store.retention", .type = KEY_DURATION, .offset = ROOT(store.retention_ms), .fallback = "96h",
     .min = 0, .max = 8760 * HOUR,
     .help = "How long events stay that every sink has settled. What a sink has not settled always "
             "stays."},
    {.path = "store.max_size", .type = KEY_SIZE, .flags = KEY_FIXED, .offset = ROOT(store.max_size),
     .fallback = "10GiB", .min = 64 * MIB, .max = 16 * TIB,
     .help = "Settled events go early when 80 % of it is in use; subscriptions pause when unsettled "
             "ones fill it."},
    {.path = "store.dedupe_window", .type = KEY_DURATION, .offset = ROOT(store.dedupe_window_ms),
     .fallback = "96h", .min = 73 * HOUR, .max = 720 * HOUR,
     .help = "How long an event is remembered, so that it is not stored twice. The service repeats "
             "events for up to 72 hours."},

    {.path = "admin", .type = KEY_MAP, .flags = KEY_OFF,
     .help = "Metrics, health and status over HTTP; `false`: none."},
    {.path = "admin.listen", .type = KEY_LISTEN, .flags = KEY_FIXED, .offset = KEY_NOT_STORED,
     .fallback = "127.0.0.1:9464",
     .help = "Address and port. Port 0: the kernel picks, and the log says which. `false`: do not "
             "listen."},
    {.path = "admin.token", .type = KEY_TEXT, .flags = KEY_SECRET, .offset = ROOT(admin.token),
     .rule = &rule_header_value,
     .help = "Bearer token that permits changes over TCP. Without one, only the Unix socket in the "
             "store's folder changes anything."},

    {.path = "log", .type = KEY_MAP,
     .help = "The log on standard error."},
    {.path = "log.level", .type = KEY_WORD, .offset = ROOT(log.level), .fallback = "info",
     .words = level_words,
     .help = "The least important lines that are written."},
    {.path = "log.format", .type = KEY_WORD, .offset = ROOT(log.format), .fallback = "text",
     .words = log_words,
     .help = "Lines for people, or one JSON object per line."},

    {.path = "shutdown", .type = KEY_MAP,
     .help = "What happens on SIGTERM and SIGINT."},
    {.path = "shutdown.drain", .type = KEY_DURATION, .offset = ROOT(drain_ms), .fallback = "25s", .min = 0,
     .max = HOUR,
     .help = "How long sinks may go on to settle what is in the journal."},
};
/* clang-format on */

const size_t config_n_keys = ARRAY_LEN(config_keys);

const struct key *key_find(const char *path)
{
    for (size_t i = 0; i < config_n_keys; i++)
        if (strcmp(config_keys[i].path, path) == 0)
            return &config_keys[i];
    return NULL;
}

/* Length of the path of what holds the key: "orgs[].tls" of "orgs[].tls.ca_file"; 0 for "orgs". */
static size_t parent_len(const struct key *key)
{
    const char *dot = strrchr(key->path, '.');
    return dot ? (size_t)(dot - key->path) : 0;
}

/* What stands between the path of a row with items and a dot: "[]", "{}". */
static const char *items_mark(const struct key *key)
{
    return key->type == KEY_LIST ? "[]" : key->type == KEY_TABLE ? "{}" : "";
}

/* The path under which a row's children stand: the path itself, with the mark of its items. */
static bool is_parent_path(const struct key *parent, const char *path, size_t n)
{
    if (!parent)
        return n == 0;
    size_t len = strlen(parent->path);
    if (n < len || memcmp(parent->path, path, len) != 0)
        return false;
    const char *mark = items_mark(parent);
    return n == len + strlen(mark) && memcmp(path + len, mark, strlen(mark)) == 0;
}

const struct key *key_next_child(const struct key *parent, const struct key *last)
{
    const struct key *end = config_keys + config_n_keys;
    for (const struct key *k = last ? last + 1 : parent ? parent + 1 : config_keys; k < end; k++)
        if (is_parent_path(parent, k->path, parent_len(k)))
            return k;
    return NULL;
}

const struct key *key_child(const struct key *parent, const char *name, size_t name_len)
{
    for (const struct key *k = key_next_child(parent, NULL); k; k = key_next_child(parent, k)) {
        const char *own = key_name(k);
        if (strlen(own) == name_len && memcmp(own, name, name_len) == 0)
            return k;
    }
    return NULL;
}

const struct key *key_parent(const struct key *key)
{
    size_t n = parent_len(key);
    for (const struct key *k = key; n && k-- > config_keys;)
        if ((k->type == KEY_MAP || k->type == KEY_LIST || k->type == KEY_TABLE) && is_parent_path(k, key->path, n))
            return k;
    return NULL;
}

bool key_in_scope(const struct key *list, const struct key *key)
{
    const char *rest = key->path;
    if (list) {
        size_t n = strlen(list->path);
        const char *mark = items_mark(list);
        if (strncmp(rest, list->path, n) != 0 || strncmp(rest + n, mark, 2) != 0 || rest[n + 2] != '.')
            return false;
        rest += n + 3;
    }
    return !strstr(rest, "[]") && !strstr(rest, "{}");
}

bool key_has_items(const struct key *key)
{
    return key->type == KEY_LIST || key->type == KEY_TABLE || key->type == KEY_PAIRS;
}

const char *sink_kind_name(enum sink_kind kind)
{
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++)
        if ((k->flags & KEY_CHOICE) && !(k->flags & KEY_LATER) && k->choice == (int)kind &&
            strncmp(k->path, "sinks[].", 8) == 0)
            return key_name(k);
    BUG("there is no sink of kind %d", (int)kind);
}

bool sink_kind_is_mirror(enum sink_kind kind)
{
    return kind == SINK_KIND_SQLITE || kind == SINK_KIND_POSTGRES;
}

const char *key_name(const struct key *key)
{
    const char *dot = strrchr(key->path, '.');
    return dot ? dot + 1 : key->path;
}
