/*
 * What one event costs between its bytes and its line: nanoseconds per event for decoding, for the line, and
 * for both, for the two payloads the whole benchmark uses (an Account-like full create of about 610 bytes, a
 * partial update of about 280). Medians of seven rounds; a benchmark, not a test.
 *
 *   decode_bench [events per round]
 */
#include "avro/decoder.h"
#include "avro_bytes.h"
#include "event/json_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 7, VARIANTS = 64 };

/* 59 fields: header, Name (text or compound), two addresses, 40 strings, 5 doubles, 5 longs, 2 ints, 3
 * booleans. */
static const char plain_types[][8] = {"string", "double", "long", "int", "boolean"};
static const int plain_counts[] = {40, 5, 5, 2, 3};

static void add_field(struct buf *b, const char *name, const char *type)
{
    buf_addf(b, ",{\"name\":\"%s\",\"type\":%s,\"default\":null}", name, type);
}

static void make_schema(struct buf *b)
{
    static const char *const parts[] = {"Street",    "City",           "State",       "PostalCode",
                                        "Country",   "StateCode",      "CountryCode", "Latitude",
                                        "Longitude", "GeocodeAccuracy"};
    buf_add_str(b, "{\"type\":\"record\",\"name\":\"AccountChangeEvent\",\"namespace\":\"com.sforce."
                   "eventbus\",\"fields\":[" HEADER_FIELD);
    add_field(b, "Name",
              "[\"null\",\"string\",{\"type\":\"record\",\"name\":\"Switchable_PersonName\",\"fields\":["
              "{\"name\":\"FirstName\",\"type\":[\"null\",\"string\"]},{\"name\":\"LastName\",\"type\":["
              "\"null\",\"string\"]}]}]");
    buf_add_str(b, ",{\"name\":\"BillingAddress\",\"type\":[\"null\",{\"type\":\"record\",\"name\":"
                   "\"Address\",\"fields\":[");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buf_addf(b, "%s{\"name\":\"%s\",\"type\":[\"null\",\"%s\"]}", i ? "," : "", parts[i],
                 i == 7 || i == 8 ? "double" : "string");
    buf_add_str(b, "]}]}");
    add_field(b, "ShippingAddress", "[\"null\",\"Address\"]");
    for (size_t t = 0; t < ARRAY_LEN(plain_types); t++)
        for (int i = 0; i < plain_counts[t]; i++) {
            char name[32], type[32];
            snprintf(name, sizeof name, "Some_%s_Field_%d__c", plain_types[t], i);
            snprintf(type, sizeof type, "[\"null\",\"%s\"]", plain_types[t]);
            add_field(b, name, type);
        }
    buf_add_str(b, "]}");
}

static void put_plain(struct buf *b, size_t type, int i, int variant)
{
    char text[32];
    put_long(b, 1);
    switch (type) {
    case 0:
        snprintf(text, sizeof text, "value %d of %d", i, variant);
        put_string(b, text);
        return;
    case 1:
        put_double(b, 1234.5 * (i + 1) + variant);
        return;
    case 2:
        put_long(b, 1696444513000 + variant * 1000);
        return;
    case 3:
        put_long(b, 1000 + variant);
        return;
    default:
        buf_add_char(b, (char)(variant & 1));
    }
}

static bool is_set(unsigned n, unsigned set)
{
    return (n + 1) * set / 100 > n * set / 100;
}

/* Which fields of the event that is; the plain ones come after header, Name and two addresses. */
static uint64_t plain_bits(unsigned set)
{
    uint64_t bits = 0;
    for (unsigned n = 0; n < 55; n++)
        bits |= (uint64_t)is_set(n, set) << (n + 4);
    return bits;
}

