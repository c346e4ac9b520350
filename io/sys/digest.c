/* SHA-256 through libcrypto's EVP interface. */
#include "io/sys/digest.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

struct digest {
    EVP_MD_CTX *ctx;
};

struct digest *digest_create(void)
{
    struct digest *d = mem_alloc(1, sizeof *d);
    d->ctx = EVP_MD_CTX_new();
    if (d->ctx == NULL || EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1)
        ERR_BUG("libcrypto offers no SHA-256");
    return d;
}

void digest_add(struct digest *d, const void *p, int64_t n)
{
    if (n > 0 && EVP_DigestUpdate(d->ctx, p, (size_t)n) != 1)
        ERR_BUG("SHA-256 update failed");
}

void digest_add_i64(struct digest *d, int64_t v)
{
    unsigned char b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (unsigned char)((uint64_t)v >> (8 * i));
    digest_add(d, b, 8);
}

void digest_add_text(struct digest *d, const char *s)
{
    int64_t n = (int64_t)strlen(s);
    digest_add_i64(d, n);
    digest_add(d, s, n);
}

void digest_finish(struct digest *d, char hex[DIGEST_HEX])
{
    unsigned char md[32];
    unsigned int n = 0;
    if (EVP_DigestFinal_ex(d->ctx, md, &n) != 1 || n != sizeof md)
        ERR_BUG("SHA-256 final failed");
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    EVP_MD_CTX_free(d->ctx);
    mem_free(d);
}

int digest_file(const char *path, char hex[DIGEST_HEX])
{
    const unsigned char *p;
    int64_t len;
    if (file_map(path, &p, &len) != 0)
        return -1;
    struct digest *d = digest_create();
    digest_add(d, p, len);
    digest_finish(d, hex);
    file_unmap(p, len);
    return 0;
}
