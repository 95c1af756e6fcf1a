/*
 * One value on its way to its column: clean, map, convert, limit.
 *
 * Each step succeeds or says why not; what then happens (parked, null, cut) is the configuration's, in
 * coerce(). A conversion either keeps what the value says or refuses: a number that would be rounded, a date
 * that is not a midnight, a text with a NUL are refused. A text becomes the nearest double, as everywhere.
 */
#include "delivery/map_parts.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/text.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct job {
    const struct map_rule *rule;
    struct arena *a;
    struct mirror_value *out;
    struct err *why;
    const char **refused; /* the rule that refused the conversion: static text */
};

/* --- saying why --------------------------------------------------------------------------------------- */

/* What was found, short: the beginning of a text in quotes, a number, or the kind of anything larger. */
static void add_found(struct buf *b, const struct cell *cell)
{
    static const char *const kinds[] = {
        [CELL_BYTES] = "bytes", [CELL_RECORD] = "a record", [CELL_ARRAY] = "a list", [CELL_MAP] = "a map"};
    enum { SHOWN = 60 };
    bool cut = false;
    switch (cell->type) {
    case CELL_NULL:
        buf_add_str(b, "null");
        return;
    case CELL_BOOLEAN:
        buf_add_str(b, cell->as.boolean ? "true" : "false");
        return;
    case CELL_INT:
        json_add_int(b, cell->as.integer);
        return;
    case CELL_DOUBLE:
        json_add_double(b, cell->as.number);
        return;
    case CELL_STRING:
        json_add_string(b, clean_cut(cell->as.bytes, SHOWN, &cut));
        if (cut)
            buf_add_str(b, "…");
        return;
    default:
        buf_add_str(b, kinds[cell->type]);
    }
}

static void say_refused(const struct job *j, const struct cell *found, const char *rule, const char *what)
{
    struct buf b = BUF_INIT;
    add_found(&b, found);
    (void)err_set(j->why, ERR_REJECTED, "map", 0, "%s.%s: %s: %s %s", j->rule->entity, j->rule->field, rule,
                  (char *)b.data, what);
    buf_release(&b);
}

/* `rule` is static text. */
static bool refuse(const struct job *j, const struct cell *found, const char *rule, const char *what)
{
    *j->refused = rule;
    say_refused(j, found, rule, what);
    return false;
}

/* --- texts of values ------------------------------------------------------------------------------------ */

static bool set_text(const struct job *j, struct span text)
{
    j->out->as.text = text;
    return true;
}

static bool set_integer(const struct job *j, int64_t v)
{
    j->out->as.integer = v;
    return true;
}

static struct span take(const struct job *j, struct buf *b)
{
    struct span s = arena_copy(j->a, buf_span(b));
    buf_release(b);
    return s;
}

/* Every whole number up to 2^53 is a double. */
static const double two_53 = 9007199254740992.0, two_63 = 9223372036854775808.0;

static bool whole_double(double v, int64_t *out)
{
    if (!(v >= -two_63 && v < two_63) || v != trunc(v))
        return false;
    *out = (int64_t)v;
    return true;
}

/* The value as one text, as a text column or the left side of a value map sees it. */
static bool text_of(const struct job *j, const struct cell *cell, struct span *out)
{
    if (cell->type == CELL_STRING) {
        *out = cell->as.bytes;
        return true;
    }
    struct buf b = BUF_INIT;
    bool ok = true;
    int64_t whole;
    if (cell->type == CELL_DOUBLE && fabs(cell->as.number) <= two_53 &&
        whole_double(cell->as.number, &whole)) {
        json_add_int(&b, whole); /* 3, not 3.0 */
    } else if (cell->type == CELL_INT && j->rule->kind != FIELD_PLAIN) {
        ok = texts_add_moment(&b, j->rule->kind, cell->as.integer);
    } else if (cell->type == CELL_BYTES) {
        base64_add(&b, cell->as.bytes);
    } else if (cell->type != CELL_ARRAY || !texts_add_joined(&b, cell)) {
        buf_clear(&b);
        ok = texts_add_json(&b, cell, j->rule->kind);
    }
    *out = take(j, &b);
    return ok;
}

/* --- types ---------------------------------------------------------------------------------------------- */

static bool to_text(const struct job *j, const struct cell *cell)
{
    struct span text;
    if (!text_of(j, cell, &text))
        return refuse(j, cell, "type text", "cannot be written as text");
    if (texts_has_nul(text))
        return refuse(j, cell, "type text", "holds a NUL, which no database keeps in a text");
    return set_text(j, text);
}

static bool is_one_of(struct span text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(words[i]) == text.n && strncasecmp((const char *)text.p, words[i], text.n) == 0)
            return true;
    return false;
}

