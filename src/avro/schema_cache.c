/*
 * Reading takes no lock: a sink asks once per event. Entries are never removed or changed, they are put
 * at the head of a chain with one atomic store; whoever misses takes the lock, looks again, and asks
 * the loader once for all who wait. A schema that does not compile is kept as well, so that ten thousand
 * events of it cost one compilation.
 */
#include "avro/schema_cache.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BUCKETS = 256 };

struct entry {
    struct entry *next;
    struct avro_plan *plan; /* NULL: does not compile, `why` says why */
    struct err *why;
    size_t n_org;
    size_t n_id;
    uint8_t key[]; /* org id, schema id */
};

struct schema_cache {
    schema_load_fn load;
    void *ctx;
    pthread_mutex_t adding;
    _Atomic(struct entry *) buckets[BUCKETS];
};

struct schema_cache *schema_cache_new(schema_load_fn load, void *ctx)
{
    struct schema_cache *cache = xcalloc(1, sizeof *cache);
    cache->load = load;
    cache->ctx = ctx;
    pthread_mutex_init(&cache->adding, NULL);
    return cache;
}

void schema_cache_free(struct schema_cache *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        struct entry *next;
        for (struct entry *entry = atomic_load(&cache->buckets[i]); entry; entry = next) {
            next = entry->next;
            avro_plan_free(entry->plan);
            free(entry->why);
            free(entry);
        }
    }
    pthread_mutex_destroy(&cache->adding);
    free(cache);
}

static _Atomic(struct entry *) *bucket_of(struct schema_cache *cache, struct span org_id,
                                          struct span schema_id)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < org_id.n; i++)
        h = (h ^ org_id.p[i]) * 16777619u;
    for (size_t i = 0; i < schema_id.n; i++)
        h = (h ^ schema_id.p[i]) * 16777619u;
    return &cache->buckets[h % BUCKETS];
}

static const struct entry *find(struct schema_cache *cache, struct span org_id, struct span schema_id)
{
    const struct entry *entry = atomic_load_explicit(bucket_of(cache, org_id, schema_id),
                                                     memory_order_acquire);
    for (; entry; entry = entry->next)
        if (span_equal(span_of(entry->key, entry->n_org), org_id) &&
            span_equal(span_of(entry->key + entry->n_org, entry->n_id), schema_id))
            return entry;
    return NULL;
}

static const struct entry *add(struct schema_cache *cache, struct span org_id, struct span schema_id,
                               struct span json)
{
    struct entry *entry = xcalloc(1, sizeof *entry + org_id.n + schema_id.n);
    entry->n_org = org_id.n;
    entry->n_id = schema_id.n;
    if (org_id.n)
        memcpy(entry->key, org_id.p, org_id.n);
    if (schema_id.n)
        memcpy(entry->key + org_id.n, schema_id.p, schema_id.n);
    struct err why = ERR_INIT;
    char *id = xmemdupz(schema_id.p, schema_id.n);
    if (avro_compile(json, id, &entry->plan, &why) != 0) {
        entry->why = xmalloc(sizeof why);
        *entry->why = why;
    }
    free(id);
    _Atomic(struct entry *) *bucket = bucket_of(cache, org_id, schema_id);
    entry->next = atomic_load_explicit(bucket, memory_order_relaxed); /* only the lock's holder writes */
    atomic_store_explicit(bucket, entry, memory_order_release);
    return entry;
}

static const struct avro_plan *plan_of(const struct entry *entry, struct err *e)
{
    if (!entry->plan && e)
        *e = *entry->why;
    return entry->plan;
}

const struct avro_plan *schema_cache_get(struct schema_cache *cache, struct span org_id,
                                         struct span schema_id, struct err *e)
{
    const struct entry *entry = find(cache, org_id, schema_id);
    if (entry)
        return plan_of(entry, e);
    pthread_mutex_lock(&cache->adding);
    entry = find(cache, org_id, schema_id);
    struct buf json = BUF_INIT;
    int rc = entry ? 0 : cache->load ? cache->load(cache->ctx, org_id, schema_id, &json, e) : 1;
    if (!entry && rc == 0)
        entry = add(cache, org_id, schema_id, buf_span(&json));
    pthread_mutex_unlock(&cache->adding);
    buf_release(&json);
    if (entry)
        return plan_of(entry, e);
    if (rc > 0)
        err_set(e, ERR_RETRY, "avro", 0, "schema %.*s is not here yet", SPAN_ARG(schema_id));
    return NULL;
}

const struct avro_plan *schema_cache_put(struct schema_cache *cache, struct span org_id,
                                         struct span schema_id, struct span json, struct err *e)
{
    pthread_mutex_lock(&cache->adding);
    const struct entry *entry = find(cache, org_id, schema_id);
    if (!entry || !entry->plan)
        entry = add(cache, org_id, schema_id, json); /* in front of one that did not compile */
    pthread_mutex_unlock(&cache->adding);
    return plan_of(entry, e);
}
