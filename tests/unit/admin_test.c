/*
 * The admin API on its sockets: routes, methods, who may connect, what is in the way; and the client that
 * commands use.
 */
#include "admin/listen.h"
#include "admin/server.h"
#include "base/http.h"
#include "store_folder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

struct fixture {
    struct store_folder folder;
    struct config *config;
    struct store *st;
    struct daemon_parts parts;
    struct admin *admin;
    char *socket_path;
};

static struct config *make_config(const char *store_path, const char *listen)
{
    struct buf text = BUF_INIT, problems = BUF_INIT;
    buf_addf(&text,
             "orgs: [{ name: main, login_url: 'http://127.0.0.1:9', pubsub_endpoint: '127.0.0.1:9', tls: { plaintext: true },\n"
             "  auth: { client_credentials: { client_id: x, client_secret: x } } }]\n"
             "subscriptions: [{ name: accounts, org: main, topic: /data/AccountChangeEvent }]\n"
             "sinks: [{ name: log, stdout: {} }]\n"
             "store: { path: '%s', max_size: 64MiB }\n"
             "admin: { listen: %s }\n",
             store_path, listen);
    struct config *config = config_load_text(buf_span(&text), "test.yaml", CONFIG_OFFLINE, &problems);
    if (!config)
        fail_msg("%s", (char *)problems.data);
    buf_release(&text);
    buf_release(&problems);
    return config;
}

static int setup(void **state)
{
    static struct fixture f;
    struct err e = ERR_INIT;
    f = (struct fixture){0};
    store_folder_make(&f.folder);
    f.config = make_config(f.folder.path, "'127.0.0.1:0'");
    f.socket_path = admin_socket_path(f.folder.path);
    if (store_open(f.folder.path, STORE_DAEMON, 64 << 20, &f.st, &e) != 0)
        fail_msg("%s", e.text);
    f.parts = (struct daemon_parts){.config = f.config, .store = f.st};
    *state = &f;
    return 0;
}

static void serve(struct fixture *f)
{
    struct err e = ERR_INIT;
    if (admin_bind(f->config, &f->admin, &e) != 0 || admin_serve(f->admin, &f->parts, &e) != 0)
        fail_msg("%s", e.text);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    admin_stop(f->admin);
    assert_int_not_equal(access(f->socket_path, F_OK), 0); /* leaves no socket behind */
    store_close(f->st);
    config_free(f->config);
    free(f->socket_path);
    store_folder_remove(&f->folder);
    return 0;
}

static int get(const struct fixture *f, const char *path, struct buf *body)
{
    struct err e = ERR_INIT;
    buf_clear(body);
    int status = admin_request(f->folder.path, "GET", path, body, &e);
    if (status < 0)
        fail_msg("%s: %s", path, e.text);
    return status;
}

/* --- the API -------------------------------------------------------------------------------------- */

static void routes(void **state)
{
    struct fixture *f = *state;
    struct buf body = BUF_INIT;
    serve(f);
    assert_int_equal(get(f, "/healthz", &body), 200);
    assert_string_equal((char *)body.data, "ok\n");
    assert_int_equal(get(f, "/readyz", &body), 503);
    assert_non_null(strstr((char *)body.data, "subscription accounts: stopped"));
    assert_int_equal(get(f, "/status", &body), 200);
    assert_non_null(strstr((char *)body.data, "\"subscriptions\":[{\"name\":\"accounts\""));
    assert_int_equal(get(f, "/metrics", &body), 200);
    assert_non_null(strstr((char *)body.data, "tidemark_build_info{version="));
    assert_int_equal(get(f, "/", &body), 200);
    assert_int_equal(get(f, "/healthz?x=1", &body), 200);
    static const char *const nowhere[] = {"/nothing", "/status/", "//status", "/../status", "/Healthz"};
    for (size_t i = 0; i < ARRAY_LEN(nowhere); i++)
        assert_int_equal(get(f, nowhere[i], &body), 404);
    buf_release(&body);
}

