#include "sim/bench.h"

#include "base/alloc.h"
#include "base/err.h"
#include "sim/encode.h"
#include "sim/payload.h"
#include "sim/wire.h"

#include <stdio.h>

enum { RING = 32, N_STRINGS = 40, N_PHONES = 15, N_DOUBLES = 5, N_LONGS = 5, N_INTS = 2, N_BOOLEANS = 3 };
enum {
    N_FIELDS = 3 + N_STRINGS + N_DOUBLES + N_LONGS + N_INTS + N_BOOLEANS
}; /* 58; the header is the 59th */

enum { RECORD_ID = 18, COMMIT_BYTES = 8 };
#define FIRST_COMMIT UINT64_C(9007199254740993) /* so high that its varint has COMMIT_BYTES for good */

/* Where one event's identity stands in a template. */
struct patch {
    uint32_t id, replay_id, record, commit;
};

struct template
{
    struct buf bytes;
    uint32_t end[BENCH_PER_RESPONSE]; /* behind event i */
    struct patch patches[BENCH_PER_RESPONSE];
};

struct bench {
    struct bench_profile profile;
    uint64_t head;
    size_t payload_bytes;
    struct template ring[RING];
    struct template creates[RING]; /* with records, unless all events are full */
};

/* --- the wide Account --------------------------------------------------------------------------- */

static char field_names[N_FIELDS][24];
static struct entity_field fields[N_FIELDS];
static struct entity wide = {.name = "Account",
                             .topic = "/data/AccountChangeEvent",
                             .record = "AccountChangeEvent",
                             .key_prefix = "001"};

static void add_fields(unsigned *n, unsigned count, const char *stem, enum field_type type,
                       enum value_kind value, const char *doc)
{
    for (unsigned i = 0; i < count; i++, ++*n) {
        snprintf(field_names[*n], sizeof field_names[0], count > 1 ? "%s_%02u__c" : "%s", stem, i + 1);
        fields[*n] = (struct entity_field){field_names[*n], type, value, doc, 0, NULL};
    }
}

