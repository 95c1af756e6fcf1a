#include "cli/order.h"

#include "admin/server.h"
#include "base/exit_code.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void add_escaped(struct buf *b, const char *text)
{
    for (; *text; text++)
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            buf_add_char(b, *text);
        else
            buf_addf(b, "%%%02X", (unsigned char)*text);
}

void order_begin(struct order *o, const char *path)
{
    o->path = (struct buf)BUF_INIT;
    buf_add_str(&o->path, path);
}

void order_argument(struct order *o, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    bool first = !memchr(o->path.data, '?', o->path.len);
    buf_addf(&o->path, "%c%s=", first ? '?' : '&', name);
    add_escaped(&o->path, value);
}

int order_send(struct order *o, const struct config *config, int *code)
{
    struct buf body = BUF_INIT;
    struct err e = ERR_INIT;
    int http = admin_request(config->store.path, "POST", (char *)o->path.data, &body, &e);
    if (http >= 0) {
        if (body.len)
            fwrite(body.data, 1, body.len, http == 200 ? stdout : stderr);
        *code = http == 200 ? EXIT_OK : http == 400 ? EXIT_USAGE : EXIT_STORE;
    }
    buf_release(&body);
    return http < 0 ? -1 : 0;
}

void order_release(struct order *o)
{
    buf_release(&o->path);
}
