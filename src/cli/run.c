/*
 * tidemark run: the daemon, as a list that can be read aloud (cmd_run), and how it ends.
 */
#include "cli/cli.h"
#include "cli/dry_run.h"
#include "cli/parts.h"
#include "cli/reload.h"
#include "cli/supervised.h"

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "pubsub/pubsub.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 200, POLL_IDLE_MS = 20, STOOD_STILL_MS = 500, DEFAULT_DEADLINE_MS = 60 * 1000 };

struct run_options {
    int64_t until_idle_ms; /* 0: run until a signal */
    int64_t deadline_ms;
};

struct run {
    struct parts parts;
    const struct common_options *common;
    struct supervised supervised;
    pthread_t main_thread;
    sigset_t signals;
    pthread_mutex_t lock;
    struct err fatal; /* class ERR_NONE: all is well */
    int64_t started_mono_ms;
    int64_t polled_mono_ms, moving_mono_ms; /* until idle: the last look; since when looks come regularly */
};

static void on_fatal(void *ctx, const struct err *e)
{
    struct run *run = ctx;
    pthread_mutex_lock(&run->lock);
    if (run->fatal.class == ERR_NONE)
        run->fatal = *e;
    pthread_mutex_unlock(&run->lock);
    pthread_kill(run->main_thread, SIGUSR1);
}

static bool has_failed(struct run *run, struct err *e)
{
    pthread_mutex_lock(&run->lock);
    *e = run->fatal;
    pthread_mutex_unlock(&run->lock);
    return e->class != ERR_NONE;
}

/* --- until idle ----------------------------------------------------------------------------------- */

enum progress { PROGRESS_PENDING, PROGRESS_DONE, PROGRESS_FAILED };

static enum progress subscription_progress(struct run *run, uint32_t i, const struct run_options *o)
{
    struct source_view v;
    int64_t now = clock_mono_ms();
    intake_describe(run->parts.intake, i, &v);
    if (v.state == SOURCE_REFUSED && !v.queued)
        return PROGRESS_FAILED;
    int64_t quiet_since = v.quiet_since_mono_ms > run->moving_mono_ms ? v.quiet_since_mono_ms
                                                                      : run->moving_mono_ms;
    if (v.caught_up_possible && now - quiet_since >= o->until_idle_ms)
        return PROGRESS_DONE;
    int64_t contact = v.last_contact_mono_ms > run->started_mono_ms ? v.last_contact_mono_ms
                                                                    : run->started_mono_ms;
    return now - contact >= o->deadline_ms ? PROGRESS_FAILED : PROGRESS_PENDING;
}

static enum progress sink_progress(struct run *run, uint32_t i, const struct run_options *o)
{
    struct delivery_view v;
    delivery_describe(run->parts.deliveries[i], &v);
    if (v.state == DELIVERY_REFUSED)
        return PROGRESS_FAILED;
    /* Of a target that keeps its own cursor the store has a copy: only one that was opened knows (I7). */
    if (v.state != DELIVERY_OPENING && v.state != DELIVERY_BACKING_OFF &&
        delivery_settled(run->parts.deliveries[i]))
        return PROGRESS_DONE;
    int64_t progress = v.last_progress_mono_ms > run->started_mono_ms ? v.last_progress_mono_ms
                                                                      : run->started_mono_ms;
    bool late = clock_mono_ms() - progress >= o->deadline_ms;
    return v.state != DELIVERY_RUNNING && late ? PROGRESS_FAILED : PROGRESS_PENDING;
}

/* While the whole machine stands still nothing comes, and that is no quiet. */
static void note_look(struct run *run)
{
    int64_t now = clock_mono_ms();
    if (now - run->polled_mono_ms >= STOOD_STILL_MS)
        run->moving_mono_ms = now;
    run->polled_mono_ms = now;
}

