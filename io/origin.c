/* Origins of replays. */
#include "io/origin.h"

#include "io/json.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 1 << 16 };

static bool get(const struct json *j, const char *key, char *out, size_t size)
{
    const char *v = json_text(json_get(j, key));
    if (v == NULL || v[0] == '\0' || strlen(v) >= size)
        return false;
    memcpy(out, v, strlen(v) + 1);
    return true;
}

int origin_read(const char *dir, struct origin *o)
{
    char *path = rundir_path(dir, "replay.json");
    int rc = 0;
    *o = (struct origin){.run_id = ""};
    if (file_exists(path)) {
        struct json *j = json_read(path, MOST);
        if (j == NULL)
            rc = -1;
        else if (!get(j, "source", o->source, sizeof o->source) ||
                 !get(j, "source_run_id", o->source_run_id, sizeof o->source_run_id) ||
                 !get(j, "source_config_digest", o->source_digest,
                      sizeof o->source_digest) ||
                 !get(j, "run_id", o->run_id, sizeof o->run_id))
            rc = err_set(ERR_INPUT,
                         "%s: says not of which run this is a replay; remove the directory "
                         "and replay again",
                         path);
        json_free(j);
    }
    mem_free(path);
    return rc;
}

int origin_write(const char *dir, const struct origin *o)
{
    char *path = rundir_path(dir, "replay.json");
    struct json_out *j = json_out_create();
    json_out_text(j, "source", o->source);
    json_out_text(j, "source_run_id", o->source_run_id);
    json_out_text(j, "source_config_digest", o->source_digest);
    json_out_text(j, "run_id", o->run_id);
    int rc = json_out_file(j, path);
    mem_free(path);
    return rc;
}

const char *origin_policy(char *buf, int64_t version)
{
    snprintf(buf, 96, "behaviour/v%06lld.h5", (long long)version);
    return buf;
}
