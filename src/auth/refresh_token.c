/*
 * The refresh token flow: a person has granted access once, and the token in the file stands for that.
 *
 * Where the org rotates refresh tokens, each answer brings the next one and makes the last one useless. Order
 * is everything: lock the file, read it (at each login: somebody may have put a new grant there), try whether
 * the disk would take a successor, ask, write the successor, and only then use the access token. If writing
 * fails after all, the answer is not thrown away: its refresh token is the only one that is still good. It is
 * held, locked against other processes, and each further "login" is a new attempt to write it, without asking
 * the service again.
 */
#include "auth/flow.h"
#include "base/alloc.h"
#include "base/http.h"
#include "base/log.h"

#include <stdio.h>

int refresh_token_fill(struct login *l, struct buf *form, struct err *e)
{
    const struct auth_config *auth = &l->org->auth;
    if (!auth->client_id || !auth->refresh_token_file)
        return err_set(e, ERR_CONFIG, "auth", 0, "refresh_token needs client_id and refresh_token_file");
    if (token_file_take(&l->file, auth->refresh_token_file, &l->sent, e) != 0 ||
        token_file_probe(&l->file, e) != 0)
        return err_prefix(e, "auth.refresh_token");
    http_form_add(form, "grant_type", "refresh_token");
    http_form_add(form, "client_id", auth->client_id);
    if (auth->client_secret)
        http_form_add(form, "client_secret", auth->client_secret);
    http_form_add(form, "refresh_token", l->sent);
    return 0;
}

int refresh_token_settle(struct login *l, struct login_result *result, struct err *e)
{
    bool changed = false;
    if (!result->refresh_token || strcmp(result->refresh_token, l->sent) == 0)
        return 0;
    if (token_file_put(&l->file, l->sent, result->refresh_token, &changed, e) == 0)
        return 0;
    if (changed) {
        login_result_release(result); /* there is a newer grant; this one has no owner any more */
        return -1;
    }
    return err_prefix(
        e,
        "the new refresh token is not on disk yet, so the new access token is not used, and the old refresh "
        "token is worth nothing any more: make room or mend the folder while this process lives");
}

void refresh_token_leave(struct login *l)
{
    token_file_leave(&l->file);
}
