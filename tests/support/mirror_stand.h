/*
 * mirror_stand: a mirror and its target, for tests: open and fence, a table, rows by column and value, and a look
 * at what became of them through a connection of the test's own.
 *
 * Calling order: stand_begin -> open_and_fence -> (begin_with -> write_ok … -> commit_at) … -> stand_end. Errors fail
 * the test.
 *
 * A new kind of mirror is one line in `mirror_kinds` (tests/contract/mirror_contract_test.c): how to make a target,
 * how to run SQL on it, how to remove it (tests/support/mirror_sqlite.h).
 */
#ifndef SUPPORT_MIRROR_STAND_H
#define SUPPORT_MIRROR_STAND_H

#include "base/alloc.h"
#include "sink/mirror.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct mirror_stand;

struct mirror_kind {
    const char *name;
    enum sink_kind kind;
    /* Make an empty target and fill in config; false: there is none here (the test is skipped). */
    bool (*make)(struct mirror_stand *t);
    void (*remove)(struct mirror_stand *t);
    /* Run SQL from outside; false when the target refuses it. */
    bool (*run)(struct mirror_stand *t, const char *sql);
    /* The number a query gives. */
    int64_t (*count)(struct mirror_stand *t, const char *sql);
    /* Hold a lock that stops writers, until let_go. NULL: cannot. */
    void (*hold)(struct mirror_stand *t);
    void (*let_go)(struct mirror_stand *t);
    /* How `row` shows one value of each type (values_of_every_type), and true and false. */
    const char *shown[8];
    const char *yes, *no;
    bool stores_nan;
    /* Make a trigger on "account" at which a row with the name "poison" takes the transaction, or the connection, with
     * it; what it is then. */
    const char *trap;
    enum mirror_outcome trapped;
};

struct mirror_stand {
    const struct mirror_kind *kind;
    const struct mirror_ops *ops;
    struct sink_config config;
    struct mirror *m, *second;
    struct mirror_authority held;
    struct arena a;
    struct mirror_remarks remarks;
    struct err e;
    char dir[64], path[96], dsn[256];
    void *private;
    uint64_t seq;
    uint32_t numbers[64];
};

static const uint8_t stand_store[MIRROR_STORE_ID] = "store-0123456789"; /* 16 bytes, no NUL */
#define STAND_T0 INT64_C(1767225600123)                                 /* 2026-01-01T00:00:00.123Z */

/* A call on a mirror_stand called t. */
#define OK(call)                                                                                             \
    do {                                                                                                     \
        if ((call) != 0)                                                                                     \
            fail_msg("%s: %s (%s)", #call, t->e.text, err_class_name(t->e.class));                           \
    } while (0)
#define FAILS(call, expected)                                                                                \
    do {                                                                                                     \
        assert_int_equal(call, -1);                                                                          \
        if (t->e.class != (expected))                                                                        \
            fail_msg("%s: %s (%s)", #call, t->e.text, err_class_name(t->e.class));                           \
    } while (0)

/* A target, and two mirrors of it that are not open yet; false: there is no target of this kind here. */
static inline bool stand_begin(struct mirror_stand *t, const struct mirror_kind *kind)
{
    static char name[] = "warehouse";
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->config = (struct sink_config){.name = name, .kind = kind->kind};
    if (!kind->make(t))
        return false;
    t->ops = mirror_ops_of(kind->kind);
    assert_non_null(t->ops);
    assert_string_equal(t->ops->kind, kind->name);
    t->m = t->ops->new (&t->config);
    t->second = t->ops->new (&t->config);
    return true;
}

static inline void stand_end(struct mirror_stand *t)
{
    t->ops->free(t->m);
    t->ops->free(t->second);
    arena_release(&t->a);
    buf_release(&t->remarks.notice);
    buf_release(&t->remarks.odd);
    t->kind->remove(t);
}

static inline void open_and_fence(struct mirror_stand *t)
{
    struct buf notice = BUF_INIT;
    OK(t->ops->open(t->m, &notice, &t->e));
    OK(t->ops->fence(t->m, &t->held, &t->e));
    buf_release(&notice);
}

static inline void begin_with(struct mirror_stand *t, const struct mirror_table *table)
{
    OK(t->ops->begin(t->m, &t->e));
    OK(t->ops->prepare(t->m, table, t->numbers, &t->remarks, &t->e));
}

static inline void write_ok(struct mirror_stand *t, struct mirror_row row)
{
    OK(t->ops->write(t->m, &row, 1, false, &t->e));
    if (row.outcome != MIRROR_WRITTEN)
        fail_msg("refused: %s", row.why);
}

static inline void commit_at(struct mirror_stand *t, uint64_t cursor)
{
    OK(t->ops->commit(t->m, stand_store, cursor, span_of_str("counts"), &t->e));
}

/* A value of a test's row. */
#define VALUE_TEXT(s)                                                                                        \
    ((struct mirror_value){.type = MIRROR_TEXT, .as.text = {(const uint8_t *)(s), strlen(s)}})
#define VALUE_OF(t, n)  ((struct mirror_value){.type = (t), .as.integer = (n)})
#define VALUE_NUMBER(n) ((struct mirror_value){.type = MIRROR_DOUBLE, .as.number = (n)})
#define VALUE_NULL(t)   ((struct mirror_value){.is_null = true, .type = (t)})

static inline struct span stand_id(const char *id)
{
    return span_of_str(id);
}

/* A row with its state, version and what is held of it filled in. columns and values are borrowed. */
static inline struct mirror_row stand_row(struct mirror_stand *t, const struct mirror_table *table,
                                          const char *id, enum mirror_action action, uint32_t n,
                                          const uint32_t *columns, const struct mirror_value *values,
                                          const char *state)
{
    struct mirror_row row = {.table = table,
                             .id = stand_id(id),
                             .action = action,
                             .n = n,
                             .columns = columns,
                             .values = values,
                             .state = span_of_str(state),
                             .version = {1, 0, (int64_t)++t->seq, 1},
                             .seq = t->seq,
                             .deleted_ms = STAND_T0};
    if (!table->append_only && t->ops->load(t->m, table, &row.id, 1, &t->a, &row.held, &t->e) != 0)
        BUG("load: %s", t->e.text);
    return row;
}

#endif
