/*
 * The plan's walk over a payload: one pass, values stay where they are.
 *
 * Work is bounded by the payload: every step of a record takes at least one byte (schema_parse refuses
 * types that take none), arrays are checked against what is left before anything is allocated.
 */
#include "avro/walk.h"

#include "base/alloc.h"

int(walk_fail)(struct walk *w, const uint8_t *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(w->e, ERR_REJECTED, "avro", 0, fmt, ap);
    va_end(ap);
    return err_prefix(w->e, "byte %zu", (size_t)(at - w->start));
}

int walk_long_slow(struct walk *w, const uint8_t **at, int64_t *out)
{
    uint64_t v = 0;
    const uint8_t *p = *at;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (p >= w->end)
            return walk_fail(w, *at, "the payload ends inside a number");
        uint8_t b = *p++;
        if (shift == 63 && b > 1)
            return walk_fail(w, *at,
                             b & 0x80 ? "a number of more than 10 bytes" : "a number of more than 64 bits");
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            break;
    }
    *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    *at = p;
    return 0;
}

int walk_text_slow(struct walk *w, const uint8_t *p, size_t n)
{
    if (!text_is_utf8(span_of(p, n)))
        return walk_fail(w, p, "a string of %zu bytes is not UTF-8", n);
    return 0;
}

static int enter(struct walk *w)
{
    if (w->depth >= AVRO_MAX_DEPTH)
        return walk_fail(w, w->at, "values nested deeper than %d", AVRO_MAX_DEPTH);
    w->depth++;
    return 0;
}

struct block {
    uint32_t items;     /* 0: the end of the array */
    bool sized;         /* it said its size in bytes (a negative count does) … */
    const uint8_t *end; /* … and must end here */
};

/* The head of a block of an array or map. so_far: items in the blocks before it. */
static int walk_block(struct walk *w, uint32_t min_bytes, uint32_t so_far, struct block *out)
{
    const uint8_t *from = w->at;
    int64_t count;
    *out = (struct block){.end = from};
    if (walk_long(w, &w->at, &count) != 0)
        return -1;
    if (count < 0) {
        int64_t size;
        if (walk_long(w, &w->at, &size) != 0)
            return -1;
        if (size < 0 || (uint64_t)size > walk_left(w, w->at))
            return walk_fail(w, from, "a block of %lld bytes, %zu are left", (long long)size,
                             walk_left(w, w->at));
        out->sized = true;
        out->end = w->at + size;
        count = count == INT64_MIN ? INT64_MAX : -count;
    }
    if (count == 0)
        return 0;
    if (count > AVRO_MAX_ITEMS - (int64_t)so_far)
        return walk_fail(w, from, "an array of more than %d items", AVRO_MAX_ITEMS);
    if (min_bytes == 0)
        return walk_fail(w, from, "an array of items without size");
    if ((uint64_t)count * min_bytes > walk_left(w, w->at))
        return walk_fail(w, from, "an array of %lld items, but only %zu bytes are left", (long long)count,
                         walk_left(w, w->at));
    out->items = (uint32_t)count;
    return 0;
}

static int check_block_end(struct walk *w, const struct block *block)
{
    if (block->sized && block->end != w->at)
        return walk_fail(w, w->at, "a block ends here, but it said byte %zu",
                         (size_t)(block->end - w->start));
    return 0;
}

/* Room for `more` items of `size` bytes after the n that are there: moved when a second block comes. */
static void *grow_items(struct walk *w, void *items, uint32_t n, uint32_t *cap, uint32_t more, size_t size)
{
    if (n + more <= *cap)
        return items;
    *cap = n + more > *cap * 2 ? n + more : *cap * 2;
    void *grown = arena_alloc(w->arena, *cap * size);
    if (n)
        memcpy(grown, items, n * size);
    return grown;
}

int walk_strings(struct walk *w, const struct span **out, uint32_t *n)
{
    struct span *items = NULL;
    uint32_t cap = 0;
    struct block block;
    *n = 0;
    for (;;) {
        if (walk_block(w, 1, *n, &block) != 0)
            return -1;
        if (block.items == 0)
            break;
        items = grow_items(w, items, *n, &cap, block.items, sizeof *items);
        for (; block.items > 0; block.items--)
            if (walk_string(w, &w->at, &items[(*n)++]) != 0)
                return -1;
        if (check_block_end(w, &block) != 0)
            return -1;
    }
    *out = items;
    return 0;
}

static int walk_array(struct walk *w, const struct avro_node *type, struct cell *out)
{
    struct cell *items = NULL;
    uint32_t n = 0, cap = 0;
    struct block block;
    if (enter(w) != 0)
        return -1;
    for (;;) {
        if (walk_block(w, type->as.items->min_bytes, n, &block) != 0)
            return -1;
        if (block.items == 0)
            break;
        items = grow_items(w, items, n, &cap, block.items, sizeof *items);
        for (; block.items > 0; block.items--)
            if (walk_value(w, type->as.items, &items[n++]) != 0)
                return -1;
        if (check_block_end(w, &block) != 0)
            return -1;
    }
    w->depth--;
    out->type = CELL_ARRAY;
    out->n = n;
    out->as.items = items;
    return 0;
}

