/*
 * The status for people: short tables; under a row that is not well stands why.
 */
#include "admin/status.h"

#include "base/clock.h"
#include "base/table.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static int64_t number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void duration_cell(struct table *t, int64_t seconds, const char *suffix)
{
    if (seconds < 120)
        table_cell(t, "%" PRId64 " s%s", seconds, suffix);
    else if (seconds < 120 * 60)
        table_cell(t, "%" PRId64 " min%s", seconds / 60, suffix);
    else if (seconds < 48 * 3600)
        table_cell(t, "%" PRId64 " h%s", seconds / 3600, suffix);
    else
        table_cell(t, "%" PRId64 " d%s", seconds / 86400, suffix);
}

static void add_bytes(struct buf *out, int64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t unit = 0;
    for (; v >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        v /= 1024;
    buf_addf(out, unit && v < 100 ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

/* "since …: reason" under a row; nothing when there is nothing to say. */
static void add_note(struct table *t, const json_t *o, bool bad)
{
    const char *reason = text_of(o, "reason"), *since = text_of(o, "since");
    char note[600];
    if (!bad && !*reason)
        return;
    snprintf(note, sizeof note, "%s%s%s%s%s", text_of(o, "state"), *since ? " since " : "", since,
             *reason ? ": " : "", reason);
    table_note(t, note);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static void print_table(struct table *t, bool colour, struct buf *out)
{
    table_print(t, "  ", colour, out);
    table_release(t);
}

static void add_header(const json_t *status, struct buf *out)
{
    const json_t *daemon = json_object_get(status, "daemon"), *journal = json_object_get(status, "journal");
    buf_addf(out, "tidemark %s, ", text_of(status, "version"));
    if (json_is_true(json_object_get(daemon, "running")))
        buf_addf(out, "daemon running (pid %" PRId64 ")", number_of(daemon, "pid"));
    else
        buf_add_str(out, "daemon not running");
    buf_addf(out, ", store %s", text_of(journal, "store"));
    buf_add_str(out, json_is_true(json_object_get(journal, "exists")) ? "\n" : ": there is none yet\n");
    if (json_is_false(json_object_get(daemon, "reload_success")))
        buf_addf(out, "the configuration in effect is an older one: at %s the file was refused: %s\n",
                 text_of(daemon, "reloaded_at"), text_of(daemon, "reload_reason"));
}

static void add_subscriptions(const json_t *list, bool colour, struct buf *out)
{
    static const char *const bad[] = {"backing_off", "lost_position", "paused_full", "refused", NULL};
    struct table t;
    size_t i;
    json_t *sub;
    if (json_array_size(list) == 0)
        return;
    buf_add_str(out, "\nsubscriptions\n");
    table_init(&t, "lllrrrrr");
    static const char *const heading[] = {"name",          "topic",    "state",      "position age",
                                          "last response", "received", "duplicates", "journaled"};
    for (i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&t, "%s", heading[i]);
    json_array_foreach(list, i, sub)
    {
        int64_t heard_ms;
        table_cell(&t, "%s", text_of(sub, "name"));
        table_cell(&t, "%s", text_of(sub, "topic"));
        table_cell(&t, "%s", text_of(sub, "state"));
        if (json_is_integer(json_object_get(sub, "position_age_s")))
            duration_cell(&t, number_of(sub, "position_age_s"), "");
        else
            table_cell(&t, "-");
        if (text_parse_time(text_of(sub, "last_response_at"), &heard_ms) == 0)
            duration_cell(&t, (clock_wall_ms() - heard_ms) / 1000, " ago");
        else
            table_cell(&t, "-");
        table_cell(&t, "%" PRId64, number_of(sub, "received"));
        table_cell(&t, "%" PRId64, number_of(sub, "duplicates"));
        table_cell(&t, "%" PRId64, number_of(sub, "journaled"));
        add_note(&t, sub, is_one_of(text_of(sub, "state"), bad));
    }
    print_table(&t, colour, out);
}

/* Subscriptions whose position the service keeps, too. */
static void add_managed(const json_t *list, bool colour, struct buf *out)
{
    static const char *const heading[] = {"name",     "managed as", "committed to the service",
                                          "accepted", "refused",    ""};
    struct table t;
    size_t i, n = 0;
    json_t *sub;
    json_array_foreach(list, i, sub) n += json_is_object(json_object_get(sub, "managed"));
    if (n == 0)
        return;
    buf_add_str(out, "\nmanaged subscriptions\n");
    table_init(&t, "lllrrl");
    for (i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&t, "%s", heading[i]);
    json_array_foreach(list, i, sub)
    {
        const json_t *m = json_object_get(sub, "managed");
        if (!json_is_object(m))
            continue;
        const char *committed = text_of(m, "acknowledged_replay_id");
        table_cell(&t, "%s", text_of(sub, "name"));
        table_cell(&t, "%s", text_of(m, "name"));
        table_cell(&t, "%s", *committed ? committed : "-");
        table_cell(&t, "%" PRId64, number_of(m, "commits_accepted"));
        table_cell(&t, "%" PRId64, number_of(m, "commits_refused"));
        if (*text_of(m, "commit_error"))
            table_cell(&t, "the newest was refused: %s", text_of(m, "commit_error"));
        else if (*text_of(m, "brings"))
            table_cell(&t, "brings %s, topic is %s", text_of(m, "brings"), text_of(sub, "topic"));
        else
            table_cell(&t, "%s",
                       json_is_true(json_object_get(m, "reading_beside")) ? "reading beside it" : "");
    }
    print_table(&t, colour, out);
}

static void add_journal(const json_t *journal, struct buf *out)
{
    if (!json_is_true(json_object_get(journal, "exists")))
        return;
    buf_addf(out, "\njournal\n  %" PRId64 " events", number_of(journal, "events"));
    if (number_of(journal, "events"))
        buf_addf(out, " (seq %" PRId64 " to %" PRId64 ")", number_of(journal, "oldest"),
                 number_of(journal, "head"));
    buf_add_str(out, ", ");
    add_bytes(out, number_of(journal, "bytes"));
    buf_add_str(out, " of ");
    add_bytes(out, number_of(journal, "max_bytes"));
    buf_add_str(out, " in use, ");
    add_bytes(out, number_of(journal, "free_bytes"));
    buf_add_str(out, " free on the disk\n");
}

static void add_sinks(const json_t *list, bool colour, struct buf *out)
{
    static const char *const bad[] = {"backing_off", "refused", NULL};
    struct table t;
    size_t i;
    json_t *sink;
    if (json_array_size(list) == 0)
        return;
    buf_add_str(out, "\nsinks\n");
    table_init(&t, "lllrrrrrrr");
    static const char *const heading[] = {"name",      "kind",       "state",    "cursor", "lag",
                                          "delivered", "superseded", "filtered", "parked", "retries"};
    for (i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&t, "%s", heading[i]);
    json_array_foreach(list, i, sink)
    {
        table_cell(&t, "%s", text_of(sink, "name"));
        table_cell(&t, "%s", *text_of(sink, "kind") ? text_of(sink, "kind") : "-");
        table_cell(&t, "%s", text_of(sink, "state"));
        for (size_t k = 3; k < ARRAY_LEN(heading); k++)
            table_cell(&t, "%" PRId64, number_of(sink, heading[k]));
        add_note(&t, sink, is_one_of(text_of(sink, "state"), bad));
    }
    print_table(&t, colour, out);
}

static void add_dead_letters(const json_t *list, bool colour, struct buf *out)
{
    struct table t;
    size_t i;
    json_t *group;
    if (json_array_size(list) == 0)
        return;
    buf_add_str(out, "\ndead letters ('tidemark dlq list' shows them)\n");
    table_init(&t, "lllr");
    static const char *const heading[] = {"sink", "status", "reason", "count"};
    for (i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&t, "%s", heading[i]);
    json_array_foreach(list, i, group)
    {
        for (size_t k = 0; k < 3; k++)
            table_cell(&t, "%s", text_of(group, heading[k]));
        table_cell(&t, "%" PRId64, number_of(group, "count"));
    }
    print_table(&t, colour, out);
}

static void add_incidents(const json_t *list, bool colour, struct buf *out)
{
    struct table t;
    size_t i;
    json_t *incident;
    if (json_array_size(list) == 0)
        return;
    buf_add_str(out, "\nincidents\n");
    table_init(&t, "rllllll");
    static const char *const heading[] = {"id", "subscription", "kind", "state", "policy", "since", "until"};
    for (i = 0; i < ARRAY_LEN(heading); i++)
        table_cell(&t, "%s", heading[i]);
    json_array_foreach(list, i, incident)
    {
        table_cell(&t, "%" PRId64, number_of(incident, "id"));
        for (size_t k = 1; k < ARRAY_LEN(heading); k++)
            table_cell(&t, "%s", *text_of(incident, heading[k]) ? text_of(incident, heading[k]) : "-");
        if (strcmp(text_of(incident, "state"), "open") == 0)
            table_note(&t, text_of(incident, "text"));
    }
    print_table(&t, colour, out);
}

void status_text(const json_t *status, bool colour, struct buf *out)
{
    add_header(status, out);
    add_subscriptions(json_object_get(status, "subscriptions"), colour, out);
    add_managed(json_object_get(status, "subscriptions"), colour, out);
    add_journal(json_object_get(status, "journal"), out);
    add_sinks(json_object_get(status, "sinks"), colour, out);
    add_dead_letters(json_object_get(status, "dead_letters"), colour, out);
    add_incidents(json_object_get(status, "incidents"), colour, out);
}
