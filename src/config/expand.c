#include "config/expand.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "config/text_rules.h"

#include <stdlib.h>

enum { MOST_SECRET = 64 << 10, MOST_TEXT = 64 << 10 };

static const char name_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

/* What stands between the braces: NAME or NAME:-default. -1 with *why. */
static int add_variable(struct buf *out, struct span inside, char **why)
{
    char *name = xmemdupz(inside.p, inside.n);
    size_t n = strspn(name, name_chars);
    const char *fallback = strncmp(name + n, ":-", 2) == 0 ? name + n + 2 : NULL;
    int rc = -1;
    if (n == 0 || (name[0] >= '0' && name[0] <= '9') || (name[n] && !fallback)) {
        *why = xstrdup("'${' is followed by NAME} or NAME:-default}; a literal '${' is written '$${'");
        goto out;
    }
    name[n] = '\0';
    const char *value = getenv(name);
    if (fallback && (!value || !*value))
        value = fallback;
    if (!value) {
        *why = xasprintf("the environment variable %s is not set", name);
        goto out;
    }
    buf_add_str(out, value);
    rc = 0;
out:
    wipe(name, inside.n);
    free(name);
    return rc;
}

static bool has_form(const struct buf *b, enum expand_form form)
{
    const char *text = (const char *)b->data;
    return form == EXPAND_LINES ? text_is_lines(text, b->len) : text_is_one_line(text, b->len);
}

char *expand_text(struct span text, enum expand_form form, char **why)
{
    struct buf out = BUF_INIT;
    size_t i = 0;
    buf_reserve(&out, text.n);
    while (i < text.n) {
        size_t left = text.n - i;
        if (left >= 3 && memcmp(text.p + i, "$${", 3) == 0) {
            buf_add_str(&out, "${");
            i += 3;
        } else if (left >= 2 && memcmp(text.p + i, "${", 2) == 0) {
            const uint8_t *end = memchr(text.p + i, '}', left);
            if (!end) {
                *why = xstrdup("'${' without '}'; a literal '${' is written '$${'");
                goto fail;
            }
            if (add_variable(&out, span_of(text.p + i + 2, (size_t)(end - text.p) - i - 2), why) != 0)
                goto fail;
            i = (size_t)(end - text.p) + 1;
        } else {
            buf_add_char(&out, (char)text.p[i++]);
        }
        if (out.len > MOST_TEXT) {
            *why = xasprintf("longer than %d bytes", MOST_TEXT);
            goto fail;
        }
    }
    if (!has_form(&out, form)) {
        *why = xasprintf("must be %s of text, without control characters", form == EXPAND_LINES ? "lines" : "one line");
        goto fail;
    }
    return buf_detach(&out);
fail:
    wipe(out.data, out.len);
    buf_release(&out);
    return NULL;
}

char *expand_secret_file(const char *path, enum expand_form form, char **why)
{
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT;
    if (file_read(path, MOST_SECRET, &b, &e) != 0) {
        *why = xstrdup(e.text);
        goto fail;
    }
    if (b.len && b.data[b.len - 1] == '\n')
        b.len--;
    if (b.len && b.data[b.len - 1] == '\r')
        b.len--;
    if (b.len == 0) {
        *why = xasprintf("the file %s is empty", path);
        goto fail;
    }
    if (!has_form(&b, form)) {
        *why = xasprintf("the file %s must hold %s of text", path, form == EXPAND_LINES ? "lines" : "one line");
        goto fail;
    }
    b.data[b.len] = '\0';
    return buf_detach(&b);
fail:
    wipe(b.data, b.len);
    buf_release(&b);
    return NULL;
}
