/*
 * One change as one line for people: what of an UPDATE is shown, dates, widths, and that nothing reaches a
 * terminal that it would obey.
 */
#include "avro/decoder.h"
#include "avro_bytes.h"
#include "cli/change_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FIELD(name, doc, type) ",{\"name\":\"" name "\",\"type\":[\"null\"," type "],\"doc\":\"" doc "\",\"default\":null}"

static const char change_schema[] =
    "{\"type\":\"record\",\"name\":\"AccountChangeEvent\",\"namespace\":\"com.sforce.eventbus\",\"fields\":"
    "[" HEADER_FIELD FIELD("Name", "Data:Text:00N1", "\"string\"")             /* 1 */
    FIELD("Modified", "Data:DateTime:00N2", "\"long\"")                        /* 2 */
    FIELD("CloseDate", "Data:DateOnly:00N3", "\"long\"")                       /* 3 */
    FIELD("StartTime", "Data:TimeOnly:00N4", "\"long\"")                       /* 4 */
    FIELD("BillingAddress", "Data:Address:00N5",
          "{\"type\":\"record\",\"name\":\"Address\",\"fields\":[{\"name\":\"Street\",\"type\":[\"null\",\"string\"]},"
          "{\"name\":\"City\",\"type\":[\"null\",\"string\"]}]}")              /* 5 */
    FIELD("Phone", "Data:Phone:00N6", "\"string\"")                            /* 6 */
    "]}";

static const char event_schema[] =
    "{\"type\":\"record\",\"name\":\"Order__e\",\"namespace\":\"com.sforce.eventbus\",\"fields\":["
    "{\"name\":\"CreatedDate\",\"type\":\"long\",\"doc\":\"CreatedDate:DateTime\"},"
    "{\"name\":\"CreatedById\",\"type\":\"string\"}" FIELD("Amount__c", "Data:Double:00N7", "\"double\"") "]}";

struct fixture {
    struct avro_plan *change, *event;
    struct arena arena;
    struct buf payload, line;
};

static int setup(void **state)
{
    static struct fixture f;
    struct err e = ERR_INIT;
    f = (struct fixture){.arena = ARENA_INIT, .payload = BUF_INIT, .line = BUF_INIT};
    if (avro_compile(span_of_str(change_schema), "a", &f.change, &e) != 0 ||
        avro_compile(span_of_str(event_schema), "b", &f.event, &e) != 0)
        fail_msg("%s", e.text);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    avro_plan_free(f->change);
    avro_plan_free(f->event);
    arena_release(&f->arena);
    buf_release(&f->payload);
    buf_release(&f->line);
    return 0;
}

static const char *line(struct fixture *f, const struct avro_plan *plan, uint64_t seq, size_t width, bool colour)
{
    struct err e = ERR_INIT;
    struct change ch;
    const struct event_data ev = {.seq = seq, .received_ms = 1700000000000, .payload = buf_span(&f->payload)};
    if (avro_decode(plan, ev.payload, &f->arena, &ch, &e) != 0)
        fail_msg("%s", e.text);
    buf_clear(&f->line);
    change_line_add(&f->line, &ev, &ch, width, colour);
    return (const char *)f->line.data;
}

static void put_text(struct buf *b, const char *text)
{
    put_long(b, text ? 1 : 0);
    if (text)
        put_string(b, text);
}

/* Name, dates, street and city, phone; a NULL or 0 is null. */
static void put_body(struct buf *b, const char *name, int64_t ms, const char *street, const char *city, const char *phone)
{
    put_text(b, name);
    for (int i = 0; i < 3; i++) {
        put_long(b, ms ? 1 : 0);
        if (ms)
            put_long(b, ms);
    }
    put_long(b, street || city ? 1 : 0);
    if (street || city) {
        put_text(b, street);
        put_text(b, city);
    }
    put_text(b, phone);
}

static const char *const one_id[] = {"001xx000003DGb2AAG", NULL};

static void an_update_shows_what_changed(void **state)
{
    struct fixture *f = *state;
    static const char *const changed[] = {"0x42", "5-0x03", NULL}, *const nulled[] = {"0x40", "5-0x01", NULL};
    const struct header_values h = {.record_ids = one_id, .change_type = 1, .commit_timestamp = 1700000000000,
                                    .changed = changed, .nulled = nulled};
    buf_clear(&f->payload);
    put_header(&f->payload, &h);
    put_body(&f->payload, "Björn \"B\"", 1000, NULL, "Oslo", NULL);
    assert_string_equal(line(f, f->change, 0, 400, false),
                        "2023-11-14 22:13:20  UPDATE    Account  001xx000003DGb2AAG  Name=\"Björn \\\"B\\\"\""
                        "  BillingAddress.Street=null  BillingAddress.City=\"Oslo\"  Phone=null\n");
}

