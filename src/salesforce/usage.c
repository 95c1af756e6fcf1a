#include "salesforce/usage.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "salesforce/limits.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { PERIOD_MS = 15 * 60 * 1000, LOOK_MS = 1000 };

struct usage {
    const struct org_config *org;
    struct auth *auth;
    char subject[80];
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock; /* view; and the pause */
    pthread_cond_t stopped;
    struct usage_view view;
};

/* A token, if one is held: asking must not start a login. */
static bool take_token(struct usage *u, struct auth_token *token)
{
    struct auth_view view;
    auth_describe(u->auth, &view);
    return view.status == AUTH_READY && auth_get(u->auth, token, NULL) == AUTH_READY;
}

static void look(struct usage *u, const struct auth_token *token)
{
    struct limits limits = {0};
    struct err e = ERR_INIT;
    bool known = limits_read(u->org, token, &u->stop, &limits, &e) == 0;
    if (atomic_load(&u->stop))
        return;
    pthread_mutex_lock(&u->lock);
    bool news = !known && !u->view.reason[0];
    u->view.known = known;
    u->view.used = limits.used;
    u->view.max = limits.max;
    if (known)
        u->view.at_ms = clock_wall_ms();
    snprintf(u->view.reason, sizeof u->view.reason, "%s", known ? "" : e.text);
    pthread_mutex_unlock(&u->lock);
    if (news)
        log_info(u->subject, "how much of the API allowance is used is not known: %s", e.text);
}

static void pause_a_moment(struct usage *u)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_MS / 1000;
    pthread_mutex_lock(&u->lock);
    if (!atomic_load(&u->stop))
        pthread_cond_timedwait(&u->stopped, &u->lock, &until);
    pthread_mutex_unlock(&u->lock);
}

static void *watch(void *arg)
{
    struct usage *u = arg;
    int64_t due_ms = 0;
    pthread_setname_np(pthread_self(), "usage");
    while (!atomic_load(&u->stop)) {
        struct auth_token token = {0};
        if (clock_mono_ms() >= due_ms && take_token(u, &token)) {
            look(u, &token);
            auth_token_release(&token);
            due_ms = clock_mono_ms() + PERIOD_MS;
        }
        pause_a_moment(u);
    }
    return NULL;
}

struct usage *usage_new(const struct org_config *org, struct auth *auth)
{
    struct usage *u = xcalloc(1, sizeof *u);
    pthread_condattr_t monotonic;
    u->org = org;
    u->auth = auth;
    snprintf(u->subject, sizeof u->subject, "org %s", org->name);
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&u->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    BUG_IF(pthread_create(&u->thread, NULL, watch, u) != 0);
    return u;
}

void usage_free(struct usage *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    atomic_store(&u->stop, true);
    pthread_cond_signal(&u->stopped);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    pthread_cond_destroy(&u->stopped);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

void usage_describe(struct usage *u, struct usage_view *out)
{
    *out = (struct usage_view){0};
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    *out = u->view;
    pthread_mutex_unlock(&u->lock);
}
