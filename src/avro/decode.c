/* Payload to change: header, body, bitmaps, in this order, since the body decides what some bits mean. */
#include "avro/walk.h"

#include <stdlib.h>

enum { STACK_FIELDS = 192 }; /* 6 KiB: no event of the standard objects needs the heap */

static enum change_kind kind_of(const struct change_header *header)
{
    switch (header->type) {
    case CHANGE_GAP_OVERFLOW:
        return CHANGE_OVERFLOW;
    case CHANGE_GAP_CREATE:
    case CHANGE_GAP_UPDATE:
    case CHANGE_GAP_DELETE:
    case CHANGE_GAP_UNDELETE:
        return CHANGE_GAP;
    case CHANGE_TYPE_SNAPSHOT:
        return CHANGE_SNAPSHOT;
    case CHANGE_TYPE_UNKNOWN:
        /* A new kind of gap still means: read the record again. */
        return header->type_name.n > 4 && memcmp(header->type_name.p, "GAP_", 4) == 0 ? CHANGE_GAP
                                                                                      : CHANGE_RECORD;
    default:
        return CHANGE_RECORD;
    }
}

static int decode_event(struct walk *w, const struct avro_plan *plan, struct change *out)
{
    struct header_bitmaps bitmaps;
    out->schema = &plan->schema;
    out->kind = CHANGE_PLATFORM_EVENT;
    if (plan->schema.is_change && walk_header(w, plan, &out->header, &bitmaps) != 0)
        return -1;
    if (walk_fields(w, plan->root, plan->schema.is_change ? 1 : 0, &out->fields, &out->n_fields) != 0)
        return -1;
    if (w->at != w->end)
        return walk_fail(w, w->at, "%zu bytes after the event", walk_left(w, w->at));
    if (!plan->schema.is_change)
        return 0;
    out->kind = kind_of(&out->header);
    if (bitmap_read(w, plan, &bitmaps.nulled, out, &out->nulled) != 0 ||
        bitmap_read(w, plan, &bitmaps.diff, out, &out->diff) != 0 ||
        bitmap_read(w, plan, &bitmaps.changed, out, &out->changed) != 0)
        return -1;
    return 0;
}

int avro_decode(const struct avro_plan *plan, struct span payload, struct arena *a, struct change *out,
                struct err *e)
{
    struct field_value stack[STACK_FIELDS];
    struct walk w = {.at = payload.p,
                     .start = payload.p,
                     .end = payload.p + payload.n,
                     .arena = a,
                     .e = e,
                     .stack = stack,
                     .cap = STACK_FIELDS};
    *out = (struct change){0};
    int rc = decode_event(&w, plan, out);
    if (w.on_heap)
        free(w.stack);
    return rc;
}

int avro_decode_header(const struct avro_plan *plan, struct span payload, struct arena *a,
                       struct change_header *out, struct err *e)
{
    struct field_value stack[STACK_FIELDS];
    struct header_bitmaps bitmaps;
    struct walk w = {.at = payload.p,
                     .start = payload.p,
                     .end = payload.p + payload.n,
                     .arena = a,
                     .e = e,
                     .stack = stack,
                     .cap = STACK_FIELDS};
    if (!plan->schema.is_change) {
        *out = (struct change_header){0};
        return 0;
    }
    int rc = walk_header(&w, plan, out, &bitmaps);
    if (w.on_heap)
        free(w.stack);
    return rc;
}
