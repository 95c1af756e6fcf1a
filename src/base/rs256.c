#include "base/rs256.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

enum { FEWEST_BITS = 2048 };

/* OpenSSL asks this for a password: nobody is there to give one. *ctx learns that it was wanted. */
static int no_password(char *out, int size, int for_writing, void *ctx)
{
    (void)out, (void)size, (void)for_writing;
    *(bool *)ctx = true;
    return -1;
}

static bool has_block(struct span pem, const char *kind)
{
    return memmem(pem.p, pem.n, kind, strlen(kind)) != NULL;
}

/* What the file holds instead of a key. */
static int not_a_key(struct span pem, bool encrypted, struct err *e)
{
    if (encrypted)
        return err_set(
            e, ERR_CONFIG, "rs256", 0,
            "is encrypted with a passphrase: give it unencrypted (openssl pkey -in FILE -out FILE), readable "
            "by this user only");
    if (has_block(pem, "PRIVATE KEY-----"))
        return err_set(e, ERR_CONFIG, "rs256", 0,
                       "holds a private key that is damaged, or of a kind OpenSSL cannot read");
    if (has_block(pem, "PUBLIC KEY-----") || has_block(pem, "BEGIN CERTIFICATE-----"))
        return err_set(e, ERR_CONFIG, "rs256", 0, "holds a %s; wanted is the private key that belongs to it",
                       has_block(pem, "PUBLIC KEY-----") ? "public key" : "certificate");
    return err_set(e, ERR_CONFIG, "rs256", 0,
                   "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
}

/* gives (EVP_PKEY_free) */
static EVP_PKEY *read_key(struct span pem, struct err *e)
{
    bool encrypted = false;
    if (pem.n > INT_MAX)
        pem.n = INT_MAX;
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    BUG_IF(!bio);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted);
    BIO_free(bio);
    ERR_clear_error();
    if (!key) {
        not_a_key(pem, encrypted, e);
    } else if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        err_set(e, ERR_CONFIG, "rs256", 0,
                "is not an RSA key: RS256 needs one (openssl genrsa -out FILE 2048)");
        goto refuse;
    } else if (EVP_PKEY_get_bits(key) < FEWEST_BITS) {
        err_set(e, ERR_CONFIG, "rs256", 0, "is an RSA key of %d bits: RS256 needs %d or more",
                EVP_PKEY_get_bits(key), FEWEST_BITS);
        goto refuse;
    }
    return key;
refuse:
    EVP_PKEY_free(key);
    return NULL;
}

int rs256_sign(struct span pem, struct span message, struct buf *signature, struct err *e)
{
    EVP_PKEY *key = read_key(pem, e);
    if (!key)
        return -1;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = (size_t)EVP_PKEY_get_size(key);
    int rc = -1;
    BUG_IF(!ctx);
    uint8_t *to = buf_reserve(signature, n);
    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(ctx, to, &n, message.p, message.n) == 1) {
        to[n] = 0;
        signature->len += n;
        rc = 0;
    } else {
        err_set(e, ERR_CONFIG, "rs256", 0, "cannot sign: the numbers of the key do not fit together");
    }
    ERR_clear_error();
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return rc;
}

int rs256_check_key(struct span pem, struct err *e)
{
    struct buf signature = BUF_INIT;
    int rc = rs256_sign(pem, span_of_str("probe"), &signature, e);
    buf_release(&signature);
    return rc;
}
