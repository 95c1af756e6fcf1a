/*
 * One eventfd that signal handler and threads write to, and the main thread polls.
 */
#include "cli/interrupt.h"

#include "base/err.h"

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int wake_fd = -1;
static volatile sig_atomic_t seen_signal, holding;

void interrupt_wake(void)
{
    const uint64_t one = 1;
    ssize_t ignored = write(wake_fd, &one, sizeof one); /* full: it is awake already */
    (void)ignored;
}

static void on_signal(int number)
{
    if (seen_signal || !holding)
        _exit(128 + number);
    seen_signal = number;
    interrupt_wake();
}

void interrupt_setup(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a blocked write returns */
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BUG_IF(wake_fd < 0);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void interrupt_hold(void)
{
    holding = 1;
}

int interrupt_signal(void)
{
    return seen_signal;
}

void interrupt_wait(int timeout_ms)
{
    struct pollfd wait = {wake_fd, POLLIN, 0};
    uint64_t count;
    if (seen_signal)
        return;
    if (poll(&wait, 1, timeout_ms) > 0) {
        ssize_t ignored = read(wake_fd, &count, sizeof count);
        (void)ignored;
    }
}

int interrupt_exit_code(void)
{
    return 128 + seen_signal;
}
