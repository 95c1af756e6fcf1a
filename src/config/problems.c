#include "config/problems.h"

#include "base/alloc.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_PROBLEMS = 100 };

static void add(struct problems *ps, struct place place, char *text)
{
    if (ps->n == MOST_PROBLEMS) {
        ps->more++;
        free(text);
        return;
    }
    if (ps->n == ps->cap) {
        ps->cap = ps->cap ? 2 * ps->cap : 8;
        ps->list = xrealloc(ps->list, ps->cap * sizeof *ps->list);
    }
    ps->list[ps->n] = (struct problem){place, ps->n, text};
    ps->n++;
}

static char *compose(const char *path, const char *mark, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

static char *compose(const char *path, const char *mark, const char *fmt, va_list ap)
{
    struct buf b = BUF_INIT;
    buf_addf(&b, "%s: %s", path, mark);
    char *text;
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("cannot format a message");
    buf_add_str(&b, text);
    free(text);
    return buf_detach(&b);
}

void problem_add(struct problems *ps, struct place place, const char *path, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(ps, place, compose(path, "", fmt, ap));
    va_end(ap);
}

void problem_warn(struct problems *ps, struct place place, const char *path, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t before = ps->n;
    add(ps, place, compose(path, "warning: ", fmt, ap));
    va_end(ap);
    ps->n_warnings += ps->n - before;
}

bool problems_any(const struct problems *ps)
{
    return ps->n > ps->n_warnings;
}

bool problems_full(const struct problems *ps)
{
    return ps->n == MOST_PROBLEMS;
}

static int in_file_order(const void *left, const void *right)
{
    const struct problem *a = left, *b = right;
    if (a->place.line != b->place.line)
        return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column)
        return a->place.column < b->place.column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void problems_report(struct problems *ps, const char *file, struct buf *out)
{
    if (ps->n)
        qsort(ps->list, ps->n, sizeof *ps->list, in_file_order);
    for (size_t i = 0; i < ps->n; i++) {
        const struct problem *p = &ps->list[i];
        buf_add_str(out, file);
        if (p->place.line)
            buf_addf(out, ":%zu:%zu", p->place.line, p->place.column);
        buf_addf(out, ": %s\n", p->text);
    }
    if (ps->more)
        buf_addf(out, "%s: %zu more\n", file, ps->more);
}

void problems_release(struct problems *ps)
{
    for (size_t i = 0; i < ps->n; i++)
        free(ps->list[i].text);
    free(ps->list);
    *ps = (struct problems)PROBLEMS_INIT;
}