/* set: percent of the plain fields that have a value. */
static void make_payload(struct buf *b, bool update, unsigned set, int variant)
{
    static const char *const ids[] = {"001Dp00000JJkkHIAT", NULL};
    char bits[32];
    const char *changed[] = {bits, NULL};
    snprintf(bits, sizeof bits, "0x%016llX", (unsigned long long)plain_bits(set));
    struct header_values h = {.record_ids = ids,
                              .change_type = update,
                              .origin = "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
                              .transaction_key = "00034c74-0500-aa77-fc35-265917470e99",
                              .sequence_number = 1 + variant,
                              .commit_timestamp = 1771291772000,
                              .commit_number = 12279578624413 + variant,
                              .commit_user = "005Dp000000PpjsIAC",
                              .changed = update ? changed : NULL};
    put_header(b, &h);
    if (update) {
        put_long(b, 0);
        put_long(b, 0);
    } else {
        put_long(b, 1);
        put_string(b, "Bulk Account");
        put_long(b, 1);
        for (int i = 0; i < 10; i++) {
            put_long(b, i == 4 || i == 6);
            if (i == 4 || i == 6)
                put_string(b, i == 4 ? "United States" : "US");
        }
    }
    put_long(b, 0);
    unsigned n = 0;
    for (size_t t = 0; t < ARRAY_LEN(plain_types); t++)
        for (int i = 0; i < plain_counts[t]; i++, n++)
            if (is_set(n, set))
                put_plain(b, t, i, variant);
            else
                put_long(b, 0);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

struct work {
    const struct avro_plan *plan;
    struct buf payloads[VARIANTS];
    struct change changes[VARIANTS];
    struct arena keep;
    struct buf line;
};

enum what { HEADER, DECODE, LINE, BOTH };

/* Nanoseconds per event of one round. The buffers are reset every hundred events, as a batch does. */
static double one_round(struct work *w, enum what what, int events)
{
    static const struct line_source source = {{(const uint8_t *)"00Dxx0000001gEREAY", 18},
                                              {(const uint8_t *)"/data/AccountChangeEvent", 24}};
    struct event_data ev = {.generation = 1,
                            .received_ms = 1778077800123,
                            .event_id = span_of_str("9b77cea1-0ee2-4b4e-a4f6-7c7b4c1a2b3d"),
                            .replay_id = span_of("\0\0\0\0\0\x12\xd6\x87\0\0", 10),
                            .schema_id = span_of_str("a01VpgrsZNJdn-7KStJcxQ")};
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    int64_t from = cpu_ns();
    for (int i = 0; i < events; i++) {
        struct change ch;
        struct change_header h;
        int k = i % VARIANTS;
        if (i % 100 == 0) {
            arena_reset(&a);
            buf_clear(&w->line);
        }
        if (what == HEADER) {
            if (avro_decode_header(w->plan, buf_span(&w->payloads[k]), &a, &h, &e) != 0)
                BUG("%s", e.text);
            continue;
        }
        if (what != LINE && avro_decode(w->plan, buf_span(&w->payloads[k]), &a, &ch, &e) != 0)
            BUG("%s", e.text);
        ev.seq = 4711 + (uint64_t)i;
        if (what != DECODE)
            json_line_add(&w->line, &ev, what == LINE ? &w->changes[k] : &ch, &source, 0);
    }
    double ns = (double)(cpu_ns() - from) / events;
    arena_release(&a);
    return ns;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_round(struct work *w, enum what what, int events)
{
    double ns[ROUNDS];
    one_round(w, what, events / 10);
    for (int i = 0; i < ROUNDS; i++)
        ns[i] = one_round(w, what, events);
    qsort(ns, ROUNDS, sizeof *ns, compare_doubles);
    return ns[ROUNDS / 2];
}

static void bench(const struct avro_plan *plan, const char *name, bool update, unsigned set, int events)
{
    struct work w = {.plan = plan, .keep = ARENA_INIT};
    struct err e = ERR_INIT;
    size_t bytes = 0;
    for (int i = 0; i < VARIANTS; i++) {
        make_payload(&w.payloads[i], update, set, i);
        bytes += w.payloads[i].len;
        if (avro_decode(plan, buf_span(&w.payloads[i]), &w.keep, &w.changes[i], &e) != 0)
            BUG("%s", e.text);
    }
    double header = median_round(&w, HEADER, events), decode = median_round(&w, DECODE, events);
    double line = median_round(&w, LINE, events), both = median_round(&w, BOTH, events);
    buf_clear(&w.line);
    one_round(&w, BOTH, 1);
    printf("%-14s %8zu %8zu %10.0f %10.0f %10.0f %10.0f\n", name, bytes / VARIANTS, w.line.len, header,
           decode, line, both);
    for (int i = 0; i < VARIANTS; i++)
        buf_release(&w.payloads[i]);
    buf_release(&w.line);
    arena_release(&w.keep);
}

int main(int argc, char **argv)
{
    int events = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 300000;
    struct buf schema = BUF_INIT;
    struct avro_plan *plan;
    struct err e = ERR_INIT;
    make_schema(&schema);
    if (events < 10 || avro_compile(buf_span(&schema), "a01VpgrsZNJdn-7KStJcxQ", &plan, &e) != 0) {
        fprintf(stderr, "decode_bench: %s\n",
                events < 10 ? "usage: decode_bench [events per round, at least 10]" : e.text);
        return 2;
    }
    printf("%-14s %8s %8s %10s %10s %10s %10s\n", "ns per event", "bytes", "line", "header", "decode", "line",
           "both");
    bench(plan, "full create", false, 55, events);
    bench(plan, "partial update", true, 6, events);
    avro_plan_free(plan);
    buf_release(&schema);
    return 0;
}
