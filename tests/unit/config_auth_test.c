/* The ways to sign in, in the configuration file: what each must have, and what is found out at once. */
#include "base/file.h"
#include "config/config.h"
#include "config/keys.h"
#include "rsa_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/tidemark-config-XXXXXX";
static char *key_pem;

static void write_file(const char *name, const char *content)
{
    struct err e = ERR_INIT;
    char *path = xasprintf("%s/%s", folder, name);
    if (file_replace(path, content, strlen(content), 0600, &e) != 0)
        fail_msg("%s", e.text);
    free(path);
}

/* `auth` is a line of YAML: "password: { ... }". */
static struct config *load(const char *auth, struct buf *problems)
{
    char *text = xasprintf("orgs:\n"
                           "  - name: main\n"
                           "    login_url: https://acme.my.salesforce.com\n"
                           "    auth:\n"
                           "      %s\n"
                           "subscriptions: [{ name: a, org: main, topic: /event/X__e }]\n"
                           "sinks: [{ name: log, stdout: {} }]\n",
                           auth);
    struct config *c = config_load_text(span_of_str(text), "t.yaml", CONFIG_OFFLINE, problems);
    free(text);
    return c;
}

static struct config *load_good(const char *auth)
{
    struct buf problems = BUF_INIT;
    struct config *c = load(auth, &problems);
    if (!c || problems.len)
        fail_msg("told:\n%s", (char *)problems.data);
    buf_release(&problems);
    return c;
}

/* The first FOLDER in `expected` stands for the test's own. */
static void assert_told(const char *auth, const char *expected)
{
    struct buf problems = BUF_INIT;
    struct config *c = load(auth, &problems);
    const char *mark = strstr(expected, "FOLDER");
    char *full = mark ? xasprintf("%.*s%s%s", (int)(mark - expected), expected, folder, mark + 6)
                      : xstrdup(expected);
    assert_string_equal(problems.len ? (char *)problems.data : "", full);
    assert_null(c);
    free(full);
    buf_release(&problems);
}

static const char jwt[] = "jwt_bearer: { client_id: id, username: u@x.example, private_key: \"${T_KEY}\", "
                          "audience: https://site.example/x }";
static const char refresh[] =
    "refresh_token: { client_id: id, client_secret: s, refresh_token_file: \"${T_FOLDER}/refresh\" }";
static const char password[] =
    "password: { client_id: id, client_secret: s, username: u@x.example, password: p, security_token: t }";

static void every_member_arrives(void **state)
{
    (void)state;
    struct config *c = load_good(jwt);
    const struct auth_config *auth = &c->orgs[0].auth;
    assert_int_equal(auth->kind, AUTH_JWT_BEARER);
    assert_string_equal(auth->client_id, "id");
    assert_string_equal(auth->username, "u@x.example");
    assert_string_equal(auth->private_key, key_pem);
    assert_string_equal(auth->audience, "https://site.example/x");
    assert_null(auth->client_secret);
    config_free(c);

    c = load_good("jwt_bearer: { client_id: id, username: u, private_key_file: \"${T_FOLDER}/key.pem\" }");
    assert_int_equal(strlen(c->orgs[0].auth.private_key),
                     strlen(key_pem) - 1); /* a newline at the end does not count */
    assert_null(c->orgs[0].auth.audience);
    config_free(c);

    c = load_good(refresh);
    auth = &c->orgs[0].auth;
    assert_int_equal(auth->kind, AUTH_REFRESH_TOKEN);
    assert_string_equal(auth->client_id, "id");
    assert_string_equal(auth->client_secret, "s");
    assert_non_null(strstr(auth->refresh_token_file, "/refresh"));
    config_free(c);
    c = load_good("refresh_token: { client_id: id, refresh_token_file: \"${T_FOLDER}/refresh\" }");
    assert_null(c->orgs[0].auth.client_secret);
    config_free(c);

    c = load_good(password);
    auth = &c->orgs[0].auth;
    assert_int_equal(auth->kind, AUTH_PASSWORD);
    assert_string_equal(auth->client_secret, "s");
    assert_string_equal(auth->username, "u@x.example");
    assert_string_equal(auth->password, "p");
    assert_string_equal(auth->security_token, "t");
    config_free(c);
    c = load_good(
        "password: { client_id: id, client_secret_file: \"${T_FOLDER}/word\", username: u, password_file: "
        "\"${T_FOLDER}/word\", security_token_file: \"${T_FOLDER}/word\" }");
    auth = &c->orgs[0].auth;
    assert_string_equal(auth->client_secret, "word");
    assert_string_equal(auth->password, "word");
    assert_string_equal(auth->security_token, "word");
    config_free(c);
}

