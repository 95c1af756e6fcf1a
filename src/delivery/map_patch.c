/*
 * A column that several fields share: an object of those that change goes to the row (a merge patch), and what the row
 * holds of one of them is looked up in the text as it stands there: read and written anew, numbers would look otherwise.
 */
#include "delivery/map.h"

#include "base/json.h"

#include <jansson.h>
#include <string.h>

void map_patch_add(struct buf *patch, const char *member, const struct mirror_value *value)
{
    if (patch->len)
        patch->data[patch->len - 1] = ','; /* in place of the '}' */
    else
        buf_add_char(patch, '{');
    json_add_string(patch, span_of_str(member));
    buf_add_char(patch, ':');
    if (value->is_null)
        buf_add_str(patch, "null");
    else
        buf_add_span(patch, value->as.text);
    buf_add_char(patch, '}');
}

static size_t skip_space(struct span s, size_t i)
{
    while (i < s.n && strchr(" \t\r\n", s.p[i]) && s.p[i])
        i++;
    return i;
}

/* Behind the string that begins at i. */
static size_t skip_string(struct span s, size_t i)
{
    for (i++; i < s.n && s.p[i] != '"'; i++)
        i += s.p[i] == '\\';
    return i < s.n ? i + 1 : s.n;
}

/* Behind the value that begins at i, where the object goes on or ends. */
static size_t skip_value(struct span s, size_t i)
{
    size_t depth = 0;
    while (i < s.n && (depth || (s.p[i] != ',' && s.p[i] != '}'))) {
        if (s.p[i] == '"') {
            i = skip_string(s, i);
            continue;
        }
        depth += s.p[i] == '{' || s.p[i] == '[';
        depth -= depth && (s.p[i] == '}' || s.p[i] == ']');
        i++;
    }
    return i;
}

bool map_patch_find(struct span object, const char *member, struct span *value)
{
    struct buf quoted = BUF_INIT;
    json_add_string(&quoted, span_of_str(member));
    bool found = false;
    size_t i = skip_space(object, 0);
    if (i == object.n || object.p[i] != '{')
        i = object.n;
    while (i < object.n && !found) {
        const size_t name = skip_space(object, i + 1); /* behind '{' or ',' */
        if (name >= object.n || object.p[name] != '"')
            break;
        const size_t behind = skip_string(object, name), colon = skip_space(object, behind);
        size_t begin = skip_space(object, colon + 1);
        i = skip_value(object, begin);
        found = begin < i && span_equal(span_of(object.p + name, behind - name), buf_span(&quoted));
        if (found)
            *value = span_of(object.p + begin, i - begin);
    }
    buf_release(&quoted);
    while (found && value->n && strchr(" \t\r\n", value->p[value->n - 1]))
        value->n--;
    return found;
}

bool map_patch_text(struct span value, struct arena *a, struct span *text)
{
    json_t *json = json_loadb((const char *)value.p, value.n, JSON_DECODE_ANY, NULL);
    const bool is_text = json_is_string(json);
    if (is_text)
        *text = arena_copy(a, span_of(json_string_value(json), json_string_length(json)));
    json_decref(json);
    return is_text;
}
