/*
 * tail: what its two sources (the org's streams, the journal) share. Internal to the command.
 *
 * Thread: main. Errors: see tail_print.
 */
#ifndef CLI_TAIL_H
#define CLI_TAIL_H

#include "avro/decoder.h"
#include "config/config.h"
#include "event/json_line.h"
#include "pubsub/pubsub.h"

struct tail_options {
    bool journal, json;
    int64_t count; /* 0: endless */
    const char *org;
    char **topics;
    size_t n_topics;
    bool from_given;
    enum pubsub_from from;
    uint8_t replay_id[64];
    uint32_t replay_id_len;
};

/* Where lines go. */
struct tail_out {
    const struct tail_options *options;
    int64_t printed;
    struct buf line;
    struct arena arena;
    size_t width;
    bool colour;
    bool stdout_failed;
};

void tail_out_init(struct tail_out *out, const struct tail_options *options);
void tail_out_release(struct tail_out *out);

/* Decode and print one event; one that does not decode is said on stderr and not counted. */
void tail_print(struct tail_out *out, const struct event_data *ev, const struct avro_plan *plan,
                const struct line_source *source);
void tail_complain(const struct event_data *ev, const struct line_source *source, const char *why);
/* N reached, a signal came, or nobody reads stdout any more. */
bool tail_is_over(const struct tail_out *out);
/* Nothing to do: what was printed is shown. */
void tail_idle(struct tail_out *out);
/* The exit code once tail_is_over. */
int tail_finish(struct tail_out *out);

int tail_stream(const struct config *config, const struct tail_options *options);
int tail_journal(const struct config *config, const struct tail_options *options);

#endif
