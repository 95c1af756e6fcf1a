#include "intake/identity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum part { PART_CHANGE = 1, PART_PLATFORM, PART_HEADER, PART_REPLAY_ID, PART_UNDECODABLE };

/* Every piece goes in with its length, so that "ab"+"c" and "a"+"bc" differ. Small inputs are gathered and
 * hashed in one go; merged events with many ids fall back to streaming. */
struct gather {
    uint64_t key;
    size_t n;
    bool streaming;
    XXH3_state_t state;
    uint8_t bytes[256];
};

static void add(struct gather *g, const void *p, size_t n)
{
    if (!g->streaming && g->n + n > sizeof g->bytes) {
        XXH3_128bits_reset_withSeed(&g->state, g->key);
        XXH3_128bits_update(&g->state, g->bytes, g->n);
        g->streaming = true;
    }
    if (g->streaming) {
        XXH3_128bits_update(&g->state, p, n);
    } else if (n) {
        memcpy(g->bytes + g->n, p, n);
        g->n += n;
    }
}

static void add_u32(struct gather *g, uint32_t v)
{
    add(g, &v, sizeof v);
}

static void add_span(struct gather *g, struct span s)
{
    add_u32(g, (uint32_t)s.n);
    add(g, s.p, s.n);
}

static void add_record_ids(struct gather *g, const struct change_header *h)
{
    add_u32(g, h->n_record_ids);
    for (uint32_t i = 0; i < h->n_record_ids; i++)
        add_span(g, h->record_ids[i]);
}

static void add_payload(struct gather *g, struct span payload)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(payload.p, payload.n, g->key);
    add(g, &hash, sizeof hash);
}

static void add_event(struct gather *g, const struct event_data *ev, const struct change_header *h)
{
    if (!h) {
        add_u32(g, PART_UNDECODABLE);
        add_span(g, ev->event_id);
        add_span(g, ev->replay_id);
        add_payload(g, ev->payload); /* the parts of a split event share both ids */
    } else if (ev->event_id.n && h->entity.n) {
        add_u32(g, PART_CHANGE);
        add_span(g, ev->event_id);
        add_record_ids(g, h);
    } else if (ev->event_id.n) {
        add_u32(g, PART_PLATFORM);
        add_span(g, ev->event_id);
        add_payload(g, ev->payload);
    } else if (h->entity.n) {
        add_u32(g, PART_HEADER);
        add_span(g, h->entity);
        add_span(g, h->transaction_key);
        add_u32(g, (uint32_t)h->sequence_number);
        add_record_ids(g, h);
    } else {
        add_u32(g, PART_REPLAY_ID);
        add_span(g, ev->replay_id);
        add_payload(g, ev->payload); /* several events may share a replay id */
    }
}

struct identity identity_of(const struct identity_scope *scope, uint32_t generation,
                            const struct event_data *ev, const struct change_header *header)
{
    struct gather g;
    g.key = scope->key;
    g.n = 0;
    g.streaming = false;
    add_span(&g, scope->org_id);
    add_u32(&g, scope->subscription);
    add_u32(&g, generation);
    add_event(&g, ev, header);
    XXH128_hash_t h = g.streaming ? XXH3_128bits_digest(&g.state)
                                  : XXH3_128bits_withSeed(g.bytes, g.n, g.key);
    return (struct identity){h.high64, h.low64};
}
