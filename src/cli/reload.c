#include "cli/reload.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/differences.h"

#include <stdio.h>

/* --- what differs --------------------------------------------------------------------------------- */

struct plan {
    struct parts_plan parts;
    struct buf told; /* for the log: "sink log changed, subscription x added" */
};

static void tell(struct plan *plan, const char *what, const char *name, const char *how)
{
    buf_addf(&plan->told, "%s%s%s%s %s", plan->told.len ? ", " : "", what, *name ? " " : "", name, how);
}

static uint32_t *indexes(uint32_t n)
{
    uint32_t *list = xcalloc((size_t)n + 1, sizeof *list);
    for (uint32_t i = 0; i < n; i++)
        list[i] = PARTS_NEW;
    return list;
}

/* One of the three lists of a configuration, as far as comparing it needs. */
struct list {
    const char *what;
    uint32_t (*count)(const struct config *c);
    const char *(*name)(const struct config *c, uint32_t i);
};

static uint32_t count_orgs(const struct config *c)
{
    return c->n_orgs;
}

static uint32_t count_subscriptions(const struct config *c)
{
    return c->n_subscriptions;
}

static uint32_t count_sinks(const struct config *c)
{
    return c->n_sinks;
}

static const char *name_org(const struct config *c, uint32_t i)
{
    return c->orgs[i].name;
}

static const char *name_subscription(const struct config *c, uint32_t i)
{
    return c->subscriptions[i].name;
}

static const char *name_sink(const struct config *c, uint32_t i)
{
    return c->sinks[i].name;
}

static const struct list orgs = {"org", count_orgs, name_org};
static const struct list subscriptions = {"subscription", count_subscriptions, name_subscription};
static const struct list sinks = {"sink", count_sinks, name_sink};

static uint32_t find(const struct list *l, const struct config *c, const char *name)
{
    for (uint32_t i = 0; i < l->count(c); i++)
        if (strcmp(l->name(c, i), name) == 0)
            return i;
    return PARTS_NEW;
}

/* `from` is filled: for people, what is not in both as it is. */
static void tell_list(struct plan *plan, const struct list *l, const struct config *now,
                      const struct config *next, const uint32_t *from)
{
    for (uint32_t i = 0; i < l->count(next); i++)
        if (from[i] == PARTS_NEW)
            tell(plan, l->what, l->name(next, i),
                 find(l, now, l->name(next, i)) == PARTS_NEW ? "added" : "changed");
    for (uint32_t i = 0; i < l->count(now); i++)
        if (find(l, next, l->name(now, i)) == PARTS_NEW)
            tell(plan, l->what, l->name(now, i), "removed");
}

static void compare(const struct config *now, const struct config *next, struct plan *plan)
{
    *plan = (struct plan){{indexes(next->n_orgs), indexes(next->n_subscriptions), indexes(next->n_sinks)},
                          BUF_INIT};
    struct parts_plan *p = &plan->parts;
    for (uint32_t i = 0; i < next->n_orgs; i++) {
        uint32_t k = find(&orgs, now, next->orgs[i].name);
        if (k != PARTS_NEW && config_same_org(now, k, next, i))
            p->orgs[i] = k;
    }
    for (uint32_t i = 0; i < next->n_subscriptions; i++) {
        uint32_t k = find(&subscriptions, now, next->subscriptions[i].name);
        if (k != PARTS_NEW && config_same_subscription(now, k, next, i) &&
            p->orgs[next->subscriptions[i].org] == now->subscriptions[k].org)
            p->subscriptions[i] = k;
    }
    for (uint32_t i = 0; i < next->n_sinks; i++) {
        uint32_t k = find(&sinks, now, next->sinks[i].name);
        if (k != PARTS_NEW && config_same_sink(now, k, next, i))
            p->sinks[i] = k;
    }
    tell_list(plan, &orgs, now, next, p->orgs);
    tell_list(plan, &subscriptions, now, next, p->subscriptions);
    tell_list(plan, &sinks, now, next, p->sinks);
    struct buf settings = BUF_INIT;
    config_changed_settings(now, next, false, &settings);
    if (settings.len)
        tell(plan, (char *)settings.data, "", "changed");
    buf_release(&settings);
}

static void plan_release(struct plan *plan)
{
    free(plan->parts.orgs);
    free(plan->parts.subscriptions);
    free(plan->parts.sinks);
    buf_release(&plan->told);
}

/* --- the signal ----------------------------------------------------------------------------------- */

static void note(struct parts *p, const char *failure)
{
    pthread_rwlock_wrlock(&p->view.lock);
    p->view.reload.failed = failure != NULL;
    p->view.reload.at_ms = clock_wall_ms();
    snprintf(p->view.reload.why, sizeof p->view.reload.why, "%s", failure ? failure : "");
    pthread_rwlock_unlock(&p->view.lock);
    if (failure)
        log_error("config", "not reloaded, everything goes on as before: %s", failure);
}

/* One line of the log for each. Returns the first. */
static char *log_problems(const struct buf *problems, bool refused)
{
    char *text = xmemdupz(problems->len ? problems->data : (const uint8_t *)"", problems->len);
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        log_line(refused ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "config", "%s", line);
    }
    return text;
}

static bool fixed_ones_differ(struct parts *p, const struct config *next)
{
    struct buf paths = BUF_INIT;
    config_changed_settings(p->config, next, true, &paths);
    if (paths.len) {
        char *why = xasprintf(
            "%s: %s cannot change while the daemon runs: restart it, or take the change back", next->file,
            (char *)paths.data);
        note(p, why);
        free(why);
    }
    bool differ = paths.len > 0;
    buf_release(&paths);
    return differ;
}

/* true: `next` was taken. */
static bool change(struct parts *p, struct config *next, const struct common_options *common)
{
    struct err e = ERR_INIT;
    struct plan plan;
    bool taken = false;
    compare(p->config, next, &plan);
    if (plan.told.len == 0) {
        log_info("config", "%s read again: nothing has changed", next->file);
        note(p, NULL);
    } else if (parts_change(p, next, &plan.parts, &e) == 0) {
        cli_set_log(common, next);
        log_info("config", "%s read again: %s", next->file, (char *)plan.told.data);
        note(p, NULL);
        taken = true;
    } else {
        note(p, e.text);
    }
    plan_release(&plan);
    return taken;
}

void reload_config(struct parts *p, const struct common_options *common)
{
    struct buf problems = BUF_INIT;
    struct config *next = config_load(common->config_path, 0, &problems);
    char *first = log_problems(&problems, !next);
    buf_release(&problems);
    if (!next)
        note(p, first);
    else if (fixed_ones_differ(p, next) || !change(p, next, common))
        config_free(next);
    free(first);
}
