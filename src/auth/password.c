/*
 * The username-password flow: for orgs that offer nothing else. The security token goes behind the
 * password, without anything between them. The service counts wrong passwords against the user: see
 * breaker.h.
 */
#include "auth/flow.h"
#include "base/alloc.h"
#include "base/http.h"

int password_fill(struct login *l, struct buf *form, struct err *e)
{
    const struct auth_config *auth = &l->org->auth;
    if (!auth->client_id || !auth->client_secret || !auth->username || !auth->password)
        return err_set(e, ERR_CONFIG, "auth", 0,
                       "password needs client_id, client_secret, username and password");
    char *both = xasprintf("%s%s", auth->password, auth->security_token ? auth->security_token : "");
    http_form_add(form, "grant_type", "password");
    http_form_add(form, "client_id", auth->client_id);
    http_form_add(form, "client_secret", auth->client_secret);
    http_form_add(form, "username", auth->username);
    http_form_add(form, "password", both);
    wipe(both, strlen(both));
    free(both);
    return 0;
}
