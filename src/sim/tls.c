#include "sim/tls.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/random.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_PEM = 1 << 20, VALID_DAYS = 3650 };

static int failed(struct err *e, const char *what)
{
    return err_set(e, ERR_CONFIG, "tls", 0, "OpenSSL: %s failed", what);
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok ? 0 : -1;
}

/* A certificate over `key`; issuer NULL: self-signed, a CA. */
static X509 *make_certificate(EVP_PKEY *key, const char *common_name, const char *names, X509 *issuer,
                              EVP_PKEY *issuer_key)
{
    X509 *cert = X509_new();
    uint64_t serial;
    random_bytes(&serial, sizeof serial);
    if (!cert)
        return NULL;
    X509_NAME *subject = X509_get_subject_name(cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), (long)VALID_DAYS * 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
    int rc = add_extension(cert, issuer ? issuer : cert, NID_basic_constraints,
                           issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    rc |= add_extension(cert, issuer ? issuer : cert, NID_key_usage,
                        issuer ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign");
    rc |= add_extension(cert, issuer ? issuer : cert, NID_subject_key_identifier, "hash");
    if (issuer) {
        rc |= add_extension(cert, issuer, NID_authority_key_identifier, "keyid");
        rc |= add_extension(cert, issuer, NID_ext_key_usage, "serverAuth");
        rc |= add_extension(cert, issuer, NID_subject_alt_name, names);
    }
    if (rc < 0 || !X509_sign(cert, issuer_key, EVP_sha256())) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static int write_pem(const char *dir, const char *file, X509 *cert, EVP_PKEY *key, struct err *e)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *bytes;
    int rc = -1;
    if (memory && (cert ? PEM_write_bio_X509(memory, cert)
                        : PEM_write_bio_PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL))) {
        long n = BIO_get_mem_data(memory, &bytes);
        char *path = xasprintf("%s/%s", dir, file);
        rc = file_replace(path, bytes, (size_t)n, cert ? 0644 : 0600, e);
        free(path);
    } else {
        failed(e, "writing PEM");
    }
    BIO_free(memory);
    return rc;
}

static int make_files(const char *dir, const char *names, struct err *e)
{
    int rc = -1;
    X509 *ca = NULL, *cert = NULL;
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    if (!ca_key || !key || !(ca = make_certificate(ca_key, "tidemark-sim CA", NULL, NULL, ca_key)) ||
        !(cert = make_certificate(key, "tidemark-sim", names, ca, ca_key))) {
        failed(e, "making a certificate");
        goto out;
    }
    if (write_pem(dir, "ca.pem", ca, NULL, e) < 0 || write_pem(dir, "server.key", NULL, key, e) < 0 ||
        write_pem(dir, "server.pem", cert, NULL, e) < 0)
        goto out;
    rc = 0;
out:
    X509_free(ca);
    X509_free(cert);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    return rc;
}

static char *names_of(const char *name)
{
    if (!name)
        return xstrdup("DNS:localhost,IP:127.0.0.1,IP:::1");
    bool address = name[strspn(name, "0123456789.")] == 0 || strchr(name, ':');
    return xasprintf("%s:%s", address ? "IP" : "DNS", name);
}

int sim_tls_load(struct sim_tls *tls, const char *dir, const char *name, struct err *e)
{
    char *certificate = xasprintf("%s/server.pem", dir), *key = xasprintf("%s/server.key", dir);
    int rc = file_make_folders(dir, 0755, e);
    if (rc == 0 && access(certificate, F_OK) != 0) {
        char *names = names_of(name);
        rc = make_files(dir, names, e);
        free(names);
    }
    if (rc == 0 && (file_read(certificate, MAX_PEM, &tls->certificate, e) < 0 ||
                    file_read(key, MAX_PEM, &tls->key, e) < 0))
        rc = -1;
    free(certificate);
    free(key);
    return rc;
}

void sim_tls_release(struct sim_tls *tls)
{
    if (tls->key.data)
        wipe(tls->key.data, tls->key.len);
    buf_release(&tls->certificate);
    buf_release(&tls->key);
}
