/*
 * The token's state and the worker that changes it.
 *
 *   PENDING --login ok--> READY --auth_refused--> PENDING or FAILING
 *      \--login failed--> FAILING --pause over, login ok--> READY
 *
 * All state is under one lock; the worker gives the lock back while it asks the login server. Whether a
 * login is due is one question (due_ms), so it does not matter how many ask, and when.
 *
 * A refused token is replaced at once. If the new one is refused soon after, too, then the service and not
 * the token's age is the reason: from there on logins are kept 30 s and more apart, so that a misfit between
 * the login and the service never becomes a storm of logins (3,600 an hour block the user). While no token works
 * at all, the pauses grow. One that worked shows that login and service fit: somebody ends the sessions. Then
 * logins stay 30 s apart and no more, since each of them brings events for a while.
 */
#include "auth/auth.h"

#include "auth/login.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum {
    AGAIN_FIRST_MS = 30 * 1000, /* between logins whose tokens the service refuses */
    AGAIN_LONGEST_MS = 15 * 60 * 1000,
    STATIC_AGAIN_MS = 15 * 60 * 1000,
    BUSY_LONGEST_MS = 60 * 1000, /* the breaker's, for a server that is away or busy */
    YOUNG_TOKEN_MS = 60 * 1000,  /* refused younger than this: another login alone will not help */
    PAUSE_LOOK_MS = 100,         /* how often a pause looks at the clock, which tests may hold */
};

struct auth {
    const struct org_config *org;
    char subject[80];   /* for the log */
    struct login login; /* the worker's, without the lock */

    pthread_mutex_t lock;
    pthread_cond_t changed_cond; /* any change, for auth_wait and the worker */
    pthread_t worker;
    bool worker_runs;
    atomic_bool stop;
    void (*changed)(void *ctx);
    void *changed_ctx;
    void (*keep)(void *ctx, const struct auth_memory *now);
    void *keep_ctx;
    uint16_t credentials;

    enum auth_status status;
    struct err why; /* of the last failure */
    struct breaker breaker;
    bool tells_next;      /* FAILING: the pause is long enough to be told with the reason */
    int64_t next_wall_ms; /* FAILING: when the next login is due, for people; 0: none will come */
    struct login_result token;
    uint64_t serial;
    bool wanted;    /* somebody asked; a login is due at due_ms */
    int64_t due_ms; /* monotonic */
    int64_t token_since_ms;
    bool token_worked; /* the service has answered on a stream with it */
    unsigned refusals; /* tokens refused in a row, each soon after its login but perhaps the first */
    int64_t server_time_ms;
    uint64_t refreshes;
    uint64_t logins;
    uint64_t changes;
    uint64_t shown; /* the change auth_get has shown last: auth_wait waits for a later one */
};

static const char *status_name(enum auth_status status)
{
    static const char *const names[] = {"pending", "ready", "failing"};
    return names[status];
}

/* The one place where the status changes. Lock held. */
static void set_status(struct auth *a, enum auth_status status)
{
    if (a->status != status)
        log_debug(a->subject, "login: %s -> %s", status_name(a->status), status_name(status));
    a->status = status;
    a->changes++;
    pthread_cond_broadcast(&a->changed_cond);
}

static int64_t doubled(int64_t first, unsigned times, int64_t longest)
{
    int64_t pause = first;
    while (times-- > 0 && pause < longest)
        pause *= 2;
    return pause < longest ? pause : longest;
}

/* Lock held. */
static void keep_token(struct auth *a, struct login_result *result)
{
    login_result_release(&a->token);
    a->token = *result;
    *result = (struct login_result){0};
    a->serial++;
    breaker_worked(&a->breaker);
    a->wanted = false;
    a->next_wall_ms = 0;
    a->token_since_ms = clock_mono_ms();
    a->token_worked = false;
    err_clear(&a->why);
    set_status(a, AUTH_READY);
}

/* Lock held. The next login is due after this pause. */
static void wait_for(struct auth *a, int64_t pause_ms)
{
    bool never = pause_ms == BREAKER_NEVER;
    a->wanted = !never;
    a->due_ms = never ? INT64_MAX : clock_mono_ms() + pause_ms;
    a->next_wall_ms = never ? 0 : clock_wall_ms() + pause_ms;
}

static void tell_pause(const struct auth *a, const struct err *why, int64_t pause_ms, enum log_level level)
{
    if (pause_ms == BREAKER_NEVER)
        log_line(level, a->subject, "%s (no further login: the account would be locked)", why->text);
    else
        log_line(level, a->subject, "%s (next try in %.1f s)", why->text, (double)pause_ms / 1000);
}

