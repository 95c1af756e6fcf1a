/*
 * The simulator's workload. Payloads are read back with avro-c, not with the daemon's decoder; a mirror
 * built from the events must equal the rows the simulator says it holds.
 */
#include "base/clock.h"
#include "base/digest.h"
#include "sim/sim.h"

#include <avro.h>
#include <jansson.h>
#include <proto/pubsub_api.pb-c.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct reader {
    char id[23];
    avro_value_iface_t *class;
};

struct mirror {
    struct sim *sim;
    struct reader readers[16];
    size_t n_readers;
    json_t *rows; /* entity -> id -> fields */
    unsigned kinds[9], diffs;
    unsigned nested_only, nulled, several_ids, person_names, above_2_53;
};

static void run_workload(struct sim *s, struct sim_options *o)
{
    struct err e = ERR_INIT;
    if (sim_open(s, o, &e) < 0)
        fail_msg("%s", e.text);
    while (s->to_publish)
        sim_publish_for(s, topics_find(&s->topics, span_of_str("/data/ChangeEvents")), s->bus.next, 100);
}

static struct sim_options quiet_options(struct err *e)
{
    struct sim_options o;
    char name[] = "tidemark-sim", option[] = "--rate", value[] = "0", *argv[] = {name, option, value, NULL};
    assert_int_equal(options_parse(&o, 3, argv, e), 0);
    o.workload.start_ms = 1767225600000;
    return o;
}

static json_t *to_json(avro_value_t *v)
{
    avro_value_t child;
    const char *text = NULL;
    size_t n = 0;
    int64_t l = 0;
    int32_t i = 0;
    double d = 0;
    int b = 0;
    switch (avro_value_get_type(v)) {
    case AVRO_UNION:
        assert_int_equal(avro_value_get_current_branch(v, &child), 0);
        return to_json(&child);
    case AVRO_STRING:
        avro_value_get_string(v, &text, &n);
        return json_stringn(text, n - 1);
    case AVRO_INT64:
        avro_value_get_long(v, &l);
        return json_integer(l);
    case AVRO_INT32:
        avro_value_get_int(v, &i);
        return json_integer(i);
    case AVRO_DOUBLE:
        avro_value_get_double(v, &d);
        return json_real(d);
    case AVRO_BOOLEAN:
        avro_value_get_boolean(v, &b);
        return json_boolean(b);
    case AVRO_ENUM:
        avro_value_get_enum(v, &b);
        return json_integer(b);
    case AVRO_NULL:
        return json_null();
    case AVRO_ARRAY:
    case AVRO_RECORD: {
        bool array = avro_value_get_type(v) == AVRO_ARRAY;
        json_t *out = array ? json_array() : json_object();
        assert_int_equal(avro_value_get_size(v, &n), 0);
        for (size_t k = 0; k < n; k++) {
            avro_value_get_by_index(v, k, &child, &text);
            if (array)
                json_array_append_new(out, to_json(&child));
            else
                json_object_set_new(out, text, to_json(&child));
        }
        return out;
    }
    default:
        fail();
        return NULL;
    }
}

static avro_value_iface_t *class_of(struct mirror *m, const char *id)
{
    for (size_t i = 0; i < m->n_readers; i++)
        if (strcmp(m->readers[i].id, id) == 0)
            return m->readers[i].class;
    struct schema *schema = schemas_find(&m->sim->schemas, span_of_str(id));
    avro_schema_t parsed;
    assert_non_null(schema);
    assert_int_equal(avro_schema_from_json_length((const char *)schema->json.data, schema->json.len, &parsed),
                     0);
    struct reader *r = &m->readers[m->n_readers++];
    snprintf(r->id, sizeof r->id, "%s", id);
    r->class = avro_generic_class_from_schema(parsed);
    avro_schema_decref(parsed);
    return r->class;
}

