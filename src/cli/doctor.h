/*
 * doctor: what the checks of `tidemark doctor` find, collected for printing.
 *
 * A check adds one finding for each thing it looked at, good or bad; a bad one says what to do.
 *
 * Calling order: doctor_store / doctor_sinks / doctor_orgs in any order -> findings are printed -> doctor_release.
 * Ownership: texts are copied. Thread: main; doctor_orgs blocks for logins and calls. Errors: are findings.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "base/compiler.h"
#include "cli/cli.h"

#include <stddef.h>

enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_BAD };

struct finding {
    enum finding_level level;
    int exit_code;       /* of a bad one */
    const char *check;   /* static: "login" */
    char *subject;       /* what was looked at: an org, a path, a topic */
    char *text;
    const char *advice;  /* static; NULL when there is nothing to do */
};

struct doctor {
    const struct config *config;
    struct finding *findings;
    size_t n;
};

void doctor_good(struct doctor *d, const char *check, const char *subject, const char *fmt, ...) PRINTF_LIKE(4, 5);
void doctor_warn(struct doctor *d, const char *check, const char *subject, const char *advice, const char *fmt, ...) PRINTF_LIKE(5, 6);
void doctor_bad(struct doctor *d, int exit_code, const char *check, const char *subject, const char *advice, const char *fmt, ...)
    PRINTF_LIKE(6, 7);
void doctor_release(struct doctor *d);

/* The folder, its mode and file system, room, and what the store says needs a person. */
void doctor_store(struct doctor *d);
/* Whether each output could be written, without touching it: a daemon may be using it. */
void doctor_sinks(struct doctor *d);
/* Proxy, login, clock, the org's identity, topics and permissions. */
void doctor_orgs(struct doctor *d);

#endif
