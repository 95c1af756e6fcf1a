#include "base/text.h"
#include "sink/sqlite/sqlite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

const char *sqlite_type_name(enum mirror_type type)
{
    switch (type) {
    case MIRROR_BOOLEAN:
    case MIRROR_BIGINT:
        return "INTEGER";
    case MIRROR_DOUBLE:
        return "REAL";
    default:
        return "TEXT";
    }
}

/*
 * Bound without a copy: whatever is bound lives until the statement was stepped, and the statement is bound anew
 * before it is stepped again. The calls fail only for an index that does not exist, or without memory.
 */
static void bound(int code)
{
    if (code != SQLITE_OK)
        BUG("a parameter cannot be bound: %s", sqlite3_errstr(code));
}

void sqlite_bind_span(sqlite3_stmt *stmt, int at, struct span s)
{
    bound(sqlite3_bind_text64(stmt, at, s.n ? (const char *)s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8));
}

void sqlite_bind_bytes(sqlite3_stmt *stmt, int at, struct span s)
{
    bound(sqlite3_bind_blob64(stmt, at, s.n ? (const void *)s.p : "", s.n, SQLITE_STATIC));
}

bool sqlite_bind_value(sqlite3_stmt *stmt, int at, const struct mirror_value *value, const char **why)
{
    char time[MIRROR_TIME_ROOM];
    if (value->is_null) {
        bound(sqlite3_bind_null(stmt, at));
        return true;
    }
    switch (value->type) {
    case MIRROR_TEXT:
    case MIRROR_JSON:
        if (value->as.text.n > INT32_MAX / 2) {
            *why = "longer than SQLite can hold";
            return false;
        }
        sqlite_bind_span(stmt, at, value->as.text);
        return true;
    case MIRROR_BOOLEAN:
    case MIRROR_BIGINT:
        bound(sqlite3_bind_int64(stmt, at, value->as.integer));
        return true;
    case MIRROR_DOUBLE:
        if (isnan(value->as.number)) { /* it would become NULL without a word */
            *why = "not a number (NaN), which SQLite cannot hold";
            return false;
        }
        bound(sqlite3_bind_double(stmt, at, value->as.number));
        return true;
    case MIRROR_DATETIME:
    case MIRROR_DATE:
    case MIRROR_TIME:
        if (!mirror_time_text(value, time)) {
            *why = "outside the years 1 to 9999, or not within a day";
            return false;
        }
        bound(sqlite3_bind_text(stmt, at, time, -1, SQLITE_TRANSIENT));
        return true;
    }
    BUG("no type %d", (int)value->type);
}

struct span sqlite_column_span(sqlite3_stmt *stmt, int at)
{
    const void *p = sqlite3_column_blob(stmt, at); /* bytes of a text are those of its UTF-8 */
    return span_of(p, (size_t)sqlite3_column_bytes(stmt, at));
}

struct span sqlite_column_copy(sqlite3_stmt *stmt, int at, struct arena *a)
{
    return arena_copy(a, sqlite_column_span(stmt, at));
}

bool sqlite_parse_time(struct span text, int64_t *ms)
{
    char plain[48];
    if (text.n < 10 || text.n >= sizeof plain - 16)
        return false;
    snprintf(plain, sizeof plain, "%.*s", SPAN_ARG(text));
    if (text.n == 10) {
        snprintf(plain + 10, sizeof plain - 10, "T00:00:00Z");
    } else if (plain[10] == ' ') {
        plain[10] = 'T';
        if (!strpbrk(plain + 11, "Z+-"))
            snprintf(plain + text.n, sizeof plain - text.n, "Z");
    }
    return text_parse_time(plain, ms) == 0;
}

/* Text of a time column; what somebody else wrote there may be no time. */
static bool read_time(sqlite3_stmt *stmt, int at, enum mirror_type type, int64_t *out)
{
    char text[48];
    int64_t ms;
    struct span found = sqlite_column_span(stmt, at);
    if (sqlite3_column_type(stmt, at) != SQLITE_TEXT)
        return false;
    if (type == MIRROR_TIME) {
        int n = snprintf(text, sizeof text, "1970-01-01T%.*s%s", found.n < 20 ? (int)found.n : 20,
                         (const char *)found.p, found.n && found.p[found.n - 1] == 'Z' ? "" : "Z");
        found = span_of(text, (size_t)n);
    }
    if (!sqlite_parse_time(found, &ms))
        return false;
    int64_t days = ms / 86400000 - (ms % 86400000 < 0);
    *out = type == MIRROR_DATE ? days : ms;
    return true;
}

void sqlite_read_value(sqlite3_stmt *stmt, int at, enum mirror_type type, struct arena *a,
                       struct mirror_value *out)
{
    *out = (struct mirror_value){.is_null = true, .type = type};
    if (sqlite3_column_type(stmt, at) == SQLITE_NULL)
        return;
    out->is_null = false;
    switch (type) {
    case MIRROR_BOOLEAN:
    case MIRROR_BIGINT:
        out->as.integer = sqlite3_column_int64(stmt, at);
        break;
    case MIRROR_DOUBLE:
        out->as.number = sqlite3_column_double(stmt, at);
        break;
    case MIRROR_DATETIME:
    case MIRROR_DATE:
    case MIRROR_TIME:
        out->is_null = !read_time(stmt, at, type, &out->as.integer);
        break;
    default: {
        const unsigned char *text = sqlite3_column_text(stmt, at); /* before its length */
        out->as.text = arena_copy(a, span_of(text, (size_t)sqlite3_column_bytes(stmt, at)));
    }
    }
}

void sqlite_add_value(const struct mirror_value *value, struct buf *out)
{
    char time[MIRROR_TIME_ROOM];
    if (value->is_null) {
        buf_add_str(out, "NULL");
        return;
    }
    switch (value->type) {
    case MIRROR_TEXT:
    case MIRROR_JSON:
        mirror_add_literal(out, value->as.text);
        return;
    case MIRROR_BOOLEAN:
    case MIRROR_BIGINT:
        buf_addf(out, "%" PRId64, value->as.integer);
        return;
    case MIRROR_DOUBLE:
        if (isinf(value->as.number))
            buf_add_str(out, value->as.number > 0 ? "9e999" : "-9e999");
        else
            buf_addf(out, "%.17g", value->as.number);
        return;
    default:
        mirror_add_literal(out, span_of_str(mirror_time_text(value, time) ? time : "(out of range)"));
    }
}
