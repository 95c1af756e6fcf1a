#include "config/config.h"

#include "base/digest.h"
#include "base/text.h"

int config_parse_replay_id(const char *text, uint8_t out[64], bool *was_int, struct err *e)
{
    enum { MOST = 64 };
    *was_int = strncmp(text, "int:", 4) == 0;
    int n = -1;
    if (*was_int) {
        int64_t number;
        if (text_parse_int(text + 4, 0, INT64_MAX, &number) == 0)
            for (n = 0; n < 8; n++)
                out[n] = (uint8_t)(number >> (56 - 8 * n));
    } else if (strncmp(text, "base64:", 7) == 0) {
        struct buf b = BUF_INIT;
        if (base64_decode(&b, text + 7, strlen(text + 7)) == 0 && b.len <= MOST) {
            n = (int)b.len;
            if (b.len)
                memcpy(out, b.data, b.len);
        }
        buf_release(&b);
    } else {
        n = hex_decode(text, strlen(text), out, MOST);
    }
    if (n <= 0)
        return err_set(e, ERR_CONFIG, "config", 0,
                       "'%.140s' is not a replay id: hex, base64:… or int:…, at most 64 bytes", text);
    return n;
}
