#include "sim/flow.h"

#include "base/err.h"

int flow_request(struct flow *f, int32_t num_requested)
{
    if (num_requested <= 0)
        return -1;
    int64_t sum = (int64_t)f->pending + num_requested;
    f->pending = sum > f->cap ? f->cap : (int32_t)sum;
    return 0;
}

void flow_delivered(struct flow *f, int32_t n)
{
    BUG_IF(n < 0 || n > f->pending);
    f->pending -= n;
}
