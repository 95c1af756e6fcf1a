/*
 * conflict and record_state: versions are a total order; a history gives the same rows in any order, repeated
 * and cut into pieces; states survive their bytes, and foreign bytes are an error.
 *
 * What a history must give is computed by `expect`, from the set of its changes alone.
 */
#include "delivery/conflict.h"

#include "base/alloc.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { FIELDS = 6, MOST_CHANGES = 9, HISTORIES = 4000, ORDERS = 8 };

/* One change; value[i] of field i + 1 is its version's number, or 0 for null. */
struct step {
    enum conflict_kind kind;
    struct version version;
    unsigned named; /* bits: fields an UPDATE names */
    int64_t value[FIELDS];
};

/* What a target holds of one record. */
struct target {
    struct buf state;
    bool soft; /* deletions are */
    bool has_row, marked;
    int64_t value[FIELDS];
};

static struct version draw_version(struct rng *r)
{
    return (struct version){.epoch = (uint32_t)rng_below(r, 3),
                            .rank = (uint32_t)rng_below(r, 2),
                            .commit = (int64_t)rng_below(r, 4) * 1000000000000 + (int64_t)rng_below(r, 3) + 1,
                            .sequence = (int32_t)rng_below(r, 3)};
}

static int sign(int x)
{
    return (x > 0) - (x < 0);
}

static void versions_are_a_total_order(void **state)
{
    (void)state;
    struct rng r = {1};
    for (int i = 0; i < 200000; i++) {
        struct version a = draw_version(&r), b = draw_version(&r), c = draw_version(&r);
        int ab = sign(version_compare(&a, &b)), bc = sign(version_compare(&b, &c)),
            ac = sign(version_compare(&a, &c));
        assert_int_equal(ab, -sign(version_compare(&b, &a)));
        assert_int_equal(sign(version_compare(&a, &a)), 0);
        if (ab == bc || bc == 0)
            assert_int_equal(ac, ab);
        if (ab == 0) {
            assert_int_equal(a.epoch, b.epoch);
            assert_int_equal(a.rank, b.rank);
            assert_int_equal(a.commit, b.commit);
            assert_int_equal(a.sequence, b.sequence);
        }
    }
}

/* --- a target of one record ------------------------------------------------------------------------- */

static struct conflict_change change_of(const struct step *s, bool soft, uint32_t fields[FIELDS])
{
    struct conflict_change ch = {.kind = s->kind, .version = s->version, .soft = soft, .fields = fields};
    for (uint32_t i = 0; i < FIELDS; i++)
        if (s->kind == CONFLICT_IMAGE || (s->kind == CONFLICT_UPDATE && (s->named >> i & 1)))
            fields[ch.n++] = i + 1;
    return ch;
}

static const struct mirror_value *value_of(struct arena *a, int64_t number)
{
    struct mirror_value *v = arena_alloc(a, sizeof *v);
    *v = (struct mirror_value){.is_null = number == 0, .type = MIRROR_BIGINT, .as.integer = number};
    return v;
}

/* Values that must outlive the row, or an UPDATE brought to a row that is not there, go into the state. */
static void keep_values(struct target *t, const struct step *s, struct record_state *next, struct arena *a)
{
    struct field_version *fields = arena_alloc(a, (next->n + 1) * sizeof *fields);
    for (uint32_t i = 0; i < next->n; i++) {
        fields[i] = next->fields[i];
        const uint32_t f = fields[i].field - 1;
        if (version_compare(&fields[i].version, &s->version) == 0 && s->kind == CONFLICT_UPDATE)
            fields[i].kept = value_of(a, s->value[f]);
        else if (!fields[i].kept)
            fields[i].kept = value_of(a, t->value[f]);
    }
    next->fields = fields;
}

static void bring_back(struct target *t, struct record_state *next, struct arena *a)
{
    struct field_version *fields = arena_alloc(a, (next->n + 1) * sizeof *fields);
    for (uint32_t i = 0; i < next->n; i++) {
        fields[i] = next->fields[i];
        assert_non_null(fields[i].kept);
        t->value[fields[i].field - 1] = fields[i].kept->is_null ? 0 : fields[i].kept->as.integer;
        fields[i].kept = NULL;
    }
    next->fields = fields;
}

