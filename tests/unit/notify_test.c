#include "base/notify.h"

#include "base/clock.h"
#include "cli/supervised.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* The supervisor's end: a datagram socket with a name of its own. */
struct ear {
    int fd;
    char name[80];
};

static struct ear listen_at(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct ear ear = {socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), ""};
    size_t n = strlen(name);
    assert_true(ear.fd >= 0);
    memcpy(a.sun_path, name, n);
    if (*name == '@')
        a.sun_path[0] = '\0';
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    assert_int_equal(bind(ear.fd, (struct sockaddr *)&a, length), 0);
    snprintf(ear.name, sizeof ear.name, "%s", name);
    setenv("NOTIFY_SOCKET", ear.name, 1);
    return ear;
}

static void stop_listening(struct ear *ear)
{
    close(ear->fd);
    if (*ear->name == '/')
        unlink(ear->name);
    unsetenv("NOTIFY_SOCKET");
}

/* The next message, or "" when there is none. */
static const char *heard(struct ear *ear)
{
    static char text[256];
    ssize_t n = recv(ear->fd, text, sizeof text - 1, 0);
    if (n < 0)
        assert_int_equal(errno, EAGAIN);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static const char *fresh_name(char kind)
{
    static char name[64];
    static unsigned count;
    snprintf(name, sizeof name, "%stidemark-notify-%d-%u", kind == '@' ? "@" : "/tmp/", (int)getpid(),
             count++);
    return name;
}

static int forget_environment(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    clock_release();
    return 0;
}

static void without_a_supervisor_nothing_happens(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(notify_send("READY=1", &e), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_int_equal(notify_send("READY=1", &e), 0);
    assert_int_equal(e.class, ERR_NONE);
}

static void a_message_arrives_at_a_path_and_at_an_abstract_name(void **state)
{
    (void)state;
    static const char kinds[] = {'/', '@'};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct err e = ERR_INIT;
        struct ear ear = listen_at(fresh_name(kinds[i]));
        assert_int_equal(notify_send("READY=1\nSTATUS=well", &e), 0);
        assert_string_equal(heard(&ear), "READY=1\nSTATUS=well");
        assert_string_equal(heard(&ear), "");
        stop_listening(&ear);
    }
}

static void a_wrong_address_is_an_error(void **state)
{
    (void)state;
    char longer[sizeof((struct sockaddr_un *)0)->sun_path + 1];
    memset(longer, 'a', sizeof longer - 1);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    const char *const wrong[] = {"relative", "/", "@", "vsock:2:1", longer};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err e = ERR_INIT;
        setenv("NOTIFY_SOCKET", wrong[i], 1);
        assert_int_equal(notify_send("READY=1", &e), -1);
        assert_int_equal(e.class, ERR_CONFIG);
    }
    struct err e = ERR_INIT;
    setenv("NOTIFY_SOCKET", "/tmp/tidemark-nobody-listens-here", 1);
    assert_int_equal(notify_send("READY=1", &e), -1);
    assert_int_equal(e.class, ERR_RETRY);
    assert_int_equal(e.code, ENOENT);
}

static void a_supervisor_that_does_not_read_never_holds_us_up(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct ear ear = listen_at(fresh_name('@'));
    int sent = 0;
    while (sent < 100000 && notify_send("WATCHDOG=1", &e) == 0)
        sent++;
    assert_in_range(sent, 1, 99999);
    assert_int_equal(e.code, EAGAIN);
    stop_listening(&ear);
}

static void the_watchdog_is_asked_for_in_microseconds_and_for_one_process(void **state)
{
    (void)state;
    char pid[16];
    assert_int_equal(notify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(notify_watchdog_ms(), 30000);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_watchdog_ms(), 30000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(notify_watchdog_ms(), 0);
    unsetenv("WATCHDOG_PID");
    static const char *const nonsense[] = {"", "0", "-5", "3s", "99999999999999999999"};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        setenv("WATCHDOG_USEC", nonsense[i], 1);
        assert_int_equal(notify_watchdog_ms(), 0);
    }
}

static void the_watchdog_hears_us_at_half_its_period_while_every_loop_turns(void **state)
{
    (void)state;
    struct supervised s;
    struct ear ear = listen_at(fresh_name('@'));
    setenv("WATCHDOG_USEC", "10000000", 1);
    clock_hold(100000, 0);
    supervised_init(&s);
    supervised_ready(&s);
    assert_memory_equal(heard(&ear), "READY=1\n", 8);
    for (int ms = 200, messages = 0; ms <= 60000; ms += 200) {
        clock_advance(200);
        supervised_turn(&s, clock_mono_ms() - 1000); /* loops turn once a second */
        if (*heard(&ear))
            messages++;
        assert_int_equal(messages, ms / 5000);
    }
    supervised_stopping(&s);
    assert_memory_equal(heard(&ear), "STOPPING=1\n", 11);
    stop_listening(&ear);
}

static void a_loop_that_hangs_ends_the_messages_and_one_that_is_slow_does_not(void **state)
{
    (void)state;
    struct supervised s;
    struct ear ear = listen_at(fresh_name('@'));
    setenv("WATCHDOG_USEC", "10000000", 1);
    clock_hold(100000, 0);
    supervised_init(&s);
    supervised_ready(&s);
    heard(&ear);
    clock_advance(6000);
    supervised_turn(&s, 104000); /* the loop turns, and then hangs */
    assert_string_equal(heard(&ear), "WATCHDOG=1");
    for (int i = 0; i < 100; i++) {
        clock_advance(1000);
        supervised_turn(&s, 104000);
        assert_string_equal(heard(&ear), "");
    }
    clock_advance(200);
    supervised_turn(&s, clock_mono_ms()); /* it was slow: said at once */
    assert_string_equal(heard(&ear), "WATCHDOG=1");
    stop_listening(&ear);
}

static void without_a_watchdog_only_ready_and_stopping_are_said(void **state)
{
    (void)state;
    struct supervised s;
    struct ear ear = listen_at(fresh_name('@'));
    clock_hold(100000, 0);
    supervised_init(&s);
    supervised_ready(&s);
    heard(&ear);
    clock_advance(1000000);
    supervised_turn(&s, clock_mono_ms());
    assert_string_equal(heard(&ear), "");
    stop_listening(&ear);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(without_a_supervisor_nothing_happens, forget_environment),
        cmocka_unit_test_teardown(a_message_arrives_at_a_path_and_at_an_abstract_name, forget_environment),
        cmocka_unit_test_teardown(a_wrong_address_is_an_error, forget_environment),
        cmocka_unit_test_teardown(a_supervisor_that_does_not_read_never_holds_us_up, forget_environment),
        cmocka_unit_test_teardown(the_watchdog_is_asked_for_in_microseconds_and_for_one_process,
                                  forget_environment),
        cmocka_unit_test_teardown(the_watchdog_hears_us_at_half_its_period_while_every_loop_turns,
                                  forget_environment),
        cmocka_unit_test_teardown(a_loop_that_hangs_ends_the_messages_and_one_that_is_slow_does_not,
                                  forget_environment),
        cmocka_unit_test_teardown(without_a_watchdog_only_ready_and_stopping_are_said, forget_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
