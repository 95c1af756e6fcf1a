/*
 * tidemark login: after credentials were mended, a login at once, whatever pause the failures before it have earned.
 *
 * With the daemon up: the daemon tries, and we wait for how it ends. With the daemon down: what the store remembers of
 * failed logins is dropped, so that the next start tries at once.
 */
#include "cli/cli.h"

#include "admin/server.h"
#include "base/clock.h"
#include "cli/order.h"
#include "store/logins.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_MS = 60 * 1000, LOOK_MS = 50 };

/* --- the daemon is up ----------------------------------------------------------------------------- */

/* The org in the daemon's status; NULL: nobody answers. A new reference. */
static json_t *org_status(const struct config *config, const char *name)
{
    struct err e = ERR_INIT;
    struct buf body = BUF_INIT;
    json_t *status = NULL, *found = NULL, *org;
    size_t i;
    if (admin_request(config->store.path, "GET", "/status", &body, &e) == 200)
        status = json_loadb((const char *)body.data, body.len, 0, NULL);
    json_array_foreach(json_object_get(status, "orgs"), i, org)
    {
        const char *its = json_string_value(json_object_get(org, "name"));
        if (its && strcmp(its, name) == 0)
            found = json_incref(org);
    }
    json_decref(status);
    buf_release(&body);
    return found;
}

static const char *text_of(const json_t *org, const char *key)
{
    const char *text = json_string_value(json_object_get(org, key));
    return text ? text : "";
}

/* The daemon tries: until it has a token, or one more login has ended. */
static int wait_for_end(const struct config *config, const char *name, long long before)
{
    const struct timespec pause = {0, LOOK_MS * 1000000};
    for (int64_t end = clock_mono_ms() + WAIT_MS; clock_mono_ms() < end; nanosleep(&pause, NULL)) {
        json_t *org = org_status(config, name);
        if (!org)
            break;
        bool ready = strcmp(text_of(org, "state"), "ready") == 0;
        bool ended = json_integer_value(json_object_get(org, "logins")) > before;
        if (ready)
            printf("%s: logged in\n", name);
        else if (ended)
            fprintf(stderr, "tidemark: %s: %s\n", name, text_of(org, "reason"));
        json_decref(org);
        if (ready || ended)
            return ready ? EXIT_OK : EXIT_SOURCE;
    }
    fprintf(stderr, "tidemark: %s: no answer yet; see 'tidemark status'\n", name);
    return EXIT_SOURCE;
}

/* -1: no daemon. */
static int ask_daemon(const struct config *config, const char *name)
{
    struct buf answer = BUF_INIT;
    struct err e = ERR_INIT;
    struct order order;
    int code = EXIT_STORE;
    order_begin(&order, "/login");
    order_argument(&order, "org", name);
    int http = admin_request(config->store.path, "POST", (char *)order.path.data, &answer, &e);
    order_release(&order);
    if (http < 0)
        code = -1;
    else if (http == 200)
        code = wait_for_end(config, name, strtoll(answer.len ? (char *)answer.data : "0", NULL, 10));
    else
        fprintf(stderr, "tidemark: %.*s", (int)answer.len, answer.len ? (char *)answer.data : "");
    buf_release(&answer);
    return code;
}

/* --- the daemon is down --------------------------------------------------------------------------- */

static int forget_in_store(const struct config *config, const char *name)
{
    struct store *st;
    struct store_txn txn;
    struct err e = ERR_INIT;
    if (store_open(config->store.path, STORE_MAINTAIN, config->store.max_size, &st, &e) != 0)
        return cli_fail(&e);
    int rc = store_begin(st, true, &txn, &e), removed = 1;
    if (rc == 0) {
        removed = login_record_delete(&txn, name, &e);
        if (removed >= 0)
            rc = store_commit(&txn, &e);
        else
            store_abort(&txn);
    }
    store_close(st);
    if (rc != 0 || removed < 0)
        return cli_fail(&e);
    printf(removed == 0 ? "%s: the daemon is down; its next start logs in at once\n"
                        : "%s: the daemon is down, and no pause is kept: its next start logs in at once\n",
           name);
    return EXIT_OK;
}

/* --- arguments ------------------------------------------------------------------------------------ */

static const char *choose_org(const struct command *self, const struct config *config, const char *wanted)
{
    if (!wanted && config->n_orgs == 1)
        return config->orgs[0].name;
    if (!wanted)
        cli_usage_error(self, "which org? the configuration has %u", config->n_orgs);
    for (uint32_t i = 0; i < config->n_orgs; i++)
        if (strcmp(config->orgs[i].name, wanted) == 0)
            return config->orgs[i].name;
    cli_usage_error(self, "no org '%s' in the configuration", wanted);
}

int cli_login(const struct command *self, int argc, char **argv)
{
    struct common_options common;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", NULL) != -1)
        ;
    if (argc - optind > 1)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind + 1]);
    struct config *config = cli_load_config(&common, CONFIG_OFFLINE);
    if (!config)
        return EXIT_USAGE;
    const char *name = choose_org(self, config, optind < argc ? argv[optind] : NULL);
    int code = ask_daemon(config, name);
    if (code < 0)
        code = forget_in_store(config, name);
    config_free(config);
    return cli_finish_output(code);
}
