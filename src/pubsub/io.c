#include "base/alloc.h"
#include "base/http.h"
#include "base/log.h"
#include "pubsub/internal.h"

#include <grpc/support/log.h>
#include <stdio.h>

enum { SCRATCH_KEPT = 1 << 20 };

static _Atomic uint64_t calls_for_calm;

uint64_t pubsub_calls_for_calm(void)
{
    return calls_for_calm;
}

/* gRPC reports as errors what is a normal state here (a refused connection); the status tells it better. */
static void log_grpc(gpr_log_func_args *args)
{
    const char *file = strrchr(args->file, '/');
    if (strstr(args->message, "GOAWAY with error code ENHANCE_YOUR_CALM"))
        calls_for_calm++;
    log_debug("grpc", "%s:%d: %s", file ? file + 1 : args->file, args->line, args->message);
}

void pubsub_setup(void)
{
    /* Which proxy is our choice (channel.c). gRPC would look at NO_PROXY once more, by a rule of its own; the
     * variable that it prefers to it gets a value that fits no host. */
    setenv("no_grpc_proxy", "none.invalid", 1);
    gpr_set_log_function(log_grpc);
    grpc_init();
}

void pubsub_teardown(void)
{
    response_pool_empty();
    /* The plain form returns while threads still end, which reads as leaks to tools, and races with exit. */
    grpc_shutdown_blocking();
}

/* Thread: I/O, this is it. */
static void *run(void *arg)
{
    struct pubsub *p = arg;
    pthread_setname_np(pthread_self(), "pubsub");
    for (;;) {
        grpc_event ev = grpc_completion_queue_next(p->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (ev.type != GRPC_OP_COMPLETE)
            continue;
        struct tag *tag = ev.tag;
        TAKEN_OVER(tag);
        tag->done(tag->owner, ev.success != 0);
        if (p->scratch.cap > SCRATCH_KEPT)
            buf_release(&p->scratch); /* one giant message must not stay for good */
    }
}

struct pubsub *pubsub_new(const struct org_config *org, struct err *e)
{
    char *root_pem = NULL;
    if (org->plaintext && !http_host_is_loopback(org->pubsub_endpoint)) {
        err_set(e, ERR_CONFIG, "pubsub", 0,
                "pubsub_endpoint %s: plaintext is allowed only when every address of the host is loopback",
                org->pubsub_endpoint);
        return NULL;
    }
    struct proxy proxy = PROXY_INIT;
    if (!org->plaintext &&
        (proxy_choose(org->pubsub_endpoint, &proxy, e) || channel_read_roots(org->ca_file, &root_pem, e))) {
        proxy_release(&proxy);
        return NULL;
    }
    struct pubsub *p = xcalloc(1, sizeof *p);
    p->subject = xasprintf("org %s", org->name);
    p->endpoint = xstrdup(org->pubsub_endpoint);
    p->proxy = proxy;
    p->where = proxy.url ? xasprintf("%s, through the proxy %s", p->endpoint, proxy.url)
                         : xstrdup(p->endpoint);
    p->ca_file = org->ca_file && !org->plaintext ? xstrdup(org->ca_file) : NULL;
    p->root_pem = root_pem;
    p->plaintext = org->plaintext;
    p->max_message = org->max_message;
    p->keepalive_ms = org->keepalive_ms;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->cq = grpc_completion_queue_create_for_next(NULL);
    BUG_IF(pthread_create(&p->thread, NULL, run, p) != 0);
    return p;
}

void pubsub_free(struct pubsub *p)
{
    if (!p)
        return;
    BUG_IF(pthread_equal(pthread_self(), p->thread)); /* from a listener: it would wait for itself */
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    for (struct call *c = p->calls; c; c = c->next)
        grpc_call_cancel(c->grpc, NULL);
    while (p->calls)
        pthread_cond_wait(&p->idle, &p->lock);
    if (p->current)
        channel_replace(p, p->current);
    pthread_mutex_unlock(&p->lock);

    grpc_completion_queue_shutdown(p->cq);
    pthread_join(p->thread, NULL);
    grpc_completion_queue_destroy(p->cq);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    buf_release(&p->scratch);
    free(p->root_pem);
    free(p->ca_file);
    proxy_release(&p->proxy);
    free(p->where);
    free(p->endpoint);
    free(p->subject);
    free(p);
}
