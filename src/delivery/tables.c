#include "delivery/tables.h"

#include "base/alloc.h"

struct table *tables_of(struct tables *t, const struct mirror_table *mirror)
{
    if (mirror->number >= t->n) {
        size_t n = (size_t)mirror->number + 1;
        t->tables = xrealloc(t->tables, n * sizeof(struct table *));
        for (; t->n < n; t->n++)
            t->tables[t->n] = NULL;
    }
    struct table **at = &t->tables[mirror->number];
    if (!*at)
        *at = xcalloc(1, sizeof **at);
    (*at)->mirror = mirror;
    return *at;
}

struct numbered {
    uint32_t field, source;
};

static int by_field(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return x->field < y->field ? -1 : x->field > y->field;
}

static void learn(struct table *t)
{
    const struct mirror_table *m = t->mirror;
    const uint32_t n = m->n_sources;
    struct numbered *order = xcalloc(n + 1, sizeof *order);
    for (uint32_t i = 0; i < n; i++)
        order[i] = (struct numbered){t->numbers[i], i};
    qsort(order, n, sizeof *order, by_field);
    t->fields = xrealloc(t->fields, (n + 1) * sizeof *t->fields);
    t->sources = xrealloc(t->sources, (n + 1) * sizeof *t->sources);
    t->places = xrealloc(t->places, (n + 1) * sizeof *t->places);
    for (uint32_t i = 0; i < n; i++) {
        t->fields[i] = order[i].field;
        t->sources[i] = order[i].source;
        t->places[order[i].source] = i;
    }
    free(order);
    t->modified = NO_COLUMN;
    for (uint32_t i = 0; m->last_modified && i < m->n_columns; i++)
        if (strcmp(m->columns[i].name, m->last_modified) == 0 && m->columns[i].type == MIRROR_DATETIME)
            t->modified = i;
    t->n = n;
    t->shape = m->shape;
    t->prepared = true;
}

int table_prepare(struct table *t, const struct mirror_ops *ops, struct mirror *m,
                  struct mirror_remarks *remarks, struct err *e)
{
    if (t->prepared && t->shape == t->mirror->shape)
        return 0;
    t->numbers = xrealloc(t->numbers, (t->mirror->n_sources + 1) * sizeof *t->numbers);
    if (ops->prepare(m, t->mirror, t->numbers, remarks, e) != 0)
        return -1;
    learn(t);
    return 0;
}

uint32_t table_source(const struct table *t, uint32_t field)
{
    uint32_t low = 0, high = t->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (t->fields[mid] < field)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n && t->fields[low] == field ? t->sources[low] : NO_COLUMN;
}

void tables_forget(struct tables *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->tables[i])
            t->tables[i]->prepared = false;
}

void tables_release(struct tables *t)
{
    for (size_t i = 0; i < t->n; i++) {
        if (!t->tables[i])
            continue;
        free(t->tables[i]->fields);
        free(t->tables[i]->sources);
        free(t->tables[i]->numbers);
        free(t->tables[i]->places);
        free(t->tables[i]);
    }
    free(t->tables);
    *t = (struct tables){NULL, 0};
}
