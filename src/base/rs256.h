/*
 * rs256: RSA signatures with SHA-256 (RSASSA-PKCS1-v1_5), as JWTs carry them.
 *
 * Guarantees: a key that rs256_check_key accepts can sign. Texts in err never hold a part of the key.
 * Ownership: everything is borrowed; OpenSSL's copy of the key is wiped before a function returns.
 * Thread: any. Errors: ERR_CONFIG, with text to follow the name of the file or key.
 */
#ifndef BASE_RS256_H
#define BASE_RS256_H

#include "base/buf.h"
#include "base/err.h"

/* An RSA private key in PEM form, not encrypted, of at least 2,048 bits (RFC 7518 3.3). Other PEM blocks
 * beside it (a certificate) do no harm. */
MUST_CHECK int rs256_check_key(struct span pem, struct err *e);
/* Append the signature's bytes. */
MUST_CHECK int rs256_sign(struct span pem, struct span message, struct buf *signature, struct err *e);

#endif
