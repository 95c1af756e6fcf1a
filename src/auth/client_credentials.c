/*
 * The client credentials flow: the app logs in as itself, under the run-as user its policies name. It
 * works on the org's My Domain host only. There is no refresh token: a new login is the refresh.
 */
#include "auth/flow.h"
#include "base/http.h"

int client_credentials_fill(struct login *l, struct buf *form, struct err *e)
{
    const struct auth_config *auth = &l->org->auth;
    if (!auth->client_id || !auth->client_secret)
        return err_set(e, ERR_CONFIG, "auth", 0, "client_credentials needs client_id and client_secret");
    http_form_add(form, "grant_type", "client_credentials");
    http_form_add(form, "client_id", auth->client_id);
    http_form_add(form, "client_secret", auth->client_secret);
    return 0;
}
