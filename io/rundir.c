/* Paths and housekeeping of the run directory. */
#include "io/rundir.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MAX_REL = 96 };

const char *rundir_rollout(char *buf, int64_t iteration, int64_t shard)
{
    snprintf(buf, PATH_MAX_REL, "rollout/i%06lld/s%05lld.h5", (long long)iteration,
             (long long)shard);
    return buf;
}

const char *rundir_reward(char *buf, int64_t iteration, int64_t shard)
{
    snprintf(buf, PATH_MAX_REL, "reward/i%06lld/s%05lld.h5", (long long)iteration,
             (long long)shard);
    return buf;
}

const char *rundir_advantage(char *buf, int64_t iteration)
{
    snprintf(buf, PATH_MAX_REL, "advantage/i%06lld.h5", (long long)iteration);
    return buf;
}

const char *rundir_policy(char *buf, int64_t version)
{
    snprintf(buf, PATH_MAX_REL, "policy/v%06lld.h5", (long long)version);
    return buf;
}

char *rundir_path(const char *dir, const char *relative)
{
    return text_new("%s/%s", dir, relative);
}

int rundir_create(const char *dir)
{
    static const char *const sub[] = {"rollout", "reward", "advantage", "policy", "log"};
    for (size_t i = 0; i < sizeof sub / sizeof *sub; i++) {
        char *p = rundir_path(dir, sub[i]);
        int rc = file_make_dirs(p);
        mem_free(p);
        if (rc != 0)
            return -1;
    }
    return 0;
}

int rundir_policies(const char *dir, int64_t **version, int64_t *n)
{
    char **name;
    int64_t found;
    char *sub = rundir_path(dir, "policy");
    int rc = file_list(sub, "v", ".h5", &name, &found);
    mem_free(sub);
    *n = 0;
    *version = mem_alloc(found, sizeof **version);
    for (int64_t i = 0; i < found && rc == 0; i++) {
        name[i][strlen(name[i]) - 3] = '\0';
        if (text_to_i64(name[i] + 1, *version + *n))
            ++*n;
    }
    file_list_free(name, found);
    return rc;
}

static int sweep(const char *dir, int depth)
{
    char **name;
    int64_t n;
    if (file_list(dir, "", "", &name, &n) != 0)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        char *p = rundir_path(dir, name[i]);
        if (strstr(name[i], ".tmp.") != NULL)
            unlink(p);
        else if (depth > 0 && file_is_dir(p) && sweep(p, depth - 1) != 0)
            err_clear(); /* housekeeping only: a directory we may not list is skipped */
        mem_free(p);
    }
    file_list_free(name, n);
    return 0;
}

int rundir_sweep(const char *dir)
{
    return sweep(dir, 2);
}

bool rundir_flag(const char *dir, const char *name)
{
    char *p = rundir_path(dir, name);
    bool yes = file_exists(p);
    mem_free(p);
    return yes;
}

void rundir_clear_flag(const char *dir, const char *name)
{
    char *p = rundir_path(dir, name);
    unlink(p);
    mem_free(p);
}
