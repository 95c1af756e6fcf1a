#include "config/text_rules.h"

#include "base/text.h"
#include "config/names.h"

#include <string.h>

static const char letters_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* Between min and max characters, each a letter, a digit or one of `more`. */
static bool only(const char *text, size_t min, size_t max, const char *more)
{
    size_t n = 0;
    for (; text[n]; n++)
        if (!strchr(letters_digits, text[n]) && !strchr(more, text[n]))
            return false;
    return n >= min && n <= max;
}

static bool is_name(char *text)
{
    return only(text, 1, 64, "._-");
}

const struct text_rule rule_name = {"1 to 64 letters, digits, '.', '_' or '-'", "^[A-Za-z0-9._-]{1,64}$",
                                    is_name};

/* host:port where the port may be missing when `port_optional`. */
static bool is_host(const char *text, bool port_optional)
{
    const char *host;
    size_t n;
    int port;
    if (text_split_endpoint(text, &host, &n, &port))
        return port > 0;
    if (!port_optional)
        return false;
    size_t len = strlen(text);
    if (len > 2 && text[0] == '[' && text[len - 1] == ']')
        return strspn(text + 1, "0123456789abcdefABCDEF:.") == len - 2;
    return only(text, 1, 253, ".-_");
}

static bool is_url(char *text)
{
    size_t n = strlen(text);
    if (n && text[n - 1] == '/')
        text[--n] = '\0';
    if (strncmp(text, "https://", 8) == 0)
        return is_host(text + 8, true);
    return strncmp(text, "http://", 7) == 0 && is_host(text + 7, true);
}

const struct text_rule rule_url = {"https://HOST or https://HOST:PORT, without a path", "^https?://[^/]+/?$",
                                   is_url};

static bool is_endpoint(char *text)
{
    return is_host(text, false);
}

const struct text_rule rule_endpoint = {"HOST:PORT, without a scheme", "^[^/]+:[0-9]+$", is_endpoint};

static bool is_api_version(char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits >= 2 && digits <= 3 && strcmp(text + digits, ".0") == 0;
}

const struct text_rule rule_api_version = {"a version like \"66.0\"", "^[0-9]{2,3}\\.0$", is_api_version};

/* It goes into a header as client=NAME, where ',' and ';' have a meaning. */
static bool is_client_name(char *text)
{
    return only(text, 1, 64, "._-/");
}

const struct text_rule rule_client_name = {"1 to 64 letters, digits, '.', '_', '-' or '/'",
                                           "^[A-Za-z0-9._/-]{1,64}$", is_client_name};

static bool is_tenant_id(char *text)
{
    return only(text, 18, 18, "") && strncmp(text, "00D", 3) == 0;
}

const struct text_rule rule_tenant_id = {"the org's 18-character id, 00D…", "^00D[A-Za-z0-9]{15}$",
                                         is_tenant_id};

static bool is_topic(char *text)
{
    if (strncmp(text, "/data/", 6) == 0)
        return only(text + 6, 1, 250, "_-");
    return strncmp(text, "/event/", 7) == 0 && only(text + 7, 1, 250, "_-");
}

const struct text_rule rule_topic = {"/data/NAME or /event/NAME", "^/(data|event)/[A-Za-z0-9_-]+$", is_topic};

/* As Setup takes them; a name of a package has its namespace and two underscores in front. */
static bool is_developer_name(char *text)
{
    return only(text, 1, 97, "_") && strspn(text, "0123456789_") == 0;
}

const struct text_rule rule_developer_name = {
    "a developer name: letters, digits and '_', beginning with a letter", "^[A-Za-z][A-Za-z0-9_]{0,96}$",
    is_developer_name};

static bool is_file_path(char *text)
{
    size_t n = strlen(text);
    return n > 0 && n < 4096 && text[n - 1] != '/';
}

const struct text_rule rule_file_path = {"the path of a file", NULL, is_file_path};

static bool is_header_value(char *text)
{
    for (const char *p = text; *p; p++)
        if (*p < 0x21 || *p > 0x7e)
            return false;
    return *text != '\0';
}

const struct text_rule rule_header_value = {"printable ASCII without spaces", NULL, is_header_value};

