/* Paths and housekeeping of the run directory. */
#include "io/rundir.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MAX_REL = 96 };

static const char *const folders[] = {"rollout", "reward", "advantage", "policy", "log"};

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
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *p = rundir_path(dir, folders[i]);
        int rc = file_make_dirs(p);
        mem_free(p);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
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
        char digits[32], own[PATH_MAX_REL];
        snprintf(digits, sizeof digits, "%.*s", (int)strlen(name[i]) - 4, name[i] + 1);
        if (text_to_i64(digits, *version + *n) && (*version)[*n] >= 0 &&
            strcmp(rundir_policy(own, (*version)[*n]) + strlen("policy/"), name[i]) == 0)
            ++*n; /* v1.h5 is no file of ours */
    }
    if (*n > 1) /* names of seven digits do not sort behind those of six */
        qsort(*version, (size_t)*n, sizeof **version, by_number);
    file_list_free(name, found);
    return rc;
}

/* "NAME.tmp.HOST.PID" */
static bool is_leftover(const char *name)
{
    const char *at = strstr(name, ".tmp."), *pid = strrchr(name, '.');
    return at != NULL && pid > at + 4 && pid[1] != '\0' &&
           strspn(pid + 1, "0123456789") == strlen(pid + 1);
}

static int sweep(const char *dir, int depth)
{
    char **name;
    int64_t n;
    if (file_list(dir, "", "", &name, &n) != 0)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        char *p = rundir_path(dir, name[i]);
        if (is_leftover(name[i]))
            unlink(p);
        else if (depth > 0 && file_is_dir(p) && sweep(p, depth - 1) != 0)
            err_clear(); /* housekeeping only: a directory we may not list is skipped */
        mem_free(p);
    }
    file_list_free(name, n);
    return 0;
}

/* Our own folders only: a link in the run directory may lead to anybody's files. */
int rundir_sweep(const char *dir)
{
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *p = rundir_path(dir, folders[i]);
        if (sweep(p, 1) != 0)
            err_clear();
        mem_free(p);
    }
    return sweep(dir, 0);
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
