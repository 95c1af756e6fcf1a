/*
 * floor_client: what receiving costs at least. A client on bare gRPC C core that counts the events of each
 * response, throws the response away, and asks for as many more. No thread besides gRPC's own, no parsing
 * beyond the lengths of the response's fields. The benchmark divides by its CPU time per event.
 *
 * usage: floor_client HOST:PORT TOPIC COUNT [--json] [--ca FILE] [--token T] [--instance-url URL] [--tenant
 * ID] Figures run from the first response to the last event, so that connecting does not count.
 */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static struct {
    const char *endpoint, *topic, *ca, *token, *instance_url, *tenant;
    long count;
    bool json;
} options = {
    .token = "bench-token", .instance_url = "https://bench.my.salesforce.com", .tenant = "00DSM0000000001"};

static char tag_start, tag_initial, tag_receive, tag_send, tag_status;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "floor_client: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    exit(1);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double rss_anon_mib(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return (double)kib / 1024;
}

static void read_options(int argc, char **argv)
{
    if (argc < 4)
        fail("usage: floor_client HOST:PORT TOPIC COUNT [--json] [--ca FILE] [--token T] [--instance-url "
             "URL] [--tenant ID]",
             NULL);
    options.endpoint = argv[1];
    options.topic = argv[2];
    options.count = strtol(argv[3], NULL, 10);
    for (int i = 4; i < argc; i++) {
        const struct {
            const char *name, **to;
        } texts[] = {{"--ca", &options.ca},
                     {"--token", &options.token},
                     {"--instance-url", &options.instance_url},
                     {"--tenant", &options.tenant}};
        bool known = strcmp(argv[i], "--json") == 0;
        options.json = options.json || known;
        for (size_t t = 0; t < sizeof texts / sizeof *texts && !known; t++)
            if (strcmp(argv[i], texts[t].name) == 0 && i + 1 < argc) {
                *texts[t].to = argv[++i];
                known = true;
            }
        if (!known)
            fail("unknown option", argv[i]);
    }
}

static grpc_channel *connect_channel(void)
{
    static char pem[1 << 16];
    grpc_channel_credentials *creds;
    if (options.ca) {
        FILE *f = fopen(options.ca, "r");
        if (!f || fread(pem, 1, sizeof pem - 1, f) == 0)
            fail("cannot read", options.ca);
        fclose(f);
        creds = grpc_ssl_credentials_create_ex(pem, NULL, NULL, NULL);
    } else {
        creds = grpc_insecure_credentials_create();
    }
    grpc_channel *channel = grpc_channel_create(options.endpoint, creds, NULL);
    grpc_channel_credentials_release(creds);
    return channel;
}

/* FetchRequest: topic (1), preset EARLIEST (2), num_requested (4). n <= 100 is one byte on the wire. */
static grpc_byte_buffer *request(const char *topic, int n)
{
    uint8_t bytes[300];
    size_t len = 0, topic_len = topic ? strlen(topic) : 0;
    if (topic_len > 100)
        fail("topic too long", topic);
    if (topic) {
        bytes[len++] = 0x0a;
        bytes[len++] = (uint8_t)topic_len;
        memcpy(bytes + len, topic, topic_len);
        len += topic_len;
        bytes[len++] = 0x10;
        bytes[len++] = 1;
    }
    bytes[len++] = 0x20;
    bytes[len++] = (uint8_t)n;
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, len);
    grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bb;
}

/* A message in slices, read once from front to back. */
struct walk {
    grpc_byte_buffer_reader reader;
    const uint8_t *p, *end;
};

static bool next_slice(struct walk *w)
{
    grpc_slice *slice;
    if (!grpc_byte_buffer_reader_peek(&w->reader, &slice))
        return false;
    w->p = GRPC_SLICE_START_PTR(*slice);
    w->end = w->p + GRPC_SLICE_LENGTH(*slice);
    return true;
}

static bool next_varint(struct walk *w, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        while (w->p == w->end)
            if (!next_slice(w))
                return false;
        uint8_t b = *w->p++;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return true;
    }
    return false;
}

static bool skip(struct walk *w, uint64_t n)
{
    while (n > (uint64_t)(w->end - w->p)) {
        n -= (uint64_t)(w->end - w->p);
        w->p = w->end;
        if (!next_slice(w))
            return false;
    }
    w->p += n;
    return true;
}

