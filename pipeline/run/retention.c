/* Retention. */
#include "pipeline/run/retention.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/policy.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *pin_path(const struct task *t, int64_t version, char buf[4096])
{
    char rel[96];
    rundir_policy(rel, version);
    snprintf(rel + strlen(rel) - 3, 8, ".pin");
    return task_path(t, rel, buf);
}

int retention_pin(const struct task *t, int64_t version)
{
    char path[4096];
    log_info("policy %lld is pinned", (long long)version);
    return file_write(pin_path(t, version, path), "", 0);
}

static int best_version(const struct task *t, int64_t newest, int64_t *best)
{
    char rel[96], path[4096];
    struct policy_counters k;
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, newest), path));
    int rc = p == NULL ? -1 : policy_counters(p, &k);
    policy_close(p);
    *best = rc == 0 ? k.best_version : -1;
    return rc;
}

static int drop_policies(const struct task *t, const struct config *c, int64_t newest)
{
    int64_t last = config_int(c, "run.keep_policies");
    int64_t every = config_int(c, "run.keep_every"), best = -1, *version, n;
    char rel[96], path[4096];
    int64_t start = t->algo_options.kl_previous_weight > 0 ? task_round_start(t, newest) : 0;
    if (last == 0)
        return 0;
    if (config_bool(c, "run.keep_best") && best_version(t, newest, &best) != 0)
        return -1;
    if (rundir_policies(t->dir, &version, &n) != 0)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = version[i];
        if (v == start || v > newest - last || v >= task_version(t, newest) || v == best ||
            v == 0 || v == t->update.anchor ||
            (every > 0 && v % every == 0) || file_exists(pin_path(t, v, path)))
            continue;
        unlink(task_path(t, rundir_policy(rel, v), path));
    }
    mem_free(version);
    return 0;
}

static bool remove_file(const char *dir, const char *relative)
{
    char *path = rundir_path(dir, relative);
    bool was = unlink(path) == 0;
    mem_free(path);
    return was;
}

bool retention_drop_iteration(const char *dir, int64_t shards, int64_t gone)
{
    char rel[96];
    bool any = remove_file(dir, rundir_advantage(rel, gone));
    for (int64_t s = 0; s < shards; s++) {
        any |= remove_file(dir, rundir_rollout(rel, gone, s));
        any |= remove_file(dir, rundir_reward(rel, gone, s));
    }
    for (int k = 0; k < 2; k++) {
        snprintf(rel, sizeof rel, "%s/i%06lld", k == 0 ? "rollout" : "reward",
                 (long long)gone);
        char *path = rundir_path(dir, rel);
        rmdir(path);
        mem_free(path);
    }
    return any;
}

/* The newest advantage file carries the tracker. */
int64_t retention_first_needed(int64_t newest)
{
    return newest - 1;
}

/* Goes back as long as there is something: a killed job, or one that kept more, may have
 * left it. */
static void drop_shards(const struct task *t, int64_t keep, int64_t newest)
{
    if (keep == 0)
        return;
    for (int64_t gone = retention_first_needed(newest) - keep;
         gone >= 0 && retention_drop_iteration(t->dir, t->shards, gone); gone--)
        ;
}

int retention_apply(const struct task *t, const struct config *c, int64_t newest)
{
    drop_shards(t, config_int(c, "run.keep_shards"), newest);
    return drop_policies(t, c, newest);
}
