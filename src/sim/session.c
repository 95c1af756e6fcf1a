#include "sim/session.h"

#include "base/digest.h"
#include "base/random.h"

#include <stdio.h>

const char *session_issue(struct session *s)
{
    uint8_t secret[48];
    struct buf text = BUF_INIT;
    random_bytes(secret, sizeof secret);
    base64url_add(&text, span_of(secret, sizeof secret));
    struct buf whole = BUF_INIT;
    buf_addf(&whole, "%.15s!%s", s->org_id, (const char *)text.data);
    char *token = s->tokens[s->n_issued++ % SESSION_MAX_TOKENS];
    memcpy(token, whole.data, whole.len + 1); /* 15 + 1 + 64 characters */
    buf_release(&whole);
    buf_release(&text);
    return token;
}

void session_revoke_all(struct session *s)
{
    s->n_revoked = s->n_issued;
}

static bool token_ok(const struct session *s, struct span token)
{
    if (s->static_token[0] && span_equal_str(token, s->static_token))
        return true;
    unsigned oldest = s->n_issued > SESSION_MAX_TOKENS ? s->n_issued - SESSION_MAX_TOKENS : 0;
    for (unsigned i = oldest > s->n_revoked ? oldest : s->n_revoked; i < s->n_issued; i++)
        if (span_equal_str(token, s->tokens[i % SESSION_MAX_TOKENS]))
            return true;
    return false;
}

static bool url_equal(struct span given, const char *expected)
{
    if (given.n && given.p[given.n - 1] == '/')
        given.n--;
    return span_equal_str(given, expected);
}

static bool is_blank(struct span s)
{
    return !s.p || !s.n;
}

enum session_verdict session_check(const struct session *s, struct span access_token,
                                   struct span instance_url, struct span tenant_id)
{
    if (is_blank(access_token) || is_blank(tenant_id) || is_blank(instance_url) || instance_url.n < 8 ||
        memcmp(instance_url.p, "http", 4) != 0)
        return SESSION_HEADERS_INVALID;
    char short_id[16]; /* the 15-character form means the same org */
    snprintf(short_id, sizeof short_id, "%.15s", s->org_id);
    bool tenant = span_equal_str(tenant_id, s->org_id) || span_equal_str(tenant_id, short_id);
    if (!tenant || !url_equal(instance_url, s->instance_url) || !token_ok(s, access_token))
        return SESSION_REFUSED;
    return SESSION_OK;
}

bool session_client_ok(const struct session *s, struct span client_id, struct span client_secret)
{
    return span_equal_str(client_id, s->client_id) && span_equal_str(client_secret, s->client_secret);
}
