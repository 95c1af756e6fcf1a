/*
 * test_cert: a certificate of its own making, for TLS tests. It signs itself and is its own CA.
 * Ownership: both texts are the caller's to free(). Thread: any.
 */
#ifndef HARNESS_TEST_CERT_H
#define HARNESS_TEST_CERT_H

/* san: as OpenSSL writes it, "DNS:localhost,IP:127.0.0.1". */
void test_cert_make(const char *san, char **certificate, char **key);

#endif