/* A URL, perhaps with a path (a site): it is compared, never called, and so stays exactly as written. */
static bool is_audience(char *text)
{
    return (strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0) && is_header_value(text);
}

const struct text_rule rule_audience = {"a URL like https://login.salesforce.com", "^https?://", is_audience};

static bool is_entity(char *text)
{
    return only(text, 1, 80, "_") && strchr(letters_digits, text[0]);
}

const struct text_rule rule_entity = {"the API name of an entity, like Account or Order__e",
                                      "^[A-Za-z0-9][A-Za-z0-9_]{0,79}$", is_entity};

static bool is_field(char *text)
{
    char *dot = strchr(text, '.');
    if (!dot)
        return only(text, 1, 80, "_");
    *dot = '\0';
    bool ok = only(text, 1, 80, "_") && only(dot + 1, 1, 80, "_");
    *dot = '.';
    return ok;
}

const struct text_rule rule_field = {"the API name of a field, like Industry or BillingAddress.City",
                                     "^[A-Za-z0-9_]{1,80}(\\.[A-Za-z0-9_]{1,80})?$", is_field};

/* Any characters, because names are quoted, but few enough bytes for PostgreSQL and what may be added behind. */
static bool is_identifier(const char *text, size_t most)
{
    size_t n = strlen(text);
    return n > 0 && n <= most && text_is_one_line(text, n);
}

static bool is_table(char *text)
{
    return is_identifier(text, NAMES_MAX_TABLE) && strncasecmp(text, "_tidemark_", 10) != 0 &&
           strncasecmp(text, "sqlite_", 7) != 0;
}

const struct text_rule rule_table = {"1 to 52 bytes, not beginning with '_tidemark_' or 'sqlite_'",
                                     "^.{1,52}$", is_table};

static bool is_column(char *text)
{
    return is_identifier(text, NAMES_MAX_COLUMN) && !names_is_ours(text) && !names_is_system(text);
}

const struct text_rule rule_column = {
    "1 to 58 bytes, and none of " NAMES_OF_OURS ", which are filled by tidemark, nor of " NAMES_OF_POSTGRES
    ", which are PostgreSQL's own",
    "^.{1,58}$", is_column};

static bool is_value(char *text)
{
    size_t n = strlen(text);
    return n > 0 && n <= 1020 && text_is_one_line(text, n);
}

const struct text_rule rule_value = {"1 to 1020 bytes on one line", "^.{1,1020}$", is_value};

bool text_split_endpoint(const char *text, const char **host, size_t *host_len, int *port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return false;
    int64_t number;
    if (colon[1] < '0' || colon[1] > '9' || text_parse_int(colon + 1, 0, 65535, &number) != 0)
        return false;
    *port = (int)number;
    *host = text;
    *host_len = (size_t)(colon - text);
    if (text[0] == '[') {
        if (*host_len < 4 || colon[-1] != ']')
            return false;
        *host = text + 1;
        *host_len -= 2;
        return strspn(*host, "0123456789abcdefABCDEF:.") == *host_len;
    }
    for (size_t i = 0; i < *host_len; i++)
        if (!strchr(letters_digits, text[i]) && !strchr(".-_", text[i]))
            return false;
    return *host_len <= 253;
}

bool text_is_one_line(const char *text, size_t n)
{
    if (!text_is_utf8(span_of(text, n)))
        return false;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = (const unsigned char *)text + i;
        if (*p < 0x20 || *p == 0x7f)
            return false;
        /* U+0080 to U+009F, the line and paragraph separators, the byte order mark and the noncharacters
         * U+FFFE and U+FFFF: invisible, or refused by YAML when written out. */
        if (p[0] == 0xc2 && p[1] < 0xa0)
            return false;
        if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
            return false;
        if (p[0] == 0xef && ((p[1] == 0xbb && p[2] == 0xbf) || (p[1] == 0xbf && p[2] >= 0xbe)))
            return false;
    }
    return true;
}

bool text_is_lines(const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        const char *newline = memchr(text + i, '\n', n - i);
        size_t end = newline ? (size_t)(newline - text) : n;
        size_t len = end - i;
        if (newline && len && text[end - 1] == '\r')
            len--;
        if (!text_is_one_line(text + i, len))
            return false;
        i = end + 1;
    }
    return true;
}