static const struct entity *wide_account(void)
{
    if (wide.n_fields)
        return &wide;
    unsigned n = 0;
    add_fields(&n, 1, "Name", TYPE_SWITCHABLE_NAME, VALUE_COMPANY, "Data:Switchable_PersonName");
    add_fields(&n, 1, "BillingAddress", TYPE_ADDRESS, VALUE_ADDRESS, "Data:Address");
    add_fields(&n, 1, "ShippingAddress", TYPE_ADDRESS, VALUE_ADDRESS, "Data:Address");
    add_fields(&n, N_PHONES, "Phone", TYPE_STRING, VALUE_PHONE, "Data:Phone");
    add_fields(&n, N_STRINGS - N_PHONES - 2, "Text", TYPE_STRING, VALUE_CODE, "Data:Text");
    add_fields(&n, 1, "CreatedById", TYPE_STRING, VALUE_CREATED_BY, "CreatedBy:EntityId");
    add_fields(&n, 1, "LastModifiedById", TYPE_STRING, VALUE_MODIFIED_BY, "ForeignKey:EntityId");
    add_fields(&n, N_DOUBLES, "Amount", TYPE_DOUBLE, VALUE_MONEY, "Data:Currency");
    add_fields(&n, 1, "CreatedDate", TYPE_LONG, VALUE_CREATED_DATE, "CreatedDate:DateTime");
    add_fields(&n, 1, "LastModifiedDate", TYPE_LONG, VALUE_MODIFIED_DATE, "Data:DateTime");
    add_fields(&n, N_LONGS - 2, "Due", TYPE_LONG, VALUE_DATE, "Data:DateOnly");
    add_fields(&n, N_INTS, "Count", TYPE_INT, VALUE_COUNT, "Data:Integer");
    add_fields(&n, N_BOOLEANS, "Flag", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean");
    BUG_IF(n != N_FIELDS);
    wide.fields = fields;
    wide.n_fields = n;
    return &wide;
}

void bench_schema_json(struct buf *out)
{
    entity_schema_json(out, wide_account(), false);
}

static void draw_leaves(struct rng *rng, struct field_val *leaves, struct leaf_marks *marks, unsigned percent)
{
    const int64_t now_ms = 1767225600000; /* fixed: runs are comparable */
    unsigned leaf = 0, n;
    for (unsigned f = 0; f < wide.n_fields; leaf += type_leaves(fields[f++].type)) {
        const struct entity_field *field = &fields[f];
        bool modified = field->value == VALUE_MODIFIED_DATE;
        if (!modified && rng_below(rng, 100) >= percent)
            continue;
        bool is_user = field->value == VALUE_CREATED_BY || field->value == VALUE_MODIFIED_BY;
        if (type_components(field->type, &n))
            val_draw_compound(&leaves[leaf], rng, field->type, false);
        else if (modified || field->value == VALUE_CREATED_DATE)
            val_set_int(&leaves[leaf], now_ms + (int64_t)rng_below(rng, 1000) * 1000);
        else if (is_user)
            val_set_text(&leaves[leaf], "005SM00000000001AA");
        else
            val_draw(&leaves[leaf], rng, field, now_ms);
        for (unsigned i = 0; i < type_leaves(field->type); i++)
            marks->changed[leaf + i] = leaves[leaf + i].tag != TAG_NULL;
    }
}

/* As Avro writes a long: zigzag, seven bits a byte. */
static void commit_bytes(uint64_t number, uint8_t out[COMMIT_BYTES])
{
    uint64_t v = (FIRST_COMMIT + number) << 1;
    for (int i = 0; i < COMMIT_BYTES; i++, v >>= 7)
        out[i] = (uint8_t)((v & 127) | (i + 1 < COMMIT_BYTES ? 128 : 0));
    BUG_IF(v);
}

static void make_payload(bool full, struct rng *rng, uint64_t number, struct buf *out)
{
    struct field_val leaves[ENTITY_MAX_LEAVES];
    struct leaf_marks marks = {{0}, {0}};
    struct row row = {.leaves = leaves};
    struct transaction tx = {.origin = "com/salesforce/api/soap/66.0;client=SfdcInternalAPI/",
                             .user = "005SM00000000001AA"};
    struct change_event event = {
        .entity = &wide, .record_ids = (const char(*)[19])row.id, .n_record_ids = 1, .row = &row};
    memset(leaves, 0, sizeof leaves);
    draw_leaves(rng, leaves, &marks, full ? 55 : 6);
    record_id_make("001", number, row.id);
    draw_transaction_key(rng, tx.key);
    tx.sequence = 1;
    tx.commit_ms = 1767225600000 + (int64_t)number * 1000;
    tx.commit_number = (int64_t)(FIRST_COMMIT + number);
    event.type = full ? SIM_CREATE : SIM_UPDATE;
    event.marks = full ? NULL : &marks;
    buf_clear(out);
    payload_change(out, &event, &tx);
    for (unsigned i = 0; i < ENTITY_MAX_LEAVES; i++)
        val_clear(&leaves[i]);
}

/* --- templates and numbers ---------------------------------------------------------------------- */

static void hex_digits(uint8_t *out, uint64_t v, int n)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = n - 1; i >= 0; i--, v >>= 4)
        out[i] = (uint8_t)digits[v & 15];
}

/* A version 4 UUID that looks random and is unique: its last 12 digits are the number itself, mixed. */
static void event_id_of(uint64_t number, uint8_t *out)
{
    uint64_t z = number * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    hex_digits(out, z >> 32, 8);
    out[8] = '-';
    hex_digits(out + 9, z >> 16, 4);
    out[13] = '-';
    out[14] = '4';
    hex_digits(out + 15, z, 3);
    out[18] = '-';
    hex_digits(out + 19, 0x8000 | (z >> 12 & 0x3fff), 4);
    out[23] = '-';
    hex_digits(out + 24, number * 0x5deece66d1ull, 12); /* odd factor: one to one on 48 bits */
}

/* Where these bytes, which are there once, stand in what was added from `start` on. */
static uint32_t place_of(const struct template *t, size_t start, const void *bytes, size_t n)
{
    uint8_t *at = memmem(t->bytes.data + start, t->bytes.len - start, bytes, n);
    BUG_IF(!at);
    return (uint32_t)(at - t->bytes.data);
}

static void make_template(struct bench *b, struct template *t, bool full, struct rng *rng,
                          uint64_t first_number, const char *schema_id)
{
    static const char placeholder[] = "########-####-####-####-############";
    uint8_t replay_id[WIRE_REPLAY_ID_MAX] = {0};
    struct buf payload = BUF_INIT;
    for (unsigned i = 0; i < BENCH_PER_RESPONSE; i++) {
        size_t start = t->bytes.len;
        char record[19];
        uint8_t commit[COMMIT_BYTES];
        make_payload(full, rng, first_number + i, &payload);
        b->payload_bytes += payload.len;
        wire_add_event(&t->bytes, span_of_str(placeholder), span_of_str(schema_id), buf_span(&payload),
                       span_of(replay_id, b->profile.replay_id_bytes));
        record_id_make("001", first_number + i, record);
        commit_bytes(first_number + i, commit);
        t->patches[i].id = place_of(t, start, placeholder, sizeof placeholder - 1);
        t->patches[i].record = place_of(t, start, record, RECORD_ID);
        t->patches[i].commit = place_of(t, start, commit, COMMIT_BYTES);
        t->patches[i].replay_id = (uint32_t)(t->bytes.len - b->profile.replay_id_bytes); /* the last field */
        t->end[i] = (uint32_t)t->bytes.len;
    }
    buf_release(&payload);
}

