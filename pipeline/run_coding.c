/* The text model_config of the newest policy tells. */
#include "pipeline/run_coding.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/mem.h"

#include <string.h>

int run_coding(const char *dir, struct coding *coding)
{
    int64_t *version, n, texts, stride;
    char rel[96];
    *coding = (struct coding){0};
    if (rundir_policies(dir, &version, &n) != 0)
        return -1;
    if (n == 0) {
        mem_free(version);
        return 0;
    }
    char *path = rundir_path(dir, rundir_policy(rel, version[n - 1])), *text = NULL;
    mem_free(version);
    struct shard *f = shard_open(path, SHARD_POLICY);
    if (f != NULL)
        text = shard_get_text(f, "model_config", &texts, &stride);
    struct json *j = text == NULL || texts < 1
                         ? NULL
                         : json_parse(text, (int64_t)strlen(text), path);
    int rc = j == NULL ? -1 : coding_read(j, path, coding);
    json_free(j);
    mem_free(text);
    shard_close(f);
    mem_free(path);
    return rc;
}
