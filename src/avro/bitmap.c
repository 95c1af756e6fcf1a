/*
 * changedFields, nulledFields, diffFields: arrays of bitmaps over the event's own schema (pubsub-api 9.5).
 *
 * An element is "0x<hex>", bits of the event's fields, or "<n>-0x<hex>", bits of the components of field n;
 * the hex digits are one big number, bit i of it stands for field i. The service writes upper-case
 * digits, whole bytes, the top-level element first, each parent once. Here order, repeats (their union),
 * lower case and leading zeros are accepted, since they can mean only one thing; an odd number of digits (a
 * piece is missing), bits beyond the schema, bits of the header, and components of a field that has
 * none make the event undecodable.
 */
#include "avro/walk.h"

static inline unsigned hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10u : 16;
}

static uint32_t words_for(uint32_t n_fields)
{
    return (n_fields + 63) / 64;
}

static uint64_t *new_words(struct walk *w, uint32_t n_fields)
{
    size_t n = words_for(n_fields) * sizeof(uint64_t);
    uint64_t *words = arena_alloc(w->arena, n);
    memset(words, 0, n);
    return words;
}

/* What is wrong with an element, or NULL. Ors the digits' bits into words. */
static const char *add_bits(struct span hex, uint32_t n_fields, uint64_t *words)
{
    if (hex.n < 2 || hex.p[0] != '0' || hex.p[1] != 'x')
        return "not of the form 0x<hex digits>";
    size_t digits = hex.n - 2;
    if (digits == 0 || digits % 2)
        return digits ? "an odd number of hex digits" : "no hex digits";
    const uint8_t *last = hex.p + hex.n - 1;
    for (size_t i = 0; i < digits; i++) {
        uint64_t v = hex_digit(last[-(ptrdiff_t)i]);
        if (v == 0)
            continue;
        if (v > 15)
            return "a character that is not a hex digit";
        size_t bit = i * 4;
        if (bit + (size_t)(63 - __builtin_clzll(v)) >= n_fields)
            return "a bit beyond the fields of the schema";
        words[bit / 64] |= v << (bit % 64);
    }
    return NULL;
}

/* "<n>-": the number of a compound field and the rest of the element. What is wrong, or NULL. */
static const char *split_parent(const struct avro_plan *plan, struct span *element, uint32_t *parent)
{
    size_t i = 0;
    uint32_t n = 0;
    for (; i < element->n && i < 6 && element->p[i] >= '0' && element->p[i] <= '9'; i++)
        n = n * 10 + (element->p[i] - '0');
    if (i == 0 || i == element->n || element->p[i] != '-')
        return "not of the form 0x<hex digits> or <field>-0x<hex digits>";
    if (n >= plan->schema.root.n_fields)
        return "a parent beyond the fields of the schema";
    if (n == 0 || plan->compounds[n] == COMPOUND_NO)
        return "a parent that has no components";
    *parent = n;
    *element = span_of(element->p + i + 1, element->n - i - 1);
    return NULL;
}

static bool is_top(struct span element)
{
    return element.n >= 2 && element.p[1] == 'x';
}

/* The bits of this parent; a place among the others, in ascending order, when there are none yet. */
static uint64_t *parent_words(struct walk *w, const struct avro_plan *plan, struct nested_bits *nested,
                              uint32_t *n, uint32_t parent)
{
    uint32_t at = *n;
    while (at > 0 && nested[at - 1].parent >= parent) {
        if (nested[at - 1].parent == parent)
            return (uint64_t *)nested[at - 1].bits.words;
        at--;
    }
    memmove(nested + at + 1, nested + at, (*n - at) * sizeof *nested);
    (*n)++;
    uint32_t children = plan->schema.root.fields[parent].record->n_fields;
    uint64_t *words = new_words(w, children);
    nested[at] = (struct nested_bits){parent, {words_for(children), words}};
    return words;
}

static bool holds_record(const struct change *body, uint32_t index)
{
    for (uint32_t i = 0; i < body->n_fields; i++)
        if (body->fields[i].index == index)
            return body->fields[i].cell.type == CELL_RECORD;
    return false;
}

/* The parents whose own bit is set, and which are compounds in this event. */
static uint32_t next_whole_compound(const struct avro_plan *plan, const struct change *body,
                                    const uint64_t *top, uint32_t from)
{
    uint32_t n_words = words_for(plan->schema.root.n_fields);
    for (uint32_t word = from / 64; word < n_words; word++) {
        uint64_t bits = top[word];
        if (word == from / 64)
            bits &= ~(uint64_t)0 << (from % 64);
        for (; bits; bits &= bits - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(bits);
            enum compound kind = plan->compounds[i];
            if (kind == COMPOUND_ALWAYS || (kind == COMPOUND_SOMETIMES && holds_record(body, i)))
                return i;
        }
    }
    return UINT32_MAX;
}

static void set_all(uint64_t *words, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        words[i / 64] |= (uint64_t)1 << (i % 64);
}

static int fail_element(struct walk *w, const struct bitmap_text *text, uint32_t i, const char *why)
{
    return walk_fail(w, text->elements[i].p, "%s, element %u: %s", text->name, i, why);
}

int bitmap_read(struct walk *w, const struct avro_plan *plan, const struct bitmap_text *text,
                const struct change *body, struct field_set *out)
{
    *out = (struct field_set){{0, NULL}, 0, NULL};
    if (text->n == 0)
        return 0;
    uint32_t n_fields = plan->schema.root.n_fields, n_nested = 0, room = 0;
    uint64_t *top = new_words(w, n_fields);
    for (uint32_t i = 0; i < text->n; i++) {
        if (!is_top(text->elements[i])) {
            room++;
            continue;
        }
        const char *wrong = add_bits(text->elements[i], n_fields, top);
        if (!wrong && top[0] & 1)
            wrong = "the bit of ChangeEventHeader";
        if (wrong)
            return fail_element(w, text, i, wrong);
    }
    for (uint32_t i = 0; (i = next_whole_compound(plan, body, top, i)) != UINT32_MAX; i++)
        room++;

    struct nested_bits *nested = room ? arena_alloc(w->arena, room * sizeof *nested) : NULL;
    for (uint32_t i = 0; room && i < text->n; i++) {
        struct span element = text->elements[i];
        uint32_t parent;
        if (is_top(element))
            continue;
        const char *wrong = split_parent(plan, &element, &parent);
        if (!wrong)
            wrong = add_bits(element, plan->schema.root.fields[parent].record->n_fields,
                             parent_words(w, plan, nested, &n_nested, parent));
        if (wrong)
            return fail_element(w, text, i, wrong);
    }
    for (uint32_t i = 0; (i = next_whole_compound(plan, body, top, i)) != UINT32_MAX; i++) {
        set_all(parent_words(w, plan, nested, &n_nested, i), plan->schema.root.fields[i].record->n_fields);
        top[i / 64] &= ~((uint64_t)1 << (i % 64));
    }
    *out = (struct field_set){{words_for(n_fields), top}, n_nested, nested};
    return 0;
}
