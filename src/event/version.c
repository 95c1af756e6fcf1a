#include "event/version.h"

#include <inttypes.h>

void version_add_text(struct buf *out, const struct version *v)
{
    buf_addf(out, "%" PRIu32 ".%" PRId64 ".%" PRId32 "%s", v->epoch, v->commit, v->sequence,
             v->rank ? "+" : "");
}