/* True when nothing is pending any more; *code says how it went. */
static bool is_idle(struct run *run, const struct run_options *o, int *code)
{
    *code = EXIT_OK;
    note_look(run);
    /* Subscriptions first: what they journal meanwhile makes a sink pending again. */
    for (uint32_t i = 0; i < run->parts.config->n_subscriptions; i++) {
        enum progress p = subscription_progress(run, i, o);
        if (p == PROGRESS_PENDING)
            return false;
        if (p == PROGRESS_FAILED)
            *code = EXIT_SOURCE;
    }
    for (uint32_t i = 0; i < run->parts.config->n_sinks; i++) {
        enum progress p = sink_progress(run, i, o);
        if (p == PROGRESS_PENDING)
            return false;
        if (p == PROGRESS_FAILED && *code == EXIT_OK)
            *code = EXIT_SINK;
    }
    return true;
}

/* When the loop that has not turned for longest last did. Intake has ended once we drain. */
static int64_t oldest_beat(struct run *run)
{
    int64_t oldest = run->parts.intake ? intake_beat_mono_ms(run->parts.intake) : INT64_MAX;
    for (uint32_t i = 0; i < run->parts.config->n_sinks; i++) {
        int64_t beat = delivery_beat_mono_ms(run->parts.deliveries[i]);
        if (beat < oldest)
            oldest = beat;
    }
    return oldest;
}

/* --- the main thread ------------------------------------------------------------------------------ */

static int wait_signal(struct run *run, int timeout_ms)
{
    struct timespec t = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    return sigtimedwait(&run->signals, NULL, &t); /* -1: time is up */
}

static bool all_settled(struct run *run)
{
    for (uint32_t i = 0; i < run->parts.config->n_sinks; i++)
        if (!delivery_settled(run->parts.deliveries[i]))
            return false;
    return true;
}

static int cut_status; /* 128 + the signal that began the drain */

/* What is committed is committed. Nothing else is safe in a handler, nor needed. */
static void leave_now(int signal_number)
{
    _exit(signal_number == SIGALRM ? cut_status : 128 + signal_number);
}

/* From here on a second signal cuts, and the deadline does, whatever we wait for: also a thread that a
 * target, a disk or a library holds up, which cannot be joined. */
