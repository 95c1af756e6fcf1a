/*
 * avro_bytes: Avro's binary encoding by hand, for tests that need bytes no encoder would write.
 */
#ifndef TESTS_AVRO_BYTES_H
#define TESTS_AVRO_BYTES_H

#include "base/buf.h"

static inline void put_long(struct buf *b, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    for (; z > 0x7f; z >>= 7)
        buf_add_char(b, (char)(z | 0x80));
    buf_add_char(b, (char)z);
}

static inline void put_string(struct buf *b, const char *s)
{
    put_long(b, (int64_t)strlen(s));
    buf_add_str(b, s);
}

static inline void put_double(struct buf *b, double v)
{
    buf_add(b, &v, sizeof v);
}

/* A NULL-terminated list as one block. */
static inline void put_strings(struct buf *b, const char *const *list)
{
    int64_t n = 0;
    while (list && list[n])
        n++;
    if (n)
        put_long(b, n);
    for (int64_t i = 0; i < n; i++)
        put_string(b, list[i]);
    put_long(b, 0);
}

struct header_values {
    const char *entity;
    const char *const *record_ids;
    int64_t change_type; /* symbol index */
    const char *origin;
    const char *transaction_key;
    int64_t sequence_number, commit_timestamp, commit_number;
    const char *commit_user;
    const char *const *nulled, *const *diff, *const *changed;
};

static inline void put_header(struct buf *b, const struct header_values *h)
{
    put_string(b, h->entity ? h->entity : "Account");
    put_strings(b, h->record_ids);
    put_long(b, h->change_type);
    put_string(b, h->origin ? h->origin : "");
    put_string(b, h->transaction_key ? h->transaction_key : "");
    put_long(b, h->sequence_number);
    put_long(b, h->commit_timestamp);
    put_long(b, h->commit_number);
    put_string(b, h->commit_user ? h->commit_user : "");
    put_strings(b, h->nulled);
    put_strings(b, h->diff);
    put_strings(b, h->changed);
}

/* ChangeEventHeader as the service declares it, for schemas written in tests. */
#define HEADER_FIELD                                                                                         \
    "{\"name\":\"ChangeEventHeader\",\"type\":{\"type\":\"record\",\"name\":\"ChangeEventHeader\","          \
    "\"fields\":["                                                                                           \
    "{\"name\":\"entityName\",\"type\":\"string\"},"                                                         \
    "{\"name\":\"recordIds\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"                           \
    "{\"name\":\"changeType\",\"type\":{\"type\":\"enum\",\"name\":\"ChangeType\",\"namespace\":\"\","       \
    "\"symbols\":["                                                                                          \
    "\"CREATE\",\"UPDATE\",\"DELETE\",\"UNDELETE\",\"GAP_CREATE\",\"GAP_UPDATE\",\"GAP_DELETE\",\"GAP_"      \
    "UNDELETE\","                                                                                            \
    "\"GAP_OVERFLOW\",\"SNAPSHOT\",\"GAP_MERGE\",\"RENAME\"]}},"                                             \
    "{\"name\":\"changeOrigin\",\"type\":\"string\"},{\"name\":\"transactionKey\",\"type\":\"string\"},"     \
    "{\"name\":\"sequenceNumber\",\"type\":\"int\"},{\"name\":\"commitTimestamp\",\"type\":\"long\"},"       \
    "{\"name\":\"commitNumber\",\"type\":\"long\"},{\"name\":\"commitUser\",\"type\":\"string\"},"           \
    "{\"name\":\"nulledFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"                        \
    "{\"name\":\"diffFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"                          \
    "{\"name\":\"changedFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}]},"                     \
    "\"doc\":\"Data:ComplexValueType\"}"

#endif
