#include "cli/tail.h"

#include "base/digest.h"
#include "cli/change_line.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/look.h"

#include <errno.h>
#include <stdio.h>

enum { WIDTH_WITHOUT_TERMINAL = 200 };

void tail_out_init(struct tail_out *out, const struct tail_options *options)
{
    *out = (struct tail_out){.options = options,
                             .line = BUF_INIT,
                             .arena = ARENA_INIT,
                             .width = look_width(WIDTH_WITHOUT_TERMINAL),
                             .colour = look_has_colour()};
    setvbuf(stdout, NULL, _IOFBF, 64 << 10);
}

void tail_out_release(struct tail_out *out)
{
    buf_release(&out->line);
    arena_release(&out->arena);
}

void tail_complain(const struct event_data *ev, const struct line_source *source, const char *why)
{
    char hex[2 * EVENT_MAX_REPLAY_ID + 1] = "";
    if (ev->replay_id.n <= EVENT_MAX_REPLAY_ID)
        hex_encode(ev->replay_id, hex);
    fprintf(stderr, "tidemark: %.*s: event %.*s (replay id %s, schema %.*s) cannot be decoded: %s\n", SPAN_ARG(source->topic),
            SPAN_ARG(ev->event_id), hex, SPAN_ARG(ev->schema_id), why);
}

void tail_print(struct tail_out *out, const struct event_data *ev, const struct avro_plan *plan,
                const struct line_source *source)
{
    struct change ch;
    struct err e = ERR_INIT;
    arena_reset(&out->arena);
    if (avro_decode(plan, ev->payload, &out->arena, &ch, &e) != 0) {
        tail_complain(ev, source, e.text);
        return;
    }
    buf_clear(&out->line);
    if (out->options->json) {
        json_line_add(&out->line, ev, &ch, source, 0);
        buf_add_char(&out->line, '\n');
    } else {
        change_line_add(&out->line, ev, &ch, out->width, out->colour);
    }
    if (fwrite(out->line.data, 1, out->line.len, stdout) != out->line.len)
        out->stdout_failed = true;
    out->printed++;
}

bool tail_is_over(const struct tail_out *out)
{
    return interrupt_signal() || out->stdout_failed || (out->options->count && out->printed >= out->options->count);
}

void tail_idle(struct tail_out *out)
{
    if (fflush(stdout) != 0)
        out->stdout_failed = true;
}

int tail_finish(struct tail_out *out)
{
    int saved = errno;
    if (!out->stdout_failed) {
        tail_idle(out);
        saved = errno;
    }
    if (out->options->count && out->printed >= out->options->count && !out->stdout_failed)
        return EXIT_OK;
    if (interrupt_signal())
        return interrupt_exit_code();
    if (!out->stdout_failed || saved == EPIPE) /* a reader that has seen enough */
        return EXIT_OK;
    fprintf(stderr, "tidemark: cannot write to standard output: %s\n", strerror(saved));
    return EXIT_SINK;
}
