#include "base/alloc.h"
#include "pubsub/internal.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <proto/pubsub_api.pb-c.h>
#include <stdio.h>

/* Packed straight into gRPC's memory. */
static grpc_byte_buffer *pack(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bb;
}

/* protobuf-c's generated fields are not const; packing only reads. */
static char *as_field(const char *s)
{
    return (char *)(uintptr_t)s;
}

grpc_byte_buffer *message_first_fetch(const char *topic, enum pubsub_from from, struct span replay_id,
                                      int requested)
{
    Eventbus__V1__FetchRequest request = EVENTBUS__V1__FETCH_REQUEST__INIT;
    request.topic_name = as_field(topic);
    request.num_requested = requested;
    switch (from) {
    case PUBSUB_LATEST:
        request.replay_preset = EVENTBUS__V1__REPLAY_PRESET__LATEST;
        break;
    case PUBSUB_EARLIEST:
        request.replay_preset = EVENTBUS__V1__REPLAY_PRESET__EARLIEST;
        break;
    case PUBSUB_CUSTOM:
        request.replay_preset = EVENTBUS__V1__REPLAY_PRESET__CUSTOM;
        request.replay_id.data = (uint8_t *)(uintptr_t)replay_id.p;
        request.replay_id.len = replay_id.n;
        break;
    }
    return pack(&request.base);
}

grpc_byte_buffer *message_more(int requested)
{
    /* Topic and start belong to the first request alone; a topic here would only be compared with it. */
    Eventbus__V1__FetchRequest request = EVENTBUS__V1__FETCH_REQUEST__INIT;
    request.num_requested = requested;
    return pack(&request.base);
}

grpc_byte_buffer *message_managed_first(const char *developer_name, int requested)
{
    Eventbus__V1__ManagedFetchRequest request = EVENTBUS__V1__MANAGED_FETCH_REQUEST__INIT;
    request.developer_name = as_field(developer_name);
    request.num_requested = requested;
    return pack(&request.base);
}

grpc_byte_buffer *message_managed_more(int requested, uint64_t serial, struct span replay_id)
{
    Eventbus__V1__ManagedFetchRequest request = EVENTBUS__V1__MANAGED_FETCH_REQUEST__INIT;
    Eventbus__V1__CommitReplayRequest commit = EVENTBUS__V1__COMMIT_REPLAY_REQUEST__INIT;
    char id[24];
    request.num_requested = requested;
    if (replay_id.n) {
        snprintf(id, sizeof id, "%llu", (unsigned long long)serial);
        commit.commit_request_id = id;
        commit.replay_id.data = (uint8_t *)(uintptr_t)replay_id.p;
        commit.replay_id.len = replay_id.n;
        request.commit_replay_id_request = &commit;
    }
    return pack(&request.base);
}

grpc_byte_buffer *message_topic(const char *topic)
{
    Eventbus__V1__TopicRequest request = EVENTBUS__V1__TOPIC_REQUEST__INIT;
    request.topic_name = as_field(topic);
    return pack(&request.base);
}

grpc_byte_buffer *message_schema(const char *schema_id)
{
    Eventbus__V1__SchemaRequest request = EVENTBUS__V1__SCHEMA_REQUEST__INIT;
    request.schema_id = as_field(schema_id);
    return pack(&request.base);
}

struct span message_bytes(grpc_byte_buffer *bb, struct buf *scratch, grpc_slice *hold)
{
    grpc_byte_buffer_reader reader;
    grpc_slice *slice;
    size_t n = grpc_byte_buffer_length(bb);

    *hold = grpc_empty_slice();
    if (!grpc_byte_buffer_reader_init(&reader, bb))
        return span_of(NULL, 0);
    struct span whole = span_of(NULL, 0);
    buf_clear(scratch);
    while (grpc_byte_buffer_reader_peek(&reader, &slice)) {
        size_t len = GRPC_SLICE_LENGTH(*slice);
        if (len == n) {
            *hold = grpc_slice_ref(*slice);
            whole = span_of(GRPC_SLICE_START_PTR(*hold), n);
            break;
        }
        if (scratch->len == 0)
            (void)buf_reserve(scratch, n);
        buf_add(scratch, GRPC_SLICE_START_PTR(*slice), len);
        whole = buf_span(scratch);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return whole;
}
