/*
 * log: one line per decision, to stderr.
 *
 * Every line knows its subject ("subscription accounts", "sink log", "store"). The place that decides
 * logs, once; lower layers describe in a struct err. Secrets and payloads never come here. Text for
 * people, or one JSON object per line with ts, level, subject, msg. A failure that repeats is logged
 * by its owner when it begins and when it ends, not each time.
 *
 * Calling order: log_setup once before threads start (levels may be changed later).
 * Thread: any; a line is written with one write(2), so lines do not mix. Errors: none; a stderr that
 * is gone is ignored.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/compiler.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *subject, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_error(subject, ...) log_line(LOG_LEVEL_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...)  log_line(LOG_LEVEL_WARN, subject, __VA_ARGS__)
#define log_info(subject, ...)  log_line(LOG_LEVEL_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...)                                                                              \
    do {                                                                                                     \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                                    \
            log_line(LOG_LEVEL_DEBUG, subject, __VA_ARGS__);                                                 \
    } while (0)

#endif