static void a_full_image_shows_values_and_dates(void **state)
{
    struct fixture *f = *state;
    const struct header_values h = {.record_ids = one_id, .commit_timestamp = 1700000000000};
    buf_clear(&f->payload);
    put_header(&f->payload, &h);
    put_body(&f->payload, NULL, 1700000000000 + 5, "Main St 1", NULL, "1");
    assert_string_equal(line(f, f->change, 4711, 400, false),
                        "    4711  2023-11-14 22:13:20  CREATE    Account  001xx000003DGb2AAG"
                        "  Modified=2023-11-14T22:13:20.005Z  CloseDate=2023-11-14  StartTime=22:13:20.005"
                        "  BillingAddress={Street=\"Main St 1\"}  Phone=\"1\"\n");
}

static void a_platform_event_shows_its_payload(void **state)
{
    struct fixture *f = *state;
    buf_clear(&f->payload);
    put_long(&f->payload, 1700000001000);
    put_string(&f->payload, "005xx");
    put_long(&f->payload, 1);
    put_double(&f->payload, 12.5);
    assert_string_equal(line(f, f->event, 0, 400, false),
                        "2023-11-14 22:13:21  EVENT     Order__e  CreatedDate=2023-11-14T22:13:21.000Z"
                        "  CreatedById=\"005xx\"  Amount__c=12.5\n");
}

static void many_ids_are_counted(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {"1", "2", "3", "4", "5", NULL};
    const struct header_values h = {.record_ids = ids, .change_type = 2, .commit_timestamp = 1700000000000};
    buf_clear(&f->payload);
    put_header(&f->payload, &h);
    put_body(&f->payload, NULL, 0, NULL, NULL, NULL);
    assert_string_equal(line(f, f->change, 0, 400, false), "2023-11-14 22:13:20  DELETE    Account  1,2,3 and 2 more\n");
}

/* Every width: so many characters at most, whole ones, and no line end but the last. */
static void lines_are_cut_between_characters(void **state)
{
    struct fixture *f = *state;
    const struct header_values h = {.record_ids = one_id, .commit_timestamp = 1700000000000};
    buf_clear(&f->payload);
    put_header(&f->payload, &h);
    put_body(&f->payload, "Łódź, Žižkov, 東京, 😀", 0, NULL, NULL, NULL);
    for (size_t width = 40; width < 110; width++) {
        const char *text = line(f, f->change, 0, width, false);
        size_t characters = 0;
        for (const char *p = text; *p != '\n'; p++)
            characters += ((unsigned char)*p & 0xc0) != 0x80;
        assert_true(characters <= width);
        assert_int_equal(text[f->line.len - 1], '\n');
        bool cut = strstr(text, "…") != NULL;
        assert_int_equal(cut, strstr(text, "😀\"\n") == NULL);
        if (cut)
            assert_int_equal(characters, width);
    }
}

static void a_terminal_is_not_commanded(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {"\033[2J", NULL};
    const struct header_values h = {.entity = "Acc\nount\x07", .record_ids = ids, .commit_timestamp = 1700000000000};
    buf_clear(&f->payload);
    put_header(&f->payload, &h);
    put_body(&f->payload, "a\033]0;title\x07 b\x7f c\xc2\x9b" "1m d", 0, NULL, NULL, NULL);
    const char *text = line(f, f->change, 0, 400, false);
    for (const char *p = text; *p != '\n' || p[1]; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
    assert_null(strstr(text, "\xc2\x9b"));
}

static void colours_add_nothing_else(void **state)
{
    struct fixture *f = *state;
    const struct header_values h = {.record_ids = one_id, .change_type = 2, .commit_timestamp = 1700000000000};
    buf_clear(&f->payload);
    put_header(&f->payload, &h);
    put_body(&f->payload, NULL, 0, NULL, NULL, NULL);
    assert_string_equal(line(f, f->change, 0, 400, true),
                        "2023-11-14 22:13:20  \033[31mDELETE  \033[0m  Account  001xx000003DGb2AAG\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_shows_what_changed),
        cmocka_unit_test(a_full_image_shows_values_and_dates),
        cmocka_unit_test(a_platform_event_shows_its_payload),
        cmocka_unit_test(many_ids_are_counted),
        cmocka_unit_test(lines_are_cut_between_characters),
        cmocka_unit_test(a_terminal_is_not_commanded),
        cmocka_unit_test(colours_add_nothing_else),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
