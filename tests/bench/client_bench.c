/*
 * client_bench: the same stream as floor_client takes, through pubsub/: unpacked, handed to another thread
 * by a queue, freed there. What is above the floor is the price of that.
 *
 * usage: client_bench HOST:PORT TOPIC COUNT [--ca FILE] [--instance-url URL]
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/http.h"
#include "pubsub/pubsub.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct pubsub_response *first, **last;
    bool ended;
    struct pubsub_status status;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .last = &queue.first};

static void on_response(void *ctx, struct pubsub_stream *s, struct pubsub_response *r)
{
    (void)ctx, (void)s;
    r->next = NULL;
    pthread_mutex_lock(&queue.lock);
    bool was_empty = !queue.first;
    *queue.last = r;
    queue.last = &r->next;
    pthread_mutex_unlock(&queue.lock);
    if (was_empty)
        pthread_cond_signal(&queue.cond);
}

static void on_end(void *ctx, struct pubsub_stream *s, const struct pubsub_status *status)
{
    (void)ctx, (void)s;
    pthread_mutex_lock(&queue.lock);
    queue.ended = true;
    queue.status = *status;
    pthread_cond_signal(&queue.cond);
    pthread_mutex_unlock(&queue.lock);
}

static struct pubsub_response *take_all(void)
{
    pthread_mutex_lock(&queue.lock);
    while (!queue.first && !queue.ended)
        pthread_cond_wait(&queue.cond, &queue.lock);
    struct pubsub_response *all = queue.first;
    queue.first = NULL;
    queue.last = &queue.first;
    pthread_mutex_unlock(&queue.lock);
    return all;
}

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static long anon_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

int main(int argc, char **argv)
{
    char *url = (char *)(uintptr_t) "https://bench.my.salesforce.com", *ca = NULL;
    struct err e;
    if (argc < 4)
        return 2;
    for (int i = 4; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--ca") == 0)
            ca = argv[i + 1];
        else if (strcmp(argv[i], "--instance-url") == 0)
            url = argv[i + 1];
    }
    long count = strtol(argv[3], NULL, 10);
    struct org_config org = {.name = (char *)(uintptr_t) "bench",
                             .pubsub_endpoint = argv[1],
                             .plaintext = !ca,
                             .ca_file = ca,
                             .keepalive_ms = 60000,
                             .max_message = 16 << 20};
    const struct auth_token token = {.access_token = (char *)(uintptr_t) "bench-token",
                                     .instance_url = url,
                                     .tenant_id = "00DSM0000000001",
                                     .serial = 1};
    const struct pubsub_listener listener = {on_response, on_end};
    http_setup();
    pubsub_setup();
    struct pubsub *p = pubsub_new(&org, &e);
    if (!p) {
        fprintf(stderr, "client_bench: %s\n", e.text);
        return 1;
    }
    pubsub_subscribe(p, &token, argv[2], PUBSUB_EARLIEST, span_of(NULL, 0), 1, &listener, NULL);
    long events = 0, before = 0, bytes = 0;
    double wall = 0, cpu = 0;
    while (events < count) {
        struct pubsub_response *r = take_all();
        if (!r) {
            fprintf(stderr, "client_bench: ended early: %s\n", queue.status.text);
            return 1;
        }
        while (r) {
            struct pubsub_response *next = r->next;
            for (uint32_t i = 0; i < r->n_events; i++)
                bytes += (long)r->events[i].payload.n;
            events += r->n_events;
            if (!before) {
                before = events;
                wall = (double)clock_mono_us();
                cpu = cpu_us();
            }
            pubsub_response_free(r);
            r = next;
        }
    }
    wall = ((double)clock_mono_us() - wall) / 1e6;
    cpu = cpu_us() - cpu;
    long measured = events - before;
    printf("%ld events of %ld bytes, %.0f events/s, %.3f us of CPU per event, %.1f MiB anonymous RSS\n",
           measured, bytes / events, (double)measured / wall, cpu / (double)measured,
           (double)anon_kib() / 1024);
    pubsub_free(p);
    pubsub_teardown();
    return 0;
}