static int walk_map(struct walk *w, const struct avro_node *type, struct cell *out)
{
    struct map_entry *entries = NULL;
    uint32_t n = 0, cap = 0;
    struct block block;
    if (enter(w) != 0)
        return -1;
    for (;;) {
        if (walk_block(w, type->as.items->min_bytes + 1, n, &block) != 0)
            return -1;
        if (block.items == 0)
            break;
        entries = grow_items(w, entries, n, &cap, block.items, sizeof *entries);
        for (; block.items > 0; block.items--, n++)
            if (walk_string(w, &w->at, &entries[n].key) != 0 ||
                walk_value(w, type->as.items, &entries[n].cell) != 0)
                return -1;
        if (check_block_end(w, &block) != 0)
            return -1;
    }
    w->depth--;
    out->type = CELL_MAP;
    out->n = n;
    out->as.entries = entries;
    return 0;
}

static int walk_union(struct walk *w, const struct avro_node *type, struct cell *out)
{
    const uint8_t *from = w->at;
    int64_t branch;
    if (walk_long(w, &w->at, &branch) != 0)
        return -1;
    if (branch < 0 || branch >= type->n)
        return walk_fail(w, from, "branch %lld of a union of %u", (long long)branch, type->n);
    return walk_value(w, type->as.branches[branch], out);
}

static int walk_enum(struct walk *w, const struct avro_node *type, struct cell *out)
{
    const uint8_t *from = w->at;
    int64_t symbol;
    if (walk_long(w, &w->at, &symbol) != 0)
        return -1;
    if (symbol < 0 || symbol >= type->n)
        return walk_fail(w, from, "symbol %lld of an enum of %u (%.60s)", (long long)symbol, type->n,
                         type->name);
    out->type = CELL_STRING;
    out->n = 0;
    out->as.bytes = type->as.symbols[symbol];
    return 0;
}

static int walk_float(struct walk *w, struct cell *out)
{
    uint32_t bits;
    float v;
    if (walk_left(w, w->at) < sizeof bits)
        return walk_fail(w, w->at, "the payload ends inside a float");
    memcpy(&bits, w->at, sizeof bits);
    bits = le32toh(bits);
    memcpy(&v, &bits, sizeof v);
    w->at += sizeof bits;
    out->type = CELL_DOUBLE;
    out->as.number = (double)v;
    return 0;
}

static int walk_fixed(struct walk *w, const struct avro_node *type, struct cell *out)
{
    if (walk_left(w, w->at) < type->n)
        return walk_fail(w, w->at, "a fixed of %u bytes, %zu are left", type->n, walk_left(w, w->at));
    out->type = CELL_BYTES;
    out->as.bytes = span_of(w->at, type->n);
    w->at += type->n;
    return 0;
}

static int walk_record(struct walk *w, const struct avro_node *type, struct cell *out)
{
    if (enter(w) != 0)
        return -1;
    const struct field_value *fields;
    uint32_t n;
    if (walk_fields(w, type, 0, &fields, &n) != 0)
        return -1;
    w->depth--;
    out->type = CELL_RECORD;
    out->n = n;
    out->as.record.shape = &type->as.record.shape;
    out->as.record.fields = fields;
    return 0;
}

int walk_value(struct walk *w, const struct avro_node *type, struct cell *out)
{
    switch (type->kind) {
    case NODE_NULL:
        out->type = CELL_NULL;
        return 0;
    case NODE_BOOLEAN:
        out->type = CELL_BOOLEAN;
        return walk_boolean(w, &w->at, &out->as.boolean);
    case NODE_INT:
        out->type = CELL_INT;
        return walk_int(w, &w->at, &out->as.integer);
    case NODE_LONG:
        out->type = CELL_INT;
        return walk_long(w, &w->at, &out->as.integer);
    case NODE_FLOAT:
        return walk_float(w, out);
    case NODE_DOUBLE:
        out->type = CELL_DOUBLE;
        return walk_double(w, &w->at, &out->as.number);
    case NODE_STRING:
        out->type = CELL_STRING;
        return walk_string(w, &w->at, &out->as.bytes);
    case NODE_BYTES:
        out->type = CELL_BYTES;
        return walk_bytes(w, &w->at, "bytes", &out->as.bytes);
    case NODE_FIXED:
        return walk_fixed(w, type, out);
    case NODE_ENUM:
        return walk_enum(w, type, out);
    case NODE_RECORD:
        return walk_record(w, type, out);
    case NODE_ARRAY:
        return walk_array(w, type, out);
    case NODE_MAP:
        return walk_map(w, type, out);
    case NODE_UNION:
        return walk_union(w, type, out);
    }
    BUG("node kind %d", (int)type->kind);
}

