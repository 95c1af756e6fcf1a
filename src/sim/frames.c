#include "sim/frames.h"

#include "base/compiler.h"

#include <string.h>

static uint32_t read_32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void add_32(struct buf *out, uint32_t v)
{
    const uint8_t bytes[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_add(out, bytes, sizeof bytes);
}

bool frame_peek(struct span bytes, struct frame *out)
{
    if (bytes.n < FRAME_HEADER)
        return false;
    size_t payload = (size_t)bytes.p[0] << 16 | (size_t)bytes.p[1] << 8 | bytes.p[2];
    if (bytes.n < FRAME_HEADER + payload)
        return false;
    *out = (struct frame){.type = bytes.p[3],
                          .flags = bytes.p[4],
                          .stream = read_32(bytes.p + 5) & 0x7fffffff,
                          .n = FRAME_HEADER + payload,
                          .data_at = FRAME_HEADER,
                          .data_n = payload};
    bool padded = (out->type == FRAME_DATA || out->type == FRAME_HEADERS) && (out->flags & FRAME_PADDED);
    if (padded && payload > bytes.p[FRAME_HEADER]) {
        out->data_at++;
        out->data_n -= 1u + bytes.p[FRAME_HEADER];
    }
    return true;
}

static void add_header(struct buf *out, size_t payload, uint8_t type, uint32_t stream)
{
    const uint8_t head[] = {(uint8_t)(payload >> 16), (uint8_t)(payload >> 8), (uint8_t)payload, type, 0};
    buf_add(out, head, sizeof head);
    add_32(out, stream);
}

void frame_add_rst(struct buf *out, uint32_t stream, uint32_t code)
{
    add_header(out, 4, FRAME_RST_STREAM, stream);
    add_32(out, code);
}

void frame_add_goaway(struct buf *out, uint32_t last_stream, uint32_t code, const char *debug)
{
    add_header(out, 8 + strlen(debug), FRAME_GOAWAY, 0);
    add_32(out, last_stream);
    add_32(out, code);
    buf_add_str(out, debug);
}

void frame_add_window(struct buf *out, uint32_t stream, uint32_t bytes)
{
    add_header(out, 4, FRAME_WINDOW_UPDATE, stream);
    add_32(out, bytes);
}

int frame_code(const char *name, uint32_t *code)
{
    /* By number, as RFC 9113 has them. */
    static const char *const names[] = {"NO_ERROR",           "PROTOCOL_ERROR",   "INTERNAL_ERROR",
                                        "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
                                        "FRAME_SIZE_ERROR",   "REFUSED_STREAM",   "CANCEL",
                                        "COMPRESSION_ERROR",  "CONNECT_ERROR",    "ENHANCE_YOUR_CALM"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *code = (uint32_t)i;
            return 0;
        }
    return -1;
}

size_t message_scan(struct message_scan *scan, struct span bytes, bool *in_message, bool *complete)
{
    *in_message = *complete = false;
    if (scan->prefix_n < sizeof scan->prefix) {
        size_t wanted = sizeof scan->prefix - scan->prefix_n, n = bytes.n < wanted ? bytes.n : wanted;
        memcpy(scan->prefix + scan->prefix_n, bytes.p, n);
        scan->prefix_n += (unsigned)n;
        if (scan->prefix_n == sizeof scan->prefix) {
            scan->left = read_32(scan->prefix + 1);
            *complete = scan->left == 0;
            if (*complete)
                scan->prefix_n = 0;
        }
        return n;
    }
    size_t n = bytes.n < scan->left ? bytes.n : scan->left;
    *in_message = true;
    scan->left -= (uint32_t)n;
    if (scan->left == 0) {
        *complete = true;
        scan->prefix_n = 0;
    }
    return n;
}

static bool read_varint(struct span *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; in->n && shift < 64; shift += 7) {
        uint8_t c = *in->p;
        *in = span_of(in->p + 1, in->n - 1);
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

/* FetchRequest: a number in field 4; ManagedFetchRequest: in field 3. Requests of unary calls: a text. */
bool message_asks_for_events(struct span in)
{
    uint64_t key, n;
    while (in.n && read_varint(&in, &key) && read_varint(&in, &n)) {
        if ((key & 7) == 0 && (key >> 3 == 3 || key >> 3 == 4))
            return true;
        if ((key & 7) == 2) {
            if (n > in.n)
                return false;
            in = span_of(in.p + n, in.n - n);
        } else if ((key & 7) != 0) {
            return false;
        }
    }
    return false;
}
