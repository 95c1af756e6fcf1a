#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic int current_level = LOG_LEVEL_INFO;
static _Atomic int current_format = LOG_FORMAT_TEXT;
static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const level_labels[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};
static const char *const level_colours[] = {"\033[31m", "\033[33m", "", "\033[2m"};

void log_setup(enum log_level level, enum log_format format)
{
    current_level = level;
    current_format = format;
}

bool log_enabled(enum log_level level)
{
    return (int)level <= current_level;
}

static bool use_colour(void)
{
    static _Atomic int known; /* 0 unknown, 1 no, 2 yes */
    if (!known) {
        const char *no_color = getenv("NO_COLOR");
        known = isatty(STDERR_FILENO) && !(no_color && *no_color) ? 2 : 1;
    }
    return known == 2;
}

void log_line(enum log_level level, const char *subject, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char text[2048], stamp[25];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    clock_format_ms(clock_wall_ms(), stamp);
    struct buf line = BUF_INIT;
    if (current_format == LOG_FORMAT_JSON) {
        buf_addf(&line, "{\"ts\":\"%s\",\"level\":\"%s\",\"subject\":", stamp, level_names[level]);
        json_add_string(&line, span_of_str(subject));
        buf_add_str(&line, ",\"msg\":");
        json_add_string(&line, span_of_str(text));
        buf_add_str(&line, "}\n");
    } else {
        /* One event, one line: what comes from outside may hold line breaks. */
        for (char *p = text; *p; p++)
            if ((unsigned char)*p < 0x20)
                *p = ' ';
        const char *on = use_colour() ? level_colours[level] : "";
        buf_addf(&line, "%s%s %s %s: %s%s\n", on, stamp, level_labels[level], subject, text,
                 *on ? "\033[0m" : "");
    }
    ssize_t ignored = write(STDERR_FILENO, line.data, line.len);
    (void)ignored; /* nowhere left to say so */
    buf_release(&line);
}
