#include "auth/memory.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"

enum { LONGEST_TOKEN_FILE = 64 << 10 };

static void add(struct buf *b, const char *text)
{
    if (text)
        buf_add_str(b, text);
    buf_add_char(b, '\0'); /* where one ends and the next begins counts, too */
}

uint16_t auth_memory_credentials(const struct org_config *org)
{
    const struct auth_config *a = &org->auth;
    struct buf all = BUF_INIT, token = BUF_INIT;
    uint8_t digest[32];
    (void)buf_reserve(&all, LONGEST_TOKEN_FILE); /* growing would leave copies behind */
    const char *const texts[] = {org->login_url, a->client_id,      a->client_secret, a->username,
                                 a->password,    a->security_token, a->private_key,   a->audience};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        add(&all, texts[i]);
    if (a->refresh_token_file && file_read(a->refresh_token_file, LONGEST_TOKEN_FILE, &token, NULL) == 0)
        buf_add_span(&all, buf_span(&token));
    digest_sha256(buf_span(&all), digest);
    wipe(token.data, token.len);
    wipe(all.data, all.len);
    buf_release(&token);
    buf_release(&all);
    return (uint16_t)(digest[0] << 8 | digest[1]);
}

void auth_memory_move(struct breaker *b, int64_t ahead_ms, int64_t now_ms)
{
    for (unsigned i = 0; i < BREAKER_PER_HOUR; i++) {
        b->refused_ms[i] += ahead_ms;
        if (b->refused_ms[i] > now_ms)
            b->refused_ms[i] = now_ms;
    }
}
