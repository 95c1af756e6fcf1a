/*
 * Any bytes as a configuration file: refused with a problem, or accepted; what was accepted prints as
 * YAML that is accepted and prints the same again.
 */
#include "config/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf problems = BUF_INIT, once = BUF_INIT, twice = BUF_INIT;
    const unsigned flags = CONFIG_OFFLINE | (size % 2 ? CONFIG_NO_SINKS_NEEDED : 0);
    struct config *c = config_load_text(span_of(data, size), "fuzz.yaml", flags, &problems);
    if (!c && !problems.len)
        abort();
    if (c) {
        config_print(c, &once);
        config_free(c);
        c = config_load_text(buf_span(&once), "fuzz.yaml", flags, &problems);
        if (!c)
            abort();
        config_print(c, &twice);
        if (!span_equal(buf_span(&once), buf_span(&twice)))
            abort();
        config_free(c);
    }
    buf_release(&problems);
    buf_release(&once);
    buf_release(&twice);
    return 0;
}