struct bench *bench_new(const struct bench_profile *profile, const char *schema_id)
{
    struct bench *b = xcalloc(1, sizeof *b);
    struct rng rng = {profile->seed};
    wide_account();
    b->profile = *profile;
    b->head = profile->first;
    for (unsigned i = 0; i < RING; i++)
        make_template(b, &b->ring[i], profile->full, &rng, 1 + (uint64_t)i * BENCH_PER_RESPONSE, schema_id);
    b->payload_bytes /= (size_t)RING * BENCH_PER_RESPONSE;
    const size_t of_updates = b->payload_bytes;
    for (unsigned i = 0; i < RING && profile->records && !profile->full; i++)
        make_template(b, &b->creates[i], true, &rng, 1 + (uint64_t)i * BENCH_PER_RESPONSE, schema_id);
    b->payload_bytes = of_updates;
    return b;
}

void bench_free(struct bench *b)
{
    if (!b)
        return;
    for (unsigned i = 0; i < RING; i++)
        buf_release(&b->ring[i].bytes);
    for (unsigned i = 0; i < RING; i++)
        buf_release(&b->creates[i].bytes);
    free(b);
}

size_t bench_payload_bytes(const struct bench *b)
{
    return b->payload_bytes;
}

uint64_t bench_first(const struct bench *b)
{
    return b->profile.first;
}

uint64_t bench_end(const struct bench *b)
{
    return b->profile.first + b->profile.count;
}

uint64_t bench_head(const struct bench *b)
{
    return b->head;
}

int bench_locate(const struct bench *b, struct span replay_id, uint64_t *next)
{
    uint64_t counter;
    if (replay_id_read(replay_id, &counter) < 0 || counter < BENCH_BASE + b->profile.first - 1 ||
        counter >= BENCH_BASE + bench_end(b))
        return -1;
    *next = counter - BENCH_BASE + 1;
    return 0;
}

struct span bench_replay_id(const struct bench *b, uint64_t next, uint8_t *out)
{
    replay_id_write(BENCH_BASE + next - 1, b->profile.replay_id_bytes, out);
    return span_of(out, b->profile.replay_id_bytes);
}

/* The record that event `number` is about: the first events make one each, in order. */
static void put_record(const struct bench *b, uint64_t number, uint8_t *record, uint8_t *commit)
{
    char id[19];
    uint64_t n = number <= b->profile.records ? number
                                              : 1 + number * 0x9e3779b97f4a7c15ull % b->profile.records;
    record_id_make("001", n, id);
    memcpy(record, id, RECORD_ID);
    commit_bytes(number, commit);
}

/* Events of one template from position `from` on; returns how many. */
static int copy_run(struct bench *b, uint64_t number, unsigned from, unsigned n, struct buf *out)
{
    const struct template *ring = number <= b->profile.records && !b->profile.full ? b->creates : b->ring;
    const struct template *t = &ring[(number - 1) / BENCH_PER_RESPONSE % RING];
    uint32_t begin = from ? t->end[from - 1] : 0, end = t->end[from + n - 1];
    uint8_t *to = buf_reserve(out, end - begin + 64) - begin; /* 64: the tail of the response */
    memcpy(to + begin, t->bytes.data + begin, end - begin);
    for (unsigned i = from; i < from + n; i++, number++) {
        event_id_of(number, to + t->patches[i].id);
        replay_id_write(BENCH_BASE + number, b->profile.replay_id_bytes, to + t->patches[i].replay_id);
        if (b->profile.records)
            put_record(b, number, to + t->patches[i].record, to + t->patches[i].commit);
    }
    out->len += end - begin;
    return (int)n;
}

int bench_take(struct bench *b, uint64_t *next, int max, struct buf *out)
{
    int taken = 0;
    while (taken < max && *next < bench_end(b)) {
        unsigned from = (unsigned)((*next - 1) % BENCH_PER_RESPONSE);
        uint64_t n = BENCH_PER_RESPONSE - from;
        if (n > (uint64_t)(max - taken))
            n = (uint64_t)(max - taken);
        if (n > bench_end(b) - *next)
            n = bench_end(b) - *next;
        taken += copy_run(b, *next, from, (unsigned)n, out);
        *next += n;
    }
    if (*next > b->head)
        b->head = *next;
    return taken;
}
