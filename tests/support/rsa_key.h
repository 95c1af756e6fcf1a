/*
 * rsa_key: fresh keys for tests, so that no private key stands in the repository.
 *
 * Ownership: PEM texts are the caller's (free). Thread: any.
 */
#ifndef SUPPORT_RSA_KEY_H
#define SUPPORT_RSA_KEY_H

#include "base/alloc.h"
#include "base/err.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

static inline char *pem_of(BIO *bio)
{
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    char *pem = xmemdupz(data, (size_t)n);
    BIO_free(bio);
    return pem;
}

/* NULL passphrase: not encrypted. */
static inline char *private_pem(EVP_PKEY *key, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    BUG_IF(PEM_write_bio_PrivateKey(bio, key, passphrase ? EVP_aes_128_cbc() : NULL,
                                    (const unsigned char *)passphrase,
                                    passphrase ? (int)strlen(passphrase) : 0, NULL, NULL) != 1);
    return pem_of(bio);
}

static inline char *public_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    BUG_IF(PEM_write_bio_PUBKEY(bio, key) != 1);
    return pem_of(bio);
}

#endif
