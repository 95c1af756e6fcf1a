#include "auth/flow.h"

static const struct auth_flow flows[] = {
    {AUTH_CLIENT_CREDENTIALS, "client_credentials", client_credentials_fill, false},
    {AUTH_STATIC, "static", NULL, true},
    {AUTH_JWT_BEARER, "jwt_bearer", NULL, false},
    {AUTH_REFRESH_TOKEN, "refresh_token", NULL, false},
    {AUTH_PASSWORD, "password", NULL, false},
};

const struct auth_flow *auth_flow_find(enum auth_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(flows); i++)
        if (flows[i].kind == kind)
            return &flows[i];
    BUG("unknown kind of credentials %d", (int)kind);
}
