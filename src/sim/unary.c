#include "sim/unary.h"

#include "base/alloc.h"

#include <proto/pubsub_api.pb-c.h>
#include <stdio.h>

/* What proto3 messages hold for an absent string is not const in protobuf-c; nothing writes to these. */
static char *text(const char *s)
{
    union {
        const char *in;
        char *out;
    } u = {s};
    return u.out;
}

static void pack(struct call *c, const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_reserve(&c->answer, n));
    c->answer.len += n;
}

static void refuse(struct call *c, grpc_status_code status, const char *code, const char *message)
{
    c->fails = true;
    failure_set(&c->failure, status, code, c, "%s", message);
}

static void get_topic(struct sim *s, struct call *c, const char *name)
{
    struct span wanted = span_of_str(name);
    char message[320];
    if (!wanted.n) {
        refuse(c, GRPC_STATUS_INVALID_ARGUMENT, "topic.validation.empty", "The topic name can't be blank.");
        return;
    }
    log_debug("call", "GetTopic %s", name);
    const struct topic *topic = topics_find(&s->topics, wanted);
    if (!topic_name_has_prefix(wanted) || (topic && topic->denied)) {
        snprintf(message, sizeof message, "You don't have permission to access the topic %.100s.", name);
        refuse(c, GRPC_STATUS_PERMISSION_DENIED, "topic.meta.permission", message);
        return;
    }
    if (!topic) {
        snprintf(message, sizeof message,
                 "The topic information for org CORE/prod/%s and topic %.100s not found. Ensure the topic "
                 "name is correct "
                 "and that the topic exists.",
                 s->org.id, name);
        refuse(c, GRPC_STATUS_NOT_FOUND, "topic.not.found", message);
        return;
    }
    Eventbus__V1__TopicInfo info = EVENTBUS__V1__TOPIC_INFO__INIT;
    char tenant[64];
    snprintf(tenant, sizeof tenant, "CORE/prod/%s", s->org.id);
    info.topic_name = text(topic->name);
    info.tenant_guid = tenant;
    info.can_publish = !topic->is_change;
    info.can_subscribe = true;
    info.schema_id = text(topic->schema_id);
    info.rpc_id = c->rpc_id;
    pack(c, &info.base);
}

static void get_schema(struct sim *s, struct call *c, const char *id)
{
    log_debug("call", "GetSchema %s", id);
    if (!*id) {
        refuse(c, GRPC_STATUS_INVALID_ARGUMENT, "schema.validation.failed",
               "Schema validation failed. The schema ID can't be blank.");
        return;
    }
    struct schema *schema = schemas_find(&s->schemas, span_of_str(id));
    if (!schema) {
        refuse(c, GRPC_STATUS_NOT_FOUND, "schema.validation.failed",
               "Schema validation failed. The schema ID isn't known.");
        return;
    }
    if (schema->refused) {
        refuse(c, GRPC_STATUS_INVALID_ARGUMENT, "schema.validation.failed",
               "Schema validation failed. The schema ID is refused.");
        return;
    }
    Eventbus__V1__SchemaInfo info = EVENTBUS__V1__SCHEMA_INFO__INIT;
    info.schema_json = (char *)schema->json.data;
    info.schema_id = schema->id;
    info.rpc_id = c->rpc_id;
    pack(c, &info.base);
}

void unary_request(struct sim *s, struct call *c, int64_t now_ms)
{
    struct buf bytes = BUF_INIT;
    c->due_ms = now_ms;
    if (!call_allowed(c, &s->session, &c->failure)) {
        log_info("call", "%s", c->failure.text);
        c->fails = true;
        return;
    }
    if (faults_take(&s->faults, c->kind, NULL, &c->fault)) {
        log_info("call", "a fault as scripted");
        c->due_ms = c->fault.stall ? 0 : now_ms + c->fault.delay_ms;
        c->fails = c->fault.stall || c->fault.status != GRPC_STATUS_OK;
    }
    if (c->fails) {
        call_fault_failure(c, &c->failure);
        return;
    }
    call_message(c, &bytes);
    bool understood = false;
    if (c->kind == CALL_GET_TOPIC) {
        Eventbus__V1__TopicRequest *request = eventbus__v1__topic_request__unpack(NULL, bytes.len,
                                                                                  bytes.data);
        if ((understood = request != NULL)) {
            get_topic(s, c, request->topic_name);
            eventbus__v1__topic_request__free_unpacked(request, NULL);
        }
    } else {
        Eventbus__V1__SchemaRequest *request = eventbus__v1__schema_request__unpack(NULL, bytes.len,
                                                                                    bytes.data);
        if ((understood = request != NULL)) {
            get_schema(s, c, request->schema_id);
            eventbus__v1__schema_request__free_unpacked(request, NULL);
            c->due_ms += s->options->schema_delay_ms;
        }
    }
    if (!understood)
        refuse(c, GRPC_STATUS_INVALID_ARGUMENT, NULL, "The request is malformed.");
    buf_release(&bytes);
}
