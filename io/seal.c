/* Seals. The block is built from the digest and compared as a whole, so a flipped bit in
 * the block itself shows as well. */
#include "io/seal.h"

#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char magic[] = "sluice-seal 1\n";

static void make_block(const unsigned char *p, int64_t len, char block[SEAL_BYTES])
{
    char hex[DIGEST_HEX];
    struct digest *d = digest_create();
    digest_add(d, p + SEAL_BYTES, len - SEAL_BYTES);
    digest_finish(d, hex);
    memset(block, 0, SEAL_BYTES);
    snprintf(block, SEAL_BYTES, "%sbytes %lld\nsha256 %s\n", magic,
             (long long)(len - SEAL_BYTES), hex);
}

int seal_write(const char *path)
{
    const unsigned char *p;
    char block[SEAL_BYTES];
    int64_t len;
    if (file_map(path, &p, &len) != 0)
        return -1;
    ERR_BUG_IF(len < SEAL_BYTES);
    make_block(p, len, block);
    file_unmap(p, len);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, block, SEAL_BYTES, 0) != SEAL_BYTES) {
        err_set_errno("cannot seal", path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return close(fd) == 0 ? 0 : err_set_errno("cannot seal", path);
}

int seal_check(const char *path, bool *sealed)
{
    const unsigned char *p;
    char block[SEAL_BYTES];
    int64_t len;
    if (file_map(path, &p, &len) != 0)
        return -1;
    bool has = len >= SEAL_BYTES && memcmp(p, magic, sizeof magic - 1) == 0;
    if (has)
        make_block(p, len, block);
    bool same = has && memcmp(p, block, SEAL_BYTES) == 0;
    file_unmap(p, len);
    if (sealed != NULL)
        *sealed = has;
    if (same || (!has && sealed != NULL))
        return 0;
    return err_set(ERR_INPUT, "%s: its bytes are not those that were sealed; the file is "
                              "damaged or was altered",
                   path);
}
