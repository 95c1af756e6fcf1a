/*
 * ManagedSubscribe: Subscribe with the position kept by the service. The first message names the managed
 * subscription and asks for events; a commit is not allowed there. Later ones ask, commit, or do both.
 *
 * One commit waits at most, the newest: what is sent while another message is on its way would say less.
 */
#include "pubsub/stream.h"

#include <grpc/status.h>

static grpc_byte_buffer *later(struct pubsub_stream *s, int n)
{
    if (!s->commit.waits)
        return message_managed_more(n, 0, span_of(NULL, 0));
    s->commit.waits = false;
    return message_managed_more(n, s->commit.serial, span_of(s->commit.replay_id, s->commit.len));
}

static bool has_news(const struct pubsub_stream *s)
{
    return s->commit.waits;
}

struct pubsub_stream *pubsub_managed_subscribe(struct pubsub *p, const struct auth_token *token,
                                               const char *developer_name, uint64_t number,
                                               const struct pubsub_listener *listener, void *ctx)
{
    static const struct stream_kind kind = {"ManagedSubscribe", later, has_news, response_read_managed};
    return stream_open(p, token, &kind, message_managed_first(developer_name, STREAM_OWED_MAX), number,
                       listener, ctx);
}

void pubsub_stream_commit(struct pubsub_stream *s, uint64_t serial, struct span replay_id)
{
    BUG_IF(!s->kind->has_news || serial == 0 || replay_id.n == 0 || replay_id.n > sizeof s->commit.replay_id);
    pthread_mutex_lock(&s->lock);
    s->commit.waits = true;
    s->commit.serial = serial;
    s->commit.len = replay_id.n;
    memcpy(s->commit.replay_id, replay_id.p, replay_id.n);
    stream_say(s);
    pthread_mutex_unlock(&s->lock);
}

enum pubsub_managed_trouble pubsub_managed_trouble(const struct pubsub_status *status)
{
    if (status->grpc_code == GRPC_STATUS_ALREADY_EXISTS)
        return PUBSUB_SLOT_TAKEN;
    if (strstr(status->error_code, "managed.subscription.developer.name.not.found"))
        return PUBSUB_NAME_UNKNOWN;
    return PUBSUB_NO_TROUBLE;
}
