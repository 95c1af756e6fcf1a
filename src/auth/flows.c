#include "auth/flow.h"

static const struct auth_flow flows[] = {
    {.kind = AUTH_CLIENT_CREDENTIALS, .name = "client_credentials", .fill = client_credentials_fill},
    {.kind = AUTH_JWT_BEARER, .name = "jwt_bearer", .fill = jwt_bearer_fill, .mend = jwt_bearer_mend},
    {.kind = AUTH_REFRESH_TOKEN,
     .name = "refresh_token",
     .fill = refresh_token_fill,
     .settle = refresh_token_settle,
     .leave = refresh_token_leave},
    {.kind = AUTH_PASSWORD, .name = "password", .counts_attempts = true, .fill = password_fill},
    {.kind = AUTH_STATIC, .name = "static", .token_from_config = true},
};

const struct auth_flow *auth_flow_find(enum auth_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(flows); i++)
        if (flows[i].kind == kind)
            return &flows[i];
    BUG("unknown kind of credentials %d", (int)kind);
}
