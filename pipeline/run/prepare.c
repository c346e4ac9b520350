/* Start and restart. What is sealed is trusted only after its checksums were verified. */
#include "pipeline/run/prepare.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/schema.h"
#include "pipeline/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* One lock per stage, so that stage jobs can work side by side but never twice. The
 * descriptors stay open on purpose: the kernel drops the locks with the process. */
static int take_locks(const char *dir, const bool only[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        char path[4096];
        if (!only[g])
            continue;
        snprintf(path, sizeof path, "%s/log/%s.lock", dir, group_name((enum group)g));
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return err_set_errno("cannot create the lock", path);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int e = errno;
            close(fd);
            if (e == EWOULDBLOCK)
                return err_set(ERR_ENV,
                               "%s: another job is at work in this run directory; wait "
                               "for it or choose another run.dir",
                               path);
            log_warn("%s: no locks on this file system; see to it that only one job uses "
                     "this run directory",
                     path);
        }
    }
    return 0;
}

/* config.yaml of an earlier start: the keys that shape results must agree with it. */
static int compare_config(const char *dir, const struct config *c, bool *resumed)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    *resumed = file_exists(path);
    if (!*resumed)
        return 0;
    struct config *old = config_create(schema);
    int rc = config_read(old, path);
    const char *key = rc == 0 ? config_difference(old, c) : NULL;
    if (key != NULL && strcmp(key, "components") == 0)
        rc = err_set(ERR_USAGE,
                     "%s: this directory belongs to a run with other components (see its "
                     "config.yaml); choose another run.dir, or restore them",
                     dir);
    else if (key != NULL)
        rc = err_set(ERR_USAGE,
                     "%s: this directory belongs to a run with %s=%s, now it is %s; "
                     "choose another run.dir, or restore the value",
                     dir, key, config_text(old, key), config_text(c, key));
    config_destroy(old);
    return rc;
}

static int write_config(const char *dir, const struct config *c)
{
    char path[4096];
    struct text t = {0};
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    config_dump(c, &t, false);
    int rc = file_write(path, t.s, t.len);
    text_free(&t);
    return rc;
}

void prepare_run_id(char id[48], uint64_t seed)
{
    struct timespec ts;
    struct tm tm;
    char when[32];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &tm);
    uint64_t h = rng_mix64((uint64_t)ts.tv_nsec ^ ((uint64_t)getpid() << 32) ^ seed);
    snprintf(id, 48, "%s-%08llx", when, (unsigned long long)(h & 0xffffffffu));
}

/* What a file must be. */
struct expected {
    enum shard_kind kind;
    int64_t iteration, number, version;
};

static const char *advice_for(enum shard_kind kind)
{
    return kind == SHARD_POLICY ? "remove it to go on from the policy before it"
                                : "remove it and run the same command again, it will be "
                                  "made again with the same bits";
}

/* In a replay: one of the files of the run that is replayed. */
static bool replayed(const struct task *t, const struct expected *e)
{
    return t->replay && (e->kind == SHARD_ROLLOUT || e->kind == SHARD_REWARD ||
                         (e->kind == SHARD_POLICY && e->version == 0));
}

static int check_head(const struct task *t, const char *path, const struct shard_head *h,
                      const struct expected *e)
{
    struct origin from = {.run_id = ""};
    bool other = replayed(t, e);
    if (other && origin_read(t->dir, &from) != 0)
        return -1;
    const char *id = other ? from.source_run_id : t->run_id;
    const char *digest = other ? from.source_digest : t->config_digest;
    if (strcmp(h->run_id, id) != 0)
        return err_set(ERR_INPUT,
                       "%s: belongs to another run (%s), this directory to %s; %s", path,
                       h->run_id, id, advice_for(e->kind));
    if (strcmp(h->config_digest, digest) != 0)
        return err_set(ERR_INPUT, "%s: was made with another configuration; %s", path,
                       e->kind == SHARD_POLICY ? "choose another run.dir"
                                               : advice_for(e->kind));
    if (h->policy_version != e->version)
        return err_set(ERR_INPUT, "%s: was made with policy %lld, not %lld; %s", path,
                       (long long)h->policy_version, (long long)e->version,
                       advice_for(e->kind));
    if (h->iteration != e->iteration || h->number != e->number)
        return err_set(ERR_INPUT,
                       "%s: is a copy of another file (iteration %lld, number %lld); %s",
                       path, (long long)h->iteration, (long long)h->number,
                       advice_for(e->kind));
    return 0;
}

/* The parents that are still there must be the ones that the file was made from. One that
 * cannot be read is left to whoever needs it. */
static int check_parents(const struct task *t, const char *path,
                         const struct shard_head *h)
{
    int rc = 0;
    for (int64_t i = 0; i < h->parents && rc == 0; i++) {
        char *full = rundir_path(t->dir, h->parent[i].path);
        struct shard *s = file_exists(full) ? shard_open(full, -1) : NULL;
        if (s == NULL)
            err_clear();
        else if (strcmp(shard_content(s), h->parent[i].content) != 0)
            rc = err_set(ERR_INPUT,
                         "%s: was made from another %s than the one that is there now; "
                         "put the right one back, or remove what was made from it",
                         path, h->parent[i].path);
        shard_close(s);
        mem_free(full);
    }
    return rc;
}

/* Checks a sealed file wholly: checksums, digest, that it is what its name says, and that
 * it was made from what is there. */
static int check_file(const struct task *t, const char *rel, const struct expected *e)
{
    char path[4096];
    task_path(t, rel, path);
    struct shard *s =
        shard_verify(path) != 0 ? NULL : shard_open(path, (int)e->kind);
    if (s == NULL)
        return err_code() != ERR_INPUT
                   ? -1
                   : err_add("damaged or foreign file in the run directory (%s)",
                             advice_for(e->kind));
    int rc = check_head(t, path, shard_head(s), e);
    if (rc == 0 && !replayed(t, e)) /* whose policies are elsewhere */
        rc = check_parents(t, path, shard_head(s));
    shard_close(s);
    return rc;
}