/* Lock held. True where it is to be told: a failure that repeats is when it begins, and when its reason changes. */
static bool enter_failing(struct auth *a, const struct err *why, int64_t pause_ms)
{
    bool news = a->status != AUTH_FAILING || strcmp(a->why.text, why->text) != 0;
    a->why = *why;
    wait_for(a, pause_ms);
    a->tells_next = why->class == ERR_AUTH || pause_ms > BUSY_LONGEST_MS;
    set_status(a, AUTH_FAILING);
    return news;
}

/* Lock held. */
static void keep_failure(struct auth *a, const struct err *why, int64_t pause_ms, enum log_level level)
{
    if (enter_failing(a, why, pause_ms))
        tell_pause(a, why, pause_ms, level);
}

/* Lock held. */
static struct auth_memory memory_of(const struct auth *a)
{
    struct auth_memory m = {.breaker = a->breaker, .credentials = a->credentials};
    int64_t wall = clock_wall_ms();
    auth_memory_move(&m.breaker, wall - clock_mono_ms(), wall);
    bool passing = a->breaker.cause == BREAKER_BUSY ||
                   (a->breaker.cause == BREAKER_UNHEARD && a->breaker.unheard <= BREAKER_UNHEARD_MOST);
    if (a->status == AUTH_FAILING && !passing) {
        m.next_login_ms = a->due_ms == INT64_MAX ? BREAKER_NEVER : a->next_wall_ms;
        snprintf(m.why, sizeof m.why, "%s", a->why.text);
    }
    return m;
}

/* Without the lock. */
static void keep_memory(struct auth *a, const struct auth_memory *m)
{
    if (a->keep)
        a->keep(a->keep_ctx, m);
}

/* Lock held; given back while the login server is asked. */
static void login(struct auth *a)
{
    struct login_result result = {0};
    struct login_times times = {0};
    struct err why = ERR_INIT;
    struct auth_memory memory = memory_of(a);
    int64_t pause = 0;
    bool tells = false;

    memory.breaker.unheard++; /* should we die before the answer */
    memory.next_login_ms = 0;
    pthread_mutex_unlock(&a->lock);
    keep_memory(a, &memory);
    int rc = login_once(&a->login, &a->stop, &result, &times, &why);
    pthread_mutex_lock(&a->lock);
    a->logins++;
    if (times.server_ms)
        a->server_time_ms = times.server_ms;
    if (atomic_load(&a->stop)) {
        login_result_release(&result);
        if (times.sent)
            return; /* what the service makes of it nobody will hear */
    } else if (rc) {
        pause = breaker_failed(&a->breaker, times.cause, clock_mono_ms(), times.wait_at_least_ms);
        tells = enter_failing(a, &why, pause);
    } else {
        if (a->breaker.total)
            log_info(a->subject, "login works again");
        keep_token(a, &result);
        a->refreshes++;
        log_debug(a->subject, "logged in: tenant %s at %s", a->token.tenant_id, a->token.instance_url);
    }
    memory = memory_of(a);
    /* A grant in danger is more than a warning. */
    const enum log_level level = a->login.unsettled.access_token ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN;
    pthread_mutex_unlock(&a->lock);
    keep_memory(a, &memory);
    if (tells) /* what is told is stored, too: a kill right behind does not forget it */
        tell_pause(a, &why, pause, level);
    pthread_mutex_lock(&a->lock);
}

/* Lock held, or before anybody else knows of a. */
static void take_token_from_config(struct auth *a)
{
    struct login_result result = {.access_token = xstrdup(a->org->auth.access_token),
                                  .instance_url = xstrdup(a->org->auth.instance_url)};
    snprintf(result.tenant_id, sizeof result.tenant_id, "%s", a->org->auth.tenant_id);
    keep_token(a, &result);
}