static void apply(struct target *t, const struct step *s, const struct version *horizon)
{
    struct arena a = ARENA_INIT;
    struct record_state held;
    struct conflict_decision d;
    struct err e = ERR_INIT;
    uint32_t fields[FIELDS];
    struct conflict_change ch = change_of(s, t->soft, fields);
    if (record_state_decode(buf_span(&t->state), &a, &held, &e) != 0)
        fail_msg("%s", e.text);
    conflict_decide(&held, &ch, &a, &d);
    if (d.row == CONFLICT_ROW_NONE)
        assert_int_equal(d.n_won, 0);
    if (d.row == CONFLICT_ROW_UPSERT) {
        if (!t->has_row && !t->marked)
            memset(t->value, 0, sizeof t->value);
        t->has_row = d.next.existence != RECORD_DELETED;
        t->marked = !t->has_row;
        assert_true(t->soft || !t->marked);
        for (uint32_t i = 0; i < ch.n; i++)
            if (d.won[i])
                t->value[ch.fields[i] - 1] = s->value[ch.fields[i] - 1];
        if (d.returns && !t->soft)
            bring_back(t, &d.next, &a);
    }
    if (!t->soft && d.next.existence == RECORD_DELETED && d.row != CONFLICT_ROW_NONE)
        keep_values(t, s, &d.next, &a);
    if (d.row == CONFLICT_ROW_DELETE) {
        t->marked = t->soft && (t->has_row || t->marked);
        t->has_row = false;
    }
    if (horizon)
        record_state_fold(&d.next, horizon, &a);
    struct buf bytes = BUF_INIT;
    record_state_encode(&d.next, &bytes);
    buf_release(&t->state);
    t->state = bytes;
    arena_release(&a);
}

/* --- what must come out ----------------------------------------------------------------------------- */

struct outcome {
    bool exists, incomplete;
    bool marked; /* it was deleted softly: its row is there still */
    int64_t value[FIELDS];
};

static struct outcome expect(const struct step *steps, size_t n, bool soft)
{
    struct outcome out = {.exists = false};
    const struct step *last = NULL, *gap = NULL; /* of those that say whether it exists */
    bool updated = false, imaged = false;
    for (size_t i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        imaged |= s->kind == CONFLICT_IMAGE;
        updated |= s->kind == CONFLICT_UPDATE;
        if (s->kind == CONFLICT_GAP && (!gap || version_compare(&s->version, &gap->version) > 0))
            gap = s;
        if ((s->kind == CONFLICT_IMAGE || s->kind == CONFLICT_DELETE) &&
            (!last || version_compare(&s->version, &last->version) > 0))
            last = s;
    }
    out.exists = last ? last->kind == CONFLICT_IMAGE : updated;
    out.marked = soft && !out.exists && (updated || imaged);
    if (!out.exists && !out.marked)
        return out;
    out.incomplete = !last || (gap && version_compare(&gap->version, &last->version) > 0);
    for (uint32_t f = 0; f < FIELDS; f++) {
        const struct step *best = NULL;
        for (size_t i = 0; i < n; i++)
            if ((steps[i].kind == CONFLICT_IMAGE ||
                 (steps[i].kind == CONFLICT_UPDATE && (steps[i].named >> f & 1))) &&
                (!best || version_compare(&steps[i].version, &best->version) > 0))
                best = &steps[i];
        out.value[f] = best ? best->value[f] : 0;
    }
    return out;
}

static size_t draw_history(struct rng *r, struct step *steps)
{
    size_t n = 1 + rng_below(r, MOST_CHANGES);
    struct version v = {.epoch = 1, .commit = 11657372702432, .sequence = 1};
    for (size_t i = 0; i < n; i++) {
        struct step *s = &steps[i];
        static const enum conflict_kind kinds[] = {CONFLICT_IMAGE,  CONFLICT_UPDATE, CONFLICT_UPDATE,
                                                   CONFLICT_UPDATE, CONFLICT_UPDATE, CONFLICT_DELETE,
                                                   CONFLICT_GAP,    CONFLICT_IMAGE};
        *s = (struct step){.kind = kinds[rng_below(r, ARRAY_LEN(kinds))],
                           .named = (unsigned)(1 + rng_below(r, (1 << FIELDS) - 1))};
        for (uint32_t f = 0; f < FIELDS; f++)
            s->value[f] = rng_below(r, 4) ? (int64_t)(i * 100 + f + 1) : 0;
        s->version = v;
        s->version.rank = s->kind == CONFLICT_IMAGE && rng_below(r, 3) == 0;
        switch (rng_below(r, 4)) {
        case 0:
            v.sequence++;
            break; /* the same transaction */
        case 1:
            v.epoch++, v.commit -= 1000000000;
            break;
        default:
            v.commit += 1 + (int64_t)rng_below(r, 1000), v.sequence = 1;
            break;
        }
    }
    return n;
}

