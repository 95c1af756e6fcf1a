#include "base/alloc.h"
#include "base/log.h"
#include "base/random.h"
#include "pubsub/internal.h"

#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <stdio.h>

enum { LONGEST_KEEPALIVE_MS = 60 * 60 * 1000 };

static const char code_prefix[] = "sfdc.platform.eventbus.grpc.";

/* false when the value may not travel as a header; gRPC would refuse the whole batch. */
static bool set_metadata(grpc_metadata *m, const char *key, const char *value)
{
    m->key = grpc_slice_from_static_string(key);
    m->value = grpc_slice_from_copied_string(value);
    return *value && grpc_header_nonbin_value_is_legal(m->value);
}

static void fill_metadata(struct call *c, const struct auth_token *token)
{
    random_uuid(c->trace_id);
    bool ok = set_metadata(&c->metadata[0], "accesstoken", token->access_token);
    ok = set_metadata(&c->metadata[1], "instanceurl", token->instance_url) && ok;
    ok = set_metadata(&c->metadata[2], "tenantid", token->tenant_id) && ok;
    ok = set_metadata(&c->metadata[3], "x-client-trace-id", c->trace_id) && ok;
    if (ok)
        log_debug(c->pubsub->subject, "%s: trace id %s", c->method, c->trace_id);
    else
        call_end_locally(c, GRPC_STATUS_UNAUTHENTICATED,
                         "access token, instance URL or tenant id is empty or not fit to be sent");
}

void call_open(struct call *c, struct pubsub *p, const struct auth_token *token, const char *method,
               gpr_timespec deadline)
{
    char path[64];
    snprintf(path, sizeof path, "/eventbus.v1.PubSub/%s", method);
    c->pubsub = p;
    c->method = method;
    c->details = grpc_empty_slice();
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);

    pthread_mutex_lock(&p->lock);
    c->channel = channel_take(p);
    grpc_slice path_slice = grpc_slice_from_copied_string(path);
    c->grpc = grpc_channel_create_call(c->channel->grpc, NULL, GRPC_PROPAGATE_DEFAULTS, p->cq, path_slice,
                                       NULL, deadline, NULL);
    grpc_slice_unref(path_slice);
    BUG_IF(!c->grpc);
    c->next = p->calls;
    c->prev = &p->calls;
    if (c->next)
        c->next->prev = &c->next;
    p->calls = c;
    bool closing = p->closing;
    pthread_mutex_unlock(&p->lock);

    fill_metadata(c, token);
    if (closing)
        grpc_call_cancel(c->grpc, NULL);
}

void call_start(struct call *c, const grpc_op *ops, size_t n, struct tag *tag)
{
    HANDED_OVER(tag);
    grpc_call_error rc = grpc_call_start_batch(c->grpc, ops, n, tag, NULL);
    if (rc != GRPC_CALL_OK)
        BUG("grpc_call_start_batch(%s): %s", c->method, grpc_call_error_to_string(rc));
}

void call_end_locally(struct call *c, int code, const char *fmt, ...)
{
    va_list ap;
    if (c->local_text[0])
        return; /* the first reason stands */
    va_start(ap, fmt);
    vsnprintf(c->local_text, sizeof c->local_text, fmt, ap);
    va_end(ap);
    c->local_code = code;
    grpc_call_cancel(c->grpc, NULL);
}

static void copy_slice(grpc_slice slice, char *to, size_t size)
{
    size_t n = GRPC_SLICE_LENGTH(slice) < size ? GRPC_SLICE_LENGTH(slice) : size - 1;
    memcpy(to, GRPC_SLICE_START_PTR(slice), n);
    to[n] = '\0';
}

static void copy_trailer(const grpc_metadata_array *from, const char *key, char *to, size_t size)
{
    to[0] = '\0';
    for (size_t i = 0; i < from->count; i++)
        if (grpc_slice_str_cmp(from->metadata[i].key, key) == 0)
            copy_slice(from->metadata[i].value, to, size);
}

/* What the end of a call says about the connection it was on. */
static void act_on_connection(struct call *c, const struct pubsub_status *status)
{
    struct pubsub *p = c->pubsub;
    pthread_mutex_lock(&p->lock);
    if (status->reaction == PUBSUB_CALM && p->current == c->channel) {
        /* Every stream on this connection is told; the first to end doubles, once. */
        p->keepalive_ms = p->keepalive_ms < LONGEST_KEEPALIVE_MS / 2 ? p->keepalive_ms * 2
                                                                     : LONGEST_KEEPALIVE_MS;
        log_info(p->subject, "the service asks for fewer keepalive pings: now one every %.0f s",
                 (double)p->keepalive_ms / 1000);
        channel_replace(p, c->channel);
    } else if (((status->grpc_code == GRPC_STATUS_UNAVAILABLE ||
                 status->grpc_code == GRPC_STATUS_DEADLINE_EXCEEDED) &&
                !status->error_code[0]) ||
               grpc_channel_check_connectivity_state(c->channel->grpc, 0) == GRPC_CHANNEL_TRANSIENT_FAILURE) {
        /* Not the service speaking but the line. gRPC may notice a moment later than we retry, and would
         * put the new call on the dead connection; where something on the way still answers pings, it never
         * notices. */
        channel_replace(p, c->channel);
    }
    pthread_mutex_unlock(&p->lock);
}

void call_finish(struct call *c, struct pubsub_status *status)
{
    struct pubsub *p = c->pubsub;
    char details[600];
    memset(status, 0, sizeof *status);
    copy_slice(c->details, details, sizeof details);
    if (c->local_text[0]) {
        status->grpc_code = c->local_code;
        snprintf(status->text, sizeof status->text, "%s", c->local_text);
    } else {
        char code[sizeof status->error_code + sizeof code_prefix];
        copy_trailer(&c->trailing, "error-code", code, sizeof code);
        copy_trailer(&c->trailing, "rpc-id", status->rpc_id, sizeof status->rpc_id);
        const char *short_code = strncmp(code, code_prefix, sizeof code_prefix - 1) == 0
                                     ? code + sizeof code_prefix - 1
                                     : code;
        snprintf(status->error_code, sizeof status->error_code, "%s", short_code);
        status->grpc_code = (int)c->status;
        if (c->status == GRPC_STATUS_UNAVAILABLE && !code[0] &&
            pubsub_calls_for_calm() != c->channel->calm_before)
            snprintf(details, sizeof details, "GOAWAY: too_many_pings");
        describe_status(status, details, p->where, p->plaintext, p->max_message, c->had_answer);
    }
    status->reaction = pubsub_classify(status->grpc_code, status->error_code,
                                       c->local_text[0] ? "" : details);
    if (status->grpc_code != GRPC_STATUS_OK)
        log_debug(p->subject, "%s ended: %s, error-code %s, rpc-id %s, trace id %s, gRPC said: %s", c->method,
                  pubsub_status_name(status->grpc_code), status->error_code[0] ? status->error_code : "none",
                  status->rpc_id[0] ? status->rpc_id : "none", c->trace_id, details);
    act_on_connection(c, status);
}

void call_close(struct call *c)
{
    struct pubsub *p = c->pubsub;
    for (size_t i = 0; i < ARRAY_LEN(c->metadata); i++)
        grpc_slice_unref(c->metadata[i].value);
    grpc_metadata_array_destroy(&c->initial);
    grpc_metadata_array_destroy(&c->trailing);
    grpc_slice_unref(c->details);

    pthread_mutex_lock(&p->lock);
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    grpc_call_unref(c->grpc);
    channel_release(p, c->channel);
    if (!p->calls)
        pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
}