/* Zero bytes may be left over. */
static json_t *decode(struct mirror *m, const Eventbus__V1__ProducerEvent *ev)
{
    avro_value_t value;
    avro_reader_t in = avro_reader_memory((const char *)ev->payload.data, (int64_t)ev->payload.len);
    char byte;
    assert_int_equal(avro_generic_value_new(class_of(m, ev->schema_id), &value), 0);
    assert_int_equal(avro_value_read(in, &value), 0);
    assert_int_not_equal(avro_read(in, &byte, 1), 0);
    json_t *out = to_json(&value);
    avro_value_decref(&value);
    avro_reader_free(in);
    return out;
}

static bool bit_set(const char *hex, unsigned i)
{
    size_t n = strlen(hex);
    if (i / 4 >= n)
        return false;
    char c = hex[n - 1 - i / 4];
    return (c <= '9' ? c - '0' : c - 'A' + 10) >> i % 4 & 1;
}

/* Is the field (or a child of it) named in this header array? */
static bool named(json_t *array, unsigned field, int child)
{
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        const char *text = json_string_value(item), *dash = strchr(text, '-');
        if (child < 0 ? !dash && bit_set(text + 2, field)
                      : dash && strtoul(text, NULL, 10) == field && bit_set(dash + 3, (unsigned)child))
            return true;
    }
    return false;
}

static void set_or_delete(json_t *row, const char *key, json_t *value)
{
    if (json_is_null(value))
        json_object_del(row, key);
    else
        json_object_set(row, key, value);
}

static void apply_compound(json_t *row, const char *name, json_t *value, json_t *changed, unsigned field)
{
    const char *key;
    json_t *component, *kept = json_object_get(row, name);
    int child = 0;
    if (!json_is_object(kept))
        json_object_set_new(row, name, kept = json_object());
    json_object_foreach(value, key, component)
    {
        if (named(changed, field, child++))
            set_or_delete(kept, key, component);
        else
            assert_true(json_is_null(component)); /* what did not change is not sent */
    }
    if (!json_object_size(kept))
        json_object_del(row, name);
}

/* One hunk of one line, as the service writes it; the hash is over the new value with its CRLFs. */
static void apply_diff(struct mirror *m, json_t *row, const char *key, const char *diff)
{
    char hash[65] = "", expected[65];
    unsigned number = 0, again = 0;
    int body = 0;
    uint8_t digest[32];
    const char *old = json_string_value(json_object_get(row, key)), *line = old;
    assert_non_null(old);
    assert_int_equal(sscanf(diff, "--- \n+++ %64[0-9a-f]\n@@ -%u,1 +%u,1 @@%n", hash, &number, &again, &body),
                     3);
    assert_int_equal(number, again);
    diff += body + 2; /* "\n-" */
    size_t n = strcspn(diff, "\n");
    for (unsigned i = 1; i < number; i++)
        line = strstr(line, "\r\n") + 2;
    assert_memory_equal(line, diff, n); /* the line that goes is there */
    struct buf text = BUF_INIT;
    buf_add(&text, old, (size_t)(line - old));
    buf_add_str(&text, diff + n + 2);
    buf_add_str(&text, line + n);
    digest_sha256(buf_span(&text), digest);
    hex_encode(span_of(digest, sizeof digest), expected);
    assert_string_equal(hash, expected);
    json_object_set_new(row, key, json_string((const char *)text.data));
    buf_release(&text);
    m->diffs++;
}

static void apply_update(struct mirror *m, json_t *row, json_t *event, json_t *header)
{
    json_t *changed = json_object_get(header, "changedFields"),
           *nulled = json_object_get(header, "nulledFields"), *value;
    const char *key;
    unsigned field = 0;
    json_object_foreach(event, key, value)
    {
        if (field > 0 && json_is_object(value)) {
            m->person_names += strcmp(key, "Name") == 0 &&
                               strcmp(json_string_value(json_object_get(header, "entityName")), "Account") ==
                                   0;
            apply_compound(row, key, value, changed, field);
        } else if (named(json_object_get(header, "diffFields"), field, -1)) {
            assert_true(named(changed, field, -1));
            apply_diff(m, row, key, json_string_value(value));
        } else if (named(changed, field, -1)) {
            assert_true(!json_is_null(value) || named(nulled, field, -1)); /* nulledFields decides */
            m->nulled += json_is_null(value);
            set_or_delete(row, key, value);
        } else if (field > 0) {
            assert_true(json_is_null(value));
        }
        field++;
    }
}