static void let_signals_cut(struct run *run, int signal_number)
{
    enum { GRACE_S = 2 }; /* for ending in good order once the deadline has passed */
    struct sigaction action = {.sa_handler = leave_now};
    sigset_t cutting;
    cut_status = 128 + signal_number;
    sigemptyset(&action.sa_mask);
    sigemptyset(&cutting);
    sigaddset(&cutting, SIGTERM);
    sigaddset(&cutting, SIGINT);
    sigdelset(&run->signals, SIGTERM); /* not taken by wait_signal any more */
    sigdelset(&run->signals, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm((unsigned)(run->parts.config->drain_ms / 1000) + GRACE_S);
    pthread_sigmask(SIG_UNBLOCK, &cutting, NULL);
}

/* The first signal: ask for nothing more, finish what is journaled. The second, or the deadline, cuts it. */
static int drain(struct run *run, int signal_number, bool interrupted)
{
    int cut = 128 + signal_number;
    int64_t deadline = clock_mono_ms() + run->parts.config->drain_ms;
    log_info("tidemark", "%s: draining", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    supervised_stopping(&run->supervised);
    let_signals_cut(run, signal_number);
    admin_stop(run->parts.admin);
    run->parts.admin = NULL;
    intake_stop(run->parts.intake);
    run->parts.intake = NULL;
    for (uint32_t i = 0; i < run->parts.config->n_sinks; i++)
        delivery_drain(run->parts.deliveries[i]);
    struct err e;
    while (!all_settled(run)) {
        wait_signal(run, POLL_IDLE_MS);
        supervised_turn(&run->supervised, oldest_beat(run));
        if (has_failed(run, &e))
            return cli_fail(&e);
        if (clock_mono_ms() >= deadline) {
            log_warn("tidemark", "not everything journaled was delivered within the drain time: the rest "
                                 "follows at the next start");
            return cut;
        }
    }
    return interrupted ? cut : EXIT_OK;
}

static void reload(struct run *run)
{
    reload_config(&run->parts, run->common);
    intake_probe(run->parts.intake);
    for (uint32_t i = 0; i < run->parts.config->n_sinks; i++)
        delivery_reopen(run->parts.deliveries[i]);
}

static int run_until_told(struct run *run, const struct run_options *o)
{
    for (;;) {
        struct err e;
        int code;
        int s = wait_signal(run, o->until_idle_ms ? POLL_IDLE_MS : POLL_MS);
        supervised_turn(&run->supervised, oldest_beat(run));
        if (has_failed(run, &e))
            return cli_fail(&e);
        if (s == SIGTERM || s == SIGINT)
            return drain(run, s, o->until_idle_ms > 0);
        if (s == SIGHUP)
            reload(run);
        if (o->until_idle_ms && is_idle(run, o, &code))
            return code;
    }
}

/* Signals are taken by the main thread alone, where it waits for them: blocked first of all, so that one that
 * comes while we start is handled once we have. */
static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/* Takes the configuration. */
static int run_daemon(struct config *config, const struct common_options *common, const struct run_options *o,
                      const sigset_t *signals)
{
    struct run run = {.common = common,
                      .main_thread = pthread_self(),
                      .signals = *signals,
                      .started_mono_ms = clock_mono_ms()};
    struct err e = ERR_INIT;
    int code;
    pthread_mutex_init(&run.lock, NULL);
    supervised_init(&run.supervised);
    http_setup();
    pubsub_setup();
    if (parts_start(&run.parts, config, on_fatal, &run, &e) == 0) {
        log_info("tidemark", "running: %u subscriptions, %u sinks, store %s", config->n_subscriptions,
                 config->n_sinks, config->store.path);
        supervised_ready(&run.supervised);
        code = run_until_told(&run, o);
    } else {
        code = cli_fail(&e);
    }
    parts_stop(&run.parts);
    pubsub_teardown();
    if (code == EXIT_OK && run.fatal.class != ERR_NONE) /* on the way out: the threads are joined */
        code = cli_fail(&run.fatal);
    pthread_mutex_destroy(&run.lock);
    return code;
}

int cli_run(const struct command *self, int argc, char **argv)
{
    enum { UNTIL_IDLE = 1, DEADLINE, DRY_RUN };
    static const struct option own[] = {{"until-idle", required_argument, NULL, UNTIL_IDLE},
                                        {"deadline", required_argument, NULL, DEADLINE},
                                        {"dry-run", no_argument, NULL, DRY_RUN},
                                        {0}};
    struct run_options o = {0, DEFAULT_DEADLINE_MS};
    struct common_options common;
    bool deadline_given = false, dry = false;
    sigset_t signals, before;
    int c;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    block_signals(&signals);
    cli_common_init(&common);
    while ((c = cli_next_option(self, &common, argc, argv, "", own)) != -1) {
        if (c == UNTIL_IDLE) {
            o.until_idle_ms = cli_parse_seconds(self, "--until-idle", optarg, 1);
        } else if (c == DRY_RUN) {
            dry = true;
        } else {
            o.deadline_ms = cli_parse_seconds(self, "--deadline", optarg, 0.1);
            deadline_given = true;
        }
    }
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    if (deadline_given && !o.until_idle_ms)
        cli_usage_error(self, "--deadline has an effect only with --until-idle");
    if (dry && o.until_idle_ms)
        cli_usage_error(self, "--dry-run does not run: --until-idle has no effect with it");
    struct config *config = cli_load_config(&common, 0);
    if (!config)
        return EXIT_USAGE;
    if (dry) {
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        int code = run_dry(config);
        config_free(config);
        return code;
    }
    return run_daemon(config, &common, &o, &signals);
}
