#include "config/differences.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "config/keys.h"
#include "config/value.h"

#include <string.h>

/* As it is printed, with a digest in place of a secret. false: nothing is set. */
static bool add_value(const struct key *key, const void *base, struct buf *out)
{
    uint8_t digest[32];
    char *secret;
    if (!(key->flags & KEY_SECRET))
        return value_print(key, base, out);
    memcpy(&secret, (const char *)base + key->offset, sizeof secret);
    if (!secret)
        return false;
    digest_sha256(span_of_str(secret), digest);
    hex_add(out, span_of(digest, sizeof digest));
    return true;
}

/* The secrets of an item, behind what config_print says of it. */
static void add_secrets(const struct key *list, const void *item, struct buf *out)
{
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct key *key = &config_keys[i];
        if (!(key->flags & KEY_SECRET) || (key->flags & KEY_LATER) || !key_in_scope(list, key))
            continue;
        buf_addf(out, "%s ", key->path);
        add_value(key, item, out);
        buf_add_char(out, '\n');
    }
}

static bool same_item(const char *list, const struct config *a, const void *left, const struct config *b,
                      const void *right)
{
    const struct key *key = key_find(list);
    struct buf one = BUF_INIT, other = BUF_INIT;
    config_print_item(a, key, left, &one);
    config_print_item(b, key, right, &other);
    add_secrets(key, left, &one);
    add_secrets(key, right, &other);
    bool same = span_equal(buf_span(&one), buf_span(&other));
    buf_release(&one);
    buf_release(&other);
    return same;
}

bool config_same_org(const struct config *a, uint32_t i, const struct config *b, uint32_t k)
{
    const struct org_config *left = &a->orgs[i], *right = &b->orgs[k];
    return memcmp(left->ca_digest, right->ca_digest, sizeof left->ca_digest) == 0 &&
           same_item("orgs", a, left, b, right);
}

bool config_same_subscription(const struct config *a, uint32_t i, const struct config *b, uint32_t k)
{
    return same_item("subscriptions", a, &a->subscriptions[i], b, &b->subscriptions[k]);
}

bool config_same_sink(const struct config *a, uint32_t i, const struct config *b, uint32_t k)
{
    const struct sink_config *left = &a->sinks[i], *right = &b->sinks[k];
    /* All of them is more than each of them: it stays all when one is added. */
    bool left_all = left->n_subscriptions == a->n_subscriptions;
    bool right_all = right->n_subscriptions == b->n_subscriptions;
    return left_all == right_all && same_item("sinks", a, left, b, right);
}

void config_changed_settings(const struct config *a, const struct config *b, bool fixed, struct buf *paths)
{
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct key *key = &config_keys[i];
        struct buf left = BUF_INIT, right = BUF_INIT;
        if (key->type == KEY_MAP || key_has_items(key) || (key->flags & KEY_LATER) ||
            !key_in_scope(NULL, key) || ((key->flags & KEY_FIXED) != 0) != fixed)
            continue;
        bool left_set = add_value(key, a, &left), right_set = add_value(key, b, &right);
        if (left_set != right_set || !span_equal(buf_span(&left), buf_span(&right)))
            buf_addf(paths, "%s%s", paths->len ? ", " : "", key->path);
        buf_release(&left);
        buf_release(&right);
    }
}