static json_t *full_image(json_t *event)
{
    json_t *row = json_object(), *value, *component;
    const char *key, *inner;
    json_object_foreach(event, key, value)
    {
        if (strcmp(key, "ChangeEventHeader") == 0 || json_is_null(value))
            continue;
        if (!json_is_object(value)) {
            json_object_set(row, key, value);
            continue;
        }
        json_t *compound = json_object();
        json_object_foreach(value, inner, component)
        {
            if (!json_is_null(component))
                json_object_set(compound, inner, component);
        }
        json_object_set_new(row, key, compound);
    }
    return row;
}

static void count_features(struct mirror *m, json_t *header)
{
    json_t *changed = json_object_get(header, "changedFields");
    const char *first = json_string_value(json_array_get(changed, 0));
    m->kinds[json_integer_value(json_object_get(header, "changeType"))]++;
    m->nested_only += first && strchr(first, '-');
    m->several_ids += json_array_size(json_object_get(header, "recordIds")) > 1;
    m->above_2_53 += json_integer_value(json_object_get(header, "commitNumber")) > 1ll << 53;
    assert_int_equal(json_integer_value(json_object_get(header, "commitTimestamp")) % 1000, 0);
}

static void apply_change(struct mirror *m, json_t *event)
{
    json_t *header = json_object_get(event, "ChangeEventHeader"), *id;
    json_t *rows = json_object_get(m->rows, json_string_value(json_object_get(header, "entityName")));
    size_t i;
    assert_non_null(rows);
    count_features(m, header);
    json_array_foreach(json_object_get(header, "recordIds"), i, id)
    {
        const char *key = json_string_value(id);
        switch (json_integer_value(json_object_get(header, "changeType"))) {
        case SIM_CREATE:
        case SIM_UNDELETE:
            assert_null(json_object_get(rows, key));
            json_object_set_new(rows, key, full_image(event));
            break;
        case SIM_UPDATE:
            assert_non_null(json_object_get(rows, key));
            apply_update(m, json_object_get(rows, key), event, header);
            break;
        case SIM_DELETE:
            assert_int_equal(json_object_del(rows, key), 0);
            break;
        default:
            fail();
        }
    }
}

static Eventbus__V1__FetchResponse *response_of(const struct bus_event *ev)
{
    Eventbus__V1__FetchResponse *r = eventbus__v1__fetch_response__unpack(NULL, ev->n, ev->wire);
    assert_non_null(r);
    assert_int_equal(r->n_events, 1);
    return r;
}

static void build_mirror(struct mirror *m, struct sim *s)
{
    memset(m, 0, sizeof *m);
    m->sim = s;
    m->rows = json_object();
    for (unsigned i = 0; i < ENTITY_COUNT; i++)
        if (entities[i].key_prefix)
            json_object_set_new(m->rows, entities[i].name, json_object());
    for (uint64_t i = s->bus.first; i < s->bus.next; i++) {
        Eventbus__V1__FetchResponse *r = response_of(bus_at(&s->bus, i));
        json_t *event = decode(m, r->events[0]->event);
        if (json_object_get(event, "ChangeEventHeader"))
            apply_change(m, event);
        json_decref(event);
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
}

static void mirror_release(struct mirror *m)
{
    for (size_t i = 0; i < m->n_readers; i++)
        avro_value_iface_decref(m->readers[i].class);
    json_decref(m->rows);
}

static void assert_mirror_equals_state(const struct mirror *m, const struct sim *s)
{
    struct buf text = BUF_INIT;
    org_state_json(&text, &s->org);
    json_t *whole = json_loadb((const char *)text.data, text.len, 0, NULL);
    assert_non_null(whole);
    assert_true(json_equal(json_object_get(whole, "entities"), m->rows));
    json_decref(whole);
    buf_release(&text);
}

/* The events alone rebuild exactly the rows that GET /sim/state shows. */
static void test_mirror_equals_state(void **state)
{
    unsigned person_names = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        static struct sim s;
        struct err e = ERR_INIT;
        struct sim_options o = quiet_options(&e);
        struct mirror m;
        o.workload.seed = seed;
        o.workload.shared_replay = 0.05;
        o.count = 4000;
        run_workload(&s, &o);
        assert_int_equal(s.bus.next - s.bus.first, 4000); /* exactly the count */
        build_mirror(&m, &s);
        assert_mirror_equals_state(&m, &s);
        assert_true(m.kinds[SIM_CREATE] > 100 && m.kinds[SIM_UPDATE] > 100);
        assert_true(m.kinds[SIM_DELETE] > 20 && m.kinds[SIM_UNDELETE] > 20);
        assert_true(m.nested_only > 10 && m.nulled > 20 && m.several_ids > 20);
        assert_true(m.above_2_53 == m.kinds[0] + m.kinds[1] + m.kinds[2] + m.kinds[3]);
        person_names += m.person_names;
        mirror_release(&m);
        sim_close(&s);
    }
    assert_true(person_names > 0);
}

