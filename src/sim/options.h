/*
 * options: the command line of tidemark-sim.
 *
 * One table drives parsing and --help. All mistakes are reported before anything opens.
 *
 * Ownership: texts point into argv. Thread: main. Errors: -1 with ERR_CONFIG.
 */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "base/err.h"
#include "base/log.h"
#include "sim/workload.h"

enum pending_zero { PENDING_ZERO_OK, PENDING_ZERO_UNAVAILABLE, PENDING_ZERO_STALL };
enum bench_kind { BENCH_OFF, BENCH_FULL, BENCH_UPDATE };

enum { OPTION_LIST_MAX = 64 };

struct option_list {
    const char *items[OPTION_LIST_MAX];
    unsigned n;
};

struct sim_options {
    const char *listen, *http;
    const char *tls_dir, *tls_name;
    const char *ports_file, *ledger;
    const char *client_id, *client_secret, *org_id, *static_token, *instance_url;
    const char *username, *password, *refresh_token, *jwt_key, *jwt_audience;
    bool rotate_refresh;
    int64_t clock_ahead_ms;
    double rate;
    int64_t count; /* -1: without end */
    int64_t prefill;
    int64_t batch, cap, retain;
    bool hold; /* publish nothing before the first Subscribe */
    int64_t keepalive_ms, schema_delay_ms, auth_delay_ms, pending_zero_ms, min_ping_ms;
    int64_t managed_commit_delay_ms, managed_deadline_ms, managed_release_ms;
    enum pending_zero pending_zero;
    int64_t replay_id_bytes;
    struct workload_options workload;
    bool publishes; /* the workload runs: always, unless only --load was given */
    bool relay;     /* a line before the gRPC port, for faults of the wire */
    struct option_list faults;
    struct option_list channels, managed, denied, refused_schemas, schema_files, load_files;
    enum bench_kind bench;
    int64_t bench_first;
    int64_t bench_records; /* 0: one per template */
    enum log_level log_level;
    enum log_format log_format;
    enum { ACTION_RUN, ACTION_HELP, ACTION_VERSION, ACTION_LIST } action;
};

MUST_CHECK int options_parse(struct sim_options *o, int argc, char **argv, struct err *e);
void options_help(void);

#endif
