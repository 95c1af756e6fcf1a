/*
 * fake_http: a login server of a few lines, for tests. One answer at a time, from a script.
 *
 * Calling order: fake_http_start -> fake_http_answer (again whenever another answer is due) ->
 * fake_http_stop. Thread: one of its own; the functions any.
 */
#ifndef HARNESS_FAKE_HTTP_H
#define HARNESS_FAKE_HTTP_H

struct fake_http;

struct fake_http *fake_http_start(void);
int fake_http_port(const struct fake_http *f);
/* The next requests get these bytes, head and body, and then the connection is closed. "" : never an answer.
 */
void fake_http_answer(struct fake_http *f, const char *bytes);
/* As above for one JSON body with this status. */
void fake_http_answer_json(struct fake_http *f, int status, const char *json);
/* The next request alone gets this one, before the answer above; several are used up in order. */
void fake_http_answer_once_json(struct fake_http *f, int status, const char *json);
int fake_http_requests(struct fake_http *f);
/* The last request, head and body; valid until the next call. */
const char *fake_http_last(struct fake_http *f);
void fake_http_stop(struct fake_http *f);

#endif
