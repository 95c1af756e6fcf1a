/*
 * schema_cache: compiled schemas by (org, schema id), shared by all threads.
 *
 * A miss asks the loader (the store); what neither has must be fetched by whoever owns the stream and
 * put here after it was stored (I6).
 *
 * Ownership: the cache owns the plans, which live until it is freed. Thread: any.
 * Errors: schema_cache_get gives NULL with err class ERR_RETRY when nobody has the schema yet, ERR_REJECTED
 * when the stored JSON does not compile, ERR_STORE when the loader failed.
 */
#ifndef AVRO_SCHEMA_CACHE_H
#define AVRO_SCHEMA_CACHE_H

#include "avro/decoder.h"
#include "base/buf.h"

struct schema_cache;

/* 0: json filled; 1: not held; -1: err. */
typedef int (*schema_load_fn)(void *ctx, struct span org_id, struct span schema_id, struct buf *json, struct err *e);

struct schema_cache *schema_cache_new(schema_load_fn load, void *ctx);
void schema_cache_free(struct schema_cache *cache);

const struct avro_plan *schema_cache_get(struct schema_cache *cache, struct span org_id, struct span schema_id,
                                         struct err *e);
/* Compiles and keeps; the same id again gives the plan that is held. NULL with err: does not compile. */
const struct avro_plan *schema_cache_put(struct schema_cache *cache, struct span org_id, struct span schema_id,
                                         struct span json, struct err *e);

#endif
