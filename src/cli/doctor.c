/*
 * tidemark doctor: the configuration against the real things, and what to do about what is found.
 */
#include "cli/doctor.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/look.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const level_names[] = {[FINDING_OK] = "ok", [FINDING_WARNING] = "warning", [FINDING_BAD] = "bad"};

/* Paths and messages may hold any bytes; JSON takes UTF-8 alone, and a line is one line. */
static char *clean(const char *text)
{
    char *copy = xstrdup(text);
    const bool is_utf8 = text_is_utf8(span_of_str(text));
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
        else if ((unsigned char)*p >= 0x80 && !is_utf8)
            *p = '?';
    return copy;
}

static void add(struct doctor *d, const struct finding *kind, const char *subject, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

static void add(struct doctor *d, const struct finding *kind, const char *subject, const char *fmt, va_list ap)
{
    char text[2048];
    vsnprintf(text, sizeof text, fmt, ap);
    d->findings = xrealloc(d->findings, (d->n + 1) * sizeof *d->findings);
    d->findings[d->n] = *kind;
    d->findings[d->n].subject = clean(subject);
    d->findings[d->n++].text = clean(text);
}

void doctor_good(struct doctor *d, const char *check, const char *subject, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(d, &(struct finding){.level = FINDING_OK, .check = check}, subject, fmt, ap);
    va_end(ap);
}

void doctor_warn(struct doctor *d, const char *check, const char *subject, const char *advice, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(d, &(struct finding){.level = FINDING_WARNING, .check = check, .advice = advice}, subject, fmt, ap);
    va_end(ap);
}

void doctor_bad(struct doctor *d, int exit_code, const char *check, const char *subject, const char *advice, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(d, &(struct finding){.level = FINDING_BAD, .exit_code = exit_code, .check = check, .advice = advice}, subject, fmt, ap);
    va_end(ap);
}

void doctor_release(struct doctor *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->findings[i].subject);
        free(d->findings[i].text);
    }
    free(d->findings);
}

/* --- printing ------------------------------------------------------------------------------------- */

static void add_string(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, ",\"%s\":", key);
    if (value)
        json_add_string(b, span_of_str(value));
    else
        buf_add_str(b, "null");
}

static void add_json(struct buf *b, const struct finding *f)
{
    buf_addf(b, "{\"level\":\"%s\"", level_names[f->level]);
    add_string(b, "check", f->check);
    add_string(b, "subject", f->subject);
    add_string(b, "text", f->text);
    add_string(b, "advice", f->advice);
    buf_addf(b, ",\"exit_code\":%d}\n", f->exit_code);
}

static void add_line(struct buf *b, const struct finding *f)
{
    static const char *const colours[] = {[FINDING_OK] = "\033[32m", [FINDING_WARNING] = "\033[33m", [FINDING_BAD] = "\033[31m"};
    const bool colour = look_has_colour();
    buf_addf(b, "%s%-7s%s  %-6s %s: %s\n", colour ? colours[f->level] : "", level_names[f->level], colour ? "\033[0m" : "", f->check,
             f->subject, f->text);
    if (f->advice)
        buf_addf(b, "         -> %s\n", f->advice);
}

/* The lowest code found: what it names stands before what the higher ones name. */
static int print(const struct doctor *d, bool json)
{
    struct buf out = BUF_INIT;
    int code = EXIT_OK;
    for (size_t i = 0; i < d->n; i++) {
        const struct finding *f = &d->findings[i];
        (json ? add_json : add_line)(&out, f);
        if (f->level == FINDING_BAD && (code == EXIT_OK || f->exit_code < code))
            code = f->exit_code;
    }
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
    return cli_finish_output(code);
}

int cli_doctor(const struct command *self, int argc, char **argv)
{
    enum { JSON = 1 };
    static const struct option own[] = {{"json", no_argument, NULL, JSON}, {0}};
    struct common_options common;
    bool json = false;
    cli_common_init(&common);
    while (cli_next_option(self, &common, argc, argv, "", own) != -1)
        json = true;
    if (optind < argc)
        cli_usage_error(self, "unexpected argument '%s'", argv[optind]);
    struct config *config = cli_load_config(&common, CONFIG_NO_SINKS_NEEDED);
    if (!config)
        return EXIT_USAGE;
    struct doctor d = {.config = config};
    doctor_store(&d);
    doctor_sinks(&d);
    doctor_orgs(&d);
    int code = print(&d, json);
    doctor_release(&d);
    config_free(config);
    return code;
}