/* Everything a raw request is answered with. */
static void exchange(const struct fixture *f, struct span request, struct buf *answer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    /* The server may hang up before it has read everything. */
    (void)!send(fd, request.p, request.n, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    buf_clear(answer);
    for (ssize_t n; (n = recv(fd, buf_reserve(answer, 4096), 4096, 0)) > 0;)
        answer->len += (size_t)n;
    buf_add(answer, "", 0);
    close(fd);
}

static void assert_status(const struct buf *answer, const char *status)
{
    char line[64] = "";
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    if (answer->len < strlen(line) || strncmp((char *)answer->data, line, strlen(line)) != 0)
        fail_msg("wanted %s, got: %.*s", status, (int)answer->len, (char *)answer->data);
}

static void only_get_and_head(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"};
    struct fixture *f = *state;
    struct buf answer = BUF_INIT, request = BUF_INIT;
    serve(f);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        buf_clear(&request);
        buf_addf(&request, "%s /status HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", methods[i]);
        exchange(f, buf_span(&request), &answer);
        assert_status(&answer, "405");
        assert_non_null(strstr((char *)answer.data, "Allow: GET, HEAD\r\n"));
    }
    exchange(f, span_of_str("HEAD /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), &answer);
    assert_status(&answer, "200");
    assert_non_null(strstr((char *)answer.data, "application/json"));
    assert_null(strchr((char *)answer.data, '{'));
    buf_release(&answer);
    buf_release(&request);
}

static void connections_stay_open(void **state)
{
    static const char two[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct fixture *f = *state;
    struct buf answer = BUF_INIT;
    serve(f);
    exchange(f, span_of_str(two), &answer);
    assert_status(&answer, "200");
    const char *second = strstr((char *)answer.data + 1, "HTTP/1.1 200 ");
    assert_non_null(second);
    buf_release(&answer);
}

static void large_and_broken_requests_are_refused(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT, request = BUF_INIT;
    serve(f);
    buf_add_str(&request, "GET /");
    for (int i = 0; i < 64 << 10; i++)
        buf_add_char(&request, 'a');
    exchange(f, buf_span(&request), &answer);
    assert_true(answer.len == 0 || strncmp((char *)answer.data, "HTTP/1.1 4", 10) == 0);
    exchange(f, span_of_str("nonsense\r\n\r\n"), &answer);
    assert_null(strstr((char *)answer.data, " 200 "));
    exchange(f, span_of_str("GET /status HTTP/9.9\r\nno colon\r\n\r\n"), &answer);
    assert_null(strstr((char *)answer.data, " 200 "));
    assert_int_equal(get(f, "/healthz", &answer), 200);
    buf_release(&answer);
    buf_release(&request);
}

static void openmetrics_when_asked_for(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT;
    serve(f);
    exchange(f, span_of_str("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                            "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n"), &answer);
    assert_status(&answer, "200");
    assert_non_null(strstr((char *)answer.data, "Content-Type: application/openmetrics-text"));
    assert_non_null(strstr((char *)answer.data, "# EOF\n"));
    buf_release(&answer);
}

/* --- sockets -------------------------------------------------------------------------------------- */

static void the_socket_is_ours_alone(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    serve(f);
    assert_int_equal(stat(f->socket_path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_dead_daemons_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct buf body = BUF_INIT;
    int dead = listen_unix(f->socket_path, &e);
    assert_true(dead >= 0);
    close(dead);
    assert_int_equal(admin_request(f->folder.path, "GET", "/healthz", &body, &e), -1);
    assert_int_equal(e.code, ECONNREFUSED);
    serve(f);
    assert_int_equal(get(f, "/healthz", &body), 200);
    buf_release(&body);
}

static void what_is_no_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int fd = open(f->socket_path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(admin_bind(f->config, &f->admin, &e), -1);
    assert_int_equal(e.class, ERR_STORE);
    assert_non_null(strstr(e.text, f->socket_path));
    assert_int_equal(unlink(f->socket_path), 0);
    f->admin = NULL;
}

static void a_path_too_long_is_said(void **state)
{
    char path[200];
    struct err e = ERR_INIT;
    (void)state;
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(listen_unix(path, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_non_null(strstr(e.text, "at most 107"));
}

static void a_port_in_use_is_said(void **state)
{
    struct fixture *f = *state;
    char address[LISTEN_ADDRESS_SIZE], listen_text[LISTEN_ADDRESS_SIZE + 2];
    struct err e = ERR_INIT;
    int fd = listen_tcp("127.0.0.1", 0, address, &e);
    assert_true(fd >= 0);
    snprintf(listen_text, sizeof listen_text, "'%s'", address);
    config_free(f->config);
    f->config = make_config(f->folder.path, listen_text);
    assert_int_equal(admin_bind(f->config, &f->admin, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_non_null(strstr(e.text, address));
    f->admin = NULL;
    close(fd);
}

static void tcp_answers_on_the_port_it_got(void **state)
{
    struct fixture *f = *state;
    char address[LISTEN_ADDRESS_SIZE], listen_text[LISTEN_ADDRESS_SIZE + 2], url[LISTEN_ADDRESS_SIZE + 16];
    struct err e = ERR_INIT;
    struct http_answer answer;
    int fd = listen_tcp("127.0.0.1", 0, address, &e); /* a port that is free in a moment */
    assert_true(fd >= 0);
    close(fd);
    snprintf(listen_text, sizeof listen_text, "'%s'", address);
    config_free(f->config);
    f->config = make_config(f->folder.path, listen_text);
    f->parts.config = f->config;
    serve(f);
    snprintf(url, sizeof url, "http://%s/healthz", address);
    const struct http_request request = {.method = "GET", .url = url, .connect_timeout_ms = 5000, .timeout_ms = 5000, .max_answer = 1000};
    if (http_do(&request, &answer, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(answer.status, 200);
    http_answer_release(&answer);
}

/* --- the client ----------------------------------------------------------------------------------- */

struct canned {
    int listener;
    const char *answer;
};

static void *answer_once(void *arg)
{
    const struct canned *c = arg;
    char request[1024];
    int fd = accept(c->listener, NULL, NULL);
    (void)!recv(fd, request, sizeof request, 0);
    (void)!send(fd, c->answer, strlen(c->answer), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void the_client_believes_whole_answers_only(void **state)
{
    static const struct {
        const char *answer;
        int status;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
        {"HTTP/1.0 503 Service Unavailable\r\ncontent-length:0\r\n\r\n", 503},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", -1},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok", -1},
        {"HTTP/1.1 200 OK\r\n\r\nok", -1},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", -1},
        {"HTTP/1.1 2", -1},
        {"\r\n\r\n", -1},
        {"", -1},
    };
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct canned c = {listen_unix(f->socket_path, &e), cases[i].answer};
        struct buf body = BUF_INIT;
        pthread_t thread;
        assert_true(c.listener >= 0);
        assert_int_equal(fcntl(c.listener, F_SETFL, 0), 0); /* accept waits */
        assert_int_equal(pthread_create(&thread, NULL, answer_once, &c), 0);
        assert_int_equal(admin_request(f->folder.path, "GET", "/x", &body, &e), cases[i].status);
        pthread_join(thread, NULL);
        close(c.listener);
        buf_release(&body);
    }
    assert_int_equal(unlink(f->socket_path), 0);
}

static void nobody_there_is_an_error_with_a_reason(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct buf body = BUF_INIT;
    assert_int_equal(admin_request(f->folder.path, "GET", "/readyz", &body, &e), -1);
    assert_int_equal(e.code, ENOENT);
    assert_non_null(strstr(e.text, "admin.sock"));
    buf_release(&body);
}

int main(void)
{
    http_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(routes, setup, teardown),
        cmocka_unit_test_setup_teardown(only_get_and_head, setup, teardown),
        cmocka_unit_test_setup_teardown(connections_stay_open, setup, teardown),
        cmocka_unit_test_setup_teardown(large_and_broken_requests_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(openmetrics_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(the_socket_is_ours_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_daemons_socket_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_socket_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_path_too_long_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_port_in_use_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(tcp_answers_on_the_port_it_got, setup, teardown),
        cmocka_unit_test_setup_teardown(the_client_believes_whole_answers_only, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_there_is_an_error_with_a_reason, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
