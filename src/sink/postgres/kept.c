#include "sink/postgres/kept.h"

#include "base/alloc.h"
#include "base/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t hash_of(const char *text, const unsigned *types, size_t n_types)
{
    return digest_fast(span_of(types, n_types * sizeof *types), digest_fast(span_of_str(text), 0));
}

static bool is_same(const struct pg_kept_statement *s, uint64_t hash, const char *text, const unsigned *types,
                    size_t n_types)
{
    return s->hash == hash && strcmp(s->text, text) == 0 &&
           span_equal(span_of(s->types, s->n_types * sizeof *types), span_of(types, n_types * sizeof *types));
}

static void forget(struct pg_kept_statement *s)
{
    free(s->text);
    free(s->types);
    *s = (struct pg_kept_statement){.text = NULL};
}

/* A free place, or that of the one that was not used for longest. */
static struct pg_kept_statement *make_room(struct pg_kept *k, uint64_t *gone)
{
    if (k->n < PG_KEPT_MOST)
        return &k->all[k->n++];
    struct pg_kept_statement *oldest = &k->all[0];
    for (size_t i = 1; i < k->n; i++)
        if (k->all[i].used < oldest->used)
            oldest = &k->all[i];
    if (oldest->state != PG_KEPT_SEEN)
        *gone = oldest->number;
    forget(oldest);
    return oldest;
}

struct pg_kept_statement *pg_kept_find(struct pg_kept *k, const char *text, const unsigned *types,
                                       size_t n_types, uint64_t *gone)
{
    const uint64_t hash = hash_of(text, types, n_types);
    *gone = 0;
    k->uses++;
    for (size_t i = 0; i < k->n; i++) {
        if (!is_same(&k->all[i], hash, text, types, n_types))
            continue;
        k->all[i].used = k->uses;
        return &k->all[i];
    }
    struct pg_kept_statement *s = make_room(k, gone);
    *s = (struct pg_kept_statement){.text = xstrdup(text), .n_types = n_types, .hash = hash, .used = k->uses};
    s->types = xcalloc(n_types + 1, sizeof *s->types);
    if (n_types) /* else there may be no list at all */
        memcpy(s->types, types, n_types * sizeof *types);
    return NULL;
}

void pg_kept_sent(struct pg_kept *k, struct pg_kept_statement *s)
{
    s->number = ++k->names;
    s->state = PG_KEPT_SENT;
}

void pg_kept_answered(struct pg_kept *k, uint64_t number)
{
    for (size_t i = 0; i < k->n; i++)
        if (number && k->all[i].number == number)
            k->all[i].state = PG_KEPT_READY;
}

void pg_kept_settled(struct pg_kept *k)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->all[i].state == PG_KEPT_SENT)
            k->all[i].state = PG_KEPT_SEEN;
}

void pg_kept_release(struct pg_kept *k)
{
    for (size_t i = 0; i < k->n; i++)
        forget(&k->all[i]);
    *k = PG_KEPT_INIT;
}

void pg_kept_name(uint64_t number, char out[PG_KEPT_NAME])
{
    snprintf(out, PG_KEPT_NAME, "tm%" PRIu64, number);
}
