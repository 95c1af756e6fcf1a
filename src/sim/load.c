#include "sim/load.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "sim/wire.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_FILE = 64 << 20, MAX_RECORD_IDS = 10000 };

struct loaded {
    char event_id[64];
    char schema_id[23];
    char topic[160];
    struct buf payload;
    uint64_t counter; /* UINT64_MAX: none given */
    size_t order;
};

struct loader {
    struct sim *sim;
    const char *path;
    struct loaded *list;
    size_t n;
};

/* --- peeking into a change header ------------------------------------------------------------------ */

static int read_long(struct span *in, int64_t *out)
{
    uint64_t z = 0;
    for (unsigned shift = 0; in->n && shift < 64; shift += 7) {
        uint8_t c = *in->p;
        *in = span_of(in->p + 1, in->n - 1);
        z |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *out = (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
            return 0;
        }
    }
    return -1;
}

static int read_string(struct span *in, char *out, size_t size)
{
    int64_t n;
    if (read_long(in, &n) < 0 || n < 0 || (uint64_t)n > in->n || (uint64_t)n >= size)
        return -1;
    memcpy(out, in->p, (size_t)n);
    out[n] = 0;
    *in = span_of(in->p + n, in->n - (size_t)n);
    return 0;
}

int header_peek(struct span in, struct header_peek *out)
{
    int64_t n, type;
    memset(out, 0, sizeof *out);
    if (read_string(&in, out->entity, sizeof out->entity) < 0 || !out->entity[0])
        return -1;
    while (read_long(&in, &n) == 0 && n > 0 && out->n_record_ids + (uint64_t)n <= MAX_RECORD_IDS) {
        out->record_ids = xrealloc(out->record_ids,
                                   (out->n_record_ids + (size_t)n) * sizeof out->record_ids[0]);
        for (int64_t i = 0; i < n; i++)
            if (read_string(&in, out->record_ids[out->n_record_ids], sizeof out->record_ids[0]) < 0)
                goto bad;
            else
                out->n_record_ids++;
    }
    if (n != 0 || read_long(&in, &type) < 0 || type < 0 || type > SIM_GAP_OVERFLOW)
        goto bad;
    out->change_type = (int)type;
    return 0;
bad:
    header_peek_release(out);
    return -1;
}

void header_peek_release(struct header_peek *peek)
{
    free(peek->record_ids);
    peek->record_ids = NULL;
    peek->n_record_ids = 0;
}

/* --- files ---------------------------------------------------------------------------------------- */

static int bad(const struct loader *l, struct err *e, size_t event, const char *what)
{
    return err_set(e, ERR_CONFIG, "load", 0, "%s: event %zu: %s", l->path, event + 1, what);
}

/* Beside the file, or one folder up. */
static char *find_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) + 1 : 0;
    char *found = name[0] == '/' ? xstrdup(name) : xasprintf("%.*s%s", n, path, name);
    if (access(found, R_OK) != 0 && name[0] != '/') {
        free(found);
        found = xasprintf("%.*s../%s", n, path, name);
    }
    return found;
}

static int add_schema_file(struct loader *l, const char *name, char id[23], struct err *e)
{
    struct buf json = BUF_INIT;
    char *path = find_beside(l->path, name);
    int rc = file_read(path, 4 << 20, &json, e);
    if (rc == 0)
        rc = schemas_add(&l->sim->schemas, buf_span(&json), id, e);
    if (rc < 0)
        err_prefix(e, "%s: schema %s", l->path, name);
    buf_release(&json);
    free(path);
    return rc;
}

static const char *text_of(json_t *event, json_t *file, const char *name)
{
    const char *text = json_string_value(json_object_get(event, name));
    return text ? text : json_string_value(json_object_get(file, name));
}

static int find_schema(struct loader *l, json_t *event, json_t *file, struct loaded *out, struct err *e)
{
    const char *name = text_of(event, file, "schema_file"), *id = text_of(event, file, "schema_id");
    if (name && add_schema_file(l, name, out->schema_id, e) < 0)
        return -1;
    if (id) /* what the capture says wins, even if nobody knows that schema */
        snprintf(out->schema_id, sizeof out->schema_id, "%s", id);
    return 0;
}

static int find_topic(struct loader *l, json_t *event, json_t *file, struct loaded *out, size_t number,
                      struct err *e)
{
    const char *name = text_of(event, file, "topic");
    const struct schema *schema = schemas_find(&l->sim->schemas, span_of_str(out->schema_id));
    struct header_peek peek;
    if (name) {
        snprintf(out->topic, sizeof out->topic, "%s", name);
    } else if (schema) {
        topic_of_record(schema->record, out->topic);
    } else if (header_peek(buf_span(&out->payload), &peek) == 0) {
        size_t n = strlen(peek.entity);
        bool custom = n > 3 && strcmp(peek.entity + n - 3, "__c") == 0;
        snprintf(out->topic, sizeof out->topic, "/data/%.*sChangeEvent", (int)(custom ? n - 1 : n),
                 peek.entity);
        header_peek_release(&peek);
    } else {
        return bad(l, e, number, "no topic, and neither a schema nor a header that tells it");
    }
    if (!topic_name_has_prefix(span_of_str(out->topic)) ||
        !topics_add(&l->sim->topics, out->topic, out->schema_id))
        return bad(l, e, number, "a topic is /data/… or /event/…, and there is room for 64");
    return 0;
}

