#include "delivery/tally.h"

#include "delivery/map_parts.h"

#include <string.h>

/* Schemas that follow one another have slots of their own for a field. */
static bool is_of(const struct tally_entry *t, const struct map_slot *slot, const char *rule)
{
    return strcmp(t->slot->rule->field, slot->rule->field) == 0 &&
           strcmp(t->slot->rule->entity, slot->rule->entity) == 0 && strcmp(t->rule, rule) == 0;
}

void tally_add(struct tally *t, struct arena *a, const struct map_slot *slot, const char *rule)
{
    struct tally_entry **at = &t->first;
    t->n++;
    while (*at && !is_of(*at, slot, rule))
        at = &(*at)->next;
    if (!*at) {
        *at = arena_alloc(a, sizeof **at);
        **at = (struct tally_entry){slot, rule, 0, NULL};
    }
    (*at)->n++;
}

void tally_text(const struct tally *t, struct buf *out)
{
    enum { MOST = 10 };
    size_t n = 0;
    const struct tally_entry *e = t->first;
    for (; e && n < MOST; e = e->next)
        buf_addf(out, "%s%s.%s (%s: %zu)", n++ ? ", " : "", e->slot->rule->entity, e->slot->rule->field,
                 e->rule, e->n);
    if (e)
        buf_add_str(out, ", and others");
}