static void check(const struct target *t, const struct outcome *want, uint64_t seed)
{
    struct arena a = ARENA_INIT;
    struct record_state s;
    struct err e = ERR_INIT;
    assert_int_equal(record_state_decode(buf_span(&t->state), &a, &s, &e), 0);
    if (t->has_row != want->exists)
        fail_msg("history %llu: the row is %s", (unsigned long long)seed, t->has_row ? "there" : "not there");
    if (t->marked != want->marked)
        fail_msg("history %llu: the marked row is %s", (unsigned long long)seed,
                 t->marked ? "there" : "not there");
    const bool found = t->has_row || t->marked;
    if (found && record_state_incomplete(&s) != want->incomplete)
        fail_msg("history %llu: incomplete is %d", (unsigned long long)seed, !want->incomplete);
    for (uint32_t f = 0; found && f < FIELDS; f++)
        if (t->value[f] != want->value[f])
            fail_msg("history %llu: field %u is %lld, not %lld", (unsigned long long)seed, f + 1,
                     (long long)t->value[f], (long long)want->value[f]);
    arena_release(&a);
}

static void any_order_gives_the_same_row(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct rng r = {seed};
        struct step steps[MOST_CHANGES];
        const bool soft = seed % 2;
        size_t n = draw_history(&r, steps);
        const struct outcome want = expect(steps, n, soft);
        for (int order = 0; order < ORDERS; order++) {
            struct target t = {.state = BUF_INIT, .soft = soft};
            size_t at[3 * MOST_CHANGES], m = 0;
            for (size_t i = 0; i < n; i++)
                for (uint64_t copies = 1 + (order ? rng_below(&r, 3) : 0); copies; copies--)
                    at[m++] = i;
            for (size_t i = m; order && i > 1; i--) {
                size_t k = rng_below(&r, i), swap = at[i - 1];
                at[i - 1] = at[k];
                at[k] = swap;
            }
            for (size_t i = 0; i < m; i++)
                apply(&t, &steps[at[i]], NULL);
            check(&t, &want, seed);
            buf_release(&t.state);
        }
    }
}

/* What lies below the horizon came in order; what is above it may come in any. */
static void folding_changes_nothing_above_the_horizon(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct rng r = {seed};
        struct step steps[MOST_CHANGES];
        struct target t = {.state = BUF_INIT, .soft = seed % 2};
        size_t n = draw_history(&r, steps), below = rng_below(&r, n + 1);
        const struct outcome want = expect(steps, n, t.soft);
        for (size_t i = 0; i < below; i++)
            apply(&t, &steps[i], i + 1 == below ? &steps[i].version : NULL);
        for (size_t i = n; i > below + 1; i--) {
            size_t k = below + rng_below(&r, i - below);
            struct step swap = steps[i - 1];
            steps[i - 1] = steps[k];
            steps[k] = swap;
        }
        for (size_t i = below; i < n; i++)
            apply(&t, &steps[i], NULL);
        check(&t, &want, seed);
        buf_release(&t.state);
    }
}

/* --- bytes ------------------------------------------------------------------------------------------ */

static struct record_state draw_state(struct rng *r, struct arena *a)
{
    struct record_state s = {.existence = (enum record_existence)rng_below(r, 3)};
    if (s.existence != RECORD_UNSEEN)
        s.existed = draw_version(r);
    s.base = rng_below(r, 2) ? s.existed : draw_version(r);
    if (rng_below(r, 3) == 0)
        s.dirty = draw_version(r);
    s.stamp_ms = rng_below(r, 2) ? (int64_t)rng_next(r) : 0;
    s.deleted_ms = rng_below(r, 3) == 0 ? (int64_t)rng_next(r) : 0;
    s.bound_ms = rng_below(r, 2) ? (int64_t)rng_next(r) : 0;
    s.edit_ms = rng_below(r, 2) ? (int64_t)rng_next(r) : 0;
    s.n = (uint32_t)rng_below(r, rng_below(r, 10) ? 12 : 600);
    struct field_version *fields = arena_alloc(a, (s.n + 1) * sizeof *fields);
    bool hashes = rng_below(r, 2), kept = rng_below(r, 2), edited = rng_below(r, 2);
    s.base_edited = edited && rng_below(r, 2);
    for (uint32_t i = 0, number = 0; i < s.n; i++) {
        number += 1 + (uint32_t)rng_below(r, 5);
        fields[i] = (struct field_version){
            .field = number, .version = draw_version(r), .hash = hashes ? rng_next(r) : 0};
        struct mirror_value *v = arena_alloc(a, sizeof *v);
        *v = (struct mirror_value){.is_null = rng_below(r, 4) == 0,
                                   .type = (enum mirror_type)rng_below(r, 8)};
        if (v->type == MIRROR_DOUBLE)
            v->as.number = (double)rng_next(r) / 3;
        else if (v->type == MIRROR_TEXT || v->type == MIRROR_JSON)
            v->as.text = span_of_str(rng_below(r, 2) ? "a longer text, as texts are" : "");
        else
            v->as.integer = (int64_t)rng_next(r);
        fields[i].kept = kept && rng_below(r, 2) ? v : NULL;
        fields[i].edited = edited && rng_below(r, 2);
    }
    s.fields = fields;
    return s;
}