static struct timespec in_ms(int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* Thread: the worker. */
static void *work(void *arg)
{
    struct auth *a = arg;
    uint64_t told = 0;
    pthread_setname_np(pthread_self(), "auth");
    pthread_mutex_lock(&a->lock);
    while (!atomic_load(&a->stop)) {
        if (a->changes != told && a->changed) {
            void (*changed)(void *) = a->changed;
            void *ctx = a->changed_ctx;
            told = a->changes;
            pthread_mutex_unlock(&a->lock);
            changed(ctx);
            pthread_mutex_lock(&a->lock);
        } else if (!a->wanted) {
            pthread_cond_wait(&a->changed_cond, &a->lock);
        } else if (clock_mono_ms() < a->due_ms) {
            struct timespec until = in_ms(PAUSE_LOOK_MS);
            pthread_cond_timedwait(&a->changed_cond, &a->lock, &until);
        } else if (a->login.flow->token_from_config) {
            log_info(a->subject, "offering the configured token to the service once more");
            take_token_from_config(a);
        } else {
            login(a);
        }
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* Lock held. */
static void want_login(struct auth *a, int64_t due_ms)
{
    a->wanted = true;
    a->due_ms = due_ms;
    if (!a->worker_runs) {
        BUG_IF(pthread_create(&a->worker, NULL, work, a) != 0);
        a->worker_runs = true;
    }
    pthread_cond_broadcast(&a->changed_cond);
}

/* Lock held. The pause that was going on when the process ended goes on. */
static void resume_pause(struct auth *a, const struct auth_memory *before)
{
    enum { LONGEST_MS = 70 * 60 * 1000 }; /* of all pauses; more: a clock was set back */
    struct err why = ERR_INIT;
    int64_t wall = clock_wall_ms(), mono = clock_mono_ms();
    int64_t pause = before->next_login_ms == BREAKER_NEVER ? BREAKER_NEVER : before->next_login_ms - wall;
    a->breaker = before->breaker;
    auth_memory_move(&a->breaker, mono - wall, mono);
    if (pause > LONGEST_MS && pause != BREAKER_NEVER)
        pause = LONGEST_MS;
    int64_t unheard = breaker_resumed(&a->breaker);
    if (unheard > 0 && pause < unheard) {
        err_set(&why, ERR_RETRY, "auth", 0,
                "%u logins in a row were begun by a process that ended before the answer",
                a->breaker.unheard);
        keep_failure(a, &why, unheard, LOG_LEVEL_WARN);
    } else if (pause > 0) {
        err_set(&why, a->breaker.cause == BREAKER_RATE ? ERR_RETRY : ERR_AUTH, "auth", 0,
                "before this start: %s", before->why);
        keep_failure(a, &why, pause, LOG_LEVEL_WARN);
    }
}

void auth_remember(struct auth *a, const struct auth_memory *before,
                   void (*keep)(void *ctx, const struct auth_memory *now), void *ctx)
{
    if (a->login.flow->token_from_config)
        return; /* it never signs in */
    uint16_t credentials = auth_memory_credentials(a->org);
    pthread_mutex_lock(&a->lock);
    BUG_IF(a->worker_runs);
    a->keep = keep;
    a->keep_ctx = ctx;
    a->credentials = credentials;
    if (before && before->credentials == credentials)
        resume_pause(a, before);
    if (a->status == AUTH_FAILING && a->wanted)
        want_login(a, a->due_ms);
    pthread_mutex_unlock(&a->lock);
}

void auth_try_now(struct auth *a)
{
    pthread_mutex_lock(&a->lock);
    if (a->status != AUTH_READY) {
        breaker_worked(&a->breaker);
        a->refusals = 0;
        err_clear(&a->why);
        a->next_wall_ms = 0;
        set_status(a, AUTH_PENDING);
        want_login(a, clock_mono_ms());
    }
    pthread_mutex_unlock(&a->lock);
}

struct auth *auth_new(const struct org_config *org)
{
    struct auth *a = xcalloc(1, sizeof *a);
    pthread_condattr_t attr;
    a->org = org;
    login_open(&a->login, org);
    snprintf(a->subject, sizeof a->subject, "org %s", org->name);
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed_cond, &attr);
    pthread_condattr_destroy(&attr);
    if (a->login.flow->token_from_config)
        take_token_from_config(a);
    return a;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    atomic_store(&a->stop, true);
    pthread_mutex_lock(&a->lock);
    bool join = a->worker_runs;
    pthread_cond_broadcast(&a->changed_cond);
    pthread_mutex_unlock(&a->lock);
    if (join)
        pthread_join(a->worker, NULL);
    login_close(&a->login);
    login_result_release(&a->token);
    pthread_cond_destroy(&a->changed_cond);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* Lock held. The reason, and with long pauses their end. With short ones it would change with every try, and
 * be told anew by each subscription. */
static void tell_failure(const struct auth *a, struct err *why)
{
    char when[25];
    *why = a->why;
    size_t n = strlen(why->text);
    if (a->due_ms == INT64_MAX) {
        snprintf(why->text + n, sizeof why->text - n,
                 "; no further login, or the account would be locked: mend it, then 'tidemark login %s'",
                 a->org->name);
    } else if (a->next_wall_ms && a->tells_next) {
        clock_format_ms(a->next_wall_ms, when);
        snprintf(why->text + n, sizeof why->text - n, "; next login at %.19sZ, or by 'tidemark login %s'",
                 when, a->org->name);
    }
}

enum auth_status auth_get(struct auth *a, struct auth_token *out, struct err *why)
{
    pthread_mutex_lock(&a->lock);
    if (a->status == AUTH_PENDING && !a->worker_runs)
        want_login(a, clock_mono_ms());
    a->shown = a->changes;
    enum auth_status status = a->status;
    if (status == AUTH_READY) {
        out->access_token = xstrdup(a->token.access_token);
        out->instance_url = xstrdup(a->token.instance_url);
        memcpy(out->tenant_id, a->token.tenant_id, sizeof out->tenant_id);
        out->serial = a->serial;
    } else if (status == AUTH_FAILING && why) {
        tell_failure(a, why);
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

void auth_token_release(struct auth_token *t)
{
    if (t->access_token)
        wipe(t->access_token, strlen(t->access_token));
    free(t->access_token);
    free(t->instance_url);
    *t = (struct auth_token){0};
}

/* Lock held. How many in a row, with this one. */
static unsigned count_refusal(const struct auth *a, int64_t now)
{
    if (now - a->token_since_ms >= YOUNG_TOKEN_MS)
        return 1;
    return a->token_worked && a->refusals > 1 ? 2 : a->refusals + 1;
}

static void set_refused_why(const struct auth *a, struct err *why)
{
    if (a->token_worked)
        err_set(why, ERR_RETRY, "auth", 0,
                "the token worked, but the service ended its session soon after the login: see in the org "
                "who revokes this user's sessions, and whether another client uses the same grant");
    else
        err_set(why, ERR_AUTH, "auth", 0,
                "the login worked, but the service refused its token: check that the user may use the API, "
                "and that login_url and pubsub_endpoint belong together");
}

/* Lock held, READY: the token in hand is bad. */
static void drop_token(struct auth *a)
{
    int64_t now = clock_mono_ms(), due = now;
    struct err why = ERR_INIT;

    a->refusals = count_refusal(a, now);
    if (a->refusals > 1)
        due = a->token_since_ms + doubled(AGAIN_FIRST_MS, a->refusals - 2, AGAIN_LONGEST_MS);
    login_result_release(&a->token);
    if (a->login.flow->token_from_config) {
        /* Nothing to renew. It is offered again much later: the service refuses good tokens around upgrades.
         */
        err_set(&why, ERR_AUTH, "auth", 0,
                "the service refused auth.static.access_token: it has expired or is of another org");
        keep_failure(a, &why, STATIC_AGAIN_MS, LOG_LEVEL_WARN);
        want_login(a, a->due_ms);
    } else if (due > now) {
        set_refused_why(a, &why);
        keep_failure(a, &why, due - now, LOG_LEVEL_WARN);
        want_login(a, a->due_ms);
    } else {
        set_status(a, AUTH_PENDING);
        want_login(a, now);
    }
}

void auth_refused(struct auth *a, uint64_t serial)
{
    pthread_mutex_lock(&a->lock);
    if (serial == a->serial && a->status == AUTH_READY)
        drop_token(a);
    pthread_mutex_unlock(&a->lock);
}

void auth_worked(struct auth *a, uint64_t serial)
{
    pthread_mutex_lock(&a->lock);
    if (serial == a->serial && a->status == AUTH_READY)
        a->token_worked = true;
    pthread_mutex_unlock(&a->lock);
}

void auth_wait(struct auth *a, int timeout_ms)
{
    struct timespec until = in_ms(timeout_ms);
    pthread_mutex_lock(&a->lock);
    while (a->changes == a->shown)
        if (pthread_cond_timedwait(&a->changed_cond, &a->lock, &until) != 0)
            break;
    pthread_mutex_unlock(&a->lock);
}

void auth_on_change(struct auth *a, void (*changed)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&a->lock);
    a->changed = changed;
    a->changed_ctx = ctx;
    pthread_mutex_unlock(&a->lock);
}

int64_t auth_server_time_ms(struct auth *a)
{
    pthread_mutex_lock(&a->lock);
    int64_t ms = a->server_time_ms;
    pthread_mutex_unlock(&a->lock);
    return ms;
}

uint64_t auth_refresh_count(struct auth *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t n = a->refreshes;
    pthread_mutex_unlock(&a->lock);
    return n;
}

void auth_describe(struct auth *a, struct auth_view *out)
{
    pthread_mutex_lock(&a->lock);
    *out = (struct auth_view){.status = a->status,
                              .flow = a->login.flow->name,
                              .failures = a->breaker.total,
                              .refreshes = a->refreshes,
                              .logins = a->logins,
                              .next_login_ms = a->status == AUTH_FAILING ? a->next_wall_ms : 0};
    if (a->status == AUTH_FAILING)
        tell_failure(a, &out->why);
    if (a->token.instance_url)
        snprintf(out->instance_url, sizeof out->instance_url, "%s", a->token.instance_url);
    memcpy(out->tenant_id, a->token.tenant_id, sizeof out->tenant_id);
    pthread_mutex_unlock(&a->lock);
}
