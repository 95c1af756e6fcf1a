/* Reading what the token endpoint says. The bytes are hostile until checked. */
#include "auth/login.h"
#include "base/alloc.h"

#include <jansson.h>
#include <stdio.h>

enum { LONGEST_TOKEN = 16 * 1024, LONGEST_INSTANCE_URL = 1024 };

/* Goes out as call metadata: visible ASCII, nothing else. */
static bool fits_metadata(const char *s, size_t longest)
{
    size_t n = strlen(s);
    if (n == 0 || n > longest)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    return true;
}

static bool is_id_text(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= 'a' && s[i] <= 'z')))
            return false;
    return true;
}

/* Characters 16 to 18 of an id say which of the first 15 are capitals, five to a character. */
static void complete_id(char id[19])
{
    for (int group = 0; group < 3; group++) {
        unsigned bits = 0;
        for (int i = 0; i < 5; i++) {
            char c = id[group * 5 + i];
            if (c >= 'A' && c <= 'Z')
                bits |= 1u << i;
        }
        id[15 + group] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits];
    }
    id[18] = '\0';
}

bool login_tenant_of(const char *id_url, char tenant[19])
{
    const char *path = strstr(id_url, "://");
    const char *slash = path ? strchr(path + 3, '/') : NULL;
    if (!slash)
        return false;
    const char *end = id_url + strlen(id_url);
    while (end > slash && end[-1] == '/')
        end--;
    /* Back over the last segment (the user), then take the one before it (the org). */
    const char *user = end;
    while (user > slash && user[-1] != '/')
        user--;
    if (user == end || user <= slash + 1)
        return false;
    const char *org_end = user - 1, *org = org_end;
    while (org > slash && org[-1] != '/')
        org--;
    size_t n = (size_t)(org_end - org);
    if ((n != 15 && n != 18) || strncmp(org, "00D", 3) != 0 || !is_id_text(org, n))
        return false;
    memcpy(tenant, org, n);
    tenant[n] = '\0';
    if (n == 15)
        complete_id(tenant);
    return true;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static json_t *parse(struct span body)
{
    json_t *object = body.n ? json_loadb((const char *)body.p, body.n, 0, NULL) : NULL;
    if (object && !json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static void wipe_member(json_t *object, const char *key)
{
    json_t *held = json_object_get(object, key);
    if (json_is_string(held))
        wipe((char *)(uintptr_t)json_string_value(held), json_string_length(held));
}

int login_read_token(struct span body, struct login_result *result, struct err *e)
{
    *result = (struct login_result){0};
    json_t *object = parse(body);
    if (!object)
        return err_set(e, ERR_RETRY, "auth", 200,
                       "the login answer is not JSON (a proxy or a maintenance page?)");
    const char *token = text_of(object, "access_token");
    const char *url = text_of(object, "instance_url");
    const char *id = text_of(object, "id");
    const char *new_refresh = text_of(object, "refresh_token");
    const char *missing = !*token ? "access_token" : !*url ? "instance_url" : !*id ? "id" : NULL;
    int rc = -1;
    if (missing) {
        err_set(e, ERR_RETRY, "auth", 200, "the login answer has no %s", missing);
    } else if (!fits_metadata(token, LONGEST_TOKEN)) {
        err_set(e, ERR_RETRY, "auth", 200,
                "the login answer's access_token is not usable (length or characters)");
    } else if (!fits_metadata(url, LONGEST_INSTANCE_URL) ||
               (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)) {
        err_set(e, ERR_RETRY, "auth", 200, "the login answer's instance_url is not a URL");
    } else if (!login_tenant_of(id, result->tenant_id)) {
        err_set(e, ERR_RETRY, "auth", 200, "the login answer's id is not https://HOST/id/ORG-ID/USER-ID");
    } else if (*new_refresh && !fits_metadata(new_refresh, LONGEST_TOKEN)) {
        err_set(e, ERR_RETRY, "auth", 200,
                "the login answer's refresh_token is not usable (length or characters)");
    } else {
        size_t n = strlen(url);
        while (n > 8 && url[n - 1] == '/')
            n--;
        result->access_token = xstrdup(token);
        result->instance_url = xmemdupz(url, n);
        result->refresh_token = *new_refresh ? xstrdup(new_refresh) : NULL;
        rc = 0;
    }
    wipe_member(object, "access_token");
    wipe_member(object, "refresh_token");
    json_decref(object);
    return rc;
}

/* For a message to people: no control characters, no end. */
static void copy_words(const char *from, char *to, size_t size)
{
    size_t n = 0;
    for (; from[n] && n + 1 < size; n++)
        to[n] = (unsigned char)from[n] < ' ' ? ' ' : from[n];
    to[n] = '\0';
}

bool login_read_refusal(struct span body, struct login_words *words)
{
    json_t *object = parse(body);
    *words = (struct login_words){0};
    if (!object)
        return false;
    copy_words(text_of(object, "error"), words->error, sizeof words->error);
    copy_words(text_of(object, "error_description"), words->description, sizeof words->description);
    json_decref(object);
    return words->error[0] != '\0';
}