/* A field appears in the middle: positions behind it shift, and each event is read by its own schema. */
static void test_schema_change(void **state)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    struct mirror m;
    char before[23];
    (void)state;
    o.workload.schema_change_at = 500;
    o.count = 1500;
    run_workload(&s, &o);
    snprintf(before, sizeof before, "%s", s.workload.schema_id[false][ENTITY_ACCOUNT]);
    build_mirror(&m, &s);
    assert_mirror_equals_state(&m, &s);
    assert_string_not_equal(topics_find(&s.topics, span_of_str("/data/AccountChangeEvent"))->schema_id,
                            before);
    assert_int_equal(m.n_readers, ENTITY_COUNT + 1); /* both schemas of Account were needed */
    mirror_release(&m);
    sim_close(&s);
}

static void test_differences(void **state)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    struct mirror m;
    (void)state;
    o.workload.diffs = 0.3;
    o.count = 1000;
    run_workload(&s, &o);
    build_mirror(&m, &s);
    assert_mirror_equals_state(&m, &s);
    assert_true(m.diffs > 50);
    mirror_release(&m);
    sim_close(&s);
}

/* Gap events have a header and nothing else. */
static void test_gaps(void **state)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    struct mirror m = {.sim = &s};
    unsigned wildcards = 0;
    (void)state;
    o.workload.gaps = 0.5;
    o.count = 1000;
    run_workload(&s, &o);
    for (uint64_t i = s.bus.first; i < s.bus.next; i++) {
        Eventbus__V1__FetchResponse *r = response_of(bus_at(&s.bus, i));
        json_t *event = decode(&m, r->events[0]->event),
               *header = json_object_get(event, "ChangeEventHeader");
        const char *id = header ? json_string_value(json_array_get(json_object_get(header, "recordIds"), 0))
                                : "";
        int64_t type = header ? json_integer_value(json_object_get(header, "changeType")) : SIM_CREATE;
        wildcards += strlen(id) == 4 && id[3] == '*';
        m.kinds[type]++;
        if (type == SIM_GAP_OVERFLOW)
            assert_string_equal(id, "000000000000000AAA");
        if (type >= SIM_GAP_CREATE) {
            json_t *body = full_image(event);
            assert_int_equal(json_object_size(body), 0);
            json_decref(body);
        }
        json_decref(event);
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
    for (int type = SIM_GAP_CREATE; type <= SIM_GAP_OVERFLOW; type++)
        assert_true(m.kinds[type] > 5);
    assert_true(wildcards > 5);
    m.rows = json_null();
    mirror_release(&m);
    sim_close(&s);
}

static uint64_t fingerprint(uint64_t seed)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    uint64_t sum = 14695981039346656037ull;
    o.workload.seed = seed;
    o.workload.duplicates = o.workload.shared_replay = 0.1;
    o.count = 500;
    run_workload(&s, &o);
    for (uint64_t i = s.bus.first; i < s.bus.next; i++)
        for (uint32_t k = 0; k < bus_at(&s.bus, i)->n; k++)
            sum = (sum ^ bus_at(&s.bus, i)->wire[k]) * 1099511628211ull;
    sim_close(&s);
    return sum;
}

