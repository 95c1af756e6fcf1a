/*
 * exit_code: what the process tells its supervisor (README, "Exit codes").
 */
#ifndef BASE_EXIT_CODE_H
#define BASE_EXIT_CODE_H

enum exit_code {
    EXIT_OK = 0,
    EXIT_USAGE = 2,    /* usage or configuration, before anything opens */
    EXIT_STORE = 3,    /* damaged, newer layout, locked, read-only, full */
    EXIT_SOURCE = 4,   /* login, permission, topic; not ready */
    EXIT_SINK = 5,     /* a sink that is refused for good */
    EXIT_INTERNAL = 6, /* a defect of ours */
    EXIT_KILLPOINT = 99,
    EXIT_SIGINT = 130,
    EXIT_SIGTERM = 143,
};

#endif