static void no_key_is_forgotten_here(void **state)
{
    (void)state;
    static const char *const kinds[] = {"orgs[].auth.jwt_bearer.",    jwt,
                                        "orgs[].auth.refresh_token.", refresh,
                                        "orgs[].auth.password.",      password};
    for (const struct key *k = config_keys; k < config_keys + config_n_keys; k++)
        for (size_t i = 0; i < ARRAY_LEN(kinds); i += 2) {
            char *name = xasprintf("%s:", key_name(k));
            if (strncmp(k->path, kinds[i], strlen(kinds[i])) == 0 && !strstr(kinds[i + 1], name))
                fail_msg("%s is not tested", k->path);
            free(name);
        }
}

static void what_is_missing_is_told(void **state)
{
    (void)state;
    assert_told("jwt_bearer: {}", "t.yaml:5:19: orgs[0].auth.jwt_bearer.client_id: is required\n"
                                  "t.yaml:5:19: orgs[0].auth.jwt_bearer.username: is required\n"
                                  "t.yaml:5:19: orgs[0].auth.jwt_bearer.private_key: is required, here or as "
                                  "'private_key_file'\n");
    assert_told("refresh_token: {}",
                "t.yaml:5:22: orgs[0].auth.refresh_token.client_id: is required\n"
                "t.yaml:5:22: orgs[0].auth.refresh_token.refresh_token_file: is required\n");
    assert_told(
        "password: {}",
        "t.yaml:5:17: orgs[0].auth.password.client_id: is required\n"
        "t.yaml:5:17: orgs[0].auth.password.client_secret: is required, here or as 'client_secret_file'\n"
        "t.yaml:5:17: orgs[0].auth.password.username: is required\n"
        "t.yaml:5:17: orgs[0].auth.password.password: is required, here or as 'password_file'\n");
    assert_told(
        "client_credentials: { client_id: i, client_secret: s }\n"
        "      password: { client_id: i, client_secret: s, username: u, password: p }",
        "t.yaml:6:7: orgs[0].auth.password: only one kind is possible, and 'client_credentials' is given in "
        "line 5\n");
    assert_told(
        "jwt_bearer: { client_id: id, username: u, private_key: \"${T_KEY}\", audience: login }",
        "t.yaml:5:84: orgs[0].auth.jwt_bearer.audience: must be a URL like https://login.salesforce.com, not "
        "'login'\n");
}

/* A key that cannot sign is found before the first login, and nothing of it is shown. */
static void private_keys(void **state)
{
    (void)state;
    static const char with_key[] = "jwt_bearer: { client_id: id, username: u, private_key: \"${T_BAD}\" }";
#define TOLD "t.yaml:5:62: orgs[0].auth.jwt_bearer.private_key: "
    EVP_PKEY *small = EVP_RSA_gen(1024), *curve = EVP_EC_gen("P-256");
    char *pem = private_pem(small, NULL);
    setenv("T_BAD", pem, 1);
    assert_told(with_key, TOLD "is an RSA key of 1024 bits: RS256 needs 2048 or more\n");
    free(pem);
    pem = public_pem(small);
    setenv("T_BAD", pem, 1);
    assert_told(with_key, TOLD "holds a public key; wanted is the private key that belongs to it\n");
    free(pem);
    pem = private_pem(small, "pass");
    setenv("T_BAD", pem, 1);
    assert_told(with_key,
                TOLD "is encrypted with a passphrase: give it unencrypted (openssl pkey -in FILE -out FILE), "
                     "readable by this user only\n");
    free(pem);
    pem = private_pem(curve, NULL);
    setenv("T_BAD", pem, 1);
    assert_told(with_key, TOLD "is not an RSA key: RS256 needs one (openssl genrsa -out FILE 2048)\n");
    free(pem);
    setenv("T_BAD", "-----BEGIN PRIVATE KEY-----\nS3CRETS3CRET\n-----END PRIVATE KEY-----\n", 1);
    assert_told(with_key, TOLD "holds a private key that is damaged, or of a kind OpenSSL cannot read\n");
    setenv("T_BAD", "-----BEGIN CERTIFICATE-----\nx\n", 1);
    assert_told(with_key, TOLD "holds a certificate; wanted is the private key that belongs to it\n");
    setenv("T_BAD", "S3CRET", 1);
    assert_told(with_key, TOLD "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)\n");
    setenv("T_BAD", "a\x01\nb", 1);
    assert_told(with_key, TOLD "must be lines of text, without control characters\n");
    EVP_PKEY_free(small);
    EVP_PKEY_free(curve);

    assert_told(
        "jwt_bearer: { client_id: id, username: u, private_key_file: \"${T_FOLDER}/word\" }",
        "t.yaml:5:67: orgs[0].auth.jwt_bearer.private_key_file: holds no private key in PEM form (-----BEGIN "
        "PRIVATE KEY-----)\n");
    assert_told("jwt_bearer: { client_id: id, username: u, private_key_file: \"${T_FOLDER}/none\" }",
                "t.yaml:5:67: orgs[0].auth.jwt_bearer.private_key_file: cannot read FOLDER/none: No such "
                "file or directory\n");
    /* Windows line ends, and a certificate in the same file. */
    struct buf both = BUF_INIT;
    buf_add_str(&both, "-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END CERTIFICATE-----\r\n");
    for (const char *p = key_pem; *p; p++)
        buf_add_str(&both, *p == '\n' ? "\r\n" : (const char[]){*p, '\0'});
    setenv("T_BAD", (char *)both.data, 1);
    config_free(load_good(with_key));
    buf_release(&both);
}