/* The oldest policy that can be read says whose directory this is (policy 0 is never
 * removed). */
static void read_run_id(struct task *t, const int64_t *version, int64_t n)
{
    char rel[96], path[4096];
    struct shard *s = NULL;
    for (int64_t i = 0; i < n && s == NULL; i++) {
        err_clear();
        s = shard_open(task_path(t, rundir_policy(rel, version[i]), path), SHARD_POLICY);
    }
    err_clear();
    if (s != NULL)
        snprintf(t->run_id, sizeof t->run_id, "%s", shard_head(s)->run_id);
    shard_close(s);
}

/* Checks the policies that rollouts still read: [newest - max_staleness, newest]. */
static int check_policies(struct task *t, const int64_t *version, int64_t n)
{
    char rel[96];
    int64_t oldest = version[n - 1] - t->max_staleness;
    int rc = 0;
    if (!t->replay)
        read_run_id(t, version, n);
    for (int64_t i = n - 1; i >= 0 && version[i] >= oldest && rc == 0; i--) {
        const struct expected e = {SHARD_POLICY, version[i] - 1, -1, version[i]};
        rc = check_file(t, rundir_policy(rel, version[i]), &e);
    }
    return rc;
}

/* Finds the newest policy, or makes policy 0. */
static int find_policy(struct task *t, const struct config *c, struct prepared *out)
{
    int64_t *version, n;
    int rc = rundir_policies(t->dir, &version, &n);
    if (rc == 0 && n == 0) {
        prepare_run_id(t->run_id, t->seed);
        rc = settings_first_policy(t, c);
    } else if (rc == 0) {
        out->version = version[n - 1];
        rc = check_policies(t, version, n);
    }
    snprintf(out->run_id, sizeof out->run_id, "%s", t->run_id);
    mem_free(version);
    return rc;
}

static int enter(const char *dir, const struct config *c, const bool only[GROUPS],
                 bool *resumed)
{
    return rundir_create(dir) != 0 || take_locks(dir, only) != 0 ||
                   compare_config(dir, c, resumed) != 0
               ? -1
               : 0;
}

int prepare_directory(const char *dir, const struct config *c, const bool only[GROUPS],
                      bool *resumed)
{
    return enter(dir, c, only, resumed) != 0 ? -1 : write_config(dir, c);
}

int prepare_run(struct task *t, const struct config *c, const bool only[GROUPS],
                struct prepared *out)
{
    struct origin from;
    *out = (struct prepared){0};
    if (enter(t->dir, c, only, &out->resumed) != 0 || origin_read(t->dir, &from) != 0)
        return -1;
    t->replay = out->replay = from.run_id[0] != '\0';
    snprintf(t->run_id, sizeof t->run_id, "%s", from.run_id);
    if (only[GROUP_ROLLOUT] && only[GROUP_UPDATE] && rundir_sweep(t->dir) != 0)
        return -1;
    /* Last, so that a configuration which is refused binds nobody. */
    return find_policy(t, c, out) != 0 ? -1 : write_config(t->dir, c);
}

/* One sealed file of the window, if it is there. */
static int found(const struct task *t, struct ledger *l, enum group g, int64_t iteration,
                 int64_t shard, const char *rel)
{
    static const enum shard_kind kind[GROUPS] = {SHARD_ROLLOUT, SHARD_REWARD,
                                                 SHARD_ADVANTAGE, SHARD_POLICY};
    char path[4096];
    if (!file_exists(task_path(t, rel, path)))
        return 0;
    const struct expected e = {kind[g], iteration, shard, task_version(t, iteration)};
    if (check_file(t, rel, &e) != 0)
        return -1;
    ledger_found(l, g, iteration, shard);
    return 0;
}

/* A service that was down must not spoil the run for good: as long as nobody has used the
 * iteration's scores, a shard with samples that failed or timed out is scored again. What
 * is kept (memory.h) is not asked again. */
static int forget_failures(const struct task *t, int64_t iteration)
{
    char rel[96], path[4096];
    int rc = 0;
    if (file_exists(task_path(t, rundir_advantage(rel, iteration), path)))
        return 0;
    for (int64_t s = 0; s < t->shards && rc == 0; s++) {
        if (!file_exists(task_path(t, rundir_reward(rel, iteration, s), path)))
            continue;
        struct shard *in = shard_open(path, SHARD_REWARD);
        int64_t failed = in == NULL ? -1 : reward_unanswered(in);
        shard_close(in);
        if (failed < 0) { /* found() says what is wrong with it */
            err_clear();
        } else if (failed > 0) {
            log_info("%s: %lld samples failed or timed out: scored again", rel,
                     (long long)failed);
            if (unlink(path) != 0)
                rc = err_set_errno("cannot remove", path);
        }
    }
    return rc;
}

int prepare_ledger(const struct task *t, int64_t version, bool again, struct ledger *l)
{
    char rel[96];
    for (int64_t i = version; i <= version + t->max_staleness; i++) {
        if (again && forget_failures(t, i) != 0)
            return -1;
        for (int64_t s = 0; s < t->shards; s++)
            if (found(t, l, GROUP_ROLLOUT, i, s, rundir_rollout(rel, i, s)) != 0 ||
                found(t, l, GROUP_REWARD, i, s, rundir_reward(rel, i, s)) != 0)
                return -1;
        if (found(t, l, GROUP_ADVANTAGE, i, -1, rundir_advantage(rel, i)) != 0)
            return -1;
    }
    return 0;
}
