#include "sim/wire.h"

/* Protobuf keys: field number << 3 | wire type (0 varint, 2 length-delimited). */
enum {
    RESPONSE_EVENTS = 1 << 3 | 2,
    RESPONSE_LATEST = 2 << 3 | 2,
    RESPONSE_RPC_ID = 3 << 3 | 2,
    RESPONSE_PENDING = 4 << 3 | 0,
    CONSUMER_EVENT = 1 << 3 | 2,
    CONSUMER_REPLAY_ID = 2 << 3 | 2,
    PRODUCER_ID = 1 << 3 | 2,
    PRODUCER_SCHEMA_ID = 2 << 3 | 2,
    PRODUCER_PAYLOAD = 3 << 3 | 2,
};

void replay_id_write(uint64_t counter, size_t width, uint8_t *out)
{
    memset(out, 0, width);
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(counter >> (56 - 8 * i));
}

int replay_id_read(struct span id, uint64_t *counter)
{
    if (id.n != 8 && id.n != 10)
        return -1;
    if (id.n == 10 && (id.p[8] || id.p[9]))
        return -1;
    *counter = 0;
    for (int i = 0; i < 8; i++)
        *counter = *counter << 8 | id.p[i];
    return 0;
}

void wire_add_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    do {
        bytes[n] = (uint8_t)(v & 0x7f);
        v >>= 7;
        if (v)
            bytes[n] |= 0x80;
        n++;
    } while (v);
    buf_add(b, bytes, n);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >>= 7)
        n++;
    return n;
}

/* proto3 leaves empty fields out. */
static size_t field_size(struct span s)
{
    return s.n ? 1 + varint_size(s.n) + s.n : 0;
}

static void add_field(struct buf *b, int key, struct span s)
{
    if (!s.n)
        return;
    buf_add_char(b, (char)key);
    wire_add_varint(b, s.n);
    buf_add_span(b, s);
}

void wire_add_event(struct buf *b, struct span event_id, struct span schema_id, struct span payload,
                    struct span replay_id)
{
    size_t producer = field_size(event_id) + field_size(schema_id) + field_size(payload);
    size_t consumer = 1 + varint_size(producer) + producer + field_size(replay_id);
    buf_add_char(b, RESPONSE_EVENTS);
    wire_add_varint(b, consumer);
    buf_add_char(b, CONSUMER_EVENT);
    wire_add_varint(b, producer);
    add_field(b, PRODUCER_ID, event_id);
    add_field(b, PRODUCER_SCHEMA_ID, schema_id);
    add_field(b, PRODUCER_PAYLOAD, payload);
    add_field(b, CONSUMER_REPLAY_ID, replay_id);
}

void wire_add_response_tail(struct buf *b, struct span latest_replay_id, struct span rpc_id, int32_t pending)
{
    add_field(b, RESPONSE_LATEST, latest_replay_id);
    add_field(b, RESPONSE_RPC_ID, rpc_id);
    if (pending) {
        buf_add_char(b, RESPONSE_PENDING);
        wire_add_varint(b, (uint64_t)pending);
    }
}
