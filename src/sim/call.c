#include "sim/call.h"

#include "base/alloc.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <stdarg.h>
#include <stdio.h>

static const char code_prefix[] = "sfdc.platform.eventbus.grpc.";

struct call *call_new(void)
{
    struct call *c = xcalloc(1, sizeof *c);
    grpc_call_details_init(&c->details);
    grpc_metadata_array_init(&c->metadata);
    for (int i = 0; i < TAG_KINDS; i++)
        c->tags[i] = (struct tag){(enum tag_kind)i, c};
    random_uuid(c->rpc_id);
    c->details_text = grpc_empty_slice();
    return c;
}

void call_free(struct call *c)
{
    if (c->link) {
        *c->link = c->next;
        if (c->next)
            c->next->link = c->link;
    }
    if (c->received)
        grpc_byte_buffer_destroy(c->received);
    if (c->sending)
        grpc_byte_buffer_destroy(c->sending);
    if (c->fails && c->ending)
        for (int i = 0; i < 2; i++)
            grpc_slice_unref(c->trailing[i].value);
    grpc_slice_unref(c->details_text);
    grpc_call_details_destroy(&c->details);
    grpc_metadata_array_destroy(&c->metadata);
    if (c->grpc)
        grpc_call_unref(c->grpc);
    buf_release(&c->answer);
    free(c);
}

static void start(struct call *c, const grpc_op *ops, size_t n, enum tag_kind kind)
{
    grpc_call_error error = grpc_call_start_batch(c->grpc, ops, n, &c->tags[kind], NULL);
    if (error != GRPC_CALL_OK)
        BUG("grpc_call_start_batch: %s", grpc_call_error_to_string(error));
    c->outstanding++;
}

void call_accept(struct call *c)
{
    static int cancelled; /* of no interest: the call ends either way */
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &cancelled;
    start(c, &op, 1, TAG_OVER);
    call_read(c);
}

void call_read(struct call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &c->received;
    start(c, &op, 1, TAG_MESSAGE);
}

static size_t add_headers(struct call *c, grpc_op *ops)
{
    if (c->headers_sent)
        return 0;
    c->headers_sent = true;
    ops[0] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    return 1;
}

static void free_bytes(void *p, size_t n)
{
    (void)n;
    free(p);
}

static grpc_byte_buffer *byte_buffer_of(struct buf *message)
{
    size_t n = message->len;
    char *bytes = buf_detach(message);
    grpc_slice slice = grpc_slice_new_with_len(bytes, n, free_bytes);
    grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bb;
}

void call_write(struct call *c, struct buf *message)
{
    grpc_op ops[2];
    BUG_IF(c->sending || c->ending);
    c->sending = byte_buffer_of(message);
    size_t n = add_headers(c, ops);
    ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[n++].data.send_message.send_message = c->sending;
    start(c, ops, n, TAG_SENT);
}

static size_t add_status(struct call *c, grpc_op *ops, grpc_status_code status, size_t n_trailing)
{
    ops[0] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    ops[0].data.send_status_from_server.status = status;
    ops[0].data.send_status_from_server.status_details = &c->details_text;
    ops[0].data.send_status_from_server.trailing_metadata = c->trailing;
    ops[0].data.send_status_from_server.trailing_metadata_count = n_trailing;
    return 1;
}

void call_answer(struct call *c)
{
    grpc_op ops[3];
    c->ending = true;
    c->due_ms = 0;
    c->sending = byte_buffer_of(&c->answer);
    size_t n = add_headers(c, ops);
    ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[n++].data.send_message.send_message = c->sending;
    n += add_status(c, ops + n, GRPC_STATUS_OK, 0);
    start(c, ops, n, TAG_ENDED);
}

void call_finish_ok(struct call *c)
{
    grpc_op ops[2];
    c->ending = true;
    c->due_ms = 0;
    size_t n = add_headers(c, ops);
    n += add_status(c, ops + n, GRPC_STATUS_OK, 0);
    start(c, ops, n, TAG_ENDED);
}

void call_fail(struct call *c, const struct failure *failure)
{
    grpc_op ops[2];
    size_t n_trailing = 0;
    c->ending = c->fails = true;
    c->due_ms = 0;
    c->trailing[0].value = c->trailing[1].value = grpc_empty_slice();
    if (failure->code) {
        struct buf code = BUF_INIT;
        buf_addf(&code, "%s%s", code_prefix, failure->code);
        c->trailing[0].key = grpc_slice_from_static_string("error-code");
        c->trailing[0].value = grpc_slice_from_copied_buffer((const char *)code.data, code.len);
        c->trailing[1].key = grpc_slice_from_static_string("rpc-id");
        c->trailing[1].value = grpc_slice_from_copied_string(c->rpc_id);
        n_trailing = 2;
        buf_release(&code);
    }
    c->details_text = grpc_slice_from_copied_string(failure->text);
    size_t n = add_headers(c, ops);
    n += add_status(c, ops + n, failure->status, n_trailing);
    start(c, ops, n, TAG_ENDED);
}

void call_fail_after_write(struct call *c, const struct failure *failure)
{
    if (!c->sending) {
        call_fail(c, failure);
        return;
    }
    c->fails = true;
    c->failure = *failure;
    c->due_ms = 1; /* at once, when TAG_SENT has come */
}

static struct span slice_span(const grpc_slice *slice)
{
    return span_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

struct span call_metadata(const struct call *c, const char *key)
{
    for (size_t i = 0; i < c->metadata.count; i++)
        if (span_equal_str(slice_span(&c->metadata.metadata[i].key), key))
            return slice_span(&c->metadata.metadata[i].value);
    return span_of(NULL, 0);
}

void call_message(struct call *c, struct buf *out)
{
    grpc_byte_buffer_reader reader;
    grpc_slice slice;
    buf_clear(out);
    if (grpc_byte_buffer_reader_init(&reader, c->received)) {
        while (grpc_byte_buffer_reader_next(&reader, &slice)) {
            buf_add_span(out, slice_span(&slice));
            grpc_slice_unref(slice);
        }
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(c->received);
    c->received = NULL;
}

void failure_set(struct failure *f, grpc_status_code status, const char *code, const struct call *c,
                 const char *fmt, ...)
{
    va_list ap;
    f->status = status;
    f->code = code;
    va_start(ap, fmt);
    int n = vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof f->text)
        snprintf(f->text + n, sizeof f->text - (size_t)n, " rpcId: %s", c->rpc_id);
}

bool call_allowed(const struct call *c, const struct session *session, struct failure *f)
{
    switch (session_check(session, call_metadata(c, "accesstoken"), call_metadata(c, "instanceurl"),
                          call_metadata(c, "tenantid"))) {
    case SESSION_OK:
        return true;
    case SESSION_HEADERS_INVALID:
        failure_set(f, GRPC_STATUS_UNAUTHENTICATED, "service.auth.headers.invalid", c,
                    "One of the metadata headers accesstoken, instanceurl or tenantid is missing, blank or "
                    "malformed.");
        return false;
    default:
        failure_set(
            f, GRPC_STATUS_UNAUTHENTICATED, "service.auth.error", c,
            "An authentication exception occurred. Provide valid authentication via metadata headers.");
        return false;
    }
}

void call_fault_failure(const struct call *c, struct failure *f)
{
    failure_set(f, (grpc_status_code)c->fault.status, c->fault.code[0] ? c->fault.code : NULL, c, "%s",
                c->fault.text[0] ? c->fault.text : "The simulator was told to fail this call.");
}
