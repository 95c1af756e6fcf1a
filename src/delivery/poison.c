#include "delivery/poison.h"

#include "base/alloc.h"
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

enum { PATIENCE = 2, LONG_PATIENCE = 20, STRIKES = 3 };

/* --- one batch ------------------------------------------------------------------------------------ */

void poison_forget(struct poison *p)
{
    p->n = 0;
    p->failures = p->strikes = 0;
    p->patience = PATIENCE;
    p->doubtful = false;
}

void poison_acquit(struct poison *p)
{
    poison_forget(p);
    p->patience = LONG_PATIENCE;
}

void poison_of_batch(struct poison *p, uint64_t cursor)
{
    if (p->cursor != cursor || p->patience == 0)
        poison_forget(p);
    p->cursor = cursor;
}

void poison_failed(struct poison *p)
{
    p->failures++;
}

void poison_release(struct poison *p)
{
    free(p->all);
    *p = (struct poison){.n = 0};
}

bool poison_is_sought(const struct poison *p)
{
    return p->failures >= p->patience;
}

bool poison_is_absent(const struct poison *p)
{
    return p->n == 0 && !poison_is_sought(p);
}

bool poison_is_near(const struct poison *p)
{
    return p->strikes > 0 || p->n > 0;
}

/* --- who it is ------------------------------------------------------------------------------------ */

const char *poison_why(const struct poison *p, uint64_t key)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->all[i].key == key)
            return p->all[i].why;
    return NULL;
}

void poison_convict(struct poison *p, uint64_t key, const char *why)
{
    char reason[sizeof p->all->why]; /* `why` may be another's, which moves */
    if (poison_why(p, key))
        return;
    snprintf(reason, sizeof reason, "%s", why);
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 8;
        p->all = xrealloc(p->all, p->cap * sizeof *p->all);
    }
    struct convicted *c = &p->all[p->n++];
    c->key = key;
    memcpy(c->why, reason, sizeof reason);
}

bool poison_strike(struct poison *p, uint64_t key)
{
    if (p->suspect != key)
        p->strikes = 0;
    p->suspect = key;
    if (++p->strikes < STRIKES)
        return false;
    p->strikes = 0;
    p->doubtful = true;
    poison_convict(p, key,
                   "the connection to the target ends each time it is written (a trigger, or a fault of the "
                   "server)");
    return true;
}

/* --- keys ------------------------------------------------------------------------------------------ */

uint64_t poison_record_key(const struct mirror_row *row)
{
    return digest_fast(row->hash, digest_fast(row->id, digest_fast(span_of_str(row->table->name), 1)));
}

/* The state is left out: it changes with the horizon, and no trigger of a user reads it. */
uint64_t poison_row_key(const struct mirror_row *row)
{
    uint64_t key = poison_record_key(row);
    const uint64_t what[] = {row->action, row->seq, row->n};
    key = digest_fast(span_of(what, sizeof what), key);
    for (uint32_t i = 0; i < row->n; i++) {
        const struct mirror_value *v = &row->values[i];
        const bool text = v->type == MIRROR_TEXT || v->type == MIRROR_JSON;
        const uint64_t cell[] = {row->columns[i], v->is_null,
                                 v->is_null || text ? 0 : (uint64_t)v->as.integer};
        key = digest_fast(span_of(cell, sizeof cell), key);
        if (text && !v->is_null)
            key = digest_fast(v->as.text, key);
    }
    return key;
}

uint64_t poison_group_key(uint64_t seq)
{
    return digest_fast(span_of(&seq, sizeof seq), 2);
}