/* How many fields 1 (events) a FetchResponse has; its other fields are bytes or varints. */
static int count_events(grpc_byte_buffer *bb)
{
    struct walk w = {.p = NULL, .end = NULL};
    uint64_t key, n;
    int events = 0;
    if (!grpc_byte_buffer_reader_init(&w.reader, bb))
        fail("cannot read a response", NULL);
    while (next_varint(&w, &key)) {
        events += key >> 3 == 1;
        if (!next_varint(&w, &n) || ((key & 7) == 2 && !skip(&w, n)))
            fail("a response does not parse", NULL);
    }
    grpc_byte_buffer_reader_destroy(&w.reader);
    return events;
}

static grpc_metadata header(const char *key, const char *value)
{
    return (grpc_metadata){.key = grpc_slice_from_static_string(key),
                           .value = grpc_slice_from_static_string(value)};
}

struct stream {
    grpc_call *call;
    grpc_byte_buffer *outgoing, *incoming;
    grpc_metadata metadata[3];
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
};

static void start(struct stream *s, const grpc_op *op, size_t n, void *tag)
{
    if (grpc_call_start_batch(s->call, op, n, tag, NULL) != GRPC_CALL_OK)
        fail("grpc_call_start_batch", NULL);
}

static void send_message(struct stream *s, const char *topic, int n)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE}, {.op = GRPC_OP_SEND_INITIAL_METADATA}};
    s->outgoing = request(topic, n);
    ops[0].data.send_message.send_message = s->outgoing;
    ops[1].data.send_initial_metadata.metadata = s->metadata;
    ops[1].data.send_initial_metadata.count = 3;
    start(s, ops, topic ? 2 : 1, topic ? &tag_start : &tag_send);
}

static void receive(struct stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->incoming;
    start(s, &op, 1, &tag_receive);
}

static void open_stream(struct stream *s, grpc_channel *channel, grpc_completion_queue *cq)
{
    s->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq,
                                       grpc_slice_from_static_string("/eventbus.v1.PubSub/Subscribe"), NULL,
                                       gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    s->metadata[0] = header("accesstoken", options.token);
    s->metadata[1] = header("instanceurl", options.instance_url);
    s->metadata[2] = header("tenantid", options.tenant);
    send_message(s, options.topic, 100);
    grpc_op op = {.op = GRPC_OP_RECV_INITIAL_METADATA};
    op.data.recv_initial_metadata.recv_initial_metadata = &s->initial;
    start(s, &op, 1, &tag_initial);
    op = (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op.data.recv_status_on_client.trailing_metadata = &s->trailing;
    op.data.recv_status_on_client.status = &s->status;
    op.data.recv_status_on_client.status_details = &s->details;
    start(s, &op, 1, &tag_status);
    receive(s);
}

static void print_figures(long measured, double wall, double cpu)
{
    double rate = (double)measured / wall, each = cpu * 1e6 / (double)measured;
    if (options.json)
        printf("{\"events\":%ld,\"events_per_s\":%.0f,\"cpu_us_per_event\":%.4f,\"rss_anon_mib\":%.1f}\n",
               measured, rate, each, rss_anon_mib());
    else
        printf("%ld events, %.0f events/s, %.3f us of CPU per event, %.1f MiB anonymous RSS\n", measured,
               rate, each, rss_anon_mib());
}

int main(int argc, char **argv)
{
    struct stream s = {0};
    long events = 0, counted_before = 0;
    int ask = 0;
    bool sending = true;
    double wall = 0, cpu = 0;

    read_options(argc, argv);
    grpc_init();
    grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
    open_stream(&s, connect_channel(), cq);
    while (events < options.count) {
        grpc_event ev = grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.tag == &tag_status) {
            char *text = grpc_slice_to_c_string(s.details);
            fprintf(stderr, "status %d\n", (int)s.status);
            fail("the stream ended early", text);
        }
        if (ev.tag == &tag_start || ev.tag == &tag_send) {
            grpc_byte_buffer_destroy(s.outgoing);
            sending = false;
        }
        if (ev.tag == &tag_receive && s.incoming) {
            int n = count_events(s.incoming);
            grpc_byte_buffer_destroy(s.incoming);
            receive(&s);
            if (events == 0) {
                wall = seconds();
                cpu = cpu_seconds();
                counted_before = n;
            }
            events += n;
            ask += n;
        }
        if (!sending && ask >= 50) {
            sending = true;
            send_message(&s, NULL, ask);
            ask = 0;
        }
    }
    print_figures(events - counted_before, seconds() - wall, cpu_seconds() - cpu);
    fflush(stdout);
    _Exit(0); /* nothing to lose, and the figures are out */
}