static void assert_same_value(const struct mirror_value *a, const struct mirror_value *b)
{
    assert_int_equal(!a, !b);
    if (!a)
        return;
    assert_int_equal(a->is_null, b->is_null);
    assert_int_equal(a->type, b->type);
    if (a->is_null)
        return;
    if (a->type == MIRROR_TEXT || a->type == MIRROR_JSON)
        assert_true(span_equal(a->as.text, b->as.text));
    else
        assert_memory_equal(&a->as, &b->as, 8);
}

static void a_state_survives_its_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct rng r = {seed};
        struct arena a = ARENA_INIT;
        struct record_state s = draw_state(&r, &a), back;
        struct buf bytes = BUF_INIT, again = BUF_INIT;
        struct err e = ERR_INIT;
        record_state_encode(&s, &bytes);
        if (record_state_decode(buf_span(&bytes), &a, &back, &e) != 0)
            fail_msg("%s", e.text);
        assert_int_equal(back.existence, s.existence);
        assert_int_equal(version_compare(&back.existed, &s.existed), 0);
        assert_int_equal(version_compare(&back.base, &s.base), 0);
        assert_int_equal(version_compare(&back.dirty, &s.dirty), 0);
        assert_true(back.stamp_ms == s.stamp_ms);
        assert_true(back.deleted_ms == s.deleted_ms);
        assert_true(back.bound_ms == s.bound_ms && back.edit_ms == s.edit_ms);
        assert_int_equal(back.base_edited, s.base_edited);
        assert_int_equal(back.n, s.n);
        for (uint32_t i = 0; i < s.n; i++) {
            assert_int_equal(back.fields[i].field, s.fields[i].field);
            assert_int_equal(version_compare(&back.fields[i].version, &s.fields[i].version), 0);
            assert_true(back.fields[i].hash == s.fields[i].hash);
            assert_same_value(back.fields[i].kept, s.fields[i].kept);
            assert_int_equal(back.fields[i].edited, s.fields[i].edited);
        }
        record_state_encode(&back, &again);
        assert_true(span_equal(buf_span(&bytes), buf_span(&again)));
        buf_release(&bytes);
        buf_release(&again);
        arena_release(&a);
    }
}

static void foreign_bytes_are_an_error(void **state)
{
    (void)state;
    size_t refused = 0;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct rng r = {seed};
        struct arena a = ARENA_INIT;
        struct record_state s = draw_state(&r, &a), back;
        struct buf bytes = BUF_INIT;
        record_state_encode(&s, &bytes);
        for (uint64_t hits = 1 + rng_below(&r, 4); hits; hits--)
            bytes.data[rng_below(&r, bytes.len)] = (uint8_t)rng_next(&r);
        uint8_t *exact = xmalloc(bytes.len); /* so that a read behind the end is seen by sanitizers */
        size_t n = rng_below(&r, 3) ? bytes.len : rng_below(&r, bytes.len);
        memcpy(exact, bytes.data, n);
        struct err e = ERR_INIT;
        if (record_state_decode(span_of(exact, n), &a, &back, &e) != 0) {
            assert_int_equal(e.class, ERR_REJECTED);
            refused++;
        } else {
            for (uint32_t i = 1; i < back.n; i++)
                assert_true(back.fields[i - 1].field < back.fields[i].field);
        }
        free(exact);
        buf_release(&bytes);
        arena_release(&a);
    }
    assert_true(refused > 1000);
}

/* What a record costs: the number docs/mirror.md gives. */
static void a_state_is_small(void **state)
{
    (void)state;
    const struct version created = {.epoch = 1, .commit = 11657372702432, .sequence = 1};
    struct field_version fields[] = {{.field = 3, .version = {1, 0, 11657399999999, 1}},
                                     {.field = 9, .version = {1, 0, 11657399999999, 1}},
                                     {.field = 17, .version = {1, 0, 11657388888888, 2}}};
    struct record_state s = {.existence = RECORD_EXISTS, .existed = created, .base = created};
    struct buf bytes = BUF_INIT;
    record_state_encode(&s, &bytes);
    assert_true(bytes.len <= 12);
    s.fields = fields;
    s.n = 3;
    buf_clear(&bytes);
    record_state_encode(&s, &bytes);
    assert_true(bytes.len < 40);
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_a_total_order),
        cmocka_unit_test(any_order_gives_the_same_row),
        cmocka_unit_test(folding_changes_nothing_above_the_horizon),
        cmocka_unit_test(a_state_survives_its_bytes),
        cmocka_unit_test(foreign_bytes_are_an_error),
        cmocka_unit_test(a_state_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
