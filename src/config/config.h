/*
 * config: the configuration file as one typed, validated struct.
 *
 * YAML + environment + secrets -> struct config. One table of keys (config/keys.c) drives checking,
 * defaults, `check --print`, the JSON Schema and the documentation.
 *
 * Guarantees: all mistakes of a file are reported in one run, each as
 *   FILE:LINE:COL: PATH: what is wrong (did you mean 'x'?)
 * A struct config that was given out is complete: every default filled in, every secret read, every
 * combination checked. Secrets are never printed and are wiped by config_free.
 *
 * Calling order: config_load -> use -> config_free.
 * Ownership: everything below a struct config belongs to it; strings are NUL-terminated, never NULL
 * unless the comment says so. Immutable after loading. Thread: any reader.
 * Errors: config_load returns NULL; the mistakes are in `problems`, one line each (exit 2). A config that
 * was given out may leave warnings there.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#include <stdint.h>

enum auth_kind { AUTH_CLIENT_CREDENTIALS, AUTH_JWT_BEARER, AUTH_REFRESH_TOKEN, AUTH_PASSWORD, AUTH_STATIC };

/* Only the members of the chosen kind are set; the others are NULL. */
struct auth_config {
    enum auth_kind kind;
    char *client_id;
    char *client_secret; /* secret */
    char *username;
    char *password;       /* secret */
    char *security_token; /* secret */
    char *private_key;    /* secret: PEM text */
    char *audience;
    char *refresh_token_file; /* path: it is rewritten when the token rotates */
    char *access_token;       /* secret, static */
    char *instance_url;       /* static */
    char *tenant_id;          /* static: 18 characters */
};

struct org_config {
    char *name;
    char *login_url;       /* https://…, without trailing slash; "" for static */
    char *pubsub_endpoint; /* host:port */
    char *api_version;
    char *client_name;
    struct auth_config auth;
    char *ca_file;         /* NULL: the system's roots */
    uint8_t ca_digest[32]; /* SHA-256 of what it held when the configuration was loaded */
    bool plaintext;
    int64_t keepalive_ms;
    int64_t max_message; /* bytes */
    int64_t backoff_initial_ms, backoff_max_ms;
};

enum start_kind { START_LATEST, START_EARLIEST, START_REPLAY_ID };
enum lost_policy { LOST_REPAIR, LOST_EARLIEST, LOST_LATEST, LOST_STOP };

struct subscription_config {
    char *name;
    uint32_t org; /* index into orgs */
    char *topic;
    enum start_kind start;
    uint8_t start_replay_id[64];
    uint32_t start_replay_id_len;
    enum lost_policy on_lost_position;
    int64_t watchdog_ms;
    char *managed; /* developer name, or NULL */
};

enum sink_kind { SINK_KIND_FILE, SINK_KIND_STDOUT, SINK_KIND_NULL, SINK_KIND_SQLITE, SINK_KIND_POSTGRES };
enum sink_order { ORDER_PER_RECORD, ORDER_STRICT, ORDER_NONE };
enum sink_start { SINK_START_JOURNAL, SINK_START_NOW, SINK_START_SNAPSHOT };

/* --- records mode: what a mirror holds, and how (docs/mirror.md) --- */

/* A sink that mirrors records says what a delete does: DELETE_UNSET stands in no configuration given out for one. */
enum delete_policy { DELETE_UNSET = -1, DELETE_HARD, DELETE_SOFT, DELETE_ARCHIVE, DELETE_IGNORE };
enum conflict_policy { CONFLICT_NEWEST_WINS, CONFLICT_SOURCE_WINS, CONFLICT_TARGET_WINS, CONFLICT_PARK };
enum new_fields { NEW_FIELDS_ADD, NEW_FIELDS_JSON, NEW_FIELDS_IGNORE };
enum compound_form { COMPOUNDS_FLATTEN, COMPOUNDS_JSON };
enum transaction_policy { TRANSACTIONS_BEST_EFFORT, TRANSACTIONS_ATOMIC };
enum field_owner { OWNER_SOURCE, OWNER_TARGET };
enum field_type {
    FIELD_TYPE_OF_SCHEMA,
    FIELD_TYPE_TEXT,
    FIELD_TYPE_BOOLEAN,
    FIELD_TYPE_INTEGER,
    FIELD_TYPE_NUMBER,
    FIELD_TYPE_DATE,
    FIELD_TYPE_DATETIME,
    FIELD_TYPE_TIME,
    FIELD_TYPE_JSON,
};
enum field_clean { CLEAN_NONE, CLEAN_PHONE, CLEAN_CURRENCY, CLEAN_TRIM };
enum unknown_policy { UNKNOWN_PARK, UNKNOWN_KEEP, UNKNOWN_NULL };
enum too_long_policy { TOO_LONG_PARK, TOO_LONG_TRUNCATE, TOO_LONG_FLAG };
enum error_policy { ERROR_PARK, ERROR_NULL };
enum null_policy { NULLS_WRITE, NULLS_KEEP, NULLS_EMPTY }; /* null; leave the column alone; "" or 0 */

