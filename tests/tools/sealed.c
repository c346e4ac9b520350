/* sealed FILE...: verifies sealed files (all checksums and the digest of the values) and
 * prints "FILE DIGEST" for each; a damaged one gets "FILE damaged: why" and exit 3. */
#include "io/shard.h"
#include "io/sys/err.h"

#include <stdio.h>

static int one(const char *path)
{
    struct shard *s = shard_open(path, -1);
    if (s == NULL || shard_verify(path) != 0) {
        printf("%s damaged: %s\n", path, err_text());
        shard_close(s);
        return ERR_INPUT;
    }
    printf("%s %s\n", path, shard_content(s));
    shard_close(s);
    return 0;
}

int main(int argc, char **argv)
{
    int code = 0;
    for (int i = 1; i < argc; i++)
        code |= one(argv[i]);
    return code;
}
