/* SHA-256 (the only user of libcrypto). */
#ifndef SLUICE_IO_SYS_DIGEST_H
#define SLUICE_IO_SYS_DIGEST_H

#include <stdint.h>

#define DIGEST_HEX 65 /* 64 hexadecimal digits and NUL */

struct digest;

struct digest *digest_create(void);
void digest_add(struct digest *d, const void *p, int64_t n);
/* Integers enter as 8 little-endian bytes, text as its length and bytes. */
void digest_add_i64(struct digest *d, int64_t v);
void digest_add_text(struct digest *d, const char *s);
/* Writes the hexadecimal digest and frees d. */
void digest_finish(struct digest *d, char hex[DIGEST_HEX]);

/* Digest of a whole file. 0 or -1 (ERR_INPUT, ERR_IO). */
int digest_file(const char *path, char hex[DIGEST_HEX]);

#endif