static void test_seed_decides(void **state)
{
    (void)state;
    uint64_t first = fingerprint(42);
    assert_true(first == fingerprint(42));
    assert_true(first != fingerprint(43));
}

/* Repeats have the same id and bytes under a new replay id; groups share id and replay id, one record each.
 */
static void test_repeats_and_groups(void **state)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    unsigned groups = 0, repeats = 0;
    (void)state;
    o.workload.duplicates = o.workload.shared_replay = 0.2;
    o.count = 600;
    run_workload(&s, &o);
    assert_true(s.bus.next - s.bus.first > 600);
    for (uint64_t i = s.bus.first; i < s.bus.next; i++) {
        Eventbus__V1__FetchResponse *a = response_of(bus_at(&s.bus, i));
        for (uint64_t k = s.bus.first; k < i; k++) {
            Eventbus__V1__FetchResponse *b = response_of(bus_at(&s.bus, k));
            const Eventbus__V1__ProducerEvent *x = a->events[0]->event, *y = b->events[0]->event;
            if (strcmp(x->id, y->id) == 0) {
                bool same_bytes = x->payload.len == y->payload.len &&
                                  memcmp(x->payload.data, y->payload.data, x->payload.len) == 0;
                bool same_replay = bus_at(&s.bus, i)->counter == bus_at(&s.bus, k)->counter;
                assert_true(same_bytes || same_replay || groups);
                groups += same_replay && !same_bytes;
                repeats += same_bytes && !same_replay;
            }
            eventbus__v1__fetch_response__free_unpacked(b, NULL);
        }
        eventbus__v1__fetch_response__free_unpacked(a, NULL);
    }
    assert_true(groups > 10);
    assert_true(repeats > 50);
    sim_close(&s);
}

static void test_bad_events(void **state)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    unsigned unknown = 0;
    uint32_t largest = 0;
    (void)state;
    o.workload.unknown_schema_every = 10;
    o.workload.undecodable = 0.1;
    o.workload.oversize = 100000;
    o.count = 300;
    run_workload(&s, &o);
    for (uint64_t i = s.bus.first; i < s.bus.next; i++) {
        Eventbus__V1__FetchResponse *r = response_of(bus_at(&s.bus, i));
        unknown += !schemas_find(&s.schemas, span_of_str(r->events[0]->event->schema_id));
        if (bus_at(&s.bus, i)->n > largest)
            largest = bus_at(&s.bus, i)->n;
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
    assert_true(unknown > 10);
    assert_true(largest > 100000);
    sim_close(&s);
}

static void test_prefill_lies_back(void **state)
{
    static struct sim s;
    struct err e = ERR_INIT;
    struct sim_options o = quiet_options(&e);
    struct mirror m = {.sim = &s};
    (void)state;
    o.workload.start_ms = 0;
    o.prefill = 50;
    o.count = 0;
    assert_int_equal(sim_open(&s, &o, &e), 0);
    assert_int_equal(s.bus.next - s.bus.first, 50);
    for (uint64_t i = s.bus.first; i < s.bus.next; i++) {
        Eventbus__V1__FetchResponse *r = response_of(bus_at(&s.bus, i));
        json_t *event = decode(&m, r->events[0]->event),
               *header = json_object_get(event, "ChangeEventHeader");
        if (header) {
            int64_t age_ms = clock_wall_ms() - json_integer_value(json_object_get(header, "commitTimestamp"));
            assert_true(age_ms > 3500000 && age_ms < 7300000);
        }
        json_decref(event);
        eventbus__v1__fetch_response__free_unpacked(r, NULL);
    }
    m.rows = json_null();
    mirror_release(&m);
    sim_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mirror_equals_state), cmocka_unit_test(test_schema_change),
        cmocka_unit_test(test_differences),         cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_seed_decides),        cmocka_unit_test(test_repeats_and_groups),
        cmocka_unit_test(test_bad_events),          cmocka_unit_test(test_prefill_lies_back),
    };
    return cmocka_run_group_tests_name("sim_workload", tests, NULL, NULL);
}
