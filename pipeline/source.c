/* Opening a network by whatever names it. Options that have no meaning for what was
 * named are refused, never ignored. */
#include "pipeline/source.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/policy.h"

enum { SCHEDULER_MAX = 1 << 20 };

void source_close(struct source *s)
{
    model_destroy(s->model);
    mem_free(s->scheduler);
    mem_free(s->path);
    *s = (struct source){0};
}

/* A directory with policy/ in it was written by a run. */
static bool is_run(const char *path)
{
    char *sub = rundir_path(path, "policy");
    bool yes = file_is_dir(sub);
    mem_free(sub);
    return yes;
}

/* The path of a policy of a run directory, to be freed; NULL and ERR_INPUT. */
static char *find_policy(const char *dir, int64_t version)
{
    int64_t *kept = NULL, n = 0, at = -1;
    char rel[96], *path = NULL;
    if (rundir_policies(dir, &kept, &n) != 0)
        goto done;
    if (n == 0) {
        err_set(ERR_INPUT, "%s: this run directory holds no policy file yet", dir);
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        if (version < 0 || kept[i] == version)
            at = i;
    if (at < 0)
        err_set(ERR_INPUT,
                "%s: holds no policy of version %lld (%lld kept, %lld to %lld); "
                "run.keep_policies and run.keep_every say which are kept",
                dir, (long long)version, (long long)n, (long long)kept[0],
                (long long)kept[n - 1]);
    else
        path = rundir_path(dir, rundir_policy(rel, kept[at]));
done:
    mem_free(kept);
    return path;
}

/* Where no average was kept the file holds the weights in its place: say so. */
static int check_ema(struct policy *p, const char *path)
{
    struct policy_counters k;
    if (policy_counters(p, &k) != 0)
        return -1;
    if (k.optimizer_step > 0 && k.ema_updates == 0)
        return err_set(ERR_USAGE,
                       "--ema: %s: this run kept no average of its weights "
                       "(update.ema_decay was 0); leave --ema out",
                       path);
    return 0;
}

static int open_policy(struct source *s, bool ema)
{
    struct policy *p = policy_open(s->path);
    int rc = -1;
    if (p == NULL)
        return -1;
    s->policy = true;
    if (ema && check_ema(p, s->path) != 0)
        goto done;
    s->scheduler = policy_scheduler(p);
    if (s->scheduler == NULL)
        goto done;
    s->model = policy_model(p, ema ? POLICY_EMA : POLICY_WEIGHTS, false);
    rc = s->model != NULL ? 0 : -1;
done:
    policy_close(p);
    return rc;
}

static int open_folder(struct source *s)
{
    int64_t len;
    char *plan = model_scheduler_path(s->path);
    int rc = plan[0] == '\0' ? 0 : file_read(plan, SCHEDULER_MAX, &s->scheduler, &len);
    mem_free(plan);
    if (rc == 0)
        s->model = model_open(s->path, -1, false);
    return s->model != NULL ? 0 : -1;
}

int source_open(struct source *s, const char *path, int64_t version, bool ema)
{
    bool run = is_run(path), folder = file_is_dir(path) && !run;
    int rc = -1;
    *s = (struct source){0};
    if (!file_exists(path))
        return err_set(ERR_INPUT,
                       "%s: no such model folder, policy file or run directory", path);
    if (version >= 0 && !run)
        return err_set(ERR_USAGE,
                       "--version: %s is no run directory, whose policy it "
                       "could choose",
                       path);
    if (ema && folder)
        return err_set(ERR_USAGE,
                       "--ema: %s is a model folder, which holds one set of "
                       "weights; only policy files hold an average",
                       path);
    s->path = run ? find_policy(path, version) : mem_text(path);
    if (s->path != NULL)
        rc = folder ? open_folder(s) : open_policy(s, ema);
    if (rc != 0)
        source_close(s);
    return rc;
}
