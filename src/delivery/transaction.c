#include "delivery/transaction.h"

enum { NO_EVENT = UINT32_MAX };

static bool has_several_entities(const struct batch *b, uint32_t number)
{
    for (size_t i = 0; i < b->n_subscriptions; i++) {
        const char *topic = b->subscriptions[i]->record.topic;
        const size_t n = strlen(topic);
        if (b->subscriptions[i]->number == number)
            return strcmp(topic, "/data/ChangeEvents") == 0 || (n > 5 && strcmp(topic + n - 5, "__chn") == 0);
    }
    return false;
}

/* Per event the next one of its group; NO_EVENT: the group ends with it; n_events: it may go on behind the batch. */
static uint32_t *find_next(struct batch *b, bool silent, bool all)
{
    const size_t n = b->n_events;
    uint32_t *next = arena_alloc(&b->arena, (n + 1) * sizeof *next);
    struct tail {
        uint32_t subscription, event;
        struct span key;
    } *tails = arena_alloc(&b->arena, (b->n_subscriptions + 1) * sizeof *tails);
    size_t n_tails = 0, di = b->n_deliveries;
    for (size_t i = n; i-- > 0;) {
        struct span key = span_of(NULL, 0);
        if (b->fates[i] == FATE_DELIVER)
            key = b->deliveries[--di].ch->header.transaction_key;
        if (key.n && !all && !has_several_entities(b, b->events[i].subscription))
            key.n = 0;
        next[i] = NO_EVENT;
        size_t t = 0;
        while (t < n_tails && tails[t].subscription != b->events[i].subscription)
            t++;
        if (t == n_tails) {
            n_tails++;
            const int64_t since_ms = b->events[n - 1].received_ms - b->events[i].received_ms;
            if (!silent && key.n && since_ms < TRANSACTION_SILENCE_MS)
                next[i] = (uint32_t)n;
        } else if (key.n && span_equal(key, tails[t].key)) {
            next[i] = tails[t].event;
        }
        tails[t] = (struct tail){b->events[i].subscription, (uint32_t)i, key};
    }
    return next;
}

size_t transaction_boundary(struct batch *b, bool silent, bool all)
{
    const uint32_t *next = find_next(b, silent, all);
    size_t best = 0, until = 0;
    for (size_t i = 0; i < b->n_events; i++) {
        if (next[i] != NO_EVENT && next[i] > until)
            until = next[i];
        if (until <= i)
            best = i + 1;
    }
    return best;
}

const uint32_t *transaction_groups(struct batch *b)
{
    uint32_t n = 0;
    const uint32_t *next = find_next(b, true, true);
    uint32_t *groups = arena_alloc(&b->arena, (b->n_events + 1) * sizeof *groups);
    for (size_t i = 0; i < b->n_events; i++)
        groups[i] = NO_EVENT;
    for (size_t i = 0; i < b->n_events; i++) {
        if (groups[i] != NO_EVENT)
            continue;
        for (uint32_t k = (uint32_t)i; k != NO_EVENT; k = next[k])
            groups[k] = n;
        n++;
    }
    return groups;
}
