/* What the simulator's relay understands of HTTP/2 and gRPC: frames, messages cut anywhere, who asks for events. */
#include "sim/frames.h"

#include "base/random.h"

#include <proto/pubsub_api.pb-c.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_frames(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct frame f;
    frame_add_goaway(&b, 7, 11, "too_many_pings");
    size_t first = b.len;
    frame_add_rst(&b, 0x01020304, 2);
    for (size_t n = 0; n < first; n++)
        assert_false(frame_peek(span_of(b.data, n), &f));
    assert_true(frame_peek(buf_span(&b), &f));
    assert_int_equal(f.type, FRAME_GOAWAY);
    assert_int_equal(f.stream, 0);
    assert_int_equal(f.n, first);
    assert_memory_equal(b.data + FRAME_HEADER, "\0\0\0\7\0\0\0\013too_many_pings", 22);
    assert_true(frame_peek(span_of(b.data + first, b.len - first), &f));
    assert_int_equal(f.type, FRAME_RST_STREAM);
    assert_int_equal(f.stream, 0x01020304);
    assert_int_equal(f.n, b.len - first);
    buf_release(&b);
}

static void test_padding(void **state)
{
    (void)state;
    struct frame f;
    const uint8_t padded[] = {0, 0, 6, FRAME_DATA, FRAME_PADDED, 0, 0, 0, 1, 2, 'a', 'b', 'c', 0, 0};
    assert_true(frame_peek(span_of(padded, sizeof padded), &f));
    assert_int_equal(f.data_at, FRAME_HEADER + 1);
    assert_int_equal(f.data_n, 3);
    /* More padding than payload: no frame of an honest peer, and not to be believed. */
    const uint8_t liar[] = {0, 0, 2, FRAME_DATA, FRAME_PADDED, 0, 0, 0, 1, 200, 'a'};
    assert_true(frame_peek(span_of(liar, sizeof liar), &f));
    assert_int_equal(f.data_at + f.data_n, f.n);
}

static void test_codes(void **state)
{
    (void)state;
    uint32_t code;
    assert_int_equal(frame_code("NO_ERROR", &code), 0);
    assert_int_equal(code, 0);
    assert_int_equal(frame_code("INTERNAL_ERROR", &code), 0);
    assert_int_equal(code, 2);
    assert_int_equal(frame_code("ENHANCE_YOUR_CALM", &code), 0);
    assert_int_equal(code, 11);
    assert_int_equal(frame_code("CALM", &code), -1);
}

static void add_message(struct buf *b, size_t n, char c)
{
    const uint8_t prefix[] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    buf_add(b, prefix, sizeof prefix);
    for (size_t i = 0; i < n; i++)
        buf_add_char(b, c);
}

/* However the bytes are cut: the same messages, and never a byte of a prefix among them. */
static void test_messages_cut_anywhere(void **state)
{
    (void)state;
    struct buf stream = BUF_INIT;
    static const size_t sizes[] = {1, 0, 300, 7, 70000, 0, 5};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        add_message(&stream, sizes[i], 'm');
    for (unsigned seed = 0; seed < 200; seed++) {
        struct rng rng = {seed};
        struct message_scan scan = {.left = 0};
        size_t at = 0, messages = 0, bytes = 0, most = seed % 10 ? 1 + seed * 37 : 1;
        while (at < stream.len) {
            size_t n = 1 + (size_t)rng_below(&rng, most);
            n = n < stream.len - at ? n : stream.len - at;
            bool in_message, complete;
            size_t took = message_scan(&scan, span_of(stream.data + at, n), &in_message, &complete);
            assert_in_range(took, 1, n);
            for (size_t i = 0; in_message && i < took; i++)
                assert_int_equal(stream.data[at + i], 'm');
            bytes += in_message ? took : 0;
            messages += complete;
            at += took;
        }
        assert_int_equal(messages, ARRAY_LEN(sizes));
        assert_int_equal(bytes, 1 + 300 + 7 + 70000 + 5);
    }
    buf_release(&stream);
}

static bool asks(const ProtobufCMessage *message)
{
    uint8_t bytes[256];
    return message_asks_for_events(span_of(bytes, protobuf_c_message_pack(message, bytes)));
}

static void test_who_asks_for_events(void **state)
{
    (void)state;
    char name[] = "/data/ChangeEvents";
    uint8_t id[10] = {0x18, 0x20, 0x22};
    Eventbus__V1__FetchRequest fetch = EVENTBUS__V1__FETCH_REQUEST__INIT;
    Eventbus__V1__ManagedFetchRequest managed = EVENTBUS__V1__MANAGED_FETCH_REQUEST__INIT;
    Eventbus__V1__TopicRequest topic = EVENTBUS__V1__TOPIC_REQUEST__INIT;
    Eventbus__V1__SchemaRequest schema = EVENTBUS__V1__SCHEMA_REQUEST__INIT;
    fetch.topic_name = managed.developer_name = topic.topic_name = schema.schema_id = name;
    fetch.num_requested = managed.num_requested = 100;
    assert_true(asks(&fetch.base));
    fetch.replay_preset = EVENTBUS__V1__REPLAY_PRESET__CUSTOM;
    fetch.replay_id.data = id;
    fetch.replay_id.len = sizeof id;
    assert_true(asks(&fetch.base));
    assert_true(asks(&managed.base));
    assert_false(asks(&topic.base));
    assert_false(asks(&schema.base));
    assert_false(message_asks_for_events(span_of(NULL, 0)));
}

/* A client may send anything. */
static void test_any_bytes(void **state)
{
    (void)state;
    struct rng rng = {7};
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[24];
        struct frame f;
        size_t n = (size_t)rng_below(&rng, sizeof bytes + 1);
        for (size_t k = 0; k < n; k++)
            bytes[k] = rng_below(&rng, 3) ? (uint8_t)rng_below(&rng, 24) : (uint8_t)rng_next(&rng);
        message_asks_for_events(span_of(bytes, n));
        if (frame_peek(span_of(bytes, n), &f)) {
            assert_in_range(f.n, FRAME_HEADER, n);
            assert_true(f.data_at + f.data_n <= f.n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_messages_cut_anywhere),
        cmocka_unit_test(test_who_asks_for_events),
        cmocka_unit_test(test_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
