/*
 * digest: hashes and the text forms of bytes.
 *
 * Thread: any. Errors: none for hashes (OpenSSL failing on these would be a defect: BUG).
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/buf.h"

void digest_md5(struct span s, uint8_t out[16]);
void digest_sha256(struct span s, uint8_t out[32]);
/* XXH3, 64 bits: for hash tables and for sets that a process keeps. */
uint64_t digest_fast(struct span s, uint64_t seed);

/* Lower-case hex without prefix; out holds 2n + 1 bytes. */
void hex_encode(struct span s, char *out);
/* Append lower-case hex. */
void hex_add(struct buf *b, struct span s);
/* Either case. Returns the number of bytes written, or -1: odd length, other character, over max. */
int hex_decode(const char *text, size_t n, uint8_t *out, size_t max);

/* RFC 4648 section 5, no padding: Pub/Sub schema ids, JWT. */
void base64url_add(struct buf *b, struct span s);
/* RFC 4648 section 4, padded. */
void base64_add(struct buf *b, struct span s);
/* RFC 4648 section 4 or 5, padding optional. Returns 0, or -1 and b unchanged. */
int base64_decode(struct buf *b, const char *text, size_t n);

#endif