/* How many of the next `most` bytes, of which the first is 0x00, are 0x00 before another comes. */
static inline uint32_t zero_run(const uint8_t *p, size_t left, uint32_t most)
{
    if (most > left)
        most = (uint32_t)left;
    uint32_t n = 1;
    while (n < most && left - n >= 8) {
        uint64_t eight;
        memcpy(&eight, p + n, sizeof eight);
        if (eight) {
            n += (uint32_t)__builtin_ctzll(le64toh(eight)) / 8;
            return n < most ? n : most;
        }
        n += 8;
    }
    if (n > most)
        return most;
    while (n < most && p[n] == 0)
        n++;
    return n;
}

static void reserve_stack(struct walk *w, uint32_t more)
{
    if (w->n + more <= w->cap)
        return;
    uint32_t cap = w->cap * 2 > w->n + more ? w->cap * 2 : w->n + more;
    struct field_value *grown = xmalloc(cap * sizeof *grown);
    memcpy(grown, w->stack, w->n * sizeof *grown);
    if (w->on_heap)
        free(w->stack);
    w->stack = grown;
    w->cap = cap;
    w->on_heap = true;
}

/* A value that is not one of the usual five; pushed unless it is null. */
static int push_other(struct walk *w, const struct avro_node *type, uint32_t index)
{
    struct cell cell;
    if (walk_value(w, type, &cell) != 0)
        return -1;
    if (cell.type != CELL_NULL)
        w->stack[w->n++] = (struct field_value){index, cell};
    return 0;
}

static int fail_in_field(struct walk *w, const struct avro_node *type, int depth, uint32_t index)
{
    /* Two names lead to the place; sixty would push what is wrong out of the text. */
    if (depth <= 1)
        err_prefix(w->e, "field %.80s", type->as.record.shape.fields[index].name);
    return -1;
}

/*
 * The steps of a record from `from` on. The usual field, ["null", T] with a plain T, is decided by one byte
 * and decoded here; runs of nulls are skipped eight at a time.
 */
static int push_fields(struct walk *w, const struct avro_node *type, uint32_t from)
{
    const struct field_step *step = type->as.record.steps + from, *last = type->as.record.steps + type->n;
    const uint8_t *p = w->at;
    const int depth = w->depth; /* a failure leaves w->depth where it happened */
    while (step < last) {
        if (LIKELY(step->null_run && p < w->end)) {
            if (*p == 0) {
                uint32_t run = zero_run(p, walk_left(w, p), step->null_run);
                p += run;
                step += run;
                continue;
            }
            if (*p == 2 && step->second) {
                struct field_value *slot = &w->stack[w->n];
                int rc;
                p++;
                slot->index = step->index;
                switch (step->second_kind) {
                case NODE_STRING:
                    slot->cell.type = CELL_STRING;
                    rc = walk_string(w, &p, &slot->cell.as.bytes);
                    break;
                case NODE_LONG:
                    slot->cell.type = CELL_INT;
                    rc = walk_long(w, &p, &slot->cell.as.integer);
                    break;
                case NODE_INT:
                    slot->cell.type = CELL_INT;
                    rc = walk_int(w, &p, &slot->cell.as.integer);
                    break;
                case NODE_DOUBLE:
                    slot->cell.type = CELL_DOUBLE;
                    rc = walk_double(w, &p, &slot->cell.as.number);
                    break;
                case NODE_BOOLEAN:
                    slot->cell.type = CELL_BOOLEAN;
                    rc = walk_boolean(w, &p, &slot->cell.as.boolean);
                    break;
                default:
                    w->at = p;
                    if (push_other(w, step->second, step->index) != 0)
                        return fail_in_field(w, type, depth, step->index);
                    p = w->at;
                    step++;
                    continue;
                }
                if (UNLIKELY(rc != 0))
                    return fail_in_field(w, type, depth, step->index);
                w->n++;
                step++;
                continue;
            }
        }
        w->at = p;
        if (push_other(w, step->node, step->index) != 0)
            return fail_in_field(w, type, depth, step->index);
        p = w->at;
        step++;
    }
    w->at = p;
    return 0;
}

int walk_fields(struct walk *w, const struct avro_node *type, uint32_t from, const struct field_value **out,
                uint32_t *n)
{
    uint32_t mark = w->n;
    size_t left = walk_left(w, w->at); /* every step takes a byte */
    reserve_stack(w, left < type->n ? (uint32_t)left : type->n);
    if (push_fields(w, type, from) != 0)
        return -1;
    *n = w->n - mark;
    struct field_value *copy = arena_alloc(w->arena, *n * sizeof *copy);
    if (*n)
        memcpy(copy, w->stack + mark, *n * sizeof *copy);
    *out = copy;
    w->n = mark;
    return 0;
}
