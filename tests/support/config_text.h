/*
 * config_text: configurations as tests write them: a text that is good, or what is told of one that is not.
 *
 * Thread: the test's. Errors fail the test; a file that tells something else than expected is printed whole.
 */
#ifndef SUPPORT_CONFIG_TEXT_H
#define SUPPORT_CONFIG_TEXT_H

#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Parts of a file that is good: lines 1 to 4, 5 and 6. */
#define ORG                                                                                                  \
    "orgs:\n"                                                                                                \
    "  - name: main\n"                                                                                       \
    "    login_url: https://acme.my.salesforce.com\n"                                                        \
    "    auth: { client_credentials: { client_id: id, client_secret: secret } }\n"
#define SUB                                                                                                  \
    "subscriptions:\n"                                                                                       \
    "  - { name: accounts, org: main, topic: /data/AccountChangeEvent }\n"

static inline struct config *load(const char *text, unsigned flags, struct buf *problems)
{
    return config_load_text(span_of_str(text), "t.yaml", flags | CONFIG_OFFLINE, problems);
}

static inline void assert_problems(const char *text, const char *expected)
{
    struct buf problems = BUF_INIT;
    struct config *c = load(text, 0, &problems);
    bool same = strcmp(problems.len ? (char *)problems.data : "", expected) == 0;
    if (!same) /* more than a message of the test library can hold */
        fprintf(stderr, "--- file\n%s--- expected\n%s--- told\n%s", text, expected,
                problems.len ? (char *)problems.data : "");
    assert_true(same);
    assert_null(c);
    buf_release(&problems);
}

static inline struct config *load_good(const char *text)
{
    struct buf problems = BUF_INIT;
    struct config *c = load(text, 0, &problems);
    if (!c)
        fail_msg("refused:\n%s", (char *)problems.data);
    if (problems.len)
        fail_msg("told:\n%s", (char *)problems.data);
    buf_release(&problems);
    return c;
}

struct bad {
    const char *text, *problems;
};

static inline void assert_all(const struct bad *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_problems(cases[i].text, cases[i].problems);
}

#endif