static void refresh_token_files(void **state)
{
    (void)state;
#define FILE_TOLD "t.yaml:5:59: orgs[0].auth.refresh_token.refresh_token_file: "
    static const struct {
        const char *name, *told;
    } cases[] = {
        {"none", FILE_TOLD "cannot read FOLDER/none: No such file or directory\n"},
        {"empty", FILE_TOLD "the file FOLDER/empty is empty\n"},
        {"lines", FILE_TOLD "the file FOLDER/lines must hold one line of text\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *auth = xasprintf("refresh_token: { client_id: id, refresh_token_file: \"${T_FOLDER}/%s\" }",
                               cases[i].name);
        assert_told(auth, cases[i].told);
        free(auth);
    }
    if (geteuid() == 0) /* root may write everywhere */
        return;
    chmod(folder, 0500);
    struct buf problems = BUF_INIT;
    struct config *c = load(refresh, &problems);
    chmod(folder, 0700);
    assert_non_null(c);
    assert_non_null(strstr((char *)problems.data, "its folder is not writable"));
    config_free(c);
    buf_release(&problems);
}

static void prints_show_no_secret(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        jwt, "password: { client_id: id, client_secret: S3CRET1, username: u, password: "
             "S3CRET2, security_token: S3CRET3 }"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct buf out = BUF_INIT;
        struct config *c = load_good(kinds[i]);
        config_print(c, &out);
        assert_null(strstr((char *)out.data, "S3CRET"));
        assert_null(strstr((char *)out.data, "PRIVATE"));
        assert_non_null(strstr((char *)out.data, i ? "security_token: \"(set)\"" : "private_key: \"(set)\""));
        assert_null(strstr((char *)out.data, "refresh_token"));
        config_free(c);
        buf_release(&out);
    }
}

static int make_files(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    key_pem = private_pem(key, NULL);
    EVP_PKEY_free(key);
    setenv("T_KEY", key_pem, 1);
    setenv("T_FOLDER", folder, 1);
    write_file("key.pem", key_pem);
    write_file("refresh", "5Aep861.refresh\n");
    write_file("word", "word\n");
    write_file("empty", "");
    write_file("lines", "a\nb\n");
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    static const char *const names[] = {"key.pem", "refresh", "word", "empty", "lines"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", folder, names[i]);
        unlink(path);
        free(path);
    }
    free(key_pem);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_arrives),    cmocka_unit_test(no_key_is_forgotten_here),
        cmocka_unit_test(what_is_missing_is_told), cmocka_unit_test(private_keys),
        cmocka_unit_test(refresh_token_files),     cmocka_unit_test(prints_show_no_secret),
    };
    return cmocka_run_group_tests_name("config_auth", tests, make_files, remove_files);
}
