#include "sink/mirror.h"

#include "base/clock.h"
#include "sink/mirrors.h"

#include <stdio.h>
#include <string.h>

static const struct mirror_ops *const mirrors[] = {
    [SINK_KIND_SQLITE] = &mirror_sqlite_ops,
    [SINK_KIND_POSTGRES] = &mirror_postgres_ops,
};

const struct mirror_ops *mirror_ops_of(enum sink_kind kind)
{
    return (size_t)kind < ARRAY_LEN(mirrors) ? mirrors[kind] : NULL;
}

static const char *const type_names[] = {
    [MIRROR_TEXT] = "text",     [MIRROR_BOOLEAN] = "boolean",   [MIRROR_BIGINT] = "bigint",
    [MIRROR_DOUBLE] = "double", [MIRROR_DATETIME] = "datetime", [MIRROR_DATE] = "date",
    [MIRROR_TIME] = "time",     [MIRROR_JSON] = "json",
};

const char *mirror_type_name(enum mirror_type type)
{
    BUG_IF((size_t)type >= ARRAY_LEN(type_names));
    return type_names[type];
}

bool mirror_type_of_name(struct span name, enum mirror_type *out)
{
    for (size_t i = 0; i < ARRAY_LEN(type_names); i++)
        if (span_equal_str(name, type_names[i])) {
            *out = (enum mirror_type)i;
            return true;
        }
    return false;
}

const struct mirror_field *mirror_find_field(const struct mirror_table *table,
                                             const struct mirror_source *source,
                                             const struct mirror_field *fields, size_t n)
{
    const char *column = table->columns[source->column].name;
    const struct mirror_field *found = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct mirror_field *f = &fields[i];
        if (!span_equal_str(f->column, column) || !span_equal_str(f->field, source->field))
            continue;
        if (span_equal_str(f->field_id, source->field_id))
            return f;
        if (f->field_id.n == 0 || !*source->field_id)
            found = f;
    }
    return found;
}

static void add_quoted(struct buf *out, struct span text, char quote)
{
    buf_add_char(out, quote);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == (uint8_t)quote)
            buf_add_char(out, quote);
        buf_add_char(out, (char)text.p[i]);
    }
    buf_add_char(out, quote);
}

void mirror_add_identifier(struct buf *out, const char *name)
{
    add_quoted(out, span_of_str(name), '"');
}

void mirror_say_twin(const struct mirror_table *table, char *out, size_t n)
{
    snprintf(
        out, n,
        "another event has this id, and is the row: the key is \"%s\" alone; (\"%s\", \"" MIRROR_HASH_COLUMN
        "\") holds both",
        table->key, table->key);
}

void mirror_add_literal(struct buf *out, struct span text)
{
    add_quoted(out, text, '\'');
}

enum { DAY_MS = 86400000 };
/* 0001-01-01 and the last millisecond of 9999-12-31, since 1970. */
static const int64_t first_ms = -62135596800000, last_ms = 253402300799999;

bool mirror_time_text(const struct mirror_value *value, char out[MIRROR_TIME_ROOM])
{
    int64_t n = value->as.integer;
    char text[25];
    switch (value->type) {
    case MIRROR_DATETIME:
        if (n < first_ms || n > last_ms)
            return false;
        clock_format_ms(n, out);
        return true;
    case MIRROR_DATE:
        if (n < first_ms / DAY_MS || n > last_ms / DAY_MS)
            return false;
        clock_format_ms(n * DAY_MS, text);
        snprintf(out, MIRROR_TIME_ROOM, "%.10s", text);
        return true;
    case MIRROR_TIME:
        if (n < 0 || n >= DAY_MS)
            return false;
        clock_format_ms(n, text);
        snprintf(out, MIRROR_TIME_ROOM, "%.12s", text + 11);
        return true;
    default:
        BUG("a %s is no time", mirror_type_name(value->type));
    }
}

void mirror_add_findings(struct buf *findings, const char *how, const struct buf *lines)
{
    const char *line = (const char *)lines->data;
    while (line && *line) {
        size_t n = strcspn(line, "\n");
        buf_addf(findings, "%s: %.*s\n", how, (int)n, line);
        line += n + (line[n] == '\n');
    }
}