struct value_pair {
    char *from, *to;
};

struct field_config {
    char *field;  /* "Industry", "BillingAddress.City", a whole compound: "BillingAddress" */
    bool skipped; /* `Rating: false` */
    char *column; /* NULL: the default name */
    enum field_type type;
    enum field_clean clean;
    int64_t max_length; /* characters; 0: no limit */
    enum too_long_policy on_too_long;
    uint32_t n_map;
    struct value_pair *map; /* values by text, in the file's order */
    enum unknown_policy on_unknown;
    enum error_policy on_error;
    enum null_policy nulls;
    enum field_owner owner;
};

struct constant_config {
    char *column, *value;
};

struct entity_config {
    char *entity;               /* "Account"; a platform event: "Order__e" */
    bool skipped;               /* `Account: false` */
    char *table;                /* NULL: the default name */
    char *key;                  /* NULL: "id"; of platform events "event_id" */
    char *last_modified_column; /* NULL: no target-side check */
    bool skip_unchanged;        /* a field whose value is what we last wrote is not written again */
    /* These four: the sink's, unless the entity says so. */
    enum delete_policy on_delete;
    enum conflict_policy conflict;
    enum new_fields new_fields;
    enum compound_form compounds;
    uint32_t n_fields, n_constants;
    struct field_config *fields;
    struct constant_config *constants;
};

struct sink_config {
    char *name;
    enum sink_kind kind;
    uint32_t n_subscriptions; /* indexes; all of them when the file names none */
    uint32_t *subscriptions;
    enum sink_order order;
    enum sink_start start;
    int64_t batch_events;
    int64_t batch_wait_ms;
    char *renamed_from; /* NULL: none */
    /* file, sqlite */
    char *path;
    bool fsync;
    /* postgres: a libpq connection string or URI, secret; "" takes the usual PG environment */
    char *dsn;
    /* sqlite, postgres */
    enum delete_policy on_delete;
    enum conflict_policy conflict;
    enum new_fields new_fields;
    enum compound_form compounds;
    enum transaction_policy transactions;
    bool only_listed; /* `entities` names some to mirror: all others are filtered */
    uint32_t n_entities;
    struct entity_config *entities;
};

struct config {
    char *file; /* where it came from */
    uint32_t n_orgs, n_subscriptions, n_sinks;
    struct org_config *orgs;
    struct subscription_config *subscriptions;
    struct sink_config *sinks;
    struct {
        char *path;
        int64_t retention_ms, max_size, dedupe_window_ms;
    } store;
    struct {
        bool enabled;
        char *host;  /* "127.0.0.1", "::1" … */
        int port;    /* 0: the kernel picks, and the log says which */
        char *token; /* secret; NULL: TCP changes nothing */
    } admin;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
    int64_t drain_ms;
};

enum { CONFIG_MAX_BYTES = 4 << 20, CA_FILE_MAX_BYTES = 4 << 20 };

/* The key that chooses the kind: "file", "sqlite". */
const char *sink_kind_name(enum sink_kind kind);
/* Records mode: a database that holds the state of the org (docs/mirror.md). */
bool sink_kind_is_mirror(enum sink_kind kind);

/*
 * CONFIG_NO_SINKS_NEEDED: `tail`, `topics`, `schema`, `doctor` look at a stream and need neither sinks nor
 * subscriptions. CONFIG_OFFLINE: do not resolve host names (loopback rules that need DNS are left to run
 * time).
 */
enum config_flags { CONFIG_NO_SINKS_NEEDED = 1 << 0, CONFIG_OFFLINE = 1 << 1 };

MUST_CHECK struct config *config_load(const char *path, unsigned flags, struct buf *problems);
/* The same for a text in memory; `name` stands for the file in messages. */
MUST_CHECK struct config *config_load_text(struct span text, const char *name, unsigned flags,
                                           struct buf *problems);
void config_free(struct config *config);

/* The path to use: the option's, else $TIDEMARK_CONFIG, else /etc/tidemark/tidemark.yaml. */
const char *config_default_path(const char *option);

/* The effective configuration as YAML: defaults filled in, secrets as "(set)". */
void config_print(const struct config *config, struct buf *out);
/* A commented configuration to start from (`init`). */
const char *config_sample(void);
/* JSON Schema (draft 2020-12) of the file, generated from the table of keys. */
void config_json_schema(struct buf *out);
/* The tables of keys in docs/configuration.md (Markdown), generated from the table of keys. */
void config_reference(struct buf *out);

/*
 * "00ab…" hex, "base64:…", "int:…" -> bytes. Returns the length, or -1 with err (ERR_CONFIG).
 * *was_int tells the caller to warn.
 */
MUST_CHECK int config_parse_replay_id(const char *text, uint8_t out[64], bool *was_int, struct err *e);

#endif