static bool to_boolean(const struct job *j, const struct cell *cell)
{
    static const char *const yes[] = {"true", "1", "yes", "y", "on"};
    static const char *const no[] = {"false", "0", "no", "n", "off"};
    if (cell->type == CELL_BOOLEAN)
        return set_integer(j, cell->as.boolean);
    if (cell->type == CELL_INT && j->rule->kind == FIELD_PLAIN &&
        (cell->as.integer == 0 || cell->as.integer == 1))
        return set_integer(j, cell->as.integer);
    if (cell->type == CELL_DOUBLE && (cell->as.number == 0 || cell->as.number == 1))
        return set_integer(j, cell->as.number == 1);
    if (cell->type == CELL_STRING) {
        struct span text = clean_trim(cell->as.bytes);
        if (is_one_of(text, yes, ARRAY_LEN(yes)))
            return set_integer(j, 1);
        if (is_one_of(text, no, ARRAY_LEN(no)))
            return set_integer(j, 0);
    }
    return refuse(j, cell, "type boolean", "is neither true nor false, yes nor no, 1 nor 0");
}

/* "-12.50e3" and nothing else, NUL-terminated in the arena; *whole: no '.', no exponent. */
static const char *number_text(const struct job *j, struct span text, bool *whole)
{
    text = clean_trim(text);
    size_t i = text.n && (text.p[0] == '-' || text.p[0] == '+'), n_digits = 0;
    *whole = true;
    for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
        n_digits++;
    if (i < text.n && text.p[i] == '.') {
        *whole = false;
        for (i++; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
            n_digits++;
    }
    if (n_digits && i < text.n && (text.p[i] == 'e' || text.p[i] == 'E')) {
        *whole = false;
        i++;
        i += i < text.n && (text.p[i] == '-' || text.p[i] == '+');
        size_t begin = i;
        while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9')
            i++;
        if (i == begin)
            return NULL;
    }
    return n_digits && i == text.n ? arena_strndup(j->a, text.p, text.n) : NULL;
}

static bool to_bigint(const struct job *j, const struct cell *cell)
{
    static const char rule[] = "type integer";
    int64_t v;
    bool whole;
    if (cell->type == CELL_BOOLEAN)
        return set_integer(j, cell->as.boolean);
    if (cell->type == CELL_INT)
        return set_integer(j, cell->as.integer);
    if (cell->type == CELL_DOUBLE)
        return whole_double(cell->as.number, &v) ? set_integer(j, v)
                                                 : refuse(j, cell, rule, "is not a whole number of 64 bits");
    if (cell->type != CELL_STRING)
        return refuse(j, cell, rule, "is not a number");
    const char *text = number_text(j, cell->as.bytes, &whole);
    if (!text)
        return refuse(j, cell, rule, "is not a number");
    /* "12.00" is 12; what has a fraction or an exponent is left to doubles, as far as they are exact. */
    const char *point = strchr(text, '.');
    if (whole || (point && strspn(point + 1, "0") == strlen(point + 1))) {
        errno = 0;
        v = strtoll(text, NULL, 10);
        return errno == 0 && strspn(text, "+-.") < strlen(text)
                   ? set_integer(j, v)
                   : refuse(j, cell, rule, "is not a whole number of 64 bits");
    }
    double d = strtod(text, NULL);
    return fabs(d) <= two_53 && whole_double(d, &v)
               ? set_integer(j, v)
               : refuse(j, cell, rule, "is not a whole number of 64 bits");
}

static bool set_number(const struct job *j, double v)
{
    j->out->as.number = v;
    return true;
}

static bool to_double(const struct job *j, const struct cell *cell)
{
    static const char rule[] = "type number";
    int64_t back;
    bool whole;
    double v;
    switch (cell->type) {
    case CELL_BOOLEAN:
        return set_number(j, cell->as.boolean);
    case CELL_INT:
        v = (double)cell->as.integer;
        if (!whole_double(v, &back) || back != cell->as.integer)
            return refuse(j, cell, rule, "has more digits than a double holds");
        return set_number(j, v);
    case CELL_DOUBLE:
        return isfinite(cell->as.number) ? set_number(j, cell->as.number)
                                         : refuse(j, cell, rule, "is not a number that a database holds");
    case CELL_STRING:
        break;
    default:
        return refuse(j, cell, rule, "is not a number");
    }
    const char *text = number_text(j, cell->as.bytes, &whole);
    if (!text)
        return refuse(j, cell, rule, "is not a number");
    v = strtod(text, NULL);
    return isfinite(v) ? set_number(j, v) : refuse(j, cell, rule, "is too large for a double");
}

/* Milliseconds since 1970 of what a moment can be read from. Numbers are ms; a TIME has no day. */
static bool read_moment(const struct job *j, const struct cell *cell, int64_t *ms, bool *has_time)
{
    *has_time = j->rule->kind == FIELD_DATETIME;
    if (cell->type == CELL_INT) {
        *ms = cell->as.integer;
        return j->rule->kind != FIELD_TIME && moment_in_range(*ms);
    }
    if (cell->type == CELL_DOUBLE)
        return whole_double(cell->as.number, ms) && moment_in_range(*ms);
    return cell->type == CELL_STRING && moment_parse(clean_trim(cell->as.bytes), ms, has_time);
}

static bool to_datetime(const struct job *j, const struct cell *cell)
{
    int64_t ms;
    bool has_time;
    if (!read_moment(j, cell, &ms, &has_time))
        return refuse(j, cell, "type datetime", "is not a time between the years 1 and 9999");
    return set_integer(j, ms);
}

static bool to_date(const struct job *j, const struct cell *cell)
{
    int64_t ms;
    bool has_time;
    if (!read_moment(j, cell, &ms, &has_time))
        return refuse(j, cell, "type date", "is not a day between the years 1 and 9999");
    /* Who makes a day of a time wants the day in UTC; what should be a day already must be one. */
    if (!has_time && ms % MOMENT_DAY_MS != 0)
        return refuse(j, cell, "type date", "is not the midnight of a day in UTC");
    return set_integer(j, moment_day(ms));
}

static bool to_time(const struct job *j, const struct cell *cell)
{
    int64_t ms;
    bool has_time, ok = false;
    if (cell->type == CELL_STRING) {
        struct span text = clean_trim(cell->as.bytes);
        ok = moment_parse_time(text, &ms);
        if (!ok && moment_parse(text, &ms, &has_time) && has_time) {
            ms = moment_of_day(ms);
            ok = true;
        }
    } else if (cell->type == CELL_INT && j->rule->kind == FIELD_DATETIME) {
        ms = moment_of_day(cell->as.integer);
        ok = true;
    } else if (cell->type == CELL_INT && j->rule->kind != FIELD_DATE) {
        ms = cell->as.integer;
        ok = ms >= 0 && ms < MOMENT_DAY_MS;
    } else if (cell->type == CELL_DOUBLE) {
        ok = whole_double(cell->as.number, &ms) && ms >= 0 && ms < MOMENT_DAY_MS;
    }
    return ok ? set_integer(j, ms) : refuse(j, cell, "type time", "is not a time of day");
}

/* "a;b" -> ["a","b"] */
static struct span split_multi(const struct job *j, struct span text)
{
    struct buf b = BUF_INIT;
    buf_add_char(&b, '[');
    for (size_t begin = 0; begin <= text.n && text.n;) {
        const uint8_t *semicolon = memchr(text.p + begin, ';', text.n - begin);
        size_t end = semicolon ? (size_t)(semicolon - text.p) : text.n;
        if (begin)
            buf_add_char(&b, ',');
        json_add_string(&b, span_of(text.p + begin, end - begin));
        begin = end + 1;
    }
    buf_add_char(&b, ']');
    return take(j, &b);
}

static bool is_json(struct span text)
{
    const size_t how = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL;
    json_t *json = json_loadb((const char *)text.p, text.n, how, NULL);
    json_decref(json);
    return json != NULL;
}

/* A text field that is to be JSON holds JSON, unless it is a multi-select picklist; anything else becomes it. */
static bool to_json(const struct job *j, const struct cell *cell)
{
    static const char rule[] = "type json";
    if (cell->type == CELL_STRING && texts_has_nul(cell->as.bytes))
        return refuse(j, cell, rule, "holds a NUL, which no database keeps");
    if (cell->type == CELL_STRING && !j->rule->member)
        return j->rule->multi            ? set_text(j, split_multi(j, cell->as.bytes))
               : is_json(cell->as.bytes) ? set_text(j, cell->as.bytes)
                                         : refuse(j, cell, rule, "is not JSON");
    struct buf b = BUF_INIT;
    if (texts_add_json(&b, cell, j->rule->kind))
        return set_text(j, take(j, &b));
    buf_release(&b);
    return refuse(j, cell, rule, "holds a value that JSON in a database cannot hold");
}

static bool convert(const struct job *j, const struct cell *cell)
{
    switch (j->rule->type) {
    case MIRROR_TEXT:
        return to_text(j, cell);
    case MIRROR_BOOLEAN:
        return to_boolean(j, cell);
    case MIRROR_BIGINT:
        return to_bigint(j, cell);
    case MIRROR_DOUBLE:
        return to_double(j, cell);
    case MIRROR_DATETIME:
        return to_datetime(j, cell);
    case MIRROR_DATE:
        return to_date(j, cell);
    case MIRROR_TIME:
        return to_time(j, cell);
    case MIRROR_JSON:
        return to_json(j, cell);
    }
    BUG("there is no type %d", (int)j->rule->type);
}

/* --- the whole way -------------------------------------------------------------------------------------- */

static enum map_result give_null(struct mirror_value *out)
{
    out->is_null = true;
    return MAP_VALUE;
}

static enum map_result null_value(const struct map_rule *rule, struct mirror_value *out)
{
    if (rule->config->nulls == NULLS_KEEP)
        return MAP_LEAVE;
    if (rule->config->nulls == NULLS_WRITE || rule->member)
        return give_null(out);
    switch (rule->type) {
    case MIRROR_TEXT:
        out->as.text = span_of_str("");
        return MAP_VALUE;
    case MIRROR_BOOLEAN:
    case MIRROR_BIGINT:
        out->as.integer = 0;
        return MAP_VALUE;
    case MIRROR_DOUBLE:
        out->as.number = 0;
        return MAP_VALUE;
    default:
        return give_null(out); /* there is no empty date, and no empty JSON */
    }
}

static bool clean(const struct job *j, struct cell *cell)
{
    enum field_clean how = j->rule->config->clean;
    if (how == CLEAN_NONE || cell->type != CELL_STRING)
        return true;
    struct span text = clean_trim(cell->as.bytes);
    if (how == CLEAN_PHONE && text.n && !clean_phone(cell->as.bytes, j->a, &text))
        return refuse(j, cell, "clean phone", "is not a phone number");
    if (how == CLEAN_CURRENCY && text.n && !clean_currency(cell->as.bytes, j->a, &text))
        return refuse(j, cell, "clean currency", "is not an amount");
    cell->as.bytes = text;
    return true;
}

/* The value map. false: it does not name the value; *text: what the value reads as. */
static bool find_in_map(const struct job *j, const struct cell *cell, struct span *to)
{
    const struct field_config *c = j->rule->config;
    struct span text;
    if (!text_of(j, cell, &text))
        return false;
    for (uint32_t i = 0; i < c->n_map; i++)
        if (span_equal_str(text, c->map[i].from)) {
            *to = span_of_str(c->map[i].to);
            return true;
        }
    return false;
}

static enum map_result limit(const struct job *j, const struct cell *cell, const char **flagged)
{
    const struct field_config *c = j->rule->config;
    char rule[64];
    bool cut;
    if (j->rule->member || j->rule->type != MIRROR_TEXT || c->max_length == 0)
        return MAP_VALUE;
    struct span text = clean_cut(j->out->as.text, c->max_length, &cut);
    if (!cut)
        return MAP_VALUE;
    snprintf(rule, sizeof rule, "max_length %lld", (long long)c->max_length);
    if (c->on_too_long == TOO_LONG_PARK) {
        say_refused(j, cell, rule, "is longer");
        return MAP_PARK;
    }
    if (c->on_too_long == TOO_LONG_FLAG) {
        say_refused(j, cell, rule, "is longer and was cut");
        *flagged = "max_length";
    }
    j->out->as.text = text;
    return MAP_VALUE;
}

/* A value that cannot be: parked, or null with a flag. `why` is set. */
static enum map_result fall_back(const struct job *j, const char **flagged)
{
    if (j->rule->config->on_error == ERROR_PARK)
        return MAP_PARK;
    *flagged = *j->refused;
    return give_null(j->out);
}

enum map_result coerce(const struct map_rule *rule, const struct cell *cell, struct arena *a,
                       struct mirror_value *out, const char **flagged, struct err *why)
{
    const char *refused = NULL;
    struct job j = {rule, a, out, why, &refused};
    *out = (struct mirror_value){.type = rule->member ? MIRROR_JSON : rule->type};
    *flagged = NULL;
    if (!cell || cell->type == CELL_NULL)
        return null_value(rule, out);
    struct cell value = *cell;
    struct span to;
    if (!clean(&j, &value))
        return fall_back(&j, flagged);
    if (rule->config->n_map) {
        if (find_in_map(&j, &value, &to)) {
            value = (struct cell){.type = CELL_STRING, .as.bytes = to};
        } else if (rule->config->on_unknown == UNKNOWN_NULL) {
            return give_null(out);
        } else if (rule->config->on_unknown == UNKNOWN_PARK) {
            refuse(&j, &value, "map", "is not in it");
            return MAP_PARK;
        }
    }
    if (rule->member ? !to_json(&j, &value) : !convert(&j, &value))
        return fall_back(&j, flagged);
    return limit(&j, &value, flagged);
}