static int read_event(struct loader *l, json_t *event, json_t *file, size_t number, struct err *e)
{
    struct loaded *out = &l->list[l->n];
    const char *payload = json_string_value(json_object_get(event, "payload_b64"));
    const char *id = json_string_value(json_object_get(event, "event_id"));
    const char *replay = json_string_value(json_object_get(event, "replay_id_hex"));
    uint8_t bytes[WIRE_REPLAY_ID_MAX];
    memset(out, 0, sizeof *out);
    l->n++;
    out->order = l->n;
    out->counter = UINT64_MAX;
    if (!payload || base64_decode(&out->payload, payload, strlen(payload)) < 0)
        return bad(l, e, number, "payload_b64 is missing or not base64");
    if (id)
        snprintf(out->event_id, sizeof out->event_id, "%s", id);
    else
        draw_uuid(&l->sim->workload.rng, out->event_id);
    if (replay) {
        int n = hex_decode(replay, strlen(replay), bytes, sizeof bytes);
        if (n < 0 || replay_id_read(span_of(bytes, (size_t)n), &out->counter) < 0)
            return bad(l, e, number, "replay_id_hex is not an id of 8 or 10 bytes");
    }
    return find_schema(l, event, file, out, e) < 0 || find_topic(l, event, file, out, number, e) < 0 ? -1 : 0;
}

static int read_events(struct loader *l, json_t *file, struct err *e)
{
    json_t *events = json_object_get(file, "events"), *more = json_object_get(file, "schema_files"), *item;
    size_t i;
    json_array_foreach(more, i, item)
    {
        char id[23];
        if (!json_is_string(item))
            return err_set(e, ERR_CONFIG, "load", 0, "%s: schema_files is a list of names", l->path);
        if (add_schema_file(l, json_string_value(item), id, e) < 0)
            return -1;
    }
    if (!json_is_array(events))
        return err_set(e, ERR_CONFIG, "load", 0, "%s: no \"events\"", l->path);
    l->list = xrealloc(l->list, (l->n + json_array_size(events) + 1) * sizeof *l->list);
    json_array_foreach(events, i, item)
    {
        if (read_event(l, item, file, i, e) < 0)
            return -1;
    }
    return 0;
}

static int read_file(struct loader *l, struct err *e)
{
    struct buf text = BUF_INIT;
    json_error_t why;
    int rc = file_read(l->path, MAX_FILE, &text, e);
    if (rc == 0) {
        json_t *file = json_loadb((const char *)text.data, text.len, 0, &why);
        rc = json_is_object(file) ? read_events(l, file, e)
                                  : err_set(e, ERR_CONFIG, "load", 0, "%s: line %d: %s", l->path, why.line,
                                            file ? "an object is expected" : why.text);
        json_decref(file);
    }
    buf_release(&text);
    return rc;
}

static int by_counter(const void *a, const void *b)
{
    const struct loaded *x = a, *y = b;
    if (x->counter != y->counter)
        return x->counter < y->counter ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static void publish(struct sim *s, const struct loaded *l)
{
    struct header_peek peek = {.change_type = -1};
    const struct topic *topic = topics_find(&s->topics, span_of_str(l->topic));
    bool is_change = topic->is_change && header_peek(buf_span(&l->payload), &peek) == 0;
    struct publication p = {
        .topic = topic,
        .event_id = span_of_str(l->event_id),
        .schema_id = span_of_str(l->schema_id),
        .payload = buf_span(&l->payload),
        .entity = is_change ? peek.entity : strrchr(topic->name, '/') + 1,
        .change_type = is_change ? sim_change_type_name((enum sim_change_type)peek.change_type) : NULL,
        .record_ids = (const char(*)[19])peek.record_ids,
        .n_record_ids = peek.n_record_ids,
        .counter = l->counter == UINT64_MAX ? 0 : l->counter,
    };
    bus_publish(&s->bus, &p);
    header_peek_release(&peek);
}

int load_files(struct sim *s, struct err *e)
{
    struct loader l = {.sim = s};
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < s->options->load_files.n; i++) {
        l.path = s->options->load_files.items[i];
        rc = read_file(&l, e);
    }
    if (rc == 0 && l.n) {
        qsort(l.list, l.n, sizeof *l.list, by_counter);
        /* The ids of captures are kept: the counter begins below them. */
        if (l.list[0].counter != UINT64_MAX)
            bus_start_at(&s->bus, l.list[0].counter - (l.list[0].counter > 0));
        for (size_t i = 0; i < l.n; i++)
            publish(s, &l.list[i]);
    }
    for (size_t i = 0; i < l.n; i++)
        buf_release(&l.list[i].payload);
    free(l.list);
    return rc;
}
