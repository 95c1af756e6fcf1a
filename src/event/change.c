#include "event/change.h"

#include "base/err.h"

bool field_set_has(const struct field_set *set, uint32_t index, int child)
{
    if (child < 0)
        return field_bits_has(&set->top, index);
    for (uint32_t i = 0; i < set->n_nested; i++)
        if (set->nested[i].parent == index)
            return field_bits_has(&set->nested[i].bits, (uint32_t)child);
    return false;
}

const char *change_kind_name(enum change_kind kind)
{
    switch (kind) {
    case CHANGE_RECORD: return "change";
    case CHANGE_GAP: return "gap";
    case CHANGE_OVERFLOW: return "overflow";
    case CHANGE_SNAPSHOT: return "snapshot";
    case CHANGE_PLATFORM_EVENT: return "platform_event";
    }
    BUG("change kind %d", (int)kind);
}

int64_t change_committed_ms(const struct change *ch)
{
    if (ch->header.commit_timestamp > 0 || ch->kind != CHANGE_PLATFORM_EVENT)
        return ch->header.commit_timestamp;
    for (uint32_t i = 0; i < ch->n_fields; i++) {
        const struct field_value *f = &ch->fields[i];
        if (f->cell.type == CELL_INT && strcmp(ch->schema->root.fields[f->index].name, "CreatedDate") == 0)
            return f->cell.as.integer;
    }
    return 0;
}
