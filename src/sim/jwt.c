#include "sim/jwt.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/text.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

enum { LARGEST_PEM = 64 << 10 };

static const struct jwt_refusal invalid = {"invalid_grant", "invalid assertion"};
static const struct jwt_refusal unknown_client = {"invalid_client_id", "client identifier invalid"};
static const struct jwt_refusal not_approved = {"invalid_grant", "user hasn't approved this consumer"};
static const struct jwt_refusal wrong_audience = {"invalid_grant", "audience is invalid"};
static const struct jwt_refusal expired = {"invalid_grant", "expired authorization code"};

/* One of the three parts, decoded from base64url without padding. */
static bool decode_part(const uint8_t *p, size_t n, struct buf *out)
{
    return n > 0 && !memchr(p, '=', n) && base64_decode(out, (const char *)p, n) == 0;
}

static bool verify(EVP_PKEY *key, struct span message, struct span signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(ctx, signature.p, signature.n, message.p, message.n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

static bool is_text(const json_t *claims, const char *name, const char *expected)
{
    const char *text = json_string_value(json_object_get(claims, name));
    return text && strcmp(text, expected) == 0;
}

/* A number, or a number as text: clients send both, and the service takes both. */
static bool is_past(const json_t *claims, int64_t now_s)
{
    const json_t *exp = json_object_get(claims, "exp");
    int64_t seconds = json_is_integer(exp) ? json_integer_value(exp) : 0;
    if (json_is_string(exp) && text_parse_int(json_string_value(exp), 0, INT64_MAX, &seconds) != 0)
        return true;
    return seconds <= now_s;
}

static bool audience_fits(const struct jwt_rules *rules, const json_t *claims)
{
    if (rules->audience)
        return is_text(claims, "aud", rules->audience);
    return is_text(claims, "aud", "https://login.salesforce.com") ||
           is_text(claims, "aud", "https://test.salesforce.com") || is_text(claims, "aud", rules->own_url);
}

static const struct jwt_refusal *check_claims(const struct jwt_rules *rules, const json_t *claims)
{
    if (!is_text(claims, "iss", rules->issuer))
        return &unknown_client;
    if (!audience_fits(rules, claims))
        return &wrong_audience;
    if (is_past(claims, rules->now_s))
        return &expired;
    /* The older name of the claim wins where both are there. */
    if (!is_text(claims, json_object_get(claims, "prn") ? "prn" : "sub", rules->subject))
        return &not_approved;
    return NULL;
}

const struct jwt_refusal *jwt_check(const struct jwt_rules *rules, struct span assertion)
{
    struct buf header = BUF_INIT, body = BUF_INIT, signature = BUF_INIT;
    const struct jwt_refusal *refusal = &invalid;
    json_t *head = NULL, *claims = NULL;
    const uint8_t *end = assertion.p + assertion.n;
    const uint8_t *dot = assertion.n ? memchr(assertion.p, '.', assertion.n) : NULL;
    const uint8_t *second = dot ? memchr(dot + 1, '.', (size_t)(end - dot - 1)) : NULL;
    if (!second || !decode_part(assertion.p, (size_t)(dot - assertion.p), &header) ||
        !decode_part(dot + 1, (size_t)(second - dot - 1), &body) ||
        !decode_part(second + 1, (size_t)(end - second - 1), &signature))
        goto out;
    head = json_loadb((const char *)header.data, header.len, 0, NULL);
    claims = json_loadb((const char *)body.data, body.len, 0, NULL);
    if (!json_is_object(claims) || !head || !is_text(head, "alg", "RS256"))
        goto out;
    if (rules->key &&
        !verify(rules->key, span_of(assertion.p, (size_t)(second - assertion.p)), buf_span(&signature)))
        goto out;
    refusal = check_claims(rules, claims);
out:
    json_decref(head);
    json_decref(claims);
    buf_release(&header);
    buf_release(&body);
    buf_release(&signature);
    return refusal;
}

int jwt_read_key(const char *path, struct evp_pkey_st **key, struct err *e)
{
    struct buf pem = BUF_INIT;
    if (file_read(path, LARGEST_PEM, &pem, e) != 0) {
        buf_release(&pem);
        return err_prefix(e, "--jwt-key");
    }
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    if (!*key) {
        (void)BIO_reset(bio);
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        *key = certificate ? X509_get_pubkey(certificate) : NULL;
        X509_free(certificate);
    }
    BIO_free(bio);
    buf_release(&pem);
    ERR_clear_error();
    if (!*key || EVP_PKEY_get_base_id(*key) != EVP_PKEY_RSA)
        return err_set(e, ERR_CONFIG, "options", 0,
                       "--jwt-key %s: holds no RSA public key and no certificate of one", path);
    return 0;
}
